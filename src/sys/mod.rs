//! Thin, safe wrappers over system calls that no crate offers; the only `unsafe` of the crate.

#[cfg(feature = "daemon")]
pub mod arp;
#[cfg(feature = "daemon")]
pub mod birth;
#[cfg(feature = "daemon")]
pub mod datagrams;
#[cfg(feature = "daemon")]
pub mod dirents;
#[cfg(feature = "daemon")]
pub mod ethernet;
#[cfg(feature = "daemon")]
pub mod handle;
#[cfg(feature = "daemon")]
pub mod loopdev;
#[cfg(feature = "daemon")]
pub mod netlink;
#[cfg(feature = "daemon")]
pub mod netns;
#[cfg(feature = "daemon")]
pub mod packet;
#[cfg(feature = "daemon")]
pub mod pages;
#[cfg(feature = "daemon")]
pub mod tap;
#[cfg(feature = "daemon")]
pub mod terminal;
