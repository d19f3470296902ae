//! NOTIFY (RFC 5465).

use super::{Result, fetch, filter};
use crate::command::{Command, MailboxFilter};
use crate::cursor::Cursor;
use crate::error::ParseError;
use crate::notify::{EventGroup, Events, NotifySet};

/// Event groups in one command.
const GROUPS: usize = 100;
/// Events in one group; there are eight.
const EVENTS: usize = 20;

/// RFC 5465 §8: `notify = "NOTIFY" SP (notify-set / notify-none)`,
/// `notify-set = "SET" [SP "STATUS"] SP event-group *(SP event-group)`
pub(super) fn notify(cursor: &mut Cursor<'_>) -> Result<Command> {
    cursor.space()?;
    match cursor.atom("Expected SET or NONE")?.to_ascii_uppercase().as_str() {
        "NONE" => return Ok(Command::Notify(None)),
        "SET" => {}
        _ => return Err(ParseError::syntax("Expected SET or NONE")),
    }
    let mut set = NotifySet { status: cursor.take_word(" STATUS"), groups: Vec::new() };
    while cursor.rest().len() > 1 || set.groups.is_empty() {
        cursor.space()?;
        if set.groups.len() == GROUPS {
            return Err(ParseError::too_big("Too many event groups"));
        }
        set.groups.push(group(cursor)?);
    }
    if set.groups.iter().filter(|group| is_selected(&group.filter)).count() > 1 {
        // RFC 5465 §6.1
        return Err(ParseError::syntax("SELECTED and SELECTED-DELAYED are possible once"));
    }
    Ok(Command::Notify(Some(set)))
}

fn is_selected(filter: &MailboxFilter) -> bool {
    matches!(filter, MailboxFilter::Selected | MailboxFilter::SelectedDelayed)
}

/// RFC 5465 §8: `event-group = "(" filter-mailboxes SP events ")"`, `events = ( "(" event *(SP event) ")" ) / "NONE"`
fn group(cursor: &mut Cursor<'_>) -> Result<EventGroup> {
    cursor.expect(b'(', "Expected an event group")?;
    let filter = filter::filter(cursor)?;
    cursor.space()?;
    let events = match cursor.take_word("NONE") {
        true => Events::default(),
        false => events(cursor)?,
    };
    cursor.expect(b')', "Expected the end of an event group")?;
    let others = events.names || events.subscriptions || events.metadata || events.server_metadata;
    if is_selected(&filter) && others {
        // RFC 5465 §6.1
        return Err(ParseError::syntax("SELECTED is for events of messages"));
    }
    if !is_selected(&filter) && !events.fetch.is_empty() {
        return Err(ParseError::syntax("FETCH items are for SELECTED"));
    }
    Ok(EventGroup { filter, events })
}

/// RFC 5465 §8: `message-event = "MessageNew" [SP "(" fetch-att *(SP fetch-att) ")"] / "MessageExpunge" / "FlagChange" /
/// "AnnotationChange"`, `mailbox-event`, `user-event`, `event-ext = atom`
fn events(cursor: &mut Cursor<'_>) -> Result<Events> {
    let mut events = Events::default();
    let (mut new, mut expunge, mut annotations) = (false, false, false);
    cursor.list(false, EVENTS, |c| {
        match c.atom("Expected an event")?.to_ascii_lowercase().as_str() {
            "messagenew" => {
                new = true;
                if c.rest().starts_with(b" (") {
                    c.space()?;
                    events.fetch = fetch::items(c)?;
                }
            }
            "messageexpunge" => expunge = true,
            "flagchange" => events.flags = true,
            "annotationchange" => annotations = true,
            "mailboxname" => events.names = true,
            "subscriptionchange" => events.subscriptions = true,
            "mailboxmetadatachange" => events.metadata = true,
            "servermetadatachange" => events.server_metadata = true,
            _ => events.unsupported = true,
        }
        Ok(())
    })?;
    // RFC 5465 §5
    if new != expunge || (events.flags || annotations) && !new {
        return Err(ParseError::syntax("MessageNew and MessageExpunge go together, and FlagChange with them"));
    }
    events.messages = new;
    events.unsupported |= annotations;
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{FetchItem, Mailbox};
    use crate::parse::tests::read;

    fn set(text: &str) -> NotifySet {
        match read(text.as_bytes()) {
            Ok(Some(Command::Notify(Some(set)))) => set,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn rfc5465_groups_of_events() {
        assert_eq!(read(b"NOTIFY none"), Ok(Some(Command::Notify(None))));
        let full = set("notify SET status (Selected (MessageNew (uid flags) MessageExpunge FlagChange)) (subtree Lists NONE) \
             (mailboxes (INBOX \"a b\") (MailboxName SubscriptionChange MailboxMetadataChange ServerMetadataChange)) ");
        let messages = Events { messages: true, flags: true, fetch: vec![FetchItem::Uid, FetchItem::Flags], ..Events::default() };
        let others = Events { names: true, subscriptions: true, metadata: true, server_metadata: true, ..Events::default() };
        let named = |names: &[&str]| names.iter().map(|name| Mailbox((*name).to_owned())).collect();
        assert_eq!(
            full,
            NotifySet {
                status: true,
                groups: vec![
                    EventGroup { filter: MailboxFilter::Selected, events: messages },
                    EventGroup { filter: MailboxFilter::Subtree(named(&["Lists"])), events: Events::default() },
                    EventGroup { filter: MailboxFilter::Mailboxes(named(&["INBOX", "a b"])), events: others },
                ]
            }
        );
        let unsupported = set("NOTIFY SET (selected-delayed (MessageNew MessageExpunge AnnotationChange)) (personal (FooBar))");
        assert!(!unsupported.status && unsupported.groups.iter().all(|group| group.events.unsupported));
        for bad in [
            "NOTIFY",
            "NOTIFY SET",
            "NOTIFY SET STATUS",
            "NOTIFY NONE x",
            "NOTIFY SET selected NONE",
            "NOTIFY SET (selected)",
            "NOTIFY SET (selected ())",
            "NOTIFY SET (selected MessageNew)",
            "NOTIFY SET (selected (MessageNew))",
            "NOTIFY SET (selected (MessageExpunge))",
            "NOTIFY SET (personal (FlagChange))",
            "NOTIFY SET (personal (AnnotationChange))",
            "NOTIFY SET (personal (MessageNew (UID) MessageExpunge))",
            "NOTIFY SET (selected (MessageNew () MessageExpunge))",
            "NOTIFY SET (selected (MessageNew (FOO) MessageExpunge))",
            "NOTIFY SET (selected (MailboxName))",
            "NOTIFY SET (selected NONE) (selected-delayed NONE)",
            "NOTIFY SET (mailboxes NONE)",
            "NOTIFY SET (everything NONE)",
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(read(format!("NOTIFY SET{}", " (personal NONE)".repeat(200)).as_bytes()).is_err());
    }
}
