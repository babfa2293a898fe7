//! Imports from a web server that behaves and from one that does not, through the whole of the importer.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bramble::service::images::import::{Origin, Request};
use bramble::service::images::source::Sums;
use bramble::service::images::web::{Patience, Settings};
use bramble::service::jobs::{JobState, JobStatus};
use bramble::sim::sample::{Release, write_tree};

use super::disks::{can_make_images, make_image};
use super::support::{Place, assert_same, has_program, sh};

/// How a server treats who asks for a file.
#[derive(Clone, Copy)]
struct Manner {
    /// Bytes after which a connection breaks.
    breaks_after: usize,
    ranges: bool,
    /// What is said of the length beyond what is there.
    lies: usize,
    /// Waits after each 64 KiB.
    pause: Duration,
}

const GOOD: Manner = Manner { breaks_after: usize::MAX, ranges: true, lies: 0, pause: Duration::ZERO };

/// A server with the files of one folder.
struct Server {
    address: String,
    requests: Arc<AtomicUsize>,
}

impl Server {
    fn new(folder: &Path, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("known"));
        let requests = Arc::new(AtomicUsize::new(0));
        let (folder, counted) = (folder.to_owned(), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                counted.fetch_add(1, Ordering::Relaxed);
                let folder = folder.clone();
                std::thread::spawn(move || answer(&folder, stream, manner));
            }
        });
        Self { address, requests }
    }

    fn url(&self, file: &str) -> String {
        format!("{}/{file}", self.address)
    }
}

fn answer(folder: &Path, mut stream: TcpStream, manner: Manner) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let name = lines.next()?.ok()?.split(' ').nth(1)?.trim_start_matches('/').to_owned();
    let (mut from, mut to) = (None, None);
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        if let Some(range) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            let (begin, end) = range.split_once('-')?;
            from = begin.parse().ok();
            to = end.parse::<usize>().ok().map(|end| end + 1);
        }
    }
    let all = std::fs::read(folder.join(name)).ok()?;
    let len = all.len() + manner.lies;
    let (from, to) = if manner.ranges { (from, to.unwrap_or(len)) } else { (None, len) };
    let head = match from {
        Some(from) if from >= all.len() => "416 Range Not Satisfiable\r\nContent-Length: 0".to_owned(),
        Some(from) => format!(
            "206 Partial Content\r\nContent-Range: bytes {from}-{}/{len}\r\nContent-Length: {}",
            to - 1,
            to - from
        ),
        None => format!("200 OK\r\nContent-Length: {len}"),
    };
    stream
        .write_all(format!("HTTP/1.1 {head}\r\nETag: \"one\"\r\nConnection: close\r\n\r\n").as_bytes())
        .ok()?;
    let rest = all.get(from.unwrap_or(0)..to.min(all.len())).unwrap_or_default();
    for piece in rest[..manner.breaks_after.min(rest.len())].chunks(64 << 10) {
        stream.write_all(piece).ok()?;
        std::thread::sleep(manner.pause);
    }
    Some(())
}

/// A place that does not wait long for servers.
fn place() -> Place {
    let place = Place::new();
    let patience = Patience {
        found: Duration::from_secs(5),
        silent: Duration::from_secs(2),
        text: Duration::from_secs(5),
        pauses: vec![Duration::ZERO; 4],
    };
    place.library.web().set(Settings { patience, ..Settings::default() });
    place
}

fn request(name: &str, url: &str) -> Request {
    Request::new(url, name.parse().expect("a name"))
}

fn import(place: &Place, request: Request) -> JobStatus {
    let job = place.library.import(request).expect("started");
    place.jobs.wait(job).expect("known")
}

fn imported(place: &Place, request: Request) -> PathBuf {
    let name = request.name.clone();
    let end = import(place, request);
    assert_eq!(end.state, JobState::Done, "{}", end.message);
    place.library.images().resolve(&name.as_str().parse().expect("an image")).expect("there").root.clone()
}

fn refused(place: &Place, request: Request) -> String {
    let end = import(place, request);
    assert_eq!(end.state, JobState::Failed, "{}", end.message);
    assert_eq!(place.left(), Vec::<String>::new(), "nothing is left behind");
    end.message
}

