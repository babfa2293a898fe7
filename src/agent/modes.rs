//! What a client is changed to for the way it is used ([`SeatUse`]): people, guests, kiosks, exams.
//!
//! | mode | desktop | text console |
//! |---|---|---|
//! | guest | LightDM logs the guest in, into the image's own session | the first console does |
//! | kiosk | LightDM logs the guest in, into a session of ours with a browser and nothing else | a sentence |
//! | login | nobody is logged in by itself | the same |
//! | exam | the same, and the image's own users are locked | the same |
//! | image | as the image has it, but for its first-boot wizard | the same |
//!
//! The guest is a user of the client alone, whom no server knows: [`service`](super::service) gives them a home in memory
//! and wipes it. Everything here is a function of the tree and the personality; what is written is in the overlay.
//!
//! Sources: lightdm.conf of LightDM 1.32, labwc-config(5) of labwc 0.8 and 0.9, wayfire 0.8's autostart plugin, openbox's
//! rc.xml, the switches of Chromium and Firefox as their packages in Raspberry Pi OS Bookworm and Trixie have them.

use super::edits;
use super::plan::{Client, To};
use super::root::Root;
use crate::types::{PageUrl, SeatUse};

/// The user that guests are, and kiosks run as.
pub const GUEST: &str = "guest";

/// Their number: behind those that Debian gives to people, before those that systemd takes.
pub const GUEST_UID: u32 = 59_999;

pub const GUEST_HOME: &str = "/home/guest";

/// A group of the image that a guest is in where it is there, so that sound and picture work. Not `input`: whoever is in it
/// reads every key that is typed at the client. The desktop gets keys and mouse from logind.
const GUEST_GROUPS: [&str; 4] = ["audio", "video", "render", "plugdev"];

/// Numbers of the image's own people.
const PEOPLE: std::ops::Range<u32> = 1000..60_000;

/// Settings of LightDM that would log somebody else in, or into something else.
const LIGHTDM: [&str; 5] = [
    "autologin-user",
    "autologin-guest",
    "autologin-user-timeout",
    "autologin-session",
    "autologin-in-background",
];

/// Browsers, the best first, with the switches that make them a page without anything around it.
const BROWSERS: [(&str, Browser); 4] = [
    ("usr/bin/chromium", Browser::Chromium),
    ("usr/bin/chromium-browser", Browser::Chromium),
    ("usr/bin/firefox", Browser::Firefox),
    ("usr/bin/firefox-esr", Browser::Firefox),
];

#[derive(Clone, Copy)]
enum Browser {
    Chromium,
    Firefox,
}

/// What shows windows, the best first, and where a session that uses it is listed.
const SHOWN_BY: [(&str, Shell, &str); 3] = [
    ("usr/bin/labwc", Shell::Labwc, "usr/share/wayland-sessions"),
    ("usr/bin/wayfire", Shell::Wayfire, "usr/share/wayland-sessions"),
    ("usr/bin/openbox", Shell::Openbox, "usr/share/xsessions"),
];

#[derive(Clone, Copy)]
enum Shell {
    Labwc,
    Wayfire,
    Openbox,
}

/// Files to write, and what of the mode cannot be had, in sentences.
#[derive(Debug, Default)]
pub struct Arranged {
    pub changes: Vec<(String, To)>,
    pub troubles: Vec<String>,
}

impl Arranged {
    fn file(&mut self, path: impl Into<String>, text: String, mode: u32) {
        self.changes.push((path.into(), To::File { text, mode }));
    }
}

impl Client<'_> {
    /// Whether somebody without a name is logged in here.
    pub fn has_guests(&self) -> bool {
        matches!(self.personality.used, SeatUse::Guest { .. } | SeatUse::Kiosk { .. })
    }

    /// Whether somebody may be logged in by the image. Whoever changes an image needs it as it is.
    fn is_as_its_image(&self) -> bool {
        self.personality.used == SeatUse::Image || self.personality.maintenance
    }
}

