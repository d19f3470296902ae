use super::*;

/// Made by Dovecot 2.3.19 (`doveadm pw -p 'clé 42'`) and OpenSSL.
const STORED: &[&str] = &[
    "{PLAIN}clé 42",
    "{CLEARTEXT}clé 42",
    "{PLAIN.b64}Y2zDqSA0Mg==",
    "{SSHA}jTJk90mUoWBSlOaeNUZpTTa+jilt+9oH",
    "{SHA512-CRYPT}$6$yuPwGvaxVP1SftTt$DtVGjidXnbvhbc0LPQo46QKYGXjKF3vJUO6zqVNueVdRPieaOzR8PAQWQlOdNFuIb/PD51/kztpqKYC73210x1",
    "{BLF-CRYPT}$2y$05$QO/uNZnLqw0xxdJW59D6MudmOn0vZi8Q01jfkjVc79ophQ9BGg6si",
    "{SHA}tDR8mVsWZbhr8/yYFa6LU9jWfHA=",
    "{SHA256}Yi7XsGEbUlwhSOUmmPFCn42sSRZFRjDgOASlY2KbIMQ=",
    "{SSHA256}ZjDfTkKRxGAL63xFb8D7/JXrzuf5TWigUZIXyy7stjo07poj",
    "{SSHA512}zCcuTHFwwM6Sf5TQezJoQ8pLtciZLSqzW/LzcMA7BpOxvuHvSJNnG7Bv9A7aYQB0ve8pX+Fhl9msv1nePL+6w/fWQvA=",
    "{SHA512}nJjD8QhBc5hRyTuXHFEb+wmBMNzNWoe32QvaGwIv16xtlf+0BAYALlrmXMH07DpCu1rG8dUUzgkQdE/hVSOKNQ==",
    "{SHA512.HEX}9c98c3f10841739851c93b971c511bfb098130dccd5a87b7d90bda1b022fd7ac6d95ffb40406002e5ae65cc1f4ec3a42bb5ac6f1d514ce0910744fe155238a35",
    "{SHA256-CRYPT}$5$8o7yYNY2pQA34cDC$OVorC69C7ZSqFcHXnvkkgBZBVg60Ks5.TTEjsWHE.NC",
    "{PLAIN-MD5}3b65aa48e19ab937e6c7a611be1731b5",
    "{LDAP-MD5}O2WqSOGauTfmx6YRvhcxtQ==",
    "{SMD5}MG0lRo8UskMlUoYhpTnsIP0aWoU=",
    "{MD5-CRYPT}$1$/Qtz1OdS$6fjduwljC1B/bKYFp7qJ21",
    "{MD5}$1$e6dURZ5i$rS0FZLrhKSBucSivn.5zT/",
    "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$G9ouLJQmnCrXIYCBUYTRSg$cjJog081zNk57MasjcJ3fXKvjxyuGWY6S7PCmk0qKTU",
    "{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$n2/xORGCmUpYJYHAW81q6w$ciUQlqC5pe74k58criYix9lGlDNCzVom+l4ZveRPKDU",
    "{CRYPT}$2y$05$/Qhgb8BYlGCj/LFaUedqPOfzIdRpKVacMwl3UMX.ZNEsY4Qk/SpZi",
    "{crypt}$1$abcdefgh$O2CeGqwGMO07.Pg6oYUuz.",
    "$6$rounds$AsBoP3SGLl8hAqw4u11891PLSSFha3wshWxo8lkhfMmPePsY8VBwNLzPo.n2K3JmgcRcp1/vIciJ3V3HRc2dV0",
    "$1$abcdefgh$O2CeGqwGMO07.Pg6oYUuz.",
    "{DES-CRYPT}vSCRLgD5aiPvE",
    "{CRYPT}vSCRLgD5aiPvE",
    "vSCRLgD5aiPvE",
    "3b65aa48e19ab937e6c7a611be1731b5",
    "3B65AA48E19AB937E6C7A611BE1731B5",
    "{MD5}3b65aa48e19ab937e6c7a611be1731b5",
    "{SHA1}tDR8mVsWZbhr8/yYFa6LU9jWfHA=",
    "{CLEAR}clé 42",
    "{SSHA256.HEX}82eeb8575ce40545b6f0bfff648ec2f826c325bf5f8f449ea776ca58b93f601bef3b7f29",
    "{PBKDF2}$1$Ah7LlvkA4yBfLM8W$5000$8108fa45c8870709f68cbc053480be3460c2cbb8",
    "{PBKDF2.B64}JDEkM2ZPaHRoQ3FoejlETGxOVCQ1MDAwJDQ4NjQ1MjliN2M5MDQ0ZjU2NDg3OWQxOTQ0NzA5Zjg4NDUyN2JlZWQ=",
    "{SCRAM-SHA-1}4096,Zjw1/7+K9CnyChdIrjsxcQ==,gIfrfbscrSz1VJrO2N34/gzK4SY=,pJN3Ipo3jJya91euH29rA4cRbSg=",
    "{SCRAM-SHA-256}4096,rbLkIvSJRPc39c9BBN4vhQ==,4Vg8SJy/OcteDlyszsCTk4qGPRkBHeqvtSlvLCxQ4W8=,l09APc/Le/155ZmJmljAwFNwjxPs6L5AcpXIWTWVfQ8=",
    "{SCRAM-SHA-256.B64}NDA5NixSY0tyRHRSREhGUThjTU1JTHNRbUVRPT0sdVdWdVRkVnZ0UXZlblUxQU53RHFrL2ZtZlQ5WnBxM1dUVGFqeThIWkVFaz0sbVdmTmRyTCtDSFJCN0hhU0RCSHBXN2NOek8vanFWbjkxc2ZMY1Q5YVFLRT0=",
    "{CRAM-MD5}e6375315f3bc32a29f29724fca27208f863b87be908d51f621d80f0f948692f7",
    "{HMAC-MD5}e6375315f3bc32a29f29724fca27208f863b87be908d51f621d80f0f948692f7",
    "{CRAM-MD5.B64}5jdTFfO8MqKfKXJPyicgj4Y7h76QjVH2IdgPD5SGkvc=",
    "{CRYPT.B64}JDEkYWJjZGVmZ2gkTzJDZUdxd0dNTzA3LlBnNm9ZVXV6Lg==",
    // Made by libxcrypt.
    "$y$j9T$abcdefgh$mirroKygM3dtpn0ZfYL13XOfbw1RiEPibpabVmb/GK/",
    "{YESCRYPT}$y$j75$LdJMENpBABJJ3hIHjB1Bi.$JpyQZtaciqdo5bJKS5.8CoSO3kqZatJ6U3uc3ZtmHtA",
    "{CRYPT}$y$j75$LdJMENpBABJJ3hIHjB1Bi.$JpyQZtaciqdo5bJKS5.8CoSO3kqZatJ6U3uc3ZtmHtA",
];

