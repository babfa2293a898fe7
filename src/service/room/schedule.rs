//! The timetable: which of the configured actions is due now, and how much of its countdown is left.
//!
//! Pure. Times are the router's own; its rule for summer time is the POSIX text that OpenWrt keeps
//! (`CET-1CEST,M3.5.0,M10.5.0/3`). A row runs once for its time of day: also if the daemon was started in the middle of the
//! countdown, and not if it was started after the time had come. A row is known by what it says, because rows have no names: a
//! change of one begins no other again, and whoever changes a row in the middle of its countdown has another row, which
//! begins if it is its turn. ([`Actions::keep_time`](super::actions::Actions::keep_time) stops what the old one had begun.)
//!
//! What has been begun, and whether somebody stopped it, is known again after a restart of the daemon
//! ([`super::actions`] keeps it in the store): a countdown that was stopped stays stopped, one that was not goes on with the time
//! that is left of it. A power-off that was being carried out goes on, so that no half of a room stays on overnight; a restart or a
//! log-out does not, because it would come twice over those who are there again.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tz::TimeZone;
use tz::timezone::TimeZoneSettings;

use crate::config::{Schedule, ScheduledAction};
use crate::types::Moment;

const DAY: i64 = 24 * 60;

/// How long after its time a row without a countdown may still begin.
const LATE: i64 = 1;

/// How long after its time, in minutes, a power-off goes on that the daemon fell over in.
const STILL: i64 = 15;

/// Agents have to find the daemon again before they can be told anything.
const FOUND_AGAIN: Duration = Duration::from_secs(30);

/// A row whose turn it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    pub schedule: Schedule,
    /// Of the countdown.
    pub left: Duration,
}

/// Remembers what has been begun.
#[derive(Debug, Default)]
pub struct Timetable {
    begun: Vec<Begun>,
}

/// A row and the last day that it was begun for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Begun {
    row: Schedule,
    day: i64,
    stopped: bool,
    /// Everybody was told, and did it or had time to. An older Bramble did not say, and has ended.
    #[serde(default = "yes")]
    ended: bool,
    /// By an earlier run of the daemon: what is read was written by one.
    #[serde(skip, default = "yes")]
    earlier: bool,
}

const fn yes() -> bool {
    true
}

impl Begun {
    /// Whether the daemon ended in the middle of it.
    const fn is_cut_off(&self) -> bool {
        self.earlier && !self.stopped && !self.ended
    }
}

impl Timetable {
    /// As [`Self::text`] of an earlier run of the daemon has it.
    pub fn read(text: &str) -> Result<Self, serde_json::Error> {
        Ok(Self { begun: serde_json::from_str(text)? })
    }

    pub fn text(&self) -> String {
        serde_json::to_string(&self.begun).expect("numbers and strings are always JSON")
    }

    /// Somebody stopped what `row` had begun.
    pub fn stop(&mut self, row: &Schedule) {
        for begun in self.begun.iter_mut().filter(|begun| begun.row == *row) {
            begun.stopped = true;
        }
    }

    /// What `row` had begun has come to its end.
    pub fn end(&mut self, row: &Schedule) {
        for begun in self.begun.iter_mut().filter(|begun| begun.row == *row) {
            begun.ended = true;
        }
    }

    /// What is to be begun at `now`. `rule` is the router's time zone; UTC if it has none.
    pub fn due(&mut self, rows: &[Schedule], rule: Option<&str>, now: Moment) -> Vec<Due> {
        // A row that was taken away and is there again may begin again.
        self.begun.retain(|begun| rows.contains(&begun.row));
        if now < Moment::CLOCK_SET {
            return Vec::new();
        }
        let seconds = now.secs() + offset(rule, now);
        let minutes = seconds.div_euclid(60);
        let today = minutes.div_euclid(DAY);
        let mut due = Vec::new();
        for row in rows.iter().filter(|row| row.enabled) {
            let grace = i64::from(row.grace);
            // The countdown of a row shortly after midnight begins the day before; a power-off shortly before it goes on the day
            // after.
            for day in today - 1..=today + 1 {
                let at = day * DAY + i64::from(row.minute);
                let in_time = at - grace <= minutes && minutes < at.max(at - grace + LATE);
                let still = row.action == ScheduledAction::Shutdown && (at..at + STILL).contains(&minutes);
                let left = Duration::from_secs(u64::try_from(at * 60 - seconds).unwrap_or(0));
                let left = match self.begun.iter().find(|begun| begun.row == *row && begun.day == day) {
                    None if in_time && on_day(row, day) => left,
                    Some(begun) if begun.is_cut_off() && (in_time && !left.is_zero() || still) => {
                        left.max(FOUND_AGAIN)
                    }
                    _ => continue,
                };
                self.begun.retain(|begun| begun.row != *row);
                let row = row.clone();
                self.begun.push(Begun {
                    row: row.clone(),
                    day,
                    stopped: false,
                    ended: false,
                    earlier: false,
                });
                due.push(Due { schedule: row, left });
            }
        }
        due
    }
}

