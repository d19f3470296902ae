//! `tests/bad-configs`: one broken setup per folder; each has to be refused with the sentence in its `want` file.

use std::path::Path;
use std::process::Command;

#[test]
fn each_broken_setup_is_refused_with_a_useful_sentence() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bad-configs");
    let mut cases = 0;
    for entry in std::fs::read_dir(&folder).expect("bad-configs") {
        let case = entry.expect("entry").path();
        let want = std::fs::read_to_string(case.join("want")).expect("want");
        let output = Command::new(e2e::binary("facteur"))
            .arg("--config")
            .arg(case.join("facteur.toml"))
            .args(["config", "check"])
            .output()
            .expect("facteur runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{}: {said}", case.display());
        for line in want.lines() {
            assert!(said.contains(line), "{}: {line:?} is not in\n{said}", case.display());
        }
        cases += 1;
    }
    assert!(cases >= 10, "only {cases} cases");
}
