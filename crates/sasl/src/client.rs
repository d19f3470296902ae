//! The client's side of the mechanisms, for mail that goes out through a relay host.

mod scram;

use crate::cram_md5::Key;
use crate::scram::Hash;
use mail_types::Secret;
use zeroize::Zeroizing;

pub use scram::Scram;

/// Why a client cannot go on. The exchange is to be cancelled (`*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the server asks for more than the mechanism has")]
    OutOfTurn,
    #[error("the user name or the password has a NUL, which the mechanism cannot carry")]
    Nul,
    #[error("the server does not keep to the mechanism, or does not know the password itself")]
    Misbehaved,
}

/// One exchange of one mechanism, seen from the client.
pub trait Mechanism: Send {
    fn name(&self) -> &'static str;

    /// The message that goes with the command; `None` when the server speaks first.
    fn initial(&mut self) -> Option<Zeroizing<Vec<u8>>>;

    /// The answer to a challenge (already out of base64).
    fn respond(&mut self, challenge: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error>;

    /// Whether a server's word that the login succeeded may be believed. Not before a server that has to prove itself has done so
    /// (RFC 5802 §3): such a success is a failure.
    fn finished(&self) -> bool {
        true
    }
}

/// The mechanism to use of those a server offers, names in any case. `None`: none that we speak. `nonce` as in [`Scram::new`].
///
/// PLAIN first: the caller is under TLS, or was told not to mind, and it is what every server has tested. A server without it may have
/// what does not show the password.
pub fn choose<'a>(offered: impl IntoIterator<Item = &'a str>, user: &str, password: &Secret, nonce: &str) -> Option<Box<dyn Mechanism>> {
    type Make = fn(&str, Secret, &str) -> Box<dyn Mechanism>;
    const KNOWN: [(&str, Make); 5] = [
        ("PLAIN", |user, password, _| Box::new(Plain::new(user, password))),
        ("LOGIN", |user, password, _| Box::new(Login::new(user, password))),
        ("SCRAM-SHA-256", |user, password, nonce| Box::new(Scram::new(Hash::Sha256, user, password, nonce))),
        ("SCRAM-SHA-1", |user, password, nonce| Box::new(Scram::new(Hash::Sha1, user, password, nonce))),
        ("CRAM-MD5", |user, password, _| Box::new(CramMd5::new(user, password))),
    ];
    let rank = |name: &str| KNOWN.iter().position(|(known, _)| known.eq_ignore_ascii_case(name));
    let best = offered.into_iter().filter_map(rank).min()?;
    Some(KNOWN[best].1(user, password.clone(), nonce))
}

/// PLAIN (RFC 4616).
#[derive(Debug)]
pub struct Plain {
    user: String,
    password: Secret,
    sent: bool,
}

impl Plain {
    pub fn new(user: &str, password: Secret) -> Plain {
        Plain { user: user.to_owned(), password, sent: false }
    }

    fn message(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        if self.user.contains('\0') || self.password.reveal().contains('\0') {
            return Err(Error::Nul);
        }
        let mut message = Zeroizing::new(Vec::with_capacity(2 + self.user.len() + self.password.reveal().len()));
        message.push(0);
        message.extend_from_slice(self.user.as_bytes());
        message.push(0);
        message.extend_from_slice(self.password.reveal().as_bytes());
        Ok(message)
    }
}

impl Mechanism for Plain {
    fn name(&self) -> &'static str {
        "PLAIN"
    }

    fn initial(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        let message = self.message().ok()?;
        self.sent = true;
        Some(message)
    }

    fn respond(&mut self, _: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        if std::mem::replace(&mut self.sent, true) {
            return Err(Error::OutOfTurn);
        }
        self.message()
    }
}

/// LOGIN: user name and password in answer to two challenges, whatever those say (some servers ask in other words).
#[derive(Debug)]
pub struct Login {
    user: String,
    password: Secret,
    answered: u8,
}

impl Login {
    pub fn new(user: &str, password: Secret) -> Login {
        Login { user: user.to_owned(), password, answered: 0 }
    }
}

impl Mechanism for Login {
    fn name(&self) -> &'static str {
        "LOGIN"
    }

    fn initial(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        None
    }

    fn respond(&mut self, _: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.answered = self.answered.saturating_add(1);
        match self.answered {
            1 => Ok(Zeroizing::new(self.user.as_bytes().to_vec())),
            2 => Ok(Zeroizing::new(self.password.reveal().as_bytes().to_vec())),
            _ => Err(Error::OutOfTurn),
        }
    }
}

/// CRAM-MD5 (RFC 2195): the name and a digest of the challenge.
#[derive(Debug)]
pub struct CramMd5 {
    user: String,
    password: Secret,
    answered: bool,
}

impl CramMd5 {
    pub fn new(user: &str, password: Secret) -> CramMd5 {
        CramMd5 { user: user.to_owned(), password, answered: false }
    }
}

