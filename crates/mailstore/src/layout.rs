//! How the mailboxes of an account lie in its root, as Dovecot's `LAYOUT=` has it.
//!
//! - `maildir++`: all directories in the root, `.A.B` for the mailbox `A.B`.
//! - `fs`: a directory in the other, `A/B` for `A.B`; one without `cur` is only a level above others. No mailbox can have a level `cur`, `new` or `tmp`.
//!
//! Each level is in modified UTF-7. INBOX is the root itself. What is no mailbox of ours by its name is passed over; what begins with a dot is none in `fs`.

use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::mutf7;
use crate::name::{MailboxName, SEPARATOR};

/// Deepest nesting that is looked into: no mailbox lies deeper.
const DEEPEST: usize = 32;

/// Directories that are looked at for one listing.
const MOST: usize = 100_000;

/// Where mailboxes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Layout {
    #[default]
    MaildirPlusPlus,
    Fs,
}

impl Layout {
    /// As `LAYOUT=` names it.
    pub fn parse(text: &str) -> Option<Layout> {
        match text.to_ascii_lowercase().as_str() {
            "maildir++" => Some(Layout::MaildirPlusPlus),
            "fs" => Some(Layout::Fs),
            _ => None,
        }
    }

    /// The mailbox's directory below the root: empty for INBOX.
    pub(crate) fn directory(self, name: &MailboxName) -> String {
        match self {
            _ if name.is_inbox() => String::new(),
            Layout::MaildirPlusPlus => name.directory(),
            Layout::Fs => name.as_str().split(SEPARATOR).map(mutf7::encode).collect::<Vec<_>>().join("/"),
        }
    }

    /// May a mailbox have this name?
    pub(crate) fn allows(self, name: &MailboxName) -> Result<()> {
        match self == Layout::Fs && name.as_str().split(SEPARATOR).any(is_part) {
            true => Err(Error::NotAllowed("cur, new and tmp are no names of mailboxes here")),
            false => Ok(()),
        }
    }

    /// Directories that may be mailboxes, but for INBOX, with their names. Blocking.
    pub(crate) fn candidates(self, root: &Dir) -> Result<Vec<(MailboxName, String)>> {
        let mut found = Vec::new();
        match self {
            Layout::MaildirPlusPlus => root.each_name(|directory| {
                found.extend(MailboxName::from_directory(directory).map(|name| (name, directory.to_owned())));
            })?,
            Layout::Fs => walk(root, "", "", 0, &mut found)?,
        }
        Ok(found)
    }

    /// Makes the levels above a mailbox.
    pub(crate) fn make_above(self, root: &Dir, directory: &str) -> Result<()> {
        if self == Layout::Fs {
            let mut dir = root.clone();
            let mut levels: Vec<&str> = directory.split('/').collect();
            levels.pop();
            for level in levels {
                if dir.make_dir(level)? {
                    dir.sync()?;
                }
                dir = dir.open_dir(level)?;
            }
        }
        Ok(())
    }

    /// Removes levels that have become empty.
    pub(crate) fn clear_above(self, root: &Dir, directory: &str) {
        let mut above = directory;
        while let Some((parent, _)) = above.rsplit_once('/').filter(|_| self == Layout::Fs) {
            // the system refuses those that are not
            if root.holder(parent).and_then(|(dir, name)| dir.remove_dir(name)).is_err() {
                return;
            }
            above = parent;
        }
    }
}

pub(crate) fn is_part(level: &str) -> bool {
    matches!(level, "cur" | "new" | "tmp")
}

fn walk(dir: &Dir, path: &str, name: &str, depth: usize, found: &mut Vec<(MailboxName, String)>) -> Result<()> {
    for entry in dir.dir_names()? {
        if entry.starts_with('.') || is_part(&entry) {
            continue;
        }
        // the one right spelling of a level, without our separator in it
        let Some(level) = mutf7::decode(&entry).filter(|level| !level.contains(SEPARATOR) && mutf7::encode(level) == entry) else {
            continue;
        };
        let join = |above: &str, separator: char, below: &str| match above {
            "" => below.to_owned(),
            above => format!("{above}{separator}{below}"),
        };
        let (path, name) = (join(path, '/', &entry), join(name, SEPARATOR, &level));
        if depth >= DEEPEST || found.len() >= MOST {
            return Err(Error::Limit("mailboxes are nested too deeply, or there are too many"));
        }
        let Ok(parsed) = MailboxName::parse(&name) else { continue };
        let below = match dir.open_dir(&entry) {
            Ok(below) => below,
            // a link, or gone meanwhile
            Err(Error::Unsafe { .. }) => continue,
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(error),
        };
        // `INBOX` is the level above its own, never a mailbox
        if parsed.as_str() == name && !parsed.is_inbox() {
            found.push((parsed, path.clone()));
        }
        walk(&below, &path, &name, depth + 1, found)?;
    }
    Ok(())
}
