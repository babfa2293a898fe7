//! What Bramble does, whoever asks: accounts, leases, clients, boot tree, exports, images, jobs, sessions, events.
//!
//! A service reads the facts, calls a pure decision of [`crate::proto`], applies it in one transaction, and only then
//! says what may be sent. Services know no sockets; [`crate::serve`] and [`crate::api`] call them.

pub mod accounts;
pub mod backup;
pub mod boot_tree;
pub mod boots;
pub mod clients;
pub mod directory;
pub mod eeprom;
pub mod elsewhere;
pub mod events;
pub mod exports;
pub mod health;
pub mod homes;
pub mod images;
pub mod jobs;
pub mod keys;
pub mod leases;
pub mod medium;
mod neighbours;
pub mod pax;
pub mod personality;
pub mod printed;
pub mod published;
pub mod reports;
pub mod room;
pub mod sessions;
pub mod shares;
pub mod state;
pub mod takeover;
pub mod tunnels;
pub mod verdicts;
pub mod walk;
