//! The manager on a disk that has faults.

use super::*;
use config::Config;
use durable::simulated::SimulatedDisk;
use ipc::queue::Hint;
use mail_types::{Address, BodyType, Client, Envelope, Recipient};
use spool::{Place, SpoolWriter, WriterSettings};
use std::path::PathBuf;
use testkit::{Act, Sink};

struct Bench {
    dir: tempfile::TempDir,
    disk: SimulatedDisk,
    writer: SpoolWriter,
    peer: mpsc::Sender<FromPeer>,
    events: mpsc::UnboundedSender<Event>,
    counts: Arc<Mutex<Counts>>,
    stop: Option<oneshot::Sender<()>>,
    running: tokio::task::JoinHandle<()>,
}

impl Bench {
    async fn new(relay: u16) -> Bench {
        Bench::with(relay, "[qmgr]\nminimal_backoff_time = \"1s\"\nmaximal_backoff_time = \"1s\"\nbody_memory_limit = \"1M\"\n").await
    }

    async fn with(relay: u16, settings: &str) -> Bench {
        Bench::at_wall(relay, settings, Clock::start()).await
    }

    async fn at_wall(relay: u16, settings: &str, clock: Clock) -> Bench {
        let (dir, disk) = (testkit::temp_dir(), SimulatedDisk::new());
        let text = format!(
            "hostname = \"mx.test\"\nspool_directory = \"/spool\"\nrun_directory = \"{}\"\n[routing]\nmydestination = []\n\
             virtual_mailbox_domains = [\"ours.test\"]\nvirtual_mailbox_maps = [\"static:x\"]\nvirtual_alias_maps = []\nalias_domain_maps = []\n\
             relayhost = \"[127.0.0.1]:{relay}\"\n{settings}",
            dir.path().display()
        );
        let file = PathBuf::from("/etc/facteur/facteur.toml");
        let config = Arc::new(Config::from_texts(&file, &[(file.clone(), text)]).unwrap_or_else(|report| panic!("{report}")));
        let resolver = Arc::new(dns::Dns::new(&config.dns).expect("resolver"));
        let carriers = crate::carriers(config.clone(), crate::remote(&config), resolver).await.expect("settings");
        let settings = WriterSettings { free_space_floor_bytes: 0, ..WriterSettings::new("/spool") };
        let settings = WriterSettings { segment_bytes: 8 << 20, first_segment_bytes: 8 << 20, ..settings };
        let writer = SpoolWriter::open_on(Arc::new(disk.clone()), settings).expect("spool");
        let (mut manager, inputs, handles) = Manager::open(Arc::new(disk.clone()), carriers).await.expect("queue");
        manager.clock = clock;
        let (stop, stopped) = oneshot::channel();
        let stopped = async move { drop(stopped.await) };
        let running = tokio::spawn(manager.run(inputs, stopped, Duration::from_secs(2)));
        let (peer, events, counts) = (handles.peer, handles.events, handles.counts);
        Bench { dir, disk, writer, peer, events, counts, stop: Some(stop), running }
    }

    async fn send(&self, to: &str) {
        self.accept(self.envelope(to), b"Subject: x\r\n\r\nhello\r\n").await;
    }

    fn envelope(&self, to: &str) -> Envelope {
        let address = |text: &str| Address::parse(text).expect("address");
        Envelope {
            id: self.writer.next_id(),
            arrived_micros: std::time::UNIX_EPOCH.elapsed().expect("clock").as_micros() as u64,
            sender: Some(address("ann@ours.test")),
            recipients: vec![Recipient::new(address(to))],
            body: BodyType::SevenBit,
            smtputf8: false,
            ret: None,
            envid: None,
            wishes: Default::default(),
            hold: false,
            filter: None,
            client: Client::default(),
        }
    }

    async fn accept(&self, envelope: Envelope, body: &[u8]) {
        let receipt = self.writer.accept(&envelope, body).await.expect("accept");
        let Place::Journal { generation, offset, length, synced_to } = receipt.place else { panic!("small") };
        let hint = Hint::Journal { generation, offset, length, synced_to, record: receipt.record };
        self.peer.send(FromPeer::Said(FromSmtpd::Hints(vec![hint]))).await.unwrap_or_else(|_| panic!("the manager has ended"));
    }

