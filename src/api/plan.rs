//! The method that says how long a room takes to boot.

use std::collections::HashSet;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Api;
use super::args::Args;
use super::error::ApiError;
use crate::service::clients::Known;
use crate::service::room::plan::{Measured, Plan, Port, plan};
use crate::types::{ByteSize, MacAddr, RoomName};

/// How much is read from the disk to measure it, and in what pieces.
const SAMPLE: usize = 16 << 20;
const PIECE: usize = 1 << 20;

impl Api {
    pub(super) fn plan(&self, args: &Args) -> Result<Plan, ApiError> {
        let room: Option<RoomName> = args.get("room")?;
        if let Some(room) = &room {
            self.room_exists(room)?;
        }
        let fits = |known: &Known| known.adopted && (room.is_none() || known.room == room);
        let members: Vec<Known> = self.clients.all().into_iter().filter(fits).collect();
        let there = u32::try_from(members.len()).unwrap_or(u32::MAX);
        let clients =
            args.number("clients")?.map_or(there, |number| u32::try_from(number).unwrap_or(u32::MAX));
        let boots: Vec<_> = members.iter().filter_map(|known| self.events.boots(known.mac).pop()).collect();
        let alone = boots.iter().filter_map(|boot| boot.total_ms).min().map(Duration::from_millis);
        let trees: Vec<_> =
            members.iter().filter_map(|known| self.images.resolve(known.image.as_ref()?)).collect();
        let seen = boots.iter().map(|boot| boot.bytes).max().unwrap_or(0);
        let root = boots.iter().filter_map(|boot| boot.root_bytes).max().map(ByteSize);
        let listed = trees.iter().map(|tree| tree.facts.tftp_bytes).max().unwrap_or(0);
        let links = members.iter().filter_map(|known| {
            let mbit = self.vitals.newest(known.mac)?.health.link_mbit?;
            Some((known.name.to_string(), mbit))
        });
        let config = self.config.borrow().clone();
        let macs: HashSet<MacAddr> = members.iter().map(|known| known.mac).collect();
        let ports = config.networks.iter().flat_map(|network| ports(&network.device, &macs)).collect();
        let folder = trees.first().and_then(|tree| Some(tree.root.join(tree.facts.boot_dir.as_ref()?)));
        Ok(plan(&Measured {
            clients,
            boot_files: ByteSize(if seen > 0 { seen } else { listed }),
            root,
            alone,
            ports,
            client: links.min_by_key(|(_, mbit)| *mbit),
            disk: folder.and_then(|folder| read_rate(&folder)),
        }))
    }
}

/// The ports of `device` that are up, with their speed and how many of `clients` are behind each: of a bridge, as it has
/// learned them; else the device itself, behind which all are.
fn ports(device: &str, clients: &HashSet<MacAddr>) -> Vec<Port> {
    let read = |path: String| fs_err::read_to_string(path).ok();
    // A port without a cable says -1, one in a namespace nothing.
    let speed = |name: &str| -> Option<u32> {
        read(format!("/sys/class/net/{name}/speed"))?.trim().parse().ok().filter(|mbit| *mbit > 0)
    };
    let names: Vec<String> = fs_err::read_dir(format!("/sys/class/net/{device}/brif"))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    if names.is_empty() {
        let all = u32::try_from(clients.len()).unwrap_or(u32::MAX);
        return speed(device)
            .map(|mbit| Port { name: device.to_owned(), mbit, clients: all })
            .into_iter()
            .collect();
    }
    let learned = fs_err::read(format!("/sys/class/net/{device}/brforward")).unwrap_or_default();
    let at = |number: u16| {
        let entries = learned.as_chunks::<16>().0.iter();
        let here = entries.filter(|entry| learned_at(entry) == Some(number)).filter_map(learned_mac);
        u32::try_from(here.filter(|mac| clients.contains(mac)).count()).unwrap_or(u32::MAX)
    };
    let port = |name: String| {
        let number = read(format!("/sys/class/net/{name}/brport/port_no"))?;
        let number = u16::from_str_radix(number.trim().trim_start_matches("0x"), 16).ok()?;
        Some(Port { mbit: speed(&name)?, clients: at(number), name })
    };
    names.into_iter().filter_map(port).collect()
}

/// The port of an entry of a bridge's table (`struct __fdb_entry` of linux/if_bridge.h); `None` for the bridge's own.
fn learned_at(entry: &[u8; 16]) -> Option<u16> {
    let [_, _, _, _, _, _, low, is_local, _, _, _, _, high, ..] = *entry;
    (is_local == 0).then(|| u16::from_le_bytes([low, high]))
}

fn learned_mac(entry: &[u8; 16]) -> Option<MacAddr> {
    entry.first_chunk::<6>().map(|octets| MacAddr::new(*octets))
}

/// How fast the files of `folder` come from the disk, read around the kernel's memory of them. `None` if too little could be
/// read for a figure.
#[expect(clippy::disallowed_methods, reason = "a disk is measured with a clock")]
fn read_rate(folder: &Path) -> Option<u64> {
    // The kernel wants such a buffer to begin where a page does.
    let mut buffer = vec![0_u8; PIECE + 4096];
    let skip = buffer.as_ptr().align_offset(4096);
    let piece = buffer.get_mut(skip..skip.checked_add(PIECE)?)?;
    let (mut bytes, begin) = (0_usize, Instant::now());
    for entry in fs_err::read_dir(folder).ok()?.flatten() {
        let opened = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(entry.path());
        let Ok(mut file) = opened else { continue };
        while bytes < SAMPLE {
            match file.read(piece) {
                Ok(0) | Err(_) => break,
                Ok(length) => bytes += length,
            }
        }
    }
    let micros = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX).max(1);
    let bytes = u64::try_from(bytes).unwrap_or(0);
    (bytes >= 1 << 20).then(|| bytes.saturating_mul(1_000_000) / micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_tells_behind_which_port_a_machine_is() {
        let entry = [0xdc, 0xa6, 0x32, 1, 2, 3, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0];
        assert_eq!(learned_at(&entry), Some(0x104));
        assert_eq!(learned_mac(&entry), Some(MacAddr::new([0xdc, 0xa6, 0x32, 1, 2, 3])));
        let own = [2, 0, 0, 0, 0, 1, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(learned_at(&own), None);
    }
}
