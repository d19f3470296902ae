//! Becoming the owner of all mail.

use anyhow::{Context as _, bail};
use config::Config;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, getegid, geteuid, setgroups, setresgid, setresuid};

/// Whom mail belongs to. `of_accounts` is what authd says: where the settings leave it open, it is the user that the daemons run as.
pub fn owner(config: &Config, of_accounts: Option<(u32, u32)>) -> (u32, u32) {
    let own = (geteuid().as_raw(), getegid().as_raw());
    let or = |set: u32, told: Option<u32>, own: u32| if set != 0 { set } else { told.unwrap_or(own) };
    let uid = or(config.mail.mail_uid, of_accounts.map(|(uid, _)| uid), own.0);
    let gid = or(config.mail.mail_gid, of_accounts.map(|(_, gid)| gid), own.1);
    (uid, gid)
}

/// Gives up everything but the rights of the mail user, with no way back.
pub fn become_owner((uid, gid): (u32, u32)) -> anyhow::Result<()> {
    // as the daemons have it: nobody else reads mail
    umask(Mode::from_bits_truncate(0o077));
    let own = (geteuid().as_raw(), getegid().as_raw());
    if uid == own.0 && own.0 != 0 {
        return Ok(());
    }
    if own.0 != 0 {
        bail!("mail belongs to the user with id {uid}: run this as root, or as that user");
    }
    if (uid, gid) == own {
        // a server that root itself runs in one folder
        return Ok(());
    }
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setgroups(&[group])
        .and_then(|()| setresgid(group, group, group))
        .and_then(|()| setresuid(user, user, user))
        .with_context(|| format!("cannot become the owner of mail, user {uid} and group {gid}"))?;
    // What could still be undone would be no protection.
    if uid != 0 && setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_ok() {
        bail!("cannot give up the rights of root");
    }
    Ok(())
}
