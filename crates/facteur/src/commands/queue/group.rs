//! The queue in short: grouped by destination or reason, and by age.

use super::Listed;
use super::filter::domain_of;
use crate::table;
use clap::ValueEnum;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// By the domain of the recipients
    Destination,
    /// By the reason of the last failure; numbers, addresses and names that differ from message to message count as the same
    Reason,
}

/// Messages that have something in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    pub name: String,
    pub messages: usize,
    pub recipients: usize,
    pub octets: u64,
    /// Seconds since 1970.
    pub oldest: u64,
}

/// The largest first. A message with recipients in several groups counts in each.
pub fn groups(listed: &[Listed], by: By) -> Vec<Group> {
    let mut found: BTreeMap<String, Group> = BTreeMap::new();
    for message in listed {
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        for recipient in &message.recipients {
            let name = match by {
                By::Destination => domain_of(&recipient.address).to_lowercase(),
                By::Reason => recipient.reason.as_deref().map_or_else(|| "(not tried yet)".into(), normalised),
            };
            *names.entry(name).or_default() += 1;
        }
        for (name, recipients) in names {
            let empty = Group { name: name.clone(), messages: 0, recipients: 0, octets: 0, oldest: u64::MAX };
            let group = found.entry(name).or_insert(empty);
            group.messages += 1;
            group.recipients += recipients;
            group.octets += message.size;
            group.oldest = group.oldest.min(message.arrived);
        }
    }
    let mut all: Vec<Group> = found.into_values().collect();
    all.sort_by(|a, b| b.messages.cmp(&a.messages).then_with(|| a.name.cmp(&b.name)));
    all
}

pub fn print(groups: &[Group], now: u64) {
    let rows = groups.iter().map(|g| {
        let age = table::age(now.saturating_sub(g.oldest));
        vec![g.messages.to_string(), g.recipients.to_string(), table::bytes(g.octets), age, g.name.clone()]
    });
    table::print(&["MESSAGES", "RECIPIENTS", "SIZE", "OLDEST", "GROUP"], rows);
}

/// A reason without what differs from one message to the next: `<addr>`, `[ip]`, long numbers and ids become the same words everywhere.
/// Reply codes (`450 4.7.1`) and words stay.
pub fn normalised(reason: &str) -> String {
    // A reply begins the text, or stands behind `said:`.
    let mut begins = true;
    let words = reason.split_whitespace().map(|word| {
        let code = std::mem::replace(&mut begins, word.ends_with(':'));
        let inner = word.trim_matches(|c: char| !c.is_alphanumeric());
        if inner.is_empty() {
            return word.to_owned();
        }
        let replaced = if inner.contains('@') {
            "ADDRESS"
        } else if inner.contains("://") {
            "URL"
        } else if inner.parse::<std::net::IpAddr>().is_ok() {
            "IP"
        } else if let Some((_, rest)) = inner.split_once('[') {
            // host[192.0.2.1] and host[192.0.2.1]:25
            if rest.split(']').next().is_some_and(|ip| ip.parse::<std::net::IpAddr>().is_ok()) { "HOST" } else { inner }
        } else if is_status(inner) && (code || inner.len() > 3) {
            inner
        } else if inner.bytes().all(|b| b.is_ascii_digit()) {
            "N"
        } else if inner.len() >= 8
            && inner.bytes().any(|b| b.is_ascii_digit())
            && inner.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.=+".contains(&b))
        {
            "ID"
        } else {
            inner
        };
        word.replacen(inner, replaced, 1)
    });
    words.collect::<Vec<_>>().join(" ")
}

/// `550` or `5.7.1`.
fn is_status(word: &str) -> bool {
    let class = word.as_bytes().first().is_some_and(|b| b"245".contains(b));
    let digits = |text: &str| !text.is_empty() && text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit());
    class && (word.len() == 3 && digits(word) || word.split('.').count() == 3 && word.split('.').all(digits))
}

/// The upper ends of the columns in minutes; the last has none (as qshape).
const COLUMNS: [u64; 9] = [5, 10, 20, 40, 80, 160, 320, 640, 1280];

/// Recipients of one domain by the age of their messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    pub domain: String,
    pub total: usize,
    pub by_age: Vec<usize>,
}

