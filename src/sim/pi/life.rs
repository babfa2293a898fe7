//! A Pi that is up lives on: its agent answers what it is asked and does what it is told, until the Pi is switched off.

use std::io;

use super::Up;
use super::channel::{Channel, ChannelError};
use super::kernel::{AgentError, report};
use super::seat::Seated;
use crate::proto::agent::Phase;
use crate::proto::agent::act::Act;
use crate::proto::agent::channel::Order;
use crate::proto::agent::health::Health;
use crate::sim::net::Machine;
use crate::types::chain;

/// What a simulated Pi that nobody burdens reports of itself.
fn health() -> Health {
    Health {
        temperature_mc: Some(48_000),
        memory_kb: 3_884_000,
        available_kb: 3_120_000,
        load_centi: 12,
        link_mbit: Some(1000),
        ..Health::default()
    }
}

/// How a Pi ended that was told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Off,
    /// It starts again.
    Restart,
}

/// Why a Pi ended that was not told to.
#[derive(Debug, thiserror::Error)]
pub enum LifeError {
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("the channel cannot be opened")]
    Open(#[source] io::Error),
    #[error("its end cannot be reported")]
    End(#[source] io::Error),
}

impl Up {
    /// Lives on `machine`, with somebody `seated` or with nobody, until it is told to end or the server is gone. Its root and the
    /// home of whoever sits there are let go of then.
    pub fn live(self, machine: &Machine, seated: Option<Seated>) -> Result<End, LifeError> {
        let (from, server) = (self.given.address, self.personality.server);
        let (mut channel, mut home) = if let Some(seated) = seated {
            (seated.channel, Some((seated.session, seated.home)))
        } else {
            let open = || {
                Channel::open(from, server, self.pin, "simulated", &[])
                    .map_err(|error| io::Error::other(chain(&error)))
            };
            (machine.run(open).map_err(LifeError::Open)?, None)
        };
        channel.health = health();
        loop {
            channel.listen()?;
            while let Some((id, order)) = channel.orders.pop_front() {
                let end = match &order {
                    Order::Act(Act::Shutdown { .. }) => Some(End::Off),
                    Order::Act(Act::Reboot { .. }) => Some(End::Restart),
                    _ => None,
                };
                let ends = |session| {
                    end.is_some() || matches!(order, Order::EndSession { session: of, .. } if of == session)
                };
                if let Some((session, _)) = home.take_if(|(session, _)| ends(*session)) {
                    channel.log_out(session)?;
                }
                channel.done(id, trouble(&order))?;
                if let Some(end) = end {
                    let proof = self.personality.proof;
                    let off = || {
                        report(from, server, proof, &[Phase::Off])
                            .map_err(|error: AgentError| io::Error::other(chain(&error)))
                    };
                    machine.run(off).map_err(LifeError::End)?;
                    return Ok(end);
                }
            }
        }
    }
}

/// Why a Pi without a screen cannot do it, if it cannot.
const fn trouble(order: &Order) -> Option<&'static str> {
    match order {
        Order::Act(Act::Lock | Act::Screen { .. }) => Some("a simulated Pi has no desktop"),
        Order::Run(_) | Order::Stop { .. } => Some("a simulated Pi runs no programs"),
        _ => None,
    }
}
