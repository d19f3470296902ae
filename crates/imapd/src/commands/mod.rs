//! One file per command. Each works, writes its untagged answers, and returns the tagged one.

pub mod acl;
pub mod append;
pub mod catenate;
pub mod close;
pub mod compress;
pub mod copy;
pub mod enable;
pub mod expunge;
pub mod fetch;
pub mod id;
pub mod idle;
pub mod list;
pub mod mailboxes;
pub mod metadata;
pub mod multisearch;
pub mod noop;
pub mod notify;
pub mod quota;
pub mod search;
pub mod select;
pub mod sort;
pub mod status;
pub mod store;

use crate::answer::Answer;
use crate::capability;
use crate::connection::Gone;
use crate::session::{Outcome, Session};
use imap_proto::{Command, Status};
use mailstore::Expunges;

/// Carries out one command and sends its answer.
pub async fn run(session: &mut Session, tag: String, command: Command) -> Result<(), Gone> {
    let expunges = if command.may_report_expunge() { Expunges::Report } else { Expunges::Hold };
    let mut uid = false;
    if session.enabled.uid_only && command.uses_numbers() {
        return Box::pin(session.finish(&tag, &Answer::uid_required(), Expunges::Report, true)).await;
    }
    if command.is_fuzzy() && !session.connection.config.imapd.fts {
        return Box::pin(session.finish(&tag, &Answer::bad("FUZZY is not announced"), expunges, false)).await;
    }
    session.begin_progress(&tag);
    // SELECT leaves the open mailbox, whose HIGHESTMODSEQ interests nobody any more
    if command.uses_modseqs() && !matches!(command, Command::Select { .. }) {
        session.become_aware(false);
    }
    if command.may_name_mailboxes() {
        Box::pin(session.look_around()).await;
    }
    let deflates = matches!(command, Command::Compress(_));
    let answer = match command {
        // Where sessions are most of the time, and a thousand of them should be small: what other commands need is not kept meanwhile.
        Command::Idle => idle::run(session).await?,
        command => Box::pin(answer(session, &tag, command, &mut uid)).await?,
    };
    let begins = deflates && answer.status == Status::Ok;
    Box::pin(session.finish(&tag, &answer, expunges, uid)).await?;
    if begins {
        session.connection.wire.flush().await?;
        session.connection.wire.start_deflate();
    }
    Ok(())
}

async fn answer(session: &mut Session, tag: &str, command: Command, uid: &mut bool) -> Outcome {
    Ok(match command {
        Command::Capability => {
            let line = format!("* CAPABILITY {}\r\n", capability::after_login(&session.connection.config.imapd));
            session.connection.wire.out.extend_from_slice(line.as_bytes());
            Answer::ok("Capability completed")
        }
        Command::Noop => noop::run(session, "Noop completed").await,
        Command::Check => noop::run(session, "Check completed").await,
        Command::Logout => {
            session.connection.bye("Logging out");
            session.connection.answer(tag, &Answer::ok("Logout completed"));
            return Err(Gone::Done("logout"));
        }
        Command::Id(fields) => id::run(&mut session.connection.wire.out, &fields),
        Command::Enable(names) => enable::run(session, &names).await,
        Command::Unauthenticate => {
            // RFC 8437 §3: nothing of the session is left; what the client sent behind the command is for the login.
            session.selected = None;
            session.connection.machine.unauthenticated();
            session.connection.answer(tag, &Answer::ok("Unauthenticate completed"));
            // RFC 8437 §4.1: the answer is the last that is compressed.
            if session.connection.wire.is_deflated() {
                session.connection.wire.flush().await?;
                session.connection.wire.end_deflate();
            }
            return Err(Gone::Unauthenticated);
        }
        Command::Compress(algorithm) => compress::run(session, &algorithm),
        Command::Namespace => {
            list::namespace(session);
            Answer::ok("Namespace completed")
        }
        Command::Select { mailbox, read_only, parameters } => select::run(session, &mailbox, read_only, parameters).await?,
        Command::Create { mailbox, special_use } => mailboxes::create(session, &mailbox, special_use).await,
        Command::Delete(mailbox) => mailboxes::delete(session, &mailbox).await,
        Command::Rename { from, to } => mailboxes::rename(session, &from, &to).await,
        Command::Subscribe { mailbox, on } => mailboxes::subscribe(session, &mailbox, on).await,
        Command::List(list) => list::list(session, list).await?,
        Command::Lsub { reference, pattern } => list::lsub(session, reference, pattern).await,
        Command::Status { mailbox, items } => status::run(session, &mailbox, items).await,
        Command::GetQuota(root) => quota::get(session, &root).await,
        Command::GetQuotaRoot(mailbox) => quota::get_root(session, &mailbox).await,
        Command::SetQuota { .. } => quota::set(),
        Command::GetMetadata(request) => metadata::get(session, request).await?,
        Command::SetMetadata { mailbox, entries } => metadata::set(session, mailbox.as_ref(), entries).await,
        Command::SetAcl(request) => acl::set(session, request).await,
        Command::DeleteAcl { mailbox, identifier } => acl::delete(session, &mailbox, &identifier).await,
        Command::GetAcl(mailbox) => acl::get(session, &mailbox).await,
        Command::ListRights { mailbox, identifier } => acl::list_rights(session, &mailbox, &identifier).await,
        Command::MyRights(mailbox) => acl::my_rights(session, &mailbox).await,
        Command::Idle => idle::run(session).await?,
        Command::Notify(set) => notify::run(session, set).await?,
        Command::Close => close::run(session, true).await,
        Command::Unselect => close::run(session, false).await,
        Command::Expunge(set) => expunge::run(session, set).await,
        Command::Search(search) => search::run(session, tag, search).await,
        Command::MultiSearch { sources, search } => multisearch::run(session, tag, sources, search).await?,
        Command::CancelUpdate(tags) => search::cancel_update(session, &tags),
        Command::Sort(request) => sort::sort(session, tag, request).await,
        Command::Thread { search, algorithm } => sort::thread(session, search, algorithm).await,
        Command::Fetch { set, uid: by_uid, items, modifiers } => {
            *uid = by_uid;
            let most = session.connection.config.imapd.imap_message_limit;
            fetch::run(session, fetch::Request { set, uid: by_uid, items, modifiers, samples: None, most }).await?
        }
        Command::Store(store) => {
            *uid = store.uid;
            store::run(session, store).await
        }
        Command::Copy { set, uid, mailbox, remove } => copy::run(session, set, uid, &mailbox, remove).await,
        Command::StartTls | Command::Login { .. } | Command::Authenticate { .. } => Answer::bad("Already logged in"),
    })
}
