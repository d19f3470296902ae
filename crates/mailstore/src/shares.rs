//! `.facteur-shared/owners` in `mail.virtual_mailbox_base`: who may have shared a mailbox with whom, so that LIST need not look into every account.
//!
//! ```text
//! facteur shared 1
//! user=bob@example.org<TAB>ann@example.org
//! group=staff<TAB>ann@example.org
//! anyone<TAB>carl@example.org
//! ```
//! A line for each identifier, as in `dovecot-acl`, and owner. A hint: what somebody may do is in the `dovecot-acl` of each mailbox, and a line too
//! many costs a look there. So lines are added before a right is given, and stay when it is taken away. When the file is not there it is
//! made anew from the lists of all accounts: remove it after such were changed by hand. Lines that come meanwhile wait in `owners.pending`. Both are
//! replaced as a whole under `owners.lock`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::account::Account;
use crate::acl::{Person, Subject};
use crate::dir::{Dir, Stamp};
use crate::error::{Error, Result};
use crate::lock;
use crate::rights::Rights;

const FOLDER: &str = ".facteur-shared";
const FILE: &str = "owners";
const PENDING: &str = "owners.pending";
const TEMPORARY: &str = "owners.tmp";
const LOCK: &str = "owners.lock";
const HEADER: &str = "facteur shared 1";

/// Largest file that is read.
const LARGEST: u64 = 64 << 20;

/// Who may have shared something with whom.
pub struct Shares {
    folder: PathBuf,
}

/// What the file had to say, and which it was.
pub struct Read {
    pub stamp: SharesStamp,
    lines: BTreeSet<(String, String)>,
}

/// Tells one state of the file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharesStamp(Stamp);

impl Read {
    /// The accounts that may have shared something with a person, but for the person's own.
    pub fn owners(&self, person: &Person) -> BTreeSet<String> {
        let is_meant = |subject: &str| Subject::parse(subject).is_some_and(|subject| subject.is(person, false));
        self.lines.iter().filter(|(subject, owner)| *owner != person.user && is_meant(subject)).map(|(_, owner)| owner.clone()).collect()
    }
}

impl Shares {
    /// Of the mail below `base`.
    pub fn below(base: &Path) -> Shares {
        Shares { folder: base.join(FOLDER) }
    }

