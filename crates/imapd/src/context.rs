//! Searches whose results are kept up to date for the client (RFC 5267 §4.3).
//!
//! A context remembers what was found. Of what changes in the mailbox, [`Contexts::note`] takes away what is gone and writes down what is to be
//! looked at again; [`update`] looks, and tells the difference. Only messages that are new or have other flags are looked at.

use crate::answer::Answer;
use crate::commands::fetch;
use crate::commands::search::find_by;
use crate::commands::sort::gather;
use crate::connection::Gone;
use crate::notify::items_weight;
use crate::order::{self, Key, Weight};
use crate::search;
use crate::selected::{Selected, Target};
use crate::session::Session;
use imap_proto::sequence::write_set;
use imap_proto::{FetchItem, FetchModifiers, SearchKey, SequenceSet, SortKey, Status, encode};
use mailstore::{Changes, Message, Snapshot};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Contexts of one session (RFC 5267 §4.3.1).
const MOST_CONTEXTS: usize = 10;

/// Messages in all contexts of a session together. One SEARCH may always have its context.
const MOST_FOUND: usize = 500_000;

/// What the values that keep sorted contexts in order may take, in one session.
const MOST_KEY_BYTES: usize = 8 << 20;

/// What a search that is kept may take (SECURITY I18): its strings and sets are kept with it.
const LONGEST_SEARCH: usize = 64 << 10;

/// Why updates are refused, also later on.
const TOO_MUCH: &str = "Too many results to be kept up to date";

/// The contexts of a session's open mailbox.
#[derive(Default)]
pub struct Contexts {
    all: Vec<Context>,
    /// UIDs of messages with other flags since the contexts were brought up to date; new messages are in here too.
    changed: Vec<u32>,
    /// Responses that have to go out before anything else is told of the same changes.
    said: Vec<u8>,
}

/// One search that is kept up to date.
pub struct Context {
    /// Of the search.
    tag: String,
    /// The beginning of each response: `(TAG "B01") UID`.
    correlator: Vec<u8>,
    uid: bool,
    pub key: SearchKey,
    charset: Option<String>,
    /// What is told of new messages that come in (RFC 5465 §7).
    fetch: Vec<FetchItem>,
    /// UIDs, in the order that was asked for: rising for SEARCH.
    found: Vec<u32>,
    order: Option<Order>,
    /// The highest UID that was looked at.
    seen: u32,
}

/// What keeps a SORT in order.
struct Order {
    by: Arc<Vec<SortKey>>,
    keys: HashMap<u32, Vec<Key>>,
}

/// Messages that come to stand, or stood, one behind the other: the place of the first, from 1; 0 where places are not told.
struct Run {
    place: usize,
    uids: Vec<u32>,
}

impl Context {
    /// The context of a SEARCH that found `found`, rising. `correlator` is what its responses begin with.
    pub fn new(tag: &str, correlator: Vec<u8>, uid: bool, key: SearchKey, charset: Option<String>, found: &[Target]) -> Context {
        let found = found.iter().map(|target| target.uid).collect();
        Context { tag: tag.to_owned(), correlator, uid, key, charset, fetch: Vec::new(), found, order: None, seen: 0 }
    }

    /// With what is told of new messages that come in.
    pub fn telling(mut self, fetch: Vec<FetchItem>) -> Context {
        self.fetch = fetch;
        self
    }

    /// Makes it the context of a SORT, with the values of each message found.
    pub fn sorted(mut self, by: Arc<Vec<SortKey>>, keys: Vec<Vec<Key>>) -> Context {
        self.order = Some(Order { by, keys: self.found.iter().copied().zip(keys).collect() });
        self
    }

    fn has(&self, uid: u32) -> bool {
        match &self.order {
            Some(order) => order.keys.contains_key(&uid),
            None => self.found.binary_search(&uid).is_ok(),
        }
    }

    fn key_bytes(&self) -> usize {
        self.order.as_ref().map_or(0, |order| order.keys.values().map(Weight::bytes).sum())
    }

