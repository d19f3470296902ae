//! Tar, as POSIX.1-2001 has it (pax): what tar(1) of any system unpacks. Blocks of 512 bytes, a header before each file, two empty ones at the
//! end; a path longer than 100 bytes stands in an extended header of its own (`x`). Read is also what GNU tar writes (`L`, `K`). A second name of
//! a file (`1`) has no bytes of its own: copies of messages are such. What else is no file is passed over, and sparse files are refused.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const BLOCK: usize = 512;

/// Extended headers and long names are small.
const LONGEST_HEADER: u64 = 1 << 20;

/// Longest path (PATH_MAX of Linux).
const LONGEST_PATH: usize = 4096;

/// Most files: what is known of them is held in memory.
const MOST_FILES: usize = 20_000_000;

/// Writes a tar.
pub struct Writer<W: Write> {
    out: io::BufWriter<W>,
}

impl<W: Write> Writer<W> {
    pub fn new(out: W) -> Writer<W> {
        Writer { out: io::BufWriter::with_capacity(64 << 10, out) }
    }

    /// A file of exactly `size` bytes; fewer are an error.
    pub fn file(&mut self, path: &str, size: u64, modified: SystemTime, bytes: impl Read) -> io::Result<()> {
        self.head(path, size, modified, b'0')?;
        let written = io::copy(&mut bytes.take(size), &mut self.out)?;
        if written != size {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter meanwhile"));
        }
        self.pad(size)
    }

    pub fn folder(&mut self, path: &str) -> io::Result<()> {
        self.head(&format!("{path}/"), 0, UNIX_EPOCH, b'5')
    }

    fn head(&mut self, path: &str, size: u64, modified: SystemTime, kind: u8) -> io::Result<()> {
        if path.len() > 100 || !path.is_ascii() {
            let record = record("path", path);
            self.out.write_all(&header("pax", record.len() as u64, modified, b'x'))?;
            self.out.write_all(record.as_bytes())?;
            self.pad(record.len() as u64)?;
        }
        self.out.write_all(&header(path, size, modified, kind))
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let rest = (size % BLOCK as u64) as usize;
        if rest == 0 { Ok(()) } else { self.out.write_all(&[0; BLOCK][rest..]) }
    }

    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len() + 1;
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    format!("{length}{rest}")
}

fn header(path: &str, size: u64, modified: SystemTime, kind: u8) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    let seconds = modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()).min(0o777_7777_7777);
    put(0, &path.as_bytes()[..path.len().min(100)]);
    put(100, if kind == b'5' { b"0000700" } else { b"0000600" });
    put(108, b"0000000");
    put(116, b"0000000");
    match size {
        // eleven digits of eight
        0..=0o777_7777_7777 => put(124, format!("{size:011o}").as_bytes()),
        size => put(124, &[&[0x80, 0, 0, 0][..], &size.to_be_bytes()].concat()),
    }
    put(136, format!("{seconds:011o}").as_bytes());
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// A file in a tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub path: String,
    pub size: u64,
    pub modified: SystemTime,
    /// Where its bytes begin.
    pub offset: u64,
    /// It is the file that stands under this path before it.
    pub link: Option<String>,
}

/// What extended headers say of the file behind them.
#[derive(Default)]
struct Extended {
    path: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

/// Reads the headers of a tar; only files are told.
pub struct Reader<R> {
    input: R,
    at: u64,
    count: usize,
    done: bool,
}

impl<R: Read + Seek> Reader<R> {
    /// `input` stands at its beginning.
    pub fn new(input: R) -> Reader<R> {
        Reader { input, at: 0, count: 0, done: false }
    }

    fn entry(&mut self) -> io::Result<Option<Entry>> {
        let mut extended = Extended::default();
        loop {
            let mut block = [0; BLOCK];
            self.input.read_exact(&mut block).map_err(|_| wrong("the archive is cut short"))?;
            self.at += BLOCK as u64;
            if block.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            let sum: u32 = (0..BLOCK).map(|at| if (148..156).contains(&at) { 32 } else { u32::from(block[at]) }).sum();
            if number(&block[148..156]) != Some(u64::from(sum)) {
                return Err(wrong("this is no tar, or it is damaged"));
            }
            let kind = block[156];
            let size = number(&block[124..136]).ok_or_else(|| wrong("a size in the archive cannot be read"))?;
            if matches!(kind, b'x' | b'L' | b'K') {
                let text = self.text(size)?;
                match kind {
                    b'x' => extended.read(&text)?,
                    b'L' => extended.path = Some(text.trim_end_matches('\0').to_owned()),
                    _ => extended.link = Some(text.trim_end_matches('\0').to_owned()),
                }
                continue;
            }
            let Extended { path: long_path, link: long_link, size: long_size } = std::mem::take(&mut extended);
            let size = long_size.unwrap_or(size);
            let offset = self.at;
            let padded = size.checked_next_multiple_of(BLOCK as u64).ok_or_else(|| wrong("a size in the archive cannot be"))?;
            self.at = offset.saturating_add(padded);
            self.input.seek(SeekFrom::Start(self.at))?;
            if !matches!(kind, b'0' | 0 | b'7' | b'1' | b'S') {
                continue;
            }
            if kind == b'S' {
                return Err(wrong("there is a sparse file in the archive"));
            }
            let path = long_path.unwrap_or_else(|| path(&block));
            let link = (kind == b'1').then(|| long_link.unwrap_or_else(|| text_of(&block[157..257])));
            self.count += 1;
            if self.count > MOST_FILES || path.len() > LONGEST_PATH {
                return Err(wrong("there are too many files in the archive, or paths too long"));
            }
            let seconds = number(&block[136..148]).unwrap_or(0);
            let modified = UNIX_EPOCH + Duration::from_secs(seconds.min(1 << 40));
            return Ok(Some(Entry { path, size, modified, offset, link }));
        }
    }

