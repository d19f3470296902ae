//! Bytes kept on disk while a message is put together: what comes in pieces, or as octets that are no lines yet.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;

use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::incoming::Incoming;
use crate::memory::Memory;
use crate::message_file::Whole;
use crate::store::Store;

const BUFFER: usize = 64 * 1024;

/// Larger messages are not taken apart: with its copies one then takes what all sessions together may hold
/// ([`crate::LARGEST_WHOLE`]), and not more than is counted.
const LARGEST: u64 = 64 << 20;

/// A file without a name in `tmp/`: whatever happens, nothing of it stays.
pub struct Scratch {
    file: File,
    path: PathBuf,
    buffer: Vec<u8>,
    size: u64,
    memory: Arc<Memory>,
}

impl Scratch {
    pub(crate) fn new(tmp: &Dir, store: &Arc<Store>) -> Result<Scratch> {
        let name = store.unique_name();
        let file = tmp.create_readable(&name)?;
        tmp.unlink(&name)?;
        Ok(Scratch { file, path: tmp.at(&name), buffer: Vec::new(), size: 0, memory: store.memory().clone() })
    }

    /// Adds bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.buffer.extend_from_slice(bytes);
        self.size += bytes.len() as u64;
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write_all(&self.buffer).map_err(|e| Error::io("write", &self.path, e))?;
        self.buffer.clear();
        Ok(())
    }

    fn rewind(&mut self) -> Result<()> {
        self.flush()?;
        self.file.seek(SeekFrom::Start(0)).map_err(|e| Error::io("read", &self.path, e))?;
        Ok(())
    }

    /// All bytes, in memory that counts among what all sessions may hold ([`crate::LARGEST_WHOLE`]), with room for a copy in base64. `Limit` when
    /// there are more.
    pub fn read_all(&mut self) -> Result<Whole> {
        if self.size > LARGEST {
            return Err(Error::Limit("message is too large to be taken apart"));
        }
        self.rewind()?;
        let taken = self.memory.take(self.size.saturating_mul(5) / 2);
        let mut bytes = Vec::with_capacity(self.size as usize);
        self.file.read_to_end(&mut bytes).map_err(|e| Error::io("read", &self.path, e))?;
        Ok(Whole::new(bytes, taken))
    }

    /// Hands all bytes on to a message.
    pub fn copy_to(&mut self, incoming: &mut Incoming) -> Result<()> {
        self.rewind()?;
        let mut chunk = vec![0; BUFFER];
        loop {
            match self.file.read(&mut chunk).map_err(|e| Error::io("read", &self.path, e))? {
                0 => return Ok(()),
                got => incoming.write(&chunk[..got])?,
            }
        }
    }
}
