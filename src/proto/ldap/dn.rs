//! Distinguished names (RFC 4514), as far as a directory without odd characters in its names needs them.

use std::fmt;
use std::str::FromStr;

use crate::types::limits;

/// A distinguished name in one spelling: small letters, no spaces around `=` and `,`. Equal names are equal values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Dn(Vec<(String, String)>);

/// The text was not a distinguished name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a distinguished name; write pairs with commas between them, such as `dc=school,dc=lan`"
)]
pub struct BadDn(String);

impl FromStr for Dn {
    type Err = BadDn;

    /// Reads pairs of attribute and value. Escapes (RFC 4514 §2.4) and pairs joined with `+` are not names of ours.
    fn from_str(text: &str) -> Result<Self, BadDn> {
        let bad = || BadDn(text.chars().take(limits::NAME_SHOWN).collect());
        if text.len() > limits::LDAP_DN || text.contains(['\\', '"', '+', '#', '<', '>', ';', '\0']) {
            return Err(bad());
        }
        if text.trim().is_empty() {
            return Ok(Self(Vec::new()));
        }
        let pair = |part: &str| {
            let (attribute, value) = part.split_once('=')?;
            let (attribute, value) = (attribute.trim(), value.trim());
            let named =
                !attribute.is_empty() && attribute.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            (named && !value.is_empty()).then(|| (attribute.to_ascii_lowercase(), value.to_lowercase()))
        };
        text.split(',').map(pair).collect::<Option<Vec<_>>>().map(Self).ok_or_else(bad)
    }
}

impl Dn {
    /// Attribute and value of the first pair, and the name it stands below.
    pub fn split(&self) -> Option<(&str, &str, Self)> {
        let ((attribute, value), rest) = self.0.split_first()?;
        Some((attribute, value, Self(rest.to_vec())))
    }

    /// The name with one more pair in front.
    pub fn child(&self, attribute: &str, value: &str) -> Self {
        let pair = (attribute.to_owned(), value.to_owned());
        Self([pair].into_iter().chain(self.0.iter().cloned()).collect())
    }

    /// How many pairs this name has before `base`; `None` if it is not at or below it.
    pub fn depth_below(&self, base: &Self) -> Option<usize> {
        self.0.ends_with(&base.0).then(|| self.0.len() - base.0.len())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Dn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (attribute, value)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{attribute}={value}")?;
        }
        Ok(())
    }
}
