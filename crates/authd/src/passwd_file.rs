//! `passwd-file`: users in a text file, as Dovecot's driver of that name.
//!
//! ```text
//! user:password:uid:gid:(gecos):home:(shell):extra_field=value extra_field=value
//! ```
//! Fields may be left off at the end. `#` starts a comment line. A user without a domain belongs to the default realm. Of the extra fields
//! `userdb_NAME=VALUE` becomes a field of the user, `allow_nets=192.0.2.0/24,::1` names the addresses that may log in, `nologin` lets nobody in; others are not known here and
//! make the line an error, since leaving out a restriction would let people in.
//!
//! The file is looked at for each question and read again when it changed. When that fails, the last good content stays in
//! force and the log says why.

use crate::names::Names;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

pub struct PasswdFile {
    path: PathBuf,
    names: Names,
    current: Mutex<Current>,
}

struct Current {
    stamp: Stamp,
    users: Arc<HashMap<String, Entry>>,
}

/// What tells that a file is another one than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    failed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// Normal name.
    pub user: String,
    /// Empty: nobody can log in.
    pub password: Zeroizing<String>,
    pub uid: Option<String>,
    pub gid: Option<String>,
    pub home: Option<String>,
    pub nologin: bool,
    /// Empty: all addresses.
    pub allow_nets: Vec<Network>,
    /// Extra fields of the user, without `userdb_`.
    pub userdb: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    pub fn parse(text: &str) -> Option<Network> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address.parse::<IpAddr>().ok()?, bits.parse().ok()?),
            None => {
                let address = text.parse::<IpAddr>().ok()?;
                (address, if address.is_ipv4() { 32 } else { 128 })
            }
        };
        (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some(Network { address, bits })
    }

    /// Networks with commas between them.
    pub fn list(text: &str) -> Option<Vec<Network>> {
        text.split(',').map(|item| Network::parse(item.trim())).collect()
    }

    pub fn holds(&self, ip: IpAddr) -> bool {
        let prefix = |bits: u128, width: u8| if self.bits == 0 { 0 } else { bits >> (width - self.bits) };
        match (self.address, ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => prefix(a.to_bits().into(), 32) == prefix(b.to_bits().into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => prefix(a.to_bits(), 128) == prefix(b.to_bits(), 128),
            _ => false,
        }
    }
}

impl Entry {
    /// Whether a client at this address may log in; one without an address only where all may.
    pub fn allows(&self, remote: Option<IpAddr>) -> bool {
        self.allow_nets.is_empty() || remote.is_some_and(|ip| self.allow_nets.iter().any(|net| net.holds(ip)))
    }
}

impl PasswdFile {
    /// Reads the file.
    pub fn open(path: &Path, names: Names) -> io::Result<PasswdFile> {
        let (stamp, users) = read(path, &names)?;
        Ok(PasswdFile { path: path.to_owned(), names, current: Mutex::new(Current { stamp, users: Arc::new(users) }) })
    }

    /// The users as the file has them now. Blocks on the disk when the file changed.
    pub fn users(&self) -> Arc<HashMap<String, Entry>> {
        let mut current = self.current.lock();
        let stamp = stamp(&self.path).unwrap_or(Stamp { failed: true, ..Stamp::default() });
        if stamp != current.stamp {
            match read(&self.path, &self.names) {
                Ok((stamp, users)) => *current = Current { stamp, users: Arc::new(users) },
                Err(error) => {
                    tracing::error!(file = %self.path.display(), %error, "cannot read the users again; what they were stays in force");
                    // Said once per change, not per login.
                    current.stamp = stamp;
                }
            }
        }
        current.users.clone()
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let meta = std::fs::metadata(path)?;
    Ok(Stamp { inode: meta.ino(), size: meta.size(), modified: (meta.mtime(), meta.mtime_nsec()), failed: false })
}

fn read(path: &Path, names: &Names) -> io::Result<(Stamp, HashMap<String, Entry>)> {
    // Taken before reading, so that a change in between is seen by the next look.
    let stamp = stamp(path)?;
    let text = Zeroizing::new(std::fs::read_to_string(path)?);
    let (users, faults) = parse(&text, names);
    for (line, fault) in faults {
        tracing::warn!(file = %path.display(), line, fault, "a user is left out");
    }
    Ok((stamp, users))
}

fn parse(text: &str, names: &Names) -> (HashMap<String, Entry>, Vec<(usize, String)>) {
    let mut users = HashMap::new();
    let mut faults = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_end_matches('\r');
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match parse_line(line, names) {
            Ok(entry) if users.contains_key(&entry.user) => faults.push((number + 1, "the user is there already".into())),
            Ok(entry) => drop(users.insert(entry.user.clone(), entry)),
            Err(fault) => faults.push((number + 1, fault)),
        }
    }
    (users, faults)
}

