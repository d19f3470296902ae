//! The fields of `fetch`.

use crate::query::plain_guid;
use crate::usage::Usage;
use config::Config;
use mailstore::{Error, Flags, Mailbox, Message, Result, Snapshot, Whole};
use message::{Kind, Want};
use pop3_proto::uidl;
use std::cell::OnceCell;
use std::fmt;

/// A field by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    Plain(&'static str),
    /// One field of the header.
    Header(String, Shown),
    /// `body.1.2`, and with the transfer encoding undone `binary.1.2`.
    Section {
        path: Vec<u32>,
        want: Want<'static>,
        is_binary: bool,
    },
}

/// How a field of the header is shown. Encoded words are decoded in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    Text,
    Addresses,
    Names,
}

const KNOWN: [&str; 27] = [
    "user",
    "mailbox",
    "mailbox-guid",
    "seq",
    "uid",
    "guid",
    "flags",
    "modseq",
    "date.received",
    "date.saved",
    "date.sent",
    "date.received.unixtime",
    "date.saved.unixtime",
    "date.sent.unixtime",
    "size.physical",
    "size.virtual",
    "refcount",
    "pop3.uidl",
    "pop3.order",
    "imap.envelope",
    "imap.body",
    "imap.bodystructure",
    "hdr",
    "body",
    "text",
    "text.utf8",
    "body.preview",
];

impl Field {
    pub fn parse_all(text: &str) -> anyhow::Result<Vec<Field>> {
        text.split([' ', ',']).filter(|word| !word.is_empty()).map(Field::parse).collect()
    }

    fn parse(word: &str) -> anyhow::Result<Field> {
        let lower = word.to_ascii_lowercase();
        // doveadm's other name
        let name = if lower == "body.snippet" { "body.preview" } else { lower.as_str() };
        if let Some(known) = KNOWN.iter().find(|known| **known == name) {
            return Ok(Field::Plain(known));
        }
        let found = match name.split_once('.') {
            Some(("hdr", header)) => Field::header(header),
            Some(("body", section)) => Field::section(section, false),
            Some(("binary", section)) => Field::section(section, true),
            _ => None,
        };
        found.ok_or_else(|| {
            let word = mail_types::printable(word);
            if name == "storageid" {
                return Usage::error("storageid: a Maildir has no number for a message; guid names it in all mailboxes");
            }
            if name.contains("header.fields") {
                return Usage::error(format!("{word}: fields of the header are hdr.NAME"));
            }
            let known = KNOWN.join(", ");
            Usage::error(format!(
                "there is no field {word} (known: {known}, hdr.NAME, hdr.NAME.address, hdr.NAME.address_name, body.1.2, binary.1.2)"
            ))
        })
    }

    fn header(text: &str) -> Option<Field> {
        let filters =
            [("address_name.utf8", Shown::Names), ("address_name", Shown::Names), ("address", Shown::Addresses), ("utf8", Shown::Text)];
        let filtered = filters.iter().find_map(|(filter, shown)| Some((text.strip_suffix(filter)?.strip_suffix('.')?, *shown)));
        let (name, shown) = filtered.unwrap_or((text, Shown::Text));
        (!name.is_empty()).then(|| Field::Header(name.to_owned(), shown))
    }

    /// RFC 9051 §6.4.5.1, but for fields of the header.
    fn section(text: &str, is_binary: bool) -> Option<Field> {
        let (path, want) = match text.rsplit_once('.').unwrap_or(("", text)) {
            _ if text.is_empty() => ("", Want::All),
            (path, "mime") if !path.is_empty() => (path, Want::Mime),
            (path, "header") => (path, Want::Header),
            (path, "text") => (path, Want::Text),
            _ => (text, Want::All),
        };
        let path = path.split('.').filter(|_| !path.is_empty()).map(|number| number.parse::<u32>().ok().filter(|number| *number > 0));
        let path = path.collect::<Option<Vec<u32>>>()?;
        (!is_binary || want == Want::All).then_some(Field::Section { path, want, is_binary })
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Plain(name) => f.write_str(name),
            Field::Header(name, Shown::Text) => write!(f, "hdr.{name}"),
            Field::Header(name, Shown::Addresses) => write!(f, "hdr.{name}.address"),
            Field::Header(name, Shown::Names) => write!(f, "hdr.{name}.address_name"),
            Field::Section { path, want, is_binary } => {
                f.write_str(if *is_binary { "binary" } else { "body" })?;
                path.iter().try_for_each(|number| write!(f, ".{number}"))?;
                f.write_str(match want {
                    Want::Mime => ".mime",
                    Want::Header => ".header",
                    Want::Text => ".text",
                    _ if path.is_empty() => ".",
                    _ => "",
                })
            }
        }
    }
}

