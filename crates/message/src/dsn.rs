//! Delivery status notifications (RFC 3464 in RFC 6522's multipart/report; RFC 6533 where addresses need UTF-8).

use crate::section::pick;
use crate::{Date, crlf, header_length};
use mail_types::{Address, DsnReturn, EnhancedCode, QueueId, Reply, Wishes};
use memchr::memmem;
use std::fmt::Write;

/// What happened to a recipient (RFC 3464 §2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Handed on to a host that does not report success itself (RFC 3461 §5.2.2).
    Relayed,
    /// In the mailbox.
    Delivered,
    /// Became several addresses (RFC 3461 §5.2.7.1 (b)).
    Expanded,
    /// Still being tried.
    Delayed,
    Failed,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Action::Relayed => "relayed",
            Action::Delivered => "delivered",
            Action::Expanded => "expanded",
            Action::Delayed => "delayed",
            Action::Failed => "failed",
        }
    }
}

/// The report on one recipient.
#[derive(Debug, Clone, Copy)]
pub struct Status<'a> {
    /// ORCPT as `type;address`, decoded from xtext.
    pub original: Option<&'a str>,
    pub recipient: &'a Address,
    pub action: Action,
    pub status: EnhancedCode,
    /// The host that said so, and its reply.
    pub remote: Option<(&'a str, &'a Reply)>,
    /// Our own words when no host said anything.
    pub reason: &'a str,
    pub last_attempt: Option<Date>,
    pub retry_until: Option<Date>,
}

/// Everything a notification is made of.
#[derive(Debug, Clone, Copy)]
pub struct Dsn<'a> {
    /// Our own host name.
    pub host: &'a str,
    /// The message that this is about.
    pub id: QueueId,
    /// Its sender, who gets the notification (with the null sender as envelope sender).
    pub to: &'a Address,
    /// Date and Message-ID (with angle brackets) of the notification.
    pub date: Date,
    pub message_id: &'a str,
    /// ENVID, decoded from xtext.
    pub envid: Option<&'a str>,
    /// When the message came in.
    pub arrival: Date,
    pub recipients: &'a [Status<'a>],
    /// The message with any line ends.
    pub original: &'a [u8],
    /// What of it to return; a delay or success never returns more than the headers (RFC 3461 §6.2: MAY).
    pub returned: Option<DsnReturn>,
    /// A larger message is returned as headers only, in octets (Postfix: `bounce_size_limit`).
    pub full_limit: usize,
    /// A copy for the postmaster, whose mail it is not.
    pub postmaster: bool,
    /// What the sender asked of transport.
    pub wishes: Wishes,
    /// The sender used SMTPUTF8, so the notification may.
    pub smtputf8: bool,
}

/// A finished notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// With CRLF line ends.
    pub bytes: Vec<u8>,
    /// Needs 8BITMIME.
    pub eight_bit: bool,
    /// Needs SMTPUTF8.
    pub smtputf8: bool,
}

