//! What the URLs of a CATENATE mean (RFC 4469, RFC 5092): messages of mailboxes the user may read, and parts of them, with PARTIAL (RFC 5550
//! §5.7.1).

use crate::answer::Answer;
use crate::fetch::body::{Plan, Reading};
use crate::place::Realm;
use crate::session::Session;
use imap_proto::{BodyForm, BodyItem, MessageUrl, Section, url};
use mailstore::{Mailbox, Rights, Scratch};
use std::cell::OnceCell;
use std::io::{self, Read};
use std::sync::Arc;

/// Copied at once.
const CHUNK_BYTES: usize = 64 << 10;

/// A message or part that a URL names.
pub struct Found {
    url: String,
    parsed: MessageUrl,
    /// The open mailbox, when it is meant.
    selected: Option<Arc<Mailbox>>,
}

/// RFC 4469 §4.1: the code names the URL that was wrong.
fn bad(text: &str) -> Answer {
    Answer::no(format!("BADURL {}", url::in_response(text)), "URL names no message here")
}

/// RFC 4469 §4.2.
pub fn too_big(limit: u64) -> Answer {
    Answer::no("TOOBIG", format!("Message is larger than {limit} bytes (append_size_limit)"))
}

/// Where the part lies that the last URL of an APPEND was of, so that the next piece of it costs no look at the whole message.
pub type Known = Option<(Arc<Mailbox>, (u32, Section, u64, u64))>;

/// Reads the URL.
pub fn find(session: &Session, text: &str) -> Result<Found, Answer> {
    let parsed = MessageUrl::parse(text).ok_or_else(|| bad(text))?;
    let selected = session.selected.as_ref().map(|selected| selected.view.mailbox().clone());
    if parsed.mailbox.is_none() && selected.is_none() {
        return Err(bad(text));
    }
    Ok(Found { url: text.to_owned(), selected: selected.filter(|_| parsed.mailbox.is_none()), parsed })
}

/// Adds the bytes it stands for and tells how many: no more than make `before` of them `limit`. Does not set `\Seen`. Blocking.
pub fn copy(realm: &Realm, found: &Found, known: &mut Known, to: &mut Scratch, before: u64, limit: u64) -> Result<u64, Answer> {
    let bad = || bad(&found.url);
    let mailbox = match (&found.selected, &found.parsed.mailbox) {
        (Some(selected), _) => selected.clone(),
        (None, name) => {
            // RFC 4469 §4: what may not be read is as if it were not there.
            let spot = realm.locate(name.as_deref().unwrap_or_default()).map_err(|_| bad())?;
            let refused = |answer: Answer| if matches!(&*answer.code, "NONEXISTENT" | "NOPERM") { bad() } else { answer };
            let spot = realm.place(spot, Rights::READ).map_err(refused)?.spot;
            spot.account
                .open(&spot.name)
                .map_err(|error| if matches!(error, mailstore::Error::NoSuchMailbox) { bad() } else { error.into() })?
        }
    };
    if found.parsed.uid_validity.is_some_and(|validity| validity != mailbox.snapshot().uid_validity()) {
        return Err(bad());
    }
    let file = mailbox.read(found.parsed.uid).map_err(|error| match error {
        mailstore::Error::Expunged | mailstore::Error::NoSuchMailbox => bad(),
        error => error.into(),
    })?;
    let whole = OnceCell::new();
    let reading = Reading::new(&whole);
    // Without a length a part goes to its end; all of it is a piece too.
    let partial = found.parsed.partial.map(|(first, count)| (first, count.unwrap_or(u32::MAX)));
    let partial = partial.or((!found.parsed.section.part.is_empty()).then_some((0, u32::MAX)));
    let item = BodyItem { section: found.parsed.section.clone(), peek: true, partial, form: BodyForm::Body };
    let mut place = known.take().filter(|(of, _)| Arc::ptr_eq(of, &mailbox)).map(|(_, place)| place);
    let plan = reading.plan(&file, &item, found.parsed.uid, &mut place)?;
    *known = place.map(|place| (mailbox.clone(), place));
    if plan == Plan::Nil {
        return Err(bad());
    }
    let (mut reader, length) = reading.content(&file, &item, plan)?;
    if length > limit.saturating_sub(before) {
        return Err(too_big(limit));
    }
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = length;
    while left > 0 {
        let take = left.min(CHUNK_BYTES as u64) as usize;
        match reader.read(&mut chunk[..take])? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            got => {
                to.write(&chunk[..got])?;
                left -= got as u64;
            }
        }
    }
    Ok(length)
}
