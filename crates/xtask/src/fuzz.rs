//! `cargo xtask fuzz`: the targets of tests/fuzz with coverage instrumentation, on the stable compiler.

use crate::tools;
use anyhow::{Context as _, bail};
use std::path::PathBuf;
use std::process::Command;

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

// What `cargo fuzz` passes on a nightly compiler, as far as stable has it; the sanitizers themselves are not there, the coverage is.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions";

/// Run the fuzz targets, each for a while; a find is left in tests/fuzz/artifacts
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// Only these targets
    pub targets: Vec<String>,
}

/// Whether this machine can build them: libFuzzer is C++.
pub fn is_possible() -> bool {
    cfg!(all(target_arch = "x86_64", target_os = "linux")) && tools::is_installed("g++")
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if !is_possible() {
        bail!("fuzzing needs Linux on x86-64 and g++");
    }
    let folder = tools::root().join("tests/fuzz");
    let built = tools::target().join("fuzz");
    let mut build = tools::cargo();
    build.current_dir(&folder).args(["build", "--release", "--target", TRIPLE, "--target-dir"]).arg(&built).env("RUSTFLAGS", FLAGS);
    tools::run(&mut build)?;
    for target in targets(&folder, &arguments.targets)? {
        let corpus = built.join("corpus").join(&target);
        let artifacts = folder.join("artifacts").join(&target);
        for made in [&corpus, &artifacts] {
            std::fs::create_dir_all(made).with_context(|| format!("cannot make {}", made.display()))?;
        }
        let seeds = seeds(&built.join("seeds"))?;
        let mut command = Command::new(built.join(TRIPLE).join("release").join(&target));
        command.arg(&corpus);
        // The second folder is read only: sessions written by people are better seeds than bytes.
        command.arg(seeds);
        command.arg(format!("-max_total_time={}", arguments.seconds)).arg(format!("-artifact_prefix={}/", artifacts.display()));
        // Words that the target's protocol has: `smtp.dict` for `smtp_server` and `smtp_client`.
        let dictionary = folder.join(format!("{}.dict", target.split('_').next().unwrap_or_default()));
        if dictionary.is_file() {
            command.arg(format!("-dict={}", dictionary.display()));
        }
        // One input may take ten seconds and half a gigabyte: more is a find too.
        command.args(["-timeout=10", "-rss_limit_mb=2048", "-max_len=65536", "-print_final_stats=0", "-verbosity=0"]);
        tools::run(command.current_dir(&folder))?;
    }
    Ok(())
}

/// What the clients of the transcripts say, a file each, behind the two bytes that the targets take for options and cuts.
fn seeds(folder: &std::path::Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (at, path) in tools::files(&tools::root().join("tests/transcripts"), ".txt")?.iter().enumerate() {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let said: String = text.lines().filter_map(|line| line.strip_prefix("C: ")).map(|line| format!("{line}\r\n")).collect();
        for (options, name) in [(0, "a"), (1, "b"), (64, "c")] {
            let seed = [&[options, at as u8], said.as_bytes()].concat();
            std::fs::write(folder.join(format!("{at}{name}")), seed).with_context(|| format!("cannot write into {}", folder.display()))?;
        }
    }
    Ok(folder.to_owned())
}

fn targets(folder: &std::path::Path, wanted: &[String]) -> anyhow::Result<Vec<String>> {
    let files: Vec<PathBuf> = tools::files(&folder.join("targets"), ".rs")?;
    let all: Vec<String> = files.iter().filter_map(|f| Some(f.file_stem()?.to_str()?.to_owned())).collect();
    if let Some(unknown) = wanted.iter().find(|w| !all.contains(w)) {
        bail!("there is no fuzz target {unknown}; there are {}", all.join(", "));
    }
    Ok(if wanted.is_empty() { all } else { wanted.to_vec() })
}
