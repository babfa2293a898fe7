//! What may stand in `/etc/config/bramble`: the one description of each section and option.
//!
//! The checks of [`super::load`], the default file `openwrt/files/bramble.config`, the reference that
//! [`reference()`] prints and what a reload restarts ([`super::diff`]) all come from this table or are tested against it.
//! To add an option: a row here, a field in [`super::Config`], the line in [`super::load`] that fills it.

use super::kind::{Kind, OFFICIAL_CATALOGUE};
use super::schedule;
use crate::types::Mode;

/// One type of section.
#[derive(Debug)]
pub struct SectionSpec {
    /// The word after `config`.
    pub kind: &'static str,
    pub naming: Naming,
    pub help: &'static str,
    pub options: &'static [OptionSpec],
}

/// How sections of a type are named, and so how many there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// There is one, and this is its name. Left out, every option has its default.
    Fixed(&'static str),
    /// Any number; the name of the section is a name people use.
    Named,
    /// Any number; a name is not needed.
    Free,
}

/// One option of a section.
#[derive(Debug)]
pub struct OptionSpec {
    pub name: &'static str,
    pub kind: Kind,
    /// Written with `list`, once a value.
    pub list: bool,
    pub default: Absent,
    /// One sentence for the web page and the reference.
    pub help: &'static str,
    /// What has to notice a change.
    pub touches: Touches,
}

/// What counts where an option is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// It must be written.
    Required,
    /// Nothing: the option has no value then.
    Unset,
    /// As if this had been written.
    Value(&'static str),
}

/// What a change of an option restarts. Nothing here ever takes the root of a running client away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Touches {
    /// Only what the log shows.
    Log,
    /// Names, rooms and images of clients: seen at their next question.
    Clients,
    /// Who may log in where, with which rights, homes and shares: told to clients that run, and seen at the next log-in.
    People,
    /// Pools, reservations and options: the DHCP service takes the new facts, its sockets stay open.
    Leases,
    /// Which addresses and interfaces are listened on.
    Sockets,
    /// Everything: the daemon has to be started anew, which clients survive.
    Daemon,
}

/// The section of a type, if there is such a type.
pub fn section(kind: &str) -> Option<&'static SectionSpec> {
    SECTIONS.iter().find(|spec| spec.kind == kind)
}

impl SectionSpec {
    pub fn option(&self, name: &str) -> Option<&'static OptionSpec> {
        self.options.iter().find(|spec| spec.name == name)
    }
}

/// A row of a table below: easier to read without the field names.
const fn option(
    name: &'static str,
    kind: Kind,
    default: Absent,
    touches: Touches,
    help: &'static str,
) -> OptionSpec {
    OptionSpec { name, kind, list: false, default, help, touches }
}

const fn list(
    name: &'static str,
    kind: Kind,
    default: Absent,
    touches: Touches,
    help: &'static str,
) -> OptionSpec {
    OptionSpec { name, kind, list: true, default, help, touches }
}

const START: Kind = Kind::Number { min: 1, max: 65_534 };
const LIMIT: Kind = Kind::Number { min: 1, max: 65_534 };
const MINUTES: Kind = Kind::Number { min: 0, max: 1440 };

/// Groups of Raspberry Pi OS that open devices and nothing else: none of them is a way to root.
pub const DEVICE_GROUPS: &[&str] =
    &["audio", "video", "render", "input", "plugdev", "netdev", "dialout", "gpio", "i2c", "spi", "none"];

/// A group that only who was told so is in: it reads every key that anybody types at the client, passwords too.
pub const READS_KEYS: &str = "input";

