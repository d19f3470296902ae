//! After login: the loop over a client's commands, and what all of them share.

use crate::answer::Answer;
use crate::commands::enable::Enabled;
use crate::commands::{self, append};
use crate::connection::{Connection, Gone};
use crate::context;
use crate::login::Entered;
use crate::notify::{self, Notify};
use crate::place::Realm;
use crate::selected::{Aware, Selected, Told};
use daemon::Share;
use imap_proto::{Status, Step, encode};
use mailstore::{Account, Expunges};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a command works on end before others have their turn at the threads for that: one account's search over all its mail must not
/// keep them from the rest.
pub const SLICE: Duration = Duration::from_millis(100);

/// A client that is logged in.
pub struct Session {
    pub connection: Box<Connection>,
    pub account: Arc<Account>,
    /// All mailboxes the client can reach, the account's and others.
    pub realm: Arc<Realm>,
    share: Share,
    /// The open mailbox. Away only while one of its commands works on another thread.
    pub selected: Option<Selected>,
    /// Flags that the current command has told by itself.
    pub told: Told,
    pub enabled: Enabled,
    pub aware: Aware,
    /// What the client wants to hear of unasked (RFC 5465); nothing until it says so.
    pub notify: Option<Box<Notify>>,
    /// The command at work, as far as its client is told of it.
    progress: Progress,
    /// UIDs that commands of this session put into the open mailbox since the last report.
    pub added: Vec<u32>,
    /// The current command removed messages: with QRESYNC its answer tells the new HIGHESTMODSEQ (RFC 7162 §3.2.7).
    pub removed: bool,
}

/// How far the command at work has come (RFC 9585).
#[derive(Default)]
struct Progress {
    tag: String,
    /// When the client is to be told next; never when there is none.
    next: Option<Instant>,
    /// So much of so much.
    done: Option<(u64, u64)>,
}

/// How a command ended: with an answer, or with the connection.
pub type Outcome = Result<Answer, Gone>;

/// Serves the client until it goes, or until somebody else may log in on its connection, which then comes back.
pub async fn run(connection: Box<Connection>, entered: Entered) -> Option<Box<Connection>> {
    let Entered { user, realm, share, slot } = entered;
    let account = realm.account.clone();
    let sessions = &connection.server.ctx.sessions;
    let login = sessions.enter(&connection.id, &user, "imap", &connection.peer, connection.wire.is_tls(), &connection.end);
    let mut session = Session {
        connection,
        account,
        realm,
        share,
        selected: None,
        told: Told::new(),
        enabled: Enabled::default(),
        aware: Aware::default(),
        notify: None,
        progress: Progress::default(),
        added: Vec::new(),
        removed: false,
    };
    let gone = session.converse().await;
    session.selected = None;
    drop(login);
    let connection = session.connection;
    let left = match gone {
        Gone::Unauthenticated => {
            tracing::info!(user = %mail_types::printable(&user), "unauthenticated");
            Some(connection)
        }
        gone => {
            tracing::debug!(user = %mail_types::printable(&user), "session ends");
            Box::pin(connection.part(gone, "logged in")).await;
            None
        }
    };
    drop(slot);
    left
}

impl Session {
    async fn converse(&mut self) -> Gone {
        let longest = self.connection.config.imapd.imap_timeout;
        let mut filing = None;
        loop {
            let step = match self.next(longest).await {
                Ok(step) => step,
                Err(gone) => return gone,
            };
            // Handlers live on the heap: most of the time a session waits here, and a thousand of them should be small.
            let done = match step {
                Step::Command { tag, command } => Box::pin(commands::run(self, tag, command)).await,
                Step::Append { tag, append } => Box::pin(append::begin(self, &tag, append)).await.map(|begun| filing = begun),
                Step::AppendMore { tag, pieces } => Box::pin(append::more(self, &tag, &mut filing, pieces)).await,
                Step::AppendData(data) => Box::pin(append::data(self, &mut filing, data)).await,
                Step::AppendEnd { tag } => Box::pin(append::end(self, &tag, filing.take())).await,
                Step::AppendBroken(answer) => {
                    filing = None;
                    self.connection.wire.out.extend_from_slice(&answer);
                    Ok(())
                }
                Step::IdleEnd(_) | Step::Sasl(_) | Step::NeedInput | Step::Send(_) | Step::Close => Ok(()),
            };
            if let Err(gone) = done {
                return gone;
            }
        }
    }

