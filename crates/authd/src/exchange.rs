//! One login from its first message to its verdict: a mechanism's steps, and the desk's answers to them.

use crate::login::{Attempt, Desk, Search};
use ipc::auth::AuthFail;
use sasl::Malformed;
use sasl::server::{Mechanism, Step};

/// A login under way.
pub struct Exchange {
    mechanism: Box<dyn Mechanism>,
    pub attempt: Attempt,
    /// Dropped with the exchange, it counts as a failed login.
    pub search: Option<Search>,
    user: Option<String>,
    fail: Option<AuthFail>,
}

/// Where an exchange goes after a message of its client.
pub enum Next {
    /// The client is to answer this; the exchange goes on with its answer.
    Ask(Box<Exchange>, Vec<u8>),
    /// Logged in.
    User(String),
    Fail(AuthFail),
}

impl Exchange {
    pub fn new(mechanism: Box<dyn Mechanism>, attempt: Attempt) -> Exchange {
        Exchange { mechanism, attempt, search: None, user: None, fail: None }
    }

    /// The first step, of the client's initial response if it sent one. At once, as everything that does not wait.
    pub fn start(&mut self, initial: Option<&[u8]>) -> Result<Step, Malformed> {
        self.mechanism.start(initial)
    }

    pub fn respond(&mut self, response: &[u8]) -> Result<Step, Malformed> {
        self.mechanism.respond(response)
    }

    /// Answers what the mechanism asks until it is the client's turn, or all is said.
    pub async fn go_on(mut self, desk: &Desk, mut step: Step) -> Next {
        loop {
            step = match step {
                Step::Challenge(challenge) => return Next::Ask(Box::new(self), challenge),
                Step::Verify(credentials) => {
                    let verdict = desk.check(&self.attempt, credentials).await;
                    self.told(verdict)
                }
                Step::Token(token) => {
                    let verdict = desk.check_token(&self.attempt, token).await;
                    self.told(verdict)
                }
                Step::External { authorization } => {
                    let verdict = desk.check_certificate(&self.attempt, authorization).await;
                    self.told(verdict)
                }
                Step::Find(identity, kind) => match desk.find(&self.attempt, identity, kind).await {
                    Ok((search, found)) => {
                        self.search = Some(search);
                        match self.mechanism.found(found) {
                            Ok(step) => step,
                            Err(error) => return Next::Fail(desk.malformed(&self.attempt, self.search.take(), &error.to_string())),
                        }
                    }
                    Err(fail) => return Next::Fail(fail),
                },
                step @ (Step::Proven | Step::Disproven) => {
                    let Some(search) = self.search.take() else { return Next::Fail(crate::login::temporary(None)) };
                    let verdict = desk.conclude_search(&self.attempt, search, step == Step::Proven).await;
                    self.told(verdict)
                }
                Step::Done => {
                    return match self.user {
                        Some(user) => Next::User(user),
                        // No mechanism is done before its question was answered.
                        None => Next::Fail(crate::login::temporary(None)),
                    };
                }
                Step::Refused => return Next::Fail(self.fail.unwrap_or_default()),
            }
        }
    }

    fn told(&mut self, verdict: Result<String, AuthFail>) -> Step {
        match verdict {
            Ok(user) => {
                self.user = Some(user);
                self.mechanism.verified()
            }
            // The client is not to be told that its token is bad when that is not known.
            Err(fail) if fail.temporary => {
                self.fail = Some(fail);
                Step::Refused
            }
            Err(fail) => {
                self.fail = Some(fail);
                self.mechanism.refused()
            }
        }
    }
}