/// What a message has in a field.
pub enum Value {
    Number(u64),
    Text(String),
    /// Nothing, as a date that is not there.
    None,
    /// What IMAP says, which may have literals in it.
    Imap(Vec<u8>),
    /// Of the message itself, as it is.
    Bytes(Vec<u8>),
}

impl Value {
    pub fn json(&self) -> serde_json::Value {
        match self {
            Value::Number(number) => (*number).into(),
            Value::Text(text) => text.as_str().into(),
            Value::None => serde_json::Value::Null,
            Value::Imap(bytes) | Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into(),
        }
    }

    /// Stands on lines of its own.
    pub fn is_long(&self) -> bool {
        matches!(self, Value::Bytes(_))
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Value::Text(text) => out.extend_from_slice(mail_types::printable(text).as_bytes()),
            Value::None => {}
            Value::Imap(bytes) | Value::Bytes(bytes) => out.extend_from_slice(bytes),
        }
    }

    /// On one line, whatever it is: `\t`, `\n`, `\r`, `\\`.
    pub fn write_escaped(&self, out: &mut Vec<u8>) {
        let mut plain = Vec::new();
        self.write(&mut plain);
        for byte in plain {
            match byte {
                b'\t' => out.extend_from_slice(b"\\t"),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\\' => out.extend_from_slice(b"\\\\"),
                byte => out.push(byte),
            }
        }
    }
}

/// A message, read as far as its fields ask.
pub struct Content<'s> {
    config: &'s Config,
    user: &'s str,
    mailbox: &'s Mailbox,
    snapshot: &'s Snapshot,
    message: &'s Message,
    number: u32,
    whole: OnceCell<Whole>,
}

