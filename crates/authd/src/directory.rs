//! Who there is: passdbs and userdbs in the order of the settings.

mod mail;
mod open;
mod system_users;

use crate::accounts::{Accounts, AppPassword};
use crate::chain::{Chain, Gathered, Outcome, Rules, UserRules};
use crate::dovecot_file::Fields;
use crate::ldap::{self, LdapSource};
use crate::login::Fault;
use crate::memory::Memory;
use crate::names::{Names, below, expand};
use crate::passwd_file::{Network, PasswdFile};
use crate::sql::SqlSource;
use anyhow::{Context, bail};
use config::{Config, PassdbDriver, UserdbDriver};
use mail::Mail;
use mail_types::Secret;
use std::net::IpAddr;
use std::time::Instant;
use tables::sql::Asker;
use zeroize::Zeroizing;

/// Why somebody in a deny list is refused.
pub const DENIED: &str = "the user is in a deny list";

pub struct Directory {
    pub names: Names,
    passdbs: Vec<Source>,
    userdbs: Vec<(Userdb, UserRules)>,
    mail: Mail,
    stored_scheme: String,
    accounts: Accounts,
}

/// A passdb, and what its answers mean.
pub struct Source {
    passdb: Passdb,
    pub rules: Rules,
    /// Who was not there lately, and how many changes our tools had made by then.
    absent: Memory<String, u64>,
}

enum Passdb {
    Accounts(Accounts),
    File { file: PasswdFile, scheme: Option<String> },
    Sql(SqlSource),
    Ldap(LdapSource),
}

enum Userdb {
    Accounts(Accounts),
    File(PasswdFile),
    Sql(SqlSource),
    Ldap(LdapSource),
    /// What the passdbs `sql` and `ldap` have of a user.
    Prefetch,
    Static(Fixed),
    /// Those of the system. What is fixed stands in the place of what the system has.
    Passwd(Fixed),
}

/// What is the same for all users, but for variables.
struct Fixed {
    home: Option<String>,
    mail: Option<String>,
    fields: Vec<(String, String)>,
}

/// What a passdb has of a user.
pub struct Stored {
    /// Normal name.
    pub user: String,
    /// The name that was asked for.
    pub asked: String,
    pub password: Zeroizing<String>,
    /// The scheme of a password that names none.
    pub default_scheme: String,
    /// Set when this user may not log in (here), whatever the password.
    pub barred: Option<&'static str>,
    /// A second factor is wanted from this address, which mail has no way to show: only passwords for apps will do.
    pub second_factor: bool,
    /// Who compares the password in our place. `password` is empty then.
    pub prover: Option<Prover>,
}

/// What a passdb is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A password will be shown: that a user is there need not be certain before.
    Check,
    /// Nothing but the answer tells who is there.
    Look,
}

/// Somebody who says whether a password is right, and does not say what is stored.
#[derive(Clone)]
pub enum Prover {
    Ldap(ldap::Binding),
}

impl Prover {
    pub async fn proves(&self, password: &Secret) -> anyhow::Result<bool> {
        match self {
            Prover::Ldap(binding) => binding.proves(password).await,
        }
    }
}

/// What a userdb has of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub name: String,
    pub fields: Vec<(String, String)>,
}

/// A passdb whose passwords can be replaced.
pub enum Writer {
    Accounts(Accounts),
    Sql(SqlSource),
}

impl Writer {
    /// Stores a new hash of `user` where the old one still is, which was found for `asked`; whether it was.
    pub async fn replace(&self, asked: &Asker<'_>, user: &str, old: &str, new: &str) -> anyhow::Result<bool> {
        match self {
            Writer::Accounts(accounts) => Ok(accounts.replace_password(user, old, new).await?),
            Writer::Sql(queries) => queries.replace_password(asked, user, old, new).await,
        }
    }
}

impl Source {
    /// `None`: its passwords are for others to change.
    pub fn writer(&self) -> Option<Writer> {
        match &self.passdb {
            Passdb::Accounts(accounts) => Some(Writer::Accounts(accounts.clone())),
            Passdb::Sql(queries) if queries.has_update_query() => Some(Writer::Sql(queries.clone())),
            Passdb::Sql(_) | Passdb::Ldap(_) | Passdb::File { .. } => None,
        }
    }
}

