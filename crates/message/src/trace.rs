//! Fields that a mail system adds or reads on the way: Received, Return-Path, Delivered-To, Message-ID, Date.
//!
//! What is written ends in CRLF, and nothing of a peer's can break out of its line.

use crate::header::fields;
use crate::lexer::Lexer;
use crate::{Date, Field};
use mail_types::{Address, Client, QueueId};
use std::borrow::Cow;
use std::fmt::Write;

/// What a Received field tells (RFC 5321 §4.4).
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    pub client: &'a Client,
    /// Our own host name.
    pub by: &'a str,
    pub id: QueueId,
    pub smtputf8: bool,
    /// Protocol and cipher when TLS was used, as `TLSv1.3 with cipher TLS_AES_256_GCM_SHA384`.
    pub tls: Option<&'a str>,
    /// Whether to tell the login name of an authenticated client (Postfix: `smtpd_sasl_authenticated_header`).
    pub show_login: bool,
    /// The recipient, when it is the only one (RFC 5321 §7.6: several would betray each other).
    pub recipient: Option<&'a Address>,
    /// MT-PRIORITY, told when it is not 0 (RFC 6710 §4.1).
    pub priority: i8,
    pub date: Date,
}

impl Received<'_> {
    /// The whole field, folded as Postfix folds it.
    pub fn to_field(&self) -> String {
        let mut out = String::with_capacity(256);
        self.write(&mut out).expect("writing to a string cannot fail");
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Client { ip, helo, name, login, protocol } = self.client;
        out.push_str("Received: ");
        if protocol.local && ip.is_none() {
            // `by` is the first clause of what never came over a network.
        } else {
            let helo = if helo.is_empty() { Cow::Borrowed("unknown") } else { one_word(helo) };
            write!(out, "from {helo} ({}", name.as_deref().map_or(Cow::Borrowed("unknown"), one_word))?;
            match ip {
                // RFC 5321 §4.1.3: IPv6 literals carry their tag.
                Some(std::net::IpAddr::V6(ip)) => write!(out, " [IPv6:{ip}])\r\n\t")?,
                Some(ip) => write!(out, " [{ip}])\r\n\t")?,
                None => out.push_str(" [local])\r\n\t"),
            }
            if let Some(tls) = self.tls {
                write!(out, "(using {})\r\n\t", comment(tls))?;
            }
        }
        if let Some(login) = login.as_deref().filter(|_| self.show_login) {
            write!(out, "(Authenticated sender: {})\r\n\t", comment(login))?;
        }
        write!(out, "by {} (Facteur) with {} id {}\r\n\t", self.by, protocol.name(self.smtputf8), self.id)?;
        if let Some(recipient) = self.recipient {
            write!(out, "for <{recipient}>")?;
        } else {
            out.truncate(out.len() - 3);
        }
        if self.priority != 0 {
            write!(out, " PRIORITY {}", self.priority)?;
        }
        out.push_str("; ");
        write!(out, "{}\r\n", self.date)
    }
}

// HELO names are hostile text: what could end the word or the line becomes `?`; so does what is not ASCII, which would make an 8-bit
// header in a message that was declared to have none.
fn one_word(text: &str) -> Cow<'_, str> {
    let fine = |c: char| c.is_ascii_graphic() && !"()<>;\"\\".contains(c);
    if text.chars().all(fine) && text.len() <= 255 {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().take(255).map(|c| if fine(c) { c } else { '?' }).collect())
}

fn comment(text: &str) -> Cow<'_, str> {
    let fine = |c: char| !c.is_control() && !"()\\".contains(c);
    if text.chars().all(fine) && text.len() <= 255 {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().take(255).map(|c| if fine(c) { c } else { '?' }).collect())
}

/// `Return-Path: <sender>`; `<>` for the null sender (RFC 5321 §4.4).
pub fn return_path(sender: Option<&Address>) -> String {
    sender.map_or("Return-Path: <>\r\n".into(), |a| format!("Return-Path: <{a}>\r\n"))
}