/// `sha256sum` of a file.
fn sum(folder: &Path, file: &str) -> bramble::service::images::source::Sum {
    let out = std::process::Command::new("sha256sum").arg(folder.join(file)).output().expect("sha256sum");
    let text = String::from_utf8(out.stdout).expect("UTF-8");
    bramble::service::images::import::parse_sum(text.split(' ').next().expect("a sum")).expect("a sum")
}

/// An archive of a sample, in several packings, and the tree.
fn archives(folder: &Path) -> PathBuf {
    write_tree(&folder.join("source"), Release::Trixie).expect("a sample");
    sh(
        folder,
        "head -c 3M /dev/urandom > source/usr/noise && tar -C source -cf a.tar . && xz -0k a.tar && gzip -1k a.tar && zstd -q -1 a.tar",
    );
    folder.join("source")
}

#[test]
fn archives_come_as_they_are_whatever_the_line_does() {
    let place = place();
    let folder = place.folder.path().to_owned();
    archives(&folder);
    let plain = place.imported("plain", &folder.join("a.tar"));
    let breaks = Manner { breaks_after: 700_000, ..GOOD };
    let slow = Manner { pause: Duration::from_millis(10), ..GOOD };
    #[rustfmt::skip]
    let rows = [
        ("good", "a.tar", GOOD), ("xz", "a.tar.xz", breaks), ("gz", "a.tar.gz", breaks), ("zst", "a.tar.zst", slow), ("breaks", "a.tar", breaks),
        ("no-ranges", "a.tar.xz", Manner { ranges: false, ..GOOD }),
    ];
    for (name, file, manner) in rows {
        let server = Server::new(&folder, manner);
        let expect = Sums { file: Some(sum(&folder, file)), content: Some(sum(&folder, "a.tar")) };
        let tree = imported(&place, Request { expect, ..request(name, &server.url(file)) });
        assert_same(&tree, &plain);
        if manner.breaks_after < usize::MAX {
            assert!(server.requests.load(Ordering::Relaxed) > 4, "{name}: it went on several times");
        }
    }
    assert!(!place.left().iter().any(|name| name.starts_with('.')), "{:?}", place.left());
}

#[test]
fn what_a_server_does_wrong_ends_the_import_and_leaves_nothing() {
    let place = place();
    let folder = place.folder.path().to_owned();
    archives(&folder);
    std::fs::write(folder.join("page.html"), "<html>log in</html>").expect("written");
    std::fs::write(folder.join("empty"), "").expect("written");
    let good = Server::new(&folder, GOOD);
    let lies = Server::new(&folder, Manner { lies: 1000, ..GOOD });
    let breaks = Server::new(&folder, Manner { breaks_after: 100_000, ranges: false, ..GOOD });
    let len = std::fs::metadata(folder.join("a.tar.xz")).expect("there").len();
    assert_eq!(
        refused(&place, request("x", &lies.url("a.tar.xz"))),
        format!(
            "`127.0.0.1` says that the file has {} bytes, and has {len}; try again later, or take it from another server",
            len + 1000
        )
    );
    let broken = refused(&place, request("x", &breaks.url("a.tar.xz")));
    assert!(broken.starts_with("the download from `127.0.0.1` broke off at 97.6 KiB of "), "{broken}");
    let wrong = Request {
        expect: Sums { file: Some([7; 32]), content: None },
        ..request("x", &good.url("a.tar.xz"))
    };
    let says = refused(&place, wrong);
    assert!(says.contains("has the SHA-256 ") && says.contains("0707"), "{says}");
    let origin = Origin {
        list: "list".to_owned(),
        headings: vec![],
        name: "a".to_owned(),
        released: "2026-06-18".to_owned(),
        file_bytes: Some(len + 1),
        content_bytes: None,
    };
    assert_eq!(
        refused(&place, Request { origin: Some(origin.clone()), ..request("x", &good.url("a.tar.xz")) }),
        format!(
            "the file on `127.0.0.1` has {len} bytes, and the catalogue says {}; it was exchanged for another one, look at the catalogue again (`bramble image catalogue --refresh`)",
            len + 1
        )
    );
    let page = refused(&place, request("x", &good.url("page.html")));
    assert_eq!(
        page,
        format!(
            "`{}` is neither an archive (.tar) nor a disk image (.img); it is a web page: the download went wrong",
            good.url("page.html")
        )
    );
    let empty = refused(&place, request("x", &good.url("empty")));
    assert_eq!(empty, format!("`{}` is empty; it was not downloaded completely", good.url("empty")));
    // What a list says of the room it takes is refused before anything is asked for.
    let huge = Request {
        origin: Some(Origin { content_bytes: Some(1 << 60), ..origin }),
        ..request("x", &good.url("a.tar"))
    };
    let error = place.library.import(huge).expect_err("no room").to_string();
    assert!(error.starts_with("there is not enough room: importing"), "{error}");
    let ftp = place.library.import(request("x", "ftp://h.example/x")).expect_err("refused").to_string();
    assert_eq!(
        ftp,
        "`ftp://h.example/x` is not an address that Bramble fetches from; use https or http, or fetch the file yourself and import it by its name on this machine"
    );
}

