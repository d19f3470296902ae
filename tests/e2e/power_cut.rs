//! Power cuts: an ext4 of the test's own is shut down under load without flushing its journal, mounted again, and compared
//! with the ledger of 250s. `FACTEUR_CUTS` says how often (`cargo xtask campaign cuts`).

use e2e::{Server, eventually, queue_ids, try_send};
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

/// `FS_IOC_SHUTDOWN` with `NOLOGFLUSH`: what was not synced is gone, as when the power fails.
fn cut_power(mount: &Path) {
    const FS_IOC_SHUTDOWN: libc::c_ulong = 0x8004_587d;
    let flag: u32 = 2;
    let folder = std::fs::File::open(mount).expect("the mount point");
    // SAFETY: the descriptor is open and the kernel reads one u32.
    let result = unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&folder), FS_IOC_SHUTDOWN, &flag) };
    assert_eq!(result, 0, "FS_IOC_SHUTDOWN: {}", std::io::Error::last_os_error());
}

fn run(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

#[test]
fn power_cuts_lose_nothing_that_was_acknowledged() {
    let test = "power_cuts_lose_nothing_that_was_acknowledged";
    let cuts = std::env::var("FACTEUR_CUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    // Mounts of this thread and its children are seen by nobody else, and go with them.
    let alone =
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).is_ok() && run(Command::new("mount").args(["--make-rprivate", "/"]));
    if !alone {
        return e2e::skipped("mount as root", test);
    }
    let folder = tempfile::Builder::new().prefix("facteur-cut-").tempdir().expect("folder");
    let (image, mount) = (folder.path().join("image"), folder.path().join("mount"));
    std::fs::File::create(&image).and_then(|f| f.set_len(1 << 30)).expect("image");
    std::fs::create_dir(&mount).expect("mount point");
    let mount_it = || run(Command::new("mount").args(["-o", "loop,commit=300"]).arg(&image).arg(&mount));
    if !run(Command::new("mkfs.ext4").arg("-q").arg(&image)) || !mount_it() {
        return e2e::skipped("loop devices", test);
    }
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("clock").as_nanos() as u64;
    eprintln!("seed {seed}");
    let mut random = seed | 1;
    let root = mount.join("server");
    let mut server = Server::builder().settings("[smtpd]\nsmtpd_client_connection_count_limit = 0\n").start_at(&root);
    // What is tested is mail, not how soon a first start is on disk: settings of the test and the new accounts are synced once.
    let folder_of_all = std::fs::File::open(&mount).expect("the mount point");
    nix::unistd::syncfs(&folder_of_all).expect("syncfs");
    drop(folder_of_all);
    let sent = AtomicUsize::new(0);
    let mut accepted: HashMap<String, usize> = HashMap::new();
    for cut in 0..cuts {
        let (on, ledger) = (AtomicBool::new(true), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while on.load(Ordering::Relaxed) {
                        let n = sent.fetch_add(1, Ordering::Relaxed);
                        if let Some(id) = try_send(server.smtp_port(), n) {
                            ledger.lock().expect("ledger").push((id, n));
                        }
                    }
                });
            }
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            std::thread::sleep(Duration::from_millis(200 + (random >> 33) % 800));
            // What is in flight now may still be answered: only an answer that came before the cut counts.
            let before = ledger.lock().expect("ledger").clone();
            cut_power(&mount);
            accepted.extend(before);
            on.store(false, Ordering::Relaxed);
        });
        server.kill();
        eventually("the file system to be let go", || run(Command::new("umount").arg(&mount)).then_some(()), String::new);
        assert!(mount_it(), "mounted again after cut {cut}");
        server.up();
        let queue = || server.facteur(&["--json", "queue", "list"]).stdout.trim_ascii() == b"[]";
        eventually("an empty queue", || queue().then_some(()), || server.log());
        compare(&server, &accepted, cut);
    }
    eprintln!("{cuts} cuts, {} acknowledged", accepted.len());
    server.stop();
    run(Command::new("umount").arg(&mount));
}

/// Everything acknowledged is there once, and whole.
fn compare(server: &Server, accepted: &HashMap<String, usize>, cut: usize) {
    let mut found: HashMap<String, usize> = HashMap::new();
    for user in ["alice@example.test", "bob@example.test"] {
        for id in queue_ids(server, user) {
            *found.entry(id).or_default() += 1;
        }
        for text in server.inbox(user) {
            let n = text.split("Subject: ").nth(1).and_then(|rest| rest.lines().next()).unwrap_or_default();
            assert!(text.ends_with(&format!("\nmessage {n}\n")), "cut {cut}: a message is not whole:\n{text}");
        }
    }
    let lost: Vec<_> = accepted.iter().filter(|(id, _)| !found.contains_key(*id)).collect();
    let doubled: Vec<_> = found.iter().filter(|(_, count)| **count > 1).collect();
    assert!(lost.is_empty() && doubled.is_empty(), "cut {cut}: of {} lost {lost:?}, doubled {doubled:?}\n{}", accepted.len(), server.log());
}
