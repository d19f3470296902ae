//! How errors are told: the peer learns a code and a sentence, the log learns the cause.

use mail_types::{Address, Reply};
use mailstore::Error;

/// The reply for a recipient whose message could not be filed. What we are not sure about is temporary.
pub fn failure(address: &Address, error: &Error, full_is_temporary: bool) -> Reply {
    let (code, status, text) = match error {
        Error::OverQuota { .. } if full_is_temporary => (452, (4, 2, 2), "mailbox is full"),
        Error::OverQuota { .. } => (552, (5, 2, 2), "mailbox is full"),
        Error::NoSpace { .. } => (452, (4, 3, 1), "no space left"),
        Error::Locked { .. } => (451, (4, 2, 1), "mailbox is busy"),
        _ => (451, (4, 3, 0), "mailbox cannot be written just now"),
    };
    Reply::with(code, status, format!("<{address}> {text}"))
}

pub fn saved(address: &Address, duplicate: bool) -> Reply {
    Reply::with(250, (2, 0, 0), format!("<{address}> {}", if duplicate { "was saved before" } else { "Saved" }))
}

pub fn unknown(address: &Address) -> Reply {
    Reply::with(550, (5, 1, 1), format!("<{address}> user unknown"))
}

pub fn unavailable(address: &Address) -> Reply {
    Reply::with(451, (4, 3, 0), format!("<{address}> cannot be looked up just now"))
}

pub fn misconfigured(address: &Address) -> Reply {
    Reply::with(451, (4, 3, 5), format!("<{address}> mailbox is not set up right"))
}

pub fn looping(address: &Address) -> Reply {
    Reply::with(554, (5, 4, 6), format!("<{address}> mail loop: was delivered to this address before"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_mailboxes_follow_the_setting_and_the_rest_is_temporary() {
        let address = Address::parse("ann@example.org").expect("address");
        let over = Error::OverQuota { used: 1, limit: 1, unit: "bytes" };
        assert_eq!(failure(&address, &over, false).code(), 552);
        assert_eq!(failure(&address, &over, true).code(), 452);
        assert!(failure(&address, &Error::NoSuchMailbox, false).is_temporary());
    }
}
