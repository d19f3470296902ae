use super::*;
use proptest::prelude::*;
use testkit::Transcript;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/transcripts/pop3");

// A world with the account and the messages that the transcripts speak of.
struct World {
    session: Session,
    messages: Vec<Vec<u8>>,
    reading: Vec<u8>,
    /// Octets per piece.
    piece: usize,
    login_steps: Vec<Vec<u8>>,
    broken: Option<&'static str>,
    deleted: Option<Vec<usize>>,
    seen: Vec<usize>,
    closed: bool,
}

fn settings() -> Settings {
    Settings {
        greeting: "ready".into(),
        tls: false,
        stls: true,
        plaintext_login: false,
        implementation: "Facteur".into(),
        error_limit: 10,
        expire_days: None,
        login_delay_seconds: 0,
        last: false,
    }
}

impl World {
    fn new() -> World {
        let read = |n: usize| std::fs::read_to_string(format!("{FOLDER}/maildrop/{n}.eml")).expect("message").replace('\n', "\r\n");
        World {
            session: Session::new(settings()),
            messages: (1..=3).map(|n| read(n).into_bytes()).collect(),
            reading: Vec::new(),
            piece: 7,
            login_steps: Vec::new(),
            broken: None,
            deleted: None,
            seen: Vec::new(),
            closed: false,
        }
    }

    fn logged_in() -> World {
        let mut world = World::new();
        world.session.settings.tls = true;
        world.talk(b"USER ann@example.org\r\nPASS secret\r\n");
        world
    }

    fn check(&self, user: &[u8], password: &[u8]) -> Answer {
        let entry = |(n, m): (usize, &Vec<u8>)| Entry { size: m.len() as u64, unique_id: format!("{:08X}65A1B2C3", n + 1).into() };
        match (self.broken, user, password) {
            (Some("authd"), ..) => Answer::Refused(Refusal::Temporary("later".into())),
            (Some("in use"), ..) => Answer::Refused(Refusal::InUse("another session".into())),
            (_, b"ann@example.org", b"secret") => Answer::Maildrop(self.messages.iter().enumerate().map(entry).collect()),
            _ => Answer::Refused(Refusal::Credentials("Authentication failed.".into())),
        }
    }

    fn plain(&self, message: &[u8]) -> Answer {
        let parts: Vec<&[u8]> = message.split(|b| *b == 0).collect();
        match parts[..] {
            [_, user, password] => self.check(user, password),
            _ => Answer::Refused(Refusal::Other("malformed".into())),
        }
    }

    fn answer(&mut self, question: Question) -> Answer {
        match question {
            Question::Mechanisms => Answer::Mechanisms(vec!["PLAIN".into(), "LOGIN".into()]),
            Question::Login { user, password } => self.check(user.as_bytes(), password.reveal().as_bytes()),
            Question::Authenticate { mechanism, initial } => match (mechanism.to_ascii_uppercase().as_str(), initial) {
                ("PLAIN", Some(message)) => self.plain(&message.0),
                ("PLAIN", None) => Answer::Challenge(Vec::new()),
                ("LOGIN", initial) => {
                    self.login_steps = vec![b"LOGIN".to_vec()];
                    match initial {
                        Some(name) => self.answer(Question::Respond(name)),
                        None => Answer::Challenge(b"Username:".to_vec()),
                    }
                }
                _ => Answer::Refused(Refusal::Other("Unsupported authentication mechanism.".into())),
            },
            Question::Respond(message) => {
                if self.login_steps.is_empty() {
                    return self.plain(&message.0);
                }
                self.login_steps.push(message.0.to_vec());
                match &self.login_steps[1..] {
                    [_] => Answer::Challenge(b"Password:".to_vec()),
                    [user, password] => self.check(&user.clone(), &password.clone()),
                    _ => Answer::Refused(Refusal::Other("malformed".into())),
                }
            }
            Question::Cancel => {
                self.login_steps.clear();
                Answer::Done
            }
            Question::Open { message, .. } if self.broken == Some("message") && message == 0 => {
                Answer::Refused(Refusal::Temporary("The message cannot be read.".into()))
            }
            Question::Open { message, .. } => {
                self.reading = self.messages[message].clone();
                let (bytes, last) = self.next_piece();
                Answer::Opened(Opened { bytes, last })
            }
            Question::More if self.broken == Some("disk") => Answer::Broken,
            Question::More => {
                let (bytes, last) = self.next_piece();
                Answer::Piece { bytes, last }
            }
            Question::Update { .. } if self.broken == Some("disk") => Answer::Refused(Refusal::Temporary("not deleted".into())),
            Question::Update { delete, seen } => {
                self.deleted = Some(delete);
                self.seen = seen;
                Answer::Done
            }
        }
    }

