//! The place where a mailbox is put together out of sight, and where the one goes whose place it takes.
//!
//! ```text
//! ..restoring/NAME/        for each mailbox that is being restored; two dots at the begin are in the name of no mailbox
//!   lock                   held by who does it
//!   mailbox/               what comes, with the file `facteur.restored` in it; without it, what went by the exchange
//!   gone/                  what went
//!   replaced               the directory of the mailbox, and the messages that are to go with it, by their names up to the flags; a line each
//! ```
//! Before `replaced` is there nothing is shown. Afterwards it tells what to do with mail that somebody, who had the old mailbox open, still delivers
//! there: it goes to the one that is shown. After a crash whoever opens the account next brings to an end what nobody is at any more.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::restore::{LIST_BYTES, PATIENCE, base, put};
use crate::account::{is_mailbox, prepare_inside};
use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::lock::{self, DotLock};
use crate::mailbox::is_message_name;
use crate::quota;
use crate::store::Store;

const PLACES: &str = "..restoring";
const LOCK: &str = "lock";
const MAILBOX: &str = "mailbox";
const GONE: &str = "gone";
const REPLACED: &str = "replaced";

/// In the mailbox that comes, until all of the old one is gone.
const MARK: &str = "facteur.restored";

/// Looks at most at a directory that is taken down while others put files there.
const ROUNDS: usize = 10;

/// A place of ours. Dropped, it goes: with the mailbox that is in it when that was not shown.
pub(super) struct Place {
    store: Arc<Store>,
    root: Dir,
    places: Dir,
    name: String,
    dir: Dir,
    _lock: DotLock,
    is_settled: bool,
}

impl Place {
    /// Makes one, with the empty mailbox in it.
    pub fn make(store: &Arc<Store>, root: &Dir) -> Result<(Place, Dir)> {
        for _ in 0..ROUNDS {
            match Place::try_make(store, root) {
                // somebody found it before it was locked, or the last one just went
                Err(error) if error.is_not_found() => {}
                other => return other,
            }
        }
        Err(Error::Locked { path: root.at(PLACES) })
    }

    fn try_make(store: &Arc<Store>, root: &Dir) -> Result<(Place, Dir)> {
        root.make_dir(PLACES)?;
        let (places, name) = (root.open_dir(PLACES)?, store.unique_name());
        places.make_dir(&name)?;
        let dir = places.open_dir(&name)?;
        let lock = lock::lock(&dir, LOCK, PATIENCE)?;
        let mailbox = prepare_inside(&dir, MAILBOX)?;
        drop(mailbox.create(MARK)?);
        Ok((Place { store: store.clone(), root: root.clone(), places, name, dir, _lock: lock, is_settled: false }, mailbox))
    }

    /// Where the mailbox that comes is.
    pub fn mailbox(&self) -> (&Dir, &'static str) {
        (&self.dir, MAILBOX)
    }

    /// Puts the mailbox that comes into `directory`, and what is there here; durable on return. `replaced` are the messages that go.
    pub fn show(&self, directory: &str, has_old: bool, replaced: &HashSet<String>) -> Result<()> {
        let (holder, leaf) = self.root.holder(directory)?;
        if has_old {
            // of a restore before, whose end was cut off: with it, the mailbox that goes would be taken for the one that comes
            holder.open_dir(leaf)?.unlink(MARK)?;
        }
        let lines: Vec<&str> = std::iter::once(directory).chain(replaced.iter().map(String::as_str)).collect();
        self.dir.replace(REPLACED, "replaced.tmp", lines.join("\n").as_bytes())?;
        if !has_old {
            self.dir.rename_new(MAILBOX, &holder, leaf)?;
        } else if !holder.exchange(leaf, &self.dir, MAILBOX)? {
            holder.rename_new(leaf, &self.dir, GONE)?;
            self.dir.rename_new(MAILBOX, &holder, leaf)?;
        }
        holder.sync()?;
        self.dir.sync()
    }

