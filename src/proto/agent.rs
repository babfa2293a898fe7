//! What the server and the agent on the Pi tell each other.
//!
//! The server tells who the client is: a [`Personality`], served as the virtual file `/.bramble/personality.json` to
//! the client that asks, so the file is different for each. The agent tells how the boot goes: a [`Report`] per
//! milestone, one UDP datagram of JSON to port [`REPORT_PORT`] of the server, from a privileged port, best effort. It shows the
//! [`Proof`] that came with the personality, because anybody can send a datagram in another's name.
//!
//! Both carry a version. The agent comes from the package the server comes from, so a version that is not ours is
//! refused with the reason instead of guessed at.

pub mod act;
pub mod channel;
pub mod eeprom;
pub mod health;
#[cfg(any(feature = "daemon", feature = "agent"))]
pub mod pinned;
pub mod run;
pub mod tunnel;

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::types::{Domain, HostName, ImageVersion, MacAddr, MachineId, SeatUse, TimeZone, UnitName, limits};

/// Where reports go: UDP port of the server.
pub const REPORT_PORT: u16 = 8467;

/// The version of both messages.
pub const VERSION: u32 = 1;

/// Who a client is, and what the agent makes of it in the client's own root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Personality {
    pub version: u32,
    pub name: HostName,
    pub mac: MacAddr,
    /// The same for every boot of this client, another for every other client.
    pub machine_id: MachineId,
    /// The address the client knows this server by; reports go there.
    pub server: Ipv4Addr,
    /// What the client was told to boot.
    pub image: ImageVersion,
    /// Whether the root is the draft of the image and is to be changed, not the image.
    #[serde(default)]
    pub maintenance: bool,
    /// Where the image is mounted from, if another server than Bramble has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Elsewhere>,
    pub domain: Option<Domain>,
    /// In the order they are asked.
    pub dns: Vec<Ipv4Addr>,
    pub ntp: Vec<Ipv4Addr>,
    /// The image's own if unset.
    pub timezone: Option<TimeZone>,
    /// Units that this client does not start, beside those that cannot work without a disk.
    pub mask: Vec<UnitName>,
    /// How this client is used.
    #[serde(default)]
    pub used: SeatUse,
    /// To be shown with reports; none where the server does not know that the client has mounted its root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// What tells reports of a client's present start from those that somebody else sends in its name: a number that only the
/// server can make, and only root of the client can read.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Proof(pub u128);

/// The text was no proof. It is not shown: it may be almost one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("32 hex digits were expected")]
pub struct BadProof;

impl FromStr for Proof {
    type Err = BadProof;

    fn from_str(text: &str) -> Result<Self, BadProof> {
        let is_right = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_right {
            return Err(BadProof);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| BadProof)
    }
}

impl TryFrom<String> for Proof {
    type Error = BadProof;

    fn try_from(text: String) -> Result<Self, BadProof> {
        text.parse()
    }
}

impl From<Proof> for String {
    fn from(Proof(number): Proof) -> Self {
        format!("{number:032x}")
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}

/// A folder that another NFS server exports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elsewhere {
    pub server: Ipv4Addr,
    pub path: String,
}

/// The bytes were no personality we can use.
#[derive(Debug, thiserror::Error)]
pub enum BadPersonality {
    #[error("the personality has {0} bytes, more than the {max} allowed; the server sent something else", max = limits::PERSONALITY)]
    TooLong(usize),
    #[error(
        "the server writes personalities of version {0}, this agent reads version {VERSION}; \
         restart the server, so that both come from the same package"
    )]
    Version(u32),
    #[error("the personality cannot be read")]
    Json(#[source] serde_json::Error),
}

/// Read before the rest, whose shape depends on it.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Personality {
    pub fn decode(bytes: &[u8]) -> Result<Self, BadPersonality> {
        if bytes.len() > limits::PERSONALITY {
            return Err(BadPersonality::TooLong(bytes.len()));
        }
        let Versioned { version } = serde_json::from_slice(bytes).map_err(BadPersonality::Json)?;
        if version != VERSION {
            return Err(BadPersonality::Version(version));
        }
        serde_json::from_slice(bytes).map_err(BadPersonality::Json)
    }

    /// Ends with a line break: people read it with `cat /.bramble/personality.json`.
    pub fn encode(&self) -> Vec<u8> {
        let mut text =
            serde_json::to_vec_pretty(self).expect("strings, numbers and lists of them are always JSON");
        text.push(b'\n');
        text
    }
}

/// How far the agent is, in the order of a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The kernel has started the agent.
    Started,
    /// The writable, volatile root stands.
    Root,
    /// The client knows its name and the recipe of its release has been applied.
    Personality,
    /// The agent hands over to the image's own init.
    Handover,
    /// People can log in.
    Ready,
    /// The system has ended and let go of its root; the client switches off or starts again.
    Off,
    /// Something did not work; the boot goes on.
    Trouble,
    /// The boot cannot go on; the client shows why and tries again.
    Failed,
}

impl Phase {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Root => "root",
            Self::Personality => "personality",
            Self::Handover => "handover",
            Self::Ready => "ready",
            Self::Off => "off",
            Self::Trouble => "trouble",
            Self::Failed => "failed",
        }
    }
}