    async fn next(&mut self, longest: Duration) -> Result<Step, Gone> {
        match &self.notify {
            Some(notify) if notify.is_immediate() => Box::pin(notify::next(self, longest)).await,
            _ => self.connection.next(longest).await,
        }
    }

    /// Leaves the open mailbox, if there is one.
    pub fn leave(&mut self) {
        if let (Some(selected), Some(notify)) = (self.selected.take(), &mut self.notify) {
            notify.left(&selected);
        }
        self.connection.machine.selected(false);
    }

    /// Tells what changed in the open mailbox, then the tagged answer.
    pub async fn finish(&mut self, tag: &str, answer: &Answer, expunges: Expunges, uid: bool) -> Result<(), Gone> {
        self.report(expunges, uid).await?;
        notify::tell(self).await?;
        self.end_progress();
        let removed = std::mem::take(&mut self.removed) && answer.status == Status::Ok && answer.code.is_empty();
        match self.selected.as_ref().filter(|selected| removed && selected.aware.vanished && !selected.no_modseq) {
            Some(selected) => {
                let code = format!("HIGHESTMODSEQ {}", selected.view.highest_modseq());
                self.connection.answer(tag, &Answer::ok_with(code, answer.text.clone()));
            }
            None => self.connection.answer(tag, answer),
        }
        Ok(())
    }

    /// Untagged responses about what changed, as far as this process knows.
    pub async fn report(&mut self, expunges: Expunges, uid: bool) -> Result<(), Gone> {
        let mut told = std::mem::take(&mut self.told);
        let own = std::mem::take(&mut self.added);
        let Some(selected) = self.selected.as_ref().filter(|selected| selected.is_stale()) else { return Ok(()) };
        let was_holding = selected.view.is_holding();
        let first_new = selected.view.first_new();
        let removed = self.removed;
        let synced = self
            .with_selected(move |selected| {
                if selected.view.mailbox().is_deleted() {
                    return Ok(None);
                }
                // what the client removed itself is the result of its command
                (if removed { selected.sync_all(expunges) } else { selected.sync(expunges) }).map(Some)
            })
            .await;
        match synced {
            Ok(Some(changes)) if changes.uid_validity => self.void("Mailbox was replaced, please connect again"),
            Ok(Some(changes)) => {
                if let Some(selected) = &mut self.selected {
                    if changes.exists.is_some() {
                        self.connection.server.index(selected.view.mailbox());
                    }
                    selected.write_changes(&mut self.connection.wire.out, &changes, &mut told, uid);
                    // RFC 7162 §3.2: a client that comes back must not miss a removal that it was not told of, whatever MODSEQs it has seen.
                    let told = removed || selected.wants.messages;
                    if told && selected.aware.vanished && (was_holding || selected.view.is_holding()) {
                        selected.write_highest_modseq(&mut self.connection.wire.out);
                    }
                }
                Box::pin(context::update(self, first_new, &own)).await?;
                self.connection.wire.relieve().await?;
                Ok(())
            }
            // it was deleted while we looked; without the changes the client's numbers would mean other messages than it thinks
            Ok(None) | Err(_) => self.void("Selected mailbox was deleted, please connect again"),
        }
    }

    /// From here on FETCH responses have MODSEQs; told with HIGHESTMODSEQ the first time (RFC 7162 §3.1).
    pub fn become_aware(&mut self, vanished: bool) {
        let first = !self.aware.modseqs;
        self.aware = Aware { modseqs: true, vanished: self.aware.vanished || vanished };
        if let Some(selected) = &mut self.selected {
            // who was told NOMODSEQ at SELECT knows already
            if !selected.no_modseq {
                selected.aware = self.aware;
                if first {
                    selected.write_highest_modseq(&mut self.connection.wire.out);
                }
            }
        }
    }

