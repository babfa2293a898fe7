//! Keys and certificates that the server makes for itself once, and keeps below `<data>/keys`.
//!
//! Nobody signs them: clients know the certificate of the agents' channel by its fingerprint, which they are given on the
//! kernel command line, and programs that speak LDAP are given theirs as a file. Nothing looks at the dates in them, and
//! they are the widest there are: a router may start in 1970. A lost key is made anew; clients that run then know the
//! old one, and cannot log anybody in until they start again.

use std::fmt;
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::proto::agent::channel::Pin;
use crate::sys;

/// What a server proves itself with, both parts in DER.
#[derive(Clone)]
pub struct KeyPair {
    /// PKCS #8.
    key: Zeroizing<Vec<u8>>,
    certificate: Vec<u8>,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("`{path}` cannot be {doing}; check that the disk is mounted, writable and has space")]
    File {
        path: PathBuf,
        doing: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("a key and a certificate could not be made")]
    Make(#[source] rcgen::Error),
}

impl KeyPair {
    /// The pair called `name` below `data`; made for `names` (host names and addresses) if there is none. The file
    /// `<data>/keys/<name>.crt` is what clients need to trust it.
    pub fn open(data: &Path, name: &str, names: Vec<String>) -> Result<Self, KeyError> {
        let folder = data.join("keys");
        let (key, certificate) = (folder.join(format!("{name}.key")), folder.join(format!("{name}.der")));
        if let (Some(key), Some(certificate)) = (read(&key)?, read(&certificate)?) {
            return Ok(Self { key: Zeroizing::new(key), certificate });
        }
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|source| KeyError::File { path: folder.clone(), doing: "made", source })?;
        let (new, text) = Self::make(names).map_err(KeyError::Make)?;
        write(&key, &new.key)?;
        write(&folder.join(format!("{name}.crt")), text.as_bytes())?;
        // Last: without it the pair counts as not made.
        write(&certificate, &new.certificate)?;
        tracing::info!(file = %folder.join(format!("{name}.crt")).display(), "a certificate was made");
        Ok(new)
    }

    /// Also the certificate as text (RFC 7468), which programs take as a file.
    fn make(names: Vec<String>) -> Result<(Self, String), rcgen::Error> {
        let key = rcgen::KeyPair::generate()?;
        let certificate = rcgen::CertificateParams::new(names)?.self_signed(&key)?;
        let pair = Self { key: Zeroizing::new(key.serialize_der()), certificate: certificate.der().to_vec() };
        Ok((pair, certificate.pem()))
    }

    /// PKCS #8.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// What clients know the certificate by.
    pub fn pin(&self) -> Pin {
        Pin(Sha256::digest(&self.certificate).into())
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").field("key", &"•••").finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, KeyError> {
    match fs_err::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(KeyError::File { path: path.to_owned(), doing: "read", source }),
    }
}

/// For root alone.
fn write(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    sys::whole::put(path, 0o600, |file| file.write_all(bytes)).map_err(|source| KeyError::File {
        path: path.to_owned(),
        doing: "written",
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_pair_stays_and_only_root_reads_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let open = |name| KeyPair::open(dir.path(), name, vec!["192.168.1.1".to_owned()]).expect("a pair");
        let first = open("ldap");
        let again = open("ldap");
        assert_eq!((again.key(), again.certificate()), (first.key(), first.certificate()));
        assert_ne!(open("agent").pin(), first.pin(), "each has its own");
        assert!(!format!("{first:?}").contains("certificate:"), "{first:?}");
        let mode =
            |path: &str| fs_err::metadata(dir.path().join(path)).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode("keys"), mode("keys/ldap.key")), (0o700, 0o600));
        let text = fs_err::read_to_string(dir.path().join("keys/ldap.crt")).expect("text");
        assert!(text.starts_with("-----BEGIN CERTIFICATE-----\nMII"), "{text}");
        fs_err::remove_file(dir.path().join("keys/ldap.der")).expect("removed");
        assert_ne!(open("ldap").certificate(), first.certificate(), "half a pair is none");
    }
}
