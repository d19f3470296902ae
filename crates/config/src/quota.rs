//! How much mail accounts may hold: rules as Dovecot writes them.

use crate::report::Source;
use crate::value::{Value, quote};
use std::fmt;
use toml::Spanned;
use toml::de::DeValue;

/// A limit, by itself or measured by the one that holds for the whole account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// `100M`; 0 is no limit.
    Fixed(u64),
    /// `+100M`: so much more.
    More(u64),
    /// `50%`
    Percent(u32),
    /// `+10%`
    MorePercent(u32),
}

impl Amount {
    /// The limit it gives where `base` holds for the account. No limit stays none, however much is added.
    pub fn of(self, base: u64) -> u64 {
        let part = |percent: u32| u64::try_from(u128::from(base) * u128::from(percent) / 100).unwrap_or(u64::MAX);
        match self {
            Amount::Fixed(limit) => limit,
            _ if base == 0 => 0,
            Amount::More(more) => base.saturating_add(more),
            // a limit of 0 would be none
            Amount::Percent(percent) => part(percent).max(1),
            Amount::MorePercent(percent) => base.saturating_add(part(percent)),
        }
    }

    /// `unit` is what a number without unit counts: 1024 for `storage`.
    fn parse(text: &str, unit: u64) -> Option<Amount> {
        let (more, text) = text.strip_prefix('+').map_or((false, text), |rest| (true, rest));
        // Dovecot's files write a percent sign twice.
        if let Some(percent) = text.strip_suffix("%%").or_else(|| text.strip_suffix('%')) {
            let percent = percent.parse().ok().filter(|percent| *percent <= 100_000)?;
            return Some(if more { Amount::MorePercent(percent) } else { Amount::Percent(percent) });
        }
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let times = match text[split..].trim().to_ascii_uppercase().as_str() {
            "" => unit,
            "B" => 1,
            "K" | "KB" => 1 << 10,
            "M" | "MB" => 1 << 20,
            "G" | "GB" => 1 << 30,
            "T" | "TB" => 1 << 40,
            _ => return None,
        };
        let number = text[..split].parse::<u64>().ok()?.checked_mul(times).filter(|number| *number <= 1 << 60)?;
        Some(if more { Amount::More(number) } else { Amount::Fixed(number) })
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Fixed(number) => write!(f, "{number}"),
            Amount::More(number) => write!(f, "+{number}"),
            Amount::Percent(percent) => write!(f, "{percent}%"),
            Amount::MorePercent(percent) => write!(f, "+{percent}%"),
        }
    }
}

/// How far one message may go beyond the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace(pub Amount);

impl Grace {
    /// The bytes beyond a limit.
    pub fn beyond(self, limit: u64) -> u64 {
        match self.0 {
            Amount::Fixed(bytes) | Amount::More(bytes) => bytes,
            Amount::Percent(percent) | Amount::MorePercent(percent) => Amount::MorePercent(percent).of(limit).saturating_sub(limit),
        }
    }
}

impl Value for Grace {
    fn kind() -> String {
        "size in bytes, or percent of the limit (`10%`)".into()
    }
    fn read(value: &Spanned<DeValue<'_>>, name: &str, source: &mut Source<'_>) -> Option<Grace> {
        let amount = match value.get_ref() {
            DeValue::Integer(i) => u64::from_str_radix(i.as_str(), i.radix()).ok().map(Amount::Fixed),
            DeValue::String(text) => Amount::parse(text, 1),
            _ => None,
        };
        if amount.is_none() {
            source.fault(
                Some(value.span().start),
                format!("{name}: this must be a size such as \"10M\", or a percentage such as \"10%\""),
                None,
            );
        }
        amount.map(Grace)
    }
    fn write(&self) -> String {
        quote(&self.0.to_string())
    }
}

/// A quota rule: `*:storage=1G:messages=10000`, `Trash:storage=+10%`, `Junk:ignore`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaRule {
    /// The mailbox; `None` for the whole account (`*`).
    pub mailbox: Option<String>,
    /// Not counted at all.
    pub ignore: bool,
    pub bytes: Option<Amount>,
    pub messages: Option<Amount>,
}

