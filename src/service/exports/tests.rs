//! Procedures on a small tree, in both ways of making handles, without a socket.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use super::house::{House, MAC, PI, exports, image, tree};
use super::*;
use crate::proto::nfs3::access::{EXECUTE, Identity, LOOKUP, READ};
use crate::proto::nfs3::args::Entry;
use crate::proto::nfs3::reply::client::{self, Outcome};
use crate::proto::nfs3::{Args, FileType, Procedure};
use crate::proto::xdr::Reader;
use crate::types::MacAddr;

const BOTH: [Handles; 2] = [Handles::Best, Handles::Indexed];
const ROOT: Identity<'static> = Identity { uid: 0, gid: 0, gids: &[] };
const PUPIL: Identity<'static> = Identity { uid: 1000, gid: 1000, gids: &[] };

impl House {
    /// Asks inline, and where that would block, from the pool.
    fn ask(&self, who: &Identity<'_>, args: &Args<'_>) -> Vec<u8> {
        let (visitor, mut out) = (self.visitor(), Vec::new());
        match self.exports.nfs(&visitor, who, args, Patience::Inline, &mut out) {
            Ok(None) => return out,
            Ok(Some(payload)) => {
                let mut data = vec![0; payload.length as usize];
                let got =
                    crate::sys::pages::read_all(&*payload.file, &mut data, payload.offset).expect("read");
                assert_eq!(got, data.len());
                out.extend(data);
                out.resize(out.len().next_multiple_of(4), 0);
                return out;
            }
            Err(WouldBlock) => assert!(out.is_empty(), "nothing may be left behind"),
        }
        let done = self.exports.nfs(&visitor, who, args, Patience::Blocking, &mut out);
        assert!(matches!(done, Ok(None)), "the pool always has an answer");
        out
    }

    fn mount(&self) -> Handle {
        self.exports.mount(&self.visitor(), b"/image/trixie/1").expect("mounted").0
    }

    fn lookup(&self, who: &Identity<'_>, directory: &Handle, name: &[u8]) -> Outcome<Handle> {
        let out = self.ask(who, &Args::Lookup(Entry { directory, name }));
        client::lookup(&mut Reader::new(&out)).expect("a reply").map(|(handle, _)| handle)
    }

    /// As root, so that only the last step is under test.
    fn find(&self, path: &str) -> Handle {
        path.split('/').fold(self.mount(), |at, name| self.lookup(&ROOT, &at, name.as_bytes()).expect(path))
    }

    fn getattr(&self, handle: &[u8]) -> Outcome<Attributes> {
        client::getattr(&mut Reader::new(&self.ask(&ROOT, &Args::GetAttr(handle)))).expect("a reply")
    }

    fn read(&self, who: &Identity<'_>, file: &Handle, offset: u64, count: u32) -> Outcome<(Vec<u8>, bool)> {
        let out = self.ask(who, &Args::Read { file, offset, count });
        client::read(&mut Reader::new(&out)).expect("a reply").map(|(data, end)| (data.to_vec(), end))
    }

    fn access(&self, who: &Identity<'_>, object: &Handle) -> u32 {
        let out = self.ask(who, &Args::Access { object, wanted: 0x3f });
        client::access(&mut Reader::new(&out)).expect("a reply").expect("ACCESS itself is never refused")
    }

    /// All of a folder: names, inode numbers and, with `plus`, handles.
    fn list(&self, directory: &Handle, plus: bool, count: u32) -> Vec<(Vec<u8>, u64, Option<Handle>)> {
        let (mut all, mut cookie, mut verifier) = (Vec::new(), 0, [0; 8]);
        loop {
            let args = if plus {
                Args::ReadDirPlus { directory, cookie, verifier, names: count / 8, count }
            } else {
                Args::ReadDir { directory, cookie, verifier, count }
            };
            let out = self.ask(&ROOT, &args);
            assert!(out.len() <= count as usize + 4);
            let listing = client::readdir(&mut Reader::new(&out), plus).expect("a reply").expect("a listing");
            verifier = listing.verifier;
            for entry in listing.entries {
                cookie = entry.cookie;
                if let Some(attributes) = entry.attributes {
                    assert_eq!(attributes.id, entry.id);
                }
                all.push((entry.name.to_vec(), entry.id, entry.handle));
            }
            if listing.end {
                return all;
            }
        }
    }
}

