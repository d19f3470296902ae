//! The last warnings and errors, for `facteur log errors` (doveadm log errors): whoever asks why mail does not flow should not need to find out
//! first where the log is.

use parking_lot::Mutex;
use std::collections::VecDeque;

/// How many are kept.
const MOST: usize = 200;

/// How much of each.
const LONGEST: usize = 2048;

/// Lines with the second they are from, the oldest first.
#[derive(Debug, Default)]
pub struct Recent(Mutex<VecDeque<(u64, Box<str>)>>);

impl Recent {
    pub fn add(&self, now: u64, line: &str) {
        let mut end = line.len().min(LONGEST);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        let mut lines = self.0.lock();
        if lines.len() == MOST {
            lines.pop_front();
        }
        lines.push_back((now, line[..end].trim_end().into()));
    }

    /// A line each: seconds since 1970, a space, the line.
    pub fn text(&self) -> String {
        self.0.lock().iter().map(|(second, line)| format!("{second} {line}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_kept_and_none_without_end() {
        let recent = Recent::default();
        for n in 0..MOST as u64 + 5 {
            recent.add(n, &format!("warn {n}\n"));
        }
        let text = recent.text();
        assert_eq!((text.lines().count(), text.lines().next()), (MOST, Some("5 warn 5")));
        recent.add(9, &"é".repeat(LONGEST));
        assert!(recent.text().lines().last().is_some_and(|line| line.len() <= LONGEST + 2));
    }
}
