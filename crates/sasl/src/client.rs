//! The client's side of the mechanisms, for mail that goes out through a relay host.

use mail_types::Secret;
use zeroize::Zeroizing;

/// Why a client cannot go on. The exchange is to be cancelled (`*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the server asks for more than the mechanism has")]
    OutOfTurn,
    #[error("the user name or the password has a NUL, which the mechanism cannot carry")]
    Nul,
}

/// One exchange of one mechanism, seen from the client.
pub trait Mechanism: Send {
    fn name(&self) -> &'static str;

    /// The message that goes with the command; `None` when the server speaks first.
    fn initial(&mut self) -> Option<Zeroizing<Vec<u8>>>;

    /// The answer to a challenge (already out of base64).
    fn respond(&mut self, challenge: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error>;
}

/// The best mechanism among those a server offers, names in any case. `None`: none that we speak.
/// Both send the password as it is, so the caller has to be under TLS, or to have been told not to mind.
pub fn choose<'a>(offered: impl IntoIterator<Item = &'a str>, user: &str, password: &Secret) -> Option<Box<dyn Mechanism>> {
    let mut login = false;
    for name in offered {
        if name.eq_ignore_ascii_case("PLAIN") {
            return Some(Box::new(Plain::new(user, password.clone())));
        }
        login |= name.eq_ignore_ascii_case("LOGIN");
    }
    login.then(|| Box::new(Login::new(user, password.clone())) as Box<dyn Mechanism>)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{self, Mechanism as _, Step};
    use proptest::prelude::*;

    #[test]
    fn plain_is_preferred_and_unknown_mechanisms_are_passed_over() {
        let name = |offered: &[&str]| choose(offered.iter().copied(), "u", &Secret::new("p")).map(|m| m.name());
        assert_eq!(name(&["CRAM-MD5", "login", "Plain"]), Some("PLAIN"));
        assert_eq!(name(&["GSSAPI", "LOGIN"]), Some("LOGIN"));
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
        fn no_message_makes_a_server_panic(messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..4)) {
            for offer in server::OFFERS {
                let mut mechanism = offer.begin();
                let _ = mechanism.start(None);
                for message in &messages {
                    let _ = mechanism.respond(message);
                }
            }
        }
    }
}
