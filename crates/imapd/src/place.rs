//! Where a mailbox is that a client names, and what this client may do there (RFC 4314).
//!
//! An account's own mailboxes have plain names; those of the public Maildir, if one is set, begin with its prefix, those of other users with theirs. What somebody may not even know of is answered as what is not there.

use crate::answer::Answer;
use crate::others::{Others, Owner};
use crate::session::Session;
use imap_proto::Mailbox;
use mailstore::{Account, FlagSet, Flags, MailboxName, Person, Rights, SEPARATOR};
use std::collections::BTreeMap;
use std::sync::Arc;

/// All that one user can reach.
pub struct Realm {
    pub account: Arc<Account>,
    pub person: Person,
    /// Rights on one's own mailboxes are asked for (`imap_acl`); otherwise everybody has all on what is theirs. On what belongs to
    /// nobody they always are.
    pub acl: bool,
    pub public: Option<Public>,
    /// Mailboxes of other users, where the settings let them be reached.
    pub others: Option<Others>,
}

/// Mailboxes that belong to nobody.
pub struct Public {
    pub prefix: MailboxName,
    pub account: Arc<Account>,
}

/// A mailbox somewhere in the realm; it need not exist.
#[derive(Clone)]
pub struct Spot {
    pub account: Arc<Account>,
    /// Its name in `account`.
    pub name: MailboxName,
    /// Its name for the client.
    pub shown: MailboxName,
    pub own: bool,
    /// Another user whose it is.
    pub owner: Option<Arc<str>>,
}

/// A mailbox that is there, and what may be done with it.
#[derive(Clone)]
pub struct Place {
    pub spot: Spot,
    pub rights: Rights,
}

/// Rights of which one is enough to know that a mailbox is there (RFC 4314 §4, "Any").
const KNOWING: [Rights; 6] = [Rights::LOOKUP, Rights::READ, Rights::INSERT, Rights::CREATE, Rights::DELETE, Rights::ADMINISTER];

/// Rights that change something in a selected mailbox: without any of them it is read-only (RFC 4314 §5.2).
const CHANGING: [Rights; 5] = [Rights::INSERT, Rights::EXPUNGE, Rights::SEEN, Rights::MARK, Rights::WRITE];

fn any(rights: Rights, of: &[Rights]) -> bool {
    of.iter().any(|right| rights.contains(*right))
}

pub fn may_change(rights: Rights) -> bool {
    any(rights, &CHANGING)
}

/// Is it enough? What may not be known is not there.
pub fn judge(rights: Rights, needs: Rights) -> Result<(), Answer> {
    let knows = any(rights, &KNOWING);
    if rights.contains(needs) && (knows || needs != Rights::NONE) {
        Ok(())
    } else if knows {
        Err(Answer::no("NOPERM", "Permission denied"))
    } else {
        Err(mailstore::Error::NoSuchMailbox.into())
    }
}

/// The flags that `rights` let somebody change (RFC 4314 §4): `t` is for `\Deleted`, `s` for `\Seen`, `w` for all others.
pub fn permitted(rights: Rights, flags: FlagSet) -> FlagSet {
    FlagSet {
        flags: flags.flags.without(forbidden(rights)),
        keywords: if rights.contains(Rights::WRITE) { flags.keywords } else { Vec::new() },
    }
}

/// The system flags that may not be changed.
pub fn forbidden(rights: Rights) -> Flags {
    let rest = Flags::ANSWERED | Flags::FLAGGED | Flags::DRAFT;
    [(Rights::MARK, Flags::DELETED), (Rights::SEEN, Flags::SEEN), (Rights::WRITE, rest)]
        .into_iter()
        .filter(|(right, _)| !rights.contains(*right))
        .fold(Flags::NONE, |all, (_, flags)| all | flags)
}

