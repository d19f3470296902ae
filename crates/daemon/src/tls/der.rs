//! As much of X.509 as nobody else tells us (RFC 5280 §4.1): the algorithm of a certificate's signature, and whom it names.

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0] EXPLICIT` (the version), `[3] EXPLICIT` (the extensions), and `[1] IMPLICIT` of a GeneralName (`rfc822Name`).
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const RFC822_NAME: u8 = 0x81;

/// 2.5.4.3 and 2.5.29.17.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// A DER element: its tag, its content, and what comes behind it.
fn any(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
            (length.iter().fold(0, |all, byte| all << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, behind) = rest.split_at_checked(length)?;
    Some((tag, content, behind))
}

/// The content of an element with this tag, and what comes behind it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    any(bytes).filter(|(found, _, _)| *found == tag).map(|(_, content, behind)| (content, behind))
}

/// The elements one after the other; ends at what is none.
fn elements(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (tag, content, behind) = any(bytes)?;
        bytes = behind;
        Some((tag, content))
    })
}

/// The object identifier behind the signed part: `Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm SEQUENCE { OBJECT IDENTIFIER, … }, … }`.
pub(super) fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    let (inside, _) = element(certificate, SEQUENCE)?;
    let (_, behind) = element(inside, SEQUENCE)?;
    let (algorithm, _) = element(behind, SEQUENCE)?;
    element(algorithm, OBJECT_IDENTIFIER).map(|(oid, _)| oid)
}

/// Whom a certificate names: its email address (`rfc822Name` of subjectAltName), or else its common name. `None` when there are several, which
/// would leave it to chance who logs in.
pub(super) fn person(certificate: &[u8]) -> Option<String> {
    let (inside, _) = element(certificate, SEQUENCE)?;
    let (tbs, _) = element(inside, SEQUENCE)?;
    // version, serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo, …
    let rest = element(tbs, VERSION).map_or(tbs, |(_, behind)| behind);
    let (_, rest) = element(rest, INTEGER)?;
    let (_, rest) = element(rest, SEQUENCE)?;
    let (_, rest) = element(rest, SEQUENCE)?;
    let (_, rest) = element(rest, SEQUENCE)?;
    let (subject, rest) = element(rest, SEQUENCE)?;
    let extensions = elements(rest).find(|(tag, _)| *tag == EXTENSIONS).and_then(|(_, wrapped)| element(wrapped, SEQUENCE));
    let addresses: Vec<&[u8]> = extensions.map(|(list, _)| addresses(list).collect()).unwrap_or_default();
    let names = match addresses.is_empty() {
        true => common_names(subject).collect(),
        false => addresses,
    };
    match names[..] {
        [name] => std::str::from_utf8(name).ok().filter(|name| !name.is_empty() && !name.contains(char::is_control)).map(str::to_owned),
        _ => None,
    }
}

/// `Name ::= SEQUENCE OF SET OF SEQUENCE { type OBJECT IDENTIFIER, value DirectoryString }`
fn common_names(subject: &[u8]) -> impl Iterator<Item = &[u8]> {
    let parts = elements(subject).filter(|(tag, _)| *tag == SET).flat_map(|(_, set)| elements(set));
    parts.filter_map(|(_, part)| {
        let (_, value) = element(part, OBJECT_IDENTIFIER).filter(|(kind, _)| *kind == COMMON_NAME)?;
        any(value).filter(|(tag, _, _)| matches!(*tag, UTF8_STRING | PRINTABLE_STRING | IA5_STRING)).map(|(_, text, _)| text)
    })
}

/// `Extension ::= SEQUENCE { extnID OBJECT IDENTIFIER, critical BOOLEAN DEFAULT FALSE, extnValue OCTET STRING }`
fn addresses(extensions: &[u8]) -> impl Iterator<Item = &[u8]> {
    let names = elements(extensions).filter_map(|(_, extension)| {
        let (_, rest) = element(extension, OBJECT_IDENTIFIER).filter(|(kind, _)| *kind == SUBJECT_ALT_NAME)?;
        let rest = element(rest, BOOLEAN).map_or(rest, |(_, behind)| behind);
        let (value, _) = element(rest, OCTET_STRING)?;
        element(value, SEQUENCE).map(|(names, _)| names)
    });
    names.flat_map(elements).filter(|(tag, _)| *tag == RFC822_NAME).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    fn certificate(common_names: &[&str], addresses: &[&str]) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["host.test".to_owned()]).expect("names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "not a name");
        for name in common_names {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        for address in addresses {
            params.subject_alt_names.push(SanType::Rfc822Name((*address).try_into().expect("ASCII")));
        }
        params.self_signed(&KeyPair::generate().expect("key")).expect("certificate").der().to_vec()
    }

    #[test]
    fn a_certificate_names_one_person_or_nobody() {
        for (common, addresses, want) in [
            (&["ann"][..], &[][..], Some("ann")),
            (&["Ann Lée"], &["ann@x.test"], Some("ann@x.test")),
            (&[], &["ann@x.test"], Some("ann@x.test")),
            (&["ann"], &["ann@x.test", "bob@x.test"], None),
            (&[], &[], None),
            (&[""], &[], None),
            (&["ann\nbob"], &[], None),
            (&["ann\0bob"], &[], None),
        ] {
            assert_eq!(person(&certificate(common, addresses)).as_deref(), want, "{common:?} {addresses:?}");
        }
    }

    #[test]
    fn what_is_no_certificate_names_nobody() {
        let whole = certificate(&["ann"], &["ann@x.test"]);
        for length in 0..whole.len() {
            person(&whole[..length]);
            signature_algorithm(&whole[..length]);
        }
        for (at, _) in whole.iter().enumerate() {
            for byte in [0, 0x30, 0x80, 0x84, 0xff] {
                let mut broken = whole.clone();
                broken[at] = byte;
                person(&broken);
                signature_algorithm(&broken);
            }
        }
        assert_eq!(person(b""), None);
    }
}
