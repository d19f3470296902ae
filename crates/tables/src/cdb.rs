//! Compiled tables: D. J. Bernstein's constant database, as `postmap cdb:` writes it and `facteur map compile` does.
//!
//! ```text
//! 256 × (u32 place, u32 slots)                   the hash tables, little-endian; in all 2048 octets
//! u32 key length, u32 value length, key, value   the records, one behind the other
//! slots × (u32 hash, u32 place of a record)      each hash table; place 0: free
//! ```
//!
//! The hash of a key begins with 5381; each octet makes it `(hash * 33) ^ octet`. Its low eight bits name the table, the rest the slot that
//! is looked at first; the next ones follow until a free one. A question costs three small reads, however large the file: nothing of it is
//! kept in memory, which is what the format is for. The file may be wrong or change meanwhile: each number in it is checked, and what
//! makes no sense is an error, never a miss.

use crate::text::Entries;
use crate::{Error, Format};
use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

const HEADER_BYTES: u64 = 2048;
/// A longer value is none that a setting or list of addresses has.
const VALUE_LIMIT: u32 = 1 << 20;

/// An open file.
#[derive(Debug)]
pub(crate) struct Cdb {
    file: File,
    size: u64,
    tables: Box<[(u32, u32)]>,
}

/// The compiled file beside a text.
pub fn compiled_path(text: &Path) -> PathBuf {
    let mut name = text.as_os_str().to_owned();
    name.push(".cdb");
    name.into()
}

fn wrong() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "is no cdb file, or a damaged one")
}

fn pair(bytes: &[u8]) -> (u32, u32) {
    let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    (number(0), number(4))
}

fn hash(key: &[u8]) -> u32 {
    key.iter().fold(5381, |hash: u32, octet| hash.wrapping_mul(33) ^ u32::from(*octet))
}

impl Cdb {
    /// Looks at the header only.
    pub fn open(path: &Path, file: File) -> Result<Cdb, Error> {
        let failed = |source| Error::File { path: path.into(), source };
        let size = file.metadata().map_err(failed)?.len();
        let mut header = vec![0; HEADER_BYTES as usize];
        file.read_exact_at(&mut header, 0).map_err(|_| failed(wrong()))?;
        let tables: Box<[(u32, u32)]> = header.chunks_exact(8).map(pair).collect();
        let sound = |(place, slots): &(u32, u32)| u64::from(*place) + 8 * u64::from(*slots) <= size;
        if !tables.iter().all(sound) { Err(failed(wrong())) } else { Ok(Cdb { file, size, tables }) }
    }

    /// The first value of a key. Postfix on some systems ends keys and values with NUL.
    pub fn get(&self, key: &str) -> io::Result<Option<String>> {
        let found = match self.find(key.as_bytes())? {
            None => self.find(&[key.as_bytes(), b"\0"].concat())?,
            found => found,
        };
        found.map(text).transpose()
    }

    fn find(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let hash = hash(key);
        let (place, slots) = self.tables[(hash & 255) as usize];
        for step in 0..slots {
            let slot = ((hash >> 8) % slots + step) % slots;
            let (found, record) = self.pair_at(u64::from(place) + 8 * u64::from(slot))?;
            if record == 0 {
                return Ok(None);
            }
            if found == hash {
                let (there, value) = self.record(u64::from(record), Some(key.len()))?;
                if there == key {
                    return Ok(Some(value));
                }
            }
        }
        Ok(None)
    }

    fn pair_at(&self, at: u64) -> io::Result<(u32, u32)> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(pair(&bytes))
    }

    /// Key and value; nothing where the key has another length than is wanted.
    fn record(&self, at: u64, wanted: Option<usize>) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let (key, value) = self.pair_at(at)?;
        if at + 8 + u64::from(key) + u64::from(value) > self.size || value > VALUE_LIMIT {
            return Err(wrong());
        }
        if wanted.is_some_and(|wanted| wanted != key as usize) {
            return Ok(Default::default());
        }
        let mut bytes = vec![0; key as usize + value as usize];
        self.file.read_exact_at(&mut bytes, at + 8)?;
        let value = bytes.split_off(key as usize);
        Ok((bytes, value))
    }

    /// All keys and values, in the order of the file.
    pub fn entries(&self) -> io::Result<Vec<(String, String)>> {
        let end = self.tables.iter().map(|(place, _)| u64::from(*place)).min().unwrap_or(HEADER_BYTES);
        let (mut at, mut all) = (HEADER_BYTES, Vec::new());
        while at < end {
            let (key, value) = self.record(at, None)?;
            at += 8 + (key.len() + value.len()) as u64;
            all.push((text(key)?, text(value)?));
        }
        Ok(all)
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        // As many slots as it needs twice.
        self.tables.iter().map(|(_, slots)| *slots as usize / 2).sum()
    }
}

