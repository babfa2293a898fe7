use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;

use super::*;
use crate::service::images::Images;
use crate::types::Version;

const LIST: &str = r#"{"os_list": [
  {"name": "Raspberry Pi OS (64-bit)", "description": "With a desktop", "url": "https://downloads.example/os.img.xz", "release_date": "2026-06-18",
   "extract_size": 5905580032, "image_download_size": 1288490188, "devices": ["pi4-64bit", "pi5-64bit"],
   "extract_sha256": "00000000000000000000000000000000000000000000000000000000000000aa"},
  {"name": "Others", "description": "", "subitems": [
    {"name": "Twice", "description": "", "url": "https://downloads.example/one.img.xz", "devices": []},
    {"name": "Twice", "description": "", "url": "https://downloads.example/two.img.xz", "devices": []},
    {"name": "Bootloader", "description": "", "url": "https://downloads.example/eeprom.zip", "extract_size": 1000},
    {"name": "Below", "description": "", "subitems_url": "below.json"},
    {"name": "Again", "description": "", "subitems_url": "list.json"}]}]}"#;

const BELOW: &str = r#"{"os_list": [{"name": "School OS", "description": "ours", "url": "school.img.xz"}, {"name": "No address"}]}"#;

struct Place {
    folder: tempfile::TempDir,
    library: Library,
    catalogues: Catalogues,
    _config: watch::Sender<Arc<Config>>,
}

fn place(sources: &dyn Fn(&Path) -> Vec<String>) -> Place {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&folder.path().join("bramble.db")).expect("a store");
    let (jobs, _) = Jobs::open(store.clone()).expect("jobs");
    let images = Arc::new(Images::default());
    let now = Moment::from_secs(1_800_000_000);
    let library = Library::open(folder.path(), store.clone(), jobs, images, now).expect("a library");
    let mut config = Config::default();
    config.catalogue.sources = sources(folder.path());
    let (config, watched) = watch::channel(Arc::new(config));
    let clients = Arc::new(Clients::load(Arc::clone(&watched.borrow()), &store).expect("clients"));
    let catalogues = Catalogues::new(&library, folder.path(), clients, watched);
    Place { folder, library, catalogues, _config: config }
}

/// A catalogue on a USB stick.
fn stick() -> Place {
    let place = place(&|folder| vec![folder.join("list.json").display().to_string()]);
    std::fs::write(place.folder.path().join("list.json"), LIST).expect("written");
    std::fs::write(place.folder.path().join("below.json"), BELOW).expect("written");
    place
}

fn names(offers: &[Offer]) -> Vec<String> {
    offers
        .iter()
        .map(|offer| [&offer.headings[..], std::slice::from_ref(&offer.name)].concat().join("/"))
        .collect()
}

#[test]
fn a_list_on_a_stick_and_what_it_leads_to() {
    let place = stick();
    let all = || place.catalogues.offers(&Wanted::default()).expect("offers");
    assert_eq!(names(&all()), Vec::<String>::new(), "nothing has been read yet");
    assert_eq!(place.catalogues.read_at(), None);
    let says = place.catalogues.read_all(&Task::unwatched()).expect("read");
    let source = place.folder.path().join("list.json").display().to_string();
    assert_eq!(says, format!("`{source}` has 5 operating systems"));
    let offers = all();
    assert_eq!(
        names(&offers),
        ["Raspberry Pi OS (64-bit)", "Others/Twice", "Others/Twice", "Others/Below/School OS"]
    );
    assert_eq!(offers[3].place, place.folder.path().join("school.img.xz").display().to_string());
    assert_eq!((offers[0].checked, offers[3].checked), (true, false));
    assert_eq!(offers[0].suggested, Some("raspberry-pi-os-64-bit".parse().expect("a name")));
    let sources = place.catalogues.sources();
    assert_eq!((sources[0].entries, sources[0].left_out), (5, 1), "one has no address");
    let with = |search: Option<&str>, all| {
        names(&place.catalogues.offers(&Wanted { search: search.map(str::to_owned), all }).expect("offers"))
    };
    assert_eq!(with(Some("DESKTOP"), false), ["Raspberry Pi OS (64-bit)"]);
    assert_eq!(with(Some("bootloader"), false), Vec::<String>::new());
    assert_eq!(with(Some("bootloader"), true), ["Others/Bootloader"]);

    // The stick is pulled: what it said is still there, also after a restart.
    std::fs::remove_file(place.folder.path().join("list.json")).expect("removed");
    let failed = place.catalogues.read_all(&Task::unwatched()).expect_err("gone").to_string();
    assert!(
        failed.starts_with(&format!("`{source}` cannot be read; is the disk that it is on attached?")),
        "{failed}"
    );
    *place.catalogues.shelf.lock().expect("free") = None;
    assert_eq!(all().len(), 4);
    assert_eq!(place.catalogues.sources()[0].error.as_deref(), Some(failed.as_str()));
}

