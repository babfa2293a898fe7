//! TFTP: packets, and one download as a state machine.
//!
//! Both sides of the wire are here: what the server reads and builds, and what the simulated Pis and the tests need to
//! play the client. Who may have which file is [`crate::service::boot_tree`]; sockets are [`crate::serve`].
//!
//! | RFC | What is taken from it |
//! |---|---|
//! | 1350 | requests, lock-step blocks, acknowledgements, error packets |
//! | 1123 §4.2.3.1 | a repeated ACK is never answered with the next block (Sorcerer's Apprentice) |
//! | 2347 | options and their acknowledgement |
//! | 2348, 2349 | block size, time-out, transfer size |
//! | 7440 | windows of several blocks |

pub mod options;
pub mod transfer;
pub mod wire;
