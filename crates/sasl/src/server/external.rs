//! EXTERNAL (RFC 4422 appendix A): the client showed who it is elsewhere, by a TLS certificate.

use super::{Mechanism, Step};
use crate::credentials::{Malformed, field};

#[derive(Debug, Default)]
pub struct External {
    state: State,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Fresh,
    Asked,
    Over,
}

impl Mechanism for External {
    fn name(&self) -> &'static str {
        "EXTERNAL"
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

    // external = [authzid]
    fn respond(&mut self, response: &[u8]) -> Result<Step, Malformed> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Asked => Ok(Step::External { authorization: field(response)?.to_owned() }),
            _ => Err(Malformed::OutOfTurn),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc4422_a_the_message_is_an_identity_or_empty() {
        let of = |text: &str| Ok(Step::External { authorization: text.to_owned() });
        assert_eq!(External::default().start(Some(b"")), of(""));
        assert_eq!(External::default().start(Some(b"fred@example.com")), of("fred@example.com"));
        assert_eq!(External::default().start(Some(b"a\0b")), Err(Malformed::Nul));
        let mut external = External::default();
        assert_eq!(external.start(None), Ok(Step::Challenge(Vec::new())));
        assert_eq!(external.respond(b""), of(""));
        assert_eq!(external.verified(), Step::Done);
        assert_eq!(external.respond(b""), Err(Malformed::OutOfTurn));
    }
}
