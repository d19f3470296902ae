//! What is in `new/` and `cur/`, seen as a whole although other programs rename files while we read.
//!
//! A file renamed during a listing may be in neither half of what readdir(3) gives, and a message not seen at the first look would get
//! another UID later. So a listing that lacks something is repeated until the directories' times say that nothing moved meanwhile.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::dir::Stamp;
use crate::error::Result;
use crate::lock;
use crate::mailbox::state::{Found, is_message_name};
use crate::mailbox::{Folder, Mailbox};
use crate::uidlist;

/// Times of directories move in steps of the kernel's tick; a change within this after a look may show the same time.
const TICK: Duration = Duration::from_millis(50);

/// Listings at most: where files are renamed without end, another refresh has to go on.
const ROUNDS: usize = 5;

/// Message files by base name.
pub(super) type Files = HashMap<Box<str>, Found>;

/// Times of `new/` and `cur/`.
type Stamps = (Option<Stamp>, Option<Stamp>);

pub(super) struct Listing {
    pub files: Files,
    /// `new/` and `cur/` as they were before they were read, and when that was.
    pub looked: Option<(Stamp, Stamp, SystemTime)>,
    /// A file that is not in `files` was not there. False when files moved in each round.
    pub is_sure: bool,
}

/// The lock on the uidlist, should it be needed.
#[derive(Clone, Copy)]
pub(super) enum Lock {
    /// The caller has it.
    Held,
    /// To be taken, waiting no longer than this.
    Wait(Duration),
}

/// The two directories as a listing needs them.
trait Parts {
    fn stamps(&mut self) -> Result<Stamps>;
    fn each_name(&mut self, in_new: bool, each: &mut dyn FnMut(&str)) -> Result<()>;
    fn is_there(&mut self, file: &Found) -> Result<bool>;
}

impl Parts for &Folder {
    fn stamps(&mut self) -> Result<Stamps> {
        Ok((self.new.stamp(".")?, self.cur.stamp(".")?))
    }

    fn each_name(&mut self, in_new: bool, each: &mut dyn FnMut(&str)) -> Result<()> {
        self.part(in_new).each_file(is_message_name, each)
    }

    fn is_there(&mut self, file: &Found) -> Result<bool> {
        self.part(file.in_new).is_file(&file.name)
    }
}

/// True when a later change must show another time than `stamp` has.
pub(super) fn is_settled(stamp: &Stamp, when: SystemTime) -> bool {
    let (seconds, nanos) = stamp.modified;
    UNIX_EPOCH + Duration::new(seconds.max(0) as u64, nanos.clamp(0, 999_999_999) as u32) + TICK < when
}

/// Lists until `is_complete`, or until nothing moved during a listing. Also returns files whose base name was there twice.
fn gather(mut parts: impl Parts, is_complete: impl Fn(&Files) -> bool) -> Result<(Listing, Vec<Found>)> {
    let mut listing = Listing { files: Files::new(), looked: None, is_sure: false };
    let mut twice = Vec::new();
    let mut before: Option<Stamps> = None;
    for _ in 0..ROUNDS {
        let when = SystemTime::now();
        let stamps = parts.stamps()?;
        let earlier = std::mem::take(&mut listing.files);
        twice.clear();
        // in this order: files move from `new/` to `cur/`
        for in_new in [true, false] {
            parts.each_name(in_new, &mut |name| {
                let file = Found { name: name.to_owned(), in_new };
                if let Some(other) = listing.files.insert(file.base().into(), file) {
                    twice.push(other);
                }
            })?;
        }
        for (base, file) in earlier {
            if !listing.files.contains_key(&base) && parts.is_there(&file)? {
                listing.files.insert(base, file);
            }
        }
        let quiet = parts.stamps()? == stamps;
        listing.looked = stamps.0.zip(stamps.1).map(|(new, cur)| (new, cur, when));
        let settled = [stamps.0, stamps.1].iter().flatten().all(|stamp| is_settled(stamp, when));
        // under a time just passed a change may hide; two listings under it show both its sides
        listing.is_sure = quiet && (settled || before == Some(stamps));
        if listing.is_sure || is_complete(&listing.files) {
            listing.is_sure = true;
            break;
        }
        before = Some(stamps);
    }
    Ok((listing, twice))
}

