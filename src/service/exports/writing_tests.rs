//! The procedures that write, on a home in a temporary folder: with the kernel's handles and our own, acting as the account
//! where the tests may, and where they may not.

mod as_local;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;

use super::grants::{Grant, Granted, Identity as Person, Rights, WritableTree};
use super::house::{House, MAC, PI, exports};
use super::*;
use crate::proto::nfs3::access::Identity;
use crate::proto::nfs3::args::{Create, Entry, Node as Special, Stable};
use crate::proto::nfs3::reply::client::{self, Outcome};
use crate::proto::nfs3::types::{SetAttributes, SetTime};
use crate::proto::nfs3::{Args, Time};
use crate::proto::xdr::Reader;
use crate::sys::acting::{act_as, can_act};
use crate::sys::pages;
use crate::types::ByteSize;

const ANNA: u32 = 10_001;
const CALLER: Identity<'static> = Identity { uid: ANNA, gid: ANNA, gids: &[] };

/// Both kinds of handles, and acting as the account or not.
fn ways() -> Vec<(Handles, bool)> {
    let acts: &[bool] = if can_act() { &[true, false] } else { &[false] };
    let both = [Handles::Best, Handles::Indexed];
    both.into_iter().flat_map(|handles| acts.iter().map(move |acts| (handles, *acts))).collect()
}

struct Home {
    house: House,
    root: Handle,
    granted: Granted,
}

fn mode(mode: u32) -> SetAttributes {
    SetAttributes { mode: Some(mode), ..SetAttributes::default() }
}

fn home_with(handles: Handles, acts: bool, rights: Rights, quota: Option<ByteSize>) -> Home {
    let mut house = House::new(handles);
    house.exports.writing.acts = acts;
    let root = house.dir.path().join("anna");
    std::fs::create_dir(&root).expect("made");
    std::fs::set_permissions(&root, PermissionsExt::from_mode(0o700)).expect("allowed");
    if acts {
        chown(&root, Some(ANNA), Some(ANNA)).expect("given");
    }
    let tree = WritableTree { space: Space::Home, id: ANNA, nonce: 7, root, path: "/home/anna".to_owned() };
    let identity = Person { uid: ANNA, gid: ANNA, gids: vec![] };
    let granted = Granted { tree, identity, callers: ANNA, rights, quota };
    house.exports.grant(Grant { id: 1, ip: PI, mac: MAC, encrypted: false, trees: vec![granted.clone()] });
    let (root, mounted) = house.exports.mount(&house.visitor(), b"/home/anna").expect("mounted");
    assert_eq!(mounted, Mounted::Granted("/home/anna".to_owned()));
    Home { house, root, granted }
}

fn home(handles: Handles, acts: bool) -> Home {
    home_with(handles, acts, Rights::ReadWrite, None)
}

impl Home {
    fn disk(&self) -> &Path {
        &self.granted.tree.root
    }

    fn ask_as(&self, who: &Identity<'_>, args: &Args<'_>) -> Vec<u8> {
        let (visitor, mut out) = (self.house.visitor(), Vec::new());
        if self.house.exports.nfs(&visitor, who, args, Patience::Inline, &mut out).is_err() {
            assert!(out.is_empty(), "nothing is left behind");
            let done = self.house.exports.nfs(&visitor, who, args, Patience::Blocking, &mut out);
            assert!(matches!(done, Ok(None)), "the pool always has an answer");
        }
        out
    }

