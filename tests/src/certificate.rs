//! Certificates of peers.

use std::path::Path;
use std::process::Command;

/// Makes `cert.pem` and `key.pem` in a folder: self-signed, for these names.
pub fn certificate(folder: &Path, names: &[&str]) {
    let alternatives: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]);
    command.args(["-subj", &format!("/CN={}", names[0]), "-addext", &format!("subjectAltName={}", alternatives.join(","))]);
    command.arg("-keyout").arg(folder.join("key.pem")).arg("-out").arg(folder.join("cert.pem"));
    let output = crate::run(&mut command, "");
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
}
