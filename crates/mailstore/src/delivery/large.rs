//! Messages too large to hold in memory: written to `tmp/` of the first recipient's mailbox as they come, copied for others.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use crate::delivery::letter::{Identity, Names, give_up, place};
use crate::delivery::target::Target;
use crate::delivery::{Delivered, UnderWay};
use crate::error::{Error, Result};
use crate::incoming::LineEncoder;
use crate::store::Store;

const BUFFER: usize = 256 * 1024;

/// A large message being written for one mailbox. Dropped unfinished, nothing of it stays. Blocking throughout.
pub struct LargeLetter {
    store: Arc<Store>,
    target: Arc<Target>,
    tmp: String,
    file: File,
    buffer: Vec<u8>,
    encoder: LineEncoder,
    identity: Option<(Option<Identity>, String)>,
    /// Bytes of this recipient's own header at the start of the file.
    header_size: u64,
    header_virtual: u64,
    placed: bool,
}

impl LargeLetter {
    pub(crate) fn new(store: &Arc<Store>, target: &Arc<Target>, size: u64) -> Result<LargeLetter> {
        target.account().check_room(target.mailbox(), true, size, 1)?;
        let tmp = store.unique_name();
        let file = target.tmp.create_readable(&tmp)?;
        Ok(LargeLetter {
            store: store.clone(),
            target: target.clone(),
            tmp,
            file,
            buffer: Vec::new(),
            encoder: LineEncoder::new(store.settings.line_ends),
            identity: None,
            header_size: 0,
            header_virtual: 0,
            placed: false,
        })
    }

    /// Whose it is, and the header lines put in front for this recipient. Called once, before the first `write`.
    pub fn address(&mut self, identity: Option<Identity>, recipient: &str, header: &[u8]) -> Result<()> {
        self.identity = Some((identity, recipient.to_owned()));
        self.write(header)?;
        (self.header_size, self.header_virtual) = (self.encoder.disk_size(), self.encoder.virtual_size());
        Ok(())
    }

    /// Adds a piece of the message.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.encoder.push(bytes, &mut self.buffer);
        if self.buffer.len() >= BUFFER {
            self.flush()?;
        }
        Ok(())
    }

    /// The message as it is on disk becomes the message of `other` too, behind the header `other` has. To be called when all
    /// is written, before [`LargeLetter::finish`].
    pub fn copy_to(&mut self, other: &mut LargeLetter) -> Result<()> {
        self.end()?;
        other.flush()?;
        let failed = |e| Error::io("copy", self.target.tmp.at(&self.tmp), e);
        self.file.seek(SeekFrom::Start(self.header_size)).map_err(failed)?;
        // std uses copy_file_range where it can: no bytes through our memory
        let length = self.encoder.disk_size() - self.header_size;
        let copied = std::io::copy(&mut (&self.file).take(length), &mut other.file)
            .map_err(|e| Error::io("copy", other.target.tmp.at(&other.tmp), e))?;
        if copied != length {
            return Err(Error::io("copy", other.target.tmp.at(&other.tmp), std::io::Error::from(std::io::ErrorKind::UnexpectedEof)));
        }
        other.encoder.add_counted(length, self.encoder.virtual_size() - self.header_virtual);
        Ok(())
    }

    /// Size on disk so far.
    pub fn size(&self) -> u64 {
        self.encoder.disk_size()
    }

    /// Files it, as [`crate::Delivery::deliver`] does.
    pub(crate) fn finish(mut self, under_way: &Arc<UnderWay>) -> Result<Delivered> {
        self.end()?;
        let (identity, recipient) = self.identity.take().unwrap_or_default();
        let target = self.target.clone();
        let names = Names::new(&self.store, identity, &recipient, &target, under_way)?;
        if let Some(earlier) = names.find_earlier(&target)? {
            return Ok(earlier);
        }
        let size = self.encoder.disk_size();
        let usage = target.account().charge_in(&target.root, target.mailbox(), true, size, 1)?;
        // from here the steps below remove the file and give the room back
        self.placed = true;
        if let Err(error) = self.file.sync_all() {
            give_up(&target, &target.tmp, &self.tmp, size);
            return Err(Error::io("sync", target.tmp.at(&self.tmp), error));
        }
        let delivered = place(&target, &self.tmp, &names.with_sizes(size, self.encoder.virtual_size()), size)?;
        if let Err(error) = target.new.sync() {
            if !delivered.duplicate {
                give_up(&target, &target.new, &delivered.file, size);
            }
            return Err(error);
        }
        Ok(Delivered { usage, ..delivered })
    }

    fn end(&mut self) -> Result<()> {
        self.encoder.finish(&mut self.buffer);
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write_all(&self.buffer).map_err(|e| Error::io("write", self.target.tmp.at(&self.tmp), e))?;
        self.buffer.clear();
        Ok(())
    }
}

impl Drop for LargeLetter {
    fn drop(&mut self) {
        if !self.placed
            && let Err(error) = self.target.tmp.unlink(&self.tmp)
        {
            tracing::warn!(%error, "an unfinished message stays in tmp until it is purged");
        }
    }
}