/// Every section, in the order in which the default file has them.
#[rustfmt::skip]
pub const SECTIONS: &[SectionSpec] = {
    use Absent::{Required, Unset, Value};
    &[
    SectionSpec { kind: "bramble", naming: Naming::Fixed("main"), help: "The service as a whole.", options: &[
        option("enabled", Kind::Bool, Value("0"), Touches::Daemon,
            "Whether Bramble serves; the init script starts it only then."),
        option("data", Kind::Path, Required, Touches::Daemon,
            "Folder for images and the database, on attached storage: never on the router's flash or in its memory."),
        list("network", Kind::Network, Value("lan"), Touches::Sockets,
            "Networks that are served, by their names in /etc/config/network; each needs a static address."),
        option("log_level", Kind::OneOf(&["error", "warn", "info", "debug", "trace"]), Value("info"), Touches::Log,
            "How much the log says."),
    ] },
    SectionSpec { kind: "dhcp", naming: Naming::Fixed("dhcp"), help: "Addresses.", options: &[
        option("mode", Kind::OneOf(&["authoritative", "proxy", "off"]), Value("authoritative"), Touches::Sockets,
            "Give addresses (authoritative), add to what another server gives (proxy), or do neither (off)."),
        option("inherit", Kind::Bool, Value("1"), Touches::Leases,
            "Take pool, lease time, reservations and options from /etc/config/dhcp, as dnsmasq would have."),
        option("start", START, Value("100"), Touches::Leases,
            "First address of the pool, counted from the network's own; used where nothing is inherited."),
        option("limit", LIMIT, Value("150"), Touches::Leases,
            "How many addresses the pool has; used where nothing is inherited."),
        option("lease_time", Kind::Duration, Value("12h"), Touches::Leases,
            "How long an address is given for; used where nothing is inherited."),
        option("unknown_pi", Kind::OneOf(&["offer", "ignore"]), Value("offer"), Touches::Leases,
            "What a Pi that nobody has adopted gets: an address, or no answer."),
    ] },
    SectionSpec { kind: "subnet", naming: Naming::Free, help: "A network behind a DHCP relay.", options: &[
        option("network", Kind::Network, Required, Touches::Leases,
            "The served network through which the relay's questions come in."),
        option("subnet", Kind::Subnet, Required, Touches::Leases,
            "The relayed network; the relay's own address (giaddr) lies in it."),
        option("router", Kind::Ip, Unset, Touches::Leases,
            "Its default router; the relay itself if left out."),
        option("start", START, Unset, Touches::Leases,
            "First address of its pool, counted from the network's own; without it only reservations are served."),
        option("limit", LIMIT, Value("150"), Touches::Leases,
            "How many addresses its pool has."),
        option("lease_time", Kind::Duration, Unset, Touches::Leases,
            "How long an address is given for; as on the served network if left out."),
    ] },
    SectionSpec { kind: "tftp", naming: Naming::Fixed("tftp"), help: "Boot files.", options: &[
        option("enabled", Kind::Bool, Value("1"), Touches::Sockets,
            "Whether boot files are served."),
    ] },
    SectionSpec { kind: "nfs", naming: Naming::Fixed("nfs"), help: "Root file systems.", options: &[
        option("backend", Kind::OneOf(&["embedded", "external"]), Value("embedded"), Touches::Clients,
            "Who serves images: Bramble (embedded), or another NFS server (external); homes and shares are always Bramble's."),
        option("url", Kind::NfsUrl, Unset, Touches::Clients,
            "Where the other server has each version of each image, if `backend` is `external`."),
        option("port", Kind::Number { min: 1, max: 65535 }, Value("2049"), Touches::Sockets,
            "Port of Bramble's own NFS server: another than 2049 where the router's kernel has that; running clients must start again."),
    ] },
    SectionSpec { kind: "catalogue", naming: Naming::Fixed("catalogue"), help: "Where operating systems come from.", options: &[
        list("source", Kind::Catalogue, Value(OFFICIAL_CATALOGUE), Touches::Clients,
            "Lists of operating systems: Raspberry Pi's own, a school's, one on a USB stick; of Raspberry Pi Imager or of PiServer."),
        option("refresh", Kind::Duration, Value("1d"), Touches::Clients,
            "How often they are looked at for a newer release of an image that came from one; never with `infinite`."),
        option("proxy", Kind::Proxy, Unset, Touches::Clients,
            "The proxy through which this router reaches the web; straight if left out."),
        option("ca_file", Kind::Path, Value("/etc/ssl/certs/ca-certificates.crt"), Touches::Clients,
            "Certificates (PEM) of the authorities that may vouch for servers of the web; the default is that of the package `ca-bundle`."),
    ] },
    SectionSpec { kind: "accounts", naming: Naming::Fixed("accounts"), help: "People who log in.", options: &[
        option("source", Kind::OneOf(&["local", "ldap"]), Value("local"), Touches::People,
            "Who keeps the accounts: Bramble itself (local), or a directory that is there already (ldap)."),
        option("twice", Kind::OneOf(&["allow", "refuse", "takeover"]), Value("allow"), Touches::People,
            "What happens when somebody logs in at a second client: both stay, the second is refused, or the first is ended."),
        option("password_length", Kind::Number { min: 4, max: 128 }, Value("8"), Touches::People,
            "How many characters a new password has at least."),
        option("history_days", Kind::Number { min: 0, max: 3650 }, Value("30"), Touches::People,
            "For how many days it is remembered who was logged in where; with 0 nothing is kept of a session that is over."),
        option("attic_time", Kind::Duration, Value("90d"), Touches::People,
            "How long the home of a removed account is kept."),
    ] },
    SectionSpec { kind: "directory", naming: Naming::Fixed("directory"), help: "The directory that is asked where `source` is `ldap`.", options: &[
        list("server", Kind::LdapServer, Unset, Touches::People,
            "Its servers; they are tried in this order."),
        option("kind", Kind::OneOf(&["posix", "ad"]), Value("posix"), Touches::People,
            "LDAP with the attributes of RFC 2307 (posix), or Active Directory (ad)."),
        option("tls", Kind::OneOf(&["ldaps", "starttls", "off"]), Value("ldaps"), Touches::People,
            "TLS from the start (ldaps, port 636), after a word in the clear (starttls, port 389), or passwords that anybody on the way can read (off)."),
        option("ca_file", Kind::Path, Value("/etc/ssl/certs/ca-certificates.crt"), Touches::People,
            "Certificates (PEM) of the authorities that may vouch for its servers; the default is that of the package `ca-bundle`."),
        option("base", Kind::LdapEntry, Unset, Touches::People,
            "Name below which people are found."),
        option("group_base", Kind::LdapEntry, Unset, Touches::People,
            "Name below which groups are found; as `base` if left out."),
        option("bind_dn", Kind::Line, Unset, Touches::People,
            "Who asks: the name of an entry, or `bramble@school.lan` for Active Directory; nobody in particular if left out."),
        option("secret_file", Kind::Path, Value("/etc/bramble/directory.secret"), Touches::People,
            "File with the password of `bind_dn` in its first line; nobody but its owner may read it."),
        option("filter", Kind::LdapFilter, Unset, Touches::People,
            "Which entries are people; `(objectClass=posixAccount)`, or users of Active Directory, if left out."),
        option("group_filter", Kind::LdapFilter, Unset, Touches::People,
            "Which entries are groups; `(objectClass=posixGroup)`, or groups of Active Directory, if left out."),
        option("name_attribute", Kind::LdapAttribute, Unset, Touches::People,
            "What somebody logs in with; `uid`, or `sAMAccountName` for Active Directory, if left out."),
        option("numbers", Kind::OneOf(&["posix", "sid"]), Unset, Touches::People,
            "Where uids come from: `uidNumber` (posix), or 200000 and the last number of `objectSid` (sid); as `kind` has it if left out."),
        list("group", Kind::Line, Unset, Touches::People,
            "Groups whose members may log in, by name; everybody if left out."),
        list("teacher_group", Kind::Line, Unset, Touches::People,
            "Groups whose members are teachers, by name; nobody is one if left out."),
        option("timeout", Kind::Number { min: 1, max: 15 }, Value("5"), Touches::People,
            "Seconds that a server may take over an answer."),
        option("refresh", Kind::Duration, Value("10m"), Touches::People,
            "How often it is asked who there is; new people can log in after this time."),
        option("offline", Kind::OneOf(&["no", "names", "passwords"]), Value("no"), Touches::People,
            "What is kept for times without the directory: nothing, who there is (names), or also hashes of passwords that were right (passwords)."),
        option("offline_time", Kind::Duration, Value("7d"), Touches::People,
            "How long after their last log-in with the directory somebody may log in without it."),
    ] },
    SectionSpec { kind: "images", naming: Naming::Fixed("images"), help: "Old versions of operating systems.", options: &[
        option("keep", Kind::Number { min: 0, max: 1000 }, Value("0"), Touches::Clients,
            "How many versions of each image are kept that nobody boots, besides the one that a roll-back gives back; all of them with `0`."),
        option("keep_for", Kind::Duration, Value("infinite"), Touches::Clients,
            "How old a version may get that nobody boots; what is older is removed, once a day."),
    ] },
    SectionSpec { kind: "homes", naming: Naming::Fixed("homes"), help: "The folders of people.", options: &[
        option("quota", Kind::Size, Value("2G"), Touches::People,
            "How much each person may keep, unless the account or a class of theirs says otherwise."),
        option("local_caches", Kind::Bool, Value("1"), Touches::People,
            "Whether caches of programs (~/.cache) live in the client's memory instead of the home."),
        option("encrypt", Kind::Bool, Value("1"), Touches::People,
            "Whether homes and shares are encrypted on the network, from the next log-in on; costs a slow router speed."),
    ] },
    SectionSpec { kind: "share", naming: Naming::Named, help: "A folder that several people see below ~/Shared.", options: &[
        option("access", Kind::OneOf(&["read", "write", "handin"]), Value("read"), Touches::People,
            "What pupils may do: read it, change everything in it, or only put files into it; teachers may do everything."),
        list("class", Kind::ClassName, Unset, Touches::People,
            "Classes that see it; without one everybody does."),
        option("path", Kind::Folder, Unset, Touches::People,
            "A folder that exists already, if it is not to be below `data`."),
        option("quota", Kind::Size, Value("none"), Touches::People,
            "How much may be in it; where pupils hand in, how much of each."),
    ] },
    SectionSpec { kind: "ldap", naming: Naming::Fixed("ldap"), help: "Accounts for other programs, over LDAP.", options: &[
        option("enabled", Kind::Bool, Value("0"), Touches::Sockets,
            "Whether programs such as a library catalogue can ask for accounts over LDAP, on ports 389 and 636."),
        option("base", Kind::LdapBase, Value("dc=raspberrypi,dc=local"), Touches::Sockets,
            "Name below which everything is found; images made by PiServer expect the one given here."),
        option("anonymous", Kind::Bool, Value("0"), Touches::Sockets,
            "Whether those who have not logged in may list people and classes."),
        option("clear", Kind::Bool, Value("0"), Touches::Sockets,
            "Whether passwords are taken without TLS, where anybody on the network can read them."),
    ] },
    SectionSpec { kind: "room", naming: Naming::Named, help: "Clients that share settings.", options: &[
        option("image", Kind::Image, Unset, Touches::Clients,
            "What its clients boot: `trixie` for the current version, `trixie@3` to stay with one."),
        list("config_txt", Kind::ConfigTxt, Unset, Touches::Clients,
            "Lines added to config.txt of its clients."),
        list("cmdline", Kind::Cmdline, Unset, Touches::Clients,
            "Kernel parameters added for its clients."),
        option("timezone", Kind::TimeZone, Unset, Touches::Clients,
            "Time zone of its clients; the router's own if left out."),
        list("mask", Kind::Unit, Unset, Touches::Clients,
            "systemd units that its clients do not start."),
        list("class", Kind::ClassName, Unset, Touches::People,
            "Classes whose members may log in here, besides teachers; everybody if left out."),
        option("sudo", Kind::OneOf(&["nobody", "teachers", "everybody"]), Value("nobody"), Touches::People,
            "Who becomes root with their own password."),
        list("groups", Kind::OneOf(DEVICE_GROUPS), Unset, Touches::People,
            "Devices that people may use, by their groups; all of them but `input` if left out, none with `none`. Whoever is in `input` reads all keys typed at the client, also the passwords of others; a desktop does not need it."),
        option("mode", Kind::OneOf(&Mode::WORDS), Value("login"), Touches::People,
            "How its clients are used: people log in (login), anybody without a name (guest), one page fills the screen (kiosk), only some log in (exam), as the image has it, also where it logs somebody in by itself (image); clients take it over at their next start, who may log in changes at once."),
        option("guest_time", MINUTES, Value("0"), Touches::Clients,
            "Minutes after which a guest is logged out and everything of theirs is gone; 0 for no limit."),
        option("kiosk_url", Kind::Page, Unset, Touches::Clients,
            "The page that a kiosk shows."),
        option("kiosk_idle", MINUTES, Value("10"), Touches::Clients,
            "Minutes without a key or the mouse after which a kiosk forgets everything and begins anew; 0 for never."),
        list("exam_class", Kind::ClassName, Unset, Touches::People,
            "Classes that take part in an exam; teachers may always log in."),
        list("exam_account", Kind::UserName, Unset, Touches::People,
            "Accounts that take part in an exam, beside those of the classes."),
        list("exam_share", Kind::ShareName, Unset, Touches::People,
            "The only shares that those see who take part in an exam; none if left out."),
        option("exam_hook", Kind::Path, Unset, Touches::Clients,
            "Program of root's that is run as `PROGRAM on ROOM ADDRESS…` when an exam begins and with `off` when it ends, to take the internet away."),
        option("screens", Kind::Bool, Value("0"), Touches::Clients,
            "Whether a teacher may look at the screens of its clients; whoever sits there is shown that."),
    ] },
    SectionSpec { kind: "client", naming: Naming::Free, help: "One Raspberry Pi.", options: &[
        option("mac", Kind::Mac, Required, Touches::Clients,
            "Its hardware address."),
        option("name", Kind::HostName, Required, Touches::Clients,
            "Its host name."),
        option("room", Kind::RoomName, Unset, Touches::Clients,
            "The room it is in."),
        option("image", Kind::Image, Unset, Touches::Clients,
            "What it boots, if not what its room boots."),
        option("ip", Kind::Ip, Unset, Touches::Leases,
            "A fixed address; one from the pool if left out."),
        list("config_txt", Kind::ConfigTxt, Unset, Touches::Clients,
            "Lines added to its config.txt, behind those of its room."),
        list("cmdline", Kind::Cmdline, Unset, Touches::Clients,
            "Kernel parameters added behind those of its room."),
        option("mode", Kind::OneOf(&Mode::WORDS), Unset, Touches::Clients,
            "How it is used, if not as its room is."),
        option("kiosk_url", Kind::Page, Unset, Touches::Clients,
            "The page that it shows as a kiosk, if not that of its room."),
    ] },
    SectionSpec { kind: "schedule", naming: Naming::Free, help: "The end of the day: clients that are switched off by themselves.", options: &[
        option("enabled", Kind::Bool, Value("1"), Touches::Clients,
            "Whether it happens."),
        list("day", Kind::OneOf(&schedule::DAYS), Unset, Touches::Clients,
            "Days of the week on which it happens; every day if left out."),
        option("time", Kind::Time, Required, Touches::Clients,
            "When, in the router's time."),
        option("grace", Kind::Number { min: 0, max: 120 }, Value("10"), Touches::Clients,
            "Minutes before it in which people see how much time is left, and `bramble action stop` calls it off."),
        option("action", Kind::OneOf(&["shutdown", "reboot", "logout"]), Value("shutdown"), Touches::Clients,
            "What happens to the clients."),
        option("room", Kind::RoomName, Unset, Touches::Clients,
            "Only to those of this room; to all if left out."),
        option("router", Kind::Bool, Value("0"), Touches::Clients,
            "Whether the router is switched off behind the last client, if it is for all."),
    ] },
    ]
};

