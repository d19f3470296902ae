//! What the settings say about quota beyond the account's own limits: rules for single mailboxes, and the grace of the last delivery.

use std::collections::HashMap;

use config::{Grace, QuotaRule};

use crate::name::MailboxName;
use crate::quota::{Limits, Room};

/// Rules of the settings; the default has none.
#[derive(Clone, Debug, Default)]
pub struct QuotaRules {
    grace: Option<Grace>,
    mailboxes: HashMap<MailboxName, QuotaRule>,
}

impl QuotaRules {
    /// Rules for all mailboxes are limits of the account ([`config::Mail::quota_limits`]) and not kept here. Of several for one mailbox
    /// each adds what it says.
    pub fn new(rules: &[QuotaRule], grace: Grace) -> QuotaRules {
        let named = |rule: &QuotaRule| {
            let name = rule.mailbox.as_deref()?;
            let parsed =
                MailboxName::parse(name).inspect_err(|error| tracing::warn!(%rule, %error, "quota rule for a mailbox that cannot be"));
            Some((parsed.ok()?, rule.clone()))
        };
        let mut mailboxes: HashMap<MailboxName, QuotaRule> = HashMap::new();
        for (name, rule) in rules.iter().filter_map(named) {
            let before = mailboxes.remove(&name);
            let merged = QuotaRule {
                ignore: rule.ignore || before.as_ref().is_some_and(|before| before.ignore),
                bytes: rule.bytes.or(before.as_ref().and_then(|before| before.bytes)),
                messages: rule.messages.or(before.as_ref().and_then(|before| before.messages)),
                mailbox: rule.mailbox,
            };
            mailboxes.insert(name, merged);
        }
        QuotaRules { grace: Some(grace), mailboxes }
    }

    /// Is the mailbox left out of the account?
    pub(crate) fn ignores(&self, name: &MailboxName) -> bool {
        self.mailboxes.get(name).is_some_and(|rule| rule.ignore)
    }

    /// Does any mailbox have a limit where the account has none?
    pub(crate) fn limit_anything(&self) -> bool {
        self.mailboxes.keys().any(|name| !self.ignores(name) && !self.room(name, Limits::default(), false).limits.is_none())
    }

    /// The room there is for what goes into a mailbox of an account with `limits`.
    pub(crate) fn room(&self, name: &MailboxName, limits: Limits, delivery: bool) -> Room {
        let mut room = Room { limits, grace: 0 };
        if let Some(rule) = self.mailboxes.get(name) {
            room.limits.bytes = rule.bytes.map_or(limits.bytes, |amount| amount.of(limits.bytes));
            room.limits.messages = rule.messages.map_or(limits.messages, |amount| amount.of(limits.messages));
        }
        if let Some(grace) = self.grace.filter(|_| delivery) {
            room.grace = grace.beyond(room.limits.bytes);
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailboxes_have_rules_of_their_own() {
        let name = |text| MailboxName::parse(text).unwrap();
        let rules: Vec<QuotaRule> = ["*:storage=1", "Trash:bytes=+10%", "Trash:messages=7", "Junk:ignore", "a/b:bytes=1"]
            .map(|text| QuotaRule::parse(text).unwrap())
            .into();
        let rules = QuotaRules::new(&rules, Grace(config::Amount::Percent(50)));
        let limits = Limits { bytes: 1000, messages: 0 };
        assert_eq!(rules.room(&name("Trash"), limits, false), Room { limits: Limits { bytes: 1100, messages: 7 }, grace: 0 });
        assert_eq!(rules.room(&name("INBOX"), limits, true), Room { limits, grace: 500 });
        assert!(rules.ignores(&name("Junk")) && !rules.ignores(&name("Trash")));
    }
}
