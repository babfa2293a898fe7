//! The settings of the EEPROM that Bramble changes: a table of what each is and may be.
//!
//! Left out on purpose are those that lock the EEPROM (`ENABLE_SELF_UPDATE=0`, `FREEZE_VERSION=1`, `SIGNED_BOOT`: nobody
//! could undo them over the network), and those that tie a Pi to addresses (`TFTP_IP`, `CLIENT_IP`, `MAC_ADDRESS`).

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Chip;

/// One setting.
#[derive(Debug)]
pub struct Known {
    pub name: &'static str,
    /// What it is for, for people.
    pub says: &'static str,
    /// What it may be, as the end of "write …".
    pub write: &'static str,
    takes: Takes,
    /// Only one family has it.
    pub only: Option<Chip>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Order,
    /// Whole numbers from … to …
    Number(i64, i64),
    /// A folder of at most 32 characters with a slash at the end.
    Folder,
    /// `on` or `off`.
    Console,
}

/// All of them, by importance.
#[rustfmt::skip]
pub const KNOWN: &[Known] = &[
    Known { name: "BOOT_ORDER", says: "where it looks for a system, the last digit first", write: "0x and up to eight digits, such as `0xf21` (SD card, network, again) or `0xf2` (network only)", takes: Takes::Order, only: None },
    Known { name: "NET_INSTALL_ENABLED", says: "whether a keyboard can start Network Install", write: "0 or 1", takes: Takes::Number(0, 1), only: None },
    Known { name: "NET_INSTALL_AT_POWER_ON", says: "whether Network Install is offered at each start", write: "0 or 1", takes: Takes::Number(0, 1), only: None },
    Known { name: "TFTP_PREFIX", says: "which folder it asks for: 0 its serial number, 1 TFTP_PREFIX_STR, 2 its hardware address", write: "0, 1 or 2", takes: Takes::Number(0, 2), only: None },
    Known { name: "TFTP_PREFIX_STR", says: "the folder for TFTP_PREFIX=1", write: "at most 32 letters, digits and `-_./` with a slash at the end", takes: Takes::Folder, only: None },
    Known { name: "DHCP_TIMEOUT", says: "how long it asks for an address, in milliseconds", write: "a number from 5000 to 600000", takes: Takes::Number(5000, 600_000), only: None },
    Known { name: "DHCP_REQ_TIMEOUT", says: "how soon it asks again, in milliseconds", write: "a number from 500 to 60000", takes: Takes::Number(500, 60_000), only: None },
    Known { name: "TFTP_FILE_TIMEOUT", says: "how long it gives a file, in milliseconds", write: "a number from 5000 to 600000", takes: Takes::Number(5000, 600_000), only: None },
    Known { name: "NET_BOOT_MAX_RETRIES", says: "how often it tries the network again before the next way; -1 for ever", write: "a number from -1 to 1000", takes: Takes::Number(-1, 1000), only: None },
    Known { name: "SD_BOOT_MAX_RETRIES", says: "how often it tries the SD card again before the next way; -1 for ever", write: "a number from -1 to 1000", takes: Takes::Number(-1, 1000), only: None },
    Known { name: "USB_MSD_DISCOVER_TIMEOUT", says: "how long it looks for a USB disk, in milliseconds", write: "a number from 5000 to 120000", takes: Takes::Number(5000, 120_000), only: None },
    Known { name: "BOOT_WATCHDOG_TIMEOUT", says: "after how many seconds without a kernel it starts again; 0 never", write: "a number from 0 to 3600", takes: Takes::Number(0, 3600), only: None },
    Known { name: "MAX_RESTARTS", says: "after how many rounds of BOOT_ORDER it resets itself; -1 never", write: "a number from -1 to 1000", takes: Takes::Number(-1, 1000), only: None },
    Known { name: "HDMI_DELAY", says: "after how many seconds it shows what it does on the screen", write: "a number from 0 to 120", takes: Takes::Number(0, 120), only: None },
    Known { name: "BOOT_UART", says: "whether it says what it does on the serial port", write: "0 or 1", takes: Takes::Number(0, 1), only: None },
    Known { name: "NETCONSOLE", says: "whether it says what it does over the network, into Bramble's timeline", write: "on or off", takes: Takes::Console, only: None },
    Known { name: "WAKE_ON_GPIO", says: "whether pin 5 to ground starts it after a shut-down", write: "0, 1 or 2", takes: Takes::Number(0, 2), only: Some(Chip::Bcm2711) },
    Known { name: "POWER_OFF_ON_HALT", says: "whether a shut-down takes the power from everything", write: "0 or 1", takes: Takes::Number(0, 1), only: None },
    Known { name: "WAIT_FOR_POWER_BUTTON", says: "whether it waits for its button when the power comes back", write: "0 or 1", takes: Takes::Number(0, 1), only: Some(Chip::Bcm2712) },
    Known { name: "PSU_MAX_CURRENT", says: "what its power supply gives, in milliamperes, if it cannot tell", write: "3000 or 5000", takes: Takes::Number(3000, 5000), only: Some(Chip::Bcm2712) },
];

