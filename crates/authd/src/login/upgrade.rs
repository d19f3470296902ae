//! Weak hashes, replaced when their password comes by (`auth_upgrade_scheme`).
//!
//! Only a login that shows the password can do this. It is done behind the login's back: one at a time, when the pool has room, and what fails
//! is tried again at the next login. The new hash is stored only where the old one still is, so that a password that was changed meanwhile
//! stays.

use super::{Attempt, Desk};
use crate::directory::{Source, Stored};
use crate::pool::Pool;
use crate::verified::Verified;
use anyhow::Context;
use config::Authd;
use mail_types::Secret;
use passwords::Strength;
use sasl::scram::Hash;
use sasl::server::Kind;
use std::sync::Arc;
use std::time::Instant;
use tables::sql::Asker;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

pub struct Upgrade {
    scheme: String,
    strength: Strength,
    rounds: Option<u32>,
    memory_bytes: u64,
    /// What offered mechanisms want of a stored password beside that it can be compared.
    kinds: Vec<Kind>,
    turn: Arc<Semaphore>,
}

impl Upgrade {
    /// `None`: hashes stay as they are. Hashes one password, to learn what that takes.
    pub fn of(authd: &Authd) -> anyhow::Result<Option<Upgrade>> {
        let scheme = authd.auth_upgrade_scheme.to_ascii_uppercase();
        if scheme.is_empty() {
            return Ok(None);
        }
        let strength = passwords::strength_of_scheme(&scheme).filter(|_| passwords::can_make(&scheme));
        let strength = strength.with_context(|| format!("authd.auth_upgrade_scheme: new passwords cannot be hashed with {scheme:?}"))?;
        anyhow::ensure!(strength > Strength::Fast, "authd.auth_upgrade_scheme: {scheme} is weak itself");
        let rounds = scheme.starts_with("SCRAM-").then_some(authd.auth_scram_iterations);
        let sample = passwords::hash(&scheme, "sample", rounds).context("authd.auth_upgrade_scheme")?;
        let kind = |name: &String| match name.to_ascii_uppercase().trim_end_matches("-PLUS") {
            "SCRAM-SHA-256" => Some(Kind::Scram(Hash::Sha256)),
            "SCRAM-SHA-1" => Some(Kind::Scram(Hash::Sha1)),
            "CRAM-MD5" => Some(Kind::HmacMd5),
            _ => None,
        };
        Ok(Some(Upgrade {
            memory_bytes: passwords::memory_bytes(&sample, "CRYPT"),
            kinds: authd.auth_mechanisms.iter().filter_map(kind).collect(),
            turn: Arc::new(Semaphore::new(1)),
            scheme,
            strength,
            rounds,
        }))
    }

    /// Whether what is stored is weaker, and serves no mechanism that the new hash would not.
    fn concerns(&self, stored: &str, default_scheme: &str) -> bool {
        let new = format!("{{{}}}", self.scheme);
        let is_weaker = passwords::strength(stored, default_scheme).is_some_and(|strength| strength < self.strength);
        let is_needed =
            |kind: &Kind| passwords::may_serve(stored, default_scheme, *kind) && !passwords::may_serve(&new, default_scheme, *kind);
        is_weaker && !self.kinds.iter().any(is_needed)
    }
}

