//! What a published version leaves out of the draft it is made from, so that it is every client's and nobody's.
//!
//! The draft itself is not changed: a rule only says what is not taken along. Each rule has a name, by which a person can
//! have it left alone. Sources: machine-id(5), hier(7), and what apt, dpkg and systemd keep where.

use std::path::Path;

/// One kind of thing that does not belong in a version.
#[derive(Debug)]
pub struct Rule {
    pub name: &'static str,
    /// For people: what it is.
    pub what: &'static str,
    fate: fn(&[&str]) -> Fate,
}

/// What becomes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Keep,
    LeaveOut,
    /// It stays, without its content.
    Empty,
}

pub const RULES: &[Rule] = &[
    Rule { name: "apt", what: "packages and lists that apt can fetch again", fate: apt },
    Rule { name: "logs", what: "logs", fate: logs },
    Rule { name: "machine-id", what: "the number that tells machines apart", fate: machine_id },
    Rule { name: "host-keys", what: "keys that a machine proves itself with", fate: host_keys },
    Rule { name: "histories", what: "what was typed and looked at", fate: histories },
    Rule { name: "temporary", what: "temporary files", fate: temporary },
    Rule { name: "seeds", what: "secrets that each machine makes for itself", fate: seeds },
];

/// Which rule speaks of the file at `path`, and what becomes of it. Rules in `skip` do not speak. A link is no rule's
/// business: what it leads to has a path of its own.
pub fn fate(path: &Path, is_link: bool, skip: &[String]) -> Option<(&'static Rule, Fate)> {
    let text = path.to_string_lossy();
    if is_link && !["tmp/", "run/", "var/tmp/"].iter().any(|folder| text.starts_with(folder)) {
        return None;
    }
    let parts: Vec<&str> = text.split('/').collect();
    RULES
        .iter()
        .filter(|rule| !skip.iter().any(|name| name == rule.name))
        .map(|rule| (rule, (rule.fate)(&parts)))
        .find(|(_, fate)| *fate != Fate::Keep)
}

fn out_if(yes: bool) -> Fate {
    if yes { Fate::LeaveOut } else { Fate::Keep }
}

fn ends(name: &str, endings: &[&str]) -> bool {
    endings.iter().any(|ending| name.ends_with(ending))
}

fn apt(path: &[&str]) -> Fate {
    out_if(match path {
        ["var", "cache", "apt", "archives", rest @ ..] => {
            matches!(rest, ["partial", _]) || rest.last().is_some_and(|name| ends(name, &[".deb"]))
        }
        ["var", "cache", "apt", name] => ends(name, &[".bin"]),
        ["var", "lib", "apt", "lists", rest @ ..] => !matches!(rest, [] | ["lock" | "partial" | "auxfiles"]),
        _ => false,
    })
}

fn logs(path: &[&str]) -> Fate {
    match path {
        ["var", "log", "journal", _, ..] => Fate::LeaveOut,
        ["var", "log", .., name] if is_rotated(name) => Fate::LeaveOut,
        ["var", "log", _, ..] => Fate::Empty,
        _ => Fate::Keep,
    }
}

/// `syslog.1`, `dpkg.log.2.gz`, `messages.old`.
fn is_rotated(name: &str) -> bool {
    let number = name.rsplit_once('.').is_some_and(|(_, end)| {
        !end.is_empty() && end.len() <= 3 && end.bytes().all(|byte| byte.is_ascii_digit())
    });
    number || ends(name, &[".gz", ".xz", ".zst", ".old"])
}

fn machine_id(path: &[&str]) -> Fate {
    match path {
        // An empty one is filled at each start and kept nowhere.
        ["etc", "machine-id"] => Fate::Empty,
        ["var", "lib", "dbus", "machine-id"] => Fate::LeaveOut,
        _ => Fate::Keep,
    }
}

fn host_keys(path: &[&str]) -> Fate {
    out_if(matches!(path, ["etc", "ssh", name]
        if name.starts_with("ssh_host_") && ends(name, &["_key", "_key.pub"])))
}

