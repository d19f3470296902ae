//! The text in front of every stored message: version line, envelope, empty line; the body follows.
//!
//! It is the same in a record of the journal and in a queue file, and a tired operator can read it:
//!
//! ```text
//! facteur-message 1
//! id 1P4X2KD0000100003
//! arrived 1795359600.123456
//! sender <ann@example.org>
//! rcpt <bob@example.net>
//! rcpt notify=success,failure orcpt=rfc822;carol@example.net <carol@example.com>
//! first <team@example.net>
//! client 192.0.2.7
//! helo laptop
//! name laptop.example.org
//! login ann@example.org
//! protocol extended tls authenticated
//! body 8bitmime
//! smtputf8
//! ret headers
//! envid QQ314159
//! deliver-by 1795363200 return trace
//! release 1795363200 for 3600
//! priority 4
//! tls required
//! hold
//! filter smtp:[127.0.0.1]:10025
//! expanded
//! size 48213
//! xxh3 9f31b0c24d5e6a77
//! pad ----------
//! check 0a1b2c3d4e5f6071
//!
//! Received: ...
//! ```
//!
//! - Lines end with LF. `id`, `arrived` (seconds since 1970, six decimals) and `sender` (`<>` is the null sender) stand
//!   first, once; each other line is left out when it has nothing to say; `rcpt` comes once per recipient.
//! - Free text (`helo`, `name`, `login`, `envid`, `filter`, `orcpt=`) is xtext (RFC 3461 §4), so no peer's text can forge a line.
//! - `expanded`: aliases have been replaced by their targets, which must not happen twice.
//! - `first` comes once per recipient that the message was accepted for, written as `rcpt`, where aliases have led on from those to others: what
//!   `facteur queue requeue` goes back to.
//! - `size` and `xxh3` (XXH3-64, 16 hexadecimal digits) speak of the body and stand in files only; a record of the journal
//!   has its own checksum. `pad` keeps room, so that the text can be rewritten in place when a large message ends.
//! - `check` is the XXH3-64 of everything above its own line. A text whose check is wrong is damaged and set aside. The
//!   line may be missing: after an operator repaired a file by hand, it is best deleted.
//! - `deliver-by` (seconds since 1970, perhaps negative; `return` or `notify`; perhaps `trace`), `release` (seconds since 1970; `for` with
//!   the interval, or `until`), `priority` and `tls` (`required`, `optional`) are what the sender asked for (RFC 2852, 4865, 6710, 8689).
//!   They stand in texts of version 2 only, and a text without them is of version 1: a Facteur that does not know them reads it.
//! - Unknown lines are refused: a newer version changes the version line, and stays able to read the older ones. A text of a version that is
//!   not known yet is no damage: its message stays where it lies, until a Facteur runs again that knows it.

use mail_types::{
    Address, BodyType, ByMode, Client, DeliverBy, DsnNotify, DsnReturn, Envelope, Protocol, QueueId, Recipient, Release, TlsWish, Wishes,
    xtext_encode,
};
use std::fmt::Write;
use xxhash_rust::xxh3::xxh3_64;

/// By the version that they begin; all have the same length, so that a text can be rewritten in place.
const VERSION_LINES: [&str; 2] = ["facteur-message 1\n", "facteur-message 2\n"];

/// The line that fills an envelope up, without its filling: an envelope that lacks less cannot be filled up.
pub(crate) const SHORTEST_PAD: usize = "pad \n".len();

/// An envelope is never longer, whatever it holds: 1,000 recipients that are aliases of 1,000 each fit.
pub const LIMIT_BYTES: usize = 128 << 20;

/// An envelope as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub envelope: Envelope,
    /// Aliases have been expanded into the recipients.
    pub expanded: bool,
    /// The recipients that it was accepted for, where they are others.
    pub first: Vec<Recipient>,
    /// Length and checksum of the body; only in files.
    pub body: Option<BodySum>,
}

impl Stored {
    /// An envelope as it comes from a client.
    pub fn new(envelope: Envelope) -> Stored {
        Stored { envelope, expanded: false, first: Vec::new(), body: None }
    }
}

/// What a queue file says about its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BodySum {
    pub size_bytes: u64,
    pub xxh3: u64,
}

/// Why a text is no envelope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("the first line is neither `facteur-message 1` nor `facteur-message 2`")]
    Version,
    #[error("it is of version {0}, which a newer Facteur has written")]
    Newer(u32),
    #[error("the envelope has no end within {LIMIT_BYTES} bytes")]
    Unended,
    #[error("the envelope does not match its check line")]
    Check,
    #[error("the envelope is no UTF-8")]
    Encoding,
    #[error("the envelope has the line {0:?}")]
    Line(String),
    #[error("the envelope lacks its {0}")]
    Missing(&'static str),
}