/// The services of `house` after a restart of the daemon.
fn exports_again(house: &House, handles: Handles) -> Exports {
    exports(house.dir.path(), &house.clients, &house.images, handles)
}

fn status(status: Status) -> u32 {
    status as u32
}

#[test]
fn a_pupil_cannot_read_the_shadow_file() {
    for handles in BOTH {
        let house = House::new(handles);
        let shadow = house.find("etc/shadow");
        assert_eq!(house.access(&PUPIL, &shadow), 0);
        assert_eq!(house.read(&PUPIL, &shadow, 0, 100), Err(status(Status::Access)));
        let nobody = Identity::of(&crate::proto::rpc::Credential::None);
        assert_eq!(house.read(&nobody, &shadow, 0, 100), Err(status(Status::Access)));
        assert_eq!(house.read(&ROOT, &shadow, 0, 100), Ok((b"root:$y$".to_vec(), true)));
        let owner = std::fs::metadata(house.root().join("etc/shadow")).expect("there").gid();
        let group = Identity { uid: 1000, gid: 1000, gids: &[owner] };
        assert_eq!(house.access(&group, &shadow), READ);

        let passwd = house.find("etc/passwd");
        assert_eq!(house.access(&PUPIL, &passwd), READ);
        assert_eq!(house.read(&PUPIL, &passwd, 5, 3), Ok((b"x:0".to_vec(), false)));
        let sudo = house.find("usr/bin/sudo");
        assert_eq!(house.access(&PUPIL, &sudo), EXECUTE);
        assert_eq!(house.read(&PUPIL, &sudo, 0, 100), Ok((b"ELF".to_vec(), true)), "running is reading");
        assert_eq!(house.getattr(&sudo).expect("attributes").mode, 0o4711);

        let secret = house.find("secret");
        assert_eq!(house.access(&PUPIL, &secret), 0);
        assert_eq!(house.lookup(&PUPIL, &secret, b"file"), Err(status(Status::Access)));
        let list = Args::ReadDir { directory: &secret, cookie: 0, verifier: [0; 8], count: 4096 };
        let out = house.ask(&PUPIL, &list);
        assert_eq!(client::readdir(&mut Reader::new(&out), false), Ok(Err(status(Status::Access))));
        assert_eq!(house.access(&ROOT, &secret), READ | LOOKUP);
    }
}

#[test]
fn nothing_outside_the_tree_can_be_named() {
    for handles in BOTH {
        let house = House::new(handles);
        let root = house.mount();
        assert_eq!(house.lookup(&ROOT, &root, b".."), Ok(root.clone()));
        assert_eq!(house.lookup(&ROOT, &root, b"."), Ok(root.clone()));
        let etc = house.find("etc");
        assert_eq!(house.lookup(&ROOT, &etc, b".."), Ok(root.clone()), "handles of one file are one handle");
        for name in [&b"../outside"[..], b"/etc", b"etc/passwd", b"", b"nul\0", b"outside", b"no such file"] {
            assert_eq!(house.lookup(&ROOT, &root, name), Err(status(Status::NoEntry)), "{name:?}");
        }
        assert_eq!(house.lookup(&ROOT, &root, &[b'a'; 256]), Err(status(Status::NameTooLong)));
        // A link that leads out is text for the client, never followed here.
        let out = house.find("etc/out");
        assert_eq!(house.getattr(&out).expect("attributes").kind, FileType::SymLink);
        assert_eq!(house.lookup(&ROOT, &out, b"x"), Err(status(Status::NotDirectory)));
        assert_eq!(house.read(&ROOT, &out, 0, 10), Err(status(Status::Invalid)));
        let target = house.ask(&ROOT, &Args::ReadLink(&house.find("bin")));
        assert_eq!(client::readlink(&mut Reader::new(&target)), Ok(Ok(&b"/usr/bin"[..])));
        let dots: Vec<_> = house.list(&root, true, 4096).into_iter().filter(|e| e.0.len() < 3).collect();
        let id = house.getattr(&root).expect("attributes").id;
        for (name, number, handle) in dots {
            assert!(name == b"bin" || (number == id && handle == Some(root.clone())), "{name:?}");
        }
    }
}

