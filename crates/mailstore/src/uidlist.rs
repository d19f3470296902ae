//! `dovecot-uidlist`, version 3: which file has which UID. Dovecot's format, so that both can work on one store.
//!
//! ```text
//! 3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1
//! 25006 :1276528487.M364837P9451.kurkku,S=1355,W=1394
//! 25017 W2481 :1276533073.M242911P3632.kurkku
//! ```
//! Header: version, `V` UIDVALIDITY, `N` next UID when the file was last rewritten, `G` GUID of the mailbox. Lines: UID, fields
//! (kept as they are: `W` size with CRLF, `S` size, `P` POP3 UIDL, `O` POP3 order, `G` GUID), ` :`, file name up to the flags.
//! UIDs rise. New lines are appended, the file is replaced through `dovecot-uidlist.tmp` when too many lines are dead.
//! Both are done under `dovecot-uidlist.lock`; reading needs no lock: a last line without its line feed is not there yet.
//! Version 1 (`1 UIDVALIDITY NEXTUID`, lines `UID NAME`) is read and replaced.
//!
//! A line is on disk before its UID is told to anybody, so a UID is never given twice (I15).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use xxhash_rust::xxh3::xxh3_64;

use crate::dir::{Dir, Stamp};
use crate::error::{Error, Result};

pub(crate) const FILE: &str = "dovecot-uidlist";
pub(crate) const LOCK: &str = "dovecot-uidlist.lock";
const TEMPORARY: &str = "dovecot-uidlist.tmp";

/// How far UIDs jump when lines may have been lost with the end of a damaged file: those UIDs may be known to clients.
const JUMP_AFTER_DAMAGE: u32 = 1 << 16;

/// Largest file read: 2^32 lines do not fit anyway, and memory does not either.
const LARGEST_BYTES: u64 = 1 << 30;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub uid: u32,
    /// Fields between UID and name, as they stood: `W2481 P17`.
    pub fields: Box<str>,
    /// File name up to `:`.
    pub base: Box<str>,
}

/// What a read of the file gave.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct UidList {
    pub uid_validity: u32,
    pub next_uid: u32,
    pub guid: String,
    pub lines: Vec<Line>,
    /// The file is damaged or old and must be replaced rather than appended to.
    pub rewrite: bool,
}

/// Where we stopped reading, to go on there after others appended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub stamp: Stamp,
    /// Bytes read up to the end of the last complete line.
    pub offset: u64,
    /// Hash of the file's begin and of what stands before `offset`. A file system gives the inode of a replaced file to the next one, so
    /// device and inode alone do not say that it is still the same file.
    mark: u64,
}

/// Bytes at the begin and before the offset that go into [`Position::mark`].
const MARK_BYTES: u64 = 128;

impl Position {
    fn at(file: &File, stamp: Stamp, offset: u64) -> std::io::Result<Position> {
        Ok(Position { stamp, offset, mark: Position::mark_of(file, offset)? })
    }

    /// As it was known before.
    pub fn known(stamp: Stamp, offset: u64, mark: u64) -> Position {
        Position { stamp, offset, mark }
    }

    /// Hash of the file's begin and of what stands before the offset.
    pub fn mark(&self) -> u64 {
        self.mark
    }

    fn mark_of(file: &File, offset: u64) -> std::io::Result<u64> {
        let length = offset.min(MARK_BYTES);
        let mut bytes = vec![0; 2 * length as usize];
        let (begin, end) = bytes.split_at_mut(length as usize);
        file.read_exact_at(begin, 0)?;
        file.read_exact_at(end, offset - length)?;
        Ok(xxh3_64(&bytes))
    }

    /// True when `file`, whose state is `stamp`, is the one that was read, and maybe longer now.
    fn is_in(&self, file: &File, stamp: &Stamp) -> std::io::Result<bool> {
        Ok(self.stamp.same_file(stamp) && stamp.size >= self.offset && Position::mark_of(file, self.offset)? == self.mark)
    }
}

/// The file as found.
#[derive(Debug)]
pub(crate) enum Found {
    /// Not there, or beyond use (zero length, garbage, a version of the future): UIDs cannot be kept.
    Nothing { damaged: bool },
    /// Nothing new since `Position`.
    Same,
    /// Lines appended since `Position`.
    More(Vec<Line>, Position),
    /// Read from the start.
    Whole(UidList, Position),
}