    fn next_piece(&mut self) -> (Vec<u8>, bool) {
        let rest = self.reading.split_off(self.piece.min(self.reading.len()));
        (std::mem::replace(&mut self.reading, rest), self.reading.is_empty())
    }

    fn talk(&mut self, bytes: &[u8]) -> String {
        String::from_utf8(testkit::Machine::feed(self, bytes)).expect("text")
    }

    fn drive(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        loop {
            match self.session.step() {
                Step::Send(bytes) => out.extend(bytes),
                Step::Ask(question) => {
                    let answer = self.answer(question);
                    self.session.answer(answer);
                }
                Step::StartTls | Step::NeedInput => return out,
                Step::Close => {
                    self.closed = true;
                    return out;
                }
            }
        }
    }
}

impl testkit::Machine for World {
    fn greeting(&mut self) -> Vec<u8> {
        self.drive()
    }

    fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.session.receive(bytes);
        self.drive()
    }

    fn is_closed(&self) -> bool {
        self.closed
    }

    fn directive(&mut self, word: &str) -> Vec<u8> {
        assert_eq!(word, "tls");
        self.session.tls_started();
        self.drive()
    }
}

#[test]
fn transcripts_hold_in_every_cut() {
    let all = Transcript::read_all(FOLDER);
    assert!(all.len() >= 8, "transcripts are missing");
    for transcript in all {
        transcript.check(World::new);
    }
}

// P3
#[test]
fn only_quit_deletes() {
    let mut world = World::logged_in();
    world.talk(b"DELE 1\r\nDELE 3\r\n");
    assert_eq!(world.deleted, None);
    assert_eq!(world.talk(b"RETR 2\r\nQUIT\r\n").lines().last(), Some("+OK Logging out, messages deleted."));
    assert_eq!((world.deleted, world.seen), (Some(vec![0, 2]), vec![1]));
    assert!(world.closed);

    let mut world = World::logged_in();
    world.talk(b"DELE 1\r\n");
    world.session.end("Disconnected for inactivity.");
    assert_eq!(world.talk(b"QUIT\r\n"), "-ERR [SYS/TEMP] Disconnected for inactivity.\r\n");
    assert!(world.closed && world.deleted.is_none());
}

// Each begun exchange costs the partner as much as a wrong password.
#[test]
fn exchanges_that_are_broken_off_are_counted() {
    let mut world = World::new();
    world.session.settings.tls = true;
    world.talk(b"CAPA\r\n");
    for _ in 0..9 {
        assert_eq!(world.talk(b"AUTH LOGIN\r\n*\r\n"), "+ VXNlcm5hbWU6\r\n-ERR Authentication cancelled.\r\n");
    }
    assert!(world.talk(b"AUTH LOGIN\r\n*\r\n").ends_with("-ERR Authentication cancelled.\r\n-ERR Too many errors.\r\n"));
    assert!(world.closed);
}

#[test]
fn a_failed_update_is_told() {
    let mut world = World::logged_in();
    world.talk(b"DELE 1\r\n");
    world.broken = Some("disk");
    assert_eq!(world.talk(b"QUIT\r\n"), "-ERR [SYS/TEMP] not deleted\r\n");
    assert!(world.closed);
}

#[test]
fn a_missing_authd_and_a_maildrop_in_use_have_codes_of_their_own() {
    for (broken, want) in [("authd", "-ERR [SYS/TEMP] later\r\n"), ("in use", "-ERR [IN-USE] another session\r\n")] {
        let mut world = World::new();
        world.session.settings.tls = true;
        world.broken = Some(broken);
        world.talk(b"USER ann@example.org\r\n");
        assert_eq!(world.talk(b"PASS secret\r\n"), want);
        world.broken = None;
        assert_eq!(world.talk(b"USER ann@example.org\r\nPASS secret\r\n"), "+OK\r\n+OK Logged in.\r\n");
    }
}

