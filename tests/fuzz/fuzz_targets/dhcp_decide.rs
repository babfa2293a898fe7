//! A conversation of any packets: whatever arrives in whatever order, nothing panics, no address is two clients', and the
//! table stays within its bounds.
#![no_main]

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bramble::proto::dhcp::decide::{Action, Client, Facts, Scope, Standing, decide};
use bramble::proto::dhcp::pi::{Rom, stage};
use bramble::proto::dhcp::table::{Change, ClientKey, Table};
use bramble::proto::dhcp::{LeaseTime, Packet, Uptime};
use bramble::types::{MacAddr, Subnet, limits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let server = Ipv4Addr::new(10, 0, 0, 1);
    let scope = Scope {
        network: "lan".into(),
        server,
        subnet: Subnet::of(server, 24).expect("a subnet"),
        pool: Some(Ipv4Addr::new(10, 0, 0, 100)..=Ipv4Addr::new(10, 0, 0, 105)),
        lease_time: LeaseTime::For(Duration::from_secs(3600)),
        relayed: false,
        reserved: Arc::from([]),
    };
    let (mut table, mut now) = (Table::default(), Uptime::default());
    let mut holders: HashMap<Ipv4Addr, (ClientKey, Option<MacAddr>)> = HashMap::new();
    // Packets stand one after the other, each with its length and a number of seconds before it.
    let mut rest = bytes;
    while let [high, low, secs, tail @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (packet, later) = tail.split_at(len);
        rest = later;
        now = now.plus(Duration::from_secs(u64::from(*secs) * 20));
        for ip in table.expire(now) {
            holders.remove(&ip);
        }
        let Ok(packet) = Packet::parse(packet) else { continue };
        let standing = match packet.hardware.as_bytes().last() {
            Some(last) if last % 4 == 0 => Standing::Adopted,
            Some(last) if last % 4 == 1 => Standing::NewPi,
            _ => Standing::Stranger,
        };
        let key = match packet.client_id() {
            Some(id) if standing == Standing::Stranger => ClientKey::Id(id.into()),
            _ => ClientKey::Hardware(packet.hardware),
        };
        let mac = packet.hardware.mac();
        let client = Client {
            key: key.clone(),
            mac,
            stage: stage(&packet),
            rom: Rom::of(&packet),
            standing,
            fixed: None,
            lease_time: None,
        };
        let decision = decide(&packet, Facts { scope: &scope, client: &client, table: &table, now });
        for change in &decision.changes {
            if let Some(left) = table.apply(change, now) {
                holders.remove(&left);
            }
            if let Change::Bind(binding) = change {
                let before = holders.insert(binding.ip, (key.clone(), mac));
                let same = before.is_none_or(|(of, on)| of == key || (on.is_some() && on == mac));
                assert!(same, "{} given twice", binding.ip);
            }
        }
        if let Action::Probe(ip) = decision.action {
            let (key, network) = (key, Arc::clone(&scope.network));
            let until = now.plus(Duration::from_secs(60));
            table.apply(&Change::Offer { ip, key, mac, network, until, probed: true }, now);
        }
        assert!(table.len() <= 6 && table.offers() <= limits::DHCP_OFFERS, "no more than the pool");
    }
});
