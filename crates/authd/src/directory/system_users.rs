//! `passwd`: the users of the system, as getpwnam(3) knows them.
//!
//! Only people: who has a uid from 1000 on, and is not `nobody`. A daemon's account gets no mailbox because somebody writes to it.

use std::path::Path;

const FIRST_UID: u32 = 1000;
const NOBODY: u32 = 65534;

fn is_person(uid: u32) -> bool {
    uid >= FIRST_UID && uid != NOBODY
}

/// The home of a user. `None`: there is no such person.
pub(super) async fn home(user: &str) -> anyhow::Result<Option<String>> {
    let name = user.to_owned();
    // It may ask servers.
    let found = tokio::task::spawn_blocking(move || nix::unistd::User::from_name(&name)).await??;
    // Some sources know names in other cases too; these would be mailboxes of their own.
    let person = found.filter(|found| is_person(found.uid.as_raw()) && found.name == user);
    Ok(person.map(|person| person.dir.display().to_string()))
}

/// The names of those in /etc/passwd. Other sources can have more than anybody wants to list.
pub(super) async fn list() -> anyhow::Result<Vec<String>> {
    let text = tokio::task::spawn_blocking(|| std::fs::read_to_string(Path::new("/etc/passwd"))).await??;
    Ok(people(&text))
}

/// Of lines `name:password:uid:…`.
fn people(text: &str) -> Vec<String> {
    let person = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = fields.nth(1)?.parse().ok()?;
        is_person(uid).then(|| name.to_owned())
    };
    text.lines().filter_map(person).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_of_daemons_are_no_people() {
        let text = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000:Ann:/home/ann:/bin/sh\nmail:x:8:8::/var/mail:/x\n\
                    zoe:x:70000:70000::/home/zoe:/x\nnobody:x:65534:65534::/:/x\n+::::::\n:x:1001:::\nbroken:x\n# no\n";
        assert_eq!(people(text), ["ann", "zoe"]);
    }

    #[tokio::test]
    async fn the_system_is_asked() {
        for nobody in ["root", "nobody", "daemon", "no-such-user", "a\0b", ""] {
            assert_eq!(home(nobody).await.expect("answer"), None, "{nobody:?}");
        }
        for name in list().await.expect("/etc/passwd") {
            assert!(home(&name).await.expect("answer").is_some(), "{name}");
        }
    }
}
