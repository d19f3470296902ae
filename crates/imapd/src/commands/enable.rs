//! ENABLE (RFC 5161): UTF8=ACCEPT (RFC 6855), IMAP4rev2 (RFC 9051), CONDSTORE and QRESYNC (RFC 7162 §3.2.3), METADATA (RFC 5464 §4.4), UIDONLY
//! (RFC 9586).

use crate::answer::Answer;
use crate::commands::notify;
use crate::place::Realm;
use crate::session::Session;
use imap_proto::{Dialect, encode};

/// What the client has enabled; holds until it logs out (RFC 8437 §3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Enabled {
    pub utf8: bool,
    pub rev2: bool,
    /// Messages have no numbers any more (RFC 9586).
    pub uid_only: bool,
    condstore: bool,
    qresync: bool,
    /// RFC 5464 §4.4: changes of annotations are told.
    metadata: bool,
    metadata_server: bool,
}

impl Enabled {
    /// Mailbox names go out in UTF-8.
    pub fn utf8_names(self) -> bool {
        self.utf8 || self.rev2
    }

    /// The annotations whose changes are told.
    pub fn annotations(self, realm: &Realm) -> crate::notify::Annotations {
        crate::notify::Annotations {
            mailboxes: self.metadata,
            server: self.metadata || self.metadata_server,
            public: realm.public.as_ref().map(|public| public.prefix.clone()),
        }
    }

    /// Writes a mailbox name as the client reads it.
    pub fn write_name(self, out: &mut Vec<u8>, name: &str) {
        if self.utf8_names() { encode::mailbox_utf8(out, name) } else { encode::mailbox(out, name) }
    }
}

/// RFC 5161 §3.2: what is not known, or needs no enabling, is passed over.
pub async fn run(session: &mut Session, names: &[String]) -> Answer {
    let mut now = session.enabled;
    let mut done = String::new();
    for name in names {
        let (known, word) = match name.as_str() {
            "UTF8=ACCEPT" => (&mut now.utf8, "UTF8=ACCEPT"),
            "IMAP4REV2" => (&mut now.rev2, "IMAP4rev2"),
            "CONDSTORE" => (&mut now.condstore, "CONDSTORE"),
            "QRESYNC" => (&mut now.qresync, "QRESYNC"),
            "UIDONLY" => (&mut now.uid_only, "UIDONLY"),
            "METADATA" => (&mut now.metadata, "METADATA"),
            "METADATA-SERVER" => (&mut now.metadata_server, "METADATA-SERVER"),
            _ => continue,
        };
        // only what this command has enabled
        if !std::mem::replace(known, true) {
            done.push(' ');
            done.push_str(word);
        }
    }
    let before = std::mem::replace(&mut session.enabled, now);
    if (before.metadata, before.metadata_server) != (now.metadata, now.metadata_server) {
        notify::follow_annotations(session).await;
    }
    session.connection.machine.speaks(Dialect { utf8_names: now.utf8_names(), utf8_only: now.utf8 });
    if let Some(selected) = &mut session.selected {
        selected.rev2 = now.rev2;
        selected.uid_only = now.uid_only;
        if now.uid_only {
            selected.contexts.end_numbered(&mut session.connection.wire.out);
        }
    }
    session.connection.wire.out.extend_from_slice(format!("* ENABLED{done}\r\n").as_bytes());
    if now.condstore || now.qresync {
        session.become_aware(now.qresync);
    }
    Answer::ok("Enable completed")
}