#[test]
fn handles_survive_a_restart_and_forged_ones_do_nothing() {
    for handles in BOTH {
        let house = House::new(handles);
        let passwd = house.find("etc/passwd");
        let before = house.getattr(&passwd).expect("attributes");
        let House { dir, clients, images, exports: old } = house;
        drop(old);
        let exports = exports(dir.path(), &clients, &images, handles);
        let house = House { dir, clients, images, exports };
        assert_eq!(house.getattr(&passwd), Ok(before));
        assert_eq!(house.read(&ROOT, &passwd, 0, 4), Ok((b"root".to_vec(), false)));
        assert_eq!(house.find("etc/passwd"), passwd);

        for bit in 0..passwd.len() * 8 {
            let mut forged = passwd.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(house.getattr(&forged), Err(status(Status::BadHandle)), "bit {bit}");
        }
        assert_eq!(house.getattr(&[]), Err(status(Status::BadHandle)));
    }
}

#[test]
fn a_removed_file_is_stale() {
    let house = House::new(Handles::Best);
    let passwd = house.find("etc/passwd");
    std::fs::remove_file(house.root().join("etc/passwd")).expect("removed");
    assert_eq!(house.getattr(&passwd), Err(status(Status::Stale)), "even while we hold it");
    let House { dir, clients, images, exports: old } = house;
    drop(old);
    let exports = exports(dir.path(), &clients, &images, Handles::Best);
    let house = House { dir, clients, images, exports };
    assert_eq!(house.getattr(&passwd), Err(status(Status::Stale)));
}

#[test]
fn a_folder_below_the_root_can_be_mounted() {
    for handles in BOTH {
        let house = House::new(handles);
        let mount = |path: &[u8]| house.exports.mount(&house.visitor(), path).map(|(handle, _)| handle);
        assert_eq!(mount(b"/image/trixie/1/usr/bin"), Ok(house.find("usr/bin")));
        assert_eq!(mount(b"/image/trixie/1//etc/"), Ok(house.find("etc")));
        assert_eq!(mount(b"/image/trixie/1/"), mount(b"/image/trixie/1"));
    }
}

#[test]
fn a_tree_is_for_those_who_boot_it() {
    let house = House::new(Handles::Best);
    let root = house.mount();
    let stranger = house.exports.visitor(Ipv4Addr::new(10, 1, 1, 66), None);
    assert_eq!(house.exports.mount(&stranger, b"/image/trixie/1").map(|_| ()), Err(Refused::NotYours));
    let mut out = Vec::new();
    let asked = house.exports.nfs(&stranger, &ROOT, &Args::GetAttr(&root), Patience::Inline, &mut out);
    assert!(asked.is_ok());
    assert_eq!(out, (Status::Access as u32).to_be_bytes(), "a handle that was overheard");
    assert_eq!(house.exports.paths(&house.visitor()), ["/image/trixie/1"]);
    assert!(house.exports.paths(&stranger).is_empty());
    #[rustfmt::skip]
    let nowhere = [
        "/image/trixie/2", "/image/other/1", "/", "/image/trixie", "/image/../1/1", "/image/trixie/1/nothing",
        "/image/trixie/1/etc/passwd", "/image/trixie/1/bin", "/image/trixie/1/bin/sudo", "/image/trixie/1/..",
    ];
    for path in nowhere {
        let mounted = house.exports.mount(&house.visitor(), path.as_bytes());
        assert_eq!(mounted.map(|_| ()), Err(Refused::NoSuchTree), "{path}");
    }

    // Another version is published and booted: the old one is not this client's any more.
    house.images.publish(tree(&house.root(), 2));
    let before = house.visitor();
    house.clients.boots(MAC, image(2));
    assert!(!house.exports.is_current(&before), "a cached answer is noticed to be old");
    assert_eq!(house.getattr(&root), Err(status(Status::Access)));
    // The lease ends while the connection stands: nothing is taken away.
    house.clients.boots(MAC, image(1));
    let booted = house.visitor();
    house.clients.unbound(PI);
    let after = house.exports.visitor(PI, Some(&booted));
    assert_eq!(house.exports.paths(&after), ["/image/trixie/1"]);
    assert!(house.exports.paths(&house.visitor()).is_empty(), "a new connection gets nothing");
    // Another client has the address now.
    house.clients.bound(PI, MacAddr::new([0xdc, 0xa6, 0x32, 9, 9, 9]), "lan");
    assert!(house.exports.paths(&house.exports.visitor(PI, Some(&booted))).is_empty());
}

