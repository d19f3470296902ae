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
    local_domain: String,
    pending: Option<AuthPending>,
    /// The login name of the LOGIN mechanism has been sent; the next message is the password.
    named: bool,
}

impl Exchange {
    pub(crate) fn new(mechanism: String, local_domain: &str) -> Exchange {
        Exchange { mechanism, local_domain: local_domain.to_owned(), pending: None, named: false }
    }

    /// Sends the first message.
    pub(crate) async fn begin(&mut self, client: &AuthClient, request: AuthRequest, initial: Option<Secret>) -> Answer {
        let initial = initial.map(|text| self.with_domain(decode(&text)));
        let step = client.begin(AuthRequest { mechanism: self.mechanism.clone(), initial, ..request }).await;
        self.heard(step)
    }

    /// Sends the client's answer to a challenge.
    pub(crate) async fn answer(&mut self, response: &Secret) -> Answer {
        let Some(pending) = self.pending.take() else { return temporary() };
        let response = self.with_domain(decode(response));
        let step = pending.answer(&response).await;
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

    /// Puts `smtpd_sasl_local_domain` behind a login name that has no domain: the second field of PLAIN (RFC 4616 §2), the first answer
    /// of LOGIN.
    fn with_domain(&mut self, message: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
        if self.local_domain.is_empty() {
            return message;
        }
        let domain = format!("@{}", self.local_domain);
        match self.mechanism.to_ascii_uppercase().as_str() {
            "LOGIN" if !std::mem::replace(&mut self.named, true) && !message.is_empty() && !message.contains(&b'@') => {
                Zeroizing::new([message.as_slice(), domain.as_bytes()].concat())
            }
            "PLAIN" => {
                let fields: Vec<&[u8]> = message.splitn(3, |b| *b == 0).collect();
                match fields.as_slice() {
                    [identity, name, password] if !name.is_empty() && !name.contains(&b'@') => {
                        let name = [name, domain.as_bytes()].concat();
                        Zeroizing::new([*identity, &name, password].join(&0))
                    }
                    _ => message,
                }
            }
            _ => message,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_names_without_a_domain_get_the_local_one() {
        for (mechanism, message, want) in [
            ("PLAIN", "\0ann\0pw", "\0ann@x.test\0pw"),
            ("plain", "\0ann\0p@w", "\0ann@x.test\0p@w"),
            ("PLAIN", "id\0ann@y.test\0pw", "id\0ann@y.test\0pw"),
            ("PLAIN", "\0\0pw", "\0\0pw"),
            ("PLAIN", "garbage", "garbage"),
            ("LOGIN", "ann", "ann@x.test"),
            ("LOGIN", "ann@y.test", "ann@y.test"),
            ("SCRAM-SHA-256", "n,,n=ann", "n,,n=ann"),
        ] {
            let mut exchange = Exchange::new(mechanism.into(), "x.test");
            let got = exchange.with_domain(Zeroizing::new(message.as_bytes().to_vec()));
            assert_eq!(String::from_utf8_lossy(&got), want, "{mechanism} {message:?}");
        }
        let mut login = Exchange::new("LOGIN".into(), "x.test");
        login.with_domain(Zeroizing::new(b"ann".to_vec()));
        assert_eq!(login.with_domain(Zeroizing::new(b"password".to_vec())).as_slice(), b"password");
        let mut exchange = Exchange::new("PLAIN".into(), "");
        assert_eq!(exchange.with_domain(Zeroizing::new(b"\0ann\0pw".to_vec())).as_slice(), b"\0ann\0pw");
    }
}
