//! What is wrong with the settings: everything at once, each with file, line and a hint.

use std::fmt;
use std::path::{Path, PathBuf};

/// One fault in a settings file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub file: PathBuf,
    /// Counted from 1; `None` when no line is to blame.
    pub line: Option<usize>,
    pub message: String,
    pub hint: Option<String>,
}

/// Why settings were refused: never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Report {
    pub problems: Vec<Problem>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

/// One settings file while it is read: turns places in the text into lines and collects what is wrong.
#[derive(Debug)]
pub struct Source<'a> {
    file: &'a Path,
    text: &'a str,
    problems: Vec<Problem>,
}

impl<'a> Source<'a> {
    pub fn new(file: &'a Path, text: &'a str) -> Source<'a> {
        Source { file, text, problems: Vec::new() }
    }

    /// The folder that relative paths of this file start from.
    pub fn directory(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }

    /// Notes a fault at byte `at` of the text.
    pub fn fault(&mut self, at: Option<usize>, message: impl Into<String>, hint: Option<String>) {
        let line = at.map(|at| self.text.as_bytes()[..at.min(self.text.len())].iter().filter(|b| **b == b'\n').count() + 1);
        self.problems.push(Problem { file: self.file.to_owned(), line, message: message.into(), hint });
    }

    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

/// The candidate most like `word`, when one is like it enough to be meant.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates.map(|c| (distance(word, c), c)).filter(|(d, c)| *d <= 1 + c.len().min(word.len()) / 4).min().map(|(_, c)| c)
}

// Levenshtein's distance, one row at a time.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        let keys = ["message_size_limit", "mynetworks", "hostname"];
        assert_eq!(nearest("mesage_size_limit", keys.into_iter()), Some("message_size_limit"));
        assert_eq!(nearest("hostnam", keys.into_iter()), Some("hostname"));
        assert_eq!(nearest("colour", keys.into_iter()), None);
    }

    #[test]
    fn lines_are_counted_from_one() {
        let mut source = Source::new(Path::new("/x/f.toml"), "a\nb\nc");
        source.fault(Some(4), "bad", None);
        assert_eq!(source.into_problems()[0].line, Some(3));
    }
}
