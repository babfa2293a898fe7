//! Security identifiers of Active Directory (MS-DTYP §2.4.2), from which numbers of people and groups are made.

use std::fmt;

/// Bytes before the numbers: revision, how many there are, authority.
const HEAD: usize = 8;

/// Most numbers in one.
const MOST: usize = 15;

/// `S-1-5-21-1004336348-1177238915-682003330-1104`: a domain, and a number that stands for one person or group in it and
/// is never used again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sid {
    authority: u64,
    domain: Vec<u32>,
    rid: u32,
}

/// The bytes were not a security identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`objectSid` is not a security identifier of Active Directory")]
pub struct BadSid;

impl Sid {
    /// Reads the bytes of `objectSid`.
    pub fn read(bytes: &[u8]) -> Result<Self, BadSid> {
        let (head, numbers) = bytes.split_at_checked(HEAD).ok_or(BadSid)?;
        let [1, count, authority @ ..] = head else { return Err(BadSid) };
        let count = usize::from(*count);
        if count == 0 || count > MOST || numbers.len() != 4 * count {
            return Err(BadSid);
        }
        let authority = authority.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let (numbers, _) = numbers.as_chunks::<4>();
        let mut domain: Vec<u32> = numbers.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        let rid = domain.pop().ok_or(BadSid)?;
        Ok(Self { authority, domain, rid })
    }

    /// The number within the domain.
    pub fn rid(&self) -> u32 {
        self.rid
    }

    /// Whether it is of a domain (`S-1-5-21-…`), and not one of those that every computer has.
    pub fn is_of_domain(&self) -> bool {
        self.authority == 5 && self.domain.first() == Some(&21)
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S-1-{}", self.authority)?;
        self.domain.iter().chain([&self.rid]).try_for_each(|number| write!(f, "-{number}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(authority: u64, numbers: &[u32]) -> Vec<u8> {
        let mut bytes = vec![1, u8::try_from(numbers.len()).expect("few")];
        bytes.extend(&authority.to_be_bytes()[2..]);
        bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        bytes
    }

    #[test]
    fn one_that_is_known_is_read() {
        // The one in the example of MS-DTYP's text form.
        let sid = Sid::read(&bytes(5, &[21, 1_004_336_348, 1_177_238_915, 682_003_330, 1104])).expect("read");
        assert_eq!(sid.to_string(), "S-1-5-21-1004336348-1177238915-682003330-1104");
        assert_eq!(sid.rid(), 1104);
        assert!(sid.is_of_domain());
        let administrators = Sid::read(&bytes(5, &[32, 544])).expect("read");
        assert!(!administrators.is_of_domain());
    }

    #[test]
    fn what_is_none_is_refused() {
        let good = bytes(5, &[21, 7, 500]);
        let with = |at: usize, byte| {
            let mut bad = good.clone();
            bad[at] = byte;
            bad
        };
        let rows = [
            vec![],
            vec![1],
            good[..19].to_vec(),
            [good.as_slice(), &[0]].concat(),
            with(0, 2),
            with(1, 2),
            with(1, 0),
        ];
        for bad in rows {
            assert_eq!(Sid::read(&bad), Err(BadSid), "{bad:?}");
        }
        assert_eq!(Sid::read(&bytes(5, &[9; 16])), Err(BadSid), "sixteen numbers");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Everything that can be written is read as what was written, number by number.
        #[test]
        fn every_one_is_read_back(authority in 0u64..1 << 48, numbers in proptest::collection::vec(any::<u32>(), 1..=15)) {
            let sid = Sid::read(&bytes(authority, &numbers)).expect("read");
            let text: Vec<String> = numbers.iter().map(u32::to_string).collect();
            prop_assert_eq!(sid.to_string(), format!("S-1-{authority}-{}", text.join("-")));
            prop_assert_eq!(Some(&sid.rid()), numbers.last());
        }

        /// Whatever a server sends is an identifier of exactly that length, or refused.
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(sid) = Sid::read(&bytes) {
                prop_assert_eq!(bytes.len(), HEAD + 4 * (sid.domain.len() + 1));
            }
        }
    }
}
