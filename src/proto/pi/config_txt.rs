//! `config.txt`: the firmware's settings, with what a network boot needs behind the image's own lines.
//!
//! The image's lines stay as they are, byte for byte; the firmware takes the last of two settings, so ours stand at the
//! end, under `[all]`. Only lines that no later one can undo are made comments: `initramfs`, `ramfsfile` and `cmdline`.

/// What is added for one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Additions<'a> {
    /// Name of the client, for the comment above the added lines.
    pub client: &'a str,
    /// Whether the kernel gets its initramfs. Off where it can mount the root over NFS itself: that is faster, and an
    /// initramfs of a card image was made for that card.
    pub initramfs: bool,
    /// Whether the bootloader may look for an update of its EEPROM. Else it must not, because all clients of an image share
    /// this file.
    pub update: bool,
    /// Lines of the room and the client.
    pub extra: &'a [String],
}

/// The file for one client. `original` is the image's own; empty if it has none.
pub fn compose(original: &[u8], additions: &Additions<'_>) -> Vec<u8> {
    let mut text = Vec::with_capacity(original.len() + 256);
    for line in original.split_inclusive(|b| *b == b'\n') {
        if is_undone(line, additions) {
            text.extend(b"#");
        }
        text.extend(line);
    }
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    let update = u8::from(additions.update);
    text.extend(
        format!("\n# Added by Bramble for {}\n[all]\nbootloader_update={update}\n", additions.client)
            .as_bytes(),
    );
    let named = settings(original).any(|(key, _)| is(key, "initramfs") || is(key, "ramfsfile"));
    if !additions.initramfs {
        text.extend(b"auto_initramfs=0\n");
    } else if !named {
        text.extend(b"auto_initramfs=1\n");
    }
    for line in additions.extra.iter().flat_map(|text| text.lines()) {
        text.extend(line.as_bytes());
        text.push(b'\n');
    }
    text
}

/// Names of kernels that the image's file asks for, in any of its sections; none: the firmware's defaults.
pub fn kernels(original: &[u8]) -> impl Iterator<Item = &str> {
    settings(original)
        .filter(|(key, _)| is(key, "kernel"))
        .filter_map(|(_, value)| std::str::from_utf8(value).ok())
}

/// The file that the image uses in place of `cmdline.txt`, if it names one.
pub fn cmdline_file(original: &[u8]) -> Option<&str> {
    let (_, value) = settings(original).filter(|(key, _)| is(key, "cmdline")).last()?;
    std::str::from_utf8(value).ok().filter(|name| !name.is_empty())
}

/// A line that must not take effect: the parameters come in the `cmdline.txt` that we compose, and nothing but a missing
/// line turns a named initramfs off.
fn is_undone(line: &[u8], additions: &Additions<'_>) -> bool {
    setting(line).is_some_and(|(key, _)| {
        is(key, "cmdline") || (!additions.initramfs && (is(key, "initramfs") || is(key, "ramfsfile")))
    })
}

fn settings(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|b| *b == b'\n').filter_map(setting)
}

/// Key and value of a line: `key=value`, or `initramfs file address`, which has no `=`.
fn setting(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.trim_ascii();
    let end = line.iter().position(|b| *b == b'=' || b.is_ascii_whitespace())?;
    let (key, value) = line.split_at(end);
    let value = value.trim_ascii_start();
    let value = value.strip_prefix(b"=").unwrap_or(value).trim_ascii_start();
    Some((key, value)).filter(|_| !key.starts_with(b"#") && !key.starts_with(b"["))
}

fn is(key: &[u8], name: &str) -> bool {
    key.eq_ignore_ascii_case(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALONE: &str = "\n# Added by Bramble for lab-01\n[all]\nbootloader_update=0\n";

    fn composed(original: &str, initramfs: bool, extra: &[String]) -> String {
        let text =
            compose(original.as_bytes(), &Additions { client: "lab-01", initramfs, update: false, extra });
        String::from_utf8(text).expect("text in, text out")
    }

    #[test]
    fn files_of_real_images() {
        let bookworm =
            "# For more options see\nauto_initramfs=1\ndtoverlay=vc4-kms-v3d\n\n[cm4]\notg_mode=1\n\n[all]\n";
        #[rustfmt::skip]
        let rows = [
            ("Bookworm, a kernel that mounts NFS", bookworm, false, bookworm.to_owned(), "auto_initramfs=0\n"),
            ("Bookworm, a kernel that does not", bookworm, true, bookworm.to_owned(), "auto_initramfs=1\n"),
            ("Debian's raspi-firmware names its initramfs", "kernel=vmlinuz-6.1.0\ninitramfs initrd.img-6.1.0", true, "kernel=vmlinuz-6.1.0\ninitramfs initrd.img-6.1.0\n".to_owned(), ""),
            ("… which is not wanted", "kernel=k\ninitramfs initrd.img-6.1.0 followkernel\r\nRAMFSFILE=x\n", false, "kernel=k\n#initramfs initrd.img-6.1.0 followkernel\r\n#RAMFSFILE=x\n".to_owned(), "auto_initramfs=0\n"),
            ("parameters under another name", "cmdline=nobtcmd.txt\n#cmdline=old.txt\n", false, "#cmdline=nobtcmd.txt\n#cmdline=old.txt\n".to_owned(), "auto_initramfs=0\n"),
            ("no file at all", "", false, String::new(), "auto_initramfs=0\n"),
        ];
        for (shows, original, initramfs, kept, added) in rows {
            assert_eq!(composed(original, initramfs, &[]), format!("{kept}{ALONE}{added}"), "{shows}");
        }
    }

    #[test]
    fn room_and_client_come_last() {
        let extra = ["hdmi_force_hotplug=1".to_owned(), "[pi4]\nhdmi_enable_4kp60=1".to_owned()];
        assert_eq!(
            composed("arm_boost=1\n", false, &extra),
            format!(
                "arm_boost=1\n{ALONE}auto_initramfs=0\nhdmi_force_hotplug=1\n[pi4]\nhdmi_enable_4kp60=1\n"
            )
        );
    }

    #[test]
    fn what_the_file_names() {
        let text = b"[pi4]\nkernel=vmlinuz-a\n[pi5]\nkernel = vmlinuz-b \n#kernel=no\nkernel_address=0x80000\ncmdline=first.txt\ncmdline=nobtcmd.txt\n";
        assert_eq!(kernels(text).collect::<Vec<_>>(), ["vmlinuz-a", "vmlinuz-b"]);
        assert_eq!(cmdline_file(text), Some("nobtcmd.txt"));
        assert_eq!(cmdline_file(b"cmdline=\n"), None);
    }

    proptest! {
        /// Without lines that must be undone, the image's file is the beginning of the answer, byte for byte.
        #[test]
        fn the_images_lines_are_kept(original in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assume!(cmdline_file(&original).is_none() && !settings(&original).any(|(key, _)| is(key, "cmdline")));
            let text = compose(&original, &Additions { client: "lab-01", initramfs: true, update: false, extra: &[] });
            prop_assert!(text.starts_with(&original));
        }
    }
}
