//! `pxelinux.cfg/…`: how U-Boot, PXELINUX and their kin are told what to boot, in the syntax they share.
//!
//! For boards and PCs whose firmware knows nothing of `config.txt`. Names begin with a slash: relative ones would be
//! looked for beside the loader, wherever that came from.

use std::fmt::Write as _;

use crate::types::MacAddr;

/// What one client boots. Paths are as the client asks for them, from the root of the boot tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// For the comment and the menu, such as `trixie, version 3`.
    pub title: String,
    pub kernel: String,
    /// Left out for a kernel that mounts the root itself.
    pub initrd: Option<String>,
    /// Folder of device trees, for machines that need one.
    pub fdtdir: Option<String>,
    /// The kernel's parameters; one line.
    pub append: String,
}

/// Whether the client with address `mac` reads its configuration from `path`: by its address, or as one of all. U-Boot
/// adds its architecture and board to the latter (`default-arm-bcm283x-rpi`).
pub fn is_config(path: &str, mac: MacAddr) -> bool {
    let Some(name) = path.strip_prefix("pxelinux.cfg/") else { return false };
    let own = name.strip_prefix("01-").is_some_and(|dashed| dashed.eq_ignore_ascii_case(&mac.dashed()));
    own || name == "default" || name.starts_with("default-")
}

/// The file for one client.
pub fn compose(client: &str, entry: &Entry) -> String {
    let Entry { title, kernel, initrd, fdtdir, append } = entry;
    let mut text = format!(
        "# Composed by Bramble for {client}\nDEFAULT bramble\nPROMPT 0\nTIMEOUT 1\n\nLABEL bramble\n  MENU LABEL {title}\n  KERNEL /{kernel}\n"
    );
    let mut line = |key: &str, value: &Option<String>| {
        if let Some(value) = value {
            writeln!(text, "  {key} /{value}").expect("a String takes all that is written to it");
        }
    };
    line("INITRD", initrd);
    line("FDTDIR", fdtdir);
    text.push_str("  APPEND ");
    text.push_str(append.trim_end());
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_with_u_boot() {
        let entry = Entry {
            title: "debian, version 1".to_owned(),
            kernel: "boot/vmlinuz-6.1.0-50-arm64".to_owned(),
            initrd: Some("boot/initrd.img-6.1.0-50-arm64".to_owned()),
            fdtdir: Some("usr/lib/linux-image-6.1.0-50-arm64".to_owned()),
            append: "root=/dev/nfs ro\n".to_owned(),
        };
        assert_eq!(
            compose("lab-01", &entry),
            "# Composed by Bramble for lab-01\nDEFAULT bramble\nPROMPT 0\nTIMEOUT 1\n\nLABEL bramble\n  MENU LABEL debian, version 1\n  \
             KERNEL /boot/vmlinuz-6.1.0-50-arm64\n  INITRD /boot/initrd.img-6.1.0-50-arm64\n  \
             FDTDIR /usr/lib/linux-image-6.1.0-50-arm64\n  APPEND root=/dev/nfs ro\n"
        );
        let bare = Entry { initrd: None, fdtdir: None, ..entry };
        assert!(!compose("lab-01", &bare).contains("INITRD") && !compose("lab-01", &bare).contains("FDTDIR"));
    }

    #[test]
    fn whose_configuration_it_is() {
        let mac = MacAddr::new([0xdc, 0xa6, 0x32, 1, 2, 3]);
        #[rustfmt::skip]
        let rows = [
            ("pxelinux.cfg/01-dc-a6-32-01-02-03", true), ("pxelinux.cfg/01-DC-A6-32-01-02-03", true),
            ("pxelinux.cfg/01-dc-a6-32-01-02-04", false), ("pxelinux.cfg/default", true),
            ("pxelinux.cfg/default-arm-bcm283x-rpi", true), ("pxelinux.cfg/C0A84D01", false),
            ("pxelinux.cfg/defaults", false), ("default", false),
        ];
        for (path, expected) in rows {
            assert_eq!(is_config(path, mac), expected, "{path}");
        }
    }
}