impl QuotaRule {
    pub fn parse(text: &str) -> Option<QuotaRule> {
        let (mailbox, limits) = text.rsplit_once(":ignore").filter(|(_, rest)| rest.is_empty()).map_or_else(
            // a mailbox name has no `=`, so the first colon in front of one ends it
            || text.split_once(':').map(|(mailbox, limits)| (mailbox, Some(limits))),
            |(mailbox, _)| Some((mailbox, None)),
        )?;
        let mut rule =
            QuotaRule { mailbox: (mailbox != "*").then(|| mailbox.to_owned()), ignore: limits.is_none(), bytes: None, messages: None };
        for limit in limits.into_iter().flat_map(|limits| limits.split(':')) {
            match limit.split_once('=')? {
                ("storage", value) => rule.bytes = Some(Amount::parse(value, 1 << 10)?),
                ("bytes", value) => rule.bytes = Some(Amount::parse(value, 1)?),
                ("messages", value) => rule.messages = Some(Amount::parse(value, 1)?),
                // nothing that counts, by Dovecot's word
                ("backend", _) => {}
                _ => return None,
            }
        }
        let relative = |amount: Option<Amount>| !matches!(amount, None | Some(Amount::Fixed(_)));
        let for_all = rule.mailbox.is_none();
        (!mailbox.is_empty() && !(for_all && (rule.ignore || relative(rule.bytes) || relative(rule.messages)))).then_some(rule)
    }
}

impl fmt::Display for QuotaRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.mailbox.as_deref().unwrap_or("*"))?;
        if self.ignore {
            return f.write_str(":ignore");
        }
        if let Some(bytes) = self.bytes {
            write!(f, ":bytes={bytes}")?;
        }
        if let Some(messages) = self.messages {
            write!(f, ":messages={messages}")?;
        }
        Ok(())
    }
}

impl Value for QuotaRule {
    fn kind() -> String {
        "quota rule (`*:storage=1G:messages=10000`, `Trash:storage=+10%`, `Junk:ignore`)".into()
    }
    fn read(value: &Spanned<DeValue<'_>>, name: &str, source: &mut Source<'_>) -> Option<QuotaRule> {
        let rule = value.get_ref().as_str().and_then(QuotaRule::parse);
        if rule.is_none() {
            let hint = Some("* stands for the whole account and takes no + and no %; a number for storage counts KiB".to_owned());
            source.fault(Some(value.span().start), format!("{name}: this must be a {}", QuotaRule::kind()), hint);
        }
        rule
    }
    fn write(&self) -> String {
        quote(&self.to_string())
    }
}

/// When the owner of an account is told that it gets full: `storage=95%`, `messages=80%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaWarning {
    /// Of the number of messages, not of their bytes.
    pub messages: bool,
    pub percent: u32,
}

impl QuotaWarning {
    pub fn parse(text: &str) -> Option<QuotaWarning> {
        let (resource, percent) = text.split_once('=')?;
        let messages = match resource {
            "storage" => false,
            "messages" => true,
            _ => return None,
        };
        match Amount::parse(percent, 1)? {
            Amount::Percent(percent @ 1..=100) => Some(QuotaWarning { messages, percent }),
            _ => None,
        }
    }

    /// Was the mark passed? `before` and `after` are bytes and messages, as are `limits` (0: none).
    pub fn is_passed(self, limits: (u64, u64), before: (u64, u64), after: (u64, u64)) -> bool {
        let pick = |(bytes, messages)| if self.messages { messages } else { bytes };
        let mark = Amount::Percent(self.percent).of(pick(limits));
        mark > 0 && pick(before) < mark && pick(after) >= mark
    }
}

impl fmt::Display for QuotaWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}%", if self.messages { "messages" } else { "storage" }, self.percent)
    }
}

impl Value for QuotaWarning {
    fn kind() -> String {
        "mark (`storage=95%`, `messages=80%`)".into()
    }
    fn read(value: &Spanned<DeValue<'_>>, name: &str, source: &mut Source<'_>) -> Option<QuotaWarning> {
        let warning = value.get_ref().as_str().and_then(QuotaWarning::parse);
        if warning.is_none() {
            let hint = Some("no program is run here: the account gets a message".to_owned());
            source.fault(Some(value.span().start), format!("{name}: this must be a {}", QuotaWarning::kind()), hint);
        }
        warning
    }
    fn write(&self) -> String {
        quote(&self.to_string())
    }
}

