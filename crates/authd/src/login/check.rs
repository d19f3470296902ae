//! A password against what the passdbs have.

use super::{Attempt, Desk, Fault, Undecided, Verdict};
use crate::chain::{Chain, Outcome};
use crate::directory::{DENIED, Purpose, Source, Stored};
use crate::pool::Busy;
use anyhow::anyhow;
use mail_types::Secret;
use passwords::Unusable;
use sasl::Credentials;
use std::time::Instant;

/// What passwords were looked at in a login.
#[derive(Default)]
struct Looked {
    /// There was something to compare with, or to try to.
    compared: bool,
    /// The password was compared with one that it is not.
    was_wrong: bool,
}

impl Desk {
    /// Asks the passdbs, as their rules say.
    pub(super) async fn verdict(&self, attempt: &Attempt, user: Option<&str>, credentials: &Credentials, master: bool) -> Verdict {
        let mut chain = Chain::default();
        let mut looked = Looked::default();
        let mut is_busy = false;
        if let Some(user) = user {
            for source in self.directory.sources(master) {
                if !chain.asks(&source.rules) {
                    continue;
                }
                let proven = chain.is_proven();
                let outcome = match self.ask(attempt, source, user, (!proven).then_some(credentials), &mut looked).await {
                    Ok(outcome) => outcome,
                    Err(error) => {
                        is_busy |= error.is::<Busy>();
                        Outcome::Unknown(error)
                    }
                };
                if !chain.take(&source.rules, outcome) {
                    break;
                }
            }
        }
        if !looked.compared {
            self.compare_with_nobodys(attempt, user.unwrap_or_default(), credentials).await?;
        }
        match chain.verdict() {
            Ok(Ok(found)) if user != Some(&found) && self.directory.is_denied(&found, &attempt.service, attempt.remote).await? => {
                Ok(Err(Fault::Barred(DENIED)))
            }
            Ok(Ok(found)) => Ok(self.allowed(attempt, &found, &credentials.authorization)),
            Ok(Err(fault)) => Ok(Err(fault)),
            // That there is too much to do says nothing about anybody, and the right one may not have had its turn.
            Err(error) => Err(Undecided { was_wrong: looked.was_wrong && !is_busy, is_busy, error }),
        }
    }

    /// Asks one passdb; without credentials only whether it knows the user.
    async fn ask(
        &self,
        attempt: &Attempt,
        source: &Source,
        user: &str,
        credentials: Option<&Credentials>,
        looked: &mut Looked,
    ) -> anyhow::Result<Outcome> {
        let purpose = if credentials.is_some() && !source.rules.deny { Purpose::Check } else { Purpose::Look };
        let stored = self.directory.stored_at(source, user, &attempt.service, attempt.remote, purpose).await?;
        let Some(stored) = stored else { return Ok(Outcome::Wrong(Fault::UnknownUser)) };
        if source.rules.deny {
            return Ok(Outcome::Refused(Fault::Barred(DENIED)));
        }
        if let Some(credentials) = credentials {
            looked.compared = true;
            if !self.is_right(attempt, source, &stored, credentials, &mut looked.was_wrong).await? {
                return Ok(Outcome::Wrong(if stored.second_factor { Fault::SecondFactor } else { Fault::Mismatch }));
            }
        }
        Ok(match stored.barred {
            Some(why) => Outcome::Refused(Fault::Barred(why)),
            None => Outcome::Right(stored.user),
        })
    }

