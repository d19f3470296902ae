//! OAUTHBEARER (RFC 7628) and XOAUTH2 (Google's form of it, which Outlook and phones speak): an OAuth 2.0 bearer token instead of a
//! password.
//!
//! A client whose token is refused is told so in a challenge, answers with a dummy, and only then gets its failure.

use super::{Mechanism, Setup, Step, Token};
use crate::credentials::{MESSAGE_LIMIT_BYTES, Malformed, field};
use mail_types::Secret;

pub struct OAuth {
    bearer: bool,
    scope: String,
    configuration: String,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Fresh,
    Asked,
    Judged,
    Refused,
    Over,
}

impl OAuth {
    /// OAUTHBEARER
    pub fn bearer(setup: &Setup) -> OAuth {
        OAuth::new(true, setup)
    }

    pub fn xoauth2(setup: &Setup) -> OAuth {
        OAuth::new(false, setup)
    }

    fn new(bearer: bool, setup: &Setup) -> OAuth {
        OAuth { bearer, scope: setup.oauth_scope.clone(), configuration: setup.oauth_configuration.clone(), state: State::Fresh }
    }

    // RFC 7628 §3.1:
    //   client-resp = (gs2-header kvsep *kvpair kvsep) / kvsep
    //   kvpair      = key "=" value kvsep
    //   kvsep       = %x01
    // XOAUTH2: "user=" name %x01 "auth=Bearer " token %x01 %x01
    fn message(&self, message: &[u8]) -> Result<Option<Token>, Malformed> {
        if message.len() > MESSAGE_LIMIT_BYTES {
            return Err(Malformed::TooLong);
        }
        let text = std::str::from_utf8(message).map_err(|_| Malformed::NotText)?;
        if text.contains('\0') {
            return Err(Malformed::Nul);
        }
        let mut user = String::new();
        let pairs = if self.bearer {
            let (header, pairs) = text.split_once('\u{1}').ok_or(Malformed::Syntax)?;
            // gs2-header: no channel binding here, so "n" or "y".
            let mut parts = header.splitn(3, ',');
            match (parts.next(), parts.next(), parts.next()) {
                (Some("n" | "y"), Some(""), Some("")) => {}
                (Some("n" | "y"), Some(name), Some("")) => user = name.strip_prefix("a=").ok_or(Malformed::Syntax)?.to_owned(),
                _ => return Err(Malformed::Syntax),
            }
            pairs
        } else {
            text
        };
        let pairs = pairs.strip_suffix("\u{1}\u{1}").or_else(|| pairs.strip_suffix('\u{1}')).ok_or(Malformed::Syntax)?;
        let mut token = None;
        for pair in pairs.split('\u{1}').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').ok_or(Malformed::Syntax)? {
                ("auth", value) => token = Some(value),
                ("user", name) if !self.bearer => user = name.to_owned(),
                // host, port and what may come: nothing depends on it.
                _ => {}
            }
        }
        if self.bearer {
            user = user.replace("=2C", ",").replace("=3D", "=");
        } else if user.is_empty() {
            return Err(Malformed::NoUser);
        }
        field(user.as_bytes())?;
        let (scheme, token) = token.and_then(|value| value.trim().split_once(' ')).unwrap_or_default();
        // RFC 7628 §3.2.2, §4.3: no token is a question, which scope it would need.
        let sound = scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty();
        Ok(sound.then(|| Token { user, token: Secret::new(token.trim()) }))
    }
}

