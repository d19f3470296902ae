//! Logins: `smtpd`, `imapd`, `pop3d` (and Postfix, Exim) ask `authd` (or a Dovecot). Dovecot's auth client protocol, version 1.2.
//!
//! ```text
//! C: VERSION TAB 1 TAB 2                   S: VERSION TAB 1 TAB 2
//! C: CPID TAB <client number>              S: MECH TAB PLAIN TAB plaintext          (once per mechanism)
//!                                          S: SPID TAB <pid>  CUID TAB <connection>  COOKIE TAB <32 hex digits>  DONE
//! C: AUTH TAB <id> TAB PLAIN TAB service=smtp [TAB name=value | name]… [TAB resp=<base64>]
//!      valid-client-cert, cert_username=<name>: the client showed a certificate of that name, and it was checked
//!      channel-binding=<type>:<base64>: what its TLS connection is known by (ours; a Dovecot passes it over)
//!      realm=<domain>: the domain of names that have none (ours; a Dovecot passes it over, and has `auth_default_realm`)
//! S: CONT TAB <id> TAB <base64>            C: CONT TAB <id> TAB <base64>
//! S: OK   TAB <id> TAB user=<name> [TAB name=value]…
//! S: FAIL TAB <id> [TAB user=<name>] [TAB temp] [TAB authz] [TAB user_disabled] [TAB pass_expired] [TAB code=…] [TAB reason=…]
//! C: CANCEL TAB <id>
//! ```
//!
//! A front end relays the SASL exchange and never sees a password check. All sessions of a program share one connection;
//! answers are matched by `<id>`, which is never used twice on a connection. Silence for five seconds is a temporary failure, as is
//! a partner that is not there: never a verdict about the password. A partner that is silent about one login, but greets a new
//! connection, holds an answer back on purpose (a Dovecot after several failures from one address); it is waited for up to 22 seconds. Lines are at most 16,384 bytes.

pub mod server;

use crate::mux::{Connection, Incoming, Input, Mux, Talk};
use crate::tabbed::{Fields, Line};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use zeroize::Zeroizing;

pub use crate::mux::Unavailable;

/// How long the partner may be silent about one step of a login. Our `authd` holds the answer to a failed login back for two to four
/// seconds; a Dovecot for up to 17, more with each failure from one address.
pub const DEADLINE: Duration = Duration::from_millis(4_500);

/// The longest line either side sends.
pub const LINE_LIMIT_BYTES: usize = 16_384;

/// The longest SASL message of a client, decoded (RFC 4954 §4: 12,288 octets of base64).
pub const RESPONSE_LIMIT_BYTES: usize = 9_216;

/// A mechanism the partner offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mechanism {
    /// `PLAIN`, `LOGIN`, …
    pub name: String,
    /// The password crosses the wire as it is: only to be offered over TLS.
    pub plaintext: bool,
    /// Not to be told to clients, unless the program knows what the mechanism needs beside the socket: see `binds`, and EXTERNAL.
    pub private: bool,
    pub anonymous: bool,
    /// Who listens can try passwords at leisure.
    pub dictionary: bool,
    /// The server proves that it knows the password, too.
    pub mutual: bool,
    /// Binds the login to the TLS connection (`-PLUS`): only for programs that tell us what that is known by.
    pub binds: bool,
}

impl Mechanism {
    /// Whether a client whose connection is known by `about` may be told of it, as far as the mechanism itself goes.
    pub fn fits(&self, about: &Channel) -> bool {
        match self.name.as_str() {
            "EXTERNAL" => about.certificate.is_some(),
            _ if self.binds => !about.bindings.is_empty(),
            _ => !self.private,
        }
    }
}

/// What a program knows of the TLS connection that a client speaks over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Channel {
    /// What the connection can be told by: names of channel binding types (`tls-exporter`), and their data.
    pub bindings: Vec<(String, Vec<u8>)>,
    /// Whom the client's certificate names, when one was shown that we trust.
    pub certificate: Option<String>,
}

/// One login, as its front end knows it.
#[derive(Clone)]
pub struct AuthRequest {
    /// Name of the mechanism, any case.
    pub mechanism: String,
    /// `smtp`, `imap` or `pop3`.
    pub service: &'static str,
    /// Whether the client speaks to us over TLS (or from this machine).
    pub secured: bool,
    pub remote: Option<SocketAddr>,
    pub local: Option<SocketAddr>,
    /// The domain of names that the client writes without one. Empty: the partner's own.
    pub realm: String,
    /// What is known of the client's TLS connection.
    pub channel: Channel,
    /// The session's id in our logs.
    pub session: String,
    /// The client's first message, when it came with the command (`Some` of nothing for SMTP's `=`).
    pub initial: Option<Zeroizing<Vec<u8>>>,
}

