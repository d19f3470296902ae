//! Letters of the drop folder, between smtpd's 250 and their removal.

use crate::house::{House, OURS, wait_for};
use sendmail::Letter;
use sendmail::maildrop;
use std::path::PathBuf;
use testkit::{Act, Sink};

/// Files that qmgr sees as letters.
fn waiting(house: &House) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(house.path("spool/maildrop")).expect("folder").flatten();
    entries.map(|entry| entry.path()).filter(|path| maildrop::is_letter(&path.file_name().unwrap_or_default().to_string_lossy())).collect()
}

async fn with_letter(smtpd: testkit::sink::Builder) -> (House, Sink, PathBuf) {
    let house = House::new(OURS).await;
    let folder = house.path("spool/maildrop");
    std::fs::create_dir_all(&folder).expect("folder");
    let letter = Letter {
        sender: Some("ann@ours.test".parse().expect("address")),
        recipients: vec!["bob@ours.test".parse().expect("address")],
        message: b"Message-ID: <only@ours.test>\r\nSubject: dropped\r\n\r\nx\r\n".to_vec(),
        ..Letter::default()
    };
    let name = maildrop::name(1_800_000_000, 7);
    maildrop::keep(&folder, &name, &letter).expect("keep");
    let sink = smtpd.start_unix(&house.path("run/submit")).await;
    (house, sink, folder.join(name))
}

/// The state of the disk after a kill between the 250 and the removal: smtpd has the message, and the file is still there. It is handed in once
/// more, as `maildrop` says, and both copies can be known as one; a third never comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_whose_removal_was_cut_off_comes_once_more_and_is_known() {
    let (mut house, smtpd, file) = with_letter(Sink::smtp()).await;
    let kept = std::fs::read(&file).expect("letter");
    for times in 1..=2 {
        house.start().await;
        wait_for("its removal", || waiting(&house).is_empty()).await;
        house.stop().await;
        assert_eq!(smtpd.messages().len(), times);
        if times == 1 {
            std::fs::write(&file, &kept).expect("as it was");
        }
    }
    let bodies: Vec<String> = smtpd.messages().iter().map(|m| String::from_utf8_lossy(&m.body).into_owned()).collect();
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for body in &bodies {
        assert!(body.contains("Message-ID: <only@ours.test>") && body.contains(&format!("id {name};")), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_without_its_250_stays() {
    for act in [Act::Close, Act::reply("451 4.3.0 the disk is full")] {
        let (mut house, smtpd, _) = with_letter(Sink::smtp().on("end of data", act)).await;
        house.start().await;
        wait_for("an attempt", || smtpd.commands().iter().any(|c| c.starts_with("DATA"))).await;
        house.stop().await;
        assert_eq!(waiting(&house).len(), 1);
    }
}
