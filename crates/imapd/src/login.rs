//! Before login: greeting, STARTTLS, LOGIN, AUTHENTICATE. Nothing here opens mail until authd has said who it is.

use crate::answer::Answer;
use crate::capability;
use crate::connection::{Connection, Gone};
use crate::others::Others;
use crate::place::{Public, Realm};
use crate::referral;
use crate::server::{LoginSlot, Server};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use daemon::Share;
use imap_proto::{Command, Status, Step, encode};
use ipc::auth::{AuthFail, AuthOk, AuthRequest, AuthStep, Channel};
use ipc::userdb::User;
use mail_types::Secret;
use mailstore::{Account, Location, MailboxName, Person};
use std::sync::Arc;
use std::time::Instant;

/// Logins on one connection that failed, whether the password was wrong or the exchange was broken off.
const FAILURES: u32 = 6;

/// Who came in.
pub struct Entered {
    pub user: String,
    pub realm: Arc<Realm>,
    pub share: Share,
    pub slot: LoginSlot,
}

/// Greets the client.
pub async fn greet(connection: &mut Connection) {
    let capabilities = capabilities(connection).await;
    let greeting = connection.config.imapd.login_greeting.clone();
    encode::status(&mut connection.wire.out, "*", Status::Ok, &format!("CAPABILITY {capabilities}"), &greeting);
}

/// Talks until somebody is logged in.
pub async fn run(connection: &mut Connection) -> Result<Entered, Gone> {
    let mut failures = 0;
    let longest = connection.config.imapd.login_timeout;
    loop {
        let Step::Command { tag, command } = connection.next(longest).await? else { continue };
        let is_login = matches!(command, Command::Login { .. } | Command::Authenticate { .. });
        let outcome = match command {
            Command::Capability => {
                let line = format!("* CAPABILITY {}\r\n", self::capabilities(connection).await);
                connection.wire.out.extend_from_slice(line.as_bytes());
                Err(Answer::ok("Capability completed"))
            }
            Command::Noop => Err(Answer::ok("Noop completed")),
            Command::Id(fields) => Err(crate::commands::id::run(&mut connection.wire.out, &fields)),
            Command::Logout => {
                connection.bye("Logging out");
                connection.answer(&tag, &Answer::ok("Logout completed"));
                return Err(Gone::Done("logout"));
            }
            Command::StartTls => {
                start_tls(connection, &tag).await?;
                continue;
            }
            Command::Login { user, password } => login(connection, &user, &password).await,
            Command::Authenticate { mechanism, initial } => authenticate(connection, &mechanism, initial).await?,
            _ => Err(Answer::bad("Log in first")),
        };
        let answer = match outcome {
            Ok(ok) => match enter(connection, ok).await {
                Ok(entered) => {
                    connection.machine.authenticated();
                    let code = format!("CAPABILITY {}", capability::after_login(&connection.config.imapd));
                    connection.answer(&tag, &Answer::ok_with(code, "Logged in"));
                    return Ok(entered);
                }
                Err(answer) => answer,
            },
            Err(answer) => answer,
        };
        failures += u32::from(is_login && answer.status != Status::Ok);
        connection.answer(&tag, &answer);
        if failures >= FAILURES {
            connection.bye("Too many failed logins");
            return Err(Gone::Done("too many failed logins"));
        }
    }
}

async fn capabilities(connection: &Connection) -> String {
    let mechanisms = connection.server.access.mechanisms().await;
    capability::before_login(connection.is_secured(), may_start_tls(connection), &mechanisms, &connection.wire.channel())
}

fn may_start_tls(connection: &Connection) -> bool {
    !connection.wire.is_tls() && connection.server.ctx.tls.is_available()
}

/// RFC 3501 §6.2.1. The machine has made sure that nothing came behind the command.
async fn start_tls(connection: &mut Connection, tag: &str) -> Result<(), Gone> {
    if !may_start_tls(connection) {
        let why = if connection.wire.is_tls() { "TLS is active already" } else { "TLS is not available" };
        connection.answer(tag, &Answer::bad(why));
        return Ok(());
    }
    connection.answer(tag, &Answer::ok("Begin TLS negotiation now"));
    connection.wire.flush().await?;
    connection.machine.tls_started();
    let tls = connection.server.ctx.tls.clone();
    Box::pin(connection.wire.start_tls(&tls)).await?;
    Ok(())
}

/// RFC 3501 §6.2.3.
async fn login(connection: &Connection, user: &str, password: &Secret) -> Result<AuthOk, Answer> {
    if !connection.is_secured() {
        tracing::info!("login refused: the password came in the clear");
        return Err(Answer::no("PRIVACYREQUIRED", "Passwords are taken only under TLS"));
    }
    let Some(request) = AuthRequest::with_password("imap", user, password.reveal()) else {
        return Err(Answer::bad("NUL in user name or password"));
    };
    let step = connection.server.access.auth.begin(about(connection, request)).await;
    match step {
        AuthStep::Ok(ok) => Ok(ok),
        AuthStep::Fail(fail) => Err(refused(&fail)),
        AuthStep::Continue(_) => Err(refused(&AuthFail { temporary: true, ..AuthFail::default() })),
    }
}

