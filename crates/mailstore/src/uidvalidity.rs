//! `dovecot-uidvalidity`: the last UIDVALIDITY given to a mailbox of this account, so that a mailbox deleted and made anew in the same
//! second gets another one. As Dovecot keeps it: the file holds eight hexadecimal digits, and the truth is an empty file
//! `dovecot-uidvalidity.XXXXXXXX` beside it, renamed to its successor: who wins the rename has the number.

use std::io::{Read, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::dir::Dir;
use crate::error::{Error, Result};

const FILE: &str = "dovecot-uidvalidity";

/// Takes the next UIDVALIDITY of the account: higher than any given before, and not below `floor`.
pub(crate) fn next(root: &Dir, floor: u32) -> Result<u32> {
    for _ in 0..1000 {
        let last = last(root)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs() as u32);
        let next = match last {
            Some(last) => last.saturating_add(1),
            None => now,
        };
        let next = next.max(floor).max(1);
        let name = |value: u32| format!("{FILE}.{value:08x}");
        match last {
            Some(last) => match root.rename(&name(last), root, &name(next)) {
                Ok(()) => {}
                // another process took it
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error),
            },
            None => match root.create(&name(next)) {
                Ok(_) => {}
                Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            },
        }
        let mut file = root.create_or_truncate(FILE)?;
        file.write_all(format!("{next:08x}").as_bytes()).map_err(|e| Error::io("write", root.at(FILE), e))?;
        root.sync()?;
        return Ok(next);
    }
    Err(Error::Locked { path: root.at(FILE) })
}

/// The highest number in a file name, or the one in the file, made into a file name again.
fn last(root: &Dir) -> Result<Option<u32>> {
    let mut highest = None;
    root.each_name(|name| {
        let digits = name.strip_prefix(FILE).and_then(|rest| rest.strip_prefix('.'));
        highest = highest.max(digits.filter(|digits| digits.len() == 8).and_then(|digits| u32::from_str_radix(digits, 16).ok()));
    })?;
    if highest.is_some() {
        return Ok(highest);
    }
    let Ok(file) = root.open_file(FILE) else { return Ok(None) };
    let mut text = String::new();
    let _ = file.take(8).read_to_string(&mut text);
    let Ok(value) = u32::from_str_radix(&text, 16) else { return Ok(None) };
    match root.create(&format!("{FILE}.{value:08x}")) {
        Ok(_) => {}
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_whoever_asks() {
        let temp = tempfile::tempdir().unwrap();
        let root = Dir::create_root(&temp.path().join("m")).unwrap();
        let first = next(&root, 0).unwrap();
        assert_eq!(next(&root, 0).unwrap(), first + 1);
        assert_eq!(next(&root, first + 100).unwrap(), first + 100);
        // only the text file was left by a copy of the store
        std::fs::remove_file(root.at(&format!("{FILE}.{:08x}", first + 100))).unwrap();
        assert_eq!(next(&root, 0).unwrap(), first + 101);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let root = root.clone();
                std::thread::spawn(move || (0..10).map(|_| next(&root, 0).unwrap()).collect::<Vec<_>>())
            })
            .collect();
        let mut all: Vec<u32> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 40);
    }
}
