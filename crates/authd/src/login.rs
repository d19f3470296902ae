//! Password checks: from credentials to a verdict.
//!
//! An unknown user costs the same hashing as a known one, and every failure is answered at the same distance from its question
//! (`auth_failure_delay`), so neither time nor words tell who exists. Whatever is not certain (database away, hash unreadable,
//! too many checks waiting) is a temporary failure, never a verdict about the password.

mod check;
mod upgrade;

use crate::directory::{Directory, Stored};
use crate::passwd_file::Network;
use crate::penalty::Penalty;
use crate::pool::{Busy, Pool};
use crate::salts::Salts;
use crate::tokens::Tokens;
use crate::verified::Verified;
use anyhow::Context;
use config::Config;
use ipc::auth::AuthFail;
use mail_types::printable;
use passwords::Wanted;
use sasl::Credentials;
use sasl::server::{Found, Identity, Kind};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use upgrade::Upgrade;

pub struct Desk {
    pub directory: Directory,
    pool: Kept<(u32, u32), Pool>,
    verified: Kept<(u32, Duration, Duration), Verified>,
    penalty: Kept<(u32, Duration, Vec<String>), Penalty>,
    master_separator: String,
    tokens: Option<Tokens>,
    upgrade: Option<Upgrade>,
    failure_delay: Duration,
    verbose: bool,
    /// What the password of a user who is not there is compared with.
    nobody: Kept<(String, Option<u32>), String>,
    salts: Arc<Salts>,
    scram_iterations: u32,
    /// What new passwords shall cost, where a setting says so.
    new_rounds: Option<u32>,
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
    /// The domain of names without one; empty: `auth_default_realm`.
    pub realm: String,
    pub no_penalty: bool,
    /// The name in the client's certificate, when it showed one that was checked.
    pub certificate: Option<String>,
}

/// An attempt whose turn has come.
struct Entry {
    /// As the client wrote it.
    name: String,
    /// Normal; `None`: nobody can have this name.
    user: Option<String>,
    counted: String,
    looked_at: Instant,
}

/// A login between its first message and its proof.
pub struct Search {
    entry: Entry,
    stored: Option<Stored>,
    /// Why the proof cannot be right.
    fault: Option<Fault>,
    authorization: String,
    owed: Owed,
}

/// A proof that is owed. Keys were derived for it, and their salt was told: who never gives it, by leaving or by saying something
/// else, has failed as with a wrong one.
struct Owed {
    penalty: Arc<Penalty>,
    remote: Option<IpAddr>,
    counted: String,
    settled: bool,
}

impl Drop for Owed {
    fn drop(&mut self) {
        if !self.settled {
            self.penalty.failure(self.remote, &self.counted, Instant::now());
        }
    }
}

/// Why a login failed, for our log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    UnknownUser,
    Mismatch,
    OtherIdentity,
    OtherForm,
    NoCertificate,
    SecondFactor,
    Barred(&'static str),
}

impl Fault {
    fn text(self) -> &'static str {
        match self {
            Fault::UnknownUser => "unknown user",
            Fault::Mismatch => "password mismatch",
            Fault::OtherIdentity => "the password is right, but not for the identity that was asked for",
            Fault::NoCertificate => "no certificate that names a user",
            Fault::SecondFactor => "the user has a second factor: from this address only an app password will do",
            Fault::OtherForm => "there is no password, or it is stored in a form that this mechanism cannot use",
            Fault::Barred(why) => why,
        }
    }
}

/// What was found out about a login.
type Verdict = Result<Result<String, Fault>, Undecided>;

/// Why nothing is certain.
struct Undecided {
    error: anyhow::Error,
    /// A password was compared and was wrong there; where it may be right could not be asked. Who guesses knows no difference.
    was_wrong: bool,
    /// There was too much to do; nothing was found out about anybody.
    is_busy: bool,
}

impl From<anyhow::Error> for Undecided {
    fn from(error: anyhow::Error) -> Undecided {
        Undecided { was_wrong: false, is_busy: error.is::<Busy>(), error }
    }
}

