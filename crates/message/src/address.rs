//! Address lists of header fields (RFC 5322 §3.4, obsolete forms §4.4), in the shape of IMAP's ENVELOPE.
//!
//! One pass, no recursion, no failure: what is broken comes out as an address whose host is `SYNTAX_ERROR` or
//! `MISSING_DOMAIN` (Dovecot's words: clients know them), because a nil host means a group to IMAP.

use crate::MAX_ADDRESSES;
use crate::lexer::Lexer;
use std::borrow::Cow;

/// One entry of an address list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry<'a> {
    Mailbox(Mailbox<'a>),
    /// `name:`; IMAP shows `(NIL NIL name NIL)`.
    GroupStart(Cow<'a, [u8]>),
    /// `;`; IMAP shows `(NIL NIL NIL NIL)`.
    GroupEnd,
}

/// A mailbox. Quotes, comments and obsolete white space are gone; encoded words are left as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox<'a> {
    /// Display name, or the comment behind the address.
    pub name: Option<Cow<'a, [u8]>>,
    /// The obsolete source route, `@a,@b`.
    pub route: Option<Cow<'a, [u8]>>,
    /// Local part; `MISSING_MAILBOX` when there is none.
    pub mailbox: Cow<'a, [u8]>,
    /// Domain; `MISSING_DOMAIN` when there is none.
    pub host: Cow<'a, [u8]>,
}

impl Mailbox<'_> {
    /// `local@domain` with quotes where the local part needs them; `None` when one half is missing or empty.
    pub fn address(&self) -> Option<mail_types::Address> {
        let local = std::str::from_utf8(&self.mailbox).ok()?;
        let domain = mail_types::Domain::parse(std::str::from_utf8(&self.host).ok()?).ok()?;
        (&*self.mailbox != MISSING_MAILBOX && &*self.host != MISSING_DOMAIN && &*self.host != SYNTAX_ERROR)
            .then(|| mail_types::Address::new(local, domain).ok())?
    }

    /// The display name with encoded words decoded.
    pub fn name_text(&self) -> Option<String> {
        self.name.as_deref().map(crate::words::decode)
    }
}

const MISSING_MAILBOX: &[u8] = b"MISSING_MAILBOX";
const MISSING_DOMAIN: &[u8] = b"MISSING_DOMAIN";
const SYNTAX_ERROR: &[u8] = b"SYNTAX_ERROR";

/// Parses the value of From, To and the like. At most [`MAX_ADDRESSES`] entries, one more to close a group.
pub fn parse(value: &[u8]) -> Vec<Entry<'_>> {
    let mut parser = Parser { lexer: Lexer::new(value), out: Vec::new(), in_group: false };
    while parser.out.len() < MAX_ADDRESSES && parser.entry() {}
    if parser.in_group {
        parser.out.push(Entry::GroupEnd);
    }
    parser.out
}

/// The mailboxes of an address list as addresses, groups flattened, broken ones left out.
pub fn addresses(value: &[u8]) -> Vec<mail_types::Address> {
    let mailbox = |entry| match entry {
        Entry::Mailbox(mailbox) => mailbox.address(),
        _ => None,
    };
    parse(value).into_iter().filter_map(mailbox).collect()
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    out: Vec<Entry<'a>>,
    in_group: bool,
}

// Words of a phrase or of a local part: as a phrase they stand apart as in the text, as a local part white space is dropped.
#[derive(Default)]
struct Words<'a> {
    first: Option<Cow<'a, [u8]>>,
    // White space before each further word?
    more: Vec<(bool, Cow<'a, [u8]>)>,
}

impl<'a> Words<'a> {
    fn push(&mut self, spaced: bool, word: Cow<'a, [u8]>) {
        match self.first {
            None => self.first = Some(word),
            Some(_) => self.more.push((spaced, word)),
        }
    }

    fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn joined(self, with_space: bool) -> Cow<'a, [u8]> {
        let first = self.first.unwrap_or_default();
        if self.more.is_empty() {
            return first;
        }
        let mut out = first.into_owned();
        for (spaced, word) in self.more {
            if spaced && with_space {
                out.push(b' ');
            }
            out.extend_from_slice(&word);
        }
        Cow::Owned(out)
    }
}

