//! `facteur auth test`: would this login succeed? authd is asked, as a mail program would have it asked.

use crate::cli::Globals;
use crate::password;
use anyhow::{Context as _, bail};
use ipc::auth::{AuthClient, AuthFail, AuthOk, AuthRequest, AuthStep, Channel};
use mail_types::{Secret, printable};
use serde_json::json;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;
use tokio::task::JoinSet;

/// What `doveadm auth test` ends with when the login fails.
const EXIT_REFUSED: u8 = 77;
/// And when nobody knows: a database is away, or authd.
const EXIT_TEMPORARY: u8 = 75;

/// Try a login as a mail program would; exit code 77: it is refused, 75: nobody can tell now
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    user: String,
    /// Asked for, or read from standard input, when it is not given; other users of this machine can see it while the command runs
    password: Option<String>,
    /// The mechanism: PLAIN, LOGIN, SCRAM-SHA-256, SCRAM-SHA-1 or CRAM-MD5
    #[arg(short = 'M', long, default_value = "PLAIN")]
    mechanism: String,
    /// As whom to log in, with the password of USER
    #[arg(long, value_name = "USER", default_value = "")]
    authorize: String,
    #[arg(long, default_value = "imap", value_parser = ["imap", "pop3", "smtp"])]
    service: String,
    /// The client's address, for users that may log in from some only
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,
    /// Log in so often, and tell how many logins a second that makes
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// With --count: so many logins at a time, over one connection
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    parallel: u32,
    /// The socket [default: `auth` in run_directory]
    #[arg(short = 'a', long, value_name = "SOCKET")]
    socket: Option<PathBuf>,
}

pub async fn run(globals: &Globals, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let socket = match &arguments.socket {
        Some(socket) => socket.clone(),
        None => globals.settings()?.socket("auth"),
    };
    let password = match &arguments.password {
        Some(password) => Secret::new(password.clone()),
        None => Secret::new(&**password::known("Password: ")?),
    };
    let client = AuthClient::new(socket);
    if arguments.count > 1 {
        return measure(globals, &client, arguments, &password).await;
    }
    let verdict = log_in(&client, arguments, &password).await?;
    let code = match &verdict {
        Ok(_) => ExitCode::SUCCESS,
        Err(fail) if fail.temporary => ExitCode::from(EXIT_TEMPORARY),
        Err(_) => ExitCode::from(EXIT_REFUSED),
    };
    match globals.json {
        true => println!("{}", as_json(&verdict)),
        false => tell(&arguments.user, &verdict),
    }
    Ok(code)
}

async fn log_in(client: &AuthClient, arguments: &Arguments, password: &Secret) -> anyhow::Result<Result<AuthOk, AuthFail>> {
    let service = match arguments.service.as_str() {
        "pop3" => "pop3",
        "smtp" => "smtp",
        _ => "imap",
    };
    let request = |initial| AuthRequest {
        mechanism: arguments.mechanism.to_ascii_uppercase(),
        service,
        secured: true,
        remote: arguments.ip.map(|ip| SocketAddr::new(ip, 0)),
        local: None,
        realm: String::new(),
        channel: Channel::default(),
        session: String::new(),
        initial,
    };
    if !arguments.authorize.is_empty() {
        if !arguments.mechanism.eq_ignore_ascii_case("PLAIN") {
            bail!("--authorize goes with PLAIN");
        }
        let message = format!("{}\0{}\0{}", arguments.authorize, arguments.user, password.reveal());
        return Ok(client.login(request(Some(message.into_bytes().into()))).await);
    }
    let nonce = format!("{:032x}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos());
    let side = sasl::client::choose([arguments.mechanism.as_str()], &arguments.user, password, &nonce);
    let mut side = side.with_context(|| format!("{} is not known here", printable(&arguments.mechanism)))?;
    let mut step = client.begin(request(side.initial())).await;
    loop {
        step = match step {
            AuthStep::Continue(pending) => {
                let answer = side.respond(pending.challenge())?;
                pending.answer(&answer).await
            }
            AuthStep::Ok(_) if !side.finished() => {
                bail!("authd says that the login succeeds, but does not show that it knows the password")
            }
            AuthStep::Ok(ok) => return Ok(Ok(ok)),
            AuthStep::Fail(fail) => return Ok(Err(fail)),
        };
    }
}

/// Many logins, some at a time. Fails when some succeeded and others did not.
async fn measure(globals: &Globals, client: &AuthClient, arguments: &Arguments, password: &Secret) -> anyhow::Result<ExitCode> {
    let shared = Arc::new((arguments.clone(), AtomicU32::new(arguments.count)));
    let began = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..arguments.parallel {
        let (shared, client, password) = (shared.clone(), client.clone(), password.clone());
        workers.spawn(async move {
            let (arguments, left) = &*shared;
            let mut counts = (0u32, 0u32);
            while left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
                match log_in(&client, arguments, &password).await? {
                    Ok(_) => counts.0 += 1,
                    Err(_) => counts.1 += 1,
                }
            }
            anyhow::Ok(counts)
        });
    }
    let (mut succeeded, mut failed) = (0, 0);
    for counts in workers.join_all().await {
        let (more, lost) = counts?;
        (succeeded, failed) = (succeeded + more, failed + lost);
    }
    let seconds = began.elapsed().as_secs_f64();
    let rate = f64::from(arguments.count) / seconds.max(1e-9);
    match globals.json {
        true => println!("{}", json!({ "succeeded": succeeded, "failed": failed, "seconds": seconds, "per_second": rate })),
        false => println!("{succeeded} logins succeeded and {failed} failed in {seconds:.2} s: {rate:.0} a second"),
    }
    Ok(if failed == 0 || succeeded == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(user: &str, verdict: &Result<AuthOk, AuthFail>) {
    match verdict {
        Ok(ok) => {
            println!("{}: the login succeeds", printable(user));
            println!("user={}", printable(&ok.user));
            ok.fields.iter().for_each(|(name, value)| println!("{}={}", printable(name), printable(value)));
        }
        Err(fail) => {
            let what = if fail.temporary { "cannot be decided now" } else { "fails" };
            let why = fail.cause.as_deref().or(fail.reason.as_deref()).or(fail.code.as_deref());
            match why {
                Some(why) => println!("{}: the login {what}: {}", printable(user), printable(why)),
                None => println!("{}: the login {what}; authd's log says why (facteur log)", printable(user)),
            }
        }
    }
}

fn as_json(verdict: &Result<AuthOk, AuthFail>) -> serde_json::Value {
    match verdict {
        Ok(ok) => {
            json!({ "success": true, "user": ok.user, "fields": ok.fields.iter().cloned().collect::<std::collections::BTreeMap<_, _>>() })
        }
        Err(fail) => json!({ "success": false, "temporary": fail.temporary, "code": fail.code, "reason": fail.reason }),
    }
}
