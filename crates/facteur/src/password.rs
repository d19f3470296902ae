//! Passwords that people type.

use anyhow::{Context as _, bail};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use std::io::{IsTerminal as _, Write as _};
use zeroize::Zeroizing;

/// A new password: asked for twice at a terminal, else one line of standard input.
pub fn new(prompt: &str, from_stdin: bool) -> anyhow::Result<Zeroizing<String>> {
    let stdin = std::io::stdin();
    if from_stdin || !stdin.is_terminal() {
        return line_of(&mut stdin.lock());
    }
    let first = ask(prompt)?;
    let second = ask("The same again: ")?;
    if *first != *second {
        bail!("the two passwords differ");
    }
    Ok(first)
}

/// A password that somebody has: asked for once at a terminal, else one line of standard input.
pub fn known(prompt: &str) -> anyhow::Result<Zeroizing<String>> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() { ask(prompt) } else { line_of(&mut stdin.lock()) }
}

/// The first line of a file; an empty one is no password.
pub fn line_of(input: &mut impl std::io::BufRead) -> anyhow::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::new());
    input.read_line(&mut line).context("cannot read the password")?;
    let password = Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned());
    if password.is_empty() {
        bail!("the password is empty");
    }
    Ok(password)
}

/// Asks at the terminal. Without echo, and like getpass(3) without Ctrl-C, which would leave the terminal silent for ever; it then ends the line.
pub fn ask(prompt: &str) -> anyhow::Result<Zeroizing<String>> {
    let stdin = std::io::stdin();
    eprint!("{prompt}");
    std::io::stderr().flush()?;
    let before = tcgetattr(&stdin).context("cannot silence the terminal")?;
    let mut silent = before.clone();
    silent.local_flags.remove(LocalFlags::ECHO | LocalFlags::ISIG);
    silent.local_flags.insert(LocalFlags::ECHONL);
    tcsetattr(&stdin, SetArg::TCSAFLUSH, &silent).context("cannot silence the terminal")?;
    let line = line_of(&mut stdin.lock());
    tcsetattr(&stdin, SetArg::TCSANOW, &before).context("cannot give the terminal its voice back")?;
    let line = line?;
    if line.contains('\u{3}') {
        bail!("given up");
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_come_from_one_line() {
        for (input, want) in
            [("secret\n", Some("secret")), ("a b \r\nrest", Some("a b ")), ("last", Some("last")), ("\n", None), ("", None)]
        {
            assert_eq!(line_of(&mut input.as_bytes()).ok().as_deref().map(String::as_str), want, "{input:?}");
        }
    }
}
