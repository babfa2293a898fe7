//! Import of an archive: does Bramble unpack a .tar.xz as fast as `tar xJf` does?
//!
//! `cargo bench --bench import [ARCHIVE]`, as root. Without an archive it packs this machine's `/usr/lib` and `/usr/bin`
//! (256 MiB at most, below a sample tree) once as one xz block and once in blocks of 8 MiB, as Raspberry Pi OS images
//! are packed. Both sides end with everything on the disk (`sync -f`). Five rounds, Bramble and tar in turn; medians.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a bench reads the clock and prints")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bramble::service::images::Images;
use bramble::service::images::import::Request;
use bramble::service::images::library::Library;
use bramble::service::jobs::{JobState, Jobs};
use bramble::sim::sample::{Release, write_tree};
use bramble::store::Store;
use bramble::types::Moment;

const ROUNDS: usize = 5;

fn main() {
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-import");
    let _ = std::fs::remove_dir_all(&work);
    std::fs::create_dir_all(work.join("data")).expect("a folder");
    let archives = match std::env::args().skip(1).find(|arg| !arg.starts_with("--")) {
        Some(archive) => vec![PathBuf::from(archive)],
        None => make_archives(&work),
    };
    for archive in archives {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            ours.push(import(&work, &archive, round));
            theirs.push(untar(&work, &archive));
        }
        let (ours, theirs) = (median(ours), median(theirs));
        println!(
            "{:24} bramble {:6.2} s   tar xJf {:6.2} s   ratio {:.2}",
            archive.file_name().unwrap_or_default().display(),
            ours.as_secs_f64(),
            theirs.as_secs_f64(),
            ours.as_secs_f64() / theirs.as_secs_f64()
        );
    }
    std::fs::remove_dir_all(&work).expect("cleaned up");
}

fn make_archives(work: &Path) -> Vec<PathBuf> {
    write_tree(&work.join("tree"), Release::Trixie).expect("a sample");
    sh(
        work,
        "mkdir -p tree/usr/lib/more && { cd /usr && find bin lib -xdev \\( -type f -o -type l \\) -print0; } \
         | awk -v RS='\\0' -v ORS='\\0' 'NR % 7 == 0' | head -z -n 6000 \
         | tar -C /usr --null -T - --ignore-failed-read -cf - 2>/dev/null | head -c 268435456 | tar -C tree/usr/lib/more -xf - 2>/dev/null || :; \
         tar -C tree -cf tree.tar . && xz -2 -T1 -kc tree.tar > one-block.tar.xz && xz -2 -T2 --block-size=8MiB -kc tree.tar > blocks.tar.xz; \
         ls -l *.tar *.xz",
    );
    vec![work.join("one-block.tar.xz"), work.join("blocks.tar.xz")]
}

fn import(work: &Path, archive: &Path, round: usize) -> Duration {
    let data = work.join("data");
    let store = Store::open(&data.join("bramble.db")).expect("a store");
    let (jobs, _) = Jobs::open(store.clone()).expect("jobs");
    let images = Arc::new(Images::default());
    let library = Library::open(&data, store, jobs.clone(), images, Moment::from_secs(0)).expect("a library");
    let name = format!("bench-{round}").parse().expect("a name");
    let source = archive.to_str().expect("UTF-8").to_owned();
    let began = Instant::now();
    let job = library.import(Request::new(source, name)).expect("started");
    let end = jobs.wait(job).expect("known");
    let took = began.elapsed();
    assert_eq!(end.state, JobState::Done, "{}", end.message);
    let image = format!("bench-{round}").parse().expect("an image");
    let removal = library.remove(&image, &|_| Vec::new()).expect("removed");
    jobs.wait(removal.job).expect("known");
    took
}

fn untar(work: &Path, archive: &Path) -> Duration {
    let to = work.join("untar");
    std::fs::create_dir(&to).expect("a folder");
    let began = Instant::now();
    sh(
        &to,
        &format!(
            "tar --xattrs --xattrs-include='*' --numeric-owner -xpJf '{}' && sync -f .",
            archive.display()
        ),
    );
    let took = began.elapsed();
    std::fs::remove_dir_all(&to).expect("removed");
    took
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn sh(folder: &Path, line: &str) {
    let status = Command::new("sh").args(["-c", line]).current_dir(folder).status().expect("a shell");
    assert!(status.success(), "{line}");
}
