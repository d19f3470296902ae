use crate::{choices, settings};
use std::path::PathBuf;

choices! {
    /// How a log line is written.
    pub enum LogFormat { KeyValue = "text", Json = "json" }
}

choices! {
    /// What is logged.
    pub enum LogLevel { Error = "error", Warn = "warn", Info = "info", Debug = "debug" }
}

settings! {
    /// What the daemons write about their work.
    pub struct Log in "log" {
        /// `text` is `key=value` for people, `json` is one object a line for programs.
        format: LogFormat = LogFormat::KeyValue;
        /// `info` tells each event in a message's life once; `debug` tells why decisions were taken.
        level: LogLevel = LogLevel::Info, was "Dovecot mail_debug, auth_debug";
        /// The file to write to; it is opened again on SIGUSR1 (`facteur log reopen`). Empty: standard error, which systemd keeps in the journal.
        file: PathBuf = "", was "Dovecot log_path, Postfix maillog_file";
    }
}
