//! The power goes, or the daemon is killed, at any moment of an import, a draft, a publication or a removal: after the next
//! start everything is as it was before, or as it is after, and no room on the disk is lost.
//!
//! The storage is a disk of its own in a file. For a power cut the file system is told to stop where it is (the ioctl that
//! testers of file systems use: nothing that is in memory is written any more), then it is mounted again, as after a power cut;
//! for a kill the process gets SIGKILL. Moments are drawn at random; the seed is printed, and `BRAMBLE_SEED` repeats a run.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use bramble::service::images::library::Library;
use bramble::service::images::publish::{Publication, Skip};
use bramble::service::jobs::{JobState, Jobs};
use bramble::sim::sample::{Release, write_tree};
use bramble::types::{ImageName, ImageRef};
use nix::mount::{MsFlags, mount};

use super::support::{Place, can, has_program, is_root, listing, names, open, sh};

/// Names the storage for the process that is cut off, and what it does there.
const CHILD: &str = "BRAMBLE_TEST_POWER_IN";
const STEP: &str = "BRAMBLE_TEST_POWER_STEP";

/// Cuts per step and kind: more where all of CI runs.
fn rounds() -> u32 {
    let set = std::env::var("BRAMBLE_POWER_ROUNDS").ok().and_then(|text| text.parse().ok());
    set.unwrap_or(if std::env::var_os("BRAMBLE_REQUIRE_PEERS").is_some() { 12 } else { 3 })
}

const STEPS: [&str; 6] = ["import", "import again", "draft", "publish", "discard", "remove"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// The process is killed.
    Kill,
    /// What is not on the disk is lost.
    Power,
}

/// Numbers from a seed (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % most.max(1)
    }
}

/// A file system in a file, mounted where only this test sees it.
struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    fn mount(&self) {
        sh(&self.at, &format!("mount -o loop '{}' '{}'", self.image.display(), self.at.display()));
    }

    fn unmount(&self) {
        // A program that another test starts at this moment has every descriptor of this process until it is another program.
        let at = self.at.display();
        sh(
            self.image.parent().expect("a folder"),
            &format!("for n in $(seq 50); do umount '{at}' && exit 0; sleep 0.2; done; exit 1"),
        );
    }

    /// Nothing that is only in memory is written any more (`EXT4_IOC_SHUTDOWN`, `EXT4_GOING_FLAGS_NOLOGFLUSH`).
    #[expect(unsafe_code, reason = "there is no other way to have a file system lose what it has in memory")]
    fn stop(&self) {
        let root = File::open(&self.at).expect("opened");
        let no_log: u32 = 2;
        // SAFETY: the kernel reads one number from the pointer, which outlives the call.
        let done = unsafe { libc::ioctl(root.as_raw_fd(), 0x8004_587d, &raw const no_log) };
        assert_eq!(done, 0, "the file system cannot be stopped: {}", std::io::Error::last_os_error());
    }

    /// Bytes in use.
    fn used(&self) -> u64 {
        let stat = nix::sys::statvfs::statvfs(&self.at).expect("a file system");
        (stat.blocks() - stat.blocks_free()) * stat.fragment_size()
    }
}

/// A library in a folder that is not its own.
struct Site {
    folder: PathBuf,
    library: Library,
    jobs: Jobs,
}

impl Site {
    fn open(folder: &Path) -> Self {
        let (library, jobs, _) = open(folder);
        Self { folder: folder.to_owned(), library, jobs }
    }

    fn images(&self) -> PathBuf {
        self.folder.join("data/images")
    }

    fn done(&self, job: u64) {
        let end = self.jobs.wait(job).expect("known");
        assert_eq!(end.state, JobState::Done, "{}", end.message);
    }
}

/// All that counts of the images in a data folder: each version with the digest of its tree, what is current, the draft.
fn state(place: &Site) -> BTreeMap<String, String> {
    let mut state = BTreeMap::new();
    for image in place.library.list().expect("a list") {
        let current = image.current.map_or("none".to_owned(), |version| version.to_string());
        state.insert(format!("{} current", image.name), current);
        for version in &image.versions {
            assert!(!version.missing, "{}@{} is missing", image.name, version.version);
            // A time that a folder got by itself is no difference.
            let files: Vec<String> = listing(&version.path);
            let about = format!(
                "{} {} {:?} before: {}",
                version.source, version.note, version.sha256, version.before
            );
            state
                .insert(format!("{}@{}", image.name, version.version), format!("{about}\n{}", shape(&files)));
        }
        if let Some(draft) = &image.draft {
            state.insert(
                format!("{} draft", image.name),
                format!("of {}\n{}", draft.base, shape(&listing(&draft.path))),
            );
        }
    }
    state
}

