//! The index of words (`facteur.search`): made while nobody waits, or by hand; whatever becomes of it, searches find the same.

use crate::clients::python;
use e2e::{PASSWORD, Server, eventually};
use std::path::Path;

const ACCOUNT: &str = "alice@example.test";

/// How many messages the file has something of.
fn indexed(file: &Path) -> usize {
    std::fs::read(file).unwrap_or_default().windows(4).filter(|window| window == b"FcR1").count()
}

#[test]
fn an_index_may_come_go_and_break() {
    let Some(python) = python("an_index_may_come_go_and_break") else { return };
    let server = Server::builder().settings("[imapd]\nfts = true\n").start();
    let bodies = ["the harvest is in", "rien", "=?x?= rendez-VOUS =\n", "cmVuZGV6LXZvdXM="];
    for number in 0..12 {
        let encoding = if number % 4 == 3 { "Content-Transfer-Encoding: base64\n" } else { "" };
        let subject = if number == 5 { "Harvest" } else { "a message" };
        let text = format!("Subject: {subject}\nX-Number: {number}\n{encoding}\n{}\n", bodies[number % 4]);
        server.send("a@elsewhere.test", &[ACCOUNT], &text);
        server.wait_for_mail(ACCOUNT, number + 1);
    }
    let search = || python.ok([e2e::client("search.py").to_str().expect("a path"), &server.imaps_port().to_string(), ACCOUNT, PASSWORD]);
    let want = "TEXT harvest 1 5 6 9\nBODY \"Rendez-vous\" 3 4 7 8 11 12\nSUBJECT harvest 6\nNOT TEXT harvest 2 3 4 7 8 10 11 12\n\
                HEADER X-Number 7 8\nTEXT x-number 1 2 3 4 5 6 7 8 9 10 11 12\nBODY x-number \nTEXT nowhere \nFUZZY 1 5 6 9\nSORT 6 1 5 9\n";
    assert_eq!(search(), want, "while it is made");
    let file = server.maildir(ACCOUNT).join("facteur.search");
    eventually("an index", || (indexed(&file) == 12).then_some(()), || format!("{} of 12\n{}", indexed(&file), server.log()));
    assert_eq!(search(), want, "with the index");

    let whole = std::fs::read(&file).expect("index");
    let mut damaged = whole.clone();
    damaged[whole.len() / 3..whole.len() / 2].fill(0);
    for broken in [damaged, whole[..whole.len() / 2].to_vec(), b"not an index at all".to_vec()] {
        std::fs::write(&file, broken).expect("written");
        assert_eq!(search(), want, "with a broken index");
    }
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(search(), want, "without the index");
    server.facteur_ok(&["index", "-u", ACCOUNT, "*"]);
    assert!(indexed(&file) >= 12, "{}", indexed(&file));
    assert_eq!(search(), want, "with an index made by hand");
}
