//! `XFACTEUR`: how our `qmgr` tells our `deliver` which message a transaction carries.
//!
//! A server announces the keyword `XFACTEUR` in its LHLO answer to peers it trusts (those that run as qmgr's user). The client
//! then adds to MAIL FROM:
//!
//! ```text
//! XID=queue-id XTIME=seconds [XREPEAT]
//! ```
//!
//! `XID` is the queue id, `XTIME` the second of acceptance since 1970, `XREPEAT` says that this delivery may have been made before,
//! so that it has to be looked for. To peers that are not trusted the keyword is not announced and the parameters are 555.

use mail_types::QueueId;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XFacteur {
    pub id: QueueId,
    /// When the message was accepted, in seconds since 1970.
    pub time_seconds: u64,
    /// The delivery may have happened before.
    pub repeat: bool,
}

impl XFacteur {
    /// Appends the parameters as they stand in MAIL FROM, with a space in front.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b" XID=");
        out.extend_from_slice(self.id.as_str().as_bytes());
        out.extend_from_slice(format!(" XTIME={}", self.time_seconds).as_bytes());
        if self.repeat {
            out.extend_from_slice(b" XREPEAT");
        }
    }
}
