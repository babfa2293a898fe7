//! Finds out what a tree is, which Pis can boot it, and what will not work.
//!
//! Nothing in the tree is run and nothing is changed. Sources: facts of the releases' layouts (pi-gen, Debian's
//! raspi-firmware), *config.txt* and *Boot sequence* of Raspberry Pi's documentation.

use std::io;
use std::path::{Path, PathBuf};

use super::inside::Inside;
use super::kernel::{self, Found};
use super::{Facts, Kernel};
use crate::proto::pi::config_txt;
use crate::types::revision::Model;
use crate::types::{Arch, limits};

/// Why a tree is not an operating system that clients could boot.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error("the tree cannot be read")]
    Read(#[source] io::Error),
    #[error(
        "this is not the root of an operating system: it has neither `sbin/init` nor `bin/sh`{}",
        .folder.as_ref().map(|name| format!("; it has one folder, `{name}`: pack, or name, what is inside it")).unwrap_or_default()
    )]
    NotASystem { folder: Option<String> },
    #[error(
        "the programs in this tree are for a processor that no client of Bramble has; it needs an image for 32-bit ARM (armhf), 64-bit ARM (arm64) or PCs (amd64)"
    )]
    WrongProcessor,
}

/// One kind of Pi, and what it asks for in the boot folder.
struct Board {
    model: Model,
    /// Device trees, Raspberry Pi's name first, then the kernel's own.
    trees: &'static [&'static str],
    /// Kernels in the firmware's order of preference.
    kernels: &'static [&'static str],
    /// Files of the firmware without which it does not start.
    firmware: &'static [&'static str],
    /// Ending of overlays made for this generation, such as `vc4-kms-v3d-pi4`.
    overlays: &'static str,
}

const OLD: &[&str] = &["bootcode.bin", "start.elf", "fixup.dat"];
const PI4: &[&str] = &["start4.elf", "fixup4.dat"];
const KERNELS_PI3: &[&str] = &["kernel8.img", "kernel7.img"];
const KERNELS_PI4: &[&str] = &["kernel8.img", "kernel7l.img"];
const KERNELS_PI5: &[&str] = &["kernel_2712.img", "kernel8.img"];

#[rustfmt::skip]
const BOARDS: &[Board] = &[
    Board { model: Model::Pi2B, trees: &["bcm2709-rpi-2-b.dtb", "bcm2710-rpi-2-b.dtb", "bcm2836-rpi-2-b.dtb"], kernels: KERNELS_PI3, firmware: OLD, overlays: "" },
    Board { model: Model::Pi3B, trees: &["bcm2710-rpi-3-b.dtb", "bcm2837-rpi-3-b.dtb"], kernels: KERNELS_PI3, firmware: OLD, overlays: "" },
    Board { model: Model::Pi3BPlus, trees: &["bcm2710-rpi-3-b-plus.dtb", "bcm2837-rpi-3-b-plus.dtb"], kernels: KERNELS_PI3, firmware: OLD, overlays: "" },
    Board { model: Model::Cm3, trees: &["bcm2710-rpi-cm3.dtb", "bcm2837-rpi-cm3-io3.dtb"], kernels: KERNELS_PI3, firmware: OLD, overlays: "" },
    Board { model: Model::Pi4B, trees: &["bcm2711-rpi-4-b.dtb"], kernels: KERNELS_PI4, firmware: PI4, overlays: "-pi4" },
    Board { model: Model::Pi400, trees: &["bcm2711-rpi-400.dtb"], kernels: KERNELS_PI4, firmware: PI4, overlays: "-pi4" },
    Board { model: Model::Cm4, trees: &["bcm2711-rpi-cm4.dtb", "bcm2711-rpi-cm4-io.dtb"], kernels: KERNELS_PI4, firmware: PI4, overlays: "-pi4" },
    Board { model: Model::Pi5, trees: &["bcm2712-rpi-5-b.dtb", "bcm2712-d-rpi-5-b.dtb"], kernels: KERNELS_PI5, firmware: &[], overlays: "-pi5" },
    Board { model: Model::Pi500, trees: &["bcm2712-rpi-500.dtb"], kernels: KERNELS_PI5, firmware: &[], overlays: "-pi5" },
    Board { model: Model::Cm5, trees: &["bcm2712-rpi-cm5-cm5io.dtb", "bcm2712-rpi-cm5-cm4io.dtb"], kernels: KERNELS_PI5, firmware: &[], overlays: "-pi5" },
];

