//! The mailbox of one session: opened, listed, read, and changed at QUIT.

use crate::server::Terms;
use mailstore::{Account, Error, FlagMode, FlagSet, Flags, Location, Mailbox, MailboxName, SessionLock, Store};
use pop3_proto::{Entry, uidl};
use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::Arc;

/// How much of a message is read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// TOP usually wants the header only.
const TOP_PIECE_BYTES: usize = 8 * 1024;

/// An opened and locked mailbox. All of it may wait for the disk.
pub struct Maildrop {
    pub account: Arc<Account>,
    mailbox: Arc<Mailbox>,
    uids: Vec<u32>,
    terms: Terms,
    pub lock: Option<Arc<SessionLock>>,
}

/// A message that is being read.
pub struct Reading {
    reader: Box<dyn Read + Send>,
    piece_bytes: usize,
}

/// Why a mailbox could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("another session has the mailbox")]
    InUse,
    #[error(transparent)]
    Store(#[from] Error),
}

impl Maildrop {
    /// Opens the INBOX at `location`; with `exclusive`, no other POP3 session may have it.
    pub fn open(store: &Arc<Store>, location: &Location, exclusive: bool, terms: Terms) -> Result<(Maildrop, Vec<Entry>), OpenError> {
        let account = store.account(location)?;
        let lock = match exclusive.then(|| account.lock_session()).transpose() {
            Err(Error::Locked { .. }) => return Err(OpenError::InUse),
            lock => lock?.map(Arc::new),
        };
        let mailbox = account.open(&MailboxName::inbox())?;
        let snapshot = mailbox.snapshot();
        // what an earlier migration wrote down: ids that clients know, and the order they know them in
        let written = mailbox.pop3_fields();
        let deleted = terms.deleted.as_ref().and_then(|flag| snapshot.keywords().index(flag));
        let mut found = Vec::with_capacity(snapshot.len());
        let mut taken = HashSet::with_capacity(snapshot.len());
        for message in snapshot.iter() {
            if deleted.is_some_and(|flag| message.keywords().contains(flag)) {
                continue;
            }
            let size = match mailbox.size(message) {
                Ok(size) => size,
                // Somebody removed it while we looked.
                Err(Error::Expunged) => continue,
                // One file that cannot be read may not lock its owner out of all others.
                Err(error) if error.is_lasting() => {
                    tracing::error!(uid = message.uid(), %error, "message cannot be read, it is left out");
                    continue;
                }
                // A client that keeps mail here takes what is not listed for deleted, and fetches it all again when it is back.
                Err(error) => return Err(error.into()),
            };
            let written = written.get(&message.uid());
            let id = match written.and_then(|fields| fields.unique_id.clone()).filter(|id| uidl::is_sound(id)) {
                Some(id) => id,
                None => terms.uidl.id(message.uid(), snapshot.uid_validity(), message.base_name(), &message.guid()),
            };
            let unique_id = unique(id, &mut taken);
            // those without an order come behind, as they came later
            let order = written.and_then(|fields| fields.order).unwrap_or(u32::MAX);
            found.push((order, message.uid(), Entry { size, unique_id }));
        }
        found.sort_by_key(|(order, uid, _)| (*order, *uid));
        let (uids, entries) = found.into_iter().map(|(_, uid, entry)| (uid, entry)).unzip();
        Ok((Maildrop { account, mailbox, uids, terms, lock }, entries))
    }

    /// Opens a message and reads its first piece.
    pub fn read(&self, message: usize, whole: bool) -> Result<(Reading, Vec<u8>, bool), Error> {
        let uid = *self.uids.get(message).ok_or(Error::Expunged)?;
        let file = self.mailbox.read(uid)?;
        let wrap = |source| Error::Io { step: "read", path: format!("message {uid}").into(), source };
        let piece_bytes = if whole { PIECE_BYTES } else { TOP_PIECE_BYTES };
        let mut reading = Reading { reader: file.reader(0).map_err(wrap)?, piece_bytes };
        let (bytes, last) = reading.piece().map_err(wrap)?;
        Ok((reading, bytes, last))
    }

    /// Removes messages for good, and marks others as seen.
    pub fn update(&self, delete: &[usize], seen: &[usize]) -> Result<(), Error> {
        let uids = |indexes: &[usize]| -> Vec<u32> { indexes.iter().filter_map(|index| self.uids.get(*index).copied()).collect() };
        if !delete.is_empty() {
            match self.terms.deleted.as_ref().filter(|_| self.terms.keeps) {
                None => drop(self.mailbox.expunge(&uids(delete))?),
                Some(flag) => {
                    let flag = FlagSet { flags: Flags::NONE, keywords: vec![flag.clone()] };
                    self.mailbox.store_flags(&uids(delete), FlagMode::Add, &flag, None)?;
                }
            }
        }
        if !seen.is_empty()
            && let Err(error) = self.mailbox.store_flags(&uids(seen), FlagMode::Add, &FlagSet::new(Flags::SEEN), None)
        {
            // What the client asked for is done; that IMAP shows the mail as unread costs a look.
            tracing::warn!(%error, "cannot mark messages as seen");
        }
        Ok(())
    }
}

/// RFC 1939 §7: no two messages have one id.
fn unique(id: Box<str>, taken: &mut HashSet<Box<str>>) -> Box<str> {
    if taken.insert(id.clone()) {
        return id;
    }
    let mut renamed = (2..).map(|count| uidl::renamed(&id, count));
    renamed.find(|id| taken.insert(id.clone())).unwrap_or(id.clone())
}

impl Reading {
    /// The next piece, and whether it is the last.
    pub fn piece(&mut self) -> io::Result<(Vec<u8>, bool)> {
        let mut bytes = Vec::new();
        let got = (&mut self.reader).take(self.piece_bytes as u64).read_to_end(&mut bytes)?;
        Ok((bytes, got < self.piece_bytes))
    }
}
