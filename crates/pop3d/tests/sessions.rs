//! pop3d against clients over real connections.

mod common;

use common::{DEADLINE, FOLDER, World};
use testkit::Transcript;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread")]
async fn transcripts_hold_over_connections() {
    for transcript in Transcript::read_all(FOLDER) {
        World::start("").await.run(&transcript).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tls_port_needs_no_stls() {
    let world = World::start("").await;
    let mut stream = world.login().await;
    world.talk(&mut stream, "C: STAT\nS: +OK 3 168\nC: QUIT\nS: +OK …\nS! closed").await;
}

// P3
#[tokio::test(flavor = "multi_thread")]
async fn only_quit_deletes_and_unique_ids_survive_a_restart() {
    let mut world = World::start("").await;
    let mut stream = world.login().await;
    world.talk(&mut stream, "C: UIDL 3\nS: +OK 3 00000003…\nC: DELE 2\nS: +OK …").await;
    stream.write_all(b"UIDL 3\r\n").await.expect("write");
    let mut line = vec![0; 200];
    let length = stream.read(&mut line).await.expect("read");
    let before = String::from_utf8_lossy(&line[..length]).into_owned();
    drop(stream);
    world.stop_pop3d().await;
    assert_eq!(world.count(), 3);

    world.start_pop3d();
    let mut stream = world.login().await;
    world.talk(&mut stream, &format!("C: UIDL 3\nS: {}\nC: DELE 2\nC: QUIT\nS: +OK …\nS: +OK …\nS! closed", before.trim_end())).await;
    assert_eq!(world.count(), 2);
    let mut stream = world.login().await;
    world.talk(&mut stream, "C: STAT\nS: +OK 2 141\nC: UIDL\nS: +OK\nS: 1 00000001…\nS: 2 00000003…\nS: .").await;
}

// P3
#[tokio::test(flavor = "multi_thread")]
async fn a_second_session_hears_in_use_until_the_first_has_ended() {
    let world = World::start("").await;
    let mut first = world.login().await;
    let mut second = world.connect_tls().await;
    world.talk(&mut second, "S: +OK …\nC: USER ann@example.org\nC: PASS secret\nS: +OK\nS: -ERR [IN-USE] …").await;
    world.talk(&mut first, "C: QUIT\nS: +OK …\nS! closed").await;
    world.talk(&mut second, "C: USER ann@example.org\nC: PASS secret\nS: +OK\nS: +OK …\nC: QUIT\nS: +OK …\nS! closed").await;
    assert!(!world.maildir().join("dovecot-pop3-session.lock").exists());
    // Dovecot's lock is one of ours too.
    std::fs::write(world.maildir().join("dovecot-pop3-session.lock"), "1:another.host").expect("write");
    let mut third = world.connect_tls().await;
    world.talk(&mut third, "S: +OK …\nC: USER ann@example.org\nC: PASS secret\nS: +OK\nS: -ERR [IN-USE] …").await;
}

// A8
#[tokio::test(flavor = "multi_thread")]
async fn without_authd_logins_fail_for_the_moment_only() {
    let mut world = World::new("");
    world.start_pop3d();
    let mut stream = world.connect_tls().await;
    world.talk(&mut stream, "S: +OK …\nC: USER ann@example.org\nC: PASS secret\nS: +OK\nS: -ERR [SYS/TEMP] …").await;
    world.start_authd();
    // A partner that is gone is not asked again at once.
    let mut tries = 0;
    loop {
        stream.write_all(b"USER ann@example.org\r\nPASS secret\r\n").await.expect("write");
        let mut answer = String::new();
        while answer.matches("\r\n").count() < 2 {
            let mut buffer = [0; 200];
            let length = tokio::time::timeout(DEADLINE, stream.read(&mut buffer)).await.expect("in time").expect("read");
            answer.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        if answer.contains("+OK Logged in.") {
            break;
        }
        assert!(answer.contains("[SYS/TEMP]"), "{answer}");
        tries += 1;
        assert!(tries < 8);
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_message_arrives_byte_for_byte_though_the_client_is_slow() {
    let world = World::new("");
    let mut body = String::from("Subject: large\n\n");
    while body.len() < 9_000_000 {
        body.push_str(".dots. and text that goes on for a while, line after line\n..\n\n");
    }
    world.deliver(4, body.as_bytes());
    let mut world = world;
    world.start_authd();
    world.start_pop3d();
    let mut stream = world.login().await;
    stream.write_all(b"RETR 4\r\nQUIT\r\n").await.expect("write");
    // The server must wait for us, not gather.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let mut heard = Vec::new();
    tokio::time::timeout(DEADLINE, stream.read_to_end(&mut heard)).await.expect("in time").expect("read");
    let text = String::from_utf8(heard).expect("text");
    let crlf = body.replace('\n', "\r\n");
    let stuffed: String = crlf.split_inclusive("\r\n").map(|l| if l.starts_with('.') { format!(".{l}") } else { l.to_owned() }).collect();
    assert_eq!(text.len(), format!("+OK {} octets\r\n", crlf.len()).len() + stuffed.len() + ".\r\n+OK Logging out.\r\n".len());
    assert!(text == format!("+OK {} octets\r\n{stuffed}.\r\n+OK Logging out.\r\n", crlf.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn fetched_messages_are_read_for_imap_unless_told_otherwise() {
    for (settings, seen) in [("", true), ("pop3_no_flag_updates = true\n", false)] {
        let world = World::start(settings).await;
        let mut stream = world.login().await;
        world.talk(&mut stream, "C: RETR 2\nS* .\nC: QUIT\nS: +OK …\nS! closed").await;
        let names = std::fs::read_dir(world.maildir().join("cur")).expect("folder").map(|e| e.expect("entry").file_name());
        let marked = names.filter(|name| name.to_string_lossy().ends_with(":2,S")).count();
        assert_eq!(marked, usize::from(seen), "{settings:?}");
    }
}

// P4
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_client_is_cut_off_and_nothing_is_deleted() {
    let world = World::start("pop3_timeout = \"1s\"\n").await;
    // All at once, so that no pause of this machine is taken for silence of the client.
    let all = "S: +OK …\nC: USER ann@example.org\nC: PASS secret\nC: DELE 1\nS: +OK\nS: +OK Logged in.\nS: +OK …\n";
    let mut stream = world.connect_tls().await;
    world.talk(&mut stream, &format!("{all}S! closed")).await;
    assert_eq!(world.count(), 3);
    // The mailbox is free for the next session.
    world.talk(&mut world.connect_tls().await, all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_tells_idle_sessions_and_deletes_nothing() {
    let mut world = World::start("").await;
    let mut stream = world.login().await;
    world.talk(&mut stream, "C: DELE 1\nS: +OK …").await;
    world.stop_pop3d().await;
    world.talk(&mut stream, "S: -ERR [SYS/TEMP] …\nS! closed").await;
    assert_eq!(world.count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_unique_id_format_refuses_to_start() {
    let mut world = World::new("pop3_uidl_format = \"%v\"\n");
    world.start_pop3d();
    let error = world.failed().await;
    assert!(error.contains("pop3_uidl_format"), "{error}");
}

// P3
#[tokio::test(flavor = "multi_thread")]
async fn odd_entries_in_the_mailbox_do_not_keep_its_owner_out() {
    let world = World::start("").await;
    let new = world.maildir().join("new");
    std::fs::create_dir(new.join("9000000001.directory.host")).expect("directory");
    std::os::unix::fs::symlink("/etc/hostname", new.join("9000000002.link.host")).expect("link");
    nix::unistd::mkfifo(&new.join("9000000003.fifo.host"), nix::sys::stat::Mode::S_IRWXU).expect("fifo");
    let mut stream = world.login().await;
    world.talk(&mut stream, "C: STAT\nS: +OK 3 168\nC: QUIT\nS: +OK …\nS! closed").await;
    assert!(new.join("9000000003.fifo.host").exists());
}

/// Takes a lease on a file, as Samba does for its clients: others that open it are told to try again. It ends with what is returned.
fn lease(path: &std::path::Path) -> std::fs::File {
    use nix::libc;
    use std::os::fd::AsRawFd;
    let file = std::fs::File::options().read(true).write(true).open(path).expect("file");
    // SAFETY: no pointers; the signal says that somebody else opens the file, and would end this process.
    let taken = unsafe {
        libc::signal(libc::SIGIO, libc::SIG_IGN);
        libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK)
    };
    assert_eq!(taken, 0, "{}", std::io::Error::last_os_error());
    file
}

/// A client takes what is not listed for deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_now_closes_the_mailbox_until_it_can() {
    let world = World::start("").await;
    let leased = lease(&world.maildir().join("new/1700000002.M1P1.mail"));
    let mut refused = world.connect_tls().await;
    world.talk(&mut refused, "S: +OK …\nC: USER ann@example.org\nC: PASS secret\nS: +OK\nS: -ERR [SYS/TEMP] …").await;
    drop(leased);
    let mut stream = world.login().await;
    world.talk(&mut stream, "C: STAT\nS: +OK 3 168\nC: QUIT\nS: +OK …\nS! closed").await;
}

// a move from Dovecot: ids and order that clients know stand in the list of UIDs
#[tokio::test(flavor = "multi_thread")]
async fn ids_and_order_of_an_earlier_migration_are_kept() {
    let world = World::new("");
    let list = "3 V1700000000 N9 G3085f01b7f11094c501100008c4a11c1\n2 PUID2-old O2 :1700000001.M1P1.mail\n5 Psame O1 :1700000002.M1P1.mail\n\
                7 Psame :1700000003.M1P1.mail\n";
    std::fs::write(world.maildir().join("dovecot-uidlist"), list).expect("write");
    let mut world = world;
    world.start_authd();
    world.start_pop3d();
    let mut stream = world.login().await;
    world
        .talk(
            &mut stream,
            "C: UIDL\nS: +OK\nS: 1 same\nS: 2 UID2-old\nS: 3 same-2\nS: .\nC: DELE 1\nS: +OK …\nC: QUIT\nS: +OK …\nS! closed",
        )
        .await;
    assert!(!world.maildir().join("new/1700000002.M1P1.mail").exists(), "the message that was shown as the first is the one that goes");
    assert_eq!(world.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_mail_stays_for_others_when_a_flag_marks_it() {
    let world = World::start("pop3_deleted_flag = \"$POP3Deleted\"\n").await;
    let mut stream = world.login().await;
    world.talk(&mut stream, "C: DELE 2\nC: QUIT\nS: +OK …\nS: +OK …\nS! closed").await;
    assert_eq!(world.count(), 3, "nothing is removed");
    let mut stream = world.login().await;
    world
        .talk(&mut stream, "C: STAT\nS: +OK 2 141\nC: UIDL\nS: +OK\nS: 1 00000001…\nS: 2 00000003…\nS: .\nC: QUIT\nS: +OK …\nS! closed")
        .await;
    let keywords = std::fs::read_to_string(world.maildir().join("dovecot-keywords")).expect("keywords");
    assert_eq!(keywords, "0 $POP3Deleted\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_hides_what_another_server_marked_and_dele_may_remove_all_the_same() {
    let world = World::new("pop3_deleted_flag = \"$Gone\"\npop3_delete_type = \"expunge\"\n");
    std::fs::write(world.maildir().join("dovecot-keywords"), "0 $Gone\n").expect("write");
    std::fs::rename(world.maildir().join("new/1700000001.M1P1.mail"), world.maildir().join("cur/1700000001.M1P1.mail:2,a"))
        .expect("rename");
    let mut world = world;
    world.start_authd();
    world.start_pop3d();
    let mut stream = world.login().await;
    world.talk(&mut stream, "C: UIDL 1\nS: +OK 1 00000002…\nC: DELE 1\nC: QUIT\nS: +OK …\nS: +OK …\nS! closed").await;
    assert_eq!(world.count(), 2, "the one that is hidden and the third");
    for wrong in ["pop3_deleted_flag = \"a b\"\n", "pop3_delete_type = \"flag\"\n"] {
        let mut world = World::new(wrong);
        world.start_pop3d();
        assert!(world.failed().await.contains("pop3_delete"), "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_right_after_another_is_refused_where_there_is_a_delay() {
    let world = World::start("pop3_login_delay = \"1h\"\npop3_expire_days = 30\npop3_enable_last = true\n").await;
    let mut stream = world.login().await;
    let capa = "C: CAPA\nS: +OK\nS: CAPA\nS: TOP\nS: UIDL\nS: RESP-CODES\nS: AUTH-RESP-CODE\nS: PIPELINING\nS: UTF8\nS: LANG\nS: EXPIRE 30\n\
                S: LOGIN-DELAY 3600\nS: SASL PLAIN LOGIN\nS: IMPLEMENTATION Facteur\nS: .\nC: LAST\nS: +OK 0\nC: DELE 2\nS: +OK …\nC: LAST\nS: +OK 2\n\
                C: RSET\nS: +OK\nC: QUIT\nS: +OK …\nS! closed";
    world.talk(&mut stream, capa).await;
    let mut again = world.connect_tls().await;
    world.talk(&mut again, "S: +OK …\nC: USER ann@example.org\nC: PASS secret\nS: +OK\nS: -ERR [LOGIN-DELAY] …").await;
}
