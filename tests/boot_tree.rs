//! The boot tree over trees in the shape of each release: what a client gets for a name, and what it must never get.

#![expect(clippy::panic, reason = "a test says what it met")]

use std::io::Read as _;
use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use bramble::config::{Config, load};
use bramble::proto::agent::channel::Pin;
use bramble::service::boot_tree::{Ask, BootTree, Content, Missing};
use bramble::service::clients::Clients;
use bramble::service::images::{Facts, Images, Kernel, Tree};
use bramble::sim::sample::{Release, write_tree};
use bramble::types::{ImageVersion, MacAddr, Version, chain};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
const PI: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 50);
const MAC: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 1, 2, 3]);

/// A server with one image, which one client is to boot.
struct Room {
    folder: tempfile::TempDir,
    tree: BootTree,
    clients: Arc<Clients>,
    nfs_port: u16,
}

fn config(client: &str) -> Arc<Config> {
    let mut sources = load::Sources::default();
    let text = |text: String| Some(text.into_bytes());
    sources.bramble.text = text(format!(
        "config bramble 'main'\n\toption enabled '1'\n\toption data '/mnt/disk'\n\tlist network 'lan'\n\
         config room 'lab'\n\toption image 'sample'\n\tlist config_txt 'hdmi_force_hotplug=1'\n\tlist cmdline 'splash'\n\
         config client\n\toption mac '{MAC}'\n\toption name 'lab-01'\n{client}"
    ));
    sources.network.text = text(format!(
        "config interface 'lan'\n\toption device 'br-lan'\n\toption proto 'static'\n\toption ipaddr '{SERVER}'\n\
         \toption netmask '255.255.255.0'\n"
    ));
    Arc::new(load::from_sources(&sources).unwrap_or_else(|problems| panic!("{problems}")))
}

impl Room {
    fn new(release: Release) -> Self {
        Self::with(release, "\toption room 'lab'\n\tlist cmdline 'quiet'\n", |_| {})
    }

    fn with(release: Release, client: &str, change: impl FnOnce(&mut Tree)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        write_tree(folder.path(), release).expect("a tree");
        let mut tree = sample(folder.path(), release);
        change(&mut tree);
        let images = Arc::new(Images::default());
        images.publish(tree);
        let clients = Arc::new(Clients::new(config(client)));
        clients.bound(PI, MAC, "lan");
        Self {
            folder,
            tree: BootTree::new(Arc::clone(&clients), images, Pin([7; 32])),
            clients,
            nfs_port: 2049,
        }
    }

    fn ask(&self, name: &str) -> Result<Vec<u8>, Missing> {
        let seat = self.tree.seat(PI).expect("the client has its address");
        match self
            .tree
            .answer(&seat, Ask { name: name.as_bytes(), server: SERVER, nfs_port: self.nfs_port })?
        {
            Content::Text(text) => Ok(text),
            Content::File { mut file, len } => {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).expect("read");
                assert_eq!(bytes.len() as u64, len, "{name}: the length told is the length there");
                Ok(bytes)
            }
        }
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(self.ask(name).unwrap_or_else(|missing| panic!("{}", chain(&missing))))
            .expect("text")
    }

    fn own(&self, path: &str) -> Vec<u8> {
        fs_err::read(self.folder.path().join(path)).expect("a file of the tree")
    }

    /// Whether `name` is answered with nothing, for the usual reason.
    fn lacks(&self, name: &str) -> bool {
        matches!(self.ask(name), Err(Missing::NoFile { .. }))
    }
}

/// What inspection finds in a sample tree.
fn sample(root: &Path, release: Release) -> Tree {
    let kernel = |&(file, version, initramfs): &(&str, &str, Option<&str>)| Kernel {
        file: file.to_owned(),
        version: version.to_owned(),
        initramfs: initramfs.map(str::to_owned),
        mounts_nfs: Some(release != Release::Debian),
    };
    Tree {
        image: ImageVersion { name: "sample".parse().expect("a name"), version: Version(NonZeroU32::MIN) },
        id: 1,
        nonce: 1,
        root: root.to_owned(),
        draft: false,
        facts: Facts {
            pretty_name: String::new(),
            codename: release.codename().to_owned(),
            arch: release.arch(),
            boot_dir: release.boot_dir().map(Into::into),
            kernels: release.kernels().iter().map(kernel).collect(),
            models: Vec::new(),
            tftp_bytes: 0,
            warnings: Vec::new(),
        },
    }
}