/// Reads what is new since `known`, or everything. Without the lock (`locked` false) a torn end is what another process is writing at this
/// moment; with it, it is damage.
pub(crate) fn read(dir: &Dir, known: Option<&Position>, locked: bool) -> Result<Found> {
    let mut file = match dir.open_file(FILE) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(Found::Nothing { damaged: false }),
        Err(error) => return Err(error),
    };
    let failed = |e| Error::io("read", dir.at(FILE), e);
    let stamp = Stamp::of(&nix::sys::stat::fstat(&file).map_err(|e| Error::io("stat", dir.at(FILE), e))?);
    if let Some(known) = known {
        if known.stamp == stamp && (!locked || known.offset == stamp.size) {
            return Ok(Found::Same);
        }
        if known.is_in(&file, &stamp).map_err(failed)? {
            let mut text = Vec::new();
            file.seek(SeekFrom::Start(known.offset)).map_err(failed)?;
            (&file).take(LARGEST_BYTES).read_to_end(&mut text).map_err(failed)?;
            let complete = complete(&text);
            let lines: Option<Vec<Line>> = split_lines(&text[..complete]).map(parse_line).collect();
            if let Some(lines) = lines.filter(|_| !locked || complete == text.len()) {
                let position = Position::at(&file, stamp, known.offset + complete as u64).map_err(failed)?;
                return Ok(Found::More(lines, position));
            }
            file.rewind().map_err(failed)?;
        }
    }
    let mut text = Vec::with_capacity(stamp.size.min(LARGEST_BYTES) as usize);
    (&file).take(LARGEST_BYTES).read_to_end(&mut text).map_err(failed)?;
    let whole = if locked { &text[..] } else { &text[..complete(&text)] };
    match parse(whole) {
        Some(list) => Ok(Found::Whole(list, Position::at(&file, stamp, complete(&text) as u64).map_err(failed)?)),
        None => Ok(Found::Nothing { damaged: true }),
    }
}

/// Length up to the end of the last complete line.
fn complete(text: &[u8]) -> usize {
    text.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1)
}

/// Reads a whole file. `None` when the header is of no use. Damage behind it costs the lines it hit: all before stay, and
/// `next_uid` jumps over UIDs that may have stood there.
pub(crate) fn parse(text: &[u8]) -> Option<UidList> {
    let header_end = text.iter().position(|b| *b == b'\n')?;
    let mut list = parse_header(std::str::from_utf8(&text[..header_end]).ok()?)?;
    let old = list.rewrite;
    let body = &text[header_end + 1..];
    let mut damaged = !body.is_empty() && !body.ends_with(b"\n");
    let mut last = 0;
    for raw in split_lines(&body[..complete(body)]) {
        match if old { parse_old_line(raw) } else { parse_line(raw) } {
            Some(line) if line.uid > last => {
                last = line.uid;
                list.lines.push(line);
            }
            _ => damaged = true,
        }
    }
    list.next_uid = list.next_uid.max(last.saturating_add(1));
    if damaged {
        list.next_uid = list.next_uid.saturating_add(JUMP_AFTER_DAMAGE);
        list.rewrite = true;
    }
    // the UID space is used up: only a new UIDVALIDITY helps (RFC 9051 §2.3.1.1)
    (list.next_uid < u32::MAX).then_some(list)
}

fn parse_header(header: &str) -> Option<UidList> {
    let mut words = header.split(' ');
    let mut list = UidList::default();
    match words.next()? {
        "3" => {
            for word in words {
                match word.as_bytes().first() {
                    Some(b'V') => list.uid_validity = word[1..].parse().ok()?,
                    Some(b'N') => list.next_uid = word[1..].parse().ok()?,
                    Some(b'G') => list.guid = word[1..].to_owned(),
                    _ => {}
                }
            }
        }
        "1" => {
            list.uid_validity = words.next()?.parse().ok()?;
            list.next_uid = words.next()?.parse().ok()?;
            list.rewrite = true;
        }
        _ => return None,
    }
    if list.guid.len() != 32 || !list.guid.bytes().all(|b| b.is_ascii_hexdigit()) {
        list.guid = new_guid();
        list.rewrite = true;
    }
    (list.uid_validity != 0 && list.next_uid != 0).then_some(list)
}

/// The mailbox's id, by the first line of its list alone; `None` when that has none.
pub(crate) fn read_id(dir: &Dir) -> Result<Option<String>> {
    // a list that is to be replaced has a GUID that was made just now
    Ok(read_header(dir)?.filter(|list| !list.rewrite).map(|list| mailbox_id(&list.guid, list.uid_validity)))
}

/// The UIDVALIDITY on the disk; `None` where there is none.
pub(crate) fn read_validity(dir: &Dir) -> Result<Option<u32>> {
    Ok(read_header(dir)?.map(|list| list.uid_validity))
}

/// The list without its lines.
fn read_header(dir: &Dir) -> Result<Option<UidList>> {
    const HEADER_BYTES: u64 = 1024;
    let file = match dir.open_file(FILE) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(HEADER_BYTES).read_to_end(&mut text).map_err(|e| Error::io("read", dir.at(FILE), e))?;
    let header = text.split_inclusive(|b| *b == b'\n').next().and_then(|line| line.strip_suffix(b"\n"));
    Ok(header.and_then(|header| parse_header(std::str::from_utf8(header).ok()?)))
}

