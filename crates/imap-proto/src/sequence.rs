//! Sequence sets: `1,3:5,7:*`, message numbers or UIDs.

use crate::cursor::Cursor;
use crate::error::ParseError;

/// A set of message numbers or UIDs as the client wrote it. `*` is kept until the mailbox is known, `$` until the messages are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceSet {
    ranges: Vec<(u32, u32)>,
    saved: bool,
}

/// Stands for `*`: the largest number in use. No message has it (RFC 3501 §9: numbers are below 2^32, and a mailbox
/// whose next UID would be 2^32 - 1 is full).
const STAR: u32 = u32::MAX;

/// Ranges one set may have. 1 MiB of `1,` fits; what matters is that matching stays linear, see [`SequenceSet::ranges`].
const LIMIT: usize = 600_000;

impl SequenceSet {
    /// RFC 3501 §9: `sequence-set = (seq-number / seq-range) *("," sequence-set)`,
    /// `seq-number = nz-number / "*"`, `seq-range = seq-number ":" seq-number`; RFC 5182 §3: `sequence-set =/ "$"`
    pub fn parse(cursor: &mut Cursor<'_>) -> Result<SequenceSet, ParseError> {
        if cursor.take(b'$') {
            return Ok(SequenceSet { ranges: Vec::new(), saved: true });
        }
        let mut ranges = Vec::new();
        loop {
            let first = seq_number(cursor)?;
            let last = if cursor.take(b':') { seq_number(cursor)? } else { first };
            if ranges.len() == LIMIT {
                return Err(ParseError::too_big("Too many ranges in a message set"));
            }
            ranges.push((first, last));
            if !cursor.take(b',') {
                return Ok(SequenceSet { ranges, saved: false });
            }
        }
    }

    /// One number.
    pub fn single(number: u32) -> SequenceSet {
        SequenceSet { ranges: vec![(number, number)], saved: false }
    }

    /// These ranges.
    pub fn of(ranges: Vec<(u32, u32)>) -> SequenceSet {
        SequenceSet { ranges, saved: false }
    }

    /// What it takes in memory.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.ranges[..])
    }

    /// The numbers from `first` to `last`.
    pub fn range(first: u32, last: u32) -> SequenceSet {
        SequenceSet { ranges: vec![(first, last)], saved: false }
    }

    /// `$`: what the last SEARCH with SAVE found (RFC 5182). It has no ranges of its own.
    pub fn is_saved(&self) -> bool {
        self.saved
    }

    /// Is `*` or any range ending in it in the set?
    pub fn has_star(&self) -> bool {
        self.ranges.iter().any(|&(a, b)| a == STAR || b == STAR)
    }

    /// The largest number written, `*` aside. 0 when there is only `*`.
    pub fn largest(&self) -> u32 {
        self.ranges.iter().flat_map(|&(a, b)| [a, b]).filter(|&n| n != STAR).max().unwrap_or(0)
    }

    /// Sorted, merged, ascending ranges, with `*` read as `largest`. A walk over them and the mailbox is linear, however
    /// often the client repeated itself.
    pub fn ranges(&self, largest: u32) -> Vec<(u32, u32)> {
        let real = |n| if n == STAR { largest } else { n };
        let mut all: Vec<_> = self.ranges.iter().map(|&(a, b)| (real(a), real(b))).map(|(a, b)| (a.min(b), a.max(b))).collect();
        all.sort_unstable();
        merge(all)
    }
}

fn merge(sorted: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    let mut merged: Vec<(u32, u32)> = Vec::with_capacity(sorted.len().min(64));
    for (first, last) in sorted {
        match merged.last_mut() {
            Some(open) if first <= open.1.saturating_add(1) => open.1 = open.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

fn seq_number(cursor: &mut Cursor<'_>) -> Result<u32, ParseError> {
    if cursor.take(b'*') {
        return Ok(STAR);
    }
    cursor.nz_number("Invalid message set")
}

/// Writes ascending numbers as a set, runs as ranges: `1,3:5`.
pub fn write_set(out: &mut Vec<u8>, ascending: impl IntoIterator<Item = u32>) {
    let mut open: Option<(u32, u32)> = None;
    let mut first = true;
    for n in ascending {
        match &mut open {
            Some((_, last)) if n == *last + 1 => *last = n,
            _ => {
                if let Some(range) = open.replace((n, n)) {
                    write_range(out, range, &mut first);
                }
            }
        }
    }
    if let Some(range) = open {
        write_range(out, range, &mut first);
    }
}

/// Writes ascending ranges as a set.
pub fn write_ranges(out: &mut Vec<u8>, ranges: impl IntoIterator<Item = (u32, u32)>) {
    let mut first = true;
    ranges.into_iter().for_each(|range| write_range(out, range, &mut first));
}

fn write_range(out: &mut Vec<u8>, (a, b): (u32, u32), first: &mut bool) {
    if !std::mem::take(first) {
        out.push(b',');
    }
    crate::encode::number(out, a.into());
    if a != b {
        out.push(b':');
        crate::encode::number(out, b.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SequenceSet, ParseError> {
        let mut cursor = Cursor::new(text.as_bytes());
        let set = SequenceSet::parse(&mut cursor)?;
        cursor.end()?;
        Ok(set)
    }

    #[test]
    fn sets_are_sorted_and_merged() {
        for (text, largest, want) in [
            ("1", 9, vec![(1, 1)]),
            ("2,4:7,9,12:*", 15, vec![(2, 2), (4, 7), (9, 9), (12, 15)]),
            ("*:4,5:7", 10, vec![(4, 10)]),
            ("7:4", 10, vec![(4, 7)]),
            ("3291:*", 12, vec![(12, 3291)]),
            ("1,2,3,5", 9, vec![(1, 3), (5, 5)]),
            ("*", 0, vec![(0, 0)]),
        ] {
            assert_eq!(parse(text).unwrap().ranges(largest), want, "{text}");
        }
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for text in ["", "0", "1:", ":1", "1,", ",", "a", "1:2:3", "4294967296", "-1", "$1", "1,$", "$,1", "$:*"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_last_result_stands_alone() {
        let set = parse("$").unwrap();
        assert!(set.is_saved() && set.ranges(9).is_empty() && !parse("1").unwrap().is_saved());
    }

    #[test]
    fn a_million_repetitions_become_one_range() {
        let text = "1:*,".repeat(100_000) + "5";
        assert_eq!(parse(&text).unwrap().ranges(7), [(1, 7)]);
    }

    #[test]
    fn numbers_are_written_as_runs() {
        let mut out = Vec::new();
        write_set(&mut out, [1, 2, 3, 5, 9, 10]);
        assert_eq!(out, b"1:3,5,9:10");
    }
}
