//! Rooms, plans and boots for people.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::link::{Link, read};
use super::show::{self, NOTHING};
use super::text::{table, wrap};
use super::{Cli, CliError, print, width};
use crate::api::answer::{Boot, ClientDetail, HealthNow, Line, Rooms, Verdict};
use crate::service::boots::Step;
use crate::service::room::console::ConsoleLine;
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
    parts.extend(health.throttled.filter(|bits| *bits != 0).map(|bits| format!("throttled 0x{bits:x}")));
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
    let mut text = String::new();
    let mut until = None;
    for one in detail.boots.iter().rev() {
        let meanwhile =
            |line: &&ConsoleLine| line.at >= one.began_at && until.is_none_or(|until| line.at < until);
        let said: Vec<&ConsoleLine> = detail.console.iter().filter(meanwhile).collect();
        text.push_str(&boot(one, &said, width));
        until = Some(one.began_at);
    }
    text
}

/// One boot, with what bootloader and kernel said between its steps.
fn boot(boot: &Boot, said: &[&ConsoleLine], width: usize) -> String {
    let total =
        boot.total_ms.map_or_else(|| "not to the end".to_owned(), |ms| format!("{} in all", seconds(ms)));
    let mut text = wrap("", &format!("Boot of {} UTC, {total}", boot.began_at), width);
    let at = |moment: Moment| format!("{:>8.1} s  ", moment.since(boot.began_at).as_secs_f64());
    let step = |step: &Step| {
        let took = format!("+{}", seconds(step.took_ms));
        (step.at, format!("{}{:<26} {took:>8}\n", at(step.at), step.step.says()))
    };
    let line = |line: &&ConsoleLine| (line.at, wrap(&at(line.at), &show::said(line), width));
    let mut all: Vec<_> = boot.steps.iter().map(step).chain(said.iter().map(line)).collect();
    all.sort_by_key(|(at, _)| *at);
    text.extend(all.into_iter().map(|(_, line)| line));
    let known = boot.files > 0 || boot.missing > 0 || boot.broken > 0;
    let files = format!(
        "{} files, {} in {}, {} not there, {} broken off",
        boot.files,
        ByteSize(boot.bytes),
        seconds(boot.files_ms),
        boot.missing,
        boot.broken
    );
    if known {
        text.push_str(&wrap("            ", &files, width));
    }
    if let Some(bytes) = boot.root_bytes {
        let root = format!("{} of its root read until then", ByteSize(bytes));
        text.push_str(&wrap("            ", &root, width));
    }
    if let Some(trouble) = &boot.trouble {
        text.push_str(&wrap("            trouble: ", trouble, width));
    }
    text
}

/// Prints what a client does, as it does it, until interrupted.
pub(super) fn follow(cli: &Cli, client: &str) -> Result<ExitCode, CliError> {
    let mut link = Link::open(&cli.socket)?;
    let mut followed = Followed::default();
    loop {
        let answer = link.ask("client_get", &json!({ "client": client }))?;
        let detail: ClientDetail = read(&answer)?;
        for news in followed.news(&detail.timeline, &detail.console) {
            match news {
                News::Step(line) if cli.json => print(&format!("{}\n", json!(line))),
                News::Said(line) if cli.json => print(&format!("{}\n", json!(line))),
                News::Step(line) => print(&wrap(&format!("{}  ", line.event.last_at), &line.says, width())),
                News::Said(line) => print(&wrap(&format!("{}  ", line.at), &show::said(&line), width())),
            }
        }
        std::thread::sleep(PACE);
    }
}

/// One more line of a client that is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum News {
    Step(Line),
    /// Its bootloader or kernel said something.
    Said(ConsoleLine),
}

/// What of a client has been shown.
#[derive(Debug, Default)]
struct Followed {
    /// The last of each; nothing before the first look.
    last: Option<(Option<Line>, Option<ConsoleLine>)>,
}

