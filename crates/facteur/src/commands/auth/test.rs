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

/// What `doveadm auth test` ends with when the login fails.
const EXIT_REFUSED: u8 = 77;
/// And when nobody knows: a database is away, or authd.
const EXIT_TEMPORARY: u8 = 75;

/// Try a login as a mail program would; exit code 77: it is refused, 75: nobody can tell now
#[derive(Debug, clap::Args)]
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
    let verdict = log_in(&AuthClient::new(socket), arguments, &password).await?;
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
            AuthStep::Ok(ok) => return Ok(Ok(ok)),
            AuthStep::Fail(fail) => return Ok(Err(fail)),
        };
    }
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
