//! Has what a log-in needs in memory before it is needed.
//!
//! The root comes over the network. While the server is away a program that was never started here would wait for it, and
//! nobody would learn why they cannot log in; what was read once stays in memory as long as there is room.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// What leads to the question for a password, and what PAM starts.
const PROGRAMS: [&str; 5] =
    ["usr/bin/login", "bin/login", "usr/sbin/agetty", "usr/sbin/unix_chkpwd", "sbin/unix_chkpwd"];

/// What those and PAM's modules are linked with, by the beginnings of their names.
const LIBRARIES: [&str; 8] =
    ["libpam", "libaudit.", "libcap-ng.", "libcrypt.", "libselinux.", "libpcre2-8.", "libnsl.", "libtirpc."];

/// Reads it all; may wait for the server.
pub fn up() {
    for file in files(Path::new("/")) {
        // What cannot be read is not needed here, or is missed by whoever needs it.
        let _ = File::open(file).and_then(|mut file| io::copy(&mut file, &mut io::sink()));
    }
}

fn is_module(word: &str) -> bool {
    Path::new(word).extension().is_some_and(|extension| extension == "so")
}

/// Programs, the services of PAM and their modules, and libraries, as far as they are below `root`.
fn files(root: &Path) -> BTreeSet<PathBuf> {
    let mut found: BTreeSet<PathBuf> = PROGRAMS.iter().map(|path| root.join(path)).collect();
    let services = inside(&root.join("etc/pam.d"));
    let text: String = services.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
    let modules: BTreeSet<&str> = text.split_whitespace().filter(|word| is_module(word)).collect();
    let folders = inside(&root.join("usr/lib")).into_iter().filter(|folder| {
        folder.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.contains("-linux-"))
    });
    for folder in folders.chain([root.join("usr/lib")]) {
        found.extend(modules.iter().map(|module| folder.join("security").join(module)));
        found.extend(inside(&folder).into_iter().filter(|file| {
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            LIBRARIES.iter().any(|library| name.starts_with(library))
        }));
    }
    found.extend(services);
    found.retain(|path| path.is_file());
    found
}

fn inside(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_log_in_needs_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        for (file, text) in [
            ("usr/bin/login", ""),
            ("usr/bin/vim", ""),
            (
                "etc/pam.d/common-auth",
                "auth\t[success=1 default=ignore]\tpam_unix.so nullok\nauth required /run/ours.so\n",
            ),
            ("usr/lib/aarch64-linux-gnu/security/pam_unix.so", ""),
            ("usr/lib/aarch64-linux-gnu/security/pam_rare.so", ""),
            ("usr/lib/aarch64-linux-gnu/libpam.so.0.85.1", ""),
            ("usr/lib/aarch64-linux-gnu/libX11.so.6", ""),
        ] {
            let file = root.join(file);
            fs::create_dir_all(file.parent().expect("below the root")).expect("a folder");
            fs::write(file, text).expect("a file");
        }
        let found: Vec<PathBuf> =
            files(root).iter().map(|path| path.strip_prefix(root).expect("below it").to_owned()).collect();
        let expected = [
            "etc/pam.d/common-auth",
            "usr/bin/login",
            "usr/lib/aarch64-linux-gnu/libpam.so.0.85.1",
            "usr/lib/aarch64-linux-gnu/security/pam_unix.so",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
    }
}