    /// Takes messages away. The runs are in the order in which the client has to take them: places stay true while it does.
    fn remove(&mut self, uids: &HashSet<u32>) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let mut end = 0;
        for (index, uid) in self.found.iter().enumerate().filter(|(_, uid)| uids.contains(uid)) {
            match runs.last_mut() {
                Some(run) if self.order.is_none() || end == index => run.uids.push(*uid),
                _ => runs.push(Run { place: if self.order.is_some() { index + 1 } else { 0 }, uids: vec![*uid] }),
            }
            end = index + 1;
        }
        self.found.retain(|uid| !uids.contains(uid));
        if let Some(order) = &mut self.order {
            order.keys.retain(|uid, _| !uids.contains(uid));
        }
        // The last first: what stands before it keeps its place.
        runs.reverse();
        runs
    }

    /// Puts messages in, with their values when the context is sorted. As in `remove` the order of the runs is the client's.
    fn add(&mut self, uids: Vec<u32>, keys: Vec<Vec<Key>>) -> Vec<Run> {
        let new: HashSet<u32> = uids.iter().copied().collect();
        match &mut self.order {
            Some(order) => {
                order.keys.extend(uids.iter().copied().zip(keys));
                self.found.extend(uids);
                let Order { by, keys } = order;
                // What is equal stands as in the mailbox.
                self.found.sort_by(|a, b| order::compare(by, &keys[a], &keys[b]).then(a.cmp(b)));
            }
            None => {
                self.found.extend(uids);
                self.found.sort_unstable();
            }
        }
        let mut runs: Vec<Run> = Vec::new();
        let mut end = 0;
        for (index, uid) in self.found.iter().enumerate().filter(|(_, uid)| new.contains(uid)) {
            match runs.last_mut() {
                Some(run) if self.order.is_none() || end == index => run.uids.push(*uid),
                _ => runs.push(Run { place: if self.order.is_some() { index + 1 } else { 0 }, uids: vec![*uid] }),
            }
            end = index + 1;
        }
        runs
    }

    /// RFC 5267 §5: `"ADDTO" SP "(" context-position SP sequence-set *(SP context-position SP sequence-set) ")"`, REMOVEFROM likewise.
    fn write(&self, out: &mut Vec<u8>, removed: &[Run], added: &[Run], number: impl Fn(u32) -> Option<u32>) {
        if removed.is_empty() && added.is_empty() {
            return;
        }
        out.extend_from_slice(b"* ESEARCH ");
        out.extend_from_slice(&self.correlator);
        for (word, runs) in [(&b" REMOVEFROM "[..], removed), (b" ADDTO ", added)].into_iter().filter(|(_, runs)| !runs.is_empty()) {
            out.extend_from_slice(word);
            for (index, run) in runs.iter().enumerate() {
                out.push(if index == 0 { b'(' } else { b' ' });
                encode::number(out, run.place as u64);
                out.push(b' ');
                write_set(out, run.uids.iter().filter_map(|uid| if self.uid { Some(*uid) } else { number(*uid) }));
            }
            out.push(b')');
        }
        out.extend_from_slice(b"\r\n");
    }
}

impl Contexts {
    /// RFC 5267 §4.3: a tag may stand for one context only.
    pub fn has(&self, tag: &str) -> bool {
        self.all.iter().any(|context| context.tag == tag)
    }

    /// Keeps a context that is true to `snapshot`; what to tell the client when there is no room for it.
    pub fn keep(&mut self, mut context: Context, snapshot: &Snapshot) -> Result<(), Vec<u8>> {
        let found: usize = self.all.iter().map(|context| context.found.len()).sum();
        let bytes: usize = self.all.iter().map(Context::key_bytes).sum();
        if self.all.len() >= MOST_CONTEXTS {
            return Err(refusal(&context.tag, "Too many contexts"));
        }
        if weight(&context.key) + items_weight(&context.fetch) > LONGEST_SEARCH {
            return Err(refusal(&context.tag, "Search is too long to be kept up to date"));
        }
        if !self.all.is_empty() && found + context.found.len() > MOST_FOUND || bytes + context.key_bytes() > MOST_KEY_BYTES {
            return Err(refusal(&context.tag, TOO_MUCH));
        }
        context.seen = last_uid(snapshot);
        self.all.push(context);
        Ok(())
    }

    /// Ends contexts (RFC 5267 §4.3.5); false when one of these tags has none.
    pub fn cancel(&mut self, tags: &[String]) -> bool {
        let known = tags.iter().all(|tag| self.has(tag));
        self.all.retain(|context| !tags.contains(&context.tag));
        known
    }

