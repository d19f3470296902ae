//! What a command ends with, and the one place where errors become answers.

use imap_proto::Status;
use imap_proto::encode;
use std::borrow::Cow;

/// The tagged end of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: Status,
    /// Response code without brackets; empty for none.
    pub code: Cow<'static, str>,
    pub text: Cow<'static, str>,
}

impl Answer {
    pub fn ok(text: impl Into<Cow<'static, str>>) -> Answer {
        Answer { status: Status::Ok, code: "".into(), text: text.into() }
    }

    pub fn ok_with(code: impl Into<Cow<'static, str>>, text: impl Into<Cow<'static, str>>) -> Answer {
        Answer { status: Status::Ok, code: code.into(), text: text.into() }
    }

    pub fn no(code: impl Into<Cow<'static, str>>, text: impl Into<Cow<'static, str>>) -> Answer {
        Answer { status: Status::No, code: code.into(), text: text.into() }
    }

    pub fn bad(text: impl Into<Cow<'static, str>>) -> Answer {
        Answer { status: Status::Bad, code: "".into(), text: text.into() }
    }

    /// Message numbers after ENABLE UIDONLY (RFC 9586).
    pub fn uid_required() -> Answer {
        Answer { status: Status::Bad, code: "UIDREQUIRED".into(), text: "UIDONLY is enabled".into() }
    }

    pub fn write(&self, out: &mut Vec<u8>, tag: &str) {
        encode::status(out, tag, self.status, &self.code, &self.text);
    }
}

/// Codes of RFC 5530 for what the store says. Trouble of ours is logged here; the client learns no path.
impl From<mailstore::Error> for Answer {
    fn from(error: mailstore::Error) -> Answer {
        use mailstore::Error;
        match error {
            Error::NoSuchMailbox => Answer::no("NONEXISTENT", "Mailbox does not exist"),
            Error::AlreadyExists => Answer::no("ALREADYEXISTS", "Mailbox already exists"),
            Error::NotAllowed(why) => Answer::no("CANNOT", why),
            Error::Expunged => Answer::no("EXPUNGEISSUED", "Some messages no longer exist"),
            Error::OverQuota { .. } => Answer::no("OVERQUOTA", "Quota exceeded (mailbox for user is full)"),
            Error::Limit(what) => Answer::no("LIMIT", what),
            Error::Locked { .. } => {
                tracing::warn!(%error, "mailbox is locked");
                Answer::no("INUSE", "Mailbox is locked by another program, try again later")
            }
            Error::NoSpace { .. } => {
                tracing::error!(%error, "no space for mail");
                Answer::no("UNAVAILABLE", "No space left on the server")
            }
            Error::Unsafe { .. } | Error::Io { .. } => {
                tracing::error!(%error, "mailbox cannot be used");
                Answer::no("UNAVAILABLE", "Internal error, see the server's log")
            }
        }
    }
}

impl From<std::io::Error> for Answer {
    fn from(error: std::io::Error) -> Answer {
        tracing::error!(%error, "message cannot be read");
        Answer::no("UNAVAILABLE", "Internal error, see the server's log")
    }
}

impl From<mailstore::NameError> for Answer {
    fn from(error: mailstore::NameError) -> Answer {
        Answer::no("CANNOT", error.to_string())
    }
}
