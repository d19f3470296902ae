//! From the recipients of a message to those that are delivered to: aliases, alias domains, catch-alls, copies.
//!
//! Each recipient of the envelope is followed breadth-first through `virtual_alias_maps`, alias domains and, for our own names,
//! `alias_maps`. An address comes out of it when nothing leads on from it, or when it leads to itself (`ann → ann, bob`: a copy
//! for Bob, which may well point back to Ann). An address met twice is followed once, so that loops end by themselves; a recipient
//! that leads only into a loop, or deeper or wider than the limits, is bounced with 5.4.6.
//!
//! `:include:/file` in alias files is read; `|command` and `/file` are not offered here, and defer with a clear reason.

use crate::Reason;
use crate::classify::STEPS;
use crate::router::{DomainClass, Router};
use config::ExtensionClass;
use mail_types::{Address, DsnNotify, Failure, Outcome, Recipient};
use std::collections::{HashSet, VecDeque};
use tables::{AddressOrder, Unavailable};

/// What the recipients of a message became.
#[derive(Debug, Clone, Default)]
pub struct Expansion {
    /// Each address once, in order of discovery.
    pub recipients: Vec<Expanded>,
    /// Recipients of the envelope (by place) that cannot be expanded, wholly or in part.
    pub failures: Vec<(usize, Outcome)>,
}

/// An address to deliver to.
#[derive(Debug, Clone)]
pub struct Expanded {
    /// The place of the recipient in the envelope that it came from; `None` for the copies of `always_bcc` and the BCC tables.
    pub original: Option<usize>,
    /// Its DSN parameters are those of the original; `orcpt` names the original when the address is another one.
    pub recipient: Recipient,
    /// The steps that led here; empty when the address stands for itself.
    pub path: Vec<Reason>,
}

/// Where an address leads.
enum Next {
    /// Nowhere: deliver to it.
    Final,
    To(Vec<Target>, Reason),
}

enum Target {
    Address(Address),
    /// `:include:` of an alias file, and the detail that goes on to what stands there.
    Include(std::path::PathBuf, Option<String>),
    Wrong(String),
}

/// What is asked for on a branch: the address and how we came to it.
struct Branch {
    address: Address,
    depth: u32,
    path: Vec<Reason>,
}

/// An included list that is larger is no list of addresses.
const INCLUDE_LIMIT_BYTES: u64 = 1 << 20;

impl Router {
    /// Expands the recipients of a message, once. `copies`: add those of `always_bcc` and the BCC tables (not for bounces that we make).
    /// A table that cannot tell makes the whole expansion [`Unavailable`]: to be asked again, nothing was decided.
    pub async fn expand(&self, sender: Option<&Address>, recipients: &[Recipient], copies: bool) -> Result<Expansion, Unavailable> {
        let mut expansion = Expansion::default();
        let mut seen = HashSet::new();
        for (at, recipient) in recipients.iter().enumerate() {
            self.expand_one(Some(at), recipient, Vec::new(), &mut expansion, &mut seen).await?;
        }
        if copies {
            for (address, reason) in self.copies(sender, recipients).await? {
                // A copy nobody asked for must not send notifications to the sender.
                let recipient = Recipient { notify: DsnNotify::NEVER, ..Recipient::new(address) };
                self.expand_one(None, &recipient, vec![reason], &mut expansion, &mut seen).await?;
            }
        }
        Ok(expansion)
    }

