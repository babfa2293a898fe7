//! The agent program in all the builds that clients were given.
//!
//! A client that runs keeps reading the build it was started with: its handle names that build. When the package is
//! upgraded, the installed file is another one, and the daemon starts anew. So each build is copied to the data disk when
//! it is first given out, and an old handle is served from there. The copies also keep a busy room off the router's
//! flash.
//!
//! The package carries `agent-arm64.xz` and the like, which saves a quarter of what its own gzip would leave; a build that
//! is put there as it is, without `.xz`, comes first.

use std::fs::File;
use std::hash::Hasher as _;
use std::io::{self, BufReader, Read as _, Seek as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use liblzma::stream::Stream;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::fstat;
use siphasher::sip::SipHasher13;

use super::attributes;
use super::handle::VirtualFile;
use super::turns::Turns;
use crate::proto::nfs3::Time;
use crate::sys;
use crate::types::{Arch, chain, limits};

/// Builds kept for each architecture. A room is switched off more often than a package is upgraded.
const KEPT: usize = 4;

/// How much is read at once, in bytes.
const PIECE: usize = 64 * 1024;

/// One build, open.
#[derive(Debug)]
pub struct Agent {
    pub file: Arc<OwnedFd>,
    pub size: u64,
    pub modified: Time,
    arch: Arch,
    stamp: u64,
    /// The installed file that this build was found in, if it was in this run.
    installed: Option<Identity>,
}

/// Tells whether an installed file is the one that was seen before, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    inode: u64,
    size: u64,
    modified: Time,
}

/// All builds.
#[derive(Debug)]
pub struct Agents {
    /// Folder of the package.
    installed: PathBuf,
    /// Folder of the copies.
    kept: PathBuf,
    /// Newest last.
    open: RwLock<Vec<Arc<Agent>>>,
    /// To unpack and copy a build.
    making: Turns<Arch>,
}

impl Agent {
    pub fn virtual_file(&self) -> VirtualFile {
        VirtualFile::Agent { stamp: self.stamp }
    }

    fn of(file: File, arch: Arch, stamp: u64, installed: Option<Identity>) -> io::Result<Self> {
        let Identity { size, modified, .. } = identity(&file)?;
        Ok(Self { file: Arc::new(file.into()), size, modified, arch, stamp, installed })
    }
}

impl Agents {
    pub fn new(installed: PathBuf, kept: PathBuf) -> Self {
        Self { installed, kept, open: RwLock::default(), making: Turns::default() }
    }

    /// The build that `stamp` names, if it is open.
    pub fn opened(&self, stamp: u64) -> Option<Arc<Agent>> {
        self.find(|agent| agent.stamp == stamp)
    }

    /// The build that `stamp` names, from its copy. May read the disk.
    pub fn kept(&self, arch: Arch, stamp: u64) -> io::Result<Arc<Agent>> {
        self.making.take(arch, || match self.opened(stamp) {
            Some(agent) => Ok(agent),
            None => Ok(self.keep_open(Agent::of(self.checked_copy(arch, stamp)?, arch, stamp, None)?)),
        })
    }