impl Desk {
    /// Hashes one password, so takes some tens of milliseconds. With what `previous` knows: after a reload thousands of clients would
    /// else have their passwords hashed at once, and who was guessing could begin anew.
    pub fn new(config: &Config, directory: Directory, previous: Option<&Desk>) -> anyhow::Result<Desk> {
        let authd = &config.authd;
        let new_scheme = authd.default_pass_scheme.to_ascii_uppercase();
        let new_rounds = new_scheme.starts_with("SCRAM-").then_some(authd.auth_scram_iterations);
        Ok(Desk {
            directory,
            nobody: Kept::get((new_scheme.clone(), new_rounds), previous.map(|previous| &previous.nobody), |(scheme, rounds)| {
                passwords::hash(scheme, &random_text()?, *rounds).map_err(|e| anyhow::anyhow!("authd.default_pass_scheme: {e}"))
            })?,
            scram_iterations: authd.auth_scram_iterations,
            new_rounds,
            pool: Kept::get(
                (authd.auth_worker_max_count, authd.auth_worker_queue_limit),
                previous.map(|previous| &previous.pool),
                |(threads, limit)| Pool::new(*threads as usize, *limit as usize),
            )?,
            verified: Kept::get(
                (authd.auth_cache_entries, authd.auth_cache_ttl, authd.auth_cache_negative_ttl),
                previous.map(|previous| &previous.verified),
                |(limit, ttl, negative_ttl)| Verified::new(*limit as usize, *ttl, *negative_ttl),
            )?,
            penalty: Kept::get(
                (authd.auth_penalty_after, authd.auth_penalty_window, authd.login_trusted_networks.clone()),
                previous.map(|previous| &previous.penalty),
                |(after, window, trusted)| anyhow::Ok(Penalty::new(*after, *window, trusted_networks(trusted)?)),
            )?,
            master_separator: authd.auth_master_user_separator.clone(),
            tokens: Tokens::open(config)?,
            upgrade: Upgrade::of(authd)?,
            failure_delay: authd.auth_failure_delay,
            verbose: authd.auth_verbose,
            salts: match previous {
                Some(previous) => previous.salts.clone(),
                None => Arc::new(Salts::open(&config.main.state_directory)?),
            },
            new_scheme,
        })
    }

    /// Checks a password; the name of the account, or why not. A failure is answered late on purpose.
    pub async fn check(&self, attempt: &Attempt, credentials: Credentials) -> Result<String, AuthFail> {
        if let Some((user, credentials)) = self.master(attempt, &credentials) {
            let entry = self.admit(attempt, &credentials.authentication).await?;
            let verdict = match self.verdict(attempt, entry.user.as_deref(), &credentials, true).await {
                Ok(Ok(master)) => self.opened_by(attempt, &user, &master).await.map_err(Undecided::from),
                other => other,
            };
            return self.conclude(attempt, entry, verdict).await;
        }
        let entry = self.admit(attempt, &credentials.authentication).await?;
        let verdict = self.verdict(attempt, entry.user.as_deref(), &credentials, false).await;
        self.conclude(attempt, entry, verdict).await
    }

    /// As whom a master user wants to log in, and the master's own credentials. `None`: it is no such login.
    fn master(&self, attempt: &Attempt, credentials: &Credentials) -> Option<(String, Credentials)> {
        if !self.directory.has_masters() {
            return None;
        }
        let own = |authentication: &str| Credentials {
            authorization: String::new(),
            authentication: authentication.to_owned(),
            password: credentials.password.clone(),
        };
        let name = credentials.authentication.as_str();
        if !self.master_separator.is_empty()
            && let Some((user, master)) = name.split_once(self.master_separator.as_str())
        {
            return Some((user.to_owned(), own(master)));
        }
        let normal = |name: &str| self.normal(attempt, name);
        let other = !credentials.authorization.is_empty() && normal(&credentials.authorization) != normal(name);
        other.then(|| (credentials.authorization.clone(), own(name)))
    }