/// RFC 8474 §8.1: letters and digits, with a letter in front.
pub(crate) fn mailbox_id(guid: &str, uid_validity: u32) -> String {
    format!("F{guid}{uid_validity:08x}")
}

fn parse_line(raw: &[u8]) -> Option<Line> {
    let text = std::str::from_utf8(raw).ok()?;
    let (uid, rest) = text.split_once(' ')?;
    let (fields, name) = match rest.strip_prefix(':') {
        Some(name) => ("", name),
        None => rest.split_once(" :")?,
    };
    line(uid, fields, name)
}

fn parse_old_line(raw: &[u8]) -> Option<Line> {
    let (uid, name) = std::str::from_utf8(raw).ok()?.split_once(' ')?;
    line(uid, "", name)
}

fn line(uid: &str, fields: &str, name: &str) -> Option<Line> {
    let uid: u32 = uid.parse().ok().filter(|uid| *uid != 0 && *uid != u32::MAX)?;
    let base = name.split(':').next()?;
    let good = !base.is_empty() && !base.contains('/') && !base.chars().any(char::is_control);
    good.then(|| Line { uid, fields: fields.into(), base: base.into() })
}

fn split_lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|b| *b == b'\n').filter(|line| !line.is_empty())
}

impl UidList {
    /// A list for a mailbox that has none.
    pub fn new(uid_validity: u32) -> UidList {
        UidList { uid_validity, next_uid: 1, guid: new_guid(), lines: Vec::new(), rewrite: true }
    }
}

