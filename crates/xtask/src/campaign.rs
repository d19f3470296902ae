//! `cargo xtask campaign`: the long runs of what `cargo xtask test` does in a small dose.

use crate::tools;

/// Run power cuts, kills or mixed load for as long as you like
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Cut the power under load, on an ext4 in a loop file; as root
    Cuts {
        #[arg(long, default_value_t = 200)]
        count: u64,
    },
    /// Kill daemons at random under load
    Kills {
        /// Rounds of one kill for each of the six daemons
        #[arg(long, default_value_t = 200)]
        rounds: u64,
    },
    /// Mixed load, while memory, descriptors and threads are watched
    Soak {
        #[arg(long, default_value_t = 60)]
        minutes: u64,
    },
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (test, variable, value) = match arguments.what {
        What::Cuts { count } => ("power_cuts_lose_nothing", "FACTEUR_CUTS", count),
        What::Kills { rounds } => ("daemons_killed_at_random", "FACTEUR_KILLS", rounds),
        What::Soak { minutes } => ("load_leaves_nothing_behind", "FACTEUR_SOAK_SECONDS", minutes * 60),
    };
    tools::run(tools::cargo().args(["build", "--workspace", "--bins"]))?;
    tools::run(tools::cargo().args(["test", "-p", "e2e", "--", "--nocapture", test]).env(variable, value.to_string()))
}
