use crate::report::Source;
use crate::setting::{hours, minutes, secs};
use crate::value::{SecretUrl, Value, quote};
use crate::{choices, settings};
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;
use toml::de::DeValue;

choices! {
    /// Which conversation a socket of authd holds.
    pub enum SocketKind {
        /// Logins: Dovecot's auth client protocol, for smtpd, imapd, pop3d, Postfix, Exim.
        Client = "client",
        /// The user database: Dovecot's auth master protocol.
        Userdb = "userdb",
        /// Lookup tables in databases.
        Lookup = "lookup",
        /// Changes of domains, mailboxes and aliases, for `facteur`.
        Accounts = "accounts",
        /// Sizes and logins, told by the other daemons.
        Usage = "usage",
    }
}

choices! {
    /// Whose tables the accounts are in.
    pub enum AccountsKind { Own = "own", Postfixadmin = "postfixadmin" }
}

choices! {
    /// Where passwords come from.
    pub enum PassdbDriver { Accounts = "accounts", PasswdFile = "passwd-file", Sql = "sql", Ldap = "ldap" }
}

choices! {
    /// Where uid, gid, home and mail location come from.
    pub enum UserdbDriver { Accounts = "accounts", Static = "static", PasswdFile = "passwd-file", Sql = "sql", Ldap = "ldap", Passwd = "passwd", Prefetch = "prefetch" }
}

/// Permission bits of a file or socket, written `"0660"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode(pub u32);

impl Value for Mode {
    fn kind() -> String {
        "permission bits (octal, as text)".into()
    }
    fn read(value: &Spanned<DeValue<'_>>, name: &str, source: &mut Source<'_>) -> Option<Mode> {
        let bits = match value.get_ref() {
            DeValue::String(text) => u32::from_str_radix(text.trim_start_matches("0o"), 8).ok(),
            DeValue::Integer(i) if i.radix() == 8 => u32::from_str_radix(i.as_str(), 8).ok(),
            _ => None,
        };
        match bits.filter(|bits| *bits <= 0o777) {
            Some(bits) => Some(Mode(bits)),
            None => {
                source.fault(Some(value.span().start), format!("{name}: this must be permission bits such as \"0660\""), None);
                None
            }
        }
    }
    fn write(&self) -> String {
        quote(&format!("{:04o}", self.0))
    }
}

settings! {
    /// A socket that authd listens on, as Dovecot's `unix_listener` in `service auth`.
    pub struct AuthSocket in "authd.unix_listener" {
        /// The socket; a relative path starts in `run_directory`.
        path: String = "auth", was "Dovecot unix_listener";
        /// What is spoken there.
        kind: SocketKind = SocketKind::Client;
        /// Who may connect. `facteur-login` and such groups are made by the installation.
        mode: Mode = Mode(0o660), was "Dovecot mode";
        /// Owner of the socket. Empty: the user authd runs as.
        user: String = "", was "Dovecot user";
        /// Group of the socket. Empty: the group authd runs as.
        group: String = "", was "Dovecot group";
    }
}

choices! {
    /// What an answer of a passdb or userdb means, and whether the next one is asked.
    pub enum PassdbResult {
        ReturnOk = "return-ok",
        ReturnFail = "return-fail",
        Return = "return",
        ContinueOk = "continue-ok",
        ContinueFail = "continue-fail",
        Continue = "continue",
    }
}

choices! {
    /// When a passdb is not asked.
    pub enum PassdbSkip { Never = "never", Authenticated = "authenticated", Unauthenticated = "unauthenticated" }
}

choices! {
    /// When a userdb is not asked.
    pub enum UserdbSkip { Never = "never", Found = "found", Notfound = "notfound" }
}

