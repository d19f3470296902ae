use super::*;

fn logged(json: bool, what: impl FnOnce()) -> String {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("log");
    let sink = Arc::new(Sink::start(Some(&path), 1 << 20).expect("sink"));
    let layer = Lines { program: "smtpd", json, journal: false, sink: sink.clone(), recent: Arc::default() };
    let subscriber = tracing_subscriber::registry().with(LevelFilter::INFO).with(layer);
    tracing::subscriber::with_default(subscriber, what);
    sink.flush();
    std::fs::read_to_string(path).expect("log")
}

#[test]
fn fields_of_the_session_stand_before_those_of_the_event() {
    let text = logged(false, || {
        let span = tracing::info_span!("session", id = "S1", peer = %"192.0.2.1:25", login = tracing::field::Empty);
        span.record("login", "ann lee");
        let _inside = span.enter();
        tracing::info!(queue_id = "4F", size = 12u64, ok = true, "received");
        tracing::debug!("not at this level");
    });
    assert!(text.ends_with(" smtpd info received id=S1 peer=192.0.2.1:25 login=\"ann lee\" queue_id=4F size=12 ok=true\n"), "{text}");
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn json_lines_are_json() {
    let text = logged(true, || tracing::warn!(helo = "a\"\r\nb", n = -1i64, error = %io::Error::other("x"), "odd"));
    assert!(
        text.ends_with(
            "\"program\":\"smtpd\",\"level\":\"warn\",\"message\":\"odd\",\"helo\":\"a\\\"\\r\\nb\",\"n\":-1,\"error\":\"x\"}\n"
        ),
        "{text}"
    );
}

#[test]
fn an_error_is_logged_with_its_causes() {
    #[derive(Debug, thiserror::Error)]
    #[error("open queue/4F")]
    struct Outer(#[source] io::Error);
    let error = Outer(io::Error::other("permission denied"));
    let text = logged(false, || tracing::error!(error = &error as &dyn std::error::Error, "cannot read"));
    assert!(text.ends_with(" smtpd error cannot read error=\"open queue/4F: permission denied\"\n"), "{text}");
}
