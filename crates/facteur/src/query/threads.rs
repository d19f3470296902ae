//! INTHREAD: messages of threads that have a message which is meant (RFC 5256, and Dovecot's REFS).

use message::thread::{self, Forest, Id, Item};
use message::{Date, Subject, collation_key};
use std::collections::HashSet;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    OrderedSubject,
    References,
    Refs,
}

impl Algorithm {
    pub fn parse(text: &str) -> Result<Algorithm, String> {
        match text.to_ascii_uppercase().as_str() {
            "ORDEREDSUBJECT" => Ok(Algorithm::OrderedSubject),
            "REFERENCES" => Ok(Algorithm::References),
            "REFS" => Ok(Algorithm::Refs),
            _ => Err(format!("INTHREAD {text}: REFS, REFERENCES and ORDEREDSUBJECT are known")),
        }
    }
}

/// What threads are made of; `received` is when the message came.
pub(super) fn item(header: &[u8], received: i64) -> Item {
    let field = |name| message::find(header, name).map(|field| field.value());
    let subject = field("Subject").map(Subject::parse).unwrap_or_default();
    Item {
        sent: field("Date").and_then(Date::parse).map_or(received, |date| date.unix()),
        arrived: received,
        subject: collation_key(&subject.base),
        is_reply: subject.is_reply,
        id: field("Message-ID").and_then(|value| thread::message_ids(value).next()).map(|id| Id::of(&id)),
        references: thread::ancestors(field("References"), field("In-Reply-To")),
    }
}

/// The numbers of all messages in threads with one of `meant`.
pub(super) fn around(algorithm: Algorithm, messages: impl Iterator<Item = (u32, Item)>, meant: &HashSet<u32>) -> HashSet<u32> {
    let (numbers, items): (Vec<u32>, Vec<Item>) = messages.unzip();
    let forest: Forest = match algorithm {
        Algorithm::OrderedSubject => thread::ordered_subject(&items),
        Algorithm::References => thread::references(&items),
        Algorithm::Refs => thread::refs(&items),
    };
    let mut found = HashSet::new();
    for thread in forest.threads() {
        let thread: Vec<u32> = thread.into_iter().map(|item| numbers[item]).collect();
        if thread.iter().any(|number| meant.contains(number)) {
            found.extend(thread);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_thread_is_found_by_one_message() {
        let headers = [
            "Subject: a\r\nMessage-ID: <1@x>\r\n\r\n",
            "Subject: b\r\nMessage-ID: <2@x>\r\n\r\n",
            "Subject: Re: a\r\nMessage-ID: <3@x>\r\nIn-Reply-To: <1@x>\r\n\r\n",
            "Subject: other words\r\nMessage-ID: <4@x>\r\nReferences: <1@x> <3@x>\r\n\r\n",
            "Subject: Re: b\r\n\r\n",
            // the one that both answer is not there
            "Subject: c\r\nReferences: <0@x>\r\n\r\n",
            "Subject: d\r\nReferences: <0@x>\r\n\r\n",
        ];
        for (algorithm, meant, want) in [
            ("refs", vec![4], vec![1, 3, 4]),
            ("REFS", vec![5], vec![5]),
            ("refs", vec![6], vec![6, 7]),
            ("references", vec![2], vec![2, 5]),
            ("references", vec![1, 2], vec![1, 2, 3, 4, 5]),
            ("orderedsubject", vec![1], vec![1, 3]),
            ("refs", vec![], vec![]),
        ] {
            let items = (1..).zip(headers.iter().map(|header| item(header.as_bytes(), 0)));
            let found = around(Algorithm::parse(algorithm).expect(algorithm), items, &meant.iter().copied().collect());
            let mut found: Vec<u32> = found.into_iter().collect();
            found.sort_unstable();
            assert_eq!(found, want, "{algorithm} {meant:?}");
        }
        assert!(Algorithm::parse("x").is_err());
    }
}