settings! {
    /// A source of passwords. They are asked in order; by default until one finds the password right.
    pub struct Passdb in "authd.passdb" {
        /// `accounts`: the accounts database. `passwd-file`: a text file, see `args`. `sql`: queries of your own, see `args`. `ldap`: a directory, see `args`.
        driver: PassdbDriver = PassdbDriver::Accounts, was "Dovecot driver";
        /// For `passwd-file`: the file, lines `user:password:uid:gid:gecos:home:shell:extra_fields`; the password as `{SCHEME}hash`. `scheme=CRYPT` before the file names the scheme of passwords without one. Read again when it changed. For `sql`: the file with `driver`, `connect` and `password_query`, as Dovecot's `dovecot-sql.conf.ext`. For `ldap`: Dovecot's `dovecot-ldap.conf.ext`, as it is; the authd of a build with `--features ldap` has it.
        args: String = "", was "Dovecot args";
        /// Whoever is in it is refused, whatever other passdbs say; passwords in it do not matter. It has to stand before those.
        deny: bool = false, was "Dovecot deny";
        /// Its users may log in as anybody who is in another passdb: as `user*master` (see `auth_master_user_separator`), or with PLAIN's authorization identity.
        master: bool = false, was "Dovecot master";
        /// Whether it is passed over: `authenticated`: when a passdb before it has said yes; `unauthenticated`: when none has.
        skip: PassdbSkip = PassdbSkip::Never, was "Dovecot skip";
        /// After a right password: say yes or no (`return-ok`, `return-fail`) and ask nobody else, or say what passdbs before it said (`return`); the same with `continue…` when the next one is to be asked, which then needs no password.
        result_success: PassdbResult = PassdbResult::ReturnOk, was "Dovecot result_success";
        /// After a wrong password or an unknown user. The results that end in `-ok` are refused: they would let everybody in.
        result_failure: PassdbResult = PassdbResult::Continue, was "Dovecot result_failure";
        /// When the passdb could not be asked.
        result_internalfail: PassdbResult = PassdbResult::Continue, was "Dovecot result_internalfail";
    }
}

settings! {
    /// A source of uid, gid, home and mail location. They are asked in order; by default the first that knows the user decides.
    pub struct Userdb in "authd.userdb" {
        /// `accounts`: the accounts database. `static`: the same for every user of the passdbs. `passwd-file`: a text file, see `args`. `sql`: queries of your own, see `args`. `ldap`: a directory, see `args`. `passwd`: people of the system, as getpwnam(3) knows them. `prefetch`: the fields `userdb_…` that a `password_query` or `pass_attrs` has.
        driver: UserdbDriver = UserdbDriver::Accounts, was "Dovecot driver";
        /// For `static`: fields such as `uid=vmail gid=vmail home=/home/vmail/%u`. For `passwd-file`: the file. For `sql`: the file with `driver`, `connect` and `user_query`. For `ldap`: Dovecot's `dovecot-ldap.conf.ext`, with a build as for the passdb. For `passwd`: fields as for `static`, in place of the system's home.
        args: String = "", was "Dovecot args";
        /// Whether it is passed over: `found`: when a userdb before it knows the user; `notfound`: when none does.
        skip: UserdbSkip = UserdbSkip::Never, was "Dovecot skip";
        /// When it knows the user: say yes or no (`return-ok`, `return-fail`) and ask nobody else, or say what userdbs before it said (`return`); the same with `continue…` when the next one is to be asked, whose fields are added, in place of those of the same names.
        result_success: PassdbResult = PassdbResult::ReturnOk, was "Dovecot result_success";
        /// When it does not. The results that end in `-ok` say yes for whom a userdb before it knows.
        result_failure: PassdbResult = PassdbResult::Continue, was "Dovecot result_failure";
        /// When it could not be asked: `return` and `return-fail` are a temporary failure, as mail of a user whom this one knows must not go elsewhere; with `continue` others may know the user.
        result_internalfail: PassdbResult = PassdbResult::Return, was "Dovecot result_internalfail";
    }
}

