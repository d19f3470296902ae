//! The command line, as Postfix's sendmail(1) reads it.

use std::path::PathBuf;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    #[default]
    Deliver,
    /// `-bs`
    Smtp,
    /// `-bp`, mailq
    Queue,
    /// `-bi`, newaliases
    Aliases,
    /// `-q` and its kin
    Flush,
    /// `-bd`, `-bl`, `-bv`, …: not here
    Refused(char),
    Help,
    Version,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Options {
    pub(crate) mode: Mode,
    pub(crate) root: Option<PathBuf>,
    pub(crate) config: Option<PathBuf>,
    /// `-t`
    pub(crate) from_header: bool,
    /// `-i`: a line of one dot is text.
    pub(crate) dots_are_text: bool,
    pub(crate) sender: Option<String>,
    pub(crate) full_name: Option<String>,
    pub(crate) verbose: bool,
    pub(crate) notify: String,
    pub(crate) ret: String,
    pub(crate) envid: String,
    /// `-O requiretls`
    pub(crate) require_tls: bool,
    pub(crate) flush_site: Option<String>,
    pub(crate) flush_id: Option<String>,
    pub(crate) recipients: Vec<String>,
}

/// Reads the arguments; the first is the name we were called by.
pub(crate) fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options::default();
    let (program, arguments) = arguments.split_first().ok_or("no arguments at all")?;
    options.mode = match program.rsplit('/').next() {
        Some("mailq") => Mode::Queue,
        Some("newaliases") => Mode::Aliases,
        _ => Mode::Deliver,
    };
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "--" => {
                options.recipients.extend(rest.by_ref().cloned());
                break;
            }
            "--root" => options.root = Some(rest.next().ok_or("--root wants a folder")?.into()),
            "--config" => options.config = Some(rest.next().ok_or("--config wants a file")?.into()),
            "--help" => options.mode = Mode::Help,
            "--version" => options.mode = Mode::Version,
            // One dash: no option, and no address either.
            _ if word.starts_with("--") => return Err(format!("unknown option {word}")),
            _ => match word.strip_prefix('-') {
                Some(letters) if !letters.is_empty() => options.letters(letters, &mut rest)?,
                // As getopt(3) of GNU, and so as Sendmail there: options may stand behind recipients.
                _ => options.recipients.push(word.clone()),
            },
        }
    }
    if options.root.is_some() && options.config.is_some() {
        return Err("--root and --config exclude each other".into());
    }
    Ok(options)
}