impl Dsn<'_> {
    /// Writes the notification.
    pub fn build(&self) -> Notification {
        let header = &self.original[..header_length(self.original)];
        let worst = self.recipients.iter().map(|r| r.action).max().unwrap_or(Action::Failed);
        let full = worst == Action::Failed && self.returned != Some(DsnReturn::Headers) && self.original.len() <= self.full_limit;
        let returned = if full { self.original } else { header };
        let utf8_header = std::str::from_utf8(header).is_ok() && !header.is_ascii();
        let utf8_address = |r: &Status<'_>| r.recipient.is_utf8() || r.original.is_some_and(|o| !o.is_ascii());
        let global = self.smtputf8 && (utf8_header || self.to.is_utf8() || self.recipients.iter().any(utf8_address));

        let mut text = String::with_capacity(2048);
        self.human(worst, &mut text);
        let mut report = String::with_capacity(1024);
        self.machine(global, &mut report);
        let eight_bit = !(text.is_ascii() && report.is_ascii() && returned.is_ascii());

        let mut boundary = format!("=_facteur_{}", self.id);
        while memmem::find(returned, boundary.as_bytes()).is_some() {
            boundary.push('_');
        }
        let encoding = |bytes: &[u8]| if bytes.is_ascii() { "7bit" } else { "8bit" };
        let mut out = String::with_capacity(4096);
        self.header(worst, &boundary, eight_bit, &mut out);
        let text_charset = if text.is_ascii() { "us-ascii" } else { "utf-8" };
        part(&mut out, &boundary, "Notification", &format!("text/plain; charset={text_charset}"), encoding(text.as_bytes()));
        out.push_str(&text);
        let kind = if global { "message/global-delivery-status" } else { "message/delivery-status" };
        part(&mut out, &boundary, "Delivery report", kind, encoding(report.as_bytes()));
        out.push_str(&report);
        let (description, kind) = match (full, global) {
            (true, false) => ("Undelivered message", "message/rfc822"),
            (true, true) => ("Undelivered message", "message/global"),
            (false, false) => ("Headers of the message", "text/rfc822-headers"),
            (false, true) => ("Headers of the message", "message/global-headers"),
        };
        part(&mut out, &boundary, description, kind, encoding(returned));

        let mut bytes = out.into_bytes();
        if full {
            crlf::write(returned, &mut bytes);
        } else {
            // Lines that are no fields would end the header for strict readers.
            crlf::write(&pick(header, |name| !name.is_empty()), &mut bytes);
        }
        if !bytes.ends_with(b"\r\n") {
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        Notification { bytes, eight_bit, smtputf8: global }
    }

    fn header(&self, worst: Action, boundary: &str, eight_bit: bool, out: &mut String) {
        let subject = match worst {
            Action::Failed => "Undelivered Mail Returned to Sender",
            Action::Delayed => "Delayed Mail (still being retried)",
            Action::Relayed | Action::Delivered | Action::Expanded => "Successful Mail Delivery Report",
        };
        let host = self.host;
        let copy = if self.postmaster { "Postmaster Copy: " } else { "" };
        line(out, format_args!("From: Mail Delivery System <MAILER-DAEMON@{host}>"));
        line(out, format_args!("To: {}", self.to));
        line(out, format_args!("Subject: {copy}{subject}"));
        line(out, format_args!("Date: {}", self.date));
        line(out, format_args!("Message-ID: {}", self.message_id));
        // RFC 3834 §5
        line(out, format_args!("Auto-Submitted: auto-replied"));
        line(out, format_args!("MIME-Version: 1.0"));
        line(out, format_args!("Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\""));
        if eight_bit {
            line(out, format_args!("Content-Transfer-Encoding: 8bit"));
        }
        out.push_str("\r\nThis is a MIME-encapsulated message.\r\n");
    }

    fn human(&self, worst: Action, out: &mut String) {
        line(out, format_args!("This is the mail system at host {}.\r\n", self.host));
        let text = match worst {
            Action::Failed => {
                "I'm sorry to have to inform you that your message could not\r\n\
                 be delivered to one or more recipients. It is attached below,\r\n\
                 or its headers are.\r\n\r\n\
                 For further assistance, please send mail to postmaster.\r\n\
                 If you do so, please include this problem report. You can\r\n\
                 delete your own text from the attached message."
            }
            Action::Delayed => {
                "####################################################################\r\n\
                 # THIS IS A WARNING ONLY.  YOU DO NOT NEED TO RESEND YOUR MESSAGE. #\r\n\
                 ####################################################################\r\n\r\n\
                 Your message could not be delivered yet to one or more recipients.\r\n\
                 It will be tried again until it is too old; you will then be told."
            }
            Action::Relayed | Action::Delivered | Action::Expanded => {
                "Your message was delivered to the destinations listed below, or\r\n\
                 handed on to a system that does not report delivery itself."
            }
        };
        line(out, format_args!("{text}\r\n"));
        for recipient in self.recipients {
            let said = match recipient.remote {
                Some((host, reply)) => format!("host {host} said: {reply}"),
                None if recipient.reason.is_empty() => recipient.action.word().to_owned(),
                None => recipient.reason.to_owned(),
            };
            folded(out, &format!("<{}>: {}", recipient.recipient, one_line(&said)), "    ");
            if let Some(until) = recipient.retry_until {
                line(out, format_args!("    (will be tried until {until})"));
            }
            out.push_str("\r\n");
        }
    }

    fn machine(&self, global: bool, out: &mut String) {
        // RFC 3464 §2.2; the envelope id first when there is one.
        if let Some(envid) = self.envid {
            folded(out, &format!("Original-Envelope-Id: {}", ascii(&one_line(envid), global)), "\t");
        }
        line(out, format_args!("Reporting-MTA: dns; {}", self.host));
        line(out, format_args!("X-Facteur-Queue-ID: {}", self.id));
        line(out, format_args!("Arrival-Date: {}", self.arrival));
        // RFC 2852 §5, RFC 4865 §5.1.2
        if let Some(by) = self.wishes.deliver_by {
            line(out, format_args!("Deliver-By-Date: {}", Date::new(by.at_seconds, 0)));
        }
        if let Some(release) = self.wishes.release {
            line(out, format_args!("Future-Release-Request: {release}"));
        }
        for recipient in self.recipients {
            out.push_str("\r\n");
            if let Some((kind, address)) = recipient.original.and_then(|o| o.split_once(';')) {
                let kind = if !address.is_ascii() && kind.eq_ignore_ascii_case("rfc822") { "utf-8" } else { kind };
                folded(out, &format!("Original-Recipient: {}; {}", one_line(kind), typed(&one_line(address), global)), "\t");
            }
            let address = recipient.recipient.to_string();
            let kind = if address.is_ascii() { "rfc822" } else { "utf-8" };
            folded(out, &format!("Final-Recipient: {kind}; {}", typed(&address, global)), "\t");
            line(out, format_args!("Action: {}", recipient.action.word()));
            line(out, format_args!("Status: {}", recipient.status));
            match recipient.remote {
                Some((host, reply)) => {
                    line(out, format_args!("Remote-MTA: dns; {}", ascii(&one_line(host), global)));
                    folded(out, &format!("Diagnostic-Code: smtp; {}", ascii(&one_line(&reply.to_string()), global)), "\t");
                }
                None if recipient.reason.is_empty() => {}
                None => folded(out, &format!("Diagnostic-Code: X-Facteur; {}", ascii(&one_line(recipient.reason), global)), "\t"),
            }
            if let Some(date) = recipient.last_attempt {
                line(out, format_args!("Last-Attempt-Date: {date}"));
            }
            // RFC 3464 §2.3.9: only for delays.
            if let Some(date) = recipient.retry_until.filter(|_| recipient.action == Action::Delayed) {
                line(out, format_args!("Will-Retry-Until: {date}"));
            }
        }
    }
}

