use super::*;
use durable::simulated::SimulatedDisk;
use proptest::prelude::*;

fn id(n: u32) -> QueueId {
    QueueId::from_parts(1_795_000_000, 1, n)
}

fn address(text: &str) -> Address {
    Address::parse(text).expect("address")
}

fn open(disk: &SimulatedDisk) -> Outcomes {
    Outcomes::open(Arc::new(disk.clone()), Layout::new("/spool")).expect("open")
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("runtime").block_on(future)
}

#[test]
fn what_was_flushed_is_known_after_a_restart() {
    let disk = SimulatedDisk::new();
    let bob = Recipient::new(address("bob@example.org"));
    let mut outcomes = open(&disk);
    outcomes.note(Record::Settled { generation: 3, id: id(1), offsets: vec![4096, 4288] });
    outcomes.note(Record::Limit { generation: 3, limit: 9000 });
    outcomes.note(Record::Expanded { id: id(2), recipients: vec![bob.clone()] });
    outcomes.note(Record::Done { id: id(2), what: What::Delivered, key: 7 });
    let reasons = vec![(8, Arc::from("connection refused"))];
    outcomes.note(Record::Deferred { id: id(2), next_seconds: 99, attempts: 3, reasons: reasons.clone() });
    outcomes.note(Record::Held { id: id(2), held: true });
    outcomes.note(Record::Warned { id: id(2) });
    outcomes.note(Record::Expired { id: id(2) });
    outcomes.note(Record::Removed { id: id(4) });
    wait(outcomes.flush()).expect("flush");
    outcomes.note(Record::Removed { id: id(5) }); // never flushed
    std::mem::forget(outcomes);
    for _ in 0..2 {
        let disk = disk.reboot(1);
        let outcomes = open(&disk);
        let ledger = outcomes.ledger();
        assert!(ledger.is_settled(3, 4096) && ledger.is_settled(3, 4288) && !ledger.is_settled(3, 4352));
        assert_eq!(ledger.limit(3), Some(9000));
        let want = MessageLedger {
            expanded: Some(vec![bob.clone()]),
            requeued: false,
            done: vec![(7, What::Delivered)],
            next_seconds: 99,
            attempts: 3,
            reasons: reasons.clone(),
            held: Some(true),
            warned: true,
            expired: true,
        };
        assert_eq!(ledger.get(&id(2)), Some(&want));
        assert!(ledger.is_removed(&id(4)) && !ledger.is_removed(&id(5)));
    }
}

#[test]
fn an_expansion_into_nobody_asks_for_a_new_one_until_there_is_one() {
    let disk = SimulatedDisk::new();
    let bob = Recipient::new(address("bob@x.test"));
    let note = |disk: &SimulatedDisk, recipients: Vec<Recipient>| {
        let mut outcomes = open(disk);
        outcomes.note(Record::Expanded { id: id(2), recipients });
        wait(outcomes.flush()).expect("flush");
    };
    note(&disk, vec![bob.clone()]);
    note(&disk, Vec::new());
    // Opening the journal writes what it holds anew.
    for _ in 0..2 {
        let outcomes = open(&disk);
        let known = outcomes.ledger().get(&id(2)).cloned().expect("known");
        assert!(known.requeued && known.expanded.is_none());
    }
    note(&disk, vec![bob]);
    let outcomes = open(&disk);
    assert!(outcomes.ledger().get(&id(2)).is_some_and(|known| !known.requeued && known.expanded.is_some()));
}

#[test]
fn a_flushed_record_survives_a_power_cut_at_every_step() {
    for step in 0..60 {
        let disk = SimulatedDisk::new();
        let mut outcomes = open(&disk);
        disk.power_off_after(step);
        let mut promised = Vec::new();
        for n in 0..8 {
            // Compaction falls into the middle.
            outcomes.compact_at = if n == 4 { 0 } else { usize::MAX };
            outcomes.note(Record::Settled { generation: 1, id: id(n), offsets: vec![4096 + u64::from(n) * 64] });
            if wait(outcomes.flush()).is_ok() {
                promised.push(n);
            }
        }
        drop(outcomes);
        for seed in 0..10 {
            let after = disk.reboot(seed);
            let again = open(&after);
            for n in &promised {
                assert!(again.ledger().is_settled(1, 4096 + u64::from(*n) * 64), "step {step} seed {seed}: {n} is forgotten");
            }
        }
    }
}

