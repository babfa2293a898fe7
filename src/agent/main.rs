//! `bramble-agent`: see [`bramble::agent`].

use std::process::ExitCode;

fn main() -> ExitCode {
    bramble::agent::main()
}
