//! One message for one mailbox, and the steps that file it.

use std::cell::Cell;
use std::fs::File;
use std::io::{IoSlice, Write};
use std::sync::Arc;

use mail_types::QueueId;
use xxhash_rust::xxh3::xxh3_64;

use crate::delivery::target::Target;
use crate::delivery::{Claim, Delivered, UnderWay};
use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::incoming::LineEncoder;
use crate::location::Location;
use crate::name::MailboxName;
use crate::snapshot::size_in_name;
use crate::store::{LineEnds, Store};

/// A message with the line ends it gets on disk, shared by all its recipients.
#[derive(Clone, Debug)]
pub struct Body {
    bytes: Arc<Vec<u8>>,
    virtual_size: u64,
}

impl Body {
    pub(crate) fn new(pieces: &[&[u8]], ends: LineEnds) -> Body {
        let mut encoder = LineEncoder::new(ends);
        let mut out = Vec::with_capacity(pieces.iter().map(|piece| piece.len()).sum());
        for piece in pieces {
            encoder.push(piece, &mut out);
        }
        encoder.finish(&mut out);
        Body { virtual_size: encoder.virtual_size(), bytes: Arc::new(out) }
    }
}

/// What makes a delivery recognisable when it is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The message.
    pub id: QueueId,
    /// When it was accepted, seconds since 1970.
    pub seconds: u64,
    /// It may have been delivered before: look for it first.
    pub repeated: bool,
}

/// A message for one mailbox.
#[derive(Clone, Debug)]
pub struct Letter {
    pub location: Location,
    pub mailbox: MailboxName,
    /// Limits of the account, 0 = none.
    pub quota_bytes: u64,
    pub quota_messages: u64,
    /// The address it is delivered to; part of the identity.
    pub recipient: String,
    /// `None` when the sender gives no identity we could rely on: the message gets a name of its own.
    pub identity: Option<Identity>,
    /// Header lines for this recipient, put in front; CRLF or LF line ends, the last one ended.
    pub header: Vec<u8>,
    pub body: Body,
}

/// File names of one delivery, before the sizes are known.
pub(crate) struct Names {
    /// Up to the host.
    base: String,
    tmp: String,
    repeated: bool,
    /// Where there is an identity.
    _claim: Option<Claim>,
}

impl Names {
    /// An error when the same delivery is at work.
    pub fn new(store: &Store, identity: Option<Identity>, recipient: &str, target: &Target, under_way: &Arc<UnderWay>) -> Result<Names> {
        let unique = store.unique_name();
        let base = match identity {
            Some(Identity { id, seconds, .. }) => {
                format!("{seconds}.{}_{:016x}.{}", id.as_str(), xxh3_64(recipient.as_bytes()), store.host())
            }
            None => unique.clone(),
        };
        // in tmp/ every attempt has its own name: an earlier one may have left its file, or be at work still
        let claim = identity.map(|_| under_way.claim(target.new.path(), &base)).transpose()?;
        Ok(Names { base, tmp: unique, repeated: identity.is_some_and(|identity| identity.repeated), _claim: claim })
    }

    pub fn tmp(&self) -> &str {
        &self.tmp
    }

    pub fn with_sizes(&self, disk: u64, virtual_size: u64) -> String {
        format!("{},S={disk},W={virtual_size}", self.base)
    }

    /// Looks for an earlier delivery in `new/` and `cur/`, whatever flags it got, and makes sure it is durable. After a sync error the
    /// file cannot be trusted: it is removed, to be written anew.
    pub fn find_earlier(&self, target: &Target) -> Result<Option<Delivered>> {
        if !self.repeated {
            return Ok(None);
        }
        for part in ["new", "cur"] {
            let dir = match target.dir.open_dir(part) {
                Err(error) if error.is_not_found() => continue,
                other => other?,
            };
            let mut found = None;
            dir.each_name(|name| {
                let rest = name.strip_prefix(&*self.base);
                if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([',', ':'])) {
                    found = Some(name.to_owned());
                }
            })?;
            let Some(name) = found else { continue };
            let size = match dir.open_file(&name) {
                // moved on between listing and opening: once more from the start
                Err(error) if error.is_not_found() => return self.find_earlier(target),
                Err(error) => return Err(error),
                Ok(file) => file
                    .sync_all()
                    .and_then(|()| file.metadata())
                    .map_err(|e| Error::io("sync", dir.at(&name), e))
                    .and_then(|data| dir.sync().map(|()| data.len())),
            };
            match size {
                Ok(size) => {
                    let file = name.split(':').next().unwrap_or(&name).to_owned();
                    // a file shorter than its name says was cut by a crash of a system without our promises
                    if size_in_name(&file, b'S').is_none_or(|said| said == size) {
                        return Ok(Some(Delivered { file, duplicate: true, size, usage: None }));
                    }
                    tracing::warn!(file = %dir.at(&name).display(), "an earlier delivery is incomplete, it is replaced");
                }
                Err(error) => tracing::error!(%error, "an earlier delivery cannot be made durable, it is replaced"),
            }
            dir.unlink(&name)?;
        }
        Ok(None)
    }
}

