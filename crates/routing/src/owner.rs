//! Whose an address is, as far as the routing tables tell.

use crate::Router;
use crate::router::DomainClass;
use mail_types::{Address, Recipient};
use tables::{AddressOrder, Unavailable};

impl Router {
    /// Whether `address` is `login`'s own: its name, with or without `+extension`, or an address of ours (alias, alias
    /// domain, catch-all) that leads to it, be it with others: who reads what comes for `info` also answers as `info`. A login without a domain
    /// is one of `myorigin`. An address that has a mailbox belongs to the login of that mailbox, wherever its mail is
    /// forwarded to; and a table that catches foreign addresses makes nobody their owner.
    pub async fn owns(&self, login: &str, address: &Address) -> Result<bool, Unavailable> {
        let Ok(login) = self.complete(login) else { return Ok(false) };
        if login.to_lowercase() == address.to_lowercase() {
            return Ok(true);
        }
        let order = AddressOrder { delimiters: &self.delimiters, bare: false, catch_all: false };
        let (class, _) = self.domain_class(address.domain()).await?;
        let final_here = !matches!(class, DomainClass::Relay | DomainClass::Other);
        let mailbox = if final_here { self.virtual_mailbox_maps.address(address, order).await? } else { None };
        if let Some(hit) = mailbox {
            return Ok(hit.unmatched_detail.is_some() && self.is_same(&login, address));
        }
        if self.is_same(&login, address) {
            return Ok(true);
        }
        if !final_here {
            return Ok(false);
        }
        let expansion = self.expand(None, &[Recipient::new(address.clone())], false).await?;
        Ok(expansion.recipients.iter().any(|target| self.is_same(&login, &target.recipient.address)))
    }

    fn is_same(&self, login: &Address, address: &Address) -> bool {
        let (login, address) = (login.to_lowercase(), address.to_lowercase());
        login == address || address.split_detail(&self.delimiters).is_some_and(|(user, _)| user == login)
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::{address, router};

    #[tokio::test]
    async fn an_address_is_owned_by_its_name_or_by_those_it_leads_to() {
        let router = router(
            r#"
            virtual_mailbox_domains = ["x.org", "old.org"]
            virtual_alias_domains = ["all.org"]
            virtual_mailbox_maps = ["inline:{ ann@x.org=ann/, bob@x.org=bob/, bob+own@x.org=own/, away@x.org=away/, all@x.org=all/ }"]
            alias_domain_maps = ["inline:{ old.org=x.org }"]
            virtual_alias_maps = ["inline:{ info@x.org=ann@x.org, {team@x.org = ann@x.org, bob@x.org}, {out@x.org = ann@x.org, a@gmail.com}, away@x.org=bob@x.org, deep@x.org=info@x.org, who@gmail.com=ann@x.org, loop@x.org=loop2@x.org, loop2@x.org=loop@x.org, @all.org=ann@x.org }"]
            "#,
        );
        for (login, sender, want) in [
            ("ann@x.org", "ann@x.org", true),
            ("Ann@X.org", "aNN@x.ORG", true),
            ("ann", "ann@x.org", true),
            ("ann@x.org", "ann+news@x.org", true),
            ("ann@x.org", "bob@x.org", false),
            ("ann@x.org", "bob+news@x.org", false),
            ("ann@x.org", "info@x.org", true),
            ("ann@x.org", "info+news@x.org", true),
            ("ann@x.org", "deep@x.org", true),
            ("ann@x.org", "ann@old.org", true),
            ("bob@x.org", "info@x.org", false),
            ("ann@x.org", "team@x.org", true),
            ("ann@x.org", "out@x.org", true),
            ("cid@x.org", "team@x.org", false),
            ("ann@x.org", "loop@x.org", false),
            // The rest of a domain that leads to one account.
            ("ann@x.org", "anything@all.org", true),
            ("bob@x.org", "anything@all.org", false),
            // A mailbox of its own, whatever it is forwarded to.
            ("bob@x.org", "away@x.org", false),
            ("bob@x.org", "bob+own@x.org", false),
            ("bob+own@x.org", "bob+own@x.org", true),
            // A table that catches mail for others gives nobody their name.
            ("ann@x.org", "who@gmail.com", false),
            ("ann@x.org", "ann@gmail.com", false),
            ("ann@x.org", "nobody@x.org", false),
            // Accounts of domains that we do not serve.
            ("guest@far.net", "guest@far.net", true),
            ("guest@far.net", "guest+x@far.net", true),
            ("not an address", "ann@x.org", false),
        ] {
            assert_eq!(router.owns(login, &address(sender)).await.expect("tables answer"), want, "{login} {sender}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_looked_up_belongs_to_nobody_yet() {
        let router = router("virtual_mailbox_domains = [\"x.org\"]\nvirtual_mailbox_maps = [\"accounts:mailboxes\"]");
        assert!(router.owns("ann@x.org", &address("info@x.org")).await.is_err());
        assert!(router.owns("ann@x.org", &address("ann@x.org")).await.expect("needs no table"));
    }
}