/// Appends the text of `stored`, the empty line included.
pub fn encode(stored: &Stored, out: &mut Vec<u8>) {
    encode_parts(Parts { envelope: &stored.envelope, expanded: stored.expanded, first: &stored.first, body: stored.body }, 0, out);
}

/// A [`Stored`] whose parts lie apart.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    pub envelope: &'a Envelope,
    pub expanded: bool,
    pub first: &'a [Recipient],
    pub body: Option<BodySum>,
}

impl<'a> Parts<'a> {
    /// As it comes from a client.
    pub fn accepted(envelope: &'a Envelope, body: Option<BodySum>) -> Parts<'a> {
        Parts { envelope, expanded: false, first: &[], body }
    }
}

/// Appends the text, `pad_to` bytes long at least: the room is kept by a `pad` line.
pub fn encode_parts(parts: Parts<'_>, pad_to: usize, out: &mut Vec<u8>) {
    let mut text = String::with_capacity(256 + 48 * parts.envelope.recipients.len());
    // Writing to a String does not fail.
    let _ = write_lines(parts, &mut text);
    // "check " + 16 digits + LF, the empty line, and "pad " + LF around the padding itself.
    const TAIL: usize = 6 + 16 + 1 + 1;
    if let Some(pad) = pad_to.checked_sub(text.len() + TAIL + SHORTEST_PAD) {
        text.push_str("pad ");
        text.extend(std::iter::repeat_n('-', pad));
        text.push('\n');
    }
    let check = xxh3_64(text.as_bytes());
    let _ = writeln!(text, "check {check:016x}\n");
    out.extend_from_slice(text.as_bytes());
}

fn write_lines(Parts { envelope: e, expanded, first, body }: Parts<'_>, text: &mut String) -> std::fmt::Result {
    // The oldest version that can say it.
    text.push_str(VERSION_LINES[usize::from(e.wishes != Wishes::default())]);
    writeln!(text, "id {}", e.id)?;
    writeln!(text, "arrived {}.{:06}", e.arrived_micros / 1_000_000, e.arrived_micros % 1_000_000)?;
    match &e.sender {
        Some(sender) => writeln!(text, "sender <{sender}>")?,
        None => text.push_str("sender <>\n"),
    }
    for recipient in &e.recipients {
        write_recipient(recipient, text)?;
    }
    for recipient in first {
        write_parameters("first", recipient, text)?;
    }
    if let Some(ip) = e.client.ip {
        writeln!(text, "client {ip}")?;
    }
    for (name, value) in [("helo", Some(&e.client.helo)), ("name", e.client.name.as_ref()), ("login", e.client.login.as_ref())] {
        if let Some(value) = value.filter(|v| name != "helo" || !v.is_empty()) {
            writeln!(text, "{name} {}", xtext_encode(value))?;
        }
    }
    let flags = protocol_flags(&e.client.protocol);
    if !flags.is_empty() {
        writeln!(text, "protocol {flags}")?;
    }
    match e.body {
        BodyType::SevenBit => {}
        BodyType::EightBitMime => text.push_str("body 8bitmime\n"),
        BodyType::BinaryMime => text.push_str("body binarymime\n"),
    }
    if e.smtputf8 {
        text.push_str("smtputf8\n");
    }
    match e.ret {
        Some(DsnReturn::Full) => text.push_str("ret full\n"),
        Some(DsnReturn::Headers) => text.push_str("ret headers\n"),
        None => {}
    }
    if let Some(envid) = &e.envid {
        writeln!(text, "envid {}", xtext_encode(envid))?;
    }
    write_wishes(&e.wishes, text)?;
    if e.hold {
        text.push_str("hold\n");
    }
    if let Some(filter) = &e.filter {
        writeln!(text, "filter {}", xtext_encode(filter))?;
    }
    if expanded {
        text.push_str("expanded\n");
    }
    if let Some(body) = body {
        writeln!(text, "size {}\nxxh3 {:016x}", body.size_bytes, body.xxh3)?;
    }
    Ok(())
}

fn write_wishes(wishes: &Wishes, text: &mut String) -> std::fmt::Result {
    if let Some(by) = &wishes.deliver_by {
        let mode = if by.mode == ByMode::Return { "return" } else { "notify" };
        writeln!(text, "deliver-by {} {mode}{}", by.at_seconds, if by.trace { " trace" } else { "" })?;
    }
    match &wishes.release {
        Some(Release { at_seconds, interval: Some(interval) }) => writeln!(text, "release {at_seconds} for {interval}")?,
        Some(Release { at_seconds, interval: None }) => writeln!(text, "release {at_seconds} until")?,
        None => {}
    }
    if wishes.priority != 0 {
        writeln!(text, "priority {}", wishes.priority)?;
    }
    match wishes.tls {
        TlsWish::Usual => Ok(()),
        TlsWish::Required => writeln!(text, "tls required"),
        TlsWish::Optional => writeln!(text, "tls optional"),
    }
}

/// Appends one `rcpt` line.
pub fn write_recipient(recipient: &Recipient, text: &mut String) -> std::fmt::Result {
    write_parameters("rcpt", recipient, text)
}

fn write_parameters(key: &str, recipient: &Recipient, text: &mut String) -> std::fmt::Result {
    write!(text, "{key} ")?;
    let notify = &recipient.notify;
    if notify.given {
        let names = [(notify.success, "success"), (notify.failure, "failure"), (notify.delay, "delay")];
        let names: Vec<_> = names.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        write!(text, "notify={} ", if names.is_empty() { "never".to_string() } else { names.join(",") })?;
    }
    if let Some(orcpt) = &recipient.orcpt {
        write!(text, "orcpt={} ", xtext_encode(orcpt))?;
    }
    writeln!(text, "<{}>", recipient.address)
}

/// Parses what stands behind `rcpt ` on its line.
pub fn parse_recipient(mut rest: &str) -> Option<Recipient> {
    let mut notify = DsnNotify::default();
    let mut orcpt = None;
    if let Some((names, after)) = rest.strip_prefix("notify=").and_then(|r| r.split_once(' ')) {
        notify.given = true;
        for name in names.split(',') {
            match name {
                "success" => notify.success = true,
                "failure" => notify.failure = true,
                "delay" => notify.delay = true,
                "never" => {}
                _ => return None,
            }
        }
        rest = after;
    }
    if let Some((text, after)) = rest.strip_prefix("orcpt=").and_then(|r| r.split_once(' ')) {
        orcpt = Some(unescape(text)?);
        rest = after;
    }
    Some(Recipient { address: parse_address(rest)?, notify, orcpt })
}

fn parse_address(text: &str) -> Option<Address> {
    Address::parse(text.strip_prefix('<')?.strip_suffix('>')?).ok()
}

fn protocol_flags(p: &Protocol) -> String {
    let flags = [(p.extended, "extended"), (p.tls, "tls"), (p.authenticated, "authenticated"), (p.lmtp, "lmtp"), (p.local, "local")];
    flags.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
}

/// Reads the text at the start of `bytes`; also says where the body begins.
pub fn decode(bytes: &[u8]) -> Result<(Stored, usize), Damage> {
    let version = VERSION_LINES.iter().position(|line| bytes.starts_with(line.as_bytes()));
    let version = version.ok_or_else(|| newer(bytes).map_or(Damage::Version, Damage::Newer))?;
    let head = &bytes[..bytes.len().min(LIMIT_BYTES)];
    let end = find(head, b"\n\n").ok_or(Damage::Unended)? + 1;
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| Damage::Encoding)?;
    let mut builder = Builder { knows_wishes: version > 0, ..Builder::default() };
    let mut at = VERSION_LINES[version].len();
    for line in text[at..].split_terminator('\n') {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        let odd = || Damage::Line(line.chars().take(100).collect());
        if key == "check" {
            let want = u64::from_str_radix(value, 16).map_err(|_| odd())?;
            if want != xxh3_64(&bytes[..at]) || at + line.len() + 1 != end {
                return Err(Damage::Check);
            }
        } else {
            builder.line(key, value).ok_or_else(odd)?;
        }
        at += line.len() + 1;
    }
    Ok((builder.finish()?, end + 1))
}

