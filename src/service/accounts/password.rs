//! Hashes of passwords: argon2id for all of ours; sha-crypt and yescrypt, which other systems keep, are understood.
//!
//! The cost is one that OWASP's cheat sheet gives as a minimum for argon2id, chosen for a router: 9 MiB for four passes.
//! [`Slots`] lets [`limits::HASHES_AT_ONCE`] of them run, so a whole room that logs in at once takes 18 MiB and a queue.

use std::io;
use std::sync::{Condvar, Mutex, PoisonError};

use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use sha_crypt::ShaCrypt;
use yescrypt::Yescrypt;

use crate::sys::random::random;
use crate::types::{PasswordHash, Secret, limits};

/// Memory of one hash, in KiB, and passes over it.
const MEMORY: u32 = 9 * 1024;
const PASSES: u32 = 4;

/// Most that the check of an imported hash may cost.
const FOREIGN_MEMORY: u64 = 32 << 20;
const FOREIGN_PASSES: u32 = 16;
const FOREIGN_ROUNDS: u32 = 500_000;

/// Compared with where there is no account, so that the answer takes as long as for one that is there.
const NOBODY: &str =
    "$argon2id$v=19$m=9216,t=4,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Why a hash cannot be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHash {
    #[error(
        "the hash is of no kind that is understood; there are sha512-crypt (`$6$…`), sha256-crypt (`$5$…`), yescrypt \
         (`$y$…`) and argon2id (`$argon2id$…`)"
    )]
    Kind,
    #[error("the hash is cut off or damaged; copy the whole second field of the line in `/etc/shadow`")]
    Form,
    #[error("a check of the hash would cost a router too much; leave it out and give a password")]
    Cost,
}

/// The hash of a new password.
pub fn hash(password: &Secret) -> io::Result<PasswordHash> {
    let salt: [u8; 16] = random()?;
    let hashed = ours()
        .hash_password_with_salt(password.expose().as_bytes(), &salt)
        .map_err(|error| io::Error::other(error.to_string()))?;
    Ok(PasswordHash::new(hashed.to_string()))
}

fn ours() -> Argon2<'static> {
    let params = Params::new(MEMORY, PASSES, 1, None).expect("the cost is within what argon2 allows");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Whether `password` is the one of `hash`; without a hash it never is, and that takes as long.
pub fn fits(password: &Secret, hash: Option<&PasswordHash>) -> bool {
    let bytes = password.expose().as_bytes();
    let text = hash.map_or(NOBODY, PasswordHash::expose);
    let fits = match kind(text) {
        Some(Kind::Argon2) => Argon2::default().verify_password(bytes, text).is_ok(),
        Some(Kind::Sha) => ShaCrypt::default().verify_password(bytes, text).is_ok(),
        Some(Kind::Yescrypt) => Yescrypt::default().verify_password(bytes, text).is_ok(),
        None => false,
    };
    fits && hash.is_some()
}

/// Whether `hash` should be made anew with our own cost when the password is next known.
pub fn is_foreign(hash: &PasswordHash) -> bool {
    !hash.expose().starts_with(&format!("$argon2id$v=19$m={MEMORY},t={PASSES},p=1$"))
}

enum Kind {
    Argon2,
    Sha,
    Yescrypt,
}

fn kind(text: &str) -> Option<Kind> {
    match text {
        text if text.starts_with("$argon2id$") => Some(Kind::Argon2),
        text if text.starts_with("$6$") || text.starts_with("$5$") => Some(Kind::Sha),
        text if text.starts_with("$y$") => Some(Kind::Yescrypt),
        _ => None,
    }
}

/// Takes a hash that another system made, if it can be checked here at a bearable cost.
pub fn accept(text: &str) -> Result<PasswordHash, BadHash> {
    let plain =
        text.len() <= limits::PASSWORD_HASH && text.bytes().all(|b| b.is_ascii_graphic() && b != b':');
    if !plain {
        return Err(BadHash::Form);
    }
    let bearable = match kind(text).ok_or(BadHash::Kind)? {
        Kind::Argon2 => argon2_cost(text),
        Kind::Sha => sha_cost(text),
        Kind::Yescrypt => yescrypt_cost(text),
    };
    match bearable {
        Some(true) => Ok(PasswordHash::new(text.to_owned())),
        Some(false) => Err(BadHash::Cost),
        None => Err(BadHash::Form),
    }
}

fn argon2_cost(text: &str) -> Option<bool> {
    let hash = argon2::PasswordHash::new(text).ok()?;
    hash.salt.as_ref()?;
    hash.hash.as_ref()?;
    let params = Params::try_from(&hash).ok()?;
    let memory = u64::from(params.m_cost()) * 1024;
    Some(memory <= FOREIGN_MEMORY && params.t_cost() <= FOREIGN_PASSES && params.p_cost() <= FOREIGN_PASSES)
}

