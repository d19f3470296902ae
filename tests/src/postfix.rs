//! A Postfix of the test's own: settings, queue and ports in a temporary folder, on 127.0.0.1.

use crate::tool::{Tool, tool};
use std::path::Path;

/// A running private Postfix; stopped when dropped.
#[derive(Debug)]
pub struct Postfix {
    folder: tempfile::TempDir,
    postfix: Tool,
    port: u16,
}

impl Postfix {
    /// Starts one on `port`. `None` when Postfix is not installed, or the test does not run as root, without whom Postfix does nothing.
    /// `main_cf` is appended to its settings, `tables` are files beside them, which Postfix reads as `texthash:$config_directory/NAME`.
    pub fn start(test: &str, port: u16, main_cf: &str, tables: &[(&str, &str)]) -> Option<Postfix> {
        Postfix::start_with(test, port, main_cf, "", tables)
    }

    /// The same with further lines for its `master.cf`.
    pub fn start_with(test: &str, port: u16, main_cf: &str, master_cf: &str, tables: &[(&str, &str)]) -> Option<Postfix> {
        let postfix = tool("postfix", test)?;
        if !nix::unistd::geteuid().is_root() {
            crate::tool::skipped("postfix as root", test);
            return None;
        }
        let folder = tempfile::Builder::new().prefix("facteur-postfix-").tempdir().expect("temporary folder");
        let root = folder.path();
        open_to_all(root);
        for name in ["etc", "queue", "data", "mail"] {
            std::fs::create_dir(root.join(name)).expect("folder");
        }
        let owner = nix::unistd::User::from_name("postfix").expect("passwd").expect("the user postfix");
        std::fs::write(root.join("maillog"), "").expect("log");
        for name in ["data", "maillog"] {
            nix::unistd::chown(&root.join(name), Some(owner.uid), None).expect("chown");
        }
        nix::unistd::chown(&root.join("mail"), Some(5000.into()), Some(5000.into())).expect("chown");
        for (name, text) in tables {
            std::fs::write(root.join("etc").join(name), text).expect("table");
        }
        let dir = root.display();
        let common = format!(
            "compatibility_level = 3.6\nqueue_directory = {dir}/queue\ndata_directory = {dir}/data\ncommand_directory = /usr/sbin\n\
             daemon_directory = /usr/lib/postfix/sbin\nmeta_directory = /etc/postfix\nmaillog_file = {dir}/maillog\nmaillog_file_prefixes = {dir}\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmyhostname = postfix.test\nmydestination =\nmynetworks = 127.0.0.0/8\n\
             alias_maps =\nlocal_recipient_maps =\nsmtp_tls_security_level = may\nsmtp_host_lookup = native\ndisable_dns_lookups = yes\n\
             virtual_mailbox_base = {dir}/mail\nvirtual_uid_maps = static:5000\nvirtual_gid_maps = static:5000\nvirtual_minimum_uid = 1\n\
             smtpd_recipient_restrictions = permit_mynetworks, reject\n"
        );
        std::fs::write(root.join("etc/main.cf"), common + main_cf).expect("main.cf");
        let mut master = format!("127.0.0.1:{port} inet n - n - - smtpd\n{master_cf}");
        for (name, kind, program) in [
            ("pickup", "unix n - n 60 1", "pickup"),
            ("cleanup", "unix n - n - 0", "cleanup"),
            ("qmgr", "unix n - n 300 1", "qmgr"),
            ("tlsmgr", "unix - - n 1000? 1", "tlsmgr"),
            ("rewrite", "unix - - n - -", "trivial-rewrite"),
            ("bounce", "unix - - n - 0", "bounce"),
            ("defer", "unix - - n - 0", "bounce"),
            ("trace", "unix - - n - 0", "bounce"),
            ("proxymap", "unix - - n - -", "proxymap"),
            ("smtp", "unix - - n - -", "smtp"),
            ("relay", "unix - - n - -", "smtp"),
            ("lmtp", "unix - - n - -", "lmtp"),
            ("error", "unix - - n - -", "error"),
            ("retry", "unix - - n - -", "error"),
            ("virtual", "unix - n n - -", "virtual"),
            ("anvil", "unix - - n - 1", "anvil"),
            ("scache", "unix - - n - 1", "scache"),
            ("showq", "unix n - n - -", "showq"),
            ("flush", "unix n - n 1000? 0", "flush"),
            ("verify", "unix - - n - 1", "verify"),
            ("postlog", "unix-dgram n - n - 1", "postlogd"),
        ] {
            master.push_str(&format!("{name} {kind} {program}\n"));
        }
        std::fs::write(root.join("etc/master.cf"), master).expect("master.cf");
        let peer = Postfix { folder, postfix, port };
        peer.control("start");
        crate::eventually("Postfix to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).ok(), || peer.log());
        Some(peer)
    }

    fn control(&self, verb: &str) {
        let output = self.postfix.run([std::ffi::OsStr::new("-c"), self.folder.path().join("etc").as_os_str(), verb.as_ref()]);
        assert!(output.status.success(), "postfix {verb}: {}\n{}", String::from_utf8_lossy(&output.stderr), self.log());
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What its virtual(8) has filed into `mail/NAME/`, in order.
    pub fn mail(&self, name: &str) -> Vec<String> {
        let folder = self.folder.path().join("mail").join(name).join("new");
        let mut files: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().map(|e| e.expect("entry").path()).collect();
        files.sort();
        files.iter().map(|f| String::from_utf8_lossy(&std::fs::read(f).expect("mail")).into_owned()).collect()
    }

    /// What `postqueue -p` prints.
    pub fn queue(&self) -> String {
        let mut command = std::process::Command::new("/usr/sbin/postqueue");
        let output = crate::run(command.arg("-c").arg(self.folder.path().join("etc")).arg("-p"), "");
        assert!(output.status.success(), "postqueue: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("maillog")).unwrap_or_default()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of Postfix\n{}", self.log());
        }
        let _ = self.postfix.run([std::ffi::OsStr::new("-c"), self.folder.path().join("etc").as_os_str(), "stop".as_ref()]);
    }
}

/// Lets other users into a folder: peers run as users of their own.
pub fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).expect("permissions");
}
