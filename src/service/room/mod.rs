//! The room as a whole: which agents are connected, and what an administrator has them do.
//!
//! | file | holds |
//! |---|---|
//! | `agents` | the agents that are connected, orders to them and their answers |
//! | `actions` | switching off, restarting, messages and so on, for one client or many, followed to their end |
//!
//! Nothing here opens a socket: [`crate::serve::agent`] brings agents and takes orders, [`crate::serve::room`] moves
//! actions on.

pub mod actions;
pub mod agents;
