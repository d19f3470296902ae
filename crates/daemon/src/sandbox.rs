//! What a daemon gives up before it meets anybody: core dumps, new privileges, other programs, other people's folders.
//!
//! Under systemd the unit does more of it (seccomp, namespaces); this holds wherever the daemon runs. Landlock forbids to execute
//! anything and to write outside of the program's own folders; reading stays with the modes of files. It comes before
//! the first thread, since a thread keeps the rights it was born with.

use config::{Config, UserdbDriver};
use landlock::{ABI, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, umask};
use std::path::{Path, PathBuf};

/// What became of Landlock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confinement {
    Full,
    /// The kernel knows some of it.
    Partial,
    /// The kernel has no Landlock, or a setting turned it off, or it failed.
    None(String),
}

/// No core dumps (they would hold keys and mail), no setuid programs, no group or world bits in new files.
pub fn restrict_process(umask_bits: u32) -> Result<(), nix::Error> {
    umask(Mode::from_bits_truncate(umask_bits));
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    nix::sys::prctl::set_no_new_privs()
}

/// The folders that `program` writes to.
pub fn writable(program: &str, config: &Config) -> Vec<PathBuf> {
    let main = &config.main;
    let mut folders = vec![main.run_directory.clone()];
    if let Some(folder) = config.log.file.parent().filter(|_| !config.log.file.as_os_str().is_empty()) {
        folders.push(folder.to_owned());
    }
    match program {
        "smtpd" => folders.extend([main.spool_directory.clone(), config.smtpd_state()]),
        "qmgr" => folders.push(main.spool_directory.clone()),
        "authd" => {
            folders.push(main.state_directory.clone());
            // SQLite makes its journal beside the database.
            folders.extend(config.authd.accounts_database.parent().map(Path::to_owned));
            let url = config.authd.accounts_url.strip_prefix("sqlite:").map(|path| path.trim_start_matches("//"));
            folders.extend(url.and_then(|path| Path::new(path).parent()).map(Path::to_owned));
            // Its sockets may be anywhere, such as in Postfix's queue.
            let sockets = config.authd.unix_listener.iter().map(|listener| main.run_directory.join(&listener.path));
            folders.extend(sockets.filter_map(|socket| socket.parent().map(Path::to_owned)));
        }
        "deliver" | "imapd" | "pop3d" => {
            folders.push(main.state_directory.clone());
            folders.extend(mail_folders(config));
        }
        _ => folders.extend([main.spool_directory.clone(), main.state_directory.clone()]),
    }
    folders
}

/// Where mail may lie by the settings of mail and of the user databases.
fn mail_folders(config: &Config) -> Vec<PathBuf> {
    let mut folders = vec![config.mail.virtual_mailbox_base.clone(), before_variables(&config.mail.mail_location)];
    if !config.imapd.public_mail_location.is_empty() {
        folders.push(before_variables(&config.imapd.public_mail_location));
    }
    for userdb in &config.authd.userdb {
        match userdb.driver {
            UserdbDriver::Accounts => {}
            UserdbDriver::Static => {
                let fields = userdb.args.split_whitespace().filter_map(|field| field.split_once('='));
                folders.extend(fields.filter(|(name, _)| matches!(*name, "home" | "mail")).map(|(_, value)| before_variables(value)));
            }
            // Each line or row has a home of its own.
            UserdbDriver::PasswdFile | UserdbDriver::Sql | UserdbDriver::Ldap | UserdbDriver::Passwd | UserdbDriver::Prefetch => {
                folders.push(PathBuf::from("/"))
            }
        }
    }
    folders
}

// `maildir:/home/vmail/%d/%n` → `/home/vmail`.
fn before_variables(location: &str) -> PathBuf {
    let path = location.strip_prefix("maildir:").unwrap_or(location);
    let fixed = match path.find('%') {
        Some(at) => path[..at].rfind('/').map_or("", |slash| &path[..slash]),
        None => path,
    };
    if fixed.is_empty() { PathBuf::from("/") } else { PathBuf::from(fixed) }
}

/// Forbids execution, and writing outside of `folders`. The calling thread must be the only one.
pub fn confine(folders: &[PathBuf]) -> Confinement {
    match try_confine(folders) {
        Ok(RulesetStatus::FullyEnforced) => Confinement::Full,
        Ok(RulesetStatus::PartiallyEnforced) => Confinement::Partial,
        Ok(RulesetStatus::NotEnforced) => Confinement::None("the kernel has no Landlock".into()),
        Err(error) => Confinement::None(error.to_string()),
    }
}

fn try_confine(folders: &[PathBuf]) -> Result<RulesetStatus, landlock::RulesetError> {
    let abi = ABI::V3;
    let write = AccessFs::from_write(abi);
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(write | AccessFs::Execute)?.create()?;
    for folder in folders {
        // One that is not there yet will be made, which is writing in the one above.
        let there = folder.ancestors().find(|f| f.is_dir()).unwrap_or(Path::new("/"));
        if let Ok(opened) = PathFd::new(there) {
            ruleset = ruleset.add_rule(PathBeneath::new(opened, write))?;
        }
    }
    for device in ["/dev/null", "/proc/self/fd"] {
        if let Ok(opened) = PathFd::new(Path::new(device)) {
            ruleset = ruleset.add_rule(PathBeneath::new(opened, AccessFs::WriteFile))?;
        }
    }
    Ok(ruleset.restrict_self()?.ruleset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mail_root_is_what_stands_before_the_first_variable() {
        for (location, want) in [
            ("maildir:/home/vmail/%u", "/home/vmail"),
            ("maildir:/srv/mail/%d/%n/Maildir", "/srv/mail"),
            ("maildir:/srv/user-%n", "/srv"),
            ("/var/mail/all", "/var/mail/all"),
            ("maildir:%h/Maildir", "/"),
        ] {
            assert_eq!(before_variables(location), Path::new(want), "{location}");
        }
    }

    #[test]
    fn homes_of_a_static_user_database_can_be_written() {
        let file = Path::new("/etc/facteur/facteur.toml");
        let text = "hostname = \"mx.test\"\n[[authd.userdb]]\ndriver = \"static\"\nargs = \"uid=5000 gid=5000 home=/srv/vmail/%u\"\n";
        let config = Config::from_texts(file, &[(file.to_owned(), text.to_owned())]).expect("settings");
        assert!(writable("imapd", &config).contains(&PathBuf::from("/srv/vmail")));
        assert!(!writable("smtpd", &config).contains(&PathBuf::from("/srv/vmail")));
    }

    #[test]
    fn a_confined_thread_writes_only_in_its_folders() {
        let own = tempfile::tempdir().expect("directory");
        let other = tempfile::tempdir().expect("directory");
        let (own, other) = (own.path().to_owned(), other.path().to_owned());
        std::thread::spawn(move || {
            let confinement = confine(std::slice::from_ref(&own));
            std::fs::write(own.join("a"), "a").expect("own folder");
            std::fs::rename(own.join("a"), own.join("b")).expect("own folder");
            let refused = std::fs::write(other.join("a"), "a").is_err() && std::process::Command::new("/bin/true").status().is_err();
            assert!(refused || matches!(confinement, Confinement::None(_)), "{confinement:?}");
        })
        .join()
        .expect("thread");
    }
}
