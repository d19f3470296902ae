//! Recipients: who they are, where their mail lies, and whether it can go there.

use crate::reply;
use crate::server::Server;
use config::Config;
use ipc::userdb::User;
use mail_types::{Address, Reply};
use mailstore::{Location, MailboxName};
use std::path::PathBuf;
use std::sync::Arc;

/// Where mail for one recipient goes.
#[derive(Debug, Clone)]
pub struct Destination {
    /// As the client wrote it: what replies, Delivered-To and the identity of a delivery name.
    pub address: Address,
    /// The account.
    pub user: String,
    pub location: Location,
    pub mailbox: MailboxName,
    /// Limits of bytes and of messages; 0 is none.
    pub quota: (u64, u64),
}

/// Finds the destination of a recipient, or the reply that refuses it.
pub async fn find(server: &Server, address: &Address) -> Result<Destination, Reply> {
    let config = server.ctx.config.get();
    let split = address.split_detail(&config.routing.recipient_delimiter);
    let (mailbox_address, detail) = split.as_ref().map_or((address, ""), |(address, detail)| (address, *detail));
    let name = mailbox_address.to_lowercase().to_string();
    let user = match server.userdb.lookup(&name, "lmtp").await {
        Ok(Some(user)) => user,
        Ok(None) => {
            tracing::info!(to = %address, reason = "user unknown", "not delivered");
            return Err(reply::unknown(address));
        }
        Err(error) => {
            tracing::warn!(to = %address, %error, "no answer about the account");
            return Err(reply::unavailable(address));
        }
    };
    let location = location(&config, server.uid, &user).map_err(|reason| {
        tracing::error!(to = %address, user = %user.name, reason, "the account is not set up right");
        reply::misconfigured(address)
    })?;
    let mailbox = match detail_mailbox(&config, detail) {
        Some(mailbox) => chosen(server, &config, &location, mailbox).await,
        None => MailboxName::inbox(),
    };
    let quota = config.mail.quota_limits(user.quota_bytes, user.quota_messages);
    Ok(Destination { address: address.clone(), user: user.name.clone(), location, mailbox, quota })
}

/// Where the mail of `user` lies, by the user database or the setting.
fn location(config: &Config, own: u32, user: &Arc<User>) -> Result<Location, String> {
    // all mail of an installation has one owner; what belongs to another we could not write, and should not
    if config.mail.mail_uid != 0 && user.uid.is_some_and(|uid| uid != own) {
        return Err(format!("its uid is {:?}, that of all mail is {own}", user.uid));
    }
    let expanded = match (&user.mail, user.field("maildir")) {
        (Some(mail), _) => Location::expand(mail, &user.name, user.home.as_deref()),
        (None, Some(below)) => Location::maildir(config.mail.virtual_mailbox_base.join(PathBuf::from(below.trim_start_matches('/')))),
        (None, None) => Location::expand(&config.mail.mail_location, &user.name, user.home.as_deref()),
    };
    expanded.and_then(|location| location.apart_from(&config.imapd.public_mail_location)).map_err(|error| error.to_string())
}

/// The mailbox that a detail names, if details name mailboxes at all and this one can be a name. Under the names of public mailboxes
/// nobody would find an own one.
fn detail_mailbox(config: &Config, detail: &str) -> Option<MailboxName> {
    if !config.deliver.lmtp_save_to_detail_mailbox || detail.is_empty() {
        return None;
    }
    let public = MailboxName::parse(&config.imapd.public_mailbox_prefix).ok().filter(|_| !config.imapd.public_mail_location.is_empty());
    let is_hidden = |mailbox: &MailboxName| public.as_ref().is_some_and(|public| mailbox == public || mailbox.is_below(public));
    MailboxName::parse(detail).ok().filter(|mailbox| !mailbox.is_inbox() && !is_hidden(mailbox))
}

/// The detail's mailbox when it is there or may be made, else INBOX.
async fn chosen(server: &Server, config: &Config, location: &Location, mailbox: MailboxName) -> MailboxName {
    let (delivery, location) = (server.delivery.clone(), location.clone());
    let (create, subscribe) = (config.deliver.lda_mailbox_autocreate, config.deliver.lda_mailbox_autosubscribe);
    let wanted = mailbox.clone();
    let store = delivery.store().clone();
    let look = move || {
        let account = store.account(&location)?;
        if account.exists(&wanted)? {
            return Ok(true);
        }
        if create {
            match account.create(&wanted) {
                Ok(()) | Err(mailstore::Error::AlreadyExists) => {}
                Err(error) => return Err(error),
            }
            if subscribe {
                account.subscribe(&wanted)?;
            }
        }
        Ok(create)
    };
    match delivery.blocking(look).await {
        Ok(true) => mailbox,
        Ok(false) => MailboxName::inbox(),
        Err(error) => {
            tracing::warn!(%mailbox, %error, "the mailbox of a detail cannot be used, INBOX is");
            MailboxName::inbox()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        let file = std::path::Path::new("/etc/facteur/facteur.toml");
        Config::from_texts(file, &[(file.to_owned(), text.to_owned())]).expect("settings")
    }

    #[test]
    fn details_that_are_no_names_of_mailboxes_go_to_inbox() {
        let config = config("[deliver]\nlmtp_save_to_detail_mailbox = true\n");
        for detail in ["../", ".", "INBOX/..", "a\0b", "/", "inbox", "", &"x".repeat(1000), "a..b"] {
            assert_eq!(detail_mailbox(&config, detail), None, "{detail}");
        }
        assert_eq!(detail_mailbox(&config, "Lists.Rust").map(|name| name.to_string()).as_deref(), Some("Lists.Rust"));
    }

    #[test]
    fn details_do_not_go_where_public_mailboxes_hide_them() {
        let with = |location: &str| {
            let text = format!(
                "[deliver]\nlmtp_save_to_detail_mailbox = true\n[imapd]\npublic_mail_location = \"{location}\"\npublic_mailbox_prefix = \"Pub.All\"\n"
            );
            let config = config(&text);
            ["Pub.All", "Pub.All.x", "Pub", "Pub.Allx"].map(|detail| detail_mailbox(&config, detail).is_some())
        };
        assert_eq!(with("maildir:/srv/public"), [false, false, true, true]);
        assert_eq!(with(""), [true; 4]);
    }

    #[test]
    fn mail_lies_where_the_user_database_says_else_where_the_settings_say() {
        let config = config("[mail]\nmail_location = \"maildir:/srv/%d/%n\"\nvirtual_mailbox_base = \"/base\"\nmail_uid = 0\n");
        let user = |fields: &[(&str, &str)]| {
            let fields = fields.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            Arc::new(User::from_fields("ann@example.org".into(), fields))
        };
        let root = |fields: &[(&str, &str)]| location(&config, 1, &user(fields)).map(|location| location.root().display().to_string());
        assert_eq!(root(&[]).as_deref(), Ok("/srv/example.org/ann"));
        assert_eq!(root(&[("mail", "maildir:~/Maildir"), ("home", "/home/ann")]).as_deref(), Ok("/home/ann/Maildir"));
        assert_eq!(root(&[("maildir", "example.org/ann/")]).as_deref(), Ok("/base/example.org/ann"));
        assert!(root(&[("maildir", "../../etc")]).is_err());
        assert!(root(&[("mail", "mbox:/var/mail/ann")]).is_err());
    }
}