impl<'s> Content<'s> {
    pub fn new(
        config: &'s Config,
        user: &'s str,
        mailbox: &'s Mailbox,
        snapshot: &'s Snapshot,
        message: &'s Message,
        number: u32,
    ) -> Content<'s> {
        Content { config, user, mailbox, snapshot, message, number, whole: OnceCell::new() }
    }

    pub fn value(&self, field: &Field) -> Result<Value> {
        let date = |seconds: i64| Value::Text(crate::table::moment(seconds));
        let unix = |seconds: i64| Value::Text(seconds.to_string());
        let name = match field {
            Field::Plain(name) => *name,
            Field::Header(name, shown) => return Ok(Value::Text(header_field(self.header()?, name, *shown))),
            Field::Section { path, want, is_binary } => return self.section(path, *want, *is_binary),
        };
        Ok(match name {
            "user" => Value::Text(self.user.to_owned()),
            "mailbox" => Value::Text(self.mailbox.name().to_string()),
            "mailbox-guid" => Value::Text(plain_guid(&self.mailbox.mailbox_id()?).to_owned()),
            "seq" => Value::Number(self.number.into()),
            "uid" => Value::Number(self.message.uid().into()),
            "guid" => Value::Text(self.message.guid().into_owned()),
            "flags" => Value::Text(self.flags()),
            "modseq" => Value::Number(self.message.modseq()),
            "date.received" => date(self.mailbox.internal_date(self.message)?),
            "date.saved" => date(self.mailbox.save_date(self.message)?),
            "date.sent" => self.sent()?.map_or(Value::None, date),
            "date.received.unixtime" => unix(self.mailbox.internal_date(self.message)?),
            "date.saved.unixtime" => unix(self.mailbox.save_date(self.message)?),
            "date.sent.unixtime" => self.sent()?.map_or(Value::None, unix),
            "size.physical" => Value::Number(self.mailbox.disk_size(self.message)?),
            "size.virtual" => Value::Number(self.mailbox.size(self.message)?),
            "refcount" => {
                let (file, ..) = self.mailbox.raw(self.message.uid())?;
                Value::Number(std::os::unix::fs::MetadataExt::nlink(&file.metadata().map_err(unreadable)?))
            }
            "pop3.uidl" => Value::Text(self.uidl()),
            "pop3.order" => self.mailbox.pop3_fields_of(self.message.uid()).order.map_or(Value::None, |order| Value::Number(order.into())),
            "imap.envelope" => {
                let mut out = Vec::new();
                imap_proto::envelope::write(&mut out, self.header()?);
                Value::Imap(out)
            }
            "imap.body" | "imap.bodystructure" => {
                let mut out = Vec::new();
                imap_proto::structure::write(&mut out, &message::Message::parse(self.whole()?), name == "imap.bodystructure");
                Value::Imap(out)
            }
            "hdr" => Value::Bytes(self.header()?.to_vec()),
            "body" => {
                let whole = self.whole()?;
                Value::Bytes(whole[message::header_length(whole)..].to_vec())
            }
            "text.utf8" => Value::Bytes(readable(&message::Message::parse(self.whole()?)).into_bytes()),
            "body.preview" => Value::Text(message::preview(&message::Message::parse(self.whole()?))),
            // "text", the last of KNOWN
            _ => Value::Bytes(self.whole()?.to_vec()),
        })
    }

    fn sent(&self) -> Result<Option<i64>> {
        let date = message::find(self.header()?, "Date").and_then(|field| message::Date::parse(field.value()));
        Ok(date.map(|date| date.unix()))
    }

    /// Nothing where there is no such part.
    fn section(&self, path: &[u32], want: Want<'_>, is_binary: bool) -> Result<Value> {
        let message = message::Message::parse(self.whole()?);
        let bytes = match is_binary && !path.is_empty() {
            true => message.at(path).map(message::Part::decoded),
            false => message.section(path, want),
        };
        Ok(bytes.map_or(Value::None, |bytes| Value::Bytes(bytes.into_owned())))
    }

    fn flags(&self) -> String {
        let flags = [
            (Flags::ANSWERED, "\\Answered"),
            (Flags::FLAGGED, "\\Flagged"),
            (Flags::DELETED, "\\Deleted"),
            (Flags::SEEN, "\\Seen"),
            (Flags::DRAFT, "\\Draft"),
        ];
        let set = flags.iter().filter(|(flag, _)| self.message.flags().contains(*flag)).map(|(_, name)| *name);
        let recent = self.message.is_in_new().then_some("\\Recent");
        let keywords = self.snapshot.keywords().names(self.message.keywords());
        set.chain(recent).chain(keywords).collect::<Vec<_>>().join(" ")
    }

    fn whole(&self) -> Result<&Whole> {
        if self.whole.get().is_none() {
            let whole = self.mailbox.read(self.message.uid())?.read_all().map_err(unreadable)?;
            return Ok(self.whole.get_or_init(|| whole));
        }
        self.whole.get().ok_or(Error::Expunged)
    }

    fn header(&self) -> Result<&[u8]> {
        let whole = self.whole()?;
        Ok(&whole[..message::header_length(whole)])
    }

    /// As POP3 clients have it. A message that is one of two with the same id in the list of UIDs may have another there.
    fn uidl(&self) -> String {
        let written = self.mailbox.pop3_fields_of(self.message.uid()).unique_id;
        if let Some(id) = written.filter(|id| uidl::is_sound(id)) {
            return id.into();
        }
        let (uid, file) = (self.message.uid(), self.message.base_name());
        let format = uidl::Format::parse(&self.config.pop3d.pop3_uidl_format);
        format.map_or_else(|_| String::new(), |format| format.id(uid, self.snapshot.uid_validity(), file, &self.message.guid()).into())
    }
}

/// Fields of that name, a line each; of addresses one in each line.
fn header_field(header: &[u8], name: &str, shown: Shown) -> String {
    let mut lines = Vec::new();
    for field in message::fields(header).filter(|field| field.is(name)) {
        if shown == Shown::Text {
            lines.push(field.text());
            continue;
        }
        lines.extend(message::address::parse(field.value()).iter().filter_map(|entry| match entry {
            message::Entry::Mailbox(mailbox) if shown == Shown::Names => mailbox.name.as_deref().map(message::words::decode),
            message::Entry::Mailbox(mailbox) => {
                Some(format!("{}@{}", String::from_utf8_lossy(&mailbox.mailbox), String::from_utf8_lossy(&mailbox.host)))
            }
            _ => None,
        }));
    }
    lines.join("\n")
}