/// The default `/etc/config/bramble`: every section and option with its help, those with a default at their default.
pub fn default_file() -> String {
    let mut out = String::from(
        "# Bramble: the boot server for a room of Raspberry Pis. Lines that begin with `#` show what can be added.\n\
         # `bramble check` says what is wrong with this file; `/etc/init.d/bramble reload` takes it over.\n",
    );
    let mut line = |text: &str| {
        out.push_str(text.trim_end());
        out.push('\n');
    };
    for section in SECTIONS {
        let fixed = matches!(section.naming, Naming::Fixed(_));
        let hash = if fixed { "" } else { "#" };
        let head = match section.naming {
            Naming::Fixed(name) => format!("config {} '{name}'", section.kind),
            // Names of sections are used once in a file.
            Naming::Named if section.kind == "share" => "config share 'materials'".to_owned(),
            Naming::Named => format!("config {} 'lab'", section.kind),
            Naming::Free => format!("config {}", section.kind),
        };
        line("");
        line(&format!("# {}", section.help));
        line(&format!("{hash}{head}"));
        for option in section.options {
            let word = if option.list { "list" } else { "option" };
            let (hash, value) = match option.default {
                Absent::Value(value) => (hash, value),
                // Here the folder: a person puts the name of the disk in its place.
                Absent::Required if fixed => (hash, option.kind.example()),
                Absent::Required | Absent::Unset => ("#", option.kind.example()),
            };
            line(&format!("\t# {} ({})", option.help, option.kind.describe()));
            line(&format!("{hash}\t{word} {} '{value}'", option.name));
        }
    }
    out
}

