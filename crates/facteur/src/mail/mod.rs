//! The mail of accounts, for the commands that look into it or change it without a daemon.
//!
//! Who is meant is asked of authd while we are who we are; then we become the owner of all mail, for good, and only then a path of it is
//! opened: what these commands make belongs to the mail user, and a link that somebody put among mail leads nowhere that the mail user
//! could not go. The store is the daemons' own, with their locks, so that they may run meanwhile, and see what we did.

mod owner;
mod screen;

pub use screen::Screen;

use crate::cli::Globals;
use crate::commands::wait;
use crate::query::Query;
use anyhow::{Context as _, anyhow, bail};
use config::Config;
use ipc::usage::{Note, Stored};
use ipc::userdb::{User, UserdbClient};
use mail_types::printable;
use mailstore::{Account, Error, Location, Mailbox, MailboxName, Settings, Snapshot, Store};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Messages changed at a time: the daemons have their turn in between.
pub const BATCH: usize = 500;

/// Whose mail a command works on.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Whose {
    /// One account; with * and ? in it, all whose names fit
    #[arg(short = 'u', long, value_name = "USER")]
    user: Option<String>,
    /// All accounts
    #[arg(short = 'A', long)]
    all: bool,
    /// The accounts that a file names, one a line
    #[arg(short = 'F', long, value_name = "FILE")]
    users_from: Option<PathBuf>,
}

impl Whose {
    /// The account, when one is named.
    pub fn single(&self) -> Option<&str> {
        self.user.as_deref().filter(|user| !is_mask(user))
    }

    /// True when a command may find more than one account.
    pub fn may_be_many(&self) -> bool {
        self.single().is_none()
    }
}

/// One account, as authd knows it.
#[derive(Debug, Clone)]
pub struct Person {
    pub name: String,
    pub location: Location,
    /// Where what belongs to the person, and is no mail, lies.
    pub home: Option<PathBuf>,
    /// Bytes and messages (0: none).
    limits: (u64, u64),
}

/// The mail store, opened as the owner of mail.
pub struct Post {
    pub config: Config,
    pub people: Vec<Person>,
    /// Where mail was asked for that is nobody's of `people`.
    pub others: Vec<Person>,
    pub screen: Screen,
    store: Arc<Store>,
}

impl Post {
    /// Finds the accounts and becomes the owner of mail. What the caller's own rights are needed for has to be opened before.
    pub fn open(globals: &Globals, whose: &Whose) -> anyhow::Result<Post> {
        Post::open_with(globals, whose, &[], |_| Ok(()))
    }

    /// As [`Post::open`], with further accounts that mail comes from; `before` has the caller's rights, and hears who will be the owner.
    pub fn open_with(
        globals: &Globals,
        whose: &Whose,
        others: &[&str],
        before: impl FnOnce((u32, u32)) -> anyhow::Result<()>,
    ) -> anyhow::Result<Post> {
        let config = globals.settings()?;
        let (people, others) = wait_for(async {
            let userdb = UserdbClient::new(config.socket("userdb"));
            let mut found = Vec::new();
            for name in others {
                found.push(person(&config, &userdb, name).await?.ok_or_else(|| unknown(name))?);
            }
            Ok((people(&config, &userdb, whose).await?, found))
        })?;
        let owner = owner::owner(&config, people.iter().chain(&others).find_map(|(_, owner)| *owner));
        before(owner)?;
        owner::become_owner(owner)?;
        let (people, others) = (people.into_iter().map(|(person, _)| person), others.into_iter().map(|(person, _)| person));
        let (people, others) = (people.collect::<Vec<_>>(), others.collect());
        let screen = Screen::new(globals.json, whose.may_be_many());
        Ok(Post { store: Store::new(Settings::from(&config)), config, people, others, screen })
    }

    /// The mail of one account; it is made where there is none yet.
    pub fn account(&self, person: &Person) -> anyhow::Result<Arc<Account>> {
        let account = self.store.account(&person.location)?;
        account.set_quota_limits(person.limits.0, person.limits.1);
        Ok(account)
    }

