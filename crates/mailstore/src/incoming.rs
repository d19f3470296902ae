//! A message on its way into a mailbox: a file in `tmp/`, counted while it is written.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::file_system;
use crate::flags::FlagSet;
use crate::message_file::{bare_line_feeds, to_crlf};
use crate::store::{LineEnds, Store};

const BUFFER: usize = 64 * 1024;

/// Turns line ends into those of the settings and counts both sizes. What is read back with CRLF is what came in with CRLF.
#[derive(Debug)]
pub(crate) struct LineEncoder {
    ends: LineEnds,
    /// A carriage return is held back: it goes away when a line feed follows.
    held: bool,
    /// Last byte put out.
    last: u8,
    disk: u64,
    bare: u64,
}

impl LineEncoder {
    pub fn new(ends: LineEnds) -> LineEncoder {
        LineEncoder { ends, held: false, last: 0, disk: 0, bare: 0 }
    }

    /// Appends `bytes`, encoded, to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let from = out.len();
        let before = self.last;
        match self.ends {
            LineEnds::Crlf => drop(to_crlf(bytes, self.last, out)),
            LineEnds::Lf => self.push_lf(bytes, out),
        }
        self.count(&out[from..], before);
    }

    fn push_lf(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let from = out.len();
        let mut rest = bytes;
        if self.held && !rest.is_empty() {
            self.held = false;
            // CR CR LF stays as it is: read back, it must not become CR LF
            if rest[0] != b'\n' || self.last == b'\r' {
                out.push(b'\r');
            }
        }
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let line = &rest[..end];
            let before = if out.len() > from { out[out.len() - 1] } else { self.last };
            let strip = match line {
                [.., b'\r', b'\r'] => false,
                [b'\r'] => before != b'\r',
                [.., b'\r'] => true,
                _ => false,
            };
            out.extend_from_slice(if strip { &line[..end - 1] } else { line });
            out.push(b'\n');
            rest = &rest[end + 1..];
        }
        match rest.split_last() {
            Some((b'\r', line)) => {
                out.extend_from_slice(line);
                self.held = true;
            }
            _ => out.extend_from_slice(rest),
        }
    }

    /// Ends the message: a carriage return held back was the last byte.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.held) {
            let before = self.last;
            out.push(b'\r');
            self.count(b"\r", before);
        }
    }

    /// Notes bytes that were put out encoded already (by another encoder).
    pub fn add_counted(&mut self, disk: u64, virtual_size: u64) {
        self.disk += disk;
        self.bare += virtual_size.saturating_sub(disk);
    }

    fn count(&mut self, written: &[u8], before: u8) {
        self.bare += bare_line_feeds(written, before);
        self.disk += written.len() as u64;
        self.last = written.last().copied().unwrap_or(before);
    }

    /// Bytes put out.
    pub fn disk_size(&self) -> u64 {
        self.disk
    }

    /// Size when read with CRLF line ends.
    pub fn virtual_size(&self) -> u64 {
        self.disk + self.bare
    }
}

/// A message being written to `tmp/`. Dropped unfinished, nothing of it stays.
pub struct Incoming {
    tmp: Dir,
    name: String,
    file: File,
    buffer: Vec<u8>,
    encoder: LineEncoder,
    pub(crate) flags: FlagSet,
    internal_date: Option<i64>,
    /// Taken over by `append`: not to be removed.
    placed: bool,
}

impl Incoming {
    pub(crate) fn new(tmp: Dir, store: &Arc<Store>) -> Result<Incoming> {
        let name = store.unique_name();
        let file = tmp.create(&name)?;
        let encoder = LineEncoder::new(store.settings.line_ends);
        Ok(Incoming { tmp, name, file, buffer: Vec::new(), encoder, flags: FlagSet::default(), internal_date: None, placed: false })
    }

