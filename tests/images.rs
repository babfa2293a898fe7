//! Imports of real archives, folders and disk images, made here with GNU tar, xz, mke2fs and mtools.
//!
//! What needs a program or a right that is missing says so loudly and counts as not run; with `BRAMBLE_REQUIRE_PEERS=1`
//! it fails instead.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::format_push_string,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod images {
    pub mod archives;
    pub mod cards;
    pub mod disks;
    pub mod exports;
    pub mod hostile;
    pub mod inspection;
    pub mod library;
    pub mod life;
    pub mod packed;
    pub mod power;
    pub mod renames;
    pub mod stopped;
    pub mod support;
    pub mod web;
}
