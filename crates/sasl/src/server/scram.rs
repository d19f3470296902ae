//! SCRAM (RFC 5802, RFC 7677): both sides prove that they know the password, and neither shows it.
//!
//! The `-PLUS` names bind the login to the TLS connection below it, so that nobody can stand in between even with a
//! certificate that the client accepts: `tls-exporter` (RFC 9266) and `tls-server-end-point` (RFC 5929 §4). `tls-unique` is not
//! there: TLS 1.3 has none, and TLS 1.2's is broken without extensions (RFC 9266 §3).

use super::{Found, Identity, Kind, Mechanism, Setup, Step};
use crate::credentials::{MESSAGE_LIMIT_BYTES, Malformed, field};
use crate::scram::{Hash, Keys};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

const NONCE_LIMIT_BYTES: usize = 512;

pub struct Scram {
    hash: Hash,
    plus: bool,
    setup: Setup,
    state: State,
}

enum State {
    Fresh,
    Asked,
    Finding(First),
    Proving(Box<Proving>),
    /// The server's signature, until the proof is judged.
    Proven(Vec<u8>),
    Signed,
    Over,
}

/// What the client's first message left to be remembered.
struct First {
    /// The `c=` that the last message must have.
    binding: Vec<u8>,
    bare: String,
    nonce: String,
}

struct Proving {
    first: First,
    server_first: String,
    keys: Keys,
}

impl Scram {
    pub fn new(hash: Hash, plus: bool, setup: Setup) -> Scram {
        Scram { hash, plus, setup, state: State::Fresh }
    }

    // RFC 5802 §7:
    //   client-first-message = gs2-header client-first-message-bare
    //   gs2-header           = gs2-cbind-flag "," [ authzid ] ","
    //   gs2-cbind-flag       = ("p=" cb-name) / "n" / "y"
    //   client-first-message-bare = [reserved-mext ","] username "," nonce ["," extensions]
    fn first(&self, message: &[u8]) -> Result<(First, Identity), Malformed> {
        let text = text(message)?;
        let (flag, rest) = text.split_once(',').ok_or(Malformed::Syntax)?;
        let (authorization, bare) = rest.split_once(',').ok_or(Malformed::Syntax)?;
        let header = &text[..text.len() - bare.len()];
        let binding = [header.as_bytes(), self.bound(flag)?].concat();
        let authorization = match authorization {
            "" => String::new(),
            name => saslname(name.strip_prefix("a=").ok_or(Malformed::Syntax)?)?,
        };
        let mut attributes = bare.split(',');
        let mut attribute = |name: &str| attributes.next().and_then(|a| a.strip_prefix(name)).ok_or(Malformed::Syntax);
        if bare.starts_with("m=") {
            // RFC 5802 §5.1: a mandatory extension that is not known ends the exchange.
            return Err(Malformed::Extension);
        }
        let authentication = saslname(attribute("n=")?)?;
        let nonce = attribute("r=")?;
        // printable = %x21-2B / %x2D-7E
        if nonce.is_empty() || nonce.len() > NONCE_LIMIT_BYTES || !nonce.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Malformed::Syntax);
        }
        if authentication.is_empty() {
            return Err(Malformed::NoUser);
        }
        let first = First { binding, bare: bare.to_owned(), nonce: format!("{nonce}{}", self.setup.nonce) };
        Ok((first, Identity { authorization, authentication }))
    }

    /// The data of the channel that the client's flag names. RFC 5802 §6.
    fn bound(&self, flag: &str) -> Result<&[u8], Malformed> {
        match (flag, self.plus) {
            ("n", false) => Ok(&[]),
            ("y", false) if self.setup.plus_offered => Err(Malformed::Downgraded),
            ("y", false) => Ok(&[]),
            (flag, true) => {
                let name = flag.strip_prefix("p=").ok_or(Malformed::Syntax)?;
                let known = self.setup.bindings.iter().find(|(known, _)| known == name);
                known.map(|(_, data)| data.as_slice()).ok_or(Malformed::Binding)
            }
            _ => Err(Malformed::Syntax),
        }
    }

    // client-final-message-without-proof = channel-binding "," nonce ["," extensions]
    // client-final-message = client-final-message-without-proof "," proof
    fn last(&mut self, proving: &Proving, message: &[u8]) -> Result<Step, Malformed> {
        let text = text(message)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(Malformed::Syntax)?;
        let mut attributes = without_proof.split(',');
        let mut attribute = |name: &str| attributes.next().and_then(|a| a.strip_prefix(name)).ok_or(Malformed::Syntax);
        let binding = BASE64.decode(attribute("c=")?).map_err(|_| Malformed::Syntax)?;
        if attribute("r=")? != proving.first.nonce {
            return Err(Malformed::Nonce);
        }
        if binding != proving.first.binding {
            return Err(Malformed::Binding);
        }
        let proof = BASE64.decode(proof).map_err(|_| Malformed::Syntax)?;
        let message = format!("{},{},{without_proof}", proving.first.bare, proving.server_first);
        if !proving.keys.prove(&proof, message.as_bytes()) {
            return Ok(Step::Disproven);
        }
        self.state = State::Proven(proving.keys.signature(message.as_bytes()));
        Ok(Step::Proven)
    }
}

