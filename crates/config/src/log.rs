use crate::value::Size;
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
        /// Lines that wait while the journal or the disk is slow. Mail never waits for its log: what does not fit is dropped, and counted in the log.
        buffer_size: Size = Size::mib(4), in Size::kib(64)..=Size::mib(256);
    }
}