/// The table of options for the documentation, in Markdown.
pub fn reference() -> String {
    let part = |section: &SectionSpec| {
        let head = match section.naming {
            Naming::Fixed(name) => format!("config {} '{name}'", section.kind),
            Naming::Named => format!("config {} 'NAME'", section.kind),
            Naming::Free => format!("config {}", section.kind),
        };
        let rows = section.options.iter().map(|option| {
            let default = match option.default {
                Absent::Required => "must be set".to_owned(),
                Absent::Unset => "–".to_owned(),
                Absent::Value(value) => format!("`{value}`"),
            };
            let name =
                if option.list { format!("list `{}`", option.name) } else { format!("`{}`", option.name) };
            let kind = option.kind.describe().replace('|', "or");
            format!("| {name} | {kind} | {default} | {} |\n", option.help)
        });
        let table: String = rows.collect();
        format!(
            "### `{head}`\n\n{}\n\n| option | value | default | meaning |\n| --- | --- | --- | --- |\n{table}\n",
            section.help
        )
    };
    SECTIONS.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_and_example_is_right() {
        for section in SECTIONS {
            for option in section.options {
                let name = format!("{}.{}", section.kind, option.name);
                option.kind.parse(option.kind.example()).unwrap_or_else(|bad| panic!("{name}: {bad}"));
                if let Absent::Value(text) = option.default {
                    option.kind.parse(text).unwrap_or_else(|bad| panic!("{name}: {bad}"));
                }
                assert!(
                    option.help.ends_with('.') && !option.help.contains('\n'),
                    "{name}: help is a sentence"
                );
            }
        }
    }

    #[test]
    fn names_are_used_once() {
        let mut kinds: Vec<&str> = SECTIONS.iter().map(|section| section.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds.len(), SECTIONS.len());
        for section in SECTIONS {
            let mut names: Vec<&str> = section.options.iter().map(|option| option.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), section.options.len(), "{}", section.kind);
        }
    }

    proptest::proptest! {
        /// Any text is a value or a message of bounded length.
        #[test]
        fn any_text_is_survived(text in ".{0,300}") {
            for option in SECTIONS.iter().flat_map(|section| section.options) {
                if let Err(message) = option.kind.parse(&text) {
                    proptest::prop_assert!(message.chars().count() < 700, "{message}");
                }
            }
        }
    }
}
