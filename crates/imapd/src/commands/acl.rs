//! SETACL, DELETEACL, GETACL, LISTRIGHTS, MYRIGHTS (RFC 4314 §3).

use crate::answer::Answer;
use crate::commands::enable::Enabled;
use crate::place::Place;
use crate::session::Session;
use imap_proto::{FlagChange, Mailbox, SetAcl, encode};
use mailstore::{Acl, Rights, RightsChange, Subject};

/// What an identifier of IMAP begins with when it names a group, as in Dovecot; group-override is the other one.
const GROUP: char = '$';
const GROUP_OVERRIDE: &str = "!$";

pub async fn set(session: &mut Session, request: SetAcl) -> Answer {
    // RFC 4314 §3.1: an unrecognized right is BAD.
    let Some(rights) = Rights::parse(&request.rights) else { return Answer::bad("Unknown right") };
    let how = match request.change {
        FlagChange::Replace => RightsChange::Replace,
        FlagChange::Add => RightsChange::Add,
        FlagChange::Remove => RightsChange::Remove,
    };
    let (realm, server) = (session.realm.clone(), session.connection.server.clone());
    change(session, &request.mailbox, &request.identifier, "Setacl completed", move |place, subject, negative| {
        if let Some(owner) = realm.owner(&place.spot).filter(|_| realm.others.is_some() && !negative) {
            // first, so that nobody has a right on what no LIST shows
            server.shares().add(subject, owner)?;
        }
        place.spot.account.set_rights(&place.spot.name, subject, negative, how, rights)
    })
    .await
}

pub async fn delete(session: &mut Session, mailbox: &Mailbox, identifier: &str) -> Answer {
    change(session, mailbox, identifier, "Deleteacl completed", |place, subject, negative| {
        place.spot.account.remove_rights(&place.spot.name, subject, negative)
    })
    .await
}

async fn change(
    session: &mut Session,
    mailbox: &Mailbox,
    identifier: &str,
    done: &'static str,
    work: impl FnOnce(&Place, &Subject, bool) -> mailstore::Result<()> + Send + 'static,
) -> Answer {
    let place = match session.place(mailbox, Rights::ADMINISTER).await {
        Ok(place) => place,
        Err(answer) => return answer,
    };
    if !session.realm.acl {
        return Answer::no("CANNOT", "Rights are not in use here (imap_acl)");
    }
    let Some((subject, negative)) = subject(session.realm.owner(&place.spot), identifier) else {
        return Answer::bad("Invalid identifier");
    };
    let shown = place.spot.shown.clone();
    let changed = session
        .blocking(move || {
            work(&place, &subject, negative)?;
            tracing::info!(mailbox = %mail_types::printable(place.spot.shown.as_str()), subject = %mail_types::printable(&subject.to_string()), "rights changed");
            Ok::<_, mailstore::Error>(())
        })
        .await;
    match changed {
        Ok(()) => {
            session.did(&[shown]);
            Answer::ok(done)
        }
        Err(error) => error.into(),
    }
}

