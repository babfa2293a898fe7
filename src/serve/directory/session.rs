//! One connection to a server of a directory.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ldap3::adapters::{Adapter, EntriesOnly, PagedResults};
use ldap3::exop::PasswordModify;
use ldap3::{
    Ldap, LdapConnAsync, LdapConnSettings, LdapError, LdapResult, Mod, Scope, SearchEntry, StdStream,
};
use rustls::{CertificateError, ClientConfig};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::Use;
use super::wire::{self, Fault, NoTls};
use crate::config::directory::{Directory as Settings, Kind, Server as Address, Tls, secret_is_kept};
use crate::service::directory::{Change, Changed, Checked, Entry, Query, Stage, Trouble};
use crate::types::{Secret, chain, limits};

/// Result codes (RFC 4511 appendix A).
const TIME_LIMIT: u32 = 3;
const SIZE_LIMIT: u32 = 4;
const STRONGER_AUTH: u32 = 8;
const REFERRAL: u32 = 10;
const CONFIDENTIALITY: u32 = 13;
const NO_SUCH_OBJECT: u32 = 32;
const INVALID_CREDENTIALS: u32 = 49;
const INSUFFICIENT_ACCESS: u32 = 50;
const BUSY: u32 = 51;
const UNAVAILABLE: u32 = 52;

/// What to do about a server that does not speak TLS.
const LOOK_AT_TLS: &str =
    "look at `tls` and the port: 636 speaks TLS from the start (ldaps), 389 after a word (starttls)";

/// A connection.
pub struct Session {
    ldap: Ldap,
    server: String,
    patience: Duration,
    fault: Fault,
}

/// Why there is no answer.
pub enum Weak {
    /// The server said so.
    Answered(Trouble),
    /// The connection is dead: another may do better.
    Lost(Trouble),
}

impl Weak {
    pub fn into_trouble(self) -> Trouble {
        match self {
            Self::Answered(trouble) | Self::Lost(trouble) => trouble,
        }
    }
}

fn trouble(stage: Stage, what: impl Into<String>, remedy: impl Into<String>) -> Trouble {
    Trouble { stage, what: what.into(), remedy: remedy.into() }
}

