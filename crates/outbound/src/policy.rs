//! What TLS has to prove at a destination: the settings, and `smtp_tls_policy_maps` for single ones.
//!
//! The table is asked for the next hop as it was written (`[mail.x.org]:587`), and for a plain domain then for `.parent` domains, as Postfix does.
//! A value that cannot be understood defers the mail: nobody knows what was meant, and less than that must not be done.

use crate::{Destination, SetupError};
use config::{FingerprintDigest, SmtpTlsLevel};
use mail_types::{Domain, Failure, Outcome};
use std::sync::Arc;
use tables::{Found, Maps, order};

/// A level with what belongs to it. Equal policies share sessions and connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Policy {
    pub level: SmtpTlsLevel,
    pub versions: Versions,
    /// At `verify` and `secure`: one of these names has to be in the certificate.
    pub names: Vec<NameMatch>,
    /// At `fingerprint`: digests of the certificate or its key.
    pub fingerprints: Vec<Vec<u8>>,
}

/// The versions of TLS that may be spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Versions {
    pub tls12: bool,
    pub tls13: bool,
}

/// A strategy of `smtp_tls_secure_cert_match`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NameMatch {
    Hostname,
    Nexthop,
    DotNexthop,
    Name(String),
    /// `.x.org`: any name below.
    Below(String),
}

/// The policies of the settings and of the table.
#[derive(Debug, Clone)]
pub struct Policies {
    usual: Arc<Policy>,
    clear: Arc<Policy>,
    maps: Maps,
    opportunistic: Versions,
    mandatory: Versions,
    verify: Vec<NameMatch>,
    secure: Vec<NameMatch>,
    fingerprints: Vec<Vec<u8>>,
    digest: FingerprintDigest,
    loglevel: u32,
}

/// What decided about a policy.
#[derive(Debug, Clone)]
pub enum Why {
    /// `smtp_tls_security_level`
    Setting,
    /// A line of `smtp_tls_policy_maps`.
    Table(Found),
    /// The password that the destination gets.
    Password,
}

impl Policy {
    /// Nothing is left to the peer's word: the host is known by its certificate.
    pub fn is_verified(&self) -> bool {
        self.level >= SmtpTlsLevel::Fingerprint
    }

    pub fn is_mandatory(&self) -> bool {
        self.level >= SmtpTlsLevel::Encrypt
    }
}

impl Policies {
    pub fn new(settings: &config::Outbound, maps: Maps) -> Result<Policies, SetupError> {
        let wrong = |setting, why: String| SetupError::Value { setting, why };
        let versions = |setting, text: &str| Versions::parse(text).map_err(|why| wrong(setting, why));
        let names = |setting, items: &[String]| names(items.iter().map(String::as_str)).map_err(|why| wrong(setting, why));
        let fingerprints =
            settings.smtp_tls_fingerprint_cert_match.iter().map(|text| fingerprint(text, settings.smtp_tls_fingerprint_digest));
        let mut policies = Policies {
            clear: Arc::new(Policy::of(SmtpTlsLevel::None)),
            usual: Arc::new(Policy::of(SmtpTlsLevel::None)),
            maps,
            opportunistic: versions("smtp_tls_protocols", &settings.smtp_tls_protocols)?,
            mandatory: versions("smtp_tls_mandatory_protocols", &settings.smtp_tls_mandatory_protocols)?,
            verify: names("smtp_tls_verify_cert_match", &settings.smtp_tls_verify_cert_match)?,
            secure: names("smtp_tls_secure_cert_match", &settings.smtp_tls_secure_cert_match)?,
            fingerprints: fingerprints.collect::<Result<_, _>>().map_err(|why| wrong("smtp_tls_fingerprint_cert_match", why))?,
            digest: settings.smtp_tls_fingerprint_digest,
            loglevel: settings.smtp_tls_loglevel,
        };
        policies.usual =
            Arc::new(policies.of_level(settings.smtp_tls_security_level, None).map_err(|why| wrong("smtp_tls_security_level", why))?);
        Ok(policies)
    }

    /// Whether any certificate may have to be traced to those whom we trust.
    pub fn may_verify(&self) -> bool {
        self.usual.level >= SmtpTlsLevel::Verify || !self.maps.is_empty()
    }

    /// What holds for LMTP on this machine.
    pub fn clear(&self) -> &Arc<Policy> {
        &self.clear
    }

    pub fn digest(&self) -> FingerprintDigest {
        self.digest
    }

    pub fn loglevel(&self) -> u32 {
        self.loglevel
    }

