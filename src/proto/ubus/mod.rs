//! ubus, OpenWrt's bus: what a program that offers an object says to ubusd and hears from it.
//!
//! [`attr`] are the type-length-value records everything is made of, [`blobmsg`] the JSON-like values in them,
//! [`message`] what travels, [`Provider`] one connection as a state machine: registration, calls, answers. Nothing here
//! opens a socket; the driver in `ubus/` carries bytes with the crate `ubus-rs`.
//!
//! The protocol has no document. What is here follows recordings of the real ubusd (`tests/vectors/ubus`) and is held
//! against them byte by byte.

pub mod attr;
pub mod blobmsg;
pub mod message;
mod provider;

#[cfg(test)]
mod recordings;

pub use self::provider::{Call, Outcome, Provider};

/// What a message says about a request; the numbers are ubus's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    pub const OK: Self = Self(0);
    pub const INVALID_ARGUMENT: Self = Self(2);
    pub const METHOD_NOT_FOUND: Self = Self(3);
    pub const NOT_FOUND: Self = Self(4);
}

/// The methods of an object, as `ubus -v list` shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature(pub Vec<MethodType>);

/// One method with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodType {
    pub name: &'static str,
    pub arguments: Vec<(&'static str, blobmsg::Kind)>,
}

impl Signature {
    /// The method's own name, if the object has it.
    pub fn find(&self, name: &str) -> Option<&'static str> {
        self.0.iter().map(|method| method.name).find(|known| *known == name)
    }
}
