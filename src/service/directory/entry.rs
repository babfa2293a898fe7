//! One entry of a directory, and the person in it.
//!
//! Names that a directory allows and a Linux system does not are made to fit where that is plain: capitals become small,
//! dots become `-`. Who cannot be taken over is left out with the reason.

use std::collections::HashMap;

use crate::config::directory::{Directory, Kind, Numbers};
use crate::proto::ldap::Sid;
use crate::service::accounts::is_taken_by_systems;
use crate::types::person::{FIRST_DERIVED, LAST_DERIVED};
use crate::types::{FullName, Moment, Uid, UserName};

/// Numbers below belong to systems, and so do those of `nobody` and of nobody at all.
const FIRST_USER: u32 = 1000;
const NOBODIES: [u32; 4] = [65_534, 65_535, u32::MAX - 1, u32::MAX];

/// What is asked of people, besides the name they log in with.
pub const ATTRIBUTES: &[&str] = &[
    "cn",
    "displayName",
    "uidNumber",
    "gidNumber",
    "objectSid",
    "memberOf",
    "primaryGroupID",
    "userAccountControl",
    "accountExpires",
    "pwdLastSet",
    "shadowExpire",
    "shadowLastChange",
];

/// An entry as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub dn: String,
    /// By name in small letters.
    pub attributes: HashMap<String, Vec<Vec<u8>>>,
}

/// Somebody in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub dn: String,
    /// What the directory calls them.
    pub login: String,
    /// What they log in with here.
    pub name: UserName,
    pub uid: Uid,
    pub full_name: FullName,
    /// `gidNumber`, or `primaryGroupID` of Active Directory.
    pub primary_group: Option<u32>,
    /// Names of groups, as the entry has them.
    pub member_of: Vec<String>,
    pub disabled: bool,
    pub expires_at: Option<Moment>,
    pub must_change: bool,
    /// The entry has a `shadowLastChange`.
    pub shadowed: bool,
}

impl From<ldap3::SearchEntry> for Entry {
    fn from(found: ldap3::SearchEntry) -> Self {
        let mut attributes: HashMap<String, Vec<Vec<u8>>> = HashMap::new();
        let texts = found
            .attrs
            .into_iter()
            .map(|(name, values)| (name, values.into_iter().map(String::into_bytes).collect::<Vec<_>>()));
        for (name, values) in texts.chain(found.bin_attrs) {
            // `;binary`, `;range=0-1499` and languages are told apart by nobody here.
            let plain = name.split(';').next().unwrap_or_default().to_ascii_lowercase();
            attributes.entry(plain).or_default().extend(values);
        }
        Self { dn: found.dn, attributes }
    }
}

impl Entry {
    /// What its names and values take.
    pub fn bytes(&self) -> usize {
        let values = |values: &Vec<Vec<u8>>| values.iter().map(Vec::len).sum::<usize>();
        let attributes = self.attributes.iter().map(|(name, of)| name.len() + values(of));
        self.dn.len() + attributes.sum::<usize>()
    }

    /// The values of an attribute; those that are no text are left out.
    pub fn texts(&self, attribute: &str) -> impl Iterator<Item = &str> {
        self.values(attribute).filter_map(|value| std::str::from_utf8(value).ok())
    }

    /// The first text that is not empty.
    pub fn text(&self, attribute: &str) -> Option<&str> {
        self.texts(attribute).map(str::trim).find(|text| !text.is_empty())
    }

    pub fn number<N: std::str::FromStr>(&self, attribute: &str) -> Option<N> {
        self.text(attribute)?.parse().ok()
    }

    fn values(&self, attribute: &str) -> impl Iterator<Item = &[u8]> {
        self.attributes.get(&attribute.to_ascii_lowercase()).into_iter().flatten().map(Vec::as_slice)
    }

    /// A number for the kernel, or why there is none.
    pub fn kernel_number(&self, settings: &Directory, attribute: &str) -> Result<u32, String> {
        let number = match settings.numbers {
            Numbers::Posix => {
                let text = self.text(attribute).ok_or_else(|| {
                    format!(
                        "it has no `{attribute}`; give it one, or set `numbers` to `sid` for Active Directory"
                    )
                })?;
                text.parse().map_err(|_| format!("its `{attribute}`, `{text}`, is not a number"))?
            }
            Numbers::Sid => {
                let bytes = self
                    .values("objectSid")
                    .next()
                    .ok_or("it has no `objectSid`; set `numbers` to `posix`")?;
                let sid = Sid::read(bytes).map_err(|bad| bad.to_string())?;
                if !sid.is_of_domain() {
                    return Err(format!("its `objectSid`, {sid}, is one that every computer has"));
                }
                let number = FIRST_DERIVED.checked_add(sid.rid()).filter(|number| *number <= LAST_DERIVED);
                number.ok_or_else(|| format!("the last number of its `objectSid`, {sid}, is too large"))?
            }
        };
        if number < FIRST_USER || NOBODIES.contains(&number) {
            return Err(format!(
                "its number {number} belongs to the system; give it one of at least {FIRST_USER}"
            ));
        }
        Ok(number)
    }
}

