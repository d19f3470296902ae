use super::*;
use crate::Stream;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;

struct Files {
    dir: tempfile::TempDir,
    roots: RootCertStore,
}

impl Files {
    fn new() -> Files {
        Files { dir: tempfile::tempdir().expect("directory"), roots: RootCertStore::empty() }
    }

    fn make(&mut self, file: &str, name: &str) {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("certificate");
        self.roots.add(made.cert.der().clone()).expect("root");
        std::fs::write(self.dir.path().join(format!("{file}.pem")), made.cert.pem()).expect("write");
        std::fs::write(self.dir.path().join(format!("{file}.key")), made.signing_key.serialize_pem()).expect("write");
    }

    fn config(&self, text: &str) -> Config {
        let file = self.dir.path().join("facteur.toml");
        Config::from_texts(&file, &[(file.clone(), format!("hostname = \"mx.test\"\n{text}"))]).expect("settings")
    }

    fn server(&self, text: &str) -> Result<ServerTls, Error> {
        let tls = ServerTls::new(Some("smtp")).expect("server");
        tls.take(tls.prepare(&self.config(text))?);
        Ok(tls)
    }
}

// What the client got: its certificate was valid for `name`; and the word that the server said.
async fn talk(tls: &ServerTls, roots: &RootCertStore, name: &str, alpn: &[&str]) -> io::Result<String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let mut client = builder.with_root_certificates(roots.clone()).with_no_client_auth();
    client.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    let (a, b) = UnixStream::pair()?;
    let server = async {
        let mut stream = Stream::try_from(b)?.upgrade_tls(tls).await?;
        let info = stream.tls_info().expect("under TLS");
        assert_eq!(info.version, "TLSv1.3");
        let channel = stream.channel();
        stream.write_all(info.sni.unwrap_or_default().as_bytes()).await?;
        stream.shutdown().await?;
        Ok::<_, io::Error>(channel.bindings)
    };
    let client = async {
        let name = ServerName::try_from(name.to_owned()).expect("name");
        let mut stream = TlsConnector::from(Arc::new(client)).connect(name, a).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        // RFC 9266 §2, RFC 5929 §4.1: both ends come to the same; the test certificates are signed with ECDSA and SHA-256.
        let connection = stream.get_ref().1;
        let exported = connection.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")).expect("TLS 1.3");
        let certificate = &connection.peer_certificates().expect("a certificate")[0];
        let end_point = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
        let bindings = [("tls-exporter", exported.to_vec()), ("tls-server-end-point", end_point.as_ref().to_vec())];
        Ok::<_, io::Error>((text, bindings.map(|(kind, data)| (kind.to_owned(), data))))
    };
    let (served, got) = tokio::join!(server, client);
    let (text, bindings) = got?;
    assert_eq!(served?, bindings);
    Ok(text)
}

#[tokio::test]
async fn the_certificate_is_chosen_by_the_name_that_the_client_asks_for() {
    let mut files = Files::new();
    files.make("a", "a.test");
    files.make("b", "b.test");
    let settings = "[tls]\ncert_file = \"a.pem\"\nkey_file = \"a.key\"\ncertificate = [{ cert_file = \"b.pem\", key_file = \"b.key\" }]";
    let tls = files.server(settings).expect("sound");
    assert_eq!(talk(&tls, &files.roots, "a.test", &[]).await.expect("a"), "a.test");
    assert_eq!(talk(&tls, &files.roots, "b.test", &["smtp"]).await.expect("b"), "b.test");
    // The default certificate, which does not hold this name.
    assert!(talk(&tls, &files.roots, "c.test", &[]).await.is_err());
}

