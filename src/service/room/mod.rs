//! The room as a whole: which agents are connected, and what an administrator has them do.
//!
//! | file | holds |
//! |---|---|
//! | `agents` | the agents that are connected, orders to them and their answers |
//! | `vitals` | how the clients are, by their agents |
//! | `console` | what bootloaders and kernels say over the network |
//! | `exams` | when the administrator's program takes the internet away |
//! | `guard` | switches, other servers and disks that are in the way |
//! | `plan` | how long a room takes to boot |
//! | `schedule` | which row of the timetable is due |
//! | `screens` | teachers who look at the screen of a client |
//! | `action` | one action in words: what is wanted, why it is refused, how far it is |
//! | `actions` | switching off, restarting, messages and so on, for one client or many, followed to their end |
//!
//! Nothing here opens a socket: [`crate::serve::agent`] brings agents and takes orders, [`crate::serve::room`] moves
//! actions on.

pub mod action;
pub mod actions;
pub mod agents;
pub mod console;
pub mod exams;
pub mod guard;
pub mod plan;
pub mod schedule;
pub mod screens;
pub mod vitals;
