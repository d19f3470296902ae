//! `tests/scenarios`: one folder per setup of an administrator, with settings, tables, and what then happens. README.md there has the format.

use e2e::{Lines, Server, ServerBuilder, Smtp, binary, connect_from, eventually, trusting};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// What a folder may hold beside tables.
const SETTINGS: &str = "facteur.toml";
const STORY: &str = "story.txt";

fn folders() -> Vec<PathBuf> {
    let all = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")).expect("scenarios");
    let mut folders: Vec<PathBuf> = all.map(|entry| entry.expect("entry").path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

#[test]
fn every_scenario_comes_out_as_its_story_tells() {
    let folders = folders();
    assert!(folders.len() >= 20, "only {} scenarios", folders.len());
    let (next, failed) = (Mutex::new(folders.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let Some(folder) = next.lock().expect("list").next() else { break };
                    if std::panic::catch_unwind(|| tell(folder)).is_err() {
                        failed.lock().expect("list").push(folder.file_name().expect("a name").to_owned());
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("list");
    assert!(failed.is_empty(), "scenarios that went otherwise: {failed:?}");
}

/// Starts a server by the folder's settings and follows its story.
fn tell(folder: &Path) {
    let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap_or_else(|e| panic!("{name}: {file}: {e}"));
    let story = read(STORY);
    let mut builder = ServerBuilder::default().settings(&read(SETTINGS));
    for entry in std::fs::read_dir(folder).expect("folder") {
        let file = entry.expect("entry").file_name().into_string().expect("UTF-8");
        if ![SETTINGS, STORY].contains(&file.as_str()) {
            builder = builder.file(&file, &read(&file));
        }
    }
    let lines: Vec<(usize, &str)> = story.lines().enumerate().map(|(n, line)| (n + 1, line.trim_end())).collect();
    let steps: Vec<(usize, &str)> = lines.into_iter().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).collect();
    for (_, line) in &steps {
        if let Some(user) = line.strip_prefix("user ") {
            builder = builder.user(user);
        }
    }
    let mut teller = Teller { server: builder.start(), smtp: None, asked: String::new(), said: String::new() };
    let mut checks = 0;
    for (number, line) in steps {
        let at = format!("{name}/{STORY}:{number}: {line}");
        checks += teller.step(line, &at);
    }
    assert!(checks > 0, "{name}: its story says nothing that can be seen");
}

struct Teller {
    server: Server,
    smtp: Option<Smtp>,
    /// What the client said last.
    asked: String,
    /// The last reply, or what the last command printed.
    said: String,
}

impl Teller {
    /// Takes one step; gives how many things it has checked.
    fn step(&mut self, line: &str, at: &str) -> usize {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "user" => return 0,
            "connect" => self.connect(rest, at),
            "starttls" => {
                let lines = self.smtp.take().expect(at).into_lines();
                self.smtp = Some(Smtp::silent(lines.upgrade(&self.tls())));
            }
            "C:" => {
                let smtp = self.smtp.as_mut().expect(at);
                smtp.write(format!("{rest}\r\n").as_bytes());
                self.asked = rest.to_owned();
                self.said.clear();
            }
            "S:" | "S*" | "S-" | "S!" => return self.hears(word, rest, at),
            "$" | "$!" => self.runs(rest, word == "$", at),
            ">" => assert!(self.said.contains(rest), "{at}\nit said:\n{}", self.said),
            ">!" => assert!(!self.said.contains(rest), "{at}\nit said:\n{}", self.said),
            "mail" => self.finds_mail(rest, at),
            "no-mail" => assert!(files(&self.server.root().join("mail").join(rest)).is_empty(), "{at}"),
            "log" => eventually(at, || self.server.log().contains(rest).then_some(()), || self.server.log()),
            _ => panic!("{at}: no such step"),
        }
        usize::from(!["connect", "starttls", "C:", "$"].contains(&word))
    }

    fn tls(&self) -> std::sync::Arc<rustls::ClientConfig> {
        trusting(&self.server.root().join("etc/tls/cert.pem"))
    }

    /// `smtp`, `submission` or `submissions`, perhaps `from ADDRESS`.
    fn connect(&mut self, rest: &str, at: &str) {
        let (service, from) = rest.split_once(" from ").unwrap_or((rest, "127.0.0.1"));
        let address: std::net::Ipv4Addr = from.parse().unwrap_or_else(|_| panic!("{at}"));
        let lines = match service {
            "smtp" => Lines::over(connect_from(address.octets(), self.server.smtp_port())),
            "submission" => Lines::over(connect_from(address.octets(), self.server.submission_port())),
            "submissions" => Lines::connect_tls(self.server.submissions_port(), &self.tls()),
            _ => panic!("{at}: no such service"),
        };
        self.smtp = Some(Smtp::silent(lines));
        self.said.clear();
    }

    /// `S:` the reply begins with this; `S*` a line of it is this; `S-` no line of it contains this; `S!` nothing more comes.
    fn hears(&mut self, word: &str, want: &str, at: &str) -> usize {
        let smtp = self.smtp.as_mut().expect(at);
        if word == "S!" {
            assert_eq!(smtp.reply(), None, "{at}");
            return 1;
        }
        if self.said.is_empty() || word == "S:" {
            self.said = smtp.reply().unwrap_or_else(|| panic!("{at}: the server has hung up"));
        }
        // On a busy machine a password may not be checked in time; a client then asks again.
        for _ in 0..10 {
            if !(word == "S:" && want == "235" && self.said.starts_with("454")) {
                break;
            }
            smtp.write(format!("{}\r\n", self.asked).as_bytes());
            self.said = smtp.reply().unwrap_or_else(|| panic!("{at}: the server has hung up"));
        }
        let holds = match word {
            "S:" => self.said.starts_with(want.trim_end_matches('…')),
            "S*" => self.said.lines().any(|line| line.get(4..) == Some(want)),
            _ => !self.said.contains(want),
        };
        assert!(holds, "{at}\nit said:\n{}", self.said);
        1
    }

    /// A program of ours; `<<` and a text behind it is its input.
    fn runs(&mut self, rest: &str, success: bool, at: &str) {
        let (command, input) = rest.split_once(" << ").unwrap_or((rest, ""));
        let mut words = command.split_whitespace();
        let program = match words.next().expect(at) {
            "facteur" => "facteur",
            "sendmail" => "facteur-sendmail",
            other => panic!("{at}: {other} is no program of ours"),
        };
        let mut command = Command::new(binary(program));
        command.arg("--root").arg(self.server.root()).args(words);
        let output = e2e::run(&mut command, &input.replace("\\n", "\n"));
        self.said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), success, "{at}\nit said:\n{}", self.said);
    }

    /// `FOLDER COUNT [TEXT]`: so many messages come into this Maildir below the mail folder, the last of them with the text.
    fn finds_mail(&mut self, rest: &str, at: &str) {
        let mut words = rest.splitn(3, ' ');
        let folder = self.server.root().join("mail").join(words.next().expect(at));
        let count: usize = words.next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{at}: a count"));
        eventually(at, || (files(&folder).len() >= count).then_some(()), || self.server.log());
        let found = files(&folder);
        assert_eq!(found.len(), count, "{at}");
        let text = String::from_utf8_lossy(&std::fs::read(found.last().expect(at)).expect(at)).into_owned();
        let want = words.next().unwrap_or_default();
        assert!(text.contains(want), "{at}\nthe message is:\n{text}");
    }
}

/// The messages of a Maildir, in order.
fn files(maildir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(maildir.join("new")).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
    files.sort();
    files
}