impl std::fmt::Debug for AuthRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthRequest")
            .field("mechanism", &self.mechanism)
            .field("service", &self.service)
            .field("secured", &self.secured)
            .field("remote", &self.remote)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

impl AuthRequest {
    /// A login with user name and password, as IMAP's LOGIN and POP3's USER and PASS have it: the PLAIN mechanism with
    /// its first message. `None` when either holds a NUL, which PLAIN cannot carry.
    pub fn with_password(service: &'static str, user: &str, password: &str) -> Option<AuthRequest> {
        if user.contains('\0') || password.contains('\0') {
            return None;
        }
        let mut message = Zeroizing::new(Vec::with_capacity(user.len() + password.len() + 2));
        message.push(0);
        message.extend_from_slice(user.as_bytes());
        message.push(0);
        message.extend_from_slice(password.as_bytes());
        Some(AuthRequest {
            mechanism: "PLAIN".into(),
            service,
            secured: false,
            remote: None,
            local: None,
            realm: String::new(),
            channel: Channel::default(),
            session: String::new(),
            initial: Some(message),
        })
    }

    fn line(&self, id: u32) -> Vec<u8> {
        let address = |a: Option<SocketAddr>| a.map(|a| a.ip().to_canonical().to_string());
        let port = |a: Option<SocketAddr>| a.map(|a| a.port().to_string());
        let mut line = Line::new("AUTH")
            .field(id.to_string())
            .field(self.mechanism.to_ascii_uppercase())
            .pair("service", self.service)
            .flag("secured", self.secured)
            .pair_if("session", (!self.session.is_empty()).then_some(&self.session))
            .pair_if("lip", address(self.local))
            .pair_if("rip", address(self.remote))
            .pair_if("lport", port(self.local))
            .pair_if("rport", port(self.remote))
            .pair_if("realm", (!self.realm.is_empty()).then_some(&self.realm));
        if let Some(name) = &self.channel.certificate {
            line = line.flag("valid-client-cert", true).pair("cert_username", name);
        }
        for (name, data) in &self.channel.bindings {
            line = line.pair("channel-binding", format!("{name}:{}", BASE64.encode(data)));
        }
        if let Some(initial) = &self.initial {
            // Has to be the last one.
            line = line.pair("resp", &*Zeroizing::new(BASE64.encode(&**initial)));
        }
        line.end()
    }
}

/// Where a login stands.
#[derive(Debug)]
pub enum AuthStep {
    /// The client has to answer a challenge.
    Continue(AuthPending),
    Ok(AuthOk),
    Fail(AuthFail),
}

/// A successful login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthOk {
    /// The account's name as the partner knows it, which may differ from what the client wrote.
    pub user: String,
    /// All further fields; `nologin` and `proxy` would mean that the login is not to be served here.
    pub fields: Vec<(String, String)>,
}

impl AuthOk {
    /// The value of a field; a field without one has an empty value.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// A login that failed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuthFail {
    pub user: Option<String>,
    /// Nothing was decided: 454, `[UNAVAILABLE]`, `[SYS/TEMP]`.
    pub temporary: bool,
    /// The password is right, but not for the identity that was asked for.
    pub authorization: bool,
    pub user_disabled: bool,
    pub password_expired: bool,
    /// The client's message was malformed: 501, `BAD`.
    pub malformed: bool,
    /// The partner's word for it, e.g. `temp_fail`, `user_disabled`, `authz_fail`.
    pub code: Option<String>,
    /// Text that may be shown to the client.
    pub reason: Option<String>,
    /// Text for our log, not for the client.
    pub cause: Option<String>,
}

impl AuthFail {
    fn unavailable(cause: impl ToString) -> AuthFail {
        AuthFail { temporary: true, code: Some("temp_fail".into()), cause: Some(cause.to_string()), ..AuthFail::default() }
    }

    fn malformed(cause: &str) -> AuthFail {
        AuthFail { malformed: true, cause: Some(cause.into()), ..AuthFail::default() }
    }
}

/// A login that waits for the client. Dropping it tells the partner to forget the login.
pub struct AuthPending {
    challenge: Vec<u8>,
    connection: Arc<Connection<ClientSide>>,
    id: u32,
    deadline: Duration,
    answered: bool,
}