fn text(mut bytes: Vec<u8>) -> io::Result<String> {
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// Compiles the text of a table into the file beside it, which takes the place of an older one at once and as a whole. How many keys it has.
pub fn compile(path: &Path, format: Format) -> Result<usize, Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { path, source }
    };
    let source = File::open(path).map_err(failed(path))?;
    let meta = source.metadata().map_err(failed(path))?;
    let entries = format.parse(path, &crate::watched::text(path, source)?)?;
    let target = compiled_path(path);
    let unfinished = target.with_extension("cdb.tmp");
    let put = || {
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        // Who may read the text may read this; passwords stand in some.
        if owner(&meta) != owner(&file.metadata()?) {
            std::os::unix::fs::fchown(&file, Some(meta.uid()), Some(meta.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(meta.mode() & 0o777))?;
        write(&entries, BufWriter::new(&file))?;
        file.sync_all()?;
        std::fs::rename(&unfinished, &target)?;
        target.parent().map_or(Ok(()), |folder| File::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?.sync_all())
    };
    put().inspect_err(|_| drop(std::fs::remove_file(&unfinished))).map_err(failed(&target))?;
    Ok(entries.len())
}

fn owner(meta: &std::fs::Metadata) -> (u32, u32) {
    (meta.uid(), meta.gid())
}

fn write(entries: &Entries, mut out: impl Write) -> io::Result<()> {
    let full = || io::Error::new(io::ErrorKind::FileTooLarge, "a cdb file has no room for more than 4 GiB");
    let mut records: Vec<(&str, &str)> = entries.iter().collect();
    // The same text gives the same file.
    records.sort_unstable();
    let (mut tables, mut at) = (vec![Vec::new(); 256], HEADER_BYTES);
    for (key, value) in &records {
        let hash = hash(key.as_bytes());
        tables[(hash & 255) as usize].push((hash, u32::try_from(at).map_err(|_| full())?));
        at += 8 + (key.len() + value.len()) as u64;
    }
    for table in &tables {
        let place = u32::try_from(at).map_err(|_| full())?;
        let slots = 2 * table.len() as u32;
        out.write_all(&[place.to_le_bytes(), slots.to_le_bytes()].concat())?;
        at += 8 * u64::from(slots);
    }
    for (key, value) in &records {
        out.write_all(&[(key.len() as u32).to_le_bytes(), (value.len() as u32).to_le_bytes()].concat())?;
        out.write_all(key.as_bytes())?;
        out.write_all(value.as_bytes())?;
    }
    for table in tables {
        let mut slots = vec![(0, 0); 2 * table.len()];
        let count = slots.len();
        for (hash, place) in table {
            let first = (hash >> 8) as usize % count;
            let free = (0..count).map(|step| (first + step) % count).find(|slot| slots[*slot].1 == 0);
            slots[free.expect("twice as many slots as records")] = (hash, place);
        }
        for (hash, place) in slots {
            out.write_all(&[u32::to_le_bytes(hash), u32::to_le_bytes(place)].concat())?;
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Context, Table};

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("virtual");
        std::fs::write(&path, text).expect("text");
        compile(&path, Format::Table).expect("compiles");
        (dir, path)
    }

    fn open(path: &Path) -> Result<Cdb, Error> {
        let compiled = compiled_path(path);
        Cdb::open(&compiled, File::open(&compiled).expect("file"))
    }

    #[test]
    fn every_key_is_found_and_no_other() {
        let lines: String = (0..5000).map(|n| format!("User{n}@x.org target{n}@y.org, more{n}\n")).collect();
        let (_dir, path) = written(&lines);
        let cdb = open(&path).expect("sound");
        for n in 0..5000 {
            let want = format!("target{n}@y.org, more{n}");
            assert_eq!(cdb.get(&format!("user{n}@x.org")).expect("reads"), Some(want));
            assert_eq!(cdb.get(&format!("user{n}@y.org")).expect("reads"), None);
        }
        assert_eq!((cdb.count(), cdb.entries().expect("reads").len()), (5000, 5000));
        assert_eq!(cdb.get("").expect("reads"), None);
    }

    /// What `cdbmake` makes of `+3,5:one->Hello` and `+3,7:two->Goodbye`, in the layout of cr.yp.to/cdb/cdb.txt.
    #[test]
    fn the_layout_is_that_of_others() {
        let (_dir, path) = written("one Hello\ntwo Goodbye\n");
        let bytes = std::fs::read(compiled_path(&path)).expect("file");
        assert_eq!(&bytes[2048..2064], b"\x03\0\0\0\x05\0\0\0oneHello");
        assert_eq!(&bytes[2064..2082], b"\x03\0\0\0\x07\0\0\0twoGoodbye");
        // 5381 * 33 ^ 'o', and so on, by hand.
        assert_eq!((hash(b"one"), hash(b"two")), (0x0b87_5b81, 0x0b87_6029));
        assert_eq!((pair(&bytes[8 * 0x29..]), pair(&bytes[8 * 0x81..])), ((2082, 2), (2098, 2)));
        assert_eq!(bytes.len(), 2082 + 4 * 8);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_never_a_miss() {
        let (_dir, path) = written("one Hello\ntwo Goodbye\n");
        let good = std::fs::read(compiled_path(&path)).expect("file");
        for cut in 0..good.len() {
            std::fs::write(compiled_path(&path), &good[..cut]).expect("write");
            assert!(open(&path).is_err(), "{cut} octets");
        }
        for at in [2048, 2052, 2064, 2068] {
            let mut bad = good.clone();
            bad[at + 3] = 0xff;
            std::fs::write(compiled_path(&path), &bad).expect("write");
            let cdb = open(&path).expect("the header is sound");
            assert!(cdb.entries().is_err(), "{at}");
            assert!(cdb.get("one").is_err() || cdb.get("two").is_err(), "{at}");
        }
    }

    #[test]
    fn keys_and_values_that_end_with_nul_are_read() {
        let mut entries = Entries::default();
        entries.insert("one\0", "Hello\0", 1);
        let mut bytes = Vec::new();
        write(&entries, &mut bytes).expect("writes");
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("t");
        std::fs::write(compiled_path(&path), bytes).expect("write");
        let cdb = open(&path).expect("sound");
        assert_eq!(cdb.get("one").expect("reads").as_deref(), Some("Hello"));
        assert_eq!(cdb.entries().expect("reads"), [("one".to_owned(), "Hello".to_owned())]);
    }

    #[tokio::test]
    async fn the_compiled_file_is_asked_where_there_is_one() {
        let (dir, path) = written("one Hello\n");
        let context = Context::local(dir.path());
        std::fs::write(&path, "one Text\n").expect("text");
        let ask = async |table: &Table, key: &str| table.lookup(key).await.expect("answer").map(|value| value.to_string());
        let table = Table::open("cdb:virtual", &context).expect("opens");
        assert_eq!((ask(&table, "ONE").await.as_deref(), ask(&table, "two").await), (Some("Hello"), None));
        assert_eq!(table.entries().map(|entries| entries.len()), Some(1));
        std::fs::remove_file(&path).expect("remove");
        assert_eq!(ask(&Table::open("cdb:virtual", &context).expect("opens"), "one").await.as_deref(), Some("Hello"));
        std::fs::write(&path, "one Text\n").expect("text");
        std::fs::remove_file(compiled_path(&path)).expect("remove");
        assert_eq!(ask(&Table::open("cdb:virtual", &context).expect("opens"), "one").await.as_deref(), Some("Text"));
    }

    #[test]
    fn what_only_postfix_can_read_is_told() {
        let dir = tempfile::tempdir().expect("folder");
        std::fs::write(dir.path().join("virtual.lmdb"), "x").expect("write");
        let error = Table::open("lmdb:virtual", &Context::local(dir.path())).expect_err("no text").to_string();
        assert!(error.contains("virtual.lmdb") && error.contains("postmap -s lmdb:"), "{error}");
    }
}