/// `Anna.Maier` → `anna-maier`.
fn user_name(login: &str) -> Result<UserName, String> {
    let name: UserName = login
        .to_ascii_lowercase()
        .replace('.', "-")
        .parse()
        .map_err(|bad: crate::types::name::BadName| bad.to_string())?;
    if is_taken_by_systems(name.as_str()) {
        return Err(format!("`{name}` is a name that systems have for themselves"));
    }
    Ok(name)
}

/// The person in an entry, or why it cannot be taken over.
pub fn read(settings: &Directory, entry: &Entry) -> Result<Found, String> {
    let attribute = &settings.name_attribute;
    let login = entry.text(attribute).ok_or_else(|| format!("it has no `{attribute}`"))?;
    let name = user_name(login)?;
    let uid = Uid(entry.kernel_number(settings, "uidNumber")?);
    let full_name = entry.text("displayName").or(entry.text("cn")).unwrap_or_default();
    let ad = settings.kind == Kind::ActiveDirectory;
    let flags: i64 = entry.number("userAccountControl").unwrap_or_default();
    Ok(Found {
        dn: entry.dn.clone(),
        login: login.to_owned(),
        name,
        uid,
        full_name: FullName::nearest(full_name),
        primary_group: match settings.numbers {
            Numbers::Posix => entry.number("gidNumber"),
            Numbers::Sid => {
                entry.number("primaryGroupID").and_then(|rid: u32| FIRST_DERIVED.checked_add(rid))
            }
        },
        member_of: entry.texts("memberOf").map(ToOwned::to_owned).collect(),
        disabled: ad && flags & AD_DISABLED != 0,
        expires_at: if ad {
            entry.number("accountExpires").and_then(windows_time)
        } else {
            entry.number("shadowExpire").and_then(day)
        },
        must_change: if ad {
            entry.text("pwdLastSet") == Some("0") && flags & AD_NEVER_EXPIRES == 0
        } else {
            entry.text("shadowLastChange") == Some("0")
        },
        shadowed: !ad && entry.text("shadowLastChange").is_some(),
    })
}

/// Bits of `userAccountControl`.
const AD_DISABLED: i64 = 0x2;
const AD_NEVER_EXPIRES: i64 = 0x1_0000;

/// Steps of 100 ns since 1601; 0 and the largest number are "never".
fn windows_time(steps: i64) -> Option<Moment> {
    const UNTIL_1970: i64 = 11_644_473_600;
    let never = steps <= 0 || steps == i64::MAX;
    (!never).then(|| Moment::from_secs(steps / 10_000_000 - UNTIL_1970))
}

