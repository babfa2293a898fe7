//! What `bramble check` says about a file.

use std::path::Path;

use super::load::load;
use super::problem::Problems;
use super::{Config, DhcpMode, Network};

/// Reads and checks the configuration at `path`: what it comes to, in a few lines, or everything that is wrong.
pub fn check(path: &Path) -> Result<String, Problems> {
    load(path).map(|config| summary(path, &config))
}

fn summary(path: &Path, config: &Config) -> String {
    let off = if config.enabled { "" } else { "; Bramble is switched off in it (`option enabled '0'`)" };
    let mut lines = vec![format!("{} is right{off}", path.display())];
    lines.extend(config.networks.iter().map(|network| line(network, config.dhcp.mode)));
    lines.push(format!("rooms: {}, clients: {}", config.rooms.len(), config.clients.len()));
    lines.join("\n")
}

/// `lan: br-lan, 192.168.1.1 in 192.168.1.0/24, gives 192.168.1.100 to 192.168.1.249`.
fn line(network: &Network, mode: DhcpMode) -> String {
    let Network { name, device, address, subnet, .. } = network;
    let pool = match (mode, &network.pool) {
        (DhcpMode::Authoritative, Some(pool)) => format!("gives {} to {}", pool.start(), pool.end()),
        (DhcpMode::Authoritative, None) => "gives reserved addresses only".to_owned(),
        (DhcpMode::Proxy, _) => "another server gives addresses".to_owned(),
        (DhcpMode::Off, _) => "DHCP is off".to_owned(),
    };
    let mut parts = vec![format!("{name}: {device}, {address} in {subnet}, {pool}")];
    if !network.reservations.is_empty() {
        parts.push(format!("reservations: {}", network.reservations.len()));
    }
    parts.extend(network.relayed.iter().map(|relayed| format!("{} behind a relay", relayed.subnet)));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_file_is_summed_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| fs_err::write(folder.path().join(name), text).expect("written");
        write("bramble", "config bramble 'main'\n\toption data '/mnt/x'\nconfig room 'lab'\n");
        write(
            "network",
            "config interface 'lan'\n\toption device 'br-lan'\n\toption proto 'static'\n\toption ipaddr '192.168.1.1/24'\n",
        );
        write("dhcp", "config host\n\toption name 'a'\n\toption mac '00:11:22:33:44:55'\n");
        let path = folder.path().join("bramble");
        assert_eq!(
            check(&path).expect("right"),
            format!(
                "{} is right; Bramble is switched off in it (`option enabled '0'`)\n\
                 lan: br-lan, 192.168.1.1 in 192.168.1.0/24, gives 192.168.1.100 to 192.168.1.249, reservations: 1\n\
                 rooms: 1, clients: 0",
                path.display()
            )
        );
    }
}
