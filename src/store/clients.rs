//! Rows of `seen`, `boot`, and the addresses in `lease`: what [`crate::service::clients`] starts from and hands back.
//!
//! Rows are written in batches, each batch one transaction. A row that cannot be read (a name that today's rules do
//! not allow, a damaged value) is left out rather than making the daemon unable to start.

use std::net::Ipv4Addr;

use rusqlite::{Connection, Transaction, params};

use super::{Durability, Store, StoreError};
use crate::types::{ImageName, ImageVersion, MacAddr, Moment, Revision, Serial, Version};

/// A machine that has shown itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenRow {
    pub mac: MacAddr,
    pub serial: Option<Serial>,
    pub revision: Option<Revision>,
    pub first_at: Moment,
    pub last_at: Moment,
    pub network: String,
}

/// Everything the directory of clients is built from.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ClientRows {
    pub seen: Vec<SeenRow>,
    pub booted: Vec<(MacAddr, ImageVersion)>,
    /// Addresses that are somebody's, and the network of each.
    pub bound: Vec<(Ipv4Addr, MacAddr, String)>,
}

/// What changed since the last batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ClientChanges {
    pub seen: Vec<SeenRow>,
    pub booted: Vec<(MacAddr, ImageVersion)>,
    /// Machines that are remembered no more; their rows are deleted before the others are written.
    pub forgotten: Vec<MacAddr>,
}

impl ClientChanges {
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty() && self.booted.is_empty() && self.forgotten.is_empty()
    }
}

impl Store {
    pub fn clients(&self) -> Result<ClientRows, StoreError> {
        self.read("read the clients", |db| {
            Ok(ClientRows { seen: seen(db)?, booted: booted(db)?, bound: bound(db)? })
        })
    }

    pub fn write_clients(&self, changes: &ClientChanges, now: Moment) -> Result<(), StoreError> {
        self.write("write the clients", Durability::Process, |tx| {
            forget(tx, &changes.forgotten)?;
            put_seen(tx, &changes.seen)?;
            put_booted(tx, &changes.booted, now)
        })
    }
}

fn seen(db: &Connection) -> rusqlite::Result<Vec<SeenRow>> {
    let mut query =
        db.prepare("SELECT mac, serial, revision, first_at, last_at, network FROM seen ORDER BY mac")?;
    let rows = query.query_map([], |row| {
        let mac: String = row.get(0)?;
        let serial: Option<String> = row.get(1)?;
        let revision: Option<u32> = row.get(2)?;
        let (first_at, last_at) = (Moment::from_millis(row.get(3)?), Moment::from_millis(row.get(4)?));
        let network = row.get(5)?;
        Ok(mac.parse().ok().map(|mac| SeenRow {
            mac,
            serial: serial.and_then(|text| text.parse().ok()),
            revision: revision.and_then(Revision::new),
            first_at,
            last_at,
            network,
        }))
    })?;
    rows.filter_map(Result::transpose).collect()
}

fn booted(db: &Connection) -> rusqlite::Result<Vec<(MacAddr, ImageVersion)>> {
    let mut query = db.prepare("SELECT mac, image, version FROM boot ORDER BY mac")?;
    let rows = query.query_map([], |row| {
        let (mac, image, version): (String, String, u32) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(readable_boot(&mac, &image, version))
    })?;
    rows.filter_map(Result::transpose).collect()
}

fn readable_boot(mac: &str, image: &str, version: u32) -> Option<(MacAddr, ImageVersion)> {
    let name: ImageName = image.parse().ok()?;
    Some((mac.parse().ok()?, ImageVersion { name, version: Version(version.try_into().ok()?) }))
}

fn bound(db: &Connection) -> rusqlite::Result<Vec<(Ipv4Addr, MacAddr, String)>> {
    let mut query = db.prepare(
        "SELECT ip, mac, network FROM lease WHERE state = 'bound' AND mac IS NOT NULL ORDER BY ip",
    )?;
    let rows = query.query_map([], |row| {
        let (ip, mac, network): (u32, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(mac.parse().ok().map(|mac| (Ipv4Addr::from(ip), mac, network)))
    })?;
    rows.filter_map(Result::transpose).collect()
}

fn forget(tx: &Transaction<'_>, macs: &[MacAddr]) -> rusqlite::Result<()> {
    for table in ["seen", "boot"] {
        let mut delete = tx.prepare(&format!("DELETE FROM {table} WHERE mac = ?1"))?;
        for mac in macs {
            delete.execute([mac.to_string()])?;
        }
    }
    Ok(())
}

fn put_seen(tx: &Transaction<'_>, rows: &[SeenRow]) -> rusqlite::Result<()> {
    let mut put = tx.prepare(
        "INSERT INTO seen (mac, serial, revision, first_at, last_at, network) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (mac) DO UPDATE SET serial = ?2, revision = ?3, first_at = ?4, last_at = ?5, network = ?6",
    )?;
    for row in rows {
        put.execute(params![
            row.mac.to_string(),
            row.serial.map(|serial| serial.to_string()),
            row.revision.map(Revision::code),
            row.first_at.millis(),
            row.last_at.millis(),
            row.network,
        ])?;
    }
    Ok(())
}

fn put_booted(tx: &Transaction<'_>, rows: &[(MacAddr, ImageVersion)], now: Moment) -> rusqlite::Result<()> {
    let mut put = tx.prepare(
        "INSERT INTO boot (mac, image, version, at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (mac) DO UPDATE SET image = ?2, version = ?3, at = ?4",
    )?;
    for (mac, image) in rows {
        put.execute(params![mac.to_string(), image.name.as_str(), image.version.0.get(), now.millis()])?;
    }
    Ok(())
}
