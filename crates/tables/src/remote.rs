//! Tables that somebody else looks into: databases, through `authd`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// What [`Remote::lookup`] gives: the value, nothing, or why it cannot tell now.
pub type RemoteFuture<'a> = Pin<Box<dyn Future<Output = Result<Option<String>, String>> + Send + 'a>>;

/// Whoever answers for `accounts:`, `mysql:`, `pgsql:` and `sqlite:` tables. Implementations keep a deadline of their own.
pub trait Remote: Send + Sync {
    /// `table` is the whole specification without `proxy:`, with an absolute path: `mysql:/etc/facteur/domains.cf`, `accounts:aliases`.
    fn lookup<'a>(&'a self, table: &'a str, key: &'a str) -> RemoteFuture<'a>;
}

/// Makes a [`Remote`] of a function, so that programs can hand in their `ipc` client without a type of their own.
pub fn remote<F, R>(ask: F) -> Arc<dyn Remote>
where
    F: Fn(String, String) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Option<String>, String>> + Send + 'static,
{
    struct Asking<F>(F);
    impl<F, R> Remote for Asking<F>
    where
        F: Fn(String, String) -> R + Send + Sync,
        R: Future<Output = Result<Option<String>, String>> + Send + 'static,
    {
        fn lookup<'a>(&'a self, table: &'a str, key: &'a str) -> RemoteFuture<'a> {
            Box::pin((self.0)(table.to_owned(), key.to_owned()))
        }
    }
    Arc::new(Asking(ask))
}

/// For programs and tests without databases: every question fails temporarily.
pub struct NoRemote;

impl Remote for NoRemote {
    fn lookup<'a>(&'a self, _table: &'a str, _key: &'a str) -> RemoteFuture<'a> {
        Box::pin(async { Err("no account server is set up here".to_owned()) })
    }
}