impl Realm {
    /// Finds out where a name leads. Does not block.
    pub fn locate(&self, text: &str) -> Result<Spot, Answer> {
        let shown = MailboxName::parse(text)?;
        if let Some(others) = self.others.as_ref().filter(|others| shown == others.prefix || shown.is_below(&others.prefix)) {
            let rest = text.get(others.prefix.as_str().len() + SEPARATOR.len_utf8()..).unwrap_or_default();
            let (owner, name) = others.find(rest).ok_or(mailstore::Error::NoSuchMailbox)?;
            return Ok(Spot { account: owner.account, name, shown, own: false, owner: Some(owner.user) });
        }
        let Some(public) = &self.public else { return Ok(self.own(shown)) };
        if shown == public.prefix {
            return Err(mailstore::Error::NoSuchMailbox.into());
        }
        if !shown.is_below(&public.prefix) {
            return Ok(self.own(shown));
        }
        let name = MailboxName::parse(&text[public.prefix.as_str().len() + SEPARATOR.len_utf8()..])?;
        // The root of the public Maildir is no mailbox of anybody, nor is what lies below that name.
        if name.is_inbox() {
            return Err(mailstore::Error::NoSuchMailbox.into());
        }
        Ok(Spot { account: public.account.clone(), name, shown, own: false, owner: None })
    }

    fn own(&self, shown: MailboxName) -> Spot {
        Spot { account: self.account.clone(), name: shown.clone(), shown, own: true, owner: None }
    }

    /// What may be done with a mailbox; `NoSuchMailbox`. Blocking.
    pub fn rights(&self, spot: &Spot) -> mailstore::Result<Rights> {
        if self.acl || !spot.own {
            spot.account.rights(&spot.name, &self.person, spot.own)
        } else if spot.account.exists(&spot.name)? {
            Ok(Rights::ALL)
        } else {
            Err(mailstore::Error::NoSuchMailbox)
        }
    }

    /// A mailbox on which the user has all of `needs`. Blocking.
    pub fn place(&self, spot: Spot, needs: Rights) -> Result<Place, Answer> {
        let rights = self.rights(&spot)?;
        judge(rights, needs)?;
        Ok(Place { spot, rights })
    }

    /// May the user make this mailbox? `k` on the nearest one above (RFC 4314 §4); the top level is for its owner. Among the mailboxes of
    /// nobody the refusal does not tell whether there is one above that the user may not know of. Blocking.
    pub fn may_create(&self, spot: &Spot) -> Result<(), Answer> {
        if spot.own && !self.acl {
            return Ok(());
        }
        let refused = || Answer::no("NOPERM", "Permission denied");
        let Some(parent) = spot.account.parent(&spot.name)? else { return if spot.own { Ok(()) } else { Err(refused()) } };
        let judged = judge(self.rights(&Spot { name: parent, ..spot.clone() })?, Rights::CREATE);
        if spot.own { judged } else { judged.map_err(|_| refused()) }
    }

    /// The name that the client knows for a public mailbox.
    pub fn shown(&self, name: &MailboxName) -> Option<MailboxName> {
        let public = self.public.as_ref().filter(|_| !name.is_inbox())?;
        MailboxName::parse(&format!("{}{SEPARATOR}{name}", public.prefix)).ok()
    }

    /// All mailboxes the user may see, with the rights on them. Blocking.
    pub fn list(&self) -> mailstore::Result<BTreeMap<MailboxName, Rights>> {
        let mut all = self.list_all()?;
        if let Some(others) = &self.others {
            for (prefix, owner) in others.all() {
                // an account that cannot be read must not hide the others
                match self.list_of(&prefix, &owner) {
                    Ok(shared) => all.extend(shared),
                    Err(error) => tracing::error!(user = %mail_types::printable(&owner.user), %error, "shared mailboxes cannot be listed"),
                }
            }
        }
        all.retain(|_, rights| rights.contains(Rights::LOOKUP));
        Ok(all)
    }

    fn list_of(&self, prefix: &str, owner: &Owner) -> mailstore::Result<Vec<(MailboxName, Rights)>> {
        let mut shared = Vec::new();
        for listed in owner.account.list()?.into_iter().filter(|listed| listed.exists) {
            let Ok(shown) = MailboxName::parse(&format!("{prefix}{}", listed.name)) else { continue };
            match owner.account.rights(&listed.name, &self.person, false) {
                Ok(rights) => shared.push((shown, rights)),
                Err(mailstore::Error::NoSuchMailbox) => {}
                Err(error) => tracing::error!(mailbox = %mail_types::printable(shown.as_str()), %error, "rights cannot be read"),
            }
        }
        Ok(shared)
    }

