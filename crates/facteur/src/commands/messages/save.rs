//! Messages from files.

use super::{Save, change};
use crate::cli::Globals;
use crate::mail::{Post, mailbox_name};
use anyhow::Context as _;
use jiff::tz::TimeZone;
use mailstore::{FlagSet, Mailbox};
use serde_json::json;
use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom, Write as _};
use std::process::ExitCode;

/// Read at once.
const PIECE_BYTES: usize = 64 << 10;

impl Save {
    pub fn run(&self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let (name, flags) = (mailbox_name(&self.mailbox)?, change::flags(&self.flags)?);
        let now = jiff::Timestamp::now().as_second();
        let received = self.received.as_ref().map(|text| crate::query::moment(text, now, TimeZone::system())).transpose()?;
        // with the rights of the caller: the mail user may not read them
        let open = |path: &std::path::PathBuf| File::open(path).with_context(|| format!("cannot read {}", path.display()));
        let mut messages = match self.files.is_empty() {
            true => vec![standard_input()?],
            false => self.files.iter().map(open).collect::<anyhow::Result<Vec<_>>>()?,
        };
        Post::open(globals, &self.whose)?.each(true, |post, person, account| {
            let mailbox = account.open(&name)?;
            for message in &mut messages {
                message.seek(SeekFrom::Start(0))?;
                let added = save(&mailbox, message, &flags, received)?;
                for uid in added.uids {
                    let value = json!({ "user": person.name, "mailbox": name.as_str(), "uidvalidity": added.uid_validity, "uid": uid });
                    post.screen.row(&person.name, value, &format!("{name} {uid}"));
                }
            }
            post.tell_usage(person, account);
            Ok(())
        })
    }
}

/// A message from a pipe, kept so that it can go to many accounts.
fn standard_input() -> anyhow::Result<File> {
    let mut file = unnamed()?;
    std::io::copy(&mut std::io::stdin().lock(), &mut file).context("cannot read standard input")?;
    file.flush()?;
    Ok(file)
}

/// A file without a name, which goes with us.
pub fn unnamed() -> anyhow::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let folder = std::env::temp_dir();
    let open = File::options().read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(&folder);
    open.with_context(|| format!("cannot write in {}", folder.display()))
}

/// Files one message; the quota holds.
pub fn save(mailbox: &Mailbox, message: &mut impl Read, flags: &FlagSet, received: Option<i64>) -> anyhow::Result<mailstore::Added> {
    let mut incoming = mailbox.incoming(0)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match message.read(&mut piece)? {
            0 => break,
            length => incoming.write(&piece[..length])?,
        }
    }
    incoming.describe(flags.clone(), received);
    Ok(mailbox.append(vec![incoming])?)
}
