//! What inspection finds in trees of each release, and what it says cannot work.

use std::path::Path;

use bramble::service::images::Facts;
use bramble::service::images::inspect::inspect;
use bramble::sim::sample::{Release, boot_folder, write_tree};
use bramble::types::Arch;

use super::support::sh;

fn facts(release: Release, change: impl FnOnce(&Path)) -> Facts {
    let folder = tempfile::tempdir().expect("a folder");
    write_tree(folder.path(), release).expect("a sample");
    change(folder.path());
    inspect(folder.path()).expect("a system")
}

fn as_it_is(_: &Path) {}

fn kernels(facts: &Facts) -> Vec<String> {
    let shown = |kernel: &bramble::service::images::Kernel| {
        format!(
            "{} {} {} {:?}",
            kernel.file,
            kernel.version,
            kernel.initramfs.as_deref().unwrap_or("-"),
            kernel.mounts_nfs
        )
    };
    facts.kernels.iter().map(shown).collect()
}

const PI3_AND_4: [&str; 6] = ["Pi 2B", "Pi 3B", "Pi 3B+", "Pi 4B", "Pi 400", "CM4"];
const PI5: [&str; 3] = ["Pi 5", "Pi 500", "CM5"];

#[test]
fn bullseye() {
    let facts = facts(Release::Bullseye, as_it_is);
    assert_eq!(
        (facts.pretty_name.as_str(), facts.codename.as_str()),
        ("Raspbian GNU/Linux 11 (bullseye)", "bullseye")
    );
    assert_eq!((facts.arch, facts.boot_dir.as_deref()), (Arch::Armhf, Some(Path::new("boot"))));
    assert_eq!(
        kernels(&facts),
        [
            "kernel7.img 6.1.21-v7+ - Some(true)",
            "kernel7l.img 6.1.21-v7l+ - Some(true)",
            "kernel8.img 6.1.21-v8+ - Some(true)"
        ]
    );
    assert_eq!(facts.models, PI3_AND_4);
    assert_eq!(
        facts.warnings,
        ["A Pi 5 cannot boot it: it has no device tree for it (`bcm2712-rpi-5-b.dtb`)."]
    );
}

#[test]
fn bookworm_and_trixie() {
    for (release, version) in [(Release::Bookworm, "6.12.34"), (Release::Trixie, "6.12.47")] {
        let facts = facts(release, as_it_is);
        assert_eq!(facts.codename, release.codename());
        assert_eq!((facts.arch, facts.boot_dir.as_deref()), (Arch::Arm64, Some(Path::new("boot/firmware"))));
        assert_eq!(
            kernels(&facts),
            [
                format!("kernel8.img {version}+rpt-rpi-v8 initramfs8 Some(true)"),
                format!("kernel_2712.img {version}+rpt-rpi-2712 initramfs_2712 Some(true)"),
            ]
        );
        assert_eq!(facts.models, [&PI3_AND_4[..], &PI5].concat());
        assert_eq!(facts.warnings, Vec::<String>::new());
    }
}

#[test]
fn plain_debian() {
    let facts = facts(Release::Debian, as_it_is);
    assert_eq!((facts.boot_dir, facts.arch), (None, Arch::Arm64));
    assert_eq!(facts.kernels[0].mounts_nfs, Some(false));
    assert_eq!(facts.kernels[0].initramfs.as_deref(), Some("initrd.img-6.12.107-arm64"));
    assert_eq!(
        facts.warnings,
        [
            "It has no boot files for a Raspberry Pi (neither `boot/firmware` nor firmware in `boot`): only boards that boot by U-Boot or UEFI can start it.",
            "`vmlinuz-6.12.107-arm64` cannot mount its root over the network by itself; `initrd.img-6.12.107-arm64` must do it, which it can if it was made with MODULES=most or MODULES=netboot.",
        ]
    );
}

/// A Pi 4's boot: both firmware files, the two texts, tree, overlay map, the overlay for it, the kernel; no initramfs,
/// since the kernel mounts its root by itself.
#[test]
fn bytes_of_one_boot_are_the_files_of_the_largest_model() {
    let folder = tempfile::tempdir().expect("a folder");
    write_tree(folder.path(), Release::Trixie).expect("a sample");
    let boot = boot_folder(folder.path(), Release::Trixie);
    let sum = |names: &[&str]| -> u64 {
        names
            .iter()
            .map(|name| boot.join(name).metadata().unwrap_or_else(|error| panic!("{name}: {error}")).len())
            .sum()
    };
    let common = ["config.txt", "cmdline.txt", "overlays/overlay_map.dtb", "kernel8.img"];
    let pi4 = ["start4.elf", "fixup4.dat", "bcm2711-rpi-4-b.dtb", "overlays/vc4-kms-v3d-pi4.dtbo"];
    let pi3 = ["bootcode.bin", "start.elf", "fixup.dat", "bcm2710-rpi-3-b.dtb", "overlays/vc4-kms-v3d.dtbo"];
    let all = |own: &[&str]| sum(&common) + sum(own);
    assert!(all(&pi3) > all(&pi4));
    assert_eq!(inspect(folder.path()).expect("a system").tftp_bytes, all(&pi3));
    // Without the files of a Pi 3, a Pi 4 asks for the most.
    std::fs::remove_file(boot.join("bootcode.bin")).expect("removed");
    assert_eq!(inspect(folder.path()).expect("a system").tftp_bytes, all(&pi4));
}