/// Changes of settings: a value, or nothing for the bootloader's default. At least one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Settings(BTreeMap<&'static str, Option<String>>);

/// Why a text is no setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSetting {
    #[error("no setting is named; write such as `BOOT_ORDER=0xf21,NET_INSTALL_ENABLED=0`")]
    None,
    #[error("`{0}` is no setting; write `NAME=VALUE`, such as `BOOT_ORDER=0xf21`")]
    NoPair(String),
    #[error("`{name}` is no setting that Bramble changes; there are {}", names())]
    Unknown { name: String },
    #[error(
        "`{name}` would lock the EEPROM: nobody could change it over the network any more; set it on the Pi itself"
    )]
    Locks { name: String },
    #[error("`{value}` cannot be {name}; write {write}, or `default`")]
    Value { name: &'static str, value: String, write: &'static str },
    #[error(
        "`{value}` as BOOT_ORDER never tries the network (digit 2): the client would not come back; write such as `0xf21` or \
         `0xf2`"
    )]
    NoNetwork { value: String },
    #[error("`{name}` is named twice")]
    Twice { name: &'static str },
}

fn names() -> String {
    KNOWN.iter().map(|known| known.name).collect::<Vec<_>>().join(", ")
}

impl Settings {
    /// By name; `None` takes the bootloader's default.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Option<&str>)> {
        self.0.iter().map(|(name, value)| (*name, value.as_deref()))
    }

    /// These, and `more` in their place where both have one.
    #[must_use]
    pub fn with(mut self, more: Self) -> Self {
        self.0.extend(more.0);
        self
    }

    /// The first of them that a family does not have.
    pub fn unknown_to(&self, chip: Chip) -> Option<&'static str> {
        let other = |known: &&Known| known.only.is_some_and(|only| only != chip);
        KNOWN.iter().filter(other).map(|known| known.name).find(|name| self.0.contains_key(name))
    }

    /// As one client has them: messages over the network need its own address.
    pub fn for_client(&self, ip: Ipv4Addr) -> Self {
        let own = self.0.iter().map(|(name, value)| {
            let value = match (*name, value.as_deref()) {
                // At most 32 characters; every separator must be there. Broadcast, so that no address of the server is
                // written into the EEPROM.
                ("NETCONSOLE", Some("on")) => Some(format!("6665@{ip}/,6666@/")),
                ("NETCONSOLE", Some("off")) => None,
                _ => value.clone(),
            };
            (*name, value)
        });
        Self(own.collect())
    }
}

