//! The accounts of `--user`, made through authd like any other.

use anyhow::Context as _;
use config::Config;
use ipc::accounts::{AccountsClient, AccountsError, NewPassword, Request};
use mail_types::{Address, Secret};
use std::collections::BTreeSet;
use std::str::FromStr;
use tokio::task::JoinSet;

// Passwords that are hashed at the same time; authd has its own bound.
const AT_ONCE: usize = 8;

/// `NAME@DOMAIN:PASSWORD`.
#[derive(Debug, Clone)]
pub struct NewAccount {
    address: Address,
    password: Secret,
}

impl FromStr for NewAccount {
    type Err = String;
    fn from_str(text: &str) -> Result<NewAccount, String> {
        let (address, password) = text.split_once(':').ok_or("write NAME@DOMAIN:PASSWORD")?;
        let address = Address::parse(address).map_err(|error| error.to_string())?.to_lowercase();
        if password.is_empty() {
            return Err("the password is empty".into());
        }
        Ok(NewAccount { address, password: Secret::new(password) })
    }
}

/// Makes the accounts and domains that are not there yet; those that are stay as they are.
pub async fn make(config: &Config, accounts: Vec<NewAccount>) -> anyhow::Result<()> {
    if accounts.is_empty() {
        return Ok(());
    }
    let client = AccountsClient::new(config.socket("accounts"));
    let there: BTreeSet<String> = client.mailboxes(None).await.context("cannot list accounts")?.into_iter().map(|m| m.username).collect();
    let missing: Vec<NewAccount> = accounts.into_iter().filter(|a| !there.contains(&a.address.to_string())).collect();
    let known: BTreeSet<String> = client.domains(None).await.context("cannot list domains")?.into_iter().map(|d| d.domain).collect();
    let domains: BTreeSet<String> = missing.iter().map(|a| a.address.domain().to_string()).collect();
    for domain in domains.difference(&known) {
        let request = Request::DomainAdd { domain: domain.clone(), description: String::new() };
        client.ask(request).await.with_context(|| format!("cannot add the domain {domain}"))?;
    }
    let mut tasks: JoinSet<Result<(), (Address, AccountsError)>> = JoinSet::new();
    for account in missing {
        if tasks.len() >= AT_ONCE {
            finish(tasks.join_next().await)?;
        }
        let client = client.clone();
        tasks.spawn(async move {
            let request = Request::MailboxAdd {
                address: account.address.to_string(),
                password: NewPassword::plain(account.password.reveal()),
                name: String::new(),
                quota_bytes: 0,
            };
            client.ask(request).await.map(drop).map_err(|error| (account.address, error))
        });
    }
    while !tasks.is_empty() {
        finish(tasks.join_next().await)?;
    }
    Ok(())
}

type Finished = Option<Result<Result<(), (Address, AccountsError)>, tokio::task::JoinError>>;

fn finish(finished: Finished) -> anyhow::Result<()> {
    match finished {
        Some(Ok(Err((address, error)))) => Err(error).with_context(|| format!("cannot add {address}")),
        Some(Err(error)) => Err(error.into()),
        Some(Ok(Ok(()))) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_may_hold_colons() {
        let account: NewAccount = "Ann@Example.test:a:b".parse().expect("account");
        assert_eq!((account.address.to_string().as_str(), account.password.reveal()), ("ann@example.test", "a:b"));
        for wrong in ["ann@example.test", "ann:secret", "ann@example.test:", ":x"] {
            assert!(wrong.parse::<NewAccount>().is_err(), "{wrong}");
        }
        assert!(!format!("{account:?}").contains("a:b"));
    }
}
