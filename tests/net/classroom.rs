//! The whole daemon and a classroom of simulated Pis: boot, reload, crash, nonsense from the network.

use std::ops::ControlFlow;
use std::path::Path;

use bramble::sim::classroom::Classroom;
use bramble::sim::pi::census::Census;
use bramble::sim::pi::root::READ;
use bramble::sim::pi::{Options, Stage, Up};
use bramble::sim::sample::Release;
use bramble::types::chain;

pub const BRAMBLE: &str = env!("CARGO_BIN_EXE_bramble");

/// A classroom of `clients` boards with the sample imported. The folder goes with the first value.
pub fn classroom(clients: u16) -> (tempfile::TempDir, Classroom) {
    // Not `/tmp`, which is in memory on many systems.
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
    let room = Classroom::open(Path::new(BRAMBLE), folder.path(), clients);
    let room = room.unwrap_or_else(|error| panic!("{}", chain(&error)));
    room.import_sample(Release::Trixie).unwrap_or_else(|error| panic!("{}", chain(&error)));
    (folder, room)
}

/// Has homes and shares go unencrypted, from the next log-in on: then what keeps others out is the address they come from.
pub fn in_the_clear(room: &mut Classroom) {
    room.server.site_mut().more_bramble.push_str("\nconfig homes 'homes'\n\toption encrypt '0'\n");
    room.server.site().write().expect("written");
    room.server.reload().expect("reloaded");
}

/// Boots all; every one must come up.
pub fn boot(room: &mut Classroom, options: Options) -> Vec<Up> {
    let outcomes = room.boot(options, |_| ControlFlow::Continue(())).expect("a classroom");
    let failed: Vec<String> =
        outcomes.iter().filter_map(|o| o.as_ref().err().map(ToString::to_string)).collect();
    assert!(failed.is_empty(), "{}\n{}", failed.join("\n"), room.server.last_words());
    outcomes.into_iter().map(|outcome| *outcome.expect("checked above")).collect()
}

#[test]
fn a_classroom_boots_and_reads_exactly_what_was_imported() {
    crate::harness::isolated(|| {
        let (folder, mut room) = classroom(6);
        let ups = boot(&mut room, Options::default());
        let original = Census::of(&folder.path().join("sample"), READ as usize).expect("the sample");
        assert!(original.files > 250 && original.bytes > 10_000_000, "{original:?}");
        for (up, n) in ups.iter().zip(1..) {
            assert_eq!(up.census, original, "{:?}", up.board);
            assert_eq!(up.personality.name.to_string(), format!("seat-{n:02}"));
            assert_eq!(up.personality.image.to_string(), "sample@1");
            assert_eq!(up.stages.last().map(|(stage, _)| *stage), Some(Stage::Up));
            assert!(up.tftp_bytes > 1_000_000, "{}", up.tftp_bytes);
            assert_eq!(up.root.reconnects(), 0);
        }
        let addresses: std::collections::BTreeSet<_> = ups.iter().map(|up| up.given.address).collect();
        assert_eq!(addresses.len(), 6);
    });
}

#[test]
fn reload_and_crash_take_nothing_from_running_clients() {
    crate::harness::isolated(|| {
        let (_folder, mut room) = classroom(3);
        let quick = Options { skip_walk: true };
        let mut ups = boot(&mut room, quick);
        let before: Vec<_> = ups
            .iter_mut()
            .map(|up| {
                let open = up.root.open("usr/lib/os-release").expect("found");
                let content = up.root.content(&open).expect("read");
                (open, content)
            })
            .collect();
        let check = |ups: &mut Vec<Up>, shows: &str| {
            for (up, (open, content)) in ups.iter_mut().zip(&before) {
                assert_eq!(
                    &up.root.content(open).unwrap_or_else(|e| panic!("{shows}: {}", chain(&e))),
                    content
                );
            }
        };

        room.server.site_mut().more_bramble = "\nconfig room 'other'\n\toption image 'sample'\n".to_owned();
        room.server.reload().expect("reloaded");
        check(&mut ups, "after a reload");
        room.server.site_mut().more_bramble = "\nconfig nonsense\n\toption image\n".to_owned();
        room.server.reload().expect("asked to reload");
        check(&mut ups, "after a bad configuration");
        assert!(ups.iter().all(|up| up.root.reconnects() == 0), "a reload closes no connection");
        room.server.site_mut().more_bramble.clear();
        room.server.site().write().expect("written");

        room.server.kill().expect("killed");
        room.server.again().expect("started again");
        check(&mut ups, "after a crash");
        assert!(ups.iter().all(|up| up.root.reconnects() > 0), "the connection was to the old process");

        let addresses: Vec<_> = ups.iter().map(|up| up.given.address).collect();
        drop(ups);
        let again = boot(&mut room, quick);
        assert_eq!(again.iter().map(|up| up.given.address).collect::<Vec<_>>(), addresses);
        assert!(room.server.stop().expect("stops when asked to").success());
    });
}
