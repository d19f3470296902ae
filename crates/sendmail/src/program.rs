//! What the command does, and its exit codes (sysexits(3)).

use crate::options::{self, Mode, Options};
use crate::privilege::Privilege;
use crate::submit::{self, Failure, Partly, Submitted};
use crate::{Letter, compose, maildrop};
use config::Config;
use mail_types::{Domain, Reply, printable};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::statvfs::statvfs;
use nix::unistd::{User, getuid};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

const EX_USAGE: u8 = 64;
const EX_DATAERR: u8 = 65;
const EX_NOUSER: u8 = 67;
const EX_UNAVAILABLE: u8 = 69;
const EX_OSERR: u8 = 71;
const EX_IOERR: u8 = 74;
const EX_TEMPFAIL: u8 = 75;
const EX_CONFIG: u8 = 78;

const SETTINGS_FILE: &str = "/etc/facteur/facteur.toml";

/// Why not: an exit code, and words for standard error.
type Stop = (u8, String);

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, why)) => {
            // Nobody may be there to read it.
            let _ = writeln!(std::io::stderr(), "sendmail: {}", printable(&why));
            ExitCode::from(code)
        }
    }
}

fn run() -> Result<(), Stop> {
    let mut privilege = Privilege::put_aside().map_err(|error| (EX_OSERR, format!("cannot put the group aside: {error}")))?;
    let arguments: Vec<String> = std::env::args_os().map(|a| String::from_utf8_lossy(a.as_bytes()).into_owned()).collect();
    let options = options::parse(&arguments).map_err(|why| (EX_USAGE, why))?;
    // Settings of the caller's choice name a folder of the caller's choice.
    if options.root.is_some() || options.config.is_some() {
        privilege.give_up().map_err(|error| (EX_OSERR, format!("cannot give the group up: {error}")))?;
    }
    match options.mode {
        Mode::Deliver => deliver(&options, &privilege),
        Mode::Smtp => converse(&settings(&options)?),
        Mode::Queue => facteur(&options, &mut privilege, &["queue", "list", "--mailq"]),
        Mode::Aliases => facteur(&options, &mut privilege, &["map", "compile"]),
        Mode::Flush => match (&options.flush_id, &options.flush_site) {
            (Some(id), _) => facteur(&options, &mut privilege, &["queue", "flush", "--", id]),
            (_, Some(site)) => facteur(&options, &mut privilege, &["queue", "flush", &format!("--site={site}")]),
            _ => facteur(&options, &mut privilege, &["queue", "flush"]),
        },
        Mode::Refused(letter) => {
            Err((EX_USAGE, format!("-b{letter} is not for this program: the server is started by systemd, or by `facteur up`")))
        }
        Mode::Help => {
            println!("usage: sendmail [--root DIR | --config FILE] [-t] [-i] [-f SENDER] [-F NAME] [RECIPIENT...]; or -bs, -bp, -bi, -q");
            Ok(())
        }
        Mode::Version => {
            println!("facteur-sendmail {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    }
}

fn settings(options: &Options) -> Result<Config, Stop> {
    let file = match (&options.root, &options.config) {
        (Some(root), _) => root.join("etc/facteur.toml"),
        (_, Some(file)) => file.clone(),
        _ => PathBuf::from(SETTINGS_FILE),
    };
    Config::load(&file).map_err(|report| (EX_CONFIG, report.to_string()))
}

/// Who calls, by the kernel and the list of users.
struct Caller {
    login: String,
    name: String,
}

fn caller() -> Caller {
    let uid = getuid();
    match User::from_uid(uid) {
        Ok(Some(user)) => {
            let full = user.gecos.to_string_lossy();
            // The first field; `&` stands for the login name (passwd(5) of old).
            let full = full.split(',').next().unwrap_or_default().replace('&', &user.name);
            Caller { login: user.name, name: full }
        }
        _ => Caller { login: format!("uid-{uid}"), name: String::new() },
    }
}

fn deliver(options: &Options, privilege: &Privilege) -> Result<(), Stop> {
    if options.from_header && !options.recipients.is_empty() {
        return Err((EX_USAGE, "recipients are named by the header with -t, or on the command line, not both".into()));
    }
    if !options.from_header && options.recipients.is_empty() {
        return Err((EX_USAGE, "no recipients: name them, or have the header do so with -t".into()));
    }
    let config = settings(options)?;
    let letters = letters(options, &config)?;
    let socket = submit_socket(&config);
    for (n, letter) in letters.iter().enumerate() {
        let verbose = options.verbose;
        let mut heard = |line: &str| {
            if verbose {
                let _ = writeln!(std::io::stderr(), "{}", printable(line));
            }
        };
        match submit::submit(&socket, letter, Partly::Never, &mut heard) {
            Ok(Submitted { accepted: Some(_), .. }) => {}
            // The first part has gone: the others are not lost by what is wrong with one of them.
            Ok(Submitted { accepted: None, .. }) | Err(Failure::Refused(_)) if n > 0 => keep(&config, letter, privilege)?,
            Ok(Submitted { accepted: None, refused }) => return Err(all_refused(letter, &refused)),
            Err(Failure::Refused(reply)) => return Err((EX_UNAVAILABLE, reply.to_string())),
            Err(Failure::Away(why) | Failure::Later(why)) => {
                heard(&format!("kept for later: {why}"));
                keep(&config, letter, privilege)?;
            }
        }
    }
    Ok(())
}

fn all_refused(letter: &Letter, refused: &[(usize, Reply)]) -> Stop {
    let unknown = |reply: &Reply| reply.enhanced().is_some_and(|e| e.1 == 1 && e.2 == 1);
    let code = if refused.iter().all(|(_, reply)| unknown(reply)) { EX_NOUSER } else { EX_UNAVAILABLE };
    let told = refused.iter().take(10).map(|(at, reply)| format!("{}: {reply}", letter.recipients[*at]));
    (code, format!("nothing was sent: {}", told.collect::<Vec<_>>().join("; ")))
}

/// The message with its envelope, in parts of as many recipients as smtpd takes at once.
fn letters(options: &Options, config: &Config) -> Result<Vec<Letter>, Stop> {
    let origin = Domain::parse(&config.main.myorigin).map_err(|error| (EX_CONFIG, format!("myorigin: {error}")))?;
    let bad = |why: String| (EX_DATAERR, why);
    let caller = caller();
    let own = || compose::address(&caller.login, &origin).map_err(bad);
    let sender = match options.sender.as_deref().map(str::trim) {
        Some("" | "<>") => None,
        Some(text) => Some(compose::address(text, &origin).map_err(bad)?),
        None => Some(own()?),
    };
    let limit = service(config).message_size_limit.0;
    let message = compose::read(std::io::stdin().lock(), limit, options.dots_are_text).map_err(|fault| match fault {
        compose::Fault::TooLarge(limit) => (EX_UNAVAILABLE, format!("the message is larger than message_size_limit, {limit} octets")),
        compose::Fault::Input(error) => (EX_IOERR, format!("standard input: {error}")),
    })?;
    let mut recipients = Vec::new();
    if options.from_header {
        recipients = compose::recipients(&message, &origin).map_err(bad)?;
    }
    for text in &options.recipients {
        recipients.extend(compose::addresses(text.as_bytes(), &origin).map_err(bad)?);
    }
    let mut seen = std::collections::HashSet::new();
    recipients.retain(|r| seen.insert(r.clone()));
    if recipients.is_empty() {
        return Err((EX_USAGE, "the message names no recipients".into()));
    }
    if recipients.len() > compose::MAX_RECIPIENTS {
        return Err((EX_UNAVAILABLE, format!("more than {} recipients", compose::MAX_RECIPIENTS)));
    }
    let (seconds, random) = moment()?;
    let message = compose::complete_header(
        &message,
        &compose::Additions {
            from: &sender.clone().map_or_else(own, Ok)?.to_string(),
            name: options.full_name.as_deref().unwrap_or(&caller.name),
            date: &date(seconds),
            message_id: &message::trace::message_id(seconds, random, &config.main.hostname),
        },
    );
    let most = service(config).smtpd_recipient_limit as usize;
    let parts = recipients.chunks(most.max(1)).map(|recipients| Letter {
        sender: sender.clone(),
        recipients: recipients.to_vec(),
        notify: options.notify.clone(),
        ret: options.ret.clone(),
        envid: options.envid.clone(),
        require_tls: options.require_tls,
        message: message.clone(),
    });
    Ok(parts.collect())
}

/// Seconds since 1970, and a random number.
fn moment() -> Result<(u64, u64), Stop> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    Ok((seconds, getrandom::u64().map_err(|error| (EX_OSERR, format!("no random numbers: {error}")))?))
}

/// In the zone of this machine; the environment is not asked.
fn date(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let zone = std::fs::read("/etc/localtime").ok().and_then(|data| jiff::tz::TimeZone::tzif("local", &data).ok());
    let offset = zone.zip(jiff::Timestamp::from_second(seconds).ok()).map_or(0, |(zone, at)| zone.to_offset(at).seconds());
    message::Date::new(seconds, i16::try_from(offset / 60).unwrap_or(0)).to_string()
}

/// The settings of the listener that is for us.
fn service(config: &Config) -> &config::Smtpd {
    config.services.get("submit").map_or(&config.smtpd, |service| &service.smtpd)
}

fn submit_socket(config: &Config) -> PathBuf {
    let endpoints = config.services.get("submit").map(|service| service.listener.listen.as_slice()).unwrap_or_default();
    let unix = endpoints.iter().find_map(|endpoint| match endpoint {
        config::Endpoint::Unix(path) => Some(path.clone()),
        config::Endpoint::Tcp(_) => None,
    });
    unix.unwrap_or_else(|| config.socket("submit"))
}

fn keep(config: &Config, letter: &Letter, privilege: &Privilege) -> Result<(), Stop> {
    let (seconds, random) = moment()?;
    let folder = config.main.spool_directory.join("maildrop");
    let kept = privilege.lend(|| {
        enough_space(&folder, config)?;
        maildrop::keep(&folder, &maildrop::name(seconds, random), letter)
    });
    kept.map_err(|error| (EX_TEMPFAIL, format!("the message is not kept: {}: {error}", folder.display())))
}

/// The queue needs room for itself; local users must not fill it up.
fn enough_space(folder: &Path, config: &Config) -> std::io::Result<()> {
    let smtpd = service(config);
    let floor = smtpd.queue_minfree.0.max(smtpd.message_size_limit.0.saturating_mul(3) / 2);
    let disk = statvfs(folder)?;
    let free = disk.blocks_available().saturating_mul(disk.fragment_size());
    if free < floor { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
}

/// `-bs`: what stands at both ends is SMTP already.
fn converse(config: &Config) -> Result<(), Stop> {
    let away = |error: std::io::Error| {
        println!("421 4.3.2 {} Service not available, try again later\r", config.main.hostname);
        (EX_TEMPFAIL, format!("smtpd does not answer: {error}"))
    };
    let mut server = UnixStream::connect(submit_socket(config)).map_err(away)?;
    let broken = |error: std::io::Error| (EX_TEMPFAIL, format!("the conversation with smtpd broke off: {error}"));
    let (mut input, mut output) = (std::io::stdin(), std::io::stdout());
    let mut buffer = vec![0; 64 << 10];
    let mut open = true;
    loop {
        let (mut hears, mut answers) = (false, false);
        {
            let mut ends = vec![PollFd::new(server.as_fd(), PollFlags::POLLIN)];
            if open {
                ends.push(PollFd::new(input.as_fd(), PollFlags::POLLIN));
            }
            match poll(&mut ends, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                result => drop(result.map_err(|error| broken(error.into()))?),
            }
            answers |= ends[0].any().unwrap_or(true);
            hears |= ends.get(1).is_some_and(|end| end.any().unwrap_or(true));
        }
        if answers {
            match server.read(&mut buffer).map_err(broken)? {
                0 => return Ok(()),
                count => output.write_all(&buffer[..count]).and_then(|()| output.flush()).map_err(|e| (EX_IOERR, e.to_string()))?,
            }
        }
        if hears {
            match input.read(&mut buffer).map_err(|e| (EX_IOERR, e.to_string()))? {
                0 => {
                    open = false;
                    server.shutdown(std::net::Shutdown::Write).map_err(broken)?;
                }
                count => server.write_all(&buffer[..count]).map_err(broken)?,
            }
        }
    }
}

/// Becomes the administrator's command, with the caller's rights only.
fn facteur(options: &Options, privilege: &mut Privilege, arguments: &[&str]) -> Result<(), Stop> {
    privilege.give_up().map_err(|error| (EX_OSERR, format!("cannot give the group up: {error}")))?;
    let own = std::env::current_exe().map_err(|error| (EX_OSERR, format!("where am I? {error}")))?;
    let folder = own.parent().unwrap_or(Path::new("/"));
    // Beside us in a folder of built programs; in ../../bin for an installation (PREFIX/lib/facteur).
    let places = [folder.join("facteur"), folder.join("../../bin/facteur")];
    let program = places.iter().find(|place| place.is_file()).ok_or((EX_UNAVAILABLE, "the program facteur is not there".to_owned()))?;
    let mut command = Command::new(program);
    if let Some(root) = &options.root {
        command.arg("--root").arg(root);
    }
    if let Some(file) = &options.config {
        command.arg("--config").arg(file);
    }
    Err((EX_OSERR, format!("{}: {}", program.display(), command.args(arguments).exec())))
}
