//! What a client can ask, as types. Made by `parse/`, judged and carried out by imapd.

use crate::date::{Date, DateTime};
use crate::notify::NotifySet;
use crate::partial::PartialRange;
use crate::sequence::SequenceSet;
use mail_types::Secret;

/// One command, arguments checked against the grammar and nothing more: whether the mailbox exists is not known here.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    // any state
    Capability,
    Noop,
    Logout,
    Id(Vec<(String, Option<String>)>),
    // not authenticated
    StartTls,
    Login {
        user: String,
        password: Secret,
    },
    Authenticate {
        mechanism: String,
        initial: Option<Secret>,
    },
    // authenticated
    Unauthenticate,
    /// RFC 4978: the mechanism, in capitals.
    Compress(String),
    Enable(Vec<String>),
    Namespace,
    Select {
        mailbox: Mailbox,
        read_only: bool,
        parameters: SelectParameters,
    },
    Create {
        mailbox: Mailbox,
        special_use: Option<SpecialUse>,
    },
    Delete(Mailbox),
    Rename {
        from: Mailbox,
        to: Mailbox,
    },
    Subscribe {
        mailbox: Mailbox,
        on: bool,
    },
    List(List),
    Lsub {
        reference: String,
        pattern: String,
    },
    Status {
        mailbox: Mailbox,
        items: StatusItems,
    },
    /// RFC 9208: the name of a quota root.
    GetQuota(String),
    GetQuotaRoot(Mailbox),
    SetQuota {
        root: String,
        limits: Vec<(String, u64)>,
    },
    GetMetadata(GetMetadata),
    /// RFC 5464 §4.3; no mailbox is the server, no value removes the entry. Entries are in small letters.
    SetMetadata {
        mailbox: Option<Mailbox>,
        entries: Vec<(String, Option<Vec<u8>>)>,
    },
    SetAcl(SetAcl),
    DeleteAcl {
        mailbox: Mailbox,
        identifier: String,
    },
    GetAcl(Mailbox),
    ListRights {
        mailbox: Mailbox,
        identifier: String,
    },
    MyRights(Mailbox),
    Idle,
    /// RFC 5465; nothing for NONE.
    Notify(Option<NotifySet>),
    /// ESEARCH (RFC 7377): `sources` are the selected mailbox when none are named.
    MultiSearch {
        sources: Vec<MailboxFilter>,
        search: Search,
    },
    // selected
    Check,
    Close,
    Unselect,
    Expunge(Option<SequenceSet>),
    Search(Search),
    Sort(Sort),
    /// RFC 5267 §4.3.5: the tags of searches.
    CancelUpdate(Vec<String>),
    Thread {
        search: Search,
        algorithm: ThreadAlgorithm,
    },
    Fetch {
        set: SequenceSet,
        uid: bool,
        items: Vec<FetchItem>,
        modifiers: FetchModifiers,
    },
    Store(Store),
    Copy {
        set: SequenceSet,
        uid: bool,
        mailbox: Mailbox,
        remove: bool,
    },
}

impl Command {
    /// May EXPUNGE responses go out while this command is answered? RFC 3501 §7.4.1, RFC 5256 §3: not during FETCH, STORE, SEARCH,
    /// SORT and THREAD by message number, where the client could not tell which message a number meant.
    pub fn may_report_expunge(&self) -> bool {
        match self {
            Command::Fetch { uid, .. } => *uid,
            Command::Store(store) => store.uid,
            Command::Search(search) | Command::Thread { search, .. } => search.may_report_expunge(),
            Command::Sort(sort) => sort.search.may_report_expunge(),
            _ => true,
        }
    }