/// Settings with commas or blanks between them.
impl FromStr for Settings {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, BadSetting> {
        let mut settings = BTreeMap::new();
        let words = text.split([',', ' ', '\n', '\t']).map(str::trim).filter(|word| !word.is_empty());
        for word in words {
            let pair = word.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
            let shown = |text: &str| text.chars().take(crate::types::limits::NAME_SHOWN).collect::<String>();
            let (name, value) = pair.ok_or_else(|| BadSetting::NoPair(shown(word)))?;
            let known = known(name).ok_or_else(|| {
                let name = shown(name);
                let locks = ["ENABLE_SELF_UPDATE", "FREEZE_VERSION", "SIGNED_BOOT"];
                if locks.contains(&name.as_str()) {
                    BadSetting::Locks { name }
                } else {
                    BadSetting::Unknown { name }
                }
            })?;
            let value = (value != "default").then(|| known.check(value)).transpose()?;
            if settings.insert(known.name, value).is_some() {
                return Err(BadSetting::Twice { name: known.name });
            }
        }
        if settings.is_empty() { Err(BadSetting::None) } else { Ok(Self(settings)) }
    }
}

impl TryFrom<String> for Settings {
    type Error = BadSetting;

    fn try_from(text: String) -> Result<Self, BadSetting> {
        text.parse()
    }
}

impl From<Settings> for String {
    fn from(settings: Settings) -> Self {
        settings.to_string()
    }
}

/// As they are read.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{name}={}", value.unwrap_or("default"))?;
        }
        Ok(())
    }
}

/// The row of a setting.
pub fn known(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name == name)
}

/// Whether a boot order tries the network, over TFTP. What is no number is none.
pub fn tries_network(order: &str) -> bool {
    digits(order).is_some_and(|digits| digits.contains('2'))
}

/// Whether a USB disk is looked for before the network, which takes some twenty seconds at each start.
pub fn tries_usb_first(order: &str) -> bool {
    let Some(digits) = digits(order) else { return false };
    let place = |digit| digits.chars().rev().position(|other| other == digit);
    matches!((place('4'), place('2')), (Some(usb), Some(network)) if usb < network)
}

fn digits(order: &str) -> Option<&str> {
    let digits = order.strip_prefix("0x").or_else(|| order.strip_prefix("0X"))?;
    let fits = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    fits.then_some(digits)
}

