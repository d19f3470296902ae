//! A hostile server against our client: no panic, bounded buffers, and an end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mail_types::{Address, Recipient};
use smtp_proto::client::{Body, Message, Session, Settings, Step};
use smtp_proto::server::MailFrom;
use std::sync::Arc;

fuzz_target!(|data: &[u8]| {
    let Some((&[options, seed], input)) = data.split_first_chunk::<2>().map(|(a, b)| (a, b)) else { return };
    let mut settings = if options & 1 == 0 { Settings::smtp("us.test") } else { Settings::lmtp("us.test") };
    (settings.transcript, settings.bdat) = (options & 2 != 0, options & 4 != 0);
    let mut session = Session::new(settings);
    let to = |s: &str| Recipient::new(Address::parse(s).expect("address"));
    let message = Message {
        mail: MailFrom::default(),
        recipients: vec![to("a@x.test"), to("b@x.test")],
        forward: vec![("NAME", None), ("ADDR", Some("192.0.2.7".into())), ("HELO", Some("spike".into()))],
        body: Body::Memory(Arc::new(b"Subject: x\r\n\r\n.dot\r\nbare\nlf\r\n".to_vec())),
    };
    let mut messages = 0;
    let mut parts = fuzz::pieces(input, seed);
    for _ in 0..200_000 {
        match session.step() {
            Step::Send(_) => {}
            Step::Finished(_) => assert!(session.transcript().len() < 100_000, "a transcript without bound"),
            Step::NeedInput => match parts.next() {
                Some(part) => session.receive(part),
                None => session.closed(),
            },
            Step::StartTls => session.tls_started(),
            Step::Ready if messages < 3 => {
                messages += 1;
                session.deliver(message.clone());
            }
            Step::Ready => session.quit(),
            Step::NeedBody => session.end_of_body(),
            Step::Failed(_) | Step::Close => return,
        }
    }
    panic!("the machine does not come to an end");
});