const ROOT: &str = "root=/dev/nfs nfsroot=192.168.77.1:/image/sample/1,vers=3,tcp,nolock,rsize=131072,nocto,acregmin=86400,acregmax=86400,acdirmin=86400,acdirmax=86400 ip=dhcp ro rootwait init=/.bramble/agent bramble.pin=0707070707070707070707070707070707070707070707070707070707070707";

#[test]
fn kernel_parameters_of_each_release() {
    for release in [Release::Bullseye, Release::Bookworm, Release::Trixie] {
        let room = Room::new(release);
        assert_eq!(room.clients.booted(MAC), None);
        let expected = format!("console=serial0,115200 console=tty1 {ROOT} splash quiet\n");
        for name in ["cmdline.txt", "9ffefdef/cmdline.txt", "dc-a6-32-01-02-03/CMDLINE.TXT"] {
            assert_eq!(room.text(name), expected, "{release:?} {name}");
        }
        let booted = room.clients.booted(MAC).expect("handing out parameters is the beginning of a boot");
        assert_eq!((booted.name.as_str(), booted.version.to_string().as_str()), ("sample", "1"));
    }
}

#[test]
fn another_port_of_our_nfs_server_is_told() {
    let mut room = Room::new(Release::Trixie);
    room.nfs_port = 20490;
    let told = " nfsroot=192.168.77.1:/image/sample/1,vers=3,tcp,nolock,rsize=131072,nocto,acregmin=86400,acregmax=86400,acdirmin=86400,acdirmax=86400,port=20490,mountport=20490 ";
    assert!(room.text("cmdline.txt").contains(told));
}

#[test]
fn firmware_settings_keep_the_images_lines() {
    let end = "\n# Added by Bramble for lab-01\n[all]\nbootloader_update=0\nauto_initramfs=0\nhdmi_force_hotplug=1\n";
    for (release, file) in
        [(Release::Bullseye, "boot/config.txt"), (Release::Trixie, "boot/firmware/config.txt")]
    {
        let room = Room::new(release);
        let own = String::from_utf8(room.own(file)).expect("text");
        assert_eq!(room.text("9ffefdef/config.txt"), format!("{own}{end}"), "{release:?}");
    }
}

/// The initramfs stays off only where every kernel that may be chosen is known to mount the root itself.
#[test]
fn the_initramfs_is_on_where_it_is_needed() {
    #[rustfmt::skip]
    let rows = [
        ("both can", [Some(true), Some(true)], "", "auto_initramfs=0"),
        ("one cannot", [Some(true), Some(false)], "", "auto_initramfs=1"),
        ("one could not be told", [None, Some(true)], "", "auto_initramfs=1"),
        ("the one that cannot is not chosen", [Some(true), Some(false)], "kernel=kernel8.img\n", "auto_initramfs=0"),
        ("the chosen one is unknown", [Some(true), Some(true)], "kernel=mine.img\n", "auto_initramfs=1"),
    ];
    for (shows, mounts, line, expected) in rows {
        let room = Room::with(Release::Bookworm, "\toption room 'lab'\n", |tree| {
            for (kernel, mounts_nfs) in tree.facts.kernels.iter_mut().zip(mounts) {
                kernel.mounts_nfs = mounts_nfs;
            }
            fs_err::write(tree.root.join("boot/firmware/config.txt"), format!("auto_initramfs=1\n{line}"))
                .expect("written");
        });
        let text = room.text("config.txt");
        assert_eq!(text.lines().rfind(|line| line.contains("initramfs")), Some(expected), "{shows}:\n{text}");
    }
}

