//! Where an account's mail lies and as whom: `deliver`, `imapd`, `pop3d`, `facteur` ask `authd` (or a Dovecot's `auth-userdb`
//! socket). Dovecot's auth master protocol, version 1.1.
//!
//! ```text
//! S: VERSION TAB 1 TAB 1                         C: VERSION TAB 1 TAB 1
//! S: SPID TAB <pid>
//! C: USER TAB <id> TAB <name> TAB service=lmtp
//! S: USER TAB <id> TAB <name> TAB uid=5000 TAB gid=5000 TAB home=… [TAB mail=…] [TAB quota_rule=…] [TAB name=value]…
//! S: NOTFOUND TAB <id>        S: FAIL TAB <id> [TAB reason=…]
//! C: PASS TAB <id> TAB <name> TAB service=imap   S: PASS TAB <id> TAB user=… [TAB name=value]…, or NOTFOUND, FAIL
//! C: LIST TAB <id> TAB service=doveadm           S: LIST TAB <id> TAB <name>, … then DONE TAB <id> [TAB fail]
//! ```
//!
//! A failure and five seconds of silence are [`Unavailable`]: nobody takes a mailbox for missing because its database is.

pub mod server;

use crate::mux::{Incoming, Input, Mux, Talk, Unavailable};
use crate::tabbed::{Fields, Line};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a question may take.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// The longest line either side sends.
pub const LINE_LIMIT_BYTES: usize = 16_384;

/// How long an account that was found is believed to be there, and one that was not to be missing.
const FOUND_FOR: Duration = Duration::from_secs(5);
const MISSING_FOR: Duration = Duration::from_secs(1);
const CACHE_LIMIT: usize = 20_000;

/// An account, as the user database has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// The account's name; may differ from the one asked for (lower case, a default domain added).
    pub name: String,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub home: Option<PathBuf>,
    /// Mail location, e.g. `maildir:/home/vmail/ann@example.org`; [`User::maildir`] is the path in it.
    pub mail: Option<String>,
    /// Limit of the mailbox in bytes, from `quota_rule=*:bytes=N` or `quota_rule=*:storage=N` (KiB); `None` without one, 0: no limit.
    pub quota_bytes: Option<u64>,
    /// Limit of the number of messages, from `quota_rule=*:messages=N`; `None` without one, 0: no limit.
    pub quota_messages: Option<u64>,
    /// All fields as they came, these included.
    pub fields: Vec<(String, String)>,
}

impl User {
    /// Makes a user from the fields of an answer.
    pub fn from_fields(name: String, fields: Vec<(String, String)>) -> User {
        let mut user = User { name, ..User::default() };
        for (name, value) in &fields {
            match name.as_str() {
                "uid" => user.uid = value.parse().ok(),
                "gid" => user.gid = value.parse().ok(),
                "home" => user.home = Some(PathBuf::from(value)),
                "mail" => user.mail = Some(value.clone()),
                "quota_rule" => {
                    user.quota_bytes = quota_bytes(value).or(user.quota_bytes);
                    user.quota_messages = quota_messages(value).or(user.quota_messages);
                }
                _ => {}
            }
        }
        user.fields = fields;
        user
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The directory of the Maildir: of `mail` without `maildir:` and without `:INDEX=…` behind it; `~/` is the home.
    /// `None` when the user has no mail location, or one of another kind.
    pub fn maildir(&self) -> Option<PathBuf> {
        let mail = self.mail.as_deref()?;
        let path = match mail.split_once(':') {
            Some(("maildir", rest)) => rest.split(':').next().unwrap_or(rest),
            Some(_) => return None,
            None => mail,
        };
        match path.strip_prefix("~/") {
            Some(below) => Some(self.home.as_ref()?.join(below)),
            None if path.starts_with('/') => Some(PathBuf::from(path)),
            None => None,
        }
    }
}

/// The limit in a Dovecot quota rule for all mailboxes: `*:bytes=1000`, `*:storage=10M` (KiB without unit). Zero is no limit.
fn quota_bytes(rule: &str) -> Option<u64> {
    let limits = rule.strip_prefix("*:")?;
    limits.split(':').find_map(|limit| {
        let (name, value) = limit.split_once('=')?;
        let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let number: u64 = digits.parse().ok()?;
        let unit = match (name, value[digits.len()..].to_ascii_uppercase().as_str()) {
            ("bytes", "") | ("storage", "B") => 1,
            ("storage", "" | "K" | "KB") => 1 << 10,
            ("storage" | "bytes", "M" | "MB") => 1 << 20,
            ("storage" | "bytes", "G" | "GB") => 1 << 30,
            ("storage" | "bytes", "T" | "TB") => 1 << 40,
            _ => return None,
        };
        number.checked_mul(unit)
    })
}

/// A client of `authd`'s `userdb` socket, or of a Dovecot's. Cheap to clone; all clones share one connection and one cache.
#[derive(Clone)]
pub struct UserdbClient {
    mux: Arc<Mux<ClientSide>>,
    cache: Arc<Mutex<HashMap<(String, String), Cached>>>,
}

struct Cached {
    until: Instant,
    user: Option<Arc<User>>,
}

impl UserdbClient {
    pub fn new(path: impl Into<PathBuf>) -> UserdbClient {
        UserdbClient::with_deadline(path, DEADLINE)
    }

