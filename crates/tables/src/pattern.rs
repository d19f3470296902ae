//! `regexp:` and `pcre:` tables (regexp_table(5), pcre_table(5)).
//!
//! ```text
//! /pattern/flags      result          the result when the pattern matches; $1, ${1}, $(1) are its groups, $$ a dollar
//! !/pattern/flags     result          the result when it does not match
//! if /pattern/flags … endif           the lines between count only when it matches (or, with !, does not)
//! ```
//!
//! The delimiter is any character but letters, digits and white space. Matching ignores case unless the flag `i` turns
//! that off; `m`, `s` and `x` are as in Perl. One engine serves both types: it takes time linear in the key whatever
//! the pattern is, and has neither back-references nor look-around, which are refused when the table is read.

use crate::Error;
use crate::table::Hit;
use crate::text::logical_lines;
use regex::{Regex, RegexBuilder};
use std::path::Path;
use std::sync::Arc;

/// The rules of one file, in order.
pub struct Patterns(Vec<Rule>);

struct Rule {
    line: u32,
    test: Test,
    then: Then,
}

struct Test {
    regex: Regex,
    negated: bool,
}

enum Then {
    Answer {
        text: Arc<str>,
        template: Option<Vec<Piece>>,
    },
    /// `if`: where to go on when the test fails.
    Else(usize),
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Group(usize),
}

impl Patterns {
    /// Parses a file of this format; the error names the line.
    pub fn parse(path: &Path, text: &str) -> Result<Patterns, Error> {
        let mut rules: Vec<Rule> = Vec::new();
        let mut open_ifs = Vec::new();
        let lines =
            logical_lines(text).map_err(|line| Error::line(path, line, "the line begins with white space but continues nothing"))?;
        for line in lines {
            let wrong = |why: String| Error::line(path, line.number, why);
            let text = line.text.as_str();
            let word = text.split(|c: char| c.is_whitespace() || !c.is_alphanumeric()).next().unwrap_or_default();
            if word.eq_ignore_ascii_case("endif") {
                let at: usize = open_ifs.pop().ok_or_else(|| wrong("endif without if".into()))?;
                let end = rules.len();
                rules[at].then = Then::Else(end);
                continue;
            }
            let is_if = word.eq_ignore_ascii_case("if");
            let (test, rest) = parse_test(if is_if { text[2..].trim_start() } else { text }).map_err(wrong)?;
            let then = if is_if {
                if !rest.is_empty() {
                    return Err(wrong("there is text behind the pattern of an if".into()));
                }
                open_ifs.push(rules.len());
                Then::Else(usize::MAX)
            } else {
                if rest.is_empty() {
                    return Err(wrong("there is no result behind the pattern".into()));
                }
                let template = parse_template(rest, test.regex.captures_len(), test.negated).map_err(wrong)?;
                Then::Answer { text: rest.into(), template }
            };
            rules.push(Rule { line: line.number, test, then });
        }
        match open_ifs.pop() {
            Some(at) => Err(Error::line(path, rules[at].line, "if without endif")),
            None => Ok(Patterns(rules)),
        }
    }

    pub(crate) fn find(&self, key: &str) -> Option<Hit> {
        let mut at = 0;
        while let Some(rule) = self.0.get(at) {
            at += 1;
            let matches = rule.test.regex.is_match(key) != rule.test.negated;
            match &rule.then {
                Then::Else(end) if !matches => at = *end,
                Then::Answer { text, template } if matches => {
                    let value = match template {
                        Some(pieces) => fill(pieces, &rule.test.regex, key),
                        None => text.clone(),
                    };
                    return Some(Hit { value, line: Some(rule.line) });
                }
                _ => {}
            }
        }
        None
    }
}

/// `[!]/pattern/flags`, and what follows it.
fn parse_test(text: &str) -> Result<(Test, &str), String> {
    let body = text.trim_start_matches('!');
    let negated = (text.len() - body.len()) % 2 == 1;
    let body = body.trim_start();
    let delimiter = body.chars().next().filter(|c| !c.is_alphanumeric()).ok_or("expected /pattern/flags result")?;
    let mut end = None;
    let mut escaped = false;
    for (at, c) in body.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == delimiter {
            end = Some(at);
            break;
        }
    }
    let end = end.ok_or_else(|| format!("the pattern has no closing {delimiter}"))?;
    let source = &body[delimiter.len_utf8()..end];
    let rest = &body[end + delimiter.len_utf8()..];
    let (flags, rest) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
    // An escaped delimiter is the delimiter itself; the engine does not know e.g. `\@`.
    let source = source.replace(&format!("\\{delimiter}"), &escape_char(delimiter));
    let mut builder = RegexBuilder::new(&source);
    let (mut ignore_case, mut multi_line, mut dot_all, mut verbose) = (true, false, false, false);
    for flag in flags.chars() {
        match flag {
            'i' => ignore_case = !ignore_case,
            'm' => multi_line = !multi_line,
            's' => dot_all = !dot_all,
            'x' => verbose = !verbose,
            other => return Err(format!("unknown flag `{other}` behind the pattern (i, m, s, x)")),
        }
    }
    builder.case_insensitive(ignore_case).multi_line(multi_line).dot_matches_new_line(dot_all).ignore_whitespace(verbose);
    let regex = builder.build().map_err(|error| {
        let text = error.to_string();
        format!("the pattern is wrong: {}", text.lines().last().unwrap_or_default().trim().trim_start_matches("error: "))
    })?;
    Ok((Test { regex, negated }, rest.trim()))
}

