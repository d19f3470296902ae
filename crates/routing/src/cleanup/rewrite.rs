//! The form of addresses that the outside is to see: canonical(5), masquerading, and names without a domain.

use crate::SetupError;
use config::{AddressClass, ExtensionClass};
use mail_types::{Address, Domain};
use message::{Entry, Field};
use tables::{AddressOrder, Context, Maps, Unavailable};

/// Postfix goes on while a table gives something else, so often at most.
const ROUNDS: usize = 10;
/// An address that is written in an odd form (`"ann"@x.org`) is looked for in vain: a field may cost so many steps of that, and what
/// stands behind is left as it is.
const SEARCH_OCTETS: usize = 1 << 20;
const SENDER_FIELDS: [&str; 9] = [
    "From",
    "Sender",
    "Reply-To",
    "Errors-To",
    "Return-Receipt-To",
    "Disposition-Notification-To",
    "Resent-From",
    "Resent-Sender",
    "Resent-Reply-To",
];
const RECIPIENT_FIELDS: [&str; 7] = ["To", "Cc", "Bcc", "Apparently-To", "Resent-To", "Resent-Cc", "Resent-Bcc"];

/// What addresses of a header become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// That of this house: complete, canonical, masqueraded.
    Ours,
    /// That of `smtp_generic_maps`.
    Generic,
}

pub(crate) struct Rewriter {
    origin: Domain,
    mydomain: String,
    delimiters: String,
    /// Each with the places that it is asked for, in this order: sender, recipient, both.
    canonical: [(Maps, Vec<AddressClass>); 3],
    generic: Maps,
    propagates: Vec<ExtensionClass>,
    masquerade: Vec<(bool, Domain)>,
    exceptions: Vec<String>,
    classes: Vec<AddressClass>,
    at_origin: bool,
    dot_mydomain: bool,
}

impl Rewriter {
    pub fn new(config: &config::Config, context: &Context, origin: &Domain) -> Result<Rewriter, SetupError> {
        let settings = &config.cleanup;
        let maps = |setting, items: &[String]| {
            Maps::open(&config.expand(&items.join(", ")), context).map_err(|source| SetupError::Table { setting, source })
        };
        let domain = |item: &str| {
            let name = item.trim_start_matches('!');
            let wrong = |e: mail_types::DomainError| SetupError::Value { setting: "masquerade_domains", why: format!("`{item}`: {e}") };
            Ok((name.len() == item.len(), Domain::parse(name).map_err(wrong)?))
        };
        let masquerade = config.expand(&settings.masquerade_domains.join(" "));
        Ok(Rewriter {
            origin: origin.clone(),
            mydomain: config.main.mydomain.clone(),
            delimiters: config.routing.recipient_delimiter.clone(),
            canonical: [
                (maps("sender_canonical_maps", &settings.sender_canonical_maps)?, settings.sender_canonical_classes.clone()),
                (maps("recipient_canonical_maps", &settings.recipient_canonical_maps)?, settings.recipient_canonical_classes.clone()),
                (maps("canonical_maps", &settings.canonical_maps)?, settings.canonical_classes.clone()),
            ],
            generic: maps("smtp_generic_maps", &config.outbound.smtp_generic_maps)?,
            propagates: config.routing.propagate_unmatched_extensions.clone(),
            masquerade: tables::split_list(&masquerade).into_iter().map(domain).collect::<Result<_, SetupError>>()?,
            exceptions: settings.masquerade_exceptions.clone(),
            classes: settings.masquerade_classes.clone(),
            at_origin: settings.append_at_myorigin,
            dot_mydomain: settings.append_dot_mydomain,
        })
    }

    pub fn changes_headers(&self) -> bool {
        let in_headers = |class: &AddressClass| matches!(class, AddressClass::HeaderSender | AddressClass::HeaderRecipient);
        let asked = |(maps, classes): &(Maps, Vec<AddressClass>)| !maps.is_empty() && classes.iter().any(in_headers);
        self.canonical.iter().any(asked) || !self.masquerade.is_empty() || self.at_origin || self.dot_mydomain
    }

    /// The form of an address at a place where addresses of this class stand.
    pub async fn address(&self, address: &Address, class: AddressClass) -> Result<Address, Unavailable> {
        let mut address = address.clone();
        for (maps, _) in self.canonical.iter().filter(|(_, classes)| classes.contains(&class)) {
            address = self.canonical(maps, address).await?;
        }
        Ok(if self.classes.contains(&class) { self.masqueraded(address) } else { address })
    }

    async fn canonical(&self, maps: &Maps, mut address: Address) -> Result<Address, Unavailable> {
        for _ in 0..ROUNDS {
            match self.looked_up(maps, &address, ExtensionClass::Canonical).await? {
                Some(next) if next != address => address = next,
                _ => break,
            }
        }
        Ok(address)
    }

    /// The form of an address in mail that leaves by SMTP (Postfix generic(5)); the tables are asked once.
    pub async fn generic(&self, address: &Address) -> Result<Address, Unavailable> {
        Ok(self.looked_up(&self.generic, address, ExtensionClass::Generic).await?.unwrap_or_else(|| address.clone()))
    }

    pub fn has_generic(&self) -> bool {
        !self.generic.is_empty()
    }

    async fn looked_up(&self, maps: &Maps, address: &Address, class: ExtensionClass) -> Result<Option<Address>, Unavailable> {
        let order = AddressOrder { delimiters: &self.delimiters, bare: *address.domain() == self.origin, catch_all: true };
        let Some(hit) = maps.address(address, order).await? else { return Ok(None) };
        let detail = hit.unmatched_detail.as_deref().filter(|_| self.propagates.contains(&class));
        let found = self.result(hit.found.value.trim(), address, detail);
        if found.is_none() {
            tracing::error!(rule = %hit.found, "the value is no address: the address stays as it is");
        }
        Ok(found)
    }