#[test]
fn disk_images_come_too_and_give_their_room_back_on_the_way() {
    if !can_make_images("disk images from the web") {
        return;
    }
    let place = place();
    let folder = place.folder.path().to_owned();
    let source = folder.join("source");
    write_tree(&source, Release::Trixie).expect("a sample");
    sh(&folder, "for n in 1 2 3 4; do head -c 12M /dev/urandom > source/usr/noise$n; done");
    make_image(&folder, &source, "boot/firmware", 1);
    let plain = place.imported("plain", &folder.join("disk.img"));
    sh(&folder, "xz -0 -kc disk.img > disk.img.xz; zstd -q -1 disk.img -o disk.img.zst");
    let mut files = vec!["disk.img", "disk.img.xz", "disk.img.zst"];
    if has_program("zip") {
        sh(&folder, "zip -q -1 disk.img.zip disk.img");
        files.push("disk.img.zip");
    }
    for manner in [GOOD, Manner { breaks_after: 6_000_000, ..GOOD }] {
        let server = Server::new(&folder, manner);
        for file in &files {
            let expect = Sums { file: Some(sum(&folder, file)), content: Some(sum(&folder, "disk.img")) };
            let tree = imported(&place, Request { expect, ..request("from-web", &server.url(file)) });
            assert_same(&tree, &plain);
        }
    }
    assert!(!place.left().iter().any(|name| name.starts_with('.')), "{:?}", place.left());
}

#[test]
fn a_download_is_cancelled_at_once_and_leaves_nothing() {
    let place = place();
    let folder = place.folder.path().to_owned();
    archives(&folder);
    let server = Server::new(&folder, Manner { pause: Duration::from_millis(300), ..GOOD });
    let job = place.library.import(request("x", &server.url("a.tar"))).expect("started");
    let downloads = |place: &Place| {
        let seen = place.jobs.status(job).expect("known");
        seen.phase == "downloading" && seen.done > 0 && seen.of > 3_000_000
    };
    while !downloads(&place) {
        std::thread::sleep(Duration::from_millis(5));
    }
    place.jobs.cancel(job).expect("it runs");
    let began = std::time::Instant::now();
    let end = place.jobs.wait(job).expect("known");
    assert_eq!((end.state, end.message.as_str()), (JobState::Cancelled, "cancelled; nothing was kept"));
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(place.left(), Vec::<String>::new());
}

/// What waits and what is at work when Bramble is stopped is begun again, in its order; what was cancelled is not.
#[test]
fn imports_outlive_a_stop() {
    let place = place();
    let folder = place.folder.path().to_owned();
    let source = archives(&folder);
    let slow = Server::new(&folder, Manner { pause: Duration::from_millis(300), ..GOOD });
    let first = place.library.import(request("first", &slow.url("a.tar"))).expect("started");
    let cancelled = place.library.import(Place::request("cancelled", &source)).expect("queued");
    let second = place.library.import(Place::request("second", &source)).expect("queued");
    place.jobs.cancel(cancelled).expect("it waits");
    while place.jobs.status(first).expect("known").phase != "downloading" {
        std::thread::sleep(Duration::from_millis(5));
    }
    let place = place.again();
    assert_eq!(place.left(), Vec::<String>::new(), "a stop leaves nothing of it");
    place.library.resume_imports();
    place.wait_for_all();
    let names: Vec<String> =
        place.library.list().expect("a list").into_iter().map(|image| image.name.to_string()).collect();
    assert_eq!(names, ["first", "second"]);
    let says = |job: u64| place.jobs.status(job).expect("on record").message;
    let next = |job: u64| format!("Bramble was stopped before this was done; job {job} does it again");
    let newest = place.jobs.list().expect("a list").iter().map(|job| job.id).max().expect("some");
    assert!((second..=newest).any(|job| says(first) == next(job)), "{}", says(first));
    assert!((second..=newest).any(|job| says(second) == next(job)), "{}", says(second));
    // Once only: the next start has nothing to do.
    let place = place.again();
    let before = place.jobs.list().expect("a list").len();
    place.library.resume_imports();
    assert_eq!(place.jobs.list().expect("a list").len(), before);
}