/// The server, over TCP.
pub async fn reach(settings: &Settings, server: &Address) -> Result<TcpStream, Trouble> {
    let (host, port) = (&server.host, server.port(settings.tls));
    let failed = |why: String| {
        let what = format!("`{host}` does not answer on port {port} ({why})");
        trouble(
            Stage::Connect,
            what,
            "look at the name, the port, a firewall in between, and whether the server runs",
        )
    };
    let connected = timeout(settings.timeout, TcpStream::connect((host.as_str(), port))).await;
    let stream = connected
        .map_err(|_| failed(format!("nothing within {} s", settings.timeout.as_secs())))?
        .map_err(|error| failed(chain(&error)))?;
    // A log-in is a few short messages, and somebody waits for it.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Which connection a password is changed on: Active Directory takes it also from somebody whose own has run out, who
/// cannot log in.
pub fn changes_on(settings: &Settings) -> Use {
    match settings.kind {
        Kind::Posix => Use::Checking,
        Kind::ActiveDirectory => Use::Asking,
    }
}

impl Session {
    /// Puts LDAP, and TLS if there is to be any, on a connection.
    pub async fn open(
        handle: &Handle,
        settings: &Settings,
        server: &Address,
        stream: TcpStream,
        tls: Option<Arc<ClientConfig>>,
    ) -> Result<Self, Trouble> {
        let broken = |error: &dyn std::error::Error| {
            let what = format!("no connection to `{}` can be made ({})", server.host, chain(error));
            trouble(Stage::Connect, what, "look at the memory and the open files of this router")
        };
        let bounded = match tls {
            None => wire::bounded(handle, stream),
            Some(config) => {
                let first = settings.tls == Tls::StartTls;
                let secured = timeout(settings.timeout, wire::secure(&server.host, config, stream, first));
                let secured = secured.await.map_err(|_| {
                    let what = format!("`{}` says nothing to TLS", server.host);
                    trouble(Stage::Tls, what, LOOK_AT_TLS)
                })?;
                wire::bounded(handle, secured.map_err(|error| tls_trouble(settings, server, &error))?)
            }
        };
        let (stream, fault) = bounded.map_err(|error| broken(&error))?;
        // A name of no meaning: the library has its end of a pair.
        let how = LdapConnSettings::new().set_std_stream(StdStream::Unix(stream));
        let opened = LdapConnAsync::with_settings(how, "ldapi://directory").await;
        let (connection, ldap) = opened.map_err(|error| broken(&error))?;
        handle.spawn(async move {
            if let Err(error) = connection.drive().await {
                tracing::debug!(error = chain(&error), "a connection to the directory ended");
            }
        });
        Ok(Self { ldap, server: server.host.clone(), patience: settings.timeout, fault })
    }

    pub fn is_closed(&mut self) -> bool {
        self.ldap.is_closed()
    }

    /// Logs in as Bramble.
    pub async fn bind_as_bramble(&mut self, settings: &Settings) -> Result<(), Trouble> {
        let Some(bind_dn) = &settings.bind_dn else { return Ok(()) };
        let secret = secret(settings)?;
        let bound = self.ldap.with_timeout(self.patience).simple_bind(bind_dn, secret.expose()).await;
        let result = bound.map_err(|error| self.lost(&error))?;
        match result.rc {
            0 => Ok(()),
            INVALID_CREDENTIALS => Err(trouble(
                Stage::Bind,
                format!("`{}` does not let `{bind_dn}` in", self.server),
                format!("look at `bind_dn` and at the password in `{}`", settings.secret_file.display()),
            )),
            STRONGER_AUTH | CONFIDENTIALITY => Err(wants_tls(&self.server)),
            _ => Err(trouble(
                Stage::Bind,
                self.says(&result),
                "look at `bind_dn` and at the log of the server",
            )),
        }
    }

    /// Everything that `query` finds, a page at a time.
    pub async fn search(mut self, settings: &Settings, query: Query<'_>) -> Result<(Self, Vec<Entry>), Weak> {
        let adapters: Vec<Box<dyn Adapter<'_, _, _>>> =
            vec![Box::new(EntriesOnly::new()), Box::new(PagedResults::new(limits::DIRECTORY_PAGE))];
        let attributes = query.attributes.to_vec();
        let started = self
            .ldap
            .with_timeout(self.patience)
            .streaming_search_with(adapters, query.base, Scope::Subtree, query.filter, attributes)
            .await;
        let mut stream = started.map_err(|error| match error {
            LdapError::FilterParsing => Weak::Answered(trouble(
                Stage::Search,
                format!("`{}` is not a search filter", query.filter),
                "look at `filter` and `group_filter`",
            )),
            error => Weak::Lost(self.lost(&error)),
        })?;
        let (mut entries, mut bytes) = (Vec::new(), 0);
        loop {
            match stream.next().await {
                Ok(Some(found)) => {
                    let entry = Entry::from(SearchEntry::construct(found));
                    bytes += entry.bytes();
                    entries.push(entry);
                    if entries.len() > query.most || bytes > limits::DIRECTORY_ANSWER {
                        let what = format!("more than {} entries match {}", query.most, query.filter);
                        let remedy = "narrow `base`, or `filter` and `group_filter`";
                        return Err(Weak::Answered(trouble(Stage::Search, what, remedy)));
                    }
                }
                Ok(None) => break,
                Err(error) => return Err(Weak::Lost(self.lost(&error))),
            }
        }
        let result = stream.finish().await;
        match result.rc {
            0 => Ok((self, entries)),
            _ => Err(self.search_failed(settings, query, &result)),
        }
    }

    fn search_failed(&self, settings: &Settings, query: Query<'_>, result: &LdapResult) -> Weak {
        let base = query.base;
        let (what, remedy) = match result.rc {
            NO_SUCH_OBJECT => (
                format!("`{}` has no entry `{base}`", self.server),
                "look at `base` and `group_base`, and whether `bind_dn` may read there".to_owned(),
            ),
            REFERRAL => (
                format!("`{}` has no `{base}` and names another server for it", self.server),
                "add that server as `list server`".to_owned(),
            ),
            SIZE_LIMIT | TIME_LIMIT => (
                format!("`{}` cuts its answer off ({})", self.server, self.says(result)),
                "let `bind_dn` read more there, or narrow `base` and `filter`".to_owned(),
            ),
            // What Active Directory says to somebody who has not logged in.
            1 if settings.bind_dn.is_none() => (
                format!("`{}` tells nobody in particular anything", self.server),
                "set `bind_dn`, and its password in `secret_file`".to_owned(),
            ),
            INSUFFICIENT_ACCESS => (self.says(result), format!("let `bind_dn` read below `{base}`")),
            BUSY | UNAVAILABLE => {
                return Weak::Lost(trouble(Stage::Connect, self.says(result), "wait, or look at its log"));
            }
            _ => (self.says(result), "look at `base`, `filter` and the log of the server".to_owned()),
        };
        Weak::Answered(trouble(Stage::Search, what, remedy))
    }

    /// Logs in with somebody's password.
    pub async fn check(
        mut self,
        settings: &Settings,
        dn: &str,
        password: &Secret,
    ) -> Result<(Self, Checked), Weak> {
        let bound = self.ldap.with_timeout(self.patience).simple_bind(dn, password.expose()).await;
        let result = bound.map_err(|error| Weak::Lost(self.lost(&error)))?;
        let checked = match result.rc {
            0 => Checked::Right,
            INVALID_CREDENTIALS => match settings.kind {
                Kind::Posix => Checked::Wrong,
                Kind::ActiveDirectory => active_directory(&result.text),
            },
            STRONGER_AUTH | CONFIDENTIALITY => return Err(Weak::Answered(wants_tls(&self.server))),
            BUSY | UNAVAILABLE => {
                return Err(Weak::Lost(trouble(
                    Stage::Connect,
                    self.says(&result),
                    "wait, or look at its log",
                )));
            }
            NO_SUCH_OBJECT => Checked::Wrong,
            _ => {
                let remedy = "look at the account in the directory, and at the log of the server";
                return Err(Weak::Answered(trouble(Stage::Search, self.says(&result), remedy)));
            }
        };
        Ok((self, checked))
    }

    /// Replaces somebody's password.
    pub async fn change(mut self, settings: &Settings, change: Change<'_>) -> Result<(Self, Changed), Weak> {
        let Change { dn, old, new, today } = change;
        let result = match settings.kind {
            Kind::Posix => {
                let (session, checked) = self.check(settings, dn, old).await?;
                self = session;
                if checked != Checked::Right {
                    return Ok((
                        self,
                        Changed::Refused("that name or password is not right; try again".to_owned()),
                    ));
                }
                let request = PasswordModify {
                    user_id: Some(dn),
                    old_pass: Some(old.expose()),
                    new_pass: Some(new.expose()),
                };
                self.ldap.with_timeout(self.patience).extended(request).await.map(|answer| answer.1)
            }
            Kind::ActiveDirectory => {
                let quoted = |password: &Secret| -> Zeroizing<Vec<u8>> {
                    let quoted = Zeroizing::new(format!("\"{}\"", password.expose()));
                    Zeroizing::new(quoted.encode_utf16().flat_map(u16::to_le_bytes).collect())
                };
                let (old, new) = (quoted(old), quoted(new));
                let attribute = b"unicodePwd".as_slice();
                let mods = vec![
                    Mod::Delete(attribute, HashSet::from([old.as_slice()])),
                    Mod::Add(attribute, HashSet::from([new.as_slice()])),
                ];
                self.ldap.with_timeout(self.patience).modify(dn, mods).await
            }
        };
        let result = result.map_err(|error| Weak::Lost(self.lost(&error)))?;
        let changed = if result.rc == 0 {
            self.date(dn, today).await;
            Changed::Done
        } else {
            tracing::info!(server = self.server, says = self.says(&result), "a password was not changed");
            Changed::Refused(refused_new(&result))
        };
        Ok((self, changed))
    }

    /// Has the entry say that its password was changed `today`, as whoever has logged in: it was changed, whatever comes of
    /// this.
    async fn date(&mut self, dn: &str, today: Option<i64>) {
        let Some(today) = today.map(|day| day.to_string()) else { return };
        let mods = vec![Mod::Replace("shadowLastChange", HashSet::from([today.as_str()]))];
        let dated = self.ldap.with_timeout(self.patience).modify(dn, mods).await;
        let says = match dated {
            Ok(result) if result.rc == 0 => return,
            Ok(result) => self.says(&result),
            Err(error) => self.lost(&error).to_string(),
        };
        tracing::warn!(
            dn,
            says,
            "the directory does not let somebody note when they changed their password; if one was due, it asks again at the \
             next log-in: let people write their own `shadowLastChange`"
        );
    }

    /// The server's own words, cut short: they are shown to people and never hold a password that was sent.
    fn says(&self, result: &LdapResult) -> String {
        let text: String = result.text.chars().filter(|c| !c.is_control()).take(limits::NAME_SHOWN).collect();
        let text = if text.is_empty() { "without a word".to_owned() } else { format!("`{text}`") };
        format!("`{}` says no: {text} (LDAP result {})", self.server, result.rc)
    }

    fn lost(&self, error: &LdapError) -> Trouble {
        let why = match error {
            _ if self.fault.get().is_some() => self.fault.get().unwrap_or_default().to_owned(),
            LdapError::Timeout { .. } => format!("nothing within {} s", self.patience.as_secs()),
            // The library's words for a channel of its own.
            LdapError::OpSend { .. } | LdapError::ResultRecv { .. } | LdapError::EndOfStream => {
                "it closed the connection".to_owned()
            }
            error => chain(error),
        };
        let what = format!("`{}` does not answer ({why})", self.server);
        trouble(Stage::Connect, what, "look at whether the server runs, and at its log")
    }
}

/// A password that Active Directory has refused, by the number in its words.
fn active_directory(text: &str) -> Checked {
    let data = text.split("data ").nth(1).and_then(|rest| rest.split([',', ' ']).next());
    match data {
        Some("533" | "775") => Checked::Disabled,
        Some("701") => Checked::Expired,
        Some("532" | "773") => Checked::MustChange,
        _ => Checked::Wrong,
    }
}

/// What is said to somebody whose new password was refused.
fn refused_new(result: &LdapResult) -> String {
    match result.rc {
        19 => "the directory does not take this password; choose a longer or less common one".to_owned(),
        _ => "passwords of this directory cannot be changed here; ask your teacher where".to_owned(),
    }
}

fn wants_tls(server: &str) -> Trouble {
    let what = format!("`{server}` takes no password without TLS");
    trouble(Stage::Bind, what, "set `tls` to `ldaps` or `starttls`")
}

fn tls_trouble(settings: &Settings, server: &Address, error: &NoTls) -> Trouble {
    let host = &server.host;
    let ca_file = settings.ca_file.display();
    let rustls = match error {
        NoTls::Io(source) => source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()),
        NoTls::Refused(_) | NoTls::NoAnswer => None,
    };
    let (what, remedy) = match rustls {
        Some(rustls::Error::InvalidCertificate(bad)) => match bad {
            CertificateError::UnknownIssuer => (
                format!("the certificate of `{host}` is signed by nobody in `{ca_file}`"),
                "set `ca_file` to the certificate of whoever signed it".to_owned(),
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
                format!("the certificate of `{host}` is for another name"),
                "name the server in `list server` as its certificate does".to_owned(),
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
                format!("the certificate of `{host}` has run out"),
                "renew it, or set this router's clock".to_owned(),
            ),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
                format!("the certificate of `{host}` is not valid yet"),
                "set this router's clock".to_owned(),
            ),
            bad => (format!("the certificate of `{host}` is not accepted ({bad:?})"), "renew it".to_owned()),
        },
        _ => match error {
            NoTls::Refused(code) => (
                format!("`{host}` does not begin TLS (LDAP result {code})"),
                "set `tls` to `ldaps`, or give the server a certificate".to_owned(),
            ),
            error => {
                (format!("`{host}` does not speak TLS there ({})", chain(error)), LOOK_AT_TLS.to_owned())
            }
        },
    };
    trouble(Stage::Tls, what, remedy)
}

