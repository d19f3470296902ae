use crate::settings;
use crate::value::Endpoint;

settings! {
    /// Filing mail into mailboxes the LMTP server that qmgr (or any other mail server) hands mail to.
    pub struct Deliver in "deliver" {
        /// Sockets that LMTP is spoken on. Empty: `lmtp` in `run_directory`.
        listen: Vec<Endpoint> = Vec::new(), was "Dovecot service lmtp";
    }
}
