//! Import of an archive and of a disk image: is Bramble as fast as a pipe of the tools that do the same?
//!
//! `cargo bench --bench import [-- ARCHIVE|IMAGE…]`, as root. Without a file it packs this machine's `/usr/lib` and `/usr/bin`
//! (256 MiB at most, below a sample tree) as an archive, once as one xz block and once in blocks of 8 MiB, and as a disk image
//! of 2 GiB (`BRAMBLE_BENCH_IMAGE` MiB, if set), in blocks of 24 MiB, as Raspberry Pi OS images are packed; that one also comes
//! from a web server on this machine. The peers: `xz -dc | tar -x`, and `xz -dc | dd conv=sparse` with `cp -a` from a loop
//! mount and `mcopy`. All end with everything on the disk (`sync -f`). Three rounds, Bramble and the pipe in turn; medians, and
//! the most memory that was resident, the program's own pages included.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a bench reads the clock and prints")]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{TcpListener, TcpStream};
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

const ROUNDS: usize = 3;

/// How long our imports took, and the most memory they took, in MiB.
#[derive(Clone, Debug, Default)]
struct Ours {
    times: Vec<Duration>,
    memory: u64,
}

fn main() {
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-import");
    let _ = std::fs::remove_dir_all(&work);
    std::fs::create_dir_all(work.join("data")).expect("a folder");
    let given: Vec<PathBuf> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).map(PathBuf::from).collect();
    let files = if given.is_empty() { make_files(&work) } else { given };
    let server = serve(work.clone());
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_image = name.contains(".img");
        let peer = if is_image { undisk } else { untar };
        let path = file.to_str().expect("UTF-8").to_owned();
        let mut sources = vec![("file", path)];
        if is_image && file.starts_with(&work) {
            sources.push(("web", format!("{server}/{name}")));
        }
        let (mut ours, mut theirs) = (vec![Ours::default(); sources.len()], Vec::new());
        for round in 0..ROUNDS {
            for ((_, source), ours) in sources.iter().zip(&mut ours) {
                forget_peak();
                ours.times.push(import(&work, source, round));
                ours.memory = ours.memory.max(peak());
            }
            theirs.push(peer(&work, &file));
        }
        for ((from, _), Ours { times, memory }) in sources.iter().zip(ours) {
            println!(
                "{name:24} {from:4}  bramble {:6.2} s   pipe {:6.2} s   pipe/bramble {:.2}   resident {memory} MiB   rounds {} | {}",
                median(&times).as_secs_f64(),
                median(&theirs).as_secs_f64(),
                median(&theirs).as_secs_f64() / median(&times).as_secs_f64(),
                all(&times),
                all(&theirs),
            );
        }
    }
    std::fs::remove_dir_all(&work).expect("cleaned up");
}

