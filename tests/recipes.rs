//! What the agent makes of a tree of each release: planned and applied in a folder, then looked at file by file.
//!
//! The trees have the shapes of the real ones (`sim::sample`), with the files added that the recipes are about, as
//! pi-gen and the packages of each release leave them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use bramble::agent::plan::{Client, Plan, apply, plan};
use bramble::agent::recipes::RECIPES;
use bramble::agent::root::Root;
use bramble::proto::agent::{Personality, VERSION};
use bramble::sim::sample::{Release, write_tree};
use bramble::types::{ImageVersion, SeatUse, Version};

fn personality() -> Personality {
    Personality {
        version: VERSION,
        name: "lab-01".parse().expect("a name"),
        mac: "dc:a6:32:01:02:03".parse().expect("an address"),
        machine_id: "d29cfae469264929aa9460cee7a1af19".parse().expect("an id"),
        server: [192, 168, 77, 1].into(),
        maintenance: false,
        root: None,
        image: ImageVersion { name: "image".parse().expect("a name"), version: Version::FIRST },
        domain: Some("lan".parse().expect("a domain")),
        dns: vec![[192, 168, 77, 1].into(), [9, 9, 9, 9].into()],
        ntp: vec![[192, 168, 77, 1].into()],
        timezone: Some("Europe/Berlin".parse().expect("a zone")),
        mask: vec!["bluetooth.service".parse().expect("a unit")],
        used: SeatUse::Login,
        proof: None,
    }
}

/// A tree to be changed.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new(release: Release) -> Self {
        let tree = Self(tempfile::tempdir().expect("a folder"));
        write_tree(tree.0.path(), release).expect("the sample tree");
        tree.file("usr/share/zoneinfo/Europe/Berlin", "TZif2");
        tree.link("etc/localtime", "/usr/share/zoneinfo/Europe/London");
        tree.file("etc/timezone", "Europe/London\n");
        tree.unit("apt-daily.timer");
        tree
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("folders");
        fs::write(path, text).expect("written");
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("folders");
        let _ = fs::remove_file(&path);
        symlink(target, path).expect("linked");
    }

    fn unit(&self, name: &str) {
        self.file(&format!("usr/lib/systemd/system/{name}"), "[Unit]\n");
    }

    /// What Raspberry Pi OS has in each release.
    fn pi_os(&self) {
        self.file("etc/rpi-issue", "Raspberry Pi reference\n");
        self.unit("userconfig.service");
        self.link(
            "etc/systemd/system/multi-user.target.wants/userconfig.service",
            "/lib/systemd/system/userconfig.service",
        );
        self.file("etc/xdg/autostart/piwiz.desktop", "[Desktop Entry]\nExec=piwiz --useronly\n");
        self.file("etc/sudoers.d/010_wiz-nopasswd", "rpi-first-boot-wizard ALL=(ALL) NOPASSWD: ALL\n");
        self.file("etc/ssh/sshd_config.d/rename_user.conf", "Banner /usr/share/userconf-pi/sshd_banner\n");
        self.file(
            "etc/lightdm/lightdm.conf",
            "[Seat:*]\ngreeter-session=pi-greeter\nautologin-user=rpi-first-boot-wizard\n",
        );
        self.unit("rpi-eeprom-update.service");
    }

    fn bootstrapped(&self, personality: &Personality) -> Plan {
        let root = Root::open(self.0.path()).expect("a root");
        let plan = plan(&root, Client { personality, link: "eth0", console: "tty1" });
        assert_eq!(apply(&root, &plan), Vec::<String>::new());
        plan
    }

    /// Text of a file, `-> TARGET` of a link, `(nothing)`.
    fn shown(&self, path: &str) -> String {
        let path = self.0.path().join(path);
        match fs::read_link(&path) {
            Ok(target) => format!("-> {}", target.display()),
            Err(_) => fs::read_to_string(&path).unwrap_or_else(|_| "(nothing)".to_owned()),
        }
    }

    fn assert(&self, rows: &[(&str, &str)]) {
        for (path, expected) in rows {
            assert_eq!(self.shown(path), *expected, "{path}");
        }
    }

    /// Every file with its kind and content, to see what changed.
    fn everything(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.0.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                let name = path.strip_prefix(self.0.path()).expect("below").display().to_string();
                let about = fs::symlink_metadata(&path).expect("there");
                if about.is_dir() {
                    folders.push(path);
                } else if about.is_symlink() {
                    found.insert(name, format!("-> {}", fs::read_link(&path).expect("a link").display()));
                } else {
                    let content = fs::read(&path).expect("a file");
                    found.insert(
                        name,
                        format!("{:o} {}", about.permissions().mode(), String::from_utf8_lossy(&content)),
                    );
                }
            }
        }
        found
    }
}

