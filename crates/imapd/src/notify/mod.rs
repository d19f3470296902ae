//! NOTIFY (RFC 5465): what a session wants to hear of unasked, in mailboxes that are open and in others.
//!
//! A [`Notify`] keeps what the client was told last of each mailbox, and compares when the kernel hints that something happened there (`mailstore`'s
//! `Listener`). A hint that was nothing is told to nobody; hints that come while a client takes nothing fall together. All of it is bounded by
//! `imapd.imap_notify_max_mailboxes`; beyond, the client is told that there is an end to it (NOTIFICATIONOVERFLOW).
//!
//! | subject | file |
//! |---|---|
//! | who wants what of which mailbox | `wishes` |
//! | mailboxes that come, go and are renamed; subscriptions; rights | `names` |
//! | annotations | `annotations` |
//! | messages in mailboxes that are not open | `counts` |

mod annotations;
mod counts;
mod names;
mod wishes;

pub use wishes::{Enabled as Annotations, Wishes, items_weight, weight};

use crate::commands::enable::Enabled;
use crate::connection::Gone;
use crate::place::Realm;
use crate::selected::{Selected, Wants};
use crate::session::Session;
use crate::wake::{Woken, gather, wait};
use annotations::Known;
use config::Config;
use counts::Counts;
use imap_proto::{FetchItem, Status, Step, encode};
use mailstore::{Listener, MailboxName, Touched};
use names::Names;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Names are looked at once more after this time: another program makes a mailbox in several steps, of which the last are not heard of.
const AGAIN: Duration = Duration::from_secs(1);

/// What a session hears of unasked.
pub struct Notify {
    wishes: Arc<Wishes>,
    wake: Arc<tokio::sync::Notify>,
    ears: Option<Ears>,
    names: Names,
    counts: Counts,
    annotations: Known,
    again: Option<Instant>,
}

/// One for each account in which there are mailboxes to hear of.
struct Ears {
    own: Listener,
    public: Option<Listener>,
}

/// Why it does not go on.
pub enum Trouble {
    /// More than is kept or watched for one session.
    TooMuch,
    Store(mailstore::Error),
}

impl From<mailstore::Error> for Trouble {
    fn from(error: mailstore::Error) -> Trouble {
        match error {
            mailstore::Error::Limit(_) => Trouble::TooMuch,
            error => Trouble::Store(error),
        }
    }
}

/// What happened, by the names the client knows.
#[derive(Default)]
struct Hints {
    names: bool,
    account: bool,
    mailboxes: BTreeMap<MailboxName, Touched>,
}

impl Notify {
    /// Nothing is told (RFC 5465 §3.1).
    pub fn none() -> Notify {
        Notify::silent(Wishes::default())
    }

    fn silent(wishes: Wishes) -> Notify {
        Notify {
            wishes: Arc::new(wishes),
            wake: Arc::default(),
            ears: None,
            names: Names::default(),
            counts: Counts::default(),
            annotations: Known::default(),
            again: None,
        }
    }

    /// Begins to listen. What the client knows of messages in other mailboxes is still to be found out ([`first_counts`]). Gives what the client
    /// has to be told at once. Blocking.
    pub fn begin(realm: &Realm, config: &Config, enabled: Enabled, wishes: Wishes) -> Result<(Notify, Vec<u8>), Trouble> {
        let mut notify = Notify::silent(wishes);
        let mut out = Vec::new();
        if notify.wishes.of_others() {
            let public = realm.public.as_ref().map(|public| Listener::new(&public.account, &notify.wake)).transpose()?;
            notify.ears = Some(Ears { own: Listener::new(&realm.account, &notify.wake)?, public });
            out = notify.look(realm, config, enabled, &mut Vec::new())?;
            notify.annotations.begin(realm, &notify.wishes, &notify.names)?;
        }
        Ok((notify, out))
    }

    /// Events are told as they happen, also while no command is at work.
    pub fn is_immediate(&self) -> bool {
        self.wishes.immediate
    }

    /// What is told of the open mailbox.
    pub fn wants(&self) -> Wants {
        self.wishes.wants()
    }

    /// What is told of messages that come into the open mailbox.
    pub fn fetch(&self) -> &[FetchItem] {
        &self.wishes.fetch
    }

