//! Annotations that others changed (RFC 5464 §4.4.2, RFC 5465 §5.6, §5.7). Of values only a sum is kept, which says that they changed.

use super::Trouble;
use super::names::Names;
use super::wishes::Wishes;
use crate::commands::enable::Enabled;
use crate::commands::metadata::visible;
use crate::place::Realm;
use imap_proto::encode;
use mailstore::{Account, Annotations, MailboxName};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

/// What the names of annotations that one session knows may take.
const MOST_BYTES: usize = 1 << 20;

/// The annotations that the client knows of; those of the server have no mailbox.
#[derive(Default)]
pub struct Known {
    all: BTreeMap<Option<MailboxName>, BTreeMap<String, u64>>,
    hasher: RandomState,
}

impl Known {
    /// Reads what there is. Blocking.
    pub fn begin(&mut self, realm: &Realm, wishes: &Wishes, names: &Names) -> Result<(), Trouble> {
        if wishes.server() {
            let server = self.sums(realm.account.annotations(None)?);
            self.all.insert(None, server);
        }
        for name in names.annotated() {
            if let Some(now) = self.read(realm, name)? {
                self.all.insert(Some(name.clone()), now);
            }
        }
        self.fits()
    }

    /// Looks at what may have changed, and writes what did. Blocking.
    pub fn compare(
        &mut self,
        realm: &Realm,
        wishes: &Wishes,
        names: &Names,
        server: bool,
        about: &[MailboxName],
        enabled: Enabled,
    ) -> Result<Vec<u8>, Trouble> {
        let mut out = Vec::new();
        if server && wishes.server() {
            let now = self.sums(realm.account.annotations(None)?);
            self.adopt(None, now, &mut out, enabled);
        }
        for name in names.annotated().filter(|name| about.contains(name)) {
            if let Some(now) = self.read(realm, name)? {
                self.adopt(Some(name), now, &mut out, enabled);
            }
        }
        self.fits()?;
        Ok(out)
    }

    /// What is known of a mailbox holds under its new name.
    pub fn renamed(&mut self, old: &MailboxName, new: &MailboxName) {
        if let Some(known) = self.all.remove(&Some(old.clone())) {
            self.all.insert(Some(new.clone()), known);
        }
    }

    /// Forgets mailboxes.
    pub fn retain(&mut self, keeps: impl Fn(&MailboxName) -> bool) {
        self.all.retain(|name, _| name.as_ref().is_none_or(&keeps));
    }

    /// The client set these itself.
    pub fn did(&mut self, mailbox: Option<&MailboxName>, entries: &[(String, Option<Vec<u8>>)]) {
        let hasher = self.hasher.clone();
        let Some(known) = self.all.get_mut(&mailbox.cloned()) else { return };
        for (entry, value) in entries {
            match value {
                Some(value) => known.insert(entry.clone(), hasher.hash_one(value)),
                None => known.remove(entry),
            };
        }
    }

    /// `None` where there is no mailbox any more.
    fn read(&self, realm: &Realm, name: &MailboxName) -> Result<Option<BTreeMap<String, u64>>, Trouble> {
        let Ok(spot) = realm.locate(name.as_str()) else { return Ok(None) };
        let read = |account: &Account| account.annotations(Some(&spot.name));
        match read(&spot.account) {
            Ok(mut all) => {
                visible(&mut all, spot.own);
                Ok(Some(self.sums(all)))
            }
            Err(mailstore::Error::NoSuchMailbox) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn sums(&self, all: Annotations) -> BTreeMap<String, u64> {
        all.into_iter().map(|(entry, value)| (entry, self.hasher.hash_one(value))).collect()
    }

    fn adopt(&mut self, mailbox: Option<&MailboxName>, now: BTreeMap<String, u64>, out: &mut Vec<u8>, enabled: Enabled) {
        let before = self.all.insert(mailbox.cloned(), now.clone()).unwrap_or_default();
        let changed = before.keys().chain(now.keys()).filter(|entry| before.get(*entry) != now.get(*entry));
        let changed: std::collections::BTreeSet<&String> = changed.collect();
        if changed.is_empty() {
            return;
        }
        // RFC 5464 §5: `metadata-resp = "METADATA" SP mailbox SP entry-list`, `entry-list = entry *(SP entry)`
        out.extend_from_slice(b"* METADATA ");
        enabled.write_name(out, mailbox.map_or("", MailboxName::as_str));
        for entry in changed {
            out.push(b' ');
            encode::astring(out, entry.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }

    fn fits(&self) -> Result<(), Trouble> {
        let bytes: usize = self.all.values().flat_map(BTreeMap::keys).map(|entry| entry.len() + 64).sum();
        if bytes > MOST_BYTES { Err(Trouble::TooMuch) } else { Ok(()) }
    }
}