settings! {
    /// Passwords, the user database, and tables that live in databases.
    pub struct Authd in "authd" {
        /// Sockets, each a table `[[authd.unix_listener]]`. Those of the five conversations that are in no table are at their usual places: `auth`, `userdb`, `lookup`, `accounts`, `usage` in `run_directory`.
        unix_listener: Vec<AuthSocket> = Vec::new(), was "Dovecot unix_listener";
        /// Sources of passwords, each a table `[[authd.passdb]]`. Empty: the accounts database.
        passdb: Vec<Passdb> = Vec::new(), was "Dovecot passdb";
        /// Sources of users, each a table `[[authd.userdb]]`. Empty: the accounts database.
        userdb: Vec<Userdb> = Vec::new(), was "Dovecot userdb";
        /// Whose tables the accounts are in. `own`: the SQLite file `accounts_database`. `postfixadmin`: the database of PostfixAdmin at `accounts_url`, whose tables stay as they are.
        accounts: AccountsKind = AccountsKind::Own;
        /// PostfixAdmin's database: `mysql://postfix_user@localhost/postfix_db`, `postgresql://user@host:5432/postfix` or `sqlite:/path`. In `localhost` MySQL's socket is used. What is odd in a name or password is written as %XX.
        accounts_url: SecretUrl = "";
        /// The file whose first line is the password for `accounts_url`, so that the settings may be read by all. Empty: it is in `accounts_url`, or there is none.
        accounts_password_file: PathBuf = "";
        /// With `accounts = "own"`: an SQLite file with PostfixAdmin's tables, made when it is not there. Empty: `accounts.sqlite` in `state_directory`.
        accounts_database: PathBuf = "";
        /// Tables that may be asked for over the lookup socket beside `accounts:`, such as `sqlite:/etc/facteur/domains.cf`. Empty: every `sqlite:`, `mysql:` and `pgsql:` file in the folder of `facteur.toml`.
        lookup_tables: Vec<String> = Vec::<String>::new(), was "Postfix proxy_read_maps";
        /// Mechanisms offered for login: `plain`, `login`, `scram-sha-256`, `scram-sha-256-plus`, `scram-sha-1`, `scram-sha-1-plus`, `cram-md5`, `external`, `oauthbearer`, `xoauth2`.
        auth_mechanisms: Vec<String> = ["plain", "login"].map(String::from), was "Dovecot auth_mechanisms";
        /// For `oauthbearer` and `xoauth2`: the keys that tokens (JWT) are signed with, a JWK Set as providers publish it. Keys for RS256, ES256, EdDSA and HS256 are used.
        oauth2_key_file: PathBuf = "", was "Dovecot local_validation_key_dict";
        /// Where the provider is asked about tokens that the keys do not decide (RFC 7662): `https://[user[:password]@]host[:port]/path`. `http://` is for a provider or a proxy on this machine: name, password and tokens cross the wire as they are.
        oauth2_introspection_url: SecretUrl = "", was "Dovecot introspection_url";
        /// The file whose first line is the password for `oauth2_introspection_url`, so that the settings may be read by all. Empty: it is in `oauth2_introspection_url`, or there is none.
        oauth2_introspection_password_file: PathBuf = "";
        /// Certificates of those who may vouch for the provider, PEM. Empty: those of the system.
        oauth2_tls_ca_cert_file: PathBuf = "", was "Dovecot tls_ca_cert_file";
        /// For whom tokens have to be made (`aud`). Needed where tokens are taken.
        oauth2_audience: String = "", was "Dovecot client_id";
        /// Who may have made tokens (`iss`). Empty: whoever has the key.
        oauth2_issuers: Vec<String> = Vec::<String>::new(), was "Dovecot issuers";
        /// What tokens have to be good for (`scope`), words with spaces between. Clients without a token are told.
        oauth2_scope: String = "", was "Dovecot scope";
        /// The claim that names the user.
        oauth2_username_attribute: String = "email", was "Dovecot username_attribute";
        /// Where clients find out about the provider; they are told when a token is refused.
        oauth2_openid_configuration_url: String = "", was "Dovecot openid_configuration_url";
        /// The domain of users who log in without one.
        auth_default_realm: String = "$mydomain", was "Dovecot auth_default_realm";
        /// What stands between the user to log in as and the master user whose password it is: `*` for `user*master`. Empty: there are no such names.
        auth_master_user_separator: String = "", was "Dovecot auth_master_user_separator";
        /// Networks of webmail and other programs that log in for many people: failed logins from there count for each user, but not over all users. Addresses of this machine always do.
        login_trusted_networks: Vec<String> = Vec::<String>::new(), was "Dovecot login_trusted_networks";
        /// Characters that user names may have beside letters and digits outside ASCII. Empty: all but control characters.
        auth_username_chars: String = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234567890.-_@+=&'", was "Dovecot auth_username_chars";
        /// How passdbs and userdbs have names: `%u` the whole name, `%n` what is before the @, `%d` what is behind it, with `%L` before the letter in lower case, with `%U` in upper case. `%u` keeps the case that the client writes, `%n` is for users without domains. A name that was written so has to stay the same when it is written so again.
        auth_username_format: String = "%Lu", was "Dovecot auth_username_format";
        /// Whether failed logins are logged with their reason.
        auth_verbose: bool = true, was "Dovecot auth_verbose";
        /// How long the answer to a failed login is held back.
        auth_failure_delay: Duration = secs(2), in secs(0)..=secs(4), was "Dovecot auth_failure_delay";
        /// Failed logins of one user from one address (IPv6: one /64) within `auth_penalty_window` after which every further attempt waits, longer and longer.
        auth_penalty_after: u32 = 5u32, in 1..=1000, was "Dovecot auth_penalty";
        /// How long a failed login counts.
        auth_penalty_window: Duration = minutes(5), in secs(10)..=hours(24);
        /// The scheme that new passwords are hashed with: `ARGON2ID`, `BLF-CRYPT`, `SHA512-CRYPT` and others that `facteur auth hash -l` lists.
        default_pass_scheme: String = "ARGON2ID", was "Dovecot default_pass_scheme";
        /// The scheme of stored passwords that name none. `CRYPT` tells it from the shape of the hash (`$1$`, `$2y$`, `$5$`, `$6$`, `$y$`, `$argon2id$`, 32 hex digits, 13 characters of DES); where another is set, a hash with `$` is recognised all the same, unless that is `PLAIN`.
        stored_pass_scheme: String = "CRYPT", was "Dovecot default_pass_scheme";
        /// A scheme, such as `ARGON2ID`, that stored passwords of weaker schemes are hashed with anew when their user logs in with PLAIN or LOGIN. Those that serve an offered mechanism as they are (SCRAM, CRAM-MD5) stay. The accounts are written, and databases of an `sql` passdb whose file has an `update_query`. Who else reads the column has to know the scheme. Empty: nothing is changed.
        auth_upgrade_scheme: String = "";
        /// Iterations of SCRAM for new keys, for keys that are made from plain passwords, and for users who are not there. Users whose stored keys have another number can be told from those who are not there.
        auth_scram_iterations: u32 = 4096u32, in 4096..=1_000_000;
        /// Threads that check passwords. 0: one per processor.
        auth_worker_max_count: u32 = 0u32, in 0..=64, was "Dovecot auth_worker_max_count";
        /// Password checks that may wait for a thread; more are answered with a temporary failure.
        auth_worker_queue_limit: u32 = 200u32, in 1..=10_000;
        /// Passwords that were right lately and need no second hashing, in memory only; 0 turns this off, and `auth_cache_negative_ttl` too. A changed password counts at once.
        auth_cache_entries: u32 = 10_000u32, in 0..=1_000_000, was "Dovecot auth_cache_size";
        /// How long such a password is remembered.
        auth_cache_ttl: Duration = hours(1), in secs(1)..=hours(24), was "Dovecot auth_cache_ttl";
        /// How long a wrong password is remembered, so that asking again with the same one costs no hashing, and that an SQL passdb or the accounts do not know a user. Users that `facteur` adds and new passwords count at once, users that others add within this time. Twice `auth_cache_entries` are kept at most. 0 turns this off.
        auth_cache_negative_ttl: Duration = minutes(1), in secs(0)..=hours(24), was "Dovecot auth_cache_negative_ttl";
        /// Connections at the same time on each socket.
        client_limit: u32 = 1000u32, in 10..=100_000, was "Dovecot client_limit";
    }
}