    /// Ready when there may be something to tell.
    pub async fn woken(&self) {
        match self.again {
            Some(again) => tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep_until(again) => {}
            },
            None => self.wake.notified().await,
        }
    }

    /// The open mailbox is so no more: what happens there is told as in others, and what happened was.
    pub fn left(&mut self, selected: &Selected) {
        if self.names.wishes_of(&selected.name).is_some_and(|wish| wish.messages) {
            self.counts.left(selected);
            self.wake.notify_one();
        }
    }

    /// The client itself did something to these names and to what is below them: it need not be told (RFC 5465 §5).
    pub fn did(&mut self, names: &[MailboxName]) {
        self.names.did(names);
    }

    /// The client itself changed annotations of a mailbox, or of the server.
    pub fn annotated(&mut self, mailbox: Option<&MailboxName>, entries: &[(String, Option<Vec<u8>>)]) {
        self.annotations.did(mailbox, entries);
    }

    /// The client itself put messages into a mailbox.
    pub fn filed(&mut self, mailbox: &MailboxName, added: &mailstore::Added) {
        self.counts.filed(mailbox, added);
    }

    /// What happened since the last time.
    fn hints(&mut self, realm: &Realm) -> Hints {
        let mut hints = Hints::default();
        let Some(ears) = &self.ears else { return hints };
        if self.again.take_if(|again| *again <= Instant::now()).is_some() {
            hints.names = true;
        }
        hints.mailboxes.append(&mut self.counts.due());
        for (listener, own) in std::iter::once((&ears.own, true)).chain(ears.public.iter().map(|public| (public, false))) {
            let news = listener.take();
            if news.names || news.everything {
                hints.names = true;
                self.again = Some(Instant::now() + AGAIN);
            }
            hints.account |= own && (news.annotations || news.everything);
            if news.everything {
                let all = Touched { messages: true, annotations: true };
                hints.mailboxes.extend(self.names.all().map(|name| (name.clone(), all)));
            }
            for (name, touched) in news.mailboxes {
                let shown = if own { Some(name) } else { realm.shown(&name) };
                if let Some(shown) = shown {
                    let known = hints.mailboxes.entry(shown).or_default();
                    known.messages |= touched.messages;
                    known.annotations |= touched.annotations;
                }
            }
        }
        hints
    }

    /// Looks at the names of mailboxes, tells what changed, and follows those that are there now. Names of mailboxes that were not followed before go
    /// into `new`. Blocking.
    fn look(&mut self, realm: &Realm, config: &Config, enabled: Enabled, new: &mut Vec<MailboxName>) -> Result<Vec<u8>, Trouble> {
        let mut out = Vec::new();
        let Some(ears) = &mut self.ears else { return Ok(out) };
        ears.own.account().settle();
        if let Some(public) = &ears.public {
            public.account().settle();
        }
        let before = self.names.followed();
        for (old, new) in self.names.look(realm, config, enabled, &self.wishes, &mut out)? {
            self.counts.renamed(&old, &new);
            self.annotations.renamed(&old, &new);
        }
        let (own, public) = self.names.to_follow(realm);
        ears.own.follow(&own)?;
        if let Some(listener) = &mut ears.public {
            listener.follow(&public)?;
        }
        new.extend(self.names.counted().chain(self.names.annotated()).filter(|name| !before.contains(*name)).cloned());
        self.counts.retain(|name| self.names.wishes_of(name).is_some_and(|wish| wish.messages));
        self.annotations.retain(|name| self.names.wishes_of(name).is_some_and(|wish| wish.metadata));
        Ok(out)
    }
}

impl Session {
    /// What the client wants to hear of in its open mailbox.
    pub fn wants(&self) -> Wants {
        self.notify.as_ref().map_or_else(Wants::default, |notify| notify.wants())
    }

    /// The client itself did something to mailboxes with these names.
    pub fn did(&mut self, names: &[MailboxName]) {
        if let Some(notify) = &mut self.notify {
            notify.did(names);
        }
    }

    /// The client itself put messages into a mailbox.
    pub fn filed(&mut self, mailbox: &MailboxName, added: &mailstore::Added) {
        if self.selected.as_ref().is_some_and(|selected| selected.name == *mailbox) {
            self.added.extend_from_slice(&added.uids);
        } else if let Some(notify) = &mut self.notify {
            notify.filed(mailbox, added);
        }
    }

    /// From here on this is what the client wants to hear of.
    pub fn set_notify(&mut self, notify: Option<Box<Notify>>) {
        self.notify = notify;
        let wants = self.wants();
        if let Some(selected) = &mut self.selected {
            selected.wants = wants;
        }
    }
}

