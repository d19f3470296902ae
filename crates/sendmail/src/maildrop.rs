//! The folder `maildrop`: letters that wait until smtpd takes them.
//!
//! ```text
//! facteur-drop 1
//! sender ann@example.org          `sender <>` for the null sender
//! recipient bob@example.net       one line each
//! notify SUCCESS,DELAY            notify, ret and envid only when given
//! tls required                    the same (RFC 8689); who does not know the line sets the letter aside
//! size 1234
//!                                 an empty line, then so many octets: the message, with CRLF line ends
//! ```
//!
//! A file is written as `tmp.NAME` and synced, then named `NAME`, so that what has such a name is whole; then the folder is synced,
//! or, since the group may add to the folder and not read it, the file system. Names are the second, the process and a random number.
//! qmgr, whose folder it is, believes the owner of a file and nothing that the file says about who wrote it; it takes regular files
//! with one name only, and bounds every number. A file is removed after smtpd's 250. A crash in between hands the letter in once
//! more: both copies carry the same Message-ID, Date and, in a Received field, the same name of the file.

use crate::Letter;
use crate::compose::MAX_RECIPIENTS;
use mail_types::Address;
use nix::fcntl::OFlag;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

const VERSION: &str = "facteur-drop 1";
const UNFINISHED: &str = "tmp.";
/// The lines in front of the message: two addresses have at most 320 octets each.
const HEAD_BYTES: u64 = 400 * MAX_RECIPIENTS as u64;

/// Names this letter among those that wait.
pub fn name(seconds: u64, random: u64) -> String {
    format!("{seconds:x}.{:x}.{random:016x}", std::process::id())
}

/// Whether a file of this name is a finished letter.
pub fn is_letter(name: &str) -> bool {
    let mut parts = name.split('.');
    let hex = |part: Option<&str>| part.is_some_and(|p| (1..=16).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_hexdigit()));
    hex(parts.next()) && hex(parts.next()) && hex(parts.next()) && parts.next().is_none()
}

/// Whether it is one that was not finished (its writer may still be at it).
pub fn is_unfinished(name: &str) -> bool {
    name.strip_prefix(UNFINISHED).is_some_and(is_letter)
}

/// Keeps a letter; it is durable when this returns.
pub fn keep(folder: &Path, name: &str, letter: &Letter) -> io::Result<()> {
    let unfinished = folder.join(format!("{UNFINISHED}{name}"));
    let result = write(&unfinished, &folder.join(name), folder, letter);
    if result.is_err() {
        let _ = std::fs::remove_file(&unfinished);
    }
    result
}

fn write(unfinished: &Path, place: &Path, folder: &Path, letter: &Letter) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).custom_flags(OFlag::O_NOFOLLOW.bits()).open(unfinished)?;
    file.write_all(head(letter).as_bytes())?;
    file.write_all(&letter.message)?;
    // qmgr reads it by the group; whatever umask our caller has.
    file.set_permissions(Permissions::from_mode(0o640))?;
    file.sync_all()?;
    std::fs::rename(unfinished, place)?;
    let named = match File::open(folder) {
        Ok(folder) => folder.sync_all(),
        Err(_) => nix::unistd::syncfs(&file).map_err(io::Error::from),
    };
    // Not known to be durable: the caller says that it is not kept, so it must not be.
    named.inspect_err(|_| drop(std::fs::remove_file(place)))
}

fn head(letter: &Letter) -> String {
    let mut head = format!("{VERSION}\nsender {}\n", letter.sender.as_ref().map_or("<>".into(), Address::to_string));
    for recipient in &letter.recipients {
        head.push_str(&format!("recipient {recipient}\n"));
    }
    for (key, value) in [("notify", &letter.notify), ("ret", &letter.ret), ("envid", &letter.envid)] {
        if !value.is_empty() {
            head.push_str(&format!("{key} {value}\n"));
        }
    }
    if letter.require_tls {
        head.push_str("tls required\n");
    }
    head.push_str(&format!("size {}\n\n", letter.message.len()));
    head
}

/// A letter as it lies in the folder.
#[derive(Debug)]
pub struct Kept {
    pub letter: Letter,
    /// Who wrote it.
    pub uid: u32,
    /// Seconds since 1970.
    pub since: u64,
}

/// Reads a letter. `InvalidData`: it is none, and never becomes one.
pub fn read(place: &Path, limit_bytes: u64) -> io::Result<Kept> {
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let mut file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(place).map_err(|error| match error.raw_os_error() {
        Some(code) if code == nix::errno::Errno::ELOOP as i32 => invalid("a symbolic link"),
        _ => error,
    })?;
    let found = file.metadata()?;
    if !found.is_file() || found.nlink() != 1 {
        return Err(invalid("not a file with one name"));
    }
    let most = limit_bytes.saturating_add(HEAD_BYTES);
    if found.len() > most {
        return Err(invalid("larger than message_size_limit"));
    }
    let mut bytes = Vec::new();
    (&mut file).take(most).read_to_end(&mut bytes)?;
    let letter = parse(&bytes).ok_or_else(|| invalid("not a letter"))?;
    Ok(Kept { letter, uid: found.uid(), since: u64::try_from(found.mtime()).unwrap_or(0) })
}

