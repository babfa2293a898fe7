//! The networks that are served, and those behind a relay: known to the router, and no address in two of them.

use super::{Builder, Siblings};
use crate::config::fields::Fields;
use crate::config::inherit::{self, Inherited};
use crate::config::kind::Parsed;
use crate::config::{Network, RelayedSubnet};
use crate::types::Subnet;

impl Builder<'_> {
    pub(super) fn networks(
        &mut self,
        main: &Fields<'_>,
        siblings: &Siblings<'_>,
        inherited: &Inherited<'_>,
    ) -> Vec<Network> {
        let mut networks: Vec<Network> = Vec::new();
        for name in main.texts("network") {
            let wrong = if networks.iter().any(|known| known.name == name.value) {
                Err(inherit::Wrong::Here(format!(
                    "`{}` is listed twice; remove one of the lines",
                    name.value
                )))
            } else {
                inherit::interface(&name.value, siblings.network, &siblings.sources.network)
            };
            let interface = match wrong {
                Ok(interface) => interface,
                Err(inherit::Wrong::Here(message)) => {
                    self.problems.note(self.file, &name, main.at("network"), message);
                    continue;
                }
                Err(inherit::Wrong::There(problem)) => {
                    self.problems.0.push(problem);
                    continue;
                }
            };
            let network = inherited.network(&name.value, interface, &mut self.problems);
            if let Some(other) = networks.iter().find(|other| overlap(other.subnet, network.subnet)) {
                let message = format!(
                    "`{}` ({}) and `{}` ({}) share addresses; serve one of them, or change one in {}",
                    network.name, network.subnet, other.name, other.subnet, siblings.sources.network.name
                );
                self.problems.note(self.file, &name, main.at("network"), message);
            }
            networks.push(network);
        }
        networks
    }

    pub(super) fn relayed(&mut self, fields: &Fields<'_>, networks: &mut [Network]) {
        let (Some(via), Some(subnet)) = (fields.texts("network").pop(), fields.subnet("subnet")) else {
            return;
        };
        let lease_time = fields.optional_duration("lease_time");
        let taken = networks
            .iter()
            .flat_map(|network| {
                std::iter::once(network.subnet).chain(network.relayed.iter().map(|relayed| relayed.subnet))
            })
            .find(|other| overlap(*other, subnet.value));
        if let Some(other) = taken {
            let message = format!(
                "`{}` shares addresses with {other}, which is served already; a relayed network has addresses of its own",
                subnet.value
            );
            self.problems.note(self.file, &subnet, fields.at("subnet"), message);
        }
        if let Some(router) = fields.ip("router").filter(|router| !subnet.value.is_host(router.value)) {
            let message = format!(
                "`{}` is not an address of {}; write the router's address in that network",
                router.value, subnet.value
            );
            self.problems.note(self.file, &router, fields.at("router"), message);
        }
        let pool = fields.value("start").and_then(|start| {
            let (Parsed::Number(from), limit) = (&start.value, fields.number("limit")) else { return None };
            match inherit::pool(subnet.value, None, *from, limit) {
                Ok(pool) => Some(pool),
                Err(message) => {
                    self.problems.note(self.file, start, fields.at("start"), message);
                    None
                }
            }
        });
        let Some(network) = networks.iter_mut().find(|network| network.name == via.value) else {
            let message = format!(
                "`{}` is not served; add `list network '{}'` to `config bramble 'main'`, or name a network that is",
                via.value, via.value
            );
            self.problems.note(self.file, &via, fields.at("network"), message);
            return;
        };
        network.relayed.push(RelayedSubnet {
            subnet: subnet.value,
            pool,
            router: fields.ip("router").map(|router| router.value),
            lease_time: lease_time.unwrap_or(network.lease_time),
        });
    }
}

fn overlap(a: Subnet, b: Subnet) -> bool {
    a.contains(b.first()) || b.contains(a.first())
}
