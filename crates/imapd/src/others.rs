//! Mailboxes that other users have shared (RFC 4314, RFC 2342 "Other Users' Namespace").
//!
//! Who may have shared something is told by a file (`mailstore::Shares`), which is looked at before each command that names mailboxes: a few system calls
//! as long as nothing changed there. Only the accounts it names are asked for and opened, so that LIST costs what is shared, not what there is. What one may
//! do there is then a matter of the rights on each mailbox, as everywhere.
//!
//! A user is one level of the name. What cannot stand in a level is written as Dovecot's `listescape` does it: `\2e` for a dot.

use crate::login::location;
use crate::server::Server;
use config::Config;
use mailstore::{Account, MailboxName, Person, SEPARATOR, SharesStamp};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Accounts that one session follows.
const MOST_OWNERS: usize = 1000;

/// The mailboxes of others, as far as one user can reach them.
pub struct Others {
    pub prefix: MailboxName,
    known: RwLock<BTreeMap<String, Owner>>,
    read: Mutex<Option<SharesStamp>>,
}

/// Somebody who may have shared something.
#[derive(Clone)]
pub struct Owner {
    pub user: Arc<str>,
    pub account: Arc<Account>,
}

impl Others {
    /// Where the settings want it.
    pub fn new(config: &Config) -> Option<Others> {
        if config.imapd.shared_mailbox_prefix.is_empty() || !config.imapd.imap_acl {
            return None;
        }
        match MailboxName::parse(&config.imapd.shared_mailbox_prefix) {
            Ok(prefix) => Some(Others { prefix, known: RwLock::default(), read: Mutex::default() }),
            Err(error) => {
                tracing::error!(%error, "imapd.shared_mailbox_prefix");
                None
            }
        }
    }

    /// The owner that a name leads to, and the mailbox's name there. `rest` is the name without the prefix.
    pub fn find(&self, rest: &str) -> Option<(Owner, MailboxName)> {
        let (level, name) = rest.split_once(SEPARATOR)?;
        let owner = self.known.read().get(level).cloned()?;
        Some((owner, MailboxName::parse(name).ok()?))
    }

    /// All of them, with what their mailboxes' names begin with.
    pub fn all(&self) -> Vec<(String, Owner)> {
        self.known.read().iter().map(|(level, owner)| (format!("{}{SEPARATOR}{level}{SEPARATOR}", self.prefix), owner.clone())).collect()
    }

    /// Finds out who has shared something, when that changed.
    pub async fn refresh(&self, server: &Arc<Server>, person: &Person) {
        let (asked, before) = (server.clone(), *self.read.lock());
        let looked = tokio::task::spawn_blocking(move || {
            let shares = asked.shares();
            match shares.stamp()? {
                stamp if stamp.is_some() && stamp == before => Ok(Some(None)),
                Some(_) => Ok::<_, mailstore::Error>(shares.read()?.map(Some)),
                None => Ok(None),
            }
        });
        match looked.await {
            Ok(Ok(Some(None))) => {}
            Ok(Ok(Some(Some(read)))) => {
                self.adopt(server, person, read.owners(person)).await;
                *self.read.lock() = Some(read.stamp);
            }
            Ok(Ok(None)) => make_anew(server),
            Ok(Err(error)) => tracing::error!(%error, "who has shared mailboxes cannot be read"),
            Err(error) => tracing::error!(%error, "who has shared mailboxes cannot be read"),
        }
    }

    async fn adopt(&self, server: &Arc<Server>, person: &Person, owners: BTreeSet<String>) {
        if owners.len() > MOST_OWNERS {
            tracing::warn!(user = %mail_types::printable(&person.user), most = MOST_OWNERS, "too many users share mailboxes with this one, some are left out");
        }
        let known = self.known.read().clone();
        let mut now = BTreeMap::new();
        for user in owners.into_iter().take(MOST_OWNERS) {
            let level = level(&user, &person.user);
            let owner = match known.get(&level).filter(|owner| *owner.user == *user) {
                Some(owner) => Some(owner.clone()),
                None => open(server, &user).await,
            };
            now.extend(owner.map(|owner| (level, owner)));
        }
        *self.known.write() = now;
    }
}

