//! Where another NFS server has the images.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use super::ImageVersion;
use super::limits::NFS_URL;

/// A pattern for the folder of each version of an image, on a server other than Bramble.
///
/// Reads `nfs://192.168.1.20/export/{image}/{version}`. The address is numeric: a client has no name server yet when it
/// mounts its root. Both placeholders are needed, because every version is a folder of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NfsUrl {
    pub server: Ipv4Addr,
    /// The path, placeholders included.
    pattern: String,
}

/// The text was no such pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` does not say where another NFS server has the images; write its IPv4 address and a path with `{{image}}` and \
     `{{version}}`, such as `{example}`", example = NfsUrl::EXAMPLE
)]
pub struct BadNfsUrl(pub String);

const IMAGE: &str = "{image}";
const VERSION: &str = "{version}";

impl NfsUrl {
    pub const EXAMPLE: &str = "nfs://192.168.1.20/export/{image}/{version}";

    /// Where this version is.
    pub fn path(&self, image: &ImageVersion) -> String {
        self.pattern.replace(IMAGE, image.name.as_str()).replace(VERSION, &image.version.to_string())
    }
}

impl FromStr for NfsUrl {
    type Err = BadNfsUrl;

    fn from_str(text: &str) -> Result<Self, BadNfsUrl> {
        let bad = || BadNfsUrl(text.chars().take(super::limits::NAME_SHOWN).collect());
        let (server, path) =
            text.strip_prefix("nfs://").and_then(|rest| rest.split_once('/')).ok_or_else(bad)?;
        let server = server.parse().map_err(|_| bad())?;
        let once = |placeholder| path.matches(placeholder).count() == 1;
        let plain = path.replace(IMAGE, "").replace(VERSION, "");
        let allowed = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, '{' | '}');
        let fits = text.len() <= NFS_URL
            && once(IMAGE)
            && once(VERSION)
            && plain.chars().all(allowed)
            && !path.split('/').any(|part| part == "..");
        fits.then(|| Self { server, pattern: format!("/{path}") }).ok_or_else(bad)
    }
}

impl fmt::Display for NfsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nfs://{}{}", self.server, self.pattern)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::types::Version;

    #[test]
    fn a_pattern_names_each_version() {
        let image = ImageVersion {
            name: "trixie".parse().expect("a name"),
            version: Version(NonZeroU32::new(3).expect("not zero")),
        };
        #[rustfmt::skip]
        let rows = [
            (NfsUrl::EXAMPLE, "/export/trixie/3"),
            ("nfs://10.0.0.2/{image}/{version}", "/trixie/3"),
            ("nfs://10.0.0.2/vol/{image}-v{version}/root", "/vol/trixie-v3/root"),
        ];
        for (text, path) in rows {
            let url: NfsUrl = text.parse().expect(text);
            assert_eq!((url.path(&image).as_str(), url.to_string().as_str()), (path, text));
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        let long = format!("nfs://10.0.0.2/{}/{{image}}/{{version}}", "x".repeat(NFS_URL));
        for text in [
            "",
            "192.168.1.20:/export/{image}/{version}",
            "nfs://nas/export/{image}/{version}",
            "nfs://192.168.1.20",
            "nfs://192.168.1.20/export/{image}",
            "nfs://192.168.1.20/export/{version}",
            "nfs://192.168.1.20/{image}/{image}/{version}",
            "nfs://192.168.1.20/{image}/{version}/{user}",
            "nfs://192.168.1.20/ex port/{image}/{version}",
            "nfs://192.168.1.20/../{image}/{version}",
            long.as_str(),
        ] {
            let bad = text.parse::<NfsUrl>().expect_err(text);
            assert!(
                bad.to_string().contains("such as `nfs://192.168.1.20/export/{image}/{version}`"),
                "{bad}"
            );
        }
    }
}