    /// What holds for a destination. `with_password`: it gets one, which only a verified host may see; `by_srv`: the DNS says which host.
    pub async fn of(&self, destination: &Destination, with_password: bool, by_srv: bool) -> Result<Arc<Policy>, Outcome> {
        Ok(self.explain(destination, with_password, by_srv).await?.0)
    }

    /// The same, with what decided.
    pub async fn explain(&self, destination: &Destination, with_password: bool, by_srv: bool) -> Result<(Arc<Policy>, Why), Outcome> {
        let Destination::Smtp { host, .. } = destination else { return Ok((self.clear.clone(), Why::Setting)) };
        let (policy, why) = match self.in_table(destination, host).await? {
            Some((policy, found)) => (Arc::new(policy), Why::Table(found)),
            None => (self.usual.clone(), Why::Setting),
        };
        if !with_password || policy.is_verified() {
            return Ok((policy, why));
        }
        let level = if by_srv { SmtpTlsLevel::Secure } else { SmtpTlsLevel::Verify };
        let policy = self.of_level(level, None).map_err(|why| defer(&why))?;
        Ok((Arc::new(policy), Why::Password))
    }

    /// What holds for a message that demands TLS (RFC 8689 §4.2.1). Without DNSSEC and MTA-STS an MX record proves nothing, so that the
    /// certificate has to hold the name of the destination itself. `Err`: there is no TLS on the way there.
    pub fn required(&self, usual: Arc<Policy>, destination: &Destination) -> Result<Arc<Policy>, Outcome> {
        match destination {
            Destination::LmtpUnix(_) => Ok(usual),
            Destination::LmtpInet { host, .. } if host.literal().is_some_and(|ip| ip.is_loopback()) || host.as_str() == "localhost" => {
                Ok(usual)
            }
            Destination::LmtpInet { .. } => {
                let reason = "Encryption needed, and LMTP is spoken in clear text".to_owned();
                Err(Outcome::Bounced(Failure::local((5, 7, 10), reason)))
            }
            Destination::Smtp { mx, .. } => {
                let by_mx = *mx && usual.names.contains(&NameMatch::Hostname);
                if usual.is_verified() && !by_mx {
                    return Ok(usual);
                }
                let level = if *mx { SmtpTlsLevel::Secure } else { SmtpTlsLevel::Verify };
                self.of_level(level, None).map(Arc::new).map_err(|why| defer(&why))
            }
        }
    }

    /// What holds for a message that would rather go in clear text than not at all (RFC 8689 §4.2.2, Postfix tls_required_enable).
    pub fn optional(&self, usual: Arc<Policy>) -> Result<Arc<Policy>, Outcome> {
        if usual.level <= SmtpTlsLevel::May {
            return Ok(usual);
        }
        self.of_level(SmtpTlsLevel::May, None).map(Arc::new).map_err(|why| defer(&why))
    }

    async fn in_table(&self, destination: &Destination, host: &Domain) -> Result<Option<(Policy, Found)>, Outcome> {
        if self.maps.is_empty() {
            return Ok(None);
        }
        let plain = matches!(destination, Destination::Smtp { mx: true, port: None, .. });
        let parents = if plain { order::parents(host.as_str()).map(|parent| format!(".{parent}")).collect() } else { Vec::new() };
        for (whole, key) in std::iter::once((true, destination.next_hop())).chain(parents.into_iter().map(|key| (false, key))) {
            let found = if whole { self.maps.lookup(&key).await } else { self.maps.lookup_part(&key).await };
            let found = found.map_err(|error| Outcome::Deferred(Failure::local((4, 3, 0), format!("smtp_tls_policy_maps: {error}"))))?;
            let Some(found) = found else { continue };
            if self.loglevel >= 2 {
                tracing::info!(destination = %destination, policy = %found, "TLS policy found");
            }
            return match self.parse(&found.value) {
                Ok(policy) => Ok(Some((policy, found))),
                Err(why) => {
                    tracing::error!(policy = %found, "smtp_tls_policy_maps: {why}");
                    Err(defer(&format!("smtp_tls_policy_maps, {found}: {why}")))
                }
            };
        }
        Ok(None)
    }

