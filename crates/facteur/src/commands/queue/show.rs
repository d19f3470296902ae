//! Lists of messages: ours, and the one that mailq is known for.

use super::Listed;
use crate::table;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use mail_types::printable;
use std::fmt::Write as _;

/// One line per message, then its recipients, each with what went wrong. Writing to a `String` does not fail.
pub fn list(listed: &[Listed], now: u64) -> String {
    if listed.is_empty() {
        return "The queue is empty.\n".into();
    }
    let mut out = String::new();
    for message in listed {
        let mut state = match message.next {
            Some(next) if message.state == "asleep" && next > now => {
                format!("asleep until {}, for {}", mail_types::timestamp::write(next), table::age(next - now))
            }
            Some(_) if message.state == "asleep" => "waiting".into(),
            Some(next) if next > now => format!("{}, again in {}", message.state, table::age(next - now)),
            Some(_) => format!("{}, again now", message.state),
            None => message.state.clone(),
        };
        if message.priority != 0 {
            let _ = write!(state, ", priority {}", message.priority);
        }
        let sender = message.sender.as_deref().map_or("<> (a notification)".into(), printable);
        let age = table::age(now.saturating_sub(message.arrived));
        let _ = writeln!(out, "{}  {:>9}  {age:>7}  {sender}  ({state})", printable(&message.id), table::bytes(message.size));
        for recipient in &message.recipients {
            let _ = writeln!(out, "    {}", printable(&recipient.address));
            if let Some(reason) = &recipient.reason {
                let _ = writeln!(out, "        {}", printable(reason));
            }
        }
    }
    let octets = listed.iter().map(|m| m.size).sum();
    let _ = writeln!(out, "{} {}, {}", listed.len(), super::messages(listed.len() as u64), table::bytes(octets));
    out
}

/// What Postfix's mailq prints with `enable_long_queue_ids` (its `showq_compat.c`), for those who parse it: a mark behind the id (`*` being
/// worked on or not tried yet, `!` held), size, arrival, sender; the reason of a failure in front of the recipients that have it.
pub fn mailq(listed: &[Listed], zone: &TimeZone) -> String {
    if listed.is_empty() {
        return "Mail queue is empty\n".into();
    }
    let mut out = String::from("----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n");
    for message in listed {
        let mark = match message.state.as_str() {
            "held" => "!",
            "deferred" | "asleep" => "",
            _ => "*",
        };
        let arrived = Timestamp::from_second(i64::try_from(message.arrived).unwrap_or(0)).unwrap_or_default().to_zoned(zone.clone());
        let arrived = arrived.strftime("%a %b %e %H:%M:%S");
        let sender = message.sender.as_deref().map_or_else(|| "MAILER-DAEMON".into(), printable);
        let _ = writeln!(out, "{:<17} {:>8} {arrived} {sender}", format!("{}{mark}", printable(&message.id)), message.size);
        let mut last = None;
        for recipient in &message.recipients {
            if let Some(reason) = recipient.reason.as_deref().filter(|reason| last != Some(*reason)) {
                let _ = writeln!(out, "{:>78}", format!("({})", printable(reason)));
                last = Some(reason);
            }
            let _ = writeln!(out, "{:47}{}", "", printable(&recipient.address));
        }
        out.push('\n');
    }
    let kilobytes = listed.iter().map(|m| m.size).sum::<u64>() / 1024;
    let plural = if listed.len() == 1 { "" } else { "s" };
    let _ = writeln!(out, "-- {kilobytes} Kbytes in {} Request{plural}.", listed.len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::queue::ListedRecipient;

    fn listed() -> Listed {
        Listed {
            id: "01JQ0000000000001".into(),
            arrived: 1000,
            size: 2048,
            sender: Some("ann@example.org".into()),
            state: "deferred".into(),
            next: Some(5000),
            priority: 0,
            recipients: vec![ListedRecipient { address: "bob@x.org".into(), reason: Some("connection\x1b[1m refused".into()) }],
        }
    }

    #[test]
    fn the_list_is_readable_and_nothing_moves_the_cursor() {
        let bounce = Listed { sender: None, next: None, state: "waiting".into(), recipients: Vec::new(), ..listed() };
        assert_eq!(
            list(&[listed(), bounce], 1900),
            "01JQ0000000000001    2.0 KiB   15m 0s  ann@example.org  (deferred, again in 51m 40s)\n    bob@x.org\n        \
             connection\\u{1b}[1m refused\n01JQ0000000000001    2.0 KiB   15m 0s  <> (a notification)  (waiting)\n2 messages, 4.0 KiB\n"
        );
        let asleep = Listed { next: Some(86_400), state: "asleep".into(), priority: -4, recipients: Vec::new(), ..listed() };
        assert!(list(&[asleep], 1900).contains("(asleep until 1970-01-02T00:00:00Z, for 23h 28m, priority -4)"));
        assert_eq!(list(&[], 0), "The queue is empty.\n");
    }

    #[test]
    fn mailq_looks_as_scripts_expect_it() {
        let bounce = Listed {
            sender: None,
            state: "held".into(),
            recipients: vec![ListedRecipient { address: "c@y".into(), reason: None }],
            ..listed()
        };
        assert_eq!(
            mailq(&[listed(), bounce], &TimeZone::UTC),
            "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n\
             01JQ0000000000001     2048 Thu Jan  1 00:16:40 ann@example.org\n\
             \x20                                                (connection\\u{1b}[1m refused)\n\
             \x20                                              bob@x.org\n\n\
             01JQ0000000000001!     2048 Thu Jan  1 00:16:40 MAILER-DAEMON\n\
             \x20                                              c@y\n\n\
             -- 4 Kbytes in 2 Requests.\n"
        );
        assert_eq!(mailq(&[], &TimeZone::UTC), "Mail queue is empty\n");
    }
}