/// `lightdm.conf`, or a file beside it, without what would log somebody else in.
pub fn lightdm(text: &str, client: &Client<'_>) -> String {
    if client.is_as_its_image() {
        return text.to_owned();
    }
    edits::lines(text, |line| line.split_once('=').is_some_and(|(key, _)| LIGHTDM.contains(&key.trim())))
}

/// Everything of a mode that is not an edit of a file whose rules others share.
pub fn arrange(root: &Root, client: &Client<'_>) -> Arranged {
    let mut arranged = Arranged::default();
    if client.is_as_its_image() {
        return arranged;
    }
    match &client.personality.used {
        SeatUse::Login | SeatUse::Image => {}
        SeatUse::Exam => lock(root, &mut arranged),
        SeatUse::Guest { .. } => {
            guest(root, &mut arranged);
            if has_desktop(root) {
                arranged.file(DROP_IN, seat(None), 0o644);
            } else {
                console(client, &mut arranged);
            }
        }
        SeatUse::Kiosk { page, .. } => kiosk(root, page, &mut arranged),
    }
    // What raspi-config leaves to log somebody of the image in.
    if root.exists(AUTOLOGIN) {
        arranged.changes.push((AUTOLOGIN.to_owned(), To::Nothing));
    }
    arranged
}

const AUTOLOGIN: &str = "etc/systemd/system/getty@tty1.service.d/autologin.conf";
const DROP_IN: &str = "etc/lightdm/lightdm.conf.d/99-bramble.conf";

/// Whether the client starts a desktop by itself.
fn has_desktop(root: &Root) -> bool {
    root.exists("usr/sbin/lightdm") && root.exists("etc/lightdm")
}

/// LightDM's settings for a guest, in a session of ours if one is named.
fn seat(session: Option<&str>) -> String {
    let session = session.map(|name| format!("autologin-session={name}\nuser-session={name}\n"));
    format!(
        "# Written at boot by bramble-agent: whoever sits down here is a guest.\n[Seat:*]\nautologin-user={GUEST}\n\
         autologin-user-timeout=0\n{}",
        session.unwrap_or_default()
    )
}

/// The first console logs the guest in.
fn console(client: &Client<'_>, arranged: &mut Arranged) {
    let serial = !client.console.strip_prefix("tty").is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    let (unit, options) =
        if serial { ("serial-getty", "--keep-baud 115200,57600,38400,9600") } else { ("getty", "--noclear") };
    let text = format!(
        "# Written at boot by bramble-agent: whoever sits down here is a guest.\n[Service]\nExecStart=\n\
         ExecStart=-/sbin/agetty --autologin {GUEST} {options} %I $TERM\n"
    );
    arranged.file(
        format!("etc/systemd/system/{unit}@{}.service.d/zz-bramble.conf", client.console),
        text,
        0o644,
    );
}

/// The guest as a user whose password nobody knows.
fn guest(root: &Root, arranged: &mut Arranged) {
    let shell = if root.exists("bin/bash") { "/bin/bash" } else { "/bin/sh" };
    let passwd = format!("{GUEST}:x:{GUEST_UID}:{GUEST_UID}:Guest,,,:{GUEST_HOME}:{shell}");
    let rows = [
        ("etc/passwd", passwd),
        ("etc/group", format!("{GUEST}:x:{GUEST_UID}:")),
        ("etc/shadow", format!("{GUEST}:*:19000:0:99999:7:::")),
    ];
    for (path, line) in rows {
        let Some(text) = read(root, path, arranged) else { continue };
        let taken = text.lines().find(|line| {
            let mut fields = line.split(':');
            fields.next() != Some(GUEST) && fields.nth(1) == Some("59999")
        });
        if path != "etc/shadow"
            && let Some(taken) = taken
        {
            let other = taken.split(':').next().unwrap_or_default();
            arranged.troubles.push(format!(
                "there can be no guest here: the image has `{other}` with the number {GUEST_UID} in /{path}"
            ));
            return;
        }
        let kept = text.lines().filter(|line| line.split(':').next() != Some(GUEST));
        let mut edited: String = kept.map(|line| join(path, line) + "\n").collect();
        edited.push_str(&line);
        edited.push('\n');
        arranged.changes.push((path.to_owned(), To::Edited(edited)));
    }
}

