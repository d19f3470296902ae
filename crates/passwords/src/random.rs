//! Passwords that nobody chooses.

use crate::Unusable;
use zeroize::Zeroizing;

/// Letters and digits that are not taken for each other.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
const GROUPS: usize = 4;
const GROUP: usize = 5;

/// A password of a hundred random bits in groups that people can copy: `k3v9x-…`. A quick hash keeps it well enough.
pub fn random_password() -> Result<Zeroizing<String>, Unusable> {
    let mut bytes = Zeroizing::new([0; GROUPS * GROUP]);
    getrandom::fill(&mut *bytes).map_err(|_| Unusable::Failed("the random generator"))?;
    let mut text = Zeroizing::new(String::with_capacity(GROUPS * (GROUP + 1)));
    for (at, byte) in bytes.iter().enumerate() {
        if at > 0 && at % GROUP == 0 {
            text.push('-');
        }
        text.push(LETTERS[usize::from(byte % 32)] as char);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_long_readable_and_never_the_same() {
        let (one, other) = (random_password().expect("random"), random_password().expect("random"));
        assert_ne!(*one, *other);
        assert_eq!(one.split('-').map(str::len).collect::<Vec<_>>(), [GROUP; GROUPS]);
        assert!(one.bytes().all(|byte| byte == b'-' || LETTERS.contains(&byte)));
        let mut letters = *LETTERS;
        letters.sort_unstable();
        assert!(letters.windows(2).all(|pair| pair[0] < pair[1]), "a letter is there twice");
    }
}
