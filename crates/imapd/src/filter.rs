//! Which mailboxes a client means by what they are (RFC 5465 §6, RFC 7377 §2.2).

use crate::place::Realm;
use imap_proto::{Mailbox, MailboxFilter};
use mailstore::{MailboxName, Rights};
use std::collections::BTreeSet;

/// The mailboxes that the client may read, and the names subscribed to.
pub struct Known {
    /// With whether it is the client's own.
    mailboxes: Vec<(MailboxName, bool)>,
    subscriptions: Vec<MailboxName>,
}

impl Known {
    /// Blocking.
    pub fn of(realm: &Realm) -> mailstore::Result<Known> {
        let readable = realm.list()?.into_iter().filter(|(_, rights)| rights.contains(Rights::READ));
        let is_own = |name: &MailboxName| realm.locate(name.as_str()).is_ok_and(|spot| spot.own);
        let mailboxes = readable.map(|(name, _)| (name.clone(), is_own(&name))).collect();
        Ok(Known { mailboxes, subscriptions: realm.account.subscriptions()? })
    }

    /// The mailboxes a filter means, but for the selected one; each once. Names of what is not there are passed over.
    pub fn matching(&self, filters: &[MailboxFilter]) -> BTreeSet<MailboxName> {
        let is_subscribed = |name: &MailboxName| self.subscriptions.contains(name);
        let meant = |(name, own): &&(MailboxName, bool)| filters.iter().any(|filter| is_in(filter, name, *own, is_subscribed(name)));
        self.mailboxes.iter().filter(meant).map(|(name, _)| name.clone()).collect()
    }
}

/// Does a filter mean this mailbox while it is not selected? `own`: it is the client's own.
pub fn is_in(filter: &MailboxFilter, name: &MailboxName, own: bool, is_subscribed: bool) -> bool {
    let named = |names: &[Mailbox], is: &dyn Fn(&MailboxName) -> bool| {
        names.iter().filter_map(|name| MailboxName::parse(&name.0).ok()).any(|top| *name == top || is(&top))
    };
    match filter {
        MailboxFilter::Selected | MailboxFilter::SelectedDelayed => false,
        // Mail may be filed anywhere by a script: RFC 5465 §6.3 has it the same then.
        MailboxFilter::Personal | MailboxFilter::Inboxes => own,
        MailboxFilter::Subscribed => is_subscribed,
        MailboxFilter::Subtree(names) => named(names, &|top| name.is_below(top)),
        MailboxFilter::SubtreeOne(names) => named(names, &|top| name.parent().as_ref() == Some(top)),
        MailboxFilter::Mailboxes(names) => named(names, &|_| false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_mean_what_is_there() {
        let name = |text: &str| MailboxName::parse(text).unwrap();
        let own = ["INBOX", "A", "A.B", "A.B.C", "AB"].map(|text| (name(text), true));
        let mailboxes = [&own[..], &[(name("Public.A"), false)]].concat();
        let known = Known { mailboxes, subscriptions: ["A.B", "Gone", "Public.A"].map(name).to_vec() };
        let of = |names: &[&str]| names.iter().map(|name| Mailbox((*name).into())).collect();
        for (filters, want) in [
            (vec![MailboxFilter::Selected, MailboxFilter::SelectedDelayed], &[][..]),
            (vec![MailboxFilter::Personal], &["A", "A.B", "A.B.C", "AB", "INBOX"]),
            (vec![MailboxFilter::Inboxes], &["A", "A.B", "A.B.C", "AB", "INBOX"]),
            (vec![MailboxFilter::Subscribed], &["A.B", "Public.A"]),
            (vec![MailboxFilter::Subtree(of(&["Public"]))], &["Public.A"]),
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
