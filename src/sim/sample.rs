//! A small tree in the shape of a Raspberry Pi OS image: what the demo boots and the tests import.
//!
//! Every byte is made here, the same on each run: programs are an ELF header with noise behind it, kernels a gzip'd
//! banner with noise. Nothing in the tree can run, and nobody's copyright is in it; names, places and sizes are those
//! of the real releases, as far as boot files and boot services look at them.

use std::io::{self, Write as _};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::types::Arch;

/// Which release the tree is shaped like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Release {
    /// Raspberry Pi OS 11, 32-bit: firmware files in `boot/`, no initramfs.
    Bullseye,
    /// Raspberry Pi OS 12, 64-bit: firmware files in `boot/firmware/`, stubs of them in `boot/`.
    Bookworm,
    /// Raspberry Pi OS 13, 64-bit: as 12, with cloud-init's files beside the firmware's.
    Trixie,
    /// Debian 13 for 64-bit ARM as debootstrap makes it: no firmware files, a kernel that needs its initramfs.
    Debian,
}

impl Release {
    pub const ALL: [Self; 4] = [Self::Bullseye, Self::Bookworm, Self::Trixie, Self::Debian];

    pub const fn codename(self) -> &'static str {
        match self {
            Self::Bullseye => "bullseye",
            Self::Bookworm => "bookworm",
            Self::Trixie | Self::Debian => "trixie",
        }
    }

    const fn os_release(self) -> (&'static str, &'static str, u8) {
        match self {
            Self::Bullseye => ("Raspbian GNU/Linux 11 (bullseye)", "raspbian", 11),
            Self::Bookworm => ("Debian GNU/Linux 12 (bookworm)", "debian", 12),
            Self::Trixie | Self::Debian => ("Debian GNU/Linux 13 (trixie)", "debian", 13),
        }
    }

    pub const fn arch(self) -> Arch {
        match self {
            Self::Bullseye => Arch::Armhf,
            _ => Arch::Arm64,
        }
    }

    /// Folder of the firmware's files; `None` for plain Debian.
    pub const fn boot_dir(self) -> Option<&'static str> {
        match self {
            Self::Bullseye => Some("boot"),
            Self::Bookworm | Self::Trixie => Some("boot/firmware"),
            Self::Debian => None,
        }
    }

    /// Kernel file, kernel version, initramfs beside it.
    pub const fn kernels(self) -> &'static [(&'static str, &'static str, Option<&'static str>)] {
        match self {
            Self::Bullseye => &[
                ("kernel7.img", "6.1.21-v7+", None),
                ("kernel7l.img", "6.1.21-v7l+", None),
                ("kernel8.img", "6.1.21-v8+", None),
            ],
            Self::Bookworm => &[
                ("kernel8.img", "6.12.34+rpt-rpi-v8", Some("initramfs8")),
                ("kernel_2712.img", "6.12.34+rpt-rpi-2712", Some("initramfs_2712")),
            ],
            Self::Trixie => &[
                ("kernel8.img", "6.12.47+rpt-rpi-v8", Some("initramfs8")),
                ("kernel_2712.img", "6.12.47+rpt-rpi-2712", Some("initramfs_2712")),
            ],
            Self::Debian => {
                &[("vmlinuz-6.12.107-arm64", "6.12.107-arm64", Some("initrd.img-6.12.107-arm64"))]
            }
        }
    }
}

/// Bytes of the large files, near the real ones where a boot's length depends on them.
const START4: usize = 2_256_800;
const START: usize = 2_981_056;
const BOOTCODE: usize = 52_476;
const KERNEL: usize = 1_500_000;
const INITRAMFS: usize = 900_000;
const DTB: usize = 56_000;

/// Writes the tree of `release` into `root`, which is made if it is not there. Needs no privileges: everything
/// belongs to whoever calls.
pub fn write_tree(root: &Path, release: Release) -> io::Result<()> {
    let tree = Planter { root, release };
    tree.skeleton()?;
    tree.settings()?;
    tree.programs()?;
    tree.modules()?;
    tree.boot_files()?;
    tree.documents()
}

