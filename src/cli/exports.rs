//! `bramble exports`: what another NFS server has to export. Needs no daemon.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{CONFIG, Cli, CliError, print};
use crate::config::load;
use crate::service::elsewhere;

/// What to print.
#[derive(Debug, Args)]
pub struct Options {
    /// Where the other server has the images; `images` below `data` unless told otherwise
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
}

impl Options {
    pub(super) fn run(&self, cli: &Cli) -> Result<ExitCode, CliError> {
        let config = load::load(&self.config).map_err(|problems| CliError::Config(problems.to_string()))?;
        let folder = self.folder.clone().unwrap_or_else(|| config.data.join("images"));
        let text = elsewhere::exports(&config, &folder);
        if cli.json {
            print(&format!("{}\n", json!({ "exports": text })));
        } else {
            print(&text);
        }
        Ok(ExitCode::SUCCESS)
    }
}
