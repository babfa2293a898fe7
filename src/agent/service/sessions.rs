//! Who is logged in at this client: what is open, and by which process it will be closed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use serde::{Deserialize, Serialize};

use super::{processes, tunnel};
use crate::types::{SessionId, SessionKind, UserName};

/// Kept for a service that is started again under people who are logged in.
const KEPT: &str = "/run/bramble/sessions.json";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub id: SessionId,
    pub name: UserName,
    pub uid: u32,
    pub terminal: String,
    /// The process that opened it, and when that was started.
    pub opener: u32,
    pub opener_started: Option<u64>,
    /// It has been closed, and what it leaves behind is being taken away.
    pub closing: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    pub open: Vec<Session>,
    /// What is mounted for whom, in the order of mounting.
    pub mounted: BTreeMap<UserName, Vec<String>>,
    /// What it is mounted through.
    #[serde(default)]
    pub tunnels: BTreeMap<UserName, tunnel::Kept>,
}

impl Sessions {
    /// What an earlier service on this client left.
    pub fn kept() -> Self {
        fs::read(KEPT).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    pub fn keep(&self) -> io::Result<()> {
        let fresh = format!("{KEPT}.new");
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(&serde_json::to_vec(self).map_err(io::Error::other)?)?;
        fs::rename(fresh, KEPT)
    }

    pub fn ids(&self) -> Vec<SessionId> {
        self.open.iter().map(|session| session.id).collect()
    }

    /// Whether the person is logged in, with a session that is not being closed.
    pub fn is_here(&self, name: &UserName) -> bool {
        self.open.iter().any(|session| session.name == *name && !session.closing)
    }

    /// The latest session of the person.
    pub fn newest_of(&self, name: &UserName) -> Option<SessionId> {
        self.open.iter().filter(|session| session.name == *name).map(|session| session.id).max()
    }

    /// Whether sessions of the person are open, and none that is later than `newest`: what runs is theirs.
    pub fn is_as_old(&self, name: &UserName, newest: SessionId) -> bool {
        self.newest_of(name).is_some_and(|now| now <= newest)
    }

    /// The session that this process opened for this person; the latest, if it opened several.
    pub fn opened_by(&mut self, name: &UserName, opener: u32) -> Option<&mut Session> {
        let fits =
            |session: &&mut Session| session.name == *name && session.opener == opener && !session.closing;
        self.open.iter_mut().rev().find(fits)
    }

    pub fn close(&mut self, id: SessionId) {
        self.open.retain(|session| session.id != id);
    }

    /// Sessions whose opener ended without closing them.
    pub fn forsaken(&self) -> Vec<Session> {
        let gone = |session: &&Session| {
            !session.closing
                && (session.opener_started.is_none()
                    || processes::started(session.opener) != session.opener_started)
        };
        self.open.iter().filter(gone).cloned().collect()
    }
}

/// How somebody is logged in, from the name of the PAM service.
pub fn kind(service: &str) -> SessionKind {
    match service {
        "login" | "remote" => SessionKind::Console,
        "sshd" => SessionKind::Ssh,
        _ if ["lightdm", "gdm", "sddm", "greetd", "xdm", "lxdm", "nodm"]
            .iter()
            .any(|name| service.starts_with(name)) =>
        {
            SessionKind::Desktop
        }
        _ => SessionKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers and names.
    type Open = &'static [(u64, &'static str)];

    fn session(id: u64, name: &str, opener: u32) -> Session {
        Session {
            id: SessionId(id),
            name: name.parse().expect("a name"),
            uid: 10_000,
            terminal: "/dev/tty1".to_owned(),
            opener,
            opener_started: processes::started(opener),
            closing: false,
        }
    }

    #[test]
    fn whoever_logs_in_again_while_they_are_logged_out_is_left_alone() {
        let name = |name: &str| name.parse().expect("a name");
        let of = |ids: Open| Sessions {
            open: ids.iter().map(|(id, name)| session(*id, name, 1)).collect(),
            ..Sessions::default()
        };
        let told = of(&[(3, "anna"), (5, "anna"), (6, "ben")]);
        assert_eq!(told.newest_of(&name("anna")), Some(SessionId(5)));
        assert_eq!(told.newest_of(&name("eva")), None);
        #[rustfmt::skip]
        let rows: [(&str, Open, bool); 6] = [
            ("as it was told",                     &[(3, "anna"), (5, "anna"), (6, "ben")], true),
            ("one of two is over",                 &[(3, "anna"), (6, "ben")],              true),
            ("the other of two is over",           &[(5, "anna")],                          true),
            ("somebody else has come",             &[(5, "anna"), (7, "ben")],              true),
            ("all are over",                       &[(6, "ben")],                           false),
            ("she is here again",                  &[(5, "anna"), (7, "anna")],             false),
        ];
        for (shows, open, goes_on) in rows {
            assert_eq!(of(open).is_as_old(&name("anna"), SessionId(5)), goes_on, "{shows}");
        }
    }

    #[test]
    fn a_session_belongs_to_its_opener() {
        let own = std::process::id();
        let anna = "anna".parse().expect("a name");
        let mut sessions = Sessions {
            open: vec![session(1, "anna", own), session(2, "anna", u32::MAX)],
            ..Sessions::default()
        };
        assert_eq!(sessions.forsaken().iter().map(|session| session.id.0).collect::<Vec<_>>(), [2]);
        sessions.opened_by(&anna, own).expect("open").closing = true;
        assert!(sessions.opened_by(&anna, own).is_none() && sessions.is_here(&anna));
        sessions.close(SessionId(2));
        assert!(!sessions.is_here(&anna));
        assert_eq!(sessions.ids(), [SessionId(1)]);
    }

    #[test]
    fn the_service_tells_how() {
        for (service, expected) in [
            ("login", SessionKind::Console),
            ("lightdm-autologin", SessionKind::Desktop),
            ("gdm-password", SessionKind::Desktop),
            ("sshd", SessionKind::Ssh),
            ("su-l", SessionKind::Other),
        ] {
            assert_eq!(kind(service), expected, "{service}");
        }
    }
}