    /// A master user opens what belongs to a user, who has to be there, and not switched off.
    async fn opened_by(&self, attempt: &Attempt, user: &str, master: &str) -> anyhow::Result<Result<String, Fault>> {
        let Some(user) = self.normal(attempt, user) else { return Ok(Err(Fault::OtherIdentity)) };
        match self.directory.find(&user, &attempt.service, attempt.remote, |_| true).await? {
            Err(_) => Ok(Err(Fault::OtherIdentity)),
            Ok(stored) => {
                tracing::info!(user = %stored.user, master, "a master user logs in");
                Ok(Ok(stored.user))
            }
        }
    }

    /// Looks for the keys of a user, for mechanisms that do not show the password. Somebody who is not there, or whose password is
    /// stored otherwise, has keys too: always the same salt, and nothing that fits them.
    pub async fn find(&self, attempt: &Attempt, identity: Identity, kind: Kind) -> Result<(Search, Found), AuthFail> {
        let entry = self.admit(attempt, &identity.authentication).await?;
        match self.keys(attempt, &entry, kind).await {
            Ok((stored, fault, found)) => {
                let (penalty, counted) = (self.penalty.made.clone(), entry.counted.clone());
                let owed = Owed { penalty, remote: attempt.remote, counted, settled: false };
                Ok((Search { entry, stored, fault, authorization: identity.authorization, owed }, found))
            }
            Err(error) => match self.conclude(attempt, entry, Err(error.into())).await {
                Err(fail) => Err(fail),
                Ok(_) => Err(temporary(None)),
            },
        }
    }

    /// Checks a token of OAuth 2.0: it has to be good, of a user who is there, and of the one that the client says it is.
    pub async fn check_token(&self, attempt: &Attempt, token: sasl::server::Token) -> Result<String, AuthFail> {
        let entry = self.admit(attempt, &token.user).await?;
        let verdict = self.token_verdict(attempt, &token).await.map_err(Undecided::from);
        self.conclude(attempt, entry, verdict).await
    }

    async fn token_verdict(&self, attempt: &Attempt, token: &sasl::server::Token) -> anyhow::Result<Result<String, Fault>> {
        let Some(tokens) = &self.tokens else { return Ok(Err(Fault::Barred("tokens are not taken here"))) };
        let name = match tokens.user(token.token.reveal()).await? {
            Ok(name) => name,
            Err(why) => return Ok(Err(Fault::Barred(why))),
        };
        // Whom the provider names is not for the service to say that the token is shown to.
        let Some(user) = self.directory.names.normal(&name) else { return Ok(Err(Fault::UnknownUser)) };
        let found = self.directory.find(&user, &attempt.service, attempt.remote, |_| true).await?;
        Ok(found.and_then(|stored| self.allowed(attempt, &stored.user, &token.user)))
    }

    /// Lets in whom the client's certificate names.
    pub async fn check_certificate(&self, attempt: &Attempt, authorization: String) -> Result<String, AuthFail> {
        let name = attempt.certificate.as_deref().unwrap_or_default();
        // Whom the authority names is the same person at each service.
        let entry = self.admit_as(attempt, name, self.directory.names.normal(name)).await?;
        let verdict = match &entry.user {
            Some(user) => {
                let found = self.directory.find(user, &attempt.service, attempt.remote, |_| true).await;
                found.map(|found| found.and_then(|stored| self.allowed(attempt, &stored.user, &authorization))).map_err(Undecided::from)
            }
            None => Ok(Err(Fault::NoCertificate)),
        };
        self.conclude(attempt, entry, verdict).await
    }

    /// What became of the client's proof.
    pub async fn conclude_search(&self, attempt: &Attempt, mut search: Search, proven: bool) -> Result<String, AuthFail> {
        search.owed.settled = true;
        // A client may take its time, and another may have failed meanwhile: what holds for a password holds for a proof.
        self.turn(attempt, &search.entry.name, &search.entry.counted).await?;
        search.entry.looked_at = Instant::now();
        let verdict = match (search.stored, search.fault) {
            (Some(stored), None) if proven => self.allowed(attempt, &stored.user, &search.authorization),
            (_, Some(fault)) => Err(fault),
            _ => Err(Fault::Mismatch),
        };
        self.conclude(attempt, search.entry, Ok(verdict)).await
    }

