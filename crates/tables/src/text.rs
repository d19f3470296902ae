//! The text format of Postfix tables, `postmap(1)` and `aliases(5)`.
//!
//! Lines that are empty, or whose first character other than white space is `#`, do not count. A line that begins with
//! white space continues the one before it. A table line is `key whitespace value`; a key with white space in it stands in
//! double quotes. An alias line is `name: value, value, …`. Keys are compared in lower case; of two equal keys the first
//! counts, as with `postmap`.

use crate::Error;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// A line with its continuations, and the number of its first line (from 1).
#[derive(Debug, PartialEq, Eq)]
pub struct LogicalLine {
    pub number: u32,
    pub text: String,
}

/// Joins continuation lines and drops comments and empty lines. The error is the number of a line that continues nothing.
pub fn logical_lines(text: &str) -> Result<Vec<LogicalLine>, u32> {
    let mut lines: Vec<LogicalLine> = Vec::new();
    for (number, line) in (1u32..).zip(text.lines()) {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        if line.starts_with([' ', '\t']) {
            let last = lines.last_mut().ok_or(number)?;
            last.text.push(' ');
            last.text.push_str(trimmed);
        } else {
            lines.push(LogicalLine { number, text: trimmed.to_owned() });
        }
    }
    Ok(lines)
}

/// The content of a text table: lower-case key to value, with the line that says so.
#[derive(Debug, Default)]
pub(crate) struct Entries(HashMap<Box<str>, (Arc<str>, u32)>);

impl Entries {
    pub fn get(&self, key: &str) -> Option<(Arc<str>, u32)> {
        self.0.get(key).map(|(value, line)| (value.clone(), *line))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn insert(&mut self, key: &str, value: &str, line: u32) -> bool {
        match self.0.entry(key.to_lowercase().into()) {
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert((value.into(), line));
                true
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, (value, _))| (&**key, &**value))
    }
}

/// Parses a table file.
pub(crate) fn parse_table(path: &Path, text: &str) -> Result<Entries, Error> {
    parse(path, text, |line| {
        let (key, rest) = split_key(line, |c| c.is_whitespace()).ok_or("the quotes of the key are not closed")?;
        let value = rest.trim();
        if key.is_empty() {
            return Err("the key is empty");
        }
        if value.is_empty() {
            return Err("there is no value behind the key (expected: key, white space, value)");
        }
        Ok((key, value.to_owned()))
    })
}

/// Parses an alias file.
pub(crate) fn parse_aliases(path: &Path, text: &str) -> Result<Entries, Error> {
    parse(path, text, |line| {
        let (key, rest) = split_key(line, |c| c == ':' || c.is_whitespace()).ok_or("the quotes of the name are not closed")?;
        let value = rest.trim_start().strip_prefix(':').ok_or("expected `name: value`")?.trim();
        if key.is_empty() || value.is_empty() {
            return Err("expected `name: value`");
        }
        Ok((key, value.to_owned()))
    })
}

fn parse(path: &Path, text: &str, split: impl Fn(&str) -> Result<(String, String), &'static str>) -> Result<Entries, Error> {
    let lines = logical_lines(text).map_err(|line| Error::line(path, line, "the line begins with white space but continues nothing"))?;
    let mut entries = Entries::default();
    for line in lines {
        let (key, value) = split(&line.text).map_err(|why| Error::line(path, line.number, why))?;
        if !entries.insert(&key, &value, line.number) {
            tracing::warn!(file = %path.display(), line = line.number, key = %mail_types::printable(&key), "duplicate key: the first one counts");
        }
    }
    Ok(entries)
}

/// The key without its quotes, and what follows it. `None` when quotes are not closed.
fn split_key(line: &str, ends: impl Fn(char) -> bool) -> Option<(String, &str)> {
    let mut key = String::new();
    let mut quoted = false;
    let mut chars = line.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => quoted = !quoted,
            '\\' if quoted => key.push(chars.next()?.1),
            c if !quoted && ends(c) => return Some((key, &line[at..])),
            c => key.push(c),
        }
    }
    (!quoted).then_some((key, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Result<Entries, String> {
        parse_table(Path::new("t"), text).map_err(|e| e.to_string())
    }

    #[test]
    fn comments_and_continuation_lines_are_read_as_postfix_reads_them() {
        let lines = logical_lines("# c\n\na b\n  # inner comment\n\n  c\nd e\n").expect("lines");
        let got: Vec<_> = lines.iter().map(|l| (l.number, l.text.as_str())).collect();
        assert_eq!(got, [(3, "a b c"), (7, "d e")]);
        assert_eq!(logical_lines("\n  x\n"), Err(2));
    }

    #[test]
    fn keys_are_folded_and_the_first_of_two_counts() {
        let t = table("Ann@X.org\tann/ \r\n\"two words\" v\nann@x.org other\n").expect("table");
        assert_eq!(t.get("ann@x.org").map(|v| v.0), Some("ann/".into()));
        assert_eq!(t.get("two words").map(|v| (v.0, v.1)), Some(("v".into(), 2)));
        assert_eq!(t.len(), 2);
    }

    #[test]
    fn errors_name_file_and_line() {
        for (input, want) in [
            ("a b\nc\n", "t:2: there is no value behind the key (expected: key, white space, value)"),
            ("\"a b\n", "t:1: the quotes of the key are not closed"),
            (" a b\n", "t:1: the line begins with white space but continues nothing"),
        ] {
            assert_eq!(table(input).expect_err(input), want);
        }
    }

    #[test]
    fn alias_files_have_a_colon_behind_the_name() {
        let t = parse_aliases(Path::new("a"), "root:ann@x.org\nPostmaster : root,\n\tbob\n\"odd name\": x\n").expect("aliases");
        assert_eq!(t.get("root").map(|v| v.0), Some("ann@x.org".into()));
        assert_eq!(t.get("postmaster").map(|v| v.0), Some("root, bob".into()));
        assert_eq!(t.get("odd name").map(|v| v.0), Some("x".into()));
        assert_eq!(parse_aliases(Path::new("a"), "root ann\n").expect_err("colon").to_string(), "a:1: expected `name: value`");
    }
}
