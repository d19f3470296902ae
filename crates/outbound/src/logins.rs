//! Our logins at other hosts: that of the settings for the relay host, and those of `smtp_sasl_password_maps`.

use crate::{Destination, NamedBy, Settings};
use mail_types::{Address, Failure, Outcome, Secret};
use smtp_proto::client::Credentials;
use tables::{AddressOrder, Maps};

pub(crate) struct Logins {
    pub maps: Maps,
    /// `smtp_sender_dependent_authentication`
    pub by_sender: bool,
}

impl Logins {
    /// The login for mail of a sender at a destination. A table that cannot tell defers: without its login the mail might be refused for good.
    ///
    /// A sender's login is for the relay host of that sender: at the host of any recipient it would give the password away, and demand a
    /// verified host with AUTH where hardly one has it. So would a table with one answer to all questions.
    pub async fn of(
        &self,
        destination: &Destination,
        named_by: NamedBy,
        sender: Option<&Address>,
        settings: &Settings,
    ) -> Result<Option<Credentials>, Outcome> {
        let Destination::Smtp { host, port, .. } = destination else { return Ok(None) };
        if self.maps.is_empty() {
            return Ok(settings.login_at(host, *port).cloned());
        }
        let mut found = None;
        if let Some(sender) = sender.filter(|_| self.by_sender && named_by == NamedBy::Relay) {
            let order = AddressOrder { delimiters: "", bare: false, catch_all: true };
            found = self.maps.address(sender, order).await.map_err(unavailable)?.map(|hit| hit.found);
        }
        // As it is written; else for the host as such, which Postfix asks for too.
        for key in [destination.next_hop(), destination.certificate_name()] {
            if found.is_none() {
                let meant = |found: &tables::Found| named_by != NamedBy::Recipient || !found.table.is_static();
                found = self.maps.lookup(&key).await.map_err(unavailable)?.filter(meant);
            }
        }
        let Some(found) = found else { return Ok(settings.login_at(host, *port).cloned()) };
        // The value is a secret: no message of ours shows it.
        match found.value.split_once(':') {
            Some((login, password)) if !login.is_empty() => {
                Ok(Some(Credentials { login: login.to_owned(), password: Secret::new(password) }))
            }
            // `user@x.org` alone: no login for this one.
            _ if found.value.trim().is_empty() => Ok(None),
            _ => Err(Outcome::Deferred(Failure::local(
                (4, 3, 5),
                format!("smtp_sasl_password_maps: the value of `{}` is not name:password", found.key),
            ))),
        }
    }
}

fn unavailable(error: tables::Unavailable) -> Outcome {
    Outcome::Deferred(Failure::local((4, 3, 0), format!("smtp_sasl_password_maps: {error}")))
}