    /// Mail that lies at `location`, whoever's it is; it has to be there.
    pub fn foreign(&self, location: &Location) -> anyhow::Result<Arc<Account>> {
        if !location.root().join("cur").is_dir() {
            bail!("{} is no Maildir", location.root().display());
        }
        Ok(self.store.account(location)?)
    }

    /// Does `work` for each account, one after the other. What goes wrong with one is told, and the others have their turn; the exit code
    /// says whether all went well. Where there is no mail yet, there is no work unless it `makes` some.
    pub fn each(
        &mut self,
        makes: bool,
        mut work: impl FnMut(&mut Post, &Person, &Arc<Account>) -> anyhow::Result<()>,
    ) -> anyhow::Result<ExitCode> {
        let people = std::mem::take(&mut self.people);
        self.screen.expect(people.len());
        for person in &people {
            self.screen.at(&person.name);
            if !makes && !person.location.root().exists() {
                continue;
            }
            if let Err(error) = self.account(person).and_then(|account| work(self, person, &account)) {
                self.screen.failed(&person.name, &error);
            }
        }
        self.people = people;
        self.screen.end()
    }

    /// Tells authd what an account holds now; quietly, as the next delivery says it again.
    pub fn tell_usage(&self, person: &Person, account: &Account) {
        let Ok(quota) = account.quota() else { return };
        let stored = Some(Stored { bytes: quota.bytes, messages: quota.messages });
        let note = Note { user: person.name.clone(), stored, login: None };
        let socket = self.config.socket("usage");
        let _ = wait_for(async { Ok(ipc::usage::tell(&socket, &[note]).await) });
    }
}

/// The messages of an account that a query means, mailbox by mailbox, with their numbers; mailboxes without any are left out. A message that
/// cannot be read is told and left out.
pub fn meant(
    post: &mut Post,
    person: &Person,
    account: &Arc<Account>,
    query: &Query,
    mut work: impl FnMut(&mut Post, &Arc<Mailbox>, &Snapshot, Vec<(u32, u32)>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for listed in account.list()?.into_iter().filter(|listed| listed.exists) {
        let id = if query.asks_for_guid() { account.mailbox_id(&listed.name)? } else { String::new() };
        if !query.may_mean(&listed.name, &id) {
            continue;
        }
        let mailbox = match account.open(&listed.name) {
            // deleted meanwhile
            Err(Error::NoSuchMailbox) => continue,
            mailbox => mailbox?,
        };
        let snapshot = mailbox.snapshot();
        let mut search = crate::query::Search::new(query, &mailbox, &snapshot, &id);
        let mut found = Vec::new();
        for message in search.found(&mailbox, &snapshot) {
            match message {
                Ok((number, message)) => found.push((number, message.uid())),
                Err(error) => post.screen.failed(&person.name, &error.into()),
            }
        }
        if !found.is_empty() {
            work(post, &mailbox, &snapshot, found)?;
        }
    }
    Ok(())
}

/// Reads a query as of now.
pub fn query(words: &[String]) -> Result<Query, crate::query::ParseError> {
    Query::parse(words, jiff::Timestamp::now().as_second(), jiff::tz::TimeZone::system())
}

/// A mailbox's name as it stands on the command line.
pub fn mailbox_name(text: &str) -> anyhow::Result<MailboxName> {
    MailboxName::parse(text).map_err(|error| crate::usage::Usage::error(format!("{}: {error}", printable(text))))
}

fn wait_for<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let mut result = None;
    wait(async {
        result = Some(work.await);
        Ok(ExitCode::SUCCESS)
    })?;
    result.context("no result")?
}

type Found = (Person, Option<(u32, u32)>);