/// The message in UTF-8: all headers decoded, and the parts that are text.
fn readable(message: &message::Message<'_>) -> String {
    let mut out = String::new();
    for part in message.parts() {
        for field in part.header_fields() {
            out.push_str(&format!("{}: {}\n", String::from_utf8_lossy(field.name()), field.text()));
        }
        out.push('\n');
        if part.kind == Kind::Text {
            out.push_str(&part.text().replace("\r\n", "\n"));
        }
    }
    out
}

fn unreadable(source: std::io::Error) -> Error {
    Error::Io { step: "read", path: "message".into(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_known_by_name() {
        let header = |name: &str, shown| Field::Header(name.into(), shown);
        let section = |path: &[u32], want, is_binary| Field::Section { path: path.to_vec(), want, is_binary };
        for (text, want, shown) in [
            ("uid", Field::Plain("uid"), "uid"),
            ("BODY.snippet", Field::Plain("body.preview"), "body.preview"),
            ("IMAP.Envelope", Field::Plain("imap.envelope"), "imap.envelope"),
            ("hdr.Subject", header("subject", Shown::Text), "hdr.subject"),
            ("hdr.Subject.utf8", header("subject", Shown::Text), "hdr.subject"),
            ("hdr.to.address", header("to", Shown::Addresses), "hdr.to.address"),
            ("hdr.to.address_name.utf8", header("to", Shown::Names), "hdr.to.address_name"),
            ("hdr.x.y", header("x.y", Shown::Text), "hdr.x.y"),
            ("body.1.2", section(&[1, 2], Want::All, false), "body.1.2"),
            ("body.1.MIME", section(&[1], Want::Mime, false), "body.1.mime"),
            ("body.header", section(&[], Want::Header, false), "body.header"),
            ("body.2.text", section(&[2], Want::Text, false), "body.2.text"),
            ("binary.3", section(&[3], Want::All, true), "binary.3"),
        ] {
            let fields = Field::parse_all(text).expect(text);
            assert_eq!((&fields[..], fields[0].to_string().as_str()), (&[want][..], shown), "{text}");
        }
        assert_eq!(Field::parse_all("uid, seq guid").map(|fields| fields.len()).ok(), Some(3));
        for (text, hint) in [
            ("x", "known: user"),
            ("hdr.", "hdr.NAME"),
            ("body.0", "body.1.2"),
            ("body.mime", "body.1.2"),
            ("binary.1.mime", "binary.1.2"),
            ("body.header.fields", "hdr.NAME"),
            ("storageid", "guid"),
        ] {
            let error = Field::parse_all(text).expect_err(text).to_string();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    #[test]
    fn the_header_is_shown_as_text_addresses_and_names() {
        let header = b"To: =?utf-8?q?Ren=C3=A9?= <rene@x.test>, bob@y.test\r\nCc: x\r\nTo: \"A, B\" <ab@x.test>\r\n\r\n";
        let field = |shown| header_field(header, "to", shown);
        assert_eq!(field(Shown::Text), "Ren\u{e9} <rene@x.test>, bob@y.test\n\"A, B\" <ab@x.test>");
        assert_eq!(field(Shown::Addresses), "rene@x.test\nbob@y.test\nab@x.test");
        assert_eq!(field(Shown::Names), "Ren\u{e9}\nA, B");
    }

    #[test]
    fn a_message_is_readable_with_its_headers_and_without_its_attachments() {
        let text = "Subject: =?utf-8?q?=C3=89t=C3=A9?=\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
                    Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=E9t=E9\r\n--b\r\n\
                    Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\naGlkZGVu\r\n--b--\r\n";
        let shown = readable(&message::Message::parse(text.as_bytes()));
        assert!(shown.starts_with("Subject: \u{c9}t\u{e9}\n"), "{shown}");
        assert!(shown.contains("quoted-printable\n\n\u{e9}t\u{e9}") && shown.contains("image/png") && !shown.contains("aGlk"), "{shown}");
    }

    #[test]
    fn a_value_on_one_line_has_no_line_ends() {
        let mut out = Vec::new();
        Value::Bytes(b"a\tb\r\n\\".to_vec()).write_escaped(&mut out);
        assert_eq!(out, b"a\\tb\\r\\n\\\\");
    }
}
