//! The guide's final test, in a browser: a domain and a mailbox made in PostfixAdmin, with which one logs in to Roundcube and writes to
//! oneself. Debian's packages, unpacked, in namespaces; a picture of each step stays in `target/browser`.

use e2e::{ServerBuilder, Unpacked, skipped, tool};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use testkit::databases::{self, Kind, PASSWORD};

const TEST: &str = "a_mailbox_made_in_postfixadmin_reads_and_writes_in_roundcube";
const SETUP_PASSWORD: &str = "setup-password1";

fn ours(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("browser").join(name)
}

/// Where the pictures stay: beside the build.
fn pictures() -> PathBuf {
    let exe = std::env::current_exe().expect("own path");
    let folder = exe.ancestors().nth(3).expect("the target folder").join("browser");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("folder for pictures");
    folder
}

fn copy(from: PathBuf, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(&from).arg(to).status().expect("cp runs");
    assert!(status.success(), "{}", from.display());
}

/// PHP's own way to keep a password, which PostfixAdmin's setup wants.
fn setup_hash(php: &e2e::Tool) -> String {
    php.ok(["-r", &format!("echo password_hash('{SETUP_PASSWORD}', PASSWORD_DEFAULT);")])
}

#[test]
fn a_mailbox_made_in_postfixadmin_reads_and_writes_in_roundcube() {
    let Some(driver) = tool("chromedriver", TEST) else { return };
    let (Some(python), Some(php)) = (tool("python3", TEST), tool("php", TEST)) else { return };
    if tool("chromium", TEST).is_none() {
        return;
    }
    // nginx and PHP are to be somebody else than root.
    let Some(mut web) = Unpacked::find("roundcube-core", &["www-data"], TEST) else { return };
    let Some(database) = databases::Server::start(Kind::Mariadb) else {
        return skipped("mariadb-server-core", TEST);
    };
    database.run_sql("CREATE DATABASE roundcube_db DEFAULT CHARACTER SET utf8 COLLATE utf8_general_ci; GRANT ALL ON roundcube_db.* TO postfix_user@'127.0.0.1'");
    let schema = std::fs::read_to_string(web.package().join("usr/share/roundcube/SQL/mysql.initial.sql")).expect("Roundcube's tables");
    database.run_sql(&format!("USE roundcube_db;\n{schema}"));

    let mut facteur = ServerBuilder::default()
        .file("database-password", PASSWORD)
        .settings(&format!(
            "[authd]\naccounts = \"postfixadmin\"\naccounts_url = \"{}\"\naccounts_password_file = \"../database-password\"\n\
             default_pass_scheme = \"SHA512-CRYPT\"\n",
            database.url()
        ))
        .start();

    let ports = [facteur.ports().spare(0), facteur.ports().spare(1), facteur.ports().spare(2)];
    let values = [
        ("@OWN@", web.folder().display().to_string()),
        ("@POSTFIXADMIN_PORT@", ports[0].to_string()),
        ("@ROUNDCUBE_PORT@", ports[1].to_string()),
        ("@DATABASE_PORT@", database.port().to_string()),
        ("@SETUP_HASH@", setup_hash(&php)),
        ("@SMTP_PORT@", facteur.smtp_port().to_string()),
        ("@IMAP_PORT@", facteur.imap_port().to_string()),
        ("@SUBMISSION_PORT@", facteur.submission_port().to_string()),
    ];
    for name in ["roundcube", "postfixadmin", "nginx"] {
        copy(web.package().join("etc").join(name), &web.folder().join("etc"));
    }
    copy(web.package().join("var/lib/roundcube"), &web.folder().join("var/lib"));
    for (template, file) in [
        ("nginx.conf", "nginx.conf"),
        ("php-fpm.conf", "php-fpm.conf"),
        ("postfixadmin.php", "etc/postfixadmin/config.local.php"),
        ("roundcube.php", "etc/roundcube/config.inc.php"),
    ] {
        let text = std::fs::read_to_string(ours(template)).expect("our file");
        web.file(file, &values.iter().fold(text, |text, (name, value)| text.replace(name, value)));
    }
    // Debian's dbconfig-common would write this one; what it says is in config.local.php.
    web.file(
        "etc/postfixadmin/dbconfig.inc.php",
        "<?php\n$dbuser = $dbpass = $dbname = $dbserver = $dbport = $basepath = '';\n$dbtype = 'mysqli';\n",
    );
    for folder in ["log", "temp", "sessions", "nginx", "var/cache/postfixadmin/templates_c"] {
        web.folder_of(0, folder);
    }
    let own = web.folder().display().to_string();
    web.start(ours("stack.sh").to_str().expect("path"), &[&own], ports[1]);

    let pictures = pictures();
    let attachment = web.folder().join("vue d'été.bin");
    std::fs::write(&attachment, (0..50_000u32).map(|n| (n * n / 7) as u8).collect::<Vec<u8>>()).expect("attachment");
    let plan = serde_json::json!({
        "postfixadmin": format!("http://127.0.0.1:{}", ports[0]),
        "roundcube": format!("http://127.0.0.1:{}", ports[1]),
        "setup_password": SETUP_PASSWORD,
        "driver": driver.path(),
        "driver_port": ports[2],
        "pictures": &pictures,
        "attachment": &attachment,
    });
    let file = pictures.join("plan.json");
    std::fs::write(&file, plan.to_string()).expect("plan");
    let walk = python.command().arg(ours("walk.py")).arg(&file).stdin(Stdio::null()).status().expect("python runs");
    let _ = std::fs::remove_dir_all(pictures.join("profile"));
    assert!(walk.success(), "see the pictures in {}\n{}", pictures.display(), facteur.log());

    // What the pages showed is in the database too.
    let used = database.query("SELECT bytes > 0, messages > 2 FROM postfix_db.quota2 WHERE username = 'ann@example.test'");
    assert_eq!(used.trim(), "1\t1");
    let seen = database.query("SELECT COUNT(*) FROM postfix_db.last_login WHERE username = 'ann@example.test' AND service = 'imap'");
    assert_eq!(seen.trim(), "1");
    let listed = facteur.facteur_ok(&["domain", "list"]);
    assert!(listed.contains("example.test") && !listed.contains("ALL"), "{listed}");
    facteur.stop();
}