impl std::fmt::Debug for AuthPending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthPending").field("id", &self.id).finish_non_exhaustive()
    }
}

impl AuthPending {
    /// What to show the client, not yet in base64. Empty for PLAIN; `Username:` and `Password:` for LOGIN.
    pub fn challenge(&self) -> &[u8] {
        &self.challenge
    }

    /// Goes on with the client's answer (decoded from base64).
    pub async fn answer(mut self, response: &[u8]) -> AuthStep {
        if response.len() > RESPONSE_LIMIT_BYTES {
            return AuthStep::Fail(AuthFail::malformed("the response is too long"));
        }
        self.answered = true;
        let line = Zeroizing::new(Line::new("CONT").field(self.id.to_string()).field(&*Zeroizing::new(BASE64.encode(response))).end());
        let until = Instant::now() + self.deadline;
        match self.connection.ask_again(self.id, &line, until).await {
            Ok(replies) => step(self.connection.clone(), self.id, self.deadline, replies),
            Err(e) => AuthStep::Fail(AuthFail::unavailable(e)),
        }
    }
}

impl Drop for AuthPending {
    fn drop(&mut self) {
        if !self.answered {
            let _ = self.connection.tell(&cancel(self.id));
        }
    }
}

fn cancel(id: u32) -> Vec<u8> {
    Line::new("CANCEL").field(id.to_string()).end()
}

/// A client of `authd` or of a Dovecot's auth service. Cheap to clone; all clones share one connection.
///
/// Needs a tokio runtime when asked, not when made; the partner need not be there yet.
#[derive(Clone)]
pub struct AuthClient(Arc<Mux<ClientSide>>);

impl AuthClient {
    pub fn new(path: impl Into<PathBuf>) -> AuthClient {
        AuthClient::with_deadline(path, DEADLINE)
    }

    /// As `new`, with another deadline for each step. A partner that still greets has four times as long again.
    pub fn with_deadline(path: impl Into<PathBuf>, deadline: Duration) -> AuthClient {
        AuthClient(Arc::new(Mux::new(path, ClientSide, deadline).with_patience(deadline * 4)))
    }

    /// What the partner offers. Asks nobody while a connection is open.
    pub async fn mechanisms(&self) -> Result<Arc<[Mechanism]>, Unavailable> {
        let connection = self.0.connection(Instant::now() + self.0.deadline()).await?;
        Ok(connection.hello.clone())
    }

    /// Begins a login. Never fails itself: without a partner the step is a temporary [`AuthStep::Fail`].
    ///
    /// The answer to a wrong password takes about two seconds. Dropping the future drops the question, and tells the
    /// partner so.
    pub async fn begin(&self, request: AuthRequest) -> AuthStep {
        if request.initial.as_ref().is_some_and(|i| i.len() > RESPONSE_LIMIT_BYTES) || request.session.len() > 256 {
            return AuthStep::Fail(AuthFail::malformed("the initial response is too long"));
        }
        let name_is_sound = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if request.mechanism.is_empty() || request.mechanism.len() > 20 || !request.mechanism.chars().all(name_is_sound) {
            return AuthStep::Fail(AuthFail::malformed("no such mechanism"));
        }
        match self.0.ask_on(|id| request.line(id)).await {
            Ok((connection, id, replies)) => step(connection, id, self.0.deadline(), replies),
            Err(e) => AuthStep::Fail(AuthFail::unavailable(e)),
        }
    }

    /// A whole login with user and password; for programs that have both.
    pub async fn login(&self, request: AuthRequest) -> Result<AuthOk, AuthFail> {
        match self.begin(request).await {
            AuthStep::Ok(ok) => Ok(ok),
            AuthStep::Fail(fail) => Err(fail),
            AuthStep::Continue(_) => Err(AuthFail::unavailable("the partner asks for more than PLAIN has")),
        }
    }
}

fn step(connection: Arc<Connection<ClientSide>>, id: u32, deadline: Duration, mut replies: Vec<ServerReply>) -> AuthStep {
    match replies.pop() {
        Some(ServerReply::Ok(ok)) => AuthStep::Ok(ok),
        Some(ServerReply::Fail(fail)) => AuthStep::Fail(fail),
        Some(ServerReply::Continue(challenge)) => AuthStep::Continue(AuthPending { challenge, connection, id, deadline, answered: false }),
        None => AuthStep::Fail(AuthFail::unavailable("the partner's answer was empty")),
    }
}

