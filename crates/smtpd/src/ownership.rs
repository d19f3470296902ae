//! Whether those who log in speak for themselves: envelope sender and From header.

use crate::desk::{Desk, Path};
use crate::intake::Intake;
use mail_types::{Address, Reply};
use policy::Ownership;
use smtp_proto::server::Session;

impl Desk {
    /// Looks at the header of a message that is here as a whole.
    pub(crate) async fn inspect(&self, machine: &Session, intake: &Intake) -> Result<(), Reply> {
        let Some(login) = machine.login().filter(|_| self.service.smtpd.smtpd_reject_header_from_mismatch) else { return Ok(()) };
        let authors = &intake.authors;
        // Without a From field it gets one with the sender, who has been judged.
        let fault = match authors.fields {
            0 => return Ok(()),
            1 if authors.unclear || authors.addresses.is_empty() => "it has to name its authors by their addresses".to_owned(),
            1 => match self.foreign_author(login, &authors.addresses).await? {
                None => return Ok(()),
                Some(address) => format!("<{address}> is not owned by user {login}"),
            },
            _ => "there is more than one".to_owned(),
        };
        let reply = Reply::with(550, (5, 7, 1), format!("From header rejected: {fault}"));
        tracing::info!(
            queue_id = %intake.envelope.id,
            login,
            from = %Path(intake.envelope.sender.as_ref()),
            reply = %reply,
            reason = "smtpd_reject_header_from_mismatch",
            "rejected"
        );
        Err(reply)
    }

    /// The first of these addresses that is not the login's own.
    async fn foreign_author<'a>(&self, login: &str, authors: &'a [Address]) -> Result<Option<&'a Address>, Reply> {
        for address in authors {
            let by_table = self.service.policy.owned_by_table(login, address).await;
            let ownership = match by_table {
                Some(ownership) => ownership,
                None => self.owns(login, address).await,
            };
            match ownership {
                Ownership::Own => {}
                Ownership::Foreign => return Ok(Some(address)),
                Ownership::Unavailable => return Err(Reply::with(451, (4, 3, 0), "From header: Temporary lookup failure")),
            }
        }
        Ok(None)
    }

    /// Whether the address is the login's own, without any table that says so.
    pub(crate) async fn owns(&self, login: &str, address: &Address) -> Ownership {
        match self.world.router.owns(login, address).await {
            Ok(true) => Ownership::Own,
            Ok(false) => Ownership::Foreign,
            Err(unavailable) => {
                tracing::warn!(login, %address, reason = %unavailable, "cannot tell whose an address is");
                Ownership::Unavailable
            }
        }
    }
}