/// Boards a warning is worth when an image cannot boot them: the others are as good as these.
const TOLD: &[Model] = &[Model::Pi3B, Model::Pi4B, Model::Pi5];

/// Looks at the tree below `root`.
pub fn inspect(root: &Path) -> Result<Facts, InspectError> {
    let tree = Inside::new(root).map_err(InspectError::Read)?;
    let arch = arch(&tree)?;
    let release = tree.text("etc/os-release", limits::OS_RELEASE).unwrap_or_default();
    let codename = value(&release, "VERSION_CODENAME").unwrap_or_else(|| in_brackets(&release));
    let boot_dir = boot_dir(&tree);
    let boot = Boot::new(&tree, boot_dir.unwrap_or("boot"));
    let kernels = boot.kernels();
    let mut facts = Facts {
        pretty_name: value(&release, "PRETTY_NAME").unwrap_or_else(|| "unknown system".to_owned()),
        codename,
        arch,
        boot_dir: boot_dir.map(PathBuf::from),
        kernels,
        models: Vec::new(),
        tftp_bytes: 0,
        warnings: Vec::new(),
    };
    if boot_dir.is_some() {
        boot.judge(&mut facts);
    } else if arch == Arch::Amd64 {
        if facts.kernels.is_empty() {
            facts.warnings.push("It has no kernel in `boot`, so no client can boot it; install one (`linux-image-amd64`) and import it again.".to_owned());
        }
    } else {
        facts.warnings.push(
            "It has no boot files for a Raspberry Pi (neither `boot/firmware` nor firmware in `boot`): only boards that boot by U-Boot or UEFI can start it."
                .to_owned(),
        );
    }
    judge_kernels(&tree, &mut facts);
    judge_system(&tree, &mut facts);
    Ok(facts)
}

/// From the programs every system has; their links may lead anywhere inside the tree.
fn arch(tree: &Inside) -> Result<Arch, InspectError> {
    let headers: Vec<Vec<u8>> =
        ["sbin/init", "bin/sh", "usr/bin/sh", "bin/bash", "bin/busybox", "usr/lib/systemd/systemd"]
            .iter()
            .filter_map(|path| tree.read(path, 64))
            .collect();
    match headers.iter().find_map(|header| Arch::from_elf(header)) {
        Some(arch) => Ok(arch),
        None if headers.iter().any(|header| header.starts_with(b"\x7fELF")) => {
            Err(InspectError::WrongProcessor)
        }
        None => {
            let mut names = tree.names(".");
            let folder = names.pop().filter(|_| names.is_empty());
            Err(InspectError::NotASystem { folder })
        }
    }
}

/// The folder with the firmware's files. Stubs of them in `boot` do not count, as `boot/firmware` is looked at first.
fn boot_dir(tree: &Inside) -> Option<&'static str> {
    ["boot/firmware", "boot"].into_iter().find(|folder| {
        tree.names(folder).iter().any(|name| {
            let name = name.to_ascii_lowercase();
            matches!(
                name.as_str(),
                "bootcode.bin" | "start.elf" | "start4.elf" | "kernel8.img" | "kernel_2712.img"
            ) || (name.starts_with("bcm27") && has_ending(&name, "dtb"))
        })
    })
}

fn has_ending(name: &str, ending: &str) -> bool {
    Path::new(name).extension().is_some_and(|ext| ext.eq_ignore_ascii_case(ending))
}

/// The boot folder of a tree.
struct Boot<'a> {
    tree: &'a Inside,
    folder: &'static str,
    names: Vec<String>,
    config: Vec<u8>,
    /// Kernels that `config.txt` names.
    named: Vec<String>,
}

