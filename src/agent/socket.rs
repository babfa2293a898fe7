//! What the helpers on a client ask the agent's service, and its answers: bytes and values, no socket.
//!
//! A request is words, each with a zero byte behind it: a verb, the PAM service, the terminal, then what the verb needs.
//! The caller shuts its side down behind it. The answer is `+` or `-` and a text for the person. So simple because a
//! PAM module (`pam_module.c`) speaks it too.

use zeroize::Zeroizing;

use crate::types::{Secret, UserName};

/// Where the service listens.
pub const PATH: &str = "/run/bramble/agent.sock";

/// Longest request, in bytes: two passwords of PAM's longest, and names.
pub const REQUEST: usize = 2048;

/// Longest answer, in bytes; the module has room for it.
pub const ANSWER: usize = 1000;

#[derive(Debug)]
pub struct Request {
    /// PAM service, such as `login`.
    pub service: String,
    /// Such as `/dev/tty1` or `:0`; may be empty.
    pub terminal: String,
    pub name: UserName,
    pub wish: Wish,
}

#[derive(Debug)]
pub enum Wish {
    /// Whether this is the person's password.
    Authenticate(Secret),
    /// Whether the person may use this client.
    Account,
    ChangePassword {
        old: Secret,
        new: Secret,
    },
    /// A session began; `opener` is the process that will close it.
    Open {
        opener: u32,
    },
    Close {
        opener: u32,
    },
}

/// Why a request is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    #[error("the request is not understood; the agent's service and its helper are from different packages")]
    Unknown,
    #[error("such a name or password cannot be right")]
    Impossible,
}

impl Request {
    pub fn parse(bytes: &[u8]) -> Result<Self, BadRequest> {
        let text = std::str::from_utf8(bytes).map_err(|_| BadRequest::Impossible)?;
        let words: Vec<&str> = text.strip_suffix('\0').ok_or(BadRequest::Unknown)?.split('\0').collect();
        let [verb, service, terminal, name, rest @ ..] = words.as_slice() else {
            return Err(BadRequest::Unknown);
        };
        let secret = |text: &str| text.parse::<Secret>().map_err(|_| BadRequest::Impossible);
        let pid = |text: &str| text.parse::<u32>().map_err(|_| BadRequest::Unknown);
        let wish = match (*verb, rest) {
            ("auth", [password]) => Wish::Authenticate(secret(password)?),
            ("account", []) => Wish::Account,
            ("password", [old, new]) => Wish::ChangePassword { old: secret(old)?, new: secret(new)? },
            ("open_session", [opener]) => Wish::Open { opener: pid(opener)? },
            ("close_session", [opener]) => Wish::Close { opener: pid(opener)? },
            _ => return Err(BadRequest::Unknown),
        };
        let name = name.parse().map_err(|_| BadRequest::Impossible)?;
        Ok(Self { service: (*service).to_owned(), terminal: (*terminal).to_owned(), name, wish })
    }
}

/// The bytes of a request. Wiped when dropped.
pub fn request(words: &[&str]) -> Zeroizing<Vec<u8>> {
    let length = words.iter().map(|word| word.len() + 1).sum();
    let mut bytes = Zeroizing::new(Vec::with_capacity(length));
    for word in words {
        bytes.extend(word.bytes().filter(|byte| *byte != 0));
        bytes.push(0);
    }
    bytes
}

/// Yes, or no; and a text for the person, which may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub yes: bool,
    pub text: String,
}

impl Answer {
    pub fn yes(text: impl Into<String>) -> Self {
        Self { yes: true, text: text.into() }
    }

    pub fn no(text: impl Into<String>) -> Self {
        Self { yes: false, text: text.into() }
    }

    pub fn encode(&self) -> Vec<u8> {
        let end = self.text.floor_char_boundary(ANSWER - 1);
        let mut bytes = vec![if self.yes { b'+' } else { b'-' }];
        bytes.extend_from_slice(self.text.get(..end).unwrap_or_default().as_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (first, text) = bytes.split_first()?;
        let text = String::from_utf8_lossy(text).into_owned();
        match first {
            b'+' => Some(Self::yes(text)),
            b'-' => Some(Self::no(text)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_its_words() {
        let bytes = request(&["password", "login", "/dev/tty1", "anna", "old one", "nëu"]);
        let Request { service, terminal, name, wish } = Request::parse(&bytes).expect("a request");
        assert_eq!((service.as_str(), terminal.as_str(), name.as_str()), ("login", "/dev/tty1", "anna"));
        let Wish::ChangePassword { old, new } = wish else { unreachable!("{wish:?}") };
        assert_eq!((old.expose(), new.expose()), ("old one", "nëu"));
        let rows: [(&[u8], BadRequest); 6] = [
            (b"", BadRequest::Unknown),
            (b"auth\0login\0\0anna\0pw", BadRequest::Unknown),
            (b"auth\0login\0\0anna\0pw\0more\0", BadRequest::Unknown),
            (b"auth\0login\0\0../etc\0pw\0", BadRequest::Impossible),
            (b"auth\0login\0\0anna\0\xff\0", BadRequest::Impossible),
            (b"open_session\0login\0\0anna\0-1\0", BadRequest::Unknown),
        ];
        for (bytes, expected) in rows {
            assert_eq!(Request::parse(bytes).expect_err("refused"), expected);
        }
    }

    #[test]
    fn an_answer_fits_the_module() {
        let long = Answer::no("ä".repeat(ANSWER));
        assert!(long.encode().len() <= ANSWER);
        let short = Answer::yes("Welcome.");
        assert_eq!(Answer::decode(&short.encode()), Some(short));
        assert_eq!(Answer::decode(b""), None);
    }
}