/// Names, modes, owners and contents; which names are of one file depends on who else has it.
fn shape(lines: &[String]) -> String {
    let bare = |line: &String| {
        let words: Vec<&str> = line.split(" = ").next().unwrap_or_default().split(' ').collect();
        // The fourth word is a time: that of a folder that was made anew is its own.
        words
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != 3)
            .map(|(_, word)| *word)
            .collect::<Vec<_>>()
            .join(" ")
    };
    lines.iter().map(bare).collect::<Vec<_>>().join("\n")
}

fn image(text: &str) -> ImageRef {
    text.parse().expect("an image")
}

fn name(text: &str) -> ImageName {
    text.parse().expect("a name")
}

/// Begins `step` and waits for its end, unless it is cut off before.
fn carry_out(folder: &Path, step: &str) {
    let (library, jobs, _) = open(folder);
    // Whoever cuts counts from here.
    println!("begins");
    let source = folder.join("source.tar");
    let job = match step {
        "import" => library.import(Place::request("fresh", &source)).expect("started"),
        "import again" => library.import(Place::request("trixie", &source)).expect("started"),
        "draft" => library.make_draft(&image("trixie")).expect("started"),
        "publish" => {
            let (skip, note) = (Skip::default(), "changed".parse().expect("a note"));
            library
                .publish_draft(Publication { name: name("trixie"), note, skip, desktop: None })
                .expect("started")
        }
        "discard" => library.discard_draft(&name("trixie")).expect("started"),
        "remove" => library.remove(&image("trixie@1"), &|_| Vec::new()).expect("started").job,
        other => unreachable!("`{other}` is no step"),
    };
    let end = jobs.wait(job).expect("known");
    assert_eq!(end.state, JobState::Done, "{}", end.message);
    println!("done");
}

/// The folder that a step publishes.
fn new_version(step: &str) -> Option<&'static str> {
    match step {
        "import" => Some("fresh/1"),
        "import again" | "publish" => Some("trixie/2"),
        _ => None,
    }
}

/// What a step begins with: `trixie@1`; for some a changed draft, or a second version.
fn prepare(folder: &Path, step: &str) {
    write_tree(&folder.join("source"), Release::Bullseye).expect("a sample");
    sh(folder, "tar -C source -cf source.tar . && rm -rf source");
    let place = Site::open(folder);
    let import = Place::request("trixie", &folder.join("source.tar"));
    place.done(place.library.import(import).expect("started"));
    if matches!(step, "publish" | "discard" | "remove") {
        place.done(place.library.make_draft(&image("trixie")).expect("started"));
        let draft = place.library.draft_path(&name("trixie"));
        std::fs::write(draft.join("etc/hostname"), "changed\n").expect("written");
        std::fs::write(draft.join("usr/bin/scratch"), vec![7; 300_000]).expect("written");
    }
    if step == "remove" {
        let publication = Publication {
            name: name("trixie"),
            note: "two".parse().expect("a note"),
            skip: Skip::default(),
            desktop: None,
        };
        place.done(place.library.publish_draft(publication).expect("started"));
        place
            .library
            .promote(&bramble::types::ImageVersion {
                name: name("trixie"),
                version: image("trixie@2").version.expect("a version"),
            })
            .expect("promoted");
    }
    place.jobs.close();
}

fn begin(folder: &Path, step: &str) -> Child {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["images::power::cut_off_at_any_moment", "--exact", "--nocapture"])
        .env(CHILD, folder)
        .env(STEP, step)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    let mut said = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    while line.trim() != "begins" {
        line.clear();
        assert!(said.read_line(&mut line).expect("read") > 0, "{step} did not begin");
    }
    // It may go on printing.
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    child
}

/// Opens the storage as the next start does; the state when all is settled, and the bytes in use.
fn settled(disk: &Disk) -> (BTreeMap<String, String>, u64) {
    let place = Site::open(&disk.at);
    place.library.resume_imports();
    for job in place.jobs.list().expect("a list") {
        place.jobs.wait(job.id).expect("known");
    }
    let (left, images): (Vec<String>, Vec<String>) =
        names(&place.images()).into_iter().partition(|name| name.starts_with('.'));
    assert_eq!(left, Vec::<String>::new(), "work in progress is left behind");
    for image in images {
        let hidden: Vec<String> =
            names(&place.images().join(&image)).into_iter().filter(|name| name.starts_with('.')).collect();
        let has_draft = place.library.draft(&name(&image)).expect("asked").is_some();
        assert_eq!(hidden, if has_draft { vec![".draft.origins"] } else { vec![] }, "{image}");
    }
    let state = state(&place);
    place.jobs.close();
    drop(place);
    sh(&disk.at, "sync -f .");
    (state, disk.used())
}

