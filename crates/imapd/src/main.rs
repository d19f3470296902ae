//! NAME
//!     imapd - gives mail clients their mailboxes
//!
//! SYNOPSIS
//!     imapd [--config FILE | --root DIR]
//!
//! DESCRIPTION
//!     Listens for IMAP clients, on port 143 with STARTTLS and on port 993 with TLS from the first byte on. Has passwords
//!     checked by authd (or a Dovecot), asks it where the account's mail is, and serves the Maildir there. All sessions of a
//!     mailbox share one state of it in memory; each has its own message numbers. Mail that any program drops into `new/`
//!     is seen within a second.
//!
//! PROTOCOL
//!     IMAP4rev1 (RFC 3501), and IMAP4rev2 (RFC 9051) for clients that enable it, with UTF8=ACCEPT, IDLE, NAMESPACE, UIDPLUS, MOVE, UNSELECT, CHILDREN, LIST-EXTENDED, LIST-STATUS, LIST-METADATA, SPECIAL-USE,
//!     ESEARCH, SEARCHRES, PARTIAL, CONTEXT=SEARCH, CONTEXT=SORT, MULTISEARCH, WITHIN, SEARCH=FUZZY (by setting), SORT, SORT=DISPLAY, ESORT, THREAD (ORDEREDSUBJECT, REFERENCES, REFS), MULTIAPPEND, BINARY,
//!     CATENATE, URL-PARTIAL, REPLACE, PREVIEW, OBJECTID, SAVEDATE, APPENDLIMIT,
//!     STATUS=SIZE, LOGIN-REFERRALS, CONDSTORE, QRESYNC, QUOTA (STORAGE, MESSAGE), METADATA, METADATA-SERVER, NOTIFY, UIDONLY, INPROGRESS, MESSAGELIMIT (by setting), I18NLEVEL=1, ACL, LIST-MYRIGHTS, COMPRESS=DEFLATE, UNAUTHENTICATE, ENABLE, ID, SASL-IR, and LITERAL- before login and LITERAL+ (or by setting LITERAL-)
//!     after it. Asks the `auth` socket in
//!     Dovecot's auth protocol and `userdb` in its master protocol; tells `usage` who logged in.
//!
//!     NOTIFY (RFC 5465) tells what happens as it happens, in the selected mailbox and in others, also while no command is at work: new and removed messages
//!     and changed flags (in other mailboxes by STATUS), mailboxes that are made, removed and renamed (with OLDNAME), subscriptions, annotations, rights that
//!     come and go. A client that has used it hears of nothing else: without SELECTED its open mailbox stands still until it asks. What the client did itself is
//!     not told to it. ENABLE METADATA (RFC 5464) has changes of annotations by others told with the answers to commands and in IDLE.
//!
//!     With `shared_mailbox_prefix` the mailboxes that other users have shared by SETACL are below that prefix, each owner a level: `Other Users.ann.INBOX`. They are listed with the
//!     right `l`, and are as one's own as far as the rights go; what is put there counts in the owner's quota.
//!
//!     An account that is served elsewhere is refused with `NO [REFERRAL url]` (RFC 2221), once the password was right: where its user database has a field `referral`
//!     (`userdb_referral=imap://ann@mail2.example.org/`), or a Dovecot that checks passwords answers `nologin` with `host`, perhaps `port` and `destuser`.
//!
//! FILES
//!     facteur.toml, sections [imapd], [mail], [tls]. The Maildir of each account, in Dovecot's dialect (see mailstore), with rights in `dovecot-acl`, annotations in
//!     `facteur-metadata` and caches in each mailbox: a log of changes (`facteur.log`), what opening it needs (`facteur.index`), what lists are made of (`facteur.cache`), and with `fts` which
//!     words are in which messages (`facteur.search`); the Maildir of public mailboxes (`public_mail_location`), if there is one. Groups of an account come from the field `acl_groups` of its user database.
//!
//! SECURITY
//!     Runs as the owner of all mail and reads what strangers send, so it trusts nobody: before login a command has at
//!     most 8 KiB, a client 60 seconds and five wrong commands; after it 1 MiB per command. Messages are streamed in both
//!     directions, and a client that takes nothing of what it asked for is cut off after a minute. Opens only files below the account's
//!     Maildir and follows no symbolic links there. It can damage what it serves: the mail of all accounts. It holds no password
//!     and no right to start programs.
//!
//! STANDARDS
//!     RFC 3501, 2177, 2221, 2342, 2971, 3348, 3502, 3516, 3691, 4314, 4315, 4466, 4469, 4731, 4959, 4978, 5032, 5051, 5092, 5161, 5182, 5255 (I18NLEVEL=1), 5256, 5258, 5267, 5464, 5465, 5530,
//!     5550 (URL-PARTIAL), 5819, 5957, 6154, 6203, 6851, 6855, 7162, 7377, 7888, 7889, 8437, 8438, 8440, 8474, 8508, 8514, 8970, 9051, 9208, 9394, 9585, 9586, 9590
//!
//! DIAGNOSTICS
//!     One line for each login, failed login, appended message and disconnection, with the session's id. Without authd
//!     logins are answered `NO [UNAVAILABLE]`; sessions that are logged in go on. A message that cannot be read costs its own answer: the
//!     others are shown, FETCH ends with `NO [UNAVAILABLE]`, and so does SEARCH when it may be readable later; the log names the first. On
//!     a full or read-only disk mail is read without being marked as seen, and new mail waits; where the log of changes cannot be written
//!     SELECT says NOMODSEQ; the log says so. Directories, links and
//!     FIFOs in a Maildir are no messages.
//!
//! BUGS
//!     A search for text reads every message that it might be in: all of them without `fts`, and also with it those that are not indexed yet (new mail is when nothing
//!     else is to be done), those above 64 MiB, and for strings of less than four bytes. FUZZY reads all. A thread deeper than 1000 messages is cut. At most 100 keys of one search may look into messages and 1000 into headers,
//!     each for no more than 1 KiB; of a header field longer than 256 KiB the rest is not looked at. BODYSTRUCTURE reads the whole message each
//!     time; of messages above 256 MiB neither it nor text is to be had, the message itself is (one that comes as binary and has to be encoded may have 64 MiB), and those being read for it in all sessions
//!     are never more than that together. NUL bytes in a message are sent as 0x80, because a literal cannot hold them (Dovecot does the
//!     same); BINARY sends them as they are. A conditional STORE fails also when another flag of the message was changed than those it names. Quota is set by the administrator, never by SETQUOTA (QUOTASET is not announced): it stands with the accounts, which authd keeps and which a program that talks
//!     to strangers must not be able to change. NOTIFY tells nothing of mailboxes that other users have shared. A client whose open mailbox is deleted or renamed by another session is disconnected.
//!     Of the results of searches (CONTEXT) a session has ten kept up to date, of 500,000 messages together and with 8 MiB of what sorts them;
//!     what time alone changes (OLDER, YOUNGER) is seen when the message changes otherwise. NOTIFY tells of `imap_notify_max_mailboxes` mailboxes at most in
//!     one session, each of which takes three of the kernel's watches (`fs.inotify.max_user_watches`, shared by all sessions of an account); beyond, and
//!     where the kernel has none left, it is NOTIFICATIONOVERFLOW. `inboxes` means what `personal` means. AnnotationChange is not known.
//!     After ENABLE UIDONLY `*` is still taken in UIDs, and UIDFETCH answers to UID FETCH have the UID among their items too. `imap_message_limit` (MESSAGELIMIT) does not
//!     hold for SEARCH, SORT, THREAD, EXPUNGE and CLOSE, nor for what SELECT with QRESYNC tells.

fn main() -> std::process::ExitCode {
    daemon::main("imapd", imapd::run)
}
