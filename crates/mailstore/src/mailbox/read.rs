//! Reading messages.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::mailbox::Mailbox;
use crate::mailbox::sync::PATIENCE;
use crate::message_file::MessageFile;
use crate::snapshot::Message;

/// How often a file that moved away under us is looked for.
const TRIES: usize = 5;

/// What an earlier migration wrote into the list of UIDs for POP3 clients (`P`, `O`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pop3Fields {
    /// The id that clients know the message by.
    pub unique_id: Option<Box<str>>,
    /// Where it stands among the others; those without come last.
    pub order: Option<u32>,
}

impl Mailbox {
    /// Of one message, as [`Mailbox::pop3_fields`].
    pub fn pop3_fields_of(&self, uid: u32) -> Pop3Fields {
        self.state.lock().fields.get(&uid).map(|fields| pop3_of(fields)).unwrap_or_default()
    }

    /// By UID, for messages that have such. Waits for a command that changes the mailbox.
    pub fn pop3_fields(&self) -> HashMap<u32, Pop3Fields> {
        let state = self.state.lock();
        let fields = state.fields.iter().map(|(uid, fields)| (*uid, pop3_of(fields)));
        fields.filter(|(_, fields)| *fields != Pop3Fields::default()).collect()
    }

    /// Opens a message for reading. `Expunged` when it is gone. Blocking.
    pub fn read(&self, uid: u32) -> Result<MessageFile> {
        self.with_file(uid, |dir, name, message| {
            let file = dir.open_file(name)?;
            let memory = self.account.store().memory().clone();
            MessageFile::new(file, message.core.clone(), self.places.clone(), memory).map_err(|e| Error::io("stat", dir.at(name), e))
        })
    }

    /// Size with CRLF line ends (RFC822.SIZE); from the name, remembered, or counted by reading the file. Blocking.
    pub fn size(&self, message: &Message) -> Result<u64> {
        if let Some(size) = message.known_size() {
            return Ok(size);
        }
        self.read(message.uid())?.size().map_err(|e| Error::io("read", message.base_name(), e))
    }

    /// Arrival time in seconds since 1970 (INTERNALDATE): the time of the file, as Dovecot has it. Blocking the first time.
    pub fn internal_date(&self, message: &Message) -> Result<i64> {
        if let Some(date) = message.known_internal_date() {
            return Ok(date);
        }
        let date = self.stat(message.uid())?.st_mtime;
        message.core.set_internal_date(date);
        Ok(date)
    }

    /// When the message came into this mailbox, seconds since 1970 (RFC 8514). Its file's name says so, as each message that is appended,
    /// copied or moved here gets one of its own; but what our `deliver` files is named by when it was accepted, and written when it was
    /// filed. The last change of the inode would not do: it changes with the flags. Blocking the first time where the name does not tell.
    pub fn save_date(&self, message: &Message) -> Result<i64> {
        match named_at(message.base_name()) {
            Some(seconds) => Ok(seconds),
            None => self.internal_date(message),
        }
    }

    /// Size on disk; from the name or by asking. Blocking where not known.
    pub fn disk_size(&self, message: &Message) -> Result<u64> {
        if let Some(size) = message.known_disk_size() {
            return Ok(size);
        }
        let size = self.stat(message.uid())?.st_size as u64;
        message.core.set_size(size);
        Ok(size)
    }

    fn stat(&self, uid: u32) -> Result<nix::sys::stat::FileStat> {
        self.with_file(uid, |dir, name, _| dir.stat(name)?.ok_or_else(|| Error::io("stat", dir.at(name), nix::errno::Errno::ENOENT)))
    }

    /// Does `work` with the file of a message; looks again where it is when another program renamed it. Takes the state's lock only
    /// for that.
    pub(crate) fn with_file<T>(&self, uid: u32, mut work: impl FnMut(&crate::dir::Dir, &str, &Message) -> Result<T>) -> Result<T> {
        let mut snapshot = self.snapshot();
        for _ in 0..TRIES {
            let Some((_, message)) = snapshot.find(uid) else { return Err(Error::Expunged) };
            let folder = self.reading_folder()?;
            match work(folder.part(message.in_new), &message.file_name(), message) {
                Err(error) if error.is_not_found() => self.let_go(),
                other => return other,
            }
            let mut state = self.state.lock();
            // another thread may have found it meanwhile
            let known = state.snapshot.find(uid).map(|(_, now)| (now.in_new, now.file_name()));
            if known == Some((message.in_new, message.file_name())) {
                self.look(&mut state, PATIENCE)?;
                self.publish(&mut state);
            }
            drop(state);
            snapshot = self.snapshot();
        }
        Err(Error::Expunged)
    }
}

fn pop3_of(fields: &str) -> Pop3Fields {
    let find = |letter: char| fields.split(' ').find_map(|field| field.strip_prefix(letter));
    Pop3Fields { unique_id: find('P').filter(|id| !id.is_empty()).map(Into::into), order: find('O').and_then(|order| order.parse().ok()) }
}

/// When a file got its name, if that tells: seconds since 1970, up to the year 9999.
fn named_at(base: &str) -> Option<i64> {
    let (seconds, rest) = base.split_once('.')?;
    // by deliver
    let hash = rest.split('.').next().and_then(|unique| unique.rsplit_once('_')).map(|(_, hash)| hash);
    let delivered = hash.is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()));
    let digits = !seconds.is_empty() && seconds.bytes().all(|b| b.is_ascii_digit());
    if delivered || !digits { None } else { seconds.parse().ok().filter(|seconds| *seconds < 253_402_300_800) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_migration_are_read() {
        let fields = |id: Option<&str>, order| Pop3Fields { unique_id: id.map(Into::into), order };
        for (text, want) in [
            ("W2481 P17 O3", fields(Some("17"), Some(3))),
            ("Pabc.def", fields(Some("abc.def"), None)),
            ("W1 Gxyz", fields(None, None)),
            ("P Ox", fields(None, None)),
            ("", fields(None, None)),
        ] {
            assert_eq!(pop3_of(text), want, "{text}");
        }
    }

    #[test]
    fn names_tell_when_they_were_given() {
        for (base, want) in [
            ("1700000000.M1P2Q3.host,S=1,W=1", Some(1_700_000_000)),
            ("1700000000.M4F2A_0123456789abcdef.host,S=1", None),
            ("1700000000.V801I2_0.host", Some(1_700_000_000)),
            ("1700000000.12345.host_name", Some(1_700_000_000)),
            ("99999999999999999999.x.host", None),
            ("999999999999.x.host", None),
            ("x.y.z", None),
            (".x", None),
            ("1700000000", None),
        ] {
            assert_eq!(named_at(base), want, "{base}");
        }
    }
}