#[test]
fn a_large_folder_is_listed_completely() {
    for handles in BOTH {
        let house = House::new(handles);
        let many = house.root().join("many");
        std::fs::create_dir(&many).expect("made");
        let mut expected: BTreeSet<Vec<u8>> = [b".".to_vec(), b"..".to_vec()].into();
        for n in 0..10_000 {
            let name = format!("file-number-{n:05}");
            std::fs::File::create(many.join(&name)).expect("made");
            expected.insert(name.into_bytes());
        }
        let folder = house.find("many");
        for (plus, count) in [(true, 65_536), (true, 4096), (false, 65_536), (false, 1024)] {
            let listed = house.list(&folder, plus, count);
            assert_eq!(listed.len(), 10_002, "each once");
            let names: BTreeSet<Vec<u8>> = listed.iter().map(|entry| entry.0.clone()).collect();
            assert_eq!(names, expected);
            assert!(listed.iter().all(|entry| entry.2.is_some() == plus));
        }
        let listed = house.list(&folder, true, 65_536);
        for (name, id, handle) in listed.iter().step_by(997) {
            let by_name = house.lookup(&ROOT, &folder, name).expect("found");
            assert_eq!(Some(&by_name), handle.as_ref(), "both ways give the same handle");
            assert_eq!(house.getattr(&by_name).expect("attributes").id, *id);
        }
    }
}

#[test]
fn listings_refuse_what_they_cannot_go_on_from() {
    for handles in BOTH {
        let house = House::new(handles);
        let root = house.mount();
        let list = |cookie, verifier, count| {
            let out = house.ask(&ROOT, &Args::ReadDir { directory: &root, cookie, verifier, count });
            client::readdir(&mut Reader::new(&out), false)
                .expect("a reply")
                .map(|listing| listing.entries.len())
        };
        assert_eq!(list(0, [0; 8], 4096), Ok(6));
        assert_eq!(list(1, [1; 8], 4096), Err(status(Status::BadCookie)), "of another tree");
        assert_eq!(list(0, [0; 8], 110), Err(status(Status::TooSmall)));
        assert_eq!(list(0, [0; 8], 10), Err(status(Status::TooSmall)));
        let verifier = house.getattr(&root).expect("attributes").filesystem.to_be_bytes();
        assert!(
            list(u64::MAX, verifier, 4096).is_ok_and(|n| n == 0) || list(u64::MAX, verifier, 4096).is_err()
        );
    }
}

