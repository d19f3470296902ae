//! Which mailboxes a client means by what they are (RFC 5465 §6, RFC 7377 §2.2).

use imap_proto::{Mailbox, MailboxFilter};
use mailstore::{Account, MailboxName};
use std::collections::BTreeSet;

/// The mailboxes that are there, and the names subscribed to.
pub struct Known {
    mailboxes: Vec<MailboxName>,
    subscriptions: Vec<MailboxName>,
}

impl Known {
    /// Blocking.
    pub fn of(account: &Account) -> mailstore::Result<Known> {
        let mailboxes = account.list()?.into_iter().filter(|listed| listed.exists).map(|listed| listed.name).collect();
        Ok(Known { mailboxes, subscriptions: account.subscriptions()? })
    }

    /// The mailboxes a filter means, but for the selected one; each once. Names of what is not there are passed over.
    pub fn matching(&self, filters: &[MailboxFilter]) -> BTreeSet<MailboxName> {
        filters.iter().flat_map(|filter| self.mailboxes.iter().filter(|name| self.is_in(filter, name)).cloned()).collect()
    }

    fn is_in(&self, filter: &MailboxFilter, name: &MailboxName) -> bool {
        let named = |names: &[Mailbox], is: &dyn Fn(&MailboxName) -> bool| {
            names.iter().filter_map(|name| MailboxName::parse(&name.0).ok()).any(|top| *name == top || is(&top))
        };
        match filter {
            MailboxFilter::Selected | MailboxFilter::SelectedDelayed => false,
            // Mail may be filed anywhere by a script: RFC 5465 §6.3 has it the same then.
            MailboxFilter::Personal | MailboxFilter::Inboxes => true,
            MailboxFilter::Subscribed => self.subscriptions.contains(name),
            MailboxFilter::Subtree(names) => named(names, &|top| name.is_below(top)),
            MailboxFilter::SubtreeOne(names) => named(names, &|top| name.parent().as_ref() == Some(top)),
            MailboxFilter::Mailboxes(names) => named(names, &|_| false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_mean_what_is_there() {
        let name = |text: &str| MailboxName::parse(text).unwrap();
        let known =
            Known { mailboxes: ["INBOX", "A", "A.B", "A.B.C", "AB"].map(name).to_vec(), subscriptions: ["A.B", "Gone"].map(name).to_vec() };
        let of = |names: &[&str]| names.iter().map(|name| Mailbox((*name).into())).collect();
        for (filters, want) in [
            (vec![MailboxFilter::Selected, MailboxFilter::SelectedDelayed], &[][..]),
            (vec![MailboxFilter::Personal], &["A", "A.B", "A.B.C", "AB", "INBOX"]),
            (vec![MailboxFilter::Inboxes], &["A", "A.B", "A.B.C", "AB", "INBOX"]),
            (vec![MailboxFilter::Subscribed], &["A.B"]),
            (vec![MailboxFilter::Subtree(of(&["A", "Gone"]))], &["A", "A.B", "A.B.C"]),
            (vec![MailboxFilter::SubtreeOne(of(&["A"]))], &["A", "A.B"]),
            (vec![MailboxFilter::Mailboxes(of(&["A", "%", "*", "A*"]))], &["A"]),
            (vec![MailboxFilter::Mailboxes(of(&["A", "A"])), MailboxFilter::Subtree(of(&["A.B"]))], &["A", "A.B", "A.B.C"]),
        ] {
            let found: BTreeSet<MailboxName> = known.matching(&filters);
            let want: BTreeSet<MailboxName> = want.iter().map(|text| name(text)).collect();
            assert_eq!(found, want, "{filters:?}");
        }
    }
}
