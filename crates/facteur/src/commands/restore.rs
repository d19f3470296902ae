//! `facteur restore`: an account from a tar or a folder.

use crate::archive::{Entry, LIST, Source};
use crate::cli::Globals;
use crate::mail::{Person, Post, Whose};
use crate::query::Mask;
use crate::usage::Usage;
use anyhow::{Context as _, bail};
use mailstore::{Account, Error, MailboxName, mutf7};
use serde_json::json;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Longest list of subscriptions.
const LIST_BYTES: u64 = 16 << 20;

/// Bring an account back from `facteur backup`, or from a Maildir
///
/// Mailboxes get their UIDVALIDITY, UIDs, flags and keywords; clients notice nothing. Where there is no dovecot-uidlist, as in a Maildir of another
/// program, messages get new UIDs, and this is told. Mailboxes that are in the account and not in the backup stay. The quota is not asked. IMAP and POP3 sessions of the account are ended first.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    whose: Whose,
    /// Put mailboxes of the backup in the place of those that hold messages
    #[arg(long)]
    replace: bool,
    /// Only these mailboxes (with * and %)
    #[arg(short, long, value_name = "MASK")]
    mailbox: Vec<String>,
    /// A tar, `-` for one on standard input, or a folder
    source: String,
}

pub fn run(globals: &Globals, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.whose.may_be_many() {
        return Err(Usage::error("a backup is of one account: -u USER"));
    }
    let masks: Vec<Mask> = arguments.mailbox.iter().map(|mask| Mask::new(mask)).collect();
    let source = open(&arguments.source)?;
    // what a session remembers of mail that went would give it new UIDs when it comes back
    if let Some(user) = arguments.whose.single() {
        super::wait(async {
            super::who::end_sessions(globals, user).await;
            Ok(ExitCode::SUCCESS)
        })?;
    }
    Post::open(globals, &arguments.whose)?.each(true, |post, person, account| {
        restore(post, person, account, &source, &masks, arguments.replace)?;
        post.tell_usage(person, account);
        Ok(())
    })
}

/// With the rights of the caller. What a folder holds is listed now, and read as the mail user.
fn open(text: &str) -> anyhow::Result<Source> {
    let path = Path::new(text);
    if path.is_dir() {
        return Source::folder(&std::path::absolute(path)?);
    }
    let mut file = match text {
        "-" => File::from(std::os::fd::AsFd::as_fd(&std::io::stdin()).try_clone_to_owned()?),
        text => File::open(text).with_context(|| text.to_owned())?,
    };
    if file.seek(SeekFrom::Start(0)).is_err() {
        // a pipe
        let mut kept = super::messages::unnamed()?;
        std::io::copy(&mut file, &mut kept).context("cannot read the archive")?;
        file = kept;
    }
    Source::tar(file)
}

fn restore(post: &mut Post, person: &Person, account: &Arc<Account>, source: &Source, masks: &[Mask], replace: bool) -> anyhow::Result<()> {
    for folder in source.mailboxes() {
        let Some(name) = name_of(folder) else {
            post.screen.failed(&person.name, &anyhow::anyhow!("{folder}: no mailbox has this name"));
            continue;
        };
        if !masks.is_empty() && !masks.iter().any(|mask| mask.matches(&name)) {
            continue;
        }
        post.screen.doing(&format!("{} {name}", person.name));
        match mailbox(account, source, folder, &name, replace) {
            Ok((messages, new_uids)) => {
                let value = json!({ "user": person.name, "mailbox": name.as_str(), "messages": messages, "new_uids": new_uids });
                let note = if new_uids { ", with new UIDs: there is no dovecot-uidlist" } else { "" };
                post.screen.row(&person.name, value, &format!("{name}: {messages} messages{note}"));
            }
            Err(error) => post.screen.failed(&person.name, &error.context(name.to_string())),
        }
    }
    if masks.is_empty() {
        subscriptions(account, source)?;
        if let Some(home) = &person.home {
            scripts(home, source, replace)?;
        }
    }
    Ok(())
}

