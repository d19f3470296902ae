//! ENVELOPE (RFC 3501 §7.4.2).

use crate::encode::{nstring, string};
use message::{Entry, Envelope};

/// RFC 3501 §9: `envelope = "(" env-date SP env-subject SP env-from SP env-sender SP env-reply-to SP env-to SP env-cc SP
/// env-bcc SP env-in-reply-to SP env-message-id ")"`
pub fn write(out: &mut Vec<u8>, header: &[u8]) {
    write_parsed(out, &Envelope::parse(header));
}

/// The same of one that is parsed.
pub fn write_parsed(out: &mut Vec<u8>, envelope: &Envelope<'_>) {
    out.push(b'(');
    nstring(out, envelope.date.as_deref());
    out.push(b' ');
    nstring(out, envelope.subject.as_deref());
    for list in [&envelope.from, envelope.sender(), envelope.reply_to(), &envelope.to, &envelope.cc, &envelope.bcc] {
        out.push(b' ');
        addresses(out, list);
    }
    out.push(b' ');
    nstring(out, envelope.in_reply_to.as_deref());
    out.push(b' ');
    nstring(out, envelope.message_id.as_deref());
    out.push(b')');
}

/// RFC 3501 §9: `"(" 1*address ")" / nil`, `address = "(" addr-name SP addr-adl SP addr-mailbox SP addr-host ")"`
fn addresses(out: &mut Vec<u8>, list: &[Entry<'_>]) {
    if list.is_empty() {
        return out.extend_from_slice(b"NIL");
    }
    out.push(b'(');
    for entry in list {
        out.push(b'(');
        match entry {
            Entry::Mailbox(mailbox) => {
                nstring(out, mailbox.name.as_deref());
                out.push(b' ');
                nstring(out, mailbox.route.as_deref());
                out.push(b' ');
                string(out, &mailbox.mailbox);
                out.push(b' ');
                string(out, &mailbox.host);
            }
            Entry::GroupStart(name) => {
                out.extend_from_slice(b"NIL NIL ");
                string(out, name);
                out.extend_from_slice(b" NIL");
            }
            Entry::GroupEnd => out.extend_from_slice(b"NIL NIL NIL NIL"),
        }
        out.push(b')');
    }
    out.push(b')');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(header: &str) -> String {
        let mut out = Vec::new();
        write(&mut out, header.as_bytes());
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn the_example_of_rfc3501_8() {
        let header = "Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\nFrom: Terry Gray <gray@cac.washington.edu>\r\nSubject: IMAP4rev1 WG mtg summary and minutes\r\n\
            To: imap@cac.washington.edu\r\ncc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\r\n\
            Message-Id: <B27397-0100000@cac.washington.edu>\r\n\r\n";
        let terry = "((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\"))";
        assert_eq!(
            envelope(header),
            format!(
                "(\"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\" \"IMAP4rev1 WG mtg summary and minutes\" {terry} {terry} {terry} \
                 ((NIL NIL \"imap\" \"cac.washington.edu\")) ((NIL NIL \"minutes\" \"CNRI.Reston.VA.US\")(\"John Klensin\" NIL \"KLENSIN\" \"MIT.EDU\")) \
                 NIL NIL \"<B27397-0100000@cac.washington.edu>\")"
            )
        );
    }

    #[test]
    fn groups_and_nothing() {
        assert_eq!(envelope("\r\n"), "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)");
        let grouped = envelope("To: friends: a@x.org;\r\n\r\n");
        assert!(grouped.contains("((NIL NIL \"friends\" NIL)(NIL NIL \"a\" \"x.org\")(NIL NIL NIL NIL))"), "{grouped}");
    }
}
