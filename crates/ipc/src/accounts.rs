//! Domains, mailboxes, aliases: `facteur` asks `authd`, the only writer of the accounts database.
//!
//! The client sends a [`Question`], `authd` answers with any number of [`Reply::Rows`] and then [`Reply::Done`], [`Reply::Refused`] or
//! [`Reply::Failed`], all under the question's id. A change is durable when `Done` arrives. Who may connect: root, `authd`'s own user, and the
//! group of the socket; `authd` looks at the peer's credentials. Passwords go in, never out.

use crate::frame;
use crate::mux::{Incoming, Input, Mux, Talk, Unavailable};
use bincode::de::{Decoder, read::Reader};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// The conversation's frames.
pub const ACCOUNTS: frame::Conversation = frame::Conversation { name: "accounts", kind: 4, version: 2, limit_bytes: 1 << 20 };

/// How long a change may take; hashing a password on a busy machine included.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Rows in one [`Reply::Rows`].
pub const ROWS_AT_ONCE: usize = 500;

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Question {
    pub id: u32,
    pub request: Request,
}

/// What is asked. Names are addresses and domains as people write them; `authd` checks them and keeps them in lower case.
/// In a change, `None` leaves a column as it is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Request {
    DomainAdd {
        domain: String,
        description: String,
    },
    DomainChange {
        domain: String,
        description: Option<String>,
        active: Option<bool>,
        backupmx: Option<bool>,
    },
    /// Refused while the domain has mailboxes or aliases, unless `all` asks to delete those too.
    DomainDelete {
        domain: String,
        all: bool,
    },
    DomainList {
        domain: Option<String>,
    },

    /// Adds the mailbox and, as PostfixAdmin does, the alias of the mailbox to itself.
    MailboxAdd {
        address: String,
        password: NewPassword,
        name: String,
        quota_bytes: u64,
    },
    MailboxChange {
        address: String,
        password: Option<NewPassword>,
        name: Option<String>,
        quota_bytes: Option<u64>,
        active: Option<bool>,
        services: Services,
    },
    /// Deletes the mailbox and its alias. The mail stays where it is.
    MailboxDelete {
        address: String,
    },
    /// All mailboxes, of one domain, or one (`of` with or without `@`).
    MailboxList {
        of: Option<String>,
    },

    /// Adds a password for one app: it serves for IMAP, POP3 and SMTP beside the mailbox's own.
    AppPasswordAdd {
        address: String,
        note: String,
        password: NewPassword,
    },
    AppPasswordDelete {
        address: String,
        id: u64,
    },
    /// All passwords for apps, of one domain, or of a mailbox.
    AppPasswordList {
        of: Option<String>,
    },

    /// `address` may be `@domain`, which catches what no other address of the domain does.
    AliasAdd {
        address: String,
        goto: Vec<String>,
    },
    AliasChange {
        address: String,
        goto: Option<Vec<String>>,
        active: Option<bool>,
    },
    AliasDelete {
        address: String,
    },
    /// All aliases, of one domain, or one. Those of a mailbox to itself alone are left out.
    AliasList {
        of: Option<String>,
    },

    AliasDomainAdd {
        alias_domain: String,
        target_domain: String,
    },
    AliasDomainDelete {
        alias_domain: String,
    },
    AliasDomainList {
        of: Option<String>,
    },

    /// Whom PostfixAdmin's pages let in: for some domains, or for `all_domains` (a superadmin).
    AdminAdd {
        username: String,
        password: NewPassword,
        domains: Vec<String>,
        all_domains: bool,
    },
    AdminChange {
        username: String,
        password: Option<NewPassword>,
        domains: Option<Vec<String>>,
        all_domains: Option<bool>,
        active: Option<bool>,
    },
    AdminDelete {
        username: String,
    },
    AdminList {
        username: Option<String>,
    },
}

