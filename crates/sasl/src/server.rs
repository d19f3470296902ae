//! The server's side of the mechanisms.

mod cram_md5;
mod external;
mod oauth;
mod plain;
mod scram;

use crate::credentials::{Credentials, Malformed};
use crate::scram::{Hash, Keys};
use mail_types::Secret;

pub use cram_md5::CramMd5;
pub use external::External;
pub use oauth::OAuth;
pub use plain::{Login, Plain};
pub use scram::Scram;

/// What a server mechanism wants next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this challenge (it may be empty) and hand in the answer.
    Challenge(Vec<u8>),
    /// Check this password, then tell the mechanism by [`Mechanism::verified`] or [`Mechanism::refused`].
    Verify(Credentials),
    /// Check this token; likewise.
    Token(Token),
    /// Find out whom the client's certificate names, and whether that may be `authorization` (empty: whoever it names); likewise.
    External { authorization: String },
    /// Find the keys of this user and hand them in by [`Mechanism::found`]; for a user who is not there, keys that fit no password.
    Find(Identity, Kind),
    /// The client proved that it knows the password of the user whose keys were found. Go on by [`Mechanism::verified`].
    Proven,
    /// It did not: a wrong password. Go on by [`Mechanism::refused`].
    Disproven,
    /// The exchange is over: who was verified is logged in.
    Done,
    /// The exchange is over: the login failed.
    Refused,
}

/// Who wants to log in, without a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// As whom to act; empty when the same as `authentication`.
    pub authorization: String,
    pub authentication: String,
}

/// An OAuth 2.0 bearer token (RFC 6750).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Who the client says it is. Empty: whom the token names. A token of somebody else must not do.
    pub user: String,
    pub token: Secret,
}

/// Which keys a mechanism needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Scram(Hash),
    HmacMd5,
}

/// Keys, as asked for by [`Step::Find`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Scram(Keys),
    HmacMd5(crate::cram_md5::Key),
}

/// One exchange of one mechanism.
///
/// The driver calls `start` once, with the client's initial response if it sent one, then `respond` for every answer to a challenge, and the
/// method that a step names. After an error, [`Step::Done`] or [`Step::Refused`] the object is of no use any more.
pub trait Mechanism: Send {
    fn name(&self) -> &'static str;

    fn start(&mut self, initial: Option<&[u8]>) -> Result<Step, Malformed>;

    fn respond(&mut self, response: &[u8]) -> Result<Step, Malformed>;

    /// The keys that were asked for.
    fn found(&mut self, _: Found) -> Result<Step, Malformed> {
        Err(Malformed::OutOfTurn)
    }

    /// What was asked about is right. Mechanisms with a last word of the server (SCRAM) give a challenge here.
    fn verified(&mut self) -> Step {
        Step::Done
    }

    /// It is wrong. Mechanisms that tell the client why (OAUTHBEARER) give a challenge here.
    fn refused(&mut self) -> Step {
        Step::Refused
    }
}

/// What an exchange has to be given, as mechanisms know neither chance nor time nor TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Setup {
    /// Printable, without a comma, never twice the same, not to be guessed.
    pub nonce: String,
    /// This server's name, and the time in seconds since 1970: CRAM-MD5 has them in its challenge.
    pub host: String,
    pub now_seconds: u64,
    /// What the TLS connection of this client can be told by: names of channel binding types, and their data.
    pub bindings: Vec<(String, Vec<u8>)>,
    /// Whether this client was offered mechanisms that bind to the TLS connection.
    pub plus_offered: bool,
    /// What a client with a token is told when it is refused (RFC 7628 §3.2.2), beside `status`.
    pub oauth_scope: String,
    pub oauth_configuration: String,
}

/// A mechanism that can be offered.
#[derive(Debug, Clone, Copy)]
pub struct Offer {
    pub name: &'static str,
    /// The password or token crosses the wire as it is: to be offered over TLS only.
    pub plaintext: bool,
    /// Who listens can try passwords at leisure.
    pub dictionary: bool,
    /// The server proves that it knows the password, too.
    pub mutual: bool,
    /// Binds to the TLS connection, so can be offered only by who knows that.
    pub binds: bool,
    make: fn(Setup) -> Box<dyn Mechanism>,
}

impl Offer {
    /// Begins an exchange.
    pub fn begin(&self, setup: Setup) -> Box<dyn Mechanism> {
        (self.make)(setup)
    }
}

const fn offer_of(name: &'static str, make: fn(Setup) -> Box<dyn Mechanism>) -> Offer {
    Offer { name, plaintext: false, dictionary: false, mutual: false, binds: false, make }
}

/// All mechanisms.
pub const OFFERS: &[Offer] = &[
    Offer { plaintext: true, ..offer_of("PLAIN", |_| Box::new(Plain::default())) },
    Offer { plaintext: true, ..offer_of("LOGIN", |_| Box::new(Login::default())) },
    Offer { mutual: true, ..offer_of("SCRAM-SHA-256", |setup| Box::new(Scram::new(Hash::Sha256, false, setup))) },
    Offer { mutual: true, binds: true, ..offer_of("SCRAM-SHA-256-PLUS", |setup| Box::new(Scram::new(Hash::Sha256, true, setup))) },
    Offer { mutual: true, ..offer_of("SCRAM-SHA-1", |setup| Box::new(Scram::new(Hash::Sha1, false, setup))) },
    Offer { mutual: true, binds: true, ..offer_of("SCRAM-SHA-1-PLUS", |setup| Box::new(Scram::new(Hash::Sha1, true, setup))) },
    Offer { dictionary: true, ..offer_of("CRAM-MD5", |setup| Box::new(CramMd5::new(&setup))) },
    offer_of("EXTERNAL", |_| Box::new(External::default())),
    Offer { plaintext: true, ..offer_of("OAUTHBEARER", |setup| Box::new(OAuth::bearer(&setup))) },
    Offer { plaintext: true, ..offer_of("XOAUTH2", |setup| Box::new(OAuth::xoauth2(&setup))) },
];

/// The mechanism of this name, any case.
pub fn offer(name: &str) -> Option<&'static Offer> {
    OFFERS.iter().find(|offer| offer.name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mechanisms_are_found_in_any_case() {
        assert_eq!(offer("plain").map(|o| o.name), Some("PLAIN"));
        assert_eq!(offer("Login").map(|o| o.begin(Setup::default()).name()), Some("LOGIN"));
        assert!(offer("ANONYMOUS").is_none());
        assert!(offer("").is_none());
        for offer in OFFERS {
            assert_eq!(offer.begin(Setup::default()).name(), offer.name);
            assert_eq!(offer.binds, offer.name.ends_with("-PLUS"));
        }
    }
}
