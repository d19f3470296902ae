//! The base subject (RFC 5256 §2.1), and how texts are compared for sorting (RFC 5051).

use unicode_normalization::UnicodeNormalization;

/// A subject without what replies and forwards put around it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subject {
    pub base: String,
    /// The subject said that it is a reply or a forward (RFC 5256 §3, THREAD REFERENCES).
    pub is_reply: bool,
}

impl Subject {
    /// Reads the value of a Subject field, folded or not.
    pub fn parse(value: &[u8]) -> Subject {
        let text = crate::words::decode(value);
        let text = text.split([' ', '\t', '\r', '\n']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        let mut is_reply = false;
        let mut rest = text.as_str();
        loop {
            rest = without_trailers(rest, &mut is_reply);
            rest = without_leaders(rest, &mut is_reply);
            // Step 6: "[fwd:" subject "]"
            match strip_word(rest, "[fwd:").and_then(|inner| inner.strip_suffix(']')) {
                Some(inner) => {
                    is_reply = true;
                    rest = inner;
                }
                None => return Subject { base: rest.to_owned(), is_reply },
            }
        }
    }
}

/// Step 2: `subj-trailer = "(fwd)" / WSP`
fn without_trailers<'a>(mut text: &'a str, is_reply: &mut bool) -> &'a str {
    loop {
        text = text.trim_end_matches([' ', '\t']);
        let at = text.len().wrapping_sub(5);
        match text.get(at..) {
            Some(tail) if tail.eq_ignore_ascii_case("(fwd)") => {
                *is_reply = true;
                text = &text[..at];
            }
            _ => return text,
        }
    }
}

/// Steps 3 to 5: `subj-leader = (*subj-blob subj-refwd) / WSP`, then blobs as long as something is left behind them.
///
/// When no `re:` follows a run of blobs, none follows the later ones either, so the run is read once.
fn without_leaders<'a>(mut text: &'a str, is_reply: &mut bool) -> &'a str {
    loop {
        text = text.trim_start_matches([' ', '\t']);
        let (mut behind, mut last) = (text, text);
        while let Some(next) = blob(behind) {
            (last, behind) = (behind, next);
        }
        if let Some(next) = refwd(behind) {
            *is_reply = true;
            text = next;
            continue;
        }
        // The last blob is the subject when nothing else would be.
        return if behind.is_empty() { last } else { behind };
    }
}

/// `subj-blob = "[" *BLOBCHAR "]" *WSP`
fn blob(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('[')?;
    let end = inner.find(['[', ']'])?;
    let behind = inner[end..].strip_prefix(']')?;
    Some(behind.trim_start_matches([' ', '\t']))
}

/// `subj-refwd = ("re" / ("fw" ["d"])) *WSP [subj-blob] ":"`
fn refwd(text: &str) -> Option<&str> {
    let behind = ["re", "fwd", "fw"].into_iter().find_map(|word| strip_word(text, word))?;
    let behind = behind.trim_start_matches([' ', '\t']);
    blob(behind).unwrap_or(behind).strip_prefix(':')
}

fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    text.get(..word.len()).filter(|head| head.eq_ignore_ascii_case(word)).map(|_| &text[word.len()..])
}

/// What the texts are compared by (i;unicode-casemap, RFC 5051 §2): upper case where it is one letter, then decomposed.
pub fn collation_key(text: &str) -> String {
    let upper = |c: char| {
        let mut all = c.to_uppercase();
        match (all.next(), all.next()) {
            (Some(one), None) => one,
            _ => c,
        }
    };
    if text.is_ascii() {
        return text.to_ascii_uppercase();
    }
    text.chars().map(upper).nfkd().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_of_replies_and_forwards_are_removed() {
        for (subject, base, is_reply) in [
            ("", "", false),
            ("foo", "foo", false),
            ("  foo\t bar \r\n baz ", "foo bar baz", false),
            ("Re: foo", "foo", true),
            ("re:foo", "foo", true),
            ("RE  : foo", "foo", true),
            ("Re[2]: foo", "foo", true),
            ("Re [2] : foo", "foo", true),
            ("Fw: foo", "foo", true),
            ("FWD: Re: fw:foo (fwd)", "foo", true),
            ("foo (FWD) (fwd)", "foo", true),
            ("[list] foo", "foo", false),
            ("[list] Re: [other] foo", "foo", true),
            ("[a][b] [c] foo", "foo", false),
            ("[a] [b]", "[b]", false),
            ("[a]", "[a]", false),
            ("Re: [a]", "[a]", true),
            ("Re:", "", true),
            ("[fwd: foo]", "foo", true),
            ("[Fwd: Re: [fwd: foo] (fwd)]", "foo", true),
            ("[fwd: foo] bar", "bar", false),
            ("[fwd: a [b] c]", "a [b] c", true),
            ("[a[b] foo", "[a[b] foo", false),
            ("Regarding: foo", "Regarding: foo", false),
            ("Re foo", "Re foo", false),
            ("Réponse", "Réponse", false),
            ("=?utf-8?q?Re:_caf=C3=A9?=", "café", true),
            ("AW: foo", "AW: foo", false),
        ] {
            assert_eq!(Subject::parse(subject.as_bytes()), Subject { base: base.into(), is_reply }, "{subject:?}");
        }
    }

    #[test]
    fn a_subject_of_a_megabyte_is_read_in_one_pass() {
        for text in ["[a]".repeat(350_000), "re:".repeat(350_000), "[fwd:".repeat(200_000) + &"]".repeat(200_000), "(fwd)".repeat(200_000)]
        {
            assert!(Subject::parse(text.as_bytes()).base.len() <= 5);
        }
        assert_eq!(Subject::parse(("[fwd:".repeat(3) + "x").as_bytes()).base, "[fwd:[fwd:[fwd:x");
    }

    #[test]
    fn case_and_composition_do_not_count() {
        assert_eq!(collation_key("Café"), collation_key("CAFE\u{301}"));
        assert_eq!(collation_key("Ⅻ"), collation_key("XII"));
        assert_ne!(collation_key("cafe"), collation_key("café"));
        assert!(collation_key("é") < collation_key("f") && collation_key("") < collation_key("a"));
    }
}
