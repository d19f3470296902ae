//! BINARY and BINARY.SIZE (RFC 3516): parts without their Content-Transfer-Encoding, decoded while they are sent. No more of a part is in
//! memory than a batch of answers has.

use super::Failure;
use super::body::Reading;
use imap_proto::BinaryItem;
use imap_proto::encode::{self, literal_header, literal8_header};
use mailstore::MessageFile;
use message::transfer::Decoder;
use message::{Encoding, Kind, Part};
use parking_lot::Mutex;
use std::io::{self, Read};

/// Decoded at once, and copied into the answer when that is all.
const CHUNK_BYTES: usize = 64 << 10;

/// Where a part lies, counted with CRLF line ends, and how it is encoded there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coded {
    pub from: u64,
    pub length: u64,
    pub encoding: Encoding,
}

/// How far a session has decoded a part: clients fetch large parts in many pieces, and none of them is to be decoded from the start.
pub struct Progress {
    uid: u32,
    part: Vec<u32>,
    coded: Coded,
    place: Place,
    /// Of all that is decoded.
    size: Option<u64>,
}

/// Between two chunks of a part.
#[derive(Clone)]
struct Place {
    /// Bytes taken from the part, and bytes they became.
    raw: u64,
    shown: u64,
    decoder: Decoder,
}

impl Place {
    fn start(coded: Coded) -> Place {
        Place { raw: 0, shown: 0, decoder: coded.encoding.decoder() }
    }
}

/// Finds the part; `None` when the message has none such.
pub fn find(
    reading: &Reading<'_>,
    file: &MessageFile,
    part: &[u32],
    uid: u32,
    progress: &Mutex<Option<Progress>>,
) -> Result<Option<Coded>, Failure> {
    if part.is_empty() {
        // The message is in no encoding: what its header names is that of its body, which is part 1.
        return Ok(Some(Coded { from: 0, length: file.size()?, encoding: Encoding::Identity }));
    }
    if let Some(known) = progress.lock().as_ref().filter(|known| known.uid == uid && known.part == part) {
        return Ok(Some(known.coded));
    }
    let message = reading.message(file)?;
    let Some(found) = message.at(part) else { return Ok(None) };
    let encoding = encoding(found).ok_or(Failure::UnknownEncoding)?;
    let from = found.body_bytes().as_ptr() as usize - message.bytes().as_ptr() as usize;
    let coded = Coded { from: from as u64, length: found.body_bytes().len() as u64, encoding };
    *progress.lock() = Some(Progress { uid, part: part.to_vec(), coded, place: Place::start(coded), size: None });
    Ok(Some(coded))
}

/// RFC 3516 §4.3: what nobody knows how to decode is refused. RFC 2045 §6.4: parts that hold others have no encoding of their own.
fn encoding(part: &Part<'_>) -> Option<Encoding> {
    if matches!(part.kind, Kind::Multipart | Kind::Message) {
        return Some(Encoding::Identity);
    }
    let name = part.encoding_name().unwrap_or(b"7bit").to_ascii_lowercase();
    match &name[..] {
        b"7bit" | b"8bit" | b"binary" => Some(Encoding::Identity),
        b"base64" | b"quoted-printable" => Some(Encoding::parse(&name)),
        _ => None,
    }
}

/// Writes the value of `BINARY.SIZE[...]`.
pub fn write_size(file: &MessageFile, coded: Coded, uid: u32, part: &[u32], progress: &Mutex<Option<Progress>>, out: &mut Vec<u8>) {
    let known = |progress: &Progress| (progress.uid == uid && progress.part == part).then_some(progress.size).flatten();
    let size = match coded.encoding {
        Encoding::Identity => Ok(coded.length),
        _ => match progress.lock().as_ref().and_then(known) {
            Some(size) => Ok(size),
            None => Decoded::new(file, coded, Place::start(coded)).and_then(|mut decoded| io::copy(&mut decoded, &mut io::sink())),
        },
    };
    // It could be read before; the answer has begun.
    let size = size.inspect_err(|error| tracing::error!(%error, "message cannot be read again")).unwrap_or_default();
    if let Some(progress) = progress.lock().as_mut().filter(|progress| progress.uid == uid && progress.part == part) {
        progress.size = Some(size);
    }
    encode::number(out, size);
}

/// What follows an announcement.
pub struct Rest {
    pub reader: Box<dyn Read + Send>,
    pub length: u64,
}

