//! Admins: whom PostfixAdmin's pages let in. To us they are nobody; they have no mailbox.

use super::Accounts;
use super::read::wanted;
use super::write::{Change, WriteError, database_name, refused};
use ipc::accounts as rows;
use mail_types::{Address, Domain};
use tables::sql::{Fault, Value};
use zeroize::Zeroizing;

/// An admin to be added; the password is hashed already.
pub struct NewAdmin {
    pub username: Address,
    pub password: Zeroizing<String>,
    pub domains: Vec<Domain>,
    pub all_domains: bool,
}

impl Accounts {
    pub async fn list_admins(&self, of: Option<&str>) -> Result<Vec<rows::Row>, Fault> {
        let (condition, values) = wanted(" WHERE a.username = ?", of);
        let query = format!(
            "SELECT a.username, d.domain, a.active, CAST(a.created AS CHAR(19)), CAST(a.modified AS CHAR(19))
             FROM admin a LEFT JOIN domain_admins d ON d.username = a.username{condition} ORDER BY 1, 2"
        );
        let mut admins: Vec<rows::Admin> = Vec::new();
        for row in self.ask(&query, &values).await? {
            if admins.last().is_none_or(|admin| admin.username != row.text(0)) {
                admins.push(rows::Admin {
                    username: row.text(0).to_owned(),
                    domains: Vec::new(),
                    all_domains: false,
                    active: row.flag(2),
                    created: row.text(3).to_owned(),
                    modified: row.text(4).to_owned(),
                });
            }
            let admin = admins.last_mut().expect("just made");
            match row.text(1) {
                "" => {}
                "ALL" => admin.all_domains = true,
                domain => admin.domains.push(domain.to_owned()),
            }
        }
        Ok(admins.into_iter().map(rows::Row::Admin).collect())
    }

    pub async fn admin_add(&self, new: &NewAdmin) -> Result<(), WriteError> {
        let mut change = self.change().await?;
        let username = database_name(&new.username.to_lowercase())?;
        if is_admin(&mut change, &username).await? {
            return refused(format!("the admin {username} is there already"));
        }
        let statement = "INSERT INTO admin (username, password, superadmin, active, created, modified)
             VALUES (?, ?, ?, TRUE, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)";
        change.run(statement, &[username.as_str().into(), new.password.as_str().into(), new.all_domains.into()]).await?;
        give_domains(&mut change, &username, &new.domains).await?;
        if new.all_domains {
            change.run(INSERT_DOMAIN, &[username.as_str().into(), "ALL".into()]).await?;
        }
        change.done().await
    }

    /// `None` leaves what is there; the password is hashed already.
    pub async fn admin_change(
        &self,
        username: &Address,
        password: Option<&str>,
        domains: Option<&[Domain]>,
        all_domains: Option<bool>,
        active: Option<bool>,
    ) -> Result<(), WriteError> {
        let mut change = self.change().await?;
        let username = database_name(&username.to_lowercase())?;
        let columns =
            [("password", password.map(Value::from)), ("superadmin", all_domains.map(Value::from)), ("active", active.map(Value::from))];
        if change.update("admin", ("username", &username), columns).await? == 0 {
            return refused(format!("the admin {username} is not there"));
        }
        if let Some(domains) = domains {
            change.run("DELETE FROM domain_admins WHERE username = ? AND domain <> 'ALL'", &[username.as_str().into()]).await?;
            give_domains(&mut change, &username, domains).await?;
        }
        if let Some(all) = all_domains {
            // PostfixAdmin has it in both places.
            change.run("DELETE FROM domain_admins WHERE username = ? AND domain = 'ALL'", &[username.as_str().into()]).await?;
            if all {
                change.run(INSERT_DOMAIN, &[username.as_str().into(), "ALL".into()]).await?;
            }
        }
        change.done().await
    }

    pub async fn admin_delete(&self, username: &Address) -> Result<(), WriteError> {
        let mut change = self.change().await?;
        let username = database_name(&username.to_lowercase())?;
        if !change.delete("admin", ("username", &username)).await? {
            return refused(format!("the admin {username} is not there"));
        }
        change.run("DELETE FROM domain_admins WHERE username = ?", &[username.into()]).await?;
        change.done().await
    }
}

const INSERT_DOMAIN: &str = "INSERT INTO domain_admins (username, domain, created, active) VALUES (?, ?, CURRENT_TIMESTAMP, TRUE)";

async fn is_admin(change: &mut Change<'_>, username: &str) -> Result<bool, WriteError> {
    change.there("SELECT username FROM admin WHERE username = ?", username).await
}

async fn give_domains(change: &mut Change<'_>, username: &str, domains: &[Domain]) -> Result<(), WriteError> {
    for domain in domains {
        change.need_domain(domain).await?;
        change.run(INSERT_DOMAIN, &[username.into(), domain.as_str().into()]).await?;
    }
    Ok(())
}