async fn people(config: &Config, userdb: &UserdbClient, whose: &Whose) -> anyhow::Result<Vec<Found>> {
    let names = match (&whose.user, &whose.users_from) {
        (Some(name), _) if !is_mask(name) => return Ok(vec![person(config, userdb, name).await?.ok_or_else(|| unknown(name))?]),
        (None, Some(file)) => {
            let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
        }
        (mask, _) => {
            let names = userdb.list().await?;
            let fits = |name: &String| mask.as_ref().is_none_or(|mask| fits(mask, name));
            names.into_iter().filter(fits).collect::<Vec<_>>()
        }
    };
    if let (true, Some(mask)) = (names.is_empty(), &whose.user) {
        return Err(unknown(mask));
    }
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        match person(config, userdb, &name).await? {
            Some(person) => found.push(person),
            // named by a file; or a passdb has whom the userdb does not know
            None => eprintln!("facteur: {}", unknown(&name)),
        }
    }
    Ok(found)
}

fn unknown(name: &str) -> anyhow::Error {
    anyhow!("there is no account {}", printable(name))
}

async fn person(config: &Config, userdb: &UserdbClient, name: &str) -> anyhow::Result<Option<Found>> {
    userdb.ask(name, "facteur").await?.map(|user| known(config, &user)).transpose()
}

fn known(config: &Config, user: &User) -> anyhow::Result<Found> {
    let name = printable(&user.name);
    // All mail of an installation has one owner; another one's is somebody's mistake.
    let owner = config.mail.mail_uid;
    if let Some(uid) = user.uid.filter(|uid| owner != 0 && *uid != owner) {
        bail!("{name}: the user database says uid {uid}, mail.mail_uid is {owner}");
    }
    let template = user.mail.as_deref().unwrap_or(&config.mail.mail_location);
    let location = Location::expand(template, &user.name, user.home.as_deref())
        .and_then(|location| location.apart_from(&config.imapd.public_mail_location))
        .with_context(|| name.to_string())?;
    let limits = config.mail.quota_limits(user.quota_bytes, user.quota_messages);
    Ok((Person { name: user.name.clone(), location, home: user.home.clone(), limits }, user.uid.zip(user.gid)))
}

fn is_mask(name: &str) -> bool {
    name.contains(['*', '?'])
}

/// `*` is anything, `?` one character.
pub fn fits(mask: &str, name: &str) -> bool {
    let (mask, name): (Vec<char>, Vec<char>) = (mask.chars().collect(), name.chars().collect());
    let (mut m, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match mask.get(m) {
            Some('*') => {
                star = Some((m + 1, n));
                m += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => (m, n) = (m + 1, n + 1),
            _ => match star {
                Some((behind, eaten)) => {
                    star = Some((behind, eaten + 1));
                    (m, n) = (behind, eaten + 1);
                }
                None => return false,
            },
        }
    }
    mask[m..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_choose_accounts() {
        for (mask, name, want) in [
            ("*", "ann@x.test", true),
            ("*@x.test", "ann@x.test", true),
            ("*@x.test", "ann@y.test", false),
            ("a??@*", "ann@x.test", true),
            ("a?@*", "ann@x.test", false),
            ("*n*n*", "ann@x", true),
            ("?", "", false),
        ] {
            assert_eq!(fits(mask, name), want, "{mask} {name}");
        }
    }

    #[test]
    fn mail_of_another_owner_or_without_a_place_is_refused() {
        let mut config = Config::defaults(std::path::Path::new("facteur.toml")).expect("defaults");
        config.mail.mail_uid = 5000;
        let user = |uid: Option<u32>, mail: &str| User { name: "ann@x".into(), uid, gid: uid, mail: Some(mail.into()), ..User::default() };
        let (person, owner) = known(&config, &user(Some(5000), "maildir:/srv/%u")).expect("a person");
        assert_eq!((person.location.root().to_str(), owner), (Some("/srv/ann@x"), Some((5000, 5000))));
        assert!(known(&config, &user(Some(0), "maildir:/srv/%u")).is_err());
        assert!(known(&config, &user(None, "mbox:/srv/%u")).is_err());
        config.imapd.public_mail_location = "maildir:/srv".into();
        assert!(known(&config, &user(None, "maildir:/srv/%u")).is_err());
    }
}
