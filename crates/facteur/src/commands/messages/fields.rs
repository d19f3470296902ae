//! The fields of `fetch`.

use crate::query::plain_guid;
use crate::usage::Usage;
use config::Config;
use mailstore::{Error, Flags, Mailbox, Message, Result, Snapshot, Whole};
use message::Kind;
use pop3_proto::uidl;
use std::cell::OnceCell;
use std::fmt;

/// A field by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    Plain(&'static str),
    /// One field of the header, in text.
    Header(String),
}

const KNOWN: [&str; 19] = [
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
    "size.physical",
    "size.virtual",
    "pop3.uidl",
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
        if let Some(header) = name.strip_prefix("hdr.").filter(|header| !header.is_empty()) {
            return Ok(Field::Header(header.to_owned()));
        }
        let known = KNOWN.iter().find(|known| **known == name);
        known.map(|name| Field::Plain(name)).ok_or_else(|| {
            Usage::error(format!("there is no field {} (known: {}, hdr.NAME)", mail_types::printable(word), KNOWN.join(", ")))
        })
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Plain(name) => f.write_str(name),
            Field::Header(name) => write!(f, "hdr.{name}"),
        }
    }
}

/// What a message has in a field.
pub enum Value {
    Number(u64),
    Text(String),
    /// Nothing, as a date that is not there.
    None,
    /// Of the message itself, as it is.
    Bytes(Vec<u8>),
}

impl Value {
    pub fn json(&self) -> serde_json::Value {
        match self {
            Value::Number(number) => (*number).into(),
            Value::Text(text) => text.as_str().into(),
            Value::None => serde_json::Value::Null,
            Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into(),
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
            Value::Bytes(bytes) => out.extend_from_slice(bytes),
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
        let name = match field {
            Field::Plain(name) => *name,
            Field::Header(name) => {
                let header = self.header()?;
                let texts: Vec<String> = message::fields(header).filter(|field| field.is(name)).map(|field| field.text()).collect();
                return Ok(Value::Text(texts.join("\n")));
            }
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
            "date.sent" => {
                let sent = message::find(self.header()?, "Date").and_then(|field| message::Date::parse(field.value()));
                sent.map_or(Value::None, |sent| date(sent.unix()))
            }
            "size.physical" => Value::Number(self.mailbox.disk_size(self.message)?),
            "size.virtual" => Value::Number(self.mailbox.size(self.message)?),
            "pop3.uidl" => Value::Text(self.uidl()),
            "hdr" => Value::Bytes(self.header()?.to_vec()),
            "body" => {
                let whole = self.whole()?;
                Value::Bytes(whole[message::header_length(whole)..].to_vec())
            }
            "text.utf8" => {
                let message = message::Message::parse(self.whole()?);
                let texts = message.parts().iter().filter(|part| part.kind == Kind::Text).map(|part| part.text());
                Value::Bytes(texts.collect::<Vec<_>>().join("\n").into_bytes())
            }
            "body.preview" => Value::Text(message::preview(&message::Message::parse(self.whole()?))),
            // "text", the last of KNOWN
            _ => Value::Bytes(self.whole()?.to_vec()),
        })
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

fn unreadable(source: std::io::Error) -> Error {
    Error::Io { step: "read", path: "message".into(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_known_by_name() {
        let fields = Field::parse_all("uid, hdr.Subject BODY.snippet").expect("fields");
        assert_eq!(fields, [Field::Plain("uid"), Field::Header("subject".into()), Field::Plain("body.preview")]);
        for text in ["x", "uid hdr.", "imap.envelope"] {
            assert!(Field::parse_all(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_on_one_line_has_no_line_ends() {
        let mut out = Vec::new();
        Value::Bytes(b"a\tb\r\n\\".to_vec()).write_escaped(&mut out);
        assert_eq!(out, b"a\\tb\\r\\n\\\\");
    }
}
