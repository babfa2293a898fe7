//! Points in time and durations as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A point in civil time: milliseconds since 1970-01-01 UTC. Stored and sent as that number.
///
/// Routers without a battery start in 1970 and jump when NTP answers, so a `Moment` is for people and records;
/// time-outs use `std::time::Instant`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Moment(i64);

impl Moment {
    /// 2025-01-01. Older than any build of this program: a clock that shows an earlier time has not been set.
    pub const CLOCK_SET: Self = Self::from_secs(1_735_689_600);

    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, rounded down.
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Time from `earlier` to `self`; zero if the clock went backwards.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// `2026-11-23`, in UTC.
    pub fn date(self) -> String {
        let text = self.to_string();
        text.split(' ').next().unwrap_or_default().to_owned()
    }

    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl From<SystemTime> for Moment {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(i64::try_from(after.as_millis()).unwrap_or(i64::MAX)),
            Err(before) => Self(-i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX)),
        }
    }
}

/// `2026-11-23 17:04:05` in UTC.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.secs();
        let (days, rest) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
        // Civil date from a day number (proleptic Gregorian calendar, eras of 400 years starting in March).
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let (h, m, s) = (rest / 3600, rest / 60 % 60, rest % 60);
        write!(f, "{year:04}-{month:02}-{day:02} {h:02}:{m:02}:{s:02}")
    }
}

/// The text was not a point in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time; write day and time of day in UTC, such as `2026-11-23 17:04:05`")]
pub struct BadMoment(String);

/// Reads what `Display` writes, with a blank or a `T` in between, or a bare number as programs send it: milliseconds since 1970.
impl FromStr for Moment {
    type Err = BadMoment;

    fn from_str(text: &str) -> Result<Self, BadMoment> {
        let bad = || BadMoment(text.chars().take(40).collect());
        if let Ok(millis) = text.parse() {
            return Ok(Self::from_millis(millis));
        }
        let (date, clock) = text.split_once([' ', 'T']).ok_or_else(bad)?;
        let end_of_day = parse_date(date).map_err(|_| bad())?;
        let parts: Vec<i64> = clock
            .split(':')
            .map(|part| {
                part.parse().ok().filter(|_| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()))
            })
            .collect::<Option<_>>()
            .ok_or_else(bad)?;
        let &[hours @ 0..24, minutes @ 0..60, seconds @ 0..60] = parts.as_slice() else { return Err(bad()) };
        Ok(Self::from_secs(end_of_day.secs() - 86_399 + hours * 3600 + minutes * 60 + seconds))
    }
}

/// The text was not a day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a day; write year, month and day, such as `2027-07-31`")]
pub struct BadDate(String);

/// Reads `2027-07-31`, `31.07.2027` or `31/07/2027` as the end of that day in UTC: whoever may do something until then may on
/// that day. With slashes a day that could be a month is refused: not everybody writes it first.
pub fn parse_date(text: &str) -> Result<Moment, BadDate> {
    let bad = || BadDate(text.chars().take(40).collect());
    let parts: Vec<&str> = text.trim().split(['-', '.', '/']).collect();
    let (year_first, year, month, day) = match parts.as_slice() {
        [year, month, day] if year.len() == 4 => (true, year, month, day),
        [day, month, year] if year.len() == 4 => (false, year, month, day),
        _ => return Err(bad()),
    };
    let number = |text: &str| text.parse::<i64>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let (year, month, day) =
        (number(year).ok_or_else(bad)?, number(month).ok_or_else(bad)?, number(day).ok_or_else(bad)?);
    let either = text.contains('/') && !year_first && day <= 12 && day != month;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || either {
        return Err(bad());
    }
    // Day number of a civil date, as in `Display` above.
    let (year_from_march, month_from_march) =
        if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = year_from_march.div_euclid(400);
    let year_of_era = year_from_march.rem_euclid(400);
    let day_of_era =
        year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + (153 * month_from_march + 2) / 5 + day - 1;
    let days = era * 146_097 + day_of_era - 719_468;
    let begin = Moment::from_secs(days * 86_400);
    if begin.date() != format!("{year:04}-{month:02}-{day:02}") {
        return Err(bad());
    }
    Ok(Moment::from_millis(begin.millis() + 86_400_000 - 1))
}

