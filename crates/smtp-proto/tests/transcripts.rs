//! Runs `tests/transcripts/{smtp,lmtp}` against the machine: whole groups, octet by octet, and cut at random places.
//!
//! The desk that answers its questions: mail for `here.test` is taken, except for `nobody@here.test` (550 5.1.1) and for
//! `busy@here.test` (451); other domains only from those who are logged in. `ann` has the password `secret`. A message is answered
//! with its size; `! tls` makes TLS.

use mail_types::{Reply, Secret};
use smtp_proto::server::{Answer, Question, Session, Settings, Step, TlsOffer, Transaction};
use std::path::PathBuf;
use std::sync::Arc;
use testkit::transcript::{Machine, Transcript};

struct Desk {
    session: Session,
    lmtp: bool,
    login: bool,
    octets: usize,
    wants_tls: bool,
    closed: bool,
}

impl Desk {
    fn new(lmtp: bool) -> Desk {
        let settings = if lmtp {
            Settings { xfacteur: true, ..Settings::lmtp("here.test") }
        } else {
            Settings { tls: TlsOffer::May, size_limit: 10_000, error_sleep: std::time::Duration::ZERO, ..Settings::new("here.test") }
        };
        Desk { session: Session::new(Arc::new(settings), false), lmtp, login: false, octets: 0, wants_tls: false, closed: false }
    }

    fn run(&mut self) -> Vec<u8> {
        let mut said = Vec::new();
        loop {
            match self.session.step() {
                Step::Send(bytes) => said.extend(bytes),
                Step::Ask(question) => {
                    let answer = self.decide(question);
                    self.session.answer(answer);
                }
                Step::Body(bytes) => {
                    let binary = self.session.transaction().is_some_and(|t| t.mail.body == mail_types::BodyType::BinaryMime);
                    let normal = binary || smtp_proto::dot_stuffing::is_normal(&bytes) || bytes.len() > 1000;
                    assert!(normal, "stray line ends in a message");
                    self.octets += bytes.len();
                }
                Step::Abandon | Step::CancelAuth => self.octets = 0,
                Step::Sleep(_) => {}
                Step::StartTls => {
                    self.wants_tls = true;
                    return said;
                }
                Step::NeedInput => return said,
                Step::Close => {
                    self.closed = true;
                    return said;
                }
            }
        }
    }

    fn decide(&mut self, question: Question) -> Answer {
        match question {
            Question::Hello { extended: true, .. } if !self.lmtp => Answer::Mechanisms("PLAIN LOGIN".into()),
            Question::Auth { initial: Some(response), .. } => self.password(&response),
            Question::Auth { initial: None, .. } => Answer::Challenge(String::new()),
            Question::AuthResponse(response) => self.password(&response),
            Question::Recipient(r) if r.address.to_string() == "nobody@here.test" => refuse(550, (5, 1, 1), "User unknown"),
            Question::Recipient(r) if r.address.to_string() == "busy@here.test" => refuse(451, (4, 3, 0), "Try later"),
            Question::Recipient(r) if r.address.domain().as_str() != "here.test" && !self.login && !self.lmtp => {
                refuse(550, (5, 7, 1), "Relay access denied")
            }
            Question::Message(transaction) => {
                let reply = self.taken(&transaction);
                if self.lmtp { Answer::Replies(vec![reply; transaction.recipients.len()]) } else { Answer::Reply(reply) }
            }
            _ => Answer::Accept,
        }
    }

    fn taken(&mut self, transaction: &Transaction) -> Reply {
        let octets = std::mem::take(&mut self.octets);
        let known = transaction.mail.xfacteur.map_or(String::new(), |x| format!(" as {}", x.id));
        Reply::with(250, (2, 0, 0), format!("Ok: {octets} octets{known}"))
    }

    fn password(&mut self, response: &Secret) -> Answer {
        // base64 of "\0ann\0secret"
        if response.reveal() == "AGFubgBzZWNyZXQ=" {
            self.login = true;
            Answer::Authenticated("ann".into())
        } else {
            refuse(535, (5, 7, 8), "Authentication credentials invalid")
        }
    }
}

fn refuse(code: u16, status: (u8, u16, u16), text: &'static str) -> Answer {
    Answer::Reply(Reply::with(code, status, text))
}

impl Machine for Desk {
    fn greeting(&mut self) -> Vec<u8> {
        self.run()
    }

    fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.session.receive(bytes);
        self.run()
    }

    fn is_closed(&self) -> bool {
        self.closed
    }

    fn directive(&mut self, word: &str) -> Vec<u8> {
        assert_eq!(word, "tls", "the only directive known here");
        assert!(std::mem::take(&mut self.wants_tls), "the machine did not ask for TLS");
        self.session.tls_started();
        self.run()
    }
}

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/transcripts").join(name)
}

#[test]
fn smtp_transcripts_hold_in_all_cuts() {
    let all = Transcript::read_all(folder("smtp"));
    assert!(!all.is_empty());
    all.iter().for_each(|transcript| transcript.check(|| Desk::new(false)));
}

#[test]
fn lmtp_transcripts_hold_in_all_cuts() {
    let all = Transcript::read_all(folder("lmtp"));
    assert!(!all.is_empty());
    all.iter().for_each(|transcript| transcript.check(|| Desk::new(true)));
}