    /// Whether what is known now is recorded.
    async fn sync(&self) -> bool {
        self.command(Command::Sync).await.is_ok()
    }

    async fn command(&self, command: Command) -> Result<Changed, String> {
        let (answer, answered) = oneshot::channel();
        let _ = self.events.send(Event::Admin(Admin { command, answer }));
        answered.await.expect("answer")
    }

    async fn queued(&self, count: usize) {
        wait_for("so many in the queue", || self.counts.lock().total == count).await;
    }

    fn files(&self) -> Vec<QueueId> {
        QueueFiles::new(Arc::new(self.disk.clone()), Layout::new("/spool")).list().expect("list")
    }

    async fn end(mut self) {
        drop(self.stop.take());
        self.running.await.expect("ends");
    }
}

async fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(std::time::Instant::now() < until, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_file_left_by_a_failed_move_goes_with_its_message() {
    let far = Sink::smtp().on_first(1, "RCPT", Act::reply("450 4.2.1 come back later")).start().await;
    let bench = Bench::new(far.port()).await;
    let envelope = bench.envelope("zoe@far.test");
    let id = envelope.id;
    bench.disk.fail_next_sync_dir(&Layout::new("/spool").queue_directory(&id));
    bench.accept(envelope, b"Subject: x\r\n\r\nhello\r\n").await;
    wait_for("its file", || bench.files() == [id]).await;
    wait_for("the mail", || far.messages().len() == 1).await;
    bench.queued(0).await;
    wait_for("its file to go", || bench.files().is_empty()).await;
    bench.end().await;
}

/// More of them than there are threads for blocking work.
#[tokio::test]
async fn notifications_that_cannot_be_written_stop_no_other_mail() {
    let script = Sink::smtp().on("RCPT TO:<bad@", Act::reply("550 5.1.1 no such user"));
    let far = script.on_first(1, "RCPT TO:<zoe@", Act::reply("450 4.2.1 come back later")).start().await;
    let bench = Bench::new(far.port()).await;
    let deliver = Sink::lmtp().start_unix(&bench.dir.path().join("lmtp")).await;
    bench.disk.set_full(true);
    for _ in 0..600 {
        bench.send("bad@far.test").await;
    }
    wait_for("the refusals", || far.commands().iter().filter(|c| c.starts_with("RCPT TO:<bad@")).count() == 600).await;
    // Its second attempt is read from the disk.
    bench.send("zoe@far.test").await;
    wait_for("other mail", || far.messages().len() == 1).await;
    bench.queued(600).await;
    bench.disk.set_full(false);
    wait_for("the notifications", || deliver.messages().len() == 600).await;
    bench.queued(0).await;
    bench.end().await;
}

/// Of what waits for its notification no body is kept: all of it would else be more than there is room for. Of what waits for its file
/// the body is in memory, and all of it is given back in the end.
#[tokio::test]
async fn notifications_that_cannot_be_written_hold_no_memory() {
    let script = Sink::smtp().on("RCPT TO:<bad@", Act::reply("550 5.1.1 no such user"));
    let far = script.on_first(150, "RCPT TO:<late@", Act::reply("450 4.2.1 come back later")).start().await;
    let bench = Bench::new(far.port()).await;
    let deliver = Sink::lmtp().start_unix(&bench.dir.path().join("lmtp")).await;
    bench.disk.set_full(true);
    for _ in 0..300 {
        bench.accept(bench.envelope("bad@far.test"), &[b'x'; 10_000]).await;
    }
    let refused = || far.commands().iter().filter(|c| c.starts_with("RCPT TO:<bad@")).count();
    wait_for("all refusals, where a megabyte holds a hundred", || refused() == 300).await;
    bench.disk.set_full(false);
    wait_for("the notifications", || deliver.messages().len() == 300).await;
    assert_eq!(refused(), 300, "nobody is asked twice");
    for _ in 0..150 {
        bench.accept(bench.envelope("late@far.test"), &[b'x'; 10_000]).await;
    }
    wait_for("the second attempts", || far.messages().len() == 150).await;
    bench.queued(0).await;
    bench.end().await;
}

/// After a restart it would go out again, and a host elsewhere does not see that it has it.
#[tokio::test]
async fn mail_whose_delivery_cannot_be_recorded_goes_to_our_own_deliver_only() {
    let far = Sink::smtp().start().await;
    let bench = Bench::new(far.port()).await;
    let deliver = Sink::lmtp().keyword("XFACTEUR").start_unix(&bench.dir.path().join("lmtp")).await;
    bench.disk.set_broken(Some(&Layout::new("/spool").outcomes()));
    bench.send("zoe@far.test").await;
    wait_for("what had left before", || far.messages().len() == 1).await;
    wait_for("its end", || bench.counts.lock().active == 0).await;
    assert!(!bench.sync().await, "it cannot be recorded");
    bench.send("zoe@far.test").await;
    bench.send("bob@ours.test").await;
    wait_for("local mail", || deliver.messages().len() == 1).await;
    assert_eq!(far.messages().len(), 1);
    bench.disk.set_broken(None);
    wait_for("the other mail", || far.messages().len() == 2).await;
    bench.queued(0).await;
    bench.end().await;
}

/// What is wrong with one sender's login says nothing about the relay host.
#[tokio::test]
async fn a_login_that_cannot_be_told_closes_no_destination() {
    let far = Sink::smtp().start().await;
    let settings = "[qmgr]\nminimal_backoff_time = \"1h\"\n[outbound]\nsmtp_sender_dependent_authentication = true\n\
        smtp_sasl_password_maps = [\"inline:{ bad@ours.test=nonsense }\"]\n";
    let bench = Bench::with(far.port(), settings).await;
    for _ in 0..10 {
        let sender = Some(Address::parse("bad@ours.test").expect("address"));
        bench.accept(Envelope { sender, ..bench.envelope("zoe@far.test") }, b"Subject: x\r\n\r\nhello\r\n").await;
    }
    wait_for("them to wait", || bench.counts.lock().deferred == 10).await;
    bench.send("zoe@far.test").await;
    wait_for("the mail of others", || far.messages().len() == 1).await;
    bench.queued(10).await;
    bench.end().await;
}

#[tokio::test]
async fn a_table_that_is_away_for_a_moment_costs_no_attempt() {
    let far = Sink::smtp().start().await;
    let authd = testkit::free_port();
    let settings = format!(
        "[qmgr]\nminimal_backoff_time = \"1h\"\npartner_retry_time = \"1s\"\n[outbound]\nsmtp_tls_policy_maps = [\"tcp:127.0.0.1:{authd}\"]\n"
    );
    let bench = Bench::with(far.port(), &settings).await;
    bench.send("zoe@far.test").await;
    wait_for("an attempt", || bench.counts.lock().total == 1 && bench.counts.lock().active == 0).await;
    assert_eq!(bench.counts.lock().deferred, 0);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", authd)).await.expect("bind");
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((mut stream, _)) = listener.accept().await {
            while matches!(stream.read(&mut [0; 500]).await, Ok(1..)) {
                let _ = stream.write_all(b"500 no\n").await;
            }
        }
    });
    wait_for("the mail", || far.messages().len() == 1).await;
    bench.queued(0).await;
    bench.end().await;
}

