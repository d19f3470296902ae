use crate::settings;
use crate::value::Endpoint;
use crate::value::on_all_addresses as on;

settings! {
    /// IMAP.
    pub struct Imapd in "imapd" {
        /// Where IMAP with STARTTLS is spoken.
        listen: Vec<Endpoint> = on(143), was "Dovecot inet_listener imap";
        /// Where IMAP with TLS from the first byte on is spoken.
        listen_tls: Vec<Endpoint> = on(993), was "Dovecot inet_listener imaps";
    }
}
