//! Which messages: what `facteur queue` commands choose by.

use super::Listed;
use clap::{Args, ValueEnum};
use std::time::Duration;

/// All that are given have to hold.
#[derive(Debug, Clone, Default, Args)]
pub struct Filter {
    /// Only messages whose sender contains TEXT; `<>` for notifications
    #[arg(long, value_name = "TEXT")]
    sender: Option<String>,
    /// Only messages with a recipient that contains TEXT
    #[arg(long, value_name = "TEXT")]
    recipient: Option<String>,
    /// Only messages with a recipient in this domain; `.example.org` for the domains below it
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// Only messages that came longer ago than this: 90s, 30m, 12h, 3d
    #[arg(long, value_name = "AGE", value_parser = age)]
    older: Option<Duration>,
    /// Only messages that came since
    #[arg(long, value_name = "AGE", value_parser = age)]
    newer: Option<Duration>,
    /// Only messages whose last failure contains TEXT
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only messages in this state
    #[arg(long, value_enum)]
    state: Option<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    /// Not tried yet, or being tried
    Waiting,
    Deferred,
    /// Waiting for the time that its sender named
    Asleep,
    Held,
}

impl Filter {
    pub fn is_empty(&self) -> bool {
        let Filter { sender, recipient, domain, older, newer, reason, state } = self;
        [sender, recipient, domain, reason].iter().all(|text| text.is_none()) && older.is_none() && newer.is_none() && state.is_none()
    }

    /// Whether the message is one of them, at `now` in seconds since 1970.
    pub fn takes(&self, message: &Listed, now: u64) -> bool {
        let age = now.saturating_sub(message.arrived);
        let has = |text: &str, part: &str| text.to_lowercase().contains(&part.to_lowercase());
        let sender = self.sender.as_deref().is_none_or(|part| match &message.sender {
            None => part == "<>",
            Some(sender) => has(sender, part),
        });
        let state = self.state.is_none_or(|state| {
            message.state
                == match state {
                    State::Waiting => "waiting",
                    State::Deferred => "deferred",
                    State::Asleep => "asleep",
                    State::Held => "held",
                }
        });
        // Recipient, domain and reason are asked of one and the same recipient.
        let about_recipients = self.recipient.is_some() || self.domain.is_some() || self.reason.is_some();
        let recipient = !about_recipients
            || message.recipients.iter().any(|r| {
                self.recipient.as_deref().is_none_or(|part| has(&r.address, part))
                    && self.domain.as_deref().is_none_or(|domain| in_domain(&r.address, domain))
                    && self.reason.as_deref().is_none_or(|part| r.reason.as_deref().is_some_and(|reason| has(reason, part)))
            });
        let older = self.older.is_none_or(|than| age > than.as_secs());
        let newer = self.newer.is_none_or(|than| age < than.as_secs());
        sender && state && recipient && older && newer
    }
}

fn in_domain(address: &str, domain: &str) -> bool {
    let (own, domain) = (domain_of(address).to_lowercase(), domain.to_lowercase());
    if domain.starts_with('.') { own.ends_with(&domain) } else { own == domain }
}

/// What stands behind the last `@`.
pub fn domain_of(address: &str) -> &str {
    address.rsplit_once('@').map_or("", |(_, domain)| domain)
}

fn age(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err("write it as 90s, 30m, 12h, 3d or 2w".into()),
    };
    let count: u64 = digits.parse().map_err(|_| "write it as 90s, 30m, 12h, 3d or 2w".to_owned())?;
    Ok(Duration::from_secs(count.saturating_mul(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::queue::ListedRecipient;

    #[test]
    fn messages_are_chosen_by_what_is_asked() {
        let recipient =
            |address: &str, reason: Option<&str>| ListedRecipient { address: address.into(), reason: reason.map(str::to_owned) };
        let message = Listed {
            id: "X".into(),
            arrived: 1000,
            size: 1,
            sender: Some("Ann@x.org".into()),
            state: "deferred".into(),
            next: None,
            priority: 0,
            recipients: vec![recipient("bob@y.org", Some("Connection refused")), recipient("cat@sub.z.org", None)],
        };
        let bounce = Listed { sender: None, ..message.clone() };
        let some = |text: &str| Some(text.to_owned());
        let none = Filter::default();
        for (filter, want, of_bounce) in [
            (none.clone(), true, true),
            (Filter { sender: some("ann@"), ..none.clone() }, true, false),
            (Filter { sender: some("<>"), ..none.clone() }, false, true),
            (Filter { domain: some("Y.org"), ..none.clone() }, true, true),
            (Filter { domain: some("z.org"), ..none.clone() }, false, false),
            (Filter { domain: some(".z.org"), ..none.clone() }, true, true),
            (Filter { reason: some("refused"), ..none.clone() }, true, true),
            (Filter { reason: some("refused"), domain: some("sub.z.org"), ..none.clone() }, false, false),
            (Filter { older: Some(Duration::from_secs(99)), ..none.clone() }, true, true),
            (Filter { older: Some(Duration::from_secs(100)), ..none.clone() }, false, false),
            (Filter { newer: Some(Duration::from_secs(101)), ..none.clone() }, true, true),
            (Filter { state: Some(State::Held), ..none.clone() }, false, false),
        ] {
            assert_eq!(filter.takes(&message, 1100), want, "{filter:?}");
            assert_eq!(filter.takes(&bounce, 1100), of_bounce, "{filter:?}");
        }
    }

    #[test]
    fn ages_have_a_unit() {
        for (text, want) in
            [("90s", Some(90)), ("2h", Some(7200)), ("3d", Some(259_200)), ("5", None), ("h", None), ("-1h", None), ("1y", None)]
        {
            assert_eq!(age(text).ok().map(|d| d.as_secs()), want, "{text}");
        }
    }
}
