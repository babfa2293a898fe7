//! What answers look like for people. Pure: an answer and the width of the terminal in, text out.

use std::fmt::Write as _;
use std::time::Duration;

use super::Filter;
use super::text::{span, table, wrap};
use crate::api::answer::{
    Client, ClientDetail, ClientVerdict, Clients, Events, Forgotten, JobStatus, Jobs, Line, Started, Status,
};
use crate::service::jobs::{JobState, Unit};
use crate::service::room::console::ConsoleLine;
use crate::service::state::Word;
use crate::types::{ByteSize, Moment};

/// What stands where there is nothing to say.
pub(super) const NOTHING: &str = "-";

pub fn status(status: &Status, width: usize) -> String {
    let mut text = format!(
        "Bramble {}, running for {} (process {})\n",
        status.version,
        span(status.now.since(status.since)),
        status.pid
    );
    let mut line = |title: &str, says: &str| text.push_str(&wrap(&format!("  {title:<14}"), says, width));
    line("Configuration", &status.config.display().to_string());
    let free = status.free.map(|free| format!(" ({free} free)")).unwrap_or_default();
    line("Data", &format!("{}{free}", status.data.display()));
    line("Memory", &status.memory.to_string());
    for (index, network) in status.networks.iter().enumerate() {
        let pool = match network.pool {
            Some((first, last)) => format!("addresses {first} to {last}"),
            None => "reserved addresses only".to_owned(),
        };
        let title = if index == 0 { "Networks" } else { "" };
        line(title, &format!("{} on {}, {}, {pool}", network.name, network.device, network.address));
    }
    line("Services", &list(status.services.keys().map(String::as_str)));
    line("Clients", &list(status.clients.iter().map(|(word, number)| format!("{number} {word}"))));
    line("Images", &status.images.to_string());
    line("Jobs", &status.jobs.to_string());
    if status.problems.is_empty() && status.verdicts.is_empty() {
        text.push_str("All is well.\n");
    } else {
        text.push_str("Needs attention:\n");
        for problem in &status.problems {
            text.push_str(&wrap("- ", problem, width));
        }
        for ClientVerdict { name, verdict, .. } in &status.verdicts {
            text.push_str(&wrap(&format!("- {name}: "), &verdict.sentence, width));
        }
    }
    for news in &status.news {
        text.push_str(&wrap("News: ", news, width));
    }
    text
}

