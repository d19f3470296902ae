//! Filing messages that arrive: what `deliver` does to the disk (DESIGN §4).
//!
//! A message becomes a file in `tmp/`, is synced, gets its name in `new/`, and the directory is synced; then [`Delivery::deliver`] returns. One
//! waiting message takes these steps alone. Several are taken in rounds by one thread per file system, so that one
//! `syncfs` serves all (`rounds`). Where that is slow or not to be trusted, sixteen messages at a time take the steps alone.
//!
//! The name is `<acceptance seconds>.<queue id>_<hash of recipient>.<host>,S=…,W=…`. A delivery that may have been made before is looked for
//! by that name in `new/` and `cur/`; found, file and directory are synced again and nothing is filed twice.

mod large;
mod letter;
mod rounds;
mod target;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use nix::sys::resource::{Resource, getrlimit};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

pub use large::LargeLetter;
pub use letter::{Body, Identity, Letter};

use crate::error::{Error, Result};
use crate::location::Location;
use crate::name::MailboxName;
use crate::store::Store;
use letter::Sheet;
use rounds::Rounds;
use target::{Target, Targets};

/// Messages that take the steps alone at one time.
const ALONE_AT_ONCE: usize = 16;

/// Where a message lies now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// File name without flags.
    pub file: String,
    /// It was there already: this was a repeated delivery.
    pub duplicate: bool,
    /// Size on disk.
    pub size: u64,
    /// Bytes and messages the account holds now, where that is counted (accounts with a quota).
    pub usage: Option<(u64, u64)>,
}

/// The engine; one per process. Deliveries not finished when it is dropped are finished first.
pub struct Delivery {
    store: Arc<Store>,
    targets: Targets,
    rounds: Mutex<Vec<Arc<Rounds>>>,
    alone: Arc<Semaphore>,
    under_way: Arc<UnderWay>,
}

/// Deliveries that have an identity, as long as they are at work: who asked may be gone, and another ask for the same. Mailbox and name.
#[derive(Default)]
pub(crate) struct UnderWay(Mutex<HashSet<(PathBuf, String)>>);

/// A place in [`UnderWay`].
pub(crate) struct Claim {
    under_way: Arc<UnderWay>,
    key: (PathBuf, String),
}

impl UnderWay {
    fn claim(self: &Arc<UnderWay>, mailbox: &Path, base: &str) -> Result<Claim> {
        let key = (mailbox.to_owned(), base.to_owned());
        if !self.0.lock().insert(key.clone()) {
            // Looking for a file would find none yet; later it finds that one.
            return Err(Error::Limit("the same delivery is under way already"));
        }
        Ok(Claim { under_way: self.clone(), key })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.under_way.0.lock().remove(&self.key);
    }
}

impl Delivery {
    pub fn new(store: Arc<Store>) -> Delivery {
        // two descriptors a mailbox; most of the descriptors are for connections
        let soft = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
        let kept = (soft / 8).clamp(16, 2048) as usize;
        Delivery {
            store,
            targets: Targets::new(kept),
            rounds: Mutex::default(),
            alone: Arc::new(Semaphore::new(ALONE_AT_ONCE)),
            under_way: Arc::default(),
        }
    }

    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Brings a message (its pieces put together) to the line ends of the settings, once for all its recipients. No I/O.
    pub fn body(&self, pieces: &[&[u8]]) -> Body {
        Body::new(pieces, self.store.settings.line_ends)
    }

    /// Files a message and returns once it is durable. The mailbox is made when it is not there. `OverQuota` and `NoSpace` leave
    /// nothing behind, as does every other error, as far as the disk lets us.
    pub async fn deliver(&self, letter: Letter) -> Result<Delivered> {
        let target = self.target(&letter.location, &letter.mailbox).await?;
        target.account().set_quota_limits(letter.quota_bytes, letter.quota_messages);
        let sheet = Sheet::new(&self.store, letter, &target, &self.under_way)?;
        match self.rounds_for(&target) {
            Some(rounds) if rounds.is_worth_it() => rounds.submit(target, sheet).await,
            rounds => {
                let work = move || {
                    let start = Instant::now();
                    let delivered = sheet.file_alone(&target);
                    rounds.inspect(|rounds| rounds.note_alone(start.elapsed()));
                    delivered
                };
                self.alone(work).await
            }
        }
    }

    /// Starts a message too large for memory; it is written to `tmp/` of the mailbox as it comes. `size` is what the client announced,
    /// 0 if nothing; `quota` are the account's limits of bytes and messages.
    pub async fn large(&self, location: &Location, mailbox: &MailboxName, quota: (u64, u64), size: u64) -> Result<LargeLetter> {
        let target = self.target(location, mailbox).await?;
        target.account().set_quota_limits(quota.0, quota.1);
        let store = self.store.clone();
        self.blocking(move || LargeLetter::new(&store, &target, size)).await
    }

    /// Files a large message (see [`LargeLetter::finish`]) and returns once it is durable.
    pub async fn deliver_large(&self, letter: LargeLetter) -> Result<Delivered> {
        let under_way = self.under_way.clone();
        self.alone(move || letter.finish(&under_way)).await
    }

    /// Runs file-system work where it may block.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(Error::Limit("delivery was interrupted")))
    }

    async fn alone<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let permit = self.alone.clone().acquire_owned().await;
        self.blocking(move || {
            let _permit = permit;
            work()
        })
        .await
    }

    async fn target(&self, location: &Location, mailbox: &MailboxName) -> Result<Arc<Target>> {
        if let Some(target) = self.targets.get(location, mailbox) {
            return Ok(target);
        }
        let (store, location, mailbox) = (self.store.clone(), location.clone(), mailbox.clone());
        let target = self.blocking(move || Target::open(&store, &location, &mailbox).map(Arc::new)).await?;
        self.targets.put(target.clone());
        Ok(target)
    }

    /// The thread for the target's file system; `None` where messages go alone.
    fn rounds_for(&self, target: &Arc<Target>) -> Option<Arc<Rounds>> {
        if !target.allows_rounds() {
            return None;
        }
        let mut all = self.rounds.lock();
        let rounds = match all.iter().find(|rounds| rounds.device() == target.device()) {
            Some(rounds) => rounds.clone(),
            None => {
                let rounds = Arc::new(Rounds::start(target.device())?);
                all.push(rounds.clone());
                rounds
            }
        };
        Some(rounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_at_work_once_at_a_time() {
        let under_way = Arc::new(UnderWay::default());
        let claim = |mailbox: &str, base| under_way.claim(Path::new(mailbox), base);
        let first = claim("a/new", "1.X").expect("the first");
        assert!(matches!(claim("a/new", "1.X"), Err(Error::Limit(_))));
        let (_other, _mailbox) = (claim("a/new", "1.Y").expect("another"), claim("b/new", "1.X").expect("elsewhere"));
        drop(first);
        claim("a/new", "1.X").expect("again");
    }
}