    /// As `new`, with another deadline for each question.
    pub fn with_deadline(path: impl Into<PathBuf>, deadline: Duration) -> UserdbClient {
        UserdbClient { mux: Arc::new(Mux::new(path, ClientSide, deadline)), cache: Arc::default() }
    }

    /// The account of this name, for `service` (`lmtp`, `imap`, `pop3`, `facteur`). `None`: there is none.
    ///
    /// An answer is believed for five seconds, its absence for one; [`UserdbClient::ask`] always asks.
    pub async fn lookup(&self, user: &str, service: &str) -> Result<Option<Arc<User>>, Unavailable> {
        let key = (user.to_owned(), service.to_owned());
        if let Some(cached) = self.cache.lock().get(&key)
            && cached.until > Instant::now()
        {
            return Ok(cached.user.clone());
        }
        self.ask(user, service).await
    }

    /// As `lookup`, never from the cache.
    pub async fn ask(&self, user: &str, service: &str) -> Result<Option<Arc<User>>, Unavailable> {
        if user.len() + service.len() > LINE_LIMIT_BYTES / 4 {
            return Ok(None);
        }
        let found = match self.last_reply("USER", user, service).await? {
            ServerReply::User(user) => Some(Arc::new(user)),
            ServerReply::NotFound => None,
            ServerReply::Fail(reason) => return Err(Unavailable::new(self.mux.path(), reason)),
            ServerReply::Listed(_) => return Err(Unavailable::new(self.mux.path(), "answers a question that nobody asked")),
        };
        let now = Instant::now();
        let mut cache = self.cache.lock();
        if cache.len() >= CACHE_LIMIT {
            cache.retain(|_, cached| cached.until > now);
            if cache.len() >= CACHE_LIMIT {
                cache.clear();
            }
        }
        let until = now + if found.is_some() { FOUND_FOR } else { MISSING_FOR };
        cache.insert((user.to_owned(), service.to_owned()), Cached { until, user: found.clone() });
        Ok(found)
    }

    /// The fields that a password check of this account would have given, without any check. `None`: there is no such account.
    pub async fn pass(&self, user: &str, service: &str) -> Result<Option<User>, Unavailable> {
        match self.last_reply("PASS", user, service).await? {
            ServerReply::User(user) => Ok(Some(user)),
            ServerReply::NotFound => Ok(None),
            ServerReply::Fail(reason) => Err(Unavailable::new(self.mux.path(), reason)),
            ServerReply::Listed(_) => Err(Unavailable::new(self.mux.path(), "answers a question that nobody asked")),
        }
    }

    /// The names of all accounts. `Unavailable` also where the user database cannot list them, as a static one.
    pub async fn list(&self) -> Result<Vec<String>, Unavailable> {
        let replies = self.mux.ask(|id| Line::new("LIST").field(id.to_string()).pair("service", "facteur").end()).await?;
        let mut names = Vec::with_capacity(replies.len().saturating_sub(1));
        for reply in replies {
            match reply {
                ServerReply::Listed(Some(name)) => names.push(name),
                ServerReply::Fail(reason) => return Err(Unavailable::new(self.mux.path(), reason)),
                _ => {}
            }
        }
        Ok(names)
    }

    async fn last_reply(&self, command: &str, user: &str, service: &str) -> Result<ServerReply, Unavailable> {
        let line = |id: u32| Line::new(command).field(id.to_string()).field(user).pair("service", service).end();
        let mut replies = self.mux.ask(line).await?;
        replies.pop().ok_or_else(|| Unavailable::new(self.mux.path(), "the answer was empty"))
    }
}

enum ServerReply {
    User(User),
    NotFound,
    Fail(String),
    /// A name of a list, or its end.
    Listed(Option<String>),
}

struct ClientSide;

impl Talk for ClientSide {
    type Hello = ();
    type Reply = ServerReply;

