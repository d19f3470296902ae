//! GETMETADATA and SETMETADATA (RFC 5464).

use crate::answer::Answer;
use crate::commands::enable::Enabled;
use crate::connection::Gone;
use crate::place::Spot;
use crate::session::Session;
use config::Imapd;
use imap_proto::{Depth, GetMetadata, Mailbox, encode};
use mailstore::{AnnotationError, AnnotationLimits, Annotations, Rights};

const PRIVATE: &str = "/private";

pub async fn get(session: &mut Session, request: GetMetadata) -> Result<Answer, Gone> {
    let spot = match permitted(session, request.mailbox.as_ref()).await {
        Ok(spot) => spot,
        Err(answer) => return Ok(answer),
    };
    let shown = spot.as_ref().map_or("", |spot| spot.shown.as_str()).to_owned();
    let config = session.connection.config.clone();
    let account = spot.as_ref().map_or_else(|| session.account.clone(), |spot| spot.account.clone());
    let read = session
        .blocking(move || {
            let mut all = account.annotations(spot.as_ref().map(|spot| &spot.name))?;
            match &spot {
                None => add_servers(&mut all, &config.imapd),
                Some(spot) => visible(&mut all, spot.own),
            }
            Ok::<_, mailstore::Error>(all)
        })
        .await;
    let all = match read {
        Ok(all) => all,
        Err(error) => return Ok(error.into()),
    };
    let (told, longest) = choose(&request, &all);
    for at in 0..told.len() {
        write(&mut session.connection.wire.out, session.enabled, &shown, &told, at);
        session.connection.wire.relieve().await?;
    }
    Ok(match longest {
        // RFC 5464 §4.2.1
        Some(longest) => Answer::ok_with(format!("METADATA LONGENTRIES {longest}"), "Getmetadata completed"),
        None => Answer::ok("Getmetadata completed"),
    })
}

/// Annotations of a mailbox by their names, for LIST-METADATA (RFC 9590); those that are not there are NIL.
pub async fn tell(session: &mut Session, spot: Spot, rights: Rights, entries: &[String]) -> Result<Result<(), Answer>, Gone> {
    if let Err(answer) = readable(rights) {
        return Ok(Err(answer));
    }
    let shown = spot.shown.clone();
    let read = session.blocking(move || {
        let mut all = spot.account.annotations(Some(&spot.name))?;
        visible(&mut all, spot.own);
        Ok::<_, mailstore::Error>(all)
    });
    let all = match read.await {
        Ok(all) => all,
        Err(error) => return Ok(Err(error.into())),
    };
    let request = GetMetadata { mailbox: None, depth: Depth::Zero, max_size: None, entries: entries.to_vec() };
    let (told, _) = choose(&request, &all);
    for at in 0..told.len() {
        write(&mut session.connection.wire.out, session.enabled, shown.as_str(), &told, at);
        session.connection.wire.relieve().await?;
    }
    Ok(Ok(()))
}

pub async fn set(session: &mut Session, mailbox: Option<&Mailbox>, entries: Vec<(String, Option<Vec<u8>>)>) -> Answer {
    let spot = match permitted(session, mailbox).await {
        Ok(spot) => spot,
        Err(answer) => return answer,
    };
    // RFC 5464 §3.2.1.1: what all see of the server is the administrator's.
    if spot.is_none() && entries.iter().any(|(entry, _)| !is_private(entry)) {
        return Answer::no("NOPERM", "Shared annotations of the server are set by the administrator");
    }
    if spot.as_ref().is_some_and(|spot| !spot.own) && entries.iter().any(|(entry, _)| is_private(entry)) {
        return Answer::no("METADATA NOPRIVATE", "Public mailboxes have no private annotations");
    }
    let imapd = &session.connection.config.imapd;
    let limits = AnnotationLimits {
        value_bytes: usize::try_from(imapd.imap_metadata_max_value_size.0).unwrap_or(usize::MAX),
        entries: imapd.imap_metadata_max_entries as usize,
        bytes: usize::try_from(imapd.imap_metadata_max_size.0).unwrap_or(usize::MAX),
    };
    let account = spot.as_ref().map_or_else(|| session.account.clone(), |spot| spot.account.clone());
    let shown = spot.as_ref().map(|spot| spot.shown.clone());
    let changes = session.notify.as_ref().map(|_| entries.clone());
    let set = session.blocking(move || account.annotate(spot.as_ref().map(|spot| &spot.name), entries, limits)).await;
    match set {
        Ok(()) => {
            if let (Some(notify), Some(changes)) = (&mut session.notify, changes) {
                notify.annotated(shown.as_ref(), &changes);
            }
            Answer::ok("Setmetadata completed")
        }
        Err(AnnotationError::TooLarge) => Answer::no(format!("METADATA MAXSIZE {}", limits.value_bytes), "Annotation is too large"),
        Err(AnnotationError::TooMany) => Answer::no("METADATA TOOMANY", "Mailbox has as many annotations as it can have"),
        Err(AnnotationError::Store(error)) => error.into(),
    }
}

/// RFC 5464 §3.3: `l`, and one of `r`, `s`, `w`, `i`, `p`. No mailbox is the server, which everybody may ask.
async fn permitted(session: &Session, mailbox: Option<&Mailbox>) -> Result<Option<Spot>, Answer> {
    let Some(mailbox) = mailbox else { return Ok(None) };
    let place = session.place(mailbox, Rights::LOOKUP).await?;
    readable(place.rights)?;
    Ok(Some(place.spot))
}