impl<'a> Parser<'a> {
    // Reads up to and with the next separator; false at the end.
    fn entry(&mut self) -> bool {
        let mut words = Words::default();
        let mut comment = None;
        let mut spaced = self.lexer.cfws(&mut comment);
        loop {
            match self.lexer.peek() {
                None => {
                    self.bare(words, comment);
                    return false;
                }
                Some(b',') => {
                    self.lexer.advance();
                    self.bare(words, comment);
                    return true;
                }
                Some(b';') => {
                    self.lexer.advance();
                    self.bare(words, comment);
                    self.end_group();
                    return true;
                }
                Some(b':') => {
                    self.lexer.advance();
                    // Groups do not nest (RFC 5322 §3.4); a second one ends the first.
                    self.end_group();
                    self.out.push(Entry::GroupStart(words.joined(true)));
                    self.in_group = true;
                    return true;
                }
                Some(b'<') => {
                    self.lexer.advance();
                    self.angle(words, comment);
                    return true;
                }
                Some(b'@') => {
                    self.lexer.advance();
                    return self.spec(words, comment);
                }
                Some(b'"') => words.push(spaced, self.lexer.quoted()),
                // Loose specials mean nothing here.
                Some(b')' | b'>' | b'\\') => self.lexer.advance(),
                Some(_) => words.push(spaced, Cow::Borrowed(self.lexer.until(is_atom_end))),
            }
            spaced = self.lexer.cfws(&mut comment);
        }
    }

    fn end_group(&mut self) {
        if self.in_group {
            self.out.push(Entry::GroupEnd);
            self.in_group = false;
        }
    }

    // Words without an address: a local user, as `To: root`.
    fn bare(&mut self, words: Words<'a>, comment: Option<Cow<'a, [u8]>>) {
        if !words.is_empty() {
            let single = words.more.is_empty();
            let text = words.joined(true);
            // Several words are a name whose address is missing.
            let (name, mailbox) = if single { (comment, text) } else { (Some(text), Cow::Borrowed(MISSING_MAILBOX)) };
            self.push(name, None, mailbox, Cow::Borrowed(MISSING_DOMAIN));
        }
    }

    // local "@" was read: the domain follows.
    fn spec(&mut self, words: Words<'a>, mut comment: Option<Cow<'a, [u8]>>) -> bool {
        let mailbox = words.joined(false);
        let host = self.domain(&mut comment);
        self.lexer.cfws(&mut comment);
        if self.lexer.peek() == Some(b'<') {
            // `ann@x.org <ann@x.org>`: the first is meant as a name.
            self.lexer.advance();
            let mut name = Words::default();
            name.push(false, Cow::Owned([&*mailbox, &b"@"[..], &*host].concat()));
            self.angle(name, comment);
            return true;
        }
        self.skip_to_separator(&mut comment);
        self.push(comment.filter(|c| !c.is_empty()), None, mailbox, host);
        self.separator()
    }

    // "<" was read: route, local part, domain, ">".
    fn angle(&mut self, phrase: Words<'a>, mut comment: Option<Cow<'a, [u8]>>) {
        let mut route: Vec<u8> = Vec::new();
        self.lexer.cfws(&mut comment);
        while let Some(b'@' | b',') = self.lexer.peek() {
            if self.lexer.eat(b'@') {
                let host = self.domain(&mut comment);
                if !route.is_empty() {
                    route.push(b',');
                }
                route.push(b'@');
                route.extend_from_slice(&host);
            } else {
                self.lexer.advance();
            }
            self.lexer.cfws(&mut comment);
        }
        self.lexer.eat(b':');
        let mut words = Words::default();
        let mut host: Option<Cow<'a, [u8]>> = None;
        loop {
            let spaced = self.lexer.cfws(&mut comment);
            match self.lexer.peek() {
                None => break,
                Some(b'>') => {
                    self.lexer.advance();
                    break;
                }
                Some(b'@') => {
                    self.lexer.advance();
                    let domain = self.domain(&mut comment);
                    match host {
                        // A second @: the first was part of the local part, broken as that is.
                        Some(first) => {
                            words.push(false, Cow::Owned([&b"@"[..], &*first].concat()));
                            host = Some(domain);
                        }
                        None => host = Some(domain),
                    }
                }
                Some(b'"') => words.push(spaced, self.lexer.quoted()),
                // No `>`: the next address begins.
                Some(b',' | b';') if host.is_some() => break,
                Some(b',' | b';' | b':' | b'<' | b')' | b'\\') => self.lexer.advance(),
                Some(_) => words.push(spaced, Cow::Borrowed(self.lexer.until(is_atom_end))),
            }
        }
        self.skip_to_separator(&mut comment);
        let name = if phrase.is_empty() { comment } else { Some(phrase.joined(true)) };
        let route = (!route.is_empty()).then_some(Cow::Owned(route));
        let (empty, host) = (words.is_empty(), host.unwrap_or(Cow::Borrowed(MISSING_DOMAIN)));
        // `<>` alone is no address of anybody, but IMAP needs something to show.
        let mailbox = if empty { Cow::Borrowed(&b""[..]) } else { words.joined(false) };
        self.push(name.filter(|n| !n.is_empty()), route, mailbox, host);
        if matches!(self.lexer.peek(), Some(b';')) {
            self.lexer.advance();
            self.end_group();
        } else {
            self.lexer.eat(b',');
        }
    }

