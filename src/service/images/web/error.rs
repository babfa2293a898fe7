//! Why something did not come from the web, in a word for each thing that can go wrong on the way.
#![expect(
    clippy::disallowed_methods,
    reason = "a certificate that is not valid yet is a matter of the clock"
)]

use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use rustls::CertificateError;
use ureq::http::{Response, StatusCode};
use ureq::{Body, Error};

use super::Client;
use crate::types::{ByteSize, Moment, limits};

/// Why a file was not downloaded.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("`{0}` is not an address of the web; it looks like `https://downloads.raspberrypi.com/….img.xz`")]
    Address(String),
    #[error("`proxy` of the section `catalogue` is not a proxy; write its scheme, name and port")]
    BadProxy,
    #[error(
        "there are no certificates in `{}`, so no server can prove who it is; install the package `ca-bundle`, or set `ca_file` of the section `catalogue`",
        file.display()
    )]
    Roots {
        file: PathBuf,
        #[source]
        source: Option<io::Error>,
    },
    #[error(
        "the name `{host}` cannot be looked up; check the address, and this router's own connection to the internet"
    )]
    Name { host: String },
    #[error("`{host}` refuses connections; it is switched off, or the address has the wrong port")]
    Refused { host: String },
    #[error(
        "`{host}` cannot be reached; check this router's own connection to the internet, and whether a proxy has to be used"
    )]
    Unreachable {
        host: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "the proxy `{proxy}` does not let us through to `{host}` ({says}); check `proxy` of the section `catalogue`, with its name and password"
    )]
    Proxy { proxy: String, host: String, says: String },
    #[error("`{host}` does not answer in time; try again later")]
    Silent { host: String },
    #[error(
        "this router's clock says {now}, and nobody's certificate is valid at that time; set it (LuCI: System), or wait until it has been set over the network"
    )]
    Clock { now: String },
    #[error(
        "`{host}` cannot prove who it is ({says}); is somebody in between, such as a filter of the school's network?"
    )]
    Certificate { host: String, says: String },
    #[error(
        "`{host}` sends us on from TLS to an address without it; that is refused, somebody could change what comes from there"
    )]
    Downgrade { host: String },
    #[error("`{host}` sends us from one address to the next without end")]
    Redirects { host: String },
    #[error("`{url}` is not there ({status}); it has been moved or removed, look the address up again")]
    NotThere { url: String, status: u16 },
    #[error("`{host}` refuses with status {status}{}", advice(*.status))]
    Status { host: String, status: u16 },
    #[error("`{host}` sends more than {} where a list is expected", ByteSize(*.most as u64))]
    TooLong { host: String, most: usize },
    #[error("the download from `{host}` broke off at {}{}, and {why}", ByteSize(*.at), of.map(|of| format!(" of {}", ByteSize(of))).unwrap_or_default())]
    Broken {
        host: String,
        at: u64,
        of: Option<u64>,
        why: &'static str,
        #[source]
        source: Option<io::Error>,
    },
    #[error(
        "`{host}` says that the file has {said} bytes, and has {sent}; try again later, or take it from another server"
    )]
    Length { host: String, said: u64, sent: u64 },
    #[error(
        "the file on `{host}` has {found} bytes, and the catalogue says {wanted}; it was exchanged for another one, look at the catalogue again (`bramble image catalogue --refresh`)"
    )]
    Another { host: String, found: u64, wanted: u64 },
    #[error("the file on `{host}` was exchanged for another one during the download; start again")]
    Changed { host: String },
    #[error("what `{host}` answers is not HTTP; is the address right?")]
    Protocol {
        host: String,
        #[source]
        source: Error,
    },
    #[error("cancelled; nothing was kept")]
    Cancelled,
}

fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => ": the file is not for everybody",
        407 => ": the proxy wants a name and a password; write them into `proxy` of the section `catalogue`",
        429 | 503 => ": it is busy, try again later",
        500..=599 => ": it has a problem of its own, try again later",
        _ => "",
    }
}

impl FetchError {
    /// Whether asking again a moment later can help.
    pub(super) fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Name { .. }
                | Self::Refused { .. }
                | Self::Unreachable { .. }
                | Self::Silent { .. }
                | Self::Protocol { .. }
                | Self::Status { status: 429 | 500..=599, .. }
        )
    }
}

