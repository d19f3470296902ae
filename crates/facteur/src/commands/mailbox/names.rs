//! Mailboxes by their names: list, count, make, rename, delete, subscribe.

use super::{Create, Delete, List, Rename, Status, Subscribe};
use crate::cli::Globals;
use crate::mail::{Post, mailbox_name};
use crate::query::{Mask, plain_guid};
use crate::usage::Usage;
use mailstore::{Account, Error, MailboxName};
use serde_json::{Map, Value, json};
use std::process::ExitCode;
use std::sync::Arc;

fn masks(texts: &[String]) -> Vec<Mask> {
    if texts.is_empty() { vec![Mask::new("*")] } else { texts.iter().map(|text| Mask::new(text)).collect() }
}

fn names(texts: &[String]) -> anyhow::Result<Vec<MailboxName>> {
    texts.iter().map(|text| mailbox_name(text)).collect()
}

/// The mailboxes of an account that a mask means.
pub fn chosen(account: &Account, masks: &[Mask]) -> anyhow::Result<Vec<MailboxName>> {
    let listed = account.list()?.into_iter().filter(|listed| listed.exists).map(|listed| listed.name);
    Ok(listed.filter(|name| masks.iter().any(|mask| mask.matches(name))).collect())
}

pub fn list(globals: &Globals, arguments: &List) -> anyhow::Result<ExitCode> {
    let masks = masks(&arguments.masks);
    Post::open(globals, &arguments.whose)?.each(false, |post, person, account| {
        let subscriptions = account.subscriptions()?;
        let names = match arguments.subscribed {
            true => subscriptions.iter().filter(|name| masks.iter().any(|mask| mask.matches(name))).cloned().collect(),
            false => chosen(account, &masks)?,
        };
        for name in names {
            let value = json!({ "user": person.name, "mailbox": name.as_str(), "subscribed": subscriptions.contains(&name) });
            post.screen.row(&person.name, value, name.as_str());
        }
        Ok(())
    })
}

const FIELDS: [&str; 10] =
    ["messages", "unseen", "recent", "deleted", "uidnext", "uidvalidity", "highestmodseq", "guid", "vsize", "firstsaved"];

/// Of which a sum over mailboxes makes sense.
const SUMS: [&str; 5] = ["messages", "unseen", "recent", "deleted", "vsize"];

pub fn status(globals: &Globals, arguments: &Status) -> anyhow::Result<ExitCode> {
    let masks = masks(&arguments.masks);
    let fields = fields(&arguments.fields, arguments.total)?;
    Post::open(globals, &arguments.whose)?.each(false, |post, person, account| {
        let mut sums = vec![0; fields.len()];
        for name in chosen(account, &masks)? {
            let values = match values(account, &name, &fields) {
                // deleted meanwhile
                Err(Error::NoSuchMailbox) => continue,
                values => values?,
            };
            match arguments.total {
                true => sums.iter_mut().zip(&values).for_each(|(sum, value)| *sum += value.as_u64().unwrap_or(0)),
                false => show(post, &person.name, Some(&name), &fields, &values),
            }
        }
        if arguments.total {
            show(post, &person.name, None, &fields, &sums.into_iter().map(Value::from).collect::<Vec<_>>());
        }
        Ok(())
    })
}

fn fields(text: &str, total: bool) -> anyhow::Result<Vec<&'static str>> {
    let known: &[&'static str] = if total { &SUMS } else { &FIELDS };
    if text == "all" {
        return Ok(known.to_vec());
    }
    let words = text.split([' ', ',']).filter(|word| !word.is_empty());
    let find = |word: &str| {
        let found = known.iter().find(|field| field.eq_ignore_ascii_case(word)).copied();
        found.ok_or_else(|| Usage::error(format!("there is no field {word} (known: {}, all)", known.join(", "))))
    };
    words.map(find).collect()
}

