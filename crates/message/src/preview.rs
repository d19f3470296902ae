//! A few words of a message for a list of messages (RFC 8970): markup gone, white space in one piece, quotations left out.

use crate::{Encoding, Kind, Message, Part, charset};

/// RFC 8970 §3.3: characters of a preview.
pub const PREVIEW_CHARS: usize = 200;

/// Looked at of one part, as it stands in the message: style sheets and tables stand before the first word of some.
const PART_BYTES: usize = 256 << 10;

/// Parts looked at until one has words.
const MOST_PARTS: usize = 10;

/// The first words of the first text that has any: at most [`PREVIEW_CHARS`] characters on one line, empty when there is none. Attachments,
/// messages inside and what is encrypted are passed over. `message` may be the beginning of one only.
pub fn preview(message: &Message<'_>) -> String {
    let mut left = MOST_PARTS;
    let mut waiting = vec![message.root()];
    while let Some(part) = waiting.pop() {
        if left == 0 {
            break;
        }
        // with all that is in it, so that each part's header is read once
        if is_aside(part) {
            continue;
        }
        waiting.extend(message.children(part).rev());
        let kind = &part.content_type;
        let html = kind.is("text", "html");
        if part.kind != Kind::Text || !(html || kind.is("text", "plain") || kind.is("text", "enriched")) {
            continue;
        }
        left -= 1;
        let text = beginning(part);
        let mut line = Line::default();
        if html || kind.is("text", "enriched") {
            words_of_html(&text, &mut line)
        } else {
            words_of_plain(&text, &mut line)
        }
        if !line.text.is_empty() {
            return line.text;
        }
    }
    String::new()
}

/// Is the part, with all in it, not what the sender writes?
fn is_aside(part: &Part<'_>) -> bool {
    let attached = part.disposition_kind().is_some_and(|kind| kind.eq_ignore_ascii_case(b"attachment"));
    attached || part.kind == Kind::Message || part.content_type.is("multipart", "encrypted")
}

/// The beginning of a part's text. A character that is cut at its end becomes a replacement, which is no word.
fn beginning(part: &Part<'_>) -> String {
    let body = part.body_bytes();
    let mut decoder = part.encoding().decoder();
    let mut bytes = Vec::new();
    decoder.push(&body[..body.len().min(PART_BYTES)], &mut bytes);
    if part.encoding() != Encoding::Base64 || body.len() <= PART_BYTES {
        decoder.finish(&mut bytes);
    }
    let text = charset::decode(part.content_type.params.get("charset").unwrap_or(b"us-ascii"), &bytes);
    text.trim_end_matches(char::REPLACEMENT_CHARACTER).to_owned()
}

/// A preview that is being written.
#[derive(Default)]
struct Line {
    text: String,
    count: usize,
    space: bool,
}

impl Line {
    /// Adds a character; false when there is no room for more.
    fn push(&mut self, c: char) -> bool {
        if self.count >= PREVIEW_CHARS {
            return false;
        }
        if c.is_whitespace() {
            self.space = self.count > 0;
            return true;
        }
        if is_invisible(c) {
            return true;
        }
        if std::mem::take(&mut self.space) {
            self.text.push(' ');
            self.count += 1;
            if self.count >= PREVIEW_CHARS {
                self.text.pop();
                return false;
            }
        }
        self.text.push(c);
        self.count += 1;
        true
    }

    fn push_all(&mut self, text: &str) -> bool {
        text.chars().all(|c| self.push(c))
    }
}

/// Controls, and what writers of advertisements fill previews with: soft hyphens, joiners, spaces without width, marks of direction.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206f}' | '\u{feff}')
}

/// Without quotations (RFC 3676 §4.5) and what follows the signature's mark (§4.3).
fn words_of_plain(text: &str, line: &mut Line) {
    for text in text.lines() {
        if text == "-- " {
            return;
        }
        let quoted = text.starts_with('>');
        if !quoted && (!line.push_all(text) || !line.push(' ')) {
            return;
        }
    }
}

/// Elements whose text nobody reads.
const SILENT: [&str; 7] = ["head", "style", "script", "title", "template", "svg", "blockquote"];

/// Those in which nothing but their own end is a tag.
const RAW: [&str; 3] = ["style", "script", "title"];

/// Elements inside a line of text; around others words are apart.
const INLINE: [&str; 18] =
    ["a", "abbr", "b", "big", "code", "em", "font", "i", "ins", "mark", "s", "small", "span", "strike", "strong", "sub", "sup", "u"];

