//! The boot tree: what bytes a client gets for a file name. Virtual: nothing is copied, linked or patched per client.
//!
//! A name is answered from the boot folder of the image that the client's [`Seat`] names; `config.txt`, `cmdline.txt` and
//! `pxelinux.cfg/…` are composed at the moment of asking ([`crate::proto::pi`]). A client without an image gets nothing,
//! with a reason that the teacher can act on. Knows no sockets; may wait for the disk, so callers keep it off the runtime.

mod lookup;

use std::io::{self, Read as _};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use super::clients::{Clients, Seat};
use super::eeprom::Eeproms;
use super::exports::{draft_path, path_of};
use super::images::{Images, Kernel, Tree};
use crate::proto::agent::channel::Pin;
use crate::proto::dhcp::pi::looks_like_a_pi;
use crate::proto::pi::{self, cmdline, config_txt, path, pxelinux};
use crate::types::{Arch, ImageRef, ImageVersion, MacAddr, Moment, limits};
use lookup::Root;

/// Answers what clients ask for.
#[derive(Debug)]
pub struct BootTree {
    clients: Arc<Clients>,
    images: Arc<Images>,
    /// What clients know the server of the agents' channel by.
    pin: Pin,
    eeproms: Arc<Eeproms>,
}

/// One request for a file.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// As it was in the packet.
    pub name: &'a [u8],
    /// The address of ours that was asked: it is this client's way to us, so its NFS server too.
    pub server: Ipv4Addr,
    /// The port of our NFS server.
    pub nfs_port: u16,
}

/// What a name stands for.
#[derive(Debug)]
pub enum Content {
    /// A file of the image.
    File { file: std::fs::File, len: u64 },
    /// Composed for this client.
    Text(Vec<u8>),
}

/// Why a client gets nothing for a name.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    #[error(
        "no image is assigned to `{client}`; set `option image` of the client or of its room in /etc/config/bramble"
    )]
    NoImage { client: String },
    #[error("image `{}` of `{client}` is not here; `bramble image list` shows those that are, `bramble image import` brings one", String::from(.image.clone()))]
    NoSuchImage { client: String, image: ImageRef },
    #[error("`{name}` cannot be the name of a boot file: {why}")]
    Name { name: String, why: path::BadName },
    /// Nothing unusual: firmware asks for many files that an image need not have.
    #[error("image `{}` version {} has no boot file `{name}`", .image.name, .image.version)]
    NoFile { image: ImageVersion, name: String },
    #[error("`{name}` of image `{}` version {} cannot be read; is the disk in order?", .image.name, .image.version)]
    Disk { image: ImageVersion, name: String, source: io::Error },
}

/// Files of a loader that a PC or a board without firmware of its own asks for by their bare names, and where Debian's
/// packages `pxelinux`, `syslinux-common` and `syslinux-efi` put them in an image.
#[rustfmt::skip]
const LOADERS: &[(&str, &str)] = &[
    ("pxelinux.0", "usr/lib/PXELINUX/pxelinux.0"),
    ("lpxelinux.0", "usr/lib/PXELINUX/lpxelinux.0"),
    ("ldlinux.c32", "usr/lib/syslinux/modules/bios/ldlinux.c32"),
    ("syslinux.efi", "usr/lib/SYSLINUX.EFI/efi64/syslinux.efi"),
    ("ldlinux.e64", "usr/lib/syslinux/modules/efi64/ldlinux.e64"),
];

/// Folders outside the boot folder that a composed `pxelinux.cfg` points to: device trees of Debian's kernels.
const DEVICE_TREES: &str = "usr/lib/linux-image-";

impl BootTree {
    pub fn new(clients: Arc<Clients>, images: Arc<Images>, pin: Pin) -> Self {
        Self { clients, images, pin, eeproms: Arc::default() }
    }

    /// With updates of EEPROMs that clients were asked to take.
    #[must_use]
    pub fn with_eeproms(self, eeproms: Arc<Eeproms>) -> Self {
        Self { eeproms, ..self }
    }

    /// A file was sent to `client`, to its last byte; `name` is as it was asked for.
    pub fn sent(&self, client: MacAddr, name: &str, now: Moment) {
        self.eeproms.sent(client, name, now);
    }

    /// The client at `ip`; `None` for an address that was given to nobody.
    pub fn seat(&self, ip: Ipv4Addr) -> Option<Seat> {
        self.clients.at(ip)
    }

    /// Whether somebody may be known at `ip` when it next asks ([`Clients::may_be_known_soon`]).
    pub fn may_have_seat_soon(&self, ip: Ipv4Addr) -> bool {
        self.clients.may_be_known_soon(ip)
    }