/// What every client is, whatever it boots.
fn assert_is_lab_01(tree: &Tree) {
    tree.assert(&[
        ("etc/hostname", "lab-01\n"),
        ("etc/hosts", "127.0.0.1\tlocalhost\n127.0.1.1\tlab-01.lan\tlab-01\n"),
        ("etc/machine-id", "d29cfae469264929aa9460cee7a1af19\n"),
        (
            "etc/resolv.conf",
            "# Written at boot by bramble-agent.\nsearch lan\nnameserver 192.168.77.1\nnameserver 9.9.9.9\n",
        ),
        ("etc/localtime", "-> /usr/share/zoneinfo/Europe/Berlin"),
        ("etc/timezone", "Europe/Berlin\n"),
        ("etc/systemd/timesyncd.conf.d/bramble.conf", "[Time]\nNTP=192.168.77.1\n"),
        ("etc/systemd/system/bluetooth.service", "-> /dev/null"),
        ("etc/systemd/system/apt-daily.timer", "-> /dev/null"),
    ]);
}

/// Nothing of the first-boot wizard is left, and the console has its log-in prompt again.
fn assert_no_wizard(tree: &Tree) {
    tree.assert(&[
        ("etc/systemd/system/userconfig.service", "-> /dev/null"),
        ("etc/systemd/system/getty.target.wants/getty@tty1.service", "-> /lib/systemd/system/getty@.service"),
        ("etc/xdg/autostart/piwiz.desktop", "(nothing)"),
        ("etc/sudoers.d/010_wiz-nopasswd", "(nothing)"),
        ("etc/ssh/sshd_config.d/rename_user.conf", "(nothing)"),
        (
            "etc/lightdm/lightdm.conf",
            "[Seat:*]\ngreeter-session=pi-greeter\n# bramble: autologin-user=rpi-first-boot-wizard\n",
        ),
        ("etc/systemd/system/rpi-eeprom-update.service", "-> /dev/null"),
    ]);
}

#[test]
fn bullseye() {
    let tree = Tree::new(Release::Bullseye);
    tree.pi_os();
    tree.file("etc/dhcpcd.conf", "hostname\ninterface wlan0\nstatic ip_address=10.0.0.9/24\n");
    tree.file("etc/init.d/resize2fs_once", "#!/bin/sh\n");
    tree.unit("dphys-swapfile.service");
    let plan = tree.bootstrapped(&personality());
    assert_eq!(plan.recipe, "Raspberry Pi OS Bullseye");
    assert_eq!(plan.troubles, Vec::<String>::new());
    assert_is_lab_01(&tree);
    assert_no_wizard(&tree);
    tree.assert(&[
        (
            "etc/dhcpcd.conf",
            "# bramble: the root file system comes over this link\ndenyinterfaces eth0\n\
             hostname\ninterface wlan0\nstatic ip_address=10.0.0.9/24\n",
        ),
        ("etc/systemd/system/resize2fs_once.service", "-> /dev/null"),
        ("etc/systemd/system/dphys-swapfile.service", "-> /dev/null"),
        (
            "etc/fstab",
            "proc            /proc           proc    defaults          0       0\n\
             # bramble: PARTUUID=b12ab1e5-01  /boot  vfat    defaults          0       2\n\
             # bramble: PARTUUID=b12ab1e5-02  /               ext4    defaults,noatime  0       1\n",
        ),
        ("etc/NetworkManager/conf.d/90-bramble.conf", "(nothing)"),
    ]);
}

