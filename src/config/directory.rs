//! What a person decided about a directory elsewhere: the section `directory`.
//!
//! The password that Bramble itself logs in with is not here: it stands in a file of its own, because `/etc/config` is
//! shown by web pages and put into backups.

use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::fields::Fields;
use super::problem::Problems;
use super::{Config, Source};
use crate::types::{HostName, limits};

/// The section `directory`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// In the order in which they are tried.
    pub servers: Vec<Server>,
    pub kind: Kind,
    pub tls: Tls,
    pub ca_file: PathBuf,
    pub base: String,
    pub group_base: String,
    /// Who asks; nobody in particular if `None`.
    pub bind_dn: Option<String>,
    pub secret_file: PathBuf,
    pub filter: String,
    pub group_filter: String,
    pub name_attribute: String,
    pub numbers: Numbers,
    /// Groups whose members may log in; empty for everybody.
    pub groups: Vec<String>,
    pub teachers: Vec<String>,
    pub timeout: Duration,
    pub refresh: Duration,
    pub offline: Offline,
    pub offline_time: Duration,
}

/// One server of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub host: String,
    /// `None` for the usual one.
    pub port: Option<u16>,
}

/// What kind of directory it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// LDAP with the attributes of RFC 2307.
    #[default]
    Posix,
    ActiveDirectory,
}

/// How passwords are kept from those on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    #[default]
    Ldaps,
    StartTls,
    Off,
}

/// Where the numbers of people and groups come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Numbers {
    /// `uidNumber` and `gidNumber`.
    #[default]
    Posix,
    /// The last number of `objectSid`.
    Sid,
}

/// What is kept for times when no server answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offline {
    #[default]
    No,
    /// Who there is.
    Names,
    /// Also hashes of passwords that were right.
    Passwords,
}

impl Server {
    pub fn port(&self, tls: Tls) -> u16 {
        self.port.unwrap_or(if tls == Tls::Ldaps { 636 } else { 389 })
    }
}

/// Users of Active Directory: computers are of the same class and of another category.
const AD_PEOPLE: &str = "(&(objectCategory=person)(objectClass=user))";

pub(super) fn directory(fields: &Fields<'_>) -> Directory {
    let kind = match fields.text("kind").as_deref() {
        Some("ad") => Kind::ActiveDirectory,
        _ => Kind::Posix,
    };
    let (people, groups, name, numbers) = match kind {
        Kind::Posix => ("(objectClass=posixAccount)", "(objectClass=posixGroup)", "uid", Numbers::Posix),
        Kind::ActiveDirectory => (AD_PEOPLE, "(objectClass=group)", "sAMAccountName", Numbers::Sid),
    };
    let or = |option, usual: &str| fields.text(option).unwrap_or_else(|| usual.to_owned());
    let base = or("base", "");
    Directory {
        servers: fields.all_text("server").iter().filter_map(|text| server(text)).collect(),
        kind,
        tls: match fields.text("tls").as_deref() {
            Some("starttls") => Tls::StartTls,
            Some("off") => Tls::Off,
            _ => Tls::Ldaps,
        },
        ca_file: fields.path("ca_file").unwrap_or_default(),
        group_base: or("group_base", &base),
        base,
        bind_dn: fields.text("bind_dn"),
        secret_file: fields.path("secret_file").unwrap_or_default(),
        filter: or("filter", people),
        group_filter: or("group_filter", groups),
        name_attribute: or("name_attribute", name),
        numbers: match fields.text("numbers").as_deref() {
            Some("posix") => Numbers::Posix,
            Some("sid") => Numbers::Sid,
            _ => numbers,
        },
        groups: fields.all_text("group"),
        teachers: fields.all_text("teacher_group"),
        timeout: Duration::from_secs(fields.number("timeout").into()),
        refresh: fields.duration("refresh"),
        offline: match fields.text("offline").as_deref() {
            Some("names") => Offline::Names,
            Some("passwords") => Offline::Passwords,
            _ => Offline::No,
        },
        offline_time: fields.duration("offline_time"),
    }
}

/// `host` or `host:port`.
pub(super) fn server(text: &str) -> Option<Server> {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok().filter(|port| *port > 0)?)),
        None => (text, None),
    };
    let label = |label: &str| label.parse::<HostName>().is_ok();
    let named = host.len() <= limits::DOMAIN && host.split('.').all(label);
    // A name of digits alone would be taken for an address, and a wrong one.
    let address = host.parse::<Ipv4Addr>().is_ok();
    let plain = named && !host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    (address || plain).then(|| Server { host: host.to_ascii_lowercase(), port })
}

