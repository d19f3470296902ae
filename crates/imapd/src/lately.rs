//! Accounts that somebody came to a moment ago.
//!
//! A webmail logs in for every page. Whether an account's Maildir is there is a question to the disk, which goes to a thread and back; who
//! comes within a moment after somebody else takes that one's answer.

use mailstore::{Account, Location};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Shorter than anybody needs to remove a Maildir and to look for the new one.
const MOMENT: Duration = Duration::from_secs(1);

/// Accounts at most; one is some hundred bytes while nobody has a mailbox of it open.
const LIMIT: usize = 1_024;

#[derive(Default)]
pub struct Lately(Mutex<HashMap<Location, (Arc<Account>, Instant)>>);

impl Lately {
    pub fn get(&self, location: &Location, now: Instant) -> Option<Arc<Account>> {
        let accounts = self.0.lock();
        let (account, seen) = accounts.get(location)?;
        (now.saturating_duration_since(*seen) < MOMENT).then(|| account.clone())
    }

    pub fn note(&self, location: &Location, account: &Arc<Account>, now: Instant) {
        let mut accounts = self.0.lock();
        if accounts.len() >= LIMIT {
            accounts.retain(|_, (_, seen)| now.saturating_duration_since(*seen) < MOMENT);
            if accounts.len() >= LIMIT {
                accounts.clear();
            }
        }
        accounts.insert(location.clone(), (account.clone(), now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailstore::{Settings, Store};

    #[test]
    fn an_account_is_known_for_a_moment() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::new(Settings::default());
        let location = |name: &str| Location::expand(&format!("maildir:{}/{name}", folder.path().display()), name, None).expect("location");
        let (lately, now) = (Lately::default(), Instant::now());
        let ann = location("ann");
        lately.note(&ann, &store.account(&ann).expect("account"), now);
        assert!(lately.get(&ann, now).is_some() && lately.get(&location("bob"), now).is_none());
        assert!(lately.get(&ann, now + MOMENT).is_none());
        let account = store.account(&ann).expect("account");
        for n in 0..2 * LIMIT {
            lately.note(&location(&n.to_string()), &account, now);
        }
        assert!(lately.0.lock().len() <= LIMIT);
    }
}
