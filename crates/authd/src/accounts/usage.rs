//! What the other daemons tell: sizes, in PostfixAdmin's table `quota2`, and logins, in `last_login`, which is ours.

use super::Accounts;
use super::write::{Change, WriteError};
use ipc::usage::{Login, Note, Stored};
use tables::sql::{Database, Fault, Value};
use tokio::sync::OnceCell;

/// PostfixAdmin has no such table: it is made in its database where we may, and else logins are not kept.
#[derive(Default)]
pub(super) struct LastLogins {
    there: OnceCell<bool>,
}

const LAST_LOGIN: &str = "CREATE TABLE IF NOT EXISTS last_login (username VARCHAR(255) NOT NULL, service VARCHAR(16) NOT NULL,
     time BIGINT NOT NULL, remote VARCHAR(64) NOT NULL DEFAULT '', PRIMARY KEY (username, service))";

impl LastLogins {
    /// For a database that has the table.
    pub(super) fn kept() -> LastLogins {
        LastLogins { there: OnceCell::new_with(Some(true)) }
    }

    /// Whether logins can be kept; makes the table when it is not there. Found out once, before the first change.
    pub(super) async fn are_kept(&self, database: &Database) -> Result<bool, Fault> {
        let found = || async {
            match database.fetch("SELECT username, service, time, remote FROM last_login WHERE time < 0".into(), &[]).await {
                Ok(_) => return Ok(true),
                Err(Fault::Away(why)) => return Err(Fault::Away(why)),
                Err(Fault::Statement { .. }) => {}
            }
            match database.fetch(LAST_LOGIN.into(), &[]).await {
                Ok(_) => Ok(true),
                Err(Fault::Away(why)) => Err(Fault::Away(why)),
                Err(fault) => {
                    tracing::warn!(error = %fault, "the table last_login is not there and cannot be made: last logins are not kept");
                    Ok(false)
                }
            }
        };
        self.there.get_or_try_init(found).await.copied()
    }

    fn may_be_there(&self) -> bool {
        self.there.get().copied().unwrap_or(false)
    }

    pub(super) async fn forget(&self, change: &mut Change<'_>, user: &str) -> Result<(), WriteError> {
        if self.may_be_there() {
            change.run("DELETE FROM last_login WHERE username = ?", &[user.into()]).await?;
        }
        Ok(())
    }

    pub(super) async fn forget_service(&self, change: &mut Change<'_>, user: &str, service: &str) -> Result<(), WriteError> {
        if self.may_be_there() {
            change.run("DELETE FROM last_login WHERE username = ? AND service = ?", &[user.into(), service.into()]).await?;
        }
        Ok(())
    }

    pub(super) async fn forget_domain(&self, change: &mut Change<'_>, domain: &str) -> Result<(), WriteError> {
        if self.may_be_there() {
            let statement = "DELETE FROM last_login WHERE username IN (SELECT username FROM mailbox WHERE domain = ?)";
            change.run(statement, &[domain.into()]).await?;
        }
        Ok(())
    }
}

impl Accounts {
    /// Keeps what the other daemons told, all in one transaction. Notes on mailboxes that are not there are dropped.
    pub async fn keep_usage(&self, notes: &[Note]) -> Result<(), WriteError> {
        let mut change = self.change().await?;
        let logins = self.logins.may_be_there();
        for note in notes {
            let user = note.user.to_lowercase();
            if !change.mailbox(&user).await? {
                continue;
            }
            if let Some(stored) = note.stored {
                keep_size(&mut change, &user, stored).await?;
            }
            if let Some(login) = note.login.as_ref().filter(|_| logins) {
                keep_login(&mut change, &user, login).await?;
            }
        }
        change.kept().await
    }
}

/// Changed first: in PostgreSQL, PostfixAdmin's trigger on `quota2` would have an INSERT added to what is there.
async fn keep_size(change: &mut Change<'_>, user: &str, stored: Stored) -> Result<(), WriteError> {
    let values: [Value; 3] = [stored.bytes.into(), stored.messages.min(i32::MAX as u64).into(), user.into()];
    if change.run("UPDATE quota2 SET bytes = ?, messages = ? WHERE username = ?", &values).await? == 0 {
        change.run("INSERT INTO quota2 (bytes, messages, username) VALUES (?, ?, ?)", &values).await?;
    }
    Ok(())
}

async fn keep_login(change: &mut Change<'_>, user: &str, login: &Login) -> Result<(), WriteError> {
    let values: [Value; 4] = [login.time.into(), login.remote.as_str().into(), user.into(), login.service.as_str().into()];
    if change.run("UPDATE last_login SET time = ?, remote = ? WHERE username = ? AND service = ?", &values).await? == 0 {
        change.run("INSERT INTO last_login (time, remote, username, service) VALUES (?, ?, ?, ?)", &values).await?;
    }
    Ok(())
}