/// The account of an owner, when it has mail here.
async fn open(server: &Arc<Server>, user: &str) -> Option<Owner> {
    let found = match server.access.userdb.lookup(user, "imap").await {
        Ok(found) => found?,
        Err(error) => {
            tracing::warn!(user = %mail_types::printable(user), %error, "whose mailboxes are shared cannot be asked for");
            return None;
        }
    };
    let config = server.config();
    let location = location(&config, &found)
        .inspect_err(|why| tracing::warn!(user = %mail_types::printable(user), why, "a shared mailbox cannot be found"))
        .ok()?;
    let (bytes, messages) = config.mail.quota_limits(found.quota_bytes, found.quota_messages);
    let store = server.store.clone();
    let opened = tokio::task::spawn_blocking(move || {
        // nobody's Maildir is made by somebody else
        if !location.root().join("cur").is_dir() {
            return Ok(None);
        }
        let account = store.account(&location)?;
        account.set_quota_limits(bytes, messages);
        Ok::<_, mailstore::Error>(Some(account))
    });
    match opened.await {
        Ok(Ok(account)) => account.map(|account| Owner { user: found.name.as_str().into(), account }),
        Ok(Err(error)) => {
            tracing::warn!(user = %mail_types::printable(user), %error, "the account of a shared mailbox cannot be opened");
            None
        }
        Err(error) => {
            tracing::error!(%error, "the account of a shared mailbox cannot be opened");
            None
        }
    }
}

/// The file is not there: it is made from the lists of all accounts, by one task, while everybody goes on.
fn make_anew(server: &Arc<Server>) {
    let Some(turn) = server.makes_shares() else { return };
    let server = server.clone();
    tokio::spawn(async move {
        let _turn = turn;
        tracing::info!("who has shared mailboxes is found out anew");
        let users = match server.access.userdb.list().await {
            Ok(users) => users,
            Err(error) => return tracing::error!(%error, "accounts cannot be listed, so it is not known who has shared mailboxes"),
        };
        let mut found = BTreeSet::new();
        for user in users {
            let Some(owner) = open(&server, &user).await else { continue };
            let (account, user) = (owner.account, owner.user);
            match tokio::task::spawn_blocking(move || account.shared_with()).await {
                Ok(Ok(subjects)) => found.extend(subjects.into_iter().map(|subject| (subject, user.to_string()))),
                Ok(Err(error)) => tracing::warn!(user = %mail_types::printable(&user), %error, "rights cannot be read"),
                Err(error) => tracing::error!(%error, "rights cannot be read"),
            }
        }
        let written = tokio::task::spawn_blocking(move || server.shares().complete(found)).await;
        if let Ok(Err(error)) = written {
            tracing::error!(%error, "who has shared mailboxes cannot be written down");
        }
    });
}

/// How a user is named in the names of mailboxes, for somebody of the domain of `person`.
fn level(user: &str, person: &str) -> String {
    let domain = |name: &str| name.rsplit_once('@').map(|(_, domain)| domain.to_owned());
    let short = match (user.rsplit_once('@'), domain(person)) {
        (Some((local, of)), Some(own)) if of == own => local.to_owned(),
        (None, Some(_)) => format!("{user}@"),
        _ => user.to_owned(),
    };
    let mut level = String::with_capacity(short.len());
    for c in short.chars() {
        match c {
            SEPARATOR | '/' | '\\' | '*' | '%' => level.push_str(&format!("\\{:02x}", c as u32)),
            c => level.push(c),
        }
    }
    level
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_a_level_of_its_own() {
        for (user, want) in [
            ("ann@example.org", "ann"),
            ("ann.smith@example.org", "ann\\2esmith"),
            ("ann@other.org", "ann@other\\2eorg"),
            ("ann", "ann@"),
            ("a\\2eb@example.org", "a\\5c2eb"),
            ("50%*@example.org", "50\\25\\2a"),
        ] {
            assert_eq!(level(user, "bob@example.org"), want, "{user}");
            assert!(MailboxName::parse(&format!("Other Users.{want}.INBOX")).is_ok());
        }
        assert_eq!(level("ann", "bob"), "ann");
        assert_eq!(level("ann@example.org", "bob"), "ann@example\\2eorg");
    }
}
