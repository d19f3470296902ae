//! `facteur backup`: accounts to tars or folders.

use crate::archive::{LABEL, Sink, tar};
use crate::cli::Globals;
use crate::mail::{Person, Post, Whose};
use crate::usage::Usage;
use anyhow::{Context as _, bail};
use mailstore::{Account, Error, Mailbox};
use serde_json::json;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

/// Copy accounts as a whole: mailboxes with UIDVALIDITY, UIDs, flags, keywords and rights, subscriptions, Sieve scripts
///
/// The server may run meanwhile: each mailbox is as it was at one moment.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    whose: Whose,
    /// FILE.tar, `-` for a tar on standard output, or a folder that is made; of several accounts, a folder with a tar for each
    target: String,
}

enum Target {
    Tar(Option<File>),
    /// For one account: the files themselves. For several: tars.
    Folder(PathBuf),
}

pub fn run(globals: &Globals, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let many = arguments.whose.may_be_many();
    let mut target = open(&arguments.target, many)?;
    let mut post = Post::open_with(globals, &arguments.whose, &[], |owner| match &target {
        Target::Folder(folder) => make_folder(folder, owner, many),
        Target::Tar(_) => Ok(()),
    })?;
    let to_stdout = arguments.target == "-";
    post.each(false, |post, person, account| {
        let sink = match &mut target {
            Target::Tar(file) => Sink::Tar(tar::Writer::new(file.take().context("one tar is for one account")?)),
            Target::Folder(folder) if many => {
                let path = folder.join(format!("{}.tar", person.name.replace('/', "_")));
                let file = File::options().write(true).create_new(true).mode(0o600).open(&path);
                Sink::Tar(tar::Writer::new(file.with_context(|| path.display().to_string())?))
            }
            Target::Folder(folder) => Sink::Folder(folder.clone()),
        };
        let (mailboxes, messages) = backup(post, person, account, sink)?;
        if !to_stdout {
            let value = json!({ "user": person.name, "mailboxes": mailboxes, "messages": messages });
            if post.screen.json {
                post.screen.row(&person.name, value, "");
            } else {
                post.screen.note(&format!("{}: {messages} messages in {mailboxes} mailboxes", person.name));
            }
        }
        Ok(())
    })
}

/// With the rights of the caller, before they are given up.
fn open(target: &str, many: bool) -> anyhow::Result<Target> {
    if target == "-" {
        if many {
            return Err(Usage::error("standard output takes one account"));
        }
        use std::os::fd::AsFd as _;
        return Ok(Target::Tar(Some(File::from(std::io::stdout().as_fd().try_clone_to_owned()?))));
    }
    if many || !target.ends_with(".tar") {
        return Ok(Target::Folder(std::path::absolute(target)?));
    }
    // an older backup is not lost for a new one that may fail
    let file = File::options().write(true).create_new(true).mode(0o600).open(target);
    Ok(Target::Tar(Some(file.with_context(|| target.to_owned())?)))
}

/// The folder belongs to the mail user, who writes there.
fn make_folder(folder: &Path, (uid, gid): (u32, u32), may_be_there: bool) -> anyhow::Result<()> {
    match std::fs::create_dir(folder) {
        Ok(()) => std::os::unix::fs::chown(folder, Some(uid), Some(gid)).with_context(|| folder.display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && may_be_there => Ok(()),
        Err(error) => Err(error).with_context(|| folder.display().to_string()),
    }
}

fn backup(post: &mut Post, person: &Person, account: &Arc<Account>, mut sink: Sink) -> anyhow::Result<(usize, usize)> {
    let label = format!("{LABEL} 1\nuser {}\ntime {}\n", person.name, jiff::Timestamp::now());
    sink.file(LABEL, label.len() as u64, SystemTime::now(), label.as_bytes())?;
    let (mut mailboxes, mut messages) = (0, 0);
    for listed in account.list()?.into_iter().filter(|listed| listed.exists) {
        let mailbox = match account.open(&listed.name) {
            // deleted meanwhile
            Err(Error::NoSuchMailbox) => continue,
            mailbox => mailbox?,
        };
        post.screen.doing(&format!("{} {}", person.name, listed.name));
        messages += copy(post, person, &mailbox, &mut sink)?;
        mailboxes += 1;
    }
    let mut subscriptions = String::new();
    for name in account.subscriptions()? {
        subscriptions.push_str(&format!("{}\n", name.to_mutf7()));
    }
    sink.file("Maildir/subscriptions", subscriptions.len() as u64, SystemTime::now(), subscriptions.as_bytes())?;
    if let Some(home) = &person.home {
        scripts(home, &mut sink)?;
    }
    sink.finish()?;
    Ok((mailboxes, messages))
}

fn copy(post: &mut Post, person: &Person, mailbox: &Arc<Mailbox>, sink: &mut Sink) -> anyhow::Result<usize> {
    let dump = mailbox.dump()?;
    let folder = match mailbox.name().is_inbox() {
        true => "Maildir".to_owned(),
        false => format!("Maildir/.{}", mailbox.name().to_mutf7()),
    };
    for part in ["", "/tmp", "/new", "/cur"] {
        sink.folder(&format!("{folder}{part}"))?;
    }
    for (name, bytes) in &dump.files {
        sink.file(&format!("{folder}/{name}"), bytes.len() as u64, SystemTime::now(), &bytes[..])?;
    }
    let mut count = 0;
    for (message, path) in dump.messages() {
        match mailbox.raw(message.uid()) {
            Ok((file, size, modified)) => sink.file(&format!("{folder}/{path}"), size, modified, file)?,
            // removed since: its UID has no message, as after any removal
            Err(Error::Expunged) => continue,
            Err(error) => bail!(anyhow::Error::new(error).context(format!("{}: message with UID {}", mailbox.name(), message.uid()))),
        }
        count += 1;
        post.screen.doing(&format!("{} {} {count}", person.name, mailbox.name()));
    }
    Ok(count)
}

/// Sieve scripts, where Dovecot has them.
fn scripts(home: &Path, sink: &mut Sink) -> anyhow::Result<()> {
    let mut begun = false;
    let mut add = |path: &str, file: &Path| -> anyhow::Result<()> {
        // the active script is a link to one of the others; what is no file is none
        let open = File::open(file).and_then(|file| file.metadata().map(|metadata| (file, metadata)));
        let Ok((file, metadata)) = open else { return Ok(()) };
        if !metadata.is_file() {
            return Ok(());
        }
        if !std::mem::replace(&mut begun, true) {
            sink.folder("home/sieve")?;
        }
        sink.file(path, metadata.len(), metadata.modified()?, file)
    };
    add("home/.dovecot.sieve", &home.join(".dovecot.sieve"))?;
    for entry in std::fs::read_dir(home.join("sieve")).into_iter().flatten() {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string()
            && name.ends_with(".sieve")
            && entry.file_type()?.is_file()
        {
            add(&format!("home/sieve/{name}"), &entry.path())?;
        }
    }
    Ok(())
}