/// A line of a file of users, with the guest in a group that is of use to them.
fn join(path: &str, line: &str) -> String {
    let mut fields: Vec<&str> = line.split(':').collect();
    let (Some(name), Some(members)) = (fields.first(), fields.get(3)) else { return line.to_owned() };
    if path != "etc/group" || !GUEST_GROUPS.contains(name) || members.split(',').any(|one| one == GUEST) {
        return line.to_owned();
    }
    let members = if members.is_empty() { GUEST.to_owned() } else { format!("{members},{GUEST}") };
    if let Some(place) = fields.get_mut(3) {
        *place = &members;
    }
    fields.join(":")
}

/// The image's own people have no password any more: in an exam only those may log in whom the server lets.
fn lock(root: &Root, arranged: &mut Arranged) {
    let (Some(passwd), Some(shadow)) =
        (read(root, "etc/passwd", arranged), read(root, "etc/shadow", arranged))
    else {
        return;
    };
    let own = |name: &str| {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name));
        let uid = line.and_then(|line| line.split(':').nth(2)?.parse().ok());
        uid.is_some_and(|uid| PEOPLE.contains(&uid))
    };
    let mut locked = String::with_capacity(shadow.len());
    for line in shadow.lines() {
        let (name, rest) = line.split_once(':').unwrap_or((line, ""));
        let shut = if own(name) && !rest.starts_with(['!', '*']) { "!" } else { "" };
        locked.extend([name, ":", shut, rest, "\n"]);
    }
    if locked != shadow {
        arranged.changes.push(("etc/shadow".to_owned(), To::Edited(locked)));
    }
}

fn read(root: &Root, path: &str, arranged: &mut Arranged) -> Option<String> {
    match root.text(path) {
        Ok(Some((text, _))) => Some(text),
        Ok(None) => {
            arranged.troubles.push(format!("the image has no /{path}, so its mode cannot be had"));
            None
        }
        Err(error) => {
            arranged.troubles.push(format!("`/{path}` cannot be read, so its mode cannot be had: {error}"));
            None
        }
    }
}

/// One page, full screen.
fn kiosk(root: &Root, page: &PageUrl, arranged: &mut Arranged) {
    let browser = BROWSERS.iter().find(|(path, _)| root.exists(path));
    let shown = SHOWN_BY.iter().find(|(path, ..)| root.exists(path));
    let (true, Some((program, browser)), Some((_, shell, sessions))) = (has_desktop(root), browser, shown)
    else {
        let missing = if has_desktop(root) { "browser" } else { "desktop" };
        arranged.troubles.push(format!(
            "this client is to show {page}, and its image has no {missing} to show it; choose another image"
        ));
        let text = format!(
            "\nThis computer should show {page}, but its system has no {missing} for that.\nPlease tell whoever looks after it.\n\n"
        );
        arranged.file("etc/issue.d/bramble.issue", text, 0o644);
        return;
    };
    guest(root, arranged);
    arranged.file(DROP_IN, seat(Some("bramble-kiosk")), 0o644);
    let session = "# Written at boot by bramble-agent.\n[Desktop Entry]\nName=Kiosk\nComment=One page, full screen\n\
                   Exec=/etc/bramble/kiosk-session\nType=Application\n";
    arranged.file(format!("{sessions}/bramble-kiosk.desktop"), session.to_owned(), 0o644);
    arranged.file("etc/bramble/kiosk-session", started_by(*shell), 0o755);
    let wayland = !matches!(shell, Shell::Openbox);
    arranged.file("etc/bramble/kiosk", browse(program, *browser, wayland, page), 0o755);
    for (path, text) in settings(*shell) {
        arranged.file(*path, (*text).to_owned(), 0o644);
    }
}

