//! Whether we take it: ordered restrictions for each stage of an SMTP session, with Postfix's names and rules.
//!
//! A list is asked from left to right; the first restriction that decides, decides. `permit` ends its list only: at RCPT the lists of
//! client, HELO, sender, relay and recipient are asked one after the other, and each may refuse. Whoever comes through all of
//! them is taken. The verdict names the setting, the restriction and, for tables, the line that decided.
//!
//! A verdict is a function of [`Facts`]: what the client said and what `routing` knows about the recipient. Nothing here knows
//! sockets or sessions. Whatever cannot be told at the moment (a table or the DNS is away) defers, and never permits.
//!
//! ```text
//! smtpd_recipient_restrictions = ["check_sender_access hash:sender_access", "reject_unknown_sender_domain"]
//! ```
//!
//! A new restriction of one word is one line in `restriction::VERBS` and one arm in `verbs`. Policy services and `sleep` need the world:
//! [`Outside`] is it.

mod access;
mod check;
mod codes;
pub mod delegation;
mod facts;
pub mod greylist;
mod hosts;
mod listed;
mod restriction;
mod verbs;
mod verdict;

pub use delegation::{NoOutside, Outside, PolicyService};
pub use facts::{Destination, Facts, Ownership, Stage};
pub use restriction::SetupError;
pub use verdict::{Action, Effects, Traced, Verdict};

use codes::Codes;
use dns::Resolver;
use dns::lists::Lists;
use mail_types::Address;
use restriction::{Check, Classes, List, ListSubject, Parser, Verb};
use std::sync::Arc;
use tables::{Context, Maps, NetworkList};

/// The restrictions of one service.
pub struct Policy {
    lists: Vec<(Stage, List)>,
    delay_reject: bool,
    reject_unlisted_recipient: bool,
    reject_unlisted_sender: bool,
    pub(crate) delimiters: String,
    pub(crate) mynetworks: NetworkList,
    pub(crate) sender_login_maps: Maps,
    pub(crate) relay_clientcerts: Maps,
    pub(crate) resolver: Option<Arc<dyn Resolver>>,
    pub(crate) dns_lists: Option<Arc<Lists>>,
    pub(crate) outside: Arc<dyn Outside>,
    pub(crate) codes: Codes,
    /// What is done when a name cannot be looked up: in general, for addresses, for HELO.
    pub(crate) tempfail: config::TempfailAction,
    pub(crate) address_tempfail: config::TempfailAction,
    pub(crate) helo_tempfail: config::TempfailAction,
    /// For tables that name them.
    pub(crate) classes: Vec<(String, Arc<List>)>,
    pub(crate) permit_mx_backup_networks: NetworkList,
    pub(crate) rbl_reply_maps: Maps,
    pub(crate) default_rbl_reply: String,
    pub(crate) greylist: Option<(Arc<greylist::Terms>, Arc<greylist::Seen>)>,
}