    /// Nothing is left here afterwards.
    pub fn settle(&mut self) -> Result<()> {
        settle(&self.store, &self.root, &self.dir)?;
        self.places.remove_tree(&self.name)?;
        self.is_settled = true;
        // others may have theirs in it
        let _ = self.root.remove_dir(PLACES);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_settled
            && let Err(error) = self.settle()
        {
            tracing::warn!(%error, "what is left of restoring a mailbox goes when the account is opened next");
        }
    }
}

/// Brings to an end what somebody began who is no more. Blocking.
pub(super) fn settle_all(store: &Store, root: &Dir) -> Result<()> {
    let places = match root.open_dir(PLACES) {
        Err(error) if error.is_not_found() => return Ok(()),
        other => other?,
    };
    for name in places.dir_names()? {
        let locked = places.open_dir(&name).and_then(|dir| Ok((lock::lock(&dir, LOCK, Duration::ZERO)?, dir)));
        let (_lock, dir) = match locked {
            Err(Error::Locked { .. }) => continue,
            Err(error) if error.is_not_found() => continue,
            other => other?,
        };
        tracing::warn!(path = %dir.path().display(), "the restoring of a mailbox was interrupted");
        settle(store, root, &dir)?;
        places.remove_tree(&name)?;
    }
    let _ = root.remove_dir(PLACES);
    Ok(())
}

/// Each step can be repeated. The place is locked.
fn settle(store: &Store, root: &Dir, dir: &Dir) -> Result<()> {
    let Some(text) = dir.read_small(REPLACED, LIST_BYTES)? else { return Ok(()) };
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines();
    let directory = lines.next().unwrap_or_default();
    let mut replaced: HashSet<&str> = lines.collect();
    let is_coming = match dir.open_dir(MAILBOX) {
        Err(error) if error.is_not_found() => false,
        mailbox => mailbox?.is_file(MARK)?,
    };
    if !is_coming && dir.stat(MAILBOX)?.is_some() {
        dir.rename_new(MAILBOX, dir, GONE)?;
    }
    if is_coming && dir.stat(GONE)?.is_some() {
        // where directories cannot be exchanged, the mailbox went and the other did not come: it stays the one that it was
        let (holder, leaf) = root.holder(directory)?;
        if holder.stat(leaf)?.is_none() {
            dir.rename_new(GONE, &holder, leaf)?;
            holder.sync()?;
        }
        replaced.clear();
    }
    if dir.stat(GONE)?.is_some() {
        // the mailbox may have been deleted since
        let shown = if is_mailbox(root, directory) { root.open_dir(directory)? } else { root.clone() };
        take_down(store, dir, GONE, &replaced, &shown)?;
        quota::forget(root)?;
    }
    // first of all: without its mark, and with this, the mailbox that did not come would be taken for one that went
    dir.unlink(REPLACED)?;
    dir.sync()?;
    if is_mailbox(root, directory) {
        root.open_dir(directory)?.unlink(MARK)?;
    }
    Ok(())
}

/// Removes the mailbox `gone`. Mail that came when it was replaced, which is not in `replaced`, goes to the one that is `shown`; and when nothing
/// is left nothing can be put there any more by who still has it open.
pub(super) fn take_down(store: &Store, place: &Dir, gone: &str, replaced: &HashSet<&str>, shown: &Dir) -> Result<()> {
    let old = place.open_dir(gone)?;
    for part in ["new", "cur"] {
        let from = match old.open_dir(part) {
            // it was being taken down before
            Err(error) if error.is_not_found() => continue,
            other => other?,
        };
        let to = shown.open_dir(part)?;
        let mut rounds = 0;
        loop {
            let mut moved = false;
            for name in from.names()? {
                if is_message_name(&name) && !replaced.contains(base(&name)) && from.is_file(&name)? {
                    put(store, &from, &name, &to)?;
                    moved = true;
                } else {
                    from.unlink(&name).or_else(|_| from.remove_tree(&name).map(|()| true))?;
                }
            }
            if moved {
                to.sync()?;
            }
            rounds += 1;
            match old.remove_dir(part) {
                Err(Error::Io { source, .. }) if rounds < ROUNDS && source.raw_os_error() == Some(libc::ENOTEMPTY) => {}
                done => break done?,
            }
        }
    }
    place.remove_tree(gone)
}