fn on_day(row: &Schedule, day: i64) -> bool {
    row.days.is_empty() || row.days.contains(&weekday(day))
}

/// Monday is 0; day 0 (1970-01-01) was a Thursday.
fn weekday(day: i64) -> u8 {
    u8::try_from((day + 3).rem_euclid(7)).unwrap_or(0)
}

/// Seconds by which local time is ahead of UTC.
fn offset(rule: Option<&str>, now: Moment) -> i64 {
    rule.and_then(|rule| {
        zone(rule)?.find_local_time_type(now.secs()).ok().map(|kind| kind.ut_offset().into())
    })
    .unwrap_or(0)
}

/// Reads a POSIX rule, and nothing else: no file is looked up.
fn zone(rule: &str) -> Option<TimeZone> {
    let settings = TimeZoneSettings::new(&[], |_| Err("files are not read".into()));
    settings.parse_posix_tz(rule).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BERLIN: Option<&str> = Some("CET-1CEST,M3.5.0,M10.5.0/3");

    fn row(days: &[u8], minute: u16, grace: u32) -> Schedule {
        Schedule {
            enabled: true,
            days: days.to_vec(),
            minute,
            grace,
            action: ScheduledAction::Shutdown,
            room: None,
            router: false,
        }
    }

    /// Every half minute from `from` for `hours`: when a row was begun, and with how many minutes left.
    fn begun(rows: &[Schedule], rule: Option<&str>, from: i64, hours: i64) -> Vec<(String, u64)> {
        let mut timetable = Timetable::default();
        let mut all = Vec::new();
        for step in 0..hours * 120 {
            let now = Moment::from_secs(from + step * 30);
            all.extend(
                timetable
                    .due(rows, rule, now)
                    .into_iter()
                    .map(|due| (now.to_string(), due.left.as_secs() / 60)),
            );
        }
        all
    }

    // 2026-11-23 is a Monday.
    const MONDAY: i64 = 1_795_392_000;

    #[test]
    fn a_row_begins_its_countdown_in_local_time_on_its_days() {
        let rows = [row(&[0, 1, 2, 3, 4], 16 * 60 + 30, 10)];
        let week = begun(&rows, BERLIN, MONDAY, 7 * 24);
        let days: Vec<String> = (23..28).map(|day| format!("2026-11-{day} 15:20:00")).collect();
        assert_eq!(week, days.into_iter().map(|day| (day, 10)).collect::<Vec<_>>());
        // In summer an hour earlier by UTC: Monday, 2026-07-06.
        let summer = begun(&rows, BERLIN, 1_783_296_000, 24);
        assert_eq!(summer, [("2026-07-06 14:20:00".to_owned(), 10)]);
        let utc = begun(&rows, None, MONDAY, 24);
        assert_eq!(utc, [("2026-11-23 16:20:00".to_owned(), 10)]);
    }

    #[test]
    fn a_change_of_one_row_begins_no_other_again() {
        let (evening, noon) = (row(&[0], 60, 10), row(&[0], 12 * 60, 10));
        let mut timetable = Timetable::default();
        let mut due = |rows: &[Schedule], minute: i64| -> Vec<u16> {
            let now = Moment::from_secs(MONDAY + minute * 60);
            timetable.due(rows, None, now).iter().map(|due| due.schedule.minute).collect()
        };
        assert_eq!(due(&[evening.clone(), noon.clone()], 50), [60]);
        // Another row is changed, put before it, or taken away.
        let later = Schedule { minute: 13 * 60, ..noon.clone() };
        assert_eq!(due(&[later, evening.clone()], 51), [0; 0]);
        assert_eq!(due(std::slice::from_ref(&evening), 52), [0; 0]);
        // It is moved, in the middle of its countdown: later, and back.
        let moved = Schedule { minute: 65, ..evening.clone() };
        assert_eq!(due(std::slice::from_ref(&moved), 53), [0; 0], "its countdown is not due yet");
        assert_eq!(due(&[moved], 55), [65]);
        let off = Schedule { enabled: false, ..evening.clone() };
        assert_eq!(due(&[off], 56), [0; 0]);
        assert_eq!(due(&[evening], 57), [60], "switched on again");
    }

    #[test]
    fn a_restart_of_the_daemon_begins_nothing_again() {
        let rows = [row(&[0], 60, 10), row(&[0], 65, 20), row(&[0], 55, 0)];
        let at = |minute: i64, second: i64| Moment::from_secs(MONDAY + minute * 60 + second);
        let mut timetable = Timetable::default();
        let due = |timetable: &mut Timetable, now: Moment| -> Vec<(u16, u64)> {
            let due = timetable.due(&rows, None, now);
            due.iter().map(|due| (due.schedule.minute, due.left.as_secs())).collect()
        };
        assert_eq!(due(&mut timetable, at(45, 0)), [(65, 20 * 60)]);
        assert_eq!(due(&mut timetable, at(50, 7)), [(60, 9 * 60 + 53)]);
        timetable.stop(&rows[1]);
        let again = |timetable: &Timetable| Timetable::read(&timetable.text()).expect("its own words");
        let mut timetable = again(&timetable);
        // That of 01:00 goes on with what is left; that of 01:05 stays stopped.
        assert_eq!(due(&mut timetable, at(53, 20)), [(60, 6 * 60 + 40)]);
        assert_eq!(due(&mut timetable, at(53, 30)), [], "and goes on once");
        // One without a countdown is not done twice in its minute.
        assert_eq!(due(&mut timetable, at(55, 5)), [(55, 0)]);
        let mut timetable = again(&timetable);
        assert_eq!(due(&mut timetable, at(55, 40)), [(60, 4 * 60 + 20), (55, 30)]);
        // What was carried out is not begun again, on that day.
        timetable.end(&rows[2]);
        timetable.end(&rows[0]);
        let mut timetable = again(&timetable);
        assert_eq!(due(&mut timetable, at(60, 10)), []);
        let mut timetable = again(&timetable);
        assert_eq!(due(&mut timetable, at(7 * DAY + 46, 0)), [(65, 19 * 60)], "a week later all is as ever");
        assert!(Timetable::read("[{}]").is_err());
    }

    #[test]
    fn a_power_off_that_was_cut_off_goes_on_and_nothing_else_does() {
        let at = |minute: i64, second: i64| Moment::from_secs(MONDAY + minute * 60 + second);
        let row = |action| Schedule { action, ..row(&[0], 24 * 60 - 2, 10) };
        let rows = [ScheduledAction::Logout, ScheduledAction::Shutdown, ScheduledAction::Reboot].map(row);
        let begin = || {
            let mut timetable = Timetable::default();
            assert_eq!(timetable.due(&rows, None, at(DAY - 12, 0)).len(), 3);
            timetable
        };
        let later = |timetable: &Timetable, minute: i64, second: i64| -> Vec<(ScheduledAction, u64)> {
            let mut timetable = Timetable::read(&timetable.text()).expect("its own words");
            let due = timetable.due(&rows, None, at(minute, second));
            assert_eq!(timetable.due(&rows, None, at(minute, second + 1)), [], "once");
            due.iter().map(|due| (due.schedule.action, due.left.as_secs())).collect()
        };
        let all = [ScheduledAction::Logout, ScheduledAction::Shutdown, ScheduledAction::Reboot];
        let before = later(&begin(), DAY - 3, 50);
        assert_eq!(before, all.map(|action| (action, 30)), "agents come back first");
        assert_eq!(later(&begin(), DAY - 2, 0), [(ScheduledAction::Shutdown, 30)]);
        assert_eq!(later(&begin(), DAY + 12, 59), [(ScheduledAction::Shutdown, 30)], "over midnight");
        assert_eq!(later(&begin(), DAY + 13, 0), [], "whoever is there by now has come back");
        let over: [fn(&mut Timetable, &Schedule); 2] = [Timetable::stop, Timetable::end];
        for over in over {
            let mut timetable = begin();
            over(&mut timetable, &rows[1]);
            assert_eq!(later(&timetable, DAY - 2, 0), []);
        }
        let old = begin().text().replace(",\"ended\":false", "");
        assert_eq!(later(&Timetable::read(&old).expect("an older one"), DAY - 2, 0), []);
    }

    #[test]
    fn midnight_restarts_and_no_countdown() {
        let after_midnight = [row(&[1], 5, 10)];
        assert_eq!(begun(&after_midnight, None, MONDAY, 48), [("2026-11-23 23:55:00".to_owned(), 10)]);
        let at_once = [row(&[0], 60, 0)];
        assert_eq!(begun(&at_once, None, MONDAY, 24), [("2026-11-23 01:00:00".to_owned(), 0)]);
        let rows = [row(&[0], 60, 10)];
        assert_eq!(
            begun(&rows, None, MONDAY + 55 * 60, 1),
            [("2026-11-23 00:55:00".to_owned(), 5)],
            "started late"
        );
        assert_eq!(begun(&rows, None, MONDAY + 61 * 60, 20), [], "started after it");
        assert_eq!(begun(&rows, None, 0, 30), [], "a clock that was not set");
        assert_eq!(begun(&[row(&[], 60, 10)], None, MONDAY, 48).len(), 2, "every day");
        assert_eq!(begun(&[Schedule { enabled: false, ..row(&[0], 60, 10) }], None, MONDAY, 24), []);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        /// Whatever stands in /etc/config/system, time goes on.
        #[test]
        fn any_rule_is_survived(rule in "([A-Z]{3}-?[0-9]{1,3}[A-Z]{0,3}(,M[0-9.]{1,8}(/[0-9]{1,3})?){0,2}|.{0,40})", secs in proptest::prelude::any::<i32>()) {
            let _ = offset(Some(&rule), Moment::from_secs(i64::from(secs)));
        }
    }
}
