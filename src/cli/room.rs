//! Rooms, plans and boots for people.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::link::{Link, read};
use super::show::NOTHING;
use super::text::{table, wrap};
use super::{Cli, CliError, print, width};
use crate::api::answer::{Boot, ClientDetail, HealthNow, Line, Rooms, Verdict};
use crate::service::room::plan::Plan;
use crate::types::{ByteSize, Moment};

/// How often a client is asked for that is followed.
const PACE: Duration = Duration::from_secs(1);

pub(super) fn rooms(rooms: &Rooms, width: usize) -> String {
    if rooms.rooms.is_empty() {
        return wrap("", "There is no room yet: `uci set bramble.lab=room; uci commit bramble`", width);
    }
    let or = |text: Option<String>| text.unwrap_or_else(|| NOTHING.to_owned());
    let row = |room: &crate::api::answer::RoomState| {
        let slowest = room.boots.slowest_ms.map(|ms| {
            let who = room.slowest.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("{} {who}", seconds(ms))
        });
        vec![
            room.room.as_ref().map_or_else(|| "(no room)".to_owned(), ToString::to_string),
            or(room.image.as_ref().map(ToString::to_string)),
            format!("{} of {}", room.up, room.clients),
            room.stopped.to_string(),
            room.people.to_string(),
            or(room.boots.median_ms.map(seconds)),
            or(slowest),
            or(room.boots.together_ms.map(seconds)),
        ]
    };
    let rows: Vec<Vec<String>> = rooms.rooms.iter().map(row).collect();
    table(
        &["ROOM", "IMAGE", "UP", "STOPPED", "PEOPLE", "BOOT", "SLOWEST", "ALL IN"],
        &rows,
        &[0, 1, 6],
        width,
    )
}

pub(super) fn plan(plan: &Plan, width: usize) -> String {
    let head = format!(
        "{} clients: {} to the last log-in screen, {} for one alone. Bottleneck: {}.",
        plan.clients,
        seconds(plan.total_ms),
        seconds(plan.alone_ms),
        plan.bottleneck
    );
    let mut text = wrap("", &head, width);
    for part in &plan.parts {
        let line = format!("{}/s, {} for all that goes through it", ByteSize(part.rate), seconds(part.ms));
        text.push_str(&wrap(&format!("  {}: ", part.name), &line, width));
    }
    for says in &plan.says {
        text.push_str(&wrap("- ", says, width));
    }
    text
}

/// `0.5 s`, `41 s`, `3 min`.
fn seconds(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        10_000..120_000 => format!("{} s", ms / 1000),
        _ => format!("{} min", ms / 60_000),
    }
}

/// What is wrong with a client, what may be the reason, and what to do.
pub(super) fn verdict(verdict: &Verdict, width: usize) -> String {
    let mut text = wrap(if verdict.stops { "! " } else { "- " }, &verdict.sentence, width);
    for (n, cause) in (1..).zip(&verdict.causes) {
        text.push_str(&wrap(&format!("    {n}. "), cause, width));
    }
    text.push_str(&wrap("    What to do: ", &verdict.remedy, width));
    text
}

/// One line on how a client is.
pub(super) fn health(now: Moment, health: &HealthNow) -> String {
    let HealthNow { at, health } = health;
    let mut parts = vec![format!("{} ago", super::text::span(now.since(*at)))];
    parts.extend(health.temperature_mc.map(|mc| format!("{} °C", mc / 1000)));
    if health.memory_kb > 0 {
        let (free, all) = (ByteSize(health.available_kb * 1024), ByteSize(health.memory_kb * 1024));
        parts.push(format!("{free} of {all} free"));
    }
    parts.push(format!("load {}.{:02}", health.load_centi / 100, health.load_centi % 100));
    parts.extend(health.link_mbit.map(|mbit| format!("link {mbit} Mbit/s")));
    parts.extend(health.root_us.map(|us| format!("root {}.{} ms", us / 1000, us % 1000 / 100)));
    parts.extend(health.home_us.map(|us| format!("home {}.{} ms", us / 1000, us % 1000 / 100)));
    if !health.kernel.as_str().is_empty() {
        parts.push(format!("kernel {}", health.kernel));
    }
    parts.extend(health.eeprom.map(|built| format!("bootloader of {}", built.date())));
    parts.join(", ")
}

/// The last boots, newest first, step by step.
pub(super) fn boots(detail: &ClientDetail, width: usize) -> String {
    if detail.boots.is_empty() {
        return wrap(
            "",
            &format!("No boot of {} was seen since Bramble was started.", detail.client.name),
            width,
        );
    }
    let mut text: String = detail.boots.iter().rev().map(|one| boot(one, width)).collect();
    if !detail.console.is_empty() {
        text.push_str("Bootloader and kernel said:\n");
        for line in &detail.console {
            text.push_str(&wrap(&format!("  {}  ", line.at), &line.line, width));
        }
    }
    text
}

