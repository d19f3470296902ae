//! The server's side of the auth client protocol: lines of clients read, answers written. Pure.

use super::{AuthFail, LINE_LIMIT_BYTES, Mechanism};
use crate::tabbed::{self, Line};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::net::IpAddr;
use zeroize::Zeroizing;

const BINDINGS_LIMIT: usize = 4;

/// A line of a client.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientLine {
    Version {
        major: u32,
    },
    /// The number by which the client calls its connection.
    Cpid(u32),
    Auth(Box<AuthCommand>),
    Continue {
        id: u32,
        response: Response,
    },
    Cancel(u32),
    /// A command of a later minor version; to be passed over.
    Unknown,
}

/// A login that begins.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct AuthCommand {
    pub id: u32,
    /// In upper case.
    pub mechanism: String,
    pub service: String,
    pub secured: bool,
    /// The client asks not to be held back for failures of others at its address (webmail and such).
    pub no_penalty: bool,
    pub remote: Option<IpAddr>,
    pub local: Option<IpAddr>,
    pub remote_port: Option<u16>,
    pub session: String,
    /// The domain of names that have none; empty: ours.
    pub realm: String,
    /// What the client's TLS connection is known by: types of channel bindings, and their data.
    pub bindings: Vec<(String, Vec<u8>)>,
    /// The name in a certificate of the client, which was checked.
    pub certificate: Option<String>,
    pub initial: Option<Response>,
}

/// A client's SASL message, out of base64.
#[derive(PartialEq, Eq)]
pub enum Response {
    Bytes(Zeroizing<Vec<u8>>),
    /// It was no base64: this login fails, and no other (CVE-2025-59028).
    NotBase64,
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

fn response(text: &str) -> Response {
    match BASE64.decode(text) {
        Ok(bytes) => Response::Bytes(Zeroizing::new(bytes)),
        Err(_) => Response::NotBase64,
    }
}

/// Reads a line without its LF. `Err` is a client that does not speak the protocol: its connection is to be closed.
pub fn parse(line: &[u8]) -> Result<ClientLine, &'static str> {
    let (word, mut fields) = tabbed::command(line, LINE_LIMIT_BYTES)?;
    match word.as_str() {
        "VERSION" => Ok(ClientLine::Version { major: tabbed::version(&mut fields)? }),
        "CPID" => Ok(ClientLine::Cpid(fields.number().ok_or("CPID has no number")?)),
        "CANCEL" => Ok(ClientLine::Cancel(fields.number().ok_or("CANCEL has no number")?)),
        "CONT" => {
            let id = fields.number().ok_or("CONT has no number")?;
            let text = Zeroizing::new(fields.text().and_then(Result::ok).unwrap_or_default());
            Ok(ClientLine::Continue { id, response: response(&text) })
        }
        "AUTH" => {
            let id = fields.number().ok_or("AUTH has no number")?;
            let mechanism = fields.text().and_then(Result::ok).ok_or("AUTH names no mechanism")?.to_ascii_uppercase();
            let mut command = AuthCommand { id, mechanism, ..AuthCommand::default() };
            let mut certificate_is_valid = false;
            for (name, value) in fields.pairs() {
                match name.as_str() {
                    "service" => command.service = value,
                    // `secured`, or `secured=tls`, `secured=trusted`.
                    "secured" => command.secured = true,
                    "no-penalty" => command.no_penalty = true,
                    "rip" => command.remote = value.parse().ok().map(|ip: IpAddr| ip.to_canonical()),
                    "lip" => command.local = value.parse().ok().map(|ip: IpAddr| ip.to_canonical()),
                    "rport" => command.remote_port = value.parse().ok(),
                    "session" => command.session = value,
                    "realm" => command.realm = value,
                    "valid-client-cert" => certificate_is_valid = true,
                    "cert_username" => command.certificate = Some(value),
                    "channel-binding" if command.bindings.len() < BINDINGS_LIMIT => {
                        let (kind, data) = value.split_once(':').ok_or("a channel binding has no type")?;
                        let data = BASE64.decode(data).map_err(|_| "a channel binding is no base64")?;
                        command.bindings.push((kind.to_owned(), data));
                    }
                    "resp" => command.initial = Some(response(&Zeroizing::new(value))),
                    _ => {}
                }
            }
            // A name alone is only what somebody says.
            command.certificate = command.certificate.take().filter(|_| certificate_is_valid);
            if command.service.is_empty() {
                return Err("AUTH names no service");
            }
            Ok(ClientLine::Auth(Box::new(command)))
        }
        _ => Ok(ClientLine::Unknown),
    }
}

/// What the server says first: version, mechanisms, and numbers that tell this connection from all others.
pub fn greeting(mechanisms: &[Mechanism], connection: u32, cookie: &[u8; 16]) -> Vec<u8> {
    let mut out = Line::new("VERSION").field("1").field("2").end();
    for mechanism in mechanisms {
        let line = Line::new("MECH")
            .field(&mechanism.name)
            .flag("private", mechanism.private)
            .flag("anonymous", mechanism.anonymous)
            .flag("dictionary", mechanism.dictionary)
            .flag("mutual-auth", mechanism.mutual)
            .flag("channel-binding", mechanism.binds)
            .flag("plaintext", mechanism.plaintext);
        out.extend(line.end());
    }
    let hex: String = cookie.iter().map(|b| format!("{b:02x}")).collect();
    out.extend(Line::new("SPID").field(std::process::id().to_string()).end());
    out.extend(Line::new("CUID").field(connection.to_string()).end());
    out.extend(Line::new("COOKIE").field(hex).end());
    out.extend(b"DONE\n");
    out
}