    /// `secure match=.x.org:y.org protocols=>=TLSv1.3`
    fn parse(&self, text: &str) -> Result<Policy, String> {
        let mut words = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
        let level = level(words.next().ok_or("there is no level")?)?;
        let (mut matches, mut versions) = (Vec::new(), None);
        for word in words {
            let (name, value) = word.split_once('=').ok_or_else(|| format!("`{word}` is not name=value"))?;
            match name {
                "match" if level == SmtpTlsLevel::Fingerprint => matches.extend(value.split('|')),
                "match" if level >= SmtpTlsLevel::Verify => matches.extend(value.split(':')),
                "match" => return Err(format!("`match` has no sense at the level {}", level.as_str())),
                "protocols" => versions = Some(Versions::parse(value)?),
                // The suites of TLS 1.2 and 1.3 that exist here are all strong.
                "ciphers" | "exclude" | "connection_reuse" => tracing::debug!(attribute = word, "smtp_tls_policy_maps: passed over"),
                _ => return Err(format!("`{name}` is no attribute of a TLS policy here")),
            }
        }
        let mut policy = self.of_level(level, (!matches.is_empty()).then_some(&matches))?;
        policy.versions = versions.unwrap_or(policy.versions);
        Ok(policy)
    }

    fn of_level(&self, level: SmtpTlsLevel, matches: Option<&Vec<&str>>) -> Result<Policy, String> {
        let versions = if level >= SmtpTlsLevel::Encrypt { self.mandatory } else { self.opportunistic };
        let mut policy = Policy { versions, ..Policy::of(level) };
        match (level, matches) {
            (SmtpTlsLevel::Verify, None) => policy.names = self.verify.clone(),
            (SmtpTlsLevel::Secure, None) => policy.names = self.secure.clone(),
            (SmtpTlsLevel::Verify | SmtpTlsLevel::Secure, Some(items)) => policy.names = names(items.iter().copied())?,
            (SmtpTlsLevel::Fingerprint, Some(items)) => {
                policy.fingerprints = items.iter().map(|item| fingerprint(item, self.digest)).collect::<Result<_, _>>()?;
            }
            (SmtpTlsLevel::Fingerprint, None) => policy.fingerprints = self.fingerprints.clone(),
            _ => {}
        }
        match level {
            SmtpTlsLevel::Verify | SmtpTlsLevel::Secure if policy.names.is_empty() => Err("no name to match is given".into()),
            SmtpTlsLevel::Fingerprint if policy.fingerprints.is_empty() => Err("no fingerprint is given".into()),
            _ => Ok(policy),
        }
    }
}

impl Policy {
    fn of(level: SmtpTlsLevel) -> Policy {
        Policy { level, versions: Versions { tls12: true, tls13: true }, names: Vec::new(), fingerprints: Vec::new() }
    }
}

impl Versions {
    /// Postfix's lists: `>=TLSv1.2`, `<=TLSv1.3`, `!SSLv2, !SSLv3, !TLSv1`, `TLSv1.2:TLSv1.3`.
    pub fn parse(text: &str) -> Result<Versions, String> {
        const NAMES: [&str; 6] = ["SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"];
        let place = |name: &str| {
            let found = NAMES.iter().position(|known| known.eq_ignore_ascii_case(name.trim()));
            found.ok_or_else(|| format!("`{name}` is no version of TLS ({})", NAMES.join(", ")))
        };
        let (mut lowest, mut highest) = (0, NAMES.len() - 1);
        let (mut named, mut excluded) = ([false; NAMES.len()], [false; NAMES.len()]);
        for word in text.split(|c: char| c == ',' || c == ':' || c.is_whitespace()).filter(|word| !word.is_empty()) {
            if let Some(name) = word.strip_prefix(">=") {
                lowest = place(name)?;
            } else if let Some(name) = word.strip_prefix("<=") {
                highest = place(name)?;
            } else if let Some(name) = word.strip_prefix('!') {
                excluded[place(name)?] = true;
            } else {
                named[place(word)?] = true;
            }
        }
        let all = !named.contains(&true);
        let allows = |at: usize| (lowest..=highest).contains(&at) && !excluded[at] && (all || named[at]);
        let versions = Versions { tls12: allows(4), tls13: allows(5) };
        if versions.tls12 || versions.tls13 { Ok(versions) } else { Err(format!("`{text}` leaves neither TLSv1.2 nor TLSv1.3")) }
    }
}

fn level(text: &str) -> Result<SmtpTlsLevel, String> {
    use SmtpTlsLevel::{Encrypt, Fingerprint, May, None, Secure, Verify};
    let known = [None, May, Encrypt, Fingerprint, Verify, Secure];
    known.into_iter().find(|level| level.as_str() == text).ok_or_else(|| format!("`{text}` is no TLS level here"))
}

