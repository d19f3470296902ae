//! Mailboxes named by what they are: for ESEARCH and NOTIFY.

use super::{Result, mailbox};
use crate::command::{Mailbox, MailboxFilter};
use crate::cursor::Cursor;
use crate::error::ParseError;

/// Filters in one command.
const FILTERS: usize = 100;
/// Mailboxes one filter may name.
const NAMES: usize = 1000;

/// RFC 7377 §4: `source-mbox = filter-mailboxes *(SP filter-mailboxes)`, to the closing parenthesis.
pub(super) fn sources(cursor: &mut Cursor<'_>) -> Result<Vec<MailboxFilter>> {
    let mut filters = Vec::new();
    loop {
        let filter = filter(cursor)?;
        if filter == MailboxFilter::SelectedDelayed {
            return Err(ParseError::syntax("SELECTED-DELAYED is for NOTIFY"));
        }
        if filters.len() == FILTERS {
            return Err(ParseError::too_big("Too many sources"));
        }
        filters.push(filter);
        if cursor.take(b')') {
            return Ok(filters);
        }
        cursor.space()?;
    }
}

/// RFC 5465 §8: `filter-mailboxes = "selected" / "selected-delayed" / "inboxes" / "personal" / "subscribed" / ("subtree" SP
/// one-or-more-mailbox) / ("mailboxes" SP one-or-more-mailbox)`; RFC 7377 §4: `"subtree-one" SP one-or-more-mailbox`
pub(super) fn filter(cursor: &mut Cursor<'_>) -> Result<MailboxFilter> {
    Ok(match cursor.atom("Expected a mailbox filter")?.to_ascii_lowercase().as_str() {
        "selected" => MailboxFilter::Selected,
        "selected-delayed" => MailboxFilter::SelectedDelayed,
        "inboxes" => MailboxFilter::Inboxes,
        "personal" => MailboxFilter::Personal,
        "subscribed" => MailboxFilter::Subscribed,
        "subtree" => MailboxFilter::Subtree(names(cursor)?),
        "subtree-one" => MailboxFilter::SubtreeOne(names(cursor)?),
        "mailboxes" => MailboxFilter::Mailboxes(names(cursor)?),
        _ => return Err(ParseError::syntax("Unknown mailbox filter")),
    })
}

/// RFC 5465 §8: `one-or-more-mailbox = mailbox / "(" mailbox *(SP mailbox) ")"`
fn names(cursor: &mut Cursor<'_>) -> Result<Vec<Mailbox>> {
    cursor.space()?;
    if cursor.peek() == Some(b'(') { cursor.list(false, NAMES, mailbox) } else { Ok(vec![mailbox(cursor)?]) }
}