    /// `@domain` keeps the user; a detail that the key did not have goes on.
    fn result(&self, value: &str, address: &Address, detail: Option<&str>) -> Option<Address> {
        if let Some(domain) = value.strip_prefix('@') {
            return Some(address.at(Domain::parse(domain).ok()?));
        }
        let found = match Address::parse(value) {
            Err(mail_types::AddressError::NoDomain) => Address::new(value, self.origin.clone()).ok()?,
            other => other.ok()?,
        };
        let separator = self.delimiters.chars().find(|c| address.local().contains(*c));
        match (detail, separator) {
            (Some(detail), Some(c)) => Address::new(&format!("{}{c}{detail}", found.local()), found.domain().clone()).ok(),
            _ => Some(found),
        }
    }

    fn masqueraded(&self, address: Address) -> Address {
        if self.exceptions.iter().any(|user| user.eq_ignore_ascii_case(address.local())) {
            return address;
        }
        let name = address.domain().as_str();
        for (wanted, domain) in &self.masquerade {
            let above = domain.as_str();
            if name == above {
                return address;
            }
            if name.strip_suffix(above).is_some_and(|front| front.ends_with('.')) {
                return if *wanted { address.at(domain.clone()) } else { address };
            }
        }
        address
    }

    /// The header of a message that leaves by SMTP; `None` when nothing changes.
    pub async fn generic_header(&self, header: &[u8]) -> Result<Option<Vec<u8>>, Unavailable> {
        let (mut text, mut copied) = (Vec::new(), 0);
        for field in message::fields(header) {
            if let Some(changed) = self.field(&field, Form::Generic).await? {
                text.extend_from_slice(&header[copied..field.offset()]);
                text.extend_from_slice(&changed);
                copied = field.offset() + field.raw().len();
            }
        }
        text.extend_from_slice(&header[copied..]);
        Ok((copied > 0).then_some(text))
    }

    /// The whole field with its addresses in their new form; `None` when nothing changes.
    pub async fn field(&self, field: &Field<'_>, form: Form) -> Result<Option<Vec<u8>>, Unavailable> {
        let class = match () {
            () if SENDER_FIELDS.iter().any(|name| field.is(name)) => AddressClass::HeaderSender,
            () if RECIPIENT_FIELDS.iter().any(|name| field.is(name)) => AddressClass::HeaderRecipient,
            () => return Ok(None),
        };
        // Addresses are changed where they stand: names, comments and folds stay as they were written.
        let raw = field.raw();
        let (mut text, mut copied) = (Vec::new(), 0);
        let mut at = raw.len() - field.value().len() - line_end(raw);
        let mut budget = SEARCH_OCTETS;
        for entry in message::address::parse(field.value()) {
            let Entry::Mailbox(mailbox) = entry else { continue };
            let bare =
                form == Form::Ours && self.at_origin && &*mailbox.host == b"MISSING_DOMAIN" && &*mailbox.mailbox != b"MISSING_MAILBOX";
            let written: Vec<u8> = if bare { mailbox.mailbox.to_vec() } else { [&*mailbox.mailbox, b"@", &*mailbox.host].concat() };
            let Some(found) = place_of(raw, at, &written, bare && mailbox.name.is_some(), &mut budget) else { continue };
            at = found + written.len();
            let new = match form {
                Form::Ours => match self.completed(&mailbox, bare) {
                    Some(address) => self.address(&address, class).await?,
                    None => continue,
                },
                Form::Generic => match mailbox.address() {
                    Some(address) => self.generic(&address).await?,
                    None => continue,
                },
            };
            let new = new.to_string().into_bytes();
            if !new.eq_ignore_ascii_case(&written) {
                text.extend_from_slice(&raw[copied..found]);
                text.extend_from_slice(&new);
                copied = at;
            }
        }
        text.extend_from_slice(&raw[copied..]);
        Ok((copied > 0).then_some(text))
    }

    fn completed(&self, mailbox: &message::Mailbox<'_>, bare: bool) -> Option<Address> {
        if bare {
            return Address::new(std::str::from_utf8(&mailbox.mailbox).ok()?, self.origin.clone()).ok();
        }
        let address = mailbox.address()?;
        if !self.dot_mydomain || address.domain().as_str().contains('.') || address.domain().literal().is_some() {
            return Some(address);
        }
        let domain = Domain::parse(&format!("{}.{}", address.domain(), self.mydomain)).ok()?;
        Some(address.at(domain))
    }
}

fn line_end(raw: &[u8]) -> usize {
    if raw.ends_with(b"\r\n") { 2 } else { usize::from(raw.ends_with(b"\n")) }
}

/// Where an address stands as a word of its own, at `from` or behind it. `in_brackets`: only there, for before them stands a name.
fn place_of(bytes: &[u8], from: usize, wanted: &[u8], in_brackets: bool, budget: &mut usize) -> Option<usize> {
    let part_of_word =
        |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.@\"".contains(b) || *b >= 0x80);
    let mut at = from;
    while at + wanted.len() <= bytes.len() && *budget > 0 {
        *budget -= 1;
        let end = at + wanted.len();
        let alone = !part_of_word(at.checked_sub(1).and_then(|before| bytes.get(before))) && !part_of_word(bytes.get(end));
        let bracketed = at > 0 && bytes[at - 1] == b'<';
        if bytes[at..end].eq_ignore_ascii_case(wanted) && alone && (bracketed || !in_brackets) {
            return Some(at);
        }
        at += 1;
    }
    None
}
