//! The log: lines on standard error, which procd hands to logread and a terminal shows.
//!
//! The library for LDAP messages warns of what anybody sends; those lines are left out, because whoever sends it could fill
//! the log. What matters of it is told by [`crate::serve::ldap`].
//!
//! On a terminal lines have a time and colours; elsewhere neither, because logread adds its own time.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::config::LogLevel;

/// The running log.
#[derive(Debug)]
pub struct Log {
    level: Handle<LevelFilter, Registry>,
}

impl Log {
    /// Starts it, at level info until told otherwise.
    pub fn start() -> Self {
        let (filter, level) = reload::Layer::new(LevelFilter::INFO);
        let terminal = io::stderr().is_terminal();
        let lines = fmt::layer().with_writer(io::stderr).with_target(false).with_ansi(terminal);
        let lines = if terminal { lines.boxed() } else { lines.without_time().boxed() };
        let lines = lines.with_filter(filter_fn(|line| !line.target().starts_with("ldap3_proto")));
        // Fails if there is a log already, as in a test that starts two daemons: then that one is used.
        let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
        Self { level }
    }

    pub fn level(&self, level: LogLevel) {
        let filter = match level {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        };
        // Fails only if the log is gone, and then there is nobody to tell.
        let _ = self.level.reload(filter);
    }
}
