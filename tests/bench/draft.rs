//! Life of a large image: a draft and a publication of a tree of 100,000 files, against `cp -a`, `cp -al` and `rm -r`.
//!
//! `cargo bench --bench draft [FILES [ROUNDS]]`, as root. A draft is a copy where the file system cannot share data (`cp -a`
//! is the peer), a publication makes names for files that are there and deletes the draft's copy (`cp -al` and `rm -r`; most of
//! the time goes into that). Both sides end with everything on the disk (`sync -f`). Three rounds, Bramble and its peer in turn; medians. One version more shares the files all the time, as in
//! the life of any image that was published twice: so every file has two names. The most memory is that of Bramble alone,
//! without the pages of the program's file: the peers are processes of their own, and the sample is made by another one.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a bench reads the clock and prints")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bramble::service::images::Images;
use bramble::service::images::import::Request;
use bramble::service::images::library::Library;
use bramble::service::images::publish::{Note, Publication, Skip};
use bramble::service::jobs::{JobState, Jobs};
use bramble::sim::sample::{Release, write_tree};
use bramble::store::Store;
use bramble::types::{ByteSize, ImageName, ImageRef, Moment};

const ROUNDS: usize = 3;
const FILES: usize = 100_000;
/// Files in one folder.
const FOLDER: usize = 200;
/// Names the place to the process that makes the sample.
const SAMPLE: &str = "BRAMBLE_BENCH_SAMPLE";

fn main() {
    if let Some(tree) = std::env::var_os(SAMPLE) {
        let files = std::env::args().nth(1).and_then(|files| files.parse().ok()).expect("a number");
        return make_tree(Path::new(&tree), files);
    }
    let mut asked = std::env::args().skip(1).filter_map(|arg| arg.parse().ok());
    let (files, rounds) = (asked.next().unwrap_or(FILES), asked.next().unwrap_or(ROUNDS));
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-draft");
    let _ = std::fs::remove_dir_all(&work);
    let (data, source) = (work.join("data"), work.join("source"));
    std::fs::create_dir_all(&data).expect("a folder");
    let this = std::env::current_exe().expect("this program");
    let made = Command::new(this).arg(files.to_string()).env(SAMPLE, &source).status().expect("started");
    assert!(made.success(), "the sample was not made");

    let jobs_and_library = open(&data);
    let (library, jobs) = &jobs_and_library;
    let done = |job: u64| {
        let end = jobs.wait(job).expect("known");
        assert_eq!(end.state, JobState::Done, "{}", end.message);
    };
    let name: ImageName = "large".parse().expect("a name");
    let request = Request::new(source.to_str().expect("a plain path"), name.clone());
    done(library.import(request).expect("started"));
    std::fs::remove_dir_all(&source).expect("it was imported");
    let one = data.join("images/large/1");
    let draft = library.draft_path(&name);
    let publish = |host: &str| {
        std::fs::write(draft.join("etc/hostname"), format!("{host}\n")).expect("written");
        let publication =
            Publication { name: name.clone(), note: Note::default(), skip: Skip::default(), desktop: None };
        done(library.publish_draft(publication).expect("started"));
    };
    let of: ImageRef = "large@1".parse().expect("a version");
    done(library.make_draft(&of).expect("started"));
    publish("kept");

    let (mut drafts, mut copies, mut publications, mut links) = (vec![], vec![], vec![], vec![]);
    for round in 0..rounds {
        drafts.push(timed(&data, || done(library.make_draft(&of).expect("started"))));
        let copy = data.join("copy");
        copies.push(timed(&data, || sh(&cp("-a", &one, &copy))));

        publications.push(timed(&data, || publish(&format!("round-{round}"))));
        let linked = data.join("links");
        links.push(timed(&data, || {
            sh(&format!("{}; rm -r '{}'", cp("-al", &one, &linked), copy.display()));
        }));
        std::fs::remove_dir_all(&linked).expect("removed");

        let version: ImageRef = format!("large@{}", round + 3).parse().expect("a version");
        done(library.remove(&version, &|_| Vec::new()).expect("removed").job);
    }
    println!("{files} files, {} on the disk, {rounds} rounds", ByteSize(size(&one)));
    row("draft", drafts, "cp -a", copies);
    row("publish", publications, "cp -al, rm -r", links);
    println!("the most memory of import, drafts and publications: {}", ByteSize(peak()));
    std::fs::remove_dir_all(&work).expect("cleaned up");
}

fn row(what: &str, ours: Vec<Duration>, peer: &str, theirs: Vec<Duration>) {
    let all = |times: &[Duration]| {
        times.iter().map(|time| format!("{:.2}", time.as_secs_f64())).collect::<Vec<_>>().join(" ")
    };
    let rounds = format!("{} | {}", all(&ours), all(&theirs));
    let (ours, theirs) = (median(ours), median(theirs));
    println!(
        "{what:8} bramble {:6.2} s   {peer:13} {:6.2} s   {peer}/bramble {:.2}   rounds {rounds}",
        ours.as_secs_f64(),
        theirs.as_secs_f64(),
        theirs.as_secs_f64() / ours.as_secs_f64()
    );
}

/// Files as in a real system: most of a few kilobytes, some links, a program here and there.
fn make_tree(root: &Path, files: usize) {
    write_tree(root, Release::Trixie).expect("a sample");
    let mut content = vec![0_u8; 9000];
    for number in 0..files {
        let folder = root.join(format!("usr/share/many/{}", number / FOLDER));
        if number % FOLDER == 0 {
            std::fs::create_dir_all(&folder).expect("made");
        }
        let file = folder.join(format!("file-{number}"));
        if number % 20 == 0 {
            std::os::unix::fs::symlink(format!("file-{}", number + 1), file).expect("linked");
            continue;
        }
        for (at, byte) in content.iter_mut().enumerate().step_by(61) {
            *byte = u8::try_from((number * 31 + at) % 251).expect("small");
        }
        std::fs::write(file, content.get(..number % content.len()).unwrap_or_default()).expect("written");
    }
}

fn open(data: &Path) -> (Library, Jobs) {
    let store = Store::open(&data.join("bramble.db")).expect("a store");
    let (jobs, _) = Jobs::open(store.clone()).expect("jobs");
    let library = Library::open(data, store, jobs.clone(), Arc::new(Images::default()), Moment::from_secs(0));
    (library.expect("a library"), jobs)
}

fn timed(data: &Path, work: impl FnOnce()) -> Duration {
    sh(&format!("sync -f '{}'", data.display()));
    let begin = Instant::now();
    work();
    sh(&format!("sync -f '{}'", data.display()));
    begin.elapsed()
}

fn cp(how: &str, from: &Path, to: &Path) -> String {
    format!("cp {how} --reflink=never '{}' '{}'", from.display(), to.display())
}

fn sh(line: &str) {
    let done = Command::new("sh").args(["-euc", line]).status().expect("a shell");
    assert!(done.success(), "{line}");
}

fn size(tree: &Path) -> u64 {
    let said = Command::new("du").args(["-s", "-B1"]).arg(tree).output().expect("du runs");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    text.split_whitespace().next().and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

/// Most memory that this process had, in bytes (proc(5), `VmHWM`), without pages of files (`RssFile`).
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let kib = |key: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("the line");
        line.trim_matches([':', ' ', '\t', 'k', 'B']).parse().expect("a number")
    };
    kib("VmHWM").saturating_sub(kib("RssFile")) << 10
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
