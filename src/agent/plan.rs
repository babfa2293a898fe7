//! Decides what has to change in a root, from what the tree is, who the client is and the recipe of its release.
//!
//! Reads the tree and changes nothing; [`apply`] does, change by change, and goes on when one fails.

use super::edits;
use super::recipes::{Does, PI_OS_FILES, RECIPES, Recipe, Rule};
use super::root::Root;
use crate::proto::agent::Personality;

/// The client as recipes see it.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    pub personality: &'a Personality,
    /// Kernel name of the interface that the root comes over, such as `eth0`.
    pub link: &'a str,
    /// The text console that somebody sits at, such as `tty1`.
    pub console: &'a str,
}

impl Client<'_> {
    /// The time servers as systemd lists them; `None` if there are none.
    pub fn ntp(&self) -> Option<String> {
        let servers = self.personality.ntp.iter().map(ToString::to_string).collect::<Vec<_>>();
        (!servers.is_empty()).then(|| servers.join(" "))
    }

    /// One line per time server: `before`, the server, `after`.
    pub fn lines_per_ntp(&self, before: &str, after: &str) -> String {
        let lines = self.personality.ntp.iter().map(|server| format!("{before}{server}{after}\n"));
        lines.collect::<Vec<_>>().concat()
    }
}

/// What is to be done, in order.
#[derive(Debug)]
pub struct Plan {
    /// Name of the recipe.
    pub recipe: &'static str,
    pub changes: Vec<Change>,
    /// What could not be decided, in plain words.
    pub troubles: Vec<String>,
}

/// One change in the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Relative to the root.
    pub path: String,
    pub to: To,
    pub why: &'static str,
}

/// What a path is changed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    File {
        text: String,
        mode: u32,
    },
    /// A file that is there gets another text, and keeps its owner and its mode.
    Edited(String),
    Link(String),
    Nothing,
}

/// Plans for a tree. Reads only.
pub fn plan(root: &Root, client: Client<'_>) -> Plan {
    let recipe = recipe(root);
    let mut planner = Planner { root, client, changes: Vec::new(), troubles: Vec::new() };
    planner.personality();
    for rule in recipe.rules.iter().copied().flatten() {
        planner.rule(rule);
    }
    Plan { recipe: recipe.name, changes: planner.changes, troubles: planner.troubles }
}

/// Makes the changes; the ones that failed come back as sentences.
pub fn apply(root: &Root, plan: &Plan) -> Vec<String> {
    let make = |change: &Change| match &change.to {
        To::File { text, mode } => root.write(&change.path, text, *mode),
        To::Edited(text) => root.replace(&change.path, text),
        To::Link(target) => root.link(&change.path, target),
        To::Nothing => root.remove(&change.path),
    };
    let failed = |change: &Change| {
        let error = make(change).err()?;
        Some(format!("`/{}` could not be changed ({}): {error}", change.path, change.why))
    };
    plan.changes.iter().filter_map(failed).collect()
}

fn recipe(root: &Root) -> &'static Recipe {
    let release =
        ["etc/os-release", "usr/lib/os-release"].iter().find_map(|path| root.text(path).ok().flatten());
    let codename = release.as_ref().and_then(|(text, _)| {
        let value = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
        Some(value.trim_matches(['"', '\'']))
    });
    let pi_os = PI_OS_FILES.iter().any(|path| root.exists(path));
    let fits = |recipe: &&Recipe| {
        recipe.pi_os == pi_os && (recipe.codename.is_empty() || Some(recipe.codename) == codename)
    };
    RECIPES.iter().find(fits).expect("for both values of `pi_os` there is a recipe for any codename")
}

struct Planner<'a> {
    root: &'a Root,
    client: Client<'a>,
    changes: Vec<Change>,
    troubles: Vec<String>,
}