pub(super) fn list<T: AsRef<str>>(items: impl Iterator<Item = T>) -> String {
    let items: Vec<String> = items.map(|item| item.as_ref().to_owned()).collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

pub fn clients(clients: &Clients, width: usize) -> String {
    if clients.clients.is_empty() {
        return wrap(
            "",
            "No client is known. Switch a Pi on that is set to boot from the network, and it appears here.",
            width,
        );
    }
    let rows: Vec<Vec<String>> = clients
        .clients
        .iter()
        .map(|client| {
            vec![
                client.name.to_string(),
                or_nothing(client.room.as_ref()),
                client.mac.to_string(),
                or_nothing(client.ip),
                client.state.as_str().to_owned(),
                ago(clients.now, client.since),
                or_nothing(client.image.as_ref()),
            ]
        })
        .collect();
    let mut text = table(&["NAME", "ROOM", "MAC", "IP", "STATE", "SINCE", "IMAGE"], &rows, &[0, 1, 6], width);
    for client in &clients.clients {
        let strange = matches!(client.state, Word::Stuck | Word::New);
        match client.verdicts.first() {
            Some(verdict) => {
                let says = format!("{} {}", verdict.sentence, verdict.remedy);
                text.push_str(&wrap(&format!("{}: ", client.name), &says, width));
            }
            None if strange => text.push_str(&wrap(&format!("{}: ", client.name), &client.says, width)),
            None => {}
        }
    }
    text
}

pub fn client(detail: &ClientDetail, width: usize) -> String {
    let ClientDetail { now, client, timeline, .. } = detail;
    let mut text = format!("{} is {}", client.name, client.state.as_str());
    if client.since.is_some() {
        let _ = write!(text, " since {}", ago(*now, client.since));
    }
    text = wrap("", &format!("{text}: {}", client.says), width);
    let mut line = |title: &str, says: String| text.push_str(&wrap(&format!("  {title:<9}"), &says, width));
    line("MAC", client.mac.to_string());
    line("IP", or_nothing(client.ip));
    line("Room", or_nothing(client.room.as_ref()));
    line("Image", image_of(client));
    let memory = client.memory.map(|memory| format!(", {memory}")).unwrap_or_default();
    let serial = client.serial.map(|serial| format!(", serial {serial}")).unwrap_or_default();
    line(
        "Model",
        client.model.as_ref().map_or(NOTHING.to_owned(), |model| format!("{model}{memory}{serial}")),
    );
    if let (Some(last), Some(first)) = (client.last_seen, client.first_seen) {
        line(
            "Seen",
            format!("{} ago, for the first time {} ago", ago(*now, Some(last)), ago(*now, Some(first))),
        );
    }
    if let Some(health) = &client.health {
        line("Health", super::room::health(*now, health));
    }
    if let Some(last) = &detail.last_session {
        let until = match last.ended {
            Some(ended) => format!("until {} ago", ago(*now, Some(ended))),
            None => "still there".to_owned(),
        };
        line(
            "Log-in",
            format!("{} ({}), {} ago, {until}", last.user, last.kind, ago(*now, Some(last.since))),
        );
    }
    let mode = match client.mode_now {
        Some(now) if now != client.mode => format!("{now}, and {} from its next start on", client.mode),
        _ => client.mode.to_string(),
    };
    line("Mode", mode);
    line("Agent", detail.agent.clone().unwrap_or_else(|| "not connected".to_owned()));
    for verdict in &client.verdicts {
        text.push_str(&super::room::verdict(verdict, width));
    }
    if !client.adopted {
        let _ = writeln!(text, "Adopt it with: bramble client adopt {} --name NAME --room ROOM", client.mac);
    }
    text.push_str(&lines(timeline, &detail.console, width));
    text
}

fn image_of(client: &Client) -> String {
    match (&client.image, &client.booted) {
        (Some(next), Some(booted)) => format!("{next} (booted {booted})"),
        (Some(next), None) => next.to_string(),
        (None, Some(booted)) => format!("none (booted {booted})"),
        (None, None) => "none; give it or its room one".to_owned(),
    }
}

/// A timeline and what bootloader and kernel said meanwhile, with seconds from the first line of each boot.
fn lines(timeline: &[Line], console: &[ConsoleLine], width: usize) -> String {
    let step = |Line { says, event }: &Line| {
        let times = if event.times > 1 { format!(", {} times", event.times) } else { String::new() };
        (event.at, event.last_at, format!("{says}{times}"))
    };
    let said = |line: &ConsoleLine| (line.at, line.at, said(line));
    let mut all: Vec<_> = timeline.iter().map(step).chain(console.iter().map(said)).collect();
    all.sort_by_key(|(at, ..)| *at);
    let mut text = String::new();
    let mut began: Option<(Moment, Moment)> = None;
    for (at, until, says) in all {
        // A pause that no step of a boot has: what follows is another story.
        let (start, last) = began.unwrap_or((at, Moment::from_millis(i64::MIN)));
        let start = if at.since(last) > Duration::from_mins(5) {
            let _ = writeln!(text, "From {at} UTC");
            at
        } else {
            start
        };
        began = Some((start, until));
        let seconds = at.since(start).as_secs_f64();
        text.push_str(&wrap(&format!("{seconds:>8.1} s  "), &says, width));
    }
    text
}

/// How a line of a bootloader or kernel stands among others.
pub(super) fn said(line: &ConsoleLine) -> String {
    format!("> {}", line.line)
}

pub fn events(events: &Events, filter: &Filter, width: usize) -> String {
    let Some(oldest) = events.events.first() else {
        let Filter { client, account, least, before, .. } = filter;
        let all = client.is_none() && account.is_none() && least.is_none() && before.is_none();
        let nothing = if all {
            "No client has done anything since Bramble was started."
        } else {
            "Nothing of this kind has happened."
        };
        return format!("{nothing}\n");
    };
    let line = |event: &crate::api::answer::ClientEvent| {
        let times = if event.line.event.times > 1 {
            format!(", {} times", event.line.event.times)
        } else {
            String::new()
        };
        wrap(
            &format!("{}  {}: ", event.line.event.at, event.name),
            &format!("{}{times}", event.line.says),
            width,
        )
    };
    let mut text: String = events.events.iter().map(line).collect();
    if events.more {
        // Several happen in one second, which is all that a line shows of it.
        let at = oldest.line.event.at.millis();
        text += &wrap("", &format!("There are older ones: `--before {at}`."), width);
    }
    text
}

pub fn adopted(detail: &ClientDetail, width: usize) -> String {
    let client = &detail.client;
    let boots = match &client.image {
        Some(image) => format!("it boots {image} when it is next switched on"),
        None => {
            "it has no image yet: adopt it again with `--image NAME`, or with the `--room NAME` of a room that has one"
                .to_owned()
        }
    };
    wrap("", &format!("{} ({}) is adopted; {boots}.", client.name, client.mac), width)
}

pub fn forgotten(forgotten: &Forgotten, width: usize) -> String {
    let Forgotten { name, mac } = forgotten;
    wrap("", &format!("{name} ({mac}) is forgotten. It will be new when it is next seen."), width)
}

pub fn started(started: &Started, width: usize) -> String {
    let job = started.job;
    wrap("", &format!("Job {job} is started; watch it with `bramble job show {job}`."), width)
}

pub fn jobs(jobs: &Jobs, width: usize) -> String {
    if jobs.jobs.is_empty() {
        return "There was no job yet.\n".to_owned();
    }
    let rows: Vec<Vec<String>> = jobs
        .jobs
        .iter()
        .map(|job| {
            vec![
                job.id.to_string(),
                job.kind.clone(),
                job.subject.clone(),
                job.state.as_str().to_owned(),
                if job.state == JobState::Running { progress(job) } else { job.message.clone() },
            ]
        })
        .collect();
    table(&["JOB", "KIND", "SUBJECT", "STATE", "HOW"], &rows, &[2, 4], width)
}

pub fn job(job: &JobStatus, width: usize) -> String {
    let mut text = format!("Job {}: {} {}, {}\n", job.id, job.kind, job.subject, job.state.as_str());
    match job.state {
        JobState::Running => text.push_str(&wrap("  ", &progress(job), width)),
        JobState::Queued => {}
        _ => text.push_str(&wrap("  ", &job.message, width)),
    }
    text
}

/// One line about a job at work; below 80 columns.
pub fn progress(job: &JobStatus) -> String {
    let mut text = phase(job);
    let amount = |amount: u64| match job.unit {
        Unit::Bytes => ByteSize(amount).to_string(),
        Unit::People => amount.to_string(),
    };
    if job.done > 0 {
        let of = if job.of > 0 { format!(" of {}", amount(job.of)) } else { String::new() };
        let _ = write!(text, "  {}{of}", amount(job.done));
    }
    if job.rate > 0 {
        let _ = write!(text, "  {}/s", amount(job.rate));
    }
    if let Some(left) = job.time_left {
        let _ = write!(text, "  {} left", span(Duration::from_secs(left)));
    }
    text
}

/// What a job does now.
pub fn phase(job: &JobStatus) -> String {
    match (job.state, job.phase.as_str()) {
        (JobState::Queued, _) => "waiting for the job before it".to_owned(),
        (_, "") => "starting".to_owned(),
        (_, phase) => phase.to_owned(),
    }
}

pub(super) fn ago(now: Moment, then: Option<Moment>) -> String {
    then.map_or_else(|| NOTHING.to_owned(), |then| span(now.since(then)))
}

pub(super) fn or_nothing(value: Option<impl ToString>) -> String {
    value.map_or_else(|| NOTHING.to_owned(), |value| value.to_string())
}