#[test]
fn hashes_of_dovecot_and_openssl_are_understood() {
    for stored in STORED {
        assert_eq!(verify(stored, "CRYPT", "clé 42"), Ok(true), "{stored}");
        for wrong in ["clé 43", "cle 42", "clé 4", "", "clé 42 "] {
            assert_eq!(verify(stored, "CRYPT", wrong), Ok(false), "{stored} with {wrong:?}");
        }
        assert_eq!(check_usable(stored, "CRYPT"), Ok(()), "{stored}");
    }
}

#[test]
fn the_guides_passwords_are_understood() {
    assert_eq!(verify("{PLAIN}password", "CRYPT", "password"), Ok(true));
    // The guide's hash; its password is not told, so that all we know is that it is sound.
    assert_eq!(verify("{SSHA}vkIq9ZuTczNGgsinVJgLE/Urc5HNHCYq", "CRYPT", "wrong"), Ok(false));
}

#[test]
fn new_hashes_are_verified_and_never_alike() {
    let made: Vec<&str> = schemes().filter(|(_, made)| *made).map(|(name, _)| name).collect();
    assert_eq!(made.first(), Some(&"ARGON2ID"));
    for scheme in made.into_iter().chain(["ssha512.hex", "PLAIN.b64", "SHA512-CRYPT.HEX"]) {
        let (a, b) = (hash(scheme, "clé", None).expect("hash"), hash(scheme, "clé", None).expect("hash"));
        assert!(a.starts_with(&format!("{{{}}}", scheme.to_uppercase())), "{scheme}");
        assert!(a != b || strength_of_scheme(scheme) == Some(Strength::None), "{scheme}");
        assert_eq!(verify(&a, "CRYPT", "clé"), Ok(true), "{scheme}");
        assert_eq!(verify(&a, "CRYPT", "cle"), Ok(false), "{scheme}");
    }
    assert_eq!(hash("MD5", "x", None), Err(Unusable::NotMade("MD5")));
    assert_eq!(hash("NOSUCH", "x", None), Err(Unusable::Unknown("NOSUCH".into())));
}