/// A whole message: UTF-8 without NUL.
fn text(message: &[u8]) -> Result<&str, Malformed> {
    if message.len() > MESSAGE_LIMIT_BYTES {
        return Err(Malformed::TooLong);
    }
    if message.contains(&0) {
        return Err(Malformed::Nul);
    }
    std::str::from_utf8(message).map_err(|_| Malformed::NotText)
}

/// RFC 5802 §5.1: `=2C` is a comma and `=3D` an equals sign; no other `=` may be there.
fn saslname(name: &str) -> Result<String, Malformed> {
    let mut parts = name.split('=');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (c, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(Malformed::Syntax),
        };
        out.push(c);
        out.push_str(rest);
    }
    field(out.as_bytes())?;
    Ok(out)
}

impl Mechanism for Scram {
    fn name(&self) -> &'static str {
        match (self.hash, self.plus) {
            (Hash::Sha1, false) => "SCRAM-SHA-1",
            (Hash::Sha1, true) => "SCRAM-SHA-1-PLUS",
            (Hash::Sha256, false) => "SCRAM-SHA-256",
            (Hash::Sha256, true) => "SCRAM-SHA-256-PLUS",
        }
    }

    fn start(&mut self, initial: Option<&[u8]>) -> Result<Step, Malformed> {
        match std::mem::replace(&mut self.state, State::Asked) {
            State::Fresh => {}
            _ => return Err(Malformed::OutOfTurn),
        }
        match initial {
            Some(message) => self.respond(message),
            None => Ok(Step::Challenge(Vec::new())),
        }
    }

    fn respond(&mut self, response: &[u8]) -> Result<Step, Malformed> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Asked => {
                let (first, identity) = self.first(response)?;
                self.state = State::Finding(first);
                Ok(Step::Find(identity, Kind::Scram(self.hash)))
            }
            State::Proving(proving) => self.last(&proving, response),
            // The client has seen our signature and has nothing to add.
            State::Signed if response.is_empty() => Ok(Step::Done),
            _ => Err(Malformed::OutOfTurn),
        }
    }

    fn found(&mut self, found: Found) -> Result<Step, Malformed> {
        let (State::Finding(first), Found::Scram(keys)) = (std::mem::replace(&mut self.state, State::Over), found) else {
            return Err(Malformed::OutOfTurn);
        };
        let server_first = format!("r={},s={},i={}", first.nonce, BASE64.encode(&keys.salt), keys.iterations);
        self.state = State::Proving(Box::new(Proving { first, server_first: server_first.clone(), keys }));
        Ok(Step::Challenge(server_first.into_bytes()))
    }

    fn verified(&mut self) -> Step {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Proven(signature) => {
                self.state = State::Signed;
                Step::Challenge(format!("v={}", BASE64.encode(signature)).into_bytes())
            }
            _ => Step::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The server of an RFC's example: nonce, keys of user "user" with password "pencil".
    fn example(hash: Hash, plus: bool, nonce: &str, setup: Setup) -> Scram {
        Scram::new(hash, plus, Setup { nonce: nonce.into(), ..setup })
    }

    fn keys(hash: Hash, salt: &str) -> Found {
        Found::Scram(Keys::derive(hash, "pencil", &BASE64.decode(salt).expect("base64"), 4096))
    }

    fn user() -> Step {
        Step::Find(Identity { authorization: String::new(), authentication: "user".into() }, Kind::Scram(Hash::Sha1))
    }

    #[test]
    fn rfc5802_5_example() {
        let mut scram = example(Hash::Sha1, false, "3rfcNHYJY1ZVvWVs7j", Setup::default());
        assert_eq!(scram.start(Some(b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL")), Ok(user()));
        let challenge = Step::Challenge(b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096".to_vec());
        assert_eq!(scram.found(keys(Hash::Sha1, "QSXCR+Q6sek8bf92")), Ok(challenge));
        let last = b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=";
        assert_eq!(scram.respond(last), Ok(Step::Proven));
        assert_eq!(scram.verified(), Step::Challenge(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=".to_vec()));
        assert_eq!(scram.respond(b""), Ok(Step::Done));
        assert_eq!(scram.respond(b""), Err(Malformed::OutOfTurn));
    }

    #[test]
    fn rfc7677_3_example() {
        let mut scram = example(Hash::Sha256, false, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", Setup::default());
        assert_eq!(scram.start(None), Ok(Step::Challenge(Vec::new())));
        scram.respond(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").expect("first");
        let challenge = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        assert_eq!(scram.found(keys(Hash::Sha256, "W22ZaJ0SNY7soEsUEjb6gQ==")), Ok(Step::Challenge(challenge.to_vec())));
        let last = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(scram.respond(last), Ok(Step::Proven));
        assert_eq!(scram.verified(), Step::Challenge(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=".to_vec()));
    }

    #[test]
    fn a_wrong_proof_is_a_wrong_password_and_ends_the_exchange() {
        for proof in ["v0X8v3Bz2T0CJGbJQyF0X+HI4TA=", "AAAA", ""] {
            let mut scram = example(Hash::Sha1, false, "s", Setup::default());
            scram.start(Some(b"n,,n=user,r=c")).expect("first");
            scram.found(keys(Hash::Sha1, "QSXCR+Q6sek8bf92")).expect("challenge");
            assert_eq!(scram.respond(format!("c=biws,r=cs,p={proof}").as_bytes()), Ok(Step::Disproven));
            assert_eq!(scram.verified(), Step::Refused);
            assert_eq!(scram.refused(), Step::Refused);
        }
    }

    #[test]
    fn first_messages_are_taken_or_refused() {
        let first = |message: &[u8]| match example(Hash::Sha1, false, "s", Setup::default()).start(Some(message)) {
            Ok(Step::Find(identity, _)) => Ok((identity.authorization, identity.authentication)),
            Ok(step) => panic!("{step:?}"),
            Err(error) => Err(error),
        };
        let ok = |a: &str, b: &str| Ok((a.to_owned(), b.to_owned()));
        for (message, want) in [
            (&b"n,,n=user,r=x"[..], ok("", "user")),
            (b"y,,n=user,r=x,e=ext", ok("", "user")),
            (b"n,a=ann,n=b=2Cc=3Dd,r=x", ok("ann", "b,c=d")),
            (b"p=tls-unique,,n=user,r=x", Err(Malformed::Syntax)),
            (b"x,,n=user,r=x", Err(Malformed::Syntax)),
            (b"n,,m=1,n=user,r=x", Err(Malformed::Extension)),
            (b"n,,n=a=b,r=x", Err(Malformed::Syntax)),
            (b"n,b=x,n=a,r=x", Err(Malformed::Syntax)),
            (b"n,,n=,r=x", Err(Malformed::NoUser)),
            (b"n,,n=user,r=", Err(Malformed::Syntax)),
            (b"n,,n=user,r=a b", Err(Malformed::Syntax)),
            (b"n,,n=user", Err(Malformed::Syntax)),
            (b"n,,r=x,n=user", Err(Malformed::Syntax)),
            (b"n", Err(Malformed::Syntax)),
            (b"", Err(Malformed::Syntax)),
            (b"n,,n=a\0,r=x", Err(Malformed::Nul)),
            (b"n,,n=\xff,r=x", Err(Malformed::NotText)),
            (&[b'n'; 10_000], Err(Malformed::TooLong)),
        ] {
            assert_eq!(first(message), want, "{:?}", String::from_utf8_lossy(message));
        }
    }

    #[test]
    fn last_messages_are_of_this_exchange_or_refused() {
        for (message, want) in [
            (&b"c=biws,r=other,p=AAAA"[..], Malformed::Nonce),
            (b"c=biws,r=c,p=AAAA", Malformed::Nonce),
            (b"c=eSws,r=cs,p=AAAA", Malformed::Binding),
            (b"c=!,r=cs,p=AAAA", Malformed::Syntax),
            (b"c=biws,r=cs", Malformed::Syntax),
            (b"c=biws,r=cs,p=!", Malformed::Syntax),
            (b"r=cs,c=biws,p=AAAA", Malformed::Syntax),
            (b"", Malformed::Syntax),
        ] {
            let mut scram = example(Hash::Sha1, false, "s", Setup::default());
            scram.start(Some(b"n,,n=user,r=c")).expect("first");
            scram.found(keys(Hash::Sha1, "QSXCR+Q6sek8bf92")).expect("challenge");
            assert_eq!(scram.respond(message), Err(want), "{:?}", String::from_utf8_lossy(message));
            assert_eq!(scram.respond(message), Err(Malformed::OutOfTurn));
        }
    }

    #[test]
    fn binding_wants_data_of_this_connection_and_notices_a_downgrade() {
        let setup = || Setup { bindings: vec![("tls-exporter".into(), vec![7; 32])], plus_offered: true, ..Setup::default() };
        let first = |plus: bool, message: &[u8]| example(Hash::Sha1, plus, "s", setup()).start(Some(message)).map(drop);
        assert_eq!(first(true, b"p=tls-exporter,,n=user,r=c"), Ok(()));
        assert_eq!(first(true, b"p=tls-unique,,n=user,r=c"), Err(Malformed::Binding));
        assert_eq!(first(true, b"n,,n=user,r=c"), Err(Malformed::Syntax));
        assert_eq!(first(false, b"y,,n=user,r=c"), Err(Malformed::Downgraded));
        assert_eq!(first(false, b"n,,n=user,r=c"), Ok(()));
        assert_eq!(first(false, b"p=tls-exporter,,n=user,r=c"), Err(Malformed::Syntax));

        let last = |data: &[u8]| {
            let mut scram = example(Hash::Sha1, true, "s", setup());
            scram.start(Some(b"p=tls-exporter,,n=user,r=c")).expect("first");
            scram.found(keys(Hash::Sha1, "QSXCR+Q6sek8bf92")).expect("challenge");
            let binding = BASE64.encode([b"p=tls-exporter,,", data].concat());
            scram.respond(format!("c={binding},r=cs,p=AAAA").as_bytes())
        };
        assert_eq!(last(&[7; 32]), Ok(Step::Disproven));
        assert_eq!(last(&[8; 32]), Err(Malformed::Binding));
        assert_eq!(last(&[]), Err(Malformed::Binding));
    }
}