    /// A message that no client sends by mistake: it counts as a failed login of whom it was about, or else of nobody.
    pub fn malformed(&self, attempt: &Attempt, search: Option<Search>, reason: &str) -> AuthFail {
        self.given_up(attempt, search, reason);
        AuthFail { malformed: true, ..AuthFail::default() }
    }

    /// A login that ended without its proof.
    pub fn given_up(&self, attempt: &Attempt, search: Option<Search>, reason: &str) {
        self.log_failure(attempt, search.as_ref().map_or("", |search| &search.entry.name), reason);
        if search.is_none() {
            self.penalty.failure(attempt.remote, "", Instant::now());
        }
    }

    async fn keys(&self, attempt: &Attempt, entry: &Entry, kind: Kind) -> anyhow::Result<(Option<Stored>, Option<Fault>, Found)> {
        let serves = |stored: &Stored| passwords::may_serve(&stored.password, &stored.default_scheme, kind);
        let found = match &entry.user {
            Some(user) => self.directory.find(user, &attempt.service, attempt.remote, serves).await?,
            None => Err(Fault::UnknownUser),
        };
        let (stored, fault) = match found {
            Ok(stored) => (Some(stored), None),
            Err(fault) => (None, Some(fault)),
        };
        let (salts, iterations) = (self.salts.clone(), self.scram_iterations);
        let name = entry.user.clone().unwrap_or_else(|| entry.counted.clone());
        let text = stored.as_ref().map(|stored| (stored.password.clone(), stored.default_scheme.clone()));
        // Deriving keys takes its time, so it is done once for everybody: with the password, with nobody's where there is none.
        let derive = move || -> Result<(bool, Found), passwords::Unusable> {
            let salt = match kind {
                Kind::Scram(hash) => salts.of(hash, &name).to_vec(),
                Kind::HmacMd5 => Vec::new(),
            };
            let wanted = match kind {
                Kind::Scram(hash) => Wanted::Scram { hash, salt: &salt, iterations },
                Kind::HmacMd5 => Wanted::HmacMd5,
            };
            let found = match &text {
                // Nothing in the column: no scheme, and no password.
                Some((text, _)) if text.is_empty() => None,
                Some((text, scheme)) => passwords::keys(text, scheme, wanted)?,
                None => None,
            };
            match found {
                Some(found) => Ok((true, found)),
                None => {
                    let nobody = passwords::keys(&random_text()?, "PLAIN", wanted)?;
                    Ok((false, nobody.ok_or(passwords::Unusable::Failed("the random generator"))?))
                }
            }
        };
        let (usable, found) = self.pool.run(0, derive).await?.map_err(|e| anyhow::anyhow!("the stored password cannot be used: {e}"))?;
        let second_factor = stored.as_ref().is_some_and(|stored| stored.second_factor).then_some(Fault::SecondFactor);
        let fault = fault.or(second_factor).or((!usable).then_some(Fault::OtherForm));
        Ok((stored, fault, found))
    }

    /// A name as its client means it, who typed it into one service.
    fn normal(&self, attempt: &Attempt, name: &str) -> Option<String> {
        self.directory.names.normal_in(name, &attempt.realm)
    }

    /// Lets an attempt in when its turn has come, under the name that the client wrote.
    async fn admit(&self, attempt: &Attempt, name: &str) -> Result<Entry, AuthFail> {
        self.admit_as(attempt, name, self.normal(attempt, name)).await
    }

