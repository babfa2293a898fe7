//! A tree, a client and the services around them, for tests of this layer and the next.

use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use super::tree::Handles;
use super::virtuals::Sources;
use super::{Exports, Visitor};
use crate::config::{Config, Dhcp, DhcpMode, LogLevel, Nfs, Tftp, UnknownPi};
use crate::service::clients::{Clients, Seat};
use crate::service::images::{Facts, Images, Tree};
use crate::types::{Arch, ImageVersion, MacAddr, Version};

pub const KEY: [u8; 16] = *b"a key for tests!";
pub const PI: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 5);
pub const MAC: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 1, 2, 3]);

pub fn config() -> Config {
    let matches = vec![];
    Config {
        enabled: true,
        data: "/data".into(),
        log_level: LogLevel::Info,
        timezone: None,
        networks: vec![],
        dhcp: Dhcp { mode: DhcpMode::Off, inherit: false, unknown_pi: UnknownPi::Offer, matches },
        tftp: Tftp { enabled: false },
        nfs: Nfs::default(),
        ..Config::default()
    }
}

/// A daemon's worth of services over a tree in a temporary folder.
#[derive(Debug)]
pub struct House {
    pub dir: tempfile::TempDir,
    pub clients: Arc<Clients>,
    pub images: Arc<Images>,
    pub exports: Exports,
}

pub fn image(version: u32) -> ImageVersion {
    let version = Version(version.try_into().expect("not zero"));
    ImageVersion { name: "trixie".parse().expect("a name"), version }
}

pub fn tree(root: &Path, id: u32) -> Tree {
    let facts = Facts {
        pretty_name: "Debian".to_owned(),
        codename: "trixie".to_owned(),
        arch: Arch::Arm64,
        boot_dir: None,
        kernels: vec![],
        models: vec![],
        tftp_bytes: 0,
        warnings: vec![],
    };
    Tree {
        image: image(id),
        id,
        nonce: 0xfeed_0000 + u64::from(id),
        root: root.to_owned(),
        facts,
        draft: false,
    }
}

pub fn exports(dir: &Path, clients: &Arc<Clients>, images: &Arc<Images>, handles: Handles) -> Exports {
    let personality = |seat: &Seat, tree: &Tree| format!("{} boots {}", seat.name, tree.image).into_bytes();
    let (agents, kept) = (dir.join("agents"), dir.join("kept"));
    let sources = Sources { agents, kept, personality: Box::new(personality) };
    Exports::new(Arc::clone(clients), Arc::clone(images), &KEY, sources, handles)
}

impl House {
    pub fn new(handles: Handles) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().join("1");
        for folder in ["etc", "usr/bin", "secret"] {
            std::fs::create_dir_all(root.join(folder)).expect("made");
        }
        for (file, mode, content) in [
            ("etc/passwd", 0o644, "root:x:0:0"),
            ("etc/shadow", 0o640, "root:$y$"),
            ("usr/bin/sudo", 0o4711, "ELF"),
            ("secret/file", 0o644, "hidden"),
        ] {
            std::fs::write(root.join(file), content).expect("written");
            std::fs::set_permissions(root.join(file), PermissionsExt::from_mode(mode)).expect("allowed");
        }
        std::fs::set_permissions(root.join("secret"), PermissionsExt::from_mode(0o700)).expect("allowed");
        std::fs::hard_link(root.join("usr/bin/sudo"), root.join("usr/bin/sudoedit")).expect("linked");
        symlink("/usr/bin", root.join("bin")).expect("linked");
        symlink("../../..", root.join("etc/out")).expect("linked");
        std::fs::create_dir_all(dir.path().join("agents")).expect("made");
        std::fs::write(dir.path().join("agents/agent-arm64"), "the agent").expect("written");
        std::fs::write(dir.path().join("outside"), "not in the tree").expect("written");
        let clients = Arc::new(Clients::new(Arc::new(config())));
        let images = Arc::new(Images::default());
        images.publish(tree(&root, 1));
        clients.bound(PI, MAC, "lan");
        clients.boots(MAC, image(1));
        let exports = exports(dir.path(), &clients, &images, handles);
        Self { dir, clients, images, exports }
    }

    pub fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("1")
    }

    pub fn visitor(&self) -> Visitor {
        self.exports.visitor(PI, None)
    }
}
