//! The clients and peers of the end-to-end tests, as `tests/peers.txt` names them.

use crate::tools;
use anyhow::Context as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a line of the file asks for.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Install(String),
    /// These are unpacked into one folder, which has the name of the first; only the libraries they need are installed.
    Unpack(Vec<String>),
}

/// Makes Debian's packages of the peers usable; `false` where that is not possible.
pub fn install() -> anyhow::Result<bool> {
    if !nix::unistd::geteuid().is_root() || !tools::is_installed("apt-get") {
        return Ok(false);
    }
    let path = tools::root().join("tests/peers.txt");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let missing: Vec<Line> = lines(&text).into_iter().filter(|line| !is_there(line)).collect();
    // A machine without a network still has most of the tests.
    let usable = get(&missing).and_then(|()| install_libraries());
    if let Err(error) = &usable {
        eprintln!("xtask: the peers cannot be installed, their tests are skipped: {error:#}");
    }
    Ok(usable.is_ok())
}

fn lines(text: &str) -> Vec<Line> {
    let meant = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    meant
        .map(|line| line.strip_prefix("unpack ").map_or_else(|| Line::Install(line.to_owned()), |rest| Line::Unpack(words(rest))))
        .collect()
}

fn is_there(line: &Line) -> bool {
    match line {
        Line::Install(package) => {
            let query = Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]).output();
            query.is_ok_and(|output| output.stdout == b"installed")
        }
        Line::Unpack(packages) => packages.first().is_none_or(|first| folder().join(first).is_dir()),
    }
}

/// Where the tests look for unpacked packages.
fn folder() -> PathBuf {
    tools::target().join("peers")
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-o", "Dpkg::Use-Pty=0"]);
    command
}

fn get(missing: &[Line]) -> anyhow::Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    tools::run(apt().arg("update"))?;
    let install = missing.iter().filter_map(|line| if let Line::Install(package) = line { Some(package) } else { None });
    let install: Vec<&String> = install.collect();
    if !install.is_empty() {
        tools::run(apt().args(["install", "-y", "--no-install-recommends"]).args(install))?;
    }
    for line in missing {
        if let Line::Unpack(packages) = line {
            unpack(packages)?;
        }
    }
    Ok(())
}

fn unpack(packages: &[String]) -> anyhow::Result<()> {
    let Some(first) = packages.first() else { return Ok(()) };
    let new = folder().join(format!("{first}.new"));
    if new.exists() {
        std::fs::remove_dir_all(&new).with_context(|| format!("cannot remove {}", new.display()))?;
    }
    std::fs::create_dir_all(&new).with_context(|| format!("cannot make {}", new.display()))?;
    tools::run(apt().arg("download").args(packages).current_dir(&new))?;
    for package in archives(&new)? {
        tools::run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&new))?;
    }
    // It is there once it has its name.
    std::fs::rename(&new, folder().join(first)).context("cannot name the folder of a peer")
}

fn archives(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let files = entries.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>()?;
    Ok(files.into_iter().filter(|file| file.extension().is_some_and(|e| e == "deb")).collect())
}

/// Each time: the unpacked packages may come from a cache, on a machine that never saw them.
fn install_libraries() -> anyhow::Result<()> {
    let mut wanted = String::new();
    for entry in std::fs::read_dir(folder()).into_iter().flatten() {
        for package in archives(&entry?.path())? {
            let output = Command::new("dpkg-deb").arg("-f").arg(&package).arg("Depends").output().context("cannot run dpkg-deb")?;
            wanted.push_str(&libraries(&String::from_utf8_lossy(&output.stdout)));
        }
    }
    if wanted.is_empty() { Ok(()) } else { tools::run(apt().args(["satisfy", "-y", "--no-install-recommends", &wanted])) }
}

/// Of a list of dependencies those that a program needs to run, each with a comma behind it.
fn libraries(depends: &str) -> String {
    // Where something else would do as well, as php-fpm for libapache2-mod-php, that is a matter of services.
    let wanted = |part: &&str| part.split(" | ").all(|name| name.starts_with("lib") || name.starts_with("perl"));
    let parts = depends.trim().split(", ").filter(wanted);
    parts.map(|part| format!("{part}, ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_installs_a_package_or_unpacks_some() {
        let text = "# peers\ncurl\n\nunpack exim4-daemon-light exim4-base\n";
        let unpack = Line::Unpack(vec!["exim4-daemon-light".into(), "exim4-base".into()]);
        assert_eq!(lines(text), [Line::Install("curl".into()), unpack]);
    }

    #[test]
    fn only_libraries_are_installed_for_what_is_unpacked() {
        let depends =
            "adduser, libapache2-mod-php | php-fpm, exim4-config (>= 4.94) | exim4-config-2, libc6 (>= 2.34), libdb5.3, perl:any\n";
        assert_eq!(libraries(depends), "libc6 (>= 2.34), libdb5.3, perl:any, ");
    }
}