impl Followed {
    /// What is new since the last look, in the order in which it happened. At first only where the client stands.
    fn news(&mut self, steps: &[Line], said: &[ConsoleLine]) -> Vec<News> {
        let (from_step, from_said) = match &self.last {
            None => (steps.len().saturating_sub(1), said.len()),
            Some((step, line)) => (
                after(steps, step.as_ref(), |step| step.event.last_at),
                after(said, line.as_ref(), |line| line.at),
            ),
        };
        self.last = Some((steps.last().cloned(), said.last().cloned()));
        let steps = steps.iter().skip(from_step).map(|step| (step.event.last_at, News::Step(step.clone())));
        let said = said.iter().skip(from_said).map(|line| (line.at, News::Said(line.clone())));
        let mut news: Vec<_> = steps.chain(said).collect();
        news.sort_by_key(|(at, _)| *at);
        news.into_iter().map(|(_, news)| news).collect()
    }
}

/// Where in `all` begins what came after `last`. One that is not there any more, because it was repeated or has made room
/// for others, is found by its time.
fn after<T: PartialEq>(all: &[T], last: Option<&T>, at: fn(&T) -> Moment) -> usize {
    let Some(last) = last else { return 0 };
    match all.iter().rposition(|one| one == last) {
        Some(index) => index + 1,
        None => all.partition_point(|one| at(one) < at(last)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::agent::health::Health;
    use crate::service::boots::Milestone;

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
        let line = |secs: i64| ConsoleLine { at: at(secs * 1000), line: format!("line {secs}") };
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
            root_bytes: Some(140 << 20),
            total_ms: Some(30_000),
        };
        assert_eq!(
            boot(&one, &[&line(10)], 200),
            "Boot of 2026-11-23 12:00:00 UTC, 30 s in all\n\
             \u{20}    0.0 s  asked for an address         +0.0 s\n\
             \u{20}   10.0 s  > line 10\n\
             \u{20}   30.0 s  log-in ready                  +30 s\n\
             \u{20}           12 files, 3.0 MiB in 2.5 s, 4 not there, 0 broken off\n\
             \u{20}           140.0 MiB of its root read until then\n"
        );
        // Of a boot that was stored by its milestones only.
        let unknown = Boot { files: 0, bytes: 0, files_ms: 0, missing: 0, root_bytes: None, ..one };
        assert!(boot(&unknown, &[], 200).ends_with("log-in ready                  +30 s\n"));
    }

    #[test]
    fn whoever_follows_a_client_sees_each_line_once_and_in_order() {
        use crate::service::events::{Event, Happening, Stage};
        let at = |secs| Moment::from_secs(1_795_435_200 + secs);
        let step = |secs: i64, times: u32| -> Line {
            let what = Happening::Discover { stage: Stage::Rom };
            Event { at: at(secs), last_at: at(secs + i64::from(times) - 1), times, what }.into()
        };
        let said = |secs: i64| ConsoleLine { at: at(secs), line: format!("line {secs}") };
        let mut followed = Followed::default();
        let mut steps = vec![step(1, 1), step(2, 1)];
        let mut lines = vec![said(1)];
        assert_eq!(followed.news(&steps, &lines), [News::Step(step(2, 1))], "where it stands");
        assert_eq!(followed.news(&steps, &lines), []);
        steps.push(step(10, 1));
        lines.extend([said(9), said(11)]);
        let news = [News::Said(said(9)), News::Step(step(10, 1)), News::Said(said(11))];
        assert_eq!(followed.news(&steps, &lines), news);
        assert_eq!(followed.news(&steps, &lines), []);
        // The last step is repeated; then the oldest have made room.
        steps[2] = step(10, 3);
        assert_eq!(followed.news(&steps, &lines), [News::Step(step(10, 3))]);
        steps = vec![step(20, 1)];
        lines = vec![said(21)];
        assert_eq!(followed.news(&steps, &lines), [News::Step(step(20, 1)), News::Said(said(21))]);
        // A client of which nothing was known.
        let mut fresh = Followed::default();
        assert_eq!(fresh.news(&[], &[]), []);
        assert_eq!(fresh.news(&steps, &[]), [News::Step(step(20, 1))]);
    }

    #[test]
    fn a_client_is_described_in_one_line() {
        let measured = Health {
            temperature_mc: Some(61_322),
            throttled: Some(0x5_0005),
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
            "30 s ago, 61 °C, throttled 0x50005, 3.0 GiB of 4.0 GiB free, load 1.05, link 1000 Mbit/s, root 1.2 ms, kernel 6.12"
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
