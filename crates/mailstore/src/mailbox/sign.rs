//! Signatures: which words a message does not contain, so that a search need not read it. What they are made of is the business of who searches.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};
use crate::mailbox::{Folder, Mailbox};
use crate::snapshot::Message;

/// Larger messages are not read for a signature: it would keep others from the memory for messages that are read whole.
const LARGEST_SIGNED: u64 = 64 << 20;

/// Nobody writes to a file any more that was not changed for so long.
const SETTLED_AFTER_SECONDS: i64 = 60;

impl Mailbox {
    /// The signature of a message, if it has one. Only under a [`Hold`](crate::Hold). Blocking.
    pub fn signature(self: &Arc<Mailbox>, message: &Message) -> Option<Vec<u8>> {
        let folder = self.caching_folder(self.signature_limit())?;
        self.recall_from(&self.signatures, &folder, message)
    }

    /// Gives signatures to messages that have none, until `until` and at least to one; true when there is nothing more to do. `sign` makes that of a whole
    /// message. Messages that cannot be read have none. Blocking.
    pub fn sign(self: &Arc<Mailbox>, until: Instant, mut sign: impl FnMut(&[u8]) -> Vec<u8>) -> Result<bool> {
        let limit = self.signature_limit();
        let _hold = self.hold();
        let Some(folder) = self.caching_folder(limit) else { return Ok(true) };
        let snapshot = self.snapshot();
        let (since, opened) = self.signatures.complete_to(&folder.dir, snapshot.uid_validity());
        if opened {
            self.has_opened(&self.signatures, &folder);
        }
        let mut done = since;
        let mut is_over = false;
        for message in snapshot.iter_from(snapshot.first_from(since.saturating_add(1))) {
            if is_over {
                break;
            }
            if self.recall_from(&self.signatures, &folder, message).is_none() {
                if !self.signatures.takes_more(limit) {
                    return Ok(true);
                }
                match self.sign_one(&folder, message, &mut sign) {
                    Err(Error::NoSuchMailbox) => return Err(Error::NoSuchMailbox),
                    // with those behind it when somebody comes again; a search reads it meanwhile
                    Ok(false) => {
                        self.signatures.is_complete_to(snapshot.uid_validity(), since, done);
                        return Ok(true);
                    }
                    Err(error) => tracing::debug!(uid = message.uid(), %error, "message has no signature"),
                    Ok(true) => {}
                }
            }
            done = message.uid();
            is_over = Instant::now() >= until;
        }
        self.signatures.is_complete_to(snapshot.uid_validity(), since, done);
        Ok(snapshot.first_from(done.saturating_add(1)) >= snapshot.len())
    }

    /// False when the file may still be being written: some programs put files into a mailbox under the names they keep.
    fn sign_one(&self, folder: &Folder, message: &Message, sign: &mut impl FnMut(&[u8]) -> Vec<u8>) -> Result<bool> {
        if self.disk_size(message)? > LARGEST_SIGNED {
            return Ok(true);
        }
        let look = || self.with_file(message.uid(), |dir, name, _| dir.stat(name)?.ok_or(Error::Expunged));
        let before = look()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
        let size = format!("S={}", before.st_size);
        let is_as_named = message.base_name().split(',').any(|field| field == size);
        if !is_as_named && now - before.st_mtime.max(before.st_ctime) < SETTLED_AFTER_SECONDS {
            return Ok(false);
        }
        let file = self.read(message.uid())?;
        if !file.is_of(message) {
            return Err(Error::Expunged);
        }
        let whole = file.read_all().map_err(|e| Error::io("read", message.base_name(), e))?;
        let after = look()?;
        if (before.st_size, before.st_mtime, before.st_mtime_nsec) != (after.st_size, after.st_mtime, after.st_mtime_nsec) {
            return Ok(false);
        }
        self.signatures.add(&folder.dir, self.signature_limit(), message.uid(), message.base_name(), &sign(&whole));
        Ok(true)
    }

    fn signature_limit(&self) -> u64 {
        self.account.store().settings().signature_limit
    }
}