/// One line of the agent's account of a boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub version: u32,
    pub phase: Phase,
    /// In plain words; one line.
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// The datagram was no report.
#[derive(Debug, thiserror::Error)]
pub enum BadReport {
    #[error("a datagram of {0} bytes is no report")]
    TooLong(usize),
    #[error(
        "a report of version {0}, this server reads version {VERSION}; restart the client, so that it fetches the agent of this package"
    )]
    Version(u32),
    #[error("not a report")]
    Json(#[source] serde_json::Error),
}

impl Report {
    /// `message` is made one line, and cut if the datagram would become too long.
    pub fn new(phase: Phase, message: &str) -> Self {
        let message = one_line(message);
        Self { version: VERSION, phase, message, proof: None }
    }

    pub fn with(self, proof: Option<Proof>) -> Self {
        Self { proof, ..self }
    }

    pub fn decode(datagram: &[u8]) -> Result<Self, BadReport> {
        if datagram.len() > limits::REPORT {
            return Err(BadReport::TooLong(datagram.len()));
        }
        let Versioned { version } = serde_json::from_slice(datagram).map_err(BadReport::Json)?;
        if version != VERSION {
            return Err(BadReport::Version(version));
        }
        let report: Self = serde_json::from_slice(datagram).map_err(BadReport::Json)?;
        Ok(Self::new(report.phase, &report.message).with(report.proof))
    }

    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers are always JSON")
    }
}

/// Without control characters (they would reach logs and terminals), and short enough that JSON, which may escape
/// each byte with one more, stays below the limit of a datagram.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if line.len() + c.len_utf8() > limits::REPORT_MESSAGE {
            break;
        }
        line.push(c);
    }
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn personality() -> Personality {
        Personality {
            version: VERSION,
            name: "lab-01".parse().expect("host name"),
            mac: "dc:a6:32:01:02:03".parse().expect("address"),
            machine_id: "0123456789abcdef0123456789abcdef".parse().expect("id"),
            server: Ipv4Addr::new(192, 168, 1, 1),
            maintenance: false,
            root: None,
            image: ImageVersion {
                name: "trixie".parse().expect("name"),
                version: crate::types::Version::FIRST,
            },
            domain: Some("lan".parse().expect("domain")),
            dns: vec![Ipv4Addr::new(192, 168, 1, 1)],
            ntp: vec![],
            timezone: Some("Europe/Berlin".parse().expect("zone")),
            mask: vec!["bluetooth.service".parse().expect("unit")],
            used: SeatUse::Guest { minutes: 45 },
            proof: Some(Proof(7)),
        }
    }

    #[test]
    fn a_personality_survives_the_way() {
        let sent = personality();
        assert_eq!(Personality::decode(&sent.encode()).expect("our own"), sent);
    }

    #[test]
    fn what_is_not_ours_is_refused_with_the_reason() {
        let text = |bytes: &[u8]| Personality::decode(bytes).expect_err("refused").to_string();
        assert_eq!(
            text(br#"{"version":2,"shape":"unknown"}"#),
            "the server writes personalities of version 2, this agent reads version 1; \
             restart the server, so that both come from the same package"
        );
        assert_eq!(text(b"<html>"), "the personality cannot be read");
        assert_eq!(
            text(&vec![b' '; limits::PERSONALITY + 1]),
            "the personality has 16385 bytes, more than the 16384 allowed; the server sent something else"
        );
        let evil =
            String::from_utf8(personality().encode()).expect("text").replace("Europe/Berlin", "../../etc/x");
        assert!(Personality::decode(evil.as_bytes()).is_err(), "a time zone outside the database");
    }

    #[test]
    fn a_report_is_one_short_line() {
        let report = Report::new(Phase::Trouble, "first\nsecond\u{1b}[2J");
        assert_eq!(report.message, "first second [2J");
        assert_eq!(Report::decode(&report.encode()).expect("our own"), report);
        assert!(matches!(Report::decode(br#"{"version":9}"#), Err(BadReport::Version(9))));
        let shown = report.with(Some(Proof(0xdc << 120)));
        assert_eq!(Report::decode(&shown.encode()).expect("our own"), shown);
        assert!(!format!("{shown:?}").contains("dc"), "it is in no log");
        for proof in ["", "dc", "+c000000000000000000000000000000", "gc000000000000000000000000000000"] {
            assert_eq!(proof.parse::<Proof>(), Err(BadProof));
        }
        let raw = br#"{"version":1,"phase":"failed","message":"a\nb"}"#;
        assert_eq!(Report::decode(raw).expect("a report").message, "a b", "a stranger's line breaks go too");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever went wrong can be reported: the datagram is never too long and says the same at the other end.
        #[test]
        fn every_message_fits(message in any::<String>(), long in "[\\x00-\\x7f\"\\\\ä€😀]{0,4000}") {
            for text in [message, long] {
                let report = Report::new(Phase::Personality, &text).with(Some(Proof(u128::MAX)));
                let datagram = report.encode();
                prop_assert!(datagram.len() <= limits::REPORT);
                prop_assert_eq!(Report::decode(&datagram).expect("our own"), report);
            }
        }

        #[test]
        fn no_datagram_panics(bytes in proptest::collection::vec(any::<u8>(), 0..1500)) {
            let _ = Report::decode(&bytes);
            let _ = Personality::decode(&bytes);
        }
    }
}
