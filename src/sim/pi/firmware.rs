//! From the address to the kernel's command line: the files each firmware asks for, in its order, with its probes.
//!
//! Orders are from server logs and captures of real boots (Pi 3 and 4); that of the Pi 5 is put together from release
//! notes. Missing files are the rule: most of what a firmware asks for is optional.

use super::rom::{Board, Rom};
use super::tftp::{Tftp, TftpError};

/// Why the firmware stopped.
#[derive(Debug, thiserror::Error)]
pub enum FirmwareError {
    #[error(transparent)]
    Tftp(#[from] TftpError),
    #[error("`{0}` is missing, without which this Pi does not boot")]
    Missing(String),
    #[error("neither of the kernels {0} is there")]
    NoKernel(String),
}

/// What the firmware starts the kernel with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    pub kernel: String,
    pub initramfs: Option<String>,
    /// `cmdline.txt`.
    pub cmdline: String,
}

/// The settings of `config.txt` that decide which files are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    kernel: Option<String>,
    initramfs: Option<String>,
    auto_initramfs: bool,
    overlays: Vec<String>,
}

impl Settings {
    /// As `rom`'s firmware reads `text`: sections for other models are skipped.
    pub fn parse(text: &str, rom: Rom) -> Self {
        let mut settings = Self::default();
        let mut mine = true;
        for line in text.lines().map(str::trim) {
            if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                mine = match section {
                    "all" => true,
                    "pi3" => matches!(rom, Rom::Pi3B | Rom::Pi3BPlus),
                    "pi3+" => rom == Rom::Pi3BPlus,
                    "pi4" => rom == Rom::Pi4,
                    "pi5" => rom == Rom::Pi5,
                    _ => false,
                };
                continue;
            }
            if !mine || line.starts_with('#') {
                continue;
            }
            match line.split_once('=') {
                Some(("kernel", file)) => settings.kernel = Some(file.to_owned()),
                Some(("auto_initramfs", value)) => settings.auto_initramfs = value == "1",
                Some(("dtoverlay", value)) => {
                    let name = value.split(',').next().unwrap_or_default();
                    settings.overlays.push(overlay_for(name, rom));
                }
                _ => {}
            }
            if let Some(file) = line.strip_prefix("initramfs ").and_then(|rest| rest.split(' ').next()) {
                settings.initramfs = Some(file.to_owned());
            }
        }
        settings
    }
}

/// `overlay_map.dtb` gives some overlays another name on newer boards.
fn overlay_for(name: &str, rom: Rom) -> String {
    match (name, rom) {
        ("vc4-kms-v3d", Rom::Pi4) => "vc4-kms-v3d-pi4".to_owned(),
        ("vc4-kms-v3d", Rom::Pi5) => "vc4-kms-v3d-pi5".to_owned(),
        _ => name.to_owned(),
    }
}

/// Loads everything; `tell` hears the bytes of each file that came.
pub fn load(board: &Board, tftp: Tftp, tell: &mut dyn FnMut(u64)) -> Result<Handover, FirmwareError> {
    let loader = Loader { board, tftp, prefix: format!("{}/", board.serial), tell };
    match board.rom {
        Rom::Pi3B | Rom::Pi3BPlus => loader.pi3(),
        Rom::Pi4 => loader.pi4(),
        Rom::Pi5 => loader.pi5(),
    }
}

/// The mask ROM's part of a Pi 3: what is loaded before `bootcode.bin` asks for an address of its own.
pub fn bootcode(tftp: Tftp, tell: &mut dyn FnMut(u64)) -> Result<(), FirmwareError> {
    let file = "bootcode.bin";
    let content = tftp.load(file)?.ok_or_else(|| FirmwareError::Missing(file.to_owned()))?;
    tell(content.len() as u64);
    tftp.load("bootsig.bin")?;
    Ok(())
}

struct Loader<'a> {
    board: &'a Board,
    tftp: Tftp,
    /// Put before every name: the serial number, or nothing once the server turned out not to know it.
    prefix: String,
    tell: &'a mut dyn FnMut(u64),
}

