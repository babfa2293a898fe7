//! Rows of `eeprom`: what each client's bootloader is, and what is to be written into it.

use rusqlite::params;

use super::{Durability, Store, StoreError};
use crate::types::MacAddr;

/// One client's; both are JSON that only [`crate::service::eeprom`] understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EepromRow {
    pub mac: MacAddr,
    pub report: Option<String>,
    pub rollout: Option<String>,
}

impl Store {
    pub fn eeproms(&self) -> Result<Vec<EepromRow>, StoreError> {
        self.read("read what EEPROMs are", |db| {
            let mut query = db.prepare("SELECT mac, report, rollout FROM eeprom ORDER BY mac")?;
            let rows = query.query_map([], |row| {
                let mac: String = row.get(0)?;
                let (report, rollout) = (row.get(1)?, row.get(2)?);
                Ok(mac.parse().ok().map(|mac| EepromRow { mac, report, rollout }))
            })?;
            rows.filter_map(Result::transpose).collect()
        })
    }

    /// Writes rows; one with nothing in it goes.
    pub fn write_eeproms(&self, rows: &[EepromRow]) -> Result<(), StoreError> {
        self.write("write what EEPROMs are", Durability::Power, |tx| {
            for EepromRow { mac, report, rollout } in rows {
                let mac = mac.to_string();
                if report.is_none() && rollout.is_none() {
                    tx.execute("DELETE FROM eeprom WHERE mac = ?1", [mac])?;
                } else {
                    tx.execute(
                        "INSERT OR REPLACE INTO eeprom (mac, report, rollout) VALUES (?1, ?2, ?3)",
                        params![mac, report, rollout],
                    )?;
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_and_empty_ones_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("bramble.db")).expect("a store");
        let row = |n: u8, report: Option<&str>| EepromRow {
            mac: MacAddr::new([2, 0, 0, 0, 0, n]),
            report: report.map(str::to_owned),
            rollout: None,
        };
        store.write_eeproms(&[row(2, Some("{}")), row(1, Some("{\"a\":1}"))]).expect("written");
        assert_eq!(store.eeproms().expect("read"), [row(1, Some("{\"a\":1}")), row(2, Some("{}"))]);
        store.write_eeproms(&[row(1, None)]).expect("written");
        assert_eq!(store.eeproms().expect("read"), [row(2, Some("{}"))]);
    }
}