/// The next step of a session whose client hears of things between its commands.
pub async fn next(session: &mut Session, longest: Duration) -> Result<Step, Gone> {
    let end = Instant::now() + longest;
    let mut due = true;
    loop {
        if let Some(step) = session.connection.advance().await? {
            return Ok(step);
        }
        let is_between = session.connection.machine.is_between_commands();
        if due && is_between {
            due = false;
            announce(session).await?;
        }
        session.connection.wire.flush().await?;
        let woken = match is_between {
            true => wait(session, end).await,
            false => return session.connection.next(longest).await,
        };
        match woken {
            Woken::Input(Ok(0)) => return Err(Gone::Client("connection closed".into())),
            Woken::Input(Ok(_)) => {}
            Woken::Input(Err(error)) => return Err(error.into()),
            Woken::Change => {
                gather().await;
                due = true;
            }
            Woken::Clock => return Err(Gone::Idle),
            Woken::Shutdown => return Err(Gone::Shutdown),
        }
    }
}

/// Tells what is to be told while no command is at work.
async fn announce(session: &mut Session) -> Result<(), Gone> {
    let Some(notify) = &session.notify else { return Ok(()) };
    if notify.wants().messages {
        // RFC 5465 §6.1.2: numbers stay true until the next command that may change them
        let expunges = if notify.wishes.delayed { mailstore::Expunges::Hold } else { mailstore::Expunges::Report };
        session.report(expunges, true).await?;
    }
    tell(session).await
}

/// Tells what happened elsewhere than in the open mailbox.
pub async fn tell(session: &mut Session) -> Result<(), Gone> {
    let Some(mut notify) = session.notify.take() else { return Ok(()) };
    let told = tell_all(session, &mut notify).await;
    let wishes = notify.wishes.clone();
    session.notify = Some(notify);
    match told {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Trouble::TooMuch)) if wishes.immediate => {
            // RFC 5465 §5.8
            let out = &mut session.connection.wire.out;
            encode::status(out, "*", Status::Ok, "NOTIFICATIONOVERFLOW", "There is too much to tell of, nothing more is told");
            session.set_notify(Some(Box::new(Notify::none())));
            Ok(())
        }
        Ok(Err(Trouble::TooMuch)) => {
            session.set_notify(None);
            Ok(())
        }
        Ok(Err(Trouble::Store(error))) => {
            tracing::warn!(%error, "changes cannot be looked at");
            Ok(())
        }
        Err(gone) => Err(gone),
    }
}

async fn tell_all(session: &mut Session, notify: &mut Box<Notify>) -> Result<Result<(), Trouble>, Gone> {
    let hints = notify.hints(&session.realm);
    let mut due = hints.mailboxes;
    if hints.names {
        let looked = on_thread(session, notify, move |notify, realm, config, enabled| {
            let mut new = Vec::new();
            notify.look(realm, config, enabled, &mut new).map(|out| (out, new))
        })
        .await;
        match looked {
            Ok((out, new)) => {
                session.connection.wire.out.extend_from_slice(&out);
                due.extend(new.into_iter().map(|name| (name, Touched { messages: true, annotations: true })));
            }
            Err(trouble) => return Ok(Err(trouble)),
        }
        session.connection.wire.relieve().await?;
    }
    if hints.account || due.values().any(|touched| touched.annotations) {
        let about: Vec<MailboxName> = due.iter().filter(|(_, touched)| touched.annotations).map(|(name, _)| name.clone()).collect();
        let account = hints.account;
        let told = on_thread(session, notify, move |notify, realm, _, enabled| {
            notify.annotations.compare(realm, &notify.wishes, &notify.names, account, &about, enabled)
        })
        .await;
        match told {
            Ok(out) => session.connection.wire.out.extend_from_slice(&out),
            Err(trouble) => return Ok(Err(trouble)),
        }
        session.connection.wire.relieve().await?;
    }
    for name in due.into_iter().filter(|(_, touched)| touched.messages).map(|(name, _)| name) {
        counts::compare(session, notify, &name).await?;
    }
    Ok(Ok(()))
}

/// Works on what is known with the disk at hand.
async fn on_thread<T: Send + 'static>(
    session: &Session,
    notify: &mut Box<Notify>,
    work: impl FnOnce(&mut Notify, &Realm, &Config, Enabled) -> T + Send + 'static,
) -> T {
    let mut taken = std::mem::replace(notify, Box::new(Notify::none()));
    let (realm, config, enabled) = (session.realm.clone(), session.connection.config.clone(), session.enabled);
    let (back, result) = session
        .blocking(move || {
            let result = work(&mut taken, &realm, &config, enabled);
            (taken, result)
        })
        .await;
    *notify = back;
    result
}

/// Finds out how many messages there are where that is to be told, and tells it when that is wanted (RFC 5465 §3.1).
pub async fn first_counts(session: &mut Session, notify: &mut Box<Notify>, tell: bool) -> Result<(), Gone> {
    let all: Vec<MailboxName> = notify.names.counted().cloned().collect();
    for name in all {
        counts::begin(session, notify, &name, tell).await?;
        if session.may_go_on().is_err() {
            break;
        }
    }
    Ok(())
}