impl Options {
    /// One word of options: flags one after the other, until one that takes the rest of the word, or the next.
    fn letters<'a>(&mut self, letters: &str, rest: &mut impl Iterator<Item = &'a String>) -> Result<(), String> {
        for (at, letter) in letters.char_indices() {
            let attached = &letters[at + letter.len_utf8()..];
            let mut value = || match attached {
                "" => rest.next().cloned().ok_or_else(|| format!("-{letter} wants an argument")),
                text => Ok(text.to_owned()),
            };
            match letter {
                'i' => self.dots_are_text = true,
                't' => self.from_header = true,
                'v' => self.verbose = true,
                'G' | 'U' | 'm' | 'n' | 'a' | 'c' | 'x' => {}
                'q' => return self.flush(attached, rest),
                _ => {
                    match letter {
                        'f' | 'r' => self.sender = Some(value()?),
                        'F' => self.full_name = Some(value()?),
                        'N' => self.notify = notify(&value()?)?,
                        'R' => self.ret = ret(&value()?)?,
                        'V' => self.envid = envid(value()?)?,
                        'b' => self.mode = mode(&value()?)?,
                        // -oi, -o7, -oem, …: only the first has a meaning here.
                        'o' => self.dots_are_text |= value()? == "i",
                        'B' => body(&value()?)?,
                        'O' => self.named(&value()?)?,
                        'A' | 'C' | 'I' | 'L' | 'X' | 'e' | 'h' | 'p' => drop(value()?),
                        _ => return Err(format!("unknown option -{letter}")),
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// `-O name` or `-O name=value`: `requiretls` as Postfix has it. Others, Sendmail's `DeliveryMode=b` and the like, mean nothing here.
    fn named(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = option.split_once('=').unwrap_or((option, "yes"));
        if name.trim().eq_ignore_ascii_case("requiretls") {
            self.require_tls = match value.trim().to_ascii_lowercase().as_str() {
                "yes" | "true" | "1" => true,
                "no" | "false" | "0" => false,
                _ => return Err(format!("-O {option}: neither yes nor no")),
            };
        }
        Ok(())
    }

    /// `-q`, `-q15m`, `-qRdomain`, `-qR domain`, `-qIid`.
    fn flush<'a>(&mut self, what: &str, rest: &mut impl Iterator<Item = &'a String>) -> Result<(), String> {
        let mut value = |text: &str| match text {
            "" => rest.next().cloned().ok_or_else(|| "-qR and -qI want an argument".to_owned()),
            text => Ok(text.to_owned()),
        };
        match what.chars().next() {
            Some('R') => self.flush_site = Some(value(&what[1..])?),
            Some('I') => self.flush_id = Some(value(&what[1..])?),
            // An interval is for a daemon (`-bd -q15m`).
            Some(digit) if digit.is_ascii_digit() => return Ok(()),
            None => {}
            Some(_) => return Err(format!("unknown option -q{what}")),
        }
        self.mode = Mode::Flush;
        Ok(())
    }
}

fn mode(text: &str) -> Result<Mode, String> {
    Ok(match text.chars().next() {
        Some('m') => Mode::Deliver,
        Some('s') => Mode::Smtp,
        Some('p') => Mode::Queue,
        Some('i') => Mode::Aliases,
        Some(letter @ ('d' | 'D' | 'l' | 'v' | 't' | 'a' | 'h' | 'H')) => Mode::Refused(letter),
        _ => return Err(format!("unknown option -b{text}")),
    })
}

/// NOTIFY=: `never`, or some of success, failure and delay (RFC 3461 §4.1).
fn notify(text: &str) -> Result<String, String> {
    let upper = text.to_ascii_uppercase();
    let words: Vec<&str> = upper.split(',').map(str::trim).collect();
    let sound = words == ["NEVER"] || words.iter().all(|w| ["SUCCESS", "FAILURE", "DELAY"].contains(w));
    if sound { Ok(words.join(",")) } else { Err(format!("-N {text}: not never, success, failure, delay")) }
}

fn ret(text: &str) -> Result<String, String> {
    let upper = text.to_ascii_uppercase();
    if ["FULL", "HDRS"].contains(&upper.as_str()) { Ok(upper) } else { Err(format!("-R {text}: neither full nor hdrs")) }
}

fn envid(text: String) -> Result<String, String> {
    // RFC 3461 §4.4: at most 100 characters, printable.
    let sound = text.len() <= 100 && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    if sound { Ok(text) } else { Err("-V: more than 100 printable characters".into()) }
}

/// The type is found by looking at the message; a wrong word is told all the same.
fn body(text: &str) -> Result<(), String> {
    let sound = ["7BIT", "8BITMIME"].iter().any(|word| text.eq_ignore_ascii_case(word));
    if sound { Ok(()) } else { Err(format!("-B {text}: neither 7BIT nor 8BITMIME")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, String> {
        parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read_as_other_sendmails_do() {
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let base = Options::default();
        for (line, want) in [
            // PHP's default, mutt's, cron's.
            ("sendmail -t -i", Options { from_header: true, dots_are_text: true, ..base.clone() }),
            ("/usr/sbin/sendmail -oem -oi -- a@b c", Options { dots_are_text: true, recipients: words(&["a@b", "c"]), ..base.clone() }),
            (
                "sendmail -FCronDaemon -i -B8BITMIME -oem ann",
                Options { full_name: Some("CronDaemon".into()), dots_are_text: true, recipients: words(&["ann"]), ..base.clone() },
            ),
            (
                "sendmail -ti -f ann@x -N success,delay -R hdrs -V id7 -v",
                Options {
                    from_header: true,
                    dots_are_text: true,
                    sender: Some("ann@x".into()),
                    notify: "SUCCESS,DELAY".into(),
                    ret: "HDRS".into(),
                    envid: "id7".into(),
                    verbose: true,
                    ..base.clone()
                },
            ),
            ("sendmail a@b -G -L tag -O Opt=1 -Am -h 3 -X/tmp/log", Options { recipients: words(&["a@b"]), ..base.clone() }),
            // exim's, qmail's and Sendmail's own habits.
            ("sendmail -odb -oeq -om -oT1h -o7 -oi a@b", Options { dots_are_text: true, recipients: words(&["a@b"]), ..base.clone() }),
            ("sendmail -O DeliveryMode=b -OErrorMode=m -O smtputf8 a@b", Options { recipients: words(&["a@b"]), ..base.clone() }),
            ("sendmail -O requiretls a@b", Options { require_tls: true, recipients: words(&["a@b"]), ..base.clone() }),
            ("sendmail -ORequireTLS=yes a@b", Options { require_tls: true, recipients: words(&["a@b"]), ..base.clone() }),
            ("sendmail -O requiretls=no a@b", Options { recipients: words(&["a@b"]), ..base.clone() }),
            ("sendmail -bs", Options { mode: Mode::Smtp, ..base.clone() }),
            ("sendmail -bd -q15m", Options { mode: Mode::Refused('d'), ..base.clone() }),
            ("mailq", Options { mode: Mode::Queue, ..base.clone() }),
            ("newaliases", Options { mode: Mode::Aliases, ..base.clone() }),
            ("sendmail -q", Options { mode: Mode::Flush, ..base.clone() }),
            ("sendmail -qRx.org", Options { mode: Mode::Flush, flush_site: Some("x.org".into()), ..base.clone() }),
            ("sendmail -qI ID1", Options { mode: Mode::Flush, flush_id: Some("ID1".into()), ..base.clone() }),
            ("sendmail -- -f", Options { recipients: words(&["-f"]), ..base.clone() }),
        ] {
            assert_eq!(read(line), Ok(want), "{line}");
        }
        for line in [
            "sendmail -Z",
            "sendmail -O",
            "sendmail -O requiretls=maybe",
            "sendmail -f",
            "sendmail --what",
            "sendmail -N maybe",
            "sendmail -bz",
            "sendmail -B9BIT",
            "sendmail -R x",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