    fn greeting(&self) -> Vec<u8> {
        Line::new("VERSION").field("1").field("1").end()
    }

    fn hello(&self, input: &mut Input) -> Result<Option<()>, String> {
        // VERSION and SPID; nothing is taken before both are there.
        let mut lines = input.rest().split_inclusive(|b| *b == b'\n');
        let mut length = 0;
        for word in ["VERSION", "SPID"] {
            let Some(line) = lines.next().and_then(|line| line.strip_suffix(b"\n")) else {
                return if input.rest().len() > 1024 { Err("its greeting is too long".into()) } else { Ok(None) };
            };
            let mut fields = Fields::of(line);
            if fields.text() != Some(Ok(word.into())) || (word == "VERSION" && fields.number() != Some(1)) {
                return Err("does not speak version 1 of the auth master protocol".into());
            }
            length += line.len() + 1;
        }
        input.take(length);
        Ok(Some(()))
    }

    fn reply(&self, input: &mut Input) -> Result<Option<Incoming<ServerReply>>, String> {
        loop {
            let Some(line) = input.line(LINE_LIMIT_BYTES * 4)? else { return Ok(None) };
            let mut fields = Fields::of(line);
            let Some(Ok(word)) = fields.text() else { continue };
            if !matches!(word.as_str(), "USER" | "PASS" | "NOTFOUND" | "FAIL" | "LIST" | "DONE") {
                continue;
            }
            let id = fields.number().ok_or("an answer has no number")?;
            let (reply, last) = match word.as_str() {
                "USER" => {
                    let name = fields.text().and_then(Result::ok).filter(|name| !name.is_empty()).ok_or("a USER has no name")?;
                    (ServerReply::User(User::from_fields(name, fields.pairs())), true)
                }
                "PASS" => {
                    let fields = fields.pairs();
                    let name = fields.iter().find(|(name, _)| name == "user").map(|(_, value)| value.clone()).unwrap_or_default();
                    (ServerReply::User(User::from_fields(name, fields)), true)
                }
                "NOTFOUND" => (ServerReply::NotFound, true),
                "FAIL" => {
                    let pairs = fields.pairs();
                    let reason = pairs.into_iter().find(|(name, _)| name == "reason").map(|(_, value)| value);
                    (ServerReply::Fail(reason.unwrap_or_else(|| "the user database failed".into())), true)
                }
                "LIST" => (ServerReply::Listed(fields.text().and_then(Result::ok)), false),
                _ => match fields.text() {
                    Some(Ok(word)) if word == "fail" => (ServerReply::Fail("the user database cannot list its users".into()), true),
                    _ => (ServerReply::Listed(None), true),
                },
            };
            return Ok(Some(Incoming { id, reply, last }));
        }
    }
}

/// The same for the number of messages: `*:messages=1000`.
fn quota_messages(rule: &str) -> Option<u64> {
    let limits = rule.strip_prefix("*:")?;
    limits.split(':').find_map(|limit| limit.strip_prefix("messages=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quota_rules_become_messages() {
        for (rule, want) in
            [("*:messages=5", Some(5)), ("*:storage=2M:messages=100", Some(100)), ("*:messages=0", Some(0)), ("Trash:messages=5", None)]
        {
            assert_eq!(quota_messages(rule), want, "{rule:?}");
        }
    }

    #[test]
    fn quota_rules_become_bytes() {
        for (rule, want) in [
            ("*:bytes=1000", Some(1000)),
            ("*:storage=10", Some(10_240)),
            ("*:storage=2M:messages=100", Some(2 << 20)),
            ("*:messages=5:storage=1G", Some(1 << 30)),
            ("*:bytes=0", Some(0)),
            ("Trash:storage=5", None),
            ("*:storage=x", None),
            ("", None),
        ] {
            assert_eq!(quota_bytes(rule), want, "{rule:?}");
        }
    }

    #[test]
    fn the_maildir_is_found_in_the_mail_field() {
        let user = |mail: &str| User { mail: Some(mail.into()), home: Some("/home/vmail/ann".into()), ..User::default() };
        for (mail, want) in [
            ("maildir:/home/vmail/ann", Some("/home/vmail/ann")),
            ("maildir:/home/vmail/ann/:INDEX=/var/x", Some("/home/vmail/ann/")),
            ("maildir:~/Maildir", Some("/home/vmail/ann/Maildir")),
            ("/srv/ann", Some("/srv/ann")),
            ("mbox:/var/mail/ann", None),
            ("maildir:relative", None),
        ] {
            assert_eq!(user(mail).maildir(), want.map(PathBuf::from), "{mail:?}");
        }
    }
}