fn readable(rights: Rights) -> Result<(), Answer> {
    let any = Rights::READ | Rights::SEEN | Rights::WRITE | Rights::INSERT | Rights::POST;
    if rights.intersects(any) { Ok(()) } else { Err(Answer::no("NOPERM", "Permission denied")) }
}

/// Private annotations are for those whose mailbox it is.
pub fn visible(all: &mut Annotations, own: bool) {
    if !own {
        all.retain(|entry, _| !is_private(entry));
    }
}

fn is_private(entry: &str) -> bool {
    entry.strip_prefix(PRIVATE).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// RFC 5464 §3.2.1.1: what the administrator says.
fn add_servers(all: &mut Annotations, config: &Imapd) {
    for (entry, value) in [("/shared/admin", &config.mail_server_admin), ("/shared/comment", &config.mail_server_comment)] {
        if !value.is_empty() {
            all.insert(entry.to_owned(), value.clone().into_bytes());
        }
    }
}

/// An entry of the response, and what it holds.
type Told<'a> = (&'a str, Option<&'a [u8]>);

/// What is told, and the size of the largest value that is left out for MAXSIZE. An entry that is asked for by its name and is not there is NIL.
fn choose<'a>(request: &'a GetMetadata, all: &'a Annotations) -> (Vec<Told<'a>>, Option<usize>) {
    let mut longest = None;
    let mut told: Vec<Told<'a>> = Vec::new();
    for entry in &request.entries {
        let found = all.iter().filter(|(name, _)| is_meant(name, entry, request.depth));
        let before = told.len();
        for (name, value) in found {
            if request.max_size.is_some_and(|most| value.len() as u64 > u64::from(most)) {
                longest = longest.max(Some(value.len()));
            } else if !told[..before].iter().any(|(known, _)| known == name) {
                told.push((name, Some(value)));
            }
        }
        if request.depth == Depth::Zero && !all.contains_key(entry) && !told.iter().any(|(known, _)| known == entry) {
            told.push((entry, None));
        }
    }
    (told, longest)
}

/// Writes one entry of the response, with what stands before and behind all.
///
/// RFC 5464 §5: `metadata-resp = "METADATA" SP mailbox SP (entry-values / entry-list)`
fn write(out: &mut Vec<u8>, enabled: Enabled, mailbox: &str, told: &[Told<'_>], at: usize) {
    let (name, value) = told[at];
    if at == 0 {
        out.extend_from_slice(b"* METADATA ");
        enabled.write_name(out, mailbox);
    }
    out.extend_from_slice(if at == 0 { b" (" } else { b" " });
    encode::astring(out, name.as_bytes());
    out.push(b' ');
    match value {
        Some(value) => encode::string8(out, value),
        None => out.extend_from_slice(b"NIL"),
    }
    if at + 1 == told.len() {
        out.extend_from_slice(b")\r\n");
    }
}

/// RFC 5464 §4.2.2
fn is_meant(name: &str, entry: &str, depth: Depth) -> bool {
    let Some(rest) = name.strip_prefix(entry) else { return false };
    rest.is_empty() || rest.starts_with('/') && (depth == Depth::Infinity || depth == Depth::One && !rest[1..].contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(depth: Depth, max_size: Option<u32>, entries: &[&str]) -> (String, Option<usize>) {
        let all =
            [("/private/a", "1"), ("/private/a/b", "two"), ("/private/a/b/c", "three"), ("/private/ab", "4"), ("/shared/nul", "x\0y")];
        let all: Annotations = all.into_iter().map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).collect();
        let entries = entries.iter().map(|entry| entry.to_string()).collect();
        let mut out = Vec::new();
        let request = GetMetadata { mailbox: None, depth, max_size, entries };
        let (told, longest) = choose(&request, &all);
        (0..told.len()).for_each(|at| write(&mut out, Enabled::default(), "INBOX", &told, at));
        (String::from_utf8(out).unwrap().replace("* METADATA INBOX ", "").replace("\r\n", ""), longest)
    }

    #[test]
    fn depth_says_how_far_below() {
        let all = |depth| written(depth, None, &["/private/a"]).0;
        assert_eq!(all(Depth::Zero), "(/private/a \"1\")");
        assert_eq!(all(Depth::One), "(/private/a \"1\" /private/a/b \"two\")");
        assert_eq!(all(Depth::Infinity), "(/private/a \"1\" /private/a/b \"two\" /private/a/b/c \"three\")");
        assert_eq!(written(Depth::Zero, None, &["/private/x", "/private/ab"]).0, "(/private/x NIL /private/ab \"4\")");
        assert_eq!(written(Depth::One, None, &["/private/x"]).0, "");
        assert_eq!(written(Depth::One, None, &["/private/a", "/private/a/b", "/private/a"]).0.matches("/private/a/b ").count(), 1);
        assert_eq!(written(Depth::Zero, None, &["/shared/nul"]).0, "(/shared/nul ~{3}x\0y)");
    }

    #[test]
    fn values_beyond_maxsize_are_told_of() {
        assert_eq!(written(Depth::Infinity, Some(3), &["/private/a"]), ("(/private/a \"1\" /private/a/b \"two\")".into(), Some(5)));
        assert_eq!(written(Depth::Zero, Some(4), &["/private/a/b/c"]), (String::new(), Some(5)));
        assert_eq!(written(Depth::Infinity, Some(5), &["/private/a/b/c"]).1, None);
    }
}
