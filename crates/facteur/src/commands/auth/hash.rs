//! `facteur auth hash`: a password as it is stored, with `doveadm pw`'s options.

use crate::cli::Globals;
use crate::{password, table};
use anyhow::bail;
use serde_json::json;
use std::process::ExitCode;
use zeroize::Zeroizing;

/// Hash a password, for a users file or `facteur user add --hash`; the password is asked for, or read from standard input when that is
/// no terminal
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The scheme; .HEX or .B64 behind it says how the hash is written
    #[arg(short, long, default_value = "ARGON2ID")]
    scheme: String,
    /// The password; other users of this machine can see it while the command runs
    #[arg(short, long, value_name = "PASSWORD")]
    password: Option<String>,
    /// How much a hash costs: rounds, or the exponent of BLF-CRYPT and YESCRYPT
    #[arg(short, long)]
    rounds: Option<u32>,
    /// Tell whether the password fits this hash instead of making one (exit code 1: it does not)
    #[arg(short, long, value_name = "{SCHEME}HASH", conflicts_with_all = ["rounds", "list"])]
    test: Option<String>,
    /// List the schemes that are understood
    #[arg(short, long)]
    list: bool,
}

pub fn run(globals: &Globals, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.list {
        return list(globals);
    }
    if let Some(stored) = &arguments.test {
        let password = given(arguments, || password::known("Password: "))?;
        let right = passwords::verify(stored, "CRYPT", &password)?;
        match globals.json {
            true => println!("{}", json!({ "verified": right, "scheme": passwords::scheme_of(stored, "CRYPT") })),
            false => println!("{}", if right { "the password is right" } else { "the password is wrong" }),
        }
        return Ok(if right { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let password = given(arguments, || password::new("New password: ", false))?;
    if password.chars().any(char::is_control) {
        bail!("the password has a control character");
    }
    let hash = passwords::hash(&arguments.scheme, &password, arguments.rounds.or_else(|| usual_rounds(globals, &arguments.scheme)))?;
    match globals.json {
        true => println!("{}", json!({ "hash": hash })),
        false => println!("{hash}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// What the settings say, so that users hashed here look like all others; hashes can be made without a server as well.
fn usual_rounds(globals: &Globals, scheme: &str) -> Option<u32> {
    let is_scram = scheme.to_ascii_uppercase().starts_with("SCRAM-");
    is_scram.then(|| globals.settings().ok().map(|settings| settings.authd.auth_scram_iterations)).flatten()
}

fn given(arguments: &Arguments, ask: impl FnOnce() -> anyhow::Result<Zeroizing<String>>) -> anyhow::Result<Zeroizing<String>> {
    match &arguments.password {
        Some(password) if password.is_empty() => bail!("the password is empty"),
        Some(password) => Ok(Zeroizing::new(password.clone())),
        None => ask(),
    }
}

fn list(globals: &Globals) -> anyhow::Result<ExitCode> {
    if globals.json {
        let all: Vec<_> = passwords::schemes().map(|(scheme, made)| json!({ "scheme": scheme, "new": made })).collect();
        println!("{}", serde_json::Value::from(all));
        return Ok(ExitCode::SUCCESS);
    }
    let rows = passwords::schemes().map(|(scheme, made)| vec![scheme.to_owned(), if made { "yes" } else { "no" }.to_owned()]);
    table::print(&["SCHEME", "NEW PASSWORDS"], rows);
    Ok(ExitCode::SUCCESS)
}