/// What the partner said about one login.
#[derive(Debug)]
pub(crate) enum ServerReply {
    Continue(Vec<u8>),
    Ok(AuthOk),
    Fail(AuthFail),
}

pub(crate) struct ClientSide;

/// The number a connection calls itself by. Dovecot wants it unique among open connections, so the process id alone,
/// which was enough for Postfix, would lock out a second connection of the same process.
fn client_number() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    // Process ids have at most 22 bits.
    std::process::id() | (COUNT.fetch_add(1, Ordering::Relaxed) & 0x1ff) << 22
}

impl Talk for ClientSide {
    type Hello = Arc<[Mechanism]>;
    type Reply = ServerReply;

    fn forget(id: u32) -> Option<Vec<u8>> {
        Some(cancel(id))
    }

    fn greeting(&self) -> Vec<u8> {
        let mut out = Line::new("VERSION").field("1").field("2").end();
        out.extend(Line::new("CPID").field(client_number().to_string()).end());
        out
    }

    fn hello(&self, input: &mut Input) -> Result<Option<Self::Hello>, String> {
        const LIMIT_BYTES: usize = 32_768;
        let end = input.rest().windows(6).position(|w| w == b"\nDONE\n");
        let Some(end) = end else {
            return if input.rest().len() > LIMIT_BYTES { Err("its greeting is too long".into()) } else { Ok(None) };
        };
        let mut mechanisms = Vec::new();
        let mut version = false;
        for line in input.rest()[..end].split(|b| *b == b'\n') {
            let mut fields = Fields::of(line);
            match fields.text() {
                Some(Ok(word)) if word == "VERSION" => match fields.number() {
                    Some(1) => version = true,
                    _ => return Err("speaks another version of the auth protocol".into()),
                },
                Some(Ok(word)) if word == "MECH" => {
                    let Some(Ok(name)) = fields.text() else { continue };
                    let has = |flag: &str| fields.clone().pairs().iter().any(|(name, _)| name == flag);
                    mechanisms.push(Mechanism {
                        name,
                        plaintext: has("plaintext"),
                        private: has("private"),
                        anonymous: has("anonymous"),
                        dictionary: has("dictionary"),
                        mutual: has("mutual-auth"),
                        binds: has("channel-binding"),
                    });
                }
                _ => {}
            }
        }
        if !version {
            return Err("does not say its version of the auth protocol".into());
        }
        input.take(end + 6);
        Ok(Some(mechanisms.into()))
    }

    fn reply(&self, input: &mut Input) -> Result<Option<Incoming<ServerReply>>, String> {
        loop {
            let Some(line) = input.line(LINE_LIMIT_BYTES * 4)? else { return Ok(None) };
            let mut fields = Fields::of(line);
            let Some(Ok(word)) = fields.text() else { continue };
            if !matches!(word.as_str(), "OK" | "FAIL" | "CONT") {
                // A Dovecot that reloads repeats parts of its greeting.
                continue;
            }
            let id = fields.number().ok_or("an answer has no number")?;
            let reply = match word.as_str() {
                "CONT" => {
                    let challenge = fields.text().and_then(Result::ok).unwrap_or_default();
                    ServerReply::Continue(BASE64.decode(challenge).map_err(|_| "a challenge is no base64")?)
                }
                "OK" => {
                    let mut fields = fields.pairs();
                    let at = fields.iter().position(|(name, _)| name == "user").ok_or("an OK names no user")?;
                    let (_, user) = fields.remove(at);
                    ServerReply::Ok(AuthOk { user, fields })
                }
                _ => ServerReply::Fail(fail_of(fields.pairs())),
            };
            return Ok(Some(Incoming { id, reply, last: true }));
        }
    }
}

fn fail_of(pairs: Vec<(String, String)>) -> AuthFail {
    let mut fail = AuthFail::default();
    for (name, value) in pairs {
        match name.as_str() {
            "user" => fail.user = Some(value),
            "temp" => fail.temporary = true,
            "authz" => fail.authorization = true,
            "user_disabled" => fail.user_disabled = true,
            "pass_expired" => fail.password_expired = true,
            "reason" => fail.reason = Some(value),
            "code" => {
                match value.as_str() {
                    "temp_fail" => fail.temporary = true,
                    "authz_fail" => fail.authorization = true,
                    "user_disabled" => fail.user_disabled = true,
                    "pass_expired" => fail.password_expired = true,
                    "invalid_base64" => fail.malformed = true,
                    _ => {}
                }
                fail.code = Some(value);
            }
            _ => {}
        }
    }
    fail
}