/// RFC 3501 §6.2.2, RFC 4959.
async fn authenticate(connection: &mut Connection, mechanism: &str, initial: Option<Secret>) -> Result<Result<AuthOk, Answer>, Gone> {
    let known = connection.server.access.mechanisms().await;
    let Some(found) = known.iter().find(|m| m.name.eq_ignore_ascii_case(mechanism)) else {
        return Ok(Err(Answer::no("CANNOT", "Mechanism is not supported")));
    };
    if !capability::offered(found, connection.is_secured(), &connection.wire.channel()) {
        return Ok(Err(Answer::no("PRIVACYREQUIRED", "Passwords are taken only under TLS")));
    }
    let request = AuthRequest {
        mechanism: mechanism.to_owned(),
        service: "imap",
        secured: false,
        remote: None,
        local: None,
        realm: String::new(),
        channel: Channel::default(),
        session: String::new(),
        initial: initial.map(|text| decoded(&text)),
    };
    let mut step = connection.server.access.auth.begin(about(connection, request)).await;
    loop {
        let pending = match step {
            AuthStep::Ok(ok) => return Ok(Ok(ok)),
            AuthStep::Fail(fail) => return Ok(Err(refused(&fail))),
            AuthStep::Continue(pending) => pending,
        };
        let challenge = connection.machine.challenge(&BASE64.encode(pending.challenge()));
        connection.wire.out.extend_from_slice(&challenge);
        let longest = connection.config.imapd.login_timeout;
        let response = match connection.next(longest).await? {
            Step::Sasl(Some(response)) => response,
            _ => {
                connection.machine.authentication_over();
                return Ok(Err(Answer::bad("Authentication aborted")));
            }
        };
        step = pending.answer(&decoded(&response)).await;
        connection.machine.authentication_over();
    }
}

/// The machine has checked that it is base64.
fn decoded(text: &Secret) -> zeroize::Zeroizing<Vec<u8>> {
    zeroize::Zeroizing::new(BASE64.decode(text.reveal()).unwrap_or_default())
}

fn about(connection: &Connection, request: AuthRequest) -> AuthRequest {
    AuthRequest {
        secured: connection.is_secured(),
        remote: connection.peer.addr,
        local: connection.peer.local,
        channel: connection.wire.channel(),
        session: connection.id.clone(),
        ..request
    }
}

/// Codes of RFC 5530 §3. The text is the same for unknown users and wrong passwords.
fn refused(fail: &AuthFail) -> Answer {
    let user = fail.user.as_deref().map(mail_types::printable).unwrap_or_default();
    let cause = fail.cause.as_deref().or(fail.code.as_deref()).unwrap_or_default();
    let reason = fail.reason.clone();
    let text = |usual: &'static str| reason.map_or(usual.into(), |reason| std::borrow::Cow::Owned(mail_types::printable(&reason)));
    if fail.temporary {
        tracing::error!(user, cause, "login could not be checked");
        return Answer::no("UNAVAILABLE", "Temporary authentication failure");
    }
    tracing::info!(user, cause, "login failed");
    if fail.malformed {
        Answer::bad("Invalid authentication data")
    } else if fail.user_disabled {
        Answer::no("CONTACTADMIN", text("Account is disabled"))
    } else if fail.password_expired {
        Answer::no("EXPIRED", text("Password has expired"))
    } else if fail.authorization {
        Answer::no("AUTHORIZATIONFAILED", text("Authorization failed"))
    } else {
        Answer::no("AUTHENTICATIONFAILED", text("Authentication failed"))
    }
}

/// The password is right: finds the account's mail.
async fn enter(connection: &Connection, ok: AuthOk) -> Result<Entered, Answer> {
    if ok.field("nologin").is_some() || ok.field("proxy").is_some() {
        return Err(elsewhere(&ok.user, referral::of_login(&ok)));
    }
    let user = match connection.server.access.userdb.lookup(&ok.user, "imap").await {
        Ok(Some(user)) => user,
        Ok(None) => {
            tracing::error!(user = %mail_types::printable(&ok.user), "the password is right, but the user database has no such account");
            return Err(Answer::no("UNAVAILABLE", "Account has no mailbox"));
        }
        Err(error) => {
            tracing::error!(user = %mail_types::printable(&ok.user), %error, "user database does not answer");
            return Err(Answer::no("UNAVAILABLE", "User database is not available"));
        }
    };
    if let Some(url) = user.field("referral") {
        return Err(elsewhere(&user.name, referral::checked(url)));
    }
    let location = location(&connection.config, &user).map_err(|why| {
        tracing::error!(user = %mail_types::printable(&user.name), why, "account cannot be served");
        Answer::no("UNAVAILABLE", "Account cannot be opened, see the server's log")
    })?;
    let limit = if connection.is_same_host() { 0 } else { connection.config.imapd.mail_max_userip_connections };
    let ip = connection.peer.addr.map(|addr| addr.ip());
    let Some(slot) = connection.server.count_login(&user.name, ip, limit) else {
        tracing::info!(user = %mail_types::printable(&user.name), limit, "too many connections of this account from this address");
        return Err(Answer::no("LIMIT", "Too many connections of this account from this address (mail_max_userip_connections)"));
    };
    let share = connection.server.access.share(location.root());
    let realm = open(connection, &user, location, &share).await?;
    tracing::info!(user = %mail_types::printable(&user.name), tls = connection.wire.is_tls(), "login");
    connection.server.access.usage.login(&user.name, "imap", ip);
    Ok(Entered { user: user.name.clone(), realm, share, slot })
}

