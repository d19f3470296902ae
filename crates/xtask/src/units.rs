//! The systemd units: judged by systemd's own tools, without a running systemd.

use crate::tools;
use anyhow::Context as _;
use std::path::Path;
use std::process::Command;

/// 2.0 on systemd's scale from 0 (safe) to 10.
const THRESHOLD: &str = "20";

/// What systemd-analyze has against the units, as sentences; `None` when it is not installed.
pub fn problems() -> anyhow::Result<Option<Vec<String>>> {
    if !tools::is_installed("systemd-analyze") {
        return Ok(None);
    }
    let mut problems = Vec::new();
    for unit in tools::files(&tools::root().join("systemd"), ".service")? {
        let mut command = Command::new("systemd-analyze");
        command.args(["security", "--offline=true", "--no-pager"]).arg(format!("--threshold={THRESHOLD}")).arg(&unit);
        let output = command.output().context("cannot run systemd-analyze")?;
        if !output.status.success() {
            let verdict = String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned();
            problems.push(format!("{}: {verdict}", unit.display()));
        }
    }
    problems.extend(verify()?);
    Ok(Some(problems))
}

/// `systemd-analyze verify` in a root of its own, with something to execute where ExecStart says.
fn verify() -> anyhow::Result<Vec<String>> {
    let root = tools::target().join("verify-units");
    let units = root.join("usr/lib/systemd/system");
    let programs = root.join("usr/lib/facteur");
    for folder in [&units, &programs, &root.join("bin"), &root.join("etc")] {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut names = Vec::new();
    for ending in [".service", ".socket", ".target"] {
        for unit in tools::files(&tools::root().join("systemd"), ending)? {
            let name = unit.file_name().unwrap_or_default().to_string_lossy().into_owned();
            std::fs::copy(&unit, units.join(&name)).with_context(|| format!("cannot copy {}", unit.display()))?;
            names.push(name);
        }
    }
    // Targets that every unit has a dependency on.
    for target in
        ["sysinit", "basic", "sockets", "shutdown", "network", "network-online", "multi-user", "paths", "timers", "slices", "local-fs"]
    {
        std::fs::write(units.join(format!("{target}.target")), "[Unit]\nDescription=Made for a check\n")?;
    }
    for daemon in tools::DAEMONS {
        executable(&programs.join(daemon))?;
    }
    executable(&root.join("bin/kill"))?;
    let mut command = Command::new("systemd-analyze");
    command.arg("verify").arg("--man=no").arg(format!("--root={}", root.display())).args(&names);
    let output = command.output().context("cannot run systemd-analyze")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(said.lines().filter(|line| names.iter().any(|name| line.contains(name.as_str()))).map(str::to_owned).collect())
}

fn executable(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, "#!/bin/sh\n").with_context(|| format!("cannot write {}", path.display()))?;
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?)
}