    // A domain: atoms and dots, white space and comments between them dropped, or a literal.
    fn domain(&mut self, comment: &mut Option<Cow<'a, [u8]>>) -> Cow<'a, [u8]> {
        self.lexer.cfws(comment);
        if self.lexer.peek() == Some(b'[') {
            let inner = self.lexer.until(|b| matches!(b, b']' | b',' | b'>' | b'\r' | b'\n'));
            let closed = self.lexer.eat(b']');
            return if closed { Cow::Owned([inner, &b"]"[..]].concat()) } else { Cow::Borrowed(SYNTAX_ERROR) };
        }
        let mut host = Cow::Borrowed(self.lexer.until(is_atom_end));
        loop {
            let before = self.lexer.clone();
            let kept = comment.clone();
            self.lexer.cfws(comment);
            // `example . org`: obsolete white space around dots.
            let dotted = self.lexer.peek() == Some(b'.') || host.ends_with(b".");
            let more = if dotted { self.lexer.until(is_atom_end) } else { b"" };
            if more.is_empty() {
                self.lexer = before;
                *comment = kept;
                break;
            }
            host.to_mut().extend_from_slice(more);
        }
        if host.is_empty() { Cow::Borrowed(MISSING_DOMAIN) } else { host }
    }

    fn skip_to_separator(&mut self, comment: &mut Option<Cow<'a, [u8]>>) {
        loop {
            self.lexer.cfws(comment);
            match self.lexer.peek() {
                None | Some(b',' | b';') => return,
                Some(b'"') => drop(self.lexer.quoted()),
                Some(_) => self.lexer.advance(),
            }
        }
    }

    fn separator(&mut self) -> bool {
        match self.lexer.peek() {
            Some(b';') => {
                self.lexer.advance();
                self.end_group();
                true
            }
            Some(_) => {
                self.lexer.advance();
                true
            }
            None => false,
        }
    }

    fn push(&mut self, name: Option<Cow<'a, [u8]>>, route: Option<Cow<'a, [u8]>>, mailbox: Cow<'a, [u8]>, host: Cow<'a, [u8]>) {
        let mailbox = if mailbox.is_empty() { Cow::Borrowed(MISSING_MAILBOX) } else { mailbox };
        self.out.push(Entry::Mailbox(Mailbox { name, route, mailbox, host }));
    }
}

fn is_atom_end(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | b'\n' | b'(' | b')' | b'<' | b'>' | b'@' | b',' | b';' | b':' | b'"' | b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(value: &str) -> String {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let nil = |b: &Option<Cow<'_, [u8]>>| b.as_deref().map_or("-".into(), text);
        let one = |entry: &Entry<'_>| match entry {
            Entry::Mailbox(m) => format!("{}|{}|{}|{}", nil(&m.name), nil(&m.route), text(&m.mailbox), text(&m.host)),
            Entry::GroupStart(name) => format!("{}:", text(name)),
            Entry::GroupEnd => ";".into(),
        };
        parse(value.as_bytes()).iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn address_lists_are_parsed() {
        for (input, want) in [
            ("ann@x.org", "-|-|ann|x.org"),
            ("<ann@x.org>", "-|-|ann|x.org"),
            ("Ann Lee <ann@x.org>, bob@y.org", "Ann Lee|-|ann|x.org -|-|bob|y.org"),
            ("\"Lee, Ann\" <ann@x.org>", "Lee, Ann|-|ann|x.org"),
            ("ann@x.org (Ann Lee)", "Ann Lee|-|ann|x.org"),
            ("Ann (work) <ann@x.org>", "Ann|-|ann|x.org"),
            ("=?utf-8?q?=C3=A9?= <a@x.org>", "=?utf-8?q?=C3=A9?=|-|a|x.org"),
            ("Dr. A. B. <a@x.org>", "Dr. A. B.|-|a|x.org"),
            ("Joe \"the\" Q.Public <j@x.org>", "Joe the Q.Public|-|j|x.org"),
            ("Friends: ann@x.org, Bob <b@y.org>; c@z.org", "Friends: -|-|ann|x.org Bob|-|b|y.org ; -|-|c|z.org"),
            ("undisclosed-recipients:;", "undisclosed-recipients: ;"),
            ("g: a@x.org", "g: -|-|a|x.org ;"),
            ("g: a@x.org, h: b@x.org;", "g: -|-|a|x.org ; h: -|-|b|x.org ;"),
            ("a@x.org; b@x.org", "-|-|a|x.org -|-|b|x.org"),
            ("<@a.org,@b.org:ann@x.org>", "-|@a.org,@b.org|ann|x.org"),
            ("\"a b\"@x.org", "-|-|a b|x.org"),
            ("john . doe @ example . org", "-|-|john.doe|example.org"),
            ("ann@[192.0.2.1]", "-|-|ann|[192.0.2.1]"),
            ("ann@[192.0.2.1", "-|-|ann|SYNTAX_ERROR"),
            ("root", "-|-|root|MISSING_DOMAIN"),
            ("Ann Lee", "Ann Lee|-|MISSING_MAILBOX|MISSING_DOMAIN"),
            ("Ann <ann>", "Ann|-|ann|MISSING_DOMAIN"),
            ("<>", "-|-|MISSING_MAILBOX|MISSING_DOMAIN"),
            ("@x.org", "-|-|MISSING_MAILBOX|x.org"),
            ("ann@", "-|-|ann|MISSING_DOMAIN"),
            ("ann@x.org <ann@x.org>", "ann@x.org|-|ann|x.org"),
            ("Ann <ann@x.org", "Ann|-|ann|x.org"),
            ("Ann <ann@x.org, bob@y.org", "Ann|-|ann|x.org -|-|bob|y.org"),
            ("<a@b@x.org>", "-|-|a@b|x.org"),
            ("<ann@x.org> junk, b@y.org", "-|-|ann|x.org -|-|b|y.org"),
            (",,a@x.org,,", "-|-|a|x.org"),
            ("a@x.org,\r\n b@y.org", "-|-|a|x.org -|-|b|y.org"),
            ("", ""),
            ("(just a comment)", ""),
            ("a@x.org (unclosed (comment", "unclosed (comment|-|a|x.org"),
            ("\"unclosed <a@x.org>", "-|-|unclosed <a@x.org>|MISSING_DOMAIN"),
            ("Ann<ann@x.org>Bob<bob@x.org>,c@d", "Ann|-|ann|x.org -|-|c|d"),
            ("a(c)@(d)x.org", "d|-|a|x.org"),
        ] {
            assert_eq!(shown(input), want, "{input:?}");
        }
    }

    #[test]
    fn endless_lists_are_cut_and_groups_still_closed() {
        let many = "a,".repeat(1_000_000);
        assert_eq!(parse(many.as_bytes()).len(), MAX_ADDRESSES);
        let open = format!("g:{many}");
        assert_eq!(parse(open.as_bytes()).last(), Some(&Entry::GroupEnd));
        let nested = "(".repeat(100_000) + "a@x.org";
        assert!(parse(nested.as_bytes()).is_empty());
        assert_eq!(parse("a . ".repeat(100_000).as_bytes()).len(), 1);
    }

    #[test]
    fn addresses_of_the_envelope_are_made_where_they_are_whole() {
        let got: Vec<_> = addresses(b"g: Ann@X.org, root, \"a b\"@y.org;, <@r:c@z.org>").iter().map(ToString::to_string).collect();
        assert_eq!(got, ["Ann@x.org", "\"a b\"@y.org", "c@z.org"]);
    }

    proptest! {
        #[test]
        fn no_input_fails_and_each_group_is_closed(input in "[ab@<>,;:.()\"\\\\ \\r\\n\\[\\]]{0,60}") {
            let list = parse(input.as_bytes());
            let starts = list.iter().filter(|e| matches!(e, Entry::GroupStart(_))).count();
            let ends = list.iter().filter(|e| matches!(e, Entry::GroupEnd)).count();
            prop_assert_eq!(starts, ends);
        }

        #[test]
        fn plain_addresses_come_back(local in "[a-z]{1,9}(\\.[a-z0-9]{1,5})?", domain in "[a-z]{1,9}\\.org", name in "[A-Za-z]{1,9}( [a-z]{1,5})?") {
            let text = format!("{name} <{local}@{domain}>");
            let want = Entry::Mailbox(Mailbox {
                name: Some(name.as_bytes().into()), route: None, mailbox: local.as_bytes().into(), host: domain.as_bytes().into(),
            });
            prop_assert_eq!(parse(text.as_bytes()), vec![want]);
        }
    }
}