    /// Ends those that are told in message numbers, of which there are none any more (RFC 9586).
    pub fn end_numbered(&mut self, out: &mut Vec<u8>) {
        let numbered = self.all.iter().filter(|context| !context.uid);
        numbered.for_each(|context| out.extend(refusal(&context.tag, "Message numbers are in use no more")));
        self.all.retain(|context| context.uid);
        self.said.clear();
    }

    /// Takes down what changed. What is gone is told in numbers that hold until the EXPUNGE responses (RFC 5267 §4.3.4).
    pub fn note(&mut self, changes: &Changes, snapshot: &Snapshot) {
        if self.all.is_empty() {
            return;
        }
        let numbers: HashMap<u32, u32> = changes.expunged_uids.iter().copied().zip(changes.expunged.iter().copied()).collect();
        let gone: HashSet<u32> = numbers.keys().copied().collect();
        for context in self.all.iter_mut().filter(|_| !gone.is_empty()) {
            let removed = context.remove(&gone);
            context.write(&mut self.said, &removed, &[], |uid| numbers.get(&uid).copied());
        }
        let uid = |number: &u32| snapshot.get((*number as usize).checked_sub(1)?).map(Message::uid);
        self.changed.extend(changes.flags.iter().filter_map(uid));
        // `*` in a search means the last message, which may be another one now.
        if changes.exists.is_some() || !gone.is_empty() {
            self.changed.extend(self.all.iter().map(|context| context.seen).chain([last_uid(snapshot)]));
        }
        let seen = self.all.iter().map(|context| context.seen).min().unwrap_or(u32::MAX);
        self.changed.extend(snapshot.iter_from(snapshot.first_from(seen.saturating_add(1))).map(Message::uid));
        self.changed.sort_unstable();
        self.changed.dedup();
    }

    /// Responses that are due before others.
    pub fn say(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.said);
    }

    /// Is there something that has to be looked at again?
    pub fn are_due(&self) -> bool {
        !self.changed.is_empty()
    }
}

/// Brings the contexts of the open mailbox up to date with its numbering, tells what came and went, and what is to be told of new messages: those
/// from the UID `first_new` on that the client did not put there itself (`own`).
pub async fn update(session: &mut Session, first_new: u32, own: &[u32]) -> Result<(), Gone> {
    let mut told = HashSet::new();
    if let Some(selected) = session.selected.as_mut().filter(|selected| selected.contexts.are_due()) {
        let changed = Arc::new(std::mem::take(&mut selected.contexts.changed));
        let tags: Vec<String> = selected.contexts.all.iter().map(|context| context.tag.clone()).collect();
        for tag in tags {
            if session.may_go_on().is_err() {
                return Ok(());
            }
            let (text, added, items) = match one(session, &tag, &changed).await {
                Ok(done) => done,
                Err(why) => {
                    if let Some(selected) = &mut session.selected {
                        selected.contexts.cancel(std::slice::from_ref(&tag));
                    }
                    (refusal(&tag, why), Vec::new(), Vec::new())
                }
            };
            if !items.is_empty() {
                // RFC 5465 §7: behind EXISTS, before ESEARCH; once for each message
                let new: Vec<u32> = added.into_iter().filter(|uid| *uid >= first_new && !own.contains(uid) && told.insert(*uid)).collect();
                let all = session.notify.iter().flat_map(|notify| notify.fetch()).cloned().chain(items).collect();
                show(session, &new, all).await?;
            }
            session.connection.wire.out.extend_from_slice(&text);
            session.connection.wire.relieve().await?;
        }
    }
    let (Some(notify), Some(selected)) = (&session.notify, &session.selected) else { return Ok(()) };
    if notify.fetch().is_empty() || !notify.wants().messages {
        return Ok(());
    }
    // RFC 5465 §5.2: behind ESEARCH
    let (items, snapshot) = (notify.fetch().to_vec(), selected.view.snapshot());
    let new = snapshot.iter_from(snapshot.first_from(first_new)).map(Message::uid);
    let new: Vec<u32> = new.filter(|uid| !own.contains(uid) && !told.contains(uid)).collect();
    show(session, &new, items).await
}

