//! Everything that questions are answered from; replaced as a whole by a reload.

use crate::accounts::{Accounts, Source};
use crate::directory::Directory;
use crate::login::Desk;
use crate::tables::Tables;
use crate::tokens::Tokens;
use anyhow::Context;
use config::Config;
use ipc::auth::Mechanism;
use sasl::server::{Offer, Setup};
use std::time::{SystemTime, UNIX_EPOCH};

pub struct State {
    pub desk: Desk,
    pub accounts: Accounts,
    accounts_source: Source,
    pub tables: Tables,
    pub offers: Vec<&'static Offer>,
    hostname: String,
    /// What a client without a good token is told: scope, and where to learn more.
    oauth: (String, String),
}

impl State {
    /// Opens all that the settings name; what `previous` has open and need not change is kept.
    pub async fn open(config: &Config, previous: Option<&State>) -> anyhow::Result<State> {
        check(config)?;
        let accounts_source = Source::of(config)?;
        let accounts = match previous {
            Some(previous) if previous.accounts_source == accounts_source => previous.accounts.clone(),
            _ => Accounts::open(&accounts_source).await?,
        };
        let offers = offers(config)?;
        let directory = Directory::open(config, &accounts)?;
        let tables = Tables::new(config, accounts.clone());
        Ok(State {
            desk: Desk::new(config, directory, previous.map(|previous| &previous.desk))?,
            accounts,
            accounts_source,
            tables,
            offers,
            hostname: config.main.hostname.clone(),
            oauth: (config.authd.oauth2_scope.clone(), config.authd.oauth2_openid_configuration_url.clone()),
        })
    }

    /// What a login that begins now has to be given.
    pub fn setup(&self, bindings: Vec<(String, Vec<u8>)>) -> Result<Setup, getrandom::Error> {
        let mut random = [0; 18];
        getrandom::fill(&mut random)?;
        let plus_offered = !bindings.is_empty() && self.offers.iter().any(|offer| offer.binds);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Setup {
            nonce: random.iter().map(|byte| format!("{byte:02x}")).collect(),
            host: self.hostname.clone(),
            now_seconds: now.as_secs(),
            bindings,
            plus_offered,
            oauth_scope: self.oauth.0.clone(),
            oauth_configuration: self.oauth.1.clone(),
        })
    }

    /// As clients are told.
    pub fn mechanisms(&self) -> Vec<Mechanism> {
        let mechanism = |offer: &&Offer| Mechanism {
            name: offer.name.to_owned(),
            plaintext: offer.plaintext,
            dictionary: offer.dictionary,
            mutual: offer.mutual,
            binds: offer.binds,
            // Postfix and Exim pass names on to their clients, but cannot tell us of TLS.
            private: offer.binds || offer.name == "EXTERNAL",
            anonymous: false,
        };
        self.offers.iter().map(mechanism).collect()
    }
}

/// Finds what would keep settings from being taken, as far as that can be told without opening the database.
pub fn check(config: &Config) -> anyhow::Result<()> {
    offers(config)?;
    let (new, stored) = (&config.authd.default_pass_scheme, &config.authd.stored_pass_scheme);
    let names = |made: bool| passwords::schemes().filter(|s| s.1 || !made).map(|s| s.0).collect::<Vec<_>>().join(", ");
    anyhow::ensure!(passwords::can_make(new), "authd.default_pass_scheme: {new:?} is none of {}", names(true));
    let known = passwords::strength_of_scheme(stored).is_some();
    anyhow::ensure!(known, "authd.stored_pass_scheme: {stored:?} is none of {}", names(false));
    crate::login::Upgrade::of(&config.authd)?;
    Source::of(config)?;
    crate::login::trusted_networks(&config.authd.login_trusted_networks)?;
    Directory::check(config)
}

fn offers(config: &Config) -> anyhow::Result<Vec<&'static Offer>> {
    let known = || sasl::server::OFFERS.iter().map(|o| o.name.to_ascii_lowercase()).collect::<Vec<_>>().join(", ");
    let offer =
        |name: &String| sasl::server::offer(name).with_context(|| format!("authd.auth_mechanisms: {name:?} is none of {}", known()));
    let offers: Vec<_> = config.authd.auth_mechanisms.iter().map(offer).collect::<anyhow::Result<_>>()?;
    let wants_tokens = offers.iter().find(|offer| matches!(offer.name, "OAUTHBEARER" | "XOAUTH2"));
    if let (Some(offer), None) = (wants_tokens, Tokens::open(config)?) {
        anyhow::bail!("authd.auth_mechanisms: {} needs oauth2_key_file or oauth2_introspection_url", offer.name);
    }
    anyhow::ensure!(!offers.is_empty(), "authd.auth_mechanisms is empty: nobody could log in");
    Ok(offers)
}