    async fn expand_one(
        &self,
        original: Option<usize>,
        recipient: &Recipient,
        path: Vec<Reason>,
        expansion: &mut Expansion,
        seen: &mut HashSet<String>,
    ) -> Result<(), Unavailable> {
        let address = self.rewrite_recipient(&recipient.address).await?;
        let mut met = HashSet::from([identity(&address)]);
        let mut queue = VecDeque::from([Branch { address, depth: 0, path }]);
        let mut finals = 0;
        let mut failure = None;
        let mut include_depth = 0;
        while let Some(branch) = queue.pop_front() {
            let (class, _) = self.domain_class(branch.address.domain()).await?;
            let (targets, reason) = match self.next(&branch.address, class).await? {
                Next::To(targets, reason) => (targets, reason),
                Next::Final => {
                    finals += 1;
                    push_final(original, recipient, branch, class, expansion, seen);
                    continue;
                }
            };
            if branch.depth >= self.recursion_limit {
                failure = Some(loop_failure(&recipient.address, format!("aliases lead deeper than {} steps", self.recursion_limit)));
                break;
            }
            let mut targets: VecDeque<Target> = targets.into();
            let mut itself = false;
            while let Some(target) = targets.pop_front() {
                match target {
                    Target::Address(address) if identity(&address) == identity(&branch.address) => itself = true,
                    Target::Address(address) => {
                        if met.insert(identity(&address)) {
                            let path = branch.path.iter().cloned().chain([reason.clone()]).collect();
                            queue.push_back(Branch { address, depth: branch.depth + 1, path });
                        }
                    }
                    Target::Include(file, detail) => {
                        include_depth += 1;
                        match self.include(&file, &branch.address, detail.as_deref()) {
                            _ if include_depth > self.recursion_limit => {
                                failure = Some(loop_failure(&recipient.address, ":include: lists lead to too many lists".to_owned()));
                            }
                            Ok(more) => targets.extend(more),
                            Err(why) => failure = Some(wrong(&recipient.address, &reason, &why)),
                        }
                    }
                    Target::Wrong(why) => failure = Some(wrong(&recipient.address, &reason, &why)),
                }
                if met.len() > self.expansion_limit {
                    break;
                }
            }
            if met.len() > self.expansion_limit {
                let why = format!("the alias stands for more than {} addresses", self.expansion_limit);
                failure = Some(loop_failure(&recipient.address, why));
                break;
            }
            if itself {
                finals += 1;
                push_final(original, recipient, branch, class, expansion, seen);
            }
        }
        if finals == 0 && failure.is_none() {
            failure = Some(loop_failure(&recipient.address, "the alias leads back to itself".to_owned()));
        }
        if let (Some(outcome), Some(original)) = (failure, original) {
            expansion.failures.push((original, outcome));
        }
        Ok(())
    }

    /// Whether an address stands for others, and not for itself alone.
    pub(crate) async fn leads_on(&self, address: &Address, class: DomainClass) -> Result<bool, Unavailable> {
        let itself = |target: &Target| matches!(target, Target::Address(there) if identity(there) == identity(address));
        Ok(match self.next(address, class).await? {
            Next::To(targets, _) => !targets.iter().all(itself),
            Next::Final => false,
        })
    }

    /// One step from an address.
    async fn next(&self, address: &Address, class: DomainClass) -> Result<Next, Unavailable> {
        if let Some(hit) = self.alias(address, class).await? {
            let targets = self.targets(&hit.found.value, address, hit.unmatched_detail.as_deref());
            return Ok(Next::To(targets, Reason::new("virtual_alias_maps", hit.found.to_string())));
        }
        if class == DomainClass::Local
            && let Some((found, detail)) = self.local_alias(address).await?
        {
            let mut targets = self.local_targets(&found.value, address);
            targets.iter_mut().for_each(|target| self.extend(ExtensionClass::Alias, target, address, detail));
            return Ok(Next::To(targets, Reason::new("alias_maps", found.to_string())));
        }
        let alias_domain = if class == DomainClass::Mailbox { self.alias_domain(address.domain()).await? } else { None };
        let catch_all = self.catch_all(&self.virtual_alias_maps, address.domain()).await?;
        let to_origin = self.leads_to_origin(address, class);
        // The usual recipient: nothing that a mailbox would have to be asked against.
        if (alias_domain.is_none() && catch_all.is_none() && !to_origin) || self.has_mailbox(address, class).await? {
            return Ok(Next::Final);
        }
        if let Some((target, found)) = alias_domain {
            let there = address.at(target);
            let (class, _) = self.domain_class(there.domain()).await?;
            let known = class == DomainClass::Other || self.known(&there, class, STEPS).await?.is_some();
            if known || catch_all.is_none() {
                return Ok(Next::To(vec![Target::Address(there)], Reason::new("alias_domain_maps", found.to_string())));
            }
        }
        if let Some(found) = catch_all {
            let targets = self.targets(&found.value, address, None);
            return Ok(Next::To(targets, Reason::new("virtual_alias_maps", found.to_string())));
        }
        if to_origin && self.catch_all(&self.virtual_mailbox_maps, address.domain()).await?.is_none() {
            let there = address.at(self.origin.clone());
            let (class, _) = self.domain_class(&self.origin).await?;
            if class != DomainClass::Other && self.known(&there, class, STEPS).await?.is_some() {
                let reason = Reason::new("myorigin", format!("{address} is {there}"));
                return Ok(Next::To(vec![Target::Address(there)], reason));
            }
        }
        Ok(Next::Final)
    }

