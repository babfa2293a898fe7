//! Whether a folder is on storage that can hold images and a database: attached, local, with owners, writable.
//!
//! Decided from the mount table alone, before anything is written. The router's own flash wears out and is small, its
//! memory forgets, network file systems break SQLite's log, and FAT knows neither owners nor links.

use std::path::{Path, PathBuf};

use crate::types::ByteSize;

/// Which folders are good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Attached storage: what a router needs.
    Attached,
    /// Anything that can be written: for tests, `bramble demo` and trying it out. Never an option of the configuration.
    Anything,
}

/// Why `data` cannot be there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPlace {
    #[error(
        "`{data}` is not on attached storage: nothing is mounted there, so it is on the router's own system disk; \
         attach a disk with an ext4 file system, mount it (LuCI: System, Mount Points), and set `option data` to a \
         folder on it, such as `/mnt/sda1/bramble`"
    )]
    NotMounted { data: PathBuf },
    #[error(
        "`{data}` is on the router's flash ({kind} at {mount}), which is small and wears out; attach a disk with an \
         ext4 file system and set `option data` to a folder on it, such as `/mnt/sda1/bramble`"
    )]
    Flash { data: PathBuf, kind: String, mount: PathBuf },
    #[error(
        "`{data}` is in memory ({kind} at {mount}) and would be gone at the next start; attach a disk with an ext4 \
         file system and set `option data` to a folder on it, such as `/mnt/sda1/bramble`"
    )]
    Memory { data: PathBuf, kind: String, mount: PathBuf },
    #[error(
        "`{data}` is on a network file system ({kind} at {mount}), on which a database is not safe; set `option data` \
         to a folder on a disk of this router (to serve images from another machine, use `option backend 'external'` \
         of `config nfs 'nfs'`)"
    )]
    Network { data: PathBuf, kind: String, mount: PathBuf },
    #[error(
        "`{data}` is on a file system without owners and links ({kind} at {mount}), which cannot hold an image; copy \
         what is on the disk elsewhere and format it as ext4 (`mkfs.ext4 {device}`), which erases it"
    )]
    NoOwners { data: PathBuf, kind: String, mount: PathBuf, device: String },
    #[error(
        "`{data}` is on a file system that is mounted read-only ({mount}); look in `dmesg` for errors of the disk, \
         check it with `e2fsck`, and mount it again with `mount -o remount,rw {mount}`"
    )]
    ReadOnly { data: PathBuf, mount: PathBuf },
    #[error(
        "the disk with `{data}` ({device}) is not there any more; plug it in again, or look in `dmesg` why it went"
    )]
    Pulled { data: PathBuf, device: String },
    #[error("`{data}` is now on another disk than before; Bramble starts anew with what is there")]
    Other { data: PathBuf },
    #[error("`{data}` cannot be made ({reason}); check who owns the folder above it")]
    NotMade { data: PathBuf, reason: String },
}

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `major:minor`, the same for every mount of one file system.
    pub id: String,
    pub at: PathBuf,
    pub kind: String,
    /// `/dev/sda1`, or a word of the file system's.
    pub source: String,
    pub read_only: bool,
}

/// The file system that data is on, as long as it is the same one. `None` where anything will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk(Option<Attached>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Attached {
    /// `major:minor`.
    id: String,
    /// `/dev/sda1`.
    source: String,
    /// The kernel knows a block device of this number: not so for btrfs and what is made of several.
    is_device: bool,
}

/// Makes the folder `data` if it is missing and `policy` allows the place.
pub fn prepare(data: &Path, policy: Policy) -> Result<Disk, BadPlace> {
    let not_made =
        |error: std::io::Error| BadPlace::NotMade { data: data.to_owned(), reason: error.to_string() };
    let disk = if policy == Policy::Attached {
        let table = fs_err::read_to_string("/proc/self/mountinfo").map_err(not_made)?;
        // Where a link leads is what counts, as far as the path exists.
        let real = real_path(data);
        let (id, source) = judge(data, &real, &table)?;
        let is_device = block_device(&id).exists();
        Disk(Some(Attached { id, source, is_device }))
    } else {
        Disk(None)
    };
    fs_err::create_dir_all(data).map_err(not_made)?;
    Ok(disk)
}

/// Whether `data` is still on the disk that [`prepare`] found: mounted, the same one, and not pulled out under a mount
/// that the kernel keeps.
pub fn still(data: &Path, disk: &Disk) -> Result<(), BadPlace> {
    let Some(known) = &disk.0 else { return Ok(()) };
    // A table that cannot be read now says nothing about the disk.
    let Ok(table) = fs_err::read_to_string("/proc/self/mountinfo") else { return Ok(()) };
    is_still(data, &real_path(data), &table, known, block_device(&known.id).exists())
}