    async fn admit_as(&self, attempt: &Attempt, name: &str, user: Option<String>) -> Result<Entry, AuthFail> {
        // A name nobody can have is counted as it came, so that guessing such names is no way around waiting.
        let counted = user.clone().unwrap_or_else(|| printable(name));
        self.turn(attempt, name, &counted).await?;
        Ok(Entry { name: name.to_owned(), user, counted, looked_at: Instant::now() })
    }

    /// Waits as long as former failures want it.
    async fn turn(&self, attempt: &Attempt, name: &str, counted: &str) -> Result<(), AuthFail> {
        if attempt.no_penalty {
            return Ok(());
        }
        match self.penalty.wait(attempt.remote, counted, Instant::now()) {
            // A sleep of no time at all takes a millisecond.
            Ok(Duration::ZERO) => Ok(()),
            Ok(wait) => {
                tokio::time::sleep(wait).await;
                Ok(())
            }
            Err(_) => {
                self.log_failure(attempt, name, "too many failed logins; the password was not looked at");
                Err(temporary(Some(counted.to_owned())))
            }
        }
    }

    /// Counts and logs a verdict; a failure is answered late.
    async fn conclude(&self, attempt: &Attempt, entry: Entry, verdict: Verdict) -> Result<String, AuthFail> {
        let Entry { name, counted, looked_at, .. } = entry;
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
                self.log_failure(attempt, &name, fault.text());
                tokio::time::sleep_until((looked_at + self.failure_delay).into()).await;
                let authorization = fault == Fault::OtherIdentity;
                Err(AuthFail { user: Some(counted), authorization, ..AuthFail::default() })
            }
            Err(Undecided { error, was_wrong, is_busy }) => {
                tracing::warn!(
                    user = %printable(&name), remote = %shown(attempt.remote), service = %printable(&attempt.service),
                    session = %printable(&attempt.session), error = %format!("{error:#}"), "login could not be decided"
                );
                if was_wrong {
                    self.penalty.failure(attempt.remote, &counted, Instant::now());
                }
                // also of whom no passdb knew that could be asked: how soon the answer comes does not tell who is there
                if !is_busy {
                    tokio::time::sleep_until((looked_at + self.failure_delay).into()).await;
                }
                Err(temporary(Some(counted)))
            }
        }
    }

    /// Who proved to be the user: whether it is the one that was asked for.
    fn allowed(&self, attempt: &Attempt, user: &str, authorization: &str) -> Result<String, Fault> {
        // Nobody may act as somebody else; the same person in other letters may.
        if !authorization.is_empty() && self.normal(attempt, authorization).as_deref() != Some(user) {
            return Err(Fault::OtherIdentity);
        }
        Ok(user.to_owned())
    }

    /// Passwords hashed since the start (or a reload that changed the threads), and those that wait for a thread.
    pub fn hashing(&self) -> (u64, usize) {
        (self.pool.taken(), self.pool.waiting())
    }

    fn log_failure(&self, attempt: &Attempt, name: &str, reason: &str) {
        if self.verbose {
            // The address first, before what the client sent: etc/fail2ban reads this line.
            tracing::info!(
                remote = %shown(attempt.remote), user = %printable(name), service = %printable(&attempt.service), mechanism = attempt.mechanism,
                session = %printable(&attempt.session), reason, "login failed"
            );
        }
    }
}

/// The networks of `login_trusted_networks`.
pub fn trusted_networks(texts: &[String]) -> anyhow::Result<Vec<Network>> {
    let network = |text: &String| Network::parse(text).with_context(|| format!("authd.login_trusted_networks: {text:?} is no network"));
    texts.iter().map(network).collect()
}

/// Nobody's password.
fn random_text() -> Result<String, passwords::Unusable> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_| passwords::Unusable::Failed("the random generator"))?;
    Ok(random.iter().map(|b| format!("{b:02x}")).collect())
}

/// Nothing was decided.
pub fn temporary(user: Option<String>) -> AuthFail {
    AuthFail { user, temporary: true, ..AuthFail::default() }
}

fn shown(remote: Option<IpAddr>) -> String {
    remote.map_or_else(|| "local".to_owned(), |ip| ip.to_string())
}