    fn text(&mut self, size: u64) -> io::Result<String> {
        if size > LONGEST_HEADER {
            return Err(wrong("a header in the archive is too long"));
        }
        let padded = size.next_multiple_of(BLOCK as u64);
        let mut bytes = vec![0; padded as usize];
        self.input.read_exact(&mut bytes).map_err(|_| wrong("the archive is cut short"))?;
        self.at += padded;
        bytes.truncate(size as usize);
        String::from_utf8(bytes).map_err(|_| wrong("a path in the archive is not UTF-8"))
    }
}

impl<R: Read + Seek> Iterator for Reader<R> {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<io::Result<Entry>> {
        if self.done {
            return None;
        }
        let entry = self.entry();
        self.done = !matches!(entry, Ok(Some(_)));
        entry.transpose()
    }
}

impl Extended {
    /// `LENGTH KEY=VALUE\n`, again and again; the last of a key holds.
    fn read(&mut self, text: &str) -> io::Result<()> {
        let mut rest = text;
        while !rest.is_empty() {
            let (record, after) = first_record(rest).ok_or_else(|| wrong("a header in the archive cannot be read"))?;
            match record.split_once('=') {
                Some(("path", path)) => self.path = Some(path.to_owned()),
                Some(("linkpath", path)) => self.link = Some(path.to_owned()),
                Some(("size", size)) => {
                    self.size = Some(size.parse().map_err(|_| wrong("a size in the archive cannot be read"))?);
                }
                Some((key, _)) if key.starts_with("GNU.sparse.") => return Err(wrong("there is a sparse file in the archive")),
                _ => {}
            }
            rest = after;
        }
        Ok(())
    }
}

/// The first record without its length and line end, and what follows it.
fn first_record(text: &str) -> Option<(&str, &str)> {
    let (digits, _) = text.split_once(' ')?;
    let length: usize = digits.parse().ok()?;
    let record = text.get(..length)?.get(digits.len() + 1..)?.strip_suffix('\n')?;
    Some((record, text.get(length..)?))
}

fn wrong(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Digits of eight, or GNU's large numbers.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let (high, low) = field.split_at(field.len() - 8);
        let fits = high[0] == 0x80 && high[1..].iter().all(|byte| *byte == 0);
        return fits.then(|| u64::from_be_bytes(low.try_into().unwrap_or([0; 8])));
    }
    let text = std::str::from_utf8(field).ok()?.trim_matches(|c: char| c == '\0' || c == ' ');
    if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
}

fn path(block: &[u8; BLOCK]) -> String {
    let (name, prefix) = (text_of(&block[..100]), text_of(&block[345..500]));
    if prefix.is_empty() || &block[257..263] != b"ustar\0" { name } else { format!("{prefix}/{name}") }
}

