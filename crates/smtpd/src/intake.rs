//! One message on its way into the spool: small ones through memory into the journal, large ones streamed to a file.

use crate::headers::{Submission, assemble};
use crate::server::seconds_since_1970;
use mail_types::{Envelope, Reply};
use spool::{LargeWriter, Receipt, SpoolWriter};

pub(crate) struct Intake {
    pub(crate) envelope: Envelope,
    /// Our Received field and whatever tables want in front.
    front: String,
    submission: bool,
    hostname: String,
    hopcount_limit: usize,
    journal_limit: usize,
    pub(crate) size: u64,
    pub(crate) message_id: String,
    memory: Vec<u8>,
    large: Option<LargeWriter>,
    failed: Option<Reply>,
}

impl Intake {
    pub(crate) fn new(
        envelope: Envelope,
        front: String,
        hostname: &str,
        submission: bool,
        hopcount_limit: usize,
        journal_limit: u64,
    ) -> Intake {
        Intake {
            envelope,
            front,
            submission,
            hostname: hostname.to_owned(),
            hopcount_limit,
            journal_limit: usize::try_from(journal_limit).unwrap_or(usize::MAX),
            size: 0,
            message_id: String::new(),
            memory: Vec::new(),
            large: None,
            failed: None,
        }
    }

    /// Takes a piece of the message. What goes wrong is said at its end.
    pub(crate) async fn append(&mut self, piece: Vec<u8>, spool: &SpoolWriter) {
        self.size += piece.len() as u64;
        if self.failed.is_some() {
            return;
        }
        if self.large.is_none() {
            if self.memory.is_empty() {
                self.memory = piece;
            } else {
                self.memory.extend_from_slice(&piece);
            }
            if self.memory.len() > self.journal_limit {
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
        // The header is in here: nobody's is longer than what fits the journal.
        let Some(bytes) = self.assembled() else { return };
        let mut large = spool.large(&self.envelope);
        match large.append(&bytes).await {
            Ok(()) => self.large = Some(large),
            Err(error) => self.fail(&error),
        }
    }

    /// The message with its new head, or `None` when it goes in circles.
    fn assembled(&mut self) -> Option<Vec<u8>> {
        let memory = std::mem::take(&mut self.memory);
        let submission = self.submission.then(|| Submission {
            sender: self.envelope.sender.as_ref(),
            hostname: &self.hostname,
            now_seconds: seconds_since_1970(),
            random: getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()) << 32 | self.size),
        });
        let assembled = assemble(&self.front, &memory, submission);
        self.message_id = assembled.message_id;
        if assembled.hops > self.hopcount_limit {
            tracing::info!(queue_id = %self.envelope.id, hops = assembled.hops, "rejected: the message goes in circles (hopcount_limit)");
            self.failed = Some(Reply::with(554, (5, 4, 6), "Error: too many hops"));
            return None;
        }
        Some(assembled.bytes)
    }

    fn fail(&mut self, error: &spool::Error) {
        self.large = None;
        self.memory = Vec::new();
        self.failed = Some(spool_reply(error, &self.envelope));
    }

    /// Makes the message durable; the reply says why not. Nothing is left behind then.
    pub(crate) async fn commit(mut self, spool: &SpoolWriter) -> Result<(Receipt, Intake), Reply> {
        if let Some(reply) = self.failed.take() {
            return Err(reply);
        }
        let kept = match self.large.take() {
            Some(large) => large.commit(&self.envelope).await,
            None => match self.assembled() {
                Some(bytes) => spool.accept(&self.envelope, &bytes).await,
                None => return Err(self.failed.take().unwrap_or_else(|| Reply::with(451, (4, 3, 0), "Error: queue file write error"))),
            },
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