fn parse_line(line: &str, names: &Names) -> Result<Entry, String> {
    let mut fields = line.splitn(8, ':');
    let user = names.normal(fields.next().unwrap_or_default().trim()).ok_or("the name cannot be a user's")?;
    let password = Zeroizing::new(fields.next().unwrap_or_default().to_owned());
    let mut text = || fields.next().map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned);
    let (uid, gid, _gecos, home, _shell) = (text(), text(), text(), text(), text());
    let mut entry = Entry { user, password, uid, gid, home, ..Entry::default() };
    for field in fields.next().unwrap_or_default().split_ascii_whitespace() {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        match name {
            "nologin" => entry.nologin = true,
            "allow_nets" => {
                let nets: Option<Vec<Network>> = value.split(',').map(Network::parse).collect();
                entry.allow_nets = nets.ok_or("allow_nets is no list of networks")?;
            }
            _ => match name.strip_prefix("userdb_") {
                Some(name) if !name.is_empty() => entry.userdb.push((name.to_owned(), value.to_owned())),
                _ => return Err(format!("the extra field {} is not known here", mail_types::printable(name))),
            },
        }
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::new(&config::Authd::default(), "localhost".into()).expect("the defaults are sound")
    }

    #[test]
    fn the_guides_file_is_read() {
        let text = "# users\nuser1@mon-domaine.fr:{PLAIN}password\nuser2@mon-domaine.fr:{SSHA}vkIq9ZuTczNGgsinVJgLE/Urc5HNHCYq\n\nuser3:{PLAIN}x\n";
        let (users, faults) = parse(text, &names());
        assert_eq!(faults, []);
        assert_eq!(*users["user1@mon-domaine.fr"].password, "{PLAIN}password");
        assert!(users.contains_key("user3@localhost"));
        assert_eq!(users.len(), 3);
    }

    #[test]
    fn all_fields_are_read_and_doubtful_lines_left_out() {
        let line = "Ann@x.org:{PLAIN}p:5000:5001:Ann Lee:/home/vmail/ann:/bin/false:userdb_mail=maildir:~/M userdb_quota_rule=*:storage=1G allow_nets=192.0.2.0/24,::1";
        let entry = parse_line(line, &names()).expect("sound");
        assert_eq!(
            (entry.uid.as_deref(), entry.gid.as_deref(), entry.home.as_deref()),
            (Some("5000"), Some("5001"), Some("/home/vmail/ann"))
        );
        assert_eq!(entry.userdb, [("mail".into(), "maildir:~/M".into()), ("quota_rule".into(), "*:storage=1G".into())]);
        for (ip, want) in [("192.0.2.9", true), ("192.0.3.9", false), ("::1", true), ("::2", false)] {
            assert_eq!(entry.allows(Some(ip.parse().expect("address"))), want, "{ip}");
        }
        assert!(!entry.allows(None));
        for bad in [":{PLAIN}x", "a/b:{PLAIN}x", "ann:p::::::proxy=y", "ann:p::::::allow_nets=all", "ann:p::::::userdb_="] {
            assert!(parse_line(bad, &names()).is_err(), "{bad}");
        }
        let (users, faults) = parse("ann:a\nANN@localhost:b\n", &names());
        assert_eq!((users["ann@localhost"].password.as_str(), faults.len()), ("a", 1));
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_lost_one_stays_in_force() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("users");
        std::fs::write(&path, "ann:a\n").expect("write");
        let file = PasswdFile::open(&path, names()).expect("open");
        assert_eq!(file.users().len(), 1);
        std::fs::write(&path, "ann:a\nbob:b\n").expect("write");
        assert_eq!(file.users().len(), 2);
        std::fs::remove_file(&path).expect("remove");
        assert_eq!(file.users().len(), 2);
        std::fs::write(&path, "bob:b\n").expect("write");
        assert_eq!(file.users().len(), 1);
        assert!(PasswdFile::open(&dir.path().join("none"), names()).is_err());
    }
}
