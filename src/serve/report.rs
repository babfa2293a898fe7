//! Receives the agents' reports (UDP 8467) and puts them on the clients' timelines.
//!
//! A report is believed if it comes from a privileged port of an address that a client holds (on a client only root can send
//! that), and shows that it is not sent by another machine in this client's name ([`Reports`]). Everything else is dropped and
//! seen only at debug level. Nothing is ever answered, so a forged source address gains nothing.
#![expect(clippy::disallowed_methods, reason = "this layer reads the clock so that proto/ need not")]

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::supervisor::{Stop, stopped};
use crate::config::Config;
use crate::proto::agent::{REPORT_PORT, Report};
use crate::service::clients::Clients;
use crate::service::events::{Events, Happening};
use crate::service::reports::Reports;
use crate::types::{MacAddr, Moment, chain, limits};

/// Why reports cannot be received.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("cannot listen for agents' reports on UDP {address}")]
    Bind {
        address: SocketAddrV4,
        #[source]
        source: io::Error,
    },
    #[error("cannot receive agents' reports")]
    Receive(#[source] io::Error),
}

/// One bound socket per served network; survives restarts of the service.
#[derive(Clone, Debug)]
pub struct Sockets(Vec<Arc<UdpSocket>>);

impl Sockets {
    pub async fn bind(config: &Config) -> Result<Self, ReportError> {
        let mut sockets = Vec::new();
        for network in &config.networks {
            let address = SocketAddrV4::new(network.address, REPORT_PORT);
            let socket =
                UdpSocket::bind(address).await.map_err(|source| ReportError::Bind { address, source })?;
            sockets.push(Arc::new(socket));
        }
        Ok(Self(sockets))
    }
}

/// Runs until told to stop.
pub async fn run(
    clients: Arc<Clients>,
    events: Arc<Events>,
    reports: Arc<Reports>,
    sockets: Sockets,
    mut stop: Stop,
) -> Result<(), ReportError> {
    let mut receivers = JoinSet::new();
    for socket in sockets.0 {
        receivers.spawn(receive(socket, Arc::clone(&clients), Arc::clone(&events), Arc::clone(&reports)));
    }
    tokio::select! {
        () = stopped(&mut stop) => Ok(()),
        Some(ended) = receivers.join_next() => {
            let error = ended.map_err(io::Error::other).and_then(|result| result.map(|never| match never {}));
            Err(ReportError::Receive(error.err().unwrap_or_else(|| io::ErrorKind::Other.into())))
        }
    }
}

async fn receive(
    socket: Arc<UdpSocket>,
    clients: Arc<Clients>,
    events: Arc<Events>,
    reports: Arc<Reports>,
) -> io::Result<std::convert::Infallible> {
    let mut allowance = Allowance::default();
    // One byte more than a report may have, so that a longer datagram is seen to be longer.
    let mut buffer = [0; limits::REPORT + 1];
    loop {
        let (len, from) = socket.recv_from(&mut buffer).await?;
        let datagram = buffer.get(..len).unwrap_or_default();
        let accepted = accept(datagram, from, &clients)
            .and_then(|(client, report)| Ok(reports.check(client, &report).map(|()| (client, report))?));
        match accepted {
            Ok((client, report)) if allowance.take(client, Instant::now()) => {
                let phase = report.phase.as_str();
                tracing::info!(client = %client, phase, said = report.message, "agent reports");
                let what = Happening::Agent { phase: phase.to_owned(), message: report.message };
                events.record(client, Moment::from(SystemTime::now()), what);
            }
            Ok((client, _)) => tracing::debug!(client = %client, "too many reports; dropped"),
            Err(reason) => tracing::debug!(ip = %from.ip(), reason, "datagram dropped"),
        }
    }
}

/// Whose report this is, or why it is not believed.
fn accept(datagram: &[u8], from: SocketAddr, clients: &Clients) -> Result<(MacAddr, Report), String> {
    let IpAddr::V4(ip) = from.ip() else { return Err("not from an IPv4 address".to_owned()) };
    if from.port() >= 1024 {
        return Err(format!("from port {}, which needs no root", from.port()));
    }
    let seat = clients.at(ip).ok_or("no client holds this address")?;
    let report = Report::decode(datagram).map_err(|error| chain(&error))?;
    Ok((seat.mac, report))
}

/// Keeps a client that repeats itself from filling the log: [`limits::REPORTS_PER_MINUTE`] each.
#[derive(Debug, Default)]
struct Allowance {
    taken: HashMap<MacAddr, u32>,
    since: Option<Instant>,
}

impl Allowance {
    /// Only clients that hold an address get here, so the number of entries is bounded by that of leases.
    fn take(&mut self, client: MacAddr, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.duration_since(since) >= Duration::from_mins(1)) {
            self.taken.clear();
            self.since = Some(now);
        }
        let taken = self.taken.entry(client).or_default();
        *taken = taken.saturating_add(1);
        *taken <= limits::REPORTS_PER_MINUTE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Dhcp, DhcpMode, LogLevel, Nfs, Tftp, UnknownPi};
    use crate::proto::agent::Phase;

    fn clients() -> Clients {
        let config = Config {
            enabled: true,
            data: "/data".into(),
            log_level: LogLevel::Info,
            timezone: None,
            networks: vec![],
            dhcp: Dhcp {
                mode: DhcpMode::Off,
                inherit: false,
                unknown_pi: UnknownPi::Ignore,
                matches: vec![],
            },
            tftp: Tftp { enabled: false },
            nfs: Nfs::default(),
            ..Config::default()
        };
        let clients = Clients::new(Arc::new(config));
        clients.bound([192, 168, 1, 7].into(), "dc:a6:32:01:02:03".parse().expect("MAC"), "lan");
        clients
    }

    #[test]
    fn only_root_on_a_client_is_believed() {
        let report = Report::new(Phase::Started, "kernel 6.12");
        let datagram = report.encode();
        #[rustfmt::skip]
        let rows = [
            ("a client's agent",       datagram.as_slice(), "192.168.1.7:1000",  Ok(())),
            ("a pupil on the client",  &datagram, "192.168.1.7:40000", Err("from port 40000, which needs no root")),
            ("a laptop",               &datagram, "192.168.1.8:1000",  Err("no client holds this address")),
            ("another protocol",       b"hello",  "192.168.1.7:1000",  Err("not a report: expected value at line 1 column 1")),
            ("IPv6",                   &datagram, "[::1]:1000",        Err("not from an IPv4 address")),
        ];
        for (shows, datagram, from, expected) in rows {
            let got = accept(datagram, from.parse().expect("address"), &clients());
            let mac = "dc:a6:32:01:02:03".parse().expect("MAC");
            assert_eq!(got, expected.map(|()| (mac, report.clone())).map_err(str::to_owned), "{shows}");
        }
    }

    #[test]
    fn a_client_that_repeats_itself_is_heard_sixty_times_a_minute() {
        let (noisy, other) =
            ("dc:a6:32:01:02:03".parse().expect("MAC"), "dc:a6:32:01:02:04".parse().expect("MAC"));
        let start = Instant::now();
        let mut allowance = Allowance::default();
        let heard = (0..1000).filter(|_| allowance.take(noisy, start)).count();
        assert_eq!(heard, 60);
        assert!(allowance.take(other, start), "one client's noise takes nothing from another");
        assert!(allowance.take(noisy, start + Duration::from_mins(1)));
    }
}
