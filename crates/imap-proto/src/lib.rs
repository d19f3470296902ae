//! IMAP4rev1 (RFC 3501) and IMAP4rev2 (RFC 9051) as a pure machine: framing, grammar, the order of commands, and how answers are written.
//!
//! No socket, file, clock or task. imapd drives [`Session`]: it feeds bytes, carries out the commands that come out, and
//! writes answers with [`encode`], those about messages with [`envelope`] and [`structure`]. Four places, one after the other: [`frame`] cuts, [`parse`] reads, [`session`] knows
//! order, imapd knows whether.
//!
//! Extensions in the grammar: IDLE (RFC 2177), UIDPLUS (RFC 4315), MOVE (RFC 6851), NAMESPACE (RFC 2342), ID (RFC 2971),
//! ENABLE (RFC 5161), UNSELECT (RFC 3691), SASL-IR (RFC 4959), LITERAL+ and LITERAL- (RFC 7888), ESEARCH (RFC 4731), LIST
//! options (RFC 5258) with LIST-STATUS (RFC 5819) and SPECIAL-USE (RFC 6154), BINARY (RFC 3516), CATENATE (RFC 4469), REPLACE (RFC 8508), CONDSTORE and
//! QRESYNC (RFC 7162).

pub mod command;
pub mod cursor;
pub mod date;
pub mod encode;
pub mod envelope;
pub mod error;
pub mod frame;
pub mod mutf7;
pub mod notify;
pub mod parse;
pub mod partial;
pub mod sequence;
pub mod session;
pub mod structure;
pub mod url;

pub use command::{
    Append, AppendPiece, BinaryItem, BodyForm, BodyItem, Command, Depth, FetchItem, FetchModifiers, Flag, FlagChange, GetMetadata, List,
    ListReturn, ListSelect, Mailbox, MailboxFilter, Replaces, Resync, Search, SearchKey, SearchReturn, Section, SectionText,
    SelectParameters, SetAcl, Sort, SortBy, SortKey, SpecialUse, StatusItems, Store, ThreadAlgorithm,
};
pub use cursor::Dialect;
pub use date::{Date, DateTime};
pub use encode::Status;
pub use frame::Limits;
pub use partial::PartialRange;
pub use sequence::SequenceSet;
pub use session::{Session, State, Step};
pub use url::MessageUrl;
