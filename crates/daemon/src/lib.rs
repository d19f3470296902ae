//! What every daemon of Facteur has in common: start-up and command line, settings and their reload, signals, readiness and
//! watchdog, listening sockets (inherited or bound), the accept loop with its limits, TLS, logging, sandbox, control socket.
//!
//! A program is a function `run(ctx: Context)`; its `main.rs` is one line:
//! ```ignore
//! fn main() -> std::process::ExitCode { daemon::main("imapd", imapd::run) }
//! ```
//! `run` binds and drives connections with a [`Service`] (or [`Context::listen`] and [`serve`]), and returns when [`Shutdown`] was called and its
//! sessions have ended. Tests make a context with [`Context::detached`] and call `run` themselves; several may live in one
//! process.
//!
//! | signal | effect |
//! |---|---|
//! | SIGTERM, SIGINT | drain: nothing new is accepted, idle sessions are told, transactions have `shutdown_timeout` |
//! | SIGHUP | settings, tables and certificates are read again; the old ones stay when the new are wrong |
//! | SIGUSR1 | the log file is opened again |

pub mod control;
pub mod log;
pub mod sandbox;
pub mod tls;

mod context;
mod hourly;
mod inherited;
mod limits;
mod listen;
mod mail_access;
mod notify;
mod program;
mod reload;
mod serve;
mod service;
mod sessions;
mod shutdown;
mod start;
mod stream;

pub use context::{Context, Reloadable};
pub use hourly::Hourly;
pub use ipc::LocalStream;
pub use ipc::unix::{bind as bind_unix, connect as connect_unix};
pub use limits::{Limits, Refusal, Slot};
pub use listen::{Listener, SocketOptions, bind, group_id, user_id};
pub use mail_access::{MailAccess, Share};
pub use program::Program;
pub use serve::serve;
pub use service::{MostClients, Service};
pub use sessions::{Login, Sessions};
pub use shutdown::Shutdown;
pub use start::main;
pub use stream::{Peer, Stream, TlsInfo};
pub use tls::ServerTls;
