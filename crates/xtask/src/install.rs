//! `cargo xtask install`: the files of a release, where an installation has them.

use crate::tools;
use anyhow::Context as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Build for release and install: programs, units, users and folders for systemd, settings, manual pages, completions
///
/// With --destdir nothing else on the machine is touched, as packages want it. Existing settings are kept.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where programs, units and pages go
    #[arg(long, default_value = "/usr/local")]
    prefix: PathBuf,
    /// A folder that stands in front of every path
    #[arg(long)]
    destdir: Option<PathBuf>,
    /// Install what was built before
    #[arg(long)]
    no_build: bool,
    /// The folder of the built programs [default: target/release]
    #[arg(long)]
    built: Option<PathBuf>,
}

struct Places {
    destdir: PathBuf,
    prefix: PathBuf,
}

impl Places {
    /// A place below the prefix.
    fn prefix(&self, path: &str) -> PathBuf {
        self.at(&self.prefix.join(path))
    }

    fn at(&self, path: &Path) -> PathBuf {
        self.destdir.join(path.strip_prefix("/").unwrap_or(path))
    }
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    anyhow::ensure!(arguments.prefix.is_absolute(), "--prefix must be an absolute path");
    if !arguments.no_build {
        tools::run(tools::cargo().args(["build", "--release"]))?;
    }
    let destdir = match &arguments.destdir {
        Some(folder) => std::path::absolute(folder)?,
        None => PathBuf::from("/"),
    };
    let places = Places { destdir, prefix: arguments.prefix.clone() };
    let built = arguments.built.clone().unwrap_or_else(|| tools::target().join("release"));
    for daemon in tools::DAEMONS {
        copy(&built.join(daemon), &places.prefix("lib/facteur").join(daemon), 0o755)?;
    }
    copy(&built.join("facteur"), &places.prefix("bin/facteur"), 0o755)?;
    // Its group and mode are a matter of tmpfiles.d, once the group is there.
    copy(&built.join("facteur-sendmail"), &places.prefix("lib/facteur/facteur-sendmail"), 0o755)?;
    for name in ["sbin/sendmail", "bin/mailq", "bin/newaliases"] {
        link(&places.prefix(name))?;
    }
    units(&places)?;
    settings(&places)?;
    let facteur = places.prefix("bin/facteur");
    let pages = places.prefix("share/man/man1");
    make_folder(&pages)?;
    tools::output(Command::new(&facteur).arg("man").arg("--out").arg(&pages))?;
    for (shell, place) in [
        ("bash", "share/bash-completion/completions/facteur"),
        ("zsh", "share/zsh/site-functions/_facteur"),
        ("fish", "share/fish/vendor_completions.d/facteur.fish"),
    ] {
        let text = tools::output(Command::new(&facteur).args(["completions", shell]))?;
        write(&places.prefix(place), &text, 0o644)?;
    }
    println!("installed below {}", places.at(&places.prefix).display());
    if arguments.destdir.is_none() {
        println!(
            "next: systemd-sysusers && systemd-tmpfiles --create, then the settings, then systemctl daemon-reload && systemctl enable --now facteur.target"
        );
    }
    Ok(())
}

fn units(places: &Places) -> anyhow::Result<()> {
    let source = tools::root().join("systemd");
    let programs = format!("{}/lib/facteur/", places.prefix.display());
    for ending in [".service", ".socket", ".target"] {
        for unit in tools::files(&source, ending)? {
            let text = std::fs::read_to_string(&unit).with_context(|| format!("cannot read {}", unit.display()))?;
            let text = text.replace("/usr/lib/facteur/", &programs);
            let name = unit.file_name().unwrap_or_default();
            write(&places.prefix("lib/systemd/system").join(name), &text, 0o644)?;
        }
    }
    copy(&source.join("sysusers.conf"), &places.prefix("lib/sysusers.d/facteur.conf"), 0o644)?;
    let text = std::fs::read_to_string(source.join("tmpfiles.conf")).context("cannot read systemd/tmpfiles.conf")?;
    write(&places.prefix("lib/tmpfiles.d/facteur.conf"), text.replace("/usr/lib/facteur/", &programs), 0o644)
}

/// Makes `place` another name of facteur-sendmail. What another mail server has put there stays.
fn link(place: &Path) -> anyhow::Result<()> {
    let target = Path::new("../lib/facteur/facteur-sendmail");
    if std::fs::read_link(place).is_ok_and(|found| found == target) {
        return Ok(());
    }
    make_folder(place.parent().unwrap_or(Path::new("/")))?;
    match std::os::unix::fs::symlink(target, place) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            println!("{} is kept; to use Facteur's, make it a link to {}", place.display(), target.display());
            Ok(())
        }
        result => result.with_context(|| format!("cannot link {}", place.display())),
    }
}

fn settings(places: &Places) -> anyhow::Result<()> {
    let place = places.at(Path::new("/etc/facteur/facteur.toml"));
    if place.exists() {
        println!("{} is kept", place.display());
    } else {
        copy(&tools::root().join("etc/facteur.toml"), &place, 0o644)?;
    }
    let etc = tools::root().join("etc");
    for table in tools::files(&etc, "")? {
        let name = table.strip_prefix(&etc).unwrap_or(&table);
        copy(&table, &places.prefix("share/doc/facteur/examples").join(name), 0o644)?;
    }
    Ok(())
}

fn make_folder(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

fn copy(from: &Path, to: &Path, mode: u32) -> anyhow::Result<()> {
    let bytes = std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    write(to, bytes, mode)
}

/// Beside its place and then in it, so that a program that runs is replaced and not overwritten.
fn write(to: &Path, bytes: impl AsRef<[u8]>, mode: u32) -> anyhow::Result<()> {
    make_folder(to.parent().unwrap_or(Path::new("/")))?;
    let new = to.with_file_name(format!(".{}.new", to.file_name().unwrap_or_default().to_string_lossy()));
    std::fs::write(&new, bytes).with_context(|| format!("cannot write {}", new.display()))?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode))?;
    std::fs::rename(&new, to).with_context(|| format!("cannot write {}", to.display()))
}