impl Policy {
    /// Reads the restrictions of a service. `mynetworks` comes from `routing::mynetworks`. Blocks on the disk (tables are opened).
    pub fn new(
        smtpd: &config::Smtpd,
        delimiters: &str,
        mynetworks: NetworkList,
        resolver: Option<Arc<dyn Resolver>>,
        context: &Context,
    ) -> Result<Policy, SetupError> {
        let classes = Classes::parse(&smtpd.smtpd_restriction_classes)?;
        let list = |stage: &Stage| Ok((*stage, List::parse(*stage, smtpd, &classes, context)?));
        let lists = Stage::ALL.iter().map(list).collect::<Result<Vec<_>, SetupError>>()?;
        // As Postfix: a server that relays for everybody does not start.
        let guarded = lists.iter().any(|(stage, list)| matches!(stage, Stage::Relay | Stage::Recipient) && list.guards_relaying());
        if !guarded {
            return Err(SetupError::OpenRelay);
        }
        let fault = |setting: &str, error| SetupError::Table { setting: setting.to_owned(), error };
        let maps = |setting: &str, tables: &[String]| Maps::open(&tables.join(", "), context).map_err(|error| fault(setting, error));
        let parser = Parser { setting: "smtpd_restriction_classes", stage: None, smtpd, classes: &classes, context };
        let named = classes.names().map(|name| Ok((name.to_owned(), Arc::new(parser.class(name, 0)?.unwrap_or_default()))));
        let networks = NetworkList::open(&smtpd.permit_mx_backup_networks.join(", "), context);
        Ok(Policy {
            delay_reject: smtpd.smtpd_delay_reject,
            reject_unlisted_recipient: smtpd.smtpd_reject_unlisted_recipient,
            delimiters: delimiters.to_owned(),
            mynetworks,
            reject_unlisted_sender: smtpd.smtpd_reject_unlisted_sender,
            sender_login_maps: maps("smtpd_sender_login_maps", &smtpd.smtpd_sender_login_maps)?,
            relay_clientcerts: maps("relay_clientcerts", &smtpd.relay_clientcerts)?,
            dns_lists: resolver.clone().map(|resolver| Arc::new(Lists::new(resolver, smtpd.dnsbl_self_test))),
            resolver,
            outside: Arc::new(NoOutside),
            codes: Codes::new(smtpd),
            tempfail: smtpd.reject_tempfail_action,
            address_tempfail: smtpd.unknown_address_tempfail_action,
            helo_tempfail: smtpd.unknown_helo_hostname_tempfail_action,
            classes: named.collect::<Result<_, SetupError>>()?,
            permit_mx_backup_networks: networks.map_err(|error| fault("permit_mx_backup_networks", error))?,
            rbl_reply_maps: maps("rbl_reply_maps", &smtpd.rbl_reply_maps)?,
            default_rbl_reply: smtpd.default_rbl_reply.clone(),
            greylist: None,
            lists,
        })
    }

    /// With a world to ask policy services in, and what is known of DNS lists shared with other services.
    pub fn in_world(mut self, outside: Arc<dyn Outside>, dns_lists: Arc<Lists>) -> Policy {
        self.outside = outside;
        self.dns_lists = Some(dns_lists);
        self
    }

    /// Whether the list of `stage` has anything to say at that stage; when not, `judge` need not be called. With
    /// `smtpd_delay_reject` client, HELO and sender are judged at RCPT, when it is known what the client wanted.
    pub fn concerns(&self, stage: Stage) -> bool {
        match stage {
            Stage::Client | Stage::Helo | Stage::Sender => !self.delay_reject && !self.list(stage).is_empty(),
            Stage::Relay | Stage::Recipient => true,
            Stage::Data | Stage::EndOfData | Stage::Etrn => !self.list(stage).is_empty(),
        }
    }

    /// Whether some list asks for the client's name, so that it has to be looked up beforehand.
    pub fn wants_client_name(&self) -> bool {
        self.any(&|check| {
            matches!(
                check,
                // A table may name the restriction.
                Check::Access(..)
                    | Check::Hosts(..)
                    | Check::Listed(ListSubject::ClientName, _)
                    | Check::Welcome(ListSubject::ClientName, _)
                    | Check::Service(_)
                    | Check::Verb(Verb::RejectUnknownClient)
            )
        })
    }

    /// Whether some list asks for the name that the client has in the DNS without being confirmed.
    pub fn wants_reverse_name(&self) -> bool {
        let own = self.any(&|check| {
            matches!(
                check,
                // A table may name the restriction.
                Check::Access(..)
                    | Check::Hosts(..)
                    | Check::Listed(ListSubject::ReverseName, _)
                    | Check::Service(_)
                    | Check::Verb(Verb::RejectUnknownReverseClient)
            )
        });
        own || self.default_rbl_reply.contains("reverse_client_name") || !self.rbl_reply_maps.is_empty()
    }