/// `Delivered-To: recipient`, which stops loops.
pub fn delivered_to(recipient: &Address) -> String {
    format!("Delivered-To: {recipient}\r\n")
}

/// A Message-ID with its angle brackets: from the moment, a random number and our host name.
pub fn message_id(unix: u64, random: u64, host: &str) -> String {
    format!("<{}.{}@{host}>", base36(unix), base36(random))
}

fn base36(mut number: u64) -> String {
    let mut out = Vec::new();
    loop {
        out.push(b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % 36) as usize]);
        number /= 36;
        if number == 0 {
            out.reverse();
            return String::from_utf8(out).expect("made of ASCII only");
        }
    }
}

/// Number of Received fields; a message with too many goes in circles (RFC 5321 §6.3).
pub fn received_count(message: &[u8]) -> usize {
    fields(message).filter(|f| f.is("Received")).count()
}

/// The values of the Delivered-To fields, newest first.
pub fn delivered_to_values(message: &[u8]) -> impl Iterator<Item = Cow<'_, [u8]>> {
    fields(message).filter(|f| f.is("Delivered-To")).map(|f: Field<'_>| f.unfolded())
}

/// Whether the message has been delivered to `address` before.
pub fn was_delivered_to(message: &[u8], address: &Address) -> bool {
    let wanted = address.to_string();
    delivered_to_values(message).any(|value| value.eq_ignore_ascii_case(wanted.as_bytes()))
}

/// The name under which an Authentication-Results field speaks (RFC 8601 §2.2), from the field's value.
///
/// ```text
/// authres-header-field = "Authentication-Results:" authres-payload
/// authres-payload = [CFWS] authserv-id [ CFWS authres-version ] ( no-result / 1*resinfo ) [CFWS] CRLF
/// authserv-id = value
/// ```
pub fn authserv_id(value: &[u8]) -> Cow<'_, [u8]> {
    let mut lexer = Lexer::new(value);
    lexer.skip_cfws();
    match lexer.peek() {
        Some(b'"') => lexer.quoted(),
        _ => Cow::Borrowed(lexer.until(|b| b.is_ascii_whitespace() || matches!(b, b';' | b'(' | b'"'))),
    }
}

/// The message without the Return-Path fields of others; final delivery writes its own (RFC 5321 §4.4). The pieces
/// put together are the message; usually it is one.
pub fn without_return_path(message: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut from = 0;
    for field in fields(message).filter(|f| f.is("Return-Path")) {
        if from < field.offset() {
            pieces.push(&message[from..field.offset()]);
        }
        from = field.offset() + field.raw().len();
    }
    pieces.push(&message[from..]);
    pieces
}

/// Which of the fields that RFC 6409 §8 lets a submission server add are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Missing {
    pub date: bool,
    pub message_id: bool,
    pub from: bool,
}