    /// Is there a mailbox in it, or does its answer name some?
    pub fn may_name_mailboxes(&self) -> bool {
        let is_one = matches!(self, Command::Select { .. } | Command::Create { .. } | Command::Delete(_) | Command::Rename { .. });
        let is_listed = matches!(self, Command::List(_) | Command::Lsub { .. } | Command::Status { .. } | Command::Subscribe { .. });
        let is_of_messages = matches!(self, Command::Copy { .. } | Command::MultiSearch { .. });
        let is_described = matches!(self, Command::GetQuotaRoot(_) | Command::GetMetadata(_) | Command::SetMetadata { .. });
        let has_rights = matches!(self, Command::SetAcl(_) | Command::DeleteAcl { .. } | Command::GetAcl(_) | Command::ListRights { .. });
        is_one || is_listed || is_of_messages || is_described || has_rights || matches!(self, Command::MyRights(_))
    }

    /// Does it name messages by their numbers, or is it answered with them? After ENABLE UIDONLY there are none (RFC 9586).
    pub fn uses_numbers(&self) -> bool {
        let by_number = |search: &Search| !search.uid || search.key.has_numbers();
        match self {
            Command::Fetch { uid, .. } | Command::Copy { uid, .. } => !uid,
            Command::Store(store) => !store.uid,
            Command::Search(search) | Command::Thread { search, .. } | Command::MultiSearch { search, .. } => by_number(search),
            Command::Sort(sort) => by_number(&sort.search),
            Command::Select { parameters, .. } => parameters.resync.as_ref().is_some_and(|resync| resync.samples.is_some()),
            _ => false,
        }
    }

    /// Does it search for what is like something (RFC 6203)?
    pub fn is_fuzzy(&self) -> bool {
        match self {
            Command::Search(search) | Command::Thread { search, .. } | Command::MultiSearch { search, .. } => search.key.has_fuzzy(),
            Command::Sort(sort) => sort.search.key.has_fuzzy(),
            _ => false,
        }
    }

    /// Does it say that the client wants to hear of mod-sequences from now on? RFC 7162 §3.1: the "CONDSTORE enabling commands", ENABLE aside.
    pub fn uses_modseqs(&self) -> bool {
        match self {
            Command::Select { parameters, .. } => parameters.condstore || parameters.resync.is_some(),
            Command::Status { items, .. } => items.highest_modseq,
            Command::List(list) => list.returns.status.is_some_and(|items| items.highest_modseq),
            Command::Fetch { items, modifiers, .. } => modifiers.changed_since.is_some() || items.contains(&FetchItem::ModSeq),
            Command::Search(search) | Command::Thread { search, .. } => search.key.has_modseq(),
            Command::Sort(sort) => sort.search.key.has_modseq(),
            Command::Store(store) => store.unchanged_since.is_some(),
            _ => false,
        }
    }
}

/// What stands in parentheses behind the mailbox of SELECT (RFC 7162 §3.1.8, §3.2.5).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SelectParameters {
    pub condstore: bool,
    pub resync: Option<Resync>,
}

/// What a client remembers of a mailbox (RFC 7162 §3.2.5).
#[derive(Debug, Clone, PartialEq)]
pub struct Resync {
    pub uid_validity: u32,
    pub modseq: u64,
    /// UIDs it wants to hear of; all when there are none.
    pub known: Option<SequenceSet>,
    /// Some message numbers and their UIDs, in the same order (RFC 7162 §3.2.5.2).
    pub samples: Option<(SequenceSet, SequenceSet)>,
}

/// RFC 7162 §3.1.4.1, §3.2.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FetchModifiers {
    pub changed_since: Option<u64>,
    pub vanished: bool,
    /// RFC 9394 §3.3: of the messages in the set, only those in these places.
    pub partial: Option<PartialRange>,
}

/// A mailbox name in UTF-8, `INBOX` always in capitals. Whether it can exist is the store's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox(pub String);

/// Mailboxes by what they are (RFC 5465 §6; RFC 7377 §2.2 for `SubtreeOne`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailboxFilter {
    Selected,
    SelectedDelayed,
    Inboxes,
    Personal,
    Subscribed,
    Subtree(Vec<Mailbox>),
    SubtreeOne(Vec<Mailbox>),
    Mailboxes(Vec<Mailbox>),
}