    /// All mailboxes there are, the user's own and those of nobody, also such that the user may not know of. Blocking.
    pub fn list_all(&self) -> mailstore::Result<BTreeMap<MailboxName, Rights>> {
        let mut all = BTreeMap::new();
        let mut add = |spot: Spot| {
            match self.rights(&spot) {
                Ok(rights) => drop(all.insert(spot.shown, rights)),
                Err(mailstore::Error::NoSuchMailbox) => {}
                // one list that cannot be read must not hide the other mailboxes
                Err(error) => tracing::error!(mailbox = %mail_types::printable(spot.shown.as_str()), %error, "rights cannot be read"),
            }
        };
        for listed in self.account.list()?.into_iter().filter(|listed| listed.exists) {
            if !self.prefixes().any(|prefix| listed.name == *prefix || listed.name.is_below(prefix)) {
                add(self.own(listed.name));
            }
        }
        if let Some(public) = &self.public {
            for listed in public.account.list()?.into_iter().filter(|listed| listed.exists) {
                if let Some(shown) = self.shown(&listed.name) {
                    add(Spot { account: public.account.clone(), name: listed.name, shown, own: false, owner: None });
                }
            }
        }
        Ok(all)
    }

    /// Whose a mailbox is; nobody's when it is public.
    pub fn owner<'a>(&'a self, spot: &'a Spot) -> Option<&'a str> {
        if spot.own { Some(&self.person.user) } else { spot.owner.as_deref() }
    }

    /// What the names of mailboxes begin with that are not the user's own.
    pub fn prefixes(&self) -> impl Iterator<Item = &MailboxName> {
        self.public.as_ref().map(|public| &public.prefix).into_iter().chain(self.others.as_ref().map(|others| &others.prefix))
    }
}

impl Session {
    /// Finds out what other users have shared, before a command that names mailboxes.
    pub async fn look_around(&self) {
        if let Some(others) = &self.realm.others {
            others.refresh(&self.connection.server, &self.realm.person).await;
        }
    }

    pub fn locate(&self, mailbox: &Mailbox) -> Result<Spot, Answer> {
        self.realm.locate(&mailbox.0)
    }

    /// A mailbox on which the user has all of `needs`.
    pub async fn place(&self, mailbox: &Mailbox, needs: Rights) -> Result<Place, Answer> {
        let spot = self.locate(mailbox)?;
        let realm = self.realm.clone();
        self.blocking(move || realm.place(spot, needs)).await
    }

    /// As `place`, for what messages go into: where the mailbox is missing, the client may make it and try again (RFC 3501 §6.3.11, §6.4.7).
    pub async fn target(&self, mailbox: &Mailbox) -> Result<Place, Answer> {
        self.place(mailbox, Rights::INSERT).await.map_err(|answer| match &*answer.code {
            "NONEXISTENT" => Answer::no("TRYCREATE", "Mailbox does not exist"),
            _ => answer,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailstore::{Location, Settings, Store};

    #[test]
    fn names_lead_to_the_own_or_the_public_maildir_and_nowhere_else() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::new(Settings::default());
        let account = |name| store.account(&Location::maildir(temp.path().join(name)).unwrap()).unwrap();
        let public = Public { prefix: MailboxName::parse("Public").unwrap(), account: account("public") };
        let person = Person { user: "ann".into(), groups: Vec::new() };
        let realm = Realm { account: account("ann"), person, acl: true, public: Some(public), others: None };
        for (text, want) in [
            ("INBOX", Some((true, "INBOX"))),
            ("Publications", Some((true, "Publications"))),
            ("Public", None),
            ("Public.News", Some((false, "News"))),
            ("Public.News.Old", Some((false, "News.Old"))),
            ("Public.inbox", None),
            ("Public..x", None),
            ("Public.../x", None),
        ] {
            let spot = realm.locate(text).ok().map(|spot| (spot.own, spot.name.to_string()));
            assert_eq!(spot, want.map(|(own, name)| (own, name.to_owned())), "{text}");
        }
    }

    #[test]
    fn what_may_not_be_known_is_not_there() {
        let code = |rights: &str, needs: &str| {
            judge(Rights::parse(rights).unwrap(), Rights::parse(needs).unwrap()).err().map(|answer| answer.code)
        };
        assert_eq!(code("lr", "r"), None);
        assert_eq!(code("lr", "a").as_deref(), Some("NOPERM"));
        assert_eq!(code("swtep", "r").as_deref(), Some("NONEXISTENT"));
        assert_eq!(code("", "").as_deref(), Some("NONEXISTENT"));
    }
}
