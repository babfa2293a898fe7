//! Edits of configuration files that the image brings: text in, text out.
//!
//! A line that is taken out stays as a comment with [`MARK`], so that whoever looks at the file on a client sees what
//! was there and who changed it.

use crate::types::HostName;

/// Starts a line that was taken out.
pub const MARK: &str = "# bramble: ";

/// `fstab` without what is on the SD card that is not there: the root, the boot partition, swap, and every other
/// block device that would be waited for. Network, memory and bind mounts stay, and so does what has `nofail` or
/// `noauto`.
pub fn fstab(text: &str) -> String {
    lines(text, |line| {
        let mut fields = line.split_whitespace();
        let [Some(source), Some(place), Some(kind)] = [fields.next(), fields.next(), fields.next()] else {
            return false;
        };
        let optional =
            fields.next().is_some_and(|options| options.split(',').any(|o| o == "nofail" || o == "noauto"));
        let device = ["/dev/", "UUID=", "PARTUUID=", "LABEL=", "PARTLABEL=", "ID="]
            .iter()
            .any(|p| source.starts_with(p));
        let of_the_card = matches!(place, "/" | "/boot" | "/boot/firmware");
        kind == "swap" || of_the_card || (device && !optional)
    })
}

/// `hosts` with `name` for 127.0.1.1, where Debian has it, and no other name there.
pub fn hosts(text: &str, name: &HostName, domain: Option<&str>) -> String {
    let full = domain.map(|domain| format!("{name}.{domain}\t")).unwrap_or_default();
    let own = format!("127.0.1.1\t{full}{name}\n");
    let mut edited = String::new();
    let mut placed = false;
    for line in text.lines() {
        if line.split_whitespace().next() == Some("127.0.1.1") {
            if !std::mem::replace(&mut placed, true) {
                edited.push_str(&own);
            }
        } else {
            edited.push_str(line);
            edited.push('\n');
        }
    }
    if edited.is_empty() {
        edited.push_str("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    }
    if !placed {
        edited.push_str(&own);
    }
    edited
}

/// `dhcpcd.conf` that leaves `link` alone. The line goes first: what follows an `interface` line belongs to it.
pub fn dhcpcd(text: &str, link: &str) -> String {
    let ours = format!("{MARK}the root file system comes over this link\ndenyinterfaces {link}\n");
    if text.starts_with(&ours) { text.to_owned() } else { ours + text }
}

/// ifupdown's `interfaces` without those lines that would bring `link` up or down.
pub fn interfaces(text: &str, link: &str) -> String {
    let mut edited = String::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let starts = words.next().is_some_and(|word| word == "auto" || word.starts_with("allow-"));
        let others: Vec<&str> = words.clone().filter(|name| *name != link).collect();
        if !starts || others.len() == words.count() {
            edited.push_str(line);
        } else {
            edited.push_str(MARK);
            edited.push_str(line);
            if !others.is_empty() {
                let word = line.split_whitespace().next().unwrap_or("auto");
                edited.extend(["\n", word, " ", others.join(" ").as_str()]);
            }
        }
        edited.push('\n');
    }
    edited
}

/// `lightdm.conf` that does not log the first-boot wizard's user in.
pub fn lightdm(text: &str) -> String {
    lines(text, |line| {
        line.split_once('=').is_some_and(|(key, value)| {
            key.trim() == "autologin-user" && value.trim() == "rpi-first-boot-wizard"
        })
    })
}

/// `text` with those lines commented out that `goes` picks; comments stay as they are.
pub fn lines(text: &str, goes: impl Fn(&str) -> bool) -> String {
    let mut edited = String::new();
    for line in text.lines() {
        if !line.trim_start().starts_with('#') && goes(line) {
            edited.push_str(MARK);
        }
        edited.push_str(line);
        edited.push('\n');
    }
    edited
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fstab_keeps_what_is_not_on_the_card() {
        let text = "\
# a comment /dev/sda1 / ext4
proc            /proc           proc    defaults          0       0
PARTUUID=b12ab1e5-01  /boot/firmware  vfat    defaults          0       2
PARTUUID=b12ab1e5-02  /               ext4    defaults,noatime  0       1
/swapfile none swap sw 0 0
UUID=1234 /srv ext4 defaults 0 2
UUID=5678 /media/stick ext4 defaults,nofail 0 2
server:/share /mnt nfs defaults 0 0
tmpfs /tmp tmpfs nosuid 0 0
";
        let expected = "\
# a comment /dev/sda1 / ext4
proc            /proc           proc    defaults          0       0
# bramble: PARTUUID=b12ab1e5-01  /boot/firmware  vfat    defaults          0       2
# bramble: PARTUUID=b12ab1e5-02  /               ext4    defaults,noatime  0       1
# bramble: /swapfile none swap sw 0 0
# bramble: UUID=1234 /srv ext4 defaults 0 2
UUID=5678 /media/stick ext4 defaults,nofail 0 2
server:/share /mnt nfs defaults 0 0
tmpfs /tmp tmpfs nosuid 0 0
";
        assert_eq!(fstab(text), expected);
        assert_eq!(fstab(expected), expected, "twice is once");
    }

    #[test]
    fn hosts_has_one_own_name() {
        let name = "lab-01".parse().expect("a name");
        #[rustfmt::skip]
        let rows = [
            ("127.0.0.1\tlocalhost\n127.0.1.1\traspberrypi\n", Some("lan"), "127.0.0.1\tlocalhost\n127.0.1.1\tlab-01.lan\tlab-01\n"),
            ("127.0.0.1 localhost\n", None, "127.0.0.1 localhost\n127.0.1.1\tlab-01\n"),
            ("127.0.1.1 a\n127.0.1.1 b\n10.0.0.9 printer\n", None, "127.0.1.1\tlab-01\n10.0.0.9 printer\n"),
            ("", None, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\tlab-01\n"),
        ];
        for (text, domain, expected) in rows {
            assert_eq!(hosts(text, &name, domain), expected);
        }
    }

    #[test]
    fn interfaces_leaves_the_other_links() {
        let text = "source /etc/network/interfaces.d/*\nauto lo eth0\niface lo inet loopback\nallow-hotplug eth0\niface eth0 inet dhcp\nauto eth1\n";
        let expected = "source /etc/network/interfaces.d/*\n# bramble: auto lo eth0\nauto lo\niface lo inet loopback\n# bramble: allow-hotplug eth0\niface eth0 inet dhcp\nauto eth1\n";
        assert_eq!(interfaces(text, "eth0"), expected);
        assert_eq!(interfaces(expected, "eth0"), expected, "twice is once");
    }

    #[test]
    fn only_the_wizard_is_kept_from_logging_in() {
        let text = "[Seat:*]\nautologin-user=rpi-first-boot-wizard\n#autologin-user=x\n";
        assert_eq!(
            lightdm(text),
            "[Seat:*]\n# bramble: autologin-user=rpi-first-boot-wizard\n#autologin-user=x\n"
        );
        assert_eq!(lightdm("[Seat:*]\nautologin-user=pupil\n"), "[Seat:*]\nautologin-user=pupil\n");
    }
}
