//! A message from standard input, and what a submission needs: CRLF, recipients out of the header, From, Date, Message-ID.

use base64::Engine as _;
use mail_types::{Address, AddressError, Domain};
use message::{Entry, Mailbox};
use std::io::BufRead;

/// Recipients of one call; more need a mailing list.
pub const MAX_RECIPIENTS: usize = 50_000;

/// Why there is no message.
#[derive(Debug)]
pub enum Fault {
    TooLarge(u64),
    Input(std::io::Error),
}

/// Reads a message and gives it CRLF line ends. A line of one dot ends it unless dots are text; so does the end of the input.
pub fn read(input: impl BufRead, limit_bytes: u64, dots_are_text: bool) -> Result<Vec<u8>, Fault> {
    let mut input = input.take(limit_bytes + 1);
    let mut message = Vec::new();
    let mut taken = 0u64;
    loop {
        let start = message.len();
        let count = input.read_until(b'\n', &mut message).map_err(Fault::Input)?;
        taken += count as u64;
        if taken > limit_bytes || message.len() as u64 > limit_bytes {
            return Err(Fault::TooLarge(limit_bytes));
        }
        if count == 0 {
            break;
        }
        let end = message[start..].strip_suffix(b"\n").unwrap_or(&message[start..]);
        let end = start + end.strip_suffix(b"\r").unwrap_or(end).len();
        message.truncate(end);
        if !dots_are_text && message[start..] == *b"." {
            message.truncate(start);
            break;
        }
        // The line that mbox files put in front (Postfix takes it off too).
        if start == 0 && (message.starts_with(b"From ") || message.starts_with(b">From ")) {
            message.clear();
            continue;
        }
        message.extend_from_slice(b"\r\n");
    }
    Ok(message)
}

/// The address a person wrote: `ann`, `ann@x.org`, `Ann <ann@x.org>`. Without a domain it gets `origin`.
pub fn address(text: &str, origin: &Domain) -> Result<Address, String> {
    match addresses(text.as_bytes(), origin)?.as_slice() {
        [only] => Ok(only.clone()),
        _ => Err(format!("{text:?} is not one address")),
    }
}

/// All addresses of a list.
pub fn addresses(list: &[u8], origin: &Domain) -> Result<Vec<Address>, String> {
    let mut found = Vec::new();
    for entry in message::address::parse(list) {
        let Entry::Mailbox(mailbox) = entry else { continue };
        found.push(complete(&mailbox, origin).map_err(|error| format!("{:?}: {error}", String::from_utf8_lossy(list)))?);
    }
    Ok(found)
}

fn complete(mailbox: &Mailbox<'_>, origin: &Domain) -> Result<Address, AddressError> {
    match mailbox.address() {
        Some(address) => Ok(address),
        None if *mailbox.host == *b"MISSING_DOMAIN" && *mailbox.mailbox != *b"MISSING_MAILBOX" => {
            Address::new(&String::from_utf8_lossy(&mailbox.mailbox), origin.clone())
        }
        None => Address::parse(&format!("{}@{}", String::from_utf8_lossy(&mailbox.mailbox), String::from_utf8_lossy(&mailbox.host))),
    }
}

/// The recipients that the header names: those of Resent-To, Resent-Cc and Resent-Bcc where there are such fields, or else of To, Cc
/// and Bcc (RFC 5322 §3.6.6). Each once.
pub fn recipients(message: &[u8], origin: &Domain) -> Result<Vec<Address>, String> {
    let named = |names: [&str; 3]| -> Result<Vec<Address>, String> {
        let mut all: Vec<Address> = Vec::new();
        for field in message::fields(message).take_while(|f| !f.name().is_empty()).filter(|f| names.iter().any(|n| f.is(n))) {
            all.extend(addresses(field.value(), origin)?);
        }
        Ok(all)
    };
    let resent = named(["Resent-To", "Resent-Cc", "Resent-Bcc"])?;
    if resent.is_empty() { named(["To", "Cc", "Bcc"]) } else { Ok(resent) }
}

/// What is added where it is missing.
#[derive(Debug)]
pub struct Additions<'a> {
    /// Address and name of the author.
    pub from: &'a str,
    pub name: &'a str,
    pub date: &'a str,
    pub message_id: &'a str,
}

/// Adds From, Date and Message-ID where they are missing, and takes Bcc and Resent-Bcc out.
pub fn complete_header(message: &[u8], add: &Additions<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 256);
    let (mut from, mut date, mut id) = (true, true, true);
    let mut kept = Vec::new();
    let mut fields = message::fields(message);
    let mut body_at = None;
    for field in fields.by_ref() {
        if field.name().is_empty() {
            body_at = Some(field.offset());
            break;
        }
        from &= !field.is("From");
        date &= !field.is("Date");
        id &= !field.is("Message-ID");
        if !field.is("Bcc") && !field.is("Resent-Bcc") {
            kept.push(field.raw());
        }
    }
    if from {
        out.extend_from_slice(format!("From: {}\r\n", mailbox(add.name, add.from)).as_bytes());
    }
    if date {
        out.extend_from_slice(format!("Date: {}\r\n", add.date).as_bytes());
    }
    if id {
        out.extend_from_slice(format!("Message-ID: {}\r\n", add.message_id).as_bytes());
    }
    kept.into_iter().for_each(|raw| out.extend_from_slice(raw));
    // A text without a header, or one that follows it at once, gets the empty line.
    if body_at.is_some() {
        out.extend_from_slice(b"\r\n");
    }
    let rest = &message[body_at.unwrap_or(fields.position())..];
    if rest.is_empty() {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(rest);
    out
}

