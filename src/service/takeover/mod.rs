//! Keeps dnsmasq and odhcpd from giving addresses where Bramble does, and puts everything back.
//!
//! [`plan`] decides from texts alone: what `/etc/config/dhcp` says, what Bramble changed in it before ([`Record`]) and
//! what the configuration wants now give the changes, each with its reason, and what a person should know. Taking over
//! and handing back are one and the same decision; for handing back, nothing is wanted. [`apply`] carries it out.
//!
//! The least that does it is changed: `ignore` of the network's section, or `dhcpv4` where odhcpd is the DHCP server.
//! DNS and everything of IPv6 stay as they are, because neither option speaks of them.

pub mod apply;
mod notices;
mod record;

use crate::config::edit::{Edit, NewValue};
use crate::config::kind::parse_bool;
use crate::config::uci::{Document, Section, Value};
use crate::config::{Config, DhcpMode};
pub use record::{Changed, Record};

/// Where leases are written for LuCI's status page, in dnsmasq's format.
pub const LEASE_FILE: &str = "/tmp/bramble.leases";

/// Names of leases, for dnsmasq.
pub const HOSTS_FILE: &str = "/tmp/hosts/bramble";

/// Name of the `config dnsmasq` that never runs: LuCI looks for lease files in all of them.
const SHOWN_AS: &str = "bramble";

/// What is to hold from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Networks where only Bramble gives addresses, by their logical names.
    pub networks: Vec<String>,
    /// Bramble's TFTP server needs port 69.
    pub tftp: bool,
}

impl Wanted {
    /// What `config` asks for: nothing, unless Bramble is the DHCP server.
    pub fn of(config: &Config) -> Self {
        if !config.enabled || config.dhcp.mode != DhcpMode::Authoritative {
            return Self::default();
        }
        let networks = config.networks.iter().map(|network| network.name.clone()).collect();
        Self { networks, tftp: config.tftp.enabled }
    }

    /// The router as it was before Bramble.
    pub fn nothing() -> Self {
        Self::default()
    }
}

/// What to do, and what came of looking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// What is ours in `/etc/config/dhcp` once the steps are done.
    pub record: Record,
    /// What a person should know: what Bramble does not follow, what is in its way.
    pub notices: Vec<String>,
    /// A step gives something back: dnsmasq is restarted, so that it looks anew for other DHCP servers.
    pub gives_back: bool,
    /// A step concerns odhcpd.
    pub odhcpd: bool,
}

/// One change of `/etc/config/dhcp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub edit: Edit,
    /// As `uci` names it, such as `dhcp.lan.ignore`.
    pub path: String,
    /// What is there now; `None` if nothing is.
    pub from: Option<String>,
    /// What will be there.
    pub to: Option<String>,
    pub why: &'static str,
}

impl Plan {
    /// The changes, in order.
    pub fn edits(&self) -> Vec<Edit> {
        self.steps.iter().map(|step| step.edit.clone()).collect()
    }
}

/// What an option has to be for a network to be Bramble's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lever {
    option: &'static str,
    value: &'static str,
    why: &'static str,
}

/// dnsmasq leaves the network alone.
const IGNORE: Lever =
    Lever { option: "ignore", value: "1", why: "dnsmasq must not give addresses where Bramble does" };

/// odhcpd leaves IPv4 alone.
const NO_DHCPV4: Lever = Lever {
    option: "dhcpv4",
    value: "disabled",
    why: "odhcpd is the DHCP server of this router and must not give addresses where Bramble does",
};

impl Lever {
    /// Whether `section` is out of the way by itself.
    fn is_pulled(self, section: &Section) -> bool {
        let value = section.value(self.option).map(|value| value.value.as_str());
        match self.option {
            "ignore" => value.and_then(parse_bool).unwrap_or(false),
            _ => value == Some(self.value),
        }
    }
}

/// Decides what to change in `dhcp`, of which `before` is ours, so that `wanted` holds.
///
/// A value of ours that somebody has changed since is that person's: it is not put back, and where it is wanted it is
/// taken over anew, with the person's value as the one to return to.
pub fn plan(dhcp: &Document, before: &Record, wanted: &Wanted) -> Plan {
    let mut plan = Plan::default();
    let lever = if odhcpd_is_main(dhcp) { NO_DHCPV4 } else { IGNORE };
    for old in &before.changed {
        let Some(section) = of_network(dhcp, &old.network).nth(old.nth) else { continue };
        let ours = matches!(section.entry(&old.option).map(|e| &e.value), Some(Value::One(v)) if v.value == old.ours);
        if !ours {
            plan.notices.push(format!(
                "`dhcp.{}.{}` is not as Bramble set it any more (`{}`), so it is left to whoever changed it",
                section.path(),
                old.option,
                old.ours
            ));
        } else if wanted.networks.contains(&old.network) && old.option == lever.option {
            plan.record.changed.push(old.clone());
        } else {
            plan.put_back(section, old);
        }
    }
    for network in &wanted.networks {
        for (nth, section) in of_network(dhcp, network).enumerate() {
            if !plan.record.has(network, nth) && !lever.is_pulled(section) {
                plan.take(network, nth, section, lever);
            }
        }
    }
    plan.show_leases(dhcp, before, wanted);
    if !wanted.networks.is_empty() {
        plan.notices.extend(notices::all(dhcp, wanted, lever == NO_DHCPV4));
    }
    plan
}

