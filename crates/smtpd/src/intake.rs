//! One message on its way into the spool: small ones through memory into the journal, large ones streamed to a file.

use crate::headers::{Authors, Edits, Submission, assemble};
use crate::server::seconds_since_1970;
use mail_types::{DsnNotify, Envelope, Recipient, Reply, TlsWish};
use routing::{Findings, Scan};
use spool::{LargeWriter, Receipt, SpoolWriter};

pub(crate) struct Intake {
    pub(crate) envelope: Envelope,
    terms: Terms,
    pub(crate) size: u64,
    pub(crate) message_id: String,
    /// Known once the header is.
    pub(crate) authors: Authors,
    /// The message from its beginning, until the header is whole and edited; after that the edited one, unless it went to a file.
    memory: Vec<u8>,
    edited: bool,
    /// At this size of `memory` it is seen whether its header is whole.
    look_at: usize,
    large: Option<LargeWriter>,
    failed: Option<Reply>,
    /// Checks and rewriting of the content, where any are set.
    scan: Option<Scan>,
    /// A table wants the message thrown away.
    pub(crate) discard: bool,
}

/// How a message is taken.
pub(crate) struct Terms {
    /// Our Received field and whatever tables want in front.
    pub(crate) front: String,
    pub(crate) submission: bool,
    /// Whether the From header will be compared with the login.
    pub(crate) authors: bool,
    /// Whether the client's Authentication-Results may speak in our name.
    pub(crate) trusted: bool,
    pub(crate) hostname: String,
    pub(crate) hopcount_limit: usize,
    /// `TLS-Required: No` in the header is heeded.
    pub(crate) tls_required: bool,
    /// `MT-Priority` in the header is heeded up to this value (RFC 6758).
    pub(crate) priority_limit: Option<i8>,
    pub(crate) header_limit: usize,
    pub(crate) journal_limit: usize,
}

impl Intake {
    pub(crate) fn new(envelope: Envelope, terms: Terms, scan: Option<Scan>) -> Intake {
        Intake {
            envelope,
            look_at: terms.journal_limit,
            terms,
            size: 0,
            message_id: String::new(),
            authors: Authors::default(),
            memory: Vec::new(),
            edited: false,
            large: None,
            failed: None,
            scan,
            discard: false,
        }
    }

    /// Takes a piece of the message. What goes wrong is said at its end.
    pub(crate) async fn append(&mut self, piece: Vec<u8>, spool: &SpoolWriter) {
        self.size += piece.len() as u64;
        if self.failed.is_some() {
            return;
        }
        match &mut self.scan {
            None => self.store(piece, spool).await,
            Some(scan) => match scan.take(&piece).await {
                Ok(piece) => self.store(piece, spool).await,
                Err(error) => self.cannot_check(&error),
            },
        }
    }

    fn cannot_check(&mut self, error: &tables::Unavailable) {
        tracing::warn!(queue_id = %self.envelope.id, %error, "message refused for now: its content cannot be checked");
        self.large = None;
        self.memory = Vec::new();
        self.failed = Some(Reply::with(451, (4, 3, 0), "Error: the content cannot be checked now"));
    }

    async fn store(&mut self, piece: Vec<u8>, spool: &SpoolWriter) {
        if self.large.is_none() {
            if self.memory.is_empty() {
                self.memory = piece;
            } else {
                self.memory.extend_from_slice(&piece);
            }
            if self.memory.len() > self.look_at {
                self.begin_file(spool).await;
            }
            return;
        }
        if let Some(large) = &mut self.large
            && let Err(error) = large.append(&piece).await
        {
            self.fail(&error);
        }
    }

    async fn begin_file(&mut self, spool: &SpoolWriter) {
        // What is private stands anywhere in the header: nothing is written before all of it is here.
        if !message::header_ends(&self.memory) {
            if self.memory.len() > self.terms.header_limit {
                self.refuse_header();
            }
            // Not for each of a thousand chunks of one octet: what is looked at in all stays in proportion.
            let len = self.memory.len();
            self.look_at = (len + len / 4).min(self.terms.header_limit.max(len));
            return;
        }
        if !self.edited && !self.edit() {
            return;
        }
        let bytes = std::mem::take(&mut self.memory);
        let mut large = spool.large(&self.envelope);
        match large.append(&bytes).await {
            Ok(()) => self.large = Some(large),
            Err(error) => self.fail(&error),
        }
    }

