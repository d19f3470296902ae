//! A spool writer as smtpd has it, qmgr, and what the tests look at.

use config::Config;
use daemon::{Context, Shutdown};
use ipc::control::ControlClient;
use ipc::queue::{Hint, JournalSide, Position, QueueClient};
use mail_types::{Address, BodyType, Client, Envelope, QueueId, Recipient};
use spool::{Place, Reader, SpoolWriter, WriterSettings};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use testkit::{FakeDns, Sink};

pub struct House {
    pub dir: tempfile::TempDir,
    pub writer: SpoolWriter,
    client: Option<QueueClient>,
    qmgr: Option<(Shutdown, tokio::task::JoinHandle<()>)>,
    pub dns: FakeDns,
    pub settings: String,
}

struct Side(SpoolWriter);

impl JournalSide for Side {
    fn position(&self) -> Position {
        let at = self.0.position();
        Position { generation: at.generation, synced_to: at.synced_to }
    }
    fn recycle(&self, generation: u64) -> bool {
        self.0.recycle(generation).is_ok()
    }
}

impl House {
    pub async fn new(settings: &str) -> House {
        House::over(None, settings).await
    }

    async fn over(spool: Option<&Path>, settings: &str) -> House {
        let dir = testkit::temp_dir();
        if let Some(spool) = spool {
            copy_dir(spool, &dir.path().join("spool"));
        }
        std::fs::create_dir_all(dir.path().join("run")).expect("directory");
        let writer = SpoolWriter::open(WriterSettings {
            segment_bytes: 256 << 10,
            first_segment_bytes: 64 << 10,
            free_space_floor_bytes: 0,
            ..WriterSettings::new(dir.path().join("spool"))
        });
        let dns = FakeDns::start("").await;
        House { writer: writer.expect("spool"), dir, client: None, qmgr: None, dns, settings: settings.into() }
    }

    /// The house as a kill leaves it: its spool as it is on the disk now, under another roof.
    pub async fn killed(&self, settings: &str) -> House {
        House::over(Some(&self.path("spool")), settings).await
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub async fn start(&mut self) {
        let text = format!(
            "hostname = \"mx.test\"\nspool_directory = \"spool\"\nrun_directory = \"run\"\nstate_directory = \"state\"\n\
             [dns]\nnameservers = [\"{}\"]\n{}",
            self.dns.address(),
            self.settings
        );
        let file = self.path("facteur.toml");
        std::fs::write(&file, text).expect("settings");
        let config = Config::load(&file).unwrap_or_else(|report| panic!("{report}"));
        let ctx = Context::detached("qmgr", config).expect("context");
        daemon::control::start_detached(&ctx).expect("the control socket");
        let shutdown = ctx.shutdown.clone();
        let tracked = shutdown.clone();
        let task = tokio::spawn(async move {
            qmgr::run(ctx).await.expect("qmgr");
            tracked.drained(Duration::from_secs(10)).await;
        });
        self.qmgr = Some((shutdown, task));
        wait_for("the queue socket", || self.path("run/queue").exists()).await;
        if self.client.is_none() {
            self.client = Some(QueueClient::start(self.path("run/queue"), Arc::new(Side(self.writer.clone()))));
        }
        let client = self.client.clone().expect("client");
        wait_for("the hint connection", || client.connected()).await;
    }

    /// What smtpd says after ETRN.
    pub fn etrn(&self, domain: &str) {
        self.client.as_ref().expect("client").hint(Hint::Flush { domain: domain.into() });
    }

    /// What `facteur queue` asks for.
    pub async fn ask(&self, command: &str, ids: &[QueueId]) -> String {
        let ids: Vec<String> = ids.iter().map(|id| format!("\"{id}\"")).collect();
        let mut client = ControlClient::connect(&self.path("run/control/qmgr")).await.expect("the control socket");
        client.command_text(command, &format!("{{\"ids\": [{}]}}", ids.join(", "))).await.expect("an answer")
    }

    /// A line of `facteur status`.
    pub async fn status(&self, fact: &str) -> String {
        let mut client = ControlClient::connect(&self.path("run/control/qmgr")).await.expect("the control socket");
        let facts = client.status().await.expect("status").facts;
        facts.into_iter().find(|(name, _)| name == fact).map(|(_, value)| value).unwrap_or_default()
    }

    pub async fn stop(&mut self) {
        let (shutdown, task) = self.qmgr.take().expect("running");
        shutdown.set();
        task.await.expect("ends");
        for socket in ["run/queue", "run/control/qmgr"] {
            std::fs::remove_file(self.path(socket)).expect("socket");
        }
    }

    pub fn envelope(&self, from: &str, to: &[&str]) -> Envelope {
        let address = |text: &str| Address::parse(text).expect("address");
        Envelope {
            id: self.writer.next_id(),
            arrived_micros: std::time::UNIX_EPOCH.elapsed().expect("clock").as_micros() as u64,
            sender: (!from.is_empty()).then(|| address(from)),
            recipients: to.iter().map(|to| Recipient::new(address(to))).collect(),
            body: BodyType::EightBitMime,
            smtputf8: false,
            ret: None,
            envid: None,
            wishes: Default::default(),
            hold: false,
            filter: None,
            client: Client::default(),
        }
    }

    pub async fn accept(&self, envelope: &Envelope, body: &[u8]) -> QueueId {
        let receipt = if body.len() > spool::LARGE_BYTES {
            let mut large = self.writer.large(envelope);
            large.append(body).await.expect("append");
            large.commit(envelope).await.expect("commit")
        } else {
            self.writer.accept(envelope, body).await.expect("accept")
        };
        if let Some(client) = &self.client {
            client.hint(match receipt.place {
                Place::Journal { generation, offset, length, synced_to } => {
                    Hint::Journal { generation, offset, length, synced_to, record: receipt.record }
                }
                Place::File => Hint::File { id: receipt.id.to_string() },
            });
        }
        receipt.id
    }

    pub async fn send(&self, from: &str, to: &[&str]) -> QueueId {
        self.accept(&self.envelope(from, to), BODY).await
    }

    pub fn listed(&self) -> Vec<spool::Listed> {
        Reader::open(&self.path("spool")).and_then(|reader| reader.list()).expect("list")
    }

    pub async fn deliver(&self, script: testkit::sink::Builder) -> Sink {
        script.start_unix(&self.path("run/lmtp")).await
    }

    pub async fn emptied(&self) {
        wait_for("an empty queue", || self.listed().is_empty()).await;
    }
}

pub const BODY: &[u8] = b"From: ann@ours.test\r\nSubject: hello\r\n\r\nA line.\r\n";

pub const OURS: &str = "[routing]\nmydestination = []\nvirtual_mailbox_domains = [\"ours.test\"]\nvirtual_mailbox_maps = [\"static:x\"]\n\
                    virtual_alias_maps = []\nalias_domain_maps = []\n";

pub async fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub fn ids(sink: &Sink) -> Vec<String> {
    let id = |mail: &str| mail.split_once("XID=").map(|(_, rest)| rest.split(' ').next().unwrap_or_default().to_owned());
    sink.messages().iter().map(|m| id(&m.mail).unwrap_or_default()).collect()
}

pub fn files(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|e| if e.path().is_dir() { files(&e.path()) } else { 1 }).sum()
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("directory");
    for entry in std::fs::read_dir(from).expect("list").flatten() {
        let to = to.join(entry.file_name());
        // What comes and goes while it is copied may be missed, as by a kill.
        if entry.path().is_dir() { copy_dir(&entry.path(), &to) } else { drop(std::fs::copy(entry.path(), to)) }
    }
}
