//! Which agents are connected, and how to give them orders.

use std::collections::HashMap;

use tokio::sync::mpsc;

use crate::proto::agent::channel::Order;
use crate::proto::dhcp::Uptime;
use crate::types::MacAddr;

#[derive(Debug, Default)]
pub(super) struct Lines {
    of: HashMap<MacAddr, Line>,
    /// Of the newest connection.
    number: u32,
}

#[derive(Debug)]
enum Line {
    Connected { number: u32, orders: mpsc::Sender<Order> },
    Lost { at: Uptime },
}

impl Lines {
    /// A newer connection of a client takes the place of an older one, which may be dead and not know it.
    pub fn connected(&mut self, mac: MacAddr, orders: mpsc::Sender<Order>) -> u32 {
        self.number = self.number.wrapping_add(1);
        self.of.insert(mac, Line::Connected { number: self.number, orders });
        self.number
    }

    pub fn disconnected(&mut self, mac: MacAddr, number: u32, now: Uptime) {
        if matches!(self.of.get(&mac), Some(Line::Connected { number: newest, .. }) if *newest == number) {
            self.lost(mac, now);
        }
    }

    pub fn lost(&mut self, mac: MacAddr, now: Uptime) {
        self.of.insert(mac, Line::Lost { at: now });
    }

    /// Since when the agent is gone; `None` while it is connected.
    pub fn lost_at(&self, mac: MacAddr) -> Option<Uptime> {
        match self.of.get(&mac) {
            Some(Line::Connected { .. }) => None,
            Some(Line::Lost { at }) => Some(*at),
            // It was never here: long ago.
            None => Some(Uptime(std::time::Duration::ZERO)),
        }
    }

    /// Whether the order is on its way.
    pub fn send(&self, mac: MacAddr, order: Order) -> bool {
        match self.of.get(&mac) {
            Some(Line::Connected { orders, .. }) => orders.try_send(order).is_ok(),
            Some(Line::Lost { .. }) | None => false,
        }
    }

    /// Keeps, of agents that are gone, only those that `matter` says yes to.
    pub fn forget_gone(&mut self, matter: impl Fn(MacAddr) -> bool) {
        self.of.retain(|mac, line| matches!(line, Line::Connected { .. }) || matter(*mac));
    }
}