fn boot(boot: &Boot, width: usize) -> String {
    let total =
        boot.total_ms.map_or_else(|| "not to the end".to_owned(), |ms| format!("{} in all", seconds(ms)));
    let mut text = wrap("", &format!("Boot of {} UTC, {total}", boot.began_at), width);
    for step in &boot.steps {
        let since = boot.began_at;
        let at = step.at.since(since).as_secs_f64();
        let took = format!("+{}", seconds(step.took_ms));
        let _ = writeln!(text, "{at:>8.1} s  {:<26} {took:>8}", step.step.says());
    }
    let files = format!(
        "{} files, {} in {}, {} not there, {} broken off",
        boot.files,
        ByteSize(boot.bytes),
        seconds(boot.files_ms),
        boot.missing,
        boot.broken
    );
    text.push_str(&wrap("            ", &files, width));
    if let Some(trouble) = &boot.trouble {
        text.push_str(&wrap("            trouble: ", trouble, width));
    }
    text
}

/// Prints what a client does, as it does it, until interrupted.
pub(super) fn follow(cli: &Cli, client: &str) -> Result<ExitCode, CliError> {
    let mut link = Link::open(&cli.socket)?;
    let mut last: Option<(Moment, u32, String)> = None;
    loop {
        let answer = link.ask("client_get", &json!({ "client": client }))?;
        let detail: ClientDetail = read(&answer)?;
        let mark = |line: &Line| (line.event.last_at, line.event.times, line.says.clone());
        let seen =
            last.as_ref().and_then(|last| detail.timeline.iter().rposition(|line| mark(line) == *last));
        let new = detail.timeline.iter().skip(match (&last, seen) {
            // The first time only where it stands now.
            (None, _) => detail.timeline.len().saturating_sub(1),
            (Some(_), Some(index)) => index + 1,
            (Some((at, ..)), None) => detail.timeline.partition_point(|line| line.event.last_at < *at),
        });
        for line in new {
            if cli.json {
                print(&format!("{}\n", json!(line)));
            } else {
                print(&wrap(&format!("{}  ", line.event.last_at), &line.says, width()));
            }
        }
        last = detail.timeline.last().map(mark).or(last);
        std::thread::sleep(PACE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::agent::health::Health;
    use crate::service::boots::{Milestone, Step};

    #[test]
    fn times_are_as_exact_as_they_need_to_be() {
        for (ms, text) in [(0, "0.0 s"), (1550, "1.5 s"), (41_999, "41 s"), (125_000, "2 min")] {
            assert_eq!(seconds(ms), text);
        }
    }

    #[test]
    fn a_boot_is_shown_step_by_step() {
        let at = |ms: i64| Moment::from_millis(1_795_435_200_000 + ms);
        let step = |step, ms, took_ms| Step { step, at: at(ms), took_ms };
        let one = Boot {
            began_at: at(0),
            last_at: at(30_000),
            steps: vec![step(Milestone::Asked, 0, 0), step(Milestone::Ready, 30_000, 30_000)],
            files: 12,
            bytes: 3 << 20,
            files_ms: 2500,
            missing: 4,
            broken: 0,
            trouble: None,
            total_ms: Some(30_000),
        };
        assert_eq!(
            boot(&one, 200),
            "Boot of 2026-11-23 12:00:00 UTC, 30 s in all\n\
             \u{20}    0.0 s  asked for an address         +0.0 s\n\
             \u{20}   30.0 s  log-in ready                  +30 s\n\
             \u{20}           12 files, 3.0 MiB in 2.5 s, 4 not there, 0 broken off\n"
        );
    }

    #[test]
    fn a_client_is_described_in_one_line() {
        let measured = Health {
            temperature_mc: Some(61_322),
            memory_kb: 4 << 20,
            available_kb: 3 << 20,
            load_centi: 105,
            link_mbit: Some(1000),
            root_us: Some(1250),
            kernel: "6.12".into(),
            ..Health::default()
        };
        let at = Moment::from_secs(1_795_435_200);
        let text = health(at.plus(Duration::from_secs(30)), &HealthNow { at, health: measured });
        assert_eq!(
            text,
            "30 s ago, 61 °C, 3.0 GiB of 4.0 GiB free, load 1.05, link 1000 Mbit/s, root 1.2 ms, kernel 6.12"
        );
    }

    #[test]
    fn a_verdict_has_causes_and_a_remedy() {
        let one = Verdict {
            code: "slow_link".to_owned(),
            stops: false,
            sentence: "Its link is slow.".to_owned(),
            causes: vec!["the cable".to_owned(), "the port".to_owned()],
            remedy: "Change the cable.".to_owned(),
        };
        assert_eq!(
            verdict(&one, 200),
            "- Its link is slow.\n    1. the cable\n    2. the port\n    What to do: Change the cable.\n"
        );
    }
}