impl Planner<'_> {
    /// What the personality says, whatever the release.
    fn personality(&mut self) {
        let personality = self.client.personality;
        let name = &personality.name;
        self.file("etc/hostname", format!("{name}\n"), "the name from Bramble's configuration");
        let domain = personality.domain.as_ref().map(crate::types::Domain::as_str);
        let (hosts, mode) = self.read("etc/hosts").unwrap_or_else(|| (String::new(), 0o644));
        let text = edits::hosts(&hosts, name, domain);
        self.change("etc/hosts", To::File { text, mode }, "the client finds itself by its own name");

        self.file(
            "etc/machine-id",
            format!("{}\n", personality.machine_id),
            "the same at every boot of this client, another for every other",
        );
        if self.root.exists("var/lib/dbus") {
            self.change(
                "var/lib/dbus/machine-id",
                To::Link("/etc/machine-id".to_owned()),
                "D-Bus uses the same one",
            );
        }

        if !personality.dns.is_empty() {
            let search = domain.map(|domain| format!("search {domain}\n"));
            let servers = personality.dns.iter().map(|server| format!("nameserver {server}\n"));
            let first = "# Written at boot by bramble-agent.\n".to_owned();
            let text = [first].into_iter().chain(search).chain(servers).collect::<Vec<_>>().concat();
            self.file("etc/resolv.conf", text, "nobody on the client asks for the network's name servers");
        }
        if let Some(zone) = &personality.timezone {
            let path = format!("usr/share/zoneinfo/{zone}");
            if self.root.exists(&path) {
                self.change("etc/localtime", To::Link(format!("/{path}")), "the time zone of the room");
                self.file("etc/timezone", format!("{zone}\n"), "the time zone of the room");
            } else {
                self.troubles.push(format!("the image does not know the time zone `{zone}`; install `tzdata` in it, or choose another zone"));
            }
        }
        for unit in &personality.mask {
            self.mask(unit.as_str(), "the room's configuration says so");
        }
    }

    fn rule(&mut self, rule: &Rule) {
        let why = rule.why;
        match rule.does {
            Does::Mask(units) => {
                for unit in units {
                    if self.has_unit(unit) {
                        self.mask(unit, why);
                    }
                }
            }
            Does::Remove(paths) => {
                for path in paths {
                    if self.root.exists(path) {
                        self.change(path, To::Nothing, why);
                    }
                }
            }
            Does::Link { path, target, needs } => {
                if self.root.exists(needs) {
                    self.change(path, To::Link(target.to_owned()), why);
                }
            }
            Does::Write { path, needs, text } => {
                if (needs.is_empty() || self.root.exists(needs))
                    && let Some(text) = text(&self.client).filter(|text| !text.is_empty())
                {
                    self.file(path, text, why);
                }
            }
            Does::Edit { path, edit } => match path.strip_suffix("/*") {
                None => self.edit(path, edit, why),
                Some(folder) => {
                    for name in self.root.names(folder) {
                        self.edit(&format!("{folder}/{name}"), edit, why);
                    }
                }
            },
            Does::Arrange(arrange) => {
                let arranged = arrange(self.root, &self.client);
                self.troubles.extend(arranged.troubles);
                for (path, to) in arranged.changes {
                    self.change(&path, to, why);
                }
            }
            Does::MaskIfMade { unit, folder, ends } => {
                if self.has_unit(unit) && self.root.names(folder).iter().any(|name| name.ends_with(ends)) {
                    self.mask(unit, why);
                }
            }
        }
    }

    fn edit(&mut self, path: &str, edit: fn(&str, &Client<'_>) -> String, why: &'static str) {
        if let Some((text, mode)) = self.read(path) {
            let edited = edit(&text, &self.client);
            if edited != text {
                self.change(path, To::File { text: edited, mode }, why);
            }
        }
    }

    /// The text at `path`; a file that cannot be read is a trouble, and as if it were not there.
    fn read(&mut self, path: &str) -> Option<(String, u32)> {
        self.root.text(path).unwrap_or_else(|error| {
            self.troubles.push(format!("`/{path}` cannot be read and stays as it is: {error}"));
            None
        })
    }

    fn has_unit(&self, unit: &str) -> bool {
        let folders = ["etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];
        let sysv =
            unit.strip_suffix(".service").is_some_and(|name| self.root.exists(&format!("etc/init.d/{name}")));
        sysv || folders.iter().any(|folder| self.root.exists(&format!("{folder}/{unit}")))
    }

    fn mask(&mut self, unit: &str, why: &'static str) {
        self.change(&format!("etc/systemd/system/{unit}"), To::Link("/dev/null".to_owned()), why);
    }

    fn file(&mut self, path: &str, text: String, why: &'static str) {
        self.change(path, To::File { text, mode: 0o644 }, why);
    }

    fn change(&mut self, path: &str, to: To, why: &'static str) {
        self.changes.push(Change { path: path.to_owned(), to, why });
    }
}