    /// The build that is installed now. May read the disk.
    pub fn newest(&self, arch: Arch) -> io::Result<Arc<Agent>> {
        let plain = self.installed.join(format!("agent-{arch}"));
        let (installed, packed) = match fs_err::File::open(&plain) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // What is missing is the build, not its packed form.
                (File::open(plain.with_extension("xz")).map_err(|_| error)?, true)
            }
            plain => (plain?.into_file(), false),
        };
        let found = identity(&installed)?;
        let known = || self.find(|agent| agent.arch == arch && agent.installed == Some(found));
        if let Some(agent) = known() {
            return Ok(agent);
        }
        self.making.take(arch, || known().map_or_else(|| self.make(arch, installed, packed, found), Ok))
    }

    /// Unpacks the installed file, if it is packed, copies it, and keeps it open.
    fn make(&self, arch: Arch, installed: File, packed: bool, found: Identity) -> io::Result<Arc<Agent>> {
        let mut file = if packed { unpacked(installed)? } else { installed };
        let stamp = stamp(&mut file, arch)?;
        let copy = self.copy(arch, stamp);
        let copied = self.checked_copy(arch, stamp).or_else(|_| {
            self.make_copy(&mut file, &copy)?;
            self.thin_out(arch, &copy);
            File::open(&copy)
        });
        let file = copied.unwrap_or_else(|error| {
            tracing::warn!(
                file = %copy.display(), error = chain(&error),
                "the agent could not be copied to the data disk; clients that run would lose it in an upgrade"
            );
            file
        });
        Ok(self.keep_open(Agent::of(file, arch, stamp, Some(found))?))
    }

    fn find(&self, is_it: impl Fn(&Agent) -> bool) -> Option<Arc<Agent>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.iter().rev().find(|agent| is_it(agent)).cloned()
    }

    fn keep_open(&self, agent: Agent) -> Arc<Agent> {
        let agent = Arc::new(agent);
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.retain(|other| other.stamp != agent.stamp);
        open.push(Arc::clone(&agent));
        let same = |other: &Arc<Agent>| other.arch == agent.arch;
        if open.iter().filter(|other| same(other)).count() > KEPT
            && let Some(oldest) = open.iter().position(same)
        {
            open.remove(oldest);
        }
        agent
    }

    fn copy(&self, arch: Arch, stamp: u64) -> PathBuf {
        self.kept.join(format!("agent-{arch}-{stamp:016x}"))
    }

    /// The copy of the build that `stamp` names, read through once: no client starts from what a failing disk made of it.
    fn checked_copy(&self, arch: Arch, of: u64) -> io::Result<File> {
        let mut copy = File::open(self.copy(arch, of))?;
        if stamp(&mut copy, arch)? != of {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the copy of the agent is damaged"));
        }
        Ok(copy)
    }

    fn make_copy(&self, from: &mut File, to: &Path) -> io::Result<()> {
        fs_err::create_dir_all(&self.kept)?;
        from.rewind()?;
        sys::whole::put(to, 0o644, |copy| io::copy(from, copy).map(|_| ()))
    }

    /// Deletes the oldest copies for `arch` beyond [`KEPT`], never `newest`: the clock may be wrong.
    fn thin_out(&self, arch: Arch, newest: &Path) {
        let prefix = format!("agent-{arch}-");
        let entries = std::fs::read_dir(&self.kept).into_iter().flatten().filter_map(Result::ok);
        let mut copies: Vec<_> = entries
            .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)))
            .filter(|entry| entry.path() != newest)
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        copies.sort();
        for (_, path) in copies.iter().take((copies.len() + 1).saturating_sub(KEPT)) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// What an .xz file holds, in a file that is in memory only.
fn unpacked(packed: File) -> io::Result<File> {
    let stream = Stream::new_stream_decoder(limits::AGENT_DECODER, 0).map_err(io::Error::from)?;
    let decoder = liblzma::bufread::XzDecoder::new_stream(BufReader::new(packed), stream);
    let mut file = File::from(memfd_create(c"agent", MFdFlags::MFD_CLOEXEC)?);
    if io::copy(&mut decoder.take(limits::AGENT + 1), &mut file)? > limits::AGENT {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the packed agent is too large to be one"));
    }
    file.rewind()?;
    Ok(file)
}

fn identity(file: &File) -> io::Result<Identity> {
    let found = attributes::of(&fstat(file)?, 0, None);
    Ok(Identity { inode: found.id, size: found.size, modified: found.modified })
}

