//! The life of an image, with a real kernel: imported from a disk image, changed on a client that maintains its draft,
//! published, given to everybody, taken back. The disk image is shaped as Raspberry Pi's: a FAT with the firmware's files,
//! an ext4 with the system.

use std::path::{Path, PathBuf};
use std::process::Command;

use bramble::types::MacAddr;

use crate::guest::Guest;
use crate::room::{CLIENT, Room, SECOND, made, needs, release};

const THIRD: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 0, 0, 3]);

/// What a Raspberry Pi OS brings and the prepared Debian does not: firmware, and services that only a first start needs. Each
/// of them would leave a mark behind.
const MAKE: &str = r#"
cp --sparse=always "$disk" root.ext4
for unit in userconfig regenerate_ssh_host_keys; do
	printf '[Service]\nType=oneshot\nExecStart=touch /var/lib/%s-ran\n[Install]\nWantedBy=multi-user.target\n' "$unit" >"$unit.service"
done
printf '#!/bin/sh\n### BEGIN INIT INFO\n# Provides: resize2fs_once\n# Required-Start:\n# Required-Stop:\n# Default-Start: 3\n# Default-Stop:\n### END INIT INFO\ntouch /var/lib/resize2fs-ran\n' >resize2fs_once
printf '[Service]\nType=oneshot\nExecStart=touch /var/lib/upgrades-ran\n[Install]\nWantedBy=multi-user.target\n' >unattended-upgrades.service
{
	echo mkdir /boot/firmware
	for unit in userconfig regenerate_ssh_host_keys unattended-upgrades; do
		echo "write $unit.service /usr/lib/systemd/system/$unit.service"
		echo "symlink /etc/systemd/system/multi-user.target.wants/$unit.service /usr/lib/systemd/system/$unit.service"
	done
	echo write resize2fs_once /etc/init.d/resize2fs_once
	echo set_inode_field /etc/init.d/resize2fs_once mode 0100755
	echo symlink /etc/rc3.d/S01resize2fs_once ../init.d/resize2fs_once
	echo symlink /etc/rc5.d/S01resize2fs_once ../init.d/resize2fs_once
} >commands
debugfs -w -f commands root.ext4 >debugfs.log 2>&1
size=$(stat -c %s root.ext4)
truncate -s $((size + (72 << 20))) disk.img
printf 'label: dos\nlabel-id: 0xb12ab1e5\n4MiB,64MiB,0x0c,*\n72MiB,%sMiB,0x83\n' $((size >> 20)) | sfdisk -q disk.img
mformat -i disk.img@@4M -F -c 1 -v bootfs -T 131072 -h 64 -s 32 ::
mkdir firmware
echo 'dtparam=audio=on' >firmware/config.txt
echo 'console=tty1 root=PARTUUID=b12ab1e5-02 rootfstype=ext4 rootwait quiet init=/usr/lib/raspberrypi-sys-mods/firstboot' >firmware/cmdline.txt
for file in start4.elf fixup4.dat bcm2711-rpi-4-b.dtb; do head -c 30000 /dev/urandom >"firmware/$file"; done
{ head -c 3000 /dev/zero; printf 'Linux version %s (builder@example.org) (gcc) #1 SMP\n' "$release"; } | gzip -n >firmware/kernel8.img
(cd firmware && mcopy -i ../disk.img@@4M -s -m -Q ./* ::)
dd if=root.ext4 of=disk.img bs=1M seek=72 conv=sparse,notrunc status=none
rm root.ext4
"#;

/// A disk image of the prepared system, in `folder`.
fn disk_image(folder: &Path) -> PathBuf {
    let made_it = Command::new("sh")
        .args(["-euc", MAKE])
        .env("disk", made().join("disk.ext4"))
        .env("release", release())
        .current_dir(folder)
        .output()
        .expect("a shell");
    assert!(made_it.status.success(), "{}", String::from_utf8_lossy(&made_it.stderr));
    folder.join("disk.img")
}

/// A package with a program, and a script that does what the kernel's packages do on a Pi: it puts a file to the firmware's.
const INSTALL: &str = r"mkdir -p /root/p/DEBIAN /root/p/usr/bin && cd /root/p && \
printf 'Package: greeting\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: says hello\n' >DEBIAN/control && \
printf '#!/bin/sh\nset -e\ncp /usr/bin/greeting /boot/firmware/greeting.new && mv /boot/firmware/greeting.new /boot/firmware/greeting\nadduser --system --quiet greeter 2>/dev/null || useradd -r greeter\nchown greeter /usr/bin/greeting && chmod 4755 /usr/bin/greeting\n' >DEBIAN/postinst && \
chmod 755 DEBIAN/postinst && printf '#!/bin/sh\necho hello\n' >usr/bin/greeting && chmod 755 usr/bin/greeting && \
cd / && dpkg-deb -b /root/p /root/greeting.deb && dpkg -i /root/greeting.deb && rm -r /root/p /root/greeting.deb && sync";

fn boot(room: &Room, name: &str, client: MacAddr) -> Guest {
    let parameters = room.parameters(client);
    let initrd = made().join("tree/boot").join(format!("initrd.img-{}", release()));
    room.boot(name, client, &initrd, &parameters)
}

fn switch_off(mut guest: Guest) -> String {
    guest.type_line("systemctl poweroff");
    guest.ended()
}

#[test]
fn an_image_is_changed_on_a_client_given_to_all_and_taken_back() {
    needs("an_image_is_changed_on_a_client_given_to_all_and_taken_back", || {
        let room = Room::start(&["lab-01", "lab-02", "lab-03"], "");
        let disk = disk_image(room.work());
        let told =
            room.bramble(&["image", "import", disk.to_str().expect("a plain path"), "--name", "debian"]);
        assert!(told.contains("`debian@1` is ready"), "{told}");
        std::fs::remove_file(&disk).expect("it was imported");

        room.add_account("anna", &[]);

        // A seat of the class, which runs all the time.
        let mut seat = boot(&room, "seat", SECOND);
        seat.log_in("root", "raspberry");
        assert_eq!(seat.run("test -e /usr/bin/greeting").1, 1);

        room.bramble(&["image", "draft", "debian"]);
        let told = room.bramble(&["image", "maintain", "debian", "lab-01"]);
        assert!(told.contains("lab-01 boots the draft of `debian` when it next starts"), "{told}");
        let mut teacher = boot(&room, "maintenance", CLIENT);
        teacher.expect("bramble-agent: This is the draft of `debian`");
        teacher.expect("(automatic login)");
        teacher.expect("This is the draft of `debian`. Whatever is changed here is kept");
        teacher.expect("# ");
        teacher.quiet_shell();
        assert_eq!(teacher.output("id -un"), "root");
        let root = teacher.output("findmnt -n -o FSTYPE,SOURCE,OPTIONS /");
        assert!(root.starts_with("nfs") && root.contains("192.168.77.1:/draft/debian"), "{root}");
        assert!(root.contains("rw,"), "{root}");
        assert_eq!(teacher.output("hostname"), "lab-01");

        // While it runs nobody else gets the draft, and nobody publishes it.
        let (said, code) = seat.run("mount -t nfs -o vers=3,tcp,nolock 192.168.77.1:/draft/debian /mnt");
        assert_ne!(code, 0, "another client has the draft: {said}");
        let refused = room.refused(&["image", "publish", "debian"]);
        assert!(refused.contains("lab-01 runs, and may be changing the draft of `debian`"), "{refused}");

        let before = teacher.output("stat -c %Y /etc/passwd");
        let (said, code) = teacher.run(INSTALL);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("Setting up greeting"), "{said}");
        assert_eq!(
            teacher.output("greeting; dpkg -s greeting | grep Status"),
            "hello\nStatus: install ok installed"
        );
        assert_eq!(teacher.output("cat /boot/firmware/greeting | head -n 1"), "#!/bin/sh");
        assert_ne!(teacher.output("stat -c %Y /etc/passwd"), before, "a user was added");
        // What would fight is off, and has left no mark.
        let units = "userconfig.service regenerate_ssh_host_keys.service unattended-upgrades.service \
                     resize2fs_once.service apt-daily.timer apt-daily-upgrade.timer";
        let told =
            teacher.output(&format!("systemctl is-active {units} | sort -u; ls /var/lib | grep ran || true"));
        assert_eq!(told, "inactive");
        let failed = "systemctl --failed --no-legend --plain | cut -d ' ' -f 1";
        let only_here: Vec<String> = {
            let there = seat.output(failed);
            let here = teacher.output(failed);
            here.lines()
                .filter(|unit| !there.lines().any(|other| other == *unit))
                .map(str::to_owned)
                .collect()
        };
        assert!(only_here.is_empty(), "failed only in the draft: {only_here:?}\n{}", {
            teacher
                .run(&format!(
                    "systemctl status --no-pager -l {0}; journalctl --no-pager -u {0}",
                    only_here.join(" ")
                ))
                .0
        });
        // A command from the router, whose exit code and output come back.
        let ran = room
            .command(&["image", "run", "debian", "--on", "lab-01", "--", "hostname; greeting; exit 3"])
            .output();
        let ran = ran.expect("bramble runs");
        assert_eq!(
            String::from_utf8_lossy(&ran.stdout),
            "lab-01\nhello\n",
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
        assert_eq!(ran.status.code(), Some(3));
        let refused = room.refused(&["image", "run", "debian", "--on", "lab-02", "--", "true"]);
        assert!(refused.contains("lab-02 does not maintain the draft of `debian`"), "{refused}");
        let refused = room.refused(&["image", "run", "debian", "--", "true"]);
        assert!(refused.contains("lab-01 maintains the draft of `debian`"), "{refused}");
        // The people of the server are nobody's of the image.
        assert_eq!(teacher.run("grep -c -e anna -e bramble /etc/passwd /etc/group /etc/shadow; ls /etc/sudoers.d | grep bramble").1, 1);
        let shown = switch_off(teacher);
        assert!(shown.contains("bramble-agent: the system has ended; switching off"), "{}", tail(&shown));
        assert_eq!(room.state(), "off");

        let told = room.bramble(&["image", "publish", "debian", "--note", "with a greeting"]);
        assert!(told.contains("`debian@2` is published"), "{told}");
        let left = std::fs::read_dir(room.data().join("images/debian")).expect("there");
        let mut left: Vec<_> = left.map(|entry| entry.expect("read").file_name()).collect();
        left.sort();
        assert_eq!(left, ["1", "2"]);
        let two = room.data().join("images/debian/2");
        let of_client =
            Command::new("grep").args(["-rlE", "lab-01|192\\.168\\.77\\."]).arg(two.join("etc")).output();
        assert_eq!(
            String::from_utf8_lossy(&of_client.expect("grep runs").stdout),
            "",
            "nothing of that client is in it"
        );
        assert_eq!(std::fs::read_to_string(two.join("etc/hostname")).expect("there"), "installed\n");
        assert_eq!(std::fs::read_to_string(two.join("etc/machine-id")).expect("there"), "");

        let told = room.bramble(&["image", "promote", "debian@2"]);
        assert!(told.contains("3 clients boot `debian@2` when they next start"), "{told}");
        assert!(told.contains("lab-02 (debian@1)"), "{told}");
        let mut next = boot(&room, "next", THIRD);
        next.log_in("root", "raspberry");
        assert_eq!(
            next.output("hostname; greeting; stat -c '%U %a' /usr/bin/greeting"),
            "lab-03\nhello\ngreeter 4755"
        );
        let (_, code) = next.run("mount -t nfs -o vers=3,tcp,nolock 192.168.77.1:/draft/debian /mnt");
        assert_ne!(code, 0, "there is no draft any more");
        switch_off(next);

        // The seat has not noticed, even with nothing remembered.
        let same = "echo 3 >/proc/sys/vm/drop_caches; test ! -e /usr/bin/greeting && ! dpkg -s greeting 2>/dev/null && dpkg --verify base-files";
        assert_eq!(seat.run(same).1, 0);
        assert!(seat.output("ls /usr/bin | wc -l").parse::<u32>().expect("a number") > 100);

        let told = room.bramble(&["image", "rollback", "debian"]);
        assert!(told.contains("`debian@1`"), "{told}");
        let mut back = boot(&room, "back", THIRD);
        back.log_in("root", "raspberry");
        assert_eq!(back.run("test -e /usr/bin/greeting || test -e /boot/firmware/greeting").1, 1);
        switch_off(back);
        switch_off(seat);
    });
}

fn tail(text: &str) -> &str {
    &text[text.len().saturating_sub(3000)..]
}
