//! Which old versions of an image need not be kept any longer.

use std::time::Duration;

use super::library::VersionSummary;
use crate::types::{Moment, Version};

/// What is kept of versions that nobody boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// So many of each image, the newest; all of them if `None`.
    pub count: Option<u32>,
    /// Those that are not older than this; of any age if `None`.
    pub age: Option<Duration>,
}

/// Why a version goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("newer ones that nobody boots are kept, {0} of them")]
    Many(u32),
    #[error("nobody boots it, and it is {0} days old")]
    Old(u64),
}

/// Versions of one image that go, oldest first. Never the current one, nor the one that a roll-back gives back, nor one for
/// which `is_used` says yes.
pub fn superfluous(
    versions: &[VersionSummary],
    current: Option<Version>,
    keep: Keep,
    now: Moment,
    is_used: &dyn Fn(Version) -> bool,
) -> Vec<(Version, Why)> {
    let mut unused: Vec<&VersionSummary> = versions
        .iter()
        .filter(|one| Some(one.version) != current && !one.before && !is_used(one.version))
        .collect();
    unused.sort_by_key(|one| std::cmp::Reverse(one.version));
    let fate = |(index, one): (usize, &&VersionSummary)| {
        let many = keep.count.filter(|count| index >= usize::try_from(*count).unwrap_or(usize::MAX));
        let age = now.since(one.imported_at);
        let old = keep.age.is_some_and(|most| age > most);
        let why = many.map(Why::Many).or(old.then_some(Why::Old(age.as_secs() / 86_400)))?;
        Some((one.version, why))
    };
    let mut going: Vec<(Version, Why)> = unused.iter().enumerate().filter_map(fate).collect();
    going.reverse();
    going
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::super::Facts;
    use super::*;

    const DAY: Duration = Duration::from_hours(24);
    const NOW: Moment = Moment::from_secs(1_800_000_000);

    fn version(number: u32) -> Version {
        Version(NonZeroU32::new(number).expect("not zero"))
    }

    fn summary(number: u32, days: i64) -> VersionSummary {
        VersionSummary {
            version: version(number),
            source: String::new(),
            note: String::new(),
            before: false,
            own: None,
            sha256: None,
            bytes: 0,
            packed: None,
            files: 0,
            imported_at: Moment::from_secs(1_800_000_000 - days * 86_400),
            path: PathBuf::new(),
            missing: false,
            facts: Facts::unknown(),
        }
    }

    fn goes(keep: Keep, used: &[u32]) -> Vec<u32> {
        // Version 6 is current, 4 comes back with a roll-back.
        let mut versions: Vec<VersionSummary> =
            (1..=7).map(|number| summary(number, i64::from(70 - 10 * number))).collect();
        versions[3].before = true;
        let is_used = |version: Version| used.contains(&version.0.get());
        let going = superfluous(&versions, Some(version(6)), keep, NOW, &is_used);
        going.into_iter().map(|(version, _)| version.0.get()).collect()
    }

    #[test]
    fn by_count_by_age_and_never_what_is_used() {
        let (count, age) = (|count| Some(count), |days: u32| Some(DAY * days));
        #[rustfmt::skip]
        let rows: [(&str, Keep, &[u32], &[u32]); 7] = [
            ("all", Keep { count: None, age: None }, &[], &[]),
            ("two", Keep { count: count(2), age: None }, &[], &[1, 2, 3]),
            ("two, and one is in use", Keep { count: count(2), age: None }, &[3], &[1, 2]),
            ("none", Keep { count: count(0), age: None }, &[], &[1, 2, 3, 5, 7]),
            ("a month", Keep { count: None, age: age(45) }, &[], &[1, 2]),
            ("a month, in use", Keep { count: None, age: age(45) }, &[1, 2], &[]),
            ("either", Keep { count: count(3), age: age(55) }, &[], &[1, 2]),
        ];
        for (shows, keep, used, expected) in rows {
            assert_eq!(goes(keep, used), expected, "{shows}");
        }
        assert_eq!(Why::Old(60).to_string(), "nobody boots it, and it is 60 days old");
        assert_eq!(Why::Many(2).to_string(), "newer ones that nobody boots are kept, 2 of them");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is set, what somebody may need stays, and as many of the rest as were asked for.
        #[test]
        fn what_is_needed_stays(
            count in proptest::option::of(0_u32..8),
            days in proptest::option::of(0_u32..80),
            used in proptest::collection::vec(1_u32..8, 0..4),
        ) {
            let going = goes(Keep { count, age: days.map(|days| DAY * days) }, &used);
            let needed = |number: &u32| [4, 6].contains(number) || used.contains(number);
            prop_assert!(!going.iter().any(needed));
            let unused = (1..=7).filter(|number| !needed(number)).count();
            if days.is_none() {
                let kept = count.map_or(unused, |count| unused.min(count as usize));
                prop_assert_eq!(unused - going.len(), kept);
            }
        }
    }
}