impl Plan {
    fn take(&mut self, network: &str, nth: usize, section: &Section, lever: Lever) {
        let Lever { option, value, why } = lever;
        let before = section.entry(option).map(|entry| stands(&entry.value));
        self.steps.push(Step {
            edit: Edit::Set {
                section: section.path(),
                option: option.to_owned(),
                value: NewValue::One(value.to_owned()),
            },
            path: format!("dhcp.{}.{option}", section.path()),
            from: before.as_ref().map(shown),
            to: Some(value.to_owned()),
            why,
        });
        self.odhcpd |= lever == NO_DHCPV4;
        self.record.changed.push(Changed {
            network: network.to_owned(),
            nth,
            option: option.to_owned(),
            ours: value.to_owned(),
            before,
        });
    }

    fn put_back(&mut self, section: &Section, old: &Changed) {
        let (path, option) = (section.path(), old.option.clone());
        let edit = match old.before.clone() {
            Some(value) => Edit::Set { section: path.clone(), option, value },
            None => Edit::Unset { section: path.clone(), option },
        };
        self.steps.push(Step {
            edit,
            path: format!("dhcp.{path}.{}", old.option),
            from: Some(old.ours.clone()),
            to: old.before.as_ref().map(shown),
            why: "Bramble does not give addresses there any more",
        });
        self.gives_back = true;
        self.odhcpd |= old.option == NO_DHCPV4.option;
    }

    /// The section that shows Bramble's leases on LuCI's status page.
    fn show_leases(&mut self, dhcp: &Document, before: &Record, wanted: &Wanted) {
        let section =
            dhcp.sections.iter().find(|s| s.name.as_ref().is_some_and(|name| name.value == SHOWN_AS));
        let ours = section.is_some_and(is_as_we_made_it);
        let path = || format!("dhcp.{SHOWN_AS}");
        match (section, wanted.networks.is_empty()) {
            (None, false) => {
                let options = made().map(|(name, value)| (name.to_owned(), NewValue::One(value.to_owned())));
                self.steps.push(Step {
                    edit: Edit::Add {
                        kind: "dnsmasq".to_owned(),
                        name: Some(SHOWN_AS.to_owned()),
                        options: options.to_vec(),
                    },
                    path: path(),
                    from: None,
                    to: Some("dnsmasq".to_owned()),
                    why: "LuCI's status page shows the leases of every section of this type; this one never runs",
                });
                self.record.shown = true;
            }
            (Some(_), false) => {
                self.record.shown = before.shown && ours;
                if !ours {
                    self.notices.push(format!(
                        "there is a section `dhcp.{SHOWN_AS}` that is not Bramble's, so leases are not shown on \
                         LuCI's status page; `bramble client list` shows the clients"
                    ));
                }
            }
            (Some(_), true) if before.shown && ours => {
                self.steps.push(Step {
                    edit: Edit::Remove { section: SHOWN_AS.to_owned() },
                    path: path(),
                    from: Some("dnsmasq".to_owned()),
                    to: None,
                    why: "Bramble has no leases to show any more",
                });
                self.gives_back = true;
            }
            (Some(_), true) if before.shown => self.notices.push(format!(
                "`dhcp.{SHOWN_AS}` is not as Bramble made it any more, so it is left to whoever changed it"
            )),
            (_, true) => {}
        }
    }
}

/// `config dhcp` sections of a network, which are found by its name and not by their own.
fn of_network<'d>(dhcp: &'d Document, network: &str) -> impl Iterator<Item = &'d Section> {
    dhcp.of_kind("dhcp").filter(move |section| section.value("interface").is_some_and(|i| i.value == network))
}

/// Whether odhcpd gives IPv4 addresses in the place of dnsmasq.
fn odhcpd_is_main(dhcp: &Document) -> bool {
    let main = |section: &Section| section.value("maindhcp").and_then(|value| parse_bool(&value.value));
    dhcp.of_kind("odhcpd").any(|section| main(section) == Some(true))
}

fn made() -> [(&'static str, &'static str); 2] {
    [("disabled", "1"), ("leasefile", LEASE_FILE)]
}

fn is_as_we_made_it(section: &Section) -> bool {
    let same = |(name, value): (&str, &str)| section.value(name).is_some_and(|found| found.value == value);
    section.kind.value == "dnsmasq" && section.options.len() == made().len() && made().into_iter().all(same)
}

fn stands(value: &Value) -> NewValue {
    match value {
        Value::One(value) => NewValue::One(value.value.clone()),
        Value::Many(values) => NewValue::Many(values.iter().map(|value| value.value.clone()).collect()),
    }
}

fn shown(value: &NewValue) -> String {
    match value {
        NewValue::One(text) => text.clone(),
        NewValue::Many(all) => all.join(" "),
    }
}

#[cfg(test)]
mod tests;
