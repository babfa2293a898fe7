//! `bramble`: the daemon and its command line.

use std::process::ExitCode;

use bramble::cli::{self, Cli};
use bramble::daemon;
use clap::Parser;

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli::run(&cli, |options| daemon::serve(&cli.socket, options))
}