/// APPEND or REPLACE, up to the first literal of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Append {
    pub mailbox: Mailbox,
    /// REPLACE: the message that goes (RFC 8508).
    pub replaces: Option<Replaces>,
    pub pieces: Vec<AppendPiece>,
}

/// The message that a REPLACE means, by number or UID.
#[derive(Debug, Clone, PartialEq)]
pub struct Replaces {
    pub uid: bool,
    pub message: SequenceSet,
}

/// What the messages of an APPEND are made of, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum AppendPiece {
    /// A message begins (RFC 3502: there may be several); `catenated` of parts (RFC 4469).
    Message { flags: Vec<Flag>, date: Option<DateTime>, catenated: bool },
    /// A message or part that is in a mailbox already (RFC 4469).
    Url(String),
    /// Bytes that come next. `binary`: as a literal8 (RFC 3516), `utf8`: in `UTF8 (...)` (RFC 6855).
    Literal { size: u64, binary: bool, utf8: bool },
}

/// A flag a client may set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Flag {
    Seen,
    Answered,
    Flagged,
    Deleted,
    Draft,
    Keyword(String),
}

impl Flag {
    pub fn name(&self) -> &str {
        match self {
            Flag::Seen => "\\Seen",
            Flag::Answered => "\\Answered",
            Flag::Flagged => "\\Flagged",
            Flag::Deleted => "\\Deleted",
            Flag::Draft => "\\Draft",
            Flag::Keyword(name) => name,
        }
    }
}

/// RFC 6154 §2: what a mailbox is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpecialUse {
    All,
    Archive,
    Drafts,
    Flagged,
    Junk,
    Sent,
    Trash,
}

impl SpecialUse {
    pub const EVERY: [SpecialUse; 7] = [
        SpecialUse::All,
        SpecialUse::Archive,
        SpecialUse::Drafts,
        SpecialUse::Flagged,
        SpecialUse::Junk,
        SpecialUse::Sent,
        SpecialUse::Trash,
    ];

    pub fn name(self) -> &'static str {
        match self {
            SpecialUse::All => "\\All",
            SpecialUse::Archive => "\\Archive",
            SpecialUse::Drafts => "\\Drafts",
            SpecialUse::Flagged => "\\Flagged",
            SpecialUse::Junk => "\\Junk",
            SpecialUse::Sent => "\\Sent",
            SpecialUse::Trash => "\\Trash",
        }
    }
}

/// LIST with what RFC 5258, RFC 5819 and RFC 6154 add.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct List {
    pub select: ListSelect,
    pub reference: String,
    pub patterns: Vec<String>,
    pub returns: ListReturn,
    /// Annotations to be told of each mailbox (RFC 9590).
    pub metadata: Vec<String>,
    /// Written with selection options, several patterns or RETURN: RFC 5258 §3 gives an extended LIST other rules (an empty
    /// pattern is no longer the question for the separator).
    pub extended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ListSelect {
    pub subscribed: bool,
    pub recursive_match: bool,
    pub special_use: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ListReturn {
    pub subscribed: bool,
    pub children: bool,
    pub special_use: bool,
    /// RFC 8440 §3.
    pub my_rights: bool,
    pub status: Option<StatusItems>,
}

/// RFC 3501 §6.3.10.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatusItems {
    pub messages: bool,
    pub recent: bool,
    pub uid_next: bool,
    pub uid_validity: bool,
    pub unseen: bool,
    /// RFC 9051 §6.3.11.
    pub deleted: bool,
    /// Octets of the messages marked as deleted (RFC 9208 §4.1.4).
    pub deleted_storage: bool,
    /// Octets of all messages (RFC 8438).
    pub size: bool,
    /// RFC 7889 §3.
    pub append_limit: bool,
    /// RFC 8474 §4.3.
    pub mailbox_id: bool,
    /// RFC 7162 §3.1.7.
    pub highest_modseq: bool,
}