/// The login goes on with a challenge.
pub fn cont(id: u32, challenge: &[u8]) -> Vec<u8> {
    Line::new("CONT").field(id.to_string()).field(BASE64.encode(challenge)).end()
}

/// The login succeeded.
pub fn ok(id: u32, user: &str, fields: &[(String, String)]) -> Vec<u8> {
    let line = Line::new("OK").field(id.to_string()).pair("user", user);
    fields.iter().fold(line, |line, (name, value)| line.pair(name, value)).end()
}

/// The login failed. `cause` and `malformed` stay here but for the code that goes with the latter.
pub fn fail(id: u32, fail: &AuthFail) -> Vec<u8> {
    let code = match fail {
        AuthFail { code: Some(code), .. } => Some(code.as_str()),
        AuthFail { temporary: true, .. } => Some("temp_fail"),
        AuthFail { authorization: true, .. } => Some("authz_fail"),
        AuthFail { user_disabled: true, .. } => Some("user_disabled"),
        AuthFail { password_expired: true, .. } => Some("pass_expired"),
        AuthFail { malformed: true, .. } => Some("invalid_base64"),
        _ => None,
    };
    // Flags for clients of minor version 1 (Postfix knows `temp` only), codes for later ones.
    Line::new("FAIL")
        .field(id.to_string())
        .pair_if("user", fail.user.as_deref())
        .flag("temp", fail.temporary)
        .flag("authz", fail.authorization)
        .flag("user_disabled", fail.user_disabled)
        .flag("pass_expired", fail.password_expired)
        .pair_if("code", code)
        .pair_if("reason", fail.reason.as_deref())
        .end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn commands_are_read_as_postfix_and_dovecot_write_them() {
        let line = b"AUTH\t7\tplain\tservice=smtp\tnologin\tlip=127.0.0.1\trip=::ffff:192.0.2.9\tsecured\tresp=AHRpbQBwdw==";
        let Ok(ClientLine::Auth(command)) = parse(line) else { panic!("AUTH") };
        assert_eq!((command.id, command.mechanism.as_str(), command.service.as_str(), command.secured), (7, "PLAIN", "smtp", true));
        assert_eq!(command.remote, Some([192, 0, 2, 9].into()));
        assert_eq!(command.initial, Some(Response::Bytes(Zeroizing::new(b"\0tim\0pw".to_vec()))));
        let line =
            b"AUTH\t7\tEXTERNAL\tservice=imap\trealm=x.test\tcert_username=ann\tvalid-client-cert\tchannel-binding=tls-exporter:AAEC";
        let Ok(ClientLine::Auth(command)) = parse(line) else { panic!("AUTH") };
        assert_eq!((command.certificate.as_deref(), command.realm.as_str()), (Some("ann"), "x.test"));
        assert_eq!(command.bindings, [("tls-exporter".to_owned(), vec![0, 1, 2])]);
        let Ok(ClientLine::Auth(unsure)) = parse(b"AUTH\t7\tEXTERNAL\tservice=imap\tcert_username=ann") else { panic!("AUTH") };
        assert_eq!(unsure.certificate, None);
        assert!(parse(b"AUTH\t7\tPLAIN\tservice=imap\tchannel-binding=x").is_err());
        assert_eq!(parse(b"CONT\t7\t"), Ok(ClientLine::Continue { id: 7, response: Response::Bytes(Zeroizing::new(Vec::new())) }));
        assert_eq!(parse(b"CONT\t7\t*bad*"), Ok(ClientLine::Continue { id: 7, response: Response::NotBase64 }));
        assert_eq!(parse(b"VERSION\t1\t9"), Ok(ClientLine::Version { major: 1 }));
        assert_eq!(parse(b"NEWS\tx"), Ok(ClientLine::Unknown));
        assert!(parse(b"AUTH\t1\tPLAIN").is_err());
        assert!(parse(b"AUTH\tx\tPLAIN\tservice=smtp").is_err());
        assert!(parse(b"\xff").is_err());
        assert!(parse(&[b'x'; LINE_LIMIT_BYTES + 1]).is_err());
    }

    #[test]
    fn a_failure_tells_old_and_new_clients() {
        let line = fail(3, &AuthFail { temporary: true, user: Some("a\tb".into()), ..AuthFail::default() });
        assert_eq!(line, b"FAIL\t3\tuser=a\x01tb\ttemp\tcode=temp_fail\n");
        assert_eq!(fail(3, &AuthFail::default()), b"FAIL\t3\n");
    }

    proptest! {
        #[test]
        fn no_line_makes_the_reader_panic(line in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse(&line);
            let _ = parse(&[&b"AUTH\t1\tPLAIN\t"[..], &line].concat());
        }
    }
}