    /// A machine asks for a file. Where another server gives the addresses it may be the first word that is heard of a Pi;
    /// it is then in people's list, to be adopted. In DHCP a Pi says more of itself.
    pub fn noticed(&self, seat: &Seat, name: &[u8], now: Moment) {
        if seat.adopted || self.clients.are_given_addresses_here() {
            return;
        }
        let serial = match path::Asked::parse(name).ok().and_then(|asked| asked.prefix) {
            Some(path::Prefix::Serial(serial)) => Some(serial),
            Some(path::Prefix::Mac(_)) | None => None,
        };
        if serial.is_some() || looks_like_a_pi(seat.mac) {
            self.clients.seen(seat.mac, serial, None, &seat.network, now);
        }
    }

    /// What `seat` gets for a name. Handing out kernel parameters is remembered as the beginning of a boot.
    pub fn answer(&self, seat: &Seat, ask: Ask<'_>) -> Result<Content, Missing> {
        let client = || seat.name.to_string();
        let asked = path::Asked::parse(ask.name).map_err(|why| {
            let name = String::from_utf8_lossy(ask.name).chars().take(limits::NAME_SHOWN).collect();
            Missing::Name { name, why }
        })?;
        let tree = if let Some(draft) = self.images.draft_of(seat.mac) {
            draft
        } else {
            let image = seat.image.as_ref().ok_or_else(|| Missing::NoImage { client: client() })?;
            let missing = || Missing::NoSuchImage { client: client(), image: image.clone() };
            self.images.resolve(image).ok_or_else(missing)?
        };
        let found = Shelf::open(&tree).and_then(|shelf| self.content(&shelf, seat, ask, &asked.path));
        match found {
            Ok(Some(content)) => Ok(content),
            Ok(None) => Err(Missing::NoFile { image: tree.image.clone(), name: asked.path }),
            Err(source) => Err(Missing::Disk { image: tree.image.clone(), name: asked.path, source }),
        }
    }

    fn content(
        &self,
        shelf: &Shelf<'_>,
        seat: &Seat,
        ask: Ask<'_>,
        path: &str,
    ) -> io::Result<Option<Content>> {
        if let Some(update) = self.eeproms.answer(seat.mac, path) {
            return Ok(update);
        }
        let image = &shelf.tree.image;
        let root = nfs_root(shelf.tree, ask, self.pin);
        if pxelinux::is_config(path, seat.mac) {
            let Some(text) = shelf.pxelinux(seat, &root)? else { return Ok(None) };
            self.clients.boots(seat.mac, image.clone());
            return Ok(Some(Content::Text(text.into_bytes())));
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        if shelf.tree.facts.boot_dir.is_some() && name.eq_ignore_ascii_case("cmdline.txt") {
            let original = shelf.cmdline_txt(path)?;
            self.clients.boots(seat.mac, image.clone());
            let text = cmdline::compose(&original, &root, &seat.cmdline);
            return Ok(Some(Content::Text(text.into_bytes())));
        }
        if shelf.tree.facts.boot_dir.is_some() && name.eq_ignore_ascii_case("config.txt") {
            let original = shelf.own_text(path)?.unwrap_or_default();
            let additions = config_txt::Additions {
                client: seat.name.as_str(),
                initramfs: needs_initramfs(&shelf.tree.facts.kernels, &original),
                update: self.eeproms.is_offered(seat.mac),
                extra: &seat.config_txt,
            };
            return Ok(Some(Content::Text(config_txt::compose(&original, &additions))));
        }
        Ok(shelf.file(path)?.map(|(file, len)| Content::File { file, len }))
    }
}

/// Whether any kernel that the firmware may choose cannot mount the root itself, or might not.
fn needs_initramfs(kernels: &[Kernel], config_txt: &[u8]) -> bool {
    let named: Vec<&str> = config_txt::kernels(config_txt).collect();
    let chosen = |kernel: &&Kernel| named.is_empty() || named.contains(&kernel.file.as_str());
    let mut candidates = kernels.iter().filter(chosen).peekable();
    candidates.peek().is_none() || candidates.any(|kernel| kernel.mounts_nfs != Some(true))
}

/// The root that the kernel mounts, as [`crate::service::exports`] offers it. It is always ours, because the agent is in no
/// image; where another server has the images, the agent mounts its real root from there.
fn nfs_root(tree: &Tree, ask: Ask<'_>, pin: Pin) -> cmdline::NfsRoot {
    let path = if tree.draft { draft_path(&tree.image.name) } else { path_of(&tree.image) };
    cmdline::NfsRoot { server: ask.server, port: ask.nfs_port, path, writable: tree.draft, pin }
}

/// The files of one tree that a client may fetch before it has a root.
struct Shelf<'a> {
    tree: &'a Tree,
    root: Root,
}

impl<'a> Shelf<'a> {
    fn open(tree: &'a Tree) -> io::Result<Self> {
        Ok(Self { tree, root: Root::open(&tree.root)? })
    }

    /// The folder of the boot files: the firmware's, or `boot` of a tree without firmware.
    fn boot(&self) -> &Path {
        self.tree.facts.boot_dir.as_deref().unwrap_or(Path::new("boot"))
    }

