//! The folder of `facteur up`: what is made in it before anything starts.

use super::certificate;
use anyhow::Context as _;
use config::{Config, Endpoint};
use durable::OsDisk;
use mail_types::Domain;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Makes settings and certificate where they are missing, and gives the settings file. Says so on standard error when the ports in
/// existing settings are others than `port_base` asks for.
pub fn prepare(root: &Path, port_base: u16) -> anyhow::Result<PathBuf> {
    let etc = root.join("etc");
    make_folder(&etc.join("tls"))?;
    let file = etc.join("facteur.toml");
    let name = host_name();
    if !file.try_exists().with_context(|| format!("cannot look at {}", file.display()))? {
        // Durable: after a power cut an empty file would mean the default folders, and the mail would seem gone.
        durable::replace(&OsDisk, &file, settings(root, port_base, name.as_deref()).as_bytes(), 0o644)?;
    }
    let names = [name.unwrap_or_else(|| "localhost".into()), "localhost".into(), "127.0.0.1".into(), "::1".into()];
    let mut unique: Vec<String> = Vec::new();
    for name in names {
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    certificate::make(&etc.join("tls/cert.pem"), &etc.join("tls/key.pem"), &unique)?;
    if let Ok(config) = Config::load(&file)
        && !config.imapd.listen.iter().any(|e| matches!(e, Endpoint::Tcp(a) if a.port() == port_base + 143))
    {
        eprintln!("facteur: {} names other ports than --port-base {port_base}; the file is left as it is", file.display());
    }
    Ok(file)
}

/// The folders that the settings name.
pub fn make_folders(config: &Config) -> anyhow::Result<()> {
    let main = &config.main;
    for folder in [&main.spool_directory, &main.run_directory, &main.state_directory, &config.mail.virtual_mailbox_base] {
        make_folder(folder)?;
    }
    make_folder(&config.smtpd_state())?;
    make_folder(&config.socket("control"))
}

/// Held by the supervisor of a folder, so that there is one at a time.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "held for its drop only")] Flock<File>);

/// Waits ten seconds for another supervisor that may just be stopping.
pub async fn lock(config: &Config) -> anyhow::Result<Lock> {
    let path = config.socket("up.lock");
    let mut file =
        File::options().create(true).append(true).mode(0o600).open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    for _ in 0..200 {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Lock(lock)),
            Err((again, _)) => file = again,
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    anyhow::bail!("another `facteur up` runs in {}", config.main.run_directory.display())
}

fn make_folder(folder: &Path) -> anyhow::Result<()> {
    let folder = std::path::absolute(folder)?;
    durable::create_dir_all(&OsDisk, Path::new("/"), &folder, 0o700)?;
    Ok(())
}

/// The machine's name when it can be a mail server's name.
fn host_name() -> Option<String> {
    let name = nix::unistd::gethostname().ok()?.into_string().ok()?;
    Domain::parse(&name).ok().map(|domain| domain.to_string())
}

fn settings(root: &Path, base: u16, host_name: Option<&str>) -> String {
    let hostname = if host_name.is_some() { "# hostname = \"\"" } else { "hostname = \"localhost\"" };
    let port = |offset: u16| format!("[\"127.0.0.1:{}\"]", base + offset);
    let (smtp, submission, submissions) = (port(525), port(587), port(465));
    let (imap, imaps, pop3, pop3s) = (port(143), port(993), port(110), port(995));
    let mail = config::value::quote(&format!("maildir:{}/%d/%n/Maildir", root.join("mail").display()));
    format!(
        "# Written by `facteur up` for a server in one folder, and left alone since. What is not here has its default:\n\
         # `facteur --root DIR config show` prints everything. Files conf.d/*.toml are read after this one.\n\
         \n\
         {hostname}\n\
         spool_directory = \"../spool\"\n\
         run_directory = \"../run\"\n\
         state_directory = \"../state\"\n\
         \n\
         [tls]\n\
         cert_file = \"tls/cert.pem\"\n\
         key_file = \"tls/key.pem\"\n\
         \n\
         [mail]\n\
         virtual_mailbox_base = \"../mail\"\n\
         mail_location = {mail}\n\
         # 0: whoever runs this.\n\
         mail_uid = 0\n\
         mail_gid = 0\n\
         \n\
         [smtpd]\n\
         # Nobody may relay without logging in, this machine included.\n\
         mynetworks = []\n\
         mynetworks_style = \"none\"\n\
         \n\
         [smtpd.service.smtp]\n\
         listen = {smtp}\n\
         \n\
         [smtpd.service.submission]\n\
         listen = {submission}\n\
         \n\
         [smtpd.service.submissions]\n\
         listen = {submissions}\n\
         \n\
         [imapd]\n\
         listen = {imap}\n\
         listen_tls = {imaps}\n\
         \n\
         [pop3d]\n\
         listen = {pop3}\n\
         listen_tls = {pop3s}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_settings_are_sound_and_kept() {
        let dir = tempfile::tempdir().expect("directory");
        let file = prepare(dir.path(), 2000).expect("prepared");
        let config = Config::load(&file).expect("sound");
        assert_eq!(config.imapd.listen_tls, [Endpoint::Tcp("127.0.0.1:2993".parse().expect("address"))]);
        assert_eq!(config.services["smtp"].listener.listen, [Endpoint::Tcp("127.0.0.1:2525".parse().expect("address"))]);
        assert_eq!(config.main.run_directory, dir.path().join("run"));
        assert_eq!(config.mail.virtual_mailbox_base, dir.path().join("mail"));
        assert!(config.tls.cert_file.exists() && config.tls.key_file.exists());
        std::fs::write(&file, "hostname = \"mine.test\"\n").expect("write");
        prepare(dir.path(), 2000).expect("prepared");
        assert_eq!(std::fs::read_to_string(&file).expect("read"), "hostname = \"mine.test\"\n");
    }
}
