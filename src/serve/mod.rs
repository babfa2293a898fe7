//! Sockets and timers that carry [`crate::proto`] and ask [`crate::service`].

pub mod agent;
pub mod catalogue;
pub mod control;
pub mod dhcp;
pub mod directory;
pub mod exams;
pub mod guard;
pub mod history;
pub mod housekeeping;
pub mod ldap;
pub mod netconsole;
pub mod nfs;
pub mod portmap;
pub mod ports;
pub mod publish;
pub mod records;
pub mod report;
pub mod room;
pub mod screens;
pub mod supervisor;
pub mod tftp;
