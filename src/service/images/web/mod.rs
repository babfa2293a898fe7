//! What comes from the web: files as streams that outlive broken connections ([`Download`]), and short texts ([`Web::text`]).
//!
//! HTTP is ureq's, TLS is rustls's with the roots of the file that the configuration names. An address that begins in TLS
//! stays in TLS, whatever a server says. A server that says nothing for [`Patience::silent`] is given up for the moment.

mod download;
mod error;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use ureq::config::Config;
use ureq::http::{StatusCode, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Proxy};

pub use self::download::{Download, Stop};
pub use self::error::{FetchError, reason};
use crate::config::{self, catalogue};
use crate::proto::catalogue::is_web;
use crate::service::jobs::Task;
use crate::types::limits;

/// How the web is reached. Clones share the settings.
#[derive(Clone, Debug, Default)]
pub struct Web(Arc<RwLock<Settings>>);

/// What the configuration says of it, and how patient to be.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub proxy: Option<catalogue::Proxy>,
    pub ca_file: PathBuf,
    pub patience: Patience,
}

/// How long to wait for what.
#[derive(Clone, Debug)]
pub struct Patience {
    /// For a name to be looked up, and for a connection.
    pub found: Duration,
    /// For the next bytes.
    pub silent: Duration,
    /// For the whole of a short text.
    pub text: Duration,
    /// Before each try to go on with a download that broke off; when they are used up without a byte, it has failed.
    pub pauses: Vec<Duration>,
}

impl Default for Patience {
    fn default() -> Self {
        let secs = [1, 2, 5, 10, 20, 30, 30, 60];
        Self {
            found: Duration::from_secs(20),
            silent: Duration::from_secs(30),
            text: Duration::from_mins(3),
            pauses: secs.into_iter().map(Duration::from_secs).collect(),
        }
    }
}

impl Web {
    /// Takes the settings of `config` over; a download at work keeps those it began with.
    pub fn configure(&self, config: &config::Catalogue) {
        let mut settings = self.0.write().unwrap_or_else(PoisonError::into_inner);
        settings.proxy.clone_from(&config.proxy);
        settings.ca_file.clone_from(&config.ca_file);
    }

    pub fn set(&self, settings: Settings) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    fn settings(&self) -> Settings {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks for a text of at most `most` bytes. `task` is heard on the way: it may be cancelled.
    pub fn text(&self, url: &str, most: usize, task: &Task) -> Result<Vec<u8>, FetchError> {
        let client = Client::new(url, self.settings())?;
        let request = client.agent.get(url).config().timeout_global(Some(client.patience.text)).build();
        let response = request.call().map_err(|error| client.refused(error))?;
        let response = client.only(response, &[StatusCode::OK])?;
        let (mut bytes, mut piece) = (Vec::new(), [0; 8192]);
        let mut body = response.into_body().into_reader();
        loop {
            task.go_on().map_err(|_| FetchError::Cancelled)?;
            let got = body.read(&mut piece).map_err(|error| client.broke(error))?;
            if got == 0 {
                return Ok(bytes);
            }
            bytes.extend_from_slice(piece.get(..got).unwrap_or_default());
            if bytes.len() > most {
                return Err(FetchError::TooLong { host: client.host, most });
            }
        }
    }
}

/// What asks one server, and knows how to say what went wrong.
pub(super) struct Client {
    agent: Agent,
    url: String,
    host: String,
    proxy: Option<String>,
    patience: Patience,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Client {
    fn new(url: &str, settings: Settings) -> Result<Self, FetchError> {
        let shown = || FetchError::Address(url.chars().take(limits::NAME_SHOWN).collect());
        if !is_web(url) {
            return Err(shown());
        }
        let uri: Uri = url.parse().map_err(|_| shown())?;
        let host = uri.host().ok_or_else(shown)?.to_owned();
        let in_tls = uri.scheme_str().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
        let proxy = settings.proxy.as_ref().map(|proxy| Proxy::new(&proxy.0)).transpose();
        let proxy = proxy.map_err(|_| FetchError::BadProxy)?;
        let shown_proxy = proxy.as_ref().map(|proxy| format!("{}:{}", proxy.host(), proxy.port()));
        let config = Config::builder()
            .http_status_as_error(false)
            .https_only(in_tls)
            .max_redirects(limits::REDIRECTS)
            .max_response_header_size(limits::HTTP_HEAD)
            .max_idle_connections(0)
            .proxy(proxy)
            .timeout_resolve(Some(settings.patience.found))
            .timeout_connect(Some(settings.patience.found))
            .timeout_recv_response(Some(settings.patience.silent))
            .timeout_per_read(Some(settings.patience.silent))
            .timeout_per_write(Some(settings.patience.silent))
            .user_agent(concat!("bramble/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity");
        let config = if in_tls { config.tls_config(tls(&settings)?) } else { config };
        Ok(Self {
            agent: config.build().new_agent(),
            url: url.to_owned(),
            host,
            proxy: shown_proxy,
            patience: settings.patience,
        })
    }
}

/// TLS with the roots of the configured file, and the cryptography that the rest of the program uses.
fn tls(settings: &Settings) -> Result<TlsConfig, FetchError> {
    let roots = |source| FetchError::Roots { file: settings.ca_file.clone(), source };
    let text = fs_err::read(&settings.ca_file).map_err(|error| roots(Some(error)))?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .flatten()
        .map(|certificate| Certificate::from_der(&certificate).to_owned())
        .collect();
    if certificates.is_empty() {
        return Err(roots(None));
    }
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(certificates)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}
