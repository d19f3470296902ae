//! SEARCH and UID SEARCH (RFC 3501 §6.4.4), ESEARCH (RFC 4731), SEARCHRES (RFC 5182).

use crate::answer::Answer;
use crate::search;
use crate::selected::{Selected, Target};
use crate::session::{SLICE, Session};
use imap_proto::sequence::write_set;
use imap_proto::{Search, SearchReturn, Status, encode};
use std::time::Instant;

/// Why a search ends with NO although it found something.
pub const INCOMPLETE: &str = "Some of the messages cannot be read now, see the server's log";

pub async fn run(session: &mut Session, tag: &str, request: Search) -> Answer {
    let uid = request.uid;
    // RFC 9051 §6.4.4: the answer is ESEARCH, also to who asked for nothing.
    let all = SearchReturn { all: true, ..SearchReturn::default() };
    let returns = request.returns.or(session.enabled.rev2.then_some(all));
    let search = match find(session, request).await {
        Ok(search) => search,
        Err(answer) => {
            // RFC 5182 §2.1: NO empties what is kept, BAD does not.
            if answer.status == Status::No {
                keep(session, returns, &[]);
            }
            return answer;
        }
    };
    let incomplete = search.incomplete;
    let found = search.into_found();
    keep(session, returns, if incomplete { &[] } else { &found });
    let found: Vec<u32> = found.into_iter().map(|target| if uid { target.uid } else { target.number }).collect();
    let out = &mut session.connection.wire.out;
    match returns {
        Some(returns) if !returns.tells() => {}
        Some(returns) => write_esearch(out, tag, uid, returns, &found),
        None => {
            out.extend_from_slice(b"* SEARCH");
            for number in &found {
                out.push(b' ');
                encode::number(out, u64::from(*number));
            }
            out.extend_from_slice(b"\r\n");
        }
    }
    if incomplete {
        // What was found is true; but a client must not take the others for messages that do not match.
        return Answer::no("UNAVAILABLE", INCOMPLETE);
    }
    Answer::ok("Search completed")
}

/// Keeps what was found for `$`, when that was asked for.
pub fn keep(session: &mut Session, returns: Option<SearchReturn>, found: &[Target]) {
    if let (Some(returns), Some(selected)) = (returns.filter(|returns| returns.save), &mut session.selected) {
        selected.saved = kept(returns, found);
    }
}

/// What `$` stands for afterwards (RFC 5182 §2.4).
fn kept(returns: SearchReturn, found: &[Target]) -> Vec<u32> {
    let ends_only = (returns.min || returns.max) && !(returns.all || returns.count);
    let kept = match ends_only {
        true => found.first().filter(|_| returns.min).into_iter().chain(found.last().filter(|_| returns.max)).collect(),
        false => found.iter().collect::<Vec<_>>(),
    };
    // SORT finds them in another order.
    let mut uids: Vec<u32> = kept.into_iter().map(|target| target.uid).collect();
    uids.sort_unstable();
    uids.dedup();
    uids
}

/// Looks at the messages in slices of time. What others change meanwhile is told after the command, so numbers stay true.
pub async fn find(session: &mut Session, request: Search) -> Result<search::Search, Answer> {
    let begin = move |selected: &mut Selected| search::Search::new(selected, &request.key, request.charset.as_deref());
    let mut search = session.with_selected(begin).await?;
    loop {
        let done;
        (search, done) = session
            .with_selected(move |selected| {
                let done = search.go_on(selected, Instant::now() + SLICE);
                (search, done)
            })
            .await;
        if done? {
            return Ok(search);
        }
        session.may_go_on()?;
    }
}

/// RFC 4466 §7: `"ESEARCH" [SP "(" "TAG" SP tag-string ")"] [SP "UID"] *(SP search-return-data)`.
/// RFC 4731 §3.1: MIN, MAX and ALL are left out when nothing was found.
pub fn write_esearch(out: &mut Vec<u8>, tag: &str, uid: bool, returns: SearchReturn, found: &[u32]) {
    out.extend_from_slice(b"* ESEARCH (TAG ");
    encode::string(out, tag.as_bytes());
    out.push(b')');
    if uid {
        out.extend_from_slice(b" UID");
    }
    for (wanted, word, number) in [(returns.min, " MIN ", found.first()), (returns.max, " MAX ", found.last())] {
        if let (true, Some(number)) = (wanted, number) {
            out.extend_from_slice(word.as_bytes());
            encode::number(out, u64::from(*number));
        }
    }
    if returns.count {
        out.extend_from_slice(b" COUNT ");
        encode::number(out, found.len() as u64);
    }
    if returns.all && !found.is_empty() {
        out.extend_from_slice(b" ALL ");
        write_set(out, found.iter().copied());
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn esearch_leaves_out_what_it_does_not_know() {
        let show = |returns, found: &[u32]| {
            let mut out = Vec::new();
            write_esearch(&mut out, "a1", true, returns, found);
            String::from_utf8_lossy(&out).into_owned()
        };
        let all = SearchReturn { min: true, max: true, all: true, count: true, save: false };
        assert_eq!(show(all, &[2, 3, 4, 9]), "* ESEARCH (TAG \"a1\") UID MIN 2 MAX 9 COUNT 4 ALL 2:4,9\r\n");
        let found: Vec<Target> = [3, 5, 9].into_iter().map(|uid| Target { number: uid, uid }).collect();
        let none = SearchReturn { save: true, ..SearchReturn::default() };
        for (returns, want) in [
            (none, &[3, 5, 9][..]),
            (SearchReturn { min: true, ..none }, &[3]),
            (SearchReturn { max: true, ..none }, &[9]),
            (SearchReturn { min: true, max: true, ..none }, &[3, 9]),
            (SearchReturn { min: true, count: true, ..none }, &[3, 5, 9]),
        ] {
            assert_eq!(kept(returns, &found), want, "{returns:?}");
        }
        assert_eq!(kept(SearchReturn { min: true, max: true, ..none }, &found[..1]), [3]);
        assert_eq!(show(all, &[]), "* ESEARCH (TAG \"a1\") UID COUNT 0\r\n");
    }
}
