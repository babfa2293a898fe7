//! A read-only LDAP directory of accounts and classes (RFC 4511, 4513, 4519, 2307), as values and decisions.
//!
//! Messages are read and written by the crate `ldap3_proto`; what is answered is decided here. Nothing in here knows a
//! socket, a password hash or a clock: [`Connection::step`] says what is needed next, the driver in `serve/ldap` gets it.
//!
//! | file | holds |
//! |---|---|
//! | `dn` | distinguished names, compared as RFC 4514 spells them |
//! | `directory` | people and classes as entries with attributes |
//! | `filter` | whether an entry matches, with the third value "undefined" |
//! | `connection` | what a client may ask at which moment, and the answers |
//! | `messages` | what a directory elsewhere sends, cut into messages that are safe to read |
//! | `shape` | whether such a message has the parts that it must have |
//! | `sid` | identifiers of Active Directory, for accounts that come from there |

mod connection;
mod directory;
mod dn;
mod filter;
mod messages;
mod shape;
mod sid;

#[cfg(test)]
mod tests;

pub use connection::{Connection, Denied, Policy, Query, Step};
pub use directory::Directory;
pub use dn::{BadDn, Dn};
pub use messages::{BadMessage, Messages};
pub use sid::{BadSid, Sid};