    fn ask<T>(
        &self,
        args: &Args<'_>,
        read: impl FnOnce(&mut Reader<'_>) -> Result<T, crate::proto::xdr::XdrError>,
    ) -> T {
        let out = self.ask_as(&CALLER, args);
        let mut reader = Reader::new(&out);
        let got = read(&mut reader).expect("a reply");
        let refused = out[..4] != [0; 4];
        assert!(refused || reader.rest().is_empty(), "the reply ends where its results end: {args:?}");
        got
    }

    fn lookup(&self, directory: &Handle, name: &[u8]) -> Outcome<Handle> {
        let args = Args::Lookup(Entry { directory, name });
        let out = self.ask_as(&CALLER, &args);
        client::lookup(&mut Reader::new(&out)).expect("a reply").map(|(handle, _)| handle)
    }

    fn getattr(&self, handle: &Handle) -> Outcome<Attributes> {
        self.ask(&Args::GetAttr(handle), client::getattr)
    }

    fn create(&self, directory: &Handle, name: &[u8], how: Create) -> Outcome<Handle> {
        let at = Entry { directory, name };
        let made = self.ask(&Args::Create { at, how }, client::made);
        made.map(|(handle, attributes, change)| {
            assert_eq!(self.getattr(&handle), Ok(attributes));
            assert_eq!(self.getattr(directory).ok(), change.1, "the folder after it");
            assert!(change.0.is_some(), "and before");
            handle
        })
    }

    fn write(&self, file: &Handle, offset: u64, stable: Stable, data: &[u8]) -> Outcome<u32> {
        let args = Args::Write { file, offset, stable, data };
        self.ask(&args, client::write).map(|(_, count, committed, _)| {
            assert!(committed >= stable as u32);
            count
        })
    }

    fn remove(&self, directory: &Handle, name: &[u8]) -> Outcome<()> {
        self.ask(&Args::Remove(Entry { directory, name }), client::changed).map(|_| ())
    }

    fn rename(&self, from: (&Handle, &[u8]), to: (&Handle, &[u8])) -> Outcome<()> {
        let (from, to) = (Entry { directory: from.0, name: from.1 }, Entry { directory: to.0, name: to.1 });
        let args = Args::Rename { from, to };
        self.ask(&args, client::rename).map(|_| ())
    }

    fn set(&self, object: &Handle, to: SetAttributes, guard: Option<Time>) -> Outcome<()> {
        self.ask(&Args::SetAttr { object, to, guard }, client::changed).map(|_| ())
    }

    /// As after a restart of the daemon, with the session granted again.
    fn restarted(self) -> Self {
        let acts = self.house.exports.writing.acts;
        let handles = self.house.exports.handles;
        let Self { house, root, granted } = self;
        let House { dir, clients, images, exports: old } = house;
        drop(old);
        let mut exports = exports(dir.path(), &clients, &images, handles);
        exports.writing.acts = acts;
        exports.grant(Grant { id: 9, ip: PI, mac: MAC, encrypted: false, trees: vec![granted.clone()] });
        Self { house: House { dir, clients, images, exports }, root, granted }
    }
}

fn status(status: Status) -> u32 {
    status as u32
}

#[test]
fn a_file_is_made_written_and_read_back() {
    for (handles, acts) in ways() {
        let home = home(handles, acts);
        let file = home.create(&home.root, b"letter", Create::Guarded(mode(0o640))).expect("made");
        assert_eq!(
            home.create(&home.root, b"letter", Create::Guarded(SetAttributes::default())),
            Err(status(Status::Exists))
        );
        let text: Vec<u8> = (0..60_000_u32).map(|n| (n % 251) as u8).collect();
        for (stable, at) in [(Stable::Unstable, 0), (Stable::Data, 60_000), (Stable::File, 120_000)] {
            assert_eq!(home.write(&file, at, stable, &text), Ok(60_000));
        }
        let committed = home.ask(&Args::Commit { file: &file, offset: 0, count: 0 }, client::commit);
        let (_, verifier) = committed.expect("committed");
        assert_eq!(verifier, home.house.exports.writing.verifier());
        let disk = home.disk().join("letter");
        assert_eq!(std::fs::read(&disk).expect("there"), [&text[..], &text, &text].concat());
        let found = std::fs::metadata(&disk).expect("there");
        assert_eq!(found.mode() & 0o7777, 0o640);
        assert_eq!(found.uid() == ANNA, acts, "on the disk the file is the account's where that can be");
        assert_eq!(home.getattr(&file).expect("there").uid, ANNA, "and is shown so in any case");

        let args = Args::Read { file: &file, offset: 59_999, count: 3 };
        let (out, mut again) = (home.ask_as(&CALLER, &args), Vec::new());
        again.extend_from_slice(&text[59_999..]);
        again.extend_from_slice(&text[..2]);
        assert_eq!(client::read(&mut Reader::new(&out)).expect("a reply").expect("read").0, again);

        let cut = SetAttributes { size: Some(10), ..SetAttributes::default() };
        assert_eq!(home.create(&home.root, b"letter", Create::Unchecked(cut)).as_ref(), Ok(&file));
        assert_eq!(home.getattr(&file).expect("there").size, 10);
        assert_eq!(home.remove(&home.root, b"letter"), Ok(()));
        assert_eq!(home.getattr(&file), Err(status(Status::Stale)));
        assert_eq!(home.write(&file, 0, Stable::File, b"x"), Err(status(Status::Stale)));
    }
}

#[test]
fn an_exclusive_create_may_come_twice_and_over_a_restart() {
    for (handles, acts) in ways() {
        let home = home(handles, acts);
        let verifier = [0x91, 2, 3, 4, 5, 6, 7, 8];
        let file = home.create(&home.root, b"lock", Create::Exclusive(verifier)).expect("made");
        assert_eq!(home.create(&home.root, b"lock", Create::Exclusive(verifier)).as_ref(), Ok(&file));
        let home = home.restarted();
        assert_eq!(home.create(&home.root, b"lock", Create::Exclusive(verifier)).as_ref(), Ok(&file));
        let other = home.create(&home.root, b"lock", Create::Exclusive([1; 8]));
        assert_eq!(other, Err(status(Status::Exists)), "somebody else's");
        // What a client does next; from then on the file is like any other.
        let now = SetAttributes {
            mode: Some(0o600),
            accessed: SetTime::Now,
            modified: SetTime::Now,
            ..SetAttributes::default()
        };
        assert_eq!(home.set(&file, now, None), Ok(()));
        let again = home.create(&home.root, b"lock", Create::Exclusive(verifier));
        assert_eq!(again, Err(status(Status::Exists)));
    }
}

#[test]
fn handles_of_a_home_survive_a_restart_and_renames() {
    for (handles, acts) in ways() {
        let home = home(handles, acts);
        let at = Entry { directory: &home.root, name: b"folder" };
        let (folder, ..) = home.ask(&Args::MkDir { at, with: mode(0o755) }, client::made).expect("made");
        let file = home.create(&folder, b"file", Create::Guarded(mode(0o600))).expect("made");
        assert_eq!(home.write(&file, 0, Stable::Unstable, b"before"), Ok(6));
        assert_eq!(home.rename((&home.root, b"folder"), (&home.root, b"other")), Ok(()));
        assert_eq!(
            home.write(&file, 6, Stable::Unstable, b" after"),
            Ok(6),
            "below a folder that was renamed"
        );
        let before = home.house.exports.writing.verifier();
        let home = home.restarted();
        assert_ne!(home.house.exports.writing.verifier(), before, "what was only in memory may be lost");
        assert_eq!(home.write(&file, 12, Stable::File, b", restarted"), Ok(11));
        let text = std::fs::read_to_string(home.disk().join("other/file")).expect("there");
        assert_eq!(text, "before after, restarted");
        assert_eq!(home.lookup(&home.root, b"other"), Ok(folder));
    }
}

#[test]
fn a_handle_does_not_lead_to_a_later_file() {
    for (handles, acts) in ways() {
        let home = home(handles, acts);
        let mut old = Vec::new();
        for n in 0..20 {
            let file = home.create(&home.root, b"file", Create::Guarded(mode(0o600))).expect("made");
            assert_eq!(home.write(&file, 0, Stable::Unstable, &[n]), Ok(1));
            for gone in &old {
                assert_eq!(
                    home.getattr(gone),
                    Err(status(Status::Stale)),
                    "though its inode may be used again"
                );
            }
            assert_eq!(home.remove(&home.root, b"file"), Ok(()));
            old.push(file);
        }
    }
}

#[test]
fn only_the_person_reaches_the_home_and_only_during_the_session() {
    for (handles, acts) in ways() {
        let home = home(handles, acts);
        let file = home.create(&home.root, b"diary", Create::Guarded(mode(0o600))).expect("made");
        let who = |uid| Identity { uid, gid: uid, gids: &[] };
        let asked = |uid, args: &Args<'_>| home.ask_as(&who(uid), args)[..4].to_vec();
        let write = Args::Write { file: &file, offset: 0, stable: Stable::File, data: b"dear" };
        let denied = status(Status::Access).to_be_bytes();
        for uid in [1, 1000, ANNA + 1, 65_534, u32::MAX] {
            assert_eq!(asked(uid, &Args::GetAttr(&file)), denied, "{uid}");
            assert_eq!(asked(uid, &write), denied, "{uid}");
        }
        assert_eq!(asked(0, &write), [0; 4], "root on the seat counts as the person");
        let made = home.disk().join("by-root");
        let at = Entry { directory: &home.root, name: b"by-root" };
        assert_eq!(asked(0, &Args::Create { at, how: Create::Guarded(SetAttributes::default()) }), [0; 4]);
        assert_eq!(
            std::fs::metadata(&made).expect("there").uid() == ANNA,
            acts,
            "and makes what the person makes"
        );

        let visitor = home.house.visitor();
        home.house.exports.revoke(1);
        let mut out = Vec::new();
        let done = home.house.exports.nfs(&visitor, &CALLER, &write, Patience::Blocking, &mut out);
        assert!(done.is_ok());
        assert_eq!(out[..4], denied, "a call that waited while the session ended");
    }
}

#[test]
fn what_root_could_do_the_person_cannot() {
    if !can_act() {
        return;
    }
    let home = home(Handles::Best, true);
    let disk = home.disk();
    std::fs::write(disk.join("root's"), "secret").expect("written");
    std::fs::set_permissions(disk.join("root's"), PermissionsExt::from_mode(0o600)).expect("allowed");
    std::fs::create_dir(disk.join("closed")).expect("made");
    let rooted = home.lookup(&home.root, b"root's").expect("found");
    let closed = home.lookup(&home.root, b"closed").expect("found");
    assert_eq!(home.write(&rooted, 0, Stable::File, b"x"), Err(status(Status::Access)));
    assert_eq!(home.set(&rooted, mode(0o777), None), Err(status(Status::Perm)));
    assert_eq!(
        home.create(&closed, b"x", Create::Guarded(SetAttributes::default())),
        Err(status(Status::Access))
    );
    assert_eq!(home.rename((&home.root, b"root's"), (&closed, b"x")), Err(status(Status::Access)));
    let mine = home.create(&home.root, b"mine", Create::Guarded(mode(0o644))).expect("made");
    for to in [
        SetAttributes { uid: Some(0), ..SetAttributes::default() },
        SetAttributes { gid: Some(0), ..SetAttributes::default() },
    ] {
        assert_eq!(home.set(&mine, to, None), Err(status(Status::Perm)));
    }
    assert_eq!(home.set(&mine, mode(0o4755), None), Ok(()));
    assert_eq!(home.write(&mine, 0, Stable::File, b"x"), Ok(1));
    let found = home.getattr(&mine).expect("there");
    assert_eq!(found.mode, 0o755, "a program that was changed does not run as its owner");
}

#[test]
fn an_owner_writes_on_though_the_bit_is_gone() {
    for (handles, acts) in ways() {
        let home = home(handles, acts);
        let file = home.create(&home.root, b"file", Create::Guarded(mode(0o400))).expect("made");
        assert_eq!(home.write(&file, 0, Stable::File, b"text"), Ok(4));
        let home = home.restarted();
        assert_eq!(home.write(&file, 4, Stable::File, b"more"), Ok(4), "by a file opened anew");
    }
}

#[test]
fn special_files_links_and_what_is_refused() {
    for (handles, acts) in ways() {
        let home = home(handles, acts);
        let at = |name| Entry { directory: &home.root, name };
        let make =
            |name, node| home.ask(&Args::MkNod { at: at(name), node }, client::made).map(|made| made.0);
        assert!(make(b"pipe", Special::Fifo(mode(0o600))).is_ok());
        assert!(make(b"socket", Special::Socket(mode(0o600))).is_ok());
        for device in [
            Special::Block(SetAttributes::default(), (8, 0)),
            Special::Character(SetAttributes::default(), (1, 3)),
        ] {
            assert_eq!(make(b"disk", device), Err(status(Status::Perm)));
        }
        let link = Args::SymLink { at: at(b"link"), with: SetAttributes::default(), target: b"/etc/shadow" };
        let (link, found, _) = home.ask(&link, client::made).expect("made");
        assert_eq!((found.kind, found.size), (FileType::SymLink, 11));
        let target = home.ask_as(&CALLER, &Args::ReadLink(&link));
        assert_eq!(client::readlink(&mut Reader::new(&target)), Ok(Ok(&b"/etc/shadow"[..])));
        assert_eq!(home.write(&link, 0, Stable::File, b"x"), Err(status(Status::Invalid)), "never followed");
        let over = home.create(&home.root, b"link", Create::Unchecked(SetAttributes::default()));
        assert_eq!(over, Err(status(Status::Exists)), "nor when it is in the way");
        assert!(std::fs::metadata(home.disk().join("pipe")).expect("there").file_type().is_fifo());

        let file = home.create(&home.root, b"file", Create::Guarded(mode(0o600))).expect("made");
        let linked = home.ask(&Args::Link { file: &file, to: at(b"again") }, client::link).expect("linked");
        assert_eq!(linked.0.expect("attributes").links, 2);
        assert_eq!(home.lookup(&home.root, b"again"), Ok(file.clone()));
        assert_eq!(home.remove(&home.root, b"file"), Ok(()));
        assert_eq!(home.getattr(&file).expect("by its other name").links, 1);

        #[rustfmt::skip]
        let names: [(&[u8], Status); 6] = [
            (b"", Status::Invalid), (b"a/b", Status::Invalid), (b"../anna2", Status::Invalid), (b"nul\0", Status::Invalid),
            (b"..", Status::Exists), (&[b'n'; 256], Status::NameTooLong),
        ];
        for (name, expected) in names {
            let made = home.ask(&Args::MkDir { at: at(name), with: SetAttributes::default() }, client::made);
            assert_eq!(made.map(|_| ()), Err(status(expected)), "{name:?}");
        }
        let image = home.house.exports.mount(&home.house.visitor(), b"/image/trixie/1").expect("mounted").0;
        assert_eq!(
            home.create(&image, b"x", Create::Guarded(SetAttributes::default())),
            Err(status(Status::ReadOnly))
        );
        let across = home.rename((&home.root, b"again"), (&image, b"x"));
        assert_eq!(across, Err(status(Status::ReadOnly)));
    }
}

#[test]
fn a_guard_protects_what_changed_in_between() {
    let home = home(Handles::Best, can_act());
    let file = home.create(&home.root, b"file", Create::Guarded(mode(0o600))).expect("made");
    let seen = home.getattr(&file).expect("there").changed;
    assert_eq!(home.set(&file, mode(0o640), Some(seen)), Ok(()));
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(home.write(&file, 0, Stable::Unstable, b"x"), Ok(1));
    assert_eq!(home.set(&file, mode(0o644), Some(seen)), Err(status(Status::NotSync)));
    let at = SetTime::To(Time { secs: 86_400, nanos: 5 });
    let times = SetAttributes { accessed: at, modified: at, ..SetAttributes::default() };
    assert_eq!(home.set(&file, times, None), Ok(()));
    let found = home.getattr(&file).expect("there");
    assert_eq!((found.modified, found.accessed), (Time { secs: 86_400, nanos: 5 }, found.modified));
}

#[test]
fn a_quota_is_the_size_of_the_disk() {
    for (handles, acts) in ways() {
        let home = home_with(handles, acts, Rights::ReadWrite, Some(ByteSize(200_000)));
        let export = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime")
            .block_on(home.house.exports.to_measure());
        export.measure();
        let space = || home.ask(&Args::FsStat(&home.root), client::fsstat).expect("room");
        assert_eq!(space().bytes, 200_000);
        let before = space().bytes_free;
        let file = home.create(&home.root, b"film", Create::Guarded(mode(0o600))).expect("made");
        let data = vec![1; 40_000];
        let mut written = 0;
        let refused = loop {
            match home.write(&file, written, Stable::File, &data) {
                Ok(count) => written += u64::from(count),
                Err(refused) => break refused,
            }
        };
        assert_eq!(refused, status(Status::Quota));
        assert_eq!(home.house.exports.full(), [1], "whoever sits there is to be told");
        assert!(home.house.exports.full().is_empty(), "once");
        assert_eq!(written, 160_000);
        assert!(space().bytes_free < before - written);
        assert_eq!(
            home.write(&file, 0, Stable::File, &data),
            Ok(40_000),
            "what is there may be written over"
        );
        assert_eq!(home.remove(&home.root, b"film"), Ok(()));
        assert_eq!(space().bytes_free, before, "and removing gives it back");
        for n in 0.. {
            let made =
                home.create(&home.root, format!("{n}").as_bytes(), Create::Guarded(SetAttributes::default()));
            if let Err(refused) = made {
                assert_eq!(refused, status(Status::Quota));
                break;
            }
            assert!(n < 400, "empty files take room too");
        }
    }
}

#[test]
fn a_share_is_read_written_together_or_handed_in_to() {
    let read_only = home_with(Handles::Best, can_act(), Rights::ReadOnly, None);
    std::fs::write(read_only.disk().join("sheet"), "exercise").expect("written");
    let sheet = read_only.lookup(&read_only.root, b"sheet").expect("found");
    assert_eq!(read_only.write(&sheet, 0, Stable::File, b"x"), Err(status(Status::ReadOnly)));
    assert_eq!(read_only.remove(&read_only.root, b"sheet"), Err(status(Status::ReadOnly)));

    let common = home_with(Handles::Best, can_act(), Rights::Common, None);
    let file = common.create(&common.root, b"poster", Create::Guarded(mode(0o644))).expect("made");
    assert_eq!(common.write(&file, 0, Stable::File, b"x"), Ok(1));
    assert_eq!(common.remove(&common.root, b"poster"), Ok(()));
}

#[test]
fn nobody_closes_what_a_class_shares() {
    let boxed = Rights::DropBox { open: Duration::from_mins(10) };
    for (rights, file_mode, folder_mode) in
        [(Rights::Common, 0o600, 0o700), (boxed, 0o660, 0), (Rights::ReadWrite, 0, 0)]
    {
        let share = home_with(Handles::Best, can_act(), rights, None);
        let is_home = rights == Rights::ReadWrite;
        let file = share.create(&share.root, b"plan", Create::Guarded(mode(0))).expect("made");
        assert_eq!(share.getattr(&file).expect("there").mode, file_mode, "{rights:?}");
        assert_eq!(share.set(&file, mode(0o777), None), Ok(()));
        assert_eq!(share.set(&file, mode(0), None), Ok(()));
        assert_eq!(share.getattr(&file).expect("there").mode, file_mode, "{rights:?}");
        let made = Args::MkDir { at: Entry { directory: &share.root, name: b"unit" }, with: mode(0) };
        if let Ok((folder, attributes, _)) = share.ask(&made, client::made) {
            assert_eq!(attributes.mode, folder_mode, "{rights:?}");
            assert_eq!(share.set(&folder, mode(0o070), None), Ok(()));
            let found = share.getattr(&folder).expect("there").mode;
            assert_eq!(found, folder_mode | 0o070, "{rights:?}");
        }
        assert_eq!(share.set(&share.root, mode(0), None), Ok(()));
        let root = share.getattr(&share.root).expect("there").mode;
        assert_eq!(root, if is_home { 0 } else { 0o700 }, "{rights:?}: the folder itself keeps its mode");
    }
}

#[test]
fn the_last_of_a_disk_is_not_for_homes_and_shares() {
    for rights in [Rights::ReadWrite, Rights::Common] {
        let mut home = home_with(Handles::Best, can_act(), rights, None);
        let file = home.create(&home.root, b"film", Create::Guarded(mode(0o600))).expect("made");
        assert_eq!(home.write(&file, 0, Stable::File, &[1; 8192]), Ok(8192));
        let space = |home: &Home| home.ask(&Args::FsStat(&home.root), client::fsstat).expect("room");
        assert!(space(&home).bytes_available > 0);
        home.house.exports.writing.reserve = |all| all;
        assert_eq!(home.write(&file, 8192, Stable::File, &[1; 8192]), Err(status(Status::NoSpace)));
        assert_eq!(home.house.exports.full(), [1], "whoever sits there is told");
        let more = home.create(&home.root, b"more", Create::Guarded(mode(0o600)));
        assert_eq!(more, Err(status(Status::NoSpace)));
        assert_eq!(space(&home).bytes_available, 0);
        assert_eq!(
            home.write(&file, 0, Stable::File, &[2; 8192]),
            Ok(8192),
            "what is there may be written over"
        );
        assert_eq!(home.remove(&home.root, b"film"), Ok(()), "and removed");
    }
}

#[test]
fn in_a_hand_in_box_everybody_sees_their_own() {
    if !can_act() {
        return;
    }
    let rights = Rights::DropBox { open: Duration::from_mins(10) };
    let home = home_with(Handles::Best, true, rights, None);
    chown(home.disk(), Some(0), Some(10_500)).expect("the teachers'");
    std::fs::set_permissions(home.disk(), PermissionsExt::from_mode(0o2773)).expect("allowed");
    std::fs::write(home.disk().join("bert.txt"), "his").expect("written");
    let at = SetTime::To(Time { secs: 1, nanos: 0 });
    let early = SetAttributes { modified: at, ..mode(0o644) };
    let file = home.create(&home.root, b"anna.txt", Create::Guarded(early)).expect("handed in");
    assert_eq!(home.write(&file, 0, Stable::File, b"mine"), Ok(4));
    let found = home.getattr(&file).expect("there");
    assert_eq!((found.mode, found.gid), (0o660, 10_500), "for the teachers too");
    assert!(found.modified.secs > 1_000_000, "the server says when");
    assert_eq!(home.lookup(&home.root, b"bert.txt"), Err(status(Status::NoEntry)));
    let list =
        Args::ReadDirPlus { directory: &home.root, cookie: 0, verifier: [0; 8], names: 4096, count: 8192 };
    let out = home.ask_as(&CALLER, &list);
    let listing = client::readdir(&mut Reader::new(&out), true).expect("a reply").expect("listed");
    let names: Vec<_> =
        listing.entries.iter().map(|e| e.name).filter(|name| !name.starts_with(b".")).collect();
    assert_eq!(names, [b"anna.txt"]);
    assert_eq!(home.remove(&home.root, b"bert.txt"), Err(status(Status::Access)));
    assert_eq!(
        home.rename((&home.root, b"anna.txt"), (&home.root, b"bert.txt")),
        Err(status(Status::Access))
    );
    assert_eq!(
        home.rename((&home.root, b"anna.txt"), (&home.root, b"final.txt")),
        Ok(()),
        "as programs save"
    );
    let made =
        Args::MkDir { at: Entry { directory: &home.root, name: b"d" }, with: SetAttributes::default() };
    assert_eq!(home.ask(&made, client::made).map(|_| ()), Err(status(Status::Access)));

    let Home { house, root, mut granted } = home;
    granted.rights = Rights::DropBox { open: Duration::ZERO };
    house.exports.grant(Grant { id: 1, ip: PI, mac: MAC, encrypted: false, trees: vec![granted.clone()] });
    let home = Home { house, root, granted };
    std::thread::sleep(Duration::from_millis(2100));
    assert_eq!(
        home.write(&file, 0, Stable::File, b"late"),
        Err(status(Status::Access)),
        "handed in is handed in"
    );
    assert_eq!(home.remove(&home.root, b"final.txt"), Err(status(Status::Access)));
}

#[test]
fn names_are_bytes() {
    for (handles, acts) in ways() {
        let home = home(handles, acts);
        let name = b"caf\xe9\xff";
        let file = home.create(&home.root, name, Create::Guarded(SetAttributes::default())).expect("made");
        assert!(home.disk().join(OsStr::from_bytes(name)).exists());
        assert_eq!(home.lookup(&home.root, name), Ok(file));
    }
}
