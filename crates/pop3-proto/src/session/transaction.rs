//! After login: STAT, LIST, UIDL, RETR, TOP, DELE, RSET, LAST, and the update at QUIT.

use super::{Answer, Asked, GATHER_BYTES, Maildrop, Opened, Question, Refusal, Session, State, Todo};
use crate::command::Command;
use crate::dot_stuffing::DotStuffing;

impl Maildrop {
    // Count and octets of what is not marked as deleted.
    fn totals(&self) -> (usize, u64) {
        let left = self.entries.iter().zip(&self.deleted).filter(|(_, deleted)| !**deleted);
        left.fold((0, 0), |(count, octets), (entry, _)| (count + 1, octets + entry.size))
    }

    // The index of a message that is there and not marked as deleted.
    fn find(&self, number: u64) -> Option<usize> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        (self.deleted.get(index) == Some(&false)).then_some(index)
    }

    fn shown(&self, index: usize, unique_ids: bool) -> String {
        let entry = &self.entries[index];
        if unique_ids { format!("{} {}", index + 1, entry.unique_id) } else { format!("{} {}", index + 1, entry.size) }
    }
}

fn marked(marks: &[bool]) -> Vec<usize> {
    marks.iter().enumerate().filter(|(_, marked)| **marked).map(|(index, _)| index).collect()
}

impl Session {
    pub(super) fn transaction(&mut self, command: Command) {
        let State::Transaction(drop) = &mut self.state else { return };
        let number = match command {
            Command::Retr(n) | Command::Dele(n) | Command::Top(n, _) | Command::List(Some(n)) | Command::Uidl(Some(n)) => Some(n),
            _ => None,
        };
        let message = match number.map(|n| drop.find(n)) {
            Some(None) => return self.err("", "There is no such message."),
            found => found.flatten().unwrap_or_default(),
        };
        match command {
            Command::Stat => {
                let (count, octets) = drop.totals();
                self.ok(&format!("{count} {octets}"));
            }
            Command::List(None) => {
                let (count, octets) = drop.totals();
                self.ok(&format!("{count} messages ({octets} octets)"));
                self.todo.push_back(Todo::List { unique_ids: false, next: 0 });
            }
            Command::Uidl(None) => {
                self.ok("");
                self.todo.push_back(Todo::List { unique_ids: true, next: 0 });
            }
            Command::List(Some(_)) => {
                let text = drop.shown(message, false);
                self.ok(&text);
            }
            Command::Uidl(Some(_)) => {
                let text = drop.shown(message, true);
                self.ok(&text);
            }
            Command::Retr(_) => self.open(message, None),
            Command::Top(_, lines) => self.open(message, Some(lines)),
            Command::Dele(_) => {
                drop.deleted[message] = true;
                drop.last = drop.last.max(message + 1);
                self.ok("Marked to be deleted.");
            }
            Command::Rset => {
                drop.deleted.fill(false);
                drop.last = 0;
                self.ok("");
            }
            Command::Last => {
                let last = drop.last;
                self.ok(&last.to_string());
            }
            _ => self.fault("You are logged in already."),
        }
    }

    fn open(&mut self, message: usize, lines: Option<u64>) {
        let question = Question::Open { message, whole: lines.is_none() };
        self.todo.push_back(Todo::Ask(Asked::Open { message, lines }, question));
    }

    pub(super) fn opened(&mut self, message: usize, lines: Option<u64>, answer: Answer) {
        let State::Transaction(drop) = &mut self.state else { return };
        match answer {
            Answer::Opened(Opened { bytes, last }) => {
                let size = drop.entries[message].size;
                if lines.is_none() {
                    drop.seen[message] = true;
                    drop.last = drop.last.max(message + 1);
                    self.statistics.retrieved += 1;
                    self.ok(&format!("{size} octets"));
                } else {
                    self.statistics.tops += 1;
                    self.ok("");
                }
                self.piece(DotStuffing::new(lines), &bytes, last);
            }
            Answer::Refused(refusal) => self.refused(&refusal),
            _ => self.refused(&Refusal::Temporary("The message cannot be read.".into())),
        }
    }

    pub(super) fn piece(&mut self, mut stuffing: DotStuffing, bytes: &[u8], last: bool) {
        let before = self.out.len();
        stuffing.push(bytes, &mut self.out);
        if last || stuffing.is_full() {
            stuffing.finish(&mut self.out);
        } else {
            // In front: the answers of commands that follow come behind the message.
            self.todo.push_front(Todo::Ask(Asked::More(stuffing), Question::More));
        }
        self.statistics.octets += (self.out.len() - before) as u64;
    }

    // As many lines as are gathered before sending, so that 100,000 messages do not stand in memory as text.
    pub(super) fn list_piece(&mut self, unique_ids: bool, from: usize) {
        let State::Transaction(drop) = &self.state else { return };
        let mut index = from;
        while index < drop.entries.len() && self.out.len() < GATHER_BYTES {
            if !drop.deleted[index] {
                self.out.extend_from_slice(drop.shown(index, unique_ids).as_bytes());
                self.out.extend_from_slice(b"\r\n");
            }
            index += 1;
        }
        if index < drop.entries.len() {
            self.todo.push_front(Todo::List { unique_ids, next: index });
        } else {
            self.out.extend_from_slice(b".\r\n");
        }
    }

    // RFC 1939 §6: only QUIT in the transaction state reaches the update state.
    pub(super) fn quit(&mut self) {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Transaction(drop) => {
                let delete = marked(&drop.deleted);
                let seen: Vec<usize> = marked(&drop.seen).into_iter().filter(|index| !drop.deleted[*index]).collect();
                let count = delete.len() as u64;
                self.todo.push_back(Todo::Ask(Asked::Update(count), Question::Update { delete, seen }));
            }
            _ => self.ok("Logging out."),
        }
    }

    pub(super) fn updated(&mut self, count: u64, answer: Answer) {
        match answer {
            Answer::Done if count > 0 => {
                self.statistics.deleted = count;
                self.ok("Logging out, messages deleted.");
            }
            Answer::Done => self.ok("Logging out."),
            Answer::Refused(refusal) => self.refused(&refusal),
            _ => self.refused(&Refusal::Temporary("Some messages were not deleted.".into())),
        }
    }
}