/// Writes the value of `BINARY[...]`, or only its announcement: then what has to follow is returned.
pub fn write(
    file: &MessageFile,
    coded: Coded,
    uid: u32,
    item: &BinaryItem,
    progress: &Mutex<Option<Progress>>,
    out: &mut Vec<u8>,
) -> Option<Rest> {
    let (first, count) = item.partial.map_or((0, u64::MAX), |(first, count)| (u64::from(first), u64::from(count)));
    let begin = place_before(coded, uid, &item.part, progress, first);
    let piece = || {
        let mut decoded = Decoded::new(file, coded, begin.clone())?;
        io::copy(&mut (&mut decoded).take(first.saturating_sub(begin.shown)), &mut io::sink())?;
        Ok::<_, io::Error>(decoded.take(count))
    };
    let measured = piece().and_then(measure);
    let (measure, last) = match measured {
        Ok(measured) => measured,
        Err(error) => {
            // It could be read before; the answer has begun.
            tracing::error!(%error, "message cannot be read again");
            out.extend_from_slice(b"NIL");
            return None;
        }
    };
    if let Some(progress) = progress.lock().as_mut().filter(|progress| progress.uid == uid && progress.part == item.part) {
        progress.place = last;
    }
    // RFC 3516 §4.3: the client sees by the form whether there is NUL in it.
    if measure.has_nul {
        literal8_header(out, measure.length)
    } else {
        literal_header(out, measure.length)
    }
    if measure.length <= measure.begin.len() as u64 {
        out.extend_from_slice(&measure.begin);
        return None;
    }
    let failed = |error: io::Error| -> Box<dyn Read + Send> {
        tracing::error!(%error, "message cannot be read again");
        Box::new(io::empty())
    };
    let reader = piece().map_or_else(failed, |piece| Box::new(piece));
    Some(Rest { reader, length: measure.length })
}

/// Where to begin decoding for what is shown from `first` on.
fn place_before(coded: Coded, uid: u32, part: &[u32], progress: &Mutex<Option<Progress>>, first: u64) -> Place {
    if coded.encoding == Encoding::Identity {
        let at = first.min(coded.length);
        return Place { raw: at, shown: first, ..Place::start(coded) };
    }
    match progress.lock().as_ref() {
        Some(known) if known.uid == uid && known.part == part && known.place.shown <= first => known.place.clone(),
        _ => Place::start(coded),
    }
}

struct Measure {
    length: u64,
    has_nul: bool,
    /// The first chunk, or all when there is no more.
    begin: Vec<u8>,
}

/// Reads a piece to its end; also gives the place from which the next may go on.
fn measure(mut piece: io::Take<Decoded>) -> io::Result<(Measure, Place)> {
    let mut measure = Measure { length: 0, has_nul: false, begin: Vec::new() };
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    loop {
        chunk.clear();
        let got = (&mut piece).take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
        if got == 0 {
            return Ok((measure, piece.into_inner().before));
        }
        measure.length += got as u64;
        measure.has_nul |= memchr::memchr(0, &chunk).is_some();
        if measure.begin.is_empty() {
            measure.begin.clone_from(&chunk);
        }
    }
}

/// A part as it is read without its encoding.
struct Decoded {
    raw: io::Take<Box<dyn Read + Send>>,
    /// Behind what is in `ready`, and before it.
    place: Place,
    before: Place,
    ready: Vec<u8>,
    at: usize,
    ended: bool,
    chunk: Vec<u8>,
}

impl Decoded {
    fn new(file: &MessageFile, coded: Coded, place: Place) -> io::Result<Decoded> {
        let raw = file.reader(coded.from + place.raw)?.take(coded.length - place.raw);
        Ok(Decoded { raw, before: place.clone(), place, ready: Vec::new(), at: 0, ended: false, chunk: Vec::new() })
    }

    fn fill(&mut self) -> io::Result<()> {
        self.ready.clear();
        self.at = 0;
        while self.ready.is_empty() && !self.ended {
            self.before = self.place.clone();
            self.chunk.clear();
            let got = (&mut self.raw).take(CHUNK_BYTES as u64).read_to_end(&mut self.chunk)?;
            self.ended = got == 0;
            if self.ended {
                self.place.decoder.finish(&mut self.ready);
            } else {
                self.place.decoder.push(&self.chunk, &mut self.ready);
            }
            self.place.raw += got as u64;
            self.place.shown += self.ready.len() as u64;
        }
        Ok(())
    }
}

impl Read for Decoded {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.ready.len() {
            self.fill()?;
        }
        let take = out.len().min(self.ready.len() - self.at);
        out[..take].copy_from_slice(&self.ready[self.at..self.at + take]);
        self.at += take;
        Ok(take)
    }
}

/// The name of the item in the answer: `BINARY[1.2]<0>` (RFC 3516 §4.3).
pub fn write_name(out: &mut Vec<u8>, word: &str, part: &[u32], partial: Option<(u32, u32)>) {
    out.extend_from_slice(word.as_bytes());
    out.push(b'[');
    for (at, number) in part.iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        encode::number(out, u64::from(*number));
    }
    out.push(b']');
    if let Some((first, _)) = partial {
        out.push(b'<');
        encode::number(out, u64::from(first));
        out.push(b'>');
    }
    out.push(b' ');
}
