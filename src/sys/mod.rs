//! Thin, safe wrappers over system calls that no crate offers; the only `unsafe` of the crate.
