//! What can happen on a client's way from power-on to log-in, and how that reads.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::{ByteSize, ImageVersion, SessionId, SessionKind, Stage, UserName, limits};

/// One thing that happened on a client's way from power-on to log-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Happening {
    /// DHCPDISCOVER or BOOTP request; `stage` says which of the up to four DHCP clients of one boot this is.
    Discover {
        stage: Stage,
    },
    Offer {
        ip: Ipv4Addr,
    },
    /// DHCPACK.
    Lease {
        ip: Ipv4Addr,
        stage: Stage,
    },
    /// DHCPNAK or silence, with the reason.
    Refused {
        reason: String,
    },
    /// A boot file was asked for, and the client has no image to take one from, or one that is not here.
    NothingToBoot {
        reason: String,
    },
    /// A boot file was asked for, and could not be read.
    Unreadable {
        reason: String,
    },
    /// A file over TFTP, ended. `probe`: the client only tested whether it exists.
    File {
        /// Not called `name` where it is written down: beside it stands the client's. Rows of earlier versions have that.
        #[serde(rename = "file", alias = "name")]
        name: String,
        bytes: u64,
        #[serde(rename = "ms", with = "millis")]
        took: Duration,
        outcome: FileOutcome,
    },
    /// The root file system was asked for (MOUNT).
    Mount {
        image: ImageVersion,
    },
    /// The agent reported.
    Agent {
        phase: String,
        message: String,
    },
    /// Somebody logged in.
    LoggedIn {
        user: UserName,
        session: SessionId,
        on: SessionKind,
    },
    LoggedOut {
        user: UserName,
        session: SessionId,
        why: String,
    },
    /// Somebody was not let in, and was told why.
    LoginRefused {
        user: UserName,
        why: String,
    },
    /// Somebody who is logged in could not save something: there is no room left.
    HomeFull {
        user: UserName,
    },
    /// A teacher looks at the screen.
    ScreenSeen {
        from: Ipv4Addr,
    },
    ScreenLeft {
        from: Ipv4Addr,
        why: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileOutcome {
    Complete,
    Missing,
    Probe,
    Silent,
    Refused,
}

/// How much it matters to a person who looks for what went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// One of the many steps of every boot.
    Detail,
    /// How far a client came, and who sat there.
    Matter,
    /// Something went wrong.
    Trouble,
}

/// The text was not a weight.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of `detail`, `matter` and `trouble`")]
pub struct BadWeight(String);

impl FromStr for Weight {
    type Err = BadWeight;

    fn from_str(text: &str) -> Result<Self, BadWeight> {
        match text {
            "detail" => Ok(Self::Detail),
            "matter" => Ok(Self::Matter),
            "trouble" => Ok(Self::Trouble),
            _ => Err(BadWeight(text.chars().take(limits::NAME_SHOWN).collect())),
        }
    }
}

impl Happening {
    pub fn weight(&self) -> Weight {
        match self {
            Self::Refused { .. }
            | Self::NothingToBoot { .. }
            | Self::Unreadable { .. }
            | Self::LoginRefused { .. }
            | Self::HomeFull { .. }
            | Self::File { outcome: FileOutcome::Silent, .. } => Weight::Trouble,
            // Of the agent's steps the last one matters, and what went wrong.
            Self::Agent { phase, .. } => match phase.as_str() {
                "trouble" | "failed" => Weight::Trouble,
                "handover" | "off" => Weight::Matter,
                _ => Weight::Detail,
            },
            Self::Discover { .. } | Self::Offer { .. } | Self::File { .. } => Weight::Detail,
            Self::Lease { .. }
            | Self::Mount { .. }
            | Self::LoggedIn { .. }
            | Self::LoggedOut { .. }
            | Self::ScreenSeen { .. }
            | Self::ScreenLeft { .. } => Weight::Matter,
        }
    }

    /// Whose account it is about.
    pub const fn account(&self) -> Option<&UserName> {
        match self {
            Self::LoggedIn { user, .. }
            | Self::LoggedOut { user, .. }
            | Self::LoginRefused { user, .. }
            | Self::HomeFull { user } => Some(user),
            _ => None,
        }
    }