fn histories(path: &[&str]) -> Fate {
    let (["root", name @ ..] | ["home", _, name @ ..]) = path else { return Fate::Keep };
    out_if(matches!(
        name,
        [".bash_history"
            | ".ash_history"
            | ".zsh_history"
            | ".python_history"
            | ".node_repl_history"
            | ".lesshst"
            | ".viminfo"
            | ".wget-hsts"
            | ".sudo_as_admin_successful"
            | ".xsession-errors"]
            | [".local", "share", "recently-used.xbel"]
            | [".cache", ..]
    ))
}

fn temporary(path: &[&str]) -> Fate {
    let left_by_nfs = path.last().is_some_and(|name| {
        name.strip_prefix(".nfs")
            .is_some_and(|rest| rest.len() >= 16 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
    });
    out_if(left_by_nfs || matches!(path, ["tmp" | "run", _, ..] | ["var", "tmp", _, ..]))
}

fn seeds(path: &[&str]) -> Fate {
    out_if(matches!(
        path,
        ["var", "lib", "systemd", "random-seed" | "credential.secret"] | ["var", "lib", "dhcpcd", _, ..]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_and_what_does_not() {
        let (out, empty, keep) = (Fate::LeaveOut, Fate::Empty, Fate::Keep);
        #[rustfmt::skip]
        let rows = [
            ("var/cache/apt/archives/scratch_1_arm64.deb", out, "apt"), ("var/cache/apt/archives/lock", keep, ""),
            ("var/cache/apt/archives/partial", keep, ""), ("var/cache/apt/archives/partial/x", out, "apt"),
            ("var/cache/apt/pkgcache.bin", out, "apt"), ("var/lib/apt/lists", keep, ""),
            ("var/lib/apt/lists/mirror.example_dists_trixie_InRelease", out, "apt"), ("var/lib/apt/lists/lock", keep, ""),
            ("var/lib/apt/extended_states", keep, ""),
            ("var/log", keep, ""), ("var/log/syslog", empty, "logs"), ("var/log/syslog.1", out, "logs"),
            ("var/log/apt/history.log.12.gz", out, "logs"), ("var/log/apt", empty, "logs"),
            ("var/log/journal/0123/system.journal", out, "logs"), ("var/log/journal", empty, "logs"),
            ("etc/machine-id", empty, "machine-id"), ("var/lib/dbus/machine-id", out, "machine-id"),
            ("etc/ssh/ssh_host_ed25519_key", out, "host-keys"), ("etc/ssh/ssh_host_ed25519_key.pub", out, "host-keys"),
            ("etc/ssh/sshd_config", keep, ""), ("etc/ssh/ssh_host_alias", keep, ""),
            ("root/.bash_history", out, "histories"), ("home/pi/.bash_history", out, "histories"),
            ("home/pi/.cache/chromium/x", out, "histories"), ("home/pi/.bashrc", keep, ""), ("home/pi", keep, ""),
            ("home/pi/Documents/.bash_history", keep, ""),
            ("tmp", keep, ""), ("tmp/x", out, "temporary"), ("var/tmp/y/z", out, "temporary"), ("run/lock", out, "temporary"),
            ("usr/lib/.nfs0000000000a1b2c300000007", out, "temporary"), ("usr/lib/.nfsroot", keep, ""),
            ("var/lib/systemd/random-seed", out, "seeds"), ("etc/tmp/x", keep, ""), ("", keep, ""),
        ];
        for (path, expected, name) in rows {
            let found = fate(Path::new(path), false, &[]);
            let found = found.map_or((keep, ""), |(rule, fate)| (fate, rule.name));
            assert_eq!(found, (expected, name), "{path}");
            if !name.is_empty() {
                assert!(fate(Path::new(path), false, &[name.to_owned()]).is_none(), "{path}, left alone");
            }
        }
        assert!(fate(Path::new("var/lib/dbus/machine-id"), true, &[]).is_none(), "a link to the emptied one");
        assert!(fate(Path::new("tmp/link"), true, &[]).is_some());
    }
}
