//! The key to a person's tunnel.
//!
//! It is made by the server, given to the agent of the client that somebody logs in at, and shown by that at the beginning of each
//! connection of the tunnel ([`super::channel::ToServer::Tunnel`]); both times inside TLS.

pub use super::Proof as Key;

/// The word in [`super::channel::Hello::can`] of an agent that mounts through a tunnel.
pub const CAN: &str = "tunnel";

#[cfg(test)]
mod tests {
    use super::super::BadProof;
    use super::*;

    #[test]
    fn a_key_is_hex_and_never_shown() {
        let key = Key(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        let text = serde_json::to_string(&key).expect("a string");
        assert_eq!(text, "\"0123456789abcdef0011223344556677\"");
        assert_eq!(serde_json::from_str::<Key>(&text).expect("its own"), key);
        assert_eq!(format!("{key:?}"), "•••");
        let signed = "+123456789abcdef0011223344556677a";
        for bad in
            ["", "0123", "0123456789abcdef00112233445566778", "g123456789abcdef0011223344556677", signed]
        {
            assert_eq!(bad.parse::<Key>(), Err(BadProof), "{bad}");
        }
    }
}
