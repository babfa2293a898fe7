//! How a client is, as its agent measured it: a few numbers, nothing of the people who use it.
//!
//! The server asks for it ([`super::channel::Order::Health`]) and the agent answers with one message. What an agent says
//! is taken for what it is, the word of a machine that pupils sit at: [`Health::checked`] leaves out what cannot be.

use serde::{Deserialize, Serialize};

use super::channel::Label;
use crate::types::Moment;

/// The word in [`super::channel::Hello::can`] of an agent that answers.
pub const CAN: &str = "health";

/// What is measured. What a client cannot tell is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// Seconds since the kernel was started.
    pub uptime_s: u64,
    /// The client's own clock.
    pub clock: Moment,
    /// Of the processor, in thousandths of a degree Celsius.
    pub temperature_mc: Option<i32>,
    /// The firmware's word for undervoltage and throttling, see [`Throttled`].
    pub throttled: Option<u32>,
    pub memory_kb: u64,
    /// What programs can still take.
    pub available_kb: u64,
    /// Load over one minute, in hundredths.
    pub load_centi: u32,
    /// Of the wire, in Mbit/s.
    pub link_mbit: Option<u32>,
    /// Round trip of a call to the server for the root and for homes, in microseconds, over the time since the last message.
    pub root_us: Option<u32>,
    pub home_us: Option<u32>,
    pub kernel: Label,
    /// When the bootloader in the EEPROM was built.
    pub eeprom: Option<Moment>,
}

/// Highest and lowest temperature that a Pi can have and still speak.
const TEMPERATURES: std::ops::RangeInclusive<i32> = -60_000..=150_000;

/// Fastest wire of a Pi is 1000; adapters may be faster.
const LINK_MOST: u32 = 100_000;

/// A load that a Pi could still report.
const LOAD_MOST: u32 = 10_000_000;

/// A call that takes longer has not come back.
const TRIP_MOST: u32 = 600_000_000;

impl Health {
    /// Without what cannot be.
    pub fn checked(mut self) -> Self {
        self.temperature_mc = self.temperature_mc.filter(|degrees| TEMPERATURES.contains(degrees));
        self.link_mbit = self.link_mbit.filter(|mbit| (1..=LINK_MOST).contains(mbit));
        self.root_us = self.root_us.filter(|us| *us <= TRIP_MOST);
        self.home_us = self.home_us.filter(|us| *us <= TRIP_MOST);
        self.load_centi = self.load_centi.min(LOAD_MOST);
        self.available_kb = self.available_kb.min(self.memory_kb);
        self
    }

    pub const fn throttling(&self) -> Throttled {
        Throttled(match self.throttled {
            Some(bits) => bits,
            None => 0,
        })
    }
}

/// Bits of `get_throttled`: the lower half is now, the upper half since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttled(pub u32);

impl Throttled {
    pub const fn undervoltage_now(self) -> bool {
        self.0 & 1 != 0
    }

    pub const fn undervoltage_since_start(self) -> bool {
        self.0 & (1 | 1 << 16) != 0
    }

    /// Slowed down now because of heat or voltage: frequency capped, throttled, or the soft limit of temperature.
    pub const fn slowed_now(self) -> bool {
        self.0 & 0b1110 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_cannot_be_is_left_out() {
        let lie = Health {
            temperature_mc: Some(i32::MAX),
            link_mbit: Some(0),
            load_centi: u32::MAX,
            memory_kb: 10,
            available_kb: 1 << 60,
            root_us: Some(u32::MAX),
            ..Health::default()
        };
        let checked = lie.checked();
        assert_eq!((checked.temperature_mc, checked.link_mbit, checked.root_us), (None, None, None));
        assert_eq!((checked.available_kb, checked.load_centi), (10, LOAD_MOST));
    }

    #[test]
    fn the_firmwares_bits_are_read() {
        let bits = Throttled(0x5_0005);
        assert!(bits.undervoltage_now() && bits.slowed_now() && bits.undervoltage_since_start());
        let past = Throttled(0x1_0000);
        assert!(!past.undervoltage_now() && past.undervoltage_since_start() && !past.slowed_now());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever an agent sends, it is a message of possible numbers or none; and checking twice changes nothing.
        #[test]
        fn any_message_is_survived(
            text in ".{0,200}", uptime in any::<u64>(), heat in any::<i64>(), bits in any::<u32>(), label in ".{0,300}",
        ) {
            let _: Result<Health, _> = serde_json::from_str(&text);
            let made = serde_json::json!({
                "uptime_s": uptime, "temperature_mc": heat, "throttled": bits, "kernel": label, "future": [1, 2],
            });
            if let Ok(health) = serde_json::from_value::<Health>(made) {
                let checked = health.checked();
                prop_assert!(checked.temperature_mc.is_none_or(|degrees| TEMPERATURES.contains(&degrees)));
                prop_assert!(!checked.kernel.as_str().chars().any(char::is_control));
                prop_assert_eq!(checked.clone().checked(), checked);
            }
        }
    }
}