    /// Whether this is the user's password, or one of those for apps. `was_wrong`: it was compared with one that it is not.
    async fn is_right(
        &self,
        attempt: &Attempt,
        source: &Source,
        stored: &Stored,
        credentials: &Credentials,
        was_wrong: &mut bool,
    ) -> anyhow::Result<bool> {
        if let Some(prover) = &stored.prover {
            let right = prover.proves(&credentials.password).await?;
            *was_wrong |= !right;
            return Ok(right);
        }
        let given = credentials.password.reveal();
        let was_right = |text: &str| {
            let mark = self.verified.mark(&attempt.service, &stored.user, (text, &stored.default_scheme), given);
            self.verified.verdict(&mark, Instant::now()) == Some(true)
        };
        if !stored.second_factor && was_right(&stored.password) {
            return Ok(true);
        }
        // an app of a master user opens that one's mail, not everybody's
        let apps = match source.rules.master {
            true => Vec::new(),
            false => self.directory.app_passwords(source, &stored.user).await?,
        };
        let mut candidates: Vec<(&str, Option<u64>)> = apps.iter().map(|app| (app.password.as_str(), Some(app.id))).collect();
        if !stored.second_factor {
            candidates.push((&stored.password, None));
        }
        if candidates.iter().any(|(text, _)| was_right(text)) {
            return Ok(true);
        }
        // Cheap ones first: an app with a long random password does not have the slow hash of the mailbox's own computed each time.
        candidates.sort_by_key(|(text, _)| passwords::strength(text, &stored.default_scheme));
        if candidates.is_empty() {
            self.compare_with_nobodys(attempt, &stored.user, credentials).await?;
        }
        let (mut own, mut of_an_app) = (None, None);
        for (text, app) in candidates {
            match self.compare(attempt, &stored.user, Some((text, &stored.default_scheme)), credentials).await? {
                Ok(false) => *was_wrong = true,
                Ok(true) => {
                    match app {
                        Some(id) => self.directory.app_password_used(source, &stored.user, id, attempt.remote),
                        None => self.upgrade(attempt, source, stored, &credentials.password),
                    }
                    return Ok(true);
                }
                // One that cannot be looked at keeps nobody from using the others.
                Err(why) => {
                    let user = stored.user.as_str();
                    match app {
                        Some(id) => tracing::warn!(user, id, error = %why, "a password for an app cannot be used"),
                        None => tracing::warn!(user, error = %why, "the password of a mailbox cannot be used"),
                    }
                    *(if app.is_some() { &mut of_an_app } else { &mut own }) = Some(why);
                }
            }
        }
        // Which of the passwords was meant cannot be told; beside others, an app's that nobody can use is none.
        match own.or(of_an_app.filter(|_| !*was_wrong)) {
            Some(why) => Err(anyhow!("the stored password cannot be used: {why}")),
            None => Ok(false),
        }
    }

    async fn compare_with_nobodys(&self, attempt: &Attempt, user: &str, credentials: &Credentials) -> anyhow::Result<()> {
        self.compare(attempt, user, None, credentials).await??;
        Ok(())
    }

    /// Compares with a stored password and its scheme, on the pool. Without one, with nobody's password, which takes as long and is never right.
    /// What was compared lately is known.
    async fn compare(
        &self,
        attempt: &Attempt,
        user: &str,
        stored: Option<(&str, &str)>,
        credentials: &Credentials,
    ) -> Result<Result<bool, Unusable>, Busy> {
        let stored = stored.filter(|(text, _)| !text.is_empty());
        let there = stored.is_some();
        let (text, scheme) = stored.unwrap_or((&self.nobody, "CRYPT"));
        let mark = self.verified.mark(&attempt.service, user, (text, scheme), credentials.password.reveal());
        if let Some(verdict) = self.verified.verdict(&mark, Instant::now()) {
            return Ok(Ok(verdict && there));
        }
        let (text, scheme) = (zeroize::Zeroizing::new(text.to_owned()), scheme.to_owned());
        let password = credentials.password.clone();
        let prepared = credentials.prepared_password();
        let memory_bytes = passwords::memory_bytes(&text, &scheme);
        let compare = move || -> Result<bool, Unusable> {
            if passwords::verify(&text, &scheme, password.reveal())? {
                return Ok(true);
            }
            match prepared {
                Some(prepared) => passwords::verify(&text, &scheme, prepared.reveal()),
                None => Ok(false),
            }
        };
        let compared = self.pool.run(memory_bytes, compare).await?.map(|is_right| is_right && there);
        if let Ok(is_right) = compared {
            self.verified.remember(mark, is_right, Instant::now());
        }
        Ok(compared)
    }