/// Bramble's own password, from its file.
fn secret(settings: &Settings) -> Result<Secret, Trouble> {
    let failed = |what: String| trouble(Stage::Bind, what, "look at `secret_file`");
    secret_is_kept(&settings.secret_file).map_err(failed)?;
    let file = &settings.secret_file;
    let length = fs_err::metadata(file).map_err(|error| failed(chain(&error)))?.len();
    if length > limits::DIRECTORY_SECRET {
        return Err(failed(format!("`{}` is too long for a password", file.display())));
    }
    let text = fs_err::read_to_string(file).map_err(|error| failed(chain(&error)))?;
    let text = Zeroizing::new(text);
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(failed(format!("the first line of `{}` is empty", file.display())));
    }
    line.parse().map_err(|_| failed(format!("the first line of `{}` is no password", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_active_directory_are_told_apart() {
        let says = |data: &str| {
            format!(
                "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data {data}, v2580"
            )
        };
        #[rustfmt::skip]
        let rows = [
            ("52e", Checked::Wrong), ("525", Checked::Wrong), ("533", Checked::Disabled), ("775", Checked::Disabled),
            ("701", Checked::Expired), ("532", Checked::MustChange), ("773", Checked::MustChange),
        ];
        for (data, expected) in rows {
            assert_eq!(active_directory(&says(data)), expected, "{data}");
        }
        assert_eq!(active_directory(""), Checked::Wrong);
    }
}
