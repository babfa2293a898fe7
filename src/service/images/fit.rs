//! Whether a draft is fit to be a version: what would stop a client that boots it, found before any does.
//!
//! What [`inspect`](super::inspect) only remarks on (an image may have come like that) stops a publication: here somebody
//! has changed something and can put it right. Each check has a name, by which a person who knows better has it passed over.

use std::io::{BufRead as _, BufReader, Read as _};

use super::Facts;
use super::inside::Inside;
use super::inspect::has_overlay;
use crate::types::limits;

/// Something that is not right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Name of the check.
    pub check: &'static str,
    /// What is wrong and what to do, in plain words.
    pub says: String,
}

/// Every check there is, and what it looks for.
pub const CHECKS: &[(&str, &str)] = &[
    ("kernel", "each kernel has its modules, the agent's overlayfs among them"),
    ("boot", "the Pis that could boot the version before can boot this"),
    ("packages", "no package is half installed"),
];

/// Looks at the tree `draft`, in which inspection found `facts`; `before` is what it found in the version the draft was
/// made from.
pub fn check(draft: &Inside, facts: &Facts, before: Option<&Facts>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |check, says| findings.push(Finding { check, says });
    for kernel in facts.kernels.iter().filter(|kernel| !kernel.version.is_empty()) {
        let modules = format!("lib/modules/{}", kernel.version);
        if !draft.has(&modules) {
            add(
                "kernel",
                format!(
                    "the kernel `{}` is version {}, and there are no modules for it (`{modules}`); the packages of kernel and firmware are not of the same time: update them in the draft",
                    kernel.file, kernel.version
                ),
            );
        } else if !has_overlay(draft, &modules, &kernel.version) {
            add(
                "kernel",
                format!(
                    "the modules of the kernel `{}` ({modules}) have no overlayfs, which the agent needs for a writable root",
                    kernel.file
                ),
            );
        }
    }
    if let Some(before) = before {
        let lost: Vec<&str> =
            before.models.iter().filter(|model| !facts.models.contains(model)).map(String::as_str).collect();
        if !lost.is_empty() {
            add(
                "boot",
                format!(
                    "the version before boots on {}, and the draft would not: a kernel, a device tree or a file of the firmware is missing in its boot folder",
                    lost.join(", ")
                ),
            );
        }
    }
    if let Some(says) = half_installed(draft) {
        add("packages", says);
    }
    findings
}

/// Packages that dpkg had not finished with (dpkg(1), *package states*).
fn half_installed(draft: &Inside) -> Option<String> {
    const SHOWN: usize = 4;
    let status = BufReader::new(draft.open("var/lib/dpkg/status").ok()?.take(limits::DPKG_STATUS));
    let (mut package, mut found) = (String::new(), Vec::new());
    for line in status.split(b'\n') {
        let Ok(line) = line else { break };
        let line = String::from_utf8_lossy(&line);
        if let Some(name) = line.strip_prefix("Package: ") {
            name.trim().clone_into(&mut package);
        } else if let Some(state) = line.strip_prefix("Status: ")
            && matches!(
                state.split(' ').next_back(),
                Some(
                    "half-installed"
                        | "unpacked"
                        | "half-configured"
                        | "triggers-awaited"
                        | "triggers-pending"
                )
            )
        {
            found.push(package.clone());
        }
    }
    if found.is_empty() {
        return None;
    }
    let more = found.len().saturating_sub(SHOWN);
    found.truncate(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!(
        "not all packages are installed to the end: {}{more}; run `dpkg --configure -a` and `apt-get -f install` in the draft",
        found.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::super::Kernel;
    use super::*;

    #[test]
    fn what_would_stop_a_client_is_found() {
        let dir = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        };
        let kernel = |version: &str| Kernel {
            file: "kernel8.img".to_owned(),
            version: version.to_owned(),
            initramfs: None,
            mounts_nfs: Some(true),
        };
        let facts = |version: &str, models: &[&str]| Facts {
            kernels: vec![kernel(version)],
            models: models.iter().map(ToString::to_string).collect(),
            ..Facts::unknown()
        };
        write("lib/modules/6.1/modules.builtin", "kernel/fs/overlayfs/overlay.ko\n");
        write("lib/modules/6.2/modules.builtin", "kernel/fs/ext4/ext4.ko\n");
        write(
            "var/lib/dpkg/status",
            "Package: base-files\nStatus: install ok installed\n\nPackage: scratch\nStatus: install ok half-configured\n\
             \nPackage: gone\nStatus: deinstall ok config-files\n",
        );
        let draft = Inside::new(dir.path()).expect("a tree");
        let before = facts("6.1", &["Pi 3B", "Pi 4B"]);
        let checks = |facts: &Facts| -> Vec<&str> {
            check(&draft, facts, Some(&before)).iter().map(|finding| finding.check).collect()
        };
        assert_eq!(checks(&facts("6.1", &["Pi 4B", "Pi 3B", "Pi 5"])), ["packages"]);
        assert_eq!(checks(&facts("6.2", &["Pi 4B"])), ["kernel", "boot", "packages"]);
        assert_eq!(checks(&facts("6.3", &["Pi 3B", "Pi 4B"])), ["kernel", "packages"]);
        assert_eq!(
            check(&draft, &facts("6.1", &[]), None).first().map(|finding| finding.says.clone()).as_deref(),
            Some(
                "not all packages are installed to the end: scratch; run `dpkg --configure -a` and `apt-get -f install` in the draft"
            )
        );
        write("var/lib/dpkg/status", "Package: base-files\nStatus: install ok installed\n");
        assert_eq!(checks(&before), Vec::<&str>::new());
        for finding in check(&draft, &facts("6.2", &["Pi 4B"]), Some(&before)) {
            assert!(CHECKS.iter().any(|(name, _)| *name == finding.check), "{}", finding.check);
        }
    }
}