#[test]
fn what_cannot_be_compared_is_neither_right_nor_wrong() {
    for (stored, want) in [
        ("{NOSUCH}x", Unusable::Unknown("NOSUCH".into())),
        ("plain text without a scheme", Unusable::Unknown("of this CRYPT hash".into())),
        ("", Unusable::Unknown("of this CRYPT hash".into())),
        ("{SSHA}!!!", Unusable::Malformed("SSHA")),
        ("{SSHA}AAAA", Unusable::Malformed("SSHA")),
        ("{SHA}AAAA", Unusable::Malformed("SHA1")),
        ("{SHA256.hex}zz", Unusable::Malformed("SHA256")),
        ("{SHA512-CRYPT}$6$rounds=99999999$salt$hash", Unusable::TooExpensive("SHA-CRYPT")),
        ("{SHA512-CRYPT}$6$", Unusable::Malformed("SHA-CRYPT")),
        ("{BLF-CRYPT}$2y$31$QO/uNZnLqw0xxdJW59D6MudmOn0vZi8Q01jfkjVc79ophQ9BGg6si", Unusable::TooExpensive("BLF-CRYPT")),
        ("{BLF-CRYPT}$2y$05$short", Unusable::Malformed("BLF-CRYPT")),
        (
            "{ARGON2ID}$argon2id$v=19$m=4194304,t=3,p=1$G9ouLJQmnCrXIYCBUYTRSg$cjJog081zNk57MasjcJ3fXKvjxyuGWY6S7PCmk0qKTU",
            Unusable::TooExpensive("ARGON2"),
        ),
        (
            "{ARGON2ID}$argon2id$v=19$m=524288,t=1,p=1$G9ouLJQmnCrXIYCBUYTRSg$cjJog081zNk57MasjcJ3fXKvjxyuGWY6S7PCmk0qKTU",
            Unusable::TooExpensive("ARGON2"),
        ),
        (
            "{ARGON2ID}$argon2id$v=19$m=65536,t=100,p=1$G9ouLJQmnCrXIYCBUYTRSg$cjJog081zNk57MasjcJ3fXKvjxyuGWY6S7PCmk0qKTU",
            Unusable::TooExpensive("ARGON2"),
        ),
        // `mkpasswd -R 10`: half a gigabyte.
        ("{YESCRYPT}$y$jET$abcdefgh$mirroKygM3dtpn0ZfYL13XOfbw1RiEPibpabVmb/GK/", Unusable::TooExpensive("YESCRYPT")),
        ("{ARGON2ID}$argon2id$", Unusable::Malformed("ARGON2")),
        ("{MD5-CRYPT}$1$x", Unusable::Malformed("MD5-CRYPT")),
        // The library itself would find any password right.
        ("{YESCRYPT}$y$j9T$abcdefgh$", Unusable::Malformed("YESCRYPT")),
        ("{YESCRYPT}$y$", Unusable::Malformed("YESCRYPT")),
        ("{YESCRYPT}$y$jNT$abcdefgh$mirroKygM3dtpn0ZfYL13XOfbw1RiEPibpabVmb/GK/", Unusable::TooExpensive("YESCRYPT")),
        ("{PBKDF2}$1$x$0$8108fa45c8870709f68cbc053480be3460c2cbb8", Unusable::Malformed("PBKDF2")),
        ("{PBKDF2}$1$x$99999999$8108fa45c8870709f68cbc053480be3460c2cbb8", Unusable::TooExpensive("PBKDF2")),
        ("{PBKDF2}$1$x$5000$", Unusable::Malformed("PBKDF2")),
        ("{SCRAM-SHA-1}4096,AAAA,AAAA,AAAA", Unusable::Malformed("SCRAM-SHA-1")),
        ("{CRAM-MD5}e637", Unusable::Malformed("CRAM-MD5")),
        ("{DES-CRYPT}vSCRLgD5aiPv!", Unusable::Malformed("DES-CRYPT")),
    ] {
        assert_eq!(verify(stored, "CRYPT", "x"), Err(want), "{stored}");
    }
}