impl Loader<'_> {
    fn pi3(mut self) -> Result<Handover, FirmwareError> {
        self.choose_prefix(&["start.elf"])?;
        self.wish("autoboot.txt")?;
        let settings = self.settings()?;
        self.wish("recovery.elf")?;
        self.need("start.elf")?;
        self.need("fixup.dat")?;
        self.wish("recovery.elf")?;
        self.settings()?;
        self.wish("dt-blob.bin")?;
        self.wish("bootcfg.txt")?;
        let plus = self.board.rom == Rom::Pi3BPlus;
        self.need(if plus { "bcm2710-rpi-3-b-plus.dtb" } else { "bcm2710-rpi-3-b.dtb" })?;
        self.overlays(&settings)?;
        let cmdline = self.cmdline()?;
        for file in ["recovery8.img", "recovery8-32.img", "recovery7.img", "recovery.img"] {
            self.wish(file)?;
        }
        let kernel = self.kernel(&settings, &["kernel8.img", "kernel8-32.img", "kernel7.img"])?;
        self.wish("armstub8-32.bin")?;
        let initramfs = self.initramfs(&settings, &kernel)?;
        Ok(Handover { kernel, initramfs, cmdline })
    }

    fn pi4(mut self) -> Result<Handover, FirmwareError> {
        self.choose_prefix(&["start4.elf", "start.elf"])?;
        let settings = self.settings()?;
        for file in ["vl805.sig", "pieeprom.sig", "recover4.elf", "recovery.elf"] {
            self.wish(file)?;
        }
        self.need("start4.elf")?;
        self.need("fixup4.dat")?;
        self.settings()?;
        self.need("bcm2711-rpi-4-b.dtb")?;
        self.overlays(&settings)?;
        let cmdline = self.cmdline()?;
        let kernel = self.kernel(&settings, &["kernel8.img", "kernel7l.img"])?;
        let initramfs = self.initramfs(&settings, &kernel)?;
        Ok(Handover { kernel, initramfs, cmdline })
    }

    fn pi5(mut self) -> Result<Handover, FirmwareError> {
        self.choose_prefix(&["config.txt"])?;
        let settings = self.settings()?;
        self.wish("pieeprom.sig")?;
        let kernel = self.kernel(&settings, &["kernel_2712.img", "kernel8.img"])?;
        let initramfs = self.initramfs(&settings, &kernel)?;
        self.need("bcm2712-rpi-5-b.dtb")?;
        self.overlays(&settings)?;
        self.wish("overlays/bcm2712d0.dtbo")?;
        let cmdline = self.cmdline()?;
        Ok(Handover { kernel, initramfs, cmdline })
    }

    /// Keeps the prefix if one of `files` is there with it.
    fn choose_prefix(&mut self, files: &[&str]) -> Result<(), FirmwareError> {
        for file in files {
            if self.tftp.exists(&self.path(file))? {
                return Ok(());
            }
        }
        self.prefix.clear();
        Ok(())
    }

    fn settings(&mut self) -> Result<Settings, FirmwareError> {
        let text = self.need("config.txt")?;
        Ok(Settings::parse(&String::from_utf8_lossy(&text), self.board.rom))
    }

    fn cmdline(&mut self) -> Result<String, FirmwareError> {
        Ok(String::from_utf8_lossy(&self.need("cmdline.txt")?).into_owned())
    }

    fn overlays(&mut self, settings: &Settings) -> Result<(), FirmwareError> {
        self.wish("overlays/overlay_map.dtb")?;
        for overlay in &settings.overlays {
            self.wish(&format!("overlays/{overlay}.dtbo"))?;
        }
        Ok(())
    }

    /// The first of `usual` that is there, or the one `config.txt` names; tested first, then loaded.
    fn kernel(&mut self, settings: &Settings, usual: &[&str]) -> Result<String, FirmwareError> {
        let named: Vec<&str> = settings.kernel.iter().map(String::as_str).collect();
        let candidates = if named.is_empty() { usual } else { &named };
        for file in candidates {
            if self.tftp.exists(&self.path(file))? {
                self.need(file)?;
                return Ok((*file).to_owned());
            }
        }
        Err(FirmwareError::NoKernel(candidates.join(", ")))
    }

    /// With `auto_initramfs`, the name follows from the kernel's: `kernel8.img` has `initramfs8`.
    fn initramfs(&mut self, settings: &Settings, kernel: &str) -> Result<Option<String>, FirmwareError> {
        if let Some(file) = &settings.initramfs {
            self.need(file)?;
            return Ok(Some(file.clone()));
        }
        if !settings.auto_initramfs {
            return Ok(None);
        }
        let Some(tail) = kernel.strip_prefix("kernel").and_then(|rest| rest.strip_suffix(".img")) else {
            return Ok(None);
        };
        let file = format!("initramfs{tail}");
        Ok(self.wish(&file)?.then_some(file))
    }

    fn path(&self, file: &str) -> String {
        format!("{}{file}", self.prefix)
    }

    /// A file the boot cannot do without.
    fn need(&mut self, file: &str) -> Result<Vec<u8>, FirmwareError> {
        let path = self.path(file);
        let content = self.tftp.load(&path)?.ok_or(FirmwareError::Missing(path))?;
        (self.tell)(content.len() as u64);
        Ok(content)
    }

    /// A file the boot takes if it is there.
    fn wish(&mut self, file: &str) -> Result<bool, FirmwareError> {
        let content = self.tftp.load(&self.path(file))?;
        (self.tell)(content.as_ref().map_or(0, |content| content.len() as u64));
        Ok(content.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_the_board_reads_them() {
        let text = "# a comment\nauto_initramfs=1\ndtoverlay=vc4-kms-v3d,noaudio\n[pi4]\nkernel=mine.img\n\
                    [cm4]\nkernel=other.img\n[all]\nauto_initramfs=0\n[pi5]\ninitramfs rd.img followkernel\n";
        let four = Settings::parse(text, Rom::Pi4);
        assert_eq!(four.kernel.as_deref(), Some("mine.img"));
        assert_eq!((four.initramfs, four.auto_initramfs), (None, false));
        assert_eq!(four.overlays, ["vc4-kms-v3d-pi4"]);
        let five = Settings::parse(text, Rom::Pi5);
        assert_eq!((five.kernel, five.initramfs.as_deref()), (None, Some("rd.img")));
        assert_eq!(Settings::parse(text, Rom::Pi3B).overlays, ["vc4-kms-v3d"]);
    }
}
