//! SMTP and LMTP as pure machines: no socket, file, clock or task.
//!
//! The caller brings bytes and answers, and carries out what the machine says next:
//!
//! ```text
//! loop { match session.step() {
//!     Step::Send(bytes)    => stream.write_all(&bytes).await?,
//!     Step::Ask(question)  => { let answer = desk.answer(question).await; session.answer(answer) }
//!     Step::Body(chunk)    => body.extend(chunk),
//!     Step::NeedInput      => match stream.read(&mut buffer).await? { 0 => return, n => session.receive(&buffer[..n]) },
//!     …
//! } }
//! ```
//!
//! [`server`] is what `smtpd` (SMTP) and `deliver` (LMTP) answer with, [`client`] is what `outbound` speaks to other hosts and to
//! `deliver`. Both work on their own buffers, so that how the bytes were cut into segments makes no difference.
//!
//! - RFC 5321 (SMTP), 2033 (LMTP), 2920 (PIPELINING), 1870 (SIZE), 6152 (8BITMIME), 6531 (SMTPUTF8), 2034 (ENHANCEDSTATUSCODES),
//!   3030 (CHUNKING), 3207 (STARTTLS), 4954 (AUTH), 3461 (DSN)

pub mod client;
pub mod dot_stuffing;
pub mod grammar;
mod input;
pub mod server;
mod transcript;
pub mod xfacteur;

pub use transcript::Transcript;
pub use xfacteur::XFacteur;
