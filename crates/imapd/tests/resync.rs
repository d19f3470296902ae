//! CONDSTORE and QRESYNC (RFC 7162): who hears what, and that a client that was away learns all it missed and nothing else.

mod common;

use common::{Client, World, message};
use std::collections::BTreeMap;

/// The number behind `word` in any of the lines.
fn number_after(lines: &[String], word: &str) -> Option<u64> {
    let after = |line: &String| {
        let rest = &line[line.find(word)? + word.len()..];
        rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
    };
    lines.iter().find_map(after)
}

fn highest(lines: &[String]) -> u64 {
    number_after(lines, "[HIGHESTMODSEQ ").unwrap_or_else(|| panic!("no HIGHESTMODSEQ in {lines:?}"))
}

/// A mailbox of so many messages, opened by a client.
async fn filled(world: &World, count: usize) -> Client {
    let mut client = world.client("ann").await;
    for n in 0..count {
        client.append("INBOX", "", &message(&format!("{n}"), "x")).await;
    }
    client.ok("SELECT INBOX").await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_becomes_aware_of_modseqs_by_each_command_that_uses_them() {
    let world = World::start().await;
    filled(&world, 2).await;
    for command in [
        "ENABLE CONDSTORE",
        "ENABLE QRESYNC",
        "STATUS INBOX (HIGHESTMODSEQ)",
        "LIST \"\" INBOX RETURN (STATUS (HIGHESTMODSEQ))",
        "FETCH 1 (MODSEQ)",
        "FETCH 1 (FLAGS) (CHANGEDSINCE 1)",
        "SEARCH MODSEQ 1",
        "SORT (DATE) UTF-8 MODSEQ 1",
        "THREAD REFERENCES UTF-8 MODSEQ 1",
        "STORE 1 (UNCHANGEDSINCE 1) +FLAGS (\\Seen)",
    ] {
        let mut client = world.client("ann").await;
        let known = highest(&client.ok("SELECT INBOX").await);
        assert_eq!(highest(&client.ok(command).await), known, "{command}");
        // RFC 7162 §3.2.4: UID and MODSEQ from now on, whatever the command
        let told = client.ok("STORE 2 +FLAGS (\\Flagged)").await;
        assert!(told[0].starts_with("* 2 FETCH (UID 2 FLAGS (") && told[0].contains(" MODSEQ ("), "{command}: {told:?}");
        let silent = client.ok("STORE 2 -FLAGS.SILENT (\\Flagged)").await;
        assert!(silent[0].starts_with("* 2 FETCH (UID 2 MODSEQ (") && silent.len() == 1, "{command}: {silent:?}");
        // once is enough
        assert_eq!(number_after(&client.ok(command).await, "[HIGHESTMODSEQ "), None, "{command}");
    }
    let mut client = world.client("ann").await;
    client.ok("SELECT INBOX (CONDSTORE)").await;
    assert!(client.ok("STORE 2 +FLAGS (\\Flagged)").await[0].contains("MODSEQ ("));
    let mut plain = world.client("ann").await;
    plain.ok("SELECT INBOX").await;
    assert_eq!(plain.ok("STORE 2 +FLAGS (\\Deleted)").await, ["* 2 FETCH (FLAGS (\\Flagged \\Deleted))"]);
    assert!(plain.ok("STORE 2 -FLAGS.SILENT (\\Deleted)").await.is_empty());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn select_status_and_enable_say_what_there_is() {
    let world = World::start().await;
    let mut client = filled(&world, 2).await;
    let capabilities = client.ok("CAPABILITY").await.join("");
    assert!(capabilities.contains(" CONDSTORE") && capabilities.contains(" QRESYNC"), "{capabilities}");
    let known = highest(&client.ok("EXAMINE INBOX").await);
    let status = client.ok("STATUS INBOX (HIGHESTMODSEQ MESSAGES)").await;
    assert_eq!(number_after(&status, "HIGHESTMODSEQ "), Some(known));
    client.ok("CREATE Empty").await;
    let empty = highest(&client.ok("SELECT Empty (CONDSTORE)").await);
    assert!(empty > 0);
    assert_eq!(highest(&client.ok("SELECT Empty").await), empty, "nothing changed");
    assert_eq!(client.ok("ENABLE X QRESYNC CONDSTORE").await[0], "* ENABLED QRESYNC CONDSTORE");
    // RFC 7162 §3.2.11: only where a mailbox was open
    assert_eq!(client.ok("SELECT INBOX").await[0], "* OK [CLOSED] Previous mailbox is closed");
    client.ok("UNSELECT").await;
    assert!(!client.ok("SELECT INBOX").await.join("\n").contains("CLOSED"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_on_condition_leaves_alone_what_others_changed() {
    let world = World::start().await;
    let mut client = filled(&world, 4).await;
    let known = highest(&client.ok("SELECT INBOX (CONDSTORE)").await);
    let mut other = world.client("ann").await;
    other.ok("SELECT INBOX").await;
    other.ok("STORE 2 +FLAGS (\\Flagged)").await;
    let mut lines = client.command(&format!("STORE 1:3 (UNCHANGEDSINCE {known}) +FLAGS.SILENT (\\Deleted)")).await;
    assert_eq!(lines.pop().unwrap(), "OK [MODIFIED 2] Some of the messages were changed by others");
    let told = lines.join("\n");
    assert!(
        told.contains("* 2 FETCH (UID 2 FLAGS (\\Flagged \\Recent) MODSEQ (")
            || told.contains("* 2 FETCH (UID 2 FLAGS (\\Flagged) MODSEQ ("),
        "{told}"
    );
    assert!(told.contains("* 1 FETCH (UID 1 MODSEQ (") && told.contains("* 3 FETCH (UID 3 MODSEQ ("), "{told}");
    // with what it was told of just now it can
    let now = number_after(&lines.iter().filter(|line| line.starts_with("* 2 ")).cloned().collect::<Vec<_>>(), "MODSEQ (").unwrap();
    let lines = client.ok(&format!("UID STORE 2 (UNCHANGEDSINCE {now}) +FLAGS (\\Deleted)")).await;
    assert!(lines[0].contains("\\Flagged \\Deleted"), "{lines:?}");
    // RFC 7162 §3.1.3: a set that names a message twice; zero is before everything
    let all = number_after(&client.ok("STATUS INBOX (HIGHESTMODSEQ)").await, "HIGHESTMODSEQ ").unwrap();
    client.ok(&format!("STORE 4,3:4 (UNCHANGEDSINCE {all}) +FLAGS.SILENT (\\Draft)")).await;
    let lines = client.command("UID STORE 1:4 (UNCHANGEDSINCE 0) +FLAGS (\\Seen)").await;
    assert_eq!(lines.last().unwrap(), "OK [MODIFIED 1:4] Some of the messages were changed by others");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fetch_and_search_by_modseq_find_what_changed() {
    let world = World::start().await;
    let mut client = filled(&world, 5).await;
    let known = highest(&client.ok("SELECT INBOX").await);
    client.ok("STORE 2 +FLAGS (\\Flagged)").await;
    client.ok("STORE 4 +FLAGS (\\Flagged)").await;
    let lines = client.ok(&format!("FETCH 1:* (UID) (CHANGEDSINCE {known})")).await;
    let lines: Vec<&String> = lines.iter().filter(|line| line.contains("FETCH")).collect();
    assert!(
        lines.len() == 2 && lines[0].starts_with("* 2 FETCH (UID 2 MODSEQ (") && lines[1].starts_with("* 4 FETCH (UID 4 MODSEQ ("),
        "{lines:?}"
    );
    let top = highest(&client.ok("SELECT INBOX").await);
    for (command, want) in [
        (format!("SEARCH MODSEQ {}", known + 1), format!("* SEARCH 2 4 (MODSEQ {top})")),
        (format!("UID SEARCH MODSEQ \"/flags/\\\\Flagged\" all {top}"), format!("* SEARCH 4 (MODSEQ {top})")),
        (format!("SEARCH MODSEQ {}", top + 1), "* SEARCH".to_owned()),
        (format!("SORT (REVERSE ARRIVAL SUBJECT) UTF-8 MODSEQ {top}"), format!("* SORT 4 (MODSEQ {top})")),
        (format!("SEARCH NOT MODSEQ {} 1", known + 1), String::new()),
    ] {
        let lines = client.ok(&command).await;
        assert!(want.is_empty() || lines.contains(&want), "{command}: {lines:?}");
    }
    let second = number_after(&client.ok("FETCH 2 (MODSEQ)").await, "MODSEQ (").unwrap();
    for (returns, want) in [
        ("ALL", format!("ALL 2,4 MODSEQ {top}")),
        ("MIN", format!("MIN 2 MODSEQ {second}")),
        ("MAX", format!("MAX 4 MODSEQ {top}")),
        ("MIN COUNT", format!("MIN 2 COUNT 2 MODSEQ {top}")),
    ] {
        let lines = client.ok(&format!("SEARCH RETURN ({returns}) MODSEQ {}", known + 1)).await;
        assert!(lines[0].starts_with("* ESEARCH (TAG ") && lines[0].ends_with(&want), "{returns}: {lines:?}");
    }
    // RFC 7162 §3.2.4: what sets \Seen tells MODSEQ and UID
    let lines = client.ok("FETCH 1 BODY[TEXT]").await.join("\n");
    assert!(lines.contains("FLAGS (\\Seen") && lines.contains(" MODSEQ (") && lines.contains(" UID 1)"), "{lines}");
    let modseq = number_after(&[lines], " MODSEQ (").unwrap();
    assert_eq!(number_after(&client.ok("FETCH 1 (MODSEQ)").await, "MODSEQ ("), Some(modseq));
    world.stop().await;
}

/// One acts, three watch: a plain client, one with CONDSTORE, one with QRESYNC.
#[tokio::test(flavor = "multi_thread")]
async fn each_client_hears_of_changes_in_its_own_words() {
    let world = World::start().await;
    let mut actor = filled(&world, 6).await;
    let (mut plain, mut aware, mut resync) = (world.client("ann").await, world.client("ann").await, world.client("ann").await);
    plain.ok("SELECT INBOX").await;
    aware.ok("SELECT INBOX (CONDSTORE)").await;
    resync.ok("ENABLE QRESYNC").await;
    let known = highest(&resync.ok("SELECT INBOX").await);
    actor.ok("STORE 3 +FLAGS (\\Deleted)").await;
    let fetch = |lines: Vec<String>| lines.into_iter().find(|line| line.contains("FETCH")).unwrap_or_default();
    assert_eq!(fetch(plain.ok("NOOP").await), "* 3 FETCH (FLAGS (\\Deleted))");
    for client in [&mut aware, &mut resync] {
        let told = fetch(client.ok("NOOP").await);
        assert!(told.starts_with("* 3 FETCH (UID 3 FLAGS (\\Deleted) MODSEQ ("), "{told}");
        assert!(number_after(&[told], "MODSEQ (").unwrap() > known);
    }
    actor.ok("STORE 2,5 +FLAGS.SILENT (\\Deleted)").await;
    actor.ok("EXPUNGE").await;
    let told =
        |lines: &[String]| lines.iter().filter(|line| line.contains("EXPUNGE") || line.contains("VANISHED")).cloned().collect::<Vec<_>>();
    assert_eq!(told(&plain.ok("NOOP").await), ["* 5 EXPUNGE", "* 3 EXPUNGE", "* 2 EXPUNGE"]);
    assert_eq!(told(&aware.ok("NOOP").await), ["* 5 EXPUNGE", "* 3 EXPUNGE", "* 2 EXPUNGE"]);
    assert_eq!(told(&resync.ok("NOOP").await), ["* VANISHED 2:3,5"]);

    // RFC 7162 §3.2.7, §3.2.9, RFC 6851: the tagged OK has the MODSEQ of the removal; of CLOSE never (§3.2.8)
    resync.ok("CREATE Other").await;
    resync.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    for (command, gone) in [("UID EXPUNGE 1", "* VANISHED 1"), ("UID MOVE 4 Other", "* VANISHED 4")] {
        let lines = resync.command(command).await;
        assert!(lines.contains(&gone.to_owned()), "{command}: {lines:?}");
        let (tagged, code) = (lines.last().unwrap(), highest(&lines[lines.len() - 1..]));
        assert!(tagged.starts_with("OK [HIGHESTMODSEQ "), "{tagged}");
        assert_eq!(number_after(&aware.ok("STATUS INBOX (HIGHESTMODSEQ)").await, "HIGHESTMODSEQ "), Some(code));
    }
    assert_eq!(resync.command("EXPUNGE").await, ["OK Expunge completed"]);
    resync.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(resync.command("CLOSE").await, ["OK Close completed"]);
    world.stop().await;
}

/// RFC 7162 §3.2, §6: a removal that cannot be told yet must not be lost to a client that is cut off now.
#[tokio::test(flavor = "multi_thread")]
async fn while_a_removal_is_held_back_the_highest_modseq_is_below_it() {
    let world = World::start().await;
    let mut actor = filled(&world, 3).await;
    let mut client = world.client("ann").await;
    client.ok("ENABLE QRESYNC").await;
    let lines = client.ok("SELECT INBOX").await;
    let (validity, known) = (number_after(&lines, "[UIDVALIDITY ").unwrap(), highest(&lines));
    actor.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    actor.ok("EXPUNGE").await;
    actor.ok("UID STORE 3 +FLAGS (\\Flagged)").await;
    let lines = client.ok("STORE 2 +FLAGS (\\Seen)").await;
    assert!(!lines.join("\n").contains("VANISHED"), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("* 3 FETCH (UID 3 FLAGS (\\Flagged")), "{lines:?}");
    assert_eq!(highest(&lines), known, "{lines:?}");
    // were it cut off now, it would come back with that
    let mut again = world.client("ann").await;
    again.ok("ENABLE QRESYNC").await;
    let missed = again.ok(&format!("SELECT INBOX (QRESYNC ({validity} {known}))")).await;
    assert!(missed.contains(&"* VANISHED (EARLIER) 1".to_owned()), "{missed:?}");
    let lines = client.ok("NOOP").await;
    assert!(lines.contains(&"* VANISHED 1".to_owned()) && highest(&lines) > known, "{lines:?}");
    // RFC 7162 §3.2.10.2: UID SEARCH may tell of removals, but not where it names message numbers
    actor.ok("UID STORE 2 +FLAGS.SILENT (\\Deleted)").await;
    actor.ok("EXPUNGE").await;
    assert!(!client.ok("UID SEARCH 1:2").await.join("\n").contains("VANISHED"));
    assert!(client.ok("UID SEARCH ALL").await.join("\n").contains("VANISHED 2"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_may_not_ask_without_enabling() {
    let world = World::start().await;
    let mut client = filled(&world, 1).await;
    for command in
        ["SELECT INBOX (QRESYNC (1 1))", "UID FETCH 1 (FLAGS) (CHANGEDSINCE 1 VANISHED)", "FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)"]
    {
        assert!(client.command(command).await.last().unwrap().starts_with("BAD"), "{command}");
        // the mailbox is still open
        client.ok("FETCH 1 FLAGS").await;
    }
    // after a new login nothing is enabled
    client.ok("ENABLE QRESYNC").await;
    client.ok("UNAUTHENTICATE").await;
    client.ok("LOGIN ann@example.org pw").await;
    assert!(client.command("SELECT INBOX (QRESYNC (1 1))").await.last().unwrap().starts_with("BAD"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_hears_what_it_missed_of_what_it_asks_for() {
    let world = World::start().await;
    let mut actor = filled(&world, 10).await;
    let lines = actor.ok("SELECT INBOX").await;
    let (validity, known) = (number_after(&lines, "[UIDVALIDITY ").unwrap(), highest(&lines));
    actor.ok("STORE 2,4,8 +FLAGS.SILENT (\\Deleted)").await;
    actor.ok("EXPUNGE").await;
    actor.ok("UID STORE 3,9 +FLAGS.SILENT (\\Flagged)").await;
    let mut client = world.client("ann").await;
    client.ok("ENABLE QRESYNC").await;
    let missed = |lines: &[String]| -> (String, Vec<String>) {
        let vanished = lines.iter().position(|line| line.starts_with("* VANISHED"));
        let fetches: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].contains(" FETCH (UID ")).collect();
        // RFC 7162 §3.2.6: after the numbers are known, and removals first
        assert!(vanished.is_none_or(|at| fetches.iter().all(|fetch| *fetch > at)), "{lines:?}");
        let fetches = fetches.iter().map(|at| lines[*at].split(" MODSEQ").next().unwrap().to_owned()).collect();
        (vanished.map(|at| lines[at].clone()).unwrap_or_default(), fetches)
    };
    let flagged = ["* 2 FETCH (UID 3 FLAGS (\\Flagged)".to_owned(), "* 6 FETCH (UID 9 FLAGS (\\Flagged)".to_owned()];
    for (parameters, vanished, fetches) in [
        (format!("{validity} {known}"), "* VANISHED (EARLIER) 2,4,8", &flagged[..]),
        (format!("{validity} {known} 1:4"), "* VANISHED (EARLIER) 2,4", &flagged[..1]),
        (format!("{validity} {known} 5,8:20"), "* VANISHED (EARLIER) 8", &flagged[1..]),
        (format!("{} {known}", validity + 1), "", &[]),
        // samples are of use only where the log does not reach back
        (format!("{validity} {known} 1:10 (1:2 1:2)"), "* VANISHED (EARLIER) 2,4,8", &flagged[..]),
    ] {
        let lines = client.ok(&format!("SELECT INBOX (QRESYNC ({parameters}))")).await;
        let (gone, flags) = missed(&lines);
        assert_eq!((gone.as_str(), &flags[..]), (vanished, fetches), "{parameters}");
    }
    let lines = client.ok(&format!("UID FETCH 1:* (FLAGS) (CHANGEDSINCE {known} VANISHED)")).await;
    assert_eq!(missed(&lines), ("* VANISHED (EARLIER) 2,4,8".to_owned(), flagged.to_vec()));
    // up to date: nothing
    let top = highest(&client.ok("SELECT INBOX").await);
    let lines = client.ok(&format!("SELECT INBOX (QRESYNC ({validity} {top}))")).await;
    assert_eq!(missed(&lines), (String::new(), Vec::new()));
    // longer ago than the log knows: all that is not there, but for what samples prove to be known (RFC 7162 §3.2.5.2)
    for (samples, vanished) in [
        ("", "* VANISHED (EARLIER) 2,4,8"),
        (" (1,2 1,3)", "* VANISHED (EARLIER) 4,8"),
        (" (2,5,7 3,7,99)", "* VANISHED (EARLIER) 8"),
        (" (1:7 1,3,5:7,9:10)", ""),
        (" (1:4000000000 1:4000000000)", "* VANISHED (EARLIER) 2,4,8"),
    ] {
        let lines = client.ok(&format!("SELECT INBOX (QRESYNC ({validity} 1 1:10{samples}))")).await;
        let (gone, flags) = missed(&lines);
        assert_eq!((gone.as_str(), flags.len()), (vanished, 7), "{samples}");
    }
    world.stop().await;
}

/// On a disk that cannot be written there are no MODSEQs to rely on.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_log_there_are_no_modseqs() {
    let world = World::start().await;
    let mut client = filled(&world, 1).await;
    client.ok("CREATE Odd").await;
    // what nobody can write to
    std::fs::create_dir(world.maildir("ann").join(".Odd/facteur.log")).unwrap();
    client.append("Odd", "", &message("x", "y")).await;
    let lines = client.ok("SELECT Odd (CONDSTORE)").await;
    assert!(lines.join("\n").contains("* OK [NOMODSEQ]") && !lines.join("\n").contains("HIGHESTMODSEQ"), "{lines:?}");
    for command in ["FETCH 1 (MODSEQ)", "FETCH 1 FLAGS (CHANGEDSINCE 1)", "SEARCH MODSEQ 1", "STORE 1 (UNCHANGEDSINCE 1) FLAGS ()"] {
        assert!(client.command(command).await.last().unwrap().starts_with("BAD"), "{command}");
    }
    assert!(client.ok("STATUS Odd (HIGHESTMODSEQ)").await.join("").contains("HIGHESTMODSEQ 0"));
    client.ok("FETCH 1 (FLAGS)").await;
    // RFC 7162 §3.2.3: what goes is told by number, and nothing has a MODSEQ
    client.ok("ENABLE QRESYNC").await;
    for _ in 0..2 {
        let told = client.ok("STORE 1 +FLAGS (\\Deleted)").await.join("").replace(" \\Recent", "");
        assert_eq!(told, "* 1 FETCH (FLAGS (\\Deleted))");
        client.ok("STORE 1 -FLAGS.SILENT (\\Deleted)").await;
        client.ok("SELECT Odd").await;
        client.append("Odd", "", &message("x", "y")).await;
        client.ok("NOOP").await;
    }
    client.ok("STORE 1 +FLAGS (\\Deleted)").await;
    assert_eq!(client.ok("EXPUNGE").await[0], "* 1 EXPUNGE");
    world.stop().await;
}

/// What a client with a cache of its own knows of a mailbox, as Thunderbird or a phone does.
#[derive(Default)]
struct Cache {
    validity: u64,
    modseq: u64,
    /// UID and flags, sorted.
    messages: BTreeMap<u32, Vec<String>>,
}

impl Cache {
    /// Opens the mailbox, applies what it hears, and asks for new messages by UID.
    async fn catch_up(&mut self, world: &World) {
        let mut client = world.client("ann").await;
        client.ok("ENABLE QRESYNC").await;
        let resync = if self.modseq > 0 { format!(" (QRESYNC ({} {}))", self.validity, self.modseq) } else { String::new() };
        let lines = client.ok(&format!("SELECT INBOX{resync}")).await;
        let validity = number_after(&lines, "[UIDVALIDITY ").unwrap();
        if validity != self.validity {
            *self = Cache { validity, ..Cache::default() };
        }
        self.apply(&lines, false);
        self.modseq = highest(&lines);
        let from = self.messages.keys().last().copied().unwrap_or(0) + 1;
        let lines = client.ok(&format!("UID FETCH {from}:* (FLAGS)")).await;
        self.apply(&lines, true);
        let exists = client.ok("UID SEARCH ALL").await;
        let uids: Vec<u32> = exists[0].split(' ').skip(2).map(|uid| uid.parse().unwrap()).collect();
        assert_eq!(self.messages.keys().copied().collect::<Vec<_>>(), uids);
        let mut truth = Cache::default();
        truth.apply(&client.ok("UID FETCH 1:* (FLAGS)").await, true);
        assert_eq!(self.messages, truth.messages);
    }

    fn apply(&mut self, lines: &[String], add: bool) {
        for line in lines {
            if let Some(set) = line.strip_prefix("* VANISHED (EARLIER) ") {
                for range in set.split(',') {
                    let (first, last) = range.split_once(':').unwrap_or((range, range));
                    let range = first.parse::<u32>().unwrap()..=last.parse().unwrap();
                    self.messages.retain(|uid, _| !range.contains(uid));
                }
            } else if line.contains(" FETCH (") {
                let uid = number_after(std::slice::from_ref(line), "UID ").unwrap() as u32;
                let flags = line.split_once("FLAGS (").unwrap().1.split_once(')').unwrap().0;
                let mut flags: Vec<String> = flags.split(' ').filter(|flag| !["", "\\Recent"].contains(flag)).map(str::to_owned).collect();
                flags.sort();
                // of a message that is new to it a client asks for itself
                if add || self.messages.contains_key(&uid) {
                    self.messages.insert(uid, flags);
                }
            }
        }
    }
}

/// Two clients that come by now and then, while sessions, other programs, restarts and lost logs change the mailbox under them.
#[tokio::test(flavor = "multi_thread")]
async fn caches_of_clients_are_true_after_each_visit() {
    let mut world = World::start().await;
    let (mut often, mut seldom) = (Cache::default(), Cache::default());
    let mut next: u32 = 12345;
    let mut random = |below: u32| {
        next = next.wrapping_mul(1_103_515_245).wrapping_add(12345);
        (next >> 16) % below
    };
    filled(&world, 8).await;
    for round in 0..25 {
        let mut actor = world.client("ann").await;
        actor.ok("SELECT INBOX").await;
        for _ in 0..random(6) {
            let count = actor.ok("UID SEARCH ALL").await.last().unwrap().split(' ').count() as u32 - 2;
            let number = random(count.max(1)) + 1;
            match random(6) {
                0 => drop(actor.append("INBOX", "", &message("more", "x")).await),
                1 => world.drop_mail("ann", &format!("{}.r{round}n{number}.host", 1_000_000 + round), "Subject: dropped\n\nx\n"),
                2 if count > 3 => {
                    actor.ok(&format!("STORE {number} +FLAGS.SILENT (\\Deleted)")).await;
                    actor.ok("EXPUNGE").await;
                }
                // as another mail program, without us
                3 if count > 3 => {
                    let cur = world.maildir("ann").join("cur");
                    let file = std::fs::read_dir(&cur).unwrap().flatten().map(|entry| entry.path()).min().unwrap();
                    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
                    let (base, flags) = name.split_once(":2,").unwrap();
                    let flags = if flags.contains('F') { flags.replace('F', "") } else { format!("F{flags}") };
                    if random(4) == 0 {
                        std::fs::remove_file(&file).unwrap();
                    } else {
                        std::fs::rename(&file, cur.join(format!("{base}:2,{flags}"))).unwrap();
                    }
                    actor.ok("NOOP").await;
                }
                4 if count > 0 => drop(actor.ok(&format!("STORE {number} +FLAGS.SILENT (\\Seen $Label)")).await),
                _ if count > 0 => drop(actor.ok(&format!("STORE {number} -FLAGS.SILENT (\\Seen $Label)")).await),
                _ => {}
            }
        }
        drop(actor);
        if round % 8 == 5 {
            world = world
                .restarted(|maildir| {
                    if round == 13 {
                        std::fs::remove_file(maildir.join("facteur.log")).unwrap();
                    }
                })
                .await;
        }
        often.catch_up(&world).await;
        if round % 5 == 4 {
            seldom.catch_up(&world).await;
        }
    }
    world.stop().await;
}
