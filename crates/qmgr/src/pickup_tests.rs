use super::*;
use testkit::{Act, Sink};

fn due(name: &str, owner: u32, tried: bool) -> Due {
    Due { name: name.into(), owner, tried }
}

#[test]
fn owners_take_turns_and_letters_that_wait_come_last() {
    let letters = || {
        let of_ann = [("9.1.1", false), ("10.1.1", false), ("1.1.1", true)].map(|(name, tried)| due(name, 5, tried));
        of_ann.into_iter().chain([due("11.1.1", 7, false), due("2.1.1", 9, true)]).collect::<Vec<_>>()
    };
    for (last, want) in [
        (0, ["9.1.1", "11.1.1", "2.1.1", "10.1.1", "1.1.1"]),
        (5, ["11.1.1", "2.1.1", "9.1.1", "10.1.1", "1.1.1"]),
        (9, ["9.1.1", "11.1.1", "2.1.1", "10.1.1", "1.1.1"]),
    ] {
        let order: Vec<String> = in_turns(letters(), last).into_iter().map(|letter| letter.name).collect();
        assert_eq!(order, want, "after {last}");
    }
}

/// A spool with a folder for letters, and an smtpd that refuses `bad`.
struct Bench {
    dir: tempfile::TempDir,
    config: Arc<Config>,
    smtpd: Sink,
}

impl Bench {
    async fn new() -> Bench {
        let dir = testkit::temp_dir();
        std::fs::create_dir_all(dir.path().join("spool/maildrop")).expect("folder");
        std::fs::create_dir(dir.path().join("run")).expect("folder");
        let text = "hostname = \"mx.test\"\nspool_directory = \"spool\"\nrun_directory = \"run\"\n";
        let file = dir.path().join("facteur.toml");
        let config = Config::from_texts(&file, &[(file.clone(), text.into())]).unwrap_or_else(|report| panic!("{report}"));
        let config = Arc::new(config);
        let smtpd = Sink::smtp().on("RCPT TO:<bad@", Act::reply("550 5.1.1 no such user"));
        let smtpd = smtpd.start_unix(&Desk::new(&config).socket).await;
        Bench { dir, config, smtpd }
    }

    fn keep(&self, name: &str, sender: Option<&str>) {
        let address = |text: &str| Address::parse(text).expect("address");
        let letter = Letter {
            sender: sender.map(address),
            recipients: vec![address("bob@x.test"), address("bad@x.test")],
            message: b"Subject: x\r\n\r\nhello\r\n".to_vec(),
            ..Letter::default()
        };
        maildrop::keep(&self.dir.path().join("spool/maildrop"), name, &letter).expect("keep");
    }

    fn letters(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("spool/maildrop")).expect("folder").count()
    }

    async fn round(&self, mut memory: Memory) -> Memory {
        let config = self.config.clone();
        let run = move || {
            round(&config, &mut memory, &AtomicBool::new(false));
            memory
        };
        tokio::task::spawn_blocking(run).await.expect("round")
    }
}

/// There is no sender to tell, and no folder to set it aside in.
#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_smtpd_has_is_not_handed_in_again() {
    let bench = Bench::new().await;
    bench.keep(&maildrop::name(now(), 1), None);
    let mut memory = bench.round(Memory::default()).await;
    assert_eq!((bench.smtpd.messages().len(), bench.letters(), memory.waiting.len()), (1, 1, 1));
    memory = bench.round(memory).await;
    assert_eq!(memory.waiting.len(), 1, "its time has not come");
    std::fs::create_dir(bench.dir.path().join("spool/corrupt")).expect("folder");
    memory.waiting.values_mut().for_each(|letter| letter.until = Instant::now());
    memory = bench.round(memory).await;
    assert_eq!((bench.smtpd.messages().len(), bench.letters(), memory.waiting.len()), (1, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sender_is_told_who_was_refused_and_the_letter_goes() {
    let bench = Bench::new().await;
    bench.keep(&maildrop::name(now(), 1), Some("ann@x.test"));
    let memory = bench.round(Memory::default()).await;
    assert_eq!((bench.smtpd.messages().len(), bench.letters()), (1, 1), "the bounce");
    bench.round(memory).await;
    assert_eq!((bench.smtpd.messages().len(), bench.letters()), (2, 0));
    let bounce = bench.smtpd.messages().pop().expect("bounce");
    assert!(String::from_utf8_lossy(&bounce.body).contains("Final-Recipient: rfc822; bad@x.test"));
}
