use crate::settings;
use crate::value::Endpoint;
use crate::value::on_all_addresses as on;

settings! {
    /// POP3.
    pub struct Pop3d in "pop3d" {
        /// Where POP3 with STLS is spoken.
        listen: Vec<Endpoint> = on(110), was "Dovecot inet_listener pop3";
        /// Where POP3 with TLS from the first byte on is spoken.
        listen_tls: Vec<Endpoint> = on(995), was "Dovecot inet_listener pop3s";
    }
}