impl<'a> Boot<'a> {
    fn new(tree: &'a Inside, folder: &'static str) -> Self {
        let config = tree.read(&format!("{folder}/config.txt"), limits::BOOT_TEXT).unwrap_or_default();
        let names = tree.names(folder);
        let named: Vec<String> =
            config_txt::kernels(&config).map(str::to_owned).filter(|name| names.contains(name)).collect();
        Self { tree, folder, names, config, named }
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|other| other.eq_ignore_ascii_case(name))
    }

    fn size(&self, name: &str) -> u64 {
        self.tree.size(&format!("{}/{name}", self.folder)).unwrap_or(0)
    }

    fn kernels(&self) -> Vec<Kernel> {
        let is_kernel = |name: &str| {
            (name.starts_with("kernel") && has_ending(name, "img"))
                || name.starts_with("vmlinuz")
                || self.named.iter().any(|named| named == name)
        };
        self.names.iter().filter(|name| is_kernel(name)).filter_map(|name| self.kernel(name)).collect()
    }

    fn kernel(&self, file: &str) -> Option<Kernel> {
        let Found { mut version, nfs_root } =
            kernel::look(&mut self.tree.open(&format!("{}/{file}", self.folder)).ok()?);
        if version.is_empty() {
            version = match file.strip_prefix("vmlinuz-") {
                Some(version) => version.to_owned(),
                None => self.version_of_modules(file),
            };
        }
        let beside = [
            file.strip_prefix("vmlinuz-").map(|version| format!("initrd.img-{version}")),
            file.strip_prefix("kernel")
                .and_then(|rest| rest.strip_suffix(".img"))
                .map(|rest| format!("initramfs{rest}")),
        ];
        let initramfs = beside.into_iter().flatten().find(|name| self.names.contains(name));
        let mounts_nfs = self.mounts_nfs(&version).or(nfs_root);
        Some(Kernel { file: file.to_owned(), version, initramfs, mounts_nfs })
    }

    /// The modules folder that goes with one of Raspberry Pi's kernel files.
    fn version_of_modules(&self, file: &str) -> String {
        let ending = match file {
            "kernel_2712.img" => "2712",
            "kernel8.img" => "v8",
            "kernel7l.img" => "v7l",
            "kernel7.img" => "v7",
            "kernel.img" => "v6",
            _ => return String::new(),
        };
        let fits = |name: &&String| name.trim_end_matches('+').ends_with(ending);
        self.tree.names("lib/modules").iter().rfind(fits).cloned().unwrap_or_default()
    }

    /// From the configuration that Debian's and Raspberry Pi's packages put beside the kernel.
    fn mounts_nfs(&self, version: &str) -> Option<bool> {
        let config = self.tree.text(&format!("boot/config-{version}"), limits::KERNEL_CONFIG)?;
        let on = |option: &str| config.lines().any(|line| line.strip_prefix(option) == Some("=y"));
        Some(["CONFIG_ROOT_NFS", "CONFIG_NFS_V3", "CONFIG_IP_PNP_DHCP"].into_iter().all(on))
    }

    /// Fills in models and bytes, and says which of the usual boards the image does not boot.
    fn judge(&self, facts: &mut Facts) {
        for board in BOARDS {
            match self.bytes_for(board, facts) {
                Ok(bytes) => {
                    facts.models.push(board.model.to_string());
                    facts.tftp_bytes = facts.tftp_bytes.max(bytes);
                }
                Err(missing) if TOLD.contains(&board.model) => {
                    facts.warnings.push(format!("A {} cannot boot it: it has no {missing}.", board.model));
                }
                Err(_) => {}
            }
        }
        if facts.models.is_empty() {
            facts
                .warnings
                .push("No Raspberry Pi can boot it; choose an image of Raspberry Pi OS.".to_owned());
        }
    }

    /// What one boot of `board` fetches, or what is missing for it.
    fn bytes_for(&self, board: &Board, facts: &Facts) -> Result<u64, String> {
        let any = |names: &[&'static str]| names.iter().copied().find(|name| self.has(name));
        for name in board.firmware {
            if !self.has(name) {
                return Err(format!("firmware for it (`{name}`)"));
            }
        }
        let device_tree = any(board.trees)
            .ok_or_else(|| format!("device tree for it (`{}`)", board.trees.first().unwrap_or(&"")))?;
        let named = self.named.first().map(String::as_str);
        let kernel = named.or_else(|| any(board.kernels)).ok_or_else(|| {
            let names: Vec<_> = board.kernels.iter().map(|name| format!("`{name}`")).collect();
            format!("kernel for it ({})", names.join(" or "))
        })?;
        let mut files: Vec<String> = board.firmware.iter().map(|name| (*name).to_owned()).collect();
        files.extend(
            ["config.txt", "cmdline.txt", "overlays/overlay_map.dtb", device_tree, kernel].map(str::to_owned),
        );
        if let Some(found) = facts.kernels.iter().find(|found| found.file == kernel)
            && found.mounts_nfs != Some(true)
        {
            files.extend(found.initramfs.clone());
        }
        for overlay in overlays(&self.config) {
            let own = format!("overlays/{overlay}{}.dtbo", board.overlays);
            let common = format!("overlays/{overlay}.dtbo");
            files.push(if self.size(&own) > 0 { own } else { common });
        }
        Ok(files.iter().map(|name| self.size(name)).sum())
    }
}

