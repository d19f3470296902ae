use crate::settings;

settings! {
    /// Passwords, the user database, and tables that live in databases.
    pub struct Authd in "authd" {
        /// Mechanisms offered for login.
        auth_mechanisms: Vec<String> = ["plain", "login"].map(String::from), was "Dovecot auth_mechanisms";
        /// Whether failed logins are logged with their reason.
        auth_verbose: bool = true, was "Dovecot auth_verbose";
    }
}