fn values(account: &Arc<Account>, name: &MailboxName, fields: &[&str]) -> mailstore::Result<Vec<Value>> {
    let status = account.status(name)?;
    fields
        .iter()
        .map(|field| {
            Ok(match *field {
                "messages" => status.messages.into(),
                "unseen" => status.unseen.into(),
                "recent" => status.recent.into(),
                "deleted" => status.deleted.into(),
                "uidnext" => status.uid_next.into(),
                "uidvalidity" => status.uid_validity.into(),
                "highestmodseq" => status.highest_modseq.into(),
                "guid" => plain_guid(&account.mailbox_id(name)?).into(),
                "vsize" => {
                    let mailbox = account.open(name)?;
                    let snapshot = mailbox.snapshot();
                    let sizes = snapshot.iter().map(|message| mailbox.size(message));
                    // one that went meanwhile has no size
                    let sum = sizes.filter(|size| !matches!(size, Err(Error::Expunged))).sum::<mailstore::Result<u64>>()?;
                    sum.into()
                }
                _ => {
                    let mailbox = account.open(name)?;
                    let snapshot = mailbox.snapshot();
                    let first = snapshot.iter().filter_map(|message| mailbox.save_date(message).ok()).min();
                    first.map_or(Value::Null, |seconds| crate::table::moment(seconds).into())
                }
            })
        })
        .collect()
}

fn show(post: &mut Post, user: &str, name: Option<&MailboxName>, fields: &[&str], values: &[Value]) {
    let mut row = Map::new();
    row.insert("user".into(), user.into());
    if let Some(name) = name {
        row.insert("mailbox".into(), name.as_str().into());
    }
    let mut text = name.map_or(String::new(), |name| name.to_string());
    for (field, value) in fields.iter().zip(values) {
        row.insert((*field).into(), value.clone());
        let plain = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.push_str(&format!(" {field}={plain}"));
    }
    post.screen.row(user, row.into(), text.trim_start());
}

pub fn create(globals: &Globals, arguments: &Create) -> anyhow::Result<ExitCode> {
    let names = names(&arguments.names)?;
    Post::open(globals, &arguments.whose)?.each(true, |post, person, account| {
        for name in &names {
            if let Err(error) = make(account, name, arguments.subscribe) {
                post.screen.failed(&person.name, &anyhow::Error::new(error).context(name.to_string()));
            }
        }
        Ok(())
    })
}

/// As a client's CREATE does it.
pub fn make(account: &Account, name: &MailboxName, subscribe: bool) -> mailstore::Result<()> {
    account.create(name)?;
    account.inherit_rights(name)?;
    if subscribe { account.subscribe(name) } else { Ok(()) }
}

pub fn rename(globals: &Globals, arguments: &Rename) -> anyhow::Result<ExitCode> {
    let (from, to) = (mailbox_name(&arguments.from)?, mailbox_name(&arguments.to)?);
    Post::open(globals, &arguments.whose)?.each(false, |_, _, account| {
        account.rename(&from, &to)?;
        if arguments.subscribe {
            account.unsubscribe(&from)?;
            account.subscribe(&to)?;
        }
        Ok(())
    })
}

pub fn delete(globals: &Globals, arguments: &Delete) -> anyhow::Result<ExitCode> {
    let names = names(&arguments.names)?;
    Post::open(globals, &arguments.whose)?.each(false, |post, person, account| {
        for name in &names {
            if let Err(error) = remove(account, name, arguments) {
                post.screen.failed(&person.name, &error.context(name.to_string()));
            }
        }
        post.tell_usage(person, account);
        Ok(())
    })
}

fn remove(account: &Arc<Account>, name: &MailboxName, how: &Delete) -> anyhow::Result<()> {
    let mut doomed = vec![name.clone()];
    if how.recursive {
        doomed.extend(account.list()?.into_iter().filter(|listed| listed.exists && listed.name.is_below(name)).map(|listed| listed.name));
        if doomed.len() > 1 && !account.exists(name)? {
            // a level without a mailbox of its own
            doomed.remove(0);
        }
    }
    if how.empty {
        for name in &doomed {
            let messages = account.status(name)?.messages;
            anyhow::ensure!(messages == 0, "there are {messages} messages in {name}");
        }
    }
    // from below, so that what is left after an error has its parents
    for name in doomed.iter().rev() {
        account.delete(name)?;
        if how.unsubscribe {
            account.unsubscribe(name)?;
        }
    }
    Ok(())
}

pub fn subscribe(globals: &Globals, arguments: &Subscribe, on: bool) -> anyhow::Result<ExitCode> {
    let names = names(&arguments.names)?;
    Post::open(globals, &arguments.whose)?.each(on, |_, _, account| {
        for name in &names {
            if on { account.subscribe(name)? } else { account.unsubscribe(name)? }
        }
        Ok(())
    })
}