#[test]
fn bookworm() {
    let tree = Tree::new(Release::Bookworm);
    tree.pi_os();
    tree.file("etc/NetworkManager/NetworkManager.conf", "[main]\nplugins=ifupdown,keyfile\n");
    tree.file("etc/init.d/resize2fs_once", "#!/bin/sh\n");
    tree.unit("dphys-swapfile.service");
    tree.unit("regenerate_ssh_host_keys.service");
    let plan = tree.bootstrapped(&personality());
    assert_eq!(plan.recipe, "Raspberry Pi OS Bookworm");
    assert_is_lab_01(&tree);
    assert_no_wizard(&tree);
    tree.assert(&[
        (
            "etc/NetworkManager/conf.d/90-bramble.conf",
            "# The root file system comes over this link, and its address must stay.\n\
             [device-bramble]\nmatch-device=mac:dc:a6:32:01:02:03\nmanaged=0\n\n\
             [keyfile]\nunmanaged-devices+=mac:dc:a6:32:01:02:03\n",
        ),
        ("etc/systemd/system/resize2fs_once.service", "-> /dev/null"),
        ("etc/systemd/system/dphys-swapfile.service", "-> /dev/null"),
        // Without host keys in the image, sshd would not start unless they are made.
        ("etc/systemd/system/regenerate_ssh_host_keys.service", "(nothing)"),
    ]);
    tree.file("etc/ssh/ssh_host_ed25519_key", "-----BEGIN OPENSSH PRIVATE KEY-----\n");
    tree.bootstrapped(&personality());
    tree.assert(&[("etc/systemd/system/regenerate_ssh_host_keys.service", "-> /dev/null")]);
}

#[test]
fn trixie() {
    let tree = Tree::new(Release::Trixie);
    tree.pi_os();
    tree.file("etc/NetworkManager/NetworkManager.conf", "[main]\n");
    tree.file("etc/rpi/swap.conf", "[Main]\nMechanism=auto\n");
    tree.file("etc/cloud/cloud.cfg", "datasource_list: [ NoCloud ]\n");
    tree.file("var/lib/dbus/machine-id", "0123\n");
    tree.unit("rpi-resize.service");
    tree.link("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf");
    let plan = tree.bootstrapped(&personality());
    assert_eq!(plan.recipe, "Raspberry Pi OS Trixie");
    assert_is_lab_01(&tree);
    assert_no_wizard(&tree);
    tree.assert(&[
        ("etc/cloud/cloud-init.disabled", "bramble\n"),
        ("etc/systemd/system/rpi-resize.service", "-> /dev/null"),
        (
            "etc/rpi/swap.conf.d/bramble.conf",
            "# A file to write compressed pages back to would itself be in memory.\n[Main]\nMechanism=zram\n",
        ),
        ("var/lib/dbus/machine-id", "-> /etc/machine-id"),
        ("etc/systemd/system/resize2fs_once.service", "(nothing)"),
    ]);
}

#[test]
fn plain_debian() {
    let tree = Tree::new(Release::Debian);
    tree.file(
        "etc/network/interfaces",
        "source /etc/network/interfaces.d/*\nauto lo\niface lo inet loopback\n",
    );
    tree.file("etc/network/interfaces.d/setup", "auto eth0\niface eth0 inet dhcp\n");
    tree.file("etc/systemd/network/90-all.network", "[Match]\nName=*\n[Network]\nDHCP=yes\n");
    tree.unit("systemd-networkd-wait-online.service");
    tree.file("etc/systemd/journald.conf", "[Journal]\n");
    tree.file("etc/chrony/sources.d/README", "");
    let plan = tree.bootstrapped(&personality());
    assert_eq!(plan.recipe, "Debian");
    tree.assert(&[
        ("etc/hostname", "lab-01\n"),
        ("etc/network/interfaces", "source /etc/network/interfaces.d/*\nauto lo\niface lo inet loopback\n"),
        ("etc/network/interfaces.d/setup", "# bramble: auto eth0\niface eth0 inet dhcp\n"),
        (
            "etc/systemd/network/00-bramble.network",
            "# The root file system comes over this link, and its address must stay.\n\
             [Match]\nMACAddress=dc:a6:32:01:02:03\n\n[Link]\nUnmanaged=yes\n",
        ),
        ("etc/systemd/system/systemd-networkd-wait-online.service", "-> /dev/null"),
        ("etc/systemd/timesyncd.conf.d/bramble.conf", "[Time]\nNTP=192.168.77.1\n"),
        ("etc/chrony/sources.d/bramble.sources", "server 192.168.77.1 iburst\n"),
        ("etc/systemd/system/userconfig.service", "(nothing)"),
    ]);
}