#[test]
fn a_message_that_breaks_off_closes_without_the_final_dot() {
    let mut world = World::logged_in();
    world.broken = Some("disk");
    let heard = world.talk(b"RETR 1\r\nNOOP\r\n");
    assert_eq!(heard, "+OK 99 octets\r\nFrom: B");
    assert!(world.closed);
    let mut world = World::logged_in();
    world.broken = Some("message");
    assert_eq!(
        world.talk(b"RETR 1\r\nRETR 2\r\n").lines().take(2).collect::<Vec<_>>(),
        ["-ERR [SYS/TEMP] The message cannot be read.", "+OK 27 octets"]
    );
}

// P1, I1: what is sent before login stays small in memory, whatever it is.
#[test]
fn an_endless_line_is_dropped_as_it_comes_and_told_once() {
    let mut world = World::new();
    world.drive();
    for _ in 0..100 {
        assert_eq!(world.talk(&[b'x'; 10_000]), "");
        assert!(world.session.input.bytes.len() <= SASL_LINE_LIMIT_BYTES + 10_000);
    }
    assert_eq!(world.talk(b"\r\nNOOP\r\n"), "-ERR The line is too long.\r\n+OK\r\n");

    world.session.settings.tls = true;
    assert_eq!(world.talk(b"AUTH PLAIN\r\n"), "+ \r\n");
    assert_eq!(world.talk(&[b'A'; 20_000]), "-ERR The response is too long.\r\n");
    assert_eq!(world.talk(&[b'A'; 20_000]), "");
    assert_eq!(world.talk(b"A\r\nNOOP\r\n"), "+OK\r\n");
}

// A client that never reads must not fill memory: no step hands out more than about what one piece gives.
#[test]
fn listings_and_messages_come_in_pieces() {
    let mut world = World::new();
    world.session.settings.tls = true;
    let big = Entry { size: 5, unique_id: "x".repeat(70).into() };
    world.session.state =
        State::Transaction(Maildrop { deleted: vec![false; 100_000], seen: vec![false; 100_000], entries: vec![big; 100_000], last: 0 });
    world.session.receive(&b"UIDL\r\nLIST\r\n".repeat(50));
    let mut sent = 0;
    for _ in 0..2000 {
        match world.session.step() {
            Step::Send(bytes) => {
                assert!(bytes.len() < 2 * GATHER_BYTES);
                sent += bytes.len();
            }
            step => panic!("unexpected {step:?}"),
        }
    }
    assert!(sent > 10_000_000);
}

#[test]
fn answers_of_pipelined_commands_go_out_together() {
    let mut world = World::logged_in();
    world.session.receive(b"STAT\r\nLIST 1\r\nUIDL 1\r\nDELE 1\r\nNOOP\r\n");
    let Step::Send(bytes) = world.session.step() else { panic!("nothing to send") };
    assert_eq!(String::from_utf8_lossy(&bytes).lines().count(), 5);
    assert!(matches!(world.session.step(), Step::NeedInput));
}

#[test]
fn secrets_do_not_show() {
    let question = Question::Login { user: "ann".into(), password: Secret::new("hunter2") };
    let blob = Question::Authenticate { mechanism: "PLAIN".into(), initial: Some(Sensitive(Zeroizing::new(b"hunter2".to_vec()))) };
    let shown = format!("{question:?} {blob:?} {:?}", Command::parse(b"PASS hunter2"));
    assert!(!shown.contains("hunter2") && !shown.contains("104, 117"), "{shown}");
}

proptest! {
    #[test]
    fn no_input_fails_and_every_answer_is_short_lines(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just("USER ann@example.org\r\n".to_owned()), Just("PASS secret\r\n".to_owned()), Just("AUTH PLAIN\r\n".to_owned()),
                Just("AUTH LOGIN =\r\n".to_owned()), Just("*\r\n".to_owned()), Just("RETR 1\r\n".to_owned()), Just("TOP 1 2\r\n".to_owned()),
                Just("DELE 2\r\n".to_owned()), Just("UIDL\r\n".to_owned()), Just("RSET\n".to_owned()), Just("LIST 9\r\n".to_owned()),
                Just("CAPA\r\n".to_owned()), Just("QUIT\r\n".to_owned()), "\\PC{0,20}\r\n", "[A-Z]{3,4} [0-9]{0,22}\r\n",
            ],
            0..30,
        ),
        tls in any::<bool>(),
    ) {
        let mut world = World::new();
        world.session.settings.tls = tls;
        let heard = world.talk(pieces.concat().as_bytes());
        prop_assert!(heard.is_empty() || heard.ends_with("\r\n"));
        prop_assert!(heard.lines().all(|line| line.len() <= 510));
        prop_assert!(tls || !heard.contains("+OK Logged in"));
    }
}
