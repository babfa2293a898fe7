//! Passwords that are made up: easy to read from a slip and to type, hard to guess.
//!
//! Six syllables of sixteen consonants and five vowels, and two digits, such as `bako-tiru-nefo-47`: 80⁶ · 8² passwords,
//! which is 44 bits. Whoever guesses at a log-in is slowed down long before; and because nobody chose it, a quick hash is
//! enough until it is changed or made anew at the first log-in. So a whole school's take seconds on a router, not minutes.

use std::io;

use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};

use crate::sys::random::random;
use crate::types::{PasswordHash, Secret};

/// None looks or sounds like another; no `c`, `l`, `q`, `x`, `y`.
const CONSONANTS: &[u8; 16] = b"bdfghjkmnprstvwz";
const VOWELS: &[u8; 5] = b"aeiou";
/// No 0 and 1, which are read as letters.
const DIGITS: &[u8; 8] = b"23456789";

/// A new password.
pub fn password() -> io::Result<Secret> {
    let mut text = String::new();
    for part in 0..6 {
        text.push(pick(CONSONANTS)?);
        text.push(pick(VOWELS)?);
        if part % 2 == 1 {
            text.push('-');
        }
    }
    text.push(pick(DIGITS)?);
    text.push(pick(DIGITS)?);
    text.parse().map_err(io::Error::other)
}

/// The hash of a password that was made up.
pub fn hash(password: &Secret) -> io::Result<PasswordHash> {
    let salt: [u8; 16] = random()?;
    let params = Params::new(1024, 1, 1, None).map_err(|error| io::Error::other(error.to_string()))?;
    let hash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_with_salt(password.expose().as_bytes(), &salt)
        .map_err(|error| io::Error::other(error.to_string()))?;
    Ok(PasswordHash::new(hash.to_string()))
}

/// One of `from`, each as likely.
fn pick(from: &[u8]) -> io::Result<char> {
    let most = u8::MAX - u8::MAX % u8::try_from(from.len()).unwrap_or(u8::MAX);
    loop {
        let [byte] = random::<1>()?;
        if byte < most
            && let Some(letter) = from.get(usize::from(byte) % from.len())
        {
            return Ok(char::from(*letter));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn they_are_readable_and_never_the_same() {
        let made: HashSet<String> =
            (0..500).map(|_| password().expect("a password").expose().to_owned()).collect();
        assert_eq!(made.len(), 500);
        for text in &made {
            let parts: Vec<usize> = text.split('-').map(str::len).collect();
            assert_eq!(parts, [4, 4, 4, 2], "{text}");
        }
        let letters: HashSet<char> = made.iter().flat_map(|text| text.chars()).collect();
        assert_eq!(letters.len(), 16 + 5 + 8 + 1, "every letter comes up");
    }

    #[test]
    fn their_quick_hash_fits_and_is_made_anew_later() {
        let secret = password().expect("a password");
        let hash = hash(&secret).expect("a hash");
        assert!(super::super::password::fits(&secret, Some(&hash)));
        assert!(super::super::password::is_foreign(&hash));
    }
}