    /// Whether the address itself has a mailbox here, which then is not hidden by a catch-all.
    async fn has_mailbox(&self, address: &Address, class: DomainClass) -> Result<bool, Unavailable> {
        let order = self.order(address, class);
        let own = matches!(class, DomainClass::Local | DomainClass::Mailbox);
        if own && self.virtual_mailbox_maps.address(address, AddressOrder { bare: false, ..order }).await?.is_some() {
            return Ok(true);
        }
        let local = class == DomainClass::Local;
        Ok(local && self.local_recipient_maps.address(address, AddressOrder { catch_all: true, ..order }).await?.is_some())
    }

    /// The right-hand side of virtual(5): addresses separated by commas or white space; `@domain` keeps the user; a bare name gets `myorigin`.
    /// A detail that the key did not have goes on to the results (`propagate_unmatched_extensions`).
    fn targets(&self, value: &str, address: &Address, detail: Option<&str>) -> Vec<Target> {
        split_addresses(value)
            .into_iter()
            .map(|text| {
                let parsed = match text.strip_prefix('@') {
                    Some(domain) => mail_types::Domain::parse(domain).map(|domain| address.at(domain)).map_err(|e| e.to_string()),
                    None => self.complete(text).map_err(|e| e.to_string()),
                };
                match parsed {
                    Ok(target) if text.starts_with('@') => Target::Address(target),
                    Ok(target) => Target::Address(self.extended(ExtensionClass::Virtual, &target, address, detail).unwrap_or(target)),
                    Err(why) => Target::Wrong(format!("`{text}`: {why}")),
                }
            })
            .collect()
    }

    /// A result with the detail of the address that it was found for, where `propagate_unmatched_extensions` has the table. `None`: as it is, also when it
    /// would be no address then.
    fn extended(&self, table: ExtensionClass, target: &Address, address: &Address, detail: Option<&str>) -> Option<Address> {
        let detail = detail.filter(|_| self.propagates.contains(&table))?;
        let separator = address.local().chars().skip(1).find(|c| self.delimiters.contains(*c)).unwrap_or('+');
        Address::new(&format!("{}{separator}{detail}", target.local()), target.domain().clone()).ok()
    }

    fn extend(&self, table: ExtensionClass, target: &mut Target, address: &Address, detail: Option<&str>) {
        match target {
            Target::Address(to) => {
                if let Some(extended) = self.extended(table, to, address, detail) {
                    *to = extended;
                }
            }
            Target::Include(_, carried) => *carried = detail.map(str::to_owned),
            Target::Wrong(_) => {}
        }
    }

    /// The right-hand side of aliases(5). A bare name is a name of the same domain, so that aliases lead to aliases.
    fn local_targets(&self, value: &str, address: &Address) -> Vec<Target> {
        split_addresses(value)
            .into_iter()
            .map(|text| {
                let text = text.strip_prefix('\\').unwrap_or(text);
                if let Some(file) = text.strip_prefix(":include:") {
                    return Target::Include(self.base.join(file), None);
                }
                if text.starts_with('|') || text.starts_with("\"|") {
                    return Target::Wrong(format!("`{text}`: programs are not started by Facteur"));
                }
                if text.starts_with('/') {
                    return Target::Wrong(format!("`{text}`: mail is not written to files"));
                }
                let parsed = match Address::parse(text) {
                    Err(mail_types::AddressError::NoDomain) => Address::parse(&format!("{text}@{}", address.domain())),
                    other => other,
                };
                parsed.map_or_else(|why| Target::Wrong(format!("`{text}`: {why}")), Target::Address)
            })
            .collect()
    }

