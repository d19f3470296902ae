use crate::{Cleanup, NextHop, Reason};
use mail_types::{Address, AddressError, Domain};
use std::sync::Arc;
use tables::{AddressFound, AddressOrder, Context, DomainList, Format, Maps, Remote, Unavailable};

/// The settings of routing are wrong, or a table cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("routing.{setting}: {source}")]
    Table { setting: &'static str, source: tables::Error },
    #[error("routing.{setting}: {why}")]
    Value { setting: &'static str, why: String },
}

/// All that decides where mail goes. Make a new one when settings change; tables follow their files by themselves.
pub struct Router {
    pub(crate) origin: Domain,
    pub(crate) base: std::path::PathBuf,
    pub(crate) run_directory: std::path::PathBuf,
    pub(crate) delimiters: String,
    pub(crate) mydestination: DomainList,
    pub(crate) alias_maps: Maps,
    pub(crate) local_recipient_maps: Maps,
    pub(crate) virtual_alias_domains: DomainList,
    pub(crate) virtual_alias_maps: Maps,
    pub(crate) virtual_mailbox_domains: DomainList,
    pub(crate) virtual_mailbox_maps: Maps,
    pub(crate) alias_domain_maps: Maps,
    pub(crate) relay_domains: DomainList,
    pub(crate) relay_recipient_maps: Maps,
    pub(crate) relocated_maps: Maps,
    pub(crate) cleanup: Arc<Cleanup>,
    pub(crate) transport_maps: Maps,
    pub(crate) sender_relayhost_maps: Maps,
    pub(crate) sender_transport_maps: Maps,
    pub(crate) recipient_bcc_maps: Maps,
    pub(crate) sender_bcc_maps: Maps,
    pub(crate) always_bcc: Option<Address>,
    pub(crate) relayhost: Option<NextHop>,
    pub(crate) local_transport: String,
    pub(crate) virtual_transport: String,
    pub(crate) relay_transport: String,
    pub(crate) default_transport: String,
    pub(crate) expansion_limit: usize,
    pub(crate) recursion_limit: u32,
    /// Those of the settings.
    pub(crate) transports: Vec<(String, config::TransportProtocol)>,
    pub(crate) propagates: Vec<config::ExtensionClass>,
}

/// Which setting claims a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DomainClass {
    Local,
    Alias,
    Mailbox,
    Relay,
    Other,
}

impl Router {
    /// Opens all tables that the settings name. Blocks on the disk.
    pub fn new(config: &config::Config, remote: Arc<dyn Remote>) -> Result<Router, SetupError> {
        let context = Context::new(config.directory(), remote);
        let settings = &config.routing;
        let text = |items: &[String]| config.expand(&with_settings(&items.join(", "), settings));
        let list = |setting, items: &[String], parents| {
            DomainList::open(&text(items), parents, &context).map_err(|source| SetupError::Table { setting, source })
        };
        let maps_as = |setting, items: &[String], format| {
            Maps::open_as(&text(items), format, &context).map_err(|source| SetupError::Table { setting, source })
        };
        let maps = |setting, items: &[String]| maps_as(setting, items, Format::Table);
        let origin = Domain::parse(&config.main.myorigin).map_err(|e| SetupError::Value { setting: "myorigin", why: e.to_string() })?;
        let always_bcc = match config.expand(&settings.always_bcc).trim() {
            "" => None,
            text => Some(complete(text, &origin).map_err(|e| SetupError::Value { setting: "always_bcc", why: format!("`{text}`: {e}") })?),
        };
        let relayhost = match config.expand(&settings.relayhost).trim() {
            "" => None,
            text => Some(NextHop::parse(text).map_err(|why| SetupError::Value { setting: "relayhost", why })?),
        };
        let router = Router {
            base: config.directory().to_owned(),
            run_directory: config.main.run_directory.clone(),
            delimiters: settings.recipient_delimiter.clone(),
            mydestination: list("mydestination", &settings.mydestination, false)?,
            alias_maps: maps_as("alias_maps", &settings.alias_maps, Format::Aliases)?,
            local_recipient_maps: maps("local_recipient_maps", &settings.local_recipient_maps)?,
            virtual_alias_domains: list("virtual_alias_domains", &settings.virtual_alias_domains, false)?,
            virtual_alias_maps: maps("virtual_alias_maps", &settings.virtual_alias_maps)?,
            virtual_mailbox_domains: list("virtual_mailbox_domains", &settings.virtual_mailbox_domains, false)?,
            virtual_mailbox_maps: maps("virtual_mailbox_maps", &settings.virtual_mailbox_maps)?,
            alias_domain_maps: maps("alias_domain_maps", &settings.alias_domain_maps)?,
            relay_domains: list("relay_domains", &settings.relay_domains, true)?,
            relay_recipient_maps: maps("relay_recipient_maps", &settings.relay_recipient_maps)?,
            relocated_maps: maps("relocated_maps", &settings.relocated_maps)?,
            cleanup: Arc::new(Cleanup::new(config, &context, &origin)?),
            transport_maps: maps("transport_maps", &settings.transport_maps)?,
            sender_relayhost_maps: maps("sender_dependent_relayhost_maps", &settings.sender_dependent_relayhost_maps)?,
            sender_transport_maps: maps("sender_dependent_default_transport_maps", &settings.sender_dependent_default_transport_maps)?,
            recipient_bcc_maps: maps("recipient_bcc_maps", &settings.recipient_bcc_maps)?,
            sender_bcc_maps: maps("sender_bcc_maps", &settings.sender_bcc_maps)?,
            always_bcc,
            relayhost,
            local_transport: settings.local_transport.trim().to_owned(),
            virtual_transport: settings.virtual_transport.trim().to_owned(),
            relay_transport: settings.relay_transport.trim().to_owned(),
            default_transport: settings.default_transport.trim().to_owned(),
            expansion_limit: settings.virtual_alias_expansion_limit as usize,
            recursion_limit: settings.virtual_alias_recursion_limit,
            transports: config.qmgr.transport.iter().map(|t| (t.name.clone(), t.protocol)).collect(),
            propagates: settings.propagate_unmatched_extensions.clone(),
            origin,
        };
        for (setting, text) in [
            ("local_transport", &router.local_transport),
            ("virtual_transport", &router.virtual_transport),
            ("relay_transport", &router.relay_transport),
            ("default_transport", &router.default_transport),
        ] {
            router.check_transport(text).map_err(|why| SetupError::Value { setting, why })?;
        }
        Ok(router)
    }

