//! Texts that are like what somebody looks for (RFC 6203 §3): words of the same root, words with a letter wrong, accents left out. Nothing is
//! learnt and nothing remembered: the same question has the same answer.
//!
//! A text is compared word by word, as [`crate::collation_key`] has it and without accents. What was looked for has been found when it stands there
//! as it is, in words or in the middle of them, or when each of its words was found, in whatever order and whichever texts of the message. Each word has points for
//! the best that stands for it, and a message the mean of its words:
//!
//! | points | what stands there |
//! |--:|---|
//! | 100 | all that was looked for, as it is |
//! | 80 | the word, or the word with other accents |
//! | 60 | a word that begins with it, or that it begins with: at least 4 letters the same, and at most 3 more |
//! | 40 | a word with one letter more, less, or another, or two neighbours swapped; from 4 letters on |
//! | 20 | the same twice; from 8 letters on |
//!
//! In a body each is worth 10 less than in a header.

use std::cmp::min;
use unicode_normalization::char::is_combining_mark;

/// Words of one string that is looked for.
pub const MOST_WORDS: usize = 16;

/// Longer words are compared as they are only, by their beginnings.
const LONGEST_WORD: usize = 40;

/// What is found there as it is.
pub const EXACT: u8 = 100;
const EQUAL: u8 = 80;
const BEGINS: u8 = 60;
const ONE_OFF: u8 = 40;
const TWO_OFF: u8 = 20;

/// So much less is what is found in a body worth.
pub const IN_BODY: u8 = 10;

const LEAST_BEGIN: usize = 4;
const MOST_ENDING: usize = 3;

/// Words that are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words(Vec<Word>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    letters: Vec<char>,
    mask: u64,
}