/// Compaction falls into the middle, and a step of it fails: the records before and after it are kept all the same.
#[test]
fn a_flushed_record_survives_a_fault_at_every_step() {
    let mut step = 0;
    loop {
        let disk = SimulatedDisk::new();
        let mut outcomes = open(&disk);
        disk.fail_once_after(step);
        let mut promised = Vec::new();
        for n in 0..8 {
            outcomes.compact_at = if n == 4 { 0 } else { usize::MAX };
            outcomes.note(Record::Settled { generation: 1, id: id(n), offsets: vec![4096 + u64::from(n) * 64] });
            if wait(outcomes.flush()).is_ok() {
                promised.push(n);
            }
        }
        let killed = disk.after_kill();
        let failed = !disk.is_failure_ahead();
        assert!(!failed || promised.len() >= 7, "step {step}: {promised:?}");
        drop(outcomes);
        for after in (0..2).map(|seed| disk.reboot(seed)).chain([killed]) {
            let again = open(&after);
            for n in &promised {
                assert!(again.ledger().is_settled(1, 4096 + u64::from(*n) * 64), "step {step}: {n} is forgotten");
            }
        }
        if !failed {
            break;
        }
        step += 1;
    }
    assert!(step > 20, "{step}");
}

/// A queue file that was unlinked may come back after a power cut until its directory is synced, so that its removal is not
/// forgotten before that.
#[test]
fn a_removal_is_forgotten_only_when_a_compaction_has_come_through() {
    let mut step = 0;
    loop {
        let disk = SimulatedDisk::new();
        let mut outcomes = open(&disk);
        let files = crate::QueueFiles::new(Arc::new(disk.clone()), Layout::new("/spool"));
        let path = Layout::new("/spool").queue_file(&id(1));
        disk.create_dir(path.parent().expect("directory"), 0o700).expect("directory");
        disk.create(&path, 0o600).expect("file").sync_data().expect("sync");
        disk.sync_dir(&Layout::new("/spool").queue()).expect("sync");
        disk.sync_dir(path.parent().expect("directory")).expect("sync");
        outcomes.note(Record::Removed { id: id(1) });
        wait(outcomes.flush()).expect("flush");
        files.remove(&id(1)).expect("remove");
        outcomes.unlinked(id(1));
        disk.fail_once_after(step);
        for n in 2..5 {
            outcomes.compact_at = if n == 4 { usize::MAX } else { 0 };
            outcomes.note(Record::Settled { generation: 1, id: id(n), offsets: vec![4096 * u64::from(n)] });
            let _ = wait(outcomes.flush());
        }
        drop(outcomes);
        for seed in 0..4 {
            let after = disk.reboot(seed);
            let there = after.exists(&path).expect("exists");
            assert!(!there || open(&after).ledger().is_removed(&id(1)), "step {step} seed {seed}: it would be delivered again");
        }
        if disk.is_failure_ahead() {
            break;
        }
        step += 1;
    }
    assert!(step > 10, "{step}");
}

#[test]
fn after_a_failed_sync_the_outcomes_are_written_anew() {
    let disk = SimulatedDisk::new();
    let mut outcomes = open(&disk);
    outcomes.note(Record::Removed { id: id(1) });
    wait(outcomes.flush()).expect("flush");
    disk.fail_next_sync();
    outcomes.note(Record::Removed { id: id(2) });
    wait(outcomes.flush()).expect("in a new file");
    outcomes.note(Record::Removed { id: id(3) });
    wait(outcomes.flush()).expect("flush");
    let after = disk.reboot(3);
    let again = open(&after);
    assert!((1..=3).all(|n| again.ledger().is_removed(&id(n))));
}

/// On a full disk the queue can still get shorter, and it must not begin at the beginning after a restart.
#[test]
fn a_full_disk_stops_no_outcome_and_no_start() {
    let disk = SimulatedDisk::new();
    let mut outcomes = open(&disk);
    let live = |n: u32| Record::Deferred { id: id(n), next_seconds: 1, attempts: 1, reasons: vec![(1, "x".repeat(100).into())] };
    (0..800).for_each(|n| outcomes.note(live(n)));
    wait(outcomes.flush()).expect("flush");
    disk.set_room(Some(disk.used()));
    for n in 0..800 {
        // Several times of what the file has room for.
        for _ in 0..10 {
            outcomes.note(live(n));
        }
        outcomes.note(Record::Removed { id: id(n) });
        wait(outcomes.flush()).unwrap_or_else(|error| panic!("{n}: {error}"));
        if n % 100 == 99 {
            outcomes.close();
            outcomes = open(&disk);
        }
    }
    drop(outcomes);
    for seed in 0..5 {
        let again = open(&disk.reboot(seed));
        assert!((0..800).all(|n| again.ledger().is_removed(&id(n))));
    }
}