/// `Maildir` is INBOX, `Maildir/.Sent.2026` another one, or `Maildir/Sent/2026` with `LAYOUT=fs`.
fn name_of(folder: &str) -> Option<MailboxName> {
    let Some(encoded) = folder.strip_prefix("Maildir/") else { return (folder == "Maildir").then(MailboxName::inbox) };
    let name = match encoded.strip_prefix('.') {
        Some(encoded) => mutf7::decode(encoded)?,
        None => {
            let levels: Option<Vec<String>> =
                encoded.split('/').map(|level| mutf7::decode(level).filter(|level| !level.contains('.'))).collect();
            levels?.join(".")
        }
    };
    MailboxName::parse(&name).ok().filter(|name| !name.is_inbox())
}

/// Returns how many messages it has, and whether they got new UIDs.
fn mailbox(account: &Arc<Account>, source: &Source, folder: &str, name: &MailboxName, replace: bool) -> anyhow::Result<(usize, bool)> {
    let list = source.entries.get(&format!("{folder}/{LIST}"));
    let mut restoring = match list {
        Some(list) => account.restore(name, source.open(list)?)?,
        // another program's Maildir, or nobody has opened this mailbox yet
        None => account.restore_without_list(name)?,
    };
    for (rest, entry) in source.below(folder) {
        match rest.split_once('/') {
            Some((part @ ("new" | "cur"), file)) if !file.starts_with('.') => {
                restoring.message(part == "new", file, source.open(entry)?, entry.modified).with_context(|| rest.to_owned())?;
            }
            None => restoring.file(rest, source.open(entry)?)?,
            Some(_) => {}
        }
    }
    let messages = restoring.finish(replace).map_err(|error| match error {
        Error::AlreadyExists => anyhow::anyhow!("there are messages in it (--replace puts the backup in their place)"),
        error => error.into(),
    })?;
    Ok((messages, list.is_none()))
}

fn subscriptions(account: &Account, source: &Source) -> anyhow::Result<()> {
    let Some(entry) = source.entries.get("Maildir/subscriptions") else { return Ok(()) };
    let mut text = String::new();
    source.open(entry)?.take(LIST_BYTES).read_to_string(&mut text)?;
    // Dovecot's list of version 2 begins with a header, an empty line, and has levels between tabs
    let is_new = text.starts_with("V\t");
    for line in text.lines().skip(if is_new { 2 } else { 0 }).filter(|line| !line.is_empty()) {
        let line = if is_new { line.replace('\t', ".") } else { line.to_owned() };
        if let Some(name) = mutf7::decode(&line).and_then(|name| MailboxName::parse(&name).ok()) {
            account.subscribe(&name)?;
        }
    }
    Ok(())
}

fn scripts(home: &Path, source: &Source, replace: bool) -> anyhow::Result<()> {
    for (rest, entry) in source.below("home") {
        let is_script = |name: &str| !name.contains('/') && !name.starts_with('.') && name.ends_with(".sieve");
        let path = match rest.strip_prefix("sieve/") {
            Some(name) if is_script(name) => home.join("sieve").join(name),
            None if rest == ".dovecot.sieve" => home.join(rest),
            _ => bail!("{rest}: no Sieve script is called so"),
        };
        script(&path, source, entry, replace).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn script(path: &PathBuf, source: &Source, entry: &Entry, replace: bool) -> anyhow::Result<()> {
    if path.exists() && !replace {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // a link that is there is not followed: it goes
    let temporary = path.with_extension("restored");
    let _ = std::fs::remove_file(&temporary);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
    std::io::copy(&mut source.open(entry)?, &mut file)?;
    file.set_modified(entry.modified)?;
    file.sync_all()?;
    Ok(std::fs::rename(&temporary, path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_have_the_names_of_mailboxes_in_both_layouts() {
        for (folder, want) in [
            ("Maildir", Some("INBOX")),
            ("Maildir/.Sent.2026", Some("Sent.2026")),
            ("Maildir/.&AMk-t&AOk-", Some("Été")),
            ("Maildir/Sent/2026/Q1", Some("Sent.2026.Q1")),
            ("Maildir/Sent/20.26", None),
            ("Maildir/.Sent/2026", None),
            ("Maildir/.INBOX", None),
        ] {
            assert_eq!(name_of(folder).as_ref().map(MailboxName::as_str), want, "{folder}");
        }
    }
}
