//! Password checks: from credentials to a verdict.
//!
//! An unknown user costs the same hashing as a known one, and every failure is answered at the same distance from its question
//! (`auth_failure_delay`), so neither time nor words tell who exists. Whatever is not certain (database away, hash unreadable,
//! too many checks waiting) is a temporary failure, never a verdict about the password.

use crate::directory::{Directory, Stored};
use crate::penalty::Penalty;
use crate::pool::Pool;
use crate::schemes;
use crate::verified::Verified;
use config::Config;
use ipc::auth::AuthFail;
use mail_types::{Secret, printable};
use sasl::Credentials;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub struct Desk {
    pub directory: Directory,
    pool: Kept<(u32, u32), Pool>,
    verified: Kept<(u32, Duration), Verified>,
    penalty: Kept<(u32, Duration), Penalty>,
    failure_delay: Duration,
    verbose: bool,
    /// What the password of a user who is not there is compared with.
    nobody: Arc<str>,
    pub new_scheme: String,
}

/// What is made from some settings, and survives a reload that leaves them as they are.
struct Kept<S, T> {
    settings: S,
    made: Arc<T>,
}

impl<S: PartialEq, T> Kept<S, T> {
    fn get<E>(settings: S, previous: Option<&Kept<S, T>>, make: impl FnOnce(&S) -> Result<T, E>) -> Result<Kept<S, T>, E> {
        let made = match previous.filter(|previous| previous.settings == settings) {
            Some(previous) => previous.made.clone(),
            None => Arc::new(make(&settings)?),
        };
        Ok(Kept { settings, made })
    }
}

impl<S, T> std::ops::Deref for Kept<S, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.made
    }
}

/// The login that a check belongs to.
#[derive(Debug, Clone, Default)]
pub struct Attempt {
    pub service: String,
    pub mechanism: &'static str,
    pub remote: Option<IpAddr>,
    pub session: String,
    pub no_penalty: bool,
}

/// Why a login failed, for our log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    UnknownUser,
    Mismatch,
    OtherIdentity,
    Barred(&'static str),
}

impl Fault {
    fn text(self) -> &'static str {
        match self {
            Fault::UnknownUser => "unknown user",
            Fault::Mismatch => "password mismatch",
            Fault::OtherIdentity => "the password is right, but not for the identity that was asked for",
            Fault::Barred(why) => why,
        }
    }
}

impl Desk {
    /// Hashes one password, so takes some tens of milliseconds. With what `previous` knows: after a reload thousands of clients would
    /// else have their passwords hashed at once, and who was guessing could begin anew.
    pub fn new(config: &Config, directory: Directory, previous: Option<&Desk>) -> anyhow::Result<Desk> {
        let authd = &config.authd;
        let new_scheme = authd.default_pass_scheme.to_ascii_uppercase();
        let nobody = match previous.filter(|previous| previous.new_scheme == new_scheme) {
            Some(previous) => previous.nobody.clone(),
            None => nobody(&new_scheme)?,
        };
        Ok(Desk {
            directory,
            pool: Kept::get(
                (authd.auth_worker_max_count, authd.auth_worker_queue_limit),
                previous.map(|previous| &previous.pool),
                |(threads, limit)| Pool::new(*threads as usize, *limit as usize),
            )?,
            verified: Kept::get(
                (authd.auth_cache_entries, authd.auth_cache_ttl),
                previous.map(|previous| &previous.verified),
                |(limit, ttl)| Verified::new(*limit as usize, *ttl),
            )?,
            penalty: Kept::get(
                (authd.auth_penalty_after, authd.auth_penalty_window),
                previous.map(|previous| &previous.penalty),
                |(after, window)| anyhow::Ok(Penalty::new(*after, *window)),
            )?,
            failure_delay: authd.auth_failure_delay,
            verbose: authd.auth_verbose,
            nobody,
            new_scheme,
        })
    }