/// What one build is told from another by: its content, so that the same build installed again is the same.
fn stamp(file: &mut File, arch: Arch) -> io::Result<u64> {
    let mut hasher = SipHasher13::new();
    hasher.write(arch.to_string().as_bytes());
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.finish()),
            read => hasher.write(piece.get(..read).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Package(tempfile::TempDir);

    impl Package {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder"))
        }

        /// As a package manager does: another file under the same name.
        fn install(&self, content: &str) {
            let path = self.0.path().join("agent-arm64");
            std::fs::write(path.with_extension("new"), content).expect("written");
            std::fs::rename(path.with_extension("new"), path).expect("installed");
        }

        /// The same for a package that carries builds packed.
        fn install_packed(&self, content: &[u8]) {
            let path = self.0.path().join("agent-arm64.xz");
            let mut packed = Vec::new();
            liblzma::read::XzEncoder::new(content, 6).read_to_end(&mut packed).expect("packed");
            std::fs::write(path.with_extension("new"), packed).expect("written");
            std::fs::rename(path.with_extension("new"), path).expect("installed");
        }

        fn start(&self) -> Agents {
            Agents::new(self.0.path().to_owned(), self.0.path().join("kept"))
        }

        fn copies(&self) -> usize {
            std::fs::read_dir(self.0.path().join("kept")).expect("a folder").count()
        }
    }

    fn text(agent: &Agent) -> String {
        let mut text = vec![0; usize::try_from(agent.size).expect("small")];
        sys::pages::read_all(&*agent.file, &mut text, 0).expect("read");
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn an_old_build_is_served_after_an_upgrade_and_a_restart() {
        let package = Package::new();
        package.install("the first");
        let agents = package.start();
        let first = agents.newest(Arch::Arm64).expect("there");
        package.install("the second, which is longer");
        let second = agents.newest(Arch::Arm64).expect("there");
        assert_ne!(first.stamp, second.stamp);
        assert_eq!(text(&agents.opened(first.stamp).expect("still open")), "the first");

        let agents = package.start();
        assert!(agents.opened(first.stamp).is_none(), "nothing is open after a start");
        assert_eq!(text(&agents.kept(Arch::Arm64, first.stamp).expect("kept")), "the first");
        assert_eq!(text(&agents.opened(first.stamp).expect("open now")), "the first");
        assert_eq!(agents.newest(Arch::Arm64).expect("there").stamp, second.stamp);
        assert!(agents.kept(Arch::Arm64, 7).is_err(), "a build that was never given out");
    }

    #[test]
    fn a_damaged_copy_is_made_again_and_not_served() {
        let package = Package::new();
        package.install("the first");
        let agents = package.start();
        let first = agents.newest(Arch::Arm64).expect("there");
        let copy = agents.copy(Arch::Arm64, first.stamp);
        for damaged in ["", "the f", "the thirst"] {
            std::fs::write(&copy, damaged).expect("written");
            assert!(package.start().kept(Arch::Arm64, first.stamp).is_err(), "{damaged}");
            assert_eq!(text(&package.start().newest(Arch::Arm64).expect("there")), "the first");
            assert_eq!(std::fs::read(&copy).expect("made again"), b"the first");
        }
    }

    #[test]
    fn the_same_build_installed_again_is_the_same() {
        let package = Package::new();
        package.install("the first");
        let agents = package.start();
        let first = agents.newest(Arch::Arm64).expect("there");
        assert!(Arc::ptr_eq(&first, &agents.newest(Arch::Arm64).expect("there")), "not read again");
        package.install("the first");
        assert_eq!(agents.newest(Arch::Arm64).expect("there").stamp, first.stamp);
        assert_eq!(package.copies(), 1);
    }

    #[test]
    fn a_packed_build_is_the_same_as_a_plain_one() {
        let package = Package::new();
        package.install_packed(b"the first");
        let agents = package.start();
        let first = agents.newest(Arch::Arm64).expect("there");
        assert_eq!(text(&first), "the first");
        assert!(Arc::ptr_eq(&first, &agents.newest(Arch::Arm64).expect("there")), "not unpacked again");
        let copy = agents.copy(Arch::Arm64, first.stamp);
        assert_eq!(std::fs::read(&copy).expect("unpacked once"), b"the first");
        package.install("the first");
        assert_eq!(package.start().newest(Arch::Arm64).expect("there").stamp, first.stamp);
        // The data disk takes no copy: it is served from memory.
        let other = Package::new();
        other.install_packed(b"the second");
        std::fs::write(other.0.path().join("kept"), "in the way").expect("written");
        assert_eq!(text(&other.start().newest(Arch::Arm64).expect("served")), "the second");
    }

    #[test]
    fn a_packed_build_that_is_none_is_not_served() {
        let package = Package::new();
        let newest = || package.start().newest(Arch::Arm64).expect_err("nothing to serve").to_string();
        assert!(newest().contains("agent-arm64`"), "{}", newest());
        std::fs::write(package.0.path().join("agent-arm64.xz"), "\x7fELF, and not packed").expect("written");
        assert_eq!(newest(), "stream/file format not recognized");
        package.install_packed(&vec![0; usize::try_from(limits::AGENT).expect("small") + 1]);
        assert_eq!(newest(), "the packed agent is too large to be one");
    }

    #[test]
    fn only_a_few_builds_are_kept() {
        let package = Package::new();
        let agents = package.start();
        let mut stamps = Vec::new();
        for number in 0..10 {
            package.install(&format!("build {number}"));
            stamps.push(agents.newest(Arch::Arm64).expect("there").stamp);
            assert!(package.copies() <= KEPT);
        }
        assert_eq!(package.copies(), KEPT);
        let open = agents.open.read().expect("no panic").len();
        assert_eq!(open, KEPT);
        let newest = *stamps.last().expect("ten");
        assert!(package.start().kept(Arch::Arm64, newest).is_ok());
    }

    #[test]
    fn a_room_that_asks_at_once_gets_the_whole_build() {
        let content = "a build ".repeat(20_000);
        for _ in 0..20 {
            let package = Package::new();
            package.install_packed(content.as_bytes());
            let (agents, ready) = (package.start(), std::sync::Barrier::new(8));
            std::thread::scope(|scope| {
                let asked = || {
                    ready.wait();
                    agents.newest(Arch::Arm64).expect("there")
                };
                let seats: Vec<_> = (0..8).map(|_| scope.spawn(asked)).collect();
                let given: Vec<_> = seats.into_iter().map(|seat| seat.join().expect("no panic")).collect();
                assert!(given.iter().all(|agent| text(agent) == content), "not the whole of it");
                assert!(given.iter().all(|agent| Arc::ptr_eq(agent, &given[0])), "made more than once");
            });
            assert_eq!(package.copies(), 1);
        }
    }

    #[test]
    fn a_data_disk_that_takes_no_copy_does_not_stop_a_boot() {
        let package = Package::new();
        package.install("the first");
        std::fs::write(package.0.path().join("kept"), "in the way").expect("written");
        assert_eq!(text(&package.start().newest(Arch::Arm64).expect("served")), "the first");
    }
}