/// The version of a text that none of ours is.
fn newer(bytes: &[u8]) -> Option<u32> {
    let line = bytes.split(|b| *b == b'\n').next()?.strip_prefix(b"facteur-message ")?;
    let version = std::str::from_utf8(line).ok()?.parse().ok()?;
    (bytes.get("facteur-message ".len() + line.len()) == Some(&b'\n') && version > VERSION_LINES.len() as u32).then_some(version)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}

#[derive(Default)]
struct Builder {
    id: Option<QueueId>,
    arrived_micros: Option<u64>,
    sender: Option<Option<Address>>,
    recipients: Vec<Recipient>,
    first: Vec<Recipient>,
    client: Client,
    body: BodyType,
    smtputf8: bool,
    ret: Option<DsnReturn>,
    envid: Option<String>,
    knows_wishes: bool,
    wishes: Wishes,
    hold: bool,
    filter: Option<String>,
    expanded: bool,
    size_bytes: Option<u64>,
    xxh3: Option<u64>,
}

impl Builder {
    /// `None` when the line says nothing we know.
    fn line(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "id" if self.id.is_none() => self.id = Some(QueueId::parse(value).ok()?),
            "arrived" if self.arrived_micros.is_none() => self.arrived_micros = Some(parse_micros(value)?),
            "sender" if self.sender.is_none() => self.sender = Some(if value == "<>" { None } else { Some(parse_address(value)?) }),
            "rcpt" => self.recipients.push(parse_recipient(value)?),
            "first" => self.first.push(parse_recipient(value)?),
            "client" => self.client.ip = Some(value.parse().ok()?),
            "helo" => self.client.helo = unescape(value)?,
            "name" => self.client.name = Some(unescape(value)?),
            "login" => self.client.login = Some(unescape(value)?),
            "protocol" => self.client.protocol = parse_protocol(value)?,
            "body" => {
                self.body = match value {
                    "8bitmime" => BodyType::EightBitMime,
                    "binarymime" => BodyType::BinaryMime,
                    _ => return None,
                }
            }
            "smtputf8" => self.smtputf8 = true,
            "ret" => {
                self.ret = Some(match value {
                    "full" => DsnReturn::Full,
                    "headers" => DsnReturn::Headers,
                    _ => return None,
                })
            }
            "envid" => self.envid = Some(unescape(value)?),
            "deliver-by" | "release" | "priority" | "tls" if self.knows_wishes => parse_wish(key, value, &mut self.wishes)?,
            "hold" => self.hold = true,
            "filter" => self.filter = Some(unescape(value)?),
            "expanded" => self.expanded = true,
            "size" => self.size_bytes = Some(value.parse().ok()?),
            "xxh3" => self.xxh3 = Some(u64::from_str_radix(value, 16).ok()?),
            "pad" => {}
            _ => return None,
        }
        Some(())
    }

    fn finish(self) -> Result<Stored, Damage> {
        let envelope = Envelope {
            id: self.id.ok_or(Damage::Missing("id"))?,
            arrived_micros: self.arrived_micros.ok_or(Damage::Missing("time of arrival"))?,
            sender: self.sender.ok_or(Damage::Missing("sender"))?,
            recipients: self.recipients,
            body: self.body,
            smtputf8: self.smtputf8,
            ret: self.ret,
            envid: self.envid,
            wishes: self.wishes,
            hold: self.hold,
            filter: self.filter,
            client: self.client,
        };
        let body = match (self.size_bytes, self.xxh3) {
            (Some(size_bytes), Some(xxh3)) => Some(BodySum { size_bytes, xxh3 }),
            (None, None) => None,
            _ => return Err(Damage::Missing("checksum or size")),
        };
        Ok(Stored { envelope, expanded: self.expanded, first: self.first, body })
    }
}

