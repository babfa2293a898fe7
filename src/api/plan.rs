//! The method that says how long a room takes to boot.

use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Api;
use super::args::Args;
use super::error::ApiError;
use crate::service::clients::Known;
use crate::service::room::plan::{Measured, Plan, plan};
use crate::types::{ByteSize, RoomName};

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
        let listed = trees.iter().map(|tree| tree.facts.tftp_bytes).max().unwrap_or(0);
        let links = members.iter().filter_map(|known| {
            let mbit = self.vitals.newest(known.mac)?.health.link_mbit?;
            Some((known.name.to_string(), mbit))
        });
        let config = self.config.borrow().clone();
        let ports = config.networks.iter().flat_map(|network| ports(&network.device)).collect();
        let folder = trees.first().and_then(|tree| Some(tree.root.join(tree.facts.boot_dir.as_ref()?)));
        Ok(plan(&Measured {
            clients,
            boot_files: ByteSize(if seen > 0 { seen } else { listed }),
            alone,
            ports,
            client: links.min_by_key(|(_, mbit)| *mbit),
            disk: folder.and_then(|folder| read_rate(&folder)),
        }))
    }
}

/// The ports of `device` that are up, with their speed: of a bridge each, else the device itself.
fn ports(device: &str) -> Vec<(String, u32)> {
    let speed = |name: &str| -> Option<u32> {
        // A port without a cable says -1, one in a namespace nothing.
        fs_err::read_to_string(format!("/sys/class/net/{name}/speed")).ok()?.trim().parse().ok()
    };
    let members: Vec<String> = fs_err::read_dir(format!("/sys/class/net/{device}/brif"))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let names = if members.is_empty() { vec![device.to_owned()] } else { members };
    names
        .into_iter()
        .filter_map(|name| Some((name.clone(), speed(&name).filter(|mbit| *mbit > 0)?)))
        .collect()
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
