//! AUTH: the exchange is relayed to the SASL server (`authd`, or a Dovecot); no password is checked here.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ipc::auth::{AuthClient, AuthFail, AuthPending, AuthRequest, AuthStep};
use mail_types::{Reply, Secret, printable};
use smtp_proto::server::Answer;
use zeroize::Zeroizing;

/// The exchange of one session.
pub(crate) struct Exchange {
    mechanism: String,
    pending: Option<AuthPending>,
}

impl Exchange {
    pub(crate) fn new(mechanism: String) -> Exchange {
        Exchange { mechanism, pending: None }
    }

    /// Sends the first message.
    pub(crate) async fn begin(&mut self, client: &AuthClient, request: AuthRequest, initial: Option<Secret>) -> Answer {
        let initial = initial.map(|text| decode(&text));
        let step = client.begin(AuthRequest { mechanism: self.mechanism.clone(), initial, ..request }).await;
        self.heard(step)
    }

    /// Sends the client's answer to a challenge.
    pub(crate) async fn answer(&mut self, response: &Secret) -> Answer {
        let Some(pending) = self.pending.take() else { return temporary() };
        let step = pending.answer(&decode(response)).await;
        self.heard(step)
    }

    fn heard(&mut self, step: AuthStep) -> Answer {
        match step {
            AuthStep::Continue(pending) => {
                let challenge = BASE64.encode(pending.challenge());
                self.pending = Some(pending);
                Answer::Challenge(challenge)
            }
            AuthStep::Ok(ok) if ok.field("nologin").is_some() => {
                tracing::info!(user = %printable(&ok.user), "login refused: the account is not served here");
                Answer::Reply(refused())
            }
            AuthStep::Ok(ok) => Answer::Authenticated(ok.user),
            AuthStep::Fail(fail) => Answer::Reply(self.failed(&fail)),
        }
    }

    fn failed(&self, fail: &AuthFail) -> Reply {
        let user = printable(fail.user.as_deref().unwrap_or_default());
        let cause = fail.cause.as_deref().or(fail.reason.as_deref()).or(fail.code.as_deref()).unwrap_or("authentication failed");
        let cause = printable(cause);
        if fail.temporary {
            tracing::warn!(mechanism = %self.mechanism, user, cause, "login could not be checked");
            return Reply::with(454, (4, 7, 0), "Temporary authentication failure");
        }
        tracing::info!(mechanism = %self.mechanism, user, cause, "login failed");
        if fail.malformed { Reply::with(501, (5, 5, 2), "Error: malformed authentication data") } else { refused() }
    }
}

fn decode(text: &Secret) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(BASE64.decode(text.reveal()).expect("the machine has checked that it is base64"))
}

fn refused() -> Reply {
    // The same words whatever was wrong: who exists is nobody's business.
    Reply::with(535, (5, 7, 8), "Error: authentication failed")
}

fn temporary() -> Answer {
    Answer::Reply(Reply::with(454, (4, 7, 0), "Temporary authentication failure"))
}