impl Mechanism for CramMd5 {
    fn name(&self) -> &'static str {
        "CRAM-MD5"
    }

    fn initial(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        None
    }

    fn respond(&mut self, challenge: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        if std::mem::replace(&mut self.answered, true) {
            return Err(Error::OutOfTurn);
        }
        let digest = Key::derive(self.password.reveal()).digest(challenge);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Zeroizing::new(format!("{} {hex}", self.user).into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scram::Keys;
    use crate::server::{self, Found, Kind, Mechanism as _, Setup, Step};
    use proptest::prelude::*;

    #[test]
    fn plain_is_preferred_and_unknown_mechanisms_are_passed_over() {
        let name = |offered: &[&str]| choose(offered.iter().copied(), "u", &Secret::new("p"), "n").map(|m| m.name());
        assert_eq!(name(&["CRAM-MD5", "login", "Plain"]), Some("PLAIN"));
        assert_eq!(name(&["GSSAPI", "LOGIN"]), Some("LOGIN"));
        assert_eq!(name(&["CRAM-MD5", "scram-sha-256"]), Some("SCRAM-SHA-256"));
        assert_eq!(name(&["GSSAPI"]), None);
    }

    #[test]
    fn a_server_that_asks_too_often_gets_no_more() {
        let mut login = Login::new("u", Secret::new("p"));
        assert_eq!(login.respond(b"").as_deref().map(|v| v.as_slice()), Ok(&b"u"[..]));
        assert_eq!(login.respond(b"").as_deref().map(|v| v.as_slice()), Ok(&b"p"[..]));
        assert_eq!(login.respond(b""), Err(Error::OutOfTurn));
        let mut plain = Plain::new("u", Secret::new("p"));
        plain.initial().expect("message");
        assert_eq!(plain.respond(b""), Err(Error::OutOfTurn));
        assert_eq!(Plain::new("u\0v", Secret::new("p")).respond(b""), Err(Error::Nul));
    }

    /// One exchange of each mechanism with proofs between our client and our server, which knows the right password or another.
    fn prove(user: &str, password: &str, right: bool) -> Result<(), TestCaseError> {
        for (name, kind) in
            [("SCRAM-SHA-1", Kind::Scram(Hash::Sha1)), ("SCRAM-SHA-256", Kind::Scram(Hash::Sha256)), ("CRAM-MD5", Kind::HmacMd5)]
        {
            let mut client = choose([name], user, &Secret::new(password.to_owned()), "client").expect("known");
            let offer = server::offer(name).expect("known");
            let mut server = offer.begin(Setup { nonce: "server".into(), ..Setup::default() });
            let known = if right { password.to_owned() } else { format!("{password}x") };
            let mut step = server.start(client.initial().as_deref().map(|v| v.as_slice())).expect("start");
            let proven = loop {
                step = match step {
                    Step::Challenge(challenge) => server.respond(&client.respond(&challenge).expect("answer")).expect("step"),
                    Step::Find(_, wanted) => {
                        prop_assert_eq!(wanted, kind);
                        server
                            .found(match kind {
                                Kind::Scram(hash) => Found::Scram(Keys::derive(hash, &known, b"salty salt", 4096)),
                                Kind::HmacMd5 => Found::HmacMd5(Key::derive(&known)),
                            })
                            .expect("step")
                    }
                    Step::Proven => server.verified(),
                    Step::Done => break true,
                    Step::Disproven => break false,
                    other => panic!("{other:?}"),
                }
            };
            prop_assert_eq!(proven, right, "{}", name);
            prop_assert!(!proven || client.finished(), "{}", name);
        }
        Ok(())
    }

    #[test]
    fn names_and_passwords_of_which_saslprep_leaves_nothing_go_as_they_are() {
        for right in [true, false] {
            prove("\u{ad}", "\u{200b}", right).expect("exchange");
        }
    }

    proptest! {
        #[test]
        fn our_server_understands_our_client(user in "[^\\x00]{1,40}", password in "[^\\x00]{1,40}", initial: bool) {
            let mut client = Plain::new(&user, Secret::new(password.clone()));
            let mut server = server::Plain::default();
            let step = if initial {
                server.start(client.initial().as_deref().map(|v| v.as_slice()))
            } else {
                prop_assert_eq!(server.start(None), Ok(Step::Challenge(Vec::new())));
                server.respond(&client.respond(b"").expect("message"))
            };
            let Ok(Step::Verify(got)) = step else { panic!("{step:?}") };
            prop_assert_eq!(&got.authentication, &user);
            prop_assert_eq!(got.password.reveal(), password.as_str());

            let mut client = Login::new(&user, Secret::new(password.clone()));
            let mut server = server::Login::default();
            let mut step = server.start(None);
            while let Ok(Step::Challenge(challenge)) = &step {
                step = server.respond(&client.respond(challenge).expect("answer"));
            }
            let Ok(Step::Verify(got)) = step else { panic!("{step:?}") };
            prop_assert_eq!(&got.authentication, &user);
            prop_assert_eq!(got.password.reveal(), password.as_str());
        }

        #[test]
        fn proofs_of_our_client_hold_at_our_server(user in "[^\\x00]{1,20}", password in "[^\\x00]{1,20}", right: bool) {
            prove(&user, &password, right)?;
        }

        #[test]
        fn no_message_makes_a_server_panic(messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..4)) {
            for offer in server::OFFERS {
                let mut mechanism = offer.begin(Setup { nonce: "n".into(), ..Setup::default() });
                let _ = mechanism.start(None);
                for message in &messages {
                    let _ = mechanism.respond(message);
                }
                let _ = (mechanism.refused(), mechanism.verified());
            }
        }
    }
}
