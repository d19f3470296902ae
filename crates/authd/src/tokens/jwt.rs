//! JSON Web Tokens (RFC 7519) that are signed (RFC 7515), and the keys they are checked with (RFC 7517), from a file.
//!
//! Which algorithm is used is the key's to say, never the token's: one without a signature, or one signed with a public key as if it were
//! a shared secret, is not good. A key's name in a token is only compared with names in the file.

use anyhow::{Context, bail};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::{Map, Value};
use std::path::Path;

pub struct Keys(Vec<Key>);

struct Key {
    id: Option<String>,
    kind: Kind,
}

enum Kind {
    /// RS256
    Rsa { n: Vec<u8>, e: Vec<u8> },
    /// ES256: the point, uncompressed.
    P256(Vec<u8>),
    /// EdDSA
    Ed25519(Vec<u8>),
    /// HS256
    Shared(Box<hmac::Key>),
}

impl Keys {
    /// Reads a JWK Set, as providers publish it.
    pub fn open(path: &Path) -> anyhow::Result<Keys> {
        let text = zeroize::Zeroizing::new(std::fs::read(path).with_context(|| path.display().to_string())?);
        Keys::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &[u8]) -> anyhow::Result<Keys> {
        let set: Value = serde_json::from_slice(text).context("no JSON")?;
        let all = set.get("keys").and_then(Value::as_array).context("no JWK Set: it has no \"keys\"")?;
        // Keys of other kinds, or for encryption, are none of ours (RFC 7517 §5).
        let usable = |key: &&Value| key.get("use").and_then(Value::as_str).is_none_or(|purpose| purpose == "sig");
        let keys: Vec<Key> = all.iter().filter(usable).filter_map(Key::parse).collect();
        if keys.is_empty() {
            bail!("has no key for RS256, ES256, EdDSA or HS256");
        }
        Ok(Keys(keys))
    }

    /// The claims of a token that one of the keys has signed.
    pub fn claims(&self, token: &str) -> Result<Map<String, Value>, &'static str> {
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err("the token is no JWT");
        };
        let decoded = |part: &str| BASE64URL.decode(part).map_err(|_| "the token is no base64");
        let object = |bytes: Vec<u8>| serde_json::from_slice::<Map<String, Value>>(&bytes).map_err(|_| "the token is no JSON");
        let fields = object(decoded(header)?)?;
        // RFC 7515 §4.1.11: what has to be understood, and is not.
        if fields.contains_key("crit") {
            return Err("the token wants more to be understood than is");
        }
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        let (algorithm, id) = (text("alg").ok_or("the token names no algorithm")?, text("kid"));
        let signed = &token.as_bytes()[..header.len() + 1 + claims.len()];
        let signature = decoded(signature)?;
        let fits = |key: &&Key| key.kind.algorithm() == algorithm && (id.is_none() || key.id.is_none() || key.id.as_deref() == id);
        if !self.0.iter().filter(fits).any(|key| key.kind.has_signed(signed, &signature)) {
            return Err("the token is not signed with a key that is known");
        }
        object(decoded(claims)?)
    }
}

impl Key {
    fn parse(key: &Value) -> Option<Key> {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let bytes = |name: &str| text(name).and_then(|text| BASE64URL.decode(text).ok());
        let kind = match (text("kty")?, text("crv")) {
            ("RSA", _) => Kind::Rsa { n: bytes("n")?, e: bytes("e")? },
            ("EC", Some("P-256")) => {
                let (x, y) = (bytes("x")?, bytes("y")?);
                (x.len() == 32 && y.len() == 32).then(|| Kind::P256([&[4], x.as_slice(), &y].concat()))?
            }
            ("OKP", Some("Ed25519")) => Kind::Ed25519(bytes("x")?),
            // RFC 7518 §3.2: as long as the hash at least.
            ("oct", _) => Kind::Shared(Box::new(hmac::Key::new(hmac::HMAC_SHA256, &bytes("k").filter(|k| k.len() >= 32)?))),
            _ => return None,
        };
        text("alg").is_none_or(|alg| alg == kind.algorithm()).then(|| Key { id: text("kid").map(str::to_owned), kind })
    }
}

