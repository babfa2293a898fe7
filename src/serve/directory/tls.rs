//! TLS towards a directory: who may vouch for its servers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::service::directory::{Stage, Trouble};
use crate::types::chain;

/// The file that was read last, when it was written, and what was made of it: reading two hundred certificates anew for
/// each log-in would take longer than the log-in.
#[derive(Default)]
pub struct Kept(Option<(PathBuf, Option<SystemTime>, Arc<ClientConfig>)>);

impl Kept {
    pub fn config(&mut self, file: &Path) -> Result<Arc<ClientConfig>, Trouble> {
        let written = fs_err::metadata(file).and_then(|meta| meta.modified()).ok();
        if let Some((path, at, config)) = &self.0
            && path == file
            && *at == written
        {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(read(file)?);
        self.0 = Some((file.to_owned(), written, Arc::clone(&config)));
        Ok(config)
    }
}

fn trouble(what: String) -> Trouble {
    let remedy = "set `ca_file` to the certificate of whoever signed those of the servers, in PEM; the package \
                  `ca-bundle` brings those of public authorities";
    Trouble { stage: Stage::Tls, what, remedy: remedy.to_owned() }
}

fn read(file: &Path) -> Result<ClientConfig, Trouble> {
    let shown = file.display();
    let text = fs_err::read(file)
        .map_err(|error| trouble(format!("`ca_file` cannot be read ({})", chain(&error))))?;
    let mut roots = RootCertStore::empty();
    // A bundle may have one that rustls does not take among two hundred that it does.
    for certificate in CertificateDer::pem_slice_iter(&text).flatten() {
        if let Err(error) = roots.add(certificate) {
            tracing::debug!(file = %shown, error = chain(&error), "a certificate is of no use");
        }
    }
    if roots.is_empty() {
        return Err(trouble(format!("there is no certificate in `{shown}`")));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| trouble(chain(&error)))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