fn part(out: &mut String, boundary: &str, description: &str, kind: &str, encoding: &str) {
    out.push_str("\r\n--");
    line(out, format_args!("{boundary}"));
    line(out, format_args!("Content-Description: {description}"));
    line(out, format_args!("Content-Type: {kind}"));
    if encoding != "7bit" {
        line(out, format_args!("Content-Transfer-Encoding: {encoding}"));
    }
    out.push_str("\r\n");
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a string cannot fail");
    out.push_str("\r\n");
}

// One long text on lines of about 78 characters, cut at spaces; a word that is longer stays whole up to SMTP's line limit.
fn folded(out: &mut String, text: &str, indent: &str) {
    const WIDTH: usize = 78;
    const LIMIT: usize = 900;
    let mut column = 0;
    for (at, word) in text.split(' ').enumerate() {
        let length = word.chars().count();
        if at > 0 && column + 1 + length > WIDTH && column > indent.len() {
            out.push_str("\r\n");
            out.push_str(indent);
            column = indent.len();
        } else if at > 0 {
            out.push(' ');
            column += 1;
        }
        for (at, c) in word.chars().enumerate() {
            if at > 0 && at % LIMIT == 0 {
                out.push_str("\r\n");
                out.push_str(indent);
            }
            out.push(c);
        }
        column += length;
    }
    out.push_str("\r\n");
}

// Texts of peers: nothing in them starts a line of ours.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn ascii(text: &str, global: bool) -> String {
    if global { text.to_owned() } else { text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect() }
}

// RFC 6533 §3: utf-8-addr-xtext where only ASCII can go, the address itself elsewhere.
fn typed(address: &str, global: bool) -> String {
    if global || address.is_ascii() {
        return address.to_owned();
    }
    let mut out = String::new();
    for c in address.chars() {
        if c.is_ascii() && !matches!(c, '\\' | '+' | '=') {
            out.push(c);
        } else {
            out.push_str(&format!("\\x{{{:X}}}", u32::from(c)));
        }
    }
    out
}

#[cfg(test)]
mod tests;