#[test]
fn an_entry_is_named_by_its_number_or_its_name() {
    let place = stick();
    place.catalogues.read_all(&Task::unwatched()).expect("read");
    let by_name = place.catalogues.request("raspberry pi os (64-BIT)", None).expect("an entry");
    let offers = place.catalogues.offers(&Wanted::default()).expect("offers");
    assert_eq!(place.catalogues.request(&offers[0].id, None).expect("the same"), by_name);
    assert_eq!(
        (by_name.source.as_str(), by_name.name.as_str()),
        ("https://downloads.example/os.img.xz", "raspberry-pi-os-64-bit")
    );
    assert_eq!(by_name.expect.content.expect("a sum")[31], 0xaa);
    assert_eq!(by_name.origin.expect("an entry").file_bytes, Some(1_288_490_188));
    let trixie: ImageName = "trixie".parse().expect("a name");
    assert_eq!(place.catalogues.request(&offers[0].id, Some(trixie.clone())).expect("named").name, trixie);
    let say = |text: &str| place.catalogues.request(text, None).expect_err("refused").to_string();
    assert_eq!(
        say("Twice"),
        format!(
            "there are several `Twice` in the catalogue; name one by its number: {}, {}",
            offers[1].id, offers[2].id
        )
    );
    assert_eq!(
        say("Nothing"),
        "there is no `Nothing` in the catalogue, and a file would be named with its whole path; `bramble image catalogue` shows what there is, `--refresh` reads it anew"
    );
    assert_ne!(offers[1].id, offers[2].id);
}

#[test]
fn a_newer_release_is_announced_until_it_is_here() {
    let place = stick();
    place.catalogues.read_all(&Task::unwatched()).expect("read");
    let request = place
        .catalogues
        .request("Raspberry Pi OS (64-bit)", Some("trixie".parse().expect("a name")))
        .expect("an entry");
    let publish = |version: u32, origin: Option<&str>| {
        let version = Version(std::num::NonZeroU32::new(version).expect("a number"));
        let new = crate::store::images::NewVersion {
            image: &crate::types::ImageVersion { name: request.name.clone(), version },
            nonce: 1,
            source: "x",
            note: "",
            current: true,
            sha256: None,
            bytes: 1,
            files: 1,
            facts: "{}",
            at: Moment::from_secs(5),
            job: None,
            origin,
        };
        place.library.store.image_publish(&new).expect("published");
    };
    publish(1, None);
    assert!(!place.catalogues.is_of_use().expect("known"));
    let version = std::cell::Cell::new(1);
    let came_from = |released: &str| {
        let origin = Origin { released: released.to_owned(), ..request.origin.clone().expect("an entry") };
        version.set(version.get() + 1);
        publish(version.get(), Some(&serde_json::to_string(&origin).expect("JSON")));
        place.catalogues.news().expect("news").into_iter().map(|news| news.says).collect::<Vec<_>>()
    };
    let id = place.catalogues.offers(&Wanted::default()).expect("offers")[0].id.clone();
    assert_eq!(
        came_from("2026-01-15"),
        [format!(
            "Raspberry Pi OS (64-bit) of 2026-06-18 is out, and `trixie` is that of 2026-01-15; import it as a new version: bramble image import {id} --name trixie"
        )]
    );
    assert!(place.catalogues.is_of_use().expect("known"));
    let offers = place.catalogues.offers(&Wanted::default()).expect("offers");
    assert_eq!(
        offers[0].images,
        [From { image: request.name.clone(), released: "2026-01-15".to_owned(), outdated: true }]
    );
    assert_eq!(came_from("2026-06-18"), Vec::<String>::new());
    assert_eq!(came_from("2027-01-01"), Vec::<String>::new());
}

/// A server with one list, which answers `times` requests.
fn serve(list: String, times: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("known");
    std::thread::spawn(move || {
        for stream in listener.incoming().take(times) {
            let Ok(mut stream) = stream else { return };
            let lines = BufReader::new(stream.try_clone().expect("another")).lines();
            lines.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", list.len());
            let _ = stream.write_all((head + &list).as_bytes());
        }
    });
    format!("http://{address}")
}

#[test]
fn lists_of_a_web_server_are_bounded_and_one_that_fails_leaves_the_others() {
    // Each list leads to ten more, for ever.
    let many: Vec<String> =
        (0..10).map(|n| format!(r#"{{"name": "more {n}", "subitems_url": "{n}/list.json"}}"#)).collect();
    let endless = format!(r#"{{"os_list": [{{"name": "One", "url": "one.img.xz"}}, {}]}}"#, many.join(","));
    let (endless, web_page) = (serve(endless, 200), serve("<html>log in</html>".to_owned(), 5));
    let place = place(&|_| vec![format!("{web_page}/os.json"), format!("{endless}/list.json")]);
    let says = place.catalogues.read_all(&Task::unwatched()).expect("one of them was read");
    let (first, second) = says.split_once('\n').expect("two lines");
    assert_eq!(
        first,
        format!(
            "`{web_page}/os.json` is not a list of operating systems: it is a web page and not a list; the address leads to something else, such as the log-in page of a network"
        )
    );
    assert_eq!(second, format!("`{endless}/list.json` has {} operating systems", limits::CATALOGUE_LISTS));
    let sources = place.catalogues.sources();
    assert!(sources[0].error.is_some() && sources[0].read_at.is_none() && sources[1].error.is_none());
    assert!(sources[1].left_out > 0);
}

#[test]
fn names_for_images() {
    #[rustfmt::skip]
    let rows = [
        ("Raspberry Pi OS (64-bit)", Some("raspberry-pi-os-64-bit")), ("Ubuntu 26.04 LTS", Some("ubuntu-26.04-lts")),
        ("..-", None), ("日本", None), ("A name that is far too long for an image of ours", Some("a-name-that-is-far-too-long-for")),
    ];
    for (text, expected) in rows {
        assert_eq!(suggest(text).map(|name| name.to_string()).as_deref(), expected, "{text}");
    }
}
