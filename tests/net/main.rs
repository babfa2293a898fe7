//! Real programs on real ports, in network namespaces of the test's own. No root needed, no sleeps.
//!
//! Each test runs in a process of its own that starts inside fresh user, network and mount namespaces
//! ([`harness::isolated`]), so tests run side by side and none can touch the host's network. A test that cannot run
//! says so loudly; with `BRAMBLE_REQUIRE_NET=1` it fails.
//!
//! Run with `cargo net`.

#![expect(clippy::panic, clippy::indexing_slicing, reason = "a test says what it met, and knows its packets")]

mod active_directory;
mod agents;
mod bad_router;
mod beside;
mod classroom;
mod demo;
mod dhcp;
mod dhcp_room;
mod directory;
mod dns;
mod eeprom;
mod guard;
mod harness;
mod homes;
mod hostile;
mod lab;
mod ldap;
mod nfs;
mod nonsense;
mod pages;
mod rom;
mod room;
mod screens;
mod slapd;
mod strangers;
mod tftp;
mod timeline;
mod verdicts;
mod viewer;
