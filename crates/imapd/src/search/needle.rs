//! What a search looks for.

use memchr::memmem::Finder;

/// What is looked for, in lower case. The empty string is in everything.
pub struct Needle {
    text: String,
    finder: Finder<'static>,
}

impl Needle {
    pub fn new(text: &str) -> Needle {
        let text = text.to_lowercase();
        // takes time linear in the text, whatever the two are made of
        let finder = Finder::new(text.as_bytes()).into_owned();
        Needle { text, finder }
    }

    pub fn length(&self) -> usize {
        self.text.len()
    }

    /// `lower` is text in lower case.
    pub fn is_in(&self, lower: &str) -> bool {
        self.text.is_empty() || self.finder.find(lower.as_bytes()).is_some()
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
            ("", "", true),
            ("aab", "aaab", true),
            ("b", "", false),
            ("long needle", "long", false),
        ] {
            assert_eq!(Needle::new(needle).is_in(&text.to_lowercase()), want, "{needle:?} in {text:?}");
        }
    }
}
