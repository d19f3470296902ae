//! The command line.

use crate::commands::{Command, config as config_command};
use clap::Parser;
use config::Config;
use std::path::PathBuf;

/// The settings file of an installed server.
pub const SETTINGS_FILE: &str = "/etc/facteur/facteur.toml";

#[derive(Debug, Parser)]
#[command(name = "facteur", version, about = "Administers a Facteur mail server", long_about = None, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command knows.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Globals {
    /// The folder that holds everything (settings in DIR/etc/facteur.toml)
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "config")]
    pub root: Option<PathBuf>,
    /// The settings file [default: /etc/facteur/facteur.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long, global = true)]
    pub json: bool,
}

impl Globals {
    /// The settings file that `--root` and `--config` mean.
    pub fn settings_file(&self) -> PathBuf {
        match (&self.root, &self.config) {
            (Some(root), _) => root.join("etc/facteur.toml"),
            (None, Some(file)) => file.clone(),
            (None, None) => PathBuf::from(SETTINGS_FILE),
        }
    }

    /// The settings in force; wrong ones are a `config::Report`.
    pub fn settings(&self) -> anyhow::Result<Config> {
        config_command::load(&self.settings_file())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        for arguments in [["facteur", "--root", "/x", "--json", "status"], ["facteur", "status", "--root", "/x", "--json"]] {
            let cli = Cli::try_parse_from(arguments).expect("parses");
            assert!(cli.globals.json);
            assert_eq!(cli.globals.settings_file(), PathBuf::from("/x/etc/facteur.toml"));
        }
        let cli = Cli::try_parse_from(["facteur", "status"]).expect("parses");
        assert_eq!(cli.globals.settings_file(), PathBuf::from(SETTINGS_FILE));
        assert!(Cli::try_parse_from(["facteur", "--root", "/x", "--config", "/y", "status"]).is_err());
    }
}