/// Dovecot would file it each time.
#[tokio::test]
async fn a_partner_that_knows_no_repetition_is_not_given_the_same_again_at_once() {
    let bench = Bench::with(1, "[qmgr]\nminimal_backoff_time = \"1h\"\npartner_retry_time = \"100ms\"\n").await;
    let partner = Sink::lmtp().on("end of data <bob@", Act::Close).start_unix(&bench.dir.path().join("lmtp")).await;
    bench.send("bob@ours.test").await;
    wait_for("it to wait", || bench.counts.lock().deferred == 1).await;
    assert_eq!(partner.commands().iter().filter(|c| c.starts_with("MAIL")).count(), 1);
    bench.end().await;
}

/// A table that never answers is no reason to keep a message for ever, and in silence.
#[tokio::test]
async fn mail_whose_table_never_answers_expires() {
    let settings = "transport_maps = [\"fail:\"]\n[qmgr]\npartner_retry_time = \"100ms\"\nmaximal_queue_lifetime = \"0s\"\n\
        bounce_queue_lifetime = \"0s\"\n";
    let bench = Bench::with(1, settings).await;
    bench.send("zoe@far.test").await;
    wait_for("the message in the queue", || bench.counts.lock().total > 0).await;
    // It, and then the report to its sender.
    bench.queued(0).await;
    bench.end().await;
}

