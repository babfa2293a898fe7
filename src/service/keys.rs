//! The server's key and certificate for the agents' channel, made once and kept in `<data>/keys`.
//!
//! Clients know the certificate by its fingerprint, which they are given on the kernel command line, so nothing signs it,
//! and nothing in it is looked at: neither names nor dates (a router starts in 1970). A lost key is made anew; clients that
//! run then know the old one, and cannot log anybody in until they start again.

use std::fmt;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::proto::agent::channel::Pin;

/// The files below `<data>/keys`, in DER.
const KEY: &str = "agent-key.der";
const CERTIFICATE: &str = "agent-certificate.der";

/// What the server proves itself with.
#[derive(Clone)]
pub struct ChannelKey {
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
    #[error("a key for the agents' channel could not be made")]
    Make(#[source] rcgen::Error),
}

impl ChannelKey {
    /// The key below `data`, made if there is none.
    pub fn open(data: &Path) -> Result<Self, KeyError> {
        let folder = data.join("keys");
        if let (Some(key), Some(certificate)) = (read(&folder.join(KEY))?, read(&folder.join(CERTIFICATE))?) {
            return Ok(Self { key: Zeroizing::new(key), certificate });
        }
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|source| KeyError::File { path: folder.clone(), doing: "made", source })?;
        let new = Self::make().map_err(KeyError::Make)?;
        // The certificate last: without it the key counts as not made.
        write(&folder, KEY, &new.key)?;
        write(&folder, CERTIFICATE, &new.certificate)?;
        tracing::info!(pin = %new.pin(), "a key for the agents' channel was made");
        Ok(new)
    }

    fn make() -> Result<Self, rcgen::Error> {
        let key = rcgen::KeyPair::generate()?;
        let certificate = rcgen::CertificateParams::new(vec!["bramble".to_owned()])?.self_signed(&key)?;
        Ok(Self { key: Zeroizing::new(key.serialize_der()), certificate: certificate.der().to_vec() })
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

impl fmt::Debug for ChannelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelKey").field("pin", &self.pin()).finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, KeyError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(KeyError::File { path: path.to_owned(), doing: "read", source }),
    }
}

/// On the disk, whole or not at all.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), KeyError> {
    let (path, new) = (folder.join(name), folder.join(format!(".{name}.new")));
    let written = || {
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        std::fs::File::open(folder)?.sync_all()
    };
    written().map_err(|source| KeyError::File { path, doing: "written", source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_key_stays_and_only_root_reads_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = ChannelKey::open(dir.path()).expect("made");
        let again = ChannelKey::open(dir.path()).expect("read");
        assert_eq!((again.key(), again.certificate()), (first.key(), first.certificate()));
        assert_eq!(again.pin(), first.pin());
        let mode = |path: &str| {
            std::fs::metadata(dir.path().join(path)).expect("there").permissions().mode() & 0o777
        };
        assert_eq!((mode("keys"), mode("keys/agent-key.der")), (0o700, 0o600));
        assert!(!format!("{first:?}").contains("key:"), "{first:?}");
        std::fs::remove_file(dir.path().join("keys/agent-certificate.der")).expect("removed");
        assert_ne!(ChannelKey::open(dir.path()).expect("made").pin(), first.pin(), "half a pair is none");
    }
}
