//! The first sectors of a disk image: the partition table of the MBR, and what a FAT file system says of itself.
//!
//! Whoever made the image chose every number here, so nothing is added or multiplied before it is checked against the
//! length of the image. Sources: *UEFI Specification* 2.10 §5.2 (MBR, protective MBR), Microsoft *FAT32 File System
//! Specification* 1.03 (BPB).

/// Length of a sector of a disk image, in bytes.
pub const SECTOR: usize = 512;

/// Why a partition table cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTable {
    #[error("it has no partition table; it is not an image of a whole disk")]
    NoTable,
    #[error(
        "it has a GPT partition table, which no Raspberry Pi OS image has; mount it on another machine and import its root folder"
    )]
    Gpt,
    #[error("partition {0} reaches beyond the end of the image; it was not downloaded completely")]
    Outside(u8),
    #[error("partitions {0} and {1} overlap; the image is damaged")]
    Overlap(u8, u8),
    #[error("it has no Linux partition, so no operating system to boot")]
    NoLinux,
}

/// One partition, in bytes from the beginning of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// From 1.
    pub number: u8,
    /// System identifier, such as `0x0c` for FAT32 and `0x83` for Linux.
    pub kind: u8,
    pub start: u64,
    pub len: u64,
}

impl Partition {
    pub const fn is_fat(&self) -> bool {
        matches!(self.kind, 0x01 | 0x04 | 0x06 | 0x0b | 0x0c | 0x0e)
    }

    const fn end(&self) -> u64 {
        self.start + self.len
    }
}

/// The two partitions an operating system of a Pi has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Firmware and kernels.
    pub boot: Option<Partition>,
    pub root: Partition,
}

/// Reads the first sector of a disk of `disk` bytes.
pub fn layout(sector: &[u8; SECTOR], disk: u64) -> Result<Layout, BadTable> {
    let table = partitions(sector, disk)?;
    let boot = table.iter().find(|partition| partition.is_fat()).copied();
    let root = table.iter().find(|partition| partition.kind == 0x83).copied().ok_or(BadTable::NoLinux)?;
    Ok(Layout { boot, root })
}

/// The primary partitions that are used. Those inside an extended one are not looked at: no Pi boots from them.
pub fn partitions(sector: &[u8; SECTOR], disk: u64) -> Result<Vec<Partition>, BadTable> {
    if sector.get(510..) != Some(&[0x55, 0xaa]) {
        return Err(BadTable::NoTable);
    }
    let mut table: Vec<Partition> = Vec::with_capacity(4);
    for (entry, number) in sector.get(446..510).unwrap_or_default().chunks_exact(16).zip(1..) {
        let (kind, start, sectors) = (entry.get(4).copied().unwrap_or(0), field(entry, 8), field(entry, 12));
        if kind == 0xee {
            return Err(BadTable::Gpt);
        }
        if kind == 0 || sectors == 0 {
            continue;
        }
        // 32 bits times 512 fit 64 bits.
        let partition =
            Partition { number, kind, start: start * SECTOR as u64, len: sectors * SECTOR as u64 };
        if partition.end() > disk || start == 0 {
            return Err(BadTable::Outside(number));
        }
        if let Some(other) =
            table.iter().find(|other| other.start < partition.end() && partition.start < other.end())
        {
            return Err(BadTable::Overlap(other.number, number));
        }
        table.push(partition);
    }
    if table.is_empty() { Err(BadTable::NoTable) } else { Ok(table) }
}

/// The first sector of a disk with these partitions. Cylinders and heads, which nothing looks at any more, say "beyond what
/// fits". At most four, each below 2 TiB and at whole sectors.
pub fn table(partitions: &[Partition]) -> [u8; SECTOR] {
    let mut sector = [0; SECTOR];
    let entries = sector.get_mut(446..510).unwrap_or_default().chunks_exact_mut(16);
    for (entry, partition) in entries.zip(partitions) {
        let sectors = |bytes: u64| u32::try_from(bytes / SECTOR as u64).unwrap_or(u32::MAX).to_le_bytes();
        let head = [0, 0xfe, 0xff, 0xff, partition.kind, 0xfe, 0xff, 0xff];
        let [start, len] = [sectors(partition.start), sectors(partition.len)];
        for (byte, value) in entry.iter_mut().zip(head.into_iter().chain(start).chain(len)) {
            *byte = value;
        }
    }
    if let Some(end) = sector.get_mut(510..) {
        end.copy_from_slice(&[0x55, 0xaa]);
    }
    sector
}