impl Kind {
    fn algorithm(&self) -> &'static str {
        match self {
            Kind::Rsa { .. } => "RS256",
            Kind::P256(_) => "ES256",
            Kind::Ed25519(_) => "EdDSA",
            Kind::Shared(_) => "HS256",
        }
    }

    fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Kind::Rsa { n, e } => RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok(),
            Kind::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok(),
            Kind::Ed25519(point) => UnparsedPublicKey::new(&ED25519, point).verify(message, signature).is_ok(),
            Kind::Shared(key) => hmac::verify(key, message, signature).is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};

    const SHARED: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    const RFC7515: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

    fn part(value: Value) -> String {
        BASE64URL.encode(value.to_string())
    }

    #[test]
    fn rfc7515_a_1_is_understood_and_nothing_of_it_may_change() {
        let keys = Keys::parse(format!("{{\"keys\":[{{\"kty\":\"oct\",\"k\":\"{SHARED}\"}}]}}").as_bytes()).expect("keys");
        assert_eq!(keys.claims(RFC7515).expect("signed").get("iss"), Some(&Value::from("joe")));
        let (rest, signature) = RFC7515.rsplit_once('.').expect("parts");
        let (header, claims) = rest.split_once('.').expect("parts");
        let none = part(serde_json::json!({ "alg": "none" }));
        let path = part(serde_json::json!({ "alg": "HS256", "kid": "../../etc/passwd", "crit": ["kid"] }));
        for forged in [
            format!("{none}.{claims}."),
            format!("{none}.{claims}.{signature}"),
            format!("{path}.{claims}.{signature}"),
            format!("{header}.{}.{signature}", part(serde_json::json!({ "iss": "eve" }))),
            format!("{header}.{claims}."),
            format!("{header}.{claims}"),
            format!("{rest}.{signature}.x"),
            format!("{RFC7515}="),
            String::new(),
            "..".into(),
        ] {
            assert!(keys.claims(&forged).is_err(), "{forged}");
        }
    }

    #[test]
    fn a_key_is_used_with_its_own_algorithm_only() {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).expect("key");
        let point = pair.public_key().as_ref();
        let ed = Ed25519KeyPair::generate().expect("key");
        let set = serde_json::json!({ "keys": [
            { "kty": "EC", "crv": "P-256", "kid": "a", "x": BASE64URL.encode(&point[1..33]), "y": BASE64URL.encode(&point[33..]) },
            { "kty": "OKP", "crv": "Ed25519", "kid": "b", "x": BASE64URL.encode(ed.public_key().as_ref()) },
            { "kty": "EC", "crv": "P-521", "x": "AA", "y": "AA" },
        ] });
        let keys = Keys::parse(set.to_string().as_bytes()).expect("keys");
        let token = |header: Value, sign: &dyn Fn(&[u8]) -> Vec<u8>| {
            let signed = format!("{}.{}", part(header), part(serde_json::json!({ "email": "ann@x.org" })));
            format!("{signed}.{}", BASE64URL.encode(sign(signed.as_bytes())))
        };
        let p256 = |message: &[u8]| pair.sign(&random, message).expect("signature").as_ref().to_vec();
        let eddsa = |message: &[u8]| ed.sign(message).as_ref().to_vec();
        // The public key, which everybody knows, as a shared secret.
        let confused = |message: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, point), message).as_ref().to_vec();
        let good = |token: String| keys.claims(&token).is_ok();
        assert!(good(token(serde_json::json!({ "alg": "ES256", "kid": "a" }), &p256)));
        assert!(good(token(serde_json::json!({ "alg": "ES256" }), &p256)));
        assert!(good(token(serde_json::json!({ "alg": "EdDSA", "kid": "b" }), &eddsa)));
        assert!(!good(token(serde_json::json!({ "alg": "ES256", "kid": "b" }), &p256)));
        assert!(!good(token(serde_json::json!({ "alg": "HS256", "kid": "a" }), &confused)));
        assert!(!good(token(serde_json::json!({ "alg": "EdDSA", "kid": "a" }), &p256)));
        assert!(Keys::parse(b"{\"keys\":[]}").is_err());
        assert!(Keys::parse(b"{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2hvcnQ\"}]}").is_err());
    }
}