/// S23: a name that is none is answered by an alert or by the default certificate, and never looked for as a file or a pattern.
#[tokio::test]
async fn names_that_are_none_get_an_alert_or_the_default_certificate() {
    let mut files = Files::new();
    files.make("a", "a.test");
    let tls = files.server("[tls]\ncert_file = \"a.pem\"\nkey_file = \"a.key\"").expect("sound");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let client = Arc::new(builder.with_root_certificates(files.roots.clone()).with_no_client_auth());
    let placeholder = "placeholder-name.test";
    for name in
        ["placeholder-name.tes\\", "placeholder\0name.test", "../../../../../etc/pw", "*********************", "placeholder-name.tes\u{7f}"]
    {
        assert_eq!(name.len(), placeholder.len());
        let name_of = ServerName::try_from(placeholder).expect("name");
        let mut hello = Vec::new();
        let mut connection = rustls::ClientConnection::new(client.clone(), name_of).expect("client");
        connection.write_tls(&mut hello).expect("a hello");
        let at = hello.windows(placeholder.len()).position(|w| w == placeholder.as_bytes()).expect("the name is in it");
        hello[at..at + placeholder.len()].copy_from_slice(name.as_bytes());
        let (mut a, b) = UnixStream::pair().expect("sockets");
        let server = async { drop(Stream::try_from(b).expect("stream").upgrade_tls(&tls).await) };
        let client = async {
            a.write_all(&hello).await.expect("write");
            let mut answer = [0; 1];
            let got = a.read(&mut answer).await.unwrap_or(0);
            drop(a);
            // An alert, a part of a handshake, or the end.
            assert!(got == 0 || [21, 22].contains(&answer[0]), "{name:?}: {answer:?}");
        };
        tokio::join!(server, client);
    }
    assert_eq!(talk(&tls, &files.roots, "a.test", &[]).await.expect("others are served"), "a.test");
}

#[tokio::test]
async fn a_client_of_another_protocol_gets_an_alert() {
    let mut files = Files::new();
    files.make("a", "a.test");
    let tls = files.server("[tls]\ncert_file = \"a.pem\"\nkey_file = \"a.key\"").expect("sound");
    assert!(talk(&tls, &files.roots, "a.test", &["http/1.1", "h2"]).await.is_err());
    assert!(talk(&tls, &files.roots, "a.test", &["h2", "smtp"]).await.is_ok());
}

#[tokio::test]
async fn a_file_that_changes_is_noticed_and_taken() {
    let mut files = Files::new();
    files.make("a", "a.test");
    let settings = "[tls]\ncert_file = \"a.pem\"\nkey_file = \"a.key\"";
    let tls = files.server(settings).expect("sound");
    assert!(!tls.files_changed());
    files.make("a", "new.test");
    assert!(tls.files_changed());
    assert!(talk(&tls, &files.roots, "new.test", &[]).await.is_err());
    tls.take(tls.prepare(&files.config(settings)).expect("sound"));
    assert!(!tls.files_changed());
    assert!(talk(&tls, &files.roots, "new.test", &[]).await.is_ok());
}

#[tokio::test]
async fn versions_below_the_minimum_are_refused() {
    let mut files = Files::new();
    files.make("a", "a.test");
    for (minimum, want) in [("TLSv1.2", true), ("TLSv1.3", false)] {
        let tls =
            files.server(&format!("[tls]\ncert_file = \"a.pem\"\nkey_file = \"a.key\"\nmin_protocol = \"{minimum}\"")).expect("sound");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS12]).expect("versions");
        let client = builder.with_root_certificates(files.roots.clone()).with_no_client_auth();
        let (a, b) = UnixStream::pair().expect("pair");
        let server = async { Stream::try_from(b)?.upgrade_tls(&tls).await };
        let connector = TlsConnector::from(Arc::new(client));
        let (served, got) = tokio::join!(server, connector.connect(ServerName::try_from("a.test").expect("name"), a));
        assert_eq!((got.is_ok(), served.is_ok()), (want, want), "{minimum}");
        if let Ok(stream) = served {
            assert_eq!(stream.tls_info().expect("under TLS").version, "TLSv1.2");
        }
    }
}

#[test]
fn files_that_do_not_fit_are_refused_with_their_name() {
    let mut files = Files::new();
    files.make("a", "a.test");
    files.make("b", "b.test");
    let fault = |text: &str| files.server(text).expect_err("unsound").to_string();
    assert!(fault("[tls]\ncert_file = \"a.pem\"\nkey_file = \"b.key\"").contains("does not belong to"));
    assert!(fault("[tls]\ncert_file = \"a.pem\"").contains("go together"));
    assert!(fault("[tls]\ncert_file = \"nowhere.pem\"\nkey_file = \"a.key\"").contains("nowhere.pem"));
    assert!(fault("[tls]\ncert_file = \"a.key\"\nkey_file = \"a.key\"").contains("no certificate"));
    assert!(fault("[tls]\ncert_file = \"a.pem\"\nkey_file = \"a.pem\"").contains("no private key"));
}

