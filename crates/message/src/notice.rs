//! Notices for the postmaster about a session that went wrong (Postfix `notify_classes`).

use crate::Date;
use mail_types::{Address, QueueId, printable};

/// What such a notice says.
#[derive(Debug)]
pub struct Notice<'a> {
    pub id: QueueId,
    /// Our name.
    pub host: &'a str,
    pub to: &'a Address,
    pub date: Date,
    /// `SMTP server` or `SMTP client`.
    pub role: &'a str,
    /// The other side; may be hostile text.
    pub peer: &'a str,
    pub classes: &'a [&'a str],
    /// Lines with CRLF, without control characters.
    pub transcript: &'a str,
    /// How it ended.
    pub end: &'a str,
    /// Notices that `error_notice_rate_limit` left out before this one.
    pub left_out: u32,
}

impl Notice<'_> {
    /// The whole message, with CRLF line ends.
    pub fn text(&self) -> String {
        let Notice { id, host, to, date, role, transcript, .. } = self;
        let others = match self.left_out {
            0 => String::new(),
            n => format!("Since the last notice {n} more sessions were not reported (error_notice_rate_limit).\r\n\r\n"),
        };
        format!(
            "From: Mail Delivery System <MAILER-DAEMON@{host}>\r\nTo: Postmaster <{to}>\r\nSubject: Facteur {role}: errors from {}\r\n\
             Date: {date}\r\nMessage-ID: <{id}@{host}>\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
             Transcript of session follows ({}).\r\n\r\n{transcript}\r\n{}\r\n\r\n{others}For other details, see the mail log.\r\n",
            printable(self.peer),
            self.classes.join(", "),
            printable(self.end),
        )
    }
}
