//! Why a command could not be taken, in words that the client may see.

/// A command that is not one. `what` goes to the client; it never holds the client's own bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct ParseError {
    pub kind: ParseErrorKind,
    pub what: &'static str,
}

/// Decides the status and response code of the refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseErrorKind {
    /// Not in the grammar: `BAD`.
    Syntax,
    /// In the grammar but beyond a limit: `BAD [TOOBIG]` (RFC 4469 §6, RFC 9051 §7.1 [LIMIT]).
    TooBig,
    /// A mailbox name that can never exist: `NO [CANNOT]` (RFC 5530 §3).
    BadMailbox,
    /// A charset nobody knows: `NO [BADCHARSET]`.
    BadCharset,
}

impl ParseError {
    pub const fn syntax(what: &'static str) -> ParseError {
        ParseError { kind: ParseErrorKind::Syntax, what }
    }

    pub const fn too_big(what: &'static str) -> ParseError {
        ParseError { kind: ParseErrorKind::TooBig, what }
    }

    pub const fn bad_mailbox(what: &'static str) -> ParseError {
        ParseError { kind: ParseErrorKind::BadMailbox, what }
    }
}