fn names<'a>(items: impl Iterator<Item = &'a str>) -> Result<Vec<NameMatch>, String> {
    let one = |item: &str| {
        Ok(match item {
            "hostname" => NameMatch::Hostname,
            "nexthop" => NameMatch::Nexthop,
            "dot-nexthop" => NameMatch::DotNexthop,
            _ => {
                let name = Domain::parse(item.strip_prefix('.').unwrap_or(item)).map_err(|e| format!("`{item}`: {e}"))?;
                let name = name.as_str().to_owned();
                if item.starts_with('.') { NameMatch::Below(name) } else { NameMatch::Name(name) }
            }
        })
    };
    items.flat_map(|item| item.split(|c: char| c == ':' || c == ',' || c.is_whitespace())).filter(|i| !i.is_empty()).map(one).collect()
}

/// `AB:CD:…`, with or without the colons.
fn fingerprint(text: &str, digest: FingerprintDigest) -> Result<Vec<u8>, String> {
    let digits: Vec<u32> = text.trim().chars().filter(|c| *c != ':').map(|c| c.to_digit(16)).collect::<Option<_>>().unwrap_or_default();
    let length = match digest {
        FingerprintDigest::Sha1 => 20,
        FingerprintDigest::Sha256 => 32,
        FingerprintDigest::Sha384 => 48,
        FingerprintDigest::Sha512 => 64,
    };
    if digits.len() != 2 * length {
        return Err(format!("`{text}` is no fingerprint of {length} octets in hexadecimal ({})", digest.as_str()));
    }
    Ok(digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
}

fn defer(why: &str) -> Outcome {
    Outcome::Deferred(Failure::local((4, 7, 5), format!("TLS policy: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policies(table: &str) -> Policies {
        let maps = Maps::open(table, &tables::Context::local("/")).expect(table);
        Policies::new(&config::Outbound::default(), maps).expect("settings")
    }

    fn to(text: &str) -> Destination {
        Destination::parse(text).expect(text)
    }

    #[tokio::test]
    async fn the_table_is_asked_as_postfix_does() {
        let table = "inline:{ {x.org = secure match=.x.org:y.org protocols=>=TLSv1.3}, {.z.org = encrypt ciphers=high}, {[mx.w.org]:587=verify}, w.org=none }";
        let policies = policies(table);
        for (destination, want) in [
            ("x.org", SmtpTlsLevel::Secure),
            ("a.x.org", SmtpTlsLevel::May),
            ("z.org", SmtpTlsLevel::May),
            ("a.b.z.org", SmtpTlsLevel::Encrypt),
            ("[a.z.org]", SmtpTlsLevel::May),
            ("[mx.w.org]:587", SmtpTlsLevel::Verify),
            ("[mx.w.org]", SmtpTlsLevel::May),
            ("w.org", SmtpTlsLevel::None),
        ] {
            assert_eq!(policies.of(&to(destination), false, false).await.expect(destination).level, want, "{destination}");
        }
        let secure = policies.of(&to("x.org"), false, false).await.expect("policy");
        assert_eq!(secure.names, [NameMatch::Below("x.org".into()), NameMatch::Name("y.org".into())]);
        assert_eq!(secure.versions, Versions { tls12: false, tls13: true });
        for (by_srv, want) in [(false, SmtpTlsLevel::Verify), (true, SmtpTlsLevel::Secure)] {
            let policy = policies.of(&to("w.org"), true, by_srv).await.expect("policy");
            assert_eq!(policy.level, want, "a password is never sent in clear");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_understood_defers() {
        for value in [
            "secure match=",
            "dane-only",
            "encrypt match=x.org",
            "verify colour=red",
            "fingerprint",
            "fingerprint match=AB:CD",
            "may protocols=TLSv1",
        ] {
            let maps = format!("inline:{{ {{x.org = {value}}} }}");
            let got = policies(&maps).of(&to("x.org"), false, false).await;
            assert!(matches!(got, Err(Outcome::Deferred(_))), "{value}");
        }
        assert!(policies("fail:").of(&to("x.org"), false, false).await.is_err());
    }

    #[test]
    fn versions_are_read_as_postfix_writes_them() {
        for (text, want) in [
            (">=TLSv1.2", Some((true, true))),
            (">=TLSv1", Some((true, true))),
            (">=TLSv1.3", Some((false, true))),
            ("<=TLSv1.2", Some((true, false))),
            ("!SSLv2, !SSLv3, !TLSv1, !TLSv1.1", Some((true, true))),
            ("!SSLv2:!TLSv1.2", Some((false, true))),
            ("TLSv1.2", Some((true, false))),
            ("", Some((true, true))),
            ("SSLv3", None),
            (">=TLSv2", None),
        ] {
            assert_eq!(Versions::parse(text).ok().map(|v| (v.tls12, v.tls13)), want, "{text}");
        }
    }
}