/// Which services a mailbox may be used for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct Services {
    pub smtp: Option<bool>,
    pub imap: Option<bool>,
    pub pop3: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Answer {
    pub id: u32,
    pub reply: Reply,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Reply {
    Rows(Vec<Row>),
    Done,
    /// The request cannot be: for the person who asked.
    Refused(String),
    /// The database failed; to be tried again.
    Failed(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Row {
    Domain(Domain),
    Mailbox(Mailbox),
    Alias(Alias),
    AliasDomain(AliasDomain),
    Admin(Admin),
    AppPassword(AppPassword),
}

/// A row of PostfixAdmin's table `domain`. Times are as the database has them, `YYYY-MM-DD HH:MM:SS`, UTC.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Domain {
    pub domain: String,
    pub description: String,
    pub backupmx: bool,
    pub active: bool,
    pub mailboxes: u64,
    pub aliases: u64,
    pub created: String,
    pub modified: String,
}

/// A row of `mailbox`, without its password.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Mailbox {
    pub username: String,
    pub name: String,
    pub maildir: String,
    /// Zero is no limit.
    pub quota_bytes: u64,
    pub active: bool,
    /// Scheme of the password, e.g. `ARGON2ID`.
    pub scheme: String,
    /// What is stored, when some program has reported it.
    pub used_bytes: Option<u64>,
    pub created: String,
    pub modified: String,
    /// Services that are switched off: `smtp`, `imap`, `pop3`.
    pub off: Vec<String>,
}

/// A password for one app, without the password.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AppPassword {
    pub username: String,
    pub id: u64,
    /// What it is for.
    pub note: String,
    /// Seconds since 1970, within `auth_cache_ttl`; and from where.
    pub last_used: Option<u64>,
    pub remote: String,
}

/// A row of `alias`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Alias {
    pub address: String,
    pub goto: Vec<String>,
    pub active: bool,
    pub created: String,
    pub modified: String,
}

/// A row of `alias_domain`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AliasDomain {
    pub alias_domain: String,
    pub target_domain: String,
    pub active: bool,
    pub created: String,
    pub modified: String,
}

/// A row of `admin`, without its password, and the admin's rows of `domain_admins`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Admin {
    pub username: String,
    pub domains: Vec<String>,
    pub all_domains: bool,
    pub active: bool,
    pub created: String,
    pub modified: String,
}

/// A password on its way in: in plain text, or as a hash made elsewhere (`{SHA512-CRYPT}$6$…`), which is kept as it is.
/// Never printed, overwritten when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct NewPassword {
    text: Zeroizing<String>,
    hashed: bool,
}

impl NewPassword {
    pub fn plain(text: impl Into<String>) -> NewPassword {
        NewPassword { text: Zeroizing::new(text.into()), hashed: false }
    }

    pub fn hashed(text: impl Into<String>) -> NewPassword {
        NewPassword { text: Zeroizing::new(text.into()), hashed: true }
    }

    pub fn is_hashed(&self) -> bool {
        self.hashed
    }

    /// The password or hash itself; never hand this to a log.
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for NewPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl Encode for NewPassword {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.hashed.encode(encoder)?;
        self.text.as_str().encode(encoder)
    }
}

impl<C> Decode<C> for NewPassword {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<NewPassword, DecodeError> {
        const LIMIT_BYTES: u64 = 4096;
        let hashed = bool::decode(decoder)?;
        let length = u64::decode(decoder)?;
        if length > LIMIT_BYTES {
            return Err(DecodeError::LimitExceeded);
        }
        let mut bytes = Zeroizing::new(vec![0; length as usize]);
        decoder.reader().read(&mut bytes)?;
        let text = std::str::from_utf8(&bytes).map_err(|inner| DecodeError::Utf8 { inner })?;
        Ok(NewPassword { text: Zeroizing::new(text.to_owned()), hashed })
    }
}

bincode::impl_borrow_decode!(NewPassword);

/// Why a request was not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AccountsError {
    /// The request cannot be (no such domain, already there, not an address): for the person who asked.
    #[error("{0}")]
    Refused(String),
    /// The database failed.
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A client of `authd`'s `accounts` socket.
#[derive(Clone)]
pub struct AccountsClient(Arc<Mux<ClientSide>>);

impl AccountsClient {
    pub fn new(path: impl Into<PathBuf>) -> AccountsClient {
        AccountsClient::with_deadline(path, DEADLINE)
    }

    /// As `new`, with another deadline for each request.
    pub fn with_deadline(path: impl Into<PathBuf>, deadline: Duration) -> AccountsClient {
        AccountsClient(Arc::new(Mux::new(path, ClientSide, deadline)))
    }

