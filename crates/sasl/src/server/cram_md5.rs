//! CRAM-MD5 (RFC 2195): the client answers a challenge with its name and a digest. Old; who listens can try passwords, and
//! the server does not prove anything. For devices that know nothing better.

use super::{Found, Identity, Kind, Mechanism, Setup, Step};
use crate::credentials::{Malformed, field};

pub struct CramMd5 {
    challenge: String,
    state: State,
}

enum State {
    Fresh,
    Asked,
    Finding { digest: Vec<u8> },
    Over,
}

impl CramMd5 {
    /// RFC 2195 §2: the challenge has random digits, a time stamp and the server's name, in the form of a message id.
    pub fn new(setup: &Setup) -> CramMd5 {
        CramMd5 { challenge: format!("<{}.{}@{}>", setup.nonce, setup.now_seconds, setup.host), state: State::Fresh }
    }
}

impl Mechanism for CramMd5 {
    fn name(&self) -> &'static str {
        "CRAM-MD5"
    }

    // The server speaks first: whoever sends something before was not asked.
    fn start(&mut self, initial: Option<&[u8]>) -> Result<Step, Malformed> {
        match (std::mem::replace(&mut self.state, State::Over), initial) {
            (State::Fresh, None | Some(b"")) => {
                self.state = State::Asked;
                Ok(Step::Challenge(self.challenge.clone().into_bytes()))
            }
            _ => Err(Malformed::OutOfTurn),
        }
    }

    fn respond(&mut self, response: &[u8]) -> Result<Step, Malformed> {
        let State::Asked = std::mem::replace(&mut self.state, State::Over) else { return Err(Malformed::OutOfTurn) };
        // User name, a space, 32 hexadecimal digits. The name may have spaces.
        let at = response.iter().rposition(|b| *b == b' ').ok_or(Malformed::Parts)?;
        let (user, digest) = (field(&response[..at])?, &response[at + 1..]);
        if user.is_empty() {
            return Err(Malformed::NoUser);
        }
        if digest.len() != 32 || !digest.iter().all(u8::is_ascii_hexdigit) {
            return Err(Malformed::Syntax);
        }
        let identity = Identity { authorization: String::new(), authentication: user.to_owned() };
        self.state = State::Finding { digest: digest.to_vec() };
        Ok(Step::Find(identity, Kind::HmacMd5))
    }

    fn found(&mut self, found: Found) -> Result<Step, Malformed> {
        let (State::Finding { digest }, Found::HmacMd5(key)) = (std::mem::replace(&mut self.state, State::Over), found) else {
            return Err(Malformed::OutOfTurn);
        };
        Ok(if key.proves(self.challenge.as_bytes(), &digest) { Step::Proven } else { Step::Disproven })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cram_md5::Key;

    fn example() -> CramMd5 {
        CramMd5::new(&Setup { nonce: "1896".into(), now_seconds: 697170952, host: "postoffice.reston.mci.net".into(), ..Setup::default() })
    }

    #[test]
    fn rfc2195_2_example() {
        for (password, want) in [("tanstaaftanstaaf", Step::Proven), ("tanstaaf", Step::Disproven)] {
            let mut cram = example();
            let challenge = Step::Challenge(b"<1896.697170952@postoffice.reston.mci.net>".to_vec());
            assert_eq!(cram.start(None), Ok(challenge));
            let who = Identity { authorization: String::new(), authentication: "tim".into() };
            assert_eq!(cram.respond(b"tim b913a602c7eda7a495b4e6e7334d3890"), Ok(Step::Find(who, Kind::HmacMd5)));
            assert_eq!(cram.found(Found::HmacMd5(Key::derive(password))), Ok(want));
            assert_eq!(cram.respond(b""), Err(Malformed::OutOfTurn));
        }
    }

    #[test]
    fn answers_are_a_name_and_a_digest() {
        for (answer, want) in [
            (&b"tim"[..], Err(Malformed::Parts)),
            (b"tim xyz", Err(Malformed::Syntax)),
            (b" b913a602c7eda7a495b4e6e7334d3890", Err(Malformed::NoUser)),
            (b"a\0b b913a602c7eda7a495b4e6e7334d3890", Err(Malformed::Nul)),
            (b"tim e B913A602C7EDA7A495B4E6E7334D3890", Ok(())),
        ] {
            let mut cram = example();
            cram.start(None).expect("challenge");
            assert_eq!(cram.respond(answer).map(drop), want, "{answer:?}");
        }
        assert_eq!(example().start(Some(b"tim")), Err(Malformed::OutOfTurn));
    }
}