/// The script of the session.
fn started_by(shell: Shell) -> String {
    let head = "#!/bin/sh\n# Written at boot by bramble-agent: a session with one page and nothing else.\n";
    let keyboard = "if [ -r /etc/default/keyboard ]; then\n\t. /etc/default/keyboard\n\
                    \texport XKB_DEFAULT_MODEL=\"$XKBMODEL\" XKB_DEFAULT_LAYOUT=\"$XKBLAYOUT\"\n\
                    \texport XKB_DEFAULT_VARIANT=\"$XKBVARIANT\" XKB_DEFAULT_OPTIONS=\"$XKBOPTIONS\"\nfi\n";
    match shell {
        Shell::Labwc => format!("{head}{keyboard}exec labwc -C /etc/bramble/labwc -s /etc/bramble/kiosk\n"),
        Shell::Wayfire => format!("{head}{keyboard}exec wayfire -c /etc/bramble/wayfire.ini\n"),
        Shell::Openbox => format!(
            "{head}xset s off -dpms 2>/dev/null\nopenbox --config-file /etc/bramble/openbox.xml &\nexec /etc/bramble/kiosk\n"
        ),
    }
}

/// The script that shows the page, again and again.
fn browse(program: &str, browser: Browser, wayland: bool, page: &PageUrl) -> String {
    let switches = match (browser, wayland) {
        (Browser::Chromium, wayland) => format!(
            "--kiosk --incognito --no-first-run --no-default-browser-check --noerrdialogs --disable-infobars \
             --disable-session-crashed-bubble --disable-features=Translate --password-store=basic \
             --check-for-update-interval=31536000 --user-data-dir=\"$HOME/.kiosk\"{}",
            if wayland { " --ozone-platform=wayland" } else { "" }
        ),
        (Browser::Firefox, _) => "--kiosk --private-window --no-remote --profile \"$HOME/.kiosk\"".to_owned(),
    };
    let environment = if wayland { "export MOZ_ENABLE_WAYLAND=1\n" } else { "" };
    format!(
        "#!/bin/sh\n# Written at boot by bramble-agent: the page, and again whenever the browser ends.\n{environment}\
         while :; do\n\trm -rf \"$HOME/.kiosk\"\n\tmkdir -p \"$HOME/.kiosk\"\n\t/{program} {switches} '{page}'\n\tsleep 1\ndone\n"
    )
}

/// Settings of what shows windows, so that no key and no click opens anything else.
const fn settings(shell: Shell) -> &'static [(&'static str, &'static str)] {
    match shell {
        // Without any key or click of one's own, labwc takes its usual ones.
        Shell::Labwc => &[
            (
                "etc/bramble/labwc/rc.xml",
                "<?xml version=\"1.0\"?>\n<labwc_config>\n<keyboard><keybind key=\"W-F12\"><action name=\"None\"/></keybind></keyboard>\n\
                 <mouse><context name=\"Client\"><mousebind button=\"Left\" action=\"Press\"><action name=\"Focus\"/></mousebind></context></mouse>\n\
                 </labwc_config>\n",
            ),
            ("etc/bramble/labwc/menu.xml", "<?xml version=\"1.0\"?>\n<openbox_menu></openbox_menu>\n"),
        ],
        Shell::Wayfire => &[(
            "etc/bramble/wayfire.ini",
            "[core]\nplugins = autostart\n\n[autostart]\nautostart_wf_shell = false\nkiosk = /etc/bramble/kiosk\n",
        )],
        Shell::Openbox => &[(
            "etc/bramble/openbox.xml",
            "<?xml version=\"1.0\"?>\n<openbox_config xmlns=\"http://openbox.org/3.4/rc\">\n<keyboard></keyboard>\n<mouse></mouse>\n</openbox_config>\n",
        )],
    }
}
