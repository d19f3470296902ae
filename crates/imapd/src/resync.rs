//! What a client that was away has missed (RFC 7162 §3.2.5, §3.2.6).

use crate::answer::Answer;
use crate::selected::Selected;
use imap_proto::SequenceSet;
use imap_proto::sequence::write_ranges;
use mailstore::{Message, Snapshot};

/// `* VANISHED (EARLIER) uids`: those of `set` that were removed after `since`. Where that is not known any more: all of `set` that are not
/// there, but for those up to the last of `samples` that is as the client knows it. Blocking.
pub fn write_vanished(
    selected: &Selected,
    set: &SequenceSet,
    since: u64,
    samples: Option<&(SequenceSet, SequenceSet)>,
    out: &mut Vec<u8>,
) -> Result<(), Answer> {
    let snapshot = selected.view.snapshot();
    let last = snapshot.uid_next().saturating_sub(1);
    // `*` is the last UID there ever was: the message that had it may be the one that is gone
    let asked: Vec<(u32, u32)> = match set.is_saved() {
        true => selected.saved.iter().map(|uid| (*uid, *uid)).collect(),
        false => set.ranges(last),
    };
    let mut removed = match selected.view.mailbox().vanished_since(since)? {
        Some(ranges) => ranges,
        None => vec![(samples.map_or(0, |samples| last_known(snapshot, samples)).saturating_add(1), last)],
    };
    removed.sort_unstable();
    let gone = without_present(snapshot, &intersection(&asked, &removed));
    if !gone.is_empty() {
        out.extend_from_slice(b"* VANISHED (EARLIER) ");
        write_ranges(out, gone);
        out.extend_from_slice(b"\r\n");
    }
    Ok(())
}

/// RFC 7162 §3.2.5.2: the UID up to which the client knows of all removals.
fn last_known(snapshot: &Snapshot, (numbers, uids): &(SequenceSet, SequenceSet)) -> u32 {
    let each = |set: &SequenceSet| set.ranges(0).into_iter().flat_map(|(first, last)| first..=last);
    let is_true = |(number, uid): &(u32, u32)| {
        let index = (*number as usize).checked_sub(1);
        index.and_then(|index| snapshot.get(index)).map(Message::uid) == Some(*uid)
    };
    each(numbers).zip(each(uids)).take_while(is_true).last().map_or(0, |(_, uid)| uid)
}

/// Both ascending; the result is, and is merged.
fn intersection(a: &[(u32, u32)], b: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let mut both: Vec<(u32, u32)> = Vec::new();
    let (mut left, mut right) = (a.iter().copied().peekable(), b.iter().copied().peekable());
    while let (Some(x), Some(y)) = (left.peek().copied(), right.peek().copied()) {
        let (first, last) = (x.0.max(y.0), x.1.min(y.1));
        if first <= last {
            match both.last_mut() {
                Some(open) if first <= open.1.saturating_add(1) => open.1 = open.1.max(last),
                _ => both.push((first, last)),
            }
        }
        if x.1 < y.1 {
            left.next()
        } else {
            right.next()
        };
    }
    both
}

/// The ranges without the UIDs that messages have in this session: also one that was removed meanwhile and is still to be told of.
fn without_present(snapshot: &Snapshot, ranges: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let mut gone = Vec::new();
    for (first, last) in ranges.iter().copied() {
        let mut next = first;
        for uid in snapshot.iter_from(snapshot.first_from(first)).map(Message::uid).take_while(|uid| *uid <= last) {
            if next < uid {
                gone.push((next, uid - 1));
            }
            next = uid.saturating_add(1);
        }
        if next <= last && next >= first {
            gone.push((next, last));
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_two_lists_share() {
        for (a, b, want) in [
            (&[(1, 10)][..], &[(3, 4), (6, 20)][..], &[(3, 4), (6, 10)][..]),
            (&[(1, 2), (4, 5), (9, 9)], &[(1, 100)], &[(1, 2), (4, 5), (9, 9)]),
            (&[(5, 6)], &[(1, 4), (7, 9)], &[]),
            // removed at different times, so named in pieces
            (&[(1, 100)], &[(3, 3), (4, 4), (4, 6)], &[(3, 6)]),
            (&[], &[(1, 2)], &[]),
            (&[(1, u32::MAX)], &[(u32::MAX, u32::MAX)], &[(u32::MAX, u32::MAX)]),
        ] {
            assert_eq!(intersection(a, b), want, "{a:?} {b:?}");
            assert_eq!(intersection(b, a), want, "{b:?} {a:?}");
        }
    }
}
