//! Methods about how rooms and clients are used.

use super::Api;
use super::answer::ModeSet;
use super::args::{Args, OrNone};
use super::error::ApiError;
use crate::config::edit::{self, Edit, NewValue};
use crate::types::{ClassName, MacAddr, Mode, PageUrl, RoomName, ShareName, UserName};

/// For a client, the word that takes its own mode away.
const AS_ROOM: &str = "room";

impl Api {
    pub(super) fn mode_set(&self, args: &Args) -> Result<ModeSet, ApiError> {
        let word: String = args.need("mode")?;
        match (args.get::<RoomName>("room")?, args.get::<String>("client")?) {
            (Some(room), None) => self.mode_of_room(args, &room, &word),
            (None, Some(_)) => self.mode_of_client(args, &word),
            (None, None) => {
                Err(ApiError::Missing { field: "room", help: "say whose mode it is: `room` or `client`" })
            }
            (Some(_), Some(_)) => Err(ApiError::BadValue {
                field: "client",
                message: "only one of `room` and `client` can be meant".to_owned(),
            }),
        }
    }

    fn mode_of_room(&self, args: &Args, room: &RoomName, word: &str) -> Result<ModeSet, ApiError> {
        self.room_exists(room)?;
        let mode = parse(word)?;
        let one = |option: &str, value: String| Edit::Set {
            section: room.to_string(),
            option: option.to_owned(),
            value: NewValue::One(value),
        };
        let mut edits = vec![one("mode", mode.to_string())];
        if let Some(minutes) = args.number("minutes")? {
            let option = match mode {
                Mode::Guest => "guest_time",
                Mode::Kiosk => "kiosk_idle",
                Mode::Login | Mode::Exam | Mode::Image => return Err(not_for("minutes", mode)),
            };
            edits.push(one(option, minutes.to_string()));
        }
        if let Some(page) = page(args, mode)? {
            edits.push(page_of(room.to_string(), page));
        }
        let lists = [
            ("exam_class", names::<ClassName>(args, "classes", mode)?),
            ("exam_account", names::<UserName>(args, "accounts", mode)?),
            ("exam_share", names::<ShareName>(args, "shares", mode)?),
        ];
        for (option, names) in lists {
            let Some(names) = names else { continue };
            let (section, option) = (room.to_string(), option.to_owned());
            edits.push(if names.is_empty() {
                Edit::Unset { section, option }
            } else {
                Edit::Set { section, option, value: NewValue::Many(names) }
            });
        }
        self.change(&edits)?;
        tracing::info!(room = %room, %mode, "mode of a room set");
        let members = self.clients.all().into_iter().filter(|known| known.room.as_ref() == Some(room));
        let members: Vec<_> = members.map(|known| known.mac).collect();
        Ok(self.mode_answer(&members, mode))
    }

    fn mode_of_client(&self, args: &Args, word: &str) -> Result<ModeSet, ApiError> {
        let known = self.known(args)?;
        let turn = edit::turn();
        let Some(section) = self.section_of(known.mac)? else {
            return Err(ApiError::BadValue {
                field: "client",
                message: format!("`{}` is not one of ours yet; adopt it first", known.name),
            });
        };
        for field in ["minutes", "classes", "accounts", "shares"] {
            if args.get::<String>(field)?.is_some() {
                let message = format!("`{field}` is a setting of the room; give it with `room`");
                return Err(ApiError::BadValue { field, message });
            }
        }
        let mut edits = Vec::new();
        if word == AS_ROOM {
            for option in ["mode", "kiosk_url"] {
                edits.push(Edit::Unset { section: section.clone(), option: option.to_owned() });
            }
        } else {
            let mode = parse(word)?;
            edits.push(Edit::Set {
                section: section.clone(),
                option: "mode".to_owned(),
                value: NewValue::One(mode.to_string()),
            });
            if let Some(page) = page(args, mode)? {
                edits.push(page_of(section, page));
            }
        }
        self.change_in(turn, &edits)?;
        let mode = self.config.borrow().use_of(known.mac).mode();
        tracing::info!(client = %known.mac, %mode, "mode of a client set");
        Ok(self.mode_answer(&[known.mac], mode))
    }

    /// What has been set, and when that counts.
    fn mode_answer(&self, clients: &[MacAddr], mode: Mode) -> ModeSet {
        let config = self.config.borrow().clone();
        let later = |mac: &&MacAddr| {
            let agent = self.agents.get(**mac);
            agent.and_then(|agent| agent.mode).is_some_and(|now| now != config.use_of(**mac).mode())
        };
        let running = clients.iter().filter(later).count();
        let names = |mac: MacAddr| self.clients.get(mac).map(|known| known.name);
        let restart: Vec<_> = clients.iter().filter(later).filter_map(|mac| names(*mac)).collect();
        let when = match running {
            0 => "No client that runs has to start again for it.".to_owned(),
            _ => "Clients that run now take it over at their next start.".to_owned(),
        };
        let says = match mode {
            Mode::Exam => {
                let own = match running {
                    0 => "",
                    _ => " Until then the image's own accounts can log in at them too.",
                };
                format!("Only those who take part can log in from now on; others are logged out. {when}{own}")
            }
            Mode::Login | Mode::Guest | Mode::Kiosk | Mode::Image => when,
        };
        ModeSet { mode, says, restart }
    }
}

fn parse(word: &str) -> Result<Mode, ApiError> {
    word.parse().map_err(|error: crate::types::mode::BadMode| ApiError::BadValue {
        field: "mode",
        message: error.to_string(),
    })
}

fn not_for(field: &'static str, mode: Mode) -> ApiError {
    ApiError::BadValue { field, message: format!("`{field}` has no meaning for `{mode}`; leave it out") }
}

/// A page of one's own, or none: a client then shows that of its room.
fn page_of(section: String, page: OrNone<PageUrl>) -> Edit {
    let option = "kiosk_url".to_owned();
    match page.0 {
        Some(page) => Edit::Set { section, option, value: NewValue::One(page.to_string()) },
        None => Edit::Unset { section, option },
    }
}

fn page(args: &Args, mode: Mode) -> Result<Option<OrNone<PageUrl>>, ApiError> {
    let page = args.get::<OrNone<PageUrl>>("page")?;
    if page.is_some() && mode != Mode::Kiosk { Err(not_for("page", mode)) } else { Ok(page) }
}

/// Names with commas between them; `none` for an empty list.
fn names<T: std::str::FromStr<Err: std::fmt::Display> + ToString>(
    args: &Args,
    field: &'static str,
    mode: Mode,
) -> Result<Option<Vec<String>>, ApiError> {
    let Some(text) = args.get::<String>(field)? else { return Ok(None) };
    if mode != Mode::Exam {
        return Err(not_for(field, mode));
    }
    if text == "none" {
        return Ok(Some(Vec::new()));
    }
    let name = |word: &str| {
        let parsed = word.parse::<T>().map(|name| name.to_string());
        parsed.map_err(|error| ApiError::BadValue { field, message: error.to_string() })
    };
    text.split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(name)
        .collect::<Result<_, _>>()
        .map(Some)
}