/// By recipient domain, or by the sender's; the first row is the sum.
pub fn histogram(listed: &[Listed], by_sender: bool, now: u64) -> Vec<Row> {
    let new = |domain: &str| Row { domain: domain.to_owned(), total: 0, by_age: vec![0; COLUMNS.len() + 1] };
    let mut sum = new("TOTAL");
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for message in listed {
        let minutes = now.saturating_sub(message.arrived) / 60;
        let column = COLUMNS.iter().position(|end| minutes < *end).unwrap_or(COLUMNS.len());
        let domains: Vec<String> = if by_sender {
            vec![message.sender.as_deref().map_or_else(|| "<>".into(), |sender| domain_of(sender).to_lowercase())]
        } else {
            message.recipients.iter().map(|r| domain_of(&r.address).to_lowercase()).collect()
        };
        for domain in domains {
            for row in [&mut sum, rows.entry(domain.clone()).or_insert_with(|| new(&domain))] {
                row.total += 1;
                row.by_age[column] += 1;
            }
        }
    }
    let mut all: Vec<Row> = rows.into_values().collect();
    all.sort_by(|a, b| b.total.cmp(&a.total).then_with(|| a.domain.cmp(&b.domain)));
    all.insert(0, sum);
    all
}

pub fn print_histogram(rows: &[Row]) {
    let mut header = vec!["DOMAIN".to_owned(), "T".to_owned()];
    header.extend(COLUMNS.iter().map(u64::to_string));
    header.push("1280+".into());
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let cells = |row: &Row| {
        let mut cells = vec![row.domain.clone(), row.total.to_string()];
        cells.extend(row.by_age.iter().map(usize::to_string));
        cells
    };
    table::print(&header, rows.iter().map(cells));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::queue::ListedRecipient;

    #[test]
    fn replies_that_say_the_same_are_the_same() {
        for (reason, want) in [
            ("450 4.7.1 <ann@x.org>: try again in 300 seconds", "450 4.7.1 <ADDRESS>: try again in N seconds"),
            ("connect to mx.x.org[192.0.2.1]:25: Connection refused", "connect to HOST: Connection refused"),
            ("421 4.7.0 [192.0.2.7] rate limited, see https://x.org/a?b id 4Fhx23kLmz91", "421 4.7.0 [IP] rate limited, see URL id ID"),
            ("550 5.1.1 no such user", "550 5.1.1 no such user"),
            ("", ""),
        ] {
            assert_eq!(normalised(reason), want, "{reason:?}");
        }
    }

    fn message(arrived: u64, sender: Option<&str>, recipients: &[(&str, &str)]) -> Listed {
        let recipients = recipients.iter().map(|(a, r)| ListedRecipient { address: (*a).into(), reason: Some((*r).into()) });
        let sender = sender.map(str::to_owned);
        Listed {
            id: "X".into(),
            arrived,
            size: 10,
            sender,
            state: "deferred".into(),
            next: None,
            priority: 0,
            recipients: recipients.collect(),
        }
    }

    #[test]
    fn groups_and_ages_are_counted() {
        let all = [
            message(1000, Some("a@s.org"), &[("a@X.org", "450 busy 100"), ("b@x.org", "450 busy 200"), ("c@y.org", "gone")]),
            message(500, None, &[("d@x.org", "450 busy 7")]),
        ];
        let by: Vec<_> =
            groups(&all, By::Destination).into_iter().map(|g| (g.name, g.messages, g.recipients, g.octets, g.oldest)).collect();
        assert_eq!(by, [("x.org".into(), 2, 3, 20, 500), ("y.org".into(), 1, 1, 10, 1000)]);
        let by: Vec<_> = groups(&all, By::Reason).into_iter().map(|g| (g.name, g.messages)).collect();
        assert_eq!(by, [("450 busy N".into(), 2), ("gone".into(), 1)]);
        let rows = histogram(&all, false, 1000 + 6 * 60);
        let short: Vec<_> = rows.iter().map(|r| (r.domain.as_str(), r.total, r.by_age[1], r.by_age[2])).collect();
        assert_eq!(short, [("TOTAL", 4, 3, 1), ("x.org", 3, 2, 1), ("y.org", 1, 1, 0)]);
        let rows = histogram(&all, true, 10_000_000);
        assert_eq!((rows[0].by_age[9], rows[1].domain.as_str()), (2, "<>"));
    }
}