impl Mailbox {
    /// The message files. `is_complete` tells that nothing is missing, so that once is enough.
    pub(super) fn listing(&self, folder: &Folder, lock: Lock, is_complete: impl Fn(&Files) -> bool) -> Result<Listing> {
        let (mut listing, twice) = gather(folder, is_complete)?;
        for other in twice {
            match self.settle_twice(folder, &mut listing.files, &other, lock) {
                Err(error) if error.cannot_write() => {
                    tracing::warn!(mailbox = %self.name, file = %other.name, %error, "two files with one name, only one is shown");
                }
                done => done?,
            }
        }
        Ok(listing)
    }

    /// Two files with one base name: usually one file seen before and after a rename. When both are really there, a copy made by
    /// hand or by a crash, the second gets a name of its own, so that no mail is hidden; when they are one file with two names,
    /// one name goes.
    fn settle_twice(&self, folder: &Folder, files: &mut Files, other: &Found, lock: Lock) -> Result<()> {
        let Some(kept) = files.get(other.base()).filter(|kept| *kept != other).cloned() else { return Ok(()) };
        let stamp = |file: &Found| folder.part(file.in_new).stamp(&file.name);
        match (stamp(&kept)?, stamp(other)?) {
            (_, None) => return Ok(()),
            (None, Some(_)) => {
                files.insert(other.base().into(), other.clone());
                return Ok(());
            }
            (Some(_), Some(_)) => {}
        }
        let _lock = match lock {
            Lock::Held => None,
            Lock::Wait(patience) => Some(lock::lock(&folder.dir, uidlist::LOCK, patience)?),
        };
        self.settle_both(folder, files, &kept, other)
    }