    /// Hashes a new password on the pool.
    pub async fn hash(&self, password: Secret) -> anyhow::Result<String> {
        let (scheme, rounds) = (self.new_scheme.clone(), self.new_rounds);
        // Nobody's is of the same scheme and cost.
        let memory_bytes = passwords::memory_bytes(&self.nobody, "CRYPT");
        Ok(self.pool.run(memory_bytes, move || passwords::hash(&scheme, password.reveal(), rounds)).await??)
    }

    /// Whether a hash made elsewhere can be used; costs as much as a login with it, so this is done on the pool too.
    pub async fn check_usable(&self, stored: &str) -> anyhow::Result<()> {
        let (stored, memory_bytes) = (zeroize::Zeroizing::new(stored.to_owned()), passwords::memory_bytes(stored, "CRYPT"));
        Ok(self.pool.run(memory_bytes, move || passwords::check_usable(&stored, "CRYPT")).await??)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::State;

    const MANY: &str = "auth_penalty_after = 1000\n";

    fn config(dir: &std::path::Path, settings: &str, more: &str) -> config::Config {
        let text = format!(
            "hostname = \"mx.x.org\"\nmydomain = \"x.org\"\nstate_directory = \".\"\n[authd]\nauth_failure_delay = \"0s\"\n\
             {settings}[[authd.passdb]]\ndriver = \"passwd-file\"\nargs = \"users\"\n{more}"
        );
        let file = dir.join("facteur.toml");
        config::Config::from_texts(&file, &[(file.clone(), text)]).unwrap_or_else(|e| panic!("{e}"))
    }

    async fn open(dir: &std::path::Path, settings: &str, more: &str) -> State {
        std::fs::write(dir.join("users"), "ann@x.org:{SSHA}jTJk90mUoWBSlOaeNUZpTTa+jilt+9oH\n").expect("write");
        State::open(&config(dir, settings, more), None).await.expect("state")
    }

    async fn attempt(state: &State, user: &str, password: &str) -> Result<String, ipc::auth::AuthFail> {
        let attempt = Attempt { service: "imap".into(), mechanism: "PLAIN", ..Attempt::default() };
        let credentials = Credentials { authorization: String::new(), authentication: user.to_owned(), password: Secret::new(password) };
        state.desk.check(&attempt, credentials).await
    }

    /// Whether the login succeeds, and how many passwords were hashed for it.
    async fn cost(state: &State, user: &str, password: &str) -> (bool, u64) {
        let before = state.desk.hashing().0;
        let verdict = attempt(state, user, password).await;
        (verdict.is_ok(), state.desk.hashing().0 - before)
    }

    #[tokio::test]
    async fn the_same_password_is_hashed_once_whether_right_or_wrong_or_nobodys() {
        let dir = tempfile::tempdir().expect("directory");
        let state = open(dir.path(), MANY, "").await;
        for (user, password, want) in
            [("ann", "clé 42", true), ("ann", "wrong", false), ("ann", "wronger", false), ("nobody", "wrong", false), ("a/b", "x", false)]
        {
            assert_eq!(cost(&state, user, password).await, (want, 1), "{user} {password}");
            assert_eq!(cost(&state, user, password).await, (want, 0), "{user} {password} again");
        }
        std::fs::write(dir.path().join("users"), "ann@x.org:{PLAIN}wrong\nnobody@x.org:{PLAIN}wrong\n").expect("write");
        assert_eq!(cost(&state, "ann", "wrong").await, (true, 1));
        assert_eq!(cost(&state, "nobody", "wrong").await, (true, 1));
        assert_eq!(cost(&state, "ann", "clé 42").await, (false, 1));
    }

    /// Whether the next login of this user has to wait.
    fn is_counted(state: &State, user: &str) -> bool {
        state.desk.penalty.wait(None, user, Instant::now()) != Ok(std::time::Duration::ZERO)
    }

    #[tokio::test]
    async fn a_wrong_password_counts_also_while_another_passdb_is_away() {
        let dir = tempfile::tempdir().expect("directory");
        std::fs::write(dir.path().join("away.ext"), "driver = sqlite\nconnect = none.sqlite\npassword_query = SELECT password FROM t\n")
            .expect("write");
        let state = open(dir.path(), "auth_penalty_after = 1\n", "[[authd.passdb]]\ndriver = \"sql\"\nargs = \"away.ext\"\n").await;
        // Nobody's password is not theirs, and proves no guess wrong.
        assert!(attempt(&state, "nobody", "wrong").await.expect_err("nobody").temporary);
        assert!(!is_counted(&state, "nobody@x.org"));
        assert!(attempt(&state, "ann", "clé 42").await.is_ok());
        assert!(attempt(&state, "ann", "wrong").await.expect_err("nothing is decided").temporary);
        assert!(is_counted(&state, "ann@x.org"));
    }

    #[tokio::test]
    async fn too_many_checks_are_counted_against_nobody() {
        let dir = tempfile::tempdir().expect("directory");
        std::fs::write(dir.path().join("second"), "ann@x.org:{PLAIN}one\n").expect("write");
        let few = "auth_penalty_after = 2\nauth_worker_max_count = 1\nauth_worker_queue_limit = 1\n";
        let state = open(dir.path(), few, "[[authd.passdb]]\ndriver = \"passwd-file\"\nargs = \"second\"\n").await;
        // The first passdb's answer is remembered from here on, the second one's is for another password.
        assert!(!attempt(&state, "ann", "wrong").await.expect_err("wrong").temporary);
        std::fs::write(dir.path().join("second"), "ann@x.org:{PLAIN}another\n").expect("write");
        let (go, gate) = std::sync::mpsc::channel::<()>();
        let pool = state.desk.pool.made.clone();
        let busy = tokio::spawn(async move { pool.run(0, move || gate.recv().is_ok()).await });
        while state.desk.pool.taken() < 3 || state.desk.pool.waiting() > 0 {
            tokio::task::yield_now().await;
        }
        let pool = state.desk.pool.made.clone();
        let waits = tokio::spawn(async move { pool.run(0, || ()).await });
        while state.desk.pool.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(attempt(&state, "ann", "wrong").await.expect_err("too much to do").temporary);
        assert!(!is_counted(&state, "ann@x.org"), "one wrong password is below the limit");
        go.send(()).expect("the gate");
        assert!(busy.await.expect("task").expect("run"));
        waits.await.expect("task").expect("run");
    }

    #[tokio::test]
    async fn a_password_is_right_only_for_the_scheme_it_was_compared_by() {
        let dir = tempfile::tempdir().expect("directory");
        // MD5 of "secret", in a file that says first that it is plain.
        let leaked = "5ebe2294ecd0e0f08eab7690d2a6ee69";
        let state = open(dir.path(), &format!("{MANY}stored_pass_scheme = \"PLAIN\"\n"), "").await;
        std::fs::write(dir.path().join("users"), format!("ann@x.org:{leaked}\n")).expect("write");
        assert!(attempt(&state, "ann", leaked).await.is_ok());
        let config = config(dir.path(), &format!("{MANY}stored_pass_scheme = \"PLAIN-MD5\"\n"), "");
        let reloaded = State::open(&config, Some(&state)).await.expect("state");
        assert!(attempt(&reloaded, "ann", leaked).await.is_err());
        assert!(attempt(&reloaded, "ann", "secret").await.is_ok());
    }

    #[tokio::test]
    async fn wrong_passwords_are_remembered_only_when_the_settings_say_so() {
        let dir = tempfile::tempdir().expect("directory");
        let state = open(dir.path(), &format!("{MANY}auth_cache_negative_ttl = \"0s\"\n"), "").await;
        for _ in 0..2 {
            assert_eq!(cost(&state, "ann", "wrong").await, (false, 1));
        }
        assert_eq!(cost(&state, "ann", "clé 42").await, (true, 1));
        assert_eq!(cost(&state, "ann", "clé 42").await, (true, 0));
    }
}
