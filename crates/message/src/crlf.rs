//! Line ends. Clients always get CRLF; files may hold LF, CRLF or both.

use memchr::memchr_iter;

/// Lines and size of some bytes as if each line ended in CRLF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Measure {
    /// Number of line ends.
    pub lines: u64,
    /// Octets when each bare LF is a CRLF.
    pub size: u64,
}

/// Counts the lines of `bytes` and its size with CRLF.
pub fn measure(bytes: &[u8]) -> Measure {
    let (mut lines, mut bare) = (0, 0);
    for at in memchr_iter(b'\n', bytes) {
        lines += 1;
        bare += u64::from(at == 0 || bytes[at - 1] != b'\r');
    }
    Measure { lines, size: bytes.len() as u64 + bare }
}

/// Octets of `bytes` when each bare LF is a CRLF.
pub fn size(bytes: &[u8]) -> u64 {
    measure(bytes).size
}

/// Whether each LF has its CR, so that the bytes can be sent as they are.
pub fn is_crlf(bytes: &[u8]) -> bool {
    memchr_iter(b'\n', bytes).all(|at| at > 0 && bytes[at - 1] == b'\r')
}

/// Appends `bytes` with each bare LF as CRLF.
pub fn write(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + bytes.len() / 32);
    let mut from = 0;
    for at in memchr_iter(b'\n', bytes) {
        if at == 0 || bytes[at - 1] != b'\r' {
            out.extend_from_slice(&bytes[from..at]);
            out.push(b'\r');
            from = at;
        }
    }
    out.extend_from_slice(&bytes[from..]);
}

/// Appends the octets `start..start + length` of what [`write`] would append: IMAP's `<start.length>`.
pub fn write_partial(bytes: &[u8], start: u64, length: u64, out: &mut Vec<u8>) {
    let end = start.saturating_add(length);
    // `place` is where `bytes[from..]` would begin in the output.
    let (mut from, mut place) = (0usize, 0u64);
    let mut copy = |piece: &[u8], place: u64| {
        let size = piece.len() as u64;
        let first = start.saturating_sub(place).min(size) as usize;
        let last = end.saturating_sub(place).min(size) as usize;
        if first < last {
            out.extend_from_slice(&piece[first..last]);
        }
    };
    for at in memchr_iter(b'\n', bytes) {
        if place >= end {
            return;
        }
        if at == 0 || bytes[at - 1] != b'\r' {
            copy(&bytes[from..at], place);
            place += (at - from) as u64;
            copy(b"\r", place);
            place += 1;
            from = at;
        }
    }
    copy(&bytes[from..], place);
}

/// The bytes with CRLF turned into LF; a CR elsewhere stays.
pub fn to_lf(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len());
    let mut from = 0;
    for at in memchr_iter(b'\n', bytes) {
        if at > 0 && bytes[at - 1] == b'\r' {
            out.extend_from_slice(&bytes[from..at - 1]);
            from = at;
        }
    }
    out.extend_from_slice(&bytes[from..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bare_line_feeds_count_double() {
        for (input, lines, size) in
            [("", 0, 0), ("a", 0, 1), ("a\n", 1, 3), ("a\r\n", 1, 3), ("\n\n", 2, 4), ("\r\r\n\n", 2, 5), ("a\rb", 0, 3)]
        {
            assert_eq!(measure(input.as_bytes()), Measure { lines, size }, "{input:?}");
        }
    }

    proptest! {
        #[test]
        fn a_part_is_cut_from_the_whole(input in "[a\\r\\n]{0,40}", start in 0u64..50, length in 0u64..50) {
            let mut whole = Vec::new();
            write(input.as_bytes(), &mut whole);
            prop_assert_eq!(whole.len() as u64, size(input.as_bytes()));
            prop_assert!(is_crlf(&whole));
            let mut part = Vec::new();
            write_partial(input.as_bytes(), start, length, &mut part);
            let from = (start as usize).min(whole.len());
            let to = ((start + length) as usize).min(whole.len());
            prop_assert_eq!(&part[..], &whole[from..to]);
        }

        #[test]
        fn line_feeds_come_back(input in "[a\\n]{0,40}") {
            let (mut crlf, mut lf) = (Vec::new(), Vec::new());
            write(input.as_bytes(), &mut crlf);
            to_lf(&crlf, &mut lf);
            prop_assert_eq!(lf, input.as_bytes());
        }
    }
}