/// The text between tags. No tree is built: what is never closed hides the rest, which a browser would forgive and a preview need not.
fn words_of_html(html: &str, line: &mut Line) {
    let mut rest = html;
    // The silent element we are in, and how deep: they are not counted by name, as they hold no others of their kind in practice.
    let mut silent: Option<(&str, usize)> = None;
    while !rest.is_empty() {
        let end = rest.find('<').unwrap_or(rest.len());
        let (text, tail) = rest.split_at(end);
        if silent.is_none() && !words_of_text(text, line) {
            return;
        }
        if tail.is_empty() {
            return;
        }
        if let Some(comment) = tail.strip_prefix("<!--") {
            rest = comment.split_once("-->").map_or("", |(_, rest)| rest);
            continue;
        }
        if let Some((name, _)) = silent.filter(|(name, _)| RAW.contains(name))
            && !(tail.as_bytes().get(1) == Some(&b'/') && tail.get(2..2 + name.len()).is_some_and(|close| close.eq_ignore_ascii_case(name)))
        {
            rest = &tail[1..];
            continue;
        }
        let Some(tag) = Tag::read(tail) else {
            // a sign of its own
            if silent.is_none() && !line.push('<') {
                return;
            }
            rest = &tail[1..];
            continue;
        };
        rest = &tail[tag.length..];
        match silent {
            Some((name, depth)) if tag.name.eq_ignore_ascii_case(name) => {
                let depth = if tag.closes { depth - 1 } else { depth + usize::from(!tag.is_empty) };
                silent = (depth > 0).then_some((name, depth));
            }
            Some(_) => {}
            None if !tag.closes && !tag.is_empty => {
                silent = SILENT.iter().find(|name| tag.name.eq_ignore_ascii_case(name)).map(|name| (*name, 1));
            }
            None => {}
        }
        if silent.is_none() && !INLINE.iter().any(|name| tag.name.eq_ignore_ascii_case(name)) && !line.push(' ') {
            return;
        }
    }
}

struct Tag<'a> {
    name: &'a str,
    closes: bool,
    /// `<br/>`
    is_empty: bool,
    length: usize,
}

impl<'a> Tag<'a> {
    /// The tag that `text` begins with, up to its `>` outside of quotes; a tag that does not end is the rest.
    fn read(text: &'a str) -> Option<Tag<'a>> {
        let inner = text.strip_prefix('<')?;
        let (closes, named) = inner.strip_prefix('/').map_or((false, inner), |named| (true, named));
        if !named.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '!' | '?')) {
            return None;
        }
        let name_length = named.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '!' | '?' | ':' | '-'))).unwrap_or(named.len());
        let mut quote = None;
        let mut length = text.len();
        for (at, b) in text.bytes().enumerate() {
            match (quote, b) {
                (None, b'>') => {
                    length = at + 1;
                    break;
                }
                // a quote opens a value only, so that `<it's>` hides nothing
                (None, b'"' | b'\'') if text[..at].ends_with('=') => quote = Some(b),
                (Some(open), b) if open == b => quote = None,
                _ => {}
            }
        }
        Some(Tag { name: &named[..name_length], closes, is_empty: text[..length].ends_with("/>"), length })
    }
}

/// Text with character references; false when there is no room for more.
fn words_of_text(text: &str, line: &mut Line) -> bool {
    let mut rest = text;
    while let Some((before, reference)) = rest.split_once('&') {
        if !line.push_all(before) {
            return false;
        }
        // The longest that we know has 6 letters; a number has 8 digits at most.
        let end = reference.bytes().take(10).position(|b| b == b';');
        let meant = end.and_then(|end| character(&reference[..end]).map(|c| (c, end)));
        let (c, length) = meant.map_or(('&', 0), |(c, end)| (c, end + 1));
        if !line.push(c) {
            return false;
        }
        rest = &reference[length..];
    }
    line.push_all(rest)
}

