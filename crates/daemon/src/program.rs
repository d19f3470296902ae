//! What is known about each program before it runs: what start-up has to prepare for it.

/// The part of a program's nature that start-up needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    pub name: &'static str,
    /// The TLS application protocol of its clients (RFC 7301); `None`: it serves no TLS and reads no key.
    pub alpn: Option<&'static str>,
    /// Mode bits that its new files never have.
    pub umask: u32,
}

impl Program {
    /// The six daemons; any other name is a program without TLS.
    pub fn named(name: &'static str) -> Program {
        let (alpn, umask) = match name {
            // qmgr reads smtpd's segments as a member of its group.
            "smtpd" => (Some("smtp"), 0o027),
            "imapd" => (Some("imap"), 0o077),
            "pop3d" => (Some("pop3"), 0o077),
            _ => (None, 0o077),
        };
        Program { name, alpn, umask }
    }
}