fn is_still(data: &Path, real: &Path, table: &str, known: &Attached, there: bool) -> Result<(), BadPlace> {
    if known.is_device && !there {
        return Err(BadPlace::Pulled { data: data.to_owned(), device: known.source.clone() });
    }
    let (id, _) = judge(data, real, table)?;
    if id == known.id { Ok(()) } else { Err(BadPlace::Other { data: data.to_owned() }) }
}

/// Where the kernel shows a block device.
fn block_device(id: &str) -> PathBuf {
    Path::new("/sys/dev/block").join(id)
}

/// Free and whole size of the file system that `path` is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What a program without special rights may still write.
    pub free: ByteSize,
    pub whole: ByteSize,
    /// Files that can still be made; `None` where the file system has no fixed number (btrfs).
    pub files: Option<u64>,
}

/// How much room there is around `path`, which must exist.
pub fn space(path: &Path) -> std::io::Result<Space> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    #[expect(clippy::useless_conversion, reason = "on 32-bit targets it is narrower")]
    let block = u64::from(stat.fragment_size());
    Ok(Space {
        free: ByteSize(stat.blocks_available().saturating_mul(block)),
        whole: ByteSize(stat.blocks().saturating_mul(block)),
        files: (stat.files() > 0).then(|| stat.files_available()),
    })
}

/// `path` with its links followed, for the part of it that exists.
fn real_path(path: &Path) -> PathBuf {
    for existing in path.ancestors() {
        if let Ok(real) = fs_err::canonicalize(existing) {
            let rest = path.strip_prefix(existing).unwrap_or(Path::new(""));
            return real.join(rest);
        }
    }
    path.to_owned()
}

/// The decision of [`prepare`], from the text of `/proc/self/mountinfo`: number and name of the disk.
fn judge(data: &Path, real: &Path, table: &str) -> Result<(String, String), BadPlace> {
    const MEMORY: [&str; 3] = ["tmpfs", "ramfs", "devtmpfs"];
    const FLASH: [&str; 5] = ["jffs2", "ubifs", "squashfs", "yaffs2", "erofs"];
    const NETWORK: [&str; 9] = ["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "afs", "ncpfs"];
    const NETWORK_FUSE: [&str; 8] =
        ["sshfs", "rclone", "glusterfs", "davfs", "curlftpfs", "s3fs", "smbnetfs", "cephfs"];
    const NO_OWNERS: [&str; 8] = ["vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk", "hfs", "iso9660"];

    let mounts = mounts(table);
    // Of mounts at the same place the last one hides the others, and `max_by_key` takes the last of equals.
    let here = mounts
        .iter()
        .filter(|mount| real.starts_with(&mount.at))
        .max_by_key(|mount| mount.at.components().count());
    let root = mounts.iter().rev().find(|mount| mount.at == Path::new("/"));
    let data = data.to_owned();
    let Some(here) = here else { return Err(BadPlace::NotMounted { data }) };
    let (kind, mount) = (here.kind.clone(), here.at.clone());
    let is = |kinds: &[&str]| kinds.contains(&here.kind.as_str());
    let raw_flash = ["/dev/mtd", "/dev/ubi", "ubi", "mtd"].iter().any(|flash| here.source.starts_with(flash));
    // On routers with one eMMC, `/overlay` is a loop device on the rest of the firmware's partition.
    let rest_of_firmware = here.at == Path::new("/overlay") && here.source.starts_with("/dev/loop");
    if is(&MEMORY) {
        return Err(BadPlace::Memory { data, kind, mount });
    }
    if is(&FLASH) || raw_flash || rest_of_firmware {
        return Err(BadPlace::Flash { data, kind, mount });
    }
    if is(&NETWORK) || here.kind.strip_prefix("fuse.").is_some_and(|kind| NETWORK_FUSE.contains(&kind)) {
        return Err(BadPlace::Network { data, kind, mount });
    }
    if is(&NO_OWNERS) {
        return Err(BadPlace::NoOwners { data, kind, mount, device: here.source.clone() });
    }
    if root.is_none_or(|root| root.id == here.id) {
        return Err(BadPlace::NotMounted { data });
    }
    if here.read_only {
        return Err(BadPlace::ReadOnly { data, mount });
    }
    Ok((here.id.clone(), here.source.clone()))
}

/// What the text of `/proc/self/mountinfo` says.
pub fn mounts(table: &str) -> Vec<Mount> {
    table.lines().filter_map(mount).collect()
}

/// `36 35 98:0 /root /mnt rw,noatime shared:1 - ext4 /dev/sda1 rw`, see proc(5).
fn mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let right: Vec<&str> = right.split(' ').collect();
    let read_only = |options: &&str| options.split(',').any(|option| option == "ro");
    Some(Mount {
        id: (*left.get(2)?).to_owned(),
        at: PathBuf::from(unescape(left.get(4)?)),
        kind: (*right.first()?).to_owned(),
        source: unescape(right.get(1)?),
        read_only: left.get(5).is_some_and(read_only) || right.get(2).is_some_and(read_only),
    })
}