fn parse_wish(key: &str, value: &str, wishes: &mut Wishes) -> Option<()> {
    let words: Vec<&str> = value.split(' ').collect();
    match (key, words.as_slice()) {
        ("deliver-by", [at, mode, trace @ ..]) => {
            let mode = match *mode {
                "return" => ByMode::Return,
                "notify" => ByMode::Notify,
                _ => return None,
            };
            let trace = match trace {
                [] => false,
                ["trace"] => true,
                _ => return None,
            };
            wishes.deliver_by = Some(DeliverBy { at_seconds: at.parse().ok()?, mode, trace });
        }
        ("release", [at, "for", interval]) => {
            wishes.release = Some(Release { at_seconds: at.parse().ok()?, interval: Some(interval.parse().ok()?) });
        }
        ("release", [at, "until"]) => wishes.release = Some(Release { at_seconds: at.parse().ok()?, interval: None }),
        ("priority", [value]) => wishes.priority = value.parse().ok().filter(|p| (-9..=9).contains(p))?,
        ("tls", ["required"]) => wishes.tls = TlsWish::Required,
        ("tls", ["optional"]) => wishes.tls = TlsWish::Optional,
        _ => return None,
    }
    Some(())
}

fn parse_micros(value: &str) -> Option<u64> {
    let (seconds, micros) = value.split_once('.')?;
    let micros: u64 = (micros.len() == 6).then(|| micros.parse().ok())??;
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(micros)
}

fn parse_protocol(value: &str) -> Option<Protocol> {
    let mut p = Protocol::default();
    for flag in value.split(' ') {
        *match flag {
            "extended" => &mut p.extended,
            "tls" => &mut p.tls,
            "authenticated" => &mut p.authenticated,
            "lmtp" => &mut p.lmtp,
            "local" => &mut p.local,
            _ => return None,
        } = true;
    }
    Some(p)
}

// Like xtext_decode, but gives back whatever was encoded: what a HELO said is kept, also when it was odd.
fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&b, after)) = rest.split_first() {
        rest = after;
        if b == b'+' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            out.push(b);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
