//! The draft of an image, to the client that maintains it: all of root's rights in it, and none outside.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use super::house::{House, MAC, PI, tree};
use super::tree::Handles;
use super::*;
use crate::proto::nfs3::Args;
use crate::proto::nfs3::args::{Create, Entry, Node as Special, Stable};
use crate::proto::nfs3::reply::client;
use crate::proto::nfs3::types::SetAttributes;
use crate::proto::xdr::Reader;
use crate::sys::acting::can_act;
use crate::types::MacAddr;

const ROOT: Identity<'static> = Identity { uid: 0, gid: 0, gids: &[] };
/// Debian's `www-data`, and a group it is in.
const WEB: Identity<'static> = Identity { uid: 33, gid: 33, gids: &[2000] };

struct Maintained {
    house: House,
    draft: PathBuf,
}

impl Maintained {
    fn new(handles: Handles) -> Self {
        let house = House::new(handles);
        let draft = house.dir.path().join("draft");
        for folder in ["etc", "var/www", "tmp"] {
            std::fs::create_dir_all(draft.join(folder)).expect("made");
        }
        std::fs::write(draft.join("etc/shadow"), "root:*:").expect("written");
        let allow = |name: &str, mode| {
            std::fs::set_permissions(draft.join(name), std::fs::Permissions::from_mode(mode))
                .expect("allowed");
        };
        allow("etc/shadow", 0o640);
        allow("tmp", 0o1777);
        allow("var/www", 0o2775);
        std::os::unix::fs::chown(draft.join("var/www"), None, Some(2000)).expect("given");
        house.images.put_draft(Tree { draft: true, ..tree(&draft, 1) }, Some(MAC));
        Self { house, draft }
    }

    fn ask(&self, visitor: &Visitor, who: &Identity<'_>, args: &Args<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        if self.house.exports.nfs(visitor, who, args, Patience::Inline, &mut out).is_err() {
            let done = self.house.exports.nfs(visitor, who, args, Patience::Blocking, &mut out);
            assert!(matches!(done, Ok(None)), "the pool always has an answer");
        }
        out
    }

    fn status(&self, visitor: &Visitor, who: &Identity<'_>, args: &Args<'_>) -> u32 {
        let out = self.ask(visitor, who, args);
        u32::from_be_bytes(out[..4].try_into().expect("a status"))
    }

    fn root(&self, visitor: &Visitor) -> Handle {
        let (root, mounted) = self.house.exports.mount(visitor, b"/draft/trixie").expect("mounted");
        assert!(matches!(mounted, Mounted::Image(_)), "the timeline goes on as with any root");
        root
    }

    fn lookup(&self, visitor: &Visitor, directory: &Handle, name: &[u8]) -> Handle {
        let out = self.ask(visitor, &ROOT, &Args::Lookup(Entry { directory, name }));
        client::lookup(&mut Reader::new(&out)).expect("a reply").expect("there").0
    }

    fn create(
        &self,
        visitor: &Visitor,
        who: &Identity<'_>,
        directory: &Handle,
        name: &[u8],
    ) -> Option<Handle> {
        let how = Create::Guarded(SetAttributes { mode: Some(0o644), ..SetAttributes::default() });
        let out = self.ask(visitor, who, &Args::Create { at: Entry { directory, name }, how });
        client::made(&mut Reader::new(&out)).expect("a reply").ok().map(|(handle, ..)| handle)
    }
}

