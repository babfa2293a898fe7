//! Pure protocol code: bytes ⇄ values, and state machines that are told the time.
//!
//! Nothing here opens a socket, reads a file, looks at a clock or draws a random number.

pub mod agent;
#[cfg(feature = "daemon")]
pub mod catalogue;
#[cfg(feature = "daemon")]
pub mod dhcp;
pub mod eeprom;
#[cfg(feature = "daemon")]
pub mod ldap;
pub mod manifest;
pub mod mbr;
pub mod mount;
pub mod netconsole;
pub mod nfs3;
pub mod nfsacl;
pub mod packed;
pub mod pi;
pub mod portmap;
#[cfg(feature = "daemon")]
pub mod rfb;
pub mod rpc;
#[cfg(feature = "daemon")]
pub mod squashfs;
pub mod stp;
pub mod tftp;
#[cfg(feature = "daemon")]
pub mod ubus;
pub mod xdr;
