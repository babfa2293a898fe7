//! A library in a folder of its own, and the programs that make what it imports.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bramble::service::images::Images;
use bramble::service::images::import::{ImportError, Request};
use bramble::service::images::library::Library;
use bramble::service::jobs::{JobState, JobStatus, Jobs};
use bramble::store::Store;
use bramble::types::Moment;

/// A data folder with a library in it.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub library: Library,
    pub jobs: Jobs,
    /// Jobs that the run before left.
    pub interrupted: Vec<JobStatus>,
}

impl Place {
    /// Jobs that are started wait until the sender is told.
    pub fn hold_up_jobs(&self) -> std::sync::mpsc::Sender<()> {
        let (go, wait) = std::sync::mpsc::channel();
        let held = self.jobs.start("test", "holds up the others".to_owned(), move |_| {
            wait.recv().expect("told");
            Ok(String::new())
        });
        held.expect("started");
        go
    }

    pub fn new() -> Self {
        Self::open(tempfile::tempdir().expect("a folder"))
    }

    pub fn open(folder: tempfile::TempDir) -> Self {
        let (library, jobs, interrupted) = open(folder.path());
        Self { folder, library, jobs, interrupted }
    }

    /// As after a restart.
    pub fn again(self) -> Self {
        let Self { folder, library, jobs, .. } = self;
        jobs.close();
        drop((library, jobs));
        Self::open(folder)
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn request(name: &str, source: &Path) -> Request {
        Request::new(source.to_str().expect("UTF-8"), name.parse().expect("a name"))
    }

    /// Imports and waits for the end.
    pub fn import(&self, name: &str, source: &Path) -> Result<JobStatus, ImportError> {
        let job = self.library.import(Self::request(name, source))?;
        Ok(self.jobs.wait(job).expect("the job is known"))
    }

    /// Imports what must be right; the tree.
    pub fn imported(&self, name: &str, source: &Path) -> PathBuf {
        let job = self.import(name, source).expect("started");
        assert_eq!(job.state, JobState::Done, "{}", job.message);
        let image = name.parse().expect("a name");
        self.library.images().resolve(&image).expect("on the shelf").root.clone()
    }

    /// Imports what must fail; the reason.
    pub fn refused(&self, source: &Path) -> String {
        let message = match self.import("refused", source) {
            Ok(job) => {
                assert_eq!(job.state, JobState::Failed, "{}", job.message);
                job.message
            }
            Err(error) => bramble::types::chain(&error),
        };
        assert_eq!(self.left(), Vec::<String>::new(), "nothing is left behind");
        message
    }

    /// Names in the folder of images.
    pub fn left(&self) -> Vec<String> {
        names(&self.data().join("images"))
    }

    pub fn wait_for_all(&self) {
        for job in self.jobs.list().expect("a list") {
            self.jobs.wait(job.id).expect("known");
        }
    }
}

pub fn open(folder: &Path) -> (Library, Jobs, Vec<JobStatus>) {
    let data = folder.join("data");
    std::fs::create_dir_all(&data).expect("a data folder");
    let store = Store::open(&data.join("bramble.db")).expect("a store");
    let (jobs, interrupted) = Jobs::open(store.clone()).expect("jobs");
    let images = Arc::new(Images::default());
    let library = Library::open(&data, store, jobs.clone(), images, Moment::from_secs(1_800_000_000))
        .expect("a library");
    (library, jobs, interrupted)
}

pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

/// Whether the tests may do what only root may. If not, says so, or fails where CI requires it.
pub fn is_root(what: &str) -> bool {
    can(nix::unistd::geteuid().is_root(), what, "needs root")
}

pub fn can(yes: bool, what: &str, why: &str) -> bool {
    if yes {
        return true;
    }
    assert!(std::env::var_os("BRAMBLE_REQUIRE_PEERS").is_none(), "{what}: {why}");
    println!("NOT RUN: {what}: {why}");
    false
}

/// Runs a shell line in `folder`; answers whether it went well.
pub fn sh(folder: &Path, line: &str) {
    let done = Command::new("sh").args(["-euc", line]).current_dir(folder).output().expect("a shell");
    assert!(done.status.success(), "{line}\n{}", String::from_utf8_lossy(&done.stderr));
}

pub fn has_program(name: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {name}")]).output().expect("a shell");
    found.status.success()
}

/// Everything about a tree that an import must keep: a line per entry, sorted.
pub fn listing(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut inodes: BTreeMap<u64, String> = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    let mut entries = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for name in names(&folder) {
            let path = folder.join(name);
            if path.symlink_metadata().expect("metadata").is_dir() {
                folders.push(path.clone());
            }
            entries.push(path);
        }
    }
    entries.sort();
    for path in entries {
        let meta = path.symlink_metadata().expect("metadata");
        let name = path.strip_prefix(root).expect("below").display().to_string();
        let kind = meta.file_type();
        let mut line = format!(
            "{name} {:o} {}:{} {}.{:09}",
            meta.permissions().mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec()
        );
        if kind.is_symlink() {
            line += &format!(" -> {}", std::fs::read_link(&path).expect("a link").display());
        } else if kind.is_file() {
            let content = std::fs::read(&path).expect("content");
            line += &format!(" {} bytes {:016x}", content.len(), fnv(&content));
            let attributes: Vec<_> = match xattr::list(&path) {
                Ok(attributes) => attributes.collect(),
                // A squashfs in which no file has any.
                Err(error) if error.kind() == std::io::ErrorKind::Unsupported => Vec::new(),
                Err(error) => panic!("attributes of {}: {error}", path.display()),
            };
            for attribute in attributes {
                let value = xattr::get(&path, &attribute).expect("a value").expect("a value");
                line += &format!(" {}={value:02x?}", attribute.display());
            }
        } else if kind.is_char_device() || kind.is_block_device() {
            line += &format!(" device {:x}", meta.rdev());
        }
        if meta.nlink() > 1 && !meta.is_dir() {
            let first = inodes.entry(meta.ino()).or_insert_with(|| name.clone());
            line += &format!(" = {first}");
        }
        lines.push(line);
    }
    lines
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

pub fn assert_same(left: &Path, right: &Path) {
    let (left, right) = (listing(left), listing(right));
    for (left, right) in left.iter().zip(&right) {
        assert_eq!(left, right);
    }
    assert_eq!(left.len(), right.len());
}

/// Puts into a tree what is hard to copy: devices, FIFO, hard links, holes, capabilities, odd names, owners and times.
/// The root-only part is left out without root.
pub fn make_difficult(root: &Path) {
    sh(
        root,
        r#"
        umask 022
        mkdir -p odd/deep "odd/name with space" odd/empty
        printf 'one file, three names\n' > odd/first; ln odd/first odd/second; ln odd/first odd/deep/third
        mkfifo -m 0620 odd/fifo
        truncate -s 3M odd/hole; printf 'in the middle' | dd of=odd/hole bs=1 seek=1500000 conv=notrunc status=none
        truncate -s 100000 odd/only-a-hole
        : > odd/nothing
        long=$(printf 'x%.0s' $(seq 1 200)); mkdir -p "odd/$long/$long"; printf long > "odd/$long/$long/$long"
        ln -s "$long/$long/$long" odd/long-link
        ln -s "$(printf 'nowhere-%.0s' $(seq 1 40))" odd/dangling
        ln -s /run odd/absolute
        printf 'sticky' > odd/mode; chmod 4751 odd/mode; chmod 2775 odd/deep; chmod 1777 odd/empty
        printf 'not UTF-8' > "$(printf 'odd/caf\351')"; mv "$(printf 'odd/caf\351')" odd/plain
        touch -h -d '1999-12-31 23:59:58.123456789 UTC' odd/first odd/deep odd/absolute odd/fifo
        touch -d '1969-12-31 23:59:58 UTC' odd/nothing
        "#,
    );
    if nix::unistd::geteuid().is_root() {
        sh(
            root,
            r"
            mkdir -p dev; mknod -m 0660 odd/tty c 5 0; mknod -m 0640 dev/disk b 8 300
            chown 1234:42 odd/mode odd/tty; chmod 4751 odd/mode; chown -h 7:8 odd/dangling; chown 0:3000000 odd/plain
            setfattr -n security.capability -v 0x010000020a040000000000000000000000000000 odd/plain
            setfattr -n user.note -v 'a note' odd/plain
            setfattr -n user.folder -v 'of a folder' odd/empty
            touch -d '2001-02-03 04:05:06.5 UTC' odd/mode odd/tty dev/disk odd/plain
            ",
        );
    }
}
