//! Any bytes as a stream of RPC records: cut, parsed, encoded again; and the calls that are NFS carried out on a small tree,
//! and on a home that they may change as they like, within its quota.
//!
//! A stranger cannot make a handle, so a handle of one byte here stands for a real one: the fuzzer gets behind the signature.
#![no_main]

use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock};

use bramble::config::load::{Source, Sources, from_sources};
use bramble::proto::nfs3::access::Identity;
use bramble::proto::nfs3::args::Entry;
use bramble::proto::nfs3::{self, Args, Handle, Procedure};
use bramble::proto::rpc::{Call, Framing, reply};
use bramble::proto::xdr::Reader;
use bramble::proto::{mount, portmap};
use bramble::service::clients::Clients;
use bramble::service::exports::grants::{Grant, Granted, Identity as Person, Rights, WritableTree};
use bramble::service::exports::handle::Space;
use bramble::service::exports::tree::Handles;
use bramble::service::exports::{Exports, Patience, Visitor, virtuals};
use bramble::service::images::{Facts, Images, Tree};
use bramble::types::{Arch, ByteSize, ImageVersion, MacAddr, Version, limits};

const NETWORK: &str =
    "config interface 'lan'\n\toption device 'br-lan'\n\toption proto 'static'\n\toption ipaddr '192.168.1.1/24'\n";

/// Whose the home is.
const PERSON: u32 = 10_001;

const PI: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 5);

struct House {
    exports: Exports,
    visitor: Visitor,
    handles: Vec<Handle>,
}

static HOUSES: LazyLock<[House; 2]> = LazyLock::new(|| [Handles::Best, Handles::Indexed].map(house));

fn house(handles: Handles) -> House {
    let root = std::env::temp_dir().join(format!("bramble-fuzz-{}-{handles:?}", std::process::id())).join("1");
    std::fs::create_dir_all(root.join("etc")).expect("made");
    std::fs::write(root.join("etc/passwd"), vec![b'x'; 70_000]).expect("written");
    let _ = std::os::unix::fs::symlink("/usr/bin", root.join("bin"));
    std::fs::write(root.with_file_name("agent-arm64"), "agent").expect("written");
    let source = |name: &str, text: &str| Source { name: name.to_owned(), text: Some(text.into()) };
    let sources = Sources {
        bramble: source("bramble", "config bramble 'main'\n\toption data '/mnt/x'\n\tlist network 'lan'\n"),
        network: source("network", NETWORK),
        dhcp: source("dhcp", ""),
        system: source("system", ""),
    };
    let config = from_sources(&sources).unwrap_or_else(|problems| panic!("{problems:?}"));
    let clients = Arc::new(Clients::new(Arc::new(config)));
    let images = Arc::new(Images::default());
    let image = ImageVersion { name: "t".parse().expect("a name"), version: Version(1.try_into().expect("one")) };
    let facts = Facts {
        pretty_name: String::new(),
        codename: String::new(),
        arch: Arch::Arm64,
        boot_dir: None,
        kernels: vec![],
        models: vec![],
        tftp_bytes: 0,
        warnings: vec![],
    };
    images.publish(Tree { image: image.clone(), id: 1, nonce: 5, root: root.clone(), facts, draft: false });
    let mac = MacAddr::new([0xdc, 0xa6, 0x32, 1, 2, 3]);
    clients.bound(PI, mac, "lan");
    clients.boots(mac, image);
    let sources = virtuals::Sources {
        agents: root.with_file_name(""),
        kept: root.with_file_name("kept"),
        personality: Box::new(|_, _| vec![b'{'; 500]),
    };
    let exports = Exports::new(clients, images, &[7; 16], sources, handles);
    let home = root.with_file_name("home");
    std::fs::create_dir_all(home.join("folder")).expect("made");
    std::fs::write(home.join("file"), "text").expect("written");
    for path in [home.clone(), home.join("folder"), home.join("file")] {
        let _ = std::os::unix::fs::chown(path, Some(PERSON), Some(PERSON));
    }
    let tree = WritableTree { space: Space::Home, id: PERSON, nonce: 5, root: home, path: "/home/p".to_owned() };
    let identity = Person { uid: PERSON, gid: PERSON, gids: vec![] };
    let quota = Some(ByteSize(16 << 20));
    let granted = Granted { tree, identity, callers: PERSON, rights: Rights::ReadWrite, quota };
    exports.grant(Grant { id: 1, ip: PI, mac, encrypted: false, trees: vec![granted] });
    let visitor = exports.visitor(PI, None);
    let top = exports.mount(&visitor, b"/image/t/1").expect("mounted").0;
    let home = exports.mount(&visitor, b"/home/p").expect("mounted").0;
    let mut handles = vec![top.clone(), home.clone()];
    let paths: [&[&[u8]]; 6] = [
        &[b"etc"],
        &[b"etc", b"passwd"],
        &[b"bin"],
        &[b".bramble"],
        &[b".bramble", b"agent"],
        &[b".bramble", b"personality.json"],
    ];
    for path in paths {
        let find = |at: Handle, name: &&[u8]| {
            let mut out = Vec::new();
            let who = Identity { uid: 0, gid: 0, gids: &[] };
            let args = Args::Lookup(Entry { directory: &at, name });
            let _ = exports.nfs(&visitor, &who, &args, Patience::Blocking, &mut out);
            let found = nfs3::reply::client::lookup(&mut Reader::new(&out));
            found.expect("a reply").expect("found").0
        };
        handles.push(path.iter().fold(top.clone(), find));
    }
    for name in [b"folder".as_slice(), b"file"] {
        let mut out = Vec::new();
        let who = Identity { uid: 0, gid: 0, gids: &[] };
        let args = Args::Lookup(Entry { directory: &home, name });
        let _ = exports.nfs(&visitor, &who, &args, Patience::Blocking, &mut out);
        handles.push(nfs3::reply::client::lookup(&mut Reader::new(&out)).expect("a reply").expect("found").0);
    }
    House { exports, visitor, handles }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((which, stream)) = bytes.split_first() else { return };
    let house = &HOUSES[usize::from(which % 2)];
    let mut framing = Framing::default();
    // What the network delivers at once is as arbitrary as the rest.
    for part in stream.chunks(usize::from(which / 2) * 8 + 1) {
        framing.buffer().extend_from_slice(part);
        loop {
            match framing.next_record() {
                Ok(Some(record)) => one(house, record),
                Ok(None) => break,
                Err(_) => return,
            }
        }
        assert!(framing.buffer().len() <= limits::RPC_RECORD + 4 + part.len());
    }
    one(house, stream);
});