/// FETCH responses that nobody asked for just now.
async fn show(session: &mut Session, uids: &[u32], mut items: Vec<FetchItem>) -> Result<(), Gone> {
    let Some(selected) = session.selected.as_ref().filter(|_| !uids.is_empty()) else { return Ok(()) };
    let mut distinct = vec![FetchItem::Uid];
    for item in items.drain(..) {
        let is_known = distinct.contains(&item) || item == FetchItem::ModSeq && selected.no_modseq;
        if !is_known {
            distinct.push(item);
        }
    }
    let set = SequenceSet::of(uids.iter().map(|uid| (*uid, *uid)).collect());
    let request = fetch::Request { set, uid: true, items: distinct, modifiers: FetchModifiers::default(), samples: None, most: 0 };
    // what went away meanwhile, or cannot be read, is not told
    fetch::run(session, request).await.map(drop)
}

/// What to tell of one context: its response, the UIDs that came in, what to fetch of them.
type Update = (Vec<u8>, Vec<u32>, Vec<FetchItem>);

/// The response of one context, or why it has to end: a result that may be wrong is worse than none.
async fn one(session: &mut Session, tag: &str, changed: &Arc<Vec<u32>>) -> Result<Update, &'static str> {
    const UNKNOWN: &str = "Some of the messages cannot be read now";
    let Some(index) = session.selected.as_ref().and_then(|selected| selected.contexts.all.iter().position(|c| c.tag == tag)) else {
        return Ok(Update::default());
    };
    let among = changed.clone();
    let begin = move |selected: &mut Selected| {
        let context = &selected.contexts.all[index];
        search::Search::among(selected, &context.key, context.charset.as_deref(), &among)
    };
    let mut search = find_by(session, begin).await.map_err(|_: Answer| UNKNOWN)?;
    if search.incomplete {
        return Err(UNKNOWN);
    }
    let scores = search.take_scores();
    let matching = search.into_found();
    let Some(context) = session.selected.as_ref().map(|selected| &selected.contexts.all[index]) else { return Ok(Update::default()) };
    let by = context.order.as_ref().map(|order| order.by.clone());
    let removed: HashSet<u32> = {
        let matching: HashSet<u32> = matching.iter().map(|target| target.uid).collect();
        changed.iter().copied().filter(|uid| !matching.contains(uid) && context.has(*uid)).collect()
    };
    let mut added: Vec<Target> = matching.into_iter().filter(|target| !context.has(target.uid)).collect();
    let mut keys = Vec::new();
    if let Some(by) = by {
        let scores = Arc::new(scores);
        let (gathered, incomplete) =
            gather(session, added, move |selected, message| order::keys(selected, message, &by, &scores)).await.map_err(|_| UNKNOWN)?;
        if incomplete {
            return Err(UNKNOWN);
        }
        (added, keys) = (gathered.targets, gathered.facts);
    }
    session
        .with_selected(move |selected| {
            let snapshot = selected.view.snapshot().clone();
            let contexts = &mut selected.contexts;
            let context = &mut contexts.all[index];
            let removed = context.remove(&removed);
            let uids: Vec<u32> = added.into_iter().map(|target| target.uid).collect();
            let added = context.add(uids.clone(), keys);
            let fetch = context.fetch.clone();
            context.seen = last_uid(&snapshot);
            let mut out = Vec::new();
            context.write(&mut out, &removed, &added, |uid| snapshot.find(uid).map(|(index, _)| index as u32 + 1));
            let found: usize = contexts.all.iter().map(|context| context.found.len()).sum();
            let bytes: usize = contexts.all.iter().map(Context::key_bytes).sum();
            if contexts.all.len() > 1 && found > MOST_FOUND || bytes > MOST_KEY_BYTES { Err(TOO_MUCH) } else { Ok((out, uids, fetch)) }
        })
        .await
}

/// Bytes a search takes, about.
fn weight(key: &SearchKey) -> usize {
    size_of::<SearchKey>()
        + match key {
            SearchKey::And(keys) | SearchKey::Or(keys) => keys.iter().map(weight).sum(),
            SearchKey::Not(key) | SearchKey::Fuzzy(key) => weight(key),
            SearchKey::Numbers(set) | SearchKey::Uids(set) => set.bytes(),
            SearchKey::Header { name, value } => name.len() + value.len(),
            SearchKey::Body(value) | SearchKey::Text(value) => value.len(),
            SearchKey::Flag(flag) => flag.name().len(),
            _ => 0,
        }
}

fn last_uid(snapshot: &Snapshot) -> u32 {
    snapshot.get(snapshot.len().wrapping_sub(1)).map_or(0, Message::uid)
}