impl Client {
    /// What an answer that did not come was about.
    pub(super) fn refused(&self, source: Error) -> FetchError {
        let host = self.host.clone();
        match source {
            Error::HostNotFound => FetchError::Name { host },
            Error::Timeout(_) => FetchError::Silent { host },
            Error::TooManyRedirects | Error::RedirectFailed => FetchError::Redirects { host },
            Error::RequireHttpsOnly(_) => FetchError::Downgrade { host },
            Error::Rustls(error) => self.not_proven(&error),
            Error::Tls(says) => FetchError::Certificate { host, says: says.to_owned() },
            Error::Io(error) => self.broke(error),
            Error::ConnectProxyFailed(says) => FetchError::Proxy {
                proxy: self.proxy.clone().unwrap_or_default(),
                host,
                says: crate::proto::catalogue::clean(&says, limits::NAME_SHOWN),
            },
            Error::BadUri(_) | Error::Http(_) => {
                FetchError::Address(self.url.chars().take(limits::NAME_SHOWN).collect())
            }
            source => FetchError::Protocol { host, source },
        }
    }

    /// What an error of reading or connecting was about.
    pub(super) fn broke(&self, error: io::Error) -> FetchError {
        let host = self.host.clone();
        let inner = error.get_ref();
        if let Some(tls) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return self.not_proven(tls);
        }
        if inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<Error>) {
            let inner = error.into_inner().and_then(|inner| inner.downcast::<Error>().ok());
            return match inner.map(|inner| *inner) {
                Some(Error::Io(error)) => self.broke(error),
                Some(inner) => self.refused(inner),
                None => FetchError::Silent { host },
            };
        }
        // What the C library says of a name that it cannot look up has no kind of its own.
        if error.raw_os_error().is_none() && error.to_string().contains("lookup address") {
            return FetchError::Name { host };
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => FetchError::Refused { host },
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => FetchError::Silent { host },
            _ => FetchError::Unreachable { host, source: error },
        }
    }

    fn not_proven(&self, error: &rustls::Error) -> FetchError {
        self.not_proven_at(error, Moment::from(SystemTime::now()))
    }

    pub(super) fn not_proven_at(&self, error: &rustls::Error, now: Moment) -> FetchError {
        let host = self.host.clone();
        let about_time = matches!(
            error,
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidYet
                    | CertificateError::NotValidYetContext { .. }
                    | CertificateError::Expired
                    | CertificateError::ExpiredContext { .. }
            )
        );
        if about_time && now < Moment::CLOCK_SET {
            return FetchError::Clock { now: now.to_string() };
        }
        let says = match error {
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                "nobody whom this router knows vouches for it".to_owned()
            }
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => "its certificate is for another name".to_owned(),
            rustls::Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => format!("its certificate has run out; the router's clock says {now}"),
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
            ) => format!("its certificate is not valid yet; the router's clock says {now}"),
            other => other.to_string(),
        };
        FetchError::Certificate { host, says }
    }

    /// The answer, if it has one of the statuses that are wanted.
    pub(super) fn only(
        &self,
        response: Response<Body>,
        wanted: &[StatusCode],
    ) -> Result<Response<Body>, FetchError> {
        let status = response.status();
        if wanted.contains(&status) {
            return Ok(response);
        }
        Err(match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => FetchError::NotThere {
                url: self.url.chars().take(2 * limits::NAME_SHOWN).collect(),
                status: status.as_u16(),
            },
            status if status.is_redirection() => FetchError::Redirects { host: self.host.clone() },
            status => FetchError::Status { host: self.host.clone(), status: status.as_u16() },
        })
    }
}

/// The reason why a download failed, where that is what an error of reading is about; otherwise the error itself.
pub fn reason(error: io::Error) -> Result<FetchError, io::Error> {
    match error.downcast::<FetchError>() {
        Ok(found) => Ok(found),
        Err(error) => match error.downcast::<io::Error>() {
            Ok(inner) => reason(inner),
            Err(error) => Err(error),
        },
    }
}
