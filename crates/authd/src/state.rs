//! Everything that questions are answered from; replaced as a whole by a reload.

use crate::accounts::Accounts;
use crate::directory::Directory;
use crate::login::Desk;
use crate::schemes;
use crate::tables::Tables;
use anyhow::Context;
use config::Config;
use ipc::auth::Mechanism;
use sasl::server::Offer;
use std::path::PathBuf;

pub struct State {
    pub desk: Desk,
    pub accounts: Accounts,
    accounts_path: PathBuf,
    pub tables: Tables,
    pub offers: Vec<&'static Offer>,
}

impl State {
    /// Opens all that the settings name; what `previous` has open and need not change is kept.
    pub async fn open(config: &Config, previous: Option<&State>) -> anyhow::Result<State> {
        check(config)?;
        let accounts_path = accounts_path(config);
        let accounts = match previous {
            Some(previous) if previous.accounts_path == accounts_path => previous.accounts.clone(),
            _ => Accounts::open(&accounts_path).await?,
        };
        let offers = offers(config)?;
        let directory = Directory::open(config, &accounts)?;
        let tables = Tables::new(config, accounts.clone());
        Ok(State { desk: Desk::new(config, directory, previous.map(|previous| &previous.desk))?, accounts, accounts_path, tables, offers })
    }

    /// As clients are told.
    pub fn mechanisms(&self) -> Vec<Mechanism> {
        let mechanism =
            |offer: &&Offer| Mechanism { name: offer.name.to_owned(), plaintext: offer.plaintext, private: false, anonymous: false };
        self.offers.iter().map(mechanism).collect()
    }
}

/// Finds what would keep settings from being taken, as far as that can be told without opening the database.
pub fn check(config: &Config) -> anyhow::Result<()> {
    offers(config)?;
    let scheme = config.authd.default_pass_scheme.to_ascii_uppercase();
    anyhow::ensure!(
        schemes::NEW.contains(&scheme.as_str()),
        "authd.default_pass_scheme: {scheme:?} is none of {}",
        schemes::NEW.join(", ")
    );
    Directory::check(config)
}

fn accounts_path(config: &Config) -> PathBuf {
    match config.authd.accounts_database.as_os_str().is_empty() {
        true => config.main.state_directory.join("accounts.sqlite"),
        false => config.authd.accounts_database.clone(),
    }
}

fn offers(config: &Config) -> anyhow::Result<Vec<&'static Offer>> {
    let known = || sasl::server::OFFERS.iter().map(|o| o.name.to_ascii_lowercase()).collect::<Vec<_>>().join(", ");
    let offer =
        |name: &String| sasl::server::offer(name).with_context(|| format!("authd.auth_mechanisms: {name:?} is none of {}", known()));
    let offers: Vec<_> = config.authd.auth_mechanisms.iter().map(offer).collect::<anyhow::Result<_>>()?;
    anyhow::ensure!(!offers.is_empty(), "authd.auth_mechanisms is empty: nobody could log in");
    Ok(offers)
}
