//! Internet messages as bytes: header fields, MIME structure, addresses, dates, encoded words, trace fields, DSNs.
//!
//! Everything works on `&[u8]` with LF or CRLF line ends, never fails on bad input (what cannot be understood is
//! passed over or shown raw), takes time linear in the input, and never recurses. Limits: MIME depth 100, 10,000
//! parts, 128 parameters per field, 10,000 addresses per field. No file, socket, clock or random source: the caller
//! brings them as arguments.
//!
//! | subject | start at |
//! |---|---|
//! | header fields | [`fields`], [`find`], [`header_length`] |
//! | MIME structure, IMAP sections | [`Message::parse`], [`Message::section`] |
//! | IMAP ENVELOPE | [`Envelope::parse`] |
//! | addresses | [`address::parse`] |
//! | dates | [`Date`] |
//! | encoded words, charsets | [`words`], [`charset`] |
//! | base64, quoted-printable | [`transfer`] |
//! | binary parts for hosts that take lines | [`binary`] |
//! | line ends, sizes as if CRLF | [`crlf`] |
//! | base subject, threads | [`Subject`], [`thread`] |
//! | first words for a list | [`preview`] |
//! | texts that a search looks at, what cannot be in them | [`texts`], [`signature`] |
//! | words that are like others | [`fuzzy`] |
//! | Received, Return-Path, Message-ID | [`trace`] |
//! | bounces | [`dsn`] |

pub mod address;
pub mod binary;
pub mod charset;
mod content;
pub mod crlf;
mod date;
pub mod dsn;
mod envelope;
pub mod fuzzy;
mod header;
mod lexer;
mod mime;
pub mod notice;
mod pieces;
mod preview;
mod section;
pub mod signature;
mod subject;
pub mod texts;
pub mod thread;
pub mod trace;
pub mod transfer;
pub mod words;

pub use address::{Entry, Mailbox};
pub use content::{ContentType, Disposition, Param, Params};
pub use date::Date;
pub use envelope::Envelope;
pub use header::{Field, Fields, fields, find, header_ends, header_length};
pub use mime::{Kind, Message, Part};
pub use preview::{PREVIEW_CHARS, preview};
pub use section::{Section, Want, pick};
pub use subject::{Subject, collation_key};
pub use transfer::Encoding;

/// Deeper parts are opaque (Postfix and Dovecot have the same limit).
pub const MAX_DEPTH: usize = 100;
/// Parts after these belong to the body of the last one.
pub const MAX_PARTS: usize = 10_000;
/// Parameters after these are passed over.
pub const MAX_PARAMS: usize = 128;
/// Addresses after these are passed over.
pub const MAX_ADDRESSES: usize = 10_000;