/// Looks for Date, Message-ID and From.
pub fn missing(message: &[u8]) -> Missing {
    let mut missing = Missing { date: true, message_id: true, from: true };
    for field in fields(message) {
        match field.name().len() {
            4 if field.is("Date") => missing.date = false,
            4 if field.is("From") => missing.from = false,
            10 if field.is("Message-ID") => missing.message_id = false,
            _ => {}
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_name_their_server() {
        for (value, want) in [
            (" mx.test; spf=pass", "mx.test"),
            ("mx.test 1; none", "mx.test"),
            (" (a (b)) MX.test (c) ; none", "MX.test"),
            ("\r\n\tmx.test;\r\n dkim=pass", "mx.test"),
            (" \"mx.test\"; none", "mx.test"),
            (" \"m\\x.test\"; none", "mx.test"),
            ("", ""),
            (";", ""),
        ] {
            assert_eq!(&*authserv_id(value.as_bytes()), want.as_bytes(), "{value:?}");
        }
    }
    use mail_types::Protocol;

    fn client() -> Client {
        Client {
            ip: Some("192.0.2.1".parse().expect("address")),
            helo: "mail.example.org".into(),
            name: Some("mx.example.org".into()),
            login: Some("ann@x.org".into()),
            protocol: Protocol { extended: true, tls: true, ..Protocol::default() },
        }
    }

    fn received(client: &Client, recipient: Option<&Address>, tls: Option<&str>, show_login: bool) -> String {
        let id = QueueId::from_parts(1_795_360_092, 1, 1);
        let date = Date::new(1_795_360_092, 0);
        Received { client, by: "us.org", id, smtputf8: false, tls, show_login, recipient, priority: 0, date }.to_field()
    }

    #[test]
    fn received_tells_the_whole_way() {
        let address = Address::parse("bob@us.org").expect("address");
        let id = QueueId::from_parts(1_795_360_092, 1, 1);
        assert_eq!(
            received(&client(), Some(&address), Some("TLSv1.3 with cipher X"), true),
            format!(
                "Received: from mail.example.org (mx.example.org [192.0.2.1])\r\n\t(using TLSv1.3 with cipher X)\r\n\t\
                 (Authenticated sender: ann@x.org)\r\n\tby us.org (Facteur) with ESMTPS id {id}\r\n\tfor <bob@us.org>; \
                 Sun, 22 Nov 2026 15:08:12 +0000\r\n"
            )
        );
        let local = Client { protocol: Protocol { local: true, ..Protocol::default() }, ..Client::default() };
        assert_eq!(
            received(&local, None, None, false),
            format!("Received: by us.org (Facteur) with local id {id}; Sun, 22 Nov 2026 15:08:12 +0000\r\n")
        );
    }

    #[test]
    fn no_helo_breaks_out_of_its_line() {
        let hostile = Client { helo: "x\r\nX-Evil: y (z".into(), name: None, ..client() };
        let field = received(&hostile, None, None, false);
        assert_eq!(fields(field.as_bytes()).count(), 1);
        assert!(field.starts_with("Received: from x??X-Evil:?y??z (unknown [192.0.2.1])"), "{field}");
    }

    #[test]
    fn loops_are_seen() {
        let message = b"Delivered-To: Bob@us.org\r\nReceived: a\r\nreceived: b\r\nDelivered-To: x@y\r\n\r\nDelivered-To: body@us.org\r\n";
        assert_eq!(received_count(message), 2);
        assert_eq!(delivered_to_values(message).count(), 2);
        assert!(was_delivered_to(message, &Address::parse("bob@us.org").expect("address")));
        assert!(!was_delivered_to(message, &Address::parse("body@us.org").expect("address")));
    }

    #[test]
    fn return_path_of_others_is_cut_out() {
        for (input, want) in [
            ("Return-Path: <a>\r\nA: 1\r\n\r\nb", "A: 1\r\n\r\nb"),
            ("A: 1\nreturn-path:\n <a>\nB: 2\nReturn-Path: x\n\nb", "A: 1\nB: 2\n\nb"),
            ("A: 1\n\nReturn-Path: x\n", "A: 1\n\nReturn-Path: x\n"),
            ("", ""),
        ] {
            assert_eq!(without_return_path(input.as_bytes()).concat(), want.as_bytes(), "{input:?}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(missing(b"DATE: x\nmessage-id: y\n\nFrom: z"), Missing { from: true, ..Missing::default() });
        assert_eq!(missing(b"\n"), Missing { date: true, message_id: true, from: true });
    }

    #[test]
    fn message_ids_are_made_of_what_is_given() {
        assert_eq!(message_id(36, 35, "us.org"), "<10.z@us.org>");
        assert_eq!(message_id(0, u64::MAX, "us.org"), "<0.3w5e11264sgsf@us.org>");
    }
}