fn parse(bytes: &[u8]) -> Option<Letter> {
    let mut rest = bytes;
    let mut line = || -> Option<&str> {
        let end = rest.iter().position(|b| *b == b'\n')?;
        let line = std::str::from_utf8(&rest[..end]).ok()?;
        rest = &rest[end + 1..];
        Some(line)
    };
    if line()? != VERSION {
        return None;
    }
    let mut letter = Letter::default();
    let size: usize = loop {
        let (key, value) = line()?.split_once(' ')?;
        let words = |allowed: &[&str]| value.split(',').all(|w| allowed.contains(&w)).then(|| value.to_owned());
        match key {
            "sender" if value == "<>" => letter.sender = None,
            "sender" => letter.sender = Some(Address::parse(value).ok()?),
            "recipient" if letter.recipients.len() < MAX_RECIPIENTS => letter.recipients.push(Address::parse(value).ok()?),
            "notify" => letter.notify = words(&["NEVER", "SUCCESS", "FAILURE", "DELAY"])?,
            "ret" => letter.ret = words(&["FULL", "HDRS"])?,
            "envid" if value.len() <= 100 && value.bytes().all(|b| b.is_ascii_graphic() || b == b' ') => letter.envid = value.to_owned(),
            "tls" if value == "required" => letter.require_tls = true,
            "size" => break value.parse().ok()?,
            _ => return None,
        }
    };
    if !line()?.is_empty() || rest.len() != size || letter.recipients.is_empty() {
        return None;
    }
    letter.message = rest.to_vec();
    Some(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> Letter {
        Letter {
            sender: Some(Address::parse("ann@x.test").expect("address")),
            recipients: vec![Address::parse("\"b c\"@y.test").expect("address"), Address::parse("d@z.test").expect("address")],
            notify: "SUCCESS,DELAY".into(),
            ret: "HDRS".into(),
            envid: "an id".into(),
            require_tls: true,
            message: b"Subject: x\r\n\r\nsize 3\n\nbody\r\n".to_vec(),
        }
    }

    #[test]
    fn a_kept_letter_comes_back_with_its_owner() {
        let folder = tempfile::tempdir().expect("folder");
        let bounce =
            Letter { sender: None, notify: String::new(), ret: String::new(), envid: String::new(), require_tls: false, ..letter() };
        for (n, letter) in [letter(), bounce].into_iter().enumerate() {
            let name = name(1_700_000_000, n as u64);
            assert!(is_letter(&name) && !is_unfinished(&name), "{name}");
            keep(folder.path(), &name, &letter).expect("kept");
            let kept = read(&folder.path().join(&name), 1000).expect("reads");
            assert_eq!(kept.letter, letter);
            assert_eq!(kept.uid, nix::unistd::geteuid().as_raw());
        }
        // Nothing unfinished is left, and no letter is written over.
        assert_eq!(std::fs::read_dir(folder.path()).expect("list").count(), 2);
    }

    #[test]
    fn what_is_no_letter_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let place = folder.path().join("1.2.3");
        let good = [head(&letter()).as_bytes(), &letter().message].concat();
        let text = String::from_utf8(good.clone()).expect("text");
        let mut bad: Vec<Vec<u8>> = (0..good.len()).map(|cut| good[..cut].to_vec()).collect();
        bad.push([good.as_slice(), b"more"].concat());
        for (what, by) in [
            ("facteur-drop 1", "facteur-drop 2"),
            ("d@z.test", "no address"),
            ("SUCCESS", "X RET=FULL"),
            ("tls required", "tls perhaps"),
            ("size", "sizes"),
        ] {
            bad.push(text.replacen(what, by, 1).into_bytes());
        }
        for bytes in bad {
            std::fs::write(&place, &bytes).expect("write");
            let error = read(&place, 1000).expect_err(&String::from_utf8_lossy(&bytes));
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        std::fs::remove_file(&place).expect("remove");
        std::fs::write(folder.path().join("other"), &good).expect("write");
        std::os::unix::fs::symlink(folder.path().join("other"), &place).expect("link");
        assert_eq!(read(&place, 1000).expect_err("a link").kind(), io::ErrorKind::InvalidData);
        std::fs::remove_file(&place).expect("remove");
        std::fs::hard_link(folder.path().join("other"), &place).expect("link");
        assert_eq!(read(&place, 1000).expect_err("two names").kind(), io::ErrorKind::InvalidData);
        std::fs::remove_file(&place).expect("remove");
        nix::unistd::mkfifo(&place, nix::sys::stat::Mode::S_IRWXU).expect("fifo");
        assert_eq!(read(&place, 1000).expect_err("a fifo").kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn only_names_of_letters_are_looked_at() {
        for name in ["", ".", "..", "a", "1.2", "1.2.3.4", "1..3", "tmp.1.2", "1.2.g", "12345678901234567.1.1"] {
            assert!(!is_letter(name) && !is_unfinished(name), "{name:?}");
        }
        assert!(is_unfinished("tmp.1.2.3"));
    }
}
