use crate::settings;
use std::path::PathBuf;

settings! {
    /// Names of this machine and the folders of Facteur. These settings stand at the top of the file, before the first `[section]`.
    pub struct Main in "" {
        /// The full name of this machine, as it greets other mail servers. Empty: what `hostname` says.
        hostname: String = "", was "Postfix myhostname, Dovecot hostname";
        /// The domain of this machine. Empty: `hostname` without its first label.
        mydomain: String = "", was "Postfix mydomain";
        /// The domain that is put behind addresses that have none, such as `root`.
        myorigin: String = "$myhostname", was "Postfix myorigin";
        /// The queue: what was accepted and not delivered yet. Must be on a local disk.
        spool_directory: PathBuf = "/var/spool/facteur", was "Postfix queue_directory";
        /// The sockets by which the daemons find each other.
        run_directory: PathBuf = "/run/facteur", was "Dovecot base_dir";
        /// State of the daemons, and the SQLite accounts.
        state_directory: PathBuf = "/var/lib/facteur", was "Postfix data_directory, Dovecot state_dir";
        /// Threads that each daemon works with, beside those that wait for the disk. More than the machine has processors is of no use.
        worker_threads: u32 = 2u32, in 1..=64;
        /// Each daemon gives up, before it serves anybody, the right to start programs and to write outside of its own folders (Landlock, where the kernel has it).
        sandbox: bool = true;
        /// How long a daemon that is told to stop lets transactions that have begun come to their end.
        shutdown_grace: std::time::Duration = crate::setting::secs(5), in crate::setting::secs(0)..=crate::setting::minutes(5);
    }
}