    /// Reads an address that may lack its domain: `postmaster` becomes `postmaster@myorigin`.
    pub fn complete(&self, text: &str) -> Result<Address, AddressError> {
        complete(text, &self.origin)
    }

    /// What is done to messages before they are queued.
    pub fn cleanup(&self) -> &Arc<Cleanup> {
        &self.cleanup
    }

    /// The sender of an envelope in the form that the outside is to see.
    pub async fn rewrite_sender(&self, sender: &Address) -> Result<Address, Unavailable> {
        self.cleanup.rewriter.address(sender, config::AddressClass::EnvelopeSender).await
    }

    /// Whether mail that leaves by SMTP has its addresses changed (`smtp_generic_maps`).
    pub fn has_generic(&self) -> bool {
        self.cleanup.rewriter.has_generic()
    }

    /// An address of the envelope of mail that leaves by SMTP.
    pub async fn generic(&self, address: &Address) -> Result<Address, Unavailable> {
        self.cleanup.rewriter.generic(address).await
    }

    /// The header of such mail; `None` when nothing changes.
    pub async fn generic_header(&self, header: &[u8]) -> Result<Option<Vec<u8>>, Unavailable> {
        self.cleanup.rewriter.generic_header(header).await
    }

    /// A recipient of an envelope, before aliases.
    pub(crate) async fn rewrite_recipient(&self, recipient: &Address) -> Result<Address, Unavailable> {
        self.cleanup.rewriter.address(recipient, config::AddressClass::EnvelopeRecipient).await
    }

    /// Where a user of ours has moved to.
    pub(crate) async fn relocated(&self, address: &Address, class: DomainClass) -> Result<Option<tables::Found>, Unavailable> {
        if self.relocated_maps.is_empty() {
            return Ok(None);
        }
        let order = AddressOrder { catch_all: true, ..self.order(address, class) };
        Ok(self.relocated_maps.address(address, order).await?.map(|hit| hit.found))
    }

    /// `myorigin`.
    pub fn origin(&self) -> &Domain {
        &self.origin
    }

    /// Whether we take mail for the domain, and the setting that says so; `None` when not.
    pub async fn is_ours(&self, domain: &Domain) -> Result<Option<Reason>, Unavailable> {
        let (class, reason) = self.domain_class(domain).await?;
        Ok((class != DomainClass::Other).then_some(reason))
    }

    /// Whether mail for the domain ends here (it does not for relay domains).
    pub async fn is_final(&self, domain: &Domain) -> Result<bool, Unavailable> {
        Ok(!matches!(self.domain_class(domain).await?.0, DomainClass::Relay | DomainClass::Other))
    }