/// Why a boot partition cannot be read as FAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a FAT file system, or a damaged one ({0})")]
pub struct BadFat(pub &'static str);

/// What a FAT file system says of itself, checked: every area lies within the partition, and no sum overflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fat {
    pub cluster_bytes: u32,
    pub clusters: u32,
}

/// Reads the first sector of a FAT file system in a partition of `len` bytes.
pub fn fat(sector: &[u8; SECTOR], len: u64) -> Result<Fat, BadFat> {
    let word = |at: usize| u64::from(half(sector, at));
    if sector.get(510..) != Some(&[0x55, 0xaa]) {
        return Err(BadFat("no signature"));
    }
    let bytes = word(11);
    if !matches!(bytes, 512 | 1024 | 2048 | 4096) {
        return Err(BadFat("odd length of sectors"));
    }
    let per_cluster = u64::from(sector.get(13).copied().unwrap_or(0));
    if !per_cluster.is_power_of_two() || per_cluster > 128 {
        return Err(BadFat("odd length of clusters"));
    }
    let reserved = word(14);
    let fats = u64::from(sector.get(16).copied().unwrap_or(0));
    let root_entries = word(17);
    let total = [word(19), field(sector, 32)].into_iter().find(|total| *total > 0).unwrap_or(0);
    let fat32 = word(22) == 0;
    let per_fat = if fat32 { field(sector, 36) } else { word(22) };
    if reserved == 0 || !(1..=2).contains(&fats) || per_fat == 0 {
        return Err(BadFat("no file allocation table"));
    }
    let data = reserved + fats * per_fat + (root_entries * 32).div_ceil(bytes);
    // All of these are below 2^34, so nothing here overflows.
    if total <= data || total * bytes > len {
        return Err(BadFat("it does not fit its partition"));
    }
    let clusters = (total - data) / per_cluster;
    let bits: u64 = match clusters {
        0..4085 => 12,
        4085..65_525 => 16,
        _ => 32,
    };
    if fat32 != (bits == 32) || clusters > 0x0fff_fff0 {
        return Err(BadFat("its kind does not go with its size"));
    }
    // The table must hold an entry for each cluster and two more; fatfs counts its bits in 32 bits.
    if per_fat * bytes * 8 / bits < clusters + 2 || per_fat * bytes * 8 > u64::from(u32::MAX) {
        return Err(BadFat("its table is too short"));
    }
    if fat32 && !(2..clusters + 2).contains(&field(sector, 44)) {
        return Err(BadFat("its root folder is outside"));
    }
    let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    Ok(Fat { cluster_bytes: narrow(bytes * per_cluster), clusters: narrow(clusters) })
}

fn half(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_le_bytes)
}