    /// All of the message is here: gives the header its new form. The reply says why the message cannot be taken.
    pub(crate) async fn finish(&mut self, spool: &SpoolWriter) -> Result<(), Reply> {
        if let Some(mut scan) = self.scan.take()
            && self.failed.is_none()
        {
            match scan.finish().await {
                Ok(rest) => self.store(rest, spool).await,
                Err(error) => self.cannot_check(&error),
            }
            self.heed(scan.findings());
        }
        if self.failed.is_none() && self.large.is_none() && self.memory.len() > self.terms.journal_limit {
            self.begin_file(spool).await;
        }
        if self.failed.is_none() && !self.edited {
            self.edit();
        }
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Does what the tables of checks said of the message as a whole.
    fn heed(&mut self, findings: &Findings) {
        if let Some((code, text)) = &findings.reject {
            let status = if code.0 == 4 { 451 } else { 550 };
            self.failed.get_or_insert_with(|| Reply::with(status, (code.0, code.1, code.2), text.clone()));
        }
        self.discard = findings.discard;
        self.envelope.hold |= findings.hold;
        if let Some(filter) = &findings.filter {
            self.envelope.filter = Some(filter.clone());
        }
        // Copies and detours are nothing that the sender is told of.
        let quiet = |address: &mail_types::Address| Recipient { notify: DsnNotify::NEVER, ..Recipient::new(address.clone()) };
        if let Some(address) = &findings.redirect {
            self.envelope.recipients = vec![quiet(address)];
        }
        self.envelope.recipients.extend(findings.bcc.iter().map(quiet));
    }

    /// Edits the header; false when the message cannot be taken.
    fn edit(&mut self) -> bool {
        let submission = self.terms.submission.then(|| Submission {
            sender: self.envelope.sender.as_ref(),
            hostname: &self.terms.hostname,
            now_seconds: seconds_since_1970(),
            random: getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()) << 32 | self.size),
        });
        let edits = Edits {
            front: &self.terms.front,
            submission,
            authors: self.terms.authors,
            not_from: (!self.terms.trusted).then_some(&*self.terms.hostname),
        };
        let assembled = assemble(&self.memory, edits);
        if assembled.header_bytes > self.terms.header_limit {
            self.refuse_header();
            return false;
        }
        self.message_id = assembled.message_id;
        self.authors = assembled.authors;
        // RFC 8689 §4.1: what MAIL says goes before what the header says.
        if assembled.tls_optional && self.terms.tls_required && self.envelope.wishes.tls == TlsWish::Usual {
            self.envelope.wishes.tls = TlsWish::Optional;
        }
        // RFC 6758 §3.1: where MAIL says nothing, and who speaks is trusted.
        if let (Some(asked), Some(limit)) = (assembled.priority, self.terms.priority_limit) {
            self.envelope.wishes.priority = asked.min(limit);
        }
        if assembled.hops > self.terms.hopcount_limit {
            tracing::info!(queue_id = %self.envelope.id, hops = assembled.hops, "rejected: the message goes in circles (hopcount_limit)");
            self.memory = Vec::new();
            self.failed = Some(Reply::with(554, (5, 4, 6), "Error: too many hops"));
            return false;
        }
        self.memory = assembled.bytes;
        self.edited = true;
        true
    }

    fn refuse_header(&mut self) {
        tracing::info!(queue_id = %self.envelope.id, "rejected: the header is too large (smtpd_message_header_limit)");
        self.memory = Vec::new();
        self.failed = Some(Reply::with(552, (5, 3, 4), "Error: message header too big"));
    }

    fn fail(&mut self, error: &spool::Error) {
        self.large = None;
        self.memory = Vec::new();
        self.failed = Some(spool_reply(error, &self.envelope));
    }

    /// Makes the message durable, after `finish`; the reply says why not. Nothing is left behind then.
    pub(crate) async fn commit(mut self, spool: &SpoolWriter) -> Result<(Receipt, Intake), Reply> {
        let kept = match self.large.take() {
            Some(large) => large.commit(&self.envelope).await,
            None => spool.accept(&self.envelope, &std::mem::take(&mut self.memory)).await,
        };
        match kept {
            Ok(receipt) => Ok((receipt, self)),
            Err(error) => Err(spool_reply(&error, &self.envelope)),
        }
    }
}

/// DESIGN section 4: any error before 250 is temporary.
fn spool_reply(error: &spool::Error, envelope: &Envelope) -> Reply {
    match error {
        spool::Error::Full(reason) => {
            tracing::warn!(queue_id = %envelope.id, reason, "message refused for now: no room");
            Reply::with(452, (4, 3, 1), "Insufficient system storage")
        }
        error => {
            tracing::error!(queue_id = %envelope.id, %error, "message refused for now: it could not be made durable");
            Reply::with(451, (4, 3, 0), "Error: queue file write error")
        }
    }
}