    /// The word for programs; the tag of the JSON form.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Discover { .. } => "discover",
            Self::Offer { .. } => "offer",
            Self::Lease { .. } => "lease",
            Self::Refused { .. } => "refused",
            Self::NothingToBoot { .. } => "nothing_to_boot",
            Self::Unreadable { .. } => "unreadable",
            Self::File { .. } => "file",
            Self::Mount { .. } => "mount",
            Self::Agent { .. } => "agent",
            Self::LoggedIn { .. } => "logged_in",
            Self::LoggedOut { .. } => "logged_out",
            Self::LoginRefused { .. } => "login_refused",
            Self::HomeFull { .. } => "home_full",
            Self::ScreenSeen { .. } => "screen_seen",
            Self::ScreenLeft { .. } => "screen_left",
        }
    }

    /// Whether it is worth a row: it says how far a boot came, and a boot has few of them.
    pub(super) fn is_milestone(&self) -> bool {
        match self {
            Self::Lease { stage, .. } => *stage != Stage::System,
            Self::Refused { .. }
            | Self::NothingToBoot { .. }
            | Self::Unreadable { .. }
            | Self::Mount { .. }
            | Self::Agent { .. }
            | Self::LoggedIn { .. }
            | Self::LoggedOut { .. }
            | Self::ScreenSeen { .. }
            | Self::ScreenLeft { .. } => true,
            Self::File { outcome, .. } => matches!(outcome, FileOutcome::Silent | FileOutcome::Refused),
            Self::Discover { .. }
            | Self::Offer { .. }
            | Self::LoginRefused { .. }
            | Self::HomeFull { .. } => false,
        }
    }

    /// Whether it is about who logged in, or tried to: what is forgotten with the history of sessions.
    pub(super) const fn names_somebody(&self) -> bool {
        self.account().is_some()
    }

    /// Whether it is the same as `earlier` once more. How far a transfer came before it broke off makes no other event of it.
    pub(super) fn repeats(&self, earlier: &Self) -> bool {
        use FileOutcome::{Refused, Silent};
        match (self, earlier) {
            (
                Self::File { name, outcome: outcome @ (Silent | Refused), .. },
                Self::File { name: before, outcome: ended, .. },
            ) => name == before && outcome == ended,
            _ => self == earlier,
        }
    }

    /// Cuts texts that came from the network to [`limits::EVENT_TEXT`].
    pub(super) fn shorten(&mut self) {
        let text = match self {
            Self::Refused { reason } | Self::NothingToBoot { reason } | Self::Unreadable { reason } => reason,
            Self::File { name, .. } => name,
            Self::Agent { message, .. } => message,
            Self::LoggedOut { why, .. } | Self::LoginRefused { why, .. } | Self::ScreenLeft { why, .. } => {
                why
            }
            Self::Discover { .. }
            | Self::Offer { .. }
            | Self::Lease { .. }
            | Self::Mount { .. }
            | Self::HomeFull { .. }
            | Self::ScreenSeen { .. }
            | Self::LoggedIn { .. } => return,
        };
        text.truncate(text.floor_char_boundary(limits::EVENT_TEXT));
    }
}

/// In plain words, without a full stop.
impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discover { stage } => write!(f, "{} asks for an address", speaker(*stage)),
            Self::Offer { ip } => write!(f, "{ip} offered"),
            Self::Lease { ip, stage } => write!(f, "{ip} given to {}", speaker(*stage)),
            Self::Refused { reason } => write!(f, "no address: {reason}"),
            Self::NothingToBoot { reason } => write!(f, "nothing to boot: {reason}"),
            Self::Unreadable { reason } => f.write_str(reason),
            Self::File { name, bytes, took, outcome } => {
                let size = ByteSize(*bytes);
                match outcome {
                    FileOutcome::Complete => {
                        write!(f, "`{name}` loaded, {size} in {:.1} s", took.as_secs_f64())
                    }
                    FileOutcome::Missing => write!(f, "`{name}` looked for, not there"),
                    FileOutcome::Probe => write!(f, "`{name}` looked for, there"),
                    FileOutcome::Silent => write!(f, "stopped answering in `{name}` after {size}"),
                    FileOutcome::Refused => write!(f, "broke off `{name}` after {size}"),
                }
            }
            Self::Mount { image } => write!(f, "{image} mounted"),
            Self::Agent { phase, message } => write!(f, "agent {phase}: {message}"),
            Self::LoggedIn { user, on, .. } => write!(f, "{user} logged in ({on})"),
            Self::LoggedOut { user, why, .. } => write!(f, "{user} logged out: {why}"),
            Self::LoginRefused { user, why } => write!(f, "{user} was not let in: {why}"),
            Self::HomeFull { user } => write!(f, "{user} could not save: the home is full"),
            Self::ScreenSeen { from } => write!(f, "its screen is looked at from {from}"),
            Self::ScreenLeft { from, why } => {
                write!(f, "its screen is not looked at from {from} any more: {why}")
            }
        }
    }
}

