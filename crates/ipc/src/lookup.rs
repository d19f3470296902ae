//! Lookup tables kept in databases: `smtpd`, `qmgr`, `facteur` ask `authd`, the only program that opens databases.
//!
//! The client sends any number of [`Question`]s, each a frame; `authd` answers each with an [`Answer`] of the same id, in any
//! order. A table is named as in the settings: `accounts:mailboxes`, `sqlite:/etc/facteur/domains.cf`, `mysql:…`, `pgsql:…`; only tables
//! that the settings name are answered. A client believes an answer for some seconds, a missing key for one. Silence for a second, or
//! no partner, is [`Unavailable`]: a temporary failure, never "not found".

use crate::frame;
use crate::mux::{Incoming, Input, Mux, Talk, Unavailable};
use bincode::{Decode, Encode};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The conversation's frames. A question has at most 2 KiB of text, an answer 64 KiB.
pub const LOOKUP: frame::Conversation = frame::Conversation { name: "lookup", kind: 3, version: 1, limit_bytes: 72 << 10 };

/// How long an answer may take.
pub const DEADLINE: Duration = Duration::from_secs(1);

/// Longest table name and longest key, in bytes. No mail address or domain is longer than a key.
pub const TABLE_LIMIT_BYTES: usize = 1024;
pub const KEY_LIMIT_BYTES: usize = 1024;

/// Longest value, in bytes.
pub const VALUE_LIMIT_BYTES: usize = 64 << 10;

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Question {
    pub id: u32,
    pub table: String,
    pub key: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Answer {
    pub id: u32,
    pub result: Found,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Found {
    Value(String),
    Nothing,
    /// For logs: why there is no answer.
    Unavailable(String),
}

/// How long answers are believed, and how many are kept.
#[derive(Debug, Clone, Copy)]
pub struct Caching {
    pub found_for: Duration,
    pub missing_for: Duration,
    /// Answers kept per table.
    pub limit: usize,
}

impl Default for Caching {
    fn default() -> Caching {
        Caching { found_for: Duration::from_secs(10), missing_for: Duration::from_secs(1), limit: 50_000 }
    }
}

/// A client of `authd`'s `lookup` socket. Cheap to clone; all clones share one connection and one cache.
#[derive(Clone)]
pub struct LookupClient {
    mux: Arc<Mux<ClientSide>>,
    caching: Caching,
    cache: Arc<Mutex<HashMap<String, Cache>>>,
}

type Cache = HashMap<String, (Instant, Option<String>)>;

impl LookupClient {
    pub fn new(path: impl Into<PathBuf>) -> LookupClient {
        LookupClient::with(path, DEADLINE, Caching::default())
    }

    /// As `new`, with another deadline and another cache.
    pub fn with(path: impl Into<PathBuf>, deadline: Duration, caching: Caching) -> LookupClient {
        LookupClient { mux: Arc::new(Mux::new(path, ClientSide, deadline)), caching, cache: Arc::default() }
    }

    /// The value under `key` in `table`; `None` when the table has no such key.
    pub async fn get(&self, table: &str, key: &str) -> Result<Option<String>, Unavailable> {
        if let Some(value) = self.cached(table, key) {
            return Ok(value);
        }
        self.ask(table, key).await
    }

    /// As `get`, never from the cache.
    pub async fn ask(&self, table: &str, key: &str) -> Result<Option<String>, Unavailable> {
        if table.len() > TABLE_LIMIT_BYTES {
            return Err(Unavailable::new(self.mux.path(), "the table's name is too long"));
        }
        // Nothing this long is in any table.
        if key.len() > KEY_LIMIT_BYTES {
            return Ok(None);
        }
        let question = |id: u32| {
            let mut out = Vec::with_capacity(64 + table.len() + key.len());
            let question = Question { id, table: table.to_owned(), key: key.to_owned() };
            LOOKUP.encode(&question, &mut out).expect("table and key are within their limits, which fit a frame");
            out
        };
        let value = match self.mux.ask(question).await?.pop() {
            Some(Found::Value(value)) => Some(value),
            Some(Found::Nothing) => None,
            Some(Found::Unavailable(reason)) => return Err(Unavailable::new(self.mux.path(), format!("{table}: {reason}"))),
            None => return Err(Unavailable::new(self.mux.path(), "the answer was empty")),
        };
        self.keep(table, key, value.clone());
        Ok(value)
    }

    /// Forgets all answers, e.g. after a reload.
    pub fn forget(&self) {
        self.cache.lock().clear();
    }

    fn cached(&self, table: &str, key: &str) -> Option<Option<String>> {
        let cache = self.cache.lock();
        let (until, value) = cache.get(table)?.get(key)?;
        (*until > Instant::now()).then(|| value.clone())
    }

    fn keep(&self, table: &str, key: &str, value: Option<String>) {
        let now = Instant::now();
        let until = now + if value.is_some() { self.caching.found_for } else { self.caching.missing_for };
        let mut cache = self.cache.lock();
        let table = match cache.get_mut(table) {
            Some(table) => table,
            None => cache.entry(table.to_owned()).or_default(),
        };
        if table.len() >= self.caching.limit {
            table.retain(|_, (until, _)| *until > now);
            // A flood of names nobody has must not push out more than itself for long.
            if table.len() >= self.caching.limit {
                table.clear();
            }
        }
        table.insert(key.to_owned(), (until, value));
    }
}

struct ClientSide;

impl Talk for ClientSide {
    type Hello = ();
    type Reply = Found;

    fn greeting(&self) -> Vec<u8> {
        Vec::new()
    }

    fn hello(&self, _: &mut Input) -> Result<Option<()>, String> {
        Ok(Some(()))
    }

    fn reply(&self, input: &mut Input) -> Result<Option<Incoming<Found>>, String> {
        match LOOKUP.decode::<Answer>(input.rest()) {
            Ok(Some((answer, length))) => {
                input.take(length);
                Ok(Some(Incoming { id: answer.id, reply: answer.result, last: true }))
            }
            Ok(None) => Ok(None),
            Err(e) => Err(e.to_string()),
        }
    }
}