/// RFC 5267 §4.3.1: `* NO [NOUPDATE "tag"]`
fn refusal(tag: &str, why: &str) -> Vec<u8> {
    let mut out = Vec::new();
    encode::status(&mut out, "*", Status::No, &format!("NOUPDATE \"{tag}\""), why);
    out
}

/// Message numbers and `$` in `key` as they are now: what they mean does not change with the numbering (RFC 5267 §4.3).
pub fn lasting(selected: &Selected, key: SearchKey) -> SearchKey {
    let all = |keys: Vec<SearchKey>| keys.into_iter().map(|key| lasting(selected, key)).collect();
    match key {
        SearchKey::And(keys) => SearchKey::And(all(keys)),
        SearchKey::Or(keys) => SearchKey::Or(all(keys)),
        SearchKey::Not(key) => SearchKey::Not(Box::new(lasting(selected, *key))),
        SearchKey::Fuzzy(key) => SearchKey::Fuzzy(Box::new(lasting(selected, *key))),
        SearchKey::Numbers(set) | SearchKey::Uids(set) if set.is_saved() => {
            SearchKey::Uids(SequenceSet::of(selected.saved.iter().map(|uid| (*uid, *uid)).collect()))
        }
        SearchKey::Numbers(set) => {
            let snapshot = selected.view.snapshot();
            let count = snapshot.len() as u32;
            let uid = |number: u32| snapshot.get(number as usize - 1).map_or(0, Message::uid);
            let known = set.ranges(count).into_iter().filter(|(first, last)| *last > 0 && *first <= count);
            SearchKey::Uids(SequenceSet::of(known.map(|(first, last)| (uid(first.max(1)), uid(last.min(count)))).collect()))
        }
        key => key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use imap_proto::SortBy;

    fn context(found: &[u32]) -> Context {
        let targets: Vec<Target> = found.iter().map(|uid| Target { number: *uid, uid: *uid }).collect();
        Context::new("B01", b"(TAG \"B01\") UID".to_vec(), true, SearchKey::All, None, &targets)
    }

    fn told(context: &Context, removed: &[Run], added: &[Run]) -> String {
        let mut out = Vec::new();
        context.write(&mut out, removed, added, Some);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_search_tells_sets_without_places() {
        let mut context = context(&[2734, 2735]);
        let added = context.add(vec![2731, 2732, 2733, 2740], Vec::new());
        assert_eq!(told(&context, &[], &added), "* ESEARCH (TAG \"B01\") UID ADDTO (0 2731:2733,2740)\r\n");
        let removed = context.remove(&[2731, 2735, 2736].into());
        assert_eq!(told(&context, &removed, &[]), "* ESEARCH (TAG \"B01\") UID REMOVEFROM (0 2731,2735)\r\n");
        assert_eq!(context.found, [2732, 2733, 2734, 2740]);
        assert_eq!(told(&context, &[], &[]), "");
    }

    /// What a client has that does as it is told.
    fn follow(list: &mut Vec<u32>, removed: &[Run], added: &[Run]) {
        for run in removed {
            assert_eq!(list.drain(run.place - 1..run.place - 1 + run.uids.len()).collect::<Vec<_>>(), run.uids);
        }
        for run in added {
            list.splice(run.place - 1..run.place - 1, run.uids.iter().copied());
        }
    }

    #[test]
    fn a_client_that_follows_has_the_sorted_list() {
        let by = Arc::new(vec![SortKey { reverse: true, by: SortBy::Size }]);
        let size = |uid: u32| vec![Key::Number(i64::from(uid * 7 % 5))];
        let mut kept = context(&[4, 2, 1]).sorted(by, [4, 2, 1].into_iter().map(size).collect());
        let mut list = kept.found.clone();
        for (gone, new) in [(vec![2], vec![5, 6, 7]), (vec![], vec![8, 9, 10, 11, 12]), (vec![4, 5, 6, 9], vec![13]), (vec![99], vec![])] {
            let removed = kept.remove(&gone.into_iter().collect());
            let added = kept.add(new.clone(), new.into_iter().map(size).collect());
            follow(&mut list, &removed, &added);
            assert_eq!(list, kept.found);
            let keys: Vec<_> = list.iter().map(|uid| (std::cmp::Reverse(size(*uid)), *uid)).collect();
            assert!(keys.is_sorted());
        }
    }
}
