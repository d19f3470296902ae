//! Our schemes and Dovecot's: what one makes the other verifies.
//!
//! Skipped, saying so, where `doveadm` is not installed.

use std::process::Command;

const PASSWORD: &str = "clé 42, a longer one than eight";

fn doveadm(arguments: &[&str]) -> Option<(bool, String)> {
    let output = match Command::new("doveadm").arg("pw").args(arguments).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: doveadm is not installed");
            return None;
        }
        Err(error) => panic!("doveadm: {error}"),
    };
    Some((output.status.success(), String::from_utf8_lossy(&output.stdout).trim().to_owned()))
}

/// Dovecot is built with or without some schemes.
fn known_to_dovecot() -> Option<Vec<String>> {
    Some(doveadm(&["-l"])?.1.split_whitespace().map(str::to_owned).collect())
}

#[test]
fn what_dovecot_makes_is_verified_here() {
    let Some(known) = known_to_dovecot() else { return };
    let mut tried = 0;
    for (scheme, _) in passwords::schemes().filter(|(scheme, _)| known.iter().any(|known| known == scheme)) {
        for suffix in ["", ".B64", ".HEX"] {
            let name = format!("{scheme}{suffix}");
            let Some((true, made)) = doveadm(&["-s", &name, "-p", PASSWORD]) else { panic!("{name}: doveadm made nothing") };
            assert!(made.starts_with(&format!("{{{name}}}")), "{made}");
            assert_eq!(passwords::verify(&made, "CRYPT", PASSWORD), Ok(true), "{made}");
            // DES-CRYPT ends after eight bytes, so the difference is at the front.
            assert_eq!(passwords::verify(&made, "CRYPT", &PASSWORD[1..]), Ok(false), "{made}");
            tried += 1;
        }
    }
    assert!(tried >= 60, "{tried} schemes were tried");
}

#[test]
fn what_is_made_here_dovecot_verifies() {
    let Some(known) = known_to_dovecot() else { return };
    let mut tried = 0;
    for (scheme, _) in passwords::schemes().filter(|(_, made)| *made) {
        // yescrypt is libcrypt's there.
        let told = if scheme == "YESCRYPT" { "CRYPT" } else { scheme };
        if !known.iter().any(|known| known == told) {
            continue;
        }
        for suffix in ["", ".B64", ".HEX"] {
            let made = passwords::hash(&format!("{scheme}{suffix}"), PASSWORD, None).expect("a hash");
            let made = made.replace("{YESCRYPT", "{CRYPT");
            let Some((right, _)) = doveadm(&["-t", &made, "-p", PASSWORD]) else { return };
            assert!(right, "{made}");
            let Some((wrong, _)) = doveadm(&["-t", &made, "-p", "another password"]) else { return };
            assert!(!wrong, "{made}");
            tried += 1;
        }
    }
    assert!(tried >= 30, "{tried} schemes were tried");
}
