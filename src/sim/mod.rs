//! Simulated Raspberry Pis: clients of the real protocols, for the demo, the tests and the benches.
//!
//! [`net`] is the room they stand in: network namespaces, a switch, cables. Of this crate the simulation uses only
//! `types`, `proto` and `sys`: what it believes about the protocols comes from the facts about the Pi and the RFCs,
//! not from the server it talks to.

pub mod classroom;
pub mod net;
pub mod pi;
pub mod sample;
pub mod school;
pub mod server;
