//! Sockets and timers that carry [`crate::proto`] and ask [`crate::service`].

pub mod report;
pub mod supervisor;