    /// Both names were there a moment ago. The lock is held.
    fn settle_both(&self, folder: &Folder, files: &mut Files, kept: &Found, other: &Found) -> Result<()> {
        let stamp = |file: &Found| folder.part(file.in_new).stamp(&file.name);
        let part = folder.part(other.in_new);
        let flags = other.name.strip_prefix(other.base()).unwrap_or("");
        let aside = Found { name: format!("{}{flags}", self.account.store().unique_name()), in_new: other.in_new };
        // No name is removed before the file is seen under two at once: mail programs rename without our lock, and `other` may be what `kept`
        // has just become. Under the name that it gets here nobody else knows it; a crash leaves a message too many, not too few.
        match part.rename_new(&other.name, part, &aside.name) {
            Err(error) if error.is_not_found() => return Ok(()),
            done => done?,
        }
        match (stamp(kept)?, stamp(&aside)?) {
            (_, None) => {}
            (Some(a), Some(b)) if a.same_file(&b) => drop(part.unlink(&aside.name)?),
            (Some(_), Some(_)) => {
                tracing::warn!(mailbox = %self.name, file = %other.name, renamed = %aside.name, "two files with one name, the second renamed");
                files.insert(aside.base().into(), aside);
            }
            (None, Some(_)) => match part.rename_new(&aside.name, part, &other.name) {
                Ok(()) => drop(files.insert(other.base().into(), other.clone())),
                // back under its old name once more, from elsewhere: then this is a message of its own
                Err(error) if error.is_taken() => drop(files.insert(aside.base().into(), aside)),
                Err(error) => return Err(error),
            },
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Directories whose content changes while they are listed: one list of names per listing of `cur/`, and a time for each.
    struct Moving {
        listings: Vec<&'static [&'static str]>,
        /// Seconds of the time before and after each listing.
        times: Vec<i64>,
        at: usize,
    }

    impl Parts for &mut Moving {
        fn stamps(&mut self) -> Result<Stamps> {
            let time = self.times[self.at.min(self.times.len() - 1)];
            self.at += 1;
            let stamp = Stamp { modified: (time, 0), ..Stamp::default() };
            Ok((Some(stamp), Some(stamp)))
        }

        fn each_name(&mut self, in_new: bool, each: &mut dyn FnMut(&str)) -> Result<()> {
            if !in_new && !self.listings.is_empty() {
                let names = if self.listings.len() > 1 { self.listings.remove(0) } else { self.listings[0] };
                names.iter().for_each(|name| each(name));
            }
            Ok(())
        }

        fn is_there(&mut self, file: &Found) -> Result<bool> {
            Ok(self.listings[0].contains(&&*file.name))
        }
    }

    fn names(listing: &Listing) -> Vec<&str> {
        let mut names: Vec<&str> = listing.files.values().map(|file| &*file.name).collect();
        names.sort_unstable();
        names
    }

    /// A mail program renames `kept` to `other` between our two looks: what was seen twice has one name only.
    #[test]
    fn the_last_name_of_a_file_is_never_removed() {
        let temp = tempfile::tempdir().unwrap();
        let store = crate::store::Store::new(crate::store::Settings::default());
        let account = store.account(&crate::location::Location::maildir(temp.path().join("m")).unwrap()).unwrap();
        let mailbox = account.open(&crate::name::MailboxName::inbox()).unwrap();
        let folder = mailbox.folder().unwrap();
        let file = |name: &str| Found { name: name.into(), in_new: false };
        let (kept, other) = (file("1.a:2,S"), file("1.a:2,FS"));
        let path = |file: &Found| temp.path().join("m/cur").join(&file.name);
        for there in [vec![&other], vec![&kept], vec![&kept, &other]] {
            std::fs::write(path(there[0]), "mail").unwrap();
            // also in another mailbox: the number of links says nothing about this one
            std::fs::hard_link(path(there[0]), temp.path().join("copy")).unwrap();
            if let [_, second] = there[..] {
                std::fs::hard_link(path(&kept), path(second)).unwrap();
            }
            let mut files = Files::from([(kept.base().into(), kept.clone())]);
            mailbox.settle_both(&folder, &mut files, &kept, &other).unwrap();
            let left: Vec<_> = std::fs::read_dir(temp.path().join("m/cur")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(left, [there[0].name.as_str()], "{there:?}");
            assert_eq!(files.values().map(|file| &*file.name).collect::<Vec<_>>(), [there[0].name.as_str()]);
            std::fs::remove_file(path(there[0])).unwrap();
            std::fs::remove_file(temp.path().join("copy")).unwrap();
        }
    }

    /// The threads that follow mailboxes wait for nobody: neither for another program's lock, nor for a command of ours.
    #[test]
    fn two_files_with_one_name_wait_no_longer_for_the_lock_than_they_may() {
        let temp = tempfile::tempdir().unwrap();
        let store = crate::store::Store::new(crate::store::Settings::default());
        let account = store.account(&crate::location::Location::maildir(temp.path().join("m")).unwrap()).unwrap();
        let mailbox = account.open(&crate::name::MailboxName::inbox()).unwrap();
        let folder = mailbox.folder().unwrap();
        std::fs::write(temp.path().join("m/new/1.a.host"), "one").unwrap();
        std::fs::write(temp.path().join("m/cur/1.a.host:2,S"), "two").unwrap();
        let _held = lock::lock(&folder.dir, uidlist::LOCK, Duration::ZERO).unwrap();
        let looked = mailbox.listing(&folder, Lock::Wait(Duration::ZERO), |_| true).map(drop);
        assert!(matches!(looked, Err(crate::Error::Locked { .. })), "{looked:?}");
        assert_eq!(mailbox.listing(&folder, Lock::Held, |_| true).unwrap().files.len(), 2);
        let state = mailbox.state.lock();
        let looked = std::thread::scope(|scope| scope.spawn(|| mailbox.refresh_briefly()).join().unwrap());
        assert!(matches!(looked, Err(crate::Error::Locked { .. })), "{looked:?}");
        drop(state);
    }

    #[test]
    fn a_file_renamed_while_the_directory_is_read_is_found_by_the_next_listing() {
        let mut moving = Moving { listings: vec![&["a:2,"], &["a:2,", "b:2,S"]], times: vec![1, 2, 2, 2], at: 0 };
        let (listing, _) = gather(&mut moving, |_| false).unwrap();
        assert_eq!((names(&listing), listing.is_sure), (vec!["a:2,", "b:2,S"], true));
    }

    #[test]
    fn once_is_enough_when_nothing_is_missing_or_nothing_moved() {
        for (times, complete) in [(vec![1, 1], false), (vec![1, 2], true)] {
            let mut moving = Moving { listings: vec![&["a:2,"], &[]], times, at: 0 };
            let (listing, _) = gather(&mut moving, |_| complete).unwrap();
            assert_eq!((names(&listing), listing.is_sure), (vec!["a:2,"], true));
        }
    }

    #[test]
    fn directories_that_never_rest_are_not_believed() {
        let mut moving = Moving { listings: vec![&["a:2,"]], times: (0..100).collect(), at: 0 };
        let (listing, _) = gather(&mut moving, |_| false).unwrap();
        assert!(!listing.is_sure && listing.files.len() == 1);
    }

    #[test]
    fn a_time_just_passed_asks_for_a_second_listing() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64 + 1000;
        let mut moving = Moving { listings: vec![&[], &["a:2,"]], times: vec![now], at: 0 };
        let (listing, _) = gather(&mut moving, |_| false).unwrap();
        assert_eq!((names(&listing), listing.is_sure), (vec!["a:2,"], true));
    }
}
