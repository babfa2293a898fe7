//! Whether this router's processor can run the programs of an image: by itself, or with a handler that is registered for them.
//!
//! Sources: binfmt_misc of the kernel's documentation, elf(5), personality(2).

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use fs_err as fs;

use super::inside::Inside;
use crate::sys::narrow::runs_32_bits;
use crate::types::{Arch, ImageName};

/// Where the kernel lists its handlers.
const HANDLERS: &str = "/proc/sys/fs/binfmt_misc";

/// As much of a program as handlers look at (`BINPRM_BUF_SIZE`).
const HEAD: u64 = 256;

/// How programs run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    Natively,
    /// Through the program that is registered as this.
    Handler(String),
}

/// They do not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the programs of `{image}` are for another processor ({}) than this router's ({here}), and nothing is registered that could run them (binfmt_misc); change it on a client instead, which can: `bramble image maintain {image} CLIENT`",
    .programs.map_or("unknown", Arch::as_str)
)]
pub struct CannotRun {
    pub image: ImageName,
    pub programs: Option<Arch>,
    pub here: &'static str,
}

/// A handler of the kernel, as it describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Handler {
    name: String,
    interpreter: String,
    /// Whether the interpreter was opened when it was registered, and so is found whatever the root is.
    fixed: bool,
    offset: usize,
    magic: Vec<u8>,
    mask: Vec<u8>,
}

/// What this machine runs.
#[derive(Clone, Debug)]
pub struct Processor {
    /// The first bytes of this program.
    own: Vec<u8>,
    /// Whether a 64-bit ARM runs programs of 32 bits.
    runs_armhf: bool,
    handlers: Vec<Handler>,
}

impl Processor {
    /// Looks at this machine.
    pub fn here() -> Self {
        let own = File::open("/proc/self/exe").map(head).unwrap_or_default();
        let mut handlers = Vec::new();
        for entry in fs::read_dir(HANDLERS).into_iter().flatten().filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            handlers.extend(Handler::read(name, &text));
        }
        Self { own, runs_armhf: cfg!(target_arch = "aarch64") && runs_32_bits(), handlers }
    }

    /// How the programs of `tree` run here.
    pub fn runs(&self, image: &ImageName, tree: &Path) -> Result<How, CannotRun> {
        let cannot = |programs| CannotRun { image: image.clone(), programs, here: std::env::consts::ARCH };
        let inside = Inside::new(tree).map_err(|_| cannot(None))?;
        let program = ["bin/sh", "usr/bin/env", "sbin/init"].iter().find_map(|path| inside.open(path).ok());
        let program = head(program.ok_or_else(|| cannot(None))?);
        self.decide(&program, |path| inside.has(path)).ok_or_else(|| cannot(Arch::from_elf(&program)))
    }

    fn decide(&self, program: &[u8], has: impl Fn(&str) -> bool) -> Option<How> {
        // What the kernel asks first: a handler that is registered for its own programs counts as well.
        let handler = self.handlers.iter().find(|handler| handler.takes(program));
        if let Some(handler) = handler.filter(|handler| handler.fixed || has(&handler.interpreter)) {
            return Some(How::Handler(handler.name.clone()));
        }
        let same = Arch::from_elf(program).is_some() && kind(program) == kind(&self.own);
        let smaller = self.runs_armhf && Arch::from_elf(program) == Some(Arch::Armhf);
        (same || smaller).then_some(How::Natively)
    }
}

/// Word size, byte order and machine of a program.
fn kind(program: &[u8]) -> Option<(&[u8], &[u8])> {
    Some((program.get(4..6)?, program.get(18..20)?))
}

fn head(file: File) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What cannot be read is no program.
    let _ = file.take(HEAD).read_to_end(&mut bytes);
    bytes
}