#[test]
fn a_long_password_is_compared_whole_where_the_scheme_can() {
    let long = "x".repeat(1000);
    let stored = hash("ARGON2ID", &long, None).expect("hash");
    assert_eq!(verify(&stored, "CRYPT", &long), Ok(true));
    assert_eq!(verify(&stored, "CRYPT", &long[1..]), Ok(false));
    // And where it cannot, none is made: CRYPT makes bcrypt as well.
    for scheme in ["BLF-CRYPT", "CRYPT", "crypt.b64"] {
        assert_eq!(hash(scheme, &long[..73], Some(4)), Err(Unusable::TooLong("BLF-CRYPT", 72)), "{scheme}");
        assert!(hash(scheme, &long[..72], Some(4)).is_ok(), "{scheme}");
    }
}

#[test]
fn a_hash_without_a_name_is_what_it_looks_like_unless_the_column_is_plain() {
    let crypt = hash("SHA512-CRYPT", "x", None).expect("hash");
    let bare = crypt.strip_prefix("{SHA512-CRYPT}").expect("a name");
    for default in ["CRYPT", "SSHA", "MD5", "SHA512-CRYPT", "BLF-CRYPT"] {
        assert_eq!(verify(bare, default, "x"), Ok(true), "{default}");
        assert_eq!(scheme_of(bare, default), Some("SHA512-CRYPT"), "{default}");
    }
    assert_eq!(verify(bare, "PLAIN", "x"), Ok(false));
    assert_eq!(verify(bare, "PLAIN", bare), Ok(true));
    // Who names a scheme is believed.
    assert!(verify(&format!("{{SSHA}}{bare}"), "CRYPT", "x").is_err());
    // A password that looks like a hash in hex is one only where hashes may be of any kind.
    assert_eq!(verify("3b65aa48e19ab937e6c7a611be1731b5", "CLEARTEXT", "clé 42"), Ok(false));
}

#[test]
fn rounds_are_as_asked_for_and_within_limits() {
    for (scheme, rounds, shows) in [
        ("BLF-CRYPT", 5, "$2y$05$"),
        ("SHA512-CRYPT", 7000, "rounds=7000$"),
        ("ARGON2ID", 4, ",t=4,"),
        ("PBKDF2", 2000, "$2000$"),
        ("SCRAM-SHA-256", 5000, "}5000,"),
        ("YESCRYPT", 5, "$y$j9T$"),
    ] {
        let made = hash(scheme, "x", Some(rounds)).expect("hash");
        assert!(made.contains(shows), "{made}");
        assert_eq!(verify(&made, "CRYPT", "x"), Ok(true), "{made}");
    }
    for (scheme, rounds) in [
        ("BLF-CRYPT", 3),
        ("BLF-CRYPT", 17),
        ("SCRAM-SHA-1", 4095),
        ("SHA256-CRYPT", 999),
        ("YESCRYPT", 10),
        ("ARGON2ID", 0),
        ("ARGON2ID", 54),
    ] {
        assert!(matches!(hash(scheme, "x", Some(rounds)), Err(Unusable::Rounds(..))), "{scheme} {rounds}");
    }
}

