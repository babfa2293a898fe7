//! Makes the kernel know a file system, or loop devices, from the modules that the image brings.
//!
//! The image's own `modprobe` is asked first, because it knows the image's compression and configuration. Where there
//! is none, the module is loaded from `modules.dep` by hand.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::process::Command;

use nix::kmod::{ModuleInitFlags, finit_module};

/// `MODULE_INIT_COMPRESSED_FILE` of finit_module(2): the kernel (5.17 or newer) unpacks `.ko.xz` and `.ko.zst`.
const COMPRESSED: u32 = 4;

/// Why a file system cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    #[error("the image has no module `{name}` for its kernel {kernel}")]
    Missing { name: String, kernel: String },
    #[error("the module `{path}` cannot be loaded")]
    Load {
        path: String,
        #[source]
        source: io::Error,
    },
}

/// Loads the module `name` unless the kernel already has the file system of that name. Needs `/proc`.
pub fn file_system(name: &str) -> Result<(), ModuleError> {
    if known(name) {
        return Ok(());
    }
    load_until(name, || known(name))
}

/// Loads what makes files look like disks, unless the kernel has it.
pub fn loop_devices() -> Result<(), ModuleError> {
    let there = || fs::metadata("/dev/loop-control").is_ok();
    if there() { Ok(()) } else { load_until("loop", there) }
}

fn load_until(name: &str, there: impl Fn() -> bool) -> Result<(), ModuleError> {
    for modprobe in ["/sbin/modprobe", "/usr/sbin/modprobe", "/bin/modprobe"] {
        // Whether it worked shows in what the kernel knows afterwards.
        let _ = Command::new(modprobe).args(["-q", name]).status();
        if there() {
            return Ok(());
        }
    }
    by_hand(name)
}

fn known(name: &str) -> bool {
    fs::read_to_string("/proc/filesystems")
        .is_ok_and(|list| list.lines().any(|line| line.split('\t').nth(1) == Some(name)))
}

fn by_hand(name: &str) -> Result<(), ModuleError> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    let missing = || ModuleError::Missing { name: name.to_owned(), kernel: kernel.clone() };
    let folder = ["/lib/modules", "/usr/lib/modules"].map(|base| format!("{base}/{kernel}"));
    let (folder, table) = folder
        .into_iter()
        .find_map(|folder| {
            let table = fs::read_to_string(format!("{folder}/modules.dep")).ok()?;
            Some((folder, table))
        })
        .ok_or_else(missing)?;
    for file in needed(&table, name).ok_or_else(missing)? {
        load(&format!("{folder}/{file}"))?;
    }
    Ok(())
}

/// The files to load for `name`, in order, from a `modules.dep`: what a module needs is listed behind it, the most
/// basic last.
fn needed<'t>(table: &'t str, name: &str) -> Option<Vec<&'t str>> {
    let (file, needs) = table.lines().filter_map(|line| line.split_once(':')).find(|(file, _)| {
        let stem = file.rsplit('/').next().unwrap_or(file).split(".ko").next().unwrap_or_default();
        stem.replace('-', "_") == name.replace('-', "_")
    })?;
    Some(needs.split_whitespace().rev().chain([file]).collect())
}

fn load(path: &str) -> Result<(), ModuleError> {
    let failed = |source| ModuleError::Load { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let plain = std::path::Path::new(path).extension().is_some_and(|extension| extension == "ko");
    let flags = if plain { ModuleInitFlags::empty() } else { ModuleInitFlags::from_bits_retain(COMPRESSED) };
    let none = CString::default();
    match finit_module(&file, &none, flags) {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => Ok(()),
        Err(error) => Err(failed(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_needs_comes_first() {
        let table = "\
kernel/fs/overlayfs/overlay.ko.xz:
kernel/fs/nfs/nfsv3.ko: kernel/fs/nfs/nfs.ko kernel/fs/lockd/lockd.ko kernel/net/sunrpc/sunrpc.ko
kernel/drivers/i2c/i2c-dev.ko.zst:
";
        assert_eq!(needed(table, "overlay"), Some(vec!["kernel/fs/overlayfs/overlay.ko.xz"]));
        assert_eq!(
            needed(table, "nfsv3"),
            Some(vec![
                "kernel/net/sunrpc/sunrpc.ko",
                "kernel/fs/lockd/lockd.ko",
                "kernel/fs/nfs/nfs.ko",
                "kernel/fs/nfs/nfsv3.ko"
            ])
        );
        assert_eq!(needed(table, "i2c_dev"), Some(vec!["kernel/drivers/i2c/i2c-dev.ko.zst"]));
        assert_eq!(needed(table, "over"), None);
    }
}