/// RFC 5464 §4.2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetMetadata {
    /// `None` is the server.
    pub mailbox: Option<Mailbox>,
    pub depth: Depth,
    /// Values that are larger are left out, and told of.
    pub max_size: Option<u32>,
    /// In small letters.
    pub entries: Vec<String>,
}

/// RFC 5464 §4.2.2: how far below an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    Zero,
    One,
    Infinity,
}

/// RFC 4314 §3.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAcl {
    pub mailbox: Mailbox,
    pub identifier: String,
    pub change: FlagChange,
    /// Small letters and digits, each one right; which rights there are is not known here.
    pub rights: String,
}

/// RFC 3501 §6.4.6.
#[derive(Debug, Clone, PartialEq)]
pub struct Store {
    pub set: SequenceSet,
    pub uid: bool,
    /// RFC 7162 §3.1.3: only messages that did not change since.
    pub unchanged_since: Option<u64>,
    pub change: FlagChange,
    pub silent: bool,
    pub flags: Vec<Flag>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagChange {
    Replace,
    Add,
    Remove,
}

/// One data item of FETCH (RFC 3501 §6.4.5).
#[derive(Debug, Clone, PartialEq)]
pub enum FetchItem {
    Flags,
    Uid,
    InternalDate,
    Size,
    Envelope,
    /// RFC 7162 §3.1.4.2.
    ModSeq,
    /// `BODY` without section (false) or `BODYSTRUCTURE` (true).
    Structure {
        extended: bool,
    },
    Body(BodyItem),
    /// `BINARY[...]`, `BINARY.PEEK[...]` (RFC 3516 §4.2).
    Binary(BinaryItem),
    /// `BINARY.SIZE[...]`: the part.
    BinarySize(Vec<u32>),
    /// RFC 8474 §5.3.
    EmailId,
    ThreadId,
    /// RFC 8514 §4.2.
    SaveDate,
    /// RFC 8970; `lazy`: only what can be had without delay.
    Preview {
        lazy: bool,
    },
}

/// A part without its Content-Transfer-Encoding.
#[derive(Debug, Clone, PartialEq)]
pub struct BinaryItem {
    /// Empty for the whole message.
    pub part: Vec<u32>,
    pub peek: bool,
    /// First byte and number of bytes, of what is decoded.
    pub partial: Option<(u32, u32)>,
}

/// `BODY[...]`, `BODY.PEEK[...]` or one of the RFC822 forms.
#[derive(Debug, Clone, PartialEq)]
pub struct BodyItem {
    pub section: Section,
    pub peek: bool,
    /// First byte and number of bytes.
    pub partial: Option<(u32, u32)>,
    pub form: BodyForm,
}

/// How the answer names the item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyForm {
    Body,
    Rfc822,
    Rfc822Header,
    Rfc822Text,
}

/// RFC 3501 §6.4.5: `[part.text]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Section {
    pub part: Vec<u32>,
    pub text: Option<SectionText>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum SectionText {
    Header,
    Fields { names: Vec<String>, not: bool },
    Text,
    Mime,
}

/// SEARCH or UID SEARCH.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    pub uid: bool,
    /// With `RETURN (...)`: answered by ESEARCH (RFC 4731).
    pub returns: Option<SearchReturn>,
    /// As the client named it; the strings of the keys are in it.
    pub charset: Option<String>,
    pub key: SearchKey,
    /// What is told of messages that come into the result later (RFC 5465 §7).
    pub fetch: Vec<FetchItem>,
}