    /// The numbering the client has is worth nothing any more, and IMAP4rev1 has no way to say so but this.
    fn void(&mut self, why: &'static str) -> Result<(), Gone> {
        self.connection.bye(why);
        Err(Gone::Done(why))
    }

    /// Between two turns of a long command: an answer when it is to end early.
    pub fn may_go_on(&self) -> Result<(), Answer> {
        if self.connection.end.is_set() {
            return Err(Answer::no("UNAVAILABLE", "Server shutting down"));
        }
        if self.connection.wire.is_gone() {
            return Err(Answer::no("UNAVAILABLE", "Nobody waits for the answer"));
        }
        Ok(())
    }

    /// Works on the open mailbox on a thread that may wait for the disk.
    pub async fn with_selected<T: Send + 'static>(&mut self, work: impl FnOnce(&mut Selected) -> T + Send + 'static) -> T {
        let mut selected = self.selected.take().expect("the machine lets these commands through only with a mailbox open");
        let (selected, result) = self
            .blocking(move || {
                let hold = selected.view.mailbox().hold();
                let result = work(&mut selected);
                drop(hold);
                (selected, result)
            })
            .await;
        self.selected = Some(selected);
        result
    }

    /// A command begins.
    pub fn begin_progress(&mut self, tag: &str) {
        let interval = self.connection.config.imapd.imap_progress_interval;
        self.progress = Progress { tag: tag.to_owned(), next: (!interval.is_zero()).then(|| Instant::now() + interval), done: None };
    }

    /// What comes now is not what the client waits for.
    pub fn end_progress(&mut self) {
        self.progress.next = None;
    }

    /// So much of so much is done.
    pub fn has_done(&mut self, done: u64, goal: u64) {
        self.progress.done = Some((done, goal));
    }

    /// Tells the client that its command goes on, when that is due. Nothing that was begun may stand in `wire.out`.
    pub async fn tell_progress(&mut self) -> Result<(), Gone> {
        if self.progress.next.is_some_and(|next| next <= Instant::now()) {
            self.write_progress();
            self.connection.wire.flush().await?;
        }
        Ok(())
    }

    /// RFC 9585: `"INPROGRESS" SP "(" quoted SP (number / nil) SP (number / nil) ")"`
    fn write_progress(&mut self) {
        let (done, goal) = self.progress.done.map_or(("NIL".into(), "NIL".into()), |(done, goal)| (done.to_string(), goal.to_string()));
        let code = format!("INPROGRESS (\"{}\" {done} {goal})", self.progress.tag);
        encode::status(&mut self.connection.wire.out, "*", Status::Ok, &code, "Still at work");
        self.progress.next = Some(Instant::now() + self.connection.config.imapd.imap_progress_interval);
    }

    /// As [`Session::with_selected`] for what may take long: the client is told from time to time that it goes on. Nothing that was begun may stand
    /// in `wire.out`.
    pub async fn with_selected_patiently<T: Send + 'static>(&mut self, work: impl FnOnce(&mut Selected) -> T + Send + 'static) -> T {
        let mut selected = self.selected.take().expect("the machine lets these commands through only with a mailbox open");
        let (server, share) = (self.connection.server.clone(), self.share.clone());
        let _busy = server.busy();
        let working = server.access.blocking(&share, move || {
            let hold = selected.view.mailbox().hold();
            let result = work(&mut selected);
            drop(hold);
            (selected, result)
        });
        tokio::pin!(working);
        loop {
            let due = async {
                match self.progress.next {
                    Some(next) => tokio::time::sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                (selected, result) = &mut working => {
                    self.selected = Some(selected);
                    return result;
                }
                () = due => {
                    self.write_progress();
                    // a client that is gone is found out later; the work has to come to its end
                    let _ = self.connection.wire.flush().await;
                }
            }
        }
    }

    /// Works on the account on a thread that may wait for the disk.
    pub async fn with_account<T: Send + 'static>(&self, work: impl FnOnce(&Arc<Account>) -> T + Send + 'static) -> T {
        let account = self.account.clone();
        self.blocking(move || work(&account)).await
    }

    /// Works on a thread that may wait for the disk.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let _busy = self.connection.server.busy();
        self.connection.server.access.blocking(&self.share, work).await
    }
}