    fn file(&self, path: &str) -> io::Result<Option<(std::fs::File, u64)>> {
        if let Some(found) = self.root.file(&self.boot().join(path))? {
            return Ok(Some(found));
        }
        // Names from a `pxelinux.cfg` of ours for a tree without firmware, which begin at the root of the tree.
        let plain = self.tree.facts.boot_dir.is_none();
        if plain && (path.starts_with("boot/") || path.starts_with(DEVICE_TREES)) {
            return self.root.file(Path::new(path));
        }
        match LOADERS.iter().find(|(name, _)| *name == path) {
            Some((_, place)) => self.root.file(Path::new(place)),
            None => Ok(None),
        }
    }

    /// A text in the boot folder; `None` if there is none, or only a signpost to where it is now.
    fn own_text(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let Some((file, _)) = self.root.file(&self.boot().join(path))? else { return Ok(None) };
        let mut text = Vec::new();
        file.take(limits::BOOT_TEXT).read_to_end(&mut text)?;
        Ok(Some(text).filter(|text| !pi::is_stub(text)))
    }

    /// The image's own parameters, from the file that its `config.txt` says they are in.
    fn cmdline_txt(&self, path: &str) -> io::Result<String> {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let beside =
            |name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        let named = match self.own_text("config.txt")? {
            Some(text) => {
                config_txt::cmdline_file(&text).and_then(|name| path::Asked::parse(name.as_bytes()).ok())
            }
            None => None,
        };
        let text = match named {
            Some(named) => self.own_text(&beside(&named.path))?,
            None => self.own_text(path)?,
        };
        Ok(text.map_or(cmdline::PI_CONSOLES.to_owned(), |text| String::from_utf8_lossy(&text).into_owned()))
    }

    /// The configuration of a board or PC that boots by U-Boot or PXELINUX; `None` for a tree without a kernel.
    fn pxelinux(&self, seat: &Seat, root: &cmdline::NfsRoot) -> io::Result<Option<String>> {
        let Some(kernel) = self.kernel()? else { return Ok(None) };
        let facts = &self.tree.facts;
        let from_root =
            |name: &str| if facts.boot_dir.is_some() { name.to_owned() } else { format!("boot/{name}") };
        let initrd = kernel.initramfs.as_deref().filter(|_| kernel.mounts_nfs != Some(true)).map(from_root);
        let fdtdir = match (facts.arch, &facts.boot_dir) {
            (Arch::Amd64, _) => None,
            (_, Some(_)) => Some(String::new()),
            (_, None) => {
                let folder = format!("{DEVICE_TREES}{}", kernel.version);
                self.root.is_dir(Path::new(&folder))?.then_some(folder)
            }
        };
        // Which of several network cards the client started from; klibc's `ipconfig` then asks on that one.
        let bootif = format!("BOOTIF=01-{}", seat.mac.dashed());
        let append = cmdline::compose("", root, &[&[bootif], seat.cmdline.as_slice()].concat());
        let ImageVersion { name, version } = &self.tree.image;
        let entry = pxelinux::Entry {
            title: if self.tree.draft {
                format!("draft of {name}")
            } else {
                format!("{name}, version {version}")
            },
            kernel: from_root(&kernel.file),
            initrd,
            fdtdir,
            append,
        };
        Ok(Some(pxelinux::compose(seat.name.as_str(), &entry)))
    }

    /// The kernel for a client that takes what it is given: the 64-bit one of a Pi image, the newest of a Debian tree.
    fn kernel(&self) -> io::Result<Option<Kernel>> {
        let known = &self.tree.facts.kernels;
        if self.tree.facts.boot_dir.is_some() {
            let all_round = known.iter().find(|kernel| kernel.file == "kernel8.img");
            return Ok(all_round.or(known.first()).cloned());
        }
        let names = self.root.names(Path::new("boot"))?;
        let mut versions: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix("vmlinuz-")).collect();
        versions.sort_by_cached_key(|version| numbers(version));
        let Some(version) = versions.last() else { return Ok(None) };
        let file = format!("vmlinuz-{version}");
        let initramfs = Some(format!("initrd.img-{version}")).filter(|name| names.contains(name));
        let mounts_nfs = known.iter().find(|kernel| kernel.file == file).and_then(|kernel| kernel.mounts_nfs);
        Ok(Some(Kernel { file, version: (*version).to_owned(), initramfs, mounts_nfs }))
    }
}

/// The numbers in a version, for comparing `6.1.0-9` with `6.1.0-50`.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

/// For messages and the timeline: the path a name was understood as, or the name as far as it can be shown.
pub fn shown_name(name: &[u8]) -> String {
    path::Asked::parse(name).map_or_else(
        |_| {
            String::from_utf8_lossy(name)
                .chars()
                .take(limits::NAME_SHOWN)
                .filter(|c| !c.is_control())
                .collect()
        },
        |asked| asked.path,
    )
}
