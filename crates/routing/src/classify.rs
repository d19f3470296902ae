use crate::Reason;
use crate::router::{DomainClass, Router};
use mail_types::Address;
use std::future::Future;
use std::pin::Pin;
use tables::Unavailable;

/// Whether we take mail for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It has a mailbox here.
    Mailbox,
    /// It stands for other addresses.
    Alias,
    /// Its domain is one that we pass mail on for.
    Relay,
    /// Its domain is ours, the user is not known: 550 5.1.1.
    UnknownUser,
    /// It was ours, and `relocated_maps` has where it is now (`Classified::moved_to`): 550 5.1.6.
    Moved,
    /// Its domain is none of ours: taking it means relaying, 554 5.7.1 for strangers.
    NotOurs,
}

/// A class, and what decided.
#[derive(Debug, Clone)]
pub struct Classified {
    pub class: Class,
    pub reason: Reason,
    /// Of a user who has moved.
    pub moved_to: Option<String>,
}

impl Classified {
    fn new(class: Class, reason: Reason) -> Classified {
        Classified { class, reason, moved_to: None }
    }
}

/// Alias domains and `myorigin` lead from address to address; more of these steps is a loop in the tables.
pub(crate) const STEPS: u8 = 8;

impl Router {
    /// Whether mail for `address` is taken, and why. [`Unavailable`] is a temporary failure (450 4.3.0), not "unknown".
    pub async fn classify(&self, address: &Address) -> Result<Classified, Unavailable> {
        let address = &self.rewrite_recipient(address).await?;
        let (domain_class, reason) = self.domain_class(address.domain()).await?;
        let known = match domain_class {
            DomainClass::Other => return Ok(Classified::new(Class::NotOurs, reason)),
            // A source route: the host behind us would send it anywhere, since it comes from us (Postfix RESOLVE_FLAG_ROUTED).
            DomainClass::Relay if address.local().contains(['@', '%', '!']) => {
                let reason = Reason::new("relay_domains", "an address with @, % or ! before its domain may lead anywhere from there");
                return Ok(Classified::new(Class::NotOurs, reason));
            }
            class => self.known(address, class, STEPS).await?,
        };
        // As in qmgr: who has moved is asked where aliases have led to.
        if let Some(found) = self.relocated(address, domain_class).await?
            && (known.is_none() || !self.leads_on(address, domain_class).await?)
        {
            let moved_to = Some(found.value.trim().to_owned());
            return Ok(Classified { moved_to, ..Classified::new(Class::Moved, Reason::new("relocated_maps", found.to_string())) });
        }
        Ok(known.unwrap_or_else(|| {
            let why = format!("no such user (the domain is in {reason})");
            Classified::new(Class::UnknownUser, Reason::new(unknown_in(domain_class), why))
        }))
    }

    /// How an address of one of our domains is known. Boxed, because alias domains make it ask itself.
    pub(crate) fn known<'a>(&'a self, address: &'a Address, class: DomainClass, steps: u8) -> KnownFuture<'a> {
        Box::pin(async move {
            let order = self.order(address, class);
            let found = |class, setting, found: &tables::Found| Some(Classified::new(class, Reason::new(setting, found.to_string())));
            // The usual recipient has a mailbox: that is the first question.
            if matches!(class, DomainClass::Mailbox | DomainClass::Local)
                && let Some(hit) = self.virtual_mailbox_maps.address(address, tables::AddressOrder { bare: false, ..order }).await?
            {
                return Ok(found(Class::Mailbox, "virtual_mailbox_maps", &hit.found));
            }
            if let Some(hit) = self.virtual_alias_maps.address(address, order).await? {
                return Ok(found(Class::Alias, "virtual_alias_maps", &hit.found));
            }
            match class {
                DomainClass::Local => {
                    if let Some((hit, _)) = self.local_alias(address).await? {
                        return Ok(found(Class::Alias, "alias_maps", &hit));
                    }
                    if let Some(hit) = self.local_recipient_maps.address(address, tables::AddressOrder { catch_all: true, ..order }).await?
                    {
                        return Ok(found(Class::Mailbox, "local_recipient_maps", &hit.found));
                    }
                }
                DomainClass::Mailbox => {
                    if let Some((target, hit)) = self.alias_domain(address.domain()).await?
                        && let Some(there) = self.known_at(address, target, steps).await?
                    {
                        let detail = format!("{hit}, there {}", there.reason);
                        return Ok(Some(Classified::new(Class::Alias, Reason::new("alias_domain_maps", detail))));
                    }
                }
                DomainClass::Relay if self.relay_recipient_maps.is_empty() => {
                    return Ok(Some(Classified::new(Class::Relay, Reason::new("relay_recipient_maps", "empty: all are taken"))));
                }
                DomainClass::Relay => {
                    if let Some(hit) = self.relay_recipient_maps.address(address, tables::AddressOrder { catch_all: true, ..order }).await?
                    {
                        return Ok(found(Class::Relay, "relay_recipient_maps", &hit.found));
                    }
                }
                DomainClass::Alias | DomainClass::Other => {}
            }
            if let Some(hit) = self.catch_all(&self.virtual_alias_maps, address.domain()).await? {
                return Ok(found(Class::Alias, "virtual_alias_maps", &hit));
            }
            if class == DomainClass::Mailbox
                && let Some(hit) = self.catch_all(&self.virtual_mailbox_maps, address.domain()).await?
            {
                return Ok(found(Class::Mailbox, "virtual_mailbox_maps", &hit));
            }
            if self.leads_to_origin(address, class)
                && let Some(there) = self.known_at(address, self.origin.clone(), steps).await?
            {
                return Ok(Some(Classified::new(Class::Alias, Reason::new("myorigin", there.reason.to_string()))));
            }
            Ok(None)
        })
    }

    /// Whether an address that nothing else knows is looked for at `myorigin`: names of this machine, and the postmaster of every
    /// domain of ours, who has to be reachable (RFC 5321 §4.5.1).
    pub(crate) fn leads_to_origin(&self, address: &Address, class: DomainClass) -> bool {
        let postmaster = matches!(class, DomainClass::Mailbox | DomainClass::Alias) && address.local().eq_ignore_ascii_case("postmaster");
        (class == DomainClass::Local || postmaster) && *address.domain() != self.origin
    }

    async fn known_at(&self, address: &Address, domain: mail_types::Domain, steps: u8) -> Result<Option<Classified>, Unavailable> {
        if steps == 0 {
            return Ok(None);
        }
        let address = address.at(domain);
        match self.domain_class(address.domain()).await?.0 {
            DomainClass::Other => Ok(None),
            class => self.known(&address, class, steps - 1).await,
        }
    }
}

pub(crate) type KnownFuture<'a> = Pin<Box<dyn Future<Output = Result<Option<Classified>, Unavailable>> + Send + 'a>>;

fn unknown_in(class: DomainClass) -> &'static str {
    match class {
        DomainClass::Local => "local_recipient_maps",
        DomainClass::Alias => "virtual_alias_maps",
        DomainClass::Mailbox => "virtual_mailbox_maps",
        DomainClass::Relay => "relay_recipient_maps",
        DomainClass::Other => "not ours",
    }
}
