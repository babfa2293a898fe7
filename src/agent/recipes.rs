//! What a diskless client changes in the image it booted, per release: data, one line per change, each with its reason.
//!
//! A [`Recipe`] is a list of groups of [`Rule`]s; the groups that releases share stand once. A rule whose file, folder
//! or unit is not in the tree does nothing, so a recipe also fits an image that somebody slimmed or extended. How rules
//! become changes is in [`plan`](super::plan), how changes are made in [`Root`].
//!
//! Sources: pi-gen (branches bullseye-arm64, bookworm-arm64 and master of June 2026), userconf-pi 0.9,
//! raspberrypi-sys-mods, the manual pages of what is configured here, and LTSP's list of units.

use super::edits;
use super::modes::{self, Arranged};
use super::plan::Client;
use super::root::Root;
use super::stacks;

/// What is done for one release.
#[derive(Debug)]
pub struct Recipe {
    /// What the log calls it.
    pub name: &'static str,
    /// `VERSION_CODENAME` of os-release; any if empty.
    pub codename: &'static str,
    /// Whether it is for Raspberry Pi OS, that is for trees with one of [`PI_OS_FILES`].
    pub pi_os: bool,
    pub rules: &'static [&'static [Rule]],
}

/// One change and why it is made.
#[derive(Debug)]
pub struct Rule {
    pub does: Does,
    /// Read by whoever wonders what happened to the image; also said when the change fails.
    pub why: &'static str,
}

