//! The words of a restriction list.

use crate::Stage;
use tables::{Context, Maps, split_list};

/// Why the restrictions cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("{setting}: {word:?} is no restriction{hint}")]
    Unknown { setting: &'static str, word: String, hint: String },
    #[error("{setting}: {verb} needs a table behind it")]
    NoTable { setting: &'static str, verb: &'static str },
    #[error("{setting}: {error}")]
    Table { setting: &'static str, error: tables::Error },
    #[error("{setting}: the lists refer to each other in a circle")]
    Circle { setting: &'static str },
    #[error(
        "smtpd_relay_restrictions or smtpd_recipient_restrictions need one of reject_unauth_destination, defer_unauth_destination, reject, defer: \
         without it this server would relay mail for everybody"
    )]
    OpenRelay,
}

/// One restriction.
#[derive(Debug, Clone)]
pub(crate) struct Restriction {
    pub(crate) check: Check,
    /// As it stands in the setting.
    pub(crate) text: String,
    /// `warn_if_reject` stands in front.
    pub(crate) warn_only: bool,
}

/// What a restriction looks at.
#[derive(Debug, Clone)]
pub(crate) enum Check {
    Verb(Verb),
    Access(Subject, Maps),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Permit,
    Reject,
    Defer,
    PermitMynetworks,
    PermitSaslAuthenticated,
    PermitAuthDestination,
    RejectUnauthDestination,
    DeferUnauthDestination,
    RejectUnlistedRecipient,
    RejectNonFqdnHelo,
    RejectInvalidHelo,
    RejectUnknownHelo,
    RejectNonFqdnSender,
    RejectNonFqdnRecipient,
    RejectUnknownSenderDomain,
    RejectUnknownRecipientDomain,
    RejectUnknownClient,
    RejectPlaintextSession,
    RejectMultiRecipientBounce,
    RejectSenderLoginMismatch,
    RejectAuthenticatedSenderLoginMismatch,
    RejectKnownSenderLoginMismatch,
    /// Kept for lists written for Postfix: pipelining is judged by the protocol machine (`smtpd_forbid_unauth_pipelining`).
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Client,
    Helo,
    Sender,
    Recipient,
    Login,
}

pub(crate) const VERBS: &[(&str, Verb)] = &[
    ("permit", Verb::Permit),
    ("reject", Verb::Reject),
    ("defer", Verb::Defer),
    ("permit_mynetworks", Verb::PermitMynetworks),
    ("permit_sasl_authenticated", Verb::PermitSaslAuthenticated),
    ("permit_auth_destination", Verb::PermitAuthDestination),
    ("reject_unauth_destination", Verb::RejectUnauthDestination),
    ("defer_unauth_destination", Verb::DeferUnauthDestination),
    ("reject_unlisted_recipient", Verb::RejectUnlistedRecipient),
    ("reject_non_fqdn_helo_hostname", Verb::RejectNonFqdnHelo),
    ("reject_invalid_helo_hostname", Verb::RejectInvalidHelo),
    ("reject_unknown_helo_hostname", Verb::RejectUnknownHelo),
    ("reject_non_fqdn_sender", Verb::RejectNonFqdnSender),
    ("reject_non_fqdn_recipient", Verb::RejectNonFqdnRecipient),
    ("reject_unknown_sender_domain", Verb::RejectUnknownSenderDomain),
    ("reject_unknown_recipient_domain", Verb::RejectUnknownRecipientDomain),
    ("reject_unknown_client_hostname", Verb::RejectUnknownClient),
    ("reject_plaintext_session", Verb::RejectPlaintextSession),
    ("reject_multi_recipient_bounce", Verb::RejectMultiRecipientBounce),
    ("reject_sender_login_mismatch", Verb::RejectSenderLoginMismatch),
    ("reject_authenticated_sender_login_mismatch", Verb::RejectAuthenticatedSenderLoginMismatch),
    ("reject_known_sender_login_mismatch", Verb::RejectKnownSenderLoginMismatch),
    ("reject_unauth_pipelining", Verb::Nothing),
    ("dunno", Verb::Nothing),
];

const TABLE_VERBS: &[(&str, Subject)] = &[
    ("check_client_access", Subject::Client),
    ("check_helo_access", Subject::Helo),
    ("check_sender_access", Subject::Sender),
    ("check_recipient_access", Subject::Recipient),
    ("check_sasl_access", Subject::Login),
];