impl Search {
    /// RFC 7162 §3.2.10.2: not during UID SEARCH either where a key names message numbers.
    fn may_report_expunge(&self) -> bool {
        self.uid && !self.key.has_numbers()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SearchReturn {
    pub min: bool,
    pub max: bool,
    pub all: bool,
    pub count: bool,
    /// Kept for `$` (RFC 5182).
    pub save: bool,
    /// RFC 9394 §3.1; never with `all`.
    pub partial: Option<PartialRange>,
    /// A hint that the same will be asked again (RFC 5267 §4.2).
    pub context: bool,
    /// Changes of the result are to be told (RFC 5267 §4.3).
    pub update: bool,
    /// How relevant each message is (RFC 6203 §4); only with FUZZY in the search.
    pub relevancy: bool,
}

impl SearchReturn {
    /// An ESEARCH response is wanted, not only SAVE (RFC 5182 §2.1).
    pub fn tells(self) -> bool {
        self != SearchReturn { save: true, ..SearchReturn::default() }
    }
}

/// SORT or UID SORT (RFC 5256): a search, and the order of what it finds.
#[derive(Debug, Clone, PartialEq)]
pub struct Sort {
    pub search: Search,
    /// The first decides; messages that are the same in all stand as in the mailbox.
    pub order: Vec<SortKey>,
}

/// One criterion of SORT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortKey {
    pub reverse: bool,
    pub by: SortBy,
}

/// RFC 5256 §3, and RFC 5957 for the names as people see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortBy {
    Arrival,
    Cc,
    Date,
    From,
    Size,
    Subject,
    To,
    DisplayFrom,
    DisplayTo,
    /// RFC 6203 §6: the most relevant first. Only with FUZZY in the search.
    Relevancy,
}

/// RFC 5256 §3; REFS is REFERENCES without subjects, ordered by the youngest message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadAlgorithm {
    OrderedSubject,
    References,
    Refs,
}

/// RFC 3501 §6.4.4. Nested at most as deep as the parser's limit, so walking it by recursion is safe.
#[derive(Debug, Clone, PartialEq)]
pub enum SearchKey {
    All,
    And(Vec<SearchKey>),
    Or(Vec<SearchKey>),
    Not(Box<SearchKey>),
    /// What is like it will do (RFC 6203 §3).
    Fuzzy(Box<SearchKey>),
    Numbers(SequenceSet),
    Uids(SequenceSet),
    Flag(Flag),
    Recent,
    /// INTERNALDATE, in the server's zone as written.
    Before(Date),
    On(Date),
    Since(Date),
    /// The Date: header, disregarding time and zone.
    SentBefore(Date),
    SentOn(Date),
    SentSince(Date),
    Header {
        name: String,
        value: Vec<u8>,
    },
    Body(Vec<u8>),
    Text(Vec<u8>),
    Larger(u64),
    Smaller(u64),
    /// INTERNALDATE so many seconds ago or longer; so many or less (RFC 5032).
    Older(u32),
    Younger(u32),
    /// RFC 8474 §6: case matters.
    EmailId(String),
    ThreadId(String),
    /// When the message came into the mailbox, in the server's zone as written (RFC 8514 §4.3).
    SavedBefore(Date),
    SavedOn(Date),
    SavedSince(Date),
    SaveDateSupported,
    /// Changed at this mod-sequence or later (RFC 7162 §3.1.5).
    ModSeq(u64),
}

impl SearchKey {
    /// RFC 7162 §3.1.5: the answer has a mod-sequence then.
    pub fn has_modseq(&self) -> bool {
        self.any(&|key| matches!(key, SearchKey::ModSeq(_)))
    }

    /// RFC 6203 §4: there are relevancy scores then.
    pub fn has_fuzzy(&self) -> bool {
        self.any(&|key| matches!(key, SearchKey::Fuzzy(_)))
    }

    /// Message numbers are in it.
    fn has_numbers(&self) -> bool {
        self.any(&|key| matches!(key, SearchKey::Numbers(set) if !set.is_saved()))
    }

    fn any(&self, is: &impl Fn(&SearchKey) -> bool) -> bool {
        is(self)
            || match self {
                SearchKey::And(keys) | SearchKey::Or(keys) => keys.iter().any(|key| key.any(is)),
                SearchKey::Not(key) | SearchKey::Fuzzy(key) => key.any(is),
                _ => false,
            }
    }
}
