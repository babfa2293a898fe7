//! The rules: what each looks for in a boot, its likely causes, and what to do. Data, in the order in which they are told.

use std::time::Duration;

use super::{ASKED_AGAIN, CLOCK_OFF, Case, PATIENCE, SMALL, TOO_SLOW};
use crate::proto::eeprom::settings::{tries_network, tries_usb_first};
use crate::service::events::FileOutcome;
use crate::types::Moment;
use crate::types::revision::Model;

/// One rule.
pub(super) struct Rule {
    pub code: &'static str,
    pub stops: bool,
    /// The sentence, if it is the case.
    pub fits: fn(&Case<'_>) -> Option<String>,
    pub causes: &'static [&'static str],
    pub remedy: &'static str,
}

/// The gravest first; of those that keep a client from working only the first is told.
pub(super) const RULES: &[Rule] = &[
    Rule {
        code: "two_with_one_address",
        stops: true,
        fits: |case| {
            let (ip, rival) = case.facts.rival.filter(|_| case.kernel || case.file_asked)?;
            Some(format!("Another machine, {rival}, uses this client's address {ip}."))
        },
        causes: &[
            "the other machine has the address set by hand",
            "another DHCP server on this network gave it the address",
        ],
        remedy: "Find the machine by its hardware address and let it take its address from this router, or give this \
                 client another fixed address with `option ip`.",
    },
    Rule {
        code: "no_address",
        stops: true,
        fits: |case| {
            let reason = case.refused.filter(|_| !case.offered && !case.kernel)?;
            Some(format!("It asks for an address and gets none: {reason}."))
        },
        causes: &["every address of the pool is taken", "it is set to be ignored in /etc/config/dhcp"],
        remedy: "Make the pool larger (`option limit` in /etc/config/dhcp) or take the rule away that ignores it.",
    },
    Rule {
        code: "no_image",
        stops: true,
        fits: |case| {
            let boots = case.facts.adopted && case.came_from_rom() && !case.mounted;
            (boots && case.facts.image.is_none()).then(|| "It has no image to boot.".to_owned())
        },
        causes: &["neither the client nor its room has an image"],
        remedy: "Give it one (`bramble client adopt NAME --name NAME --image IMAGE`), or its room: `uci set \
                 bramble.ROOM.image=IMAGE; uci commit bramble; /etc/init.d/bramble reload`.",
    },
    Rule {
        code: "image_missing",
        stops: true,
        fits: |case| {
            let image = case.facts.image.as_ref()?;
            let boots = case.facts.adopted && case.came_from_rom() && !case.mounted;
            (boots && !case.facts.image_exists).then(|| format!("Its image `{image}` does not exist."))
        },
        causes: &[
            "the image, or this version of it, was removed",
            "its name is misspelled in the configuration",
        ],
        remedy: "Choose one of `bramble image list`, or import it with `bramble image import`.",
    },
    Rule {
        code: "image_not_for_model",
        stops: true,
        fits: |case| {
            let (model, image) = (case.facts.model?, case.facts.image.as_ref()?);
            let models = &case.facts.image_models;
            let unfit = !models.is_empty()
                && model != Model::Unknown
                && !models.iter().any(|name| name == model.as_str());
            (unfit && !case.mounted && case.came_from_rom()).then(|| {
                format!("Its image `{image}` does not boot a {model}; it boots {}.", models.join(", "))
            })
        },
        causes: &[
            "the image is older than this model",
            "the image is a 64-bit one and the model boots 32-bit kernels only",
        ],
        remedy: "Give this client an image of a newer release: `bramble client adopt … --image NAME`.",
    },
    Rule {
        code: "file_unreadable",
        stops: true,
        fits: |case| {
            let reason = case.unreadable.filter(|_| !case.kernel)?;
            Some(format!("A file that it asked for cannot be read: {reason}."))
        },
        causes: &[
            "the disk is full of errors, was pulled out, or its plug is loose",
            "somebody changed the files of the image beside Bramble",
        ],
        remedy: "Look for errors of the disk with `dmesg` on the router; import the image again if the disk is in order.",
    },
    Rule {
        code: "not_adopted",
        stops: true,
        fits: |case| {
            (!case.facts.adopted && case.came_from_rom())
                .then(|| "Nobody has adopted it, and it boots nothing before that.".to_owned())
        },
        causes: &["it is new here"],
        remedy: "Adopt it: `bramble client adopt MAC --name NAME --room ROOM`.",
    },
    Rule {
        code: "agent_failed",
        stops: true,
        fits: |case| Some(format!("Its agent gave up: {}.", case.failed?.trim_end_matches('.'))),
        causes: &["the agent's own words say it"],
        remedy: "Do what its screen says; `bramble client show NAME` has the steps before it.",
    },
    Rule {
        code: "agent_silent",
        stops: true,
        fits: |case| {
            let stopped = case.mounted && !case.handed_over && !case.off && case.is_silent();
            stopped.then(|| {
                let trouble =
                    case.trouble.map(|words| format!(" It had said: {}.", words.trim_end_matches('.')));
                format!("It mounted its root, and then its agent fell silent.{}", trouble.unwrap_or_default())
            })
        },
        causes: &[
            "the kernel was not given `init=/.bramble/agent` (a `cmdline` option overrides it)",
            "the kernel cannot lay an overlay over the root",
            "its memory is too small for the image's initramfs",
        ],
        remedy: "Look at its screen, which shows the last step; import the image again if it says that a module is missing.",
    },
    Rule {
        code: "booted_by_another",
        stops: true,
        fits: |case| {
            let elsewhere = case.rom_asked > 0 && case.kernel && !case.mounted && !case.file_asked;
            (elsewhere && case.facts.adopted)
                .then(|| "Its kernel runs, and not one of its files came from here.".to_owned())
        },
        causes: &[
            "another server on this network has boot files for it and answered first",
            "it started a kernel from an SD card or a USB disk that looks for its root on the network",
        ],
        remedy: "See `bramble status` for another DHCP or boot server, and switch that off; take the card or disk out.",
    },
    Rule {
        code: "kernel_never_mounted",
        stops: true,
        fits: |case| {
            (case.kernel && !case.mounted && case.is_silent())
                .then(|| "Its kernel runs and has an address, and never mounted its root.".to_owned())
        },
        causes: &[
            "a firewall rule on the router closes TCP port 2049 to this network",
            "the kernel has no NFS root built in, and its initramfs does not mount one",
            "another NFS server is named in `config nfs`, and does not let it in",
        ],
        remedy: "Look at its screen for `VFS: Unable to mount root`; check that `bramble image show IMAGE` has no warning \
                 about NFS.",
    },
    Rule {
        code: "large_packets_lost",
        stops: true,
        fits: |case| {
            let (name, outcome, bytes) = case.last_file?;
            let lost = outcome == FileOutcome::Silent && bytes == 0 && (1..=SMALL).contains(&case.largest);
            (lost && !case.kernel && case.is_silent())
                .then(|| format!("Small files reach it, and of `{name}` not one packet of full size did."))
        },
        causes: &[
            "packets of 1500 bytes do not pass on the way: a VLAN, a tunnel or a powerline adapter with a smaller MTU",
            "a switch port with another MTU than its neighbours",
        ],
        remedy: "Connect the client to the router's own switch and try again; if that works, raise the MTU of what lies between to \
                 1500 or more.",
    },
    Rule {
        code: "link_too_slow",
        stops: true,
        fits: |case| {
            let (name, outcome, bytes) = case.last_file?;
            let broken = matches!(outcome, FileOutcome::Silent | FileOutcome::Refused) && bytes > 0;
            let (rate, _) = case.slowest.filter(|(rate, _)| *rate < TOO_SLOW)?;
            (broken && !case.kernel && case.is_silent()).then(|| {
                format!(
                    "It gave `{name}` up after {bytes} bytes: its files come at {} KB a second, and it gives each 30 seconds.",
                    rate / 1000
                )
            })
        },
        causes: &[
            "a link of 10 Mbit/s, half duplex or with errors: a bad cable, plug or port",
            "one slow port for the whole room: `bramble plan` names it",
            "the router's processor is busy with something else",
        ],
        remedy: "Start it alone: if it gets through, start the room in groups (`bramble room reboot --pace 2s`); if not, change its \
                 cable and port.",
    },
    Rule {
        code: "file_broken_off",
        stops: true,
        fits: |case| {
            let (name, outcome, bytes) = case.last_file?;
            let broken = outcome == FileOutcome::Silent && !case.kernel && case.is_silent();
            broken.then(|| format!("It stopped in the middle of `{name}`, after {bytes} bytes."))
        },
        causes: &[
            "a bad cable, plug or switch port",
            "a power supply that is too weak for the moment the processor starts",
            "packets get lost on the way: a switch that is overloaded, an adapter between",
        ],
        remedy: "Change the cable and the port first; then the power supply; then start it alone and see whether it gets \
                 through.",
    },
    Rule {
        code: "files_missing",
        stops: true,
        fits: |case| {
            let (name, times) = case.missing.iter().max_by_key(|(_, times)| **times)?;
            let in_vain = case.last_loaded.is_none() && !case.kernel && *times >= ASKED_AGAIN;
            in_vain.then(|| {
                format!(
                    "It asks again and again for files that its image does not have, `{name}` {times} times."
                )
            })
        },
        causes: &[
            "the image is not made for this model",
            "its bootloader is old and asks for a name that images no longer have",
            "it has no image, or its image has no boot partition",
        ],
        remedy: "Compare `bramble image show IMAGE` with the model; update its bootloader with Raspberry Pi Imager (Misc \
                 utility images, Bootloader).",
    },
    Rule {
        code: "kernel_never_started",
        stops: true,
        fits: |case| {
            let name = case.last_loaded?;
            let (_, outcome, _) = case.last_file?;
            let fell_silent = outcome != FileOutcome::Silent && !case.kernel && case.is_silent();
            fell_silent
                .then(|| format!("It loaded `{name}` as its last file, and no kernel asked for an address."))
        },
        causes: &[
            "the kernel of the image does not fit the model",
            "a line in `config_txt` keeps it from starting",
            "the kernel has no driver for its network built in",
        ],
        remedy: "Take lines of `option config_txt` away, of the client and of its room; look at its screen: four colours \
                 mean that the kernel did not start.",
    },
    Rule {
        code: "no_file_asked",
        stops: true,
        fits: |case| {
            let waits = case.offered && case.rom_asked > 0 && !case.file_asked && !case.kernel;
            (waits && case.is_silent())
                .then(|| "It asked for an address, was offered one, and never asked for a file.".to_owned())
        },
        causes: &[
            "the offer does not reach it in time: spanning tree on its switch port (set the port to edge or portfast)",
            "another DHCP server answered it first",
            "a firewall on the router closes UDP port 69",
            "its bootloader is older than April 2020 and does not take the offer",
        ],
        remedy: "Look at `bramble status` for a switch with spanning tree and for another DHCP server; then switch the client \
                 off and on: the ROM of a Pi 3 tries for 25 seconds only.",
    },
    Rule {
        code: "never_offered",
        stops: true,
        fits: |case| {
            let waits = case.rom_asked > 0 && !case.offered && !case.file_asked && !case.kernel;
            (waits && case.is_silent())
                .then(|| "It asked for an address, was offered none, and fell silent.".to_owned())
        },
        causes: &["Bramble does not give addresses here (`option mode` of `config dhcp`)", "its ROM gave up"],
        remedy: "Switch it off and on; if that does not help, see `bramble status` for what serves addresses.",
    },
    Rule {
        code: "boots_elsewhere",
        stops: true,
        fits: |case| {
            (case.system_only && case.facts.adopted).then(|| {
                "It runs a system of its own: its boot order prefers the SD card or a USB disk to the network.".to_owned()
            })
        },
        causes: &[
            "there is an SD card or a USB disk with a system in it",
            "its EEPROM tries the network last or never",
        ],
        remedy: "Take the card or disk out. If there is none, its EEPROM never tries the network: a card made by `bramble \
                 enrol-medium` sets that (a Pi 3 without its bit needs one too).",
    },
    Rule {
        code: "agent_not_connected",
        stops: false,
        fits: |case| {
            let up = case.handed_over && !case.off && case.facts.link.open > 0;
            (up && !case.facts.agent && case.silent >= PATIENCE * 2).then(|| {
                "It runs, and its agent is not connected: nobody of the server can log in there.".to_owned()
            })
        },
        causes: &[
            "the image has no systemd, or `bramble-agent.service` failed there",
            "the server has another key since the client was started",
        ],
        remedy: "Start the client again; on its console `systemctl status bramble-agent` says why.",
    },
    Rule {
        code: "agent_trouble",
        stops: false,
        fits: |case| {
            Some(format!(
                "It runs, but: {}.",
                case.trouble.filter(|_| case.handed_over)?.trim_end_matches('.')
            ))
        },
        causes: &["the agent's own words say it"],
        remedy: "`bramble client show NAME` has the steps before it.",
    },
    Rule {
        code: "undervoltage",
        stops: false,
        fits: |case| {
            let throttled = case.health()?.throttling();
            let when = if throttled.undervoltage_now() { "now" } else { "since it was started" };
            throttled
                .undervoltage_since_start()
                .then(|| format!("Its power supply is too weak: undervoltage {when}."))
        },
        causes: &[
            "a power supply of less than 3 A (5 A for a Pi 5)",
            "a thin or long USB cable",
            "too many USB devices",
        ],
        remedy: "Use the supply that is made for the model, with its own cable.",
    },
    Rule {
        code: "throttled",
        stops: false,
        fits: |case| {
            let health = case.health()?;
            health.throttling().slowed_now().then(|| {
                let degrees =
                    health.temperature_mc.map(|mc| format!(" ({} °C)", mc / 1000)).unwrap_or_default();
                format!("It has slowed itself down{degrees}.")
            })
        },
        causes: &["it is too hot: no fan, a closed case, the sun", "its power supply is too weak"],
        remedy: "Give it air or a fan; a Pi slows down from 80 °C on.",
    },
    Rule {
        code: "slow_link",
        stops: false,
        fits: |case| {
            let mbit = case.health()?.link_mbit?;
            let able =
                !matches!(case.facts.model, Some(Model::Pi2B | Model::Pi3B | Model::Cm3 | Model::Cm3Plus));
            (able && mbit < 1000).then(|| format!("Its link runs at {mbit} Mbit/s and could run at 1000."))
        },
        causes: &["a cable with four wires, or a damaged one", "a switch port of 100 Mbit/s"],
        remedy: "Change the cable (Cat 5e or better), then try another port of the switch.",
    },
    Rule {
        code: "slow_files",
        stops: false,
        fits: |case| {
            let (rate, name) = case.slowest.filter(|(rate, _)| *rate < TOO_SLOW && case.kernel)?;
            Some(format!(
                "It loaded `{name}` at {} KB a second; a kernel may take too long that way.",
                rate / 1000
            ))
        },
        causes: &["a slow or bad link", "many clients that were started at once through one slow port"],
        remedy: "Look at its cable and port; `bramble plan` says what the room needs.",
    },
    Rule {
        code: "clock_wrong",
        stops: false,
        fits: |case| {
            let (at, health) = case.facts.health.as_ref()?;
            case.health()?;
            let off = at.since(health.clock).max(health.clock.since(*at));
            let set = *at >= Moment::CLOCK_SET;
            (set && off >= CLOCK_OFF).then(|| format!("Its clock is {} wrong.", span(off)))
        },
        causes: &[
            "it cannot reach a time server",
            "the router's own clock was set after the client was started",
        ],
        remedy: "See that `option ntp` (DHCP option 42) names a server that answers; the router is one with \
                 `uci set system.ntp.enable_server=1`.",
    },
    Rule {
        code: "old_eeprom",
        stops: false,
        fits: |case| {
            let needed = match case.facts.model? {
                Model::Pi5 | Model::Pi500 | Model::Cm5 | Model::Cm5Lite => Moment::from_secs(1_698_624_000),
                Model::Pi4B | Model::Pi400 | Model::Cm4 => Moment::from_secs(1_650_585_600),
                _ => return None,
            };
            let built = case.health()?.eeprom.filter(|built| *built < needed)?;
            Some(format!(
                "Its bootloader is of {}; from {} on it boots from the network as it should.",
                built.date(),
                needed.date()
            ))
        },
        causes: &["the EEPROM was never updated"],
        remedy: "Roll out a newer one (`bramble eeprom set`, which says if it is too old for that), or write it with a card \
                 (`bramble enrol-medium`).",
    },
    Rule {
        code: "eeprom_update_failed",
        stops: false,
        fits: |case| {
            Some(format!("The update of its EEPROM did not work: {}.", case.facts.eeprom_failed.as_ref()?))
        },
        causes: &["the sentence says it"],
        remedy: "`bramble eeprom show NAME` has what is in it now; `bramble eeprom undo NAME` forgets the update.",
    },
    Rule {
        code: "network_never",
        stops: false,
        fits: |case| {
            let order =
                case.facts.boot_order.as_ref().filter(|order| case.handed_over && !tries_network(order))?;
            Some(format!(
                "Its EEPROM does not try the network (BOOT_ORDER={order}); this start was an exception."
            ))
        },
        causes: &["it was started from the network once, by hand"],
        remedy: "Write `bramble eeprom set BOOT_ORDER=0xf21 --client NAME`.",
    },
    Rule {
        code: "usb_first",
        stops: false,
        fits: |case| {
            let order =
                case.facts.boot_order.as_ref().filter(|order| case.handed_over && tries_usb_first(order))?;
            Some(format!(
                "At each start it looks for a USB disk for 20 s before it tries the network (BOOT_ORDER={order})."
            ))
        },
        causes: &["its EEPROM has the order that suits a desk, not a room"],
        remedy: "Write `bramble eeprom set BOOT_ORDER=0xf21 --client NAME`.",
    },
];

/// `3 minutes`, `7 hours`, `2 days`.
fn span(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    match minutes {
        0..120 => format!("{minutes} minutes"),
        120..2880 => format!("{} hours", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    }
}