/// Parameters in another file, an image without any, and one whose boot folder was taken for the old one.
#[test]
fn where_the_images_own_parameters_are() {
    let consoles = "console=serial0,115200 console=tty1";
    #[rustfmt::skip]
    let rows = [
        ("config.txt names another file", "boot/firmware", Some(("config.txt", "cmdline=own.txt\n")), Some(("own.txt", "console=ttyAMA0 root=x")), "console=ttyAMA0".to_owned()),
        ("a stub is not the real one", "boot", None, None, consoles.to_owned()),
        ("below os_prefix", "boot/firmware", None, Some(("current/cmdline.txt", "console=hvc0")), "console=hvc0".to_owned()),
    ];
    for (shows, boot_dir, config_txt, parameters, expected) in rows {
        let room = Room::with(Release::Bookworm, "\toption image 'sample'\n", |tree| {
            tree.facts.boot_dir = Some(boot_dir.into());
            for (file, text) in config_txt.iter().chain(&parameters) {
                let path = tree.root.join(boot_dir).join(file);
                fs_err::create_dir_all(path.parent().expect("a folder")).expect("made");
                fs_err::write(path, text).expect("written");
            }
        });
        let name = if shows.contains("os_prefix") { "current/cmdline.txt" } else { "cmdline.txt" };
        assert_eq!(room.text(name), format!("{expected} {ROOT}\n"), "{shows}");
        if config_txt.is_some() {
            assert!(
                room.text("config.txt").starts_with("#cmdline=own.txt\n"),
                "the firmware asks for cmdline.txt"
            );
        }
    }
}

#[test]
fn files_come_from_the_boot_folder_in_any_case() {
    let room = Room::new(Release::Trixie);
    let start = room.own("boot/firmware/start4.elf");
    for name in
        ["start4.elf", "9ffefdef/start4.elf", "dc-a6-32-01-02-03/START4.ELF", "/./start4.elf", "\\start4.elf"]
    {
        assert_eq!(room.ask(name).expect("there"), start, "{name}");
    }
    assert_eq!(
        room.ask("OVERLAYS/VC4-KMS-V3D.dtbo").expect("there"),
        room.own("boot/firmware/overlays/vc4-kms-v3d.dtbo")
    );
    for name in ["recovery.elf", "overlays/none.dtbo", "overlays", "start4.elf/x", "boot/firmware/start4.elf"]
    {
        assert!(room.lacks(name), "{name}");
    }
}

/// Nothing but boot files, whatever is asked, and whatever links an image has.
#[test]
fn nothing_else_of_the_image_and_nothing_of_the_router() {
    let secret = tempfile::NamedTempFile::new().expect("a file of the router");
    fs_err::write(secret.path(), "secret").expect("written");
    let room = Room::with(Release::Trixie, "\toption room 'lab'\n", |tree| {
        let boot = tree.root.join("boot/firmware");
        let own_place = secret.path().strip_prefix("/").expect("an absolute path");
        symlink(secret.path(), boot.join("absolute")).expect("a link");
        symlink(Path::new("../../../../../../../..").join(own_place), boot.join("upwards")).expect("a link");
        symlink("/etc/debian_version", boot.join("inside")).expect("a link");
        symlink("circle", boot.join("circle")).expect("a link");
        nix::unistd::mkfifo(&boot.join("fifo"), nix::sys::stat::Mode::S_IRUSR).expect("a fifo");
    });
    for name in
        ["absolute", "upwards", "circle", "fifo", "etc/shadow", "usr/bin/bash", "usr/lib/linux-image-x/y"]
    {
        assert!(room.lacks(name), "{name}");
    }
    for name in ["../../etc/shadow", "overlays/../../../etc/shadow", "..", "9ffefdef/../x", "a\u{7}b", ""] {
        assert!(matches!(room.ask(name), Err(Missing::Name { .. })), "{name}");
    }
    assert_eq!(room.ask("inside").expect("a link inside the image"), room.own("etc/debian_version"));
}