fn one(house: &House, record: &[u8]) {
    let mut call = match Call::parse(record) {
        Ok(call) => call,
        Err(problem) => {
            reply::not_a_call(&mut Vec::new(), problem);
            return;
        }
    };
    let mut again = Vec::new();
    call.encode_header(&mut again);
    assert_eq!(Call::parse(&again).map(|c| c.credential), Ok(call.credential.clone()));
    let _ = mount::Args::parse(call.procedure, call.args);
    if let Ok(Some(args)) = portmap::Args::parse(call.procedure, call.args) {
        args.answer(&mut Vec::new());
    }
    let Some(procedure) = Procedure::from_number(call.procedure % 23) else { return };
    let Ok(args) = Args::parse(procedure, &mut call.args) else { return };
    let mut encoded = Vec::new();
    args.encode(&mut encoded);
    assert_eq!(Args::parse(procedure, &mut Reader::new(&encoded)), Ok(args));

    let args = with_real_handles(house, args);
    let mut who = Identity::of(&call.credential);
    if who.uid % 2 == 0 {
        who.uid = PERSON;
    }
    let mut out = vec![1, 2, 3];
    if house.exports.nfs(&house.visitor, &who, &args, Patience::Inline, &mut out).is_err() {
        assert_eq!(out, [1, 2, 3], "nothing is left behind");
        let done = house.exports.nfs(&house.visitor, &who, &args, Patience::Blocking, &mut out);
        assert!(matches!(done, Ok(None)));
    }
    assert!(out.len() >= 3 && out.len() <= limits::NFS_READ as usize + 4096);
}

fn with_real_handles<'a>(house: &'a House, args: Args<'a>) -> Args<'a> {
    let real = |handle: &'a [u8]| -> &'a [u8] {
        match handle {
            [n] => &house.handles[usize::from(*n) % house.handles.len()],
            other => other,
        }
    };
    let entry = |at: Entry<'a>| Entry { directory: real(at.directory), name: at.name };
    match args {
        Args::GetAttr(h) => Args::GetAttr(real(h)),
        Args::Lookup(at) => Args::Lookup(entry(at)),
        Args::Access { object, wanted } => Args::Access { object: real(object), wanted },
        Args::ReadLink(h) => Args::ReadLink(real(h)),
        Args::Read { file, offset, count } => Args::Read { file: real(file), offset, count },
        Args::ReadDir { directory, cookie, verifier, count } => {
            Args::ReadDir { directory: real(directory), cookie, verifier: known(verifier), count }
        }
        Args::ReadDirPlus { directory, cookie, verifier, names, count } => {
            let verifier = known(verifier);
            Args::ReadDirPlus { directory: real(directory), cookie, verifier, names, count }
        }
        Args::FsStat(h) => Args::FsStat(real(h)),
        Args::FsInfo(h) => Args::FsInfo(real(h)),
        Args::PathConf(h) => Args::PathConf(real(h)),
        Args::Remove(at) => Args::Remove(entry(at)),
        Args::RmDir(at) => Args::RmDir(entry(at)),
        Args::SetAttr { object, to, guard } => Args::SetAttr { object: real(object), to, guard },
        Args::Write { file, offset, stable, data } => Args::Write { file: real(file), offset, stable, data },
        Args::Create { at, how } => Args::Create { at: entry(at), how },
        Args::MkDir { at, with } => Args::MkDir { at: entry(at), with },
        Args::SymLink { at, with, target } => Args::SymLink { at: entry(at), with, target },
        Args::MkNod { at, node } => Args::MkNod { at: entry(at), node },
        Args::Rename { from, to } => Args::Rename { from: entry(from), to: entry(to) },
        Args::Link { file, to } => Args::Link { file: real(file), to: entry(to) },
        Args::Commit { file, offset, count } => Args::Commit { file: real(file), offset, count },
        other => other,
    }
}

/// The tree's own verifier in place of zeroes.
fn known(verifier: [u8; 8]) -> [u8; 8] {
    if verifier == [0; 8] { 5_u64.to_be_bytes() } else { verifier }
}