/// Which program on the client speaks, as the subject of a sentence.
const fn speaker(stage: Stage) -> &'static str {
    match stage {
        Stage::Rom => "the boot ROM",
        Stage::Firmware => "the firmware",
        Stage::Kernel => "the kernel",
        Stage::System => "the running system",
    }
}

/// A duration as a number of whole milliseconds.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 100);

    fn file(name: &str, outcome: FileOutcome) -> Happening {
        Happening::File { name: name.to_owned(), bytes: 7, took: Duration::from_millis(1500), outcome }
    }

    fn agent(message: &str) -> Happening {
        Happening::Agent { phase: "trouble".to_owned(), message: message.to_owned() }
    }

    #[test]
    fn every_happening_reads_as_a_sentence() {
        let ip = IP;
        let rows = [
            (Happening::Discover { stage: Stage::Rom }, "the boot ROM asks for an address"),
            (Happening::Offer { ip }, "192.168.77.100 offered"),
            (Happening::Lease { ip, stage: Stage::Kernel }, "192.168.77.100 given to the kernel"),
            (Happening::Refused { reason: "the pool is full".to_owned() }, "no address: the pool is full"),
            (Happening::NothingToBoot { reason: "no image".to_owned() }, "nothing to boot: no image"),
            (Happening::Unreadable { reason: "`x` cannot be read".to_owned() }, "`x` cannot be read"),
            (file("start4.elf", FileOutcome::Complete), "`start4.elf` loaded, 7 B in 1.5 s"),
            (file("recovery.elf", FileOutcome::Missing), "`recovery.elf` looked for, not there"),
            (file("start4.elf", FileOutcome::Probe), "`start4.elf` looked for, there"),
            (file("start4.elf", FileOutcome::Silent), "stopped answering in `start4.elf` after 7 B"),
            (file("start4.elf", FileOutcome::Refused), "broke off `start4.elf` after 7 B"),
            (agent("no overlay"), "agent trouble: no overlay"),
        ];
        for (what, says) in rows {
            assert_eq!(what.to_string(), says);
        }
    }

    #[test]
    fn a_file_has_its_name_beside_the_clients() {
        let loaded = file("start4.elf", FileOutcome::Complete);
        let written = serde_json::to_value(&loaded).expect("JSON");
        assert_eq!((&written["file"], written.get("name")), (&"start4.elf".into(), None));
        assert_eq!(serde_json::from_value::<Happening>(written.clone()).expect("its own words"), loaded);
        let before = written.to_string().replace("\"file\":\"start4", "\"name\":\"start4");
        assert_ne!(before, written.to_string());
        assert_eq!(serde_json::from_str::<Happening>(&before).expect("of an earlier version"), loaded);
    }

    #[test]
    fn every_happening_has_its_weight() {
        let phase = |phase: &str| Happening::Agent { phase: phase.to_owned(), message: String::new() };
        let user: UserName = "amira".parse().expect("a name");
        let rows = [
            (Happening::Discover { stage: Stage::Rom }, Weight::Detail),
            (file("recovery.elf", FileOutcome::Missing), Weight::Detail),
            (phase("overlay"), Weight::Detail),
            (Happening::Lease { ip: IP, stage: Stage::Rom }, Weight::Matter),
            (phase("handover"), Weight::Matter),
            (phase("off"), Weight::Matter),
            (Happening::Refused { reason: "the pool is full".to_owned() }, Weight::Trouble),
            (Happening::NothingToBoot { reason: "no image".to_owned() }, Weight::Trouble),
            (Happening::Unreadable { reason: "`x` cannot be read".to_owned() }, Weight::Trouble),
            (file("start4.elf", FileOutcome::Silent), Weight::Trouble),
            (phase("failed"), Weight::Trouble),
            (phase("trouble"), Weight::Trouble),
            (Happening::HomeFull { user }, Weight::Trouble),
        ];
        for (what, weight) in rows {
            assert_eq!(what.weight(), weight, "{what}");
            let word = serde_json::to_value(weight).expect("a word");
            assert_eq!(word.as_str().map(str::parse), Some(Ok(weight)));
        }
        assert_eq!(
            "grave".parse::<Weight>().expect_err("no weight").to_string(),
            "`grave` is none of `detail`, `matter` and `trouble`"
        );
    }
}
