//! What a search looks for.

use memchr::memmem::Finder;
use message::collation_key;
use message::fuzzy::{EXACT, IN_BODY, Words};
use message::signature::Probe;
use message::texts::Place;

/// What is looked for, as i;unicode-casemap compares it (RFC 5255 §4.2). The empty string is in everything.
pub struct Needle {
    text: String,
    finder: Finder<'static>,
    /// What has to be in a message's signature.
    probe: Option<Probe>,
    /// What is like it will do too (RFC 6203 §3).
    words: Option<Words>,
}

impl Needle {
    pub fn new(text: &str) -> Needle {
        let text = collation_key(text);
        // takes time linear in the text, whatever the two are made of
        let finder = Finder::new(text.as_bytes()).into_owned();
        let probe = Probe::new(&text);
        Needle { text, finder, probe, words: None }
    }

    /// One for what is like `text`; `None` when it has too many words.
    pub fn fuzzy(text: &str) -> Option<Needle> {
        let needle = Needle::new(text);
        let words = Words::new(&needle.text)?;
        Some(Needle { probe: None, words: Some(words), ..needle })
    }

    pub fn length(&self) -> usize {
        self.text.len()
    }

    /// Words that are looked for one by one.
    pub fn words(&self) -> usize {
        self.words.as_ref().map_or(0, Words::count)
    }

    /// What has to be in a message's signature for it to be in the message; `None`: it may be in any.
    pub fn probe(&self) -> Option<&Probe> {
        self.probe.as_ref()
    }

    /// How many points say how far it was found.
    pub fn points(&self) -> usize {
        self.words().max(1)
    }

    /// Looks for it in a text, as [`collation_key`] makes it, of which the bytes before `fresh` were looked at before. `points` are the best of
    /// all texts so far.
    pub fn look(&self, keyed: &str, fresh: usize, place: Place, points: &mut [u8]) {
        if points.iter().all(|points| *points == EXACT) {
            return;
        }
        let Some(words) = &self.words else {
            if self.is_in(keyed) {
                points.fill(EXACT);
            }
            return;
        };
        let worth_less = if matches!(place, Place::Body { .. }) { IN_BODY } else { 0 };
        if self.is_in(keyed) {
            points.iter_mut().for_each(|points| *points = (*points).max(EXACT - worth_less));
        }
        words.look(keyed.get(fresh..).unwrap_or(keyed), worth_less, points);
    }

    /// How well it was found, 1 to 100; 0 where it was not.
    pub fn score(&self, points: &[u8]) -> u8 {
        match points.contains(&0) {
            true => 0,
            false => (points.iter().map(|points| usize::from(*points)).sum::<usize>() / points.len().max(1)) as u8,
        }
    }

    /// Scores are for what need not be there as it is.
    pub fn is_fuzzy(&self) -> bool {
        self.words.is_some()
    }

    /// `keyed` is text as [`collation_key`] makes it.
    fn is_in(&self, keyed: &str) -> bool {
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

    #[test]
    fn what_is_like_it_is_worth_less() {
        let score = |needle: &str, texts: &[(&str, Place)]| {
            let needle = Needle::fuzzy(needle).expect("few words");
            let mut points = vec![0; needle.points()];
            for (text, place) in texts {
                needle.look(&collation_key(text), 0, *place, &mut points);
            }
            needle.score(&points)
        };
        let body = Place::Body { begins: true };
        for (needle, texts, want) in [
            ("hello world", &[("Hello World!", Place::Value)][..], 100),
            ("ello wor", &[("Hello World!", body)], 90),
            ("world hello", &[("Hello World!", body)], 70),
            ("world hello", &[("Hello", Place::Value), ("worlds", body)], 65),
            ("Helo", &[("hello", Place::Value)], 40),
            ("Helo", &[("hello", body)], 30),
            ("world hello", &[("hello", body)], 0),
            ("", &[("", body)], 90),
            ("", &[], 0),
            ("!!", &[("what?!", body)], 0),
        ] {
            assert_eq!(score(needle, texts), want, "{needle:?} in {texts:?}");
        }
        assert!(Needle::fuzzy(&(0..17).map(|n| format!("w{n} ")).collect::<String>()).is_none());
    }
}