    /// Checks a password; the name of the account, or why not. A failure is answered late on purpose.
    pub async fn check(&self, attempt: &Attempt, credentials: Credentials) -> Result<String, AuthFail> {
        let began = Instant::now();
        let name = &credentials.authentication;
        let user = self.directory.names.normal(name);
        // A name nobody can have is counted as it came, so that guessing such names is no way around waiting.
        let counted = user.clone().unwrap_or_else(|| printable(name));
        if !attempt.no_penalty {
            match self.penalty.wait(attempt.remote, &counted, began) {
                Ok(Duration::ZERO) => {}
                Ok(wait) => tokio::time::sleep(wait).await,
                Err(_) => {
                    self.log_failure(attempt, name, "too many failed logins; the password was not looked at");
                    return Err(temporary(Some(counted)));
                }
            }
        }
        let looked_at = Instant::now();
        let verdict = match &user {
            Some(user) => self.verdict(attempt, user, &credentials).await,
            None => self.compare(None, &credentials).await.map(|_| Err(Fault::UnknownUser)),
        };
        match verdict {
            Ok(Ok(user)) => {
                self.penalty.success(attempt.remote, &counted);
                tracing::info!(
                    user = %user, remote = %shown(attempt.remote), service = %printable(&attempt.service), mechanism = attempt.mechanism,
                    session = %printable(&attempt.session), "login"
                );
                Ok(user)
            }
            Ok(Err(fault)) => {
                self.penalty.failure(attempt.remote, &counted, Instant::now());
                self.log_failure(attempt, name, fault.text());
                tokio::time::sleep_until((looked_at + self.failure_delay).into()).await;
                let authorization = fault == Fault::OtherIdentity;
                Err(AuthFail { user: Some(counted), authorization, ..AuthFail::default() })
            }
            Err(error) => {
                tracing::warn!(
                    user = %printable(name), remote = %shown(attempt.remote), service = %printable(&attempt.service),
                    session = %printable(&attempt.session), error = %format!("{error:#}"), "login could not be decided"
                );
                Err(temporary(Some(counted)))
            }
        }
    }

    async fn verdict(&self, attempt: &Attempt, user: &str, credentials: &Credentials) -> anyhow::Result<Result<String, Fault>> {
        let stored = self.directory.stored(user, attempt.remote).await?;
        let mark = stored
            .as_ref()
            .map(|stored| self.verified.mark(&attempt.service, &stored.user, &stored.password, credentials.password.reveal()));
        let known = mark.is_some_and(|mark| self.verified.holds(&mark, Instant::now()));
        let matches = known || self.compare(stored.as_ref(), credentials).await?;
        let Some(stored) = stored else { return Ok(Err(Fault::UnknownUser)) };
        if !matches {
            return Ok(Err(Fault::Mismatch));
        }
        if let (Some(mark), false) = (mark, known) {
            self.verified.remember(mark, Instant::now());
        }
        if let Some(why) = stored.barred {
            return Ok(Err(Fault::Barred(why)));
        }
        // Nobody may act as somebody else; the same person in other letters may.
        let authorization = &credentials.authorization;
        if !authorization.is_empty() && self.directory.names.normal(authorization).as_deref() != Some(&stored.user) {
            return Ok(Err(Fault::OtherIdentity));
        }
        Ok(Ok(stored.user))
    }

    /// Compares on the pool. Without a user, with nobody's password, which takes as long and is never right.
    async fn compare(&self, stored: Option<&Stored>, credentials: &Credentials) -> anyhow::Result<bool> {
        let there = stored.is_some_and(|s| !s.password.is_empty());
        let (text, scheme) = match stored {
            Some(stored) if there => (stored.password.clone(), stored.default_scheme.clone()),
            _ => (zeroize::Zeroizing::new(self.nobody.to_string()), "CRYPT".to_owned()),
        };
        let password = credentials.password.clone();
        let prepared = credentials.prepared_password();
        let compare = move || -> Result<bool, schemes::Unusable> {
            if schemes::verify(&text, &scheme, password.reveal())? {
                return Ok(true);
            }
            match prepared {
                Some(prepared) => schemes::verify(&text, &scheme, prepared.reveal()),
                None => Ok(false),
            }
        };
        Ok(self.pool.run(compare).await?.map_err(|e| anyhow::anyhow!("the stored password cannot be used: {e}"))? && there)
    }

    /// Hashes a new password on the pool.
    pub async fn hash(&self, password: Secret) -> anyhow::Result<String> {
        let scheme = self.new_scheme.clone();
        Ok(self.pool.run(move || schemes::hash(&scheme, password.reveal())).await??)
    }

    /// Passwords hashed since the start (or a reload that changed the threads), and those that wait for a thread.
    pub fn hashing(&self) -> (u64, usize) {
        (self.pool.taken(), self.pool.waiting())
    }

    fn log_failure(&self, attempt: &Attempt, name: &str, reason: &str) {
        if self.verbose {
            tracing::info!(
                user = %printable(name), remote = %shown(attempt.remote), service = %printable(&attempt.service), mechanism = attempt.mechanism,
                session = %printable(&attempt.session), reason, "login failed"
            );
        }
    }
}

/// The hash of a password that nobody knows.
fn nobody(scheme: &str) -> anyhow::Result<Arc<str>> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)?;
    let password: String = random.iter().map(|b| format!("{b:02x}")).collect();
    Ok(schemes::hash(scheme, &password).map_err(|e| anyhow::anyhow!("authd.default_pass_scheme: {e}"))?.into())
}

/// Nothing was decided.
pub fn temporary(user: Option<String>) -> AuthFail {
    AuthFail { user, temporary: true, ..AuthFail::default() }
}

fn shown(remote: Option<IpAddr>) -> String {
    remote.map_or_else(|| "local".to_owned(), |ip| ip.to_string())
}
