//! How rooms and clients are used ([`Mode`]), and what belongs to each way.
//!
//! A room has a mode with its settings; a client may have another mode, and another page as a kiosk. The rest is always
//! its room's.

use std::path::PathBuf;

use super::fields::Fields;
use super::kind::Parsed;
use super::{Client, Config, Room};
use crate::types::{
    ClassName, MacAddr, Mode, PageUrl, Person, Role, RoomName, SeatUse, ShareName, Spanned, UserName,
};

/// How a room is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    pub mode: Mode,
    /// How long a guest may stay; 0 for as long as they like.
    pub guest_minutes: u32,
    pub kiosk_page: Option<PageUrl>,
    /// After how long without a key or the mouse a kiosk begins anew; 0 for never.
    pub kiosk_idle_minutes: u32,
    pub exam: Exam,
    /// Whether a teacher may look at the screens.
    pub screens: bool,
}

/// Who takes part in an exam, and with what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exam {
    pub classes: Vec<ClassName>,
    pub accounts: Vec<UserName>,
    /// The only shares that those who take part see.
    pub shares: Vec<ShareName>,
    /// The administrator's program that takes the internet away and gives it back.
    pub hook: Option<PathBuf>,
}

impl Exam {
    /// Whether `person` may log in while it is held. Teachers may.
    pub fn admits(&self, person: &Person) -> bool {
        person.role == Role::Teacher
            || self.accounts.contains(&person.name)
            || person.classes.iter().any(|(class, _)| self.classes.contains(class))
    }

    fn has_nobody(&self) -> bool {
        self.classes.is_empty() && self.accounts.is_empty()
    }
}

impl Config {
    pub fn room(&self, name: &RoomName) -> Option<&Room> {
        self.rooms.iter().find(|room| room.name == *name)
    }

    /// The client's room, if it is in one.
    pub fn room_of(&self, mac: MacAddr) -> Option<&Room> {
        self.clients.iter().find(|client| client.mac == mac)?.room.as_ref().and_then(|name| self.room(name))
    }

    /// How the client is used; one that nobody adopted is for people who log in.
    pub fn use_of(&self, mac: MacAddr) -> SeatUse {
        let own = self.clients.iter().find(|client| client.mac == mac);
        let none = Modes::default();
        let room = self.room_of(mac).map_or(&none, |room| &room.modes);
        match own.and_then(|client| client.mode).unwrap_or(room.mode) {
            Mode::Login => SeatUse::Login,
            Mode::Exam => SeatUse::Exam,
            Mode::Image => SeatUse::Image,
            Mode::Guest => SeatUse::Guest { minutes: room.guest_minutes },
            Mode::Kiosk => {
                match own.and_then(|client| client.kiosk_page.as_ref()).or(room.kiosk_page.as_ref()) {
                    Some(page) => {
                        SeatUse::Kiosk { page: page.clone(), idle_minutes: room.kiosk_idle_minutes }
                    }
                    // Cannot be: a kiosk without a page is a problem of the configuration.
                    None => SeatUse::Login,
                }
            }
        }
    }

    /// The exam that is held at the client, if one is.
    pub fn exam_at(&self, mac: MacAddr) -> Option<&Exam> {
        static NOBODY: Exam =
            Exam { classes: Vec::new(), accounts: Vec::new(), shares: Vec::new(), hook: None };
        if self.use_of(mac) != SeatUse::Exam {
            return None;
        }
        Some(self.room_of(mac).map_or(&NOBODY, |room| &room.modes.exam))
    }
}

/// The section of a room that was held against the schema; `note` takes what is wrong, with its place.
pub(super) fn of_room(fields: &Fields<'_>, note: &mut dyn FnMut(&Spanned<Parsed>, String, String)) -> Modes {
    let user = |value: Spanned<Parsed>| match value.value {
        Parsed::UserName(name) => Some(name),
        _ => None,
    };
    let share = |value: Spanned<Parsed>| match value.value {
        Parsed::ShareName(name) => Some(name),
        _ => None,
    };
    let modes = Modes {
        mode: mode(fields).unwrap_or_default(),
        guest_minutes: fields.number("guest_time"),
        kiosk_page: page(fields),
        kiosk_idle_minutes: fields.number("kiosk_idle"),
        exam: Exam {
            classes: fields.class_names("exam_class"),
            accounts: fields.all("exam_account").into_iter().filter_map(user).collect(),
            shares: fields.all("exam_share").into_iter().filter_map(share).collect(),
            hook: fields.path("exam_hook"),
        },
        screens: fields.bool("screens"),
    };
    if modes.mode == Mode::Exam
        && modes.exam.has_nobody()
        && let Some(at) = fields.value("mode")
    {
        let message = "`exam` needs somebody who takes part; add `list exam_class` or `list exam_account`";
        note(at, fields.at("mode"), message.to_owned());
    }
    modes
}

/// A client's own mode.
pub(super) fn mode(fields: &Fields<'_>) -> Option<Mode> {
    fields.text("mode").and_then(|word| word.parse().ok())
}

/// A client's own page.
pub(super) fn page(fields: &Fields<'_>) -> Option<PageUrl> {
    let page = |value| if let Parsed::Page(page) = value { Some(page) } else { None };
    fields.first("kiosk_url", page).map(|page| page.value)
}

