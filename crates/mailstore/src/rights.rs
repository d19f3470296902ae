//! Rights on mailboxes (RFC 4314 §2.1).

use std::fmt;
use std::ops::BitOr;

/// A set of rights.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Rights(u16);

/// Each right with its letter, in the order of RFC 4314 §2.1, and with its name in Dovecot.
const LETTERS: [(char, Rights, &str); 11] = [
    ('l', Rights::LOOKUP, "lookup"),
    ('r', Rights::READ, "read"),
    ('s', Rights::SEEN, "write-seen"),
    ('w', Rights::WRITE, "write"),
    ('i', Rights::INSERT, "insert"),
    ('p', Rights::POST, "post"),
    ('k', Rights::CREATE, "create"),
    ('x', Rights::DELETE, "delete"),
    ('t', Rights::MARK, "write-deleted"),
    ('e', Rights::EXPUNGE, "expunge"),
    ('a', Rights::ADMINISTER, "admin"),
];

impl Rights {
    pub const NONE: Rights = Rights(0);
    /// `l`: see the mailbox in LIST, subscribe to it.
    pub const LOOKUP: Rights = Rights(1);
    /// `r`: select it, read its messages.
    pub const READ: Rights = Rights(1 << 1);
    /// `s`: change `\Seen`.
    pub const SEEN: Rights = Rights(1 << 2);
    /// `w`: change flags other than `\Seen` and `\Deleted`.
    pub const WRITE: Rights = Rights(1 << 3);
    /// `i`: put messages in.
    pub const INSERT: Rights = Rights(1 << 4);
    /// `p`: send mail to it.
    pub const POST: Rights = Rights(1 << 5);
    /// `k`: make mailboxes below it.
    pub const CREATE: Rights = Rights(1 << 6);
    /// `x`: delete the mailbox.
    pub const DELETE: Rights = Rights(1 << 7);
    /// `t`: change `\Deleted`.
    pub const MARK: Rights = Rights(1 << 8);
    /// `e`: expunge.
    pub const EXPUNGE: Rights = Rights(1 << 9);
    /// `a`: read and change who has which rights.
    pub const ADMINISTER: Rights = Rights(1 << 10);
    pub const ALL: Rights = Rights((1 << 11) - 1);

    /// Reads letters; `None` when one is no right. `c` and `d` are what clients of RFC 2086 say for `k`, and for `x`, `t` and `e` (RFC 4314 §2.1.1).
    pub fn parse(letters: &str) -> Option<Rights> {
        letters.chars().try_fold(Rights::NONE, |rights, letter| {
            let more = match letter {
                'c' => Rights::CREATE,
                'd' => Rights::DELETE | Rights::MARK | Rights::EXPUNGE,
                letter => LETTERS.iter().find(|(known, ..)| *known == letter)?.1,
            };
            Some(rights | more)
        })
    }

    /// The right that Dovecot calls so.
    pub(crate) fn named(name: &str) -> Option<Rights> {
        LETTERS.iter().find(|(.., known)| *known == name).map(|(_, right, _)| *right)
    }

    pub fn contains(self, other: Rights) -> bool {
        self.0 & other.0 == other.0
    }

    pub fn intersects(self, other: Rights) -> bool {
        self.0 & other.0 != 0
    }

    pub fn without(self, other: Rights) -> Rights {
        Rights(self.0 & !other.0)
    }

    /// As a server tells them: with `c` and `d` for those who know RFC 2086 only (RFC 4314 §2.1.1).
    pub fn told(self) -> String {
        let mut letters = self.to_string();
        if self.contains(Rights::CREATE) {
            letters.push('c');
        }
        if self.intersects(Rights::DELETE | Rights::MARK | Rights::EXPUNGE) {
            letters.push('d');
        }
        letters
    }
}

impl BitOr for Rights {
    type Output = Rights;

    fn bitor(self, other: Rights) -> Rights {
        Rights(self.0 | other.0)
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        LETTERS.iter().filter(|(_, right, _)| self.contains(*right)).try_for_each(|(letter, ..)| write!(f, "{letter}"))
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rights({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_read_and_told() {
        for (letters, want, told) in
            [("", "", ""), ("lr", "lr", "lr"), ("cd", "kxte", "kxtecd"), ("t", "t", "td"), ("aetxkpiwsrl", "lrswipkxtea", "lrswipkxteacd")]
        {
            let rights = Rights::parse(letters).unwrap();
            assert_eq!((rights.to_string().as_str(), rights.told().as_str()), (want, told), "{letters}");
        }
        for bad in ["y", "L", "0", "l r"] {
            assert_eq!(Rights::parse(bad), None, "{bad}");
        }
        assert_eq!(Rights::parse("lrswipkxtea"), Some(Rights::ALL));
    }
}