/// RFC 4314 §3.3: `* ACL mailbox *(SP identifier SP rights)`
pub async fn get(session: &mut Session, mailbox: &Mailbox) -> Answer {
    let place = match session.place(mailbox, Rights::ADMINISTER).await {
        Ok(place) => place,
        Err(answer) => return answer,
    };
    let spot = place.spot.clone();
    let acl = match session.blocking(move || spot.account.acl(&spot.name)).await {
        Ok(acl) => acl,
        Err(error) => return error.into(),
    };
    let lines = told(session.realm.owner(&place.spot), &acl);
    let (enabled, out) = (session.enabled, &mut session.connection.wire.out);
    out.extend_from_slice(b"* ACL ");
    enabled.write_name(out, place.spot.shown.as_str());
    for (identifier, rights) in lines {
        out.push(b' ');
        encode::astring(out, identifier.as_bytes());
        out.push(b' ');
        encode::astring(out, rights.told().as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    Answer::ok("Getacl completed")
}

/// Identifiers with their rights; the owner is told also where nothing is written of it.
fn told(owner: Option<&str>, acl: &Acl) -> Vec<(String, Rights)> {
    let mut lines = Vec::new();
    if let Some(owner) = owner
        && !acl.grants.iter().any(|grant| grant.subject == Subject::Owner && !grant.negative)
    {
        lines.push((owner.to_owned(), Rights::ALL));
    }
    for grant in &acl.grants {
        let name = match &grant.subject {
            Subject::Owner => owner.unwrap_or("owner").to_owned(),
            Subject::Anyone => "anyone".into(),
            Subject::Authenticated => "authenticated".into(),
            Subject::User(user) => user.clone(),
            Subject::Group(group) => format!("{GROUP}{group}"),
            Subject::GroupOverride(group) => format!("{GROUP_OVERRIDE}{group}"),
        };
        let always = if owner.is_some() && grant.subject == Subject::Owner && !grant.negative { Rights::ADMINISTER } else { Rights::NONE };
        lines.push((format!("{}{name}", if grant.negative { "-" } else { "" }), grant.rights | always));
    }
    lines
}

/// Whom an identifier means, and whether rights are to be taken away (RFC 4314 §2: `-` in front).
fn subject(owner: Option<&str>, identifier: &str) -> Option<(Subject, bool)> {
    let (negative, name) = identifier.strip_prefix('-').map_or((false, identifier), |name| (true, name));
    let subject = match name {
        "anyone" => Subject::Anyone,
        "authenticated" => Subject::Authenticated,
        "owner" => Subject::Owner,
        name if owner == Some(name) => Subject::Owner,
        name => match (name.strip_prefix(GROUP_OVERRIDE), name.strip_prefix(GROUP)) {
            (Some(group), _) => Subject::GroupOverride(group.to_owned()),
            (_, Some(group)) => Subject::Group(group.to_owned()),
            _ => Subject::User(name.to_owned()),
        },
    };
    // a line of `dovecot-acl` must say the same when it is read again
    let fits = !name.is_empty() && !name.contains(['"', '\n', '\r', '\t']);
    (fits && Subject::parse(&subject.to_string()).as_ref() == Some(&subject)).then_some((subject, negative))
}

/// RFC 4314 §3.4: `* LISTRIGHTS mailbox SP identifier SP required *(SP optional)`
pub async fn list_rights(session: &mut Session, mailbox: &Mailbox, identifier: &str) -> Answer {
    let place = match session.place(mailbox, Rights::ADMINISTER).await {
        Ok(place) => place,
        Err(answer) => return answer,
    };
    let Some((subject, negative)) = subject(session.realm.owner(&place.spot), identifier) else {
        return Answer::bad("Invalid identifier");
    };
    let (enabled, out) = (session.enabled, &mut session.connection.wire.out);
    out.extend_from_slice(b"* LISTRIGHTS ");
    enabled.write_name(out, place.spot.shown.as_str());
    out.push(b' ');
    encode::astring(out, identifier.as_bytes());
    // What the owner has always, then what can be given, one by one.
    let always = if session.realm.owner(&place.spot).is_some() && subject == Subject::Owner && !negative {
        Rights::ADMINISTER
    } else {
        Rights::NONE
    };
    out.push(b' ');
    encode::astring(out, always.to_string().as_bytes());
    for letter in Rights::ALL.without(always).told().chars() {
        out.push(b' ');
        out.extend_from_slice(letter.to_string().as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    Answer::ok("Listrights completed")
}

pub async fn my_rights(session: &mut Session, mailbox: &Mailbox) -> Answer {
    // RFC 4314 §4: any right by which the mailbox may be known of.
    let place = match session.place(mailbox, Rights::NONE).await {
        Ok(place) => place,
        Err(answer) => return answer,
    };
    write_my_rights(&mut session.connection.wire.out, session.enabled, place.spot.shown.as_str(), place.rights);
    Answer::ok("Myrights completed")
}

/// RFC 4314 §3.5: `* MYRIGHTS mailbox SP rights`
pub fn write_my_rights(out: &mut Vec<u8>, enabled: Enabled, shown: &str, rights: Rights) {
    out.extend_from_slice(b"* MYRIGHTS ");
    enabled.write_name(out, shown);
    out.push(b' ');
    encode::astring(out, rights.told().as_bytes());
    out.extend_from_slice(b"\r\n");
}
