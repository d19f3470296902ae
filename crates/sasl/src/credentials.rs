//! What a login with a plain password consists of, and its limits.

use mail_types::Secret;

/// The longest message of a client: 12,288 octets of base64 (RFC 4954 §4).
pub const MESSAGE_LIMIT_BYTES: usize = 9_216;

/// The longest user name, identity or password. RFC 4616 has no limit; nobody types more.
pub const FIELD_LIMIT_BYTES: usize = 1_024;

/// Who wants to log in, and the password that shall prove it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// As whom to act; empty when the same as `authentication`. No program here lets anybody act as somebody else, but the check
    /// belongs to whoever knows that two spellings are one account.
    pub authorization: String,
    /// Whose password it is.
    pub authentication: String,
    pub password: Secret,
}

/// Why a message is not what its mechanism allows. Says nothing of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the message is too long")]
    TooLong,
    #[error("the message is no UTF-8")]
    NotText,
    #[error("the message has the wrong number of parts")]
    Parts,
    #[error("the message has a NUL where none may be")]
    Nul,
    #[error("the user name is empty")]
    NoUser,
    #[error("the password is empty")]
    NoPassword,
    #[error("the client speaks out of turn")]
    OutOfTurn,
    #[error("the message is not written as its mechanism has it")]
    Syntax,
    #[error("the client asks for an extension that is not known")]
    Extension,
    #[error("the client's nonce is not the one of this exchange")]
    Nonce,
    #[error("the client did not see the mechanisms that bind to TLS although they were offered: somebody may stand between")]
    Downgraded,
    #[error("the channel binding is not of this connection")]
    Binding,
}

/// A field of a message: UTF-8, not too long, no NUL.
pub(crate) fn field(bytes: &[u8]) -> Result<&str, Malformed> {
    if bytes.len() > FIELD_LIMIT_BYTES {
        return Err(Malformed::TooLong);
    }
    if bytes.contains(&0) {
        return Err(Malformed::Nul);
    }
    std::str::from_utf8(bytes).map_err(|_| Malformed::NotText)
}

impl Credentials {
    pub(crate) fn checked(authorization: &str, authentication: &str, password: &str) -> Result<Credentials, Malformed> {
        if authentication.is_empty() {
            return Err(Malformed::NoUser);
        }
        // An empty password is refused here: some directories take it for an anonymous bind (RFC 4513 §5.1.2).
        if password.is_empty() {
            return Err(Malformed::NoPassword);
        }
        Ok(Credentials {
            authorization: authorization.to_owned(),
            authentication: authentication.to_owned(),
            password: Secret::new(password),
        })
    }

    /// The password after SASLprep (RFC 4013), when that changes it: what RFC 4616 §2 wants compared. Stored passwords
    /// were often hashed without it, so a check tries the password as it came first. `None` when nothing changes, or when SASLprep forbids it.
    pub fn prepared_password(&self) -> Option<Secret> {
        if self.password.reveal().is_ascii() {
            return None;
        }
        let prepared = stringprep::saslprep(self.password.reveal()).ok()?;
        (prepared != self.password.reveal() && !prepared.is_empty()).then(|| Secret::new(prepared))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_prepared_only_when_that_changes_it() {
        let prepared = |password: &str| Credentials::checked("", "ann", password).expect("credentials").prepared_password();
        assert_eq!(prepared("secret"), None);
        assert_eq!(prepared("pélé"), None);
        // Non-ASCII space becomes a space; a ligature is decomposed (NFKC).
        assert_eq!(prepared("a\u{a0}b"), Some(Secret::new("a b")));
        assert_eq!(prepared("\u{fb01}x"), Some(Secret::new("fix")));
        // Forbidden: private use.
        assert_eq!(prepared("\u{e000}"), None);
    }
}
