//! What a search looks for.

use memchr::memmem::Finder;
use message::collation_key;

/// What is looked for, as i;unicode-casemap compares it (RFC 5255 §4.2). The empty string is in everything.
pub struct Needle {
    text: String,
    finder: Finder<'static>,
}

impl Needle {
    pub fn new(text: &str) -> Needle {
        let text = collation_key(text);
        // takes time linear in the text, whatever the two are made of
        let finder = Finder::new(text.as_bytes()).into_owned();
        Needle { text, finder }
    }

    pub fn length(&self) -> usize {
        self.text.len()
    }

    /// `keyed` is text as [`collation_key`] makes it.
    pub fn is_in(&self, keyed: &str) -> bool {
        self.text.is_empty() || self.finder.find(keyed.as_bytes()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_means_nothing() {
        for (needle, text, want) in [
            ("hello", "Say HELLO there", true),
            ("HELLO", "say hello", true),
            ("Été", "l'été indien", true),
            ("ÉTÉ", "ete", false),
            // RFC 5051 §2: composed or not, letters of full width, titlecase digraphs
            ("\u{e9}t\u{e9}", "E\u{301}TE\u{301}", true),
            ("ete", "\u{ff25}\u{ff34}\u{ff25}", true),
            ("\u{1c6}", "\u{1c5}", true),
            ("privet", "привет", false),
            ("ПРИВЕТ", "привет", true),
            ("", "", true),
            ("aab", "aaab", true),
            ("b", "", false),
            ("long needle", "long", false),
        ] {
            assert_eq!(Needle::new(needle).is_in(&collation_key(text)), want, "{needle:?} in {text:?}");
        }
    }
}
