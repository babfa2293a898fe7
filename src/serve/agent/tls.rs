//! TLS 1.3 with the certificate that clients know by its fingerprint.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{ServerConfig, version};

use crate::service::keys::KeyPair;

/// How agents are answered with `key`. The error is one of the key.
pub fn config(key: &KeyPair) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = CertificateDer::from(key.certificate().to_vec());
    let private = PrivatePkcs8KeyDer::from(key.key().to_vec());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], private.into())?;
    // A client connects once a boot: nothing is gained by remembering it.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}
