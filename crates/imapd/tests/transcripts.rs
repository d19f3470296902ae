//! The transcripts of `tests/transcripts/imap`, each against a fresh imapd.

mod common;

use common::{PATIENCE, World};
use testkit::Transcript;

#[tokio::test(flavor = "multi_thread")]
async fn transcripts() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/transcripts/imap");
    let transcripts = Transcript::read_all(folder);
    assert!(transcripts.len() >= 5, "transcripts are missing in {folder}");
    for transcript in transcripts {
        let world = World::start().await;
        let stream = world.connect().await;
        transcript.run_stream(stream, PATIENCE, async |word, _| panic!("no directive {word}")).await;
        world.stop().await;
    }
}