impl Mechanism for OAuth {
    fn name(&self) -> &'static str {
        if self.bearer { "OAUTHBEARER" } else { "XOAUTH2" }
    }

    fn start(&mut self, initial: Option<&[u8]>) -> Result<Step, Malformed> {
        if self.state != State::Fresh {
            return Err(Malformed::OutOfTurn);
        }
        self.state = State::Asked;
        match initial {
            Some(message) => self.respond(message),
            None => Ok(Step::Challenge(Vec::new())),
        }
    }

    fn respond(&mut self, response: &[u8]) -> Result<Step, Malformed> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Asked => match self.message(response)? {
                Some(token) => {
                    self.state = State::Judged;
                    Ok(Step::Token(token))
                }
                None => {
                    self.state = State::Judged;
                    Ok(self.refused())
                }
            },
            // Whatever it says: the dummy is %x01, some send nothing.
            State::Refused => Ok(Step::Refused),
            _ => Err(Malformed::OutOfTurn),
        }
    }

    fn refused(&mut self) -> Step {
        if std::mem::replace(&mut self.state, State::Refused) != State::Judged {
            self.state = State::Over;
            return Step::Refused;
        }
        // XOAUTH2 has the number of HTTP, as Google does.
        let mut told = serde_json::Map::new();
        let status = if self.bearer { "invalid_token" } else { "401" };
        let schemes = if self.bearer { "" } else { "bearer" };
        for (name, value) in
            [("status", status), ("schemes", schemes), ("scope", &self.scope), ("openid-configuration", &self.configuration)]
        {
            if !value.is_empty() {
                told.insert(name.into(), value.into());
            }
        }
        Step::Challenge(serde_json::Value::Object(told).to_string().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==";

    fn bearer() -> OAuth {
        OAuth::bearer(&Setup {
            oauth_scope: "example_scope".into(),
            oauth_configuration: "https://example.com/.well-known/openid-configuration".into(),
            ..Setup::default()
        })
    }

    fn token(user: &str, token: &str) -> Result<Step, Malformed> {
        Ok(Step::Token(Token { user: user.into(), token: Secret::new(token) }))
    }

    #[test]
    fn rfc7628_4_1_successful_exchange() {
        let message = format!("n,a=user@example.com,\u{1}host=server.example.com\u{1}port=143\u{1}auth=Bearer {TOKEN}\u{1}\u{1}");
        let mut oauth = bearer();
        assert_eq!(oauth.start(Some(message.as_bytes())), token("user@example.com", TOKEN));
        assert_eq!(oauth.verified(), Step::Done);
    }

    #[test]
    fn rfc7628_4_3_failed_exchange() {
        let mut oauth = bearer();
        let step = oauth.start(Some(b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=\x01\x01"));
        let Ok(Step::Challenge(challenge)) = step else { panic!("{step:?}") };
        let told: serde_json::Value = serde_json::from_slice(&challenge).expect("JSON");
        let configuration = "https://example.com/.well-known/openid-configuration";
        let want = serde_json::json!({"status": "invalid_token", "scope": "example_scope", "openid-configuration": configuration});
        assert_eq!(told, want);
        assert_eq!(oauth.respond(b"\x01"), Ok(Step::Refused));
        assert_eq!(oauth.respond(b"\x01"), Err(Malformed::OutOfTurn));
    }

    #[test]
    fn a_refused_token_is_told_once() {
        let mut oauth = OAuth::xoauth2(&Setup::default());
        let message = format!("user=someuser@example.com\u{1}auth=bearer {TOKEN}\u{1}\u{1}");
        assert_eq!(oauth.start(Some(message.as_bytes())), token("someuser@example.com", TOKEN));
        assert_eq!(oauth.refused(), Step::Challenge(br#"{"schemes":"bearer","status":"401"}"#.to_vec()));
        assert_eq!(oauth.respond(b""), Ok(Step::Refused));
        assert_eq!(oauth.refused(), Step::Refused);
    }

    #[test]
    fn messages_are_taken_or_refused() {
        for (message, want) in [
            ("n,,\u{1}auth=Bearer x\u{1}\u{1}", token("", "x")),
            ("y,a=a=2Cb,\u{1}auth=BeArEr x\u{1}\u{1}", token("a,b", "x")),
            ("p=tls-exporter,,\u{1}auth=Bearer x\u{1}\u{1}", Err(Malformed::Syntax)),
            ("n,b=x,\u{1}auth=Bearer x\u{1}\u{1}", Err(Malformed::Syntax)),
            ("n,,\u{1}auth\u{1}\u{1}", Err(Malformed::Syntax)),
            ("n,,\u{1}auth=Bearer x", Err(Malformed::Syntax)),
            ("n,,", Err(Malformed::Syntax)),
            ("", Err(Malformed::Syntax)),
        ] {
            assert_eq!(bearer().start(Some(message.as_bytes())), want, "{message:?}");
        }
        let no_user = OAuth::xoauth2(&Setup::default()).start(Some(b"auth=Bearer x\x01\x01"));
        assert_eq!(no_user, Err(Malformed::NoUser));
    }
}
