//! A Dovecot of the test's own, on 127.0.0.1 and on sockets in a temporary folder.

use crate::postfix::open_to_all;
use crate::tool::{Daemon, tool};
use std::path::{Path, PathBuf};

/// A running private Dovecot (foreground, `dovecot -F`); stopped when dropped. Its users are alice and bob @example.test.
#[derive(Debug)]
pub struct Dovecot {
    _daemon: Daemon,
    folder: tempfile::TempDir,
    mail: PathBuf,
    imap_port: u16,
    pop3_port: u16,
}

impl Dovecot {
    /// Starts one. `mail` holds `DOMAIN/NAME/Maildir`; `None`: a folder of its own. `ports`: IMAP and POP3.
    pub fn start(test: &str, mail: Option<&Path>, ports: (u16, u16)) -> Option<Dovecot> {
        let dovecot = tool("dovecot", test)?;
        if !nix::unistd::geteuid().is_root() {
            crate::tool::skipped("dovecot as root", test);
            return None;
        }
        let folder = tempfile::Builder::new().prefix("facteur-dovecot-").tempdir().expect("temporary folder");
        open_to_all(folder.path());
        let mail = mail.map(Path::to_owned).unwrap_or_else(|| folder.path().join("mail"));
        std::fs::create_dir_all(&mail).expect("mail folder");
        // Mail of a test server belongs to whoever runs the test; Dovecot serves it as that user, root included.
        let owner = std::fs::metadata(&mail).expect("mail folder");
        let (uid, gid) = (std::os::unix::fs::MetadataExt::uid(&owner), std::os::unix::fs::MetadataExt::gid(&owner));
        let (uid, gid) = if uid == 0 { (5000, 5000) } else { (uid, gid) };
        chown_all(&mail, uid, gid);
        std::fs::create_dir(folder.path().join("run")).expect("run folder");
        let dir = folder.path().display();
        let users: String = ["alice", "bob"].iter().map(|u| format!("{u}@example.test:{{PLAIN}}{}::::::\n", crate::PASSWORD)).collect();
        std::fs::write(folder.path().join("users"), users).expect("users");
        let settings = format!(
            "base_dir = {dir}/run\nstate_dir = {dir}/state\nlog_path = {dir}/log\nlisten = 127.0.0.1\nprotocols = imap pop3 lmtp\nssl = no\n\
             disable_plaintext_auth = no\nauth_mechanisms = plain login\nfirst_valid_uid = 1\nmail_location = maildir:~/Maildir\n\
             passdb {{\n  driver = passwd-file\n  args = {dir}/users\n}}\n\
             userdb {{\n  driver = static\n  args = uid={uid} gid={gid} home={}/%d/%n\n}}\n\
             namespace inbox {{\n  inbox = yes\n}}\n\
             service imap-login {{\n  inet_listener imap {{\n    port = {}\n  }}\n  inet_listener imaps {{\n    port = 0\n  }}\n}}\n\
             service pop3-login {{\n  inet_listener pop3 {{\n    port = {}\n  }}\n  inet_listener pop3s {{\n    port = 0\n  }}\n}}\n\
             service auth {{\n  unix_listener {dir}/auth {{\n    mode = 0666\n  }}\n}}\n\
             service lmtp {{\n  unix_listener {dir}/lmtp {{\n    mode = 0666\n  }}\n}}\n",
            mail.display(),
            ports.0,
            ports.1
        );
        let file = folder.path().join("dovecot.conf");
        std::fs::write(&file, settings).expect("settings");
        let daemon = Daemon::start(dovecot.command().arg("-F").arg("-c").arg(&file));
        let peer = Dovecot { _daemon: daemon, folder, mail, imap_port: ports.0, pop3_port: ports.1 };
        crate::eventually("Dovecot to listen", || std::net::TcpStream::connect(("127.0.0.1", ports.0)).ok(), || peer.log());
        Some(peer)
    }

    /// Its SASL socket.
    pub fn auth_socket(&self) -> PathBuf {
        self.folder.path().join("auth")
    }

    /// Its LMTP socket.
    pub fn lmtp_socket(&self) -> PathBuf {
        self.folder.path().join("lmtp")
    }

    pub fn imap_port(&self) -> u16 {
        self.imap_port
    }

    pub fn pop3_port(&self) -> u16 {
        self.pop3_port
    }

    pub fn mail(&self) -> &Path {
        &self.mail
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of Dovecot\n{}", self.log());
        }
    }
}

/// Gives a folder and all that is in it to a user.
pub fn chown_all(path: &Path, uid: u32, gid: u32) {
    let _ = nix::unistd::chown(path, Some(uid.into()), Some(gid.into()));
    if path.is_dir() {
        for entry in std::fs::read_dir(path).expect("folder") {
            chown_all(&entry.expect("entry").path(), uid, gid);
        }
    }
}
