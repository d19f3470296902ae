//! PLAIN and LOGIN: the password as it is.

use super::{Mechanism, Step};
use crate::credentials::{Credentials, MESSAGE_LIMIT_BYTES, Malformed, field};
use zeroize::Zeroizing;

/// PLAIN (RFC 4616): one message with both names and the password.
#[derive(Debug, Default)]
pub struct Plain {
    state: PlainState,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum PlainState {
    #[default]
    Fresh,
    Asked,
    Over,
}

impl Mechanism for Plain {
    fn name(&self) -> &'static str {
        "PLAIN"
    }

    fn start(&mut self, initial: Option<&[u8]>) -> Result<Step, Malformed> {
        if self.state != PlainState::Fresh {
            return Err(Malformed::OutOfTurn);
        }
        self.state = PlainState::Asked;
        match initial {
            Some(message) => self.respond(message),
            None => Ok(Step::Challenge(Vec::new())),
        }
    }

    // RFC 4616 §2: message = [authzid] UTF8NUL authcid UTF8NUL passwd
    fn respond(&mut self, response: &[u8]) -> Result<Step, Malformed> {
        if self.state != PlainState::Asked {
            return Err(Malformed::OutOfTurn);
        }
        self.state = PlainState::Over;
        if response.len() > MESSAGE_LIMIT_BYTES {
            return Err(Malformed::TooLong);
        }
        let mut parts = response.split(|b| *b == 0);
        let (Some(authorization), Some(authentication), Some(password), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Malformed::Parts);
        };
        Credentials::checked(field(authorization)?, field(authentication)?, field(password)?).map(Step::Verify)
    }
}

/// LOGIN: the server asks for the user name, then for the password.
#[derive(Debug, Default)]
pub struct Login {
    state: LoginState,
}

#[derive(Debug, Default)]
enum LoginState {
    #[default]
    Fresh,
    User,
    Password(String),
    Over,
}

impl Mechanism for Login {
    fn name(&self) -> &'static str {
        "LOGIN"
    }

    // The draft has no initial response, but clients that send one mean the user name.
    fn start(&mut self, initial: Option<&[u8]>) -> Result<Step, Malformed> {
        if !matches!(self.state, LoginState::Fresh) {
            return Err(Malformed::OutOfTurn);
        }
        self.state = LoginState::User;
        match initial {
            Some(user) if !user.is_empty() => self.respond(user),
            _ => Ok(Step::Challenge(b"Username:".to_vec())),
        }
    }

    fn respond(&mut self, response: &[u8]) -> Result<Step, Malformed> {
        match std::mem::replace(&mut self.state, LoginState::Over) {
            LoginState::User => {
                let user = field(response)?;
                if user.is_empty() {
                    return Err(Malformed::NoUser);
                }
                self.state = LoginState::Password(user.to_owned());
                Ok(Step::Challenge(b"Password:".to_vec()))
            }
            LoginState::Password(user) => {
                let password = Zeroizing::new(field(response)?.to_owned());
                Credentials::checked("", &user, &password).map(Step::Verify)
            }
            LoginState::Fresh | LoginState::Over => Err(Malformed::OutOfTurn),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FIELD_LIMIT_BYTES;
    use mail_types::Secret;

    fn plain(message: &[u8]) -> Result<(String, String, String), Malformed> {
        match Plain::default().start(Some(message))? {
            Step::Verify(c) => Ok((c.authorization, c.authentication, c.password.reveal().to_owned())),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rfc4616_messages_are_taken_or_refused() {
        let ok = |a: &str, b: &str, c: &str| Ok((a.to_owned(), b.to_owned(), c.to_owned()));
        for (message, want) in [
            // RFC 4616 §4
            (&b"\0tim\0tanstaaftanstaaf"[..], ok("", "tim", "tanstaaftanstaaf")),
            (b"Ursel\0Kurt\0xipj3plmq", ok("Ursel", "Kurt", "xipj3plmq")),
            ("\0pélé\0clé🔑".as_bytes(), ok("", "pélé", "clé🔑")),
            (b"\0a:b\n'; --\0%u%{x}", ok("", "a:b\n'; --", "%u%{x}")),
            (b"", Err(Malformed::Parts)),
            (b"tim", Err(Malformed::Parts)),
            (b"\0tim", Err(Malformed::Parts)),
            (b"\0tim\0pw\0", Err(Malformed::Parts)),
            (b"\0\0pw", Err(Malformed::NoUser)),
            (b"tim\0\0pw", Err(Malformed::NoUser)),
            (b"\0tim\0", Err(Malformed::NoPassword)),
            (b"\0tim\0\xc3", Err(Malformed::NotText)),
            (b"\0\xff\0pw", Err(Malformed::NotText)),
        ] {
            assert_eq!(plain(message), want, "{message:?}");
        }
    }

    #[test]
    fn plain_refuses_what_is_too_long() {
        let message = |length: usize| [&b"\0tim\0"[..], &vec![b'x'; length]].concat();
        assert!(plain(&message(FIELD_LIMIT_BYTES)).is_ok());
        assert_eq!(plain(&message(FIELD_LIMIT_BYTES + 1)), Err(Malformed::TooLong));
        assert_eq!(plain(&message(1 << 20)), Err(Malformed::TooLong));
    }

    #[test]
    fn plain_without_initial_response_asks_once() {
        let mut plain = Plain::default();
        assert_eq!(plain.start(None), Ok(Step::Challenge(Vec::new())));
        assert!(matches!(plain.respond(b"\0tim\0pw"), Ok(Step::Verify(_))));
        assert_eq!(plain.respond(b"\0tim\0pw"), Err(Malformed::OutOfTurn));
        assert_eq!(plain.verified(), Step::Done);
    }

    #[test]
    fn login_asks_for_user_and_password() {
        let want = Credentials { authorization: String::new(), authentication: "ann".into(), password: Secret::new("pw") };
        let mut login = Login::default();
        assert_eq!(login.start(None), Ok(Step::Challenge(b"Username:".to_vec())));
        assert_eq!(login.respond(b"ann"), Ok(Step::Challenge(b"Password:".to_vec())));
        assert_eq!(login.respond(b"pw"), Ok(Step::Verify(want.clone())));
        assert_eq!(login.respond(b"pw"), Err(Malformed::OutOfTurn));
        let mut login = Login::default();
        assert_eq!(login.start(Some(b"ann")), Ok(Step::Challenge(b"Password:".to_vec())));
        assert_eq!(login.respond(b"pw"), Ok(Step::Verify(want)));
    }

    #[test]
    fn login_refuses_empty_and_malformed_answers() {
        for (answers, want) in [
            (&[&b""[..]][..], Malformed::NoUser),
            (&[b"a\0b"], Malformed::Nul),
            (&[b"ann", b""], Malformed::NoPassword),
            (&[b"ann", b"\xff"], Malformed::NotText),
            (&[b"ann", b"p\0w"], Malformed::Nul),
            (&[&[b'x'; FIELD_LIMIT_BYTES + 1]], Malformed::TooLong),
        ] {
            let mut login = Login::default();
            login.start(None).expect("a challenge");
            let last = answers.iter().map(|a| login.respond(a)).last();
            assert_eq!(last, Some(Err(want)), "{answers:?}");
            assert_eq!(login.respond(b"more"), Err(Malformed::OutOfTurn));
        }
    }

    #[test]
    fn nothing_of_a_login_prints() {
        let step = Plain::default().start(Some(b"\0tim\0tanstaaf")).expect("credentials");
        assert!(!format!("{step:?}").contains("tanstaaf"));
    }
}
