//! Certificates of peers.

use std::path::Path;
use std::process::Command;

/// Makes `cert.pem` and `key.pem` in a folder: self-signed, for these names. Who trusts `cert.pem` trusts its holder and no other.
pub fn certificate(folder: &Path, names: &[&str]) {
    let alternatives: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
    let settings = format!(
        "[req]\ndistinguished_name = name\nx509_extensions = more\nprompt = no\n[name]\nCN = {}\n\
         [more]\nbasicConstraints = CA:FALSE\nsubjectAltName = {}\n",
        names[0],
        alternatives.join(",")
    );
    std::fs::write(folder.join("openssl.cnf"), settings).expect("settings");
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]).arg("-config").arg(folder.join("openssl.cnf"));
    command.arg("-keyout").arg(folder.join("key.pem")).arg("-out").arg(folder.join("cert.pem"));
    let output = crate::run(&mut command, "");
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
}

/// The SHA-256 fingerprint of a certificate, `AB:CD:…`.
pub fn fingerprint(file: &Path) -> String {
    let output = crate::run(Command::new("openssl").args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(file), "");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().split_once('=').expect("a fingerprint").1.to_owned()
}