    pub(crate) async fn domain_class(&self, domain: &Domain) -> Result<(DomainClass, Reason), Unavailable> {
        for (class, setting, list) in [
            (DomainClass::Local, "mydestination", &self.mydestination),
            (DomainClass::Alias, "virtual_alias_domains", &self.virtual_alias_domains),
            (DomainClass::Mailbox, "virtual_mailbox_domains", &self.virtual_mailbox_domains),
        ] {
            if let Some(item) = list.find(domain).await? {
                return Ok((class, Reason::new(setting, item)));
            }
        }
        if let Some(found) = self.alias_domain_maps.lookup(domain.as_str()).await? {
            return Ok((DomainClass::Mailbox, Reason::new("alias_domain_maps", found.to_string())));
        }
        if let Some(item) = self.relay_domains.find(domain).await? {
            return Ok((DomainClass::Relay, Reason::new("relay_domains", item)));
        }
        let names = "mydestination, virtual_alias_domains, virtual_mailbox_domains and relay_domains do not have it";
        Ok((DomainClass::Other, Reason::new("not ours", names)))
    }

    /// The alias of an address without its `@domain` catch-all.
    pub(crate) async fn alias(&self, address: &Address, class: DomainClass) -> Result<Option<AddressFound>, Unavailable> {
        self.virtual_alias_maps.address(address, self.order(address, class)).await
    }

    /// How addresses of this class are looked for, without catch-all. The bare user is a key for our own names only (virtual(5)).
    pub(crate) fn order(&self, address: &Address, class: DomainClass) -> AddressOrder<'_> {
        AddressOrder {
            delimiters: &self.delimiters,
            bare: class == DomainClass::Local || *address.domain() == self.origin,
            catch_all: false,
        }
    }

    pub(crate) async fn catch_all(&self, maps: &Maps, domain: &Domain) -> Result<Option<tables::Found>, Unavailable> {
        if maps.is_empty() {
            return Ok(None);
        }
        maps.lookup_part(&format!("@{domain}")).await
    }

    /// The local part in `alias_maps`, with and without its detail; and the detail that it was found without.
    pub(crate) async fn local_alias<'a>(&self, address: &'a Address) -> Result<Option<(tables::Found, Option<&'a str>)>, Unavailable> {
        if self.alias_maps.is_empty() {
            return Ok(None);
        }
        if let Some(found) = self.alias_maps.lookup(address.local()).await? {
            return Ok(Some((found, None)));
        }
        match address.split_detail(&self.delimiters) {
            Some((user, detail)) => Ok(self.alias_maps.lookup(user.local()).await?.map(|found| (found, Some(detail)))),
            None => Ok(None),
        }
    }

    /// The target of an alias domain. A value that is no domain makes the table unavailable, for nobody knows what was meant.
    pub(crate) async fn alias_domain(&self, domain: &Domain) -> Result<Option<(Domain, tables::Found)>, Unavailable> {
        let Some(found) = self.alias_domain_maps.lookup(domain.as_str()).await? else { return Ok(None) };
        match Domain::parse(found.value.trim().trim_start_matches('@')) {
            Ok(target) if target == *domain => Ok(None),
            Ok(target) => Ok(Some((target, found))),
            Err(error) => Err(Unavailable { table: found.table.spec().to_owned(), why: format!("{found}: {error}") }),
        }
    }
}

/// Replaces `$virtual_mailbox_maps` and the like, as the guide's `local_recipient_maps = $virtual_mailbox_maps $virtual_alias_maps` has them.
fn with_settings(text: &str, settings: &config::Routing) -> String {
    let mut text = text.to_owned();
    for (name, items) in [
        ("$virtual_mailbox_domains", &settings.virtual_mailbox_domains),
        ("$virtual_mailbox_maps", &settings.virtual_mailbox_maps),
        ("$virtual_alias_domains", &settings.virtual_alias_domains),
        ("$virtual_alias_maps", &settings.virtual_alias_maps),
        ("$alias_maps", &settings.alias_maps),
        ("$mydestination", &settings.mydestination),
        ("$relay_domains", &settings.relay_domains),
    ] {
        if text.contains(name) {
            text = text.replace(name, &items.join(", "));
        }
    }
    text
}

fn complete(text: &str, origin: &Domain) -> Result<Address, AddressError> {
    match Address::parse(text) {
        Err(AddressError::NoDomain) => Address::parse(&format!("{text}@{origin}")),
        other => other,
    }
}
