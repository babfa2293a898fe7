//! Archives made to do harm, and files that are not what their names say.

use std::io::Write;
use std::path::{Path, PathBuf};

use bramble::sim::sample::{Release, write_tree};

use super::support::{Place, is_root, sh};

/// One member of an archive, written with whatever the test wants in it.
struct Member<'a> {
    name: &'a [u8],
    kind: u8,
    link: &'a [u8],
    content: &'a [u8],
    /// What the header says the length is, if not that of `content`.
    says: Option<u64>,
}

const FILE: Member<'_> = Member { name: b"x", kind: b'0', link: b"", content: b"", says: None };

fn archive(folder: &Path, members: &[Member<'_>]) -> PathBuf {
    let path = folder.join("hostile.tar");
    write(&mut std::fs::File::create(&path).expect("made"), members);
    path
}

/// As [`archive`], packed: it is larger than anybody would send as it is.
fn packed(folder: &Path, members: &[Member<'_>]) -> PathBuf {
    let path = folder.join("hostile.tar.zst");
    let file = std::fs::File::create(&path).expect("made");
    let mut packer = zstd::stream::write::Encoder::new(file, 1).expect("a packer");
    write(&mut packer, members);
    packer.finish().expect("written");
    path
}

fn write(output: &mut dyn Write, members: &[Member<'_>]) {
    for member in members {
        let mut header = [0_u8; 512];
        header[..member.name.len()].copy_from_slice(member.name);
        header[100..108].copy_from_slice(b"0000644\0");
        let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        header[108..116].copy_from_slice(format!("{uid:07o}\0").as_bytes());
        header[116..124].copy_from_slice(format!("{gid:07o}\0").as_bytes());
        let says = member.says.unwrap_or(member.content.len() as u64);
        header[124..136].copy_from_slice(format!("{says:011o}\0").as_bytes());
        header[136..148].copy_from_slice(b"00000000000\0");
        header[156] = member.kind;
        header[157..157 + member.link.len()].copy_from_slice(member.link);
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[329..337].copy_from_slice(b"0000001\0");
        header[337..345].copy_from_slice(b"0000003\0");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        output.write_all(&header).expect("written");
        output.write_all(member.content).expect("written");
        output
            .write_all(&[0; 512][..member.content.len().next_multiple_of(512) - member.content.len()])
            .expect("written");
    }
    output.write_all(&[0; 1024]).expect("written");
}

/// Names the archive for the process whose memory is measured.
const CHILD: &str = "BRAMBLE_TEST_HOSTILE";

/// Has a process of its own refuse `file`; what it says, and by how many bytes its memory grew at most.
fn refused_apart(file: &Path) -> (String, u64) {
    let done = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["images::hostile::no_archive_eats_the_memory", "--exact", "--nocapture"])
        .env(CHILD, file)
        .output()
        .expect("started");
    let text = String::from_utf8_lossy(&done.stdout);
    let line =
        |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("{text}"));
    (line("SAYS ").to_owned(), line("GREW ").parse().expect("a number"))
}

/// A line of /proc/self/status, in bytes (proc(5)).
fn memory(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("a line");
    line.trim_matches([':', ' ', '\t', 'k', 'B']).parse::<u64>().expect("a number") << 10
}

const DO_NOT_USE: &str = "this archive is damaged or made to do harm, do not use it";

#[test]
fn nothing_is_written_outside_the_tree() {
    let place = Place::new();
    let outside = place.folder.path().join("outside");
    std::fs::create_dir(&outside).expect("a folder");
    std::fs::write(outside.join("kept"), "as it was").expect("a file");
    let outside = outside.to_str().expect("UTF-8").to_owned();
    let target = format!("{outside}/kept");
    #[rustfmt::skip]
    let rows: Vec<(&str, Vec<Member<'_>>, String)> = vec![
        ("up", vec![Member { name: b"a/../../../x", content: b"!", ..FILE }],
            format!("`a/../../../x` would be written outside the image; {DO_NOT_USE}")),
        ("from the root", vec![Member { name: b"/tmp/x", content: b"!", ..FILE }],
            format!("`/tmp/x` would be written outside the image; {DO_NOT_USE}")),
        ("a link, then through it", vec![Member { name: b"l", kind: b'2', link: outside.as_bytes(), ..FILE }, Member { name: b"l/x", content: b"!", ..FILE }],
            format!("`l/x` cannot be written: its folder `l` is a link to something that is not in the image; {DO_NOT_USE}")),
        ("a link upwards, then through it", vec![Member { name: b"l", kind: b'2', link: b"../../../../../../../../../tmp", ..FILE }, Member { name: b"l/x", content: b"!", ..FILE }],
            format!("`l/x` cannot be written: its folder `l` is a link to something that is not in the image; {DO_NOT_USE}")),
        ("a circle of links", vec![Member { name: b"l", kind: b'2', link: b"m", ..FILE }, Member { name: b"m", kind: b'2', link: b"l", ..FILE }, Member { name: b"l/x", content: b"!", ..FILE }],
            format!("`l/x` cannot be written: its folder `l` is a link to something that is not in the image; {DO_NOT_USE}")),
        ("a hard link up", vec![Member { name: b"h", kind: b'1', link: b"../../../../../../../etc/passwd", ..FILE }],
            format!("`h` is a hard link to `../../../../../../../etc/passwd`, which is outside the image; {DO_NOT_USE}")),
        ("a hard link from the root", vec![Member { name: b"h", kind: b'1', link: target.as_bytes(), ..FILE }],
            format!("`h` is a hard link to `{target}`, which is outside the image; {DO_NOT_USE}")),
        ("a hard link through a link", vec![Member { name: b"l", kind: b'2', link: outside.as_bytes(), ..FILE }, Member { name: b"h", kind: b'1', link: b"l/kept", ..FILE }],
            format!("`l/kept` cannot be written: its folder `l` is a link to something that is not in the image; {DO_NOT_USE}")),
    ];
    for (shows, members, expected) in rows {
        let file = archive(place.folder.path(), &members);
        assert_eq!(place.refused(&file), expected, "{shows}");
        assert_eq!(std::fs::read_to_string(&target).expect("kept"), "as it was", "{shows}");
        assert_eq!(super::support::names(Path::new(&outside)), ["kept"], "{shows}");
    }
    // Over a link, not through it: the link gives way.
    let over = [
        Member { name: b"l", kind: b'2', link: target.as_bytes(), ..FILE },
        Member { name: b"l", content: b"!", ..FILE },
    ];
    place.refused(&archive(place.folder.path(), &over));
    assert_eq!(std::fs::read_to_string(&target).expect("kept"), "as it was");
}

#[test]
fn archives_that_lie_about_lengths_end_the_import_and_nothing_else() {
    let place = Place::new();
    let pax = |text: &'static [u8]| Member { name: b"pax", kind: b'x', content: text, ..FILE };
    #[rustfmt::skip]
    let rows: Vec<(&str, Vec<Member<'_>>, &str)> = vec![
        ("a file longer than the archive", vec![Member { says: Some(1 << 32), ..FILE }],
            "the archive ends in the middle after `x`; it was not downloaded completely, download it again"),
        ("a name of a gigabyte", vec![Member { kind: b'L', says: Some(1 << 30), ..FILE }],
            "the archive is damaged (a name or an extended header is longer than any real one); download it again"),
        ("an extended header of a gigabyte", vec![Member { kind: b'x', says: Some(1 << 30), ..FILE }],
            "the archive is damaged (a name or an extended header is longer than any real one); download it again"),
        ("a record with a wrong length", vec![pax(b"99 path=y\n"), FILE],
            "the archive is damaged (an extended header is malformed); download it again"),
        ("a size that overflows", vec![pax(b"29 size=18446744073709551615\n"), FILE],
            "the archive is damaged (a length is too large); download it again"),
        ("holes that overlap", vec![pax(b"24 GNU.sparse.size=1000\n32 GNU.sparse.map=0,512,100,512\n"), FILE],
            "the archive is damaged after `x` (its map of holes makes no sense); download it again"),
        ("more pieces than bytes", vec![pax(b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n28 GNU.sparse.realsize=1000\n"), Member { content: b"99999999\n", ..FILE }],
            "the archive is damaged after `x` (its map of holes makes no sense); download it again"),
        ("an unknown kind", vec![Member { kind: b'M', ..FILE }],
            "`x` is of a type (`M`) that no operating system's archive holds"),
    ];
    for (shows, members, expected) in rows {
        let file = archive(place.folder.path(), &members);
        assert_eq!(place.refused(&file), expected, "{shows}");
    }
}

#[test]
fn what_is_no_image_is_refused_with_what_it_is() {
    let place = Place::new();
    let folder = place.folder.path();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::File::create(folder.join(name)).and_then(|mut file| file.write_all(bytes)).expect("written");
        folder.join(name)
    };
    let at = |name: &str| folder.join(name).display().to_string();
    let neither = |name: &str, hint: &str| {
        format!("`{}` is neither an archive (.tar) nor a disk image (.img){hint}", at(name))
    };
    let mut ext4 = vec![0; 4096];
    ext4[1080..1082].copy_from_slice(&[0x53, 0xef]);
    #[rustfmt::skip]
    let rows: Vec<(&str, Vec<u8>, String)> = vec![
        ("empty.img", vec![], format!("`{}` is empty; it was not downloaded completely", at("empty.img"))),
        ("page.img.xz", b"<!DOCTYPE html>".to_vec(), neither("page.img.xz", "; it is a web page: the download went wrong")),
        ("root.sqfs", b"hsqs and more".to_vec(), neither("root.sqfs", "; it is a squashfs: unpack it (`unsquashfs`) and import the folder")),
        ("root.ext4", ext4, neither("root.ext4", "; it is an ext4 file system without a partition table: mount it and import the folder")),
        ("image.bz2", b"BZh91AY&SY".to_vec(), format!("`{}` is packed as bzip2, which Bramble does not unpack; unpack it first, or use .xz, .gz, .zst or .zip", at("image.bz2"))),
        ("odd.tar", b"nothing in particular".to_vec(), neither("odd.tar", "")),
    ];
    for (name, bytes, expected) in rows {
        assert_eq!(place.refused(&write(name, &bytes)), expected, "{name}");
    }
    assert_eq!(
        place.refused(Path::new("ftp://example.org/trixie.img.xz")),
        "`ftp://example.org/trixie.img.xz` is not an address that Bramble fetches from; use https or http, or fetch the file yourself and import it by its name on this machine"
    );
    assert_eq!(
        place.refused(&folder.join("no-such-file")),
        format!("`{}` cannot be opened: No such file or directory (os error 2)", at("no-such-file"))
    );
    std::fs::create_dir_all(folder.join("pictures/of/cats")).expect("folders");
    assert_eq!(
        place.refused(&folder.join("pictures")),
        "this is not the root of an operating system: it has neither `sbin/init` nor `bin/sh`; it has one folder, `of`: pack, or name, what is inside it"
    );
}

#[test]
fn a_download_that_was_cut_leaves_nothing() {
    let place = Place::new();
    write_tree(&place.folder.path().join("source"), Release::Bullseye).expect("a sample");
    sh(
        place.folder.path(),
        "tar -C source -cf all.tar . && xz -0k all.tar && gzip -1k all.tar && zstd -q -1 all.tar",
    );
    for name in ["all.tar", "all.tar.xz", "all.tar.gz", "all.tar.zst"] {
        let path = place.folder.path().join(name);
        let file = std::fs::OpenOptions::new().write(true).open(&path).expect("opened");
        file.set_len(path.metadata().expect("its length").len() * 3 / 4).expect("cut");
        let message = place.refused(&path);
        assert!(message.contains("not downloaded completely, download it again"), "{name}: {message}");
    }
}

/// What is kept until an import ends, an archive decides: none makes it more than a router has.
#[test]
fn no_archive_eats_the_memory() {
    const MOST: u64 = 64 << 20;
    if let Some(file) = std::env::var_os(CHILD) {
        let (place, before) = (Place::new(), memory("VmRSS"));
        println!("\nSAYS {}", place.refused(Path::new(&file)));
        println!("GREW {}", memory("VmHWM").saturating_sub(before));
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let damaged = "the archive is damaged (a name or an extended header is longer than any real one); download it again";
    let headers: Vec<Vec<u8>> = (0..100_u32)
        .map(|number| {
            (0..30_000).flat_map(|key| format!("33 {number:08}.{key:010}=123456789\n").into_bytes()).collect()
        })
        .collect();
    let pax = |content: &'static [u8]| Member { name: b"pax", kind: b'x', content, ..FILE };
    let kept = |bytes: Vec<u8>| -> &'static [u8] { bytes.leak() };
    let members: Vec<Member<'_>> = headers.into_iter().map(|header| pax(kept(header))).collect();
    let (says, grew) = refused_apart(&packed(folder.path(), &members));
    assert_eq!(says, damaged);
    assert!(grew < MOST, "{grew} bytes for headers in front of one entry");

    let map = pax(kept(b"33 GNU.sparse.offset=00000000000\n".repeat(30_000)));
    let members: Vec<Member<'_>> = (0..100).map(|_| Member { ..map }).collect();
    let (says, grew) = refused_apart(&packed(folder.path(), &members));
    assert_eq!(says, damaged);
    assert!(grew < MOST, "{grew} bytes for a map of holes");

    let mut attribute = b"1000024 SCHILY.xattr.user.x=".to_vec();
    attribute.resize(1_000_023, b'x');
    attribute.push(b'\n');
    let attribute = pax(kept(attribute));
    let names: Vec<String> = (0..400).map(|number| format!("folder-{number}/")).collect();
    let members: Vec<Member<'_>> = names
        .iter()
        .flat_map(|name| [Member { ..attribute }, Member { name: name.as_bytes(), kind: b'5', ..FILE }])
        .collect();
    let (says, grew) = refused_apart(&packed(folder.path(), &members));
    assert_eq!(
        says,
        "`folder-33` is one folder too many; no operating system has so many, this image is damaged or made to do harm, do not use it"
    );
    assert!(grew < MOST, "{grew} bytes for attributes of folders");

    // Of a few files: no file system has so many names for one.
    let files: Vec<String> = (0..25).map(|number| format!("file-{number}")).collect();
    let names: Vec<String> = (0..1_000_000).map(|number| format!("{}/link-{number}", number % 25)).collect();
    let first = files.iter().map(|name| Member { name: name.as_bytes(), content: b"one file", ..FILE });
    let links = names.iter().enumerate().map(|(at, name)| Member {
        name: name.as_bytes(),
        kind: b'1',
        link: files[at % 25].as_bytes(),
        ..FILE
    });
    let members: Vec<Member<'_>> = first.chain(links).collect();
    let (says, grew) = refused_apart(&packed(folder.path(), &members));
    assert!(says.starts_with("this is not the root of an operating system"), "{says}");
    assert!(grew < MOST, "{grew} bytes for a million links");

    // Blocks as Raspberry Pi OS has them, with content that packs to a third.
    sh(
        folder.path(),
        "od -An -tx1 -v < /dev/urandom | head -c 120M > large && tar -cf - large | xz -0 -T2 --block-size=24MiB > blocks.tar.xz && rm large",
    );
    let (says, grew) = refused_apart(&folder.path().join("blocks.tar.xz"));
    assert!(says.starts_with("this is not the root of an operating system"), "{says}");
    assert!(grew < MOST, "{grew} bytes for large blocks");
}

#[test]
fn devices_are_refused_where_none_belong() {
    let place = Place::new();
    let disk = Member { name: b"dev/disk", kind: b'4', ..FILE };
    let folder = |name: &'static [u8]| Member { name, kind: b'5', ..FILE };
    let stray = |name: &str| {
        format!(
            "`{name}` is a device, and outside of the folder `dev`; who may open it there could read and write memory or disks of every client. Take it away where the image comes from, or do not use that image"
        )
    };
    #[rustfmt::skip]
    let rows: Vec<(&str, Vec<Member<'_>>, String)> = vec![
        ("in a home", vec![Member { name: b"home/pi/disk", kind: b'4', ..FILE }], stray("home/pi/disk")),
        ("in a folder called dev", vec![Member { name: b"home/dev/disk", kind: b'4', ..FILE }], stray("home/dev/disk")),
        ("through a link called dev", vec![folder(b"home/"), Member { name: b"dev", kind: b'2', link: b"home", ..FILE }, Member { ..disk }],
            stray("dev/disk")),
        ("through a link in dev", vec![folder(b"home/"), Member { name: b"dev/l", kind: b'2', link: b"/home", ..FILE }, Member { name: b"dev/l/disk", kind: b'4', ..FILE }],
            stray("dev/l/disk")),
    ];
    for (shows, members, expected) in rows {
        assert_eq!(place.refused(&archive(place.folder.path(), &members)), expected, "{shows}");
    }
    if !is_root("devices") {
        return;
    }
    let again = [Member { ..disk }, Member { name: b"home/disk", kind: b'1', link: b"dev/disk", ..FILE }];
    assert_eq!(place.refused(&archive(place.folder.path(), &again)), stray("home/disk"), "one more name");
    let fine = [disk, Member { name: b"opt/locked-in/dev/null", kind: b'3', ..FILE }];
    let message = place.refused(&archive(place.folder.path(), &fine));
    assert!(message.starts_with("this is not the root of an operating system"), "{message}");
}

#[test]
fn what_is_too_deep_is_refused_before_anything_else_stumbles_over_it() {
    let place = Place::new();
    let deep = |folders: usize, name: &str| "d/".repeat(folders) + name;
    let long = |name: &'static [u8]| Member { name: b"long", kind: b'L', content: name, ..FILE };
    let leaked = |name: String| -> &'static [u8] { name.leak().as_bytes() };
    let most = bramble::types::limits::TREE_DEPTH;
    for (folders, name) in [(most + 1, "x"), (most + 1, "")] {
        let members = [long(leaked(deep(folders, name))), FILE];
        assert_eq!(
            place.refused(&archive(place.folder.path(), &members)),
            format!(
                "`{}` is more than 128 folders deep; no operating system has such a file, this image is damaged or made to do harm, do not use it",
                deep(folders, name).trim_end_matches('/')
            )
        );
    }
    // One less is what a copy follows.
    write_tree(&place.folder.path().join("source"), Release::Trixie).expect("a sample");
    sh(
        place.folder.path(),
        &format!(
            "mkdir -p source/{0} && echo x > source/{0}/x && tar -C source -cf all.tar .",
            deep(most, "").trim_end_matches('/')
        ),
    );
    let tree = place.imported("deep", &place.folder.path().join("all.tar"));
    bramble::service::images::copy::measure(&tree, &bramble::service::jobs::Task::unwatched())
        .expect("followed");
}

#[test]
fn too_many_links_end_in_a_sentence() {
    let place = Place::new();
    // More than any one file of an ext4 can have.
    let names: Vec<String> = (0..70_000).map(|number| format!("link-{number}")).collect();
    let first = Member { name: b"first", content: b"one file", ..FILE };
    let links = names.iter().map(|name| Member { name: name.as_bytes(), kind: b'1', link: b"first", ..FILE });
    let members: Vec<Member<'_>> = std::iter::once(first).chain(links).collect();
    let message = place.refused(&archive(place.folder.path(), &members));
    let too_many = message.contains("cannot be written (make the hard link): Too many links");
    // A file system without such a bound finds out that this is no operating system.
    assert!(too_many || message.starts_with("this is not the root of an operating system"), "{message}");
}

#[test]
fn a_file_of_ten_terabytes_without_content_is_refused() {
    let place = Place::new();
    let records = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n38 GNU.sparse.realsize=10995116277760\n";
    let pax = Member { name: b"pax", kind: b'x', content: records, ..FILE };
    let mut content = b"1\n10995116277759\n1\n".to_vec();
    content.resize(512, 0);
    content.push(b'!');
    let members = [pax, Member { name: b"huge", content: &content, ..FILE }];
    assert_eq!(
        place.refused(&archive(place.folder.path(), &members)),
        "`huge` would be 10.0 TiB long; no operating system has such a file, this image is damaged or made to do harm, do not use it"
    );
}

#[test]
fn names_in_no_encoding_come_as_they_are() {
    use std::os::unix::ffi::OsStringExt as _;
    let place = Place::new();
    write_tree(&place.folder.path().join("source"), Release::Trixie).expect("a sample");
    let odd = std::ffi::OsString::from_vec(b"caf\xe9-\xff\xfe".to_vec());
    std::fs::write(place.folder.path().join("source").join(&odd), "bytes").expect("written");
    sh(place.folder.path(), "tar -C source -cf odd.tar .");
    let tree = place.imported("odd", &place.folder.path().join("odd.tar"));
    assert_eq!(std::fs::read_to_string(tree.join(&odd)).expect("there"), "bytes");
}
