//! `cargo xtask docs`: what is generated from the declarations of the settings.

use crate::tools;
use anyhow::Context as _;
use std::path::PathBuf;

/// Write etc/facteur.toml and docs/settings.md from the declarations of the settings
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// The generated files with the text that they should have.
pub fn generated() -> [(PathBuf, String); 2] {
    let root = tools::root();
    [(root.join("etc/facteur.toml"), config::document::sample_toml()), (root.join("docs/settings.md"), config::document::settings_page())]
}

pub fn run(_: &Arguments) -> anyhow::Result<()> {
    for (path, text) in generated() {
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}