/// Days since 1970, as shadow(5) has them; an empty or negative number is "never".
fn day(days: i64) -> Option<Moment> {
    (1..4_000_000).contains(&days).then(|| Moment::from_secs(days * 86_400))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Names and values.
    type Attributes<'a> = &'a [(&'a str, &'a [&'a str])];

    pub fn entry(dn: &str, attributes: Attributes<'_>) -> Entry {
        let value = |values: &&[&str]| values.iter().map(|value| value.as_bytes().to_vec()).collect();
        let attributes = attributes.iter().map(|(name, values)| (name.to_ascii_lowercase(), value(values)));
        Entry { dn: dn.to_owned(), attributes: attributes.collect() }
    }

    pub fn sid(rid: u32) -> Vec<u8> {
        let mut bytes = vec![1, 5, 0, 0, 0, 0, 0, 5];
        bytes.extend([21, 1000, 2000, 3000, rid].iter().flat_map(|number: &u32| number.to_le_bytes()));
        bytes
    }

    pub fn posix() -> Directory {
        Directory { name_attribute: "uid".to_owned(), ..Directory::default() }
    }

    pub fn active_directory() -> Directory {
        Directory {
            kind: Kind::ActiveDirectory,
            numbers: Numbers::Sid,
            name_attribute: "sAMAccountName".to_owned(),
            ..Directory::default()
        }
    }

    #[test]
    fn somebody_of_a_posix_directory_keeps_their_numbers() {
        let entry = entry(
            "uid=anna,ou=people,dc=x",
            &[
                ("uid", &["anna"]),
                ("cn", &["Anna Maier"]),
                ("uidNumber", &["5001"]),
                ("gidNumber", &["5100"]),
                ("shadowLastChange", &["0"]),
                ("shadowExpire", &["20000"]),
            ],
        );
        let found = read(&posix(), &entry).expect("taken over");
        assert_eq!((found.name.as_str(), found.uid, found.primary_group), ("anna", Uid(5001), Some(5100)));
        assert_eq!(found.full_name.as_str(), "Anna Maier");
        assert!(found.must_change && !found.disabled);
        assert_eq!(found.expires_at.map(Moment::date).as_deref(), Some("2024-10-04"));
    }

    #[test]
    fn somebody_of_active_directory_gets_a_number_that_stays() {
        let mut entry = entry(
            "CN=Anna Maier,OU=7B,DC=school",
            &[
                ("sAMAccountName", &["Anna.Maier"]),
                ("displayName", &["Anna Maier"]),
                ("userAccountControl", &["514"]),
                ("pwdLastSet", &["0"]),
                ("accountExpires", &["133485408000000000"]),
                ("primaryGroupID", &["513"]),
            ],
        );
        entry.attributes.insert("objectsid".to_owned(), vec![sid(1104)]);
        let found = read(&active_directory(), &entry).expect("taken over");
        assert_eq!((found.name.as_str(), found.login.as_str()), ("anna-maier", "Anna.Maier"));
        assert_eq!((found.uid, found.primary_group), (Uid(201_104), Some(200_513)));
        assert!(found.disabled && found.must_change);
        assert_eq!(found.expires_at.map(Moment::date).as_deref(), Some("2024-01-01"));
        entry.attributes.insert("accountexpires".to_owned(), vec![i64::MAX.to_string().into_bytes()]);
        entry.attributes.insert("useraccountcontrol".to_owned(), vec![b"66048".to_vec()]);
        let found = read(&active_directory(), &entry).expect("taken over");
        assert_eq!((found.disabled, found.must_change, found.expires_at), (false, false, None));
    }

    #[test]
    fn who_is_left_out_is_told_why() {
        #[rustfmt::skip]
        let rows: [(Attributes<'_>, &str); 8] = [
            (&[("uidNumber", &["5001"])], "it has no `uid`"),
            (&[("uid", &["anna maier"]), ("uidNumber", &["5001"])], "`anna maier` cannot be a name to log in with; as Debian's adduser has it, use 1 to 32 small letters, digits, `_` and `-`, starting with a letter, such as `anna`"),
            (&[("uid", &["Root"]), ("uidNumber", &["5001"])], "`root` is a name that systems have for themselves"),
            (&[("uid", &["anna"])], "it has no `uidNumber`; give it one, or set `numbers` to `sid` for Active Directory"),
            (&[("uid", &["anna"]), ("uidNumber", &["x"])], "its `uidNumber`, `x`, is not a number"),
            (&[("uid", &["anna"]), ("uidNumber", &["0"])], "its number 0 belongs to the system; give it one of at least 1000"),
            (&[("uid", &["anna"]), ("uidNumber", &["999"])], "its number 999 belongs to the system; give it one of at least 1000"),
            (&[("uid", &["anna"]), ("uidNumber", &["65534"])], "its number 65534 belongs to the system; give it one of at least 1000"),
        ];
        for (attributes, why) in rows {
            assert_eq!(read(&posix(), &entry("uid=x", attributes)).expect_err(why), why);
        }
        let mut anna = entry("CN=x", &[("sAMAccountName", &["anna"])]);
        let why = |anna: &Entry| read(&active_directory(), anna).expect_err("left out");
        assert_eq!(why(&anna), "it has no `objectSid`; set `numbers` to `posix`");
        for (bytes, reason) in [
            (vec![1, 2, 3], "`objectSid` is not a security identifier of Active Directory"),
            (
                vec![1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 32, 2, 0, 0],
                "its `objectSid`, S-1-5-32-544, is one that every computer has",
            ),
            (
                sid(u32::MAX),
                "the last number of its `objectSid`, S-1-5-21-1000-2000-3000-4294967295, is too large",
            ),
        ] {
            anna.attributes.insert("objectsid".to_owned(), vec![bytes]);
            assert_eq!(why(&anna), reason);
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        /// Whatever stands in a directory, nobody gets a number or a name of the system.
        #[test]
        fn nobody_becomes_root(login in "[a-zA-Z.]{0,6}", number in proptest::prelude::any::<u32>(), small in 0u32..2000) {
            for number in [number, small, number | 0xffff_fff0] {
                let entry = entry("uid=x", &[("uid", &[&login]), ("uidNumber", &[&number.to_string()])]);
                if let Ok(found) = read(&posix(), &entry) {
                    proptest::prop_assert!(found.uid.0 >= 1000 && !NOBODIES.contains(&found.uid.0));
                    proptest::prop_assert!(!is_taken_by_systems(found.name.as_str()));
                }
            }
        }

        /// A name is one value of a filter, whatever stands in it: it matches itself and nothing else.
        #[test]
        fn no_name_becomes_part_of_a_filter(login in proptest::prelude::any::<String>()) {
            let filter = crate::service::directory::named(&posix(), &login);
            let parsed = format!("{:?}", ldap3::parse_filter(&filter).map_err(|()| "not a filter"));
            let plain = format!("{:?}", ldap3::parse_filter("(&(objectClass=*)(uid=x))").map_err(|()| "not a filter"));
            let bytes = format!("{:?}", login.as_bytes());
            proptest::prop_assert_eq!(parsed.replace(&bytes, "[120]"), plain, "{}", filter);
        }
    }
}
