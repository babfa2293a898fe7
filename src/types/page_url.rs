//! The address of a page that a kiosk shows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::limits;

/// A page: `https://library.example/catalogue`, also with `http` or `file`.
///
/// Holds only what RFC 3986 lets stand in one and a shell takes as it is between single quotes, because a client writes it
/// into the script that starts its browser.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PageUrl(String);

/// The text was not the address of a page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the address of a page; write it with `https://`, `http://` or `file://`, without spaces and quotes, such as `{example}`",
    example = PageUrl::EXAMPLE
)]
pub struct BadPageUrl(pub String);

impl PageUrl {
    pub const EXAMPLE: &str = "https://library.example/";

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PageUrl {
    type Err = BadPageUrl;

    fn from_str(text: &str) -> Result<Self, BadPageUrl> {
        let rest = ["https://", "http://", "file:///"].iter().find_map(|start| text.strip_prefix(start));
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&()*+,;=%".contains(&byte);
        let fits = text.len() <= limits::PAGE_URL
            && text.bytes().all(allowed)
            && rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '['));
        fits.then(|| Self(text.to_owned()))
            .ok_or_else(|| BadPageUrl(text.chars().take(limits::NAME_SHOWN).collect()))
    }
}

impl TryFrom<String> for PageUrl {
    type Error = BadPageUrl;

    fn try_from(text: String) -> Result<Self, BadPageUrl> {
        text.parse()
    }
}

impl From<PageUrl> for String {
    fn from(url: PageUrl) -> Self {
        url.0
    }
}

impl fmt::Display for PageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_page_is_an_address_and_nothing_else() {
        for good in
            [PageUrl::EXAMPLE, "http://10.0.0.1:8080/a?b=c&d=%20#e", "file:///usr/share/doc/index.html"]
        {
            assert_eq!(good.parse::<PageUrl>().expect("a page").as_str(), good);
        }
        for bad in [
            "",
            "library.example",
            "https://",
            "https:///x",
            "javascript:alert(1)",
            "https://a b",
            "https://a'b",
            "ftp://a",
        ] {
            assert!(bad.parse::<PageUrl>().is_err(), "{bad}");
        }
        assert_eq!(
            "www.example".parse::<PageUrl>().expect_err("no scheme").to_string(),
            "`www.example` is not the address of a page; write it with `https://`, `http://` or `file://`, without spaces \
             and quotes, such as `https://library.example/`"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever somebody types, what is taken cannot leave the quotes of a script or a line of a file.
        #[test]
        fn nothing_leaves_the_quotes(text in "(https?://)?[ -~\\n'\"\\\\]{0,60}") {
            if let Ok(page) = text.parse::<PageUrl>() {
                prop_assert!(!page.as_str().contains(['\'', '"', '\\', ' ', '\n', '`', '<']));
            }
        }
    }
}