#[test]
fn keys_come_from_plain_passwords_and_from_those_stored_as_keys() {
    use sasl::scram::Hash;
    use sasl::server::Found;
    let scram = |stored: &str, hash| keys(stored, "CRYPT", Wanted::Scram { hash, salt: b"salt", iterations: 5000 });
    for stored in ["{PLAIN}clé 42", "{CLEARTEXT}clé 42", "{PLAIN.b64}Y2zDqSA0Mg=="] {
        let Ok(Some(Found::Scram(keys))) = scram(stored, Hash::Sha256) else { panic!("{stored}") };
        assert!(keys.are_of("clé 42") && keys.salt == b"salt" && keys.iterations == 5000);
    }
    let stored = STORED.iter().find(|s| s.starts_with("{SCRAM-SHA-1}")).expect("one");
    let Ok(Some(Found::Scram(found))) = scram(stored, Hash::Sha1) else { panic!("{stored}") };
    assert!(found.are_of("clé 42"));
    assert_eq!(scram(stored, Hash::Sha256), Ok(None));
    assert_eq!(scram("{SSHA}jTJk90mUoWBSlOaeNUZpTTa+jilt+9oH", Hash::Sha1), Ok(None));
    assert!(scram("{SCRAM-SHA-1}x", Hash::Sha1).is_err());
    let hmac = |stored: &str| keys(stored, "CRYPT", Wanted::HmacMd5).expect("usable");
    assert_eq!(hmac("{PLAIN}clé 42"), hmac("{CRAM-MD5}e6375315f3bc32a29f29724fca27208f863b87be908d51f621d80f0f948692f7"));
    assert_eq!(hmac("{SSHA}jTJk90mUoWBSlOaeNUZpTTa+jilt+9oH"), None);
}

#[test]
fn a_form_of_nothing_is_no_password() {
    use sasl::cram_md5::Key;
    use sasl::scram::{Hash, Keys};
    let hex: String = Key::derive("").as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let stored = ["{PLAIN}", "{CLEAR}", "{CLEARTEXT}", "{PLAIN.B64}", "{PLAIN.HEX}"].map(String::from).into_iter().chain([
        format!("{{SCRAM-SHA-256}}{}", Keys::derive(Hash::Sha256, "", b"salty", 4096).text()),
        format!("{{CRAM-MD5}}{hex}"),
        "{SHA1}2jmj7l5rSw0yVb/vlWAYkK/YBwk=".into(),
    ]);
    for stored in stored {
        assert_eq!(verify(&stored, "CRYPT", ""), Ok(false), "{stored}");
        assert_eq!(check_usable(&stored, "CRYPT"), Err(Unusable::Empty), "{stored}");
        for wanted in [Wanted::Scram { hash: Hash::Sha256, salt: b"salt", iterations: 4096 }, Wanted::HmacMd5] {
            assert_eq!(keys(&stored, "CRYPT", wanted), Ok(None), "{stored}");
        }
    }
    // The same as a column's default scheme.
    assert_eq!(keys("", "PLAIN", Wanted::HmacMd5), Ok(None));
}

#[test]
fn the_memory_of_a_check_is_known_before_it() {
    let argon2 = "$argon2id$v=19$m=65536,t=3,p=1$G9ouLJQmnCrXIYCBUYTRSg$cjJog081zNk57MasjcJ3fXKvjxyuGWY6S7PCmk0qKTU";
    for (stored, want) in [
        (argon2.to_owned(), 64 << 20),
        (format!("{{ARGON2ID}}{argon2}"), 64 << 20),
        (format!("{{CRYPT.B64}}{}", STANDARD.encode(argon2)), 64 << 20),
        (format!("{{PLAIN}}{argon2}"), 0),
        (argon2.replace("65536", "4194304"), 0),
        ("{YESCRYPT}$y$j9T$abcdefgh$mirroKygM3dtpn0ZfYL13XOfbw1RiEPibpabVmb/GK/".into(), 16 << 20),
        ("{SSHA}jTJk90mUoWBSlOaeNUZpTTa+jilt+9oH".into(), 0),
        ("{NOSUCH}x".into(), 0),
    ] {
        assert_eq!(memory_bytes(&stored, "CRYPT"), want, "{stored}");
    }
}
