//! The beginning of a conversation in the Remote Framebuffer protocol (VNC), for who stands between two sides of one.
//!
//! Only versions, kinds of security and their results: what a relay has to say and hear before it passes bytes on. To a
//! viewer we are a server that asks for a password, to the server of a screen we are a viewer that needs none.
//!
//! | RFC 6143 | What is taken from it |
//! |---|---|
//! | §7.1.1 | versions 3.3, 3.7 and 3.8 |
//! | §7.1.2 | kinds of security; in 3.3 the server chooses |
//! | §7.2.2 | VNC authentication: DES with the password, whose bits are in reverse order |

use des::Des;
use des::cipher::{BlockCipherEncrypt as _, KeyInit as _};

/// What both sides say first.
pub const VERSION: &[u8; 12] = b"RFB 003.008\n";

/// Security without a password.
pub const NONE: u8 = 1;

/// Security by a password.
pub const PASSWORD: u8 = 2;

/// Characters of a password that count.
pub const PASSWORD_LENGTH: usize = 8;

/// How the security of a conversation is agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The server says which kind it is.
    V3,
    /// The server lists, the client chooses; a refusal has no reason.
    V7,
    V8,
}

/// It was no version of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it does not speak the protocol of VNC")]
pub struct NotRfb;

impl Version {
    /// What the other side said first. Other numbers than those that are defined count as 3.3, as the RFC has it.
    pub fn read(said: &[u8; 12]) -> Result<Self, NotRfb> {
        let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<u16>().ok();
        let [b'R', b'F', b'B', b' ', a, b, c, b'.', x, y, z, b'\n'] = said else { return Err(NotRfb) };
        match (number(&[*a, *b, *c]), number(&[*x, *y, *z])) {
            (Some(3), Some(8..)) | (Some(4..), Some(_)) => Ok(Self::V8),
            (Some(3), Some(7)) => Ok(Self::V7),
            (Some(3), Some(_)) => Ok(Self::V3),
            _ => Err(NotRfb),
        }
    }

    /// What a server says that asks for a password.
    pub const fn offer(self) -> &'static [u8] {
        match self {
            Self::V3 => &[0, 0, 0, PASSWORD],
            Self::V7 | Self::V8 => &[1, PASSWORD],
        }
    }

    /// What a server says of a wrong password.
    pub fn refusal(self, why: &str) -> Vec<u8> {
        let mut said = 1_u32.to_be_bytes().to_vec();
        if self == Self::V8 {
            said.extend(u32::try_from(why.len()).unwrap_or(0).to_be_bytes());
            said.extend(why.as_bytes());
        }
        said
    }
}

/// What a server says of a password that is right.
pub const WELCOME: [u8; 4] = [0; 4];

/// The answer to `challenge` of who knows `password`.
pub fn response(challenge: &[u8; 16], password: &str) -> [u8; 16] {
    let mut key = [0_u8; PASSWORD_LENGTH];
    for (place, byte) in key.iter_mut().zip(password.bytes()) {
        *place = byte.reverse_bits();
    }
    let des = Des::new(&key.into());
    let mut answer = *challenge;
    let (blocks, _) = answer.as_chunks_mut::<8>();
    for block in blocks {
        des.encrypt_block(block.into());
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_the_rfc_has_it() {
        #[rustfmt::skip]
        let rows: [(&[u8; 12], _); 8] = [
            (b"RFB 003.003\n", Ok(Version::V3)),
            (b"RFB 003.005\n", Ok(Version::V3)),
            (b"RFB 003.007\n", Ok(Version::V7)),
            (b"RFB 003.008\n", Ok(Version::V8)),
            (b"RFB 003.889\n", Ok(Version::V8)),
            (b"RFB 005.000\n", Ok(Version::V8)),
            (b"RFB 003.00x\n", Err(NotRfb)),
            (b"GET / HTTP/1", Err(NotRfb)),
        ];
        for (said, expected) in rows {
            assert_eq!(Version::read(said), expected, "{}", String::from_utf8_lossy(said));
        }
    }

    #[test]
    fn a_password_is_known_by_its_answer() {
        // The textbook's example of DES: 0123456789abcdef under 133457799bbcdff1 is 85e813540f0ab405. The lowest bit of each
        // byte of a key does not count, so the key is one that can be typed, nearly.
        let challenge = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef].repeat(2);
        let challenge: [u8; 16] = challenge.try_into().expect("two blocks");
        let answer = response(&challenge, "H,j\u{1e}Y={\u{f}");
        assert_eq!(answer[..], [0x85, 0xe8, 0x13, 0x54, 0x0f, 0x0a, 0xb4, 0x05].repeat(2)[..]);
        assert_eq!(
            response(&[0; 16], "")[..],
            [0x8c, 0xa6, 0x4d, 0xe9, 0xc1, 0xb1, 0x23, 0xa7].repeat(2)[..]
        );
        assert_eq!(response(&challenge, "password"), response(&challenge, "passwordx"), "eight count");
        assert_ne!(response(&challenge, "password"), response(&challenge, "Password"));
    }

    #[test]
    fn a_refusal_has_a_reason_where_that_can_be_said() {
        assert_eq!(Version::V7.refusal("no"), [0, 0, 0, 1]);
        assert_eq!(Version::V8.refusal("no"), [0, 0, 0, 1, 0, 0, 0, 2, b'n', b'o']);
    }
}