/// What an attempt to begin a file has left in the spare one is no part of the next attempt with the same number.
#[test]
fn an_attempt_that_was_cut_off_leaves_no_records() {
    for step in 0..20 {
        let disk = SimulatedDisk::new();
        let mut outcomes = open(&disk);
        outcomes.note(Record::Held { id: id(1), held: true });
        wait(outcomes.flush()).expect("flush");
        disk.power_off_after(step);
        (2..50).for_each(|n| outcomes.note(Record::Held { id: id(n), held: true }));
        outcomes.compact_at = 0;
        let _ = wait(outcomes.flush());
        drop(outcomes);
        for seed in 0..10 {
            let after = disk.reboot(seed);
            let said = Ledger::read(&after, &Layout::new("/spool")).expect("read");
            let again = open(&after);
            for n in 1..50 {
                assert_eq!(again.ledger().get(&id(n)), said.get(&id(n)), "step {step} seed {seed}: {n}");
            }
            drop(again);
            let later = Ledger::read(&after, &Layout::new("/spool")).expect("read");
            assert!((1..50).all(|n| later.get(&id(n)) == said.get(&id(n))), "step {step} seed {seed}");
        }
    }
}

#[test]
fn compaction_forgets_what_is_gone_and_nothing_else() {
    let disk = SimulatedDisk::new();
    let mut outcomes = open(&disk);
    for n in 1..=3 {
        outcomes.note(Record::Removed { id: id(n) });
    }
    outcomes.note(Record::Settled { generation: 1, id: id(9), offsets: vec![4096] });
    outcomes.note(Record::Settled { generation: 2, id: id(9), offsets: vec![4096] });
    outcomes.note(Record::Recycled { generation: 1 });
    outcomes.unlinked(id(1));
    outcomes.compact_at = 0;
    wait(outcomes.flush()).expect("flush");
    outcomes.close();
    let layout = Layout::new("/spool");
    assert_eq!(layout.outcome_numbers(&disk).expect("list"), [2]);
    let ledger = Ledger::read(&disk, &layout).expect("read");
    assert!(!ledger.is_removed(&id(1)) && ledger.is_removed(&id(2)));
    assert!(!ledger.is_settled(1, 4096) && ledger.is_settled(2, 4096));
}

#[test]
fn damage_in_the_middle_hides_nothing_behind_it() {
    let disk = SimulatedDisk::new();
    let mut outcomes = open(&disk);
    for n in 1..=3 {
        outcomes.note(Record::Removed { id: id(n) });
    }
    wait(outcomes.flush()).expect("flush");
    drop(outcomes);
    disk.damage(&Layout::new("/spool").outcome_file(1), FIRST_RECORD + 40 + 20);
    let again = open(&disk);
    assert_eq!([1, 2, 3].map(|n| again.ledger().is_removed(&id(n))), [true, false, true]);
}

proptest! {
    #[test]
    fn records_round_trip(n in any::<u32>(), generation in any::<u64>(), offsets in proptest::collection::vec(any::<u64>(), 0..5),
        text in "[^\\n]{0,20}", key in any::<u64>(), attempts in any::<u32>()) {
        let id = id(n % (1 << 25));
        let recipient = Recipient { address: address("\"a b\"@x.org"), orcpt: Some(text.clone()), ..Recipient::new(address("a@x.org")) };
        for record in [
            Record::Settled { generation, id, offsets },
            Record::Expanded { id, recipients: vec![recipient] },
            Record::Done { id, what: What::Bounced, key },
            Record::Deferred { id, next_seconds: key, attempts, reasons: vec![(key, text.as_str().into())] },
            Record::Held { id, held: true },
            Record::Warned { id },
            Record::Expired { id },
            Record::Limit { generation, limit: key },
            Record::Recycled { generation },
        ] {
            let mut out = vec![0; FIRST_RECORD];
            frame(&record, 5, FIRST_RECORD as u64, &mut out);
            prop_assert_eq!(record_at(&out, 5, FIRST_RECORD), Some((record, out.len())));
        }
    }

    #[test]
    fn arbitrary_payloads_never_panic(junk in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = Record::decode(&junk);
    }
}