struct Planter<'a> {
    root: &'a Path,
    release: Release,
}

impl Planter<'_> {
    fn dir(&self, path: &str, mode: u32) -> io::Result<()> {
        let path = self.root.join(path);
        fs::create_dir_all(&path)?;
        fs::set_permissions(path, PermissionsExt::from_mode(mode))
    }

    fn file(&self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let path = self.root.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, content)?;
        fs::set_permissions(path, PermissionsExt::from_mode(mode))
    }

    fn text(&self, path: &str, content: &str) -> io::Result<()> {
        self.file(path, 0o644, content.as_bytes())
    }

    fn link(&self, path: &str, target: &str) -> io::Result<()> {
        let path = self.root.join(path);
        match symlink(target, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&path)?;
                symlink(target, &path)
            }
            other => other,
        }
    }

    fn skeleton(&self) -> io::Result<()> {
        for path in
            ["dev", "proc", "sys", "run", "mnt", "home/pi", "usr/bin", "usr/sbin", "usr/lib", "etc", "boot"]
        {
            self.dir(path, 0o755)?;
        }
        for path in
            ["var/cache", "var/lib/systemd", "var/log", "var/tmp", "usr/share", "usr/lib/systemd/system"]
        {
            self.dir(path, 0o755)?;
        }
        self.dir("root", 0o700)?;
        for path in ["tmp", "var/tmp"] {
            self.dir(path, 0o1777)?;
        }
        for (path, target) in
            [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("var/run", "/run")]
        {
            self.link(path, target)?;
        }
        Ok(())
    }

    fn settings(&self) -> io::Result<()> {
        let (pretty, id, number) = self.release.os_release();
        let codename = self.release.codename();
        self.text(
            "usr/lib/os-release",
            &format!(
                "PRETTY_NAME=\"{pretty}\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"{number}\"\nVERSION=\"{number} ({codename})\"\n\
                 VERSION_CODENAME={codename}\nID={id}\n"
            ),
        )?;
        self.link("etc/os-release", "../usr/lib/os-release")?;
        self.text("etc/debian_version", &format!("{number}.1\n"))?;
        self.text("etc/hostname", "raspberrypi\n")?;
        self.text("etc/hosts", "127.0.0.1\tlocalhost\n127.0.1.1\traspberrypi\n")?;
        self.text("etc/passwd", "root:x:0:0:root:/root:/bin/bash\npi:x:1000:1000:,,,:/home/pi:/bin/bash\n")?;
        self.text("etc/group", "root:x:0:\nshadow:x:42:\npi:x:1000:\n")?;
        self.file("etc/shadow", 0o640, b"root:*:20000:0:99999:7:::\npi:!:20000:0:99999:7:::\n")?;
        let boot = self.release.boot_dir().unwrap_or("boot/efi");
        self.text(
            "etc/fstab",
            &format!(
                "proc            /proc           proc    defaults          0       0\n\
                 PARTUUID=b12ab1e5-01  /{boot}  vfat    defaults          0       2\n\
                 PARTUUID=b12ab1e5-02  /               ext4    defaults,noatime  0       1\n"
            ),
        )?;
        match self.release {
            Release::Trixie => self.text("etc/machine-id", "uninitialized\n"),
            _ => self.text("etc/machine-id", ""),
        }
    }

    /// Files that begin like programs of the tree's architecture; `sbin/init` leads to systemd as Debian's does.
    fn programs(&self) -> io::Result<()> {
        for path in [
            "usr/bin/dash",
            "usr/bin/bash",
            "usr/bin/ls",
            "usr/bin/mount",
            "usr/lib/systemd/systemd",
            "usr/bin/kmod",
        ] {
            self.file(path, 0o755, &program(self.release.arch(), path))?;
        }
        self.file("usr/bin/sudo", 0o4755, &program(self.release.arch(), "sudo"))?;
        self.link("usr/bin/sh", "dash")?;
        self.link("usr/sbin/modprobe", "../bin/kmod")?;
        self.link("usr/sbin/init", "../lib/systemd/systemd")
    }

    fn modules(&self) -> io::Result<()> {
        for (_, version, _) in self.release.kernels() {
            let folder = format!("usr/lib/modules/{version}");
            let packed = if self.release == Release::Bullseye { "ko" } else { "ko.xz" };
            let overlay = format!("kernel/fs/overlayfs/overlay.{packed}");
            self.file(&format!("{folder}/{overlay}"), 0o644, &noise(&overlay, 40_000))?;
            self.text(&format!("{folder}/modules.dep"), &format!("{overlay}:\n"))?;
            self.text(&format!("{folder}/modules.builtin"), "kernel/fs/ext4/ext4.ko\n")?;
            let own = if self.release == Release::Debian {
                ('m', "# CONFIG_ROOT_NFS is not set")
            } else {
                ('y', "CONFIG_ROOT_NFS=y")
            };
            self.text(
                &format!("boot/config-{version}"),
                &format!("CONFIG_IP_PNP=y\nCONFIG_IP_PNP_DHCP=y\nCONFIG_NFS_FS={}\nCONFIG_NFS_V3={}\n{}\nCONFIG_OVERLAY_FS=m\n", own.0, own.0, own.1),
            )?;
        }
        Ok(())
    }

    fn boot_files(&self) -> io::Result<()> {
        let boot = self.release.boot_dir().unwrap_or("boot");
        for (file, version, initramfs) in self.release.kernels() {
            self.file(
                &format!("{boot}/{file}"),
                0o755,
                &kernel(file, version, self.release != Release::Debian)?,
            )?;
            if let Some(name) = initramfs {
                self.file(&format!("{boot}/{name}"), 0o755, &noise(name, INITRAMFS))?;
            }
        }
        if self.release == Release::Debian {
            return Ok(());
        }
        for (file, bytes) in [
            ("bootcode.bin", BOOTCODE),
            ("start.elf", START),
            ("fixup.dat", 7_303),
            ("start4.elf", START4),
            ("fixup4.dat", 5_436),
        ] {
            self.file(&format!("{boot}/{file}"), 0o755, &noise(file, bytes))?;
        }
        let old = ["bcm2709-rpi-2-b.dtb", "bcm2710-rpi-3-b.dtb", "bcm2710-rpi-3-b-plus.dtb"];
        let middle = ["bcm2711-rpi-4-b.dtb", "bcm2711-rpi-400.dtb", "bcm2711-rpi-cm4.dtb"];
        let new = ["bcm2712-rpi-5-b.dtb", "bcm2712-rpi-500.dtb", "bcm2712-rpi-cm5-cm5io.dtb"];
        let new: &[&str] = if self.release == Release::Bullseye { &[] } else { &new };
        for file in old.iter().chain(&middle).chain(new) {
            self.file(&format!("{boot}/{file}"), 0o755, &noise(file, DTB))?;
        }
        for (file, bytes) in [
            ("overlay_map.dtb", 5_627),
            ("vc4-kms-v3d.dtbo", 2_500),
            ("vc4-kms-v3d-pi4.dtbo", 3_900),
            ("vc4-kms-v3d-pi5.dtbo", 3_100),
            ("bcm2712d0.dtbo", 1_363),
        ] {
            self.file(&format!("{boot}/overlays/{file}"), 0o755, &noise(file, bytes))?;
        }
        let auto = if self.release == Release::Bullseye { "" } else { "auto_initramfs=1\n" };
        self.file(
            &format!("{boot}/config.txt"),
            0o755,
            format!(
                "# For more options and information see http://rptl.io/configtxt\ndtparam=audio=on\ncamera_auto_detect=1\n\
                 display_auto_detect=1\n{auto}dtoverlay=vc4-kms-v3d\nmax_framebuffers=2\ndisable_overscan=1\narm_boost=1\n\n\
                 [cm4]\notg_mode=1\n\n[all]\n"
            )
            .as_bytes(),
        )?;
        let tail = match self.release {
            Release::Trixie => " resize",
            Release::Bookworm => " quiet init=/usr/lib/raspberrypi-sys-mods/firstboot",
            _ => " quiet init=/usr/lib/raspi-config/init_resize.sh",
        };
        self.file(
            &format!("{boot}/cmdline.txt"),
            0o755,
            format!(
                "console=serial0,115200 console=tty1 root=PARTUUID=b12ab1e5-02 rootfstype=ext4 fsck.repair=yes rootwait{tail}\n"
            )
            .as_bytes(),
        )?;
        if self.release == Release::Trixie {
            for file in ["user-data", "meta-data", "network-config"] {
                self.text(&format!("{boot}/{file}"), "#cloud-config\n")?;
            }
        }
        if boot == "boot/firmware" {
            for file in ["config.txt", "cmdline.txt"] {
                self.text(
                    &format!("boot/{file}"),
                    &format!("DO NOT EDIT THIS FILE\n\nThe file you are looking for has moved to /boot/firmware/{file}\n"),
                )?;
            }
        }
        Ok(())
    }

    /// Some hundred small files, so that a walk of the tree has something to do.
    fn documents(&self) -> io::Result<()> {
        for package in 0..120_usize {
            let folder = format!("usr/share/doc/package-{package:03}");
            for name in ["copyright", "changelog.gz"] {
                let name = format!("{folder}/{name}");
                self.file(&name, 0o644, &noise(&name, 400 + 37 * package))?;
            }
        }
        self.dir("usr/share/empty", 0o755)
    }
}

