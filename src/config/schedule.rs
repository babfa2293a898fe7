//! `config schedule`: what happens to clients at a time of day.

use serde::{Deserialize, Serialize};

use super::fields::Fields;
use super::kind::Parsed;
use crate::types::RoomName;

/// One row of the timetable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    pub enabled: bool,
    /// Monday is 0; every day if empty.
    pub days: Vec<u8>,
    /// Minutes since midnight, in the router's time.
    pub minute: u16,
    /// Minutes of countdown before it.
    pub grace: u32,
    pub action: ScheduledAction,
    /// Every room if left out.
    pub room: Option<RoomName>,
    /// The router is switched off behind the clients.
    pub router: bool,
}

/// What is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduledAction {
    #[default]
    Shutdown,
    Reboot,
    Logout,
}

/// Days as they are written, Monday first.
pub const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Reads `16:30` as minutes since midnight.
pub fn parse_time(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |digits: &str, most: u16| {
        let plain = (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse::<u16>().ok().filter(|number| plain && *number <= most)
    };
    let minutes = Some(minutes).filter(|digits| digits.len() == 2)?;
    Some(number(hours, 23)? * 60 + number(minutes, 59)?)
}

/// The row of a section that was held against the schema. One without a time has been noted as a problem.
pub(super) fn schedule(fields: &Fields<'_>) -> Option<Schedule> {
    let time = |value| if let Parsed::Time(minute) = value { Some(minute) } else { None };
    let room = |value| if let Parsed::RoomName(room) = value { Some(room) } else { None };
    let day = |name: String| DAYS.iter().position(|day| *day == name).and_then(|day| u8::try_from(day).ok());
    Some(Schedule {
        enabled: fields.bool("enabled"),
        days: fields.all_text("day").into_iter().filter_map(day).collect(),
        minute: fields.first("time", time)?.value,
        grace: fields.number("grace"),
        action: match fields.text("action").as_deref() {
            Some("reboot") => ScheduledAction::Reboot,
            Some("logout") => ScheduledAction::Logout,
            _ => ScheduledAction::Shutdown,
        },
        room: fields.first("room", room).map(|room| room.value),
        router: fields.bool("router"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_are_read() {
        for (text, minute) in
            [("0:00", Some(0)), ("7:05", Some(425)), ("16:30", Some(990)), ("23:59", Some(1439))]
        {
            assert_eq!(parse_time(text), minute, "{text}");
        }
        for text in ["", "24:00", "12:60", "1630", "16:3", "-1:00", "+1:00", "016:30", "16:30:00", "4 pm"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}