pub(super) fn is_line(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= limits::LDAP_DN && !text.contains(char::is_control)
}

/// Other directories spell names as they like; what a name means is theirs to say.
pub(super) fn is_entry(text: &str) -> bool {
    let pair = |part: &str| part.split_once('=').is_some_and(|(kind, _)| !kind.trim().is_empty());
    is_line(text) && text.split(',').next().is_some_and(pair)
}

pub(super) fn is_attribute(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

pub(super) fn is_filter(text: &str) -> bool {
    is_line(text) && text.starts_with('(') && ldap3::parse_filter(text).is_ok()
}

/// Whether the file with Bramble's own password can be used; `config_file` is how problems name the configuration.
pub(super) fn look_at_secret(config: &Config, config_file: &str) -> Result<(), Problems> {
    let Directory { bind_dn: Some(_), secret_file, .. } = &config.directory else { return Ok(()) };
    if config.accounts.source != Source::Ldap {
        return Ok(());
    }
    secret_is_kept(secret_file).map_err(|message| {
        let mut problems = Problems::default();
        problems.note_file(config_file, format!("directory.secret_file: {message}"));
        problems
    })
}

/// Whether nobody but its owner, and root, can read a file; or what to do.
pub fn secret_is_kept(file: &Path) -> Result<(), String> {
    let shown = file.display();
    let meta = fs_err::metadata(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!(
            "there is no file `{shown}`; write the password of `bind_dn` into it: `(umask 077; mkdir -p {folder}; cat > {shown})`",
            folder = file.parent().unwrap_or(file).display()
        ),
        _ => format!("`{shown}` cannot be looked at ({error})"),
    })?;
    if meta.mode() & 0o077 != 0 {
        return Err(format!(
            "`{shown}` can be read by others than its owner; whoever could may have seen the password: `chmod 600 {shown}`, \
             and give `bind_dn` another one"
        ));
    }
    if meta.uid() != 0 && meta.uid() != nix::unistd::geteuid().as_raw() {
        return Err(format!("`{shown}` belongs to user {}, not to root; `chown root {shown}`", meta.uid()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn servers_are_names_or_addresses() {
        let read = |text| server(text).map(|server| (server.host, server.port));
        assert_eq!(read("DC1.School.lan"), Some(("dc1.school.lan".to_owned(), None)));
        assert_eq!(read("192.168.1.5:3269"), Some(("192.168.1.5".to_owned(), Some(3269))));
        for text in
            ["", "ldaps://dc1", "dc1:", "dc1:0", "dc1:70000", "192.168.1.256", "a b", "-a", "a..b", "[::1]"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused_with_advice() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("secret");
        let missing = secret_is_kept(&file).expect_err("missing");
        assert!(
            missing.starts_with(&format!("there is no file `{}`; write the password", file.display())),
            "{missing}"
        );
        fs_err::write(&file, "opensesame\n").expect("written");
        let mode = |mode| fs_err::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("set");
        for readable in [0o644, 0o640, 0o604, 0o620] {
            mode(readable);
            let advice = secret_is_kept(&file).expect_err("readable");
            assert!(advice.contains(&format!("`chmod 600 {}`", file.display())), "{advice}");
            assert!(!advice.contains("opensesame"));
        }
        mode(0o600);
        assert_eq!(secret_is_kept(&file), Ok(()));
    }

    #[test]
    fn filters_and_names_are_read_or_refused() {
        for good in ["(uid=*)", "(&(objectClass=user)(!(cn=a\\2ab)))", "(memberOf=cn=7b,ou=groups,dc=x)"] {
            assert!(is_filter(good), "{good}");
        }
        for bad in ["", "uid=*", "(uid=*", "(uid=*))", "(&(a=b)", "()"] {
            assert!(!is_filter(bad), "{bad}");
        }
        assert!(is_entry("OU=Pupils\\, 7B,DC=School,DC=lan") && !is_entry("school.lan") && !is_entry("=x"));
        assert!(is_attribute("sAMAccountName") && !is_attribute("uid)(x=*") && !is_attribute(""));
    }
}
