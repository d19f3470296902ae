//! Power cuts: an ext4 of the test's own is shut down under load without flushing its journal, mounted again, and compared
//! with the ledger of 250s. `FACTEUR_CUTS` says how often (`cargo xtask campaign cuts`).

use e2e::{Server, client, eventually, queue_ids, skipped, tool, try_send};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
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

/// An ext4 of the test's own, whose power can be cut.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// `None`, noted as skipped, where it cannot be mounted. Mounts are seen by this thread and its children alone, and go with them.
    fn new(test: &str) -> Option<Disk> {
        let alone =
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).is_ok() && run(Command::new("mount").args(["--make-rprivate", "/"]));
        if !alone {
            skipped("mount as root", test);
            return None;
        }
        let disk = Disk { folder: tempfile::Builder::new().prefix("facteur-cut-").tempdir().expect("folder") };
        std::fs::File::create(disk.image()).and_then(|f| f.set_len(1 << 30)).expect("image");
        std::fs::create_dir(disk.mount()).expect("mount point");
        if !run(Command::new("mkfs.ext4").arg("-q").arg(disk.image())) || !disk.mount_it() {
            skipped("loop devices", test);
            return None;
        }
        Some(disk)
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn mount(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    fn mount_it(&self) -> bool {
        run(Command::new("mount").args(["-o", "loop,commit=300"]).arg(self.image()).arg(self.mount()))
    }

    fn cut_power(&self) {
        cut_power(&self.mount());
    }

    /// The machine starts again: everything that ran is gone, and the file system is as the disk has it.
    fn power_on(&self, server: &mut Server) {
        server.kill();
        let gone = || run(Command::new("umount").arg(self.mount())).then_some(());
        eventually("the file system to be let go", gone, String::new);
        assert!(self.mount_it(), "mounted again");
        server.up();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run(Command::new("umount").arg(self.mount()));
    }
}

// Settings, certificates, accounts and folders of a first start are on disk when `ready` is printed, and an account when it is added.
#[test]
fn a_first_start_survives_a_power_cut() {
    let test = "a_first_start_survives_a_power_cut";
    let Some(disk) = Disk::new(test) else { return };
    for round in 0..3 {
        let mut server = Server::builder().start_at(&disk.mount().join(format!("server{round}")));
        server.facteur_with_input(&["user", "add", "carol@example.test"], "secret\n");
        disk.cut_power();
        disk.power_on(&mut server);
        for user in ["alice@example.test", "bob@example.test", "carol@example.test"] {
            assert!(server.facteur_ok(&["user", "list"]).contains(user), "round {round}: {user}");
        }
        server.send("x@example.org", &["carol@example.test"], "Subject: first\r\n\r\nbody\r\n");
        server.wait_for_mail("carol@example.test", 1);
        let Some(python) = tool("python3", test) else { return };
        let (script, port) = (client("submit.py"), server.submissions_port().to_string());
        let to = "alice@example.test";
        python.ok([script.as_os_str(), port.as_ref(), "tls".as_ref(), "carol@example.test".as_ref(), "secret".as_ref(), to.as_ref()]);
        server.wait_for_mail(to, 1);
        server.stop();
    }
}

#[test]
fn power_cuts_lose_nothing_that_was_acknowledged() {
    let test = "power_cuts_lose_nothing_that_was_acknowledged";
    let cuts = std::env::var("FACTEUR_CUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    let Some(disk) = Disk::new(test) else { return };
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("clock").as_nanos() as u64;
    eprintln!("seed {seed}");
    let mut random = seed | 1;
    let mut server =
        Server::builder().settings("[smtpd]\nsmtpd_client_connection_count_limit = 0\n").start_at(&disk.mount().join("server"));
    // The test's own settings, which nobody promised to keep.
    let folder = std::fs::File::open(disk.mount()).expect("the mount point");
    nix::unistd::syncfs(&folder).expect("syncfs");
    drop(folder);
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
            disk.cut_power();
            accepted.extend(before);
            on.store(false, Ordering::Relaxed);
        });
        disk.power_on(&mut server);
        let queue = || server.facteur(&["--json", "queue", "list"]).stdout.trim_ascii() == b"[]";
        eventually("an empty queue", || queue().then_some(()), || server.log());
        compare(&server, &accepted, cut);
    }
    eprintln!("{cuts} cuts, {} acknowledged", accepted.len());
    server.stop();
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