fn field(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn table(entries: &[(u8, u32, u32)]) -> [u8; SECTOR] {
        let mut sector = [0; SECTOR];
        for (at, (kind, start, len)) in entries.iter().enumerate() {
            let entry = 446 + at * 16;
            sector[entry + 4] = *kind;
            sector[entry + 8..entry + 12].copy_from_slice(&start.to_le_bytes());
            sector[entry + 12..entry + 16].copy_from_slice(&len.to_le_bytes());
        }
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        sector
    }

    type Row = (&'static str, Vec<(u8, u32, u32)>, Result<Layout, BadTable>);

    #[test]
    fn tables_as_images_have_them() {
        let part = |number, kind, start: u64, len: u64| Partition {
            number,
            kind,
            start: start * 512,
            len: len * 512,
        };
        #[rustfmt::skip]
        let rows: Vec<Row> = vec![
            ("Raspberry Pi OS", vec![(0x0c, 16_384, 1_048_576), (0x83, 1_064_960, 1_000_000)],
                Ok(Layout { boot: Some(part(1, 0x0c, 16_384, 1_048_576)), root: part(2, 0x83, 1_064_960, 1_000_000) })),
            ("root only, second entry", vec![(0, 0, 0), (0x83, 2048, 4096)],
                Ok(Layout { boot: None, root: part(2, 0x83, 2048, 4096) })),
            ("protective", vec![(0xee, 1, 0xffff_ffff)], Err(BadTable::Gpt)),
            ("hybrid", vec![(0x0c, 2048, 8), (0xee, 1, 2047)], Err(BadTable::Gpt)),
            ("beyond the end", vec![(0x0c, 2048, 8), (0x83, 4096, 4_000_000)], Err(BadTable::Outside(2))),
            ("as long as numbers go", vec![(0x83, u32::MAX, u32::MAX)], Err(BadTable::Outside(1))),
            ("over the table itself", vec![(0x83, 0, 8)], Err(BadTable::Outside(1))),
            ("overlapping", vec![(0x0c, 2048, 100), (0x83, 2147, 8)], Err(BadTable::Overlap(1, 2))),
            ("FAT only", vec![(0x0c, 2048, 8)], Err(BadTable::NoLinux)),
            ("nothing", vec![], Err(BadTable::NoTable)),
        ];
        for (shows, entries, expected) in rows {
            assert_eq!(layout(&table(&entries), GIB + 512), expected, "{shows}");
        }
        assert_eq!(layout(&[0; SECTOR], GIB), Err(BadTable::NoTable));
    }

    #[test]
    fn a_table_that_is_written_is_read() {
        let card = [Partition { number: 1, kind: 0x0c, start: 1 << 20, len: 63 << 20 }];
        assert_eq!(partitions(&super::table(&card), 64 << 20), Ok(card.to_vec()));
    }

    /// A FAT32 of 256 MiB with clusters of one sector, as pi-gen makes them since 2026.
    fn fat32() -> [u8; SECTOR] {
        let mut sector = [0; SECTOR];
        sector[11..13].copy_from_slice(&512_u16.to_le_bytes());
        sector[13] = 1;
        sector[14..16].copy_from_slice(&32_u16.to_le_bytes());
        sector[16] = 2;
        sector[32..36].copy_from_slice(&524_288_u32.to_le_bytes());
        sector[36..40].copy_from_slice(&4096_u32.to_le_bytes());
        sector[44..48].copy_from_slice(&2_u32.to_le_bytes());
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        sector
    }

    #[test]
    fn a_boot_sector_is_believed_only_where_it_adds_up() {
        assert_eq!(fat(&fat32(), 256 << 20), Ok(Fat { cluster_bytes: 512, clusters: 516_064 }));
        #[rustfmt::skip]
        let rows: [(&str, usize, &[u8], &str); 9] = [
            ("signature", 510, &[0, 0], "no signature"),
            ("sectors of 500 bytes", 11, &[0xf4, 1], "odd length of sectors"),
            ("clusters of three", 13, &[3], "odd length of clusters"),
            ("no reserved sectors", 14, &[0, 0], "no file allocation table"),
            ("255 tables", 16, &[255], "no file allocation table"),
            ("longer than the partition", 32, &[0xff; 4], "it does not fit its partition"),
            ("a table as long as numbers go", 36, &[0xff; 4], "it does not fit its partition"),
            ("a short table", 36, &[1, 0, 0, 0], "its table is too short"),
            ("root folder at 0", 44, &[0; 4], "its root folder is outside"),
        ];
        for (shows, at, bytes, why) in rows {
            let mut sector = fat32();
            sector[at..at + bytes.len()].copy_from_slice(bytes);
            assert_eq!(fat(&sector, 256 << 20), Err(BadFat(why)), "{shows}");
        }
    }

    proptest! {
        /// Whatever an image says, what is answered lies within it, and no partition within another.
        #[test]
        fn answers_lie_within_the_image(
            entries in proptest::collection::vec((any::<u8>(), any::<u32>(), any::<u32>()), 0..5),
            small in any::<bool>(),
            disk in 0..(8 * GIB),
        ) {
            let shrink = |value: u32| if small { value % 100_000 } else { value };
            let entries: Vec<_> = entries.into_iter().take(4).map(|(k, s, l)| (k, shrink(s), shrink(l))).collect();
            if let Ok(found) = partitions(&table(&entries), disk) {
                for one in &found {
                    prop_assert!(one.start >= 512 && one.end() <= disk && one.len > 0);
                    let others = found.iter().filter(|other| other.number != one.number);
                    prop_assert!(others.clone().all(|other| other.end() <= one.start || one.end() <= other.start));
                }
            }
        }

        #[test]
        fn any_change_of_a_boot_sector_is_taken_or_refused(at in 0..SECTOR, byte in any::<u8>(), len in any::<u64>()) {
            let mut sector = fat32();
            sector[at] = byte;
            if let Ok(found) = fat(&sector, len) {
                prop_assert!(u64::from(found.clusters) * u64::from(found.cluster_bytes) <= len);
            }
        }
    }
}