impl Directory {
    /// Opens all that the settings name, and checks it. Blocks on files.
    pub fn open(config: &Config, accounts: &Accounts) -> anyhow::Result<Directory> {
        let names = Names::new(&config.authd, config.expand(&config.authd.auth_default_realm))?;
        let mail = Mail::of(config)?;
        let source = |passdb, rules: Rules| {
            // Who is denied is so at once; a file is in memory anyway.
            let remembers = !rules.deny && !matches!(passdb, Passdb::File { .. });
            let limit = if remembers { config.authd.auth_cache_entries as usize } else { 0 };
            Source { passdb, rules, absent: Memory::new(limit, config.authd.auth_cache_negative_ttl) }
        };
        let mut passdbs = Vec::new();
        for passdb in &config.authd.passdb {
            let rules = Rules::of(passdb)?;
            let opened = open::passdb(passdb, config, &names)?.unwrap_or_else(|| Passdb::Accounts(accounts.clone()));
            passdbs.push(source(opened, rules));
        }
        if passdbs.iter().all(|source| source.rules.deny || source.rules.master) {
            passdbs.push(source(Passdb::Accounts(accounts.clone()), Rules::default()));
        }
        let mut userdbs = Vec::new();
        for userdb in &config.authd.userdb {
            let opened = open::userdb(userdb, config, &names, &mail)?.unwrap_or_else(|| Userdb::Accounts(accounts.clone()));
            userdbs.push((opened, UserRules::of(userdb)));
        }
        if userdbs.is_empty() {
            userdbs.push((Userdb::Accounts(accounts.clone()), UserRules::of(&config::Userdb::default())));
        }
        // A template that fails for everybody shall fail at start.
        mail.location("user@example.org", Some("/home")).context("mail.mail_location")?;
        let stored_scheme = config.authd.stored_pass_scheme.clone();
        Ok(Directory { names, passdbs, userdbs, mail, stored_scheme, accounts: accounts.clone() })
    }

    /// Finds what `open` would refuse, without a database.
    pub fn check(config: &Config) -> anyhow::Result<()> {
        let names = Names::new(&config.authd, config.expand(&config.authd.auth_default_realm))?;
        let (passdbs, userdbs) = (&config.authd.passdb, &config.authd.userdb);
        let uses_accounts = passdbs.iter().any(|passdb| passdb.driver == PassdbDriver::Accounts)
            || passdbs.iter().all(|passdb| passdb.deny || passdb.master)
            || userdbs.iter().any(|userdb| userdb.driver == UserdbDriver::Accounts)
            || userdbs.is_empty();
        let format = &config.authd.auth_username_format;
        anyhow::ensure!(
            names.are_whole() || !uses_accounts,
            "authd.auth_username_format: users of the accounts database have whole addresses, of which {format:?} leaves a part"
        );
        let mail = Mail::of(config)?;
        mail.location("user@example.org", Some("/home")).context("mail.mail_location")?;
        for passdb in &config.authd.passdb {
            Rules::of(passdb)?;
            open::passdb(passdb, config, &names)?;
        }
        for userdb in &config.authd.userdb {
            open::userdb(userdb, config, &names, &mail)?;
        }
        Ok(())
    }

    /// The passdbs of ordinary users, or those of master users, in their order. Both have the deny lists.
    pub fn sources(&self, master: bool) -> impl Iterator<Item = &Source> {
        self.passdbs.iter().filter(move |source| source.rules.deny || source.rules.master == master)
    }

    /// Whether anybody may log in as somebody else.
    pub fn has_masters(&self) -> bool {
        self.passdbs.iter().any(|source| source.rules.master)
    }

    /// What the passdbs have of a user (a normal name), by their rules, without a look at a password; `serves` says whether what one has will do.
    pub async fn find(
        &self,
        user: &str,
        service: &str,
        remote: Option<IpAddr>,
        serves: impl Fn(&Stored) -> bool,
    ) -> anyhow::Result<Result<Stored, Fault>> {
        let mut chain = Chain::default();
        let mut first = None;
        for source in self.sources(false) {
            if !chain.asks(&source.rules) {
                continue;
            }
            let outcome = match self.stored_at(source, user, service, remote, Purpose::Look).await {
                Ok(None) => Outcome::Wrong(Fault::UnknownUser),
                Ok(Some(_)) if source.rules.deny => Outcome::Refused(Fault::Barred(DENIED)),
                Ok(Some(Stored { barred: Some(why), .. })) => Outcome::Refused(Fault::Barred(why)),
                // What the first one has serves for all, as one password would.
                Ok(Some(stored)) if first.is_none() && !serves(&stored) => Outcome::Wrong(Fault::OtherForm),
                Ok(Some(stored)) => Outcome::Right(first.get_or_insert(stored).user.clone()),
                Err(error) => Outcome::Unknown(error),
            };
            if !chain.take(&source.rules, outcome) {
                break;
            }
        }
        match chain.verdict()?.and_then(|_| first.ok_or(Fault::UnknownUser)) {
            Ok(found) if found.user != user && self.is_denied(&found.user, service, remote).await? => Ok(Err(Fault::Barred(DENIED))),
            found => Ok(found),
        }
    }

