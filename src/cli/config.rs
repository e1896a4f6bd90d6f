//! `pedwatch config check|example|schema`.

use std::process::ExitCode;

use anyhow::Result;

use super::cloud::check_channels;
use super::report;
use super::table::{Column, Screen, Table};
use crate::config::{Config, EXAMPLE, Origin, env_name, schema};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show every key with its value, where that came from, and the variable that overrides it
    Check,
    /// Print a commented example: all keys, at their defaults
    Example,
    /// Print the JSON Schema of the configuration, for editors
    Schema,
}

pub(super) fn run(command: &Command, config: &Config, screen: Screen) -> Result<ExitCode> {
    match command {
        Command::Example => report::text(EXAMPLE)?,
        Command::Schema => report::json_text(&format_args!("{:#}\n", schema()))?,
        Command::Check => {
            check_channels(config)?;
            let mut table = Table::new([
                Column::new("key"),
                Column::new("value").prose(),
                Column::new("from").named(),
                Column::new("variable").named(),
            ]);
            for (key, (value, origin)) in &config.origins {
                let from = match origin {
                    Origin::Default => "default",
                    Origin::File => "file",
                    Origin::Environment(_) => "environment",
                };
                table.add_row([key.as_str(), value, from, &env_name(key)]);
            }
            report::table(&table, screen)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
