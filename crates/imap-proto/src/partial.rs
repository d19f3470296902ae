//! PARTIAL: a window on results, counted from either end (RFC 9394, and RFC 5267 §4.4 before it).

use crate::cursor::Cursor;
use crate::encode;
use crate::error::ParseError;
use std::ops::Range;

/// `1:500`, or `-1:-500` for the last ones. Kept as written: the answer repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialRange {
    ends: (u32, u32),
    from_end: bool,
}

impl PartialRange {
    /// RFC 9394 §4: `partial-range = nz-number ":" nz-number / "-" nz-number ":" "-" nz-number`
    pub fn parse(cursor: &mut Cursor<'_>) -> Result<PartialRange, ParseError> {
        const WHAT: &str = "Invalid range of results";
        let from_end = cursor.take(b'-');
        let first = cursor.nz_number(WHAT)?;
        cursor.expect(b':', WHAT)?;
        if cursor.take(b'-') != from_end {
            return Err(ParseError::syntax(WHAT));
        }
        Ok(PartialRange { ends: (first, cursor.nz_number(WHAT)?), from_end })
    }

    /// The places it means among `count` results, from 0; empty when there are none.
    pub fn of(self, count: usize) -> Range<usize> {
        let (first, last) = (self.ends.0.min(self.ends.1) as usize, self.ends.0.max(self.ends.1) as usize);
        let (first, last) = ((first - 1).min(count), last.min(count));
        if self.from_end { count - last..count - first } else { first..last }
    }

    pub fn write(self, out: &mut Vec<u8>) {
        for (number, before) in [(self.ends.0, ""), (self.ends.1, ":")] {
            out.extend_from_slice(before.as_bytes());
            if self.from_end {
                out.push(b'-');
            }
            encode::number(out, number.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PartialRange, ParseError> {
        let mut cursor = Cursor::new(text.as_bytes());
        let range = PartialRange::parse(&mut cursor)?;
        cursor.end()?;
        Ok(range)
    }

    #[test]
    fn ranges_are_cut_at_what_there_is() {
        for (text, count, want) in [
            ("1:3", 5, 0..3),
            ("3:1", 5, 0..3),
            ("4:9", 5, 3..5),
            ("5:5", 5, 4..5),
            ("6:9", 5, 5..5),
            ("1:4294967295", 5, 0..5),
            ("-1:-2", 5, 3..5),
            ("-2:-1", 5, 3..5),
            ("-4:-9", 5, 0..2),
            ("-6:-9", 5, 0..0),
            ("-1:-1", 0, 0..0),
            ("1:1", 0, 0..0),
        ] {
            let range = parse(text).unwrap();
            assert_eq!(range.of(count), want, "{text} of {count}");
            let mut out = Vec::new();
            range.write(&mut out);
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in ["", "1", "0:1", "1:0", "1:*", "-1:1", "1:-1", "-0:-1", "1:4294967296", "1:2:3", "--1:--2", "1,2", "-1"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