/// After a start, disks appear one after the other: what is imported from one is waited for.
#[test]
fn an_import_from_a_disk_that_is_not_there_yet_waits_for_it() {
    let place = place();
    let folder = place.folder.path().to_owned();
    let (source, elsewhere) = (archives(&folder), folder.join("elsewhere.tar"));
    let slow = Server::new(&folder, Manner { pause: Duration::from_millis(300), ..GOOD });
    place.library.import(request("first", &slow.url("a.tar"))).expect("started");
    place.library.import(Place::request("second", &source)).expect("queued");
    std::fs::rename(&source, &elsewhere).expect("pulled out");
    let place = place.again();
    place.library.resume_imports();
    while !place.jobs.list().expect("a list").iter().any(|job| job.phase == "waiting for the disk") {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::fs::rename(&elsewhere, &source).expect("plugged in");
    place.wait_for_all();
    let images = place.library.list().expect("a list");
    assert_eq!(images.iter().map(|image| image.name.as_str()).collect::<Vec<_>>(), ["first", "second"]);
}

/// One that Bramble never survives is not tried for ever.
#[test]
fn an_import_that_is_always_interrupted_ends() {
    let mut place = place();
    let folder = place.folder.path().to_owned();
    archives(&folder);
    let stuck = Server::new(&folder, Manner { pause: Duration::from_millis(500), ..GOOD });
    place.library.import(request("stuck", &stuck.url("a.tar"))).expect("started");
    for round in 0..bramble::types::limits::IMPORT_BEGINS {
        while !place.jobs.list().expect("a list").iter().any(|job| job.phase == "downloading") {
            std::thread::sleep(Duration::from_millis(5));
        }
        place = place.again();
        place.library.resume_imports();
        let runs = place.jobs.list().expect("a list").iter().any(|job| !job.state.is_over());
        assert_eq!(runs, round + 1 < bramble::types::limits::IMPORT_BEGINS, "round {round}");
    }
    let says = place.jobs.list().expect("a list").remove(0).message;
    assert_eq!(
        says,
        "Bramble was stopped several times while this ran; nothing of it was kept, start it again when the reason is known"
    );
}

#[test]
fn an_upload_is_imported_and_gone() {
    use bramble::types::Moment;
    let place = place();
    let folder = place.folder.path().to_owned();
    archives(&folder);
    let plain = place.imported("plain", &folder.join("a.tar"));
    let bytes = std::fs::read(folder.join("a.tar.zst")).expect("there");
    let uploads = place.library.uploads();
    let begun =
        uploads.begin("a.tar.zst", bytes.len() as u64, "m", Moment::from_secs(1_800_000_000)).expect("begun");
    let source = format!("upload:{}", begun.upload);
    for (n, slice) in bytes.chunks(begun.slice).enumerate() {
        let coded = base64(slice);
        uploads.slice(begun.upload, (n * begun.slice) as u64, &coded).expect("taken");
    }
    uploads.check_complete(&source).expect("complete");
    assert_same(&imported(&place, request("sent", &source)), &plain);
    assert_eq!(uploads.list().expect("a list"), []);
    assert_eq!(super::support::names(&place.data().join("uploads")), Vec::<String>::new());
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let all =
            three.iter().fold(0_u32, |all, byte| all << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for n in 0..4 {
            let letter = LETTERS[(all >> (18 - 6 * n) & 63) as usize];
            out.push(if n <= three.len() { char::from(letter) } else { '=' });
        }
    }
    out
}
