//! What this client's bootloader says of itself: the device tree, and the copy of its settings that it leaves in memory.

use std::fs;
use std::path::{Path, PathBuf};

use crate::proto::agent::eeprom::Report;
use crate::types::{Moment, limits};

const TREE: &str = "sys/firmware/devicetree/base";

/// `root` is `/`, or what a test puts in its place.
pub fn report(root: &Path) -> Report {
    let number = |name: &str| {
        let bytes = fs::read(root.join(TREE).join(name)).ok()?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    let moment =
        |name: &str| number(name).filter(|seconds| *seconds > 0).map(|at| Moment::from_secs(at.into()));
    Report {
        built: moment("chosen/bootloader/build-timestamp"),
        updated: moment("chosen/bootloader/update-timestamp"),
        config: config(root).as_deref().map(Into::into),
        revision: number("system/linux,revision"),
        signed: number("chosen/bootloader/signed").unwrap_or(0),
        board_version: number("chosen/rpi-min-boot-ver").unwrap_or(0),
    }
}

/// The settings: of all memory devices the one whose node the device tree calls `blconfig`.
fn config(root: &Path) -> Option<String> {
    let alias = fs::read_to_string(root.join(TREE).join("aliases/blconfig")).ok()?;
    let node = alias.trim_end_matches('\0').trim_start_matches('/');
    let wanted: PathBuf = fs::canonicalize(root.join(TREE).join(node)).ok()?;
    let devices = fs::read_dir(root.join("sys/bus/nvmem/devices")).ok()?;
    let is_it =
        |device: &PathBuf| fs::canonicalize(device.join("of_node")).is_ok_and(|found| found == wanted);
    let device = devices.flatten().map(|entry| entry.path()).find(is_it)?;
    let mut bytes = fs::read(device.join("nvmem")).ok()?;
    // It is as long as there is room, and the rest is zeros or what an erased EEPROM holds.
    let end = bytes.iter().position(|b| matches!(b, 0 | 0xff)).unwrap_or(bytes.len());
    bytes.truncate(end.min(limits::EEPROM_CONFIG));
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bootloader_tells_what_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        assert_eq!(report(root), Report::default(), "a machine without one");
        let put = |path: &str, bytes: &[u8]| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, bytes).expect("written");
        };
        put(
            "sys/firmware/devicetree/base/chosen/bootloader/build-timestamp",
            &1_785_847_093_u32.to_be_bytes(),
        );
        put(
            "sys/firmware/devicetree/base/chosen/bootloader/update-timestamp",
            &1_790_000_000_u32.to_be_bytes(),
        );
        put("sys/firmware/devicetree/base/chosen/bootloader/signed", &[0; 4]);
        put("sys/firmware/devicetree/base/system/linux,revision", &0x00c0_3111_u32.to_be_bytes());
        put("sys/firmware/devicetree/base/chosen/rpi-min-boot-ver", &[0, 0, 0, 1]);
        put("sys/firmware/devicetree/base/aliases/blconfig", b"/reserved-memory/nvram@0\0");
        put("sys/firmware/devicetree/base/reserved-memory/nvram@0/reg", b"");
        put("sys/firmware/devicetree/base/reserved-memory/nvram@1/reg", b"");
        for (number, text) in [(0, "a key\0"), (1, "[all]\nBOOT_ORDER=0xf21\n\0\0\0")] {
            put(&format!("sys/bus/nvmem/devices/rmem{number}/nvmem"), text.as_bytes());
            let node =
                root.join(format!("sys/firmware/devicetree/base/reserved-memory/nvram@{}", 1 - number));
            std::os::unix::fs::symlink(
                node,
                root.join(format!("sys/bus/nvmem/devices/rmem{number}/of_node")),
            )
            .expect("linked");
        }
        let expected = Report {
            built: Some(Moment::from_secs(1_785_847_093)),
            updated: Some(Moment::from_secs(1_790_000_000)),
            config: Some("[all]\nBOOT_ORDER=0xf21\n".into()),
            revision: Some(0x00c0_3111),
            signed: 0,
            board_version: 1,
        };
        assert_eq!(report(root), expected);
    }
}