/// The PAM stacks of each release, as `pam-auth-update` leaves them on a desktop.
#[test]
fn people_of_the_server_log_in_through_the_stacks_of_each_release() {
    let own = "[success=ignore default=2]\tpam_succeed_if.so quiet user ingroup bramble";
    for release in Release::ALL {
        let tree = Tree::new(release);
        let session = match release {
            Release::Trixie => "session optional\t\t\tpam_umask.so\nsession\trequired\tpam_unix.so\n",
            _ => "session\trequired\tpam_unix.so\n",
        };
        tree.file("etc/pam.d/common-auth", "auth\t[success=1 default=ignore]\tpam_unix.so nullok\nauth\trequisite\tpam_deny.so\nauth\trequired\tpam_permit.so\nauth\toptional\tpam_gnome_keyring.so\n");
        tree.file("etc/pam.d/common-account", "account\t[success=1 new_authtok_reqd=done default=ignore]\tpam_unix.so\naccount\trequisite\tpam_deny.so\n");
        tree.file("etc/pam.d/common-password", "password\t[success=1 default=ignore]\tpam_unix.so obscure yescrypt\npassword\trequisite\tpam_deny.so\npassword\trequired\tpam_permit.so\n");
        tree.file("etc/pam.d/common-session", session);
        tree.file("etc/pam.d/common-session-noninteractive", session);
        let plan = tree.bootstrapped(&personality());
        assert_eq!(plan.troubles, Vec::<String>::new(), "{release:?}");

        let auth = tree.shown("etc/pam.d/common-auth");
        let expected = format!(
            "# bramble: people of the server\nauth\t{own}\nauth\t[success=3 default=ignore]\tpam_exec.so quiet quiet_log \
             expose_authtok stdout /run/bramble/agent pam\nauth\trequisite\tpam_deny.so\nauth\t[success=1 default=ignore]\tpam_unix.so nullok\n"
        );
        assert!(auth.starts_with(&expected), "{release:?}: {auth}");
        let password = tree.shown("etc/pam.d/common-password");
        let expected = format!(
            "# bramble: people of the server\npassword\t{own}\npassword\t[success=3 default=ignore]\t/run/bramble/pam_bramble.so\n\
             password\trequisite\tpam_deny.so\npassword\t[success=1 default=ignore]\tpam_unix.so obscure yescrypt\n"
        );
        assert!(password.starts_with(&expected), "{release:?}: {password}");
        for path in ["etc/pam.d/common-account", "etc/pam.d/common-session"] {
            let text = tree.shown(path);
            assert!(
                text.contains("pam_exec.so quiet quiet_log stdout /run/bramble/agent pam\n"),
                "{release:?}: {text}"
            );
        }
        // `sudo` and `cron` open no session that needs a home.
        assert_eq!(tree.shown("etc/pam.d/common-session-noninteractive"), session, "{release:?}");
        assert_eq!(
            tree.shown("etc/systemd/system/multi-user.target.wants/bramble-agent.service"),
            "-> ../bramble-agent.service",
            "{release:?}"
        );
        let homes = tree.shown("etc/systemd/system/home-.mount.d/bramble.conf");
        assert!(homes.contains("\nAfter=bramble-agent.service\n"), "{release:?}: {homes}");
    }
}

/// The desktop of each release, as far as modes look at it, as `raspi-config` leaves it: it logs the image's own user in.
fn desktop(tree: &Tree, browser: &str, shell: &str) {
    tree.file("usr/sbin/lightdm", "");
    tree.file(&format!("usr/bin/{browser}"), "");
    tree.file(&format!("usr/bin/{shell}"), "");
    tree.file(
        "etc/lightdm/lightdm.conf",
        "[Seat:*]\ngreeter-session=pi-greeter-labwc\nuser-session=rpd-labwc\nautologin-session=rpd-labwc\nautologin-user=pi\n",
    );
    tree.file("etc/systemd/system/getty@tty1.service.d/autologin.conf", "[Service]\n");
}

