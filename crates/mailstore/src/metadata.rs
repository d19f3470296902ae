//! Annotations of mailboxes and of the account (RFC 5464): `facteur-metadata` in the mailbox's directory, so that it follows the mailbox when that
//! is renamed and goes with it; `facteur-metadata-server` in the root for those of the account.
//!
//! ```text
//! facteur-metadata 1
//! /private/comment TAB first line%0D%0Asecond
//! /shared/vendor/x TAB value
//! ```
//! A line per entry, sorted: name, tab, value; everything in it that is not printable ASCII, and `%`, as `%` and two digits. Replaced as a whole under
//! `facteur-metadata.lock`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::lock;

pub(crate) const OF_MAILBOX: &str = "facteur-metadata";
pub(crate) const OF_SERVER: &str = "facteur-metadata-server";
const TEMPORARY: &str = "facteur-metadata.tmp";
const LOCK: &str = "facteur-metadata.lock";
const HEADER: &str = "facteur-metadata 1\n";
/// Longer files are none of ours.
const LARGEST: u64 = 64 << 20;

/// Entries with their values. Names are as RFC 5464 §3.2 wants them, in small letters.
pub type Annotations = BTreeMap<String, Vec<u8>>;

/// How much may be kept of one mailbox.
#[derive(Clone, Copy, Debug)]
pub struct AnnotationLimits {
    pub value_bytes: usize,
    pub entries: usize,
    /// Names and values together.
    pub bytes: usize,
}

/// Why annotations were not changed.
#[derive(Debug, thiserror::Error)]
pub enum AnnotationError {
    #[error("value is too large")]
    TooLarge,
    #[error("too many entries")]
    TooMany,
    #[error(transparent)]
    Store(#[from] Error),
}

pub(crate) fn read(dir: &Dir, file: &str) -> Result<Annotations> {
    let Some(bytes) = dir.read_small(file, LARGEST)? else { return Ok(Annotations::new()) };
    let text = String::from_utf8_lossy(&bytes);
    let Some(lines) = text.strip_prefix(HEADER) else {
        // somebody else's, or a later version's: not to be overwritten
        return Err(Error::Unsafe { path: dir.at(file), what: "annotations are in a format that is not known" });
    };
    Ok(lines.lines().filter_map(|line| line.split_once('\t')).map(|(name, value)| (name.to_owned(), unescape(value))).collect())
}

/// Sets values, or removes those that are `None`: all or nothing. Durable on return.
pub(crate) fn change(
    dir: &Dir,
    file: &str,
    changes: Vec<(String, Option<Vec<u8>>)>,
    limits: AnnotationLimits,
) -> std::result::Result<(), AnnotationError> {
    if changes.iter().any(|(_, value)| value.as_ref().is_some_and(|value| value.len() > limits.value_bytes)) {
        return Err(AnnotationError::TooLarge);
    }
    let _lock = lock::lock(dir, LOCK, Duration::from_secs(30))?;
    let before = read(dir, file)?;
    let mut after = before.clone();
    for (name, value) in changes {
        match value {
            Some(value) => after.insert(name, value),
            None => after.remove(&name),
        };
    }
    // a limit that was lowered must not keep anybody from changing what is there
    let size = |all: &Annotations| all.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    let exceeds = |after: usize, before: usize, limit: usize| after > limit && after > before;
    if exceeds(after.len(), before.len(), limits.entries) || exceeds(size(&after), size(&before), limits.bytes) {
        return Err(AnnotationError::TooMany);
    }
    // what can be written can be read again
    let size: usize = after.iter().map(|(name, value)| name.len() + 3 * value.len() + 2).sum();
    if size as u64 + HEADER.len() as u64 > LARGEST {
        return Err(AnnotationError::TooMany);
    }
    if after != before {
        write(dir, file, &after)?;
    }
    Ok(())
}

/// RFC 5464 §4.1: RENAME of INBOX leaves its annotations and gives the new mailbox the same.
pub(crate) fn copy(from: &Dir, to: &Dir) -> Result<()> {
    let all = read(from, OF_MAILBOX)?;
    if all.is_empty() { Ok(()) } else { write(to, OF_MAILBOX, &all) }
}

fn write(dir: &Dir, file: &str, all: &Annotations) -> Result<()> {
    if all.is_empty() {
        dir.unlink(file)?;
        return dir.sync();
    }
    let mut text = String::from(HEADER);
    for (name, value) in all {
        text.push_str(name);
        text.push('\t');
        escape(&mut text, value);
        text.push('\n');
    }
    dir.replace(file, TEMPORARY, text.as_bytes())
}

fn escape(out: &mut String, value: &[u8]) {
    for &b in value {
        if (b' '..0x7f).contains(&b) && b != b'%' {
            out.push(char::from(b));
        } else {
            out.push('%');
            out.extend([b >> 4, b & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0').to_ascii_uppercase()));
        }
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&b, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| b == b'%').and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        out.push(code.unwrap_or(b));
        rest = &after[if code.is_some() { 2 } else { 0 }..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: AnnotationLimits = AnnotationLimits { value_bytes: 10, entries: 2, bytes: 40 };

    fn set(dir: &Dir, entries: &[(&str, Option<&str>)]) -> std::result::Result<(), AnnotationError> {
        let changes = entries.iter().map(|(name, value)| (name.to_string(), value.map(|value| value.as_bytes().to_vec()))).collect();
        change(dir, OF_MAILBOX, changes, LIMITS)
    }

    #[test]
    fn all_changes_are_made_or_none() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::create_root(&temp.path().join("m")).unwrap();
        set(&dir, &[("/private/comment", Some("a\r\n%\0é")), ("/shared/x", Some("1"))]).unwrap();
        let text = "facteur-metadata 1\n/private/comment\ta%0D%0A%25%00%C3%A9\n/shared/x\t1\n";
        assert_eq!(std::fs::read_to_string(dir.at(OF_MAILBOX)).unwrap(), text);
        assert_eq!(read(&dir, OF_MAILBOX).unwrap()["/private/comment"], "a\r\n%\0é".as_bytes());
        assert!(matches!(set(&dir, &[("/shared/x", None), ("/shared/y", Some("12345678901"))]), Err(AnnotationError::TooLarge)));
        assert!(matches!(set(&dir, &[("/shared/x", Some("2")), ("/shared/y", Some("1"))]), Err(AnnotationError::TooMany)));
        assert_eq!(std::fs::read_to_string(dir.at(OF_MAILBOX)).unwrap(), text);
        assert!(matches!(set(&dir, &[("/shared/x", Some("1234567890"))]), Err(AnnotationError::TooMany)), "16 + 7 + 9 + 10 bytes");
        // one for another is no more than before
        set(&dir, &[("/shared/y", Some("2")), ("/shared/x", None)]).unwrap();
        assert_eq!(read(&dir, OF_MAILBOX).unwrap().len(), 2);
        set(&dir, &[("/shared/y", None), ("/private/comment", None)]).unwrap();
        assert!(!dir.at(OF_MAILBOX).exists());
    }

    #[test]
    fn a_file_in_another_format_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::create_root(&temp.path().join("m")).unwrap();
        std::fs::write(dir.at(OF_MAILBOX), "facteur-metadata 2\nx\n").unwrap();
        assert!(set(&dir, &[("/shared/x", Some("1"))]).is_err());
        assert_eq!(std::fs::read_to_string(dir.at(OF_MAILBOX)).unwrap(), "facteur-metadata 2\nx\n");
    }
}