impl Desk {
    /// Has the hash of a password that was just right replaced, when it is to be. Waits for nothing.
    pub(super) fn upgrade(&self, attempt: &Attempt, source: &Source, stored: &Stored, password: &Secret) {
        let Some(upgrade) = &self.upgrade else { return };
        if !upgrade.concerns(&stored.password, &stored.default_scheme) {
            return;
        }
        let password_text = password.reveal();
        // DES looks at seven bits of eight characters: whatever else was typed proves nothing
        let is_des = passwords::scheme_of(&stored.password, &stored.default_scheme) == Some("DES-CRYPT");
        if is_des && (password_text.len() > 8 || !password_text.is_ascii()) {
            return;
        }
        let (Some(writer), Ok(turn)) = (source.writer(), upgrade.turn.clone().try_acquire_owned()) else { return };
        let (pool, verified): (Arc<Pool>, Arc<Verified>) = (self.pool.made.clone(), self.verified.made.clone());
        let (scheme, rounds, memory_bytes) = (upgrade.scheme.clone(), upgrade.rounds, upgrade.memory_bytes);
        let default_scheme = stored.default_scheme.clone();
        let (user, old, service, password) = (stored.user.clone(), stored.password.clone(), attempt.service.clone(), password.clone());
        let (asked, remote) = (stored.asked.clone(), attempt.remote.map(|ip| ip.to_string()).unwrap_or_default());
        tokio::spawn(async move {
            let replaced = async {
                let given = password.clone();
                let (made, name) = (scheme.clone(), scheme.clone());
                let (text, default_scheme) = (old.clone(), default_scheme.clone());
                let hash = pool.run(memory_bytes, move || {
                    // it may have been right in another form of its letters only, in which other devices send it
                    let is_right = matches!(passwords::verify(&text, &default_scheme, given.reveal()), Ok(true));
                    is_right.then(|| passwords::hash(&made, given.reveal(), rounds))
                });
                let Some(hash) = hash.await? else { return Ok(None) };
                let new = Zeroizing::new(hash.with_context(|| format!("{name} cannot be made of it"))?);
                let asked = Asker { user: &asked, service: &service, remote: &remote, ..Asker::default() };
                anyhow::Ok(writer.replace(&asked, &user, &old, &new).await?.then_some(new))
            };
            match replaced.await {
                Ok(Some(new)) => {
                    verified.remember(verified.mark(&service, &user, (&new, &default_scheme), password.reveal()), true, Instant::now());
                    tracing::info!(user = %user, scheme, "the stored password was hashed anew");
                }
                Ok(None) => tracing::debug!(user = %user, "the stored password is another one already"),
                Err(error) => {
                    tracing::warn!(user = %user, error = %format!("{error:#}"), "the stored password stays as it is; the next login tries again");
                }
            }
            drop(turn);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upgrade(scheme: &str, mechanisms: &[&str]) -> anyhow::Result<Option<Upgrade>> {
        let auth_mechanisms = mechanisms.iter().map(|name| (*name).to_owned()).collect();
        Upgrade::of(&Authd { auth_upgrade_scheme: scheme.into(), auth_mechanisms, ..Authd::default() })
    }

    #[test]
    fn what_is_weaker_and_serves_nothing_else_is_replaced() {
        const SCRAM: &str = "{SCRAM-SHA-256}4096,rbLkIvSJRPc39c9BBN4vhQ==,4Vg8SJy/OcteDlyszsCTk4qGPRkBHeqvtSlvLCxQ4W8=,l09APc/Le/155ZmJmljAwFNwjxPs6L5AcpXIWTWVfQ8=";
        for (scheme, mechanisms, stored, want) in [
            ("argon2id", &["plain", "login"][..], "{PLAIN}x", true),
            ("ARGON2ID", &["plain"], "{SSHA}jTJk90mUoWBSlOaeNUZpTTa+jilt+9oH", true),
            ("ARGON2ID", &["plain"], "$1$abcdefgh$YyJ7n4p1PN1tRkbTCkHwx/", true),
            ("ARGON2ID", &["plain"], "$2y$10$abcdefghijklmnopqrstuu", false),
            ("SHA512-CRYPT", &["plain"], "$2y$10$abcdefghijklmnopqrstuu", false),
            ("ARGON2ID", &["plain"], "{NOSUCH}x", false),
            ("ARGON2ID", &["plain", "scram-sha-256"], "{PLAIN}x", false),
            ("ARGON2ID", &["plain", "cram-md5"], "{PLAIN}x", false),
            ("ARGON2ID", &["plain", "scram-sha-256-plus"], SCRAM, false),
            ("ARGON2ID", &["plain", "scram-sha-1"], SCRAM, true),
            ("SCRAM-SHA-256", &["plain", "scram-sha-256"], "{PLAIN}x", true),
            ("SCRAM-SHA-256", &["plain", "scram-sha-1"], "{PLAIN}x", false),
            ("SCRAM-SHA-256", &["plain", "scram-sha-256"], "{SSHA}jTJk90mUoWBSlOaeNUZpTTa+jilt+9oH", true),
        ] {
            let upgrade = upgrade(scheme, mechanisms).expect("sound").expect("on");
            assert_eq!(upgrade.concerns(stored, "CRYPT"), want, "{scheme} {mechanisms:?} {stored}");
        }
        assert!(upgrade("", &["plain"]).expect("sound").is_none());
        for scheme in ["NOSUCH", "MD5-CRYPT", "SSHA512", "PLAIN"] {
            assert!(upgrade(scheme, &["plain"]).is_err(), "{scheme}");
        }
    }
}
