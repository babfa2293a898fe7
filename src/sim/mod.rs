//! Simulated Raspberry Pis: clients of the real protocols, for the demo, the tests and the benches.

pub mod sample;
