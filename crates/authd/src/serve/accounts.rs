//! Changes of domains, mailboxes and aliases ([`ipc::accounts`]).

use crate::accounts::{MailboxChange, NewAdmin, NewMailbox, WriteError};
use crate::state::State;
use arc_swap::ArcSwap;
use daemon::Peer;
use ipc::accounts::{ACCOUNTS, Answer, NewPassword, Question, ROWS_AT_ONCE, Reply, Request, Row};
use ipc::{FrameReader, FrameWriter};
use mail_types::{Address, Domain, Secret};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The longest password; also what SASL messages can carry.
const PASSWORD_LIMIT_BYTES: usize = sasl::FIELD_LIMIT_BYTES;

pub(super) async fn serve(stream: daemon::Stream, peer: &Peer, state: &Arc<ArcSwap<State>>) -> anyhow::Result<()> {
    let (read, write) = tokio::io::split(stream);
    let (mut reader, mut writer) = (FrameReader::new(read, ACCOUNTS), FrameWriter::new(write, ACCOUNTS));
    while let Some(Question { id, request }) = reader.next::<Question>().await? {
        let told = told(&request);
        let result = act(&state.load_full(), request).await;
        match (&result, told) {
            (Ok(_), Some(told)) => tracing::info!(peer = %peer, change = told, "accounts changed"),
            (Err(WriteError::Database(error)), _) => tracing::error!(peer = %peer, %error, "accounts database"),
            _ => {}
        }
        let last = match result {
            Ok(rows) => {
                for rows in rows.chunks(ROWS_AT_ONCE) {
                    writer.push(&Answer { id, reply: Reply::Rows(rows.to_vec()) })?;
                    tokio::time::timeout(super::WRITE_DEADLINE, writer.flush()).await??;
                }
                Reply::Done
            }
            Err(WriteError::Refused(reason)) => Reply::Refused(reason),
            Err(WriteError::Database(error)) => Reply::Failed(format!("accounts database: {error}")),
        };
        writer.push(&Answer { id, reply: last })?;
        tokio::time::timeout(super::WRITE_DEADLINE, writer.flush()).await??;
    }
    Ok(())
}

/// A change in words, for the log; `None` for lists.
fn told(request: &Request) -> Option<String> {
    let (what, name) = match request {
        Request::DomainAdd { domain, .. } => ("domain added", domain),
        Request::DomainChange { domain, .. } => ("domain changed", domain),
        Request::DomainDelete { domain, .. } => ("domain deleted", domain),
        Request::MailboxAdd { address, .. } => ("mailbox added", address),
        Request::MailboxChange { address, password: Some(_), .. } => ("password changed", address),
        Request::MailboxChange { address, .. } => ("mailbox changed", address),
        Request::MailboxDelete { address } => ("mailbox deleted", address),
        Request::AppPasswordAdd { address, .. } => ("app password added", address),
        Request::AppPasswordDelete { address, .. } => ("app password deleted", address),
        Request::AliasAdd { address, .. } => ("alias added", address),
        Request::AliasChange { address, .. } => ("alias changed", address),
        Request::AliasDelete { address } => ("alias deleted", address),
        Request::AliasDomainAdd { alias_domain, .. } => ("alias domain added", alias_domain),
        Request::AliasDomainDelete { alias_domain } => ("alias domain deleted", alias_domain),
        Request::AdminAdd { username, .. } => ("admin added", username),
        Request::AdminChange { username, .. } => ("admin changed", username),
        Request::AdminDelete { username } => ("admin deleted", username),
        Request::DomainList { .. }
        | Request::MailboxList { .. }
        | Request::AppPasswordList { .. }
        | Request::AliasList { .. }
        | Request::AliasDomainList { .. }
        | Request::AdminList { .. } => return None,
    };
    Some(format!("{what}: {}", mail_types::printable(name)))
}