/// `Name <address>`; the name quoted or encoded, never more than one line.
fn mailbox(name: &str, address: &str) -> String {
    let name: String = name.chars().filter(|c| !c.is_control()).take(120).collect();
    let name = name.trim();
    if name.is_empty() {
        return address.to_owned();
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || " !#$%&'*+-/=?^_`{|}~".contains(c);
    if name.chars().all(plain) && !name.contains("=?") {
        return format!("{name} <{address}>");
    }
    if name.is_ascii() {
        return format!("\"{}\" <{address}>", name.replace('\\', "\\\\").replace('"', "\\\""));
    }
    // RFC 2047 §2: an encoded word has at most 75 characters, and holds whole characters.
    let mut words = vec![String::new()];
    for c in name.chars() {
        if words.last().is_some_and(|word| word.len() + c.len_utf8() > 42) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    let encoded = words.iter().map(|w| format!("=?UTF-8?B?{}?=", base64::engine::general_purpose::STANDARD.encode(w)));
    format!("{} <{address}>", encoded.collect::<Vec<_>>().join("\r\n "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Domain {
        Domain::parse("mx.test").expect("domain")
    }

    #[test]
    fn lines_end_with_crlf_and_a_dot_ends_the_message_or_not() {
        for (input, dots_are_text, want) in [
            ("a\nb\n", false, "a\r\nb\r\n"),
            ("a\r\nb", false, "a\r\nb\r\n"),
            ("a\n.\nb\n", false, "a\r\n"),
            ("a\n.\nb\n", true, "a\r\n.\r\nb\r\n"),
            ("..\n.x\n", false, "..\r\n.x\r\n"),
            ("From ann Mon Jan  1\nSubject: x\n\n", false, "Subject: x\r\n\r\n"),
            ("", false, ""),
        ] {
            let got = read(input.as_bytes(), 1000, dots_are_text).expect("reads");
            assert_eq!(String::from_utf8_lossy(&got), want, "{input:?}");
        }
    }

    #[test]
    fn a_message_beyond_the_limit_is_not_read_to_its_end() {
        let endless = std::io::BufReader::new(std::io::repeat(b'x'));
        assert!(matches!(read(endless, 1000, true), Err(Fault::TooLarge(1000))));
        assert!(read(&[b'x'; 998][..], 1000, true).is_ok());
    }

    #[test]
    fn recipients_come_from_the_header_and_bcc_goes() {
        let text = b"To: Ann <ann@x.test>, root\r\nCC: team: bob@y.test;\r\nbcc: secret@z.test,\r\n more@z.test\r\nSubject: s\r\n\r\nTo: no@no\r\n";
        let got: Vec<String> = recipients(text, &origin()).expect("addresses").iter().map(Address::to_string).collect();
        assert_eq!(got, ["ann@x.test", "root@mx.test", "bob@y.test", "secret@z.test", "more@z.test"]);
        let resent = b"To: a@x.test\r\nResent-To: b@x.test\r\n\r\n";
        assert_eq!(recipients(resent, &origin()).expect("addresses").len(), 1);
        assert!(recipients(b"To: ann@x..y\r\n\r\n", &origin()).is_err());
        let add = Additions { from: "ann@mx.test", name: "", date: "D", message_id: "<i>" };
        let whole = String::from_utf8(complete_header(text, &add)).expect("text");
        assert_eq!(
            whole,
            "From: ann@mx.test\r\nDate: D\r\nMessage-ID: <i>\r\nTo: Ann <ann@x.test>, root\r\nCC: team: bob@y.test;\r\nSubject: s\r\n\r\nTo: no@no\r\n"
        );
        for (text, want) in [
            ("hello\r\n", "From: ann@mx.test\r\nDate: D\r\nMessage-ID: <i>\r\n\r\nhello\r\n"),
            ("", "From: ann@mx.test\r\nDate: D\r\nMessage-ID: <i>\r\n\r\n"),
            ("Date: d\r\nfrom: f\r\nmessage-id: m\r\n\r\nx\r\n", "Date: d\r\nfrom: f\r\nmessage-id: m\r\n\r\nx\r\n"),
        ] {
            assert_eq!(String::from_utf8_lossy(&complete_header(text.as_bytes(), &add)), want, "{text:?}");
        }
    }

    #[test]
    fn a_name_forges_no_line() {
        for (name, want) in [
            ("Ann Example", "Ann Example <a@b>"),
            ("Ann \"x\" E.", "\"Ann \\\"x\\\" E.\" <a@b>"),
            ("x\r\nBcc: y@z", "\"xBcc: y@z\" <a@b>"),
            ("Zoë", "=?UTF-8?B?Wm/Dqw==?= <a@b>"),
            ("", "a@b"),
        ] {
            assert_eq!(mailbox(name, "a@b"), want, "{name:?}");
        }
    }
}
