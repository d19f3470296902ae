//! Files that move while we look, odd entries, and what stays of the uidlist.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::{Home, inbox, uids};
use mailstore::{Access, Error, Flags};

/// A program moves a message between new and cur without end; a copy elsewhere shares the file, so that it has two names all the time.
#[test]
fn a_file_renamed_back_and_forth_is_never_removed() {
    let home = Home::new();
    home.account();
    home.write("cur/1000.a.host:2,S", "Subject: a\n\nx\n");
    std::fs::create_dir_all(home.path(".Copy/cur")).unwrap();
    std::fs::hard_link(home.path("cur/1000.a.host:2,S"), home.path(".Copy/cur/copy:2,")).unwrap();
    let stop = AtomicBool::new(false);
    let names = ["cur/1000.a.host:2,S", "new/1000.a.host"];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for (from, to) in [(0, 1), (1, 0)] {
                    // a name of its own for a moment is allowed
                    if std::fs::rename(home.path(names[from]), home.path(names[to])).is_err() {
                        std::thread::yield_now();
                    }
                }
            }
        });
        let mailbox = inbox(&home);
        for _ in 0..3000 {
            mailbox.refresh().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(home.count("cur") + home.count("new"), 1, "{:?} {:?}", home.names("cur"), home.names("new"));
    assert_eq!(inbox(&home.again()).snapshot().len(), 1);
}

#[test]
fn a_line_whose_file_we_have_not_seen_survives_a_rewrite() {
    let home = Home::new();
    let mailbox = inbox(&home);
    for n in 0..3 {
        home.append(&mailbox, &format!("{n}\r\n"), Flags::SEEN);
    }
    let base = mailbox.snapshot().get(1).unwrap().base_name().to_owned();
    drop(mailbox);
    // not there when this process looks, and there again before it replaces the list
    home.rename(&format!("cur/{base}:2,S"), "hidden");
    let mailbox = inbox(&home.again());
    assert_eq!(uids(&mailbox.snapshot()), [1, 3]);
    home.rename("hidden", &format!("cur/{base}:2,S"));
    let list = home.read("dovecot-uidlist");
    home.write("dovecot-uidlist", &format!("{list}garbage\n"));
    home.append(&mailbox, "more\r\n", Flags::SEEN);
    let list = home.read("dovecot-uidlist");
    assert!(list.contains(&format!("\n2 :{base}\n")) && !list.contains("garbage"), "{list}");
    assert_eq!(uids(&inbox(&home.again()).snapshot())[..3], [1, 2, 3]);
}

/// Directories, links, FIFOs and such are no messages, whoever put them there; nothing of them is opened.
#[test]
fn only_regular_files_are_messages() {
    for watched in [false, true] {
        let home = Home::new();
        let mailbox = inbox(&home);
        let _changes = watched.then(|| mailbox.changes());
        std::fs::write(home.beside("secret"), "secret").unwrap();
        home.append(&mailbox, "x\r\n", Flags::NONE);
        std::fs::create_dir(home.path("cur/1.directory.host:2,S")).unwrap();
        std::fs::create_dir(home.path("new/2.directory.host")).unwrap();
        std::os::unix::fs::symlink(home.beside("secret"), home.path("new/3.link.host")).unwrap();
        std::os::unix::fs::symlink("nowhere", home.path("cur/4.link.host:2,")).unwrap();
        nix::unistd::mkfifo(&home.path("new/5.fifo.host"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        drop(std::os::unix::net::UnixListener::bind(home.path("new/6.socket.host")).unwrap());
        mailbox.refresh().unwrap();
        let _view = mailbox.view(Access::ReadWrite).unwrap();
        assert_eq!(uids(&mailbox.snapshot()), [1], "watched: {watched}");
        assert_eq!(home.read("dovecot-uidlist").lines().count(), 2);
        assert_eq!(uids(&inbox(&home.again()).snapshot()), [1]);
        assert!(home.exists("new/5.fifo.host"));
        // a message that becomes something else is gone
        let name = home.names("cur").into_iter().find(|name| name.contains(",S=")).unwrap();
        home.remove(&format!("cur/{name}"));
        nix::unistd::mkfifo(&home.path(&format!("cur/{name}")), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(mailbox.read(1), Err(Error::Unsafe { .. } | Error::Expunged)));
        mailbox.refresh().unwrap();
        assert!(mailbox.snapshot().is_empty(), "watched: {watched}");
    }
}