impl Known {
    fn check(&self, value: &str) -> Result<String, BadSetting> {
        let shown: String = value.chars().take(crate::types::limits::NAME_SHOWN).collect();
        let fits = match self.takes {
            Takes::Order => {
                let modes =
                    |digits: &str| digits.bytes().all(|b| b"1234567ef".contains(&b.to_ascii_lowercase()));
                let fits = digits(value).is_some_and(modes);
                if fits && !tries_network(value) {
                    return Err(BadSetting::NoNetwork { value: shown });
                }
                fits
            }
            Takes::Number(least, most) => {
                let number = value.parse::<i64>().ok().filter(|number| number.to_string() == value);
                number.is_some_and(|number| {
                    (least..=most).contains(&number)
                        && (self.name != "PSU_MAX_CURRENT" || number % 2000 == 1000)
                })
            }
            Takes::Folder => {
                let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
                value.len() <= 32 && value.ends_with('/') && value.bytes().all(plain) && !value.contains("..")
            }
            Takes::Console => matches!(value, "on" | "off"),
        };
        if fits {
            Ok(shown)
        } else {
            Err(BadSetting::Value { name: self.name, value: shown, write: self.write })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_may_be_written() {
        let text = "NET_INSTALL_ENABLED=0, BOOT_ORDER=0xf21 TFTP_PREFIX=2\nNETCONSOLE=on,HDMI_DELAY=default";
        let settings: Settings = text.parse().expect("settings");
        assert_eq!(
            settings.to_string(),
            "BOOT_ORDER=0xf21,HDMI_DELAY=default,NETCONSOLE=on,NET_INSTALL_ENABLED=0,TFTP_PREFIX=2"
        );
        let own = settings.for_client(Ipv4Addr::new(192, 168, 100, 100));
        let console = own.iter().find(|(name, _)| *name == "NETCONSOLE").and_then(|(_, value)| value);
        assert_eq!(console, Some("6665@192.168.100.100/,6666@/"));
        assert!(console.is_some_and(|value| value.len() <= 32), "no more fits");
        let off = "NETCONSOLE=off".parse::<Settings>().expect("settings").for_client(Ipv4Addr::LOCALHOST);
        assert_eq!(off.to_string(), "NETCONSOLE=default");
    }

    #[test]
    fn what_may_not_be_written_says_why() {
        #[rustfmt::skip]
        let rows = [
            ("", "no setting is named; write such as `BOOT_ORDER=0xf21,NET_INSTALL_ENABLED=0`"),
            ("BOOT_ORDER", "`BOOT_ORDER` is no setting; write `NAME=VALUE`, such as `BOOT_ORDER=0xf21`"),
            ("FREEZE_VERSION=1", "`FREEZE_VERSION` would lock the EEPROM: nobody could change it over the network any more; set it on the Pi itself"),
            ("BOOT_ORDER=0xf41", "`0xf41` as BOOT_ORDER never tries the network (digit 2): the client would not come back; write such as `0xf21` or `0xf2`"),
            ("BOOT_ORDER=f21", "`f21` cannot be BOOT_ORDER; write 0x and up to eight digits, such as `0xf21` (SD card, network, again) or `0xf2` (network only), or `default`"),
            ("BOOT_ORDER=0xf82", "`0xf82` cannot be BOOT_ORDER; write 0x and up to eight digits, such as `0xf21` (SD card, network, again) or `0xf2` (network only), or `default`"),
            ("DHCP_TIMEOUT=4999", "`4999` cannot be DHCP_TIMEOUT; write a number from 5000 to 600000, or `default`"),
            ("DHCP_TIMEOUT=05000", "`05000` cannot be DHCP_TIMEOUT; write a number from 5000 to 600000, or `default`"),
            ("PSU_MAX_CURRENT=4000", "`4000` cannot be PSU_MAX_CURRENT; write 3000 or 5000, or `default`"),
            ("TFTP_PREFIX_STR=../", "`../` cannot be TFTP_PREFIX_STR; write at most 32 letters, digits and `-_./` with a slash at the end, or `default`"),
            ("HDMI_DELAY=1,HDMI_DELAY=2", "`HDMI_DELAY` is named twice"),
        ];
        for (text, says) in rows {
            assert_eq!(
                text.parse::<Settings>().map_err(|error| error.to_string()),
                Err(says.to_owned()),
                "{text}"
            );
        }
        let unknown = "COLOUR=red".parse::<Settings>().expect_err("no such setting").to_string();
        assert!(
            unknown.starts_with("`COLOUR` is no setting that Bramble changes; there are BOOT_ORDER, NET"),
            "{unknown}"
        );
        let settings: Settings = "PSU_MAX_CURRENT=5000".parse().expect("settings");
        assert_eq!(
            (settings.unknown_to(Chip::Bcm2711), settings.unknown_to(Chip::Bcm2712)),
            (Some("PSU_MAX_CURRENT"), None)
        );
    }

    #[test]
    fn an_order_is_read_from_its_end() {
        assert!(
            tries_network("0xf21") && tries_network("0x2") && !tries_network("0xf41") && !tries_network("21")
        );
        assert!(tries_usb_first("0xf241") && !tries_usb_first("0xf421") && !tries_usb_first("0xf21"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is written is refused or reads back as itself; nothing but plain characters gets into a configuration.
        #[test]
        fn settings_print_as_they_are_read(text in "((BOOT_ORDER|HDMI_DELAY|NETCONSOLE|TFTP_PREFIX_STR|X)=([0-9a-fx/.-]{0,9}|on|default),?){0,4}|\\PC{0,40}") {
            if let Ok(settings) = text.parse::<Settings>() {
                prop_assert_eq!(settings.to_string().parse::<Settings>(), Ok(settings.clone()));
                prop_assert!(settings.iter().all(|(_, value)| value.is_none_or(|value| value.bytes().all(|b| b.is_ascii_graphic()))));
            }
        }
    }
}