fn text_of(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn made() -> (Vec<u8>, Vec<(String, Vec<u8>)>) {
        let files: Vec<(String, Vec<u8>)> = vec![
            ("facteur-backup".into(), b"1\n".to_vec()),
            (format!("Maildir/cur/{}:2,S", "x".repeat(200)), vec![7; 1000]),
            ("Maildir/.Envoyés/cur/é".into(), vec![8; 512]),
            (format!("Maildir/cur/{}", "y".repeat(88)), Vec::new()),
        ];
        let mut writer = Writer::new(Vec::new());
        writer.folder("Maildir").expect("written");
        for (path, bytes) in &files {
            writer.file(path, bytes.len() as u64, UNIX_EPOCH + Duration::from_secs(1_700_000_000), &bytes[..]).expect("written");
        }
        (writer.finish().expect("finished"), files)
    }

    fn read(tar: &[u8]) -> io::Result<Vec<(String, Vec<u8>)>> {
        let entries = Reader::new(Cursor::new(tar)).collect::<io::Result<Vec<Entry>>>()?;
        Ok(entries.into_iter().map(|entry| (entry.path, tar[entry.offset as usize..][..entry.size as usize].to_vec())).collect())
    }

    #[test]
    fn what_is_written_reads_back() {
        let (tar, files) = made();
        assert_eq!(read(&tar).expect("sound"), files);
        let times: Vec<SystemTime> = Reader::new(Cursor::new(&tar[..])).map(|entry| entry.expect("sound").modified).collect();
        assert!(times.iter().all(|time| *time == UNIX_EPOCH + Duration::from_secs(1_700_000_000)));
    }

    #[test]
    fn an_archive_that_is_cut_or_damaged_is_refused() {
        let (tar, _) = made();
        for length in [0, 100, 512, tar.len() - 1024, tar.len() / 2] {
            assert!(read(&tar[..length]).is_err(), "{length}");
        }
        let mut damaged = tar.clone();
        damaged[513] ^= 1;
        assert!(read(&damaged).is_err());
        assert!(read(&[b'x'; 2048]).is_err());
    }

    #[test]
    fn tar_reads_ours_and_we_read_tars() {
        let folder = tempfile::tempdir().expect("folder");
        let (tar, files) = made();
        std::fs::write(folder.path().join("ours.tar"), &tar).expect("written");
        let run = |args: &[&str]| {
            std::process::Command::new("tar").current_dir(folder.path()).args(args).status().is_ok_and(|status| status.success())
        };
        if !run(&["--version"]) {
            return;
        }
        assert!(run(&["xf", "ours.tar"]));
        for (path, bytes) in &files {
            assert_eq!(&std::fs::read(folder.path().join(path)).expect(path), bytes);
        }
        for format in ["gnu", "pax"] {
            assert!(run(&["cf", "theirs.tar", &format!("--format={format}"), "Maildir", "facteur-backup"]));
            let mut theirs = read(&std::fs::read(folder.path().join("theirs.tar")).expect("tar")).expect("sound");
            let mut ours = files.clone();
            theirs.sort();
            ours.sort();
            assert_eq!(theirs, ours, "{format}");
        }
    }

    /// Copies of messages have the file of the first, of which tar(1) writes the path only.
    #[test]
    fn second_names_of_files_are_told() {
        let folder = tempfile::tempdir().expect("folder");
        let long = "z".repeat(150);
        std::fs::write(folder.path().join(&long), "mail").expect("written");
        std::fs::hard_link(folder.path().join(&long), folder.path().join("~second")).expect("linked");
        for format in ["gnu", "pax"] {
            let run = std::process::Command::new("tar")
                .current_dir(folder.path())
                .args(["cf", "links.tar", &format!("--format={format}"), &long, "~second"])
                .status();
            if !run.is_ok_and(|status| status.success()) {
                return;
            }
            let tar = std::fs::read(folder.path().join("links.tar")).expect("tar");
            let entries = Reader::new(Cursor::new(tar)).collect::<io::Result<Vec<Entry>>>().expect("sound");
            let told: Vec<_> = entries.iter().map(|entry| (&*entry.path, entry.link.as_deref())).collect();
            assert_eq!(told, [(&*long, None), ("~second", Some(&*long))], "{format}");
        }
    }

    /// A file with an extended header before it.
    fn with_header(records: &[u8], kind: u8, size: u64) -> Vec<u8> {
        let mut tar = header("pax", records.len() as u64, UNIX_EPOCH, b'x').to_vec();
        tar.extend_from_slice(records);
        tar.resize(tar.len().next_multiple_of(BLOCK), 0);
        tar.extend_from_slice(&header("file", size, UNIX_EPOCH, kind));
        tar.resize(tar.len() + 2 * BLOCK, 0);
        tar
    }

    #[test]
    fn headers_that_cannot_be_are_refused() {
        let huge = format!("{}{}", record("size", "18446744073709551615"), record("path", "x"));
        let long = record("path", &"x/".repeat(4000));
        for (records, kind, size) in [
            (&huge[..], b'0', 0),
            (&long, b'0', 0),
            (&record("size", "-1"), b'0', 0),
            (&record("GNU.sparse.major", "1"), b'0', 0),
            ("99 path=x\n", b'0', 0),
            ("x", b'0', 0),
            ("", b'S', 0),
            ("", b'0', u64::MAX - 5),
            ("", b'0', 1 << 40),
            ("", b'L', 1 << 40),
        ] {
            assert!(read(&with_header(records.as_bytes(), kind, size)).is_err(), "{records} {kind} {size}");
        }
        // links elsewhere, devices and what else there is mean nothing here
        for kind in [b'2', b'3', b'4', b'5', b'6', b'g', b'V', 200] {
            assert_eq!(read(&with_header(b"", kind, 0)).expect("passed over"), []);
        }
        // the size that holds is the one of the extended header
        let mut tar = with_header(record("size", "700").as_bytes(), b'0', 0);
        tar.resize(tar.len() + 2 * BLOCK, 0);
        assert_eq!(read(&tar).expect("sound"), [("file".to_owned(), vec![0; 700])]);
    }
}