/// Q15: a clock on the wall that jumps ten years ahead and ten years back bounces nothing, and nothing sleeps for ever.
#[tokio::test]
async fn a_clock_that_jumps_bounces_no_mail_and_stops_none() {
    const TEN_YEARS: i64 = 10 * 365 * 86_400;
    let shift = Arc::new(std::sync::atomic::AtomicI64::new(0));
    let seen = shift.clone();
    let clock = Clock::with_wall(move || {
        let (now, shift) = (std::time::SystemTime::now(), seen.load(std::sync::atomic::Ordering::SeqCst));
        let by = Duration::from_secs(shift.unsigned_abs());
        if shift < 0 { now - by } else { now + by }
    });
    let far = Sink::smtp().on("RCPT TO:<late@", Act::reply("450 4.2.1 come back later")).start().await;
    let settings = "[qmgr]\nminimal_backoff_time = \"1s\"\nmaximal_backoff_time = \"1s\"\ndelay_warning_time = \"0h\"\n";
    let bench = Bench::at_wall(far.port(), settings, clock).await;
    let deliver = Sink::lmtp().start_unix(&bench.dir.path().join("lmtp")).await;
    for _ in 0..20 {
        bench.send("late@far.test").await;
    }
    let attempts = || far.commands().iter().filter(|c| c.starts_with("RCPT TO:<late@")).count();
    wait_for("the first attempts", || attempts() == 20 && bench.counts.lock().deferred == 20).await;
    for (round, years) in [TEN_YEARS, 0, -TEN_YEARS, 0].into_iter().enumerate() {
        let before = attempts();
        shift.store(years, std::sync::atomic::Ordering::SeqCst);
        // By their own time, and by an administrator's word.
        bench.command(Command::Flush(Which::All)).await.expect("known");
        wait_for("further attempts", || attempts() >= before + 20 && bench.counts.lock().deferred == 20).await;
        bench.send("zoe@far.test").await;
        wait_for("new mail", || far.messages().len() == round + 1).await;
    }
    wait_for("attempts by their own time", || attempts() > 120).await;
    bench.queued(20).await;
    assert_eq!((deliver.messages().len(), bench.files().iter().filter(|id| id.as_str().starts_with('Z')).count()), (0, 0), "no bounce");
    bench.end().await;
}

/// Q7: what waits costs little memory; a hundred thousand of them less than 20 MiB.
#[test]
fn a_waiting_message_costs_little() {
    assert!(size_of::<(QueueId, crate::entry::Entry)>() <= 160, "{}", size_of::<(QueueId, crate::entry::Entry)>());
}

#[tokio::test]
async fn an_administrators_word_ends_the_wait_for_a_table() {
    let bench = Bench::with(1, "transport_maps = [\"fail:\"]\n[qmgr]\npartner_retry_time = \"1m\"\n").await;
    let envelope = bench.envelope("zoe@far.test");
    let id = envelope.id;
    bench.accept(envelope, b"Subject: x\r\n\r\nhello\r\n").await;
    wait_for("it to stall", || bench.counts.lock().total == 1 && bench.counts.lock().active == 0).await;
    bench.command(Command::Expire(Which::All)).await.expect("known");
    wait_for("the report", || bench.files().iter().any(|file| file.as_str().starts_with('Z'))).await;
    wait_for("its end", || !bench.files().contains(&id) && bench.counts.lock().total == 1).await;
    bench.end().await;
}