#[test]
fn reasons_that_a_teacher_can_act_on() {
    let without = Room::with(Release::Trixie, "", |_| {});
    assert_eq!(
        without.ask("start4.elf").expect_err("no image").to_string(),
        "no image is assigned to `lab-01`; set `option image` of the client or of its room in /etc/config/bramble"
    );
    let gone = Room::with(Release::Trixie, "\toption image 'sample@7'\n", |_| {});
    assert_eq!(
        gone.ask("start4.elf").expect_err("no such version").to_string(),
        "image `sample@7` of `lab-01` is not here; `bramble image list` shows those that are, `bramble image import` brings one"
    );
    let room = Room::new(Release::Trixie);
    assert_eq!(
        room.ask("9ffefdef/recovery.elf").expect_err("no such file").to_string(),
        "image `sample` version 1 has no boot file `recovery.elf`"
    );
    assert_eq!(
        room.ask("../x").expect_err("no such name").to_string(),
        "`../x` cannot be the name of a boot file: the name leads upwards with `..`"
    );
    assert!(room.tree.seat(Ipv4Addr::new(192, 168, 77, 51)).is_none(), "nobody was given this address");
}

/// Boards with U-Boot and PCs with PXELINUX boot the same image.
#[test]
fn pxelinux_of_a_pi_image_and_of_plain_debian() {
    let own = format!("pxelinux.cfg/01-{}", MAC.dashed());
    let room = Room::new(Release::Trixie);
    let append = format!("  APPEND {ROOT} BOOTIF=01-dc-a6-32-01-02-03 splash quiet\n");
    let head = "# Composed by Bramble for lab-01\nDEFAULT bramble\nPROMPT 0\nTIMEOUT 1\n\nLABEL bramble\n  MENU LABEL sample, version 1\n";
    assert_eq!(room.text(&own), format!("{head}  KERNEL /kernel8.img\n  FDTDIR /\n{append}"));
    assert!(room.clients.booted(MAC).is_some());
    assert_eq!(room.text("pxelinux.cfg/default-arm-bcm283x-rpi"), room.text(&own));
    assert!(room.lacks("pxelinux.cfg/01-dc-a6-32-01-02-04") && room.lacks("pxelinux.cfg/C0A84D32"));

    let room = Room::with(Release::Debian, "\toption room 'lab'\n\tlist cmdline 'quiet'\n", |tree| {
        for file in
            ["boot/vmlinuz-6.12.9-arm64", "boot/initrd.img-6.12.9-arm64", "usr/lib/PXELINUX/pxelinux.0"]
        {
            fs_err::create_dir_all(tree.root.join(file).parent().expect("a folder")).expect("made");
            fs_err::write(tree.root.join(file), file).expect("written");
        }
        fs_err::create_dir_all(tree.root.join("usr/lib/linux-image-6.12.107-arm64/broadcom")).expect("made");
        fs_err::write(
            tree.root.join("usr/lib/linux-image-6.12.107-arm64/broadcom/bcm2711-rpi-4-b.dtb"),
            "dtb",
        )
        .expect("written");
    });
    assert_eq!(
        room.text(&own),
        format!(
            "{head}  KERNEL /boot/vmlinuz-6.12.107-arm64\n  INITRD /boot/initrd.img-6.12.107-arm64\n  \
             FDTDIR /usr/lib/linux-image-6.12.107-arm64\n{append}"
        ),
        "the newest kernel, which is not the last of the alphabet"
    );
    assert_eq!(
        room.ask("/boot/vmlinuz-6.12.107-arm64").expect("there"),
        room.own("boot/vmlinuz-6.12.107-arm64")
    );
    assert_eq!(room.text("usr/lib/linux-image-6.12.107-arm64/broadcom/bcm2711-rpi-4-b.dtb"), "dtb");
    assert_eq!(room.text("pxelinux.0"), "usr/lib/PXELINUX/pxelinux.0");
    assert!(room.lacks("cmdline.txt") && room.lacks("config.txt"), "no firmware of a Pi here");
    assert!(room.lacks("usr/bin/bash"));
}