/// The first bytes of an ELF program of `arch`, and noise.
fn program(arch: Arch, name: &str) -> Vec<u8> {
    let (class, machine) = match arch {
        Arch::Armhf => (1, 40),
        Arch::Arm64 => (2, 183),
        Arch::Amd64 => (2, 62),
    };
    let mut bytes = b"\x7fELF".to_vec();
    bytes.extend([class, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, machine, 0, 1, 0, 0, 0]);
    bytes.extend(noise(name, 9_000));
    bytes
}

/// A gzip'd kernel as far as inspection reads one: its banner and, if `nfs_root`, a message of the code that mounts
/// an NFS root.
fn kernel(file: &str, version: &str, nfs_root: bool) -> io::Result<Vec<u8>> {
    let mut image = noise(file, KERNEL / 2);
    image.extend(format!("\0Linux version {version} (sample@bramble) #1 SMP\n\0").bytes());
    if nfs_root {
        image.extend(b"\0Root-NFS: no NFS server address\n\0");
    }
    image.extend(noise(version, KERNEL / 2));
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&image)?;
    packed.finish()
}

/// `len` bytes that no compressor shrinks, always the same for the same `name`.
fn noise(name: &str, len: usize) -> Vec<u8> {
    let mut state = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Where the boot folder of `release` is below `root`: `boot/firmware`, or `boot`.
pub fn boot_folder(root: &Path, release: Release) -> PathBuf {
    root.join(release.boot_dir().unwrap_or("boot"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_tree_twice() {
        let folder = tempfile::tempdir().expect("a folder");
        for release in Release::ALL {
            let (one, two) = (folder.path().join("one"), folder.path().join("two"));
            for root in [&one, &two, &two] {
                write_tree(root, release).expect("written, also over itself");
            }
            for (file, _, _) in release.kernels() {
                let read = |root| fs::read(boot_folder(root, release).join(file)).expect("a kernel");
                assert_eq!(read(&one), read(&two), "{release:?} {file}");
            }
            assert_eq!(fs::read_link(one.join("var/run")).expect("a link"), Path::new("/run"));
            fs::remove_dir_all(&one).expect("removed");
            fs::remove_dir_all(&two).expect("removed");
        }
    }
}
