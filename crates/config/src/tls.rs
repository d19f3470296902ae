use crate::setting::{minutes, secs};
use crate::{choices, settings};
use std::path::PathBuf;
use std::time::Duration;

choices! {
    /// The oldest TLS version spoken.
    pub enum TlsVersion { Tls12 = "TLSv1.2", Tls13 = "TLSv1.3" }
}

settings! {
    /// A further certificate, chosen by the name that the client asks for (SNI).
    pub struct Certificate in "tls.certificate" {
        /// Certificate chain, PEM.
        cert_file: PathBuf = "";
        /// Private key, PEM.
        key_file: PathBuf = "";
    }
}

settings! {
    /// Certificates of this server, for SMTP, IMAP and POP3 alike. Files that change are taken up by themselves and on reload.
    pub struct Tls in "tls" {
        /// Certificate chain, PEM. Empty: no TLS is offered.
        cert_file: PathBuf = "", was "Postfix smtpd_tls_cert_file, Dovecot ssl_cert";
        /// Private key, PEM; readable by the group facteur-tls only.
        key_file: PathBuf = "", was "Postfix smtpd_tls_key_file, Dovecot ssl_key";
        /// Further certificates; each serves the names that it holds.
        certificate: Vec<Certificate> = Vec::new(), was "Postfix tls_server_sni_maps, Dovecot local_name";
        /// The oldest version that clients may speak.
        min_protocol: TlsVersion = TlsVersion::Tls12, was "Postfix smtpd_tls_protocols, Dovecot ssl_min_protocol";
        /// Certificates of those who may vouch for clients, PEM. It has to be an authority of your own: whoever gets a certificate from it under somebody's name is that person. Empty: nobody vouches for clients.
        ca_file: PathBuf = "", was "Postfix smtpd_tls_CAfile, Dovecot ssl_ca";
        /// Whether clients of IMAP and POP3 are asked for a certificate. Those without one, or with one that `ca_file` does not vouch for, log in with a password. For SMTP, see `smtpd_tls_ask_ccert`.
        ssl_verify_client_cert: bool = false, was "Dovecot ssl_verify_client_cert";
        /// Whether a certificate that `ca_file` vouches for is a login: its email address (subjectAltName), or else its common name, is the user, who then needs no password (mechanism `external`).
        auth_ssl_username_from_cert: bool = false, was "Dovecot auth_ssl_username_from_cert";
        /// How long a client may take for its part of the handshake.
        handshake_timeout: Duration = secs(30), in secs(1)..=minutes(5), was "Postfix smtpd_starttls_timeout";
    }
}