/// Blanks, tabs, newlines and backslashes are written as `\040` and so on.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let (Some(code), Some(rest)) = (code, part.get(3..)) {
            out.push(char::from(code));
            out.push_str(rest);
        } else {
            out.push('\\');
            out.push_str(part);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mounts of a router with a USB disk, and of the ways in which people attach others.
    const ROUTER: &str = "\
15 1 31:5 / /rom ro,relatime - squashfs /dev/root ro
16 1 0:4 / /proc rw,nosuid - proc proc rw
17 1 0:14 / /tmp rw,nosuid,nodev shared:1 - tmpfs tmpfs rw
18 1 31:6 / /overlay rw,noatime - jffs2 /dev/mtdblock6 rw
19 1 0:15 / / rw,noatime - overlay overlayfs:/overlay rw,lowerdir=/,upperdir=/overlay/upper
20 19 8:1 / /mnt/sda1 rw,relatime - ext4 /dev/sda1 rw
21 19 8:2 / /mnt/fat rw,relatime - vfat /dev/sda2 rw
22 19 0:30 / /mnt/nas rw,relatime - nfs4 nas:/export rw,vers=4.2
23 19 0:31 / /mnt/ssh rw - fuse.sshfs me@host: rw
24 19 8:3 / /mnt/ro ro,relatime - ext4 /dev/sda3 rw
25 19 8:4 / /mnt/my\\040disk rw,relatime - btrfs /dev/sda4 rw
26 19 0:15 /srv /mnt/bound rw,noatime - overlay overlayfs:/overlay rw
27 19 8:5 / /mnt/covered rw - ext4 /dev/sda5 rw
28 19 0:33 / /mnt/covered rw - tmpfs tmpfs rw
29 19 8:6 / /mnt/errors rw,relatime - ext4 /dev/sda6 ro,errors=remount-ro
30 19 0:34 / /mnt/mergerfs rw - fuse.mergerfs a:b rw
";

    fn verdict(path: &str) -> Result<(), String> {
        judge(Path::new(path), Path::new(path), ROUTER).map(drop).map_err(|bad| {
            let name = format!("{bad:?}");
            name.split([' ', '{']).next().unwrap_or_default().to_owned()
        })
    }

    #[test]
    fn only_attached_storage_with_owners_will_do() {
        #[rustfmt::skip]
        let rows = [
            ("/mnt/sda1/bramble",       Ok(())),
            ("/mnt/sda1",               Ok(())),
            ("/mnt/my disk/bramble",    Ok(())),
            ("/mnt/mergerfs/bramble",   Ok(())),
            ("/mnt/sda2/bramble",       Err("NotMounted")),   // not mounted: the folder is on the root
            ("/mnt/sda10/bramble",      Err("NotMounted")),   // a name that only begins like a mount
            ("/srv/bramble",            Err("NotMounted")),
            ("/mnt/bound/bramble",      Err("NotMounted")),   // the root again, under another name
            ("/overlay/bramble",        Err("Flash")),
            ("/rom/bramble",            Err("Flash")),
            ("/tmp/bramble",            Err("Memory")),
            ("/mnt/covered/bramble",    Err("Memory")),       // a later mount hides the disk
            ("/mnt/nas/bramble",        Err("Network")),
            ("/mnt/ssh/bramble",        Err("Network")),
            ("/mnt/fat/bramble",        Err("NoOwners")),
            ("/mnt/ro/bramble",         Err("ReadOnly")),
            ("/mnt/errors/bramble",     Err("ReadOnly")),
        ];
        for (path, expected) in rows {
            assert_eq!(verdict(path), expected.map_err(str::to_owned), "{path}");
        }
    }

    #[test]
    fn flash_is_recognised_under_every_firmware() {
        #[rustfmt::skip]
        let rows = [
            ("1 0 0:9 / /overlay rw - ubifs /dev/ubi0_1 rw",            "Flash"),
            ("1 0 7:0 / /overlay rw - f2fs /dev/loop0 rw",              "Flash"),
            ("1 0 31:3 / /overlay rw - ext4 /dev/mtdblock3 rw",         "Flash"),
            ("1 0 8:1 / /overlay rw - ext4 /dev/sda1 rw",               "fits"),  // extroot: a disk
        ];
        let root = "9 0 0:15 / / rw - overlay overlayfs:/overlay rw\n";
        for (line, expected) in rows {
            let path = Path::new("/overlay/bramble");
            let found = judge(path, path, &format!("{root}{line}\n"));
            let found = found.map_or_else(|bad| format!("{bad:?}"), |_| "fits".to_owned());
            assert!(found.starts_with(expected), "{line}: {found}");
        }
    }

    #[test]
    fn the_message_says_what_is_wrong_and_what_to_do() {
        let path = Path::new("/mnt/fat/bramble");
        let bad = judge(path, path, ROUTER).expect_err("FAT");
        assert_eq!(
            bad.to_string(),
            "`/mnt/fat/bramble` is on a file system without owners and links (vfat at /mnt/fat), which cannot hold an \
             image; copy what is on the disk elsewhere and format it as ext4 (`mkfs.ext4 /dev/sda2`), which erases it"
        );
        let path = Path::new("/tmp/bramble");
        let bad = judge(path, path, ROUTER).expect_err("memory");
        assert_eq!(
            bad.to_string(),
            "`/tmp/bramble` is in memory (tmpfs at /tmp) and would be gone at the next start; attach a disk with an \
             ext4 file system and set `option data` to a folder on it, such as `/mnt/sda1/bramble`"
        );
    }

    #[test]
    fn a_disk_that_goes_is_noticed() {
        let data = Path::new("/mnt/sda1/bramble");
        let disk =
            |id: &str, is_device| Attached { id: id.to_owned(), source: "/dev/sda1".to_owned(), is_device };
        let other = ROUTER.replace("20 19 8:1", "20 19 8:17");
        let unmounted: String = ROUTER
            .lines()
            .filter(|line| !line.contains("/mnt/sda1 "))
            .flat_map(|line| [line, "\n"])
            .collect();
        let gone = || BadPlace::NotMounted { data: data.to_owned() };
        #[rustfmt::skip]
        let rows = [
            ("there",                   ROUTER,              disk("8:1", true),   true,  Ok(())),
            ("pulled, still mounted",   ROUTER,              disk("8:1", true),   false, Err(BadPlace::Pulled { data: data.to_owned(), device: "/dev/sda1".to_owned() })),
            ("several devices as one",  ROUTER,              disk("8:1", false),  false, Ok(())),
            ("unmounted",               unmounted.as_str(),  disk("8:1", true),   true,  Err(gone())),
            ("another in its place",    other.as_str(),      disk("8:1", true),   true,  Err(BadPlace::Other { data: data.to_owned() })),
        ];
        for (shows, table, disk, there, expected) in rows {
            assert_eq!(is_still(data, data, table, &disk, there), expected, "{shows}");
        }
    }

    #[test]
    fn links_are_followed_as_far_as_the_path_exists() {
        let folder = tempfile::tempdir().expect("a folder");
        let real = fs_err::canonicalize(folder.path()).expect("a path");
        std::os::unix::fs::symlink(&real, real.join("link")).expect("a link");
        assert_eq!(real_path(&real.join("link/not/yet")), real.join("not/yet"));
    }

    #[test]
    fn a_folder_is_made_anywhere_if_anything_will_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("a/b");
        prepare(&data, Policy::Anything).expect("made");
        let space = space(&data).expect("space");
        assert!(space.free <= space.whole && space.whole > ByteSize(0));
        assert_eq!(
            prepare(Path::new("/proc/bramble"), Policy::Anything),
            Err(BadPlace::NotMade {
                data: PathBuf::from("/proc/bramble"),
                reason: "failed to create directory `/proc/bramble`: No such file or directory (os error 2)"
                    .to_owned()
            })
        );
    }

    #[test]
    fn the_table_of_this_machine_can_be_read() {
        let table = fs_err::read_to_string("/proc/self/mountinfo").expect("Linux has it");
        assert!(table.lines().all(|line| mount(line).is_some()), "{table}");
        assert_eq!(
            prepare(Path::new("/dev/bramble"), Policy::Attached)
                .map_err(|bad| format!("{bad}").contains("in memory")),
            Err(true)
        );
    }

    proptest::proptest! {
        #[test]
        fn any_table_is_survived(table in "([ -~]{0,60}\n){0,5}", path in "/[a-z/]{0,20}") {
            let _ = judge(Path::new(&path), Path::new(&path), &table);
        }
    }
}