#[test]
fn the_agents_folder_is_found_and_not_listed() {
    for handles in BOTH {
        let house = House::new(handles);
        let root = house.mount();
        assert!(house.list(&root, true, 4096).iter().all(|entry| entry.0 != b".bramble"));
        let agent = house.find(".bramble/agent");
        let attributes = house.getattr(&agent).expect("attributes");
        assert_eq!((attributes.mode, attributes.size, attributes.uid), (0o755, 9, 0));
        assert_eq!(house.read(&PUPIL, &agent, 4, 100), Ok((b"agent".to_vec(), true)));
        let personality = house.find(".bramble/personality.json");
        let text = b"pi-010203 boots trixie@1".to_vec();
        assert_eq!(house.getattr(&personality).expect("attributes").size, 24);
        assert_eq!(house.read(&ROOT, &personality, 0, 100), Ok((text, true)));
        assert_eq!(house.read(&ROOT, &personality, 3, 6), Ok((b"010203".to_vec(), false)));
        assert_eq!(house.read(&ROOT, &personality, 99, 6), Ok((vec![], true)));
        assert_eq!(house.read(&PUPIL, &personality, 0, 100), Err(status(Status::Access)));
        let folder = house.find(".bramble");
        let listed: Vec<_> = house.list(&folder, true, 4096).into_iter().map(|entry| entry.0).collect();
        assert_eq!(listed, [b".".to_vec(), b"agent".to_vec(), b"personality.json".to_vec()]);
        assert_eq!(house.lookup(&ROOT, &folder, b".."), Ok(root));
        assert_eq!(house.lookup(&ROOT, &folder, b"other"), Err(status(Status::NoEntry)));
        // Another build of the agent: who was given the old one goes on reading that.
        let path = house.dir.path().join("agents/agent-arm64");
        std::fs::write(path.with_extension("new"), "a newer agent").expect("written");
        std::fs::rename(path.with_extension("new"), path).expect("installed");
        assert_eq!(
            house.read(&ROOT, &agent, 0, 3),
            Ok((b"the".to_vec(), false)),
            "not looked for at each read"
        );
        let newer = house.find(".bramble/agent");
        assert_eq!(house.read(&ROOT, &newer, 2, 5), Ok((b"newer".to_vec(), false)));
        assert_eq!(house.read(&ROOT, &agent, 2, 9), Ok((b"e agent".to_vec(), true)));
        assert_eq!(house.getattr(&agent), Ok(attributes));
        // The upgrade has started the daemon anew.
        let exports = exports_again(&house, handles);
        let house = House { exports, ..house };
        assert_eq!(house.read(&ROOT, &agent, 2, 9), Ok((b"e agent".to_vec(), true)));
        assert_eq!(house.find(".bramble/agent"), newer);
        std::fs::remove_dir_all(house.dir.path().join("kept")).expect("removed");
        let exports = exports_again(&house, handles);
        let house = House { exports, ..house };
        assert_eq!(house.read(&ROOT, &agent, 0, 3), Err(status(Status::Stale)), "no half of each");
    }
}

#[test]
fn a_packed_version_is_one_file_for_root() {
    for handles in BOTH {
        let house = House::new(handles);
        let folder = house.find(".bramble");
        let name = b"image.squashfs";
        assert_eq!(house.lookup(&ROOT, &folder, name), Err(status(Status::NoEntry)), "it is not packed");
        let path = house.dir.path().join("packed");
        std::fs::write(&path, "hsqs and so on").expect("written");
        let id = house.images.all()[0].id;
        let packed =
            crate::service::images::Packed { path: path.clone(), bytes: 14, stamp: 7, offered: true };
        assert!(house.images.set_packed(id, Some(packed.clone())));
        let file = house.find(".bramble/image.squashfs");
        let attributes = house.getattr(&file).expect("attributes");
        assert_eq!((attributes.mode, attributes.size, attributes.uid), (0o400, 14, 0));
        assert_eq!(house.read(&ROOT, &file, 5, 100), Ok((b"and so on".to_vec(), true)));
        assert_eq!(house.read(&PUPIL, &file, 0, 4), Err(status(Status::Access)), "shadow is in it too");
        let listed: Vec<_> = house.list(&folder, true, 4096).into_iter().map(|entry| entry.0).collect();
        assert_eq!(listed.last().map(Vec::as_slice), Some(&name[..]));

        let exports = exports_again(&house, handles);
        let house = House { exports, ..house };
        assert_eq!(house.read(&ROOT, &file, 0, 4), Ok((b"hsqs".to_vec(), false)), "after a restart");

        // About to be unpacked: who has it keeps it, and nobody else gets it.
        house.images.offer_packed(id, false);
        house.exports.prune();
        assert_eq!(house.read(&ROOT, &file, 0, 4), Ok((b"hsqs".to_vec(), false)));
        assert_eq!(house.lookup(&ROOT, &folder, name), Err(status(Status::NoEntry)));
        house.images.offer_packed(id, true);
        assert_eq!(house.find(".bramble/image.squashfs"), file);

        // Packed anew: the old handle is nobody's, not half of each.
        assert!(house.images.set_packed(id, None));
        house.exports.prune();
        assert_eq!(house.getattr(&file), Err(status(Status::Stale)));
        assert!(house.images.set_packed(id, Some(crate::service::images::Packed { stamp: 8, ..packed })));
        assert_eq!(house.getattr(&file), Err(status(Status::Stale)));
        assert_ne!(house.find(".bramble/image.squashfs"), file);
    }
}