/// A letter ready to be written.
pub(crate) struct Sheet {
    header: Vec<u8>,
    body: Body,
    names: Names,
    file: String,
    disk_size: u64,
    /// What the account holds with this message, once it was charged.
    usage: Cell<Option<(u64, u64)>>,
}

impl Sheet {
    pub fn new(store: &Store, letter: Letter, target: &Target, under_way: &Arc<UnderWay>) -> Result<Sheet> {
        let names = Names::new(store, letter.identity, &letter.recipient, target, under_way)?;
        let header = Body::new(&[&letter.header], store.settings.line_ends);
        let disk_size = (header.bytes.len() + letter.body.bytes.len()) as u64;
        let file = names.with_sizes(disk_size, header.virtual_size + letter.body.virtual_size);
        let header = Arc::try_unwrap(header.bytes).unwrap_or_default();
        Ok(Sheet { header, body: letter.body, names, file, disk_size, usage: Cell::new(None) })
    }

    /// All steps, for one message alone.
    pub fn file_alone(&self, target: &Target) -> Result<Delivered> {
        if let Some(earlier) = self.begin(target)? {
            return Ok(earlier);
        }
        let written =
            self.write(target).and_then(|file| file.sync_all().map_err(|e| Error::io("sync", target.tmp.at(self.names.tmp()), e)));
        if let Err(error) = written {
            self.give_up_tmp(target);
            return Err(error);
        }
        let delivered = self.place(target)?;
        if let Err(error) = target.new.sync() {
            // The earlier one's file is not this one's to remove.
            if !delivered.duplicate {
                self.give_up_new(target);
            }
            return Err(error);
        }
        Ok(delivered)
    }

    /// First step: look for an earlier delivery, take room.
    pub fn begin(&self, target: &Target) -> Result<Option<Delivered>> {
        if let Some(earlier) = self.names.find_earlier(target)? {
            return Ok(Some(earlier));
        }
        self.usage.set(target.account().charge_in(&target.root, target.mailbox(), true, self.disk_size, 1)?);
        Ok(None)
    }

    /// Second step: write the file in `tmp/`. On an error the caller calls `give_up_tmp`.
    pub fn write(&self, target: &Target) -> Result<File> {
        let mut file = target.tmp.create(self.names.tmp())?;
        let mut slices = [IoSlice::new(&self.header), IoSlice::new(&self.body.bytes)];
        write_all_vectored(&mut file, &mut slices).map_err(|e| Error::io("write", target.tmp.at(self.names.tmp()), e))?;
        Ok(file)
    }

    /// Third step, once the file is synced: name it in `new/`. On an error nothing is left.
    pub fn place(&self, target: &Target) -> Result<Delivered> {
        place(target, self.names.tmp(), &self.file, self.disk_size).map(|delivered| Delivered { usage: self.usage.get(), ..delivered })
    }

    /// The file was not synced: away with it.
    pub fn give_up_tmp(&self, target: &Target) {
        give_up(target, &target.tmp, self.names.tmp(), self.disk_size);
    }

    /// The name was not synced: away with it.
    pub fn give_up_new(&self, target: &Target) {
        give_up(target, &target.new, &self.file, self.disk_size);
    }
}

/// Names a synced file in `new/`. A name that is taken means an earlier attempt came through meanwhile; its file is synced
/// by the caller's sync of the directory only if it is whole, so it is synced here.
pub(crate) fn place(target: &Target, tmp: &str, file: &str, size: u64) -> Result<Delivered> {
    match target.tmp.rename_new(tmp, &target.new, file) {
        Ok(()) => Ok(Delivered { file: file.to_owned(), duplicate: false, size, usage: None }),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {
            give_up(target, &target.tmp, tmp, size);
            let earlier = target.new.open_file(file)?;
            if let Err(error) = earlier.sync_all() {
                // A second sync would say that all is well. The message comes again, and is written anew then.
                give_up(target, &target.new, file, size);
                return Err(Error::io("sync", target.new.at(file), error));
            }
            Ok(Delivered { file: file.to_owned(), duplicate: true, size, usage: None })
        }
        Err(error) => {
            give_up(target, &target.tmp, tmp, size);
            Err(error)
        }
    }
}

/// Removes a file of ours and gives its room back.
pub(crate) fn give_up(target: &Target, dir: &Dir, name: &str, size: u64) {
    if let Err(error) = dir.unlink(name) {
        tracing::warn!(%error, "a message that could not be delivered stays");
    }
    target.account().release_in(&target.root, target.mailbox(), size, 1);
}

fn write_all_vectored(file: &mut File, mut slices: &mut [IoSlice<'_>]) -> std::io::Result<()> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match file.write_vectored(slices) {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