#[test]
fn the_client_that_maintains_a_draft_has_it_as_its_own_root() {
    if !can_act() {
        return assert_ne!(nix::unistd::geteuid().as_raw(), 0, "only for want of privilege");
    }
    for handles in [Handles::Best, Handles::Indexed] {
        let maintained = Maintained::new(handles);
        let visitor = maintained.house.visitor();
        assert_eq!(maintained.house.exports.paths(&visitor), ["/image/trixie/1", "/draft/trixie"]);
        let root = maintained.root(&visitor);
        let agent = maintained.lookup(&visitor, &maintained.lookup(&visitor, &root, b".bramble"), b"agent");
        let read = Args::Read { file: &agent, offset: 0, count: 100 };
        assert_eq!(maintained.status(&visitor, &ROOT, &read), 0, "it boots with the agent");

        // Root does as root does, everybody else as they may.
        let etc = maintained.lookup(&visitor, &root, b"etc");
        let shadow = maintained.lookup(&visitor, &etc, b"shadow");
        let write = Args::Write { file: &shadow, offset: 0, stable: Stable::File, data: b"ROOT" };
        assert_eq!(maintained.status(&visitor, &WEB, &write), Status::Access as u32);
        let read = Args::Read { file: &shadow, offset: 0, count: 100 };
        assert_eq!(maintained.status(&visitor, &WEB, &read), Status::Access as u32);
        assert_eq!(maintained.status(&visitor, &ROOT, &write), 0);
        assert_eq!(std::fs::read_to_string(maintained.draft.join("etc/shadow")).expect("read"), "ROOT:*:");
        assert!(maintained.create(&visitor, &WEB, &etc, b"evil").is_none());
        let passwd = maintained.create(&visitor, &ROOT, &etc, b"passwd").expect("made");
        let to =
            SetAttributes { uid: Some(33), gid: Some(42), mode: Some(0o4755), ..SetAttributes::default() };
        assert_eq!(
            maintained.status(&visitor, &ROOT, &Args::SetAttr { object: &passwd, to, guard: None }),
            0
        );
        let meta = std::fs::metadata(maintained.draft.join("etc/passwd")).expect("there");
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (33, 42, 0o4755));
        let to = SetAttributes { uid: Some(0), ..SetAttributes::default() };
        assert_eq!(
            maintained.status(&visitor, &WEB, &Args::SetAttr { object: &passwd, to, guard: None }),
            Status::Perm as u32,
            "nobody but root gives files away"
        );

        // Groups count, and what is made is whose call made it.
        let www = maintained.lookup(&visitor, &maintained.lookup(&visitor, &root, b"var"), b"www");
        maintained.create(&visitor, &WEB, &www, b"index.html").expect("by its group");
        let meta = std::fs::metadata(maintained.draft.join("var/www/index.html")).expect("there");
        assert_eq!((meta.uid(), meta.gid()), (33, 2000));

        let device = |who| {
            let with = SetAttributes { mode: Some(0o600), ..SetAttributes::default() };
            let at = Entry { directory: &maintained.lookup(&visitor, &root, b"tmp"), name: b"null" };
            maintained.status(&visitor, who, &Args::MkNod { at, node: Special::Character(with, (1, 3)) })
        };
        assert_eq!((device(&WEB), device(&ROOT)), (Status::Perm as u32, 0));
        let meta = std::fs::metadata(maintained.draft.join("tmp/null")).expect("there");
        assert!(meta.file_type().is_char_device());
        assert_eq!(meta.rdev(), nix::sys::stat::makedev(1, 3));

        // The version beside it stays as it is.
        let (version, _) = maintained.house.exports.mount(&visitor, b"/image/trixie/1").expect("mounted");
        let how = Create::Guarded(SetAttributes::default());
        let args = Args::Create { at: Entry { directory: &version, name: b"new" }, how };
        assert_eq!(maintained.status(&visitor, &ROOT, &args), Status::ReadOnly as u32);
    }
}

#[test]
fn nobody_else_has_the_draft_and_nobody_once_it_is_published() {
    if !can_act() {
        return assert_ne!(nix::unistd::geteuid().as_raw(), 0, "only for want of privilege");
    }
    let maintained = Maintained::new(Handles::Best);
    let house = &maintained.house;
    let visitor = house.visitor();
    let root = maintained.root(&visitor);
    let get = Args::GetAttr(&root);
    assert_eq!(maintained.status(&visitor, &ROOT, &get), 0);

    let neighbour = Ipv4Addr::new(10, 1, 1, 6);
    house.clients.bound(neighbour, MacAddr::new([0xdc, 0xa6, 0x32, 9, 9, 9]), "lan");
    let other = house.exports.visitor(neighbour, None);
    assert!(house.exports.mount(&other, b"/draft/trixie").is_err());
    assert_eq!(maintained.status(&other, &ROOT, &get), Status::Stale as u32, "with a handle it was told");
    let stranger = house.exports.visitor(Ipv4Addr::new(10, 1, 1, 66), None);
    assert_eq!(maintained.status(&stranger, &ROOT, &get), Status::Stale as u32);

    // On the connection it has, without asking who it is again.
    let name = "trixie".parse().expect("a name");
    house.images.withdraw_draft(&name);
    let how = Create::Guarded(SetAttributes::default());
    let create = Args::Create { at: Entry { directory: &root, name: b"late" }, how };
    for args in [&get, &create] {
        assert_eq!(maintained.status(&visitor, &ROOT, args), Status::Stale as u32);
    }
    assert!(!maintained.draft.join("late").exists());
    assert!(house.exports.mount(&house.visitor(), b"/draft/trixie").is_err());
    // Another draft of that image is another tree.
    house.images.put_draft(Tree { draft: true, id: 2, nonce: 99, ..tree(&maintained.draft, 1) }, Some(MAC));
    assert_eq!(maintained.status(&house.visitor(), &ROOT, &get), Status::Stale as u32);
    house.clients.unbound(PI);
    assert!(house.exports.mount(&house.visitor(), b"/draft/trixie").is_err(), "an address that is nobody's");
}
