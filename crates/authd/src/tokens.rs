//! Tokens of OAuth 2.0: whether one is good, and whose it is.
//!
//! Either the token is a JWT that one of the provider's keys has signed (`oauth2_key_file`), or the provider is asked
//! (`oauth2_introspection_url`, RFC 7662). Both come down to claims, which are judged in one place. A provider that cannot be asked is a
//! temporary failure.

mod introspection;
mod jwt;

use crate::accounts::first_line;
use anyhow::Context;
use config::Config;
use introspection::Provider;
use jwt::Keys;
use serde_json::{Map, Value};
use std::time::{SystemTime, UNIX_EPOCH};

/// Clocks differ by so much.
const LEEWAY_SECONDS: u64 = 30;

pub struct Tokens {
    rules: Rules,
    keys: Option<Keys>,
    provider: Option<Provider>,
}

/// What claims have to say.
#[derive(Debug, Default)]
struct Rules {
    issuers: Vec<String>,
    audience: String,
    scopes: Vec<String>,
    username: String,
}

impl Tokens {
    /// `None`: no tokens are taken. Reads the keys.
    pub fn open(config: &Config) -> anyhow::Result<Option<Tokens>> {
        let authd = &config.authd;
        let keys = match authd.oauth2_key_file.as_os_str().is_empty() {
            true => None,
            false => Some(Keys::open(&config.directory().join(&authd.oauth2_key_file)).context("authd.oauth2_key_file")?),
        };
        let provider = match &*authd.oauth2_introspection_url {
            "" => None,
            url => Some(provider(url, config).context("authd.oauth2_introspection_url")?),
        };
        if keys.is_none() && provider.is_none() {
            return Ok(None);
        }
        // Who signs for many services says in a token for which one it is. Without looking, a token for any other would do.
        anyhow::ensure!(!authd.oauth2_audience.is_empty(), "authd.oauth2_audience is needed: for whom tokens have to be made");
        let rules = Rules {
            issuers: authd.oauth2_issuers.clone(),
            audience: authd.oauth2_audience.clone(),
            scopes: authd.oauth2_scope.split_ascii_whitespace().map(str::to_owned).collect(),
            username: authd.oauth2_username_attribute.clone(),
        };
        Ok(Some(Tokens { rules, keys, provider }))
    }

    /// The user that a token names, or why it is not good. `Err`: nobody can tell now.
    pub async fn user(&self, token: &str) -> anyhow::Result<Result<String, &'static str>> {
        let mut why = "the token is no JWT";
        if let Some(keys) = &self.keys {
            match keys.claims(token) {
                Ok(claims) => return Ok(self.rules.judge(&claims, now(), true)),
                Err(fault) => why = fault,
            }
        }
        let Some(provider) = &self.provider else { return Ok(Err(why)) };
        let claims = provider.ask(token).await.context("the provider of tokens cannot be asked")?;
        match claims.get("active") {
            Some(Value::Bool(true)) => Ok(self.rules.judge(&claims, now(), false)),
            _ => Ok(Err("the provider says that the token is not active")),
        }
    }
}

fn provider(url: &str, config: &Config) -> anyhow::Result<Provider> {
    let authd = &config.authd;
    let password = match authd.oauth2_introspection_password_file.as_os_str().is_empty() {
        true => None,
        false => Some(first_line(&authd.oauth2_introspection_password_file).context("oauth2_introspection_password_file")?),
    };
    Provider::of(url, password, &authd.oauth2_tls_ca_cert_file)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Rules {
    /// RFC 7519 §4.1. `whole`: what limits the token has to be there; a provider that was asked has judged that itself.
    fn judge(&self, claims: &Map<String, Value>, now: u64, whole: bool) -> Result<String, &'static str> {
        // NumericDate may have a fraction.
        let seconds = |name: &str| match claims.get(name) {
            None => Ok(None),
            Some(value) => value.as_f64().filter(|n| *n >= 0.0).map(|n| Some(n as u64)).ok_or("a time in the token is none"),
        };
        match seconds("exp")? {
            Some(end) if now > end.saturating_add(LEEWAY_SECONDS) => return Err("the token has expired"),
            None if whole => return Err("the token never ends"),
            _ => {}
        }
        if seconds("nbf")?.is_some_and(|start| now.saturating_add(LEEWAY_SECONDS) < start) {
            return Err("the token does not hold yet");
        }
        let issuer = claims.get("iss").and_then(Value::as_str);
        if !self.issuers.is_empty() && !issuer.is_some_and(|issuer| self.issuers.iter().any(|known| known == issuer)) {
            return Err("the token is of another issuer");
        }
        let meant = match claims.get("aud") {
            Some(Value::String(one)) => *one == self.audience,
            Some(Value::Array(many)) => many.iter().any(|one| one.as_str() == Some(&self.audience)),
            // RFC 7662 §2.2: an answer need not repeat it.
            _ => !whole,
        };
        if !meant {
            return Err("the token is for somebody else");
        }
        let scope = claims.get("scope").and_then(Value::as_str).unwrap_or_default();
        let has = |wanted: &String| scope.split_ascii_whitespace().any(|one| one == wanted);
        if !self.scopes.iter().all(has) {
            return Err("the token is not for mail");
        }
        match claims.get(&self.username).and_then(Value::as_str) {
            Some(name) if !name.is_empty() => Ok(name.to_owned()),
            _ => Err("the token names no user"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules() -> Rules {
        Rules { issuers: vec!["https://id.test".into()], audience: "mail".into(), scopes: vec!["imap".into()], username: "email".into() }
    }

    #[test]
    fn claims_are_of_the_right_issuer_for_us_and_in_time() {
        let good =
            json!({ "iss": "https://id.test", "aud": "mail", "scope": "openid imap", "email": "ann@x.org", "exp": 2000, "nbf": 1000 });
        let judge = |changes: Value, now: u64, whole: bool| {
            let mut claims = good.as_object().expect("object").clone();
            for (name, value) in changes.as_object().expect("object") {
                match value {
                    Value::Null => drop(claims.remove(name)),
                    value => drop(claims.insert(name.clone(), value.clone())),
                }
            }
            rules().judge(&claims, now, whole)
        };
        assert_eq!(judge(json!({}), 1500, true), Ok("ann@x.org".into()));
        assert_eq!(judge(json!({ "aud": ["web", "mail"] }), 1500, true), Ok("ann@x.org".into()));
        assert_eq!(judge(json!({}), 2030, true), Ok("ann@x.org".into()));
        assert_eq!(judge(json!({ "aud": null, "exp": null }), 1500, false), Ok("ann@x.org".into()));
        for (changes, now) in [
            (json!({}), 2031),
            (json!({}), 900),
            (json!({ "exp": null }), 1500),
            (json!({ "exp": "2000" }), 1500),
            (json!({ "exp": -1 }), 1500),
            (json!({ "iss": "https://evil.test" }), 1500),
            (json!({ "iss": null }), 1500),
            (json!({ "aud": "web" }), 1500),
            (json!({ "aud": null }), 1500),
            (json!({ "aud": ["web"] }), 1500),
            (json!({ "scope": "openid" }), 1500),
            (json!({ "scope": null }), 1500),
            (json!({ "email": null }), 1500),
            (json!({ "email": "" }), 1500),
            (json!({ "email": 7 }), 1500),
        ] {
            assert!(judge(changes.clone(), now, true).is_err(), "{changes} at {now}");
        }
        assert!(judge(json!({ "aud": "web" }), 1500, false).is_err());
    }
}