/// Overlays that `config.txt` asks for, in whatever section.
fn overlays(config: &[u8]) -> impl Iterator<Item = String> {
    String::from_utf8_lossy(config)
        .lines()
        .filter_map(|line| line.trim().strip_prefix("dtoverlay=")?.split(',').next().map(str::to_owned))
        .filter(|name| !name.is_empty() && !name.contains('/'))
        .collect::<Vec<_>>()
        .into_iter()
}

fn judge_kernels(tree: &Inside, facts: &mut Facts) {
    let mut told = Vec::new();
    for kernel in &facts.kernels {
        let Kernel { file, version, initramfs, mounts_nfs } = kernel;
        match (mounts_nfs, initramfs) {
            (Some(true), _) => {}
            (Some(false), Some(initramfs)) => told.push(format!(
                "`{file}` cannot mount its root over the network by itself; `{initramfs}` must do it, which it can if it was made with MODULES=most or MODULES=netboot."
            )),
            (Some(false), None) => told.push(format!(
                "`{file}` cannot mount its root over the network and has no initramfs to do it: clients stop with \"VFS: Unable to mount root fs\"."
            )),
            (None, _) => told.push(format!(
                "Whether `{file}` can mount its root over the network could not be told; try it with one client."
            )),
        }
        if version.is_empty() {
            continue;
        }
        let modules = format!("lib/modules/{version}");
        if !tree.has(&modules) {
            told.push(format!(
                "There are no modules for `{file}` (`{modules}`): without overlayfs its root stays read-only, and most hardware does not work."
            ));
        } else if !has_overlay(tree, &modules, version) {
            told.push(format!(
                "The modules of `{file}` have no overlayfs (`{modules}`): the root stays read-only and most services do not start."
            ));
        }
    }
    facts.warnings.extend(told);
}

pub(super) fn has_overlay(tree: &Inside, modules: &str, version: &str) -> bool {
    let listed = |file: &str| {
        tree.text(&format!("{modules}/{file}"), limits::MODULES_LIST)
            .is_some_and(|list| list.lines().any(|line| line.contains("/overlayfs/overlay.ko")))
    };
    listed("modules.builtin")
        || listed("modules.dep")
        || tree
            .text(&format!("boot/config-{version}"), limits::KERNEL_CONFIG)
            .is_some_and(|config| config.lines().any(|line| line == "CONFIG_OVERLAY_FS=y"))
        || tree
            .names(&format!("{modules}/kernel/fs/overlayfs"))
            .iter()
            .any(|name| name.starts_with("overlay.ko"))
}

fn judge_system(tree: &Inside, facts: &mut Facts) {
    if !["lib/systemd/systemd", "usr/lib/systemd/systemd"].iter().any(|path| tree.has(path)) {
        facts.warnings.push(
            "It is not started by systemd: host name, network and services of a client are not arranged, only its root is."
                .to_owned(),
        );
    } else if !tree.has("sbin/init") {
        facts.warnings.push("It has no `sbin/init`; install `systemd-sysv` and import it again.".to_owned());
    }
    if matches!(facts.codename.as_str(), "jessie" | "stretch" | "buster") {
        facts.warnings.push(format!(
            "`{}` is older than what Bramble knows how to arrange; Bullseye and later are tested.",
            facts.codename
        ));
    }
}

/// The value of `key` in os-release(5): quotes taken off, nothing expanded.
fn value(release: &str, key: &str) -> Option<String> {
    let raw = release.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))?;
    let text = raw.trim().trim_matches(['"', '\'']);
    let text: String = text.chars().filter(|c| !c.is_control()).take(limits::NAME_SHOWN).collect();
    (!text.is_empty()).then_some(text)
}

/// The codename of a release that has it only as `VERSION="8 (jessie)"`.
fn in_brackets(release: &str) -> String {
    let version = value(release, "VERSION").unwrap_or_default();
    let inner = version.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(name, _)| name);
    inner.unwrap_or_default().to_ascii_lowercase()
}