    /// The file's state; `None` when it is not there. Blocking.
    pub fn stamp(&self) -> Result<Option<SharesStamp>> {
        match Dir::open_root(&self.folder) {
            Ok(dir) => Ok(dir.stamp(FILE)?.map(SharesStamp)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads the file; `None` when it is not there. Blocking.
    pub fn read(&self) -> Result<Option<Read>> {
        match Dir::open_root(&self.folder) {
            Ok(dir) => read(&dir, FILE),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Notes, durable on return, that `owner` is about to share something with `subject`. Blocking.
    pub fn add(&self, subject: &Subject, owner: &str) -> Result<()> {
        let line = (subject.to_string(), owner.to_owned());
        if *subject == Subject::Owner || self.read()?.is_some_and(|known| known.lines.contains(&line)) {
            return Ok(());
        }
        let dir = Dir::create_root(&self.folder)?;
        let _lock = lock::lock(&dir, LOCK, Duration::from_secs(30))?;
        // whoever makes the file anew may have looked into this account already
        let (file, known) = match read(&dir, FILE)? {
            Some(known) => (FILE, Some(known)),
            None => (PENDING, read(&dir, PENDING)?),
        };
        let mut lines = known.map(|known| known.lines).unwrap_or_default();
        lines.insert(line);
        write(&dir, file, &lines)
    }

    /// Makes the file of what was found in all accounts. Blocking.
    pub fn complete(&self, found: BTreeSet<(String, String)>) -> Result<()> {
        let dir = Dir::create_root(&self.folder)?;
        let _lock = lock::lock(&dir, LOCK, Duration::from_secs(30))?;
        let mut lines = found;
        for file in [FILE, PENDING] {
            lines.extend(read(&dir, file)?.map(|known| known.lines).unwrap_or_default());
        }
        write(&dir, FILE, &lines)?;
        dir.unlink(PENDING).map(drop)
    }
}

fn read(dir: &Dir, file: &str) -> Result<Option<Read>> {
    let Some(stamp) = dir.stamp(file)? else { return Ok(None) };
    let Some(bytes) = dir.read_small(file, LARGEST)? else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines();
    // one that is damaged is made anew
    if lines.next() != Some(HEADER) {
        return Ok(None);
    }
    let pair = |line: &str| line.split_once('\t').map(|(subject, owner)| (subject.to_owned(), owner.to_owned()));
    Ok(Some(Read { stamp: SharesStamp(stamp), lines: lines.filter_map(pair).collect() }))
}

fn write(dir: &Dir, file: &str, lines: &BTreeSet<(String, String)>) -> Result<()> {
    let fits = |text: &str| !text.is_empty() && !text.contains(['\t', '\n', '\r']);
    let mut text = format!("{HEADER}\n");
    for (subject, owner) in lines.iter().filter(|(subject, owner)| fits(subject) && fits(owner)) {
        text.push_str(&format!("{subject}\t{owner}\n"));
    }
    if text.len() as u64 > LARGEST {
        return Err(Error::Limit("too many mailboxes are shared"));
    }
    dir.replace(file, TEMPORARY, text.as_bytes())
}

impl Account {
    /// With whom mailboxes of this account are shared. Blocking.
    pub fn shared_with(self: &Arc<Account>) -> Result<BTreeSet<String>> {
        let mut all = BTreeSet::new();
        for listed in self.list()?.into_iter().filter(|listed| listed.exists) {
            match self.acl(&listed.name) {
                Ok(acl) => {
                    let given = acl.grants.iter().filter(|grant| !grant.negative && grant.rights != Rights::NONE);
                    all.extend(given.filter(|grant| grant.subject != Subject::Owner).map(|grant| grant.subject.to_string()));
                }
                Err(Error::NoSuchMailbox) => {}
                // the others are shared all the same
                Err(error) => tracing::warn!(mailbox = %listed.name, %error, "rights cannot be read"),
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(user: &str, groups: &[&str]) -> Person {
        Person { user: user.into(), groups: groups.iter().map(|group| (*group).to_owned()).collect() }
    }

    #[test]
    fn who_shares_with_whom_is_found_by_name_group_and_all() {
        let temp = tempfile::tempdir().unwrap();
        let shares = Shares::below(temp.path());
        // the file is being made, and whoever does has looked there already
        shares.add(&Subject::User("zoe@x".into()), "early@x").unwrap();
        assert!(shares.read().unwrap().is_none() && shares.stamp().unwrap().is_none());
        shares.complete([("group=staff".to_owned(), "carl@x".to_owned())].into()).unwrap();
        for (subject, owner) in [
            (Subject::User("bob@x".into()), "ann@x"),
            (Subject::User("bob@x".into()), "ann@x"),
            (Subject::Anyone, "dora@x"),
            (Subject::Owner, "ann@x"),
            (Subject::User("ann@x".into()), "tab\tand\nline"),
        ] {
            shares.add(&subject, owner).unwrap();
        }
        let known = shares.read().unwrap().unwrap();
        let owners = |user: &str, groups: &[&str]| known.owners(&person(user, groups)).into_iter().collect::<Vec<_>>().join(" ");
        assert_eq!(owners("bob@x", &[]), "ann@x dora@x");
        assert_eq!(owners("eve@x", &["staff"]), "carl@x dora@x");
        assert_eq!(owners("dora@x", &[]), "");
        assert_eq!(owners("ann@x", &[]), "dora@x");
        assert_eq!(owners("zoe@x", &[]), "dora@x early@x");
        assert_eq!(known.lines.len(), 4);
        assert!(!temp.path().join(FOLDER).join(PENDING).exists());
    }

    #[test]
    fn a_damaged_file_is_as_none_and_becomes_whole() {
        let temp = tempfile::tempdir().unwrap();
        let shares = Shares::below(temp.path());
        shares.complete(BTreeSet::new()).unwrap();
        let before = shares.stamp().unwrap();
        std::fs::write(temp.path().join(FOLDER).join(FILE), "\0\0\0").unwrap();
        assert!(shares.read().unwrap().is_none());
        shares.complete([("anyone".to_owned(), "ann@x".to_owned())].into()).unwrap();
        assert!(shares.stamp().unwrap() != before && shares.read().unwrap().is_some());
    }
}