fn sha_cost(text: &str) -> Option<bool> {
    let mut fields = text.split('$').skip(2);
    let mut salt = fields.next()?;
    let mut rounds = 5000;
    if let Some(number) = salt.strip_prefix("rounds=") {
        rounds = number.parse().ok()?;
        salt = fields.next()?;
    }
    let digest = fields.next()?;
    let length = if text.starts_with("$6$") { 86 } else { 43 };
    let whole = fields.next().is_none() && digest.len() == length && (1..=16).contains(&salt.len());
    (whole && rounds >= 1000).then_some(rounds <= FOREIGN_ROUNDS)
}

fn yescrypt_cost(text: &str) -> Option<bool> {
    let mut fields = text.split('$').skip(2);
    let params: yescrypt::Params = fields.next()?.parse().ok()?;
    let (salt, digest) = (fields.next()?, fields.next()?);
    let whole = fields.next().is_none() && digest.len() == 43 && !salt.is_empty();
    let memory = params.n().checked_mul(u64::from(params.r()))?.checked_mul(128)?;
    whole.then_some(memory <= FOREIGN_MEMORY && params.p() == 1)
}

/// How many hashes may run at once.
#[derive(Debug)]
pub struct Slots {
    /// On a processor with one core, two at once would take the memory of two and be no faster.
    most: usize,
    taken: Mutex<Taken>,
    free: Condvar,
}

impl Default for Slots {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let most = limits::HASHES_AT_ONCE.min(cores);
        Self { most, taken: Mutex::default(), free: Condvar::default() }
    }
}

#[derive(Debug, Default)]
struct Taken {
    running: usize,
    waiting: usize,
}

/// The right to run one; given back when dropped.
#[derive(Debug)]
pub struct Slot<'a>(&'a Slots);

impl Slots {
    /// Waits for a turn; `None` if too many wait already.
    pub fn take(&self) -> Option<Slot<'_>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.waiting >= limits::HASHES_WAITING {
            return None;
        }
        taken.waiting += 1;
        while taken.running >= self.most {
            taken = self.free.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        taken.waiting -= 1;
        taken.running += 1;
        Some(Slot(self))
    }
}

#[cfg(test)]
impl Slots {
    pub fn most(&self) -> usize {
        self.most
    }

    pub fn waiting(&self) -> usize {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).waiting
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner).running -= 1;
        self.0.free.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn secret(text: &str) -> Secret {
        text.parse().expect("a password")
    }

    /// Made by crypt(3) of Debian 12.
    const FOREIGN: [&str; 4] = [
        "$6$saltsalt$g3uPFdehVnKoLXdidvSAg1zlVgYomPr0X/xgdXSBn2LuxZUOGgYW4IULZkguZ77fzYteIur49AGHmF9iek6Sf1",
        "$6$rounds=6000$saltsalt$WhPgYBf5nfACGhrfrnbEHSn5H6p31kTHSgzgQTvK1lhZhy.7d9SFZvtpSFPmmZknkIf9ic426Z0jHDXYEOH0S.",
        "$5$saltsalt$Arv3XkXcPR5LHLrzVCBdKV5hwRocYIyFvUvGa9tbc06",
        "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$2XG8TbeFGEUHepjXSRRwTEN/pknneEfp/PquC6DSDN4",
    ];

    #[test]
    fn a_password_fits_its_own_hash_only() {
        let hash = hash(&secret("correct horse")).expect("a hash");
        assert!(fits(&secret("correct horse"), Some(&hash)));
        assert!(!fits(&secret("correct hors"), Some(&hash)));
        assert!(!is_foreign(&hash) && accept(hash.expose()).is_ok());
        assert!(!fits(&secret(""), None), "nobody has no password");
    }

    #[test]
    fn hashes_of_other_systems_fit_and_are_made_anew() {
        for text in FOREIGN {
            let hash = accept(text).unwrap_or_else(|bad| panic!("{text}: {bad}"));
            assert!(fits(&secret("sesame"), Some(&hash)), "{text}");
            assert!(!fits(&secret("Sesame"), Some(&hash)), "{text}");
            assert!(is_foreign(&hash), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_checked_here_is_refused_with_the_reason() {
        let sha = FOREIGN[0];
        #[rustfmt::skip]
        let rows = [
            ("secret", BadHash::Kind),
            ("$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/", BadHash::Kind),
            ("!", BadHash::Kind),
            (&sha[..40], BadHash::Form),
            ("$6$rounds=999$saltsalt$", BadHash::Form),
            ("$argon2id$v=19$m=9216,t=4,p=1$AAAA", BadHash::Form),
            ("$y$j9T$", BadHash::Form),
            ("$6$a b$x", BadHash::Form),
            (&sha.replace("$6$", "$6$rounds=900000000$"), BadHash::Cost),
            (&NOBODY.replace("m=9216", "m=1048576"), BadHash::Cost),
            (&NOBODY.replace("t=4", "t=4000"), BadHash::Cost),
            (&FOREIGN[3].replacen("j9T", "jFT", 1), BadHash::Cost),
        ];
        for (text, expected) in rows {
            assert_eq!(accept(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn never_more_than_a_few_run_at_once() {
        let slots = Slots::default();
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    let _slot = slots.take().expect("a turn comes");
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(std::time::Duration::from_millis(2));
                    running.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(most.load(Ordering::SeqCst), slots.most());
        assert!((1..=limits::HASHES_AT_ONCE).contains(&slots.most()));
    }
}
