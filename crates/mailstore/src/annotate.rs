//! What an account keeps about its mailboxes beside their messages: annotations (RFC 5464) and rights (RFC 4314).

use crate::account::{Account, is_mailbox};
use crate::acl::{self, Acl, Person, RightsChange, Subject};
use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::metadata::{self, AnnotationError, AnnotationLimits, Annotations};
use crate::name::MailboxName;
use crate::rights::Rights;

impl Account {
    /// Annotations of a mailbox, or of the account (`None`). `NoSuchMailbox`. Blocking.
    pub fn annotations(&self, name: Option<&MailboxName>) -> Result<Annotations> {
        let (dir, file) = self.annotated(name)?;
        metadata::read(&dir, file)
    }

    /// Sets annotations (`None` removes one): all or nothing, durable on return. Blocking.
    pub fn annotate(
        &self,
        name: Option<&MailboxName>,
        changes: Vec<(String, Option<Vec<u8>>)>,
        limits: AnnotationLimits,
    ) -> std::result::Result<(), AnnotationError> {
        let (dir, file) = self.annotated(name)?;
        metadata::change(&dir, file, changes, limits)
    }

    fn annotated(&self, name: Option<&MailboxName>) -> Result<(Dir, &'static str)> {
        Ok(match name {
            Some(name) => (self.directory(name)?, metadata::OF_MAILBOX),
            None => (self.open_root()?, metadata::OF_SERVER),
        })
    }

    /// Who has which rights on a mailbox. `NoSuchMailbox`. Blocking.
    pub fn acl(&self, name: &MailboxName) -> Result<Acl> {
        acl::read(&self.directory(name)?)
    }

    /// What a person may do with a mailbox; `NoSuchMailbox`. Blocking.
    pub fn rights(&self, name: &MailboxName, person: &Person, owner: bool) -> Result<Rights> {
        Ok(self.acl(name)?.rights(person, owner))
    }

    /// Changes what somebody may do, durable on return. Blocking.
    pub fn set_rights(&self, name: &MailboxName, subject: &Subject, negative: bool, how: RightsChange, rights: Rights) -> Result<()> {
        acl::change(&self.directory(name)?, subject, negative, how, rights)
    }

    /// Takes somebody off the list, durable on return. Blocking.
    pub fn remove_rights(&self, name: &MailboxName, subject: &Subject, negative: bool) -> Result<()> {
        acl::remove(&self.directory(name)?, subject, negative)
    }

    /// The nearest mailbox above that is there (RFC 4314 §4). Blocking.
    pub fn parent(&self, name: &MailboxName) -> Result<Option<MailboxName>> {
        let mut above = name.parent();
        while let Some(parent) = above {
            if self.exists(&parent)? {
                return Ok(Some(parent));
            }
            above = parent.parent();
        }
        Ok(None)
    }

    /// A new mailbox gets the list of the one above it (RFC 4314 §4). Blocking.
    pub fn inherit_rights(&self, name: &MailboxName) -> Result<()> {
        match self.parent(name)? {
            Some(parent) => acl::inherit(&self.directory(&parent)?, &self.directory(name)?),
            None => Ok(()),
        }
    }

    fn directory(&self, name: &MailboxName) -> Result<Dir> {
        let root = self.open_root()?;
        if !name.is_inbox() && !is_mailbox(&root, &self.directory_of(name)) {
            return Err(Error::NoSuchMailbox);
        }
        root.open_dir(&self.directory_of(name))
    }
}