    /// Asks; a change is durable when this returns. A list comes whole, sorted by name; a change has no rows.
    pub async fn ask(&self, request: Request) -> Result<Vec<Row>, AccountsError> {
        let mut frame = Vec::new();
        if let Err(e) = ACCOUNTS.encode(&Question { id: u32::MAX, request: request.clone() }, &mut frame) {
            return Err(AccountsError::Refused(e.to_string()));
        }
        let question = |id: u32| {
            let mut out = Vec::new();
            // The id is at its longest above.
            ACCOUNTS.encode(&Question { id, request: request.clone() }, &mut out).expect("a frame that fits with a longer id");
            out
        };
        let mut rows = Vec::new();
        // Asked once: a change that was made before the connection broke would be refused the second time.
        for reply in self.0.ask_once(question).await? {
            match reply {
                Reply::Rows(more) => rows.extend(more),
                Reply::Done => {}
                Reply::Refused(reason) => return Err(AccountsError::Refused(reason)),
                Reply::Failed(reason) => return Err(AccountsError::Failed(reason)),
            }
        }
        Ok(rows)
    }

    /// The domains, or one.
    pub async fn domains(&self, domain: Option<&str>) -> Result<Vec<Domain>, AccountsError> {
        let rows = self.ask(Request::DomainList { domain: domain.map(str::to_owned) }).await?;
        Ok(rows.into_iter().filter_map(|row| if let Row::Domain(row) = row { Some(row) } else { None }).collect())
    }

    /// The mailboxes, of one domain, or one.
    pub async fn mailboxes(&self, of: Option<&str>) -> Result<Vec<Mailbox>, AccountsError> {
        let rows = self.ask(Request::MailboxList { of: of.map(str::to_owned) }).await?;
        Ok(rows.into_iter().filter_map(|row| if let Row::Mailbox(row) = row { Some(row) } else { None }).collect())
    }

    /// The aliases, of one domain, or one.
    pub async fn aliases(&self, of: Option<&str>) -> Result<Vec<Alias>, AccountsError> {
        let rows = self.ask(Request::AliasList { of: of.map(str::to_owned) }).await?;
        Ok(rows.into_iter().filter_map(|row| if let Row::Alias(row) = row { Some(row) } else { None }).collect())
    }

    /// The passwords for apps, of one domain, or of a mailbox.
    pub async fn app_passwords(&self, of: Option<&str>) -> Result<Vec<AppPassword>, AccountsError> {
        let rows = self.ask(Request::AppPasswordList { of: of.map(str::to_owned) }).await?;
        Ok(rows.into_iter().filter_map(|row| if let Row::AppPassword(row) = row { Some(row) } else { None }).collect())
    }

    /// The admins, or one.
    pub async fn admins(&self, username: Option<&str>) -> Result<Vec<Admin>, AccountsError> {
        let rows = self.ask(Request::AdminList { username: username.map(str::to_owned) }).await?;
        Ok(rows.into_iter().filter_map(|row| if let Row::Admin(row) = row { Some(row) } else { None }).collect())
    }

    /// The alias domains, or those of one domain.
    pub async fn alias_domains(&self, of: Option<&str>) -> Result<Vec<AliasDomain>, AccountsError> {
        let rows = self.ask(Request::AliasDomainList { of: of.map(str::to_owned) }).await?;
        Ok(rows.into_iter().filter_map(|row| if let Row::AliasDomain(row) = row { Some(row) } else { None }).collect())
    }
}

struct ClientSide;

impl Talk for ClientSide {
    type Hello = ();
    type Reply = Reply;

    fn greeting(&self) -> Vec<u8> {
        Vec::new()
    }

    fn hello(&self, _: &mut Input) -> Result<Option<()>, String> {
        Ok(Some(()))
    }

    fn reply(&self, input: &mut Input) -> Result<Option<Incoming<Reply>>, String> {
        match ACCOUNTS.decode::<Answer>(input.rest()) {
            Ok(Some((answer, length))) => {
                input.take(length);
                let last = !matches!(answer.reply, Reply::Rows(_));
                Ok(Some(Incoming { id: answer.id, reply: answer.reply, last }))
            }
            Ok(None) => Ok(None),
            Err(e) => Err(e.to_string()),
        }
    }
}
