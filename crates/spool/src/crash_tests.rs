//! Stops at every file-system step of the spool, opens it again, and compares with the ledger of what was answered 250.

use crate::envelope::{Stored, decode};
use crate::segment::{Item, Segment};
use crate::{Error, Layout, Place, QueueFiles, Reader, SpoolWriter, WriterSettings};
use durable::Disk;
use durable::simulated::SimulatedDisk;
use mail_types::{Address, BodyType, Client, Envelope, QueueId, Recipient};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

fn settings() -> WriterSettings {
    WriterSettings {
        segment_bytes: 64 << 10,
        first_segment_bytes: 16 << 10,
        journal_limit_bytes: 1 << 20,
        free_space_floor_bytes: 0,
        lock_wait: Duration::ZERO,
        ..WriterSettings::new("/spool")
    }
}

fn envelope(id: QueueId) -> Envelope {
    Envelope {
        id,
        arrived_micros: 1,
        sender: None,
        recipients: vec![Recipient::new(Address::parse("bob@example.org").expect("address"))],
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

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("runtime").block_on(future)
}

fn body(n: usize) -> Vec<u8> {
    vec![b'a' + (n % 26) as u8; 1500 + 700 * (n % 5)]
}

#[derive(Default)]
struct Promises {
    kept: HashMap<QueueId, Vec<u8>>,
    refused: Vec<QueueId>,
}

/// Accepts `count` messages in batches of three; notes what was promised.
fn accept(writer: &SpoolWriter, count: usize, promises: &mut Promises) {
    for n in (0..count).step_by(3) {
        let batch: Vec<_> = (n..n + 3).map(|n| (envelope(writer.next_id()), body(n))).collect();
        wait(async {
            let a = writer.accept(&batch[0].0, &batch[0].1);
            let b = writer.accept(&batch[1].0, &batch[1].1);
            let c = writer.accept(&batch[2].0, &batch[2].1);
            let (a, b, c) = tokio::join!(a, b, c);
            for ((envelope, body), result) in batch.iter().zip([a, b, c]) {
                match result {
                    Ok(receipt) => {
                        assert_eq!(receipt.id, envelope.id);
                        assert!(promises.kept.insert(envelope.id, body.clone()).is_none(), "an id came again");
                    }
                    Err(_) => promises.refused.push(envelope.id),
                }
            }
        });
    }
}

/// What a qmgr that follows the rules would deliver now.
fn deliverable(disk: &SimulatedDisk) -> BTreeMap<QueueId, Vec<u8>> {
    let layout = Layout::new("/spool");
    let generations = layout.generations(disk).expect("list");
    let segments: Vec<_> = generations.iter().map(|g| Segment::open(disk, &layout.segment(*g), *g).expect("open")).collect();
    let limits: HashMap<u64, u64> = segments.iter().filter_map(|s| s.header()).map(|h| (h.previous, h.previous_limit)).collect();
    let newest = segments.iter().filter(|s| s.header().is_some()).map(Segment::generation).max().unwrap_or(0);
    let mut found = BTreeMap::new();
    for segment in &segments {
        // The newest has no limit yet. One whose successor was used again has it in qmgr's outcome journal.
        let limit = match limits.get(&segment.generation()) {
            Some(&limit) => limit,
            None if segment.generation() == newest => continue,
            None => u64::MAX,
        };
        let mut scan = segment.scan(0, limit, limit != u64::MAX);
        while let Some(item) = scan.next().expect("scan") {
            match item {
                Item::Message { id, .. } => {
                    let (stored, at) = decode(scan.payload()).expect("envelope");
                    assert_eq!(stored.envelope.id, id);
                    found.insert(id, scan.payload()[at..].to_vec());
                }
                Item::Closed { .. } => {}
                // A batch that was torn before anybody had an answer.
                Item::Damaged { .. } => {}
            }
        }
    }
    found
}

fn check(after: &SimulatedDisk, promises: &Promises, what: &str) {
    // The next start states the limit of the last segment.
    let writer = SpoolWriter::open_on(Arc::new(after.clone()), settings()).expect("open again");
    let found = deliverable(after);
    for (id, body) in &promises.kept {
        assert!(found.get(id) == Some(body), "{what}: {id} was answered 250");
    }
    for id in &promises.refused {
        // A power cut hides every answer that had not left; before it, 451 is final.
        assert!(!found.contains_key(id), "{what}: {id} was refused and is delivered");
    }
    let mut again = Promises::default();
    accept(&writer, 3, &mut again);
    assert_eq!(again.kept.len(), 3, "{what}: accepts again");
    assert!(again.kept.keys().all(|id| !promises.kept.contains_key(id)), "{what}: an id came again");
    writer.close();
}

#[test]
fn a_power_cut_at_any_step_loses_nothing_that_was_answered_250() {
    let mut step = 0;
    loop {
        let disk = SimulatedDisk::new();
        disk.power_off_after(step);
        let mut promises = Promises::default();
        if let Ok(writer) = SpoolWriter::open_on(Arc::new(disk.clone()), settings()) {
            accept(&writer, 30, &mut promises);
            writer.close();
        }
        let off = disk.is_off();
        // Without power nothing answers: what failed then was not refused.
        promises.refused.clear();
        for seed in 0..6 {
            check(&disk.reboot(seed), &promises, &format!("step {step} seed {seed}"));
        }
        check(&disk.after_kill(), &promises, &format!("step {step} killed"));
        if !off {
            assert_eq!(promises.kept.len(), 30);
            break;
        }
        step += 1;
    }
    assert!(step > 20, "{step}");
}

#[test]
fn what_a_failed_sync_refused_is_never_delivered_and_the_next_batch_is_taken() {
    for seed in 0..20 {
        let disk = SimulatedDisk::new();
        let writer = SpoolWriter::open_on(Arc::new(disk.clone()), settings()).expect("open");
        let mut promises = Promises::default();
        accept(&writer, 3, &mut promises);
        // The thread that prepares segments syncs too; the failure is to meet the batch.
        std::thread::sleep(Duration::from_millis(5));
        disk.fail_next_sync();
        accept(&writer, 3, &mut promises);
        accept(&writer, 6, &mut promises);
        assert!(!promises.refused.is_empty() && promises.kept.len() >= 9, "{}", promises.kept.len());
        drop(writer);
        check(&disk.reboot(seed), &promises, "after a power cut");
        check(&disk.after_kill(), &promises, "after a kill");
    }
}

#[test]
fn what_was_refused_is_not_found_after_a_kill_when_no_segment_can_be_begun() {
    let disk = SimulatedDisk::new();
    // Room for one segment, and none in stock.
    let small = WriterSettings { journal_limit_bytes: 20 << 10, ..settings() };
    let writer = SpoolWriter::open_on(Arc::new(disk.clone()), small).expect("open");
    let mut promises = Promises::default();
    accept(&writer, 3, &mut promises);
    disk.fail_next_sync();
    accept(&writer, 3, &mut promises);
    assert_eq!((promises.kept.len(), promises.refused.is_empty()), (3, false));
    check(&disk.after_kill(), &promises, "after a kill");
}

#[test]
fn recycling_survives_a_power_cut_at_any_step() {
    for step in 0..12 {
        let disk = SimulatedDisk::new();
        let mut promises = Promises::default();
        let writer = SpoolWriter::open_on(Arc::new(disk.clone()), settings()).expect("open");
        accept(&writer, 120, &mut promises);
        let current = writer.position().generation;
        let finished = Layout::new("/spool").generations(&disk).expect("list")[1];
        assert!(current > finished, "more than one segment was filled");
        let gone: Vec<QueueId> = {
            let segment = Segment::open(&disk, &Layout::new("/spool").segment(finished), finished).expect("open");
            let mut scan = segment.scan(0, u64::MAX, false);
            std::iter::from_fn(|| scan.next().expect("scan"))
                .filter_map(|i| if let Item::Message { id, .. } = i { Some(id) } else { None })
                .collect()
        };
        disk.power_off_after(step);
        let recycled = writer.recycle(finished).is_ok();
        let mut later = Promises::default();
        accept(&writer, 60, &mut later);
        drop(writer);
        promises.kept.retain(|id, _| !gone.contains(id));
        promises.kept.extend(later.kept);
        for seed in 0..10 {
            let after = disk.reboot(seed);
            check(&after, &promises, &format!("step {step} seed {seed}"));
            if recycled {
                let found = deliverable(&after);
                assert!(gone.iter().all(|id| !found.contains_key(id)), "a recycled segment came back");
            }
        }
    }
}

#[test]
fn the_segment_being_written_is_not_recycled_and_repeating_is_harmless() {
    let disk = SimulatedDisk::new();
    let writer = SpoolWriter::open_on(Arc::new(disk.clone()), settings()).expect("open");
    let mut promises = Promises::default();
    accept(&writer, 120, &mut promises);
    let current = writer.position().generation;
    assert!(writer.recycle(current).is_err());
    assert!(writer.recycle(current + 1).is_err());
    writer.recycle(1).expect("first");
    writer.recycle(1).expect("again");
}

#[test]
fn a_full_journal_refuses_until_a_segment_is_finished() {
    let disk = SimulatedDisk::new();
    let limit = WriterSettings { journal_limit_bytes: 100 << 10, ..settings() };
    let writer = SpoolWriter::open_on(Arc::new(disk.clone()), limit).expect("open");
    let mut promises = Promises::default();
    accept(&writer, 90, &mut promises);
    assert!(!promises.refused.is_empty());
    assert!(matches!(writer.check_space(1), Err(Error::Full(_))));
    let refused = promises.refused.len();
    for generation in 1..writer.position().generation {
        writer.recycle(generation).expect("recycle");
    }
    writer.check_space(1).expect("room again");
    accept(&writer, 3, &mut promises);
    assert_eq!(promises.refused.len(), refused);
    disk.set_full(true);
    assert!(matches!(SpoolWriter::check_space(&writer, 1 << 41), Err(Error::Full(_))));
}

#[test]
fn a_large_message_is_whole_or_absent_after_a_power_cut_at_any_step() {
    let mut step = 0;
    loop {
        let disk = SimulatedDisk::new();
        let layout = Layout::new("/spool");
        layout.create_for_qmgr(&disk).expect("directories");
        let writer = SpoolWriter::open_on(Arc::new(disk.clone()), settings()).expect("open");
        // Only the steps of the large message are counted.
        while disk.list_len(&layout.journal()) < 3 {
            std::thread::yield_now();
        }
        writer.close();
        disk.power_off_after(step);
        let mut envelope = envelope(writer.next_id());
        let done = wait(async {
            let mut large = writer.large(&envelope);
            for n in 0..5u8 {
                large.append(&vec![n; 100_000]).await?;
            }
            envelope.hold = true;
            // More than was left free for it, so that the body has to be moved.
            envelope.recipients = vec![envelope.recipients[0].clone(); 30];
            large.commit(&envelope).await
        });
        if let Ok(receipt) = &done {
            assert_eq!(receipt.place, Place::File);
        }
        let disks = (0..6).map(|seed| disk.reboot(seed)).chain([disk.after_kill()]);
        for after in disks {
            let files = QueueFiles::new(Arc::new(after.clone()), layout.clone());
            let ids = files.list().expect("list");
            if done.is_ok() {
                assert_eq!(ids, [envelope.id], "step {step}");
            }
            for id in ids {
                let file = files.open(&id).expect("whole");
                file.verify().expect("its body");
                assert!(file.stored.envelope.hold);
                assert_eq!(file.stored.envelope.recipients.len(), 30);
                assert_eq!(file.body_bytes, 500_000);
                assert_eq!(files.list().expect("list"), [id]);
                files.remove(&id).expect("remove");
                assert!(files.open(&id).expect_err("gone").is_not_found());
            }
        }
        if !disk.is_off() {
            break;
        }
        step += 1;
    }
    assert!(step > 5);
}

/// While the client sends, its envelope may grow by any length: copies that a rule asks for, names.
#[test]
fn a_large_message_is_readable_whatever_its_envelope_has_grown_by() {
    for growth in (0..200).chain(480..900) {
        let disk = SimulatedDisk::new();
        let layout = Layout::new("/spool");
        layout.create_for_qmgr(&disk).expect("directories");
        let writer = SpoolWriter::open_on(Arc::new(disk.clone()), settings()).expect("open");
        let mut envelope = envelope(writer.next_id());
        wait(async {
            let mut large = writer.large(&envelope);
            large.append(&[b'x'; 1000]).await.expect("append");
            envelope.client.helo.push_str(&"a".repeat(growth));
            large.commit(&envelope).await.expect("commit");
        });
        let file = QueueFiles::new(Arc::new(disk.clone()), layout.clone()).open(&envelope.id).expect("readable");
        file.verify().expect("its body");
        assert_eq!((file.body_bytes, file.stored.envelope), (1000, envelope), "{growth}");
        writer.close();
    }
}

#[test]
fn a_client_that_goes_away_leaves_no_file() {
    let disk = SimulatedDisk::new();
    let layout = Layout::new("/spool");
    layout.create_for_qmgr(&disk).expect("directories");
    let writer = SpoolWriter::open_on(Arc::new(disk.clone()), settings()).expect("open");
    wait(async {
        let mut large = writer.large(&envelope(writer.next_id()));
        large.append(&[7; 600_000]).await.expect("append");
        assert_eq!(disk.list_len(&layout.incoming()), 1);
    });
    assert_eq!(disk.list_len(&layout.incoming()), 0);
}

#[test]
fn queue_files_are_whole_or_absent_after_a_power_cut_at_any_step() {
    // Synced one by one, and flushed together.
    for count in [3, 9] {
        files_at_any_step(count);
    }
}

fn files_at_any_step(count: u64) {
    let mut step = 0;
    loop {
        let disk = SimulatedDisk::new();
        let layout = Layout::new("/spool");
        layout.create_for_qmgr(&disk).expect("directories");
        let files = QueueFiles::new(Arc::new(disk.clone()), layout.clone());
        let messages: Vec<(Stored, Arc<[u8]>)> = (0..count)
            .map(|n| {
                let stored = Stored { expanded: true, ..Stored::new(envelope(QueueId::from_parts(5, 5, n as _))) };
                (stored, Arc::from(body(n as usize)))
            })
            .collect();
        disk.power_off_after(step);
        let done = files.write(&messages).is_ok();
        for seed in 0..10 {
            let after = disk.reboot(seed);
            let files = QueueFiles::new(Arc::new(after.clone()), layout.clone());
            let ids = files.list().expect("list");
            assert!(!done || ids.len() as u64 == count, "{count} files, step {step} seed {seed}");
            for id in ids {
                let file = files.open(&id).expect("whole");
                assert!(file.stored.expanded);
                file.body(1 << 20).expect("body");
            }
            files.write(&messages).expect("again");
            assert_eq!(files.list().expect("list").len() as u64, count);
            assert!(after.list_len(&layout.corrupt()) == 0);
        }
        if done {
            break;
        }
        step += 1;
    }
}

/// A move to a file fails after the file got its name; the message goes on in the journal, one of its recipients gets it, and it is moved
/// again: then the file has those that are left, and at any moment it is one of the two, whole.
#[test]
fn a_file_of_a_failed_move_is_replaced_at_any_step() {
    let id = QueueId::from_parts(5, 5, 1);
    let mut both = envelope(id);
    both.recipients.push(Recipient::new(Address::parse("ann@example.org").expect("address")));
    let one = envelope(id);
    let stored = |envelope: &Envelope| Stored { expanded: true, ..Stored::new(envelope.clone()) };
    let mut step = 0;
    loop {
        let disk = SimulatedDisk::new();
        let layout = Layout::new("/spool");
        layout.create_for_qmgr(&disk).expect("directories");
        let files = QueueFiles::new(Arc::new(disk.clone()), layout.clone());
        files.write(&[(stored(&both), Arc::from(body(1)))]).expect("the first move");
        disk.power_off_after(step);
        let done = files.write(&[(stored(&one), Arc::from(body(1)))]).is_ok();
        for after in (0..10).map(|seed| disk.reboot(seed)).chain([disk.after_kill()]) {
            let files = QueueFiles::new(Arc::new(after.clone()), layout.clone());
            assert_eq!(files.list().expect("list"), [id], "step {step}");
            let file = files.open(&id).expect("whole");
            assert_eq!(file.body(1 << 20).expect("body"), body(1));
            assert!(file.stored.envelope == one || (!done && file.stored.envelope == both), "step {step}");
            files.write(&[(stored(&one), Arc::from(body(1)))]).expect("again");
            assert_eq!(files.open(&id).expect("whole").stored.envelope, one);
        }
        if done {
            break;
        }
        step += 1;
    }
    assert!(step > 3, "{step}");
}

/// The kernel has reported the fault, and forgets what it was about.
#[test]
fn a_second_sync_is_no_proof_of_what_the_first_one_gave_up() {
    let layout = Layout::new("/spool");
    let message = || (Stored::new(envelope(QueueId::from_parts(5, 5, 1))), Arc::<[u8]>::from(body(1)));
    let bucket = layout.queue_directory(&QueueId::from_parts(5, 5, 1));
    for seed in 0..20 {
        let disk = SimulatedDisk::new();
        layout.create_for_qmgr(&disk).expect("directories");
        let files = QueueFiles::new(Arc::new(disk.clone()), layout.clone());
        disk.fail_next_sync_dir(&bucket);
        assert!(files.write(&[message()]).is_err());
        files.write(&[message()]).expect("the second try");
        let files = QueueFiles::new(Arc::new(disk.reboot(seed)), layout.clone());
        assert_eq!(files.list().expect("list").len(), 1, "seed {seed}");
    }
}

#[test]
fn a_directory_that_somebody_else_has_made_is_made_to_last() {
    let layout = Layout::new("/spool");
    let id = QueueId::from_parts(5, 5, 1);
    for seed in 0..20 {
        let disk = SimulatedDisk::new();
        layout.create_for_qmgr(&disk).expect("directories");
        disk.create_dir(&layout.queue_directory(&id), 0o700).expect("directory");
        let files = QueueFiles::new(Arc::new(disk.clone()), layout.clone());
        files.write(&[(Stored::new(envelope(id)), Arc::from(body(1)))]).expect("write");
        let files = QueueFiles::new(Arc::new(disk.reboot(seed)), layout.clone());
        assert_eq!(files.list().expect("list"), [id], "seed {seed}");
    }
}

#[test]
fn what_does_not_belong_is_set_aside_and_not_followed() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let disk: Arc<dyn durable::Disk> = Arc::new(durable::OsDisk);
    let layout = Layout::new(dir.path().join("spool"));
    layout.create_for_qmgr(&*disk).expect("directories");
    let files = QueueFiles::new(disk.clone(), layout.clone());
    let good = QueueId::from_parts(5, 5, 0);
    let stored = Stored::new(envelope(good));
    files.write(&[(stored, Arc::from(body(0)))]).expect("write");
    let id = |n| QueueId::from_parts(5, 5, n);
    let incoming = layout.incoming();
    std::fs::write(incoming.join("junk"), "x").expect("write");
    std::fs::write(incoming.join(id(1).as_str()), "From: forged\n\n").expect("write");
    std::fs::write(incoming.join(id(2).as_str()), "").expect("write");
    std::os::unix::fs::symlink("/etc/passwd", incoming.join(id(3).as_str())).expect("link");
    std::fs::create_dir(incoming.join(id(4).as_str())).expect("directory");
    std::fs::hard_link(layout.queue_file(&good), incoming.join(id(5).as_str())).expect("link");
    std::fs::write(layout.queue_directory(&good).join(id(6).as_str()), "elsewhere").expect("write");
    let ids = files.list().expect("list");
    assert_eq!(ids, [good, id(1), id(2), id(5)]);
    for odd in [id(1), id(2), id(5)] {
        let Err(Error::Damaged { reason, .. }) = files.open(&odd) else { panic!("{odd} was read") };
        files.set_aside_message(&odd, &reason);
    }
    assert_eq!(files.list().expect("list"), [good]);
    assert_eq!(std::fs::read_dir(layout.corrupt()).expect("list").count(), 7);
    files.open(&good).expect("good").verify().expect("good");
}

#[test]
fn the_reader_finds_a_message_wherever_it_lies() {
    let disk = SimulatedDisk::new();
    let layout = Layout::new("/spool");
    layout.create_for_qmgr(&disk).expect("directories");
    let writer = SpoolWriter::open_on(Arc::new(disk.clone()), settings()).expect("open");
    let mut promises = Promises::default();
    accept(&writer, 3, &mut promises);
    let waiting = QueueId::from_parts(7, 7, 7);
    let files = QueueFiles::new(Arc::new(disk.clone()), layout.clone());
    files.write(&[(Stored::new(envelope(waiting)), Arc::from(body(1)))]).expect("write");
    let reader = Reader::open_on(Arc::new(disk.clone()), "/spool".as_ref()).expect("reader");
    assert_eq!(reader.list().expect("list").len(), 4);
    for (id, body) in &promises.kept {
        assert_eq!(&reader.find(id).expect("find").expect("there").body, body);
    }
    let found = reader.find(&waiting).expect("find").expect("there");
    assert!(found.envelope_text.starts_with("facteur-message 1\nid "));
    assert_eq!(reader.find(&QueueId::from_parts(1, 1, 1)).expect("find"), None);
}
