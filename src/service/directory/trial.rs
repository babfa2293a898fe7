//! A log-in step by step, with what to do where it fails.

use std::sync::Arc;
use std::time::Duration;

use super::entry::{self, Entry, Found};
use super::listing::{self, Listing};
use super::{Checked, External, GROUPS_FRESH, Trouble};
use crate::config::directory::{Directory as Settings, Numbers};
use crate::service::accounts::LookupError;
use crate::service::accounts::steps::{Outcome, Step};
use crate::types::{Person, Secret, UserName, chain};

type Steps = Vec<Step>;

pub fn run(external: &External, settings: &Settings, name: &str, password: Option<&Secret>) -> Steps {
    let mut steps = external.0.server.try_out(settings);
    // A server before the last may have failed; the last one answered, or none did.
    if steps.last().is_none_or(|step| step.outcome == Outcome::Failed) {
        return steps;
    }
    let outcome = tried(external, settings, name, password, &mut steps);
    steps.extend(outcome.err());
    steps
}

fn trouble(trouble: Trouble) -> Step {
    Step::failed(trouble.stage.as_str(), trouble.what, trouble.remedy)
}

fn tried(
    external: &External,
    settings: &Settings,
    name: &str,
    password: Option<&Secret>,
    steps: &mut Steps,
) -> Result<(), Step> {
    // An administrator who has just mended something does not wait.
    external.known_under(settings).down = None;
    let listing = external.listing(settings, Duration::ZERO).map_err(|error| match error {
        LookupError::Unreachable { why } => Step::failed("search", why, ""),
        error @ LookupError::Store(_) => Step::failed("search", chain(&error), ""),
    })?;
    let found = entry_of(external, settings, name, &listing, steps)?;
    steps.push(Step::ok("name", format!("logs in as `{}`", found.name)));
    numbers(settings, &found, &listing, steps)?;
    if let Some(password) = password {
        let checked = external.ask(settings, |server| server.check(settings, &found.dn, password));
        steps.push(checked_password(checked.map_err(trouble)?)?);
    }
    if found.must_change {
        let each = if found.shadowed {
            ", and at each one where the directory does not let people write their own `shadowLastChange`"
        } else {
            ""
        };
        steps.push(Step::note("password", format!("a new one has to be chosen at the log-in{each}")));
    }
    state(external, &found)?;
    let person = groups(external, settings, &found, &listing, steps)?;
    if password.is_none() {
        steps.push(Step::note("password", "not tried; `--ask` asks for it"));
    }
    steps.push(Step::ok("result", summary(&person)));
    Ok(())
}

fn entry_of(
    external: &External,
    settings: &Settings,
    name: &str,
    listing: &Arc<Listing>,
    steps: &mut Steps,
) -> Result<Found, Step> {
    let local: Option<UserName> = name.parse().ok();
    let login = local.as_ref().and_then(|name| listing.login(name)).unwrap_or(name);
    let entries = external.entries(settings, login).map_err(trouble)?;
    let entry: &Entry = match entries.as_slice() {
        [] => {
            return Err(Step::failed(
                "search",
                format!("nobody below `{}` has `{}` `{login}`", settings.base, settings.name_attribute),
                format!("look at the name, at `base` and at `filter`, which is {}", settings.filter),
            ));
        }
        [entry] => entry,
        more => {
            let what = format!(
                "{} entries below `{}` have `{}` `{login}`",
                more.len(),
                settings.base,
                settings.name_attribute
            );
            return Err(Step::failed("search", what, "narrow `base` or `filter`, so that one is left"));
        }
    };
    steps.push(Step::ok("search", format!("below `{}`", settings.base)));
    steps.push(Step::ok("entry", entry.dn.clone()));
    entry::read(settings, entry)
        .map_err(|why| Step::failed("entry", format!("left out: {why}"), "change it in the directory"))
}

fn numbers(settings: &Settings, found: &Found, listing: &Listing, steps: &mut Steps) -> Result<(), Step> {
    if let Some(why) = listing.conflict(found) {
        return Err(Step::failed("numbers", why, "give one of the two another number"));
    }
    if let Some((_, why)) = listing.left_out.iter().find(|(dn, _)| *dn == found.dn) {
        return Err(Step::failed("numbers", format!("left out: {why}"), "change it in the directory"));
    }
    let from = match settings.numbers {
        Numbers::Posix => "as the directory has it",
        Numbers::Sid => "made of `objectSid`",
    };
    steps.push(Step::ok("numbers", format!("uid and group {}, {from}", found.uid)));
    Ok(())
}

fn checked_password(checked: Checked) -> Result<Step, Step> {
    match checked {
        Checked::Right => Ok(Step::ok("password", "right")),
        Checked::MustChange => Ok(Step::note("password", "right; a new one has to be chosen at the log-in")),
        Checked::Wrong => {
            Err(Step::failed("password", "not right", "set another one in the directory if it is forgotten"))
        }
        Checked::Disabled => Err(Step::failed(
            "password",
            "the account is switched off or locked",
            "switch it on in the directory",
        )),
        Checked::Expired => {
            Err(Step::failed("password", "the account has ended", "set a later day in the directory"))
        }
    }
}

fn state(external: &External, found: &Found) -> Result<(), Step> {
    if found.disabled {
        return Err(Step::failed("state", "the account is switched off", "switch it on in the directory"));
    }
    match found.expires_at.filter(|at| *at <= external.today()) {
        Some(at) => Err(Step::failed(
            "state",
            format!("the account ended on {}", at.date()),
            "set a later day in the directory",
        )),
        None => Ok(()),
    }
}

fn groups(
    external: &External,
    settings: &Settings,
    found: &Found,
    listing: &Listing,
    steps: &mut Steps,
) -> Result<Person, Step> {
    let groups = external.groups(settings, GROUPS_FRESH).map_err(trouble)?;
    let memberships = groups.of(found);
    for wanted in settings.groups.iter().chain(&settings.teachers).filter(|wanted| !groups.has(wanted)) {
        let what = format!("there is no group `{wanted}` below `{}`; nobody is in it", settings.group_base);
        steps.push(Step::note("groups", what));
    }
    for group in &memberships {
        if let Err(why) = listing.class(group) {
            steps.push(Step::note("groups", format!("`{}` is no class: {why}", group.name)));
        }
    }
    if !listing::allowed(settings, &memberships) {
        let names: Vec<String> = memberships.iter().map(|group| format!("`{}`", group.name)).collect();
        let names = if names.is_empty() { "no group".to_owned() } else { names.join(", ") };
        let wanted: Vec<String> = settings.groups.iter().map(|group| format!("`{group}`")).collect();
        return Err(Step::failed(
            "groups",
            format!("in {names}, and only members of {} may log in", wanted.join(", ")),
            "put them into one, or change `list group`",
        ));
    }
    let person = listing.person(settings, found, &memberships);
    let classes: Vec<&str> = person.classes.iter().map(|(class, _)| class.as_str()).collect();
    let what = if classes.is_empty() { "none that is a class".to_owned() } else { classes.join(", ") };
    steps.push(Step::ok("groups", what));
    Ok(person)
}

fn summary(person: &Person) -> String {
    format!("`{}` may log in, as a {}; a room may ask for a class", person.name, person.role)
}
