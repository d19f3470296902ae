//! Mailboxes on their way to a backup and back: whole, with UIDVALIDITY, UIDs, flags and keywords, in the files they have here, so that a
//! backup that lies in a folder is a Maildir that Dovecot can serve as well.
//!
//! Not part of it: `facteur.log`, `facteur.cache`, `facteur.search`, `facteur.index` and `maildirsize`, which are made anew. MODSEQs begin anew, so clients with CONDSTORE ask for all flags once.

mod place;
mod restore;

pub use restore::Restoring;
pub(crate) use restore::go_on;

use std::fs::File;
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::{Error, Result};
use crate::flags::Keywords;
use crate::mailbox::{Mailbox, State};
use crate::snapshot::{Message, Snapshot, file_name};
use crate::{acl, keywords, metadata, uidlist};

/// Small files that belong to a mailbox, as they are.
const SMALL_FILES: [&str; 2] = [acl::FILE, metadata::OF_MAILBOX];

/// Longest of these, and of a list of keywords.
const SMALL_BYTES: u64 = 64 << 20;

/// A mailbox at one moment. The messages are read one by one with [`Mailbox::raw`].
pub struct Dump {
    /// Files by name: the list of UIDs, which comes first, that of keywords, and what else belongs to the mailbox.
    pub files: Vec<(&'static str, Vec<u8>)>,
    snapshot: Arc<Snapshot>,
}

impl Dump {
    /// The messages by rising UID, with the names of their files: `cur/NAME`, `new/NAME`.
    pub fn messages(&self) -> impl Iterator<Item = (&Message, String)> {
        // as we write names, whatever other program wrote these
        let name = |message: &Message| file_name(message.base_name(), message.info, message.in_new);
        self.snapshot.iter().map(move |message| (message, format!("{}/{}", if message.in_new { "new" } else { "cur" }, name(message))))
    }
}

impl Mailbox {
    /// All of the mailbox but its messages. Blocking.
    pub fn dump(&self) -> Result<Dump> {
        // it has a GUID from here on
        self.mailbox_id()?;
        self.with_state(|state, dir| {
            let snapshot = Arc::new(state.snapshot.clone());
            let mut files = vec![(uidlist::FILE, list_of(state, &snapshot).into_bytes())];
            let names = keywords_of(&snapshot.keywords);
            if !names.is_empty() {
                files.push((keywords::FILE, names.into_bytes()));
            }
            for name in SMALL_FILES {
                if let Some(bytes) = dir.read_small(name, SMALL_BYTES)? {
                    files.push((name, bytes));
                }
            }
            Ok(Dump { files, snapshot })
        })
    }

    /// The file of a message as it lies on the disk, its size and its time, which is when the message came. `Expunged`. Blocking.
    pub fn raw(&self, uid: u32) -> Result<(File, u64, SystemTime)> {
        self.with_file(uid, |dir, name, _| {
            let file = dir.open_file(name)?;
            let metadata = file.metadata().map_err(|e| Error::io("stat", dir.at(name), e))?;
            let modified = metadata.modified().map_err(|e| Error::io("stat", dir.at(name), e))?;
            Ok((file, metadata.len(), modified))
        })
    }
}

fn list_of(state: &State, snapshot: &Snapshot) -> String {
    let mut out = format!("3 V{} N{} G{}\n", snapshot.uid_validity, snapshot.uid_next, state.guid);
    for message in snapshot.iter() {
        let fields = state.fields.get(&message.uid()).map_or("", |fields| fields);
        uidlist::write_line(&mut out, message.uid(), fields, message.base_name());
    }
    out
}

fn keywords_of(keywords: &Keywords) -> String {
    let slots = keywords.slots().iter().enumerate();
    slots.filter_map(|(index, name)| name.as_ref().map(|name| format!("{index} {name}\n"))).collect()
}

#[cfg(test)]
mod tests;
