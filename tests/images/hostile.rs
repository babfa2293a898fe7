//! Archives made to do harm, and files that are not what their names say.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use bramble::sim::sample::{Release, write_tree};

use super::support::{Place, sh};

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
    let mut bytes = Vec::new();
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
        bytes.extend(header);
        bytes.extend(member.content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.extend([0; 1024]);
    let path = folder.join("hostile.tar");
    std::fs::write(&path, bytes).expect("written");
    path
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

#[test]
fn a_million_links_end_in_a_sentence() {
    let place = Place::new();
    // More than any one file of an ext4 can have, and enough to notice whether each costs memory.
    let names: Vec<String> = (0..70_000).map(|number| format!("link-{number}")).collect();
    let first = Member { name: b"first", content: b"one file", ..FILE };
    let links = names.iter().map(|name| Member { name: name.as_bytes(), kind: b'1', link: b"first", ..FILE });
    let members: Vec<Member<'_>> = std::iter::once(first).chain(links).collect();
    let message = place.refused(&archive(place.folder.path(), &members));
    let too_many = message.contains("cannot be written (make the hard link): Too many links");
    // A file system without such a bound finds out that this is no operating system.
    assert!(too_many || message.starts_with("this is not the root of an operating system"), "{message}");

    let members: Vec<Member<'_>> = names
        .iter()
        .map(|name| Member { name: name.as_bytes(), kind: b'2', link: b"nowhere", ..FILE })
        .collect();
    let message = place.refused(&archive(place.folder.path(), &members));
    assert!(message.starts_with("this is not the root of an operating system"), "{message}");
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
