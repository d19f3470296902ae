//! Answers the machine's questions: logins by `authd`, messages by the mail store.

use crate::maildrop::{Maildrop, OpenError, Reading};
use crate::server::Server;
use daemon::{Peer, Share};
use ipc::auth::{AuthFail, AuthPending, AuthRequest, AuthStep, Channel};
use mail_types::printable;
use mailstore::{Error, Location, SessionLock};
use pop3_proto::{Answer, Opened, Question, Refusal};
use std::sync::Arc;

/// What one session has open.
pub struct Desk {
    server: Arc<Server>,
    peer: Peer,
    session: String,
    /// Set by the driver once TLS is up.
    pub secured: bool,
    /// What is known of the client's TLS connection.
    pub channel: Channel,
    pending: Option<AuthPending>,
    user: Option<String>,
    maildrop: Option<Arc<Maildrop>>,
    reading: Option<Reading>,
    /// Of the account that is logged in.
    share: Option<Share>,
}

impl Desk {
    pub fn new(server: Arc<Server>, peer: Peer, session: String) -> Desk {
        Desk {
            server,
            peer,
            session,
            secured: false,
            channel: Channel::default(),
            pending: None,
            user: None,
            maildrop: None,
            reading: None,
            share: None,
        }
    }

    /// The account that is logged in.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Gives the mailbox back, with nothing changed that QUIT has not changed.
    pub fn close(&mut self) {
        self.reading = None;
        self.maildrop = None;
    }

    pub async fn answer(&mut self, question: Question) -> Answer {
        match question {
            Question::Mechanisms => Answer::Mechanisms(self.server.mechanisms(self.secured, &self.channel).await),
            Question::Login { user, password } => match AuthRequest::with_password("pop3", &user, password.reveal()) {
                Some(request) => self.begin(request).await,
                None => Answer::Refused(Refusal::Credentials("Authentication failed.".into())),
            },
            Question::Authenticate { mechanism, initial } => {
                let request = AuthRequest {
                    mechanism,
                    service: "pop3",
                    secured: false,
                    remote: None,
                    local: None,
                    realm: String::new(),
                    channel: Channel::default(),
                    session: String::new(),
                    initial: initial.map(|bytes| bytes.0),
                };
                self.begin(request).await
            }
            Question::Respond(response) => match self.pending.take() {
                Some(pending) => {
                    let step = pending.answer(&response.0).await;
                    self.step(step).await
                }
                None => Answer::Refused(Refusal::Other("Nothing was asked.".into())),
            },
            Question::Cancel => {
                self.pending = None;
                Answer::Done
            }
            Question::Open { message, whole } => self.open(message, whole).await,
            Question::More => self.more().await,
            Question::Update { delete, seen } => self.update(delete, seen).await,
        }
    }

    async fn begin(&mut self, request: AuthRequest) -> Answer {
        let request = AuthRequest {
            secured: self.secured,
            remote: self.peer.addr,
            local: self.peer.local,
            channel: self.channel.clone(),
            session: self.session.clone(),
            ..request
        };
        let step = self.server.access.auth.begin(request).await;
        self.step(step).await
    }

    async fn step(&mut self, step: AuthStep) -> Answer {
        match step {
            AuthStep::Continue(pending) => {
                let challenge = pending.challenge().to_vec();
                self.pending = Some(pending);
                Answer::Challenge(challenge)
            }
            AuthStep::Fail(fail) => Answer::Refused(refusal(&fail)),
            AuthStep::Ok(ok) if ok.field("nologin").is_some() || ok.field("proxy").is_some() => {
                tracing::error!(user = %printable(&ok.user), "the password database wants the login to go elsewhere, which pop3d does not do");
                Answer::Refused(Refusal::Permanent("This account cannot be used here.".into()))
            }
            AuthStep::Ok(ok) => match self.enter(ok.user).await {
                Ok(answer) => answer,
                Err(refusal) => Answer::Refused(refusal),
            },
        }
    }