fn make_files(work: &Path) -> Vec<PathBuf> {
    write_tree(&work.join("tree"), Release::Trixie).expect("a sample");
    sh(
        work,
        "mkdir -p tree/usr/lib/more && { cd /usr && find bin lib -xdev \\( -type f -o -type l \\) -print0; } \
         | awk -v RS='\\0' -v ORS='\\0' 'NR % 7 == 0' | head -z -n 6000 \
         | tar -C /usr --null -T - --ignore-failed-read -cf - 2>/dev/null | head -c 268435456 | tar -C tree/usr/lib/more -xf - 2>/dev/null || :; \
         tar -C tree -cf tree.tar . && xz -2 -T1 -kc tree.tar > one-block.tar.xz && xz -2 -T2 --block-size=8MiB -kc tree.tar > blocks.tar.xz; \
         ls -l *.tar *.xz",
    );
    let mib: u64 =
        std::env::var("BRAMBLE_BENCH_IMAGE").ok().and_then(|mib| mib.parse().ok()).unwrap_or(2048).max(512);
    // A boot partition of 66 MiB behind 4, and an ext4 that is two thirds full: the sample, and as much of /usr as it takes.
    let fill = (mib - 70) * 2 / 3;
    sh(
        work,
        &format!(
            r"
            mv tree/boot/firmware firmware && mkdir -p tree/boot/firmware
            mkdir -p tree/usr/share/more && {{ cd /usr && find . -xdev -type f -print0; }} \
                | tar -C /usr --null -T - --ignore-failed-read -cf - 2>/dev/null | head -c {fill}M | tar -C tree/usr/share/more -xf - 2>/dev/null || :
            truncate -s {mib}M disk.img
            printf 'label: dos\n4MiB,66MiB,0x0c,*\n70MiB,,0x83\n' | sfdisk -q disk.img
            mformat -i disk.img@@4M -F -c 1 -v bootfs -T 135168 -h 64 -s 32 :: && mcopy -i disk.img@@4M -s -Q firmware/* ::
            mke2fs -q -t ext4 -d tree -E offset=73400320 disk.img {ext4}M
            xz -2 -T2 --block-size=24MiB -kc disk.img > disk.img.xz && rm disk.img && ls -l *.img.xz
            ",
            ext4 = mib - 70
        ),
    );
    vec![work.join("one-block.tar.xz"), work.join("blocks.tar.xz"), work.join("disk.img.xz")]
}

/// Has the kernel forget how much memory was resident at most.
fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").expect("Linux has it");
}

/// Resident at most since then, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}

/// A web server for the files of one folder; its address.
fn serve(folder: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("known");
    std::thread::spawn(move || {
        for stream in listener.incoming().filter_map(Result::ok) {
            let folder = folder.clone();
            std::thread::spawn(move || give(&folder, stream));
        }
    });
    format!("http://{address}")
}

fn give(folder: &Path, mut stream: TcpStream) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines().map_while(Result::ok);
    let name = lines.next()?.split(' ').nth(1)?.trim_start_matches('/').to_owned();
    let mut range = None;
    for line in lines.take_while(|line| !line.is_empty()) {
        if let Some(asked) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            let (from, to) = asked.split_once('-')?;
            range = Some((from.parse::<u64>().ok()?, to.parse::<u64>().ok()));
        }
    }
    let mut file = File::open(folder.join(name)).ok()?;
    let len = file.metadata().ok()?.len();
    let (from, end) = range.map_or((0, len), |(from, to)| (from, to.map_or(len, |to| to + 1)));
    let head = if range.is_some() {
        format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{len}", end - 1)
    } else {
        "200 OK".to_owned()
    };
    file.seek(SeekFrom::Start(from)).ok()?;
    let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", end - from);
    stream.write_all(head.as_bytes()).ok()?;
    std::io::copy(&mut file.take(end - from), &mut stream).ok().map(drop)
}

fn import(work: &Path, source: &str, round: usize) -> Duration {
    let data = work.join("data");
    let store = Store::open(&data.join("bramble.db")).expect("a store");
    let (jobs, _) = Jobs::open(store.clone()).expect("jobs");
    let images = Arc::new(Images::default());
    let library = Library::open(&data, store, jobs.clone(), images, Moment::from_secs(0)).expect("a library");
    let name = format!("bench-{round}").parse().expect("a name");
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
            "xz -dc '{}' | tar --xattrs --xattrs-include='*' --numeric-owner -xpf - && sync -f .",
            archive.display()
        ),
    );
    let took = began.elapsed();
    std::fs::remove_dir_all(&to).expect("removed");
    took
}

/// What somebody does with a disk image who has no Bramble.
fn undisk(work: &Path, image: &Path) -> Duration {
    let to = work.join("undisk");
    std::fs::create_dir(&to).expect("a folder");
    let began = Instant::now();
    sh(
        &to,
        &format!(
            r"
            mkdir mount tree && xz -dc '{}' | dd of=disk.img bs=256k iflag=fullblock conv=sparse status=none
            start=$(sfdisk -q -d disk.img | sed -n 's/^.*start= *\([0-9]*\),.*type=83.*/\1/p' | head -n 1)
            mount -o ro,noload,loop,offset=$((start * 512)) disk.img mount
            cp -a mount/. tree/ && umount mount && mcopy -i disk.img@@4M -s -Q :: tree/boot/firmware && rm disk.img && sync -f .
            ",
            image.display()
        ),
    );
    let took = began.elapsed();
    std::fs::remove_dir_all(&to).expect("removed");
    took
}

fn all(times: &[Duration]) -> String {
    times.iter().map(|time| format!("{:.1}", time.as_secs_f64())).collect::<Vec<_>>().join(" ")
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn sh(folder: &Path, line: &str) {
    let status = Command::new("sh").args(["-c", line]).current_dir(folder).status().expect("a shell");
    assert!(status.success(), "{line}");
}