impl Words {
    /// The words of a string, as texts are compared. `None` when they are more than [`MOST_WORDS`].
    pub fn new(key: &str) -> Option<Words> {
        let mut words: Vec<Word> = Vec::new();
        each_word(key, &mut |letters| {
            let word = Word { letters: letters.to_vec(), mask: mask(letters) };
            if words.len() <= MOST_WORDS && !words.contains(&word) {
                words.push(word);
            }
        });
        (words.len() <= MOST_WORDS).then_some(Words(words))
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Looks for them in a text, as texts are compared; `points` has the best for each so far.
    pub fn look(&self, key: &str, worth_less: u8, points: &mut [u8]) {
        each_word(key, &mut |letters| {
            let mask = mask(letters);
            for (word, points) in self.0.iter().zip(points.iter_mut()) {
                let found = word.likeness(letters, mask).saturating_sub(worth_less);
                *points = found.max(*points);
            }
        });
    }
}

impl Word {
    fn likeness(&self, other: &[char], mask: u64) -> u8 {
        let word = &self.letters[..];
        if word == other {
            return EQUAL;
        }
        let (short, long) = (min(word.len(), other.len()), word.len().max(other.len()));
        if long > LONGEST_WORD || long - short > MOST_ENDING || short < LEAST_BEGIN - 1 || word.len() < LEAST_BEGIN {
            return 0;
        }
        if short >= LEAST_BEGIN && word[..short] == other[..short] {
            return BEGINS;
        }
        let most = if word.len() >= 8 { 2 } else { 1 };
        // each step changes two kinds of letters at most
        if long - short > most || (self.mask ^ mask).count_ones() as usize > 2 * most {
            return 0;
        }
        match distance(word, other) {
            1 => ONE_OFF,
            2 if most == 2 => TWO_OFF,
            _ => 0,
        }
    }
}

/// Kinds of letters in a word; some letters are of one kind.
fn mask(letters: &[char]) -> u64 {
    letters.iter().fold(0, |mask, letter| mask | 1 << (*letter as u32 % 64))
}

/// Letters to be put in, taken out, changed, or swapped with their neighbours (each touched once) to make `b` of `a`, both [`LONGEST_WORD`] long at
/// most.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows = [[0usize; LONGEST_WORD + 1]; 3];
    rows[0].iter_mut().enumerate().for_each(|(index, cell)| *cell = index);
    for i in 1..=a.len() {
        let [above, twice, now] = [(i - 1) % 3, (i + 1) % 3, i % 3];
        rows[now][0] = i;
        for j in 1..=b.len() {
            let change = rows[above][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = min(change, min(rows[above][j], rows[now][j - 1]) + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = min(least, rows[twice][j - 2] + 1);
            }
            rows[now][j] = least;
        }
    }
    rows[a.len() % 3][b.len()]
}

/// Calls for each word: letters and digits, without accents. Of a word without end the begin.
fn each_word(key: &str, found: &mut impl FnMut(&[char])) {
    let mut word: Vec<char> = Vec::new();
    for letter in key.chars() {
        if letter.is_alphanumeric() {
            // so that a longer word is none of those that are compared letter by letter
            if word.len() <= LONGEST_WORD {
                word.push(letter);
            }
        } else if !is_combining_mark(letter) && !word.is_empty() {
            found(&word);
            word.clear();
        }
    }
    if !word.is_empty() {
        found(&word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collation_key;

    fn points(wanted: &str, text: &str) -> Vec<u8> {
        let words = Words::new(&collation_key(wanted)).expect("few words");
        let mut points = vec![0; words.count()];
        words.look(&collation_key(text), 0, &mut points);
        points
    }

    #[test]
    fn words_are_like_others() {
        for (wanted, text, want) in [
            ("hello", "say Hello!", &[80][..]),
            ("ete", "l'été", &[80]),
            ("été", "ETE", &[80]),
            // RFC 6203 §4
            ("Helo", "hello", &[40]),
            ("Helo", "help", &[40]),
            ("Helo", "well", &[0]),
            ("invoice", "two invoices", &[60]),
            ("invoices", "an invoice", &[60]),
            ("break", "breakfast", &[0]),
            ("recieve", "to receive", &[40]),
            ("cat", "cats", &[0]),
            ("cat", "car", &[0]),
            ("accomodate", "accommodation", &[0]),
            ("accomodaet", "accommodate", &[20]),
            ("meeting", "meetnig", &[40]),
            ("слово", "слова", &[40]),
            ("IMAP break", "broken IMAP", &[80, 0]),
            ("imap IMAP", "imap", &[80]),
            ("", "x", &[]),
            ("...", "x", &[]),
        ] {
            assert_eq!(points(wanted, text), want, "{wanted:?} in {text:?}");
        }
    }

    #[test]
    fn the_best_counts_and_bodies_are_worth_less() {
        let words = Words::new("HELLO WORLD").expect("few words");
        let mut points = [0; 2];
        words.look("HELO WORLD", IN_BODY, &mut points);
        assert_eq!(points, [30, 70]);
        words.look("HELLO WORD", 0, &mut points);
        assert_eq!(points, [80, 70]);
    }

    #[test]
    fn distances() {
        let chars = |text: &str| text.chars().collect::<Vec<char>>();
        for (a, b, want) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "abc", 3),
            ("abcd", "abdc", 1),
            ("abcd", "bacd", 1),
            ("kitten", "sitting", 3),
            ("abcdef", "abcdef", 0),
            ("ca", "abc", 3),
        ] {
            assert_eq!(distance(&chars(a), &chars(b)), want, "{a} {b}");
            assert_eq!(distance(&chars(b), &chars(a)), want, "{b} {a}");
        }
    }

    #[test]
    fn long_words_and_many_of_them_have_an_end() {
        let long = "a".repeat(100_000);
        assert_eq!(points(&long, &format!("{long}b")), [80]);
        assert_eq!(points("aaaaaaaa", &long), [0]);
        let many = |count: usize| (0..count).map(|n| format!("W{n}")).collect::<Vec<_>>().join(" ");
        assert!(Words::new(&many(MOST_WORDS)).is_some() && Words::new(&many(MOST_WORDS + 1)).is_none());
        assert!(Words::new(&many(100_000)).is_none());
    }
}