/// A character by its number, or by the names that mail has.
fn character(name: &str) -> Option<char> {
    const NAMES: [(&str, char); 59] = [
        ("amp", '&'),
        ("lt", '<'),
        ("gt", '>'),
        ("quot", '"'),
        ("apos", '\''),
        ("nbsp", ' '),
        ("ensp", ' '),
        ("emsp", ' '),
        ("thinsp", ' '),
        ("shy", '\u{ad}'),
        ("zwnj", '\u{200c}'),
        ("zwj", '\u{200d}'),
        ("copy", '©'),
        ("reg", '®'),
        ("trade", '™'),
        ("euro", '€'),
        ("pound", '£'),
        ("cent", '¢'),
        ("yen", '¥'),
        ("sect", '§'),
        ("deg", '°'),
        ("middot", '·'),
        ("bull", '•'),
        ("hellip", '…'),
        ("ndash", '–'),
        ("mdash", '—'),
        ("lsquo", '‘'),
        ("rsquo", '’'),
        ("sbquo", '‚'),
        ("ldquo", '“'),
        ("rdquo", '”'),
        ("bdquo", '„'),
        ("laquo", '«'),
        ("raquo", '»'),
        ("times", '×'),
        ("rarr", '→'),
        ("larr", '←'),
        ("auml", 'ä'),
        ("ouml", 'ö'),
        ("uuml", 'ü'),
        ("Auml", 'Ä'),
        ("Ouml", 'Ö'),
        ("Uuml", 'Ü'),
        ("szlig", 'ß'),
        ("agrave", 'à'),
        ("acirc", 'â'),
        ("ccedil", 'ç'),
        ("eacute", 'é'),
        ("egrave", 'è'),
        ("ecirc", 'ê'),
        ("icirc", 'î'),
        ("ocirc", 'ô'),
        ("ucirc", 'û'),
        ("ugrave", 'ù'),
        ("aacute", 'á'),
        ("iacute", 'í'),
        ("oacute", 'ó'),
        ("uacute", 'ú'),
        ("ntilde", 'ñ'),
    ];
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => number.parse(),
        };
        return code.ok().and_then(char::from_u32);
    }
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, c)| *c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(raw: &str) -> String {
        preview(&Message::parse(raw.as_bytes()))
    }

    fn html(text: &str) -> String {
        shown(&format!("Content-Type: text/html; charset=utf-8\r\n\r\n{text}"))
    }

    #[test]
    fn plain_text_without_quotations_and_signature() {
        for (body, want) in [
            ("Hello,\r\n\r\n  this  is\tit.\r\n", "Hello, this is it."),
            ("> you wrote\r\n>> he wrote\r\nYes.\r\n", "Yes."),
            ("Bye\r\n-- \r\nAnn, Ltd\r\n", "Bye"),
            ("a\u{200b}b\u{0}c\u{202e}d", "abcd"),
            ("", ""),
        ] {
            assert_eq!(shown(&format!("Content-Type: text/plain; charset=utf-8\r\n\r\n{body}")), want, "{body:?}");
        }
        let long = shown(&format!("Content-Type: text/plain; charset=utf-8\r\n\r\n{}", "é ".repeat(1000)));
        assert_eq!(long, "é ".repeat(100).trim_end());
        assert_eq!(shown("Content-Transfer-Encoding: base64\r\n\r\nSGVsbG8="), "Hello");
    }

    #[test]
    fn html_becomes_text() {
        for (text, want) in [
            ("<html><head><title>T</title><style>p{a>b}</style></head><body><p>One</p><p>Two<br>Three</body>", "One Two Three"),
            ("a<b>b</b>c <i>d</i>", "abc d"),
            ("<div title=\"a>b\">x</div>", "x"),
            ("<!-- <p>no</p> -->yes<!-- never ends", "yes"),
            ("<script>if (a<b) {}</script>x", "x"),
            ("<blockquote>a<blockquote>b</blockquote>c</blockquote>d", "d"),
            ("caf&eacute; &amp; cr&#232;me &#x1F600; &bogus; &", "café & crème 😀 &bogus; &"),
            ("1 < 2 &lt; 3", "1 < 2 < 3"),
            ("a&nbsp;&zwnj;&nbsp;&#847;b", "a b"),
            ("<p>it's <a href='x>y'>here</a>", "it's here"),
            ("<style>never ends", ""),
            ("<p", ""),
        ] {
            assert_eq!(html(text), want, "{text:?}");
        }
    }

    #[test]
    fn the_part_with_words_is_taken() {
        let multipart = |kind: &str, parts: &[&str]| {
            let parts: String = parts.iter().map(|part| format!("--b\r\n{part}\r\n")).collect();
            format!("Content-Type: multipart/{kind}; boundary=b\r\n\r\n{parts}--b--\r\n")
        };
        let (plain, empty) = ("Content-Type: text/plain\r\n\r\nplain", "Content-Type: text/plain\r\n\r\n \r\n");
        let (html, attached) = ("Content-Type: text/html\r\n\r\n<p>html", "Content-Disposition: attachment\r\n\r\nattached");
        let inside = "Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\ninside";
        for (raw, want) in [
            (multipart("alternative", &[plain, html]), "plain"),
            (multipart("alternative", &[empty, html]), "html"),
            (multipart("mixed", &[attached, inside, plain]), "plain"),
            (multipart("mixed", &[attached, inside]), ""),
            (multipart("encrypted", &[plain]), ""),
            ("Content-Type: image/png\r\n\r\nx".into(), ""),
            (multipart("mixed", &[empty; 1000]), ""),
        ] {
            assert_eq!(shown(&raw), want, "{raw:.200}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_one_short_line(body in "(<|>|&|;|#|x|\"|'|=|/|!--|-->|p|style|é| |\\n|&#9;|\\PC){0,300}") {
            let shown = html(&body);
            prop_assert!(shown.chars().count() <= PREVIEW_CHARS && !shown.chars().any(char::is_control));
        }
    }

    /// SECURITY M2: what an attachment holds is not looked at, nor is its header again for each part in it.
    #[test]
    fn an_attachment_of_many_parts_takes_no_time() {
        let head =
            format!("Content-Type: multipart/mixed; boundary=b\r\nContent-Disposition: attachment; filename={}", "x".repeat(1 << 20));
        let raw = format!("{head}\r\n\r\n{}--b--\r\n", "--b\r\n\r\nx\r\n".repeat(9000));
        assert_eq!(shown(&raw), "");
    }

    /// SECURITY M2: the text of a tag is looked at once, and not once for each sign in it.
    #[test]
    fn hostile_markup_takes_no_time() {
        for text in ["<", "<!--", "<a", "<a b='", "&", "&#", "</", "<p =\""] {
            html(&text.repeat(1 << 18));
        }
    }
}
