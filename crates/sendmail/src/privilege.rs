//! The group that may add to `maildrop`: put aside at the start, taken for a moment, or given up for good.

use nix::errno::Errno;
use nix::unistd::{Gid, getegid, getgid, setegid, setresgid};

/// The group of the file, while its caller's is in force.
#[derive(Debug)]
pub(crate) struct Privilege {
    own: Gid,
    lent: Option<Gid>,
}

impl Privilege {
    /// Works with the caller's group from here on.
    pub(crate) fn put_aside() -> Result<Privilege, Errno> {
        let (own, effective) = (getgid(), getegid());
        setegid(own)?;
        Ok(Privilege { own, lent: (own != effective).then_some(effective) })
    }

    /// There is no way back.
    pub(crate) fn give_up(&mut self) -> Result<(), Errno> {
        self.lent = None;
        setresgid(self.own, self.own, self.own)
    }

    /// Does `work` with the group of the file.
    pub(crate) fn lend<T>(&self, work: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<T> {
        let Some(group) = self.lent else { return work() };
        setegid(group)?;
        let result = work();
        setegid(self.own)?;
        result
    }
}