/// What every tree has of its users.
fn users(tree: &Tree) {
    tree.file("etc/passwd", "root:x:0:0:root:/root:/bin/bash\npi:x:1000:1000:,,,:/home/pi:/bin/bash\n");
    tree.file("etc/group", "root:x:0:\naudio:x:29:pi\nvideo:x:44:\ninput:x:104:pi\npi:x:1000:\n");
    tree.file(
        "etc/shadow",
        "root:$y$r:19500:0:99999:7:::\npi:$y$x:19500:0:99999:7:::\ndaemon:*:19500:0:99999:7:::\n",
    );
    let shadow = tree.0.path().join("etc/shadow");
    fs::set_permissions(shadow, fs::Permissions::from_mode(0o640)).expect("a mode");
}

fn used(used: SeatUse) -> Personality {
    Personality { used, ..personality() }
}

/// What nobody is logged in by any more.
const NO_AUTOLOGIN: &str = "[Seat:*]\ngreeter-session=pi-greeter-labwc\nuser-session=rpd-labwc\n\
                            # bramble: autologin-session=rpd-labwc\n# bramble: autologin-user=pi\n";

#[test]
fn a_guest_is_logged_in_on_the_desktop_of_each_release() {
    for (release, shell) in [
        (Release::Bullseye, "openbox"),
        (Release::Bookworm, "labwc"),
        (Release::Trixie, "labwc"),
        (Release::Debian, "labwc"),
    ] {
        let tree = Tree::new(release);
        users(&tree);
        desktop(&tree, "chromium", shell);
        tree.file("etc/pam.d/common-session", "session\trequired\tpam_unix.so\n");
        let plan = tree.bootstrapped(&used(SeatUse::Guest { minutes: 45 }));
        assert_eq!(plan.troubles, Vec::<String>::new(), "{release:?}");
        tree.assert(&[
            (
                "etc/lightdm/lightdm.conf.d/99-bramble.conf",
                "# Written at boot by bramble-agent: whoever sits down here is a guest.\n[Seat:*]\nautologin-user=guest\n\
                 autologin-user-timeout=0\n",
            ),
            ("etc/lightdm/lightdm.conf", NO_AUTOLOGIN),
            ("etc/systemd/system/getty@tty1.service.d/autologin.conf", "(nothing)"),
            ("etc/systemd/system/getty@tty1.service.d/zz-bramble.conf", "(nothing)"),
            (
                "etc/group",
                "root:x:0:\naudio:x:29:pi,guest\nvideo:x:44:guest\ninput:x:104:pi\npi:x:1000:\nguest:x:59999:\n",
            ),
        ]);
        assert!(tree.shown("etc/passwd").contains("\nguest:x:59999:59999:Guest,,,:/home/guest:/bin/"));
        assert!(tree.shown("etc/shadow").ends_with("\nguest:*:19000:0:99999:7:::\n"), "no password fits");
        assert!(tree.shown("etc/shadow").contains("\npi:$y$x:"), "the image's own people are as they were");
        let mode = fs::metadata(tree.0.path().join("etc/shadow")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        let session = tree.shown("etc/pam.d/common-session");
        assert!(session.contains("pam_succeed_if.so quiet user = guest\n"), "{session}");
        let once = tree.everything();
        tree.bootstrapped(&used(SeatUse::Guest { minutes: 45 }));
        assert_eq!(tree.everything(), once, "twice is once");
    }
}

#[test]
fn without_a_desktop_the_first_console_logs_the_guest_in() {
    let tree = Tree::new(Release::Trixie);
    users(&tree);
    tree.bootstrapped(&used(SeatUse::Guest { minutes: 0 }));
    tree.assert(&[(
        "etc/systemd/system/getty@tty1.service.d/zz-bramble.conf",
        "# Written at boot by bramble-agent: whoever sits down here is a guest.\n[Service]\nExecStart=\n\
         ExecStart=-/sbin/agetty --autologin guest --noclear %I $TERM\n",
    )]);
    let serial = Tree::new(Release::Bookworm);
    users(&serial);
    let root = Root::open(serial.0.path()).expect("a root");
    let personality = used(SeatUse::Guest { minutes: 0 });
    let plan = plan(&root, Client { personality: &personality, link: "eth0", console: "ttyS0" });
    assert_eq!(apply(&root, &plan), Vec::<String>::new());
    let unit = serial.shown("etc/systemd/system/serial-getty@ttyS0.service.d/zz-bramble.conf");
    assert!(unit.contains("--autologin guest --keep-baud"), "{unit}");

    let taken = Tree::new(Release::Trixie);
    users(&taken);
    taken.file("etc/passwd", "root:x:0:0::/root:/bin/sh\nkiosk:x:59999:1001::/home/kiosk:/bin/sh\n");
    let plan = taken.bootstrapped(&used(SeatUse::Guest { minutes: 0 }));
    assert_eq!(
        plan.troubles,
        ["there can be no guest here: the image has `kiosk` with the number 59999 in /etc/passwd"]
    );
}

#[test]
fn a_kiosk_shows_its_page_on_the_desktop_of_each_release() {
    let page = "https://library.example/search?a=1&b=2";
    let kiosk = used(SeatUse::Kiosk { page: page.parse().expect("a page"), idle_minutes: 10 });
    let rows = [
        (
            Release::Bullseye,
            "chromium-browser",
            "openbox",
            "usr/share/xsessions",
            "openbox --config-file /etc/bramble/openbox.xml &",
        ),
        (
            Release::Bookworm,
            "firefox",
            "wayfire",
            "usr/share/wayland-sessions",
            "exec wayfire -c /etc/bramble/wayfire.ini",
        ),
        (
            Release::Bookworm,
            "chromium",
            "labwc",
            "usr/share/wayland-sessions",
            "exec labwc -C /etc/bramble/labwc -s /etc/bramble/kiosk",
        ),
        (
            Release::Trixie,
            "chromium",
            "labwc",
            "usr/share/wayland-sessions",
            "exec labwc -C /etc/bramble/labwc -s /etc/bramble/kiosk",
        ),
    ];
    for (release, browser, shell, sessions, starts) in rows {
        let tree = Tree::new(release);
        users(&tree);
        desktop(&tree, browser, shell);
        let plan = tree.bootstrapped(&kiosk);
        assert_eq!(plan.troubles, Vec::<String>::new(), "{release:?} {shell}");
        assert!(tree.shown("etc/lightdm/lightdm.conf.d/99-bramble.conf").ends_with(
            "autologin-user=guest\nautologin-user-timeout=0\nautologin-session=bramble-kiosk\nuser-session=bramble-kiosk\n"
        ));
        assert_eq!(
            tree.shown("etc/lightdm/lightdm.conf"),
            NO_AUTOLOGIN,
            "what the drop-in says comes after it otherwise"
        );
        let entry = tree.shown(&format!("{sessions}/bramble-kiosk.desktop"));
        assert!(entry.contains("\nExec=/etc/bramble/kiosk-session\n"), "{entry}");
        let session = tree.shown("etc/bramble/kiosk-session");
        assert!(session.starts_with("#!/bin/sh\n") && session.contains(starts), "{session}");
        let script = tree.shown("etc/bramble/kiosk");
        let line = script.lines().find(|line| line.contains(browser)).expect("the browser is started");
        assert!(
            line.starts_with(&format!("\t/usr/bin/{browser} --kiosk "))
                && line.ends_with(&format!(" '{page}'")),
            "{line}"
        );
        assert_eq!(line.contains("--ozone-platform=wayland"), shell != "openbox" && browser == "chromium");
        for path in ["etc/bramble/kiosk", "etc/bramble/kiosk-session"] {
            let file = tree.0.path().join(path);
            assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o755);
            let checked = std::process::Command::new("sh").arg("-n").arg(&file).status().expect("a shell");
            assert!(checked.success(), "{path} is a script");
        }
    }
}