/// 128 random bits in hexadecimal.
fn new_guid() -> String {
    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_err() {
        // no random source: the clock and the process are unique enough for a mailbox's GUID
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        bytes = (nanos ^ (u128::from(std::process::id()) << 96)).to_be_bytes();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn write_line(out: &mut String, uid: u32, fields: &str, base: &str) {
    out.push_str(&uid.to_string());
    if !fields.is_empty() {
        out.push(' ');
        out.push_str(fields);
    }
    out.push_str(" :");
    out.push_str(base);
    out.push('\n');
}

/// Appends lines and syncs them. The lock is held, `position` is the end of the file. `None` when the file is not what it was
/// and has to be replaced.
pub(crate) fn append(dir: &Dir, position: &Position, lines: &str) -> Result<Option<Position>> {
    let failed = |step| move |e: std::io::Error| Error::io(step, dir.at(FILE), e);
    let mut file = match dir.open_append(FILE) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let stat =
        |file: &std::fs::File| nix::sys::stat::fstat(file).map(|stat| Stamp::of(&stat)).map_err(|e| Error::io("stat", dir.at(FILE), e));
    let before = stat(&file)?;
    if before.size != position.offset || !position.is_in(&file, &before).map_err(failed("read"))? {
        return Ok(None);
    }
    if let Err(error) = file.write_all(lines.as_bytes()).and_then(|()| file.sync_data()) {
        // A half-written line would make the file look damaged. Whole lines stay: who reads without the lock may have seen them, and their
        // UIDs must not be given to others.
        let written = stat(&file).map_or(0, |after| after.size.saturating_sub(before.size) as usize);
        let _ = file.set_len(before.size + complete(&lines.as_bytes()[..written.min(lines.len())]) as u64);
        return Err(failed("write")(error));
    }
    let after = stat(&file)?;
    Position::at(&file, after, after.size).map(Some).map_err(failed("read"))
}

/// Replaces the file. The lock is held. `body` is lines by rising UID.
pub(crate) fn replace(dir: &Dir, uid_validity: u32, next_uid: u32, guid: &str, body: &str) -> Result<Position> {
    let header = format!("3 V{uid_validity} N{next_uid} G{guid}\n");
    // made anew, not emptied: what a crash left there may be open elsewhere
    dir.clear(TEMPORARY)?;
    let mut file = dir.create_readable(TEMPORARY)?;
    let written = file.write_all(header.as_bytes()).and_then(|()| file.write_all(body.as_bytes())).and_then(|()| file.sync_all());
    if let Err(error) = written {
        let _ = dir.unlink(TEMPORARY);
        return Err(Error::io("write", dir.at(TEMPORARY), error));
    }
    dir.rename(TEMPORARY, dir, FILE)?;
    dir.sync()?;
    let failed = |e| Error::io("read", dir.at(FILE), e);
    let stamp = Stamp::of(&nix::sys::stat::fstat(&file).map_err(|e| failed(e.into()))?);
    Position::at(&file, stamp, stamp.size).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SAMPLE: &str = "3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1\n\
        25006 :1276528487.M364837P9451.kurkku,S=1355,W=1394:2,\n\
        25017 W2481 P17 :1276533073.M242911P3632.kurkku:2,F\n";

    #[test]
    fn dovecots_sample_is_read() {
        let list = parse(SAMPLE.as_bytes()).unwrap();
        assert_eq!((list.uid_validity, list.next_uid, list.rewrite), (1275660208, 25022, false));
        assert_eq!(list.lines[1], Line { uid: 25017, fields: "W2481 P17".into(), base: "1276533073.M242911P3632.kurkku".into() });
        let mut out = String::new();
        list.lines.iter().for_each(|line| write_line(&mut out, line.uid, &line.fields, &line.base));
        assert_eq!(out, "25006 :1276528487.M364837P9451.kurkku,S=1355,W=1394\n25017 W2481 P17 :1276533073.M242911P3632.kurkku\n");
    }

    #[test]
    fn appended_lines_raise_the_next_uid() {
        let list = parse(format!("{SAMPLE}30000 :new\n").as_bytes()).unwrap();
        assert_eq!(list.next_uid, 30001);
    }

    #[test]
    fn a_torn_or_damaged_end_keeps_the_lines_before_and_jumps() {
        for tail in ["30000 :ha", "garbage\n", "25006 :again\n", "0 :zero\n", "25018 :a/b\n"] {
            let list = parse(format!("{SAMPLE}{tail}").as_bytes()).unwrap();
            assert_eq!((list.lines.len(), list.rewrite), (2, true), "{tail}");
            assert_eq!(list.next_uid, 25022 + JUMP_AFTER_DAMAGE, "{tail}");
        }
    }

    #[test]
    fn headers_of_no_use_are_refused() {
        for text in [
            "",
            "\n",
            "\0\0\0\0",
            "4 V1 N1\n",
            "3 V0 N1\n",
            "3 N5\n",
            "3 V1\n",
            "3 V1 N4294967295 G\n",
            "3 V99999999999 N1\n",
            "3 V1 N1",
            "hello\n",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
        let old = parse(b"1 1275660208 3\n1 a.b:2,S\n2 c.d\n").unwrap();
        assert_eq!((old.lines.len(), &*old.lines[0].base, old.next_uid, old.rewrite), (2, "a.b", 3, true));
    }

    fn folder() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::create_root(&temp.path().join("m")).unwrap();
        (temp, dir)
    }

    #[test]
    fn a_line_being_written_is_no_damage_without_the_lock_and_is_with_it() {
        let (_temp, dir) = folder();
        let torn = format!("{SAMPLE}30000 :ha");
        std::fs::write(dir.at(FILE), &torn).unwrap();
        let Found::Whole(list, position) = read(&dir, None, false).unwrap() else { panic!("whole") };
        assert_eq!((list.lines.len(), list.rewrite, list.next_uid, position.offset), (2, false, 25022, SAMPLE.len() as u64));
        // the writer died: with the lock nobody can be writing
        let Found::Whole(list, _) = read(&dir, Some(&position), true).unwrap() else { panic!("whole again") };
        assert_eq!((list.rewrite, list.next_uid), (true, 25022 + JUMP_AFTER_DAMAGE));
        // the writer lived
        std::fs::write(dir.at(FILE), format!("{torn}lf\n")).unwrap();
        let Found::More(lines, position) = read(&dir, Some(&position), true).unwrap() else { panic!("more") };
        assert_eq!((lines[0].uid, &*lines[0].base), (30000, "half"));
        assert!(matches!(read(&dir, Some(&position), true).unwrap(), Found::Same));
    }

    #[test]
    fn another_file_with_the_same_inode_is_read_from_its_start() {
        let (_temp, dir) = folder();
        std::fs::write(dir.at(FILE), SAMPLE).unwrap();
        let Found::Whole(_, position) = read(&dir, None, false).unwrap() else { panic!("whole") };
        // written in place, the inode stays: as when the file system gives the number of a removed file to the next
        let other = format!("3 V1275660208 N90 G3085f01b7f11094c501100008c4a11c1\n{}", "77 :a.file.of.the.same.length\n".repeat(9));
        assert!(other.len() > SAMPLE.len());
        std::fs::write(dir.at(FILE), other).unwrap();
        assert!(matches!(read(&dir, Some(&position), true).unwrap(), Found::Whole(..)));
        assert!(append(&dir, &position, "78 :b\n").unwrap().is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_and_uids_always_rise(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut text = SAMPLE.as_bytes().to_vec();
            text.extend(bytes);
            if let Some(list) = parse(&text) {
                prop_assert!(list.lines.windows(2).all(|pair| pair[0].uid < pair[1].uid));
                prop_assert!(list.lines.last().is_none_or(|line| line.uid < list.next_uid));
            }
        }
    }
}