fn escape_char(c: char) -> String {
    if "\\.+*?()|[]{}^$#&-~".contains(c) { format!("\\{c}") } else { c.to_string() }
}

/// `None` when there is nothing to fill in. `groups` counts group 0, the whole match, which Postfix does not offer.
fn parse_template(text: &str, groups: usize, negated: bool) -> Result<Option<Vec<Piece>>, String> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    let mut special = false;
    while let Some(at) = rest.find('$') {
        plain.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        special = true;
        if let Some(after) = rest.strip_prefix('$') {
            plain.push('$');
            rest = after;
            continue;
        }
        let (number, after) = match rest.as_bytes().first() {
            Some(b'{') => rest[1..].split_once('}').ok_or("${ is not closed")?,
            Some(b'(') => rest[1..].split_once(')').ok_or("$( is not closed")?,
            _ => rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())),
        };
        let group: usize = number.parse().map_err(|_| "a $ in the result is followed by no number (write $$ for a dollar)")?;
        if negated || group == 0 || group >= groups {
            return Err(format!("the result asks for group ${group}, which the pattern has not"));
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(Piece::Group(group));
        rest = after;
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(special.then_some(pieces))
}

fn fill(pieces: &[Piece], regex: &Regex, key: &str) -> Arc<str> {
    let groups = regex.captures(key);
    let mut out = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Group(n) => out.push_str(groups.as_ref().and_then(|g| g.get(*n)).map_or("", |m| m.as_str())),
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, key: &str) -> Option<String> {
        Patterns::parse(Path::new("p"), text).expect(text).find(key).map(|hit| hit.value.to_string())
    }

    #[test]
    fn patterns_answer_in_order() {
        for (table, key, want) in [
            ("/^a/ one\n/./ two", "ABC", Some("one")),
            ("/^a/i one", "ABC", None),
            ("/^a/ one\n/./ two", "b", Some("two")),
            ("!/@x\\.org$/ not ours", "a@y.org", Some("not ours")),
            ("!/@x\\.org$/ not ours", "a@x.org", None),
            ("/^(.+)-list@(.+)$/ $1@lists.$(2) ${1} $$", "dev-list@x.org", Some("dev@lists.x.org dev $")),
            ("if /@x/\n/^a/ inner\nendif\n/./ outer", "a@x", Some("inner")),
            ("if /@x/\n/^a/ inner\nendif\n/./ outer", "a@y", Some("outer")),
            ("if !/@x/\nif /^a/\n/./ deep\nendif\nendif", "a@y", Some("deep")),
            ("|^a/b|  slash", "a/b", Some("slash")),
            ("/^a\\/b/ slash", "a/b", Some("slash")),
            ("/^root@/\n   OK  text", "root@x", Some("OK  text")),
        ] {
            assert_eq!(find(table, key).as_deref(), want, "{table:?} {key:?}");
        }
    }

    #[test]
    fn wrong_lines_are_named() {
        for (table, want) in [
            ("/a/ x\n/b x", "p:2: the pattern has no closing /"),
            ("/a/", "p:1: there is no result behind the pattern"),
            ("/(/ x", "p:1: the pattern is wrong: unclosed group"),
            ("/a(?=b)/ x", "p:1: the pattern is wrong: look-around, including look-ahead and look-behind, is not supported"),
            ("/a/ $1", "p:1: the result asks for group $1, which the pattern has not"),
            ("/a/q x", "p:1: unknown flag `q` behind the pattern (i, m, s, x)"),
            ("if /a/\n/b/ c", "p:1: if without endif"),
            ("endif", "p:1: endif without if"),
            ("word x", "p:1: expected /pattern/flags result"),
        ] {
            assert_eq!(Patterns::parse(Path::new("p"), table).err().expect(table).to_string(), want);
        }
    }
}
