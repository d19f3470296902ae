//! A Maildir in a temporary directory, and the moves tests make in it.

use std::path::PathBuf;
use std::sync::Arc;

use mailstore::{Account, FlagMode, FlagSet, Flags, Location, Mailbox, MailboxName, Settings, Snapshot, Store};

/// One account's Maildir; [`Home::again`] looks at it as another process would.
pub struct Home {
    temp: Arc<tempfile::TempDir>,
    store: Arc<Store>,
}

impl Home {
    pub fn new() -> Home {
        Home { temp: Arc::new(tempfile::tempdir().unwrap()), store: Store::new(Settings::default()) }
    }

    /// Looks at mailboxes without events so often.
    pub fn polling(poll_interval: std::time::Duration) -> Home {
        Home { temp: Arc::new(tempfile::tempdir().unwrap()), store: Store::new(Settings { poll_interval, ..Settings::default() }) }
    }

    pub fn again(&self) -> Home {
        Home { temp: self.temp.clone(), store: Store::new(Settings::default()) }
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.temp.path().join("Maildir").join(below)
    }

    /// A path outside the account.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    pub fn account(&self) -> Arc<Account> {
        self.store.account(&Location::maildir(self.path("")).unwrap()).unwrap()
    }

    /// Opens a mailbox, making it when it is not there.
    pub fn mailbox(&self, name: &str) -> Arc<Mailbox> {
        let (account, name) = (self.account(), MailboxName::parse(name).unwrap());
        if !account.exists(&name).unwrap() {
            account.create(&name).unwrap();
        }
        account.open(&name).unwrap()
    }

    pub fn append(&self, mailbox: &Mailbox, text: &str, flags: Flags) {
        let mut incoming = mailbox.incoming(text.len() as u64).unwrap();
        incoming.write(text.as_bytes()).unwrap();
        incoming.describe(flags.into(), None);
        mailbox.append(vec![incoming]).unwrap();
    }

    /// Makes the mailbox know a keyword (and leaves message 1 behind).
    pub fn keyword(&self, mailbox: &Mailbox, keyword: &str) {
        self.append(mailbox, "x\r\n", Flags::NONE);
        let flags = FlagSet { flags: Flags::NONE, keywords: vec![keyword.into()] };
        mailbox.store_flags(&[1], FlagMode::Add, &flags, None).unwrap();
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.path(from), self.path(to)).unwrap();
    }

    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).unwrap();
    }

    pub fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    pub fn names(&self, directory: &str) -> Vec<String> {
        let names = std::fs::read_dir(self.path(directory)).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    pub fn count(&self, directory: &str) -> usize {
        self.names(directory).len()
    }
}

pub fn inbox(home: &Home) -> Arc<Mailbox> {
    home.account().open(&MailboxName::inbox()).unwrap()
}

pub fn uids(snapshot: &Snapshot) -> Vec<u32> {
    snapshot.iter().map(|message| message.uid()).collect()
}