/// The script starts the browser again when it is closed, without what it kept.
#[test]
fn a_browser_that_is_closed_comes_again() {
    let tree = Tree::new(Release::Trixie);
    users(&tree);
    desktop(&tree, "chromium", "labwc");
    tree.bootstrapped(&used(SeatUse::Kiosk {
        page: "https://a.example/".parse().expect("a page"),
        idle_minutes: 0,
    }));
    let home = tree.0.path().join("home/guest");
    fs::create_dir_all(&home).expect("a folder");
    // A browser that keeps something, says what it was given, and is closed at once.
    let browser = tree.0.path().join("usr/bin/chromium");
    fs::write(&browser, "#!/bin/sh\nls -A \"$HOME/.kiosk\" >>\"$HOME/found\"\ntouch \"$HOME/.kiosk/cookie\"\nfor last; do :; done\necho \"$last\" >>\"$HOME/shown\"\n").expect("written");
    fs::set_permissions(&browser, fs::Permissions::from_mode(0o755)).expect("a mode");
    let script = tree
        .shown("etc/bramble/kiosk")
        .replace("/usr/bin/chromium", browser.to_str().expect("text"))
        .replace("sleep 1", "sleep 0.1");
    let mut running =
        std::process::Command::new("sh").args(["-c", &script]).env("HOME", &home).spawn().expect("a shell");
    let shown = || fs::read_to_string(home.join("shown")).unwrap_or_default();
    // For 20 seconds at most.
    for _ in 0..1000 {
        if shown().lines().count() >= 3 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    running.kill().expect("it runs");
    running.wait().expect("a child");
    assert!(shown().starts_with("https://a.example/\nhttps://a.example/\n"), "{}", shown());
    assert_eq!(
        fs::read_to_string(home.join("found")).expect("looked"),
        "",
        "nothing is kept from one to the next"
    );
}

#[test]
fn a_kiosk_that_cannot_be_says_so() {
    let kiosk =
        used(SeatUse::Kiosk { page: "https://a.example/".parse().expect("a page"), idle_minutes: 10 });
    let console = Tree::new(Release::Trixie);
    users(&console);
    let plan = console.bootstrapped(&kiosk);
    assert_eq!(
        plan.troubles,
        [
            "this client is to show https://a.example/, and its image has no desktop to show it; choose another image"
        ]
    );
    assert_eq!(
        console.shown("etc/issue.d/bramble.issue"),
        "\nThis computer should show https://a.example/, but its system has no desktop for that.\nPlease tell whoever looks after it.\n\n"
    );
    let bare = Tree::new(Release::Bookworm);
    users(&bare);
    desktop(&bare, "epiphany", "labwc");
    let plan = bare.bootstrapped(&kiosk);
    assert!(plan.troubles[0].contains("its image has no browser"), "{:?}", plan.troubles);
    assert_eq!(bare.shown("etc/lightdm/lightdm.conf.d/99-bramble.conf"), "(nothing)");
}

#[test]
fn in_an_exam_nobody_of_the_image_logs_in() {
    for release in [Release::Bookworm, Release::Trixie] {
        let tree = Tree::new(release);
        users(&tree);
        desktop(&tree, "chromium", "labwc");
        tree.bootstrapped(&used(SeatUse::Exam));
        tree.assert(&[
            ("etc/lightdm/lightdm.conf", NO_AUTOLOGIN),
            ("etc/systemd/system/getty@tty1.service.d/autologin.conf", "(nothing)"),
            (
                "etc/shadow",
                "root:$y$r:19500:0:99999:7:::\npi:!$y$x:19500:0:99999:7:::\ndaemon:*:19500:0:99999:7:::\n",
            ),
        ]);
        let once = tree.everything();
        tree.bootstrapped(&used(SeatUse::Exam));
        assert_eq!(tree.everything(), once, "twice is once");
    }
}

#[test]
fn whom_the_image_logs_in_by_itself_is_logged_in_in_its_own_mode_alone() {
    let login = Tree::new(Release::Trixie);
    users(&login);
    desktop(&login, "chromium", "labwc");
    let shadow = login.shown("etc/shadow");
    login.bootstrapped(&used(SeatUse::Login));
    login.assert(&[
        ("etc/lightdm/lightdm.conf", NO_AUTOLOGIN),
        ("etc/systemd/system/getty@tty1.service.d/autologin.conf", "(nothing)"),
        ("etc/shadow", &shadow),
    ]);
    let image = Tree::new(Release::Trixie);
    users(&image);
    desktop(&image, "chromium", "labwc");
    let before = image.shown("etc/lightdm/lightdm.conf");
    image.bootstrapped(&used(SeatUse::Image));
    image.bootstrapped(&Personality { maintenance: true, ..used(SeatUse::Login) });
    image.assert(&[
        ("etc/lightdm/lightdm.conf", &before),
        ("etc/systemd/system/getty@tty1.service.d/autologin.conf", "[Service]\n"),
        ("etc/shadow", &shadow),
    ]);
}

/// A release that came after this program is treated like Raspberry Pi OS, as far as its files are known.
#[test]
fn an_unknown_release_gets_what_fits() {
    let tree = Tree::new(Release::Trixie);
    tree.pi_os();
    tree.link("etc/os-release", "../usr/lib/os-release");
    tree.file("usr/lib/os-release", "ID=debian\nVERSION_CODENAME=\"forky\"\n");
    tree.file("etc/NetworkManager/NetworkManager.conf", "[main]\n");
    assert_eq!(tree.bootstrapped(&personality()).recipe, "Raspberry Pi OS of a release not known to Bramble");
    assert_no_wizard(&tree);
    assert_ne!(tree.shown("etc/NetworkManager/conf.d/90-bramble.conf"), "(nothing)");
}

/// Whatever a tree lacks, nothing fails, and a second boot of what the first one left changes nothing more.
#[test]
fn an_empty_tree_and_a_second_time() {
    let empty = Tree(tempfile::tempdir().expect("a folder"));
    let plan = empty.bootstrapped(&personality());
    assert_eq!(
        plan.troubles,
        [
            "the image does not know the time zone `Europe/Berlin`; install `tzdata` in it, or choose another zone"
        ]
    );
    for release in Release::ALL {
        let tree = Tree::new(release);
        tree.bootstrapped(&personality());
        let once = tree.everything();
        tree.bootstrapped(&personality());
        let twice = tree.everything();
        let changed = twice.iter().filter(|(path, what)| once.get(*path) != Some(what)).map(|(path, _)| path);
        assert_eq!(changed.collect::<Vec<_>>(), Vec::<&String>::new(), "{release:?}");
        assert_eq!(once.len(), twice.len(), "{release:?}: nothing is taken away by a second boot");
    }
}

/// A file that is not what its name says is a sentence for the screen, and everything else is done.
#[test]
fn one_failure_stops_nothing() {
    let tree = Tree::new(Release::Bookworm);
    fs::remove_file(tree.0.path().join("etc/fstab")).expect("removed");
    fs::create_dir(tree.0.path().join("etc/fstab")).expect("a folder in its place");
    fs::remove_file(tree.0.path().join("etc/timezone")).expect("removed");
    fs::create_dir(tree.0.path().join("etc/timezone")).expect("a folder in its place");
    let root = Root::open(tree.0.path()).expect("a root");
    let personality = personality();
    let plan = plan(&root, Client { personality: &personality, link: "eth0", console: "tty1" });
    assert_eq!(
        plan.troubles,
        ["`/etc/fstab` cannot be read and stays as it is: not a text file of reasonable size"]
    );
    let failed = apply(&root, &plan);
    assert_eq!(
        failed,
        ["`/etc/timezone` could not be changed (the time zone of the room): Is a directory (os error 21)"]
    );
    tree.assert(&[("etc/hostname", "lab-01\n"), ("etc/localtime", "-> /usr/share/zoneinfo/Europe/Berlin")]);
}

/// The table itself: every path stays inside, and each recipe can be reached.
#[test]
fn recipes_are_well_formed() {
    use bramble::agent::recipes::Does;
    for recipe in RECIPES {
        for rule in recipe.rules.iter().copied().flatten() {
            let paths: Vec<&str> = match rule.does {
                Does::Mask(units) => {
                    assert!(
                        units.iter().all(|unit| unit.parse::<bramble::types::UnitName>().is_ok()),
                        "{units:?}"
                    );
                    vec![]
                }
                Does::Remove(paths) => paths.to_vec(),
                Does::Link { path, needs, .. } | Does::Write { path, needs, .. } => vec![path, needs],
                Does::Edit { path, .. } => vec![path],
                Does::MaskIfMade { folder, .. } => vec![folder],
                Does::Arrange(_) => vec![],
            };
            assert!(
                paths.iter().all(|path| Path::new(path).is_relative() && !path.contains("..")),
                "{paths:?}"
            );
            assert!(!rule.why.is_empty() && !rule.why.ends_with('.'), "{}", rule.why);
        }
    }
}