#[test]
fn what_cannot_work_is_said() {
    let no_pi5 = "A Pi 5 cannot boot it: it has no kernel for it (`kernel_2712.img` or `kernel8.img`).";
    #[rustfmt::skip]
    let rows = [
        ("rm boot/firmware/kernel*.img", vec![
            "A Pi 3B cannot boot it: it has no kernel for it (`kernel8.img` or `kernel7.img`).".to_owned(),
            "A Pi 4B cannot boot it: it has no kernel for it (`kernel8.img` or `kernel7l.img`).".to_owned(),
            no_pi5.to_owned(), "No Raspberry Pi can boot it; choose an image of Raspberry Pi OS.".to_owned()]),
        ("rm boot/firmware/start4.elf", vec!["A Pi 4B cannot boot it: it has no firmware for it (`start4.elf`).".to_owned()]),
        ("rm -r lib/systemd", vec!["It is not started by systemd: host name, network and services of a client are not arranged, only its root is.".to_owned()]),
        ("rm sbin/init", vec!["It has no `sbin/init`; install `systemd-sysv` and import it again.".to_owned()]),
        ("rm -r lib/modules/*-v8", vec!["There are no modules for `kernel8.img` (`lib/modules/6.12.47+rpt-rpi-v8`): without overlayfs its root stays read-only, and most hardware does not work.".to_owned()]),
        ("rm -r lib/modules/*-v8/kernel; : > lib/modules/6.12.47+rpt-rpi-v8/modules.dep", vec!["The modules of `kernel8.img` have no overlayfs (`lib/modules/6.12.47+rpt-rpi-v8`): the root stays read-only and most services do not start.".to_owned()]),
        ("sed -i s/ROOT_NFS=y/ROOT_NFS=n/ boot/config-*-v8; rm boot/firmware/initramfs8", vec!["`kernel8.img` cannot mount its root over the network and has no initramfs to do it: clients stop with \"VFS: Unable to mount root fs\".".to_owned()]),
        ("rm boot/config-*-v8; echo nothing > boot/firmware/kernel8.img", vec!["Whether `kernel8.img` can mount its root over the network could not be told; try it with one client.".to_owned()]),
        ("sed -i s/trixie/buster/ usr/lib/os-release", vec!["`buster` is older than what Bramble knows how to arrange; Bullseye and later are tested.".to_owned()]),
    ];
    for (change, expected) in rows {
        assert_eq!(facts(Release::Trixie, |root| sh(root, change)).warnings, expected, "{change}");
    }
}

/// Links are read as the client will: those from the root lead into the tree, not to the router's own files.
#[test]
fn links_lead_into_the_tree() {
    let found = facts(Release::Trixie, |root| {
        sh(
            root,
            "rm etc/os-release sbin/init; ln -s /usr/lib/os-release etc/os-release; ln -s /lib/systemd/systemd sbin/init",
        );
    });
    assert_eq!((found.pretty_name.as_str(), found.arch), ("Debian GNU/Linux 13 (trixie)", Arch::Arm64));
    let lost = facts(Release::Trixie, |root| {
        sh(root, "rm usr/lib/os-release; ln -sf /../../../../etc/os-release usr/lib/os-release");
    });
    assert_eq!(lost.pretty_name, "unknown system", "a circle inside the tree, not this machine's release");
}

#[test]
fn programs_for_another_processor_are_no_image() {
    let folder = tempfile::tempdir().expect("a folder");
    write_tree(folder.path(), Release::Trixie).expect("a sample");
    // MIPS, as many routers have it.
    sh(
        folder.path(),
        "for f in $(find . -type f -perm -100 -path './usr/*'); do printf '\\010' | dd of=$f bs=1 seek=18 conv=notrunc status=none; done",
    );
    let refusal = inspect(folder.path()).expect_err("refused").to_string();
    assert_eq!(
        refusal,
        "the programs in this tree are for a processor that no client of Bramble has; it needs an image for 32-bit ARM (armhf), 64-bit ARM (arm64) or PCs (amd64)"
    );
}