#[derive(Debug)]
pub enum Does {
    /// Units that are not started; those that the tree does not have are skipped.
    Mask(&'static [&'static str]),
    /// Files that are taken away.
    Remove(&'static [&'static str]),
    /// Links `path` to `target` if `needs` is there.
    Link { path: &'static str, target: &'static str, needs: &'static str },
    /// Writes `path` if `needs` is there (always, if empty) and there is something to write.
    Write { path: &'static str, needs: &'static str, text: fn(&Client<'_>) -> Option<String> },
    /// Edits `path` if it is there; `*` at its end stands for each file of the folder.
    Edit { path: &'static str, edit: fn(&str, &Client<'_>) -> String },
    /// Writes what depends on several things in the tree.
    Arrange(fn(&Root, &Client<'_>) -> Arranged),
    /// Masks a unit where the folder has what the unit would make: a file whose name ends so.
    MaskIfMade { unit: &'static str, folder: &'static str, ends: &'static str },
}

/// Any of these makes a tree Raspberry Pi OS; `ID` of os-release does not tell, its 64-bit editions say `debian`.
pub const PI_OS_FILES: &[&str] = &[
    "etc/rpi-issue",
    "usr/lib/raspberrypi-sys-mods",
    "usr/bin/raspi-config",
    "boot/firmware/start4.elf",
    "boot/start4.elf",
];

/// The first that fits is taken; the last fits everything.
pub const RECIPES: &[Recipe] = &[
    Recipe {
        name: "Raspberry Pi OS Bullseye",
        codename: "bullseye",
        pi_os: true,
        rules: &[EVERYWHERE, PEOPLE, MODE, PI_OS, BULLSEYE, TO_BOOKWORM],
    },
    Recipe {
        name: "Raspberry Pi OS Bookworm",
        codename: "bookworm",
        pi_os: true,
        rules: &[EVERYWHERE, PEOPLE, MODE, PI_OS, TO_BOOKWORM, NETWORK_MANAGER],
    },
    Recipe {
        name: "Raspberry Pi OS Trixie",
        codename: "trixie",
        pi_os: true,
        rules: &[EVERYWHERE, PEOPLE, MODE, PI_OS, TRIXIE, NETWORK_MANAGER, NETWORKD, CLOUD],
    },
    Recipe {
        name: "Debian",
        codename: "",
        pi_os: false,
        rules: &[EVERYWHERE, PEOPLE, MODE, IFUPDOWN, NETWORK_MANAGER, NETWORKD, DHCPCD, CLOUD],
    },
    Recipe {
        name: "Raspberry Pi OS of a release not known to Bramble",
        codename: "",
        pi_os: true,
        rules: &[
            EVERYWHERE,
            PEOPLE,
            MODE,
            PI_OS,
            TRIXIE,
            TO_BOOKWORM,
            IFUPDOWN,
            NETWORK_MANAGER,
            NETWORKD,
            DHCPCD,
            CLOUD,
        ],
    },
];

const EVERYWHERE: &[Rule] = &[
    Rule {
        does: Does::Edit { path: "etc/fstab", edit: |text, _| edits::fstab(text) },
        why: "the disk it was written for is not there, and systemd would wait for it",
    },
    Rule {
        does: Does::Mask(&[
            "systemd-repart.service",
            "systemd-growfs-root.service",
            "e2scrub_reap.service",
            "e2scrub_all.timer",
            "fstrim.timer",
        ]),
        why: "there is no partition to grow, scrub or trim",
    },
    Rule {
        does: Does::Mask(&[
            "apt-daily.timer",
            "apt-daily-upgrade.timer",
            "apt-listchanges.timer",
            "unattended-upgrades.service",
            "packagekit.service",
            "dpkg-db-backup.timer",
            "man-db.timer",
            "fwupd-refresh.timer",
        ]),
        why: "what it downloads or rebuilds would fill the memory and be gone at power-off; the image is updated instead",
    },
    Rule {
        does: Does::Write {
            path: "etc/systemd/journald.conf.d/bramble.conf",
            needs: "lib/systemd",
            text: |_| {
                Some("# The root forgets everything, so the journal need not be written twice.\n[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\n".to_owned())
            },
        },
        why: "the journal stays in memory, and small",
    },
    Rule {
        does: Does::Write {
            path: "etc/systemd/timesyncd.conf.d/bramble.conf",
            needs: "lib/systemd",
            text: |client| Some(format!("[Time]\nNTP={}\n", client.ntp()?)),
        },
        why: "the network has a clock of its own",
    },
    Rule {
        does: Does::Write {
            path: "etc/chrony/sources.d/bramble.sources",
            needs: "etc/chrony/sources.d",
            text: |client| Some(client.lines_per_ntp("server ", " iburst")),
        },
        why: "the network has a clock of its own",
    },
    Rule {
        does: Does::MaskIfMade { unit: "regenerate_ssh_host_keys.service", folder: "etc/ssh", ends: "_key" },
        why: "the image brings host keys, and new ones at each boot would make every ssh client warn",
    },
];

/// Log-in with the server's accounts.
const PEOPLE: &[Rule] = &[
    Rule {
        does: Does::Write {
            path: "etc/systemd/system/bramble-agent.service",
            needs: "lib/systemd",
            text: |_| Some(SERVICE.to_owned()),
        },
        why: "the server's people, and their sessions",
    },
    Rule {
        does: Does::Link {
            path: "etc/systemd/system/multi-user.target.wants/bramble-agent.service",
            target: "../bramble-agent.service",
            needs: "lib/systemd",
        },
        why: "it starts with the client",
    },
    Rule {
        does: Does::Write {
            path: "etc/systemd/system/home-.mount.d/bramble.conf",
            needs: "lib/systemd",
            text: |_| Some(HOMES.to_owned()),
        },
        why: "homes are written through the agent, so they go before it does",
    },
    Rule {
        does: Does::Edit { path: "etc/pam.d/common-auth", edit: |text, _| stacks::auth(text) },
        why: "passwords are checked by the server",
    },
    Rule {
        does: Does::Edit { path: "etc/pam.d/common-account", edit: |text, _| stacks::account(text) },
        why: "the server says who may use this client",
    },
    Rule {
        does: Does::Edit { path: "etc/pam.d/common-password", edit: |text, _| stacks::password(text) },
        why: "passwords are changed on the server",
    },
    Rule {
        does: Does::Edit {
            path: "etc/pam.d/common-session",
            edit: |text, client| stacks::session(text, client.has_guests()),
        },
        why: "home and shares come and go with a session",
    },
];

/// How the client is used.
const MODE: &[Rule] = &[
    Rule {
        does: Does::Edit {
            path: "etc/lightdm/lightdm.conf",
            edit: |text, client| modes::lightdm(&edits::lightdm(text), client),
        },
        why: "nobody is logged in but whom the mode of the client says",
    },
    Rule {
        does: Does::Edit { path: "etc/lightdm/lightdm.conf.d/*", edit: modes::lightdm },
        why: "nobody is logged in but whom the mode of the client says",
    },
    Rule { does: Does::Arrange(modes::arrange), why: "the mode of this client" },
];

/// For every mount below `/home` (systemd.unit(5): a name that ends with a dash is the beginning of others). Orders count backwards
/// when a client ends: people, then what they had mounted, then the agent that it is mounted through.
const HOMES: &str = "\
# Written at boot by bramble-agent.
[Unit]
After=bramble-agent.service
Before=systemd-user-sessions.service
";

/// Before anybody is let in, and until everybody is out.
const SERVICE: &str = "\
# Written at boot by bramble-agent.
[Unit]
Description=People, homes and sessions of the Bramble server
ConditionKernelCommandLine=bramble.pin
Before=systemd-user-sessions.service
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart=/run/bramble/agent service
Restart=always
RestartSec=1
TimeoutStartSec=30
OOMScoreAdjust=-900
KillMode=mixed
";

const PI_OS: &[Rule] = &[
    Rule {
        does: Does::Link {
            path: "etc/systemd/system/getty.target.wants/getty@tty1.service",
            target: "/lib/systemd/system/getty@.service",
            needs: "etc/systemd/system/multi-user.target.wants/userconfig.service",
        },
        why: "the first-boot wizard had taken the place of the log-in prompt on the first console",
    },
    Rule {
        does: Does::Mask(&["userconfig.service"]),
        why: "the first-boot wizard asks for a user on every boot if nothing it does is kept",
    },
    Rule {
        does: Does::Remove(&[
            "etc/xdg/autostart/piwiz.desktop",
            "etc/xdg/autostart/deluser.desktop",
            "etc/sudoers.d/010_wiz-nopasswd",
            "etc/ssh/sshd_config.d/rename_user.conf",
        ]),
        why: "the first-boot wizard's desktop part, and its user who may do everything",
    },
    Rule {
        does: Does::Mask(&["rpi-eeprom-update.service", "rpi-eeprom-update.timer"]),
        why: "the bootloader is updated by the server's files, not by each client at each boot",
    },
];

const BULLSEYE: &[Rule] = DHCPCD;

/// Up to Bookworm.
const TO_BOOKWORM: &[Rule] = &[
    Rule { does: Does::Mask(&["resize2fs_once.service"]), why: "there is no root partition to grow" },
    Rule {
        does: Does::Mask(&["dphys-swapfile.service"]),
        why: "a swap file in a root that is memory takes what it should give",
    },
];

const TRIXIE: &[Rule] = &[
    Rule { does: Does::Mask(&["rpi-resize.service"]), why: "there is no root partition to grow" },
    Rule {
        does: Does::Write {
            path: "etc/rpi/swap.conf.d/bramble.conf",
            needs: "etc/rpi",
            text: |_| {
                Some("# A file to write compressed pages back to would itself be in memory.\n[Main]\nMechanism=zram\n".to_owned())
            },
        },
        why: "swap stays in compressed memory",
    },
];

const CLOUD: &[Rule] = &[Rule {
    does: Does::Write {
        path: "etc/cloud/cloud-init.disabled",
        needs: "etc/cloud",
        text: |_| Some("bramble\n".to_owned()),
    },
    why: "cloud-init sets machines up at their first boot, and here every boot would be the first",
}];

/// Whoever brings the root's link down takes the root away.
const ROOT_LINK: &str = "the root file system comes over this link, and its address must stay";

const DHCPCD: &[Rule] = &[Rule {
    does: Does::Edit { path: "etc/dhcpcd.conf", edit: |text, client| edits::dhcpcd(text, client.link) },
    why: ROOT_LINK,
}];

const NETWORK_MANAGER: &[Rule] = &[Rule {
    does: Does::Write {
        path: "etc/NetworkManager/conf.d/90-bramble.conf",
        needs: "etc/NetworkManager",
        text: |client| {
            Some(format!(
                "# The root file system comes over this link, and its address must stay.\n\
             [device-bramble]\nmatch-device=mac:{mac}\nmanaged=0\n\n[keyfile]\nunmanaged-devices+=mac:{mac}\n",
                mac = client.personality.mac
            ))
        },
    },
    why: ROOT_LINK,
}];

const NETWORKD: &[Rule] = &[
    Rule {
        does: Does::Write {
            path: "etc/systemd/network/00-bramble.network",
            needs: "etc/systemd/network",
            text: |client| {
                Some(format!(
                    "# The root file system comes over this link, and its address must stay.\n\
                 [Match]\nMACAddress={}\n\n[Link]\nUnmanaged=yes\n",
                    client.personality.mac
                ))
            },
        },
        why: ROOT_LINK,
    },
    Rule {
        does: Does::Mask(&["systemd-networkd-wait-online.service"]),
        why: "it waits for a link that networkd manages; this one is up before it starts",
    },
];

const IFUPDOWN: &[Rule] = &[
    Rule {
        does: Does::Edit {
            path: "etc/network/interfaces",
            edit: |text, client| edits::interfaces(text, client.link),
        },
        why: ROOT_LINK,
    },
    Rule {
        does: Does::Edit {
            path: "etc/network/interfaces.d/*",
            edit: |text, client| edits::interfaces(text, client.link),
        },
        why: ROOT_LINK,
    },
];