impl Handler {
    /// Reads what the kernel says of one; `None` for a switch, and for one that is off or goes by the ending of names.
    fn read(name: String, text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != "enabled" {
            return None;
        }
        let mut handler = Self { name, ..Self::default() };
        for line in lines {
            let (word, value) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "interpreter" => value.clone_into(&mut handler.interpreter),
                "flags:" => handler.fixed = value.contains('F'),
                "offset" => handler.offset = value.parse().ok()?,
                "magic" => handler.magic = digits(value)?,
                "mask" => handler.mask = digits(value)?,
                _ => {}
            }
        }
        (!handler.magic.is_empty()).then_some(handler)
    }

    fn takes(&self, program: &[u8]) -> bool {
        let Some(end) = self.offset.checked_add(self.magic.len()) else { return false };
        program.get(self.offset..end).is_some_and(|bytes| {
            bytes.iter().zip(&self.magic).enumerate().all(|(at, (byte, magic))| {
                let mask = self.mask.get(at).copied().unwrap_or(0xff);
                byte & mask == magic & mask
            })
        })
    }
}

fn digits(text: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    text.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(class: u8, machine: u8) -> Vec<u8> {
        let mut head = b"\x7fELF\x00\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\0\0".to_vec();
        head[4] = class;
        head[18] = machine;
        head
    }

    const QEMU: &str = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POF\noffset 0\n\
         magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";

    #[test]
    fn own_programs_run_and_others_where_somebody_takes_them() {
        let (arm64, armhf, amd64) = (program(2, 183), program(1, 40), program(2, 62));
        let qemu = Handler::read("qemu-aarch64".to_owned(), QEMU).expect("a handler");
        let not_fixed = Handler { fixed: false, ..qemu.clone() };
        let natively = Some(How::Natively);
        let by_qemu = Some(How::Handler("qemu-aarch64".to_owned()));
        #[expect(clippy::type_complexity, reason = "the columns of a table")]
        #[rustfmt::skip]
        let rows: [(&str, &[u8], bool, &[Handler], &[u8], Option<How>); 9] = [
            ("the same", &arm64, false, &[], &arm64, natively.clone()),
            ("a PC", &amd64, false, &[], &amd64, natively.clone()),
            ("32 bits on 64", &arm64, true, &[], &armhf, natively.clone()),
            ("32 bits where the kernel has none", &arm64, false, &[], &armhf, None),
            ("64 bits on 32", &armhf, false, &[], &arm64, None),
            ("another", &amd64, false, &[], &arm64, None),
            ("another, and a handler", &amd64, false, std::slice::from_ref(&qemu), &arm64, by_qemu),
            ("a handler for another", &amd64, false, std::slice::from_ref(&qemu), &armhf, None),
            ("a handler that is not in the image", &amd64, false, &[not_fixed], &arm64, None),
        ];
        for (shows, own, runs_armhf, handlers, program, expected) in rows {
            let here = Processor { own: own.to_vec(), runs_armhf, handlers: handlers.to_vec() };
            assert_eq!(here.decide(program, |_| false), expected, "{shows}");
        }
        let script = Processor { own: arm64, runs_armhf: false, handlers: vec![] };
        assert_eq!(script.decide(b"#!/bin/busybox sh", |_| true), None);
    }

    #[test]
    fn switches_and_what_is_off_are_no_handlers() {
        let off = QEMU.replace("enabled", "disabled");
        for text in ["enabled", "", "enabled\ninterpreter /usr/bin/java\nflags: \nextension .jar\n", &off] {
            assert_eq!(Handler::read("x".to_owned(), text), None, "{text}");
        }
        let shown =
            CannotRun { image: "trixie".parse().expect("a name"), programs: Some(Arch::Arm64), here: "mips" };
        assert_eq!(
            shown.to_string(),
            "the programs of `trixie` are for another processor (arm64) than this router's (mips), and nothing is registered that could run them (binfmt_misc); change it on a client instead, which can: `bramble image maintain trixie CLIENT`"
        );
    }

    #[test]
    fn this_machine_runs_its_own_programs() {
        let tree = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(tree.path().join("bin")).expect("made");
        std::fs::copy("/proc/self/exe", tree.path().join("bin/sh")).expect("copied");
        let name = "x".parse().expect("a name");
        assert_eq!(Processor::here().runs(&name, tree.path()), Ok(How::Natively));
    }
}
