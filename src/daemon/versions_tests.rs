//! Old versions are removed once a day, but none that somebody boots or would have back.

use std::num::NonZeroU32;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::parts::Parts;
use super::services::api;
use crate::cli::Serve;
use crate::config::load;
use crate::service::images::import::Request;
use crate::types::{ImageRef, ImageVersion, Moment, Version};

fn image(text: &str) -> ImageRef {
    text.parse().expect("an image")
}

#[test]
fn old_versions_go_but_none_that_somebody_would_have_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::write(
        at("network"),
        "config interface 'lan'\n\toption device 'lo'\n\toption proto 'static'\n\toption ipaddr '127.77.1.1'\n\toption netmask '255.255.255.0'\n",
    )
    .expect("written");
    std::fs::write(at("dhcp"), "").expect("written");
    let text = format!(
        "config bramble 'main'\n\toption enabled '1'\n\toption data '{}'\n\tlist network 'lan'\n\n\
         config images 'images'\n\toption keep '1'\n\n\
         config room 'pinned'\n\toption image 'os@3'\n\nconfig room 'attic'\n\n\
         config client\n\toption mac 'dc:a6:32:01:02:03'\n\toption name 'lab-01'\n\toption image 'os@9'\n",
        at("data").display()
    );
    std::fs::write(at("bramble"), text).expect("written");
    let options = Serve { config: at("bramble"), agents: at("agents"), ubus: at("ubus"), any_storage: true };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _inside = runtime.enter();
    let config = load::load(&options.config).expect("right");
    let parts = Parts::open(Arc::new(config), &options).expect("opened");

    let tree = at("tree");
    for folder in ["etc", "sbin"] {
        std::fs::create_dir_all(tree.join(folder)).expect("made");
    }
    std::fs::write(tree.join("etc/os-release"), "PRETTY_NAME=\"Test OS\"\n").expect("written");
    // The header of a program for a Pi of 64 bits.
    let mut init = [0; 64];
    init[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    (init[16], init[18]) = (2, 183);
    std::fs::write(tree.join("sbin/init"), init).expect("written");
    let done = |job: u64| {
        let end = parts.jobs.wait(job).expect("known");
        assert_eq!(end.state, crate::service::jobs::JobState::Done, "{}", end.message);
    };
    for _ in 1..=9 {
        let request = Request::new(tree.to_str().expect("UTF-8"), "os".parse().expect("a name"));
        done(parts.library.import(request).expect("started"));
    }
    done(parts.library.make_draft(&image("os@2")).expect("started"));
    parts.store.room_before_set(&"attic".parse().expect("a room"), Some(&image("os@4"))).expect("noted");
    let seven =
        ImageVersion { name: image("os").name, version: Version(NonZeroU32::new(7).expect("a number")) };
    parts.library.promote(&seven).expect("promoted");

    let (reload, _told) = mpsc::channel(1);
    let api = api(&parts, reload, &options);
    let left = || {
        let list = parts.library.list().expect("a list");
        list[0].versions.iter().map(|one| one.version.0.get()).collect::<Vec<_>>()
    };
    assert_eq!(left(), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    api.prune_images(Moment::from_secs(1_800_000_000));
    // 2 is what the draft was made of, 3 a room's, 4 a roll-back would give the attic; 7 is current and 9 was before that, and is
    // lab-01's. Of the others one is kept, the newest.
    assert_eq!(left(), [2, 3, 4, 7, 8, 9]);
    parts.jobs.close();
}
