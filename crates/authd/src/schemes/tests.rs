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
    for scheme in NEW {
        let (a, b) = (hash(scheme, "clé").expect("hash"), hash(scheme, "clé").expect("hash"));
        assert!(a.starts_with(&format!("{{{scheme}}}")), "{scheme}");
        assert!(a != b || *scheme == "PLAIN", "{scheme}");
        assert_eq!(verify(&a, "CRYPT", "clé"), Ok(true), "{scheme}");
        assert_eq!(verify(&a, "CRYPT", "cle"), Ok(false), "{scheme}");
    }
    assert!(hash("MD5", "x").is_err());
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
        ("{ARGON2ID}$argon2id$", Unusable::Malformed("ARGON2")),
        ("{MD5-CRYPT}$1$x", Unusable::Malformed("MD5-CRYPT")),
    ] {
        assert_eq!(verify(stored, "CRYPT", "x"), Err(want), "{stored}");
    }
}

#[test]
fn a_long_password_is_compared_whole_where_the_scheme_can() {
    let long = "x".repeat(1000);
    let stored = hash("ARGON2ID", &long).expect("hash");
    assert_eq!(verify(&stored, "CRYPT", &long), Ok(true));
    assert_eq!(verify(&stored, "CRYPT", &long[1..]), Ok(false));
}