    /// The addresses of an included file: one or several per line, comments as in tables. Blocks on the disk, as short as the list.
    fn include(&self, file: &std::path::Path, address: &Address, detail: Option<&str>) -> Result<Vec<Target>, String> {
        use std::io::Read;
        use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
        let shown = file.display();
        // O_NONBLOCK: opening a FIFO that somebody put there must not wait for a writer, and with it the queue.
        let mut options = std::fs::OpenOptions::new();
        let open = options.read(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits()).open(file);
        let open = open.map_err(|e| format!(":include:{shown}: {e}"))?;
        // Who may write the list decides where mail goes: root, or whom we run as (the owner of the aliases), and nobody else.
        let meta = open.metadata().map_err(|e| format!(":include:{shown}: {e}"))?;
        let owner = meta.uid() == 0 || meta.uid() == nix::unistd::geteuid().as_raw();
        if !meta.is_file() || !owner || meta.mode() & 0o002 != 0 {
            return Err(format!(":include:{shown}: has to be a file of root or of the user that qmgr runs as, not writable by all"));
        }
        let mut text = String::new();
        open.take(INCLUDE_LIMIT_BYTES + 1).read_to_string(&mut text).map_err(|e| format!(":include:{shown}: {e}"))?;
        if text.len() as u64 > INCLUDE_LIMIT_BYTES {
            return Err(format!(":include:{shown}: larger than {INCLUDE_LIMIT_BYTES} octets"));
        }
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut targets: Vec<Target> = lines.flat_map(|line| self.local_targets(line, address)).collect();
        targets.iter_mut().for_each(|target| self.extend(ExtensionClass::Include, target, address, detail));
        Ok(targets)
    }

    /// The copies that settings ask for, each once.
    async fn copies(&self, sender: Option<&Address>, recipients: &[Recipient]) -> Result<Vec<(Address, Reason)>, Unavailable> {
        let mut all: Vec<(Address, Reason)> = Vec::new();
        if let Some(address) = &self.always_bcc {
            all.push((address.clone(), Reason::new("always_bcc", "")));
        }
        let mut from = |found: tables::Found, setting| {
            let reason = Reason::new(setting, found.to_string());
            for text in split_addresses(&found.value) {
                match self.complete(text) {
                    Ok(address) => all.push((address, reason.clone())),
                    Err(error) => tracing::error!(%reason, "`{text}` is no address to copy mail to: {error}"),
                }
            }
        };
        let order = AddressOrder { delimiters: &self.delimiters, bare: false, catch_all: true };
        if let Some(sender) = sender
            && let Some(hit) = self.sender_bcc_maps.address(sender, order).await?
        {
            from(hit.found, "sender_bcc_maps");
        }
        for recipient in recipients {
            if let Some(hit) = self.recipient_bcc_maps.address(&recipient.address, order).await? {
                from(hit.found, "recipient_bcc_maps");
            }
        }
        Ok(all)
    }
}

fn push_final(
    original: Option<usize>,
    recipient: &Recipient,
    branch: Branch,
    class: DomainClass,
    expansion: &mut Expansion,
    seen: &mut HashSet<String>,
) {
    // RFC 5321 §2.4: the case of local parts is another host's business; ours do not differ in it.
    let key = if class == DomainClass::Other { branch.address.to_string() } else { identity(&branch.address) };
    if !seen.insert(key) {
        return;
    }
    let orcpt = match &recipient.orcpt {
        None if branch.address != recipient.address && original.is_some() => {
            let kind = if recipient.address.is_utf8() { "utf-8" } else { "rfc822" };
            Some(format!("{kind};{}", recipient.address))
        }
        given => given.clone(),
    };
    let recipient = Recipient { address: branch.address, notify: recipient.notify, orcpt };
    expansion.recipients.push(Expanded { original, recipient, path: branch.path });
}

fn identity(address: &Address) -> String {
    address.to_lowercase().to_string()
}

fn loop_failure(address: &Address, why: String) -> Outcome {
    tracing::warn!(recipient = %address, "alias expansion stopped: {why}");
    Outcome::Bounced(Failure::local((5, 4, 6), format!("<{address}>: {why}")))
}

/// An error in a table: mail waits until it is put right.
fn wrong(address: &Address, reason: &Reason, why: &str) -> Outcome {
    tracing::error!(recipient = %address, %reason, "alias expansion: {}", mail_types::printable(why));
    Outcome::Deferred(Failure::local((4, 3, 5), format!("<{address}>: the alias cannot be expanded: {why}")))
}

/// Splits at commas and white space outside of quotes; angle brackets around an address go away.
fn split_addresses(text: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let mut start = 0;
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if !quoted && (c == ',' || c.is_whitespace()) => {
                items.push(&text[start..at]);
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    items.push(&text[start..]);
    items
        .into_iter()
        .map(|item| item.strip_prefix('<').and_then(|i| i.strip_suffix('>')).unwrap_or(item))
        .filter(|item| !item.is_empty())
        .collect()
}

#[cfg(test)]
#[path = "expand_tests.rs"]
mod tests;