    /// Adds bytes, with CRLF or LF line ends, cut anywhere; stored with the line ends of the settings.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.encoder.push(bytes, &mut self.buffer);
        if self.buffer.len() >= BUFFER {
            self.flush()?;
        }
        Ok(())
    }

    /// Flags, keywords and internal date (seconds since 1970; now when not given) of the message.
    pub fn describe(&mut self, flags: FlagSet, internal_date: Option<i64>) {
        self.flags = flags;
        self.internal_date = internal_date;
    }

    /// Size on disk so far.
    pub(crate) fn disk_size(&self) -> u64 {
        self.encoder.disk_size()
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write_all(&self.buffer).map_err(|e| Error::io("write", self.tmp.at(&self.name), e))?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is left, and waits until the bytes are with the disk: a name that the file gets from here on cannot outlive a crash that its
    /// bytes do not. Durable it is by [`Incoming::sync`] only, which is done here where the file system gives no such order. The time of the
    /// file is the internal date.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.encoder.finish(&mut self.buffer);
        self.flush()?;
        if let Some(date) = self.internal_date {
            self.file.set_modified(system_time(date)).map_err(|e| Error::io("set time of", self.tmp.at(&self.name), e))?;
        }
        let is_out =
            file_system::keeps_order(&self.file) && write_out(&self.file).map_err(|e| Error::io("write", self.tmp.at(&self.name), e))?;
        if is_out { Ok(()) } else { self.sync() }
    }

    /// Makes the file durable. On a file system with a journal that costs next to nothing when another file was synced after this one was
    /// finished and had its name: all was in one commit.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io("sync", self.tmp.at(&self.name), e))
    }

    /// The name the message gets in the mailbox: unique, with both sizes.
    pub(crate) fn final_base(&self) -> String {
        format!("{},S={},W={}", self.name, self.encoder.disk_size(), self.encoder.virtual_size())
    }

    /// Gives the finished file its name in the mailbox.
    pub(crate) fn place(&mut self, dir: &Dir, name: &str) -> Result<()> {
        self.tmp.rename_new(&self.name, dir, name)?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.placed
            && let Err(error) = self.tmp.unlink(&self.name)
        {
            tracing::warn!(%error, "an unfinished message stays in tmp until it is purged");
        }
    }
}

/// Hands the file's bytes to the disk and waits for it, without making it flush them. False where that cannot be done.
fn write_out(file: &File) -> std::io::Result<bool> {
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: a descriptor that is open, and numbers; the call touches no memory of ours.
    if unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, flags) } == 0 {
        return Ok(true);
    }
    match std::io::Error::last_os_error() {
        // a file system or a sandbox that does not know the call
        error if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | libc::EPERM | libc::EOPNOTSUPP)) => Ok(false),
        error => Err(error),
    }
}

/// Seconds since 1970, before or after, as the system has time.
fn system_time(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds >= 0 { UNIX_EPOCH.checked_add(distance) } else { UNIX_EPOCH.checked_sub(distance) };
    time.unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(ends: LineEnds, bytes: &[u8], cut: usize) -> (Vec<u8>, LineEncoder) {
        let (mut out, mut encoder) = (Vec::new(), LineEncoder::new(ends));
        for part in [&bytes[..cut], &bytes[cut..]] {
            let mut chunk = Vec::new();
            encoder.push(part, &mut chunk);
            out.append(&mut chunk);
        }
        let mut rest = Vec::new();
        encoder.finish(&mut rest);
        out.append(&mut rest);
        (out, encoder)
    }

    #[test]
    fn line_ends_become_those_of_the_settings() {
        for (input, lf, crlf) in [
            (&b"a\r\nb\r\n"[..], &b"a\nb\n"[..], &b"a\r\nb\r\n"[..]),
            (b"a\nb", b"a\nb", b"a\r\nb"),
            (b"\r\n\r\n", b"\n\n", b"\r\n\r\n"),
            (b"a\r", b"a\r", b"a\r"),
            (b"a\rb\r\n", b"a\rb\n", b"a\rb\r\n"),
            (b"a\r\r\nb", b"a\r\r\nb", b"a\r\r\nb"),
            (b"\r\r\r\n", b"\r\r\r\n", b"\r\r\r\n"),
        ] {
            for cut in 0..=input.len() {
                assert_eq!(encode(LineEnds::Lf, input, cut).0, lf, "{input:?} cut at {cut}");
                assert_eq!(encode(LineEnds::Crlf, input, cut).0, crlf, "{input:?} cut at {cut}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_stored_reads_back_with_crlf_and_the_sizes_are_true(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a')], 0..64), cut in 0usize..64
        ) {
            let mut wire = Vec::new();
            to_crlf(&bytes, 0, &mut wire);
            for ends in [LineEnds::Lf, LineEnds::Crlf] {
                let (stored, encoder) = encode(ends, &wire, cut.min(wire.len()));
                let mut read = Vec::new();
                to_crlf(&stored, 0, &mut read);
                prop_assert_eq!(&read, &wire);
                prop_assert_eq!(encoder.disk_size(), stored.len() as u64);
                prop_assert_eq!(encoder.virtual_size(), wire.len() as u64);
            }
        }
    }
}
