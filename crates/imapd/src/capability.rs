//! What we say we can do, before and after login.

use config::Imapd;
use ipc::auth::{Channel, Mechanism};

/// Before login. `secured`: passwords may be sent; `starttls`: TLS can still begin.
///
/// LITERAL- here and LITERAL+ after login: RFC 7888 §5 forbids both at once, and a stranger has no need to send much.
pub fn before_login(secured: bool, starttls: bool, mechanisms: &[Mechanism], channel: &Channel) -> String {
    let mut all = String::from("IMAP4rev1 IMAP4rev2 SASL-IR LITERAL- ID ENABLE IDLE LOGIN-REFERRALS");
    if starttls {
        all.push_str(" STARTTLS");
    }
    if !secured {
        // RFC 3501 §6.2.3
        all.push_str(" LOGINDISABLED");
    }
    for mechanism in mechanisms {
        if offered(mechanism, secured, channel) {
            all.push_str(" AUTH=");
            all.push_str(&mechanism.name);
        }
    }
    all
}

/// May a client use this mechanism now?
pub fn offered(mechanism: &Mechanism, secured: bool, channel: &Channel) -> bool {
    mechanism.fits(channel) && !mechanism.anonymous && (secured || !mechanism.plaintext)
}

/// After login.
pub fn after_login(imapd: &Imapd) -> String {
    let literal = if imapd.imap_literal_minus { "LITERAL-" } else { "LITERAL+" };
    // RFC 7889 §3: one limit for all mailboxes.
    let limit = imapd.append_size_limit.0;
    // RFC 4314 §2.2: which rights of its own kind a server has.
    let acl = if imapd.imap_acl { " ACL RIGHTS=texk LIST-MYRIGHTS" } else { "" };
    let progress = if imapd.imap_progress_interval.is_zero() { "" } else { " INPROGRESS" };
    let messages = match imapd.imap_message_limit {
        0 => String::new(),
        limit => format!(" MESSAGELIMIT={limit}"),
    };
    let notify = if imapd.imap_notify_max_mailboxes > 0 { " NOTIFY" } else { "" };
    let fuzzy = if imapd.fts { " SEARCH=FUZZY" } else { "" };
    format!(
        "IMAP4rev1 IMAP4rev2 SASL-IR {literal} ID ENABLE IDLE LOGIN-REFERRALS NAMESPACE UIDPLUS MOVE UNSELECT CHILDREN LIST-EXTENDED LIST-STATUS LIST-METADATA SPECIAL-USE ESEARCH \
         SEARCHRES WITHIN STATUS=SIZE APPENDLIMIT={limit} PARTIAL CONTEXT=SEARCH CONTEXT=SORT MULTISEARCH UNAUTHENTICATE COMPRESS=DEFLATE MULTIAPPEND BINARY CATENATE URL-PARTIAL REPLACE PREVIEW OBJECTID SAVEDATE UTF8=ACCEPT SORT SORT=DISPLAY ESORT THREAD=ORDEREDSUBJECT THREAD=REFERENCES THREAD=REFS \
         CONDSTORE QRESYNC QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE METADATA METADATA-SERVER UIDONLY I18NLEVEL=1{notify}{progress}{fuzzy}{acl}{messages}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mechanism(name: &str, plaintext: bool) -> Mechanism {
        Mechanism { name: name.into(), plaintext, ..Mechanism::default() }
    }

    #[test]
    fn passwords_are_not_asked_for_in_the_clear() {
        let all = [mechanism("PLAIN", true), mechanism("SCRAM-SHA-256", false)];
        let open = before_login(false, true, &all, &Channel::default());
        assert!(open.contains("LOGINDISABLED") && open.contains("STARTTLS") && !open.contains("AUTH=PLAIN"), "{open}");
        assert!(open.contains("AUTH=SCRAM-SHA-256"), "{open}");
        let secured = before_login(true, false, &all, &Channel::default());
        assert!(!secured.contains("LOGINDISABLED") && !secured.contains("STARTTLS") && secured.contains("AUTH=PLAIN"), "{secured}");
    }

    #[test]
    fn fuzzy_searches_are_announced_with_the_index() {
        let with = |fts| after_login(&Imapd { fts, ..Imapd::default() }).contains(" SEARCH=FUZZY");
        assert_eq!((with(true), with(false)), (true, false));
    }

    #[test]
    fn only_one_kind_of_literal_is_announced() {
        let with = |imap_literal_minus| after_login(&Imapd { imap_literal_minus, ..Imapd::default() });
        for all in [before_login(true, true, &[], &Channel::default()), with(true), with(false)] {
            assert_eq!(all.matches("LITERAL").count(), 1, "{all}");
        }
    }
}