    // The password is right; now the mailbox.
    async fn enter(&mut self, user: String) -> Result<Answer, Refusal> {
        let internal = || Refusal::Temporary("Internal error, see the server's log.".into());
        let config = self.server.config();
        let found = self.server.access.userdb.lookup(&user, "pop3").await.map_err(|error| {
            tracing::warn!(user = %printable(&user), %error, "no answer about the account");
            Refusal::Temporary("Temporary failure, try again later.".into())
        })?;
        let Some(account) = found else {
            tracing::error!(user = %printable(&user), "the account logged in, but the user database does not know it");
            return Err(internal());
        };
        if account.field("referral").is_some() {
            tracing::info!(user = %printable(&user), "login refused: the account is not served here");
            return Err(Refusal::Permanent("This account cannot be used here.".into()));
        }
        // All mail of an installation has one owner; another one's we could not read, and should not.
        if let Some(uid) = account.uid.filter(|uid| config.mail.mail_uid != 0 && *uid != config.mail.mail_uid) {
            tracing::error!(user = %printable(&user), uid, mail_uid = config.mail.mail_uid, "the user database names another owner of the mail than mail.mail_uid");
            return Err(internal());
        }
        let template = account.mail.as_deref().unwrap_or(&config.mail.mail_location);
        let location = Location::expand(template, &account.name, account.home.as_deref())
            .and_then(|location| location.apart_from(&config.imapd.public_mail_location));
        let location = location.map_err(|error| {
            tracing::error!(user = %printable(&user), %error, "the account's mail cannot be found");
            internal()
        })?;
        let server = self.server.clone();
        let locked = config.pop3d.pop3_lock_session;
        if !self.server.may_log_in(&account.name, config.pop3d.pop3_login_delay, std::time::Instant::now()) {
            tracing::info!(user = %printable(&user), reason = "too soon after the last (pop3_login_delay)", "login refused");
            return Err(Refusal::TooSoon("The last login was a moment ago, try again later.".into()));
        }
        let share = self.server.access.share(location.root());
        let opened = self.server.access.blocking(&share, move || Maildrop::open(&server.store, &location, locked, server.terms())).await;
        let (maildrop, entries) = opened.map_err(|error| match error {
            OpenError::InUse => {
                tracing::info!(user = %printable(&user), reason = "mailbox in use", "login failed");
                Refusal::InUse("Another POP3 session has this mailbox.".into())
            }
            OpenError::Store(error) => {
                tracing::error!(user = %printable(&user), %error, "mailbox cannot be opened");
                internal()
            }
        })?;
        self.share = Some(share);
        let maildrop = Arc::new(maildrop);
        self.keep_lock(&maildrop);
        self.maildrop = Some(maildrop);
        self.server.access.usage.login(&account.name, "pop3", self.peer.ip());
        self.user = Some(account.name.clone());
        Ok(Answer::Maildrop(entries))
    }

    fn keep_lock(&self, maildrop: &Arc<Maildrop>) {
        let Some(lock) = maildrop.lock.as_ref().map(Arc::downgrade) else { return };
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SessionLock::TOUCH_EVERY).await;
                let Some(lock) = lock.upgrade() else { return };
                // A panic there has been logged.
                let _ = tokio::task::spawn_blocking(move || lock.touch()).await;
            }
        });
    }

    async fn open(&mut self, message: usize, whole: bool) -> Answer {
        self.reading = None;
        let (Some(maildrop), Some(share)) = (self.maildrop.clone(), &self.share) else {
            return Answer::Refused(Refusal::Temporary("No mailbox is open.".into()));
        };
        match self.server.access.blocking(share, move || maildrop.read(message, whole)).await {
            Ok((reading, bytes, last)) => {
                self.reading = (!last).then_some(reading);
                Answer::Opened(Opened { bytes, last })
            }
            Err(Error::Expunged) => Answer::Refused(Refusal::Other("The message was deleted by another session.".into())),
            Err(error) => {
                tracing::error!(%error, "message cannot be read");
                Answer::Refused(Refusal::Temporary("The message cannot be read.".into()))
            }
        }
    }

    async fn more(&mut self) -> Answer {
        let (Some(mut reading), Some(share)) = (self.reading.take(), &self.share) else { return Answer::Broken };
        let (reading, piece) = self
            .server
            .access
            .blocking(share, move || {
                let piece = reading.piece();
                (reading, piece)
            })
            .await;
        match piece {
            Ok((bytes, last)) => {
                self.reading = (!last).then_some(reading);
                Answer::Piece { bytes, last }
            }
            Err(error) => {
                tracing::error!(%error, "message cannot be read to its end; the connection is closed");
                Answer::Broken
            }
        }
    }

    async fn update(&mut self, delete: Vec<usize>, seen: Vec<usize>) -> Answer {
        self.reading = None;
        let (Some(maildrop), Some(share)) = (self.maildrop.take(), &self.share) else { return Answer::Done };
        let seen = if self.server.config().pop3d.pop3_no_flag_updates { Vec::new() } else { seen };
        let updated = self.server.access.blocking(share, move || {
            maildrop.update(&delete, &seen)?;
            // The lock ends with `maildrop`, before the client hears of it.
            Ok::<_, Error>(if delete.is_empty() { None } else { maildrop.account.quota().ok() })
        });
        match updated.await {
            Ok(quota) => {
                if let (Some(quota), Some(user)) = (quota, &self.user) {
                    self.server.access.usage.stored(user, quota.bytes, quota.messages);
                }
                Answer::Done
            }
            Err(error) => {
                tracing::error!(%error, "messages cannot be deleted");
                Answer::Refused(Refusal::Temporary("Some messages were not deleted.".into()))
            }
        }
    }
}

// authd has logged the cause and the name.
fn refusal(fail: &AuthFail) -> Refusal {
    let user = printable(fail.user.as_deref().unwrap_or_default());
    let cause = fail.cause.as_deref().or(fail.code.as_deref()).unwrap_or("wrong name or password");
    if fail.temporary {
        tracing::warn!(user, cause, "login could not be checked");
        return Refusal::Temporary("Temporary authentication failure, try again later.".into());
    }
    tracing::info!(user, cause, "login failed");
    let shown = |text: &str| fail.reason.clone().unwrap_or_else(|| text.into());
    if fail.malformed {
        return Refusal::Other(shown("The authentication exchange is malformed."));
    }
    Refusal::Credentials(match (fail.user_disabled, fail.password_expired, fail.authorization) {
        (true, ..) => shown("The account is disabled."),
        (_, true, _) => shown("The password has expired."),
        (.., true) => shown("Authorization failed."),
        _ => shown("Authentication failed."),
    })
}