#[test]
fn cut_off_at_any_moment() {
    if let (Some(folder), Ok(step)) = (std::env::var_os(CHILD), std::env::var(STEP)) {
        return carry_out(Path::new(&folder), &step);
    }
    if !is_root("power cuts") || !can(has_program("mke2fs"), "power cuts", "needs mke2fs") {
        return;
    }
    let alone = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).and_then(|()| {
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
    });
    let loops = Path::new("/dev/loop-control").exists()
        && std::fs::read_to_string("/proc/filesystems").is_ok_and(|list| list.contains("ext4"));
    if !can(alone.is_ok() && loops, "power cuts", "needs a mount namespace, loop devices and ext4") {
        return;
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").subsec_nanos();
    let seed =
        std::env::var("BRAMBLE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(u64::from(now) | 1);
    println!("BRAMBLE_SEED={seed} repeats these moments");
    let mut random = Random(seed);
    let work = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    for step in STEPS {
        one_step(step, work.path(), &mut random);
    }
}

fn one_step(step: &str, work: &Path, random: &mut Random) {
    let (clean, at) = (work.join("clean.img"), work.join("at"));
    std::fs::create_dir_all(&at).expect("made");
    sh(work, "rm -f clean.img disk.img; truncate -s 256M clean.img; mke2fs -q -t ext4 -F clean.img");
    let disk = Disk { image: work.join("disk.img"), at };
    let first = Disk { image: clean, at: disk.at.clone() };
    first.mount();
    prepare(&first.at, step);
    let (before, used_before) = settled(&first);
    first.unmount();
    let fresh = || sh(work, "cp --sparse=always clean.img disk.img");

    // Once to the end: what it is like after, and how long that takes.
    fresh();
    disk.mount();
    let mut child = begin(&disk.at, step);
    let started = Instant::now();
    assert!(child.wait().expect("waited").success(), "{step}");
    let takes = started.elapsed();
    let (after, used_after) = settled(&disk);
    disk.unmount();
    assert_ne!(before, after, "{step} changes something");

    let (mut old, mut new) = (0, 0);
    for (round, cut) in (0..rounds()).flat_map(|round| [(round, Cut::Kill), (round, Cut::Power)]) {
        fresh();
        disk.mount();
        let mut child = begin(&disk.at, step);
        let micros = u64::try_from(takes.as_micros()).expect("short");
        let mut moment = Duration::from_micros(random.below(micros + micros / 8));
        let version = new_version(step).map(|version| disk.at.join("data/images").join(version));
        match (version, round) {
            // Where it is closest: the tree has its name; and it is on record too, and the job is not over.
            (Some(version), 0 | 1) => {
                let number = version.file_name().expect("a number").to_string_lossy().into_owned();
                let record = version.with_file_name(format!(".{number}.record"));
                let started = Instant::now();
                while !version.exists() || round == 1 && record.exists() {
                    std::thread::yield_now();
                }
                moment = started.elapsed();
            }
            _ => std::thread::sleep(moment),
        }
        if cut == Cut::Power {
            disk.stop();
        }
        let _ = child.kill();
        child.wait().expect("it ended");
        disk.unmount();
        disk.mount();
        let (found, used) = settled(&disk);
        let which = if found == before {
            old += 1;
            used_before
        } else {
            new += 1;
            let differs = |what: &BTreeMap<String, String>| -> Vec<String> {
                let keys = what.keys().chain(found.keys()).collect::<std::collections::BTreeSet<_>>();
                keys.into_iter().filter(|key| what.get(*key) != found.get(*key)).cloned().collect()
            };
            assert!(
                found == after,
                "{step}, {cut:?} after {moment:?} of {takes:?} (round {round}): neither as before (differs in {:?}) nor as after ({:?})",
                differs(&before),
                differs(&after)
            );
            used_after
        };
        // The database keeps pages it once had; nothing else grows.
        assert!(
            used <= which + (1 << 20),
            "{step}, {cut:?} after {moment:?}: {used} bytes in use, and {which} without the cut"
        );
        disk.unmount();
    }
    println!("{step}: takes {takes:?}; cut off {} times, {old} as before, {new} as after", old + new);
    std::fs::remove_file(work.join("disk.img")).expect("removed");
}