/// The text was not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time; write a number and s, m, h, d or w, such as `12h`")]
pub struct BadDuration(pub String);

/// Reads `90`, `90s`, `15m`, `12h`, `2d`, `1w` (a bare number is seconds, as dnsmasq reads it).
pub fn parse_duration(text: &str) -> Result<Duration, BadDuration> {
    let bad = || BadDuration(text.to_owned());
    let (digits, factor) = match text.char_indices().last().ok_or_else(bad)? {
        (at, 's') => (text.get(..at), 1),
        (at, 'm') => (text.get(..at), 60),
        (at, 'h') => (text.get(..at), 3600),
        (at, 'd') => (text.get(..at), 86_400),
        (at, 'w') => (text.get(..at), 604_800),
        _ => (Some(text), 1),
    };
    let digits = digits.filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit())).ok_or_else(bad)?;
    let number: u64 = digits.parse().map_err(|_| bad())?;
    number.checked_mul(factor).map(Duration::from_secs).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        #[rustfmt::skip]
        let rows = [("90", 90), ("90s", 90), ("15m", 900), ("12h", 43_200), ("2d", 172_800), ("1w", 604_800), ("0", 0)];
        for (text, secs) in rows {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(secs)), "{text}");
        }
        for text in ["", "12x", "h", "-1s", "1.5h", "99999999999999999999s", "18446744073709551615h", "1é"] {
            assert_eq!(parse_duration(text), Err(BadDuration(text.to_owned())));
        }
    }

    #[test]
    fn a_day_lasts_to_its_end() {
        for (text, shown) in [
            ("2027-07-31", "2027-07-31 23:59:59"),
            ("31.07.2027", "2027-07-31 23:59:59"),
            ("31/07/2027", "2027-07-31 23:59:59"),
            ("12/12/2027", "2027-12-12 23:59:59"),
            ("2027/07/08", "2027-07-08 23:59:59"),
            ("29.2.2028", "2028-02-29 23:59:59"),
            ("1970-01-01", "1970-01-01 23:59:59"),
        ] {
            assert_eq!(parse_date(text).expect(text).to_string(), shown);
        }
        for text in
            ["", "2027-02-29", "2027-13-01", "31.7.27", "2027-07", "+027-1-1", "07/31/2027", "07/08/2027"]
        {
            assert_eq!(parse_date(text), Err(BadDate(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn moments_print_as_civil_time() {
        #[rustfmt::skip]
        let rows = [
            (0, "1970-01-01 00:00:00"), (951_782_400, "2000-02-29 00:00:00"), (1_795_453_445, "2026-11-23 17:04:05"),
            (-1, "1969-12-31 23:59:59"), (4_102_444_799, "2099-12-31 23:59:59"),
        ];
        for (secs, text) in rows {
            assert_eq!(Moment::from_secs(secs).to_string(), text);
            if secs >= 0 {
                assert_eq!(text.parse(), Ok(Moment::from_secs(secs)));
                assert_eq!(text.replace(' ', "T").parse(), Ok(Moment::from_secs(secs)));
            }
        }
        assert_eq!("1795453445123".parse(), Ok(Moment::from_millis(1_795_453_445_123)));
        for text in
            ["", "2026-11-23", "2026-11-23 24:00:00", "2026-11-23 1:2:3", "2026-11-23 17:04", "yesterday"]
        {
            assert_eq!(text.parse::<Moment>(), Err(BadMoment(text.to_owned())));
        }
        assert_eq!(
            BadMoment("noon".to_owned()).to_string(),
            "`noon` is not a time; write day and time of day in UTC, such as `2026-11-23 17:04:05`"
        );
    }
}