#[test]
fn hard_links_are_one_file() {
    for handles in BOTH {
        let house = House::new(handles);
        let sudo = house.find("usr/bin/sudo");
        assert_eq!(house.getattr(&sudo).expect("attributes").links, 2);
        let edit = house.find("usr/bin/sudoedit");
        assert_eq!(sudo, edit);
    }
}

#[test]
fn everything_that_writes_is_refused_in_its_own_shape() {
    use crate::proto::nfs3::args::{Create, Node as NewNode, Stable};
    use crate::proto::nfs3::types::SetAttributes;
    let house = House::new(Handles::Best);
    let (etc, file) = (house.find("etc"), house.find("etc/passwd"));
    let at = Entry { directory: &etc, name: b"new" };
    let with = SetAttributes::default();
    let calls = [
        Args::SetAttr { object: &file, to: with, guard: None },
        Args::Write { file: &file, offset: 0, stable: Stable::File, data: b"x" },
        Args::Create { at, how: Create::Unchecked(with) },
        Args::MkDir { at, with },
        Args::SymLink { at, with, target: b"x" },
        Args::MkNod { at, node: NewNode::Fifo(with) },
        Args::Remove(at),
        Args::RmDir(at),
        Args::Rename { from: at, to: at },
        Args::Link { file: &file, to: at },
        Args::Commit { file: &file, offset: 0, count: 0 },
    ];
    for args in calls {
        let mut shape = Vec::new();
        let about = if matches!(
            args.procedure(),
            Procedure::SetAttr | Procedure::Write | Procedure::Link | Procedure::Commit
        ) {
            &file
        } else {
            &etc
        };
        let attributes = house.getattr(about).ok();
        let failed = crate::proto::nfs3::Reply::Failed {
            procedure: args.procedure(),
            status: Status::ReadOnly,
            attributes,
        };
        failed.encode(&mut shape);
        assert_eq!(house.ask(&ROOT, &args), shape, "{:?}", args.procedure());
    }
    assert_eq!(std::fs::read(house.root().join("etc/passwd")).expect("read"), b"root:x:0:0");
}

#[test]
fn large_reads_and_their_ends() {
    let house = House::new(Handles::Best);
    let content: Vec<u8> = (0..300_001_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    std::fs::write(house.root().join("big"), &content).expect("written");
    let big = house.find("big");
    for (offset, count) in
        [(0, 131_072), (131_072, 1 << 20), (262_144, 131_072), (1, 20_000), (300_000, 1), (5, 7)]
    {
        let from = usize::try_from(offset).expect("small");
        let expected = &content[from..content.len().min(from + count.min(131_072))];
        let end = from + expected.len() == content.len();
        let got = house.read(&ROOT, &big, offset, u32::try_from(count).expect("small"));
        assert_eq!(got, Ok((expected.to_vec(), end)), "{count} at {offset}");
    }
    assert_eq!(house.read(&ROOT, &big, 300_001, 9), Ok((vec![], true)));
    assert_eq!(house.read(&ROOT, &big, u64::MAX, 9), Ok((vec![], true)));
    assert_eq!(house.read(&ROOT, &house.mount(), 0, 9), Err(status(Status::IsDirectory)));
}

#[test]
fn what_is_forgotten_is_opened_again() {
    let house = House::new(Handles::Best);
    for n in 0..limits_plus(50) {
        std::fs::write(house.root().join(format!("etc/f{n}")), n.to_string()).expect("written");
    }
    let etc = house.find("etc");
    let find = |n: usize| house.lookup(&ROOT, &etc, format!("f{n}").as_bytes()).expect("found");
    let all: Vec<Handle> = (0..limits_plus(50)).map(find).collect();
    assert_eq!(house.exports.files.count(), crate::types::limits::NFS_OPEN_FILES);
    for (n, handle) in all.iter().enumerate() {
        assert_eq!(house.read(&ROOT, handle, 0, 9), Ok((n.to_string().into_bytes(), true)));
    }
    assert_eq!(house.exports.files.count(), crate::types::limits::NFS_OPEN_FILES);
    house.exports.files.forget(Key { space: Space::Image, id: 1, nonce: tree(&house.root(), 1).nonce });
    assert_eq!(house.exports.files.count(), 0);
}

fn limits_plus(more: usize) -> usize {
    crate::types::limits::NFS_OPEN_FILES + more
}