/// What is wrong with how a client is used, in a sentence.
pub(super) fn wrong(client: &Client, rooms: &[Room]) -> Option<String> {
    let room = client.room.as_ref().and_then(|name| rooms.iter().find(|room| room.name == *name));
    let of_room = room.map(|room| &room.modes);
    match client.mode.or(of_room.map(|modes| modes.mode))? {
        Mode::Kiosk
            if client.kiosk_page.is_none() && of_room.is_none_or(|modes| modes.kiosk_page.is_none()) =>
        {
            Some(format!(
                "`{}` is a kiosk and has no page to show; add `option kiosk_url '{}'` to it or to its room",
                client.name,
                PageUrl::EXAMPLE
            ))
        }
        // Of a room it has been said.
        Mode::Exam if client.mode.is_some() && of_room.is_none_or(|modes| modes.exam.has_nobody()) => {
            Some(format!(
                "an exam is to be held at `{}` and nobody takes part; add `list exam_class` or `list exam_account` to its room",
                client.name
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::{Source, Sources, from_sources};
    use super::*;

    const HEAD: &str = "config bramble 'main'\n\toption data '/mnt/x'\n";
    const NETWORK: &str = "config interface 'lan'\n\toption device 'br-lan'\n\toption proto 'static'\n\toption ipaddr '192.168.1.1/24'\n";

    fn load(text: &str) -> Result<Config, String> {
        let source = |name: &str, text: &str| Source { name: name.to_owned(), text: Some(text.into()) };
        let sources = Sources {
            bramble: source("bramble", &format!("{HEAD}{text}")),
            network: source("network", NETWORK),
            dhcp: source("dhcp", ""),
            system: source("system", ""),
        };
        from_sources(&sources).map_err(|problems| problems.to_string())
    }

    fn client(n: u8, more: &str) -> String {
        format!("config client\n\toption mac 'dc:a6:32:00:00:0{n}'\n\toption name 'lab-0{n}'\n{more}")
    }

    fn mac(n: u8) -> MacAddr {
        MacAddr::new([0xdc, 0xa6, 0x32, 0, 0, n])
    }

    #[test]
    fn a_client_is_used_as_its_room_unless_it_says_otherwise() {
        let room = "config room 'lab'\n\toption mode 'guest'\n\toption guest_time '45'\n\toption kiosk_url 'https://a.example/'\n";
        let text = [
            room.to_owned(),
            client(1, "\toption room 'lab'\n"),
            client(2, "\toption room 'lab'\n\toption mode 'kiosk'\n"),
            client(
                3,
                "\toption room 'lab'\n\toption mode 'kiosk'\n\toption kiosk_url 'https://b.example/'\n",
            ),
            client(4, "\toption room 'lab'\n\toption mode 'login'\n"),
            client(5, ""),
            client(6, "\toption room 'lab'\n\toption mode 'image'\n"),
        ];
        let config = load(&text.concat()).expect("no problems");
        let kiosk = |page: &str| SeatUse::Kiosk { page: page.parse().expect("a page"), idle_minutes: 10 };
        let expected = [
            SeatUse::Guest { minutes: 45 },
            kiosk("https://a.example/"),
            kiosk("https://b.example/"),
            SeatUse::Login,
            SeatUse::Login,
            SeatUse::Image,
            SeatUse::Login,
        ];
        for (n, expected) in (1..).zip(expected) {
            assert_eq!(config.use_of(mac(n)), expected, "{n}");
        }
        assert_eq!(config.exam_at(mac(1)), None);
    }

    #[test]
    fn an_exam_is_for_those_who_are_named_and_teachers() {
        let room = "config room 'lab'\n\toption mode 'exam'\n\tlist exam_class 'class-7b'\n\tlist exam_account 'berta'\n\tlist exam_share 'tasks'\n";
        let config = load(&[room, &client(1, "\toption room 'lab'\n")].concat()).expect("no problems");
        let exam = config.exam_at(mac(1)).expect("an exam");
        let person = |name: &str, role, class: &str| Person {
            name: name.parse().expect("a name"),
            uid: crate::types::Uid(10_000),
            gid: crate::types::Gid(10_000),
            full_name: crate::types::FullName::nearest(name),
            role,
            classes: vec![(class.parse().expect("a class"), crate::types::Gid(100_000))],
            must_change: false,
        };
        let rows = [
            (person("anna", Role::Pupil, "class-7b"), true),
            (person("berta", Role::Pupil, "class-8a"), true),
            (person("cem", Role::Pupil, "class-8a"), false),
            (person("maier", Role::Teacher, "staff"), true),
        ];
        for (person, expected) in rows {
            assert_eq!(exam.admits(&person), expected, "{}", person.name);
        }
    }

    #[test]
    fn what_a_mode_needs_is_missed_at_its_place() {
        #[rustfmt::skip]
        let rows = [
            ("config room 'lab'\n\toption mode 'exam'\n".to_owned(),
             "bramble:4:14: lab.mode: `exam` needs somebody who takes part; add `list exam_class` or `list exam_account`"),
            ("config room 'lab'\n\toption mode 'kiosk'\n".to_owned() + &client(1, "\toption room 'lab'\n"),
             "bramble:7:14: @client[0].name: `lab-01` is a kiosk and has no page to show; add `option kiosk_url 'https://library.example/'` to it or to its room"),
            (client(1, "\toption mode 'exam'\n"),
             "bramble:5:14: @client[0].name: an exam is to be held at `lab-01` and nobody takes part; add `list exam_class` or `list exam_account` to its room"),
            ("config room 'lab'\n\toption mode 'party'\n".to_owned(),
             "bramble:4:14: lab.mode: `party` is not one of the choices; write `login` or `guest` or `kiosk` or `exam` or `image`"),
        ];
        for (text, expected) in rows {
            assert_eq!(load(&text).expect_err("a problem").trim(), expected);
        }
        let each = "config room 'lab'\n\toption mode 'kiosk'\n".to_owned()
            + &client(1, "\toption room 'lab'\n\toption kiosk_url 'https://a.example/'\n");
        assert!(load(&each).is_ok(), "a page for each station is enough");
    }
}