    /// Whether a deny list names a user. For who was asked for by another name: a query may give another one, and databases may take names
    /// for the same that differ in case or accents.
    pub async fn is_denied(&self, user: &str, service: &str, remote: Option<IpAddr>) -> anyhow::Result<bool> {
        for source in self.passdbs.iter().filter(|source| source.rules.deny) {
            if self.stored_at(source, user, service, remote, Purpose::Look).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The name of a user that some passdb knows, who may log in or not.
    pub async fn known(&self, user: &str) -> anyhow::Result<Option<String>> {
        for source in self.sources(false).filter(|source| !source.rules.deny) {
            // Mail is not to be refused because somebody was not there a moment ago.
            if let Some(stored) = self.asked(source, user, "", None, Purpose::Look).await? {
                return Ok(Some(stored.user));
            }
        }
        Ok(None)
    }

    /// What one passdb has of a user (a normal name).
    pub async fn stored_at(
        &self,
        source: &Source,
        user: &str,
        service: &str,
        remote: Option<IpAddr>,
        purpose: Purpose,
    ) -> anyhow::Result<Option<Stored>> {
        // Whom a list names is denied in any letters, as the databases behind it may not look at the case.
        let lower = user.to_lowercase();
        if source.rules.deny
            && lower != user
            && let Some(listed) = self.asked(source, &lower, service, remote, purpose).await?
        {
            return Ok(Some(listed));
        }
        // Queries may look at all of these.
        let key = match source.passdb {
            Passdb::Sql(_) | Passdb::Ldap(_) => format!("{user}\0{service}\0{}", remote.map(|ip| ip.to_string()).unwrap_or_default()),
            Passdb::Accounts(_) | Passdb::File { .. } => user.to_owned(),
        };
        let changes = self.accounts.changes();
        if source.absent.get(key.as_str(), Instant::now()) == Some(changes) {
            return Ok(None);
        }
        let found = self.asked(source, user, service, remote, purpose).await?;
        if found.is_none() {
            source.absent.insert(key, changes, Instant::now());
        }
        Ok(found)
    }

    async fn asked(
        &self,
        source: &Source,
        user: &str,
        service: &str,
        remote: Option<IpAddr>,
        purpose: Purpose,
    ) -> anyhow::Result<Option<Stored>> {
        match &source.passdb {
            Passdb::Accounts(accounts) => {
                let Some(row) = accounts.mailbox(user).await? else { return Ok(None) };
                let second_factor = row.has_second_factor && !accounts.is_excepted(&row.username, remote).await?;
                let barred = (!row.may_use(service)).then_some("this service is switched off for the user");
                let default_scheme = self.stored_scheme.clone();
                let (asked, password) = (user.to_owned(), row.password);
                Ok(Some(Stored { user: row.username, asked, password, default_scheme, barred, second_factor, prover: None }))
            }
            Passdb::File { file, scheme } => {
                let users = file.users();
                let Some(entry) = users.get(user) else { return Ok(None) };
                let barred = match entry {
                    _ if entry.nologin => Some("the user may not log in"),
                    _ if entry.password.is_empty() => Some("the user has no password"),
                    _ if !entry.allows(remote) => Some("the user may not log in from this address"),
                    _ => None,
                };
                Ok(Some(Stored {
                    user: entry.user.clone(),
                    asked: user.to_owned(),
                    password: entry.password.clone(),
                    default_scheme: scheme.clone().unwrap_or_else(|| self.stored_scheme.clone()),
                    barred,
                    second_factor: false,
                    prover: None,
                }))
            }
            Passdb::Sql(queries) => match queries.password(user, service, remote).await? {
                Some(fields) => self.stored_by_fields(user, remote, queries.scheme(), &fields, None).map(Some),
                None => Ok(None),
            },
            Passdb::Ldap(directory) => match directory.password(user, service, remote, purpose == Purpose::Check).await? {
                Some((fields, binding)) => {
                    self.stored_by_fields(user, remote, directory.scheme(), &fields, binding.map(Prover::Ldap)).map(Some)
                }
                None => Ok(None),
            },
        }
    }

    fn stored_by_fields(
        &self,
        user: &str,
        remote: Option<IpAddr>,
        scheme: Option<&str>,
        fields: &Fields,
        prover: Option<Prover>,
    ) -> anyhow::Result<Stored> {
        // The name may be another one from here on, as the query says.
        let asked = user.to_owned();
        let user = match fields.get("user") {
            Some(name) => self.names.normal(name).with_context(|| format!("passdb: the field user of {user} is no name"))?,
            None => user.to_owned(),
        };
        let networks = fields.get("allow_nets").filter(|text| !text.is_empty()).map(Network::list);
        let barred = match networks {
            // What restricts and is not understood lets nobody in.
            Some(None) => bail!("passdb: allow_nets of {user} is no list of networks"),
            Some(Some(networks)) if !remote.is_some_and(|ip| networks.iter().any(|net| net.holds(ip))) => {
                Some("the user may not log in from this address")
            }
            _ if fields.is_set("nologin") => Some("the user may not log in"),
            _ if prover.is_none() && fields.get("password").unwrap_or_default().is_empty() => Some("the user has no password"),
            _ => None,
        };
        Ok(Stored {
            user,
            asked,
            password: Zeroizing::new(fields.get("password").unwrap_or_default().to_owned()),
            default_scheme: scheme.unwrap_or(&self.stored_scheme).to_owned(),
            barred,
            second_factor: false,
            prover,
        })
    }

    /// The passwords for apps that a passdb has of a user it knows.
    pub async fn app_passwords(&self, source: &Source, user: &str) -> anyhow::Result<Vec<AppPassword>> {
        match &source.passdb {
            Passdb::Accounts(accounts) => Ok(accounts.app_passwords(user).await?),
            Passdb::File { .. } | Passdb::Sql(_) | Passdb::Ldap(_) => Ok(Vec::new()),
        }
    }

    /// Keeps that an app has logged in, when it can be kept; nobody waits for it.
    pub fn app_password_used(&self, source: &Source, user: &str, id: u64, remote: Option<IpAddr>) {
        let Passdb::Accounts(accounts) = &source.passdb else { return };
        let (accounts, user) = (accounts.clone(), user.to_owned());
        tokio::spawn(async move {
            if let Err(error) = accounts.app_password_used(&user, id, remote).await {
                tracing::warn!(user, %error, "the use of an app password was not kept");
            }
        });
    }

    /// A user as fields describe it.
    fn found_by_fields(&self, user: &str, fields: &Fields) -> anyhow::Result<Found> {
        // The name may be another one from here on.
        let user = match fields.get("user") {
            Some(name) => self.names.normal(name).with_context(|| format!("userdb: the field user of {user} is no name"))?,
            None => user.to_owned(),
        };
        let user = user.as_str();
        self.mail.check_owner(fields.get("uid"), fields.get("gid")).with_context(|| format!("user {user}"))?;
        let mut found = self.mail.found_at(user, fields.get("home"), fields.get("mail"))?;
        found.fields.extend(fields.others());
        Ok(found)
    }

    /// A user with uid, gid, home, mail location and what else is known. The name may be as a person writes it.
    pub async fn user(&self, name: &str) -> anyhow::Result<Option<Found>> {
        let Some(user) = self.names.normal(name) else { return Ok(None) };
        let mut gathered = Gathered::default();
        for (userdb, rules) in &self.userdbs {
            if gathered.asks(rules) && !gathered.take(rules, self.user_at(userdb, &user).await) {
                break;
            }
        }
        gathered.verdict()
    }

    /// What one userdb has of a user (a normal name).
    async fn user_at(&self, userdb: &Userdb, user: &str) -> anyhow::Result<Option<Found>> {
        match userdb {
            Userdb::Accounts(accounts) => {
                let Some(row) = accounts.mailbox(user).await? else { return Ok(None) };
                let maildir = match row.maildir.as_str() {
                    "" => None,
                    column => {
                        Some(below(&self.mail.base, column).with_context(|| format!("maildir of {user} is no path below the mail root"))?)
                    }
                };
                let mail = maildir.as_ref().map(|path| format!("maildir:{path}"));
                let mut found = self.mail.found(&row.username, maildir.as_deref(), mail.as_deref())?;
                if row.quota_bytes > 0 {
                    found.fields.push(("quota_rule".into(), format!("*:bytes={}", row.quota_bytes)));
                }
                Ok(Some(found))
            }
            Userdb::File(file) => {
                let users = file.users();
                let Some(entry) = users.get(user) else { return Ok(None) };
                self.mail.check_owner(entry.uid.as_deref(), entry.gid.as_deref()).with_context(|| format!("user {user}"))?;
                let extra = |wanted: &str| entry.userdb.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
                let home = extra("home").or(entry.home.as_deref());
                let mut found = self.mail.found(&entry.user, home, extra("mail"))?;
                let own = |name: &str| matches!(name, "uid" | "gid" | "home" | "mail");
                found.fields.extend(entry.userdb.iter().filter(|(name, _)| !own(name)).cloned());
                Ok(Some(found))
            }
            Userdb::Sql(queries) => queries.user(user).await?.map(|fields| self.found_by_fields(user, &fields)).transpose(),
            Userdb::Ldap(directory) => directory.user(user).await?.map(|fields| self.found_by_fields(user, &fields)).transpose(),
            Userdb::Prefetch => {
                let Some((user, fields)) = self.prefetched(user).await? else { return Ok(None) };
                self.found_by_fields(&user, &fields).map(Some)
            }
            Userdb::Static(fixed) => {
                // Users are those of the passdbs, or else every address would be one.
                let Some(user) = self.known(user).await? else { return Ok(None) };
                self.found_fixed(&user, fixed, None).map(Some)
            }
            Userdb::Passwd(fixed) => match system_users::home(user).await? {
                Some(home) => self.found_fixed(user, fixed, Some(home)).map(Some),
                None => Ok(None),
            },
        }
    }

    fn found_fixed(&self, user: &str, fixed: &Fixed, home: Option<String>) -> anyhow::Result<Found> {
        let home = match &fixed.home {
            Some(template) => Some(expand(template, user, None)?),
            None => home,
        };
        let mut found = self.mail.found(user, home.as_deref(), fixed.mail.as_deref())?;
        found.fields.extend(fixed.fields.iter().cloned());
        Ok(found)
    }

    /// The fields `userdb_…` of the passdb that knows the user. Unlike in Dovecot they are there without a login too.
    async fn prefetched(&self, user: &str) -> anyhow::Result<Option<(String, Fields)>> {
        for source in self.sources(false).filter(|source| !source.rules.deny) {
            let found = match &source.passdb {
                Passdb::Sql(queries) => queries.password(user, "", None).await?,
                Passdb::Ldap(directory) => directory.password(user, "", None, false).await?.map(|(fields, _)| fields),
                Passdb::Accounts(_) | Passdb::File { .. } => continue,
            };
            let Some(fields) = found else { continue };
            let name = fields.get("user").and_then(|name| self.names.normal(name)).unwrap_or_else(|| user.to_owned());
            return Ok(fields.prefetched().map(|fields| (name, fields)));
        }
        Ok(None)
    }

    /// The names of all users. `None`: a static user database cannot list them, and no passdb can either.
    pub async fn list(&self) -> anyhow::Result<Vec<String>> {
        let mut names = std::collections::BTreeSet::new();
        let is_static = self.userdbs.iter().any(|(userdb, _)| matches!(userdb, Userdb::Static(_) | Userdb::Prefetch));
        for (userdb, _) in &self.userdbs {
            match userdb {
                Userdb::Accounts(accounts) => names.extend(accounts.usernames().await?),
                Userdb::File(file) => names.extend(file.users().keys().cloned()),
                Userdb::Sql(queries) => names.extend(queries.users(&self.names).await?),
                Userdb::Ldap(directory) => names.extend(directory.users(&self.names).await?),
                Userdb::Passwd(_) => names.extend(system_users::list().await?.iter().filter_map(|name| self.names.normal(name))),
                Userdb::Static(_) | Userdb::Prefetch => {}
            }
        }
        if is_static {
            // Unlike Dovecot we can: they are the users of the passdbs.
            for source in self.sources(false).filter(|source| !source.rules.deny) {
                match &source.passdb {
                    Passdb::Accounts(accounts) => names.extend(accounts.usernames().await?),
                    Passdb::File { file, .. } => names.extend(file.users().keys().cloned()),
                    Passdb::Sql(queries) => names.extend(queries.users(&self.names).await?),
                    Passdb::Ldap(directory) => names.extend(directory.users(&self.names).await?),
                }
            }
        }
        Ok(names.into_iter().collect())
    }

    /// The `maildir` column of a new mailbox: where `mail_location` would have put it, when that is below the mail root.
    pub fn new_maildir(&self, user: &str) -> anyhow::Result<String> {
        let location = self.mail.location(user, None).or_else(|_| self.mail.location(user, Some("/nonexistent")))?;
        let path = location.strip_prefix("maildir:").unwrap_or(&location).split(':').next().unwrap_or_default();
        let inside = path.strip_prefix(self.mail.base.trim_end_matches('/')).and_then(|rest| rest.strip_prefix('/'));
        match inside.map(|rest| rest.trim_matches('/')).filter(|rest| !rest.is_empty()) {
            Some(rest) => Ok(format!("{rest}/")),
            None => Ok(format!("{}/", expand("%d/%n", user, None)?)),
        }
    }
}

#[cfg(test)]
mod tests;
