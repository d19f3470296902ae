//! What is kept open while somebody works with many messages of a mailbox, and what is remembered of their contents.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::cache::Cache;
use crate::error::Result;
use crate::mailbox::{Folder, Mailbox};
use crate::snapshot::Message;

/// What is kept of any message. More has to stand in some relation to it: caches do not count against a quota.
const SMALL_CONTENT: u64 = 2 << 10;

/// The mailbox's directories while they are held.
#[derive(Default)]
pub(super) struct Held(Mutex<(usize, Option<Arc<Folder>>)>);

/// Keeps the mailbox's directories open, from the first use on, so that each of many messages does not cost opening them; and writes what is to
/// be remembered when the last holder is done. For the time of one stretch of work on the disk, never while a client is waited for.
pub struct Hold(Arc<Mailbox>);

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.0.held.0.lock();
        held.0 -= 1;
        if held.0 > 0 {
            return;
        }
        let folder = held.1.take();
        drop(held);
        // nothing is made any more in a directory that is being removed
        let dir = folder.filter(|_| !self.0.is_deleted()).map(|folder| folder.dir.clone());
        self.0.caches().into_iter().for_each(|cache| cache.close(dir.as_ref()));
    }
}

impl Mailbox {
    /// Begins a stretch of work on many messages.
    pub fn hold(self: &Arc<Mailbox>) -> Hold {
        self.held.0.lock().0 += 1;
        Hold(self.clone())
    }

    /// The directories for reading: those that are held, else opened for this time.
    pub(super) fn reading_folder(&self) -> Result<Arc<Folder>> {
        let mut held = self.held.0.lock();
        if let Some(folder) = &held.1 {
            return Ok(folder.clone());
        }
        let folder = Arc::new(self.folder()?);
        if held.0 > 0 {
            held.1 = Some(folder.clone());
        }
        Ok(folder)
    }

    /// Opens them anew the next time: others may have their place.
    pub(super) fn let_go(&self) {
        self.held.0.lock().1 = None;
    }

    /// What is remembered of messages, and their signatures.
    pub(crate) fn caches(&self) -> [&Cache; 2] {
        [&self.cache, &self.signatures]
    }

    /// The directories, while somebody holds them and a cache may have some size.
    pub(super) fn caching_folder(&self, limit: u64) -> Option<Arc<Folder>> {
        let is_held = self.held.0.lock().0 > 0;
        if is_held && limit > 0 { self.reading_folder().ok() } else { None }
    }

    /// What [`Mailbox::remember`] was given for this message, if it is still there. Only under a [`Hold`]. Blocking.
    pub fn recall(self: &Arc<Mailbox>, message: &Message) -> Option<Vec<u8>> {
        let folder = self.caching_folder(self.account.store().settings().cache_limit)?;
        self.recall_from(&self.cache, &folder, message)
    }

    pub(super) fn recall_from(self: &Arc<Mailbox>, cache: &Cache, folder: &Folder, message: &Message) -> Option<Vec<u8>> {
        let (content, opened) = cache.get(&folder.dir, message.uid(), message.base_name());
        if opened {
            self.has_opened(cache, folder);
        }
        content
    }

    /// Lets go of what is kept of messages that are gone, and counts what is known of the others.
    pub(super) fn has_opened(self: &Arc<Mailbox>, cache: &Cache, folder: &Folder) {
        let snapshot = self.snapshot();
        cache.shorten(&folder.dir, snapshot.len(), |uid| snapshot.find(uid).is_some());
        self.account.store().cache_room().note(self);
    }

    /// Keeps `content`, which has to follow from the message alone, beyond the life of this process; or not, when the disk does not want it,
    /// or the message is hardly larger. Only under a [`Hold`], which sees to it that it is written. Blocking.
    pub fn remember(&self, message: &Message, content: &[u8]) {
        let worth = message.known_disk_size().is_none_or(|size| content.len() as u64 <= 2 * size + SMALL_CONTENT);
        let limit = self.account.store().settings().cache_limit;
        if let Some(folder) = self.caching_folder(limit).filter(|_| worth) {
            self.cache.add(&folder.dir, limit, message.uid(), message.base_name(), content);
        }
    }
}