impl crate::Mail {
    /// The limits of an account in bytes and messages (0: none): by the user database, else by the rules for all. Where the user database
    /// says anything it says all, as in Dovecot, whose rule it takes the place of.
    pub fn quota_limits(&self, bytes: Option<u64>, messages: Option<u64>) -> (u64, u64) {
        if bytes.is_some() || messages.is_some() {
            return (bytes.unwrap_or(0), messages.unwrap_or(0));
        }
        let for_all = |pick: fn(&QuotaRule) -> Option<Amount>| {
            let rules = self.quota_rule.iter().filter(|rule| rule.mailbox.is_none());
            rules.filter_map(pick).next_back().map_or(0, |amount| amount.of(0))
        };
        (for_all(|rule| rule.bytes), for_all(|rule| rule.messages))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_dovecot_are_understood_and_read_back() {
        let fixed = |bytes, messages| (Some(Amount::Fixed(bytes)), messages);
        for (text, mailbox, (bytes, messages)) in [
            ("*:storage=1G", None, fixed(1 << 30, None)),
            ("*:storage=10:messages=1000", None, fixed(10 << 10, Some(Amount::Fixed(1000)))),
            ("*:bytes=10", None, fixed(10, None)),
            ("Trash:storage=+10%", Some("Trash"), (Some(Amount::MorePercent(10)), None)),
            ("Trash:storage=+10%%", Some("Trash"), (Some(Amount::MorePercent(10)), None)),
            ("Trash:storage=+100M", Some("Trash"), (Some(Amount::More(100 << 20)), None)),
            ("A.B:messages=50%", Some("A.B"), (None, Some(Amount::Percent(50)))),
        ] {
            let rule = QuotaRule::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((rule.mailbox.as_deref(), rule.bytes, rule.messages), (mailbox, bytes, messages), "{text}");
            assert_eq!(QuotaRule::parse(&rule.to_string()), Some(rule), "{text}");
        }
        assert!(QuotaRule::parse("Junk:ignore").unwrap().ignore);
        for text in
            ["", "*", "*:ignore", ":storage=1", "*:storage=+1", "*:storage=1%", "Trash:storage=x", "Trash:sizes=1", "Trash:storage=1X"]
        {
            assert_eq!(QuotaRule::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_user_database_overrules_the_rules_for_all() {
        let mail = crate::Mail { quota_rule: vec![QuotaRule::parse("*:bytes=10:messages=5").unwrap()], ..crate::Mail::default() };
        for (bytes, messages, want) in
            [(None, None, (10, 5)), (Some(0), None, (0, 0)), (Some(7), None, (7, 0)), (None, Some(3), (0, 3)), (Some(7), Some(3), (7, 3))]
        {
            assert_eq!(mail.quota_limits(bytes, messages), want);
        }
    }

    #[test]
    fn marks_are_passed_once() {
        let mark = QuotaWarning::parse("storage=80%").unwrap();
        assert_eq!(mark, QuotaWarning { messages: false, percent: 80 });
        for (limit, before, after, want) in
            [(1000, 799, 800, true), (1000, 0, 1000, true), (1000, 800, 900, false), (1000, 700, 799, false), (0, 0, 1 << 40, false)]
        {
            assert_eq!(mark.is_passed((limit, 0), (before, 0), (after, 0)), want, "{limit} {before} {after}");
        }
        assert!(QuotaWarning::parse("messages=100%%").unwrap().is_passed((0, 10), (0, 9), (0, 10)));
        for bad in ["", "storage", "storage=0%", "storage=101%", "storage=95", "storage=+5%", "bytes=5%", "storage=95% quota-warning 95 %u"]
        {
            assert_eq!(QuotaWarning::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn limits_are_measured_by_the_accounts() {
        for (amount, base, want) in [
            (Amount::Fixed(5), 100, 5),
            (Amount::More(5), 100, 105),
            (Amount::Percent(50), 100, 50),
            (Amount::Percent(0), 100, 1),
            (Amount::MorePercent(10), 100, 110),
            (Amount::MorePercent(10), 0, 0),
            (Amount::More(10), u64::MAX, u64::MAX),
        ] {
            assert_eq!(amount.of(base), want, "{amount} of {base}");
        }
        assert_eq!(Grace(Amount::Percent(10)).beyond(1000), 100);
        assert_eq!(Grace(Amount::Fixed(7)).beyond(1000), 7);
    }
}
