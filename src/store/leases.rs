//! Rows of `lease`: every address that is or was somebody's.
//!
//! A batch of writes is one transaction. It is durable against a power cut when it gives an address to somebody new; a
//! renewal only moves an end that the client will tell us again.

use std::net::Ipv4Addr;

use rusqlite::{Row, Transaction, params};

use super::{Durability, Store, StoreError};
use crate::types::{HostName, MacAddr, Moment};

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRow {
    pub ip: Ipv4Addr,
    pub mac: Option<MacAddr>,
    /// What the lease is keyed by; never interpreted here.
    pub client_id: Vec<u8>,
    pub network: String,
    pub state: LeaseState,
    pub host_name: Option<HostName>,
    pub granted_at: Moment,
    /// `None` never runs out.
    pub expires_at: Option<Moment>,
}

/// How an address stands, in the words of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    Bound,
    Released,
    Declined,
}

impl LeaseState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::Released => "released",
            Self::Declined => "declined",
        }
    }
}

/// One change of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseWrite {
    /// The address is the client's; whatever the client had in this network before is released.
    Bind(LeaseRow),
    /// The address is nobody's; the last holder stays on record.
    Free(Ipv4Addr),
    /// The address rests until then.
    Decline(Ipv4Addr, Moment),
}

impl Store {
    /// Every row, those longest unused first.
    pub fn leases(&self) -> Result<Vec<LeaseRow>, StoreError> {
        self.read("read the leases", |db| {
            let mut query = db.prepare(
                "SELECT ip, mac, client_id, network, state, hostname, granted_at, expires_at
                 FROM lease ORDER BY granted_at, ip",
            )?;
            query.query_map([], read)?.collect()
        })
    }

    pub fn write_leases<'a>(
        &self,
        writes: impl IntoIterator<Item = &'a LeaseWrite>,
        durability: Durability,
    ) -> Result<(), StoreError> {
        self.write("store leases", durability, |tx| writes.into_iter().try_for_each(|write| put(tx, write)))
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<LeaseRow> {
    Ok(LeaseRow {
        ip: Ipv4Addr::from(row.get::<_, u32>(0)?),
        mac: row.get_ref(1)?.as_str_or_null()?.and_then(|text| text.parse().ok()),
        client_id: row.get(2)?,
        network: row.get(3)?,
        state: match row.get_ref(4)?.as_str()? {
            "bound" => LeaseState::Bound,
            "declined" => LeaseState::Declined,
            _ => LeaseState::Released,
        },
        host_name: row.get_ref(5)?.as_str_or_null()?.and_then(|text| text.parse().ok()),
        granted_at: Moment::from_millis(row.get(6)?),
        expires_at: row.get::<_, Option<i64>>(7)?.map(Moment::from_millis),
    })
}

fn put(tx: &Transaction<'_>, write: &LeaseWrite) -> rusqlite::Result<()> {
    match write {
        LeaseWrite::Bind(row) => {
            tx.prepare_cached(
                "UPDATE lease SET state = 'released'
                 WHERE network = ?1 AND client_id = ?2 AND state = 'bound' AND ip <> ?3",
            )?
            .execute(params![row.network, row.client_id, u32::from(row.ip)])?;
            tx.prepare_cached(
                "INSERT INTO lease (ip, mac, client_id, network, state, hostname, granted_at, expires_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT (ip) DO UPDATE SET mac = excluded.mac, client_id = excluded.client_id,
                     network = excluded.network, state = excluded.state, hostname = excluded.hostname,
                     granted_at = excluded.granted_at, expires_at = excluded.expires_at",
            )?
            .execute(params![
                u32::from(row.ip),
                row.mac.map(|mac| mac.to_string()),
                row.client_id,
                row.network,
                row.state.as_str(),
                row.host_name.as_ref().map(HostName::as_str),
                row.granted_at.millis(),
                row.expires_at.map(Moment::millis),
            ])
            .map(drop)
        }
        LeaseWrite::Free(ip) => tx
            .prepare_cached("UPDATE lease SET state = 'released' WHERE ip = ?1 AND state = 'bound'")?
            .execute([u32::from(*ip)])
            .map(drop),
        LeaseWrite::Decline(ip, until) => tx
            .prepare_cached("UPDATE lease SET state = 'declined', expires_at = ?2 WHERE ip = ?1")?
            .execute(params![u32::from(*ip), until.millis()])
            .map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(last: u8, client: &[u8]) -> LeaseRow {
        LeaseRow {
            ip: Ipv4Addr::new(10, 0, 0, last),
            mac: Some(MacAddr::new([2, 0, 0, 0, 0, last])),
            client_id: client.to_vec(),
            network: "lan".to_owned(),
            state: LeaseState::Bound,
            host_name: Some("lab-01".parse().expect("a name")),
            granted_at: Moment::from_secs(1000),
            expires_at: Some(Moment::from_secs(2000)),
        }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("bramble.db")).expect("a store");
        (folder, store)
    }

    #[test]
    fn what_is_written_is_read() {
        let (_folder, store) = store();
        let (first, mut second) = (row(1, b"a"), row(2, b"b"));
        second.expires_at = None;
        second.mac = None;
        let writes = [LeaseWrite::Bind(first.clone()), LeaseWrite::Bind(second.clone())];
        store.write_leases(&writes, Durability::Power).expect("written");
        assert_eq!(store.leases().expect("read"), [first, second]);
    }

    #[test]
    fn a_client_has_one_address_and_an_address_one_client() {
        let (_folder, store) = store();
        let moves =
            [LeaseWrite::Bind(row(1, b"a")), LeaseWrite::Bind(row(2, b"a")), LeaseWrite::Bind(row(2, b"c"))];
        store.write_leases(&moves, Durability::Power).expect("written");
        let rows: Vec<_> = store
            .leases()
            .expect("read")
            .into_iter()
            .map(|r| (r.ip.octets()[3], r.client_id, r.state))
            .collect();
        assert_eq!(rows, [(1, b"a".to_vec(), LeaseState::Released), (2, b"c".to_vec(), LeaseState::Bound)]);
    }

    #[test]
    fn free_and_declined_addresses_stay_on_record() {
        let (_folder, store) = store();
        let until = Moment::from_secs(5000);
        let writes = [
            LeaseWrite::Bind(row(1, b"a")),
            LeaseWrite::Bind(row(2, b"b")),
            LeaseWrite::Free(row(1, b"a").ip),
            LeaseWrite::Decline(row(2, b"b").ip, until),
            LeaseWrite::Free(row(2, b"b").ip),
        ];
        store.write_leases(&writes, Durability::Process).expect("written");
        let rows: Vec<_> =
            store.leases().expect("read").into_iter().map(|r| (r.state, r.expires_at)).collect();
        assert_eq!(
            rows,
            [(LeaseState::Released, Some(Moment::from_secs(2000))), (LeaseState::Declined, Some(until))]
        );
    }
}
