//! POP3 (RFC 1939) as a pure machine: bytes in, bytes and questions out. No socket, file, clock or task.
//!
//! ```text
//! loop { match session.step() {
//!     Step::Send(bytes)   => stream.write_all(&bytes).await?,
//!     Step::Ask(question) => session.answer(desk.answer(question).await),
//!     Step::StartTls      => { stream = stream.upgrade_tls(&tls).await?; session.tls_started() }
//!     Step::NeedInput     => session.receive(stream.read_some().await?),
//!     Step::Close         => return,
//! } }
//! ```
//! Extensions: CAPA (RFC 2449) with TOP, UIDL, USER, SASL, PIPELINING, RESP-CODES, EXPIRE, LOGIN-DELAY, IMPLEMENTATION; STLS
//! (RFC 2595); AUTH (RFC 5034); AUTH-RESP-CODE and SYS/* (RFC 3206); UTF8 and LANG (RFC 6856). LAST of RFC 1460 for old clients, by setting.

mod command;
mod dot_stuffing;
mod session;
pub mod uidl;

pub use command::{Command, LINE_LIMIT_BYTES, SASL_LINE_LIMIT_BYTES, Wrong};
pub use dot_stuffing::DotStuffing;
pub use session::{Answer, Entry, Opened, Question, Refusal, Sensitive, Session, Settings, Statistics, Step};