#[tokio::test]
async fn without_certificates_tls_is_not_offered() {
    let files = Files::new();
    let tls = files.server("").expect("sound");
    assert!(!tls.is_available());
    let (a, _b) = UnixStream::pair().expect("pair");
    assert!(Stream::try_from(a).expect("stream").upgrade_tls(&tls).await.is_err());
}

/// An authority, and a certificate of it.
fn vouched_for(name: &str, address: &str) -> (rcgen::Certificate, CertifiedClient) {
    let key = rcgen::KeyPair::generate().expect("key");
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("params");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let authority = params.self_signed(&key).expect("authority");
    let issuer = rcgen::Issuer::new(params, key);
    let own = rcgen::KeyPair::generate().expect("key");
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("params");
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names.push(rcgen::SanType::Rfc822Name(address.try_into().expect("ASCII")));
    let certificate = params.signed_by(&own, &issuer).expect("certificate");
    (authority, CertifiedClient { chain: vec![certificate.der().clone()], key: own.serialize_der() })
}

#[derive(Clone)]
struct CertifiedClient {
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

/// Whom the server takes a client with this certificate for, in two connections: the second resumes the first.
async fn known_as(tls: &ServerTls, roots: &RootCertStore, client: Option<&CertifiedClient>, asking: bool) -> [Option<String>; 2] {
    let fingerprints = client.map(|client| client::fingerprints(&client.chain)).filter(|_| asking).unwrap_or_default();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let builder = builder.with_root_certificates(roots.clone());
    let config = Arc::new(match client {
        Some(client) => {
            let key = rustls_pki_types::PrivateKeyDer::try_from(client.key.clone()).expect("key");
            builder.with_client_auth_cert(client.chain.clone(), key).expect("pair")
        }
        None => builder.with_no_client_auth(),
    });
    let mut found = [None, None];
    for found in &mut found {
        let (a, b) = UnixStream::pair().expect("pair");
        let server = async {
            let mut stream = Stream::try_from(b)?.upgrade_tls_asking(tls, asking).await?;
            assert_eq!(stream.tls_info().expect("under TLS").client_fingerprints, fingerprints);
            stream.shutdown().await?;
            Ok::<_, io::Error>(stream.channel().certificate)
        };
        let client = async {
            let name = ServerName::try_from("a.test").expect("name");
            let mut stream = TlsConnector::from(config.clone()).connect(name, a).await?;
            stream.read_to_end(&mut Vec::new()).await
        };
        let (served, got) = tokio::join!(server, client);
        got.expect("a handshake");
        *found = served.expect("a handshake");
    }
    found
}

#[tokio::test]
async fn a_client_is_whom_its_certificate_names_only_when_ours_vouch_for_it() {
    let mut files = Files::new();
    files.make("a", "a.test");
    let (authority, ann) = vouched_for("ours", "ann@x.test");
    let (_, stranger) = vouched_for("ours", "ann@x.test");
    std::fs::write(files.dir.path().join("ca.pem"), authority.pem()).expect("write");
    let pair = "[tls]\ncert_file = \"a.pem\"\nkey_file = \"a.key\"\n";
    let login = "ca_file = \"ca.pem\"\nauth_ssl_username_from_cert = true\n";
    let somebody = || [Some("ann@x.test".to_owned()), Some("ann@x.test".to_owned())];
    for (settings, client, asking, want) in [
        (format!("{pair}{login}"), Some(&ann), true, somebody()),
        (format!("{pair}{login}"), Some(&ann), false, [None, None]),
        (format!("{pair}{login}"), Some(&stranger), true, [None, None]),
        (format!("{pair}{login}"), None, true, [None, None]),
        (format!("{pair}ca_file = \"ca.pem\"\n"), Some(&ann), true, [None, None]),
        (format!("{pair}auth_ssl_username_from_cert = true\n"), Some(&ann), true, [None, None]),
    ] {
        let tls = files.server(&settings).expect("sound");
        assert_eq!(known_as(&tls, &files.roots, client, asking).await, want, "{settings} asking: {asking}");
    }
    let asks = |more: &str| files.server(&format!("{pair}{login}{more}")).expect("sound").asks();
    assert!(asks("ssl_verify_client_cert = true\n") && !asks(""));
    let fault = files.server(&format!("{pair}ca_file = \"nowhere.pem\"\n")).expect_err("unsound").to_string();
    assert!(fault.contains("nowhere.pem"), "{fault}");
}