/// RFC 2221 §4.1: only who has the password learns where the account is.
fn elsewhere(user: &str, url: Option<String>) -> Answer {
    tracing::info!(user = %mail_types::printable(user), url, "login refused: the account is not served here");
    match url {
        Some(url) => Answer::no(format!("REFERRAL {url}"), "Try this server instead"),
        None => Answer::no("UNAVAILABLE", "This account is not served here"),
    }
}

/// Where an account's mail lies.
pub fn location(config: &config::Config, user: &User) -> Result<Location, String> {
    // All mail of one installation belongs to one user; another uid means that somebody set up something else.
    let owner = config.mail.mail_uid;
    if let Some(uid) = user.uid.filter(|uid| owner != 0 && *uid != owner) {
        return Err(format!("the user database says uid {uid}, mail.mail_uid is {owner}"));
    }
    let template = user.mail.as_deref().unwrap_or(&config.mail.mail_location);
    let location = Location::expand(template, &user.name, user.home.as_deref());
    location.and_then(|location| location.apart_from(&config.imapd.public_mail_location)).map_err(|error| error.to_string())
}

async fn open(connection: &Connection, user: &User, location: Location, share: &Share) -> Result<Arc<Realm>, Answer> {
    let server = connection.server.clone();
    let config = connection.config.clone();
    let (bytes, messages) = config.mail.quota_limits(user.quota_bytes, user.quota_messages);
    let groups = user.field("acl_groups").unwrap_or_default();
    let groups = groups.split(',').map(str::trim).filter(|group| !group.is_empty()).map(str::to_owned).collect();
    let person = Person { user: user.name.clone(), groups };
    if config.imapd.public_mail_location.is_empty()
        && let Some(account) = server.lately.get(&location, Instant::now())
    {
        account.set_quota_limits(bytes, messages);
        let others = Others::new(&config);
        return Ok(Arc::new(Realm { account, person, acl: config.imapd.imap_acl, public: None, others }));
    }
    connection
        .server
        .access
        .blocking(share, move || {
            let account = server.store.account(&location)?;
            account.set_quota_limits(bytes, messages);
            if config.imapd.mailbox_auto != config::MailboxAuto::No && server.is_new_account(location.root()) {
                prepare(&account, &config);
            }
            server.lately.note(&location, &account, Instant::now());
            let public = public(&server, &config.imapd).unwrap_or_else(|error| {
                // one's own mail is there all the same
                tracing::error!(%error, "the public mailboxes cannot be opened");
                None
            });
            let others = Others::new(&config);
            Ok(Arc::new(Realm { account, person, acl: config.imapd.imap_acl, public, others }))
        })
        .await
}

/// The mailboxes of nobody, where the settings have some.
fn public(server: &Server, config: &config::Imapd) -> Result<Option<Public>, String> {
    if config.public_mail_location.is_empty() {
        return Ok(None);
    }
    let prefix = MailboxName::parse(&config.public_mailbox_prefix).map_err(|error| format!("public_mailbox_prefix: {error}"))?;
    let location = Location::expand(&config.public_mail_location, "public", None).map_err(|error| error.to_string())?;
    let account = server.store.account(&location).map_err(|error| error.to_string())?;
    Ok(Some(Public { prefix, account }))
}

/// Makes the mailboxes with a special use where they are missing. Who cannot have them can still read mail.
fn prepare(account: &Account, config: &config::Config) {
    for (_, name) in crate::names::special(&config.imapd) {
        let made = MailboxName::parse(name).map_err(|error| error.to_string()).and_then(|name| {
            if account.exists(&name).map_err(|error| error.to_string())? {
                return Ok(());
            }
            match account.create(&name) {
                Ok(()) | Err(mailstore::Error::AlreadyExists) => {}
                Err(error) => return Err(error.to_string()),
            }
            if config.imapd.mailbox_auto == config::MailboxAuto::Subscribe {
                account.subscribe(&name).map_err(|error| error.to_string())?;
            }
            Ok(())
        });
        if let Err(error) = made {
            tracing::warn!(mailbox = name, %error, "mailbox with a special use cannot be made");
        }
    }
}
