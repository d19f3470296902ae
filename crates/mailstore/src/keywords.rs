//! `dovecot-keywords`: which letter in file names means which keyword. Text, a line per keyword: `INDEX NAME`, index 0 is
//! letter `a`. Replaced as a whole under `dovecot-keywords.lock`, which becomes the new file, as Dovecot does.

use std::io::{Read, Write};
use std::time::Duration;

use crate::dir::{Dir, Stamp};
use crate::error::{Error, Result};
use crate::flags::{KeywordBits, Keywords, LONGEST_KEYWORD, MOST_KEYWORDS, is_valid_keyword};
use crate::lock;

pub(crate) const FILE: &str = "dovecot-keywords";
const TEMPORARY: &str = "dovecot-keywords.tmp";
const LOCK: &str = "dovecot-keywords.lock";

/// Reads the file; missing means no keywords. Lines that make no sense are left out.
pub(crate) fn read(dir: &Dir) -> Result<(Keywords, Option<Stamp>)> {
    let file = match dir.open_file(FILE) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok((Keywords::default(), None)),
        Err(error) => return Err(error),
    };
    let stamp = nix::sys::stat::fstat(&file).map(|stat| Stamp::of(&stat)).map_err(|e| Error::io("stat", dir.at(FILE), e))?;
    let mut text = Vec::new();
    file.take(1 << 20).read_to_end(&mut text).map_err(|e| Error::io("read", dir.at(FILE), e))?;
    Ok((parse(&String::from_utf8_lossy(&text)), Some(stamp)))
}

/// State of the file, to see whether it changed.
pub(crate) fn stamp(dir: &Dir) -> Result<Option<Stamp>> {
    dir.stamp(FILE)
}

fn parse(text: &str) -> Keywords {
    let mut names: Vec<Option<Box<str>>> = Vec::new();
    for line in text.lines() {
        let Some((index, name)) = line.split_once(' ') else { continue };
        let Ok(index) = index.parse::<usize>() else { continue };
        if index >= MOST_KEYWORDS || !is_valid_keyword(name) {
            continue;
        }
        if names.len() <= index {
            names.resize(index + 1, None);
        }
        names[index] = Some(name.into());
    }
    Keywords::new(names)
}

/// Finds the letters of `wanted`, making those that are not there. Returns all keywords of the mailbox and the wanted bits.
/// `Limit` when a name is no keyword or there is no letter left, unless `drop_excess`: then such are left out.
pub(crate) fn resolve(dir: &Dir, known: &Keywords, wanted: &[String], drop_excess: bool) -> Result<(Keywords, KeywordBits, Option<Stamp>)> {
    if wanted.iter().all(|name| known.index(name).is_some()) {
        let bits = wanted.iter().filter_map(|name| known.index(name)).fold(0, |bits, index| bits | 1 << index);
        return Ok((known.clone(), KeywordBits(bits), None));
    }
    let _lock = lock::lock(dir, LOCK, Duration::from_secs(30))?;
    let (current, stamp) = read(dir)?;
    let mut names = current.slots().to_vec();
    // letters in use that the file lost (deleted by hand) keep the names this process knows
    for (index, name) in known.slots().iter().enumerate() {
        if names.len() <= index {
            names.resize(index + 1, None);
        }
        if names[index].is_none() {
            names[index].clone_from(name);
        }
    }
    let mut bits = 0;
    for name in wanted {
        if name.len() > LONGEST_KEYWORD || !is_valid_keyword(name) {
            if drop_excess {
                continue;
            }
            return Err(Error::Limit("keyword is too long or has a character that is not allowed"));
        }
        let present = names.iter().position(|slot| slot.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(name)));
        let index = match present.or_else(|| names.iter().position(Option::is_none)) {
            Some(index) => index,
            None if names.len() < MOST_KEYWORDS => {
                names.push(None);
                names.len() - 1
            }
            None if drop_excess => continue,
            None => return Err(Error::Limit("mailbox has as many keywords as it can have")),
        };
        names[index].get_or_insert_with(|| name.as_str().into());
        bits |= 1 << index;
    }
    if names == current.slots() {
        return Ok((current, KeywordBits(bits), stamp));
    }
    let mut text = String::new();
    for (index, name) in names.iter().enumerate() {
        if let Some(name) = name {
            text.push_str(&format!("{index} {name}\n"));
        }
    }
    let mut file = dir.create_or_truncate(TEMPORARY)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|e| Error::io("write", dir.at(TEMPORARY), e))?;
    dir.rename(TEMPORARY, dir, FILE)?;
    dir.sync()?;
    Ok((Keywords::new(names), KeywordBits(bits), dir.stamp(FILE)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_get_letters_once_and_a_full_mailbox_says_so() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::create_root(&temp.path().join("m")).unwrap();
        let (known, bits, _) = resolve(&dir, &Keywords::default(), &["$Forwarded".into(), "NonJunk".into()], false).unwrap();
        assert_eq!(bits, KeywordBits(3));
        assert_eq!(std::fs::read_to_string(dir.at(FILE)).unwrap(), "0 $Forwarded\n1 NonJunk\n");
        // another process made one in between: it is seen, and ours comes after
        std::fs::write(dir.at(FILE), "0 $Forwarded\n1 NonJunk\n2 Other\n").unwrap();
        let (known, bits, _) = resolve(&dir, &known, &["nonjunk".into(), "Mine".into()], false).unwrap();
        assert_eq!((bits, known.index("mine"), known.name(2)), (KeywordBits(0b1010), Some(3), Some("Other")));
        let many: Vec<String> = (0..MOST_KEYWORDS).map(|n| format!("k{n}")).collect();
        assert!(matches!(resolve(&dir, &known, &many, false), Err(Error::Limit(_))));
        assert_eq!(resolve(&dir, &known, &many, true).unwrap().1.iter().count(), MOST_KEYWORDS - 4);
        assert!(matches!(resolve(&dir, &known, &["a b".into()], false), Err(Error::Limit(_))));
        assert!(!dir.at(LOCK).exists());
    }

    #[test]
    fn damaged_lines_are_left_out() {
        assert_eq!(parse("x\n99 a\n1 ok\n0 \n-1 b\n\n2 a b").iter().collect::<Vec<_>>(), ["ok"]);
    }
}
