//! SEARCH and UID SEARCH (RFC 3501 §6.4.4), ESEARCH (RFC 4731), SEARCHRES (RFC 5182), PARTIAL (RFC 9394), CONTEXT (RFC 5267), RELEVANCY (RFC 6203).

use crate::answer::Answer;
use crate::commands::enable::Enabled;
use crate::context::{Context, lasting};
use crate::search::{self, Scores};
use crate::selected::{Selected, Target};
use crate::session::{SLICE, Session};
use imap_proto::sequence::write_set;
use imap_proto::{Search, SearchReturn, Status, encode};
use mailstore::MailboxName;
use std::time::Instant;

/// Why a search ends with NO although it found something.
pub const INCOMPLETE: &str = "Some of the messages cannot be read now, see the server's log";

pub async fn run(session: &mut Session, tag: &str, request: Search) -> Answer {
    let uid = request.uid;
    // RFC 9051 §6.4.4: the answer is ESEARCH, also to who asked for nothing.
    let all = SearchReturn { all: true, ..SearchReturn::default() };
    let returns = request.returns.or(session.enabled.rev2.then_some(all));
    if let Some(answer) = taken(session, tag, returns) {
        return answer;
    }
    let update =
        returns.is_some_and(|returns| returns.update).then(|| (request.key.clone(), request.charset.clone(), request.fetch.clone()));
    let with_modseq = request.key.has_modseq();
    let mut search = match find(session, request).await {
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
    let scores = search.take_scores();
    let found = search.into_found();
    let relevancy = relevancy(returns, &found, &scores);
    keep(session, returns, if incomplete { &[] } else { &found });
    let context = update.filter(|_| !incomplete).map(|(key, charset, fetch)| {
        let correlator = Correlator::of(tag).written(uid);
        Context::new(tag, correlator, uid, key, charset, &found).telling(fetch)
    });
    let modseq = if with_modseq { highest_modseq(session.selected.as_ref(), returns, &found) } else { None };
    let found: Vec<u32> = found.into_iter().map(|target| if uid { target.uid } else { target.number }).collect();
    let out = &mut session.connection.wire.out;
    match returns {
        Some(returns) if !returns.tells() => {}
        Some(returns) => write_esearch(out, Correlator::of(tag), uid, returns, &found, Facts { relevancy, modseq }),
        None => {
            out.extend_from_slice(b"* SEARCH");
            for number in &found {
                out.push(b' ');
                encode::number(out, u64::from(*number));
            }
            write_modseq(out, modseq);
            out.extend_from_slice(b"\r\n");
        }
    }
    if let Some(context) = context {
        follow(session, context);
    }
    if incomplete {
        // What was found is true; but a client must not take the others for messages that do not match.
        return Answer::no("UNAVAILABLE", INCOMPLETE);
    }
    Answer::ok("Search completed")
}

/// RFC 5267 §4.3: BAD when the tag already stands for another search that is kept up to date.
pub fn taken(session: &Session, tag: &str, returns: Option<SearchReturn>) -> Option<Answer> {
    let selected = session.selected.as_ref().filter(|_| returns.is_some_and(|returns| returns.update))?;
    selected.contexts.has(tag).then(|| Answer::bad("This tag has its updates already"))
}

/// Keeps a search up to date from now on, or tells that we do not (RFC 5267 §4.3.1).
pub fn follow(session: &mut Session, mut context: Context) {
    let Some(selected) = &mut session.selected else { return };
    context.key = lasting(selected, context.key);
    let snapshot = selected.view.snapshot().clone();
    if let Err(refusal) = selected.contexts.keep(context, &snapshot) {
        session.connection.wire.out.extend_from_slice(&refusal);
    }
}

/// CANCELUPDATE (RFC 5267 §4.3.5).
pub fn cancel_update(session: &mut Session, tags: &[String]) -> Answer {
    match session.selected.as_mut().is_some_and(|selected| selected.contexts.cancel(tags)) {
        true => Answer::ok("No further updates"),
        false => Answer::bad("No search with such a tag has updates"),
    }
}

/// The highest MODSEQ of what is told, for an answer to a search by MODSEQ (RFC 7162 §3.1.5, RFC 4731 §3.2); none without messages.
pub fn highest_modseq(selected: Option<&Selected>, returns: Option<SearchReturn>, found: &[Target]) -> Option<u64> {
    let selected = selected?;
    let modseq = |target: &Target| selected.view.message(target.number).map(mailstore::Message::modseq);
    match returns {
        Some(returns) if !(returns.all || returns.count) => {
            let ends = [found.first().filter(|_| returns.min), found.last().filter(|_| returns.max)];
            ends.into_iter().flatten().filter_map(modseq).max()
        }
        _ => found.iter().filter_map(modseq).max(),
    }
}

/// The scores of what is told of (RFC 6203 §4), in the order in which it is.
pub fn relevancy(returns: Option<SearchReturn>, found: &[Target], scores: &Scores) -> Option<Vec<u8>> {
    let returns = returns.filter(|returns| returns.relevancy)?;
    let told = returns.partial.map_or(0..found.len(), |partial| partial.of(found.len()));
    Some(found[told].iter().map(|target| scores.of(target.uid)).collect())
}

/// RFC 7162 §7: `search-sort-mod-seq = "(" "MODSEQ" SP mod-sequence-value ")"`
pub fn write_modseq(out: &mut Vec<u8>, modseq: Option<u64>) {
    if let Some(modseq) = modseq {
        out.extend_from_slice(b" (MODSEQ ");
        encode::number(out, modseq);
        out.push(b')');
    }
}

/// Keeps what was found for `$`, when that was asked for.
pub fn keep(session: &mut Session, returns: Option<SearchReturn>, found: &[Target]) {
    if let (Some(returns), Some(selected)) = (returns.filter(|returns| returns.save), &mut session.selected) {
        selected.saved = kept(returns, found);
    }
}

/// What `$` stands for afterwards (RFC 5182 §2.4, RFC 9394 §3.2).
fn kept(returns: SearchReturn, found: &[Target]) -> Vec<u32> {
    let some_only = (returns.min || returns.max || returns.partial.is_some()) && !(returns.all || returns.count);
    let ends = found.first().filter(|_| returns.min).into_iter().chain(found.last().filter(|_| returns.max));
    let window = returns.partial.map_or(0..0, |partial| partial.of(found.len()));
    // SORT finds them in another order.
    let mut uids: Vec<u32> = match some_only {
        true => ends.chain(&found[window]).map(|target| target.uid).collect(),
        false => found.iter().map(|target| target.uid).collect(),
    };
    uids.sort_unstable();
    uids.dedup();
    uids
}

/// Looks at the messages in slices of time. What others change meanwhile is told after the command, so numbers stay true.
pub async fn find(session: &mut Session, request: Search) -> Result<search::Search, Answer> {
    find_by(session, move |selected| search::Search::new(selected, &request.key, request.charset.as_deref())).await
}

/// The same for a search that `begin` makes.
pub async fn find_by(
    session: &mut Session,
    begin: impl FnOnce(&mut Selected) -> Result<search::Search, Answer> + Send + 'static,
) -> Result<search::Search, Answer> {
    let mut search = session.with_selected(begin).await?;
    let all = session.selected.as_ref().map_or(0, |selected| selected.view.snapshot().len());
    loop {
        let done;
        session.has_done(search.looked_at() as u64, all as u64);
        (search, done) = session
            .with_selected_patiently(move |selected| {
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

/// What an ESEARCH response belongs to.
#[derive(Clone, Copy)]
pub struct Correlator<'a> {
    pub tag: &'a str,
    /// Name, UIDVALIDITY and how names are written, in answers to the command ESEARCH (RFC 7377 §2.1).
    pub mailbox: Option<(&'a MailboxName, u32, Enabled)>,
}

impl<'a> Correlator<'a> {
    pub fn of(tag: &'a str) -> Correlator<'a> {
        Correlator { tag, mailbox: None }
    }

    /// RFC 7377 §4: `search-correlator = SP "(" one-correlator *(SP one-correlator) ")"`, then `[SP "UID"]` (RFC 4466 §7).
    pub fn written(self, uid: bool) -> Vec<u8> {
        let mut out = b"(TAG ".to_vec();
        encode::string(&mut out, self.tag.as_bytes());
        if let Some((name, uid_validity, enabled)) = self.mailbox {
            out.extend_from_slice(b" MAILBOX ");
            enabled.write_name(&mut out, name.as_str());
            out.extend_from_slice(b" UIDVALIDITY ");
            encode::number(&mut out, u64::from(uid_validity));
        }
        out.extend_from_slice(if uid { b") UID" } else { b")" });
        out
    }
}

/// What an ESEARCH response tells beside the messages.
#[derive(Default)]
pub struct Facts {
    /// RFC 6203 §4: `"RELEVANCY" SP score-list`, `score-list = "(" [score *(SP score)] ")"`
    pub relevancy: Option<Vec<u8>>,
    /// RFC 4731 §3.2
    pub modseq: Option<u64>,
}

/// RFC 4466 §7: `"ESEARCH" [search-correlator] [SP "UID"] *(SP search-return-data)`.
/// RFC 4731 §3.1: MIN, MAX and ALL are left out when nothing was found; RFC 9394 §3.1: PARTIAL is NIL then.
pub fn write_esearch(out: &mut Vec<u8>, correlator: Correlator<'_>, uid: bool, returns: SearchReturn, found: &[u32], facts: Facts) {
    out.extend_from_slice(b"* ESEARCH ");
    out.extend_from_slice(&correlator.written(uid));
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
    if let Some(partial) = returns.partial {
        out.extend_from_slice(b" PARTIAL (");
        partial.write(out);
        out.push(b' ');
        match &found[partial.of(found.len())] {
            [] => out.extend_from_slice(b"NIL"),
            window => write_set(out, window.iter().copied()),
        }
        out.push(b')');
    }
    if returns.all && !found.is_empty() {
        out.extend_from_slice(b" ALL ");
        write_set(out, found.iter().copied());
    }
    if let Some(scores) = facts.relevancy {
        out.extend_from_slice(b" RELEVANCY (");
        for (index, score) in scores.into_iter().enumerate() {
            out.extend_from_slice(if index == 0 { b"" } else { b" " });
            encode::number(out, u64::from(score));
        }
        out.push(b')');
    }
    if let Some(modseq) = facts.modseq {
        out.extend_from_slice(b" MODSEQ ");
        encode::number(out, modseq);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use imap_proto::PartialRange;
    use imap_proto::cursor::Cursor;

    #[test]
    fn esearch_leaves_out_what_it_does_not_know() {
        let show = |returns, found: &[u32]| {
            let mut out = Vec::new();
            write_esearch(&mut out, Correlator::of("a1"), true, returns, found, Facts::default());
            String::from_utf8_lossy(&out).into_owned()
        };
        let all = SearchReturn { min: true, max: true, all: true, count: true, ..SearchReturn::default() };
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
        // RFC 9394 §3.2, Table 1
        let partial = |text: &[u8]| PartialRange::parse(&mut Cursor::new(text)).ok();
        for (returns, want) in [
            (SearchReturn { partial: partial(b"2:2"), ..none }, &[5][..]),
            (SearchReturn { partial: partial(b"7:9"), ..none }, &[]),
            (SearchReturn { partial: partial(b"2:2"), min: true, ..none }, &[3, 5]),
            (SearchReturn { partial: partial(b"2:2"), max: true, ..none }, &[5, 9]),
            (SearchReturn { partial: partial(b"2:3"), min: true, max: true, ..none }, &[3, 5, 9]),
            (SearchReturn { partial: partial(b"2:2"), min: true, count: true, ..none }, &[3, 5, 9]),
        ] {
            assert_eq!(kept(returns, &found), want, "{returns:?}");
        }
        let partial = SearchReturn { partial: partial(b"-1:-2"), ..SearchReturn::default() };
        assert_eq!(show(partial, &[2, 3, 4, 9]), "* ESEARCH (TAG \"a1\") UID PARTIAL (-1:-2 4,9)\r\n");
        assert_eq!(show(partial, &[]), "* ESEARCH (TAG \"a1\") UID PARTIAL (-1:-2 NIL)\r\n");
        assert_eq!(show(all, &[]), "* ESEARCH (TAG \"a1\") UID COUNT 0\r\n");
    }
}