async fn act(state: &State, request: Request) -> Result<Vec<Row>, WriteError> {
    let accounts = &state.accounts;
    match request {
        Request::DomainAdd { domain, description } => accounts.domain_add(&a_domain(&domain)?, &text(&description)?).await?,
        Request::DomainChange { domain, description, active, backupmx } => {
            let description = description.as_deref().map(text).transpose()?;
            accounts.domain_change(&a_domain(&domain)?, description.as_deref(), active, backupmx).await?;
        }
        Request::DomainDelete { domain, all } => accounts.domain_delete(&a_domain(&domain)?, all).await?,
        Request::DomainList { domain } => return Ok(accounts.list_domains(lower(domain).as_deref()).await?),

        Request::MailboxAdd { address, password, name, quota_bytes } => {
            let address = an_address(&address)?.to_lowercase();
            let user = address.to_string();
            if state.desk.directory.names.normal(&user).as_deref() != Some(&user) {
                return refused(format!("{user} has characters that user names may not have (authd.auth_username_chars)"));
            }
            let maildir = state.desk.directory.new_maildir(&user).map_err(|e| WriteError::Refused(format!("{user}: {e:#}")))?;
            let password = stored(state, password).await?;
            let new = NewMailbox { address, password, name: text(&name)?, maildir, quota_bytes };
            accounts.mailbox_add(&new).await?;
        }
        Request::MailboxChange { address, password, name, quota_bytes, active, services } => {
            let address = an_address(&address)?;
            let name = name.as_deref().map(text).transpose()?;
            let password = match password {
                Some(password) => Some(stored(state, password).await?),
                None => None,
            };
            let services = [services.smtp, services.imap, services.pop3];
            accounts.mailbox_change(&address, &MailboxChange { password, name, quota_bytes, active, services }).await?;
        }
        Request::MailboxDelete { address } => accounts.mailbox_delete(&an_address(&address)?).await?,
        Request::MailboxList { of } => return Ok(accounts.list_mailboxes(lower(of).as_deref()).await?),

        Request::AppPasswordAdd { address, note, password } => {
            let (address, note) = (an_address(&address)?, text(&note)?);
            accounts.app_password_add(&address, &note, &stored(state, password).await?).await?;
        }
        Request::AppPasswordDelete { address, id } => accounts.app_password_delete(&an_address(&address)?, id).await?,
        Request::AppPasswordList { of } => return Ok(accounts.list_app_passwords(lower(of).as_deref()).await?),

        Request::AliasAdd { address, goto } => {
            let (local, domain) = an_alias(&address)?;
            accounts.alias_add(&local, &domain, &addresses(&goto)?).await?;
        }
        Request::AliasChange { address, goto, active } => {
            let (local, domain) = an_alias(&address)?;
            let goto = goto.as_deref().map(addresses).transpose()?;
            accounts.alias_change(&local, &domain, goto.as_deref(), active).await?;
        }
        Request::AliasDelete { address } => {
            let (local, domain) = an_alias(&address)?;
            accounts.alias_delete(&local, &domain).await?;
        }
        Request::AliasList { of } => return Ok(accounts.list_aliases(lower(of).as_deref()).await?),

        Request::AliasDomainAdd { alias_domain, target_domain } => {
            accounts.alias_domain_add(&a_domain(&alias_domain)?, &a_domain(&target_domain)?).await?;
        }
        Request::AliasDomainDelete { alias_domain } => accounts.alias_domain_delete(&a_domain(&alias_domain)?).await?,
        Request::AdminAdd { username, password, domains, all_domains } => {
            let (username, domains) = (an_address(&username)?, some_domains(&domains)?);
            let password = stored(state, password).await?;
            accounts.admin_add(&NewAdmin { username, password, domains, all_domains }).await?;
        }
        Request::AdminChange { username, password, domains, all_domains, active } => {
            let username = an_address(&username)?;
            let domains = domains.as_deref().map(some_domains).transpose()?;
            let password = match password {
                Some(password) => Some(stored(state, password).await?),
                None => None,
            };
            let password = password.as_ref().map(|p| p.as_str());
            accounts.admin_change(&username, password, domains.as_deref(), all_domains, active).await?;
        }
        Request::AdminDelete { username } => accounts.admin_delete(&an_address(&username)?).await?,
        Request::AdminList { username } => return Ok(accounts.list_admins(lower(username).as_deref()).await?),

        Request::AliasDomainList { of } => return Ok(accounts.list_alias_domains(lower(of).as_deref()).await?),
    }
    Ok(Vec::new())
}

/// What goes into the column: a new hash, or a hash made elsewhere after a look whether it can be used.
async fn stored(state: &State, password: NewPassword) -> Result<Zeroizing<String>, WriteError> {
    let text = password.reveal();
    if text.is_empty() {
        return refused("the password is empty");
    }
    if text.len() > PASSWORD_LIMIT_BYTES {
        return refused(format!("the password is longer than {PASSWORD_LIMIT_BYTES} bytes"));
    }
    if text.chars().any(char::is_control) {
        return refused("the password has a control character");
    }
    if password.is_hashed() {
        if !text.starts_with('{') {
            return refused("a hash has to name its scheme, such as {SHA512-CRYPT}$6$…");
        }
        return match state.desk.check_usable(text).await {
            Ok(()) => Ok(Zeroizing::new(text.to_owned())),
            Err(error) => refused(format!("this hash cannot be used: {error}")),
        };
    }
    let hash = state.desk.hash(Secret::new(text)).await.map_err(|e| WriteError::Refused(format!("the password cannot be hashed: {e}")))?;
    Ok(Zeroizing::new(hash))
}

fn refused<T>(reason: impl Into<String>) -> Result<T, WriteError> {
    Err(WriteError::Refused(reason.into()))
}

fn a_domain(text: &str) -> Result<Domain, WriteError> {
    Domain::parse(text).map_err(|e| WriteError::Refused(format!("{}: {e}", mail_types::printable(text))))
}

fn some_domains(texts: &[String]) -> Result<Vec<Domain>, WriteError> {
    texts.iter().map(|text| a_domain(text)).collect()
}

fn an_address(text: &str) -> Result<Address, WriteError> {
    Address::parse(text).map_err(|e| WriteError::Refused(format!("{}: {e}", mail_types::printable(text))))
}

/// The parts of `local@domain`, or of the catch-all `@domain`.
fn an_alias(text: &str) -> Result<(String, Domain), WriteError> {
    if let Some(domain) = text.strip_prefix('@') {
        return Ok((String::new(), a_domain(domain)?));
    }
    let address = an_address(text)?;
    Ok((address.local().to_owned(), address.domain().clone()))
}

fn addresses(texts: &[String]) -> Result<Vec<Address>, WriteError> {
    texts.iter().map(|text| an_address(text.trim())).collect()
}

/// A name or description for people.
fn text(text: &str) -> Result<String, WriteError> {
    if text.len() > 255 || text.chars().any(char::is_control) {
        return refused("a name or description has control characters, or more than 255 bytes");
    }
    Ok(text.to_owned())
}

fn lower(name: Option<String>) -> Option<String> {
    name.map(|name| name.trim_start_matches('@').to_lowercase())
}