pub(crate) fn verb(word: &str) -> Option<Verb> {
    VERBS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, verb)| *verb)
}

/// The restrictions of one stage, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct List {
    pub(crate) restrictions: Vec<Restriction>,
}

impl List {
    pub(crate) fn parse(stage: Stage, smtpd: &config::Smtpd, context: &Context) -> Result<List, SetupError> {
        let setting = stage.setting();
        let words = words(stage, smtpd, 0)?;
        let mut words = words.iter().map(String::as_str);
        let mut list = List::default();
        let mut warn_only = false;
        while let Some(word) = words.next() {
            let open = |spec: &str| Maps::open(spec, context).map_err(|error| SetupError::Table { setting, error });
            let (check, text) = if word.eq_ignore_ascii_case("warn_if_reject") {
                warn_only = true;
                continue;
            } else if let Some(verb) = verb(word) {
                (Check::Verb(verb), word.to_owned())
            } else if let Some((name, subject)) = TABLE_VERBS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)) {
                let spec = words.next().ok_or(SetupError::NoTable { setting, verb: name })?;
                (Check::Access(*subject, open(spec)?), format!("{name} {spec}"))
            } else if word.contains(':') {
                // Postfix: a table alone is the access table of its stage.
                (Check::Access(subject_of(stage), open(word)?), word.to_owned())
            } else {
                return Err(SetupError::Unknown { setting, word: word.to_owned(), hint: hint(word) });
            };
            list.restrictions.push(Restriction { check, text, warn_only: std::mem::take(&mut warn_only) });
        }
        Ok(list)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.restrictions.is_empty()
    }

    /// Strangers do not come through this list with a foreign recipient.
    pub(crate) fn guards_relaying(&self) -> bool {
        let unconditional =
            |verb: &Verb| matches!(verb, Verb::RejectUnauthDestination | Verb::DeferUnauthDestination | Verb::Reject | Verb::Defer);
        // What stands behind a plain `permit` is never reached.
        self.restrictions
            .iter()
            .take_while(|r| !matches!(r.check, Check::Verb(Verb::Permit)))
            .any(|r| !r.warn_only && matches!(&r.check, Check::Verb(verb) if unconditional(verb)))
    }

    pub(crate) fn wants_client_name(&self) -> bool {
        self.restrictions.iter().any(|r| matches!(r.check, Check::Access(Subject::Client, _) | Check::Verb(Verb::RejectUnknownClient)))
    }
}

/// The words of a setting; `$smtpd_relay_restrictions` stands for the words of that one.
fn words(stage: Stage, smtpd: &config::Smtpd, depth: usize) -> Result<Vec<String>, SetupError> {
    if depth > Stage::ALL.len() {
        return Err(SetupError::Circle { setting: stage.setting() });
    }
    let lines = match stage {
        Stage::Client => &smtpd.smtpd_client_restrictions,
        Stage::Helo => &smtpd.smtpd_helo_restrictions,
        Stage::Sender => &smtpd.smtpd_sender_restrictions,
        Stage::Relay => &smtpd.smtpd_relay_restrictions,
        Stage::Recipient => &smtpd.smtpd_recipient_restrictions,
        Stage::Data => &smtpd.smtpd_data_restrictions,
        Stage::EndOfData => &smtpd.smtpd_end_of_data_restrictions,
    };
    let mut all = Vec::new();
    for word in lines.iter().flat_map(|line| split_list(line)) {
        match Stage::ALL.iter().find(|other| word.strip_prefix('$') == Some(other.setting())) {
            Some(other) => all.extend(self::words(*other, smtpd, depth + 1)?),
            None => all.push(word.to_owned()),
        }
    }
    Ok(all)
}

fn subject_of(stage: Stage) -> Subject {
    match stage {
        Stage::Client => Subject::Client,
        Stage::Helo => Subject::Helo,
        Stage::Sender => Subject::Sender,
        Stage::Relay | Stage::Recipient | Stage::Data | Stage::EndOfData => Subject::Recipient,
    }
}

/// Names that share most of the word, for a slip of the pen.
fn hint(word: &str) -> String {
    let known = VERBS.iter().map(|(name, _)| *name).chain(TABLE_VERBS.iter().map(|(name, _)| *name));
    let same = |name: &str| name.chars().zip(word.chars()).take_while(|(a, b)| a == b).count();
    match known.max_by_key(|name| same(name)) {
        Some(name) if same(name) >= 6 => format!("; did you mean {name}?"),
        _ => String::new(),
    }
}