    /// Whether it has to be known whose the sender is.
    pub fn wants_sender_destination(&self) -> bool {
        // A table may name the restriction.
        self.reject_unlisted_sender
            || self.any(&|check| {
                matches!(
                    check,
                    Check::Verb(Verb::RejectUnlistedSender | Verb::RejectUnknownSenderDomain)
                        | Check::Access(..)
                        | Check::Hosts(..)
                        | Check::Service(_)
                )
            })
    }

    /// Whether some list has `check_greylist`.
    pub fn greylists(&self) -> bool {
        self.any(&|check| matches!(check, Check::Verb(Verb::CheckGreylist)))
    }

    fn any(&self, is: &dyn Fn(&Check) -> bool) -> bool {
        self.lists.iter().map(|(_, list)| list).chain(self.classes.iter().map(|(_, list)| &**list)).any(|list| list.any(is))
    }

    /// Whether the client is in `mynetworks`; whoever comes over the local socket is.
    pub async fn in_mynetworks(&self, facts: &Facts<'_>) -> Result<bool, tables::Unavailable> {
        match facts.client_ip {
            _ if facts.local => Ok(true),
            Some(ip) => self.mynetworks.contains(ip).await,
            None => Ok(false),
        }
    }

    /// Whether tables say which logins may use an address.
    pub fn has_sender_logins(&self) -> bool {
        !self.sender_login_maps.is_empty()
    }

    /// Whether `smtpd_sender_login_maps` gives `address` to `login`; `None` when it is empty, so that only the address itself can tell.
    pub async fn owned_by_table(&self, login: &str, address: &Address) -> Option<Ownership> {
        if self.sender_login_maps.is_empty() {
            return None;
        }
        Some(match self.owners(address).await {
            Ok(owners) if owners.iter().any(|owners| owners.has(login)) => Ownership::Own,
            Ok(_) => Ownership::Foreign,
            Err(_) => Ownership::Unavailable,
        })
    }

    /// Judges one stage. At [`Stage::Recipient`] all lists that belong to RCPT are asked, the relay list among them.
    pub async fn judge(&self, stage: Stage, facts: &Facts<'_>) -> Verdict {
        self.run(stage, &mut check::Run::new(self, stage, facts)).await
    }

    /// The same, with every restriction that was asked on the way.
    pub async fn explain(&self, stage: Stage, facts: &Facts<'_>) -> (Verdict, Vec<Traced>) {
        let mut run = check::Run::new(self, stage, facts);
        run.trace = Some(Vec::new());
        let verdict = self.run(stage, &mut run).await;
        (verdict, run.trace.unwrap_or_default())
    }

    async fn run(&self, stage: Stage, run: &mut check::Run<'_>) -> Verdict {
        // What was not judged before is judged with what the client wants.
        let lists: &[Stage] = match (stage, self.delay_reject) {
            (Stage::Recipient, true) => &[Stage::Client, Stage::Helo, Stage::Sender, Stage::Relay, Stage::Recipient],
            (Stage::Recipient, false) => &[Stage::Relay, Stage::Recipient],
            (Stage::Etrn, true) => &[Stage::Client, Stage::Helo, Stage::Etrn],
            _ => &[stage],
        };
        for list in lists {
            if let Some(verdict) = run.list(*list, self.list(*list)).await {
                return verdict;
            }
            if run.discards() {
                return run.permitted();
            }
        }
        if stage == Stage::Recipient {
            run.forget_defer_if_reject();
            if self.reject_unlisted_recipient
                && let Some(verdict) = run.unlisted_recipient("smtpd_reject_unlisted_recipient")
            {
                return verdict;
            }
            if self.reject_unlisted_sender
                && let Some(verdict) = run.unlisted_sender_refused("smtpd_reject_unlisted_sender")
            {
                return verdict;
            }
        }
        run.permitted()
    }

    fn list(&self, stage: Stage) -> &List {
        self.lists.iter().find(|(s, _)| *s == stage).map(|(_, list)| list).expect("every stage has its list")
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod verb_tests;
