//! MariaDB and PostgreSQL of the machine, each with a data directory of its own in a temporary folder, on a socket and a port of the
//! loopback interface. They end with the value. Programs that are unpacked in `target/peers` (tests/peers.txt) are found as well.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// User and password that both servers know; all rights on the database `postfix_db`.
pub const USER: &str = "postfix_user";
pub const PASSWORD: &str = "mot de passe";
pub const DATABASE: &str = "postfix_db";

/// A long time for a start on a busy machine.
const START: Duration = Duration::from_secs(60);
/// PostgreSQL does not run as root; any other user does.
const NOBODY: u32 = 65534;

/// A server with an empty database.
pub struct Server {
    folder: tempfile::TempDir,
    program: PathBuf,
    arguments: Vec<String>,
    kind: Kind,
    port: u16,
    child: Option<Child>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Mariadb,
    Postgres,
}

/// The two that tests run against.
pub const KINDS: [Kind; 2] = [Kind::Mariadb, Kind::Postgres];

impl Kind {
    /// As in `driver = …` and `mysql:…`.
    pub fn driver(self) -> &'static str {
        match self {
            Kind::Mariadb => "mysql",
            Kind::Postgres => "pgsql",
        }
    }
}

impl Server {
    /// `None` when the server is not installed.
    pub fn start(kind: Kind) -> Option<Server> {
        let folder = crate::temp_dir();
        let port = crate::free_port();
        let data = folder.path().join("data");
        let text = |path: &Path| path.display().to_string();
        let (program, arguments) = match kind {
            Kind::Mariadb => {
                let program = find("mariadbd")?;
                let install = find("mariadb-install-db")?;
                find("mariadb")?;
                let mut arguments =
                    vec!["--no-defaults".to_owned(), format!("--datadir={}", text(&data)), format!("--tmpdir={}", text(folder.path()))];
                // Many may run at a time: the machine's asynchronous requests are few.
                arguments.extend(["--innodb-use-native-aio=0", "--innodb-buffer-pool-size=16M"].map(str::to_owned));
                if is_root() {
                    arguments.push("--user=root".into());
                }
                let more = ["--auth-root-authentication-method=normal", "--skip-test-db"];
                run(Command::new(install).args(&arguments).args(more));
                arguments.push(format!("--socket={}", text(&folder.path().join("mysqld.sock"))));
                arguments.push(format!("--pid-file={}", text(&folder.path().join("mysqld.pid"))));
                arguments.extend([format!("--port={port}"), "--bind-address=127.0.0.1".into(), "--skip-log-bin".into()]);
                // What it keeps need not outlive the machine.
                let fast = ["--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--innodb-doublewrite=0", "--sync-frm=0"];
                arguments.extend(fast.map(str::to_owned));
                certify(&data);
                arguments
                    .extend([format!("--ssl-cert={}", text(&data.join("tls.pem"))), format!("--ssl-key={}", text(&data.join("tls.key")))]);
                (program, arguments)
            }
            Kind::Postgres => {
                let program = find("postgres")?;
                let initdb = program.with_file_name("initdb");
                if is_root() {
                    chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("chown");
                }
                let arguments = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale", "--no-sync", "-D", &text(&data)];
                run(as_nobody(Command::new(initdb).args(arguments).current_dir(folder.path())));
                certify(&data);
                // Whoever comes with a password shall need it.
                std::fs::write(
                    data.join("pg_hba.conf"),
                    "local all postgres trust\nlocal all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n",
                )
                .expect("pg_hba.conf");
                let socket = format!("unix_socket_directories={}", text(folder.path()));
                let mut arguments = vec!["-D".to_owned(), text(&data)];
                for setting in [
                    &socket,
                    "listen_addresses=127.0.0.1",
                    &format!("port={port}"),
                    "fsync=off",
                    "ssl=on",
                    "ssl_cert_file=tls.pem",
                    "ssl_key_file=tls.key",
                ] {
                    arguments.extend(["-c".to_owned(), setting.to_owned()]);
                }
                (program, arguments)
            }
        };
        let mut server = Server { folder, program, arguments, kind, port, child: None };
        server.resume();
        match kind {
            Kind::Mariadb => server.run_sql_on(
                "",
                &format!(
                    "CREATE DATABASE {DATABASE} DEFAULT CHARACTER SET utf8 COLLATE utf8_general_ci;
                     CREATE USER '{USER}'@'localhost' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON {DATABASE}.* TO '{USER}'@'localhost';
                     CREATE USER '{USER}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON {DATABASE}.* TO '{USER}'@'127.0.0.1';"
                ),
            ),
            Kind::Postgres => {
                server.run_sql_on("postgres", &format!("CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'"));
                server.run_sql_on("postgres", &format!("CREATE DATABASE {DATABASE} OWNER {USER}"));
            }
        }
        Some(server)
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The socket: MariaDB's file, PostgreSQL's folder.
    pub fn socket(&self) -> PathBuf {
        match self.kind {
            Kind::Mariadb => self.folder.path().join("mysqld.sock"),
            Kind::Postgres => self.folder.path().to_owned(),
        }
    }

    /// The file of the server's certificate, which has signed itself and is for 127.0.0.1 only.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("data/tls.pem")
    }

    /// `accounts_url` without the password.
    pub fn url(&self) -> String {
        let scheme = if self.kind == Kind::Mariadb { "mysql" } else { "postgresql" };
        format!("{scheme}://{USER}@127.0.0.1:{}/{DATABASE}", self.port)
    }

    /// Runs statements in the test's database as its owner (in PostgreSQL, so that tables belong to the user).
    pub fn run_sql(&self, statements: &str) {
        let statements = if self.kind == Kind::Postgres { format!("SET ROLE {USER};\n{statements}") } else { statements.to_owned() };
        self.run_sql_on(DATABASE, &statements);
    }

    /// What a query gives, a line for each row and a tab between columns.
    pub fn query(&self, query: &str) -> String {
        self.client(DATABASE, query)
    }

    /// Ends the server; connections break.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // What "fast" shutdown is to PostgreSQL; MariaDB ends by either.
        let signal = if self.kind == Kind::Postgres { "-INT" } else { "-TERM" };
        let _ = Command::new("kill").args([signal, &child.id().to_string()]).status();
        let deadline = Instant::now() + START;
        while child.try_wait().ok().flatten().is_none() {
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts it again, with what it had, and waits until it answers.
    pub fn resume(&mut self) {
        let output = std::fs::File::create(self.folder.path().join("output")).expect("output");
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command.stdout(output.try_clone().expect("output")).stderr(output);
        if self.kind == Kind::Postgres {
            as_nobody(&mut command);
        }
        let mut child = command.spawn().expect("the server starts");
        let deadline = Instant::now() + START;
        let answers = || match self.kind {
            Kind::Mariadb => self.try_client("", "SELECT 1").is_ok(),
            Kind::Postgres => self.try_client("postgres", "SELECT 1").is_ok(),
        };
        while !answers() {
            let ended = child.try_wait().ok().flatten();
            assert!(ended.is_none() && Instant::now() < deadline, "{} does not start: {}", self.program.display(), self.output());
            std::thread::sleep(Duration::from_millis(50));
        }
        self.child = Some(child);
    }

    fn output(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("output")).unwrap_or_default()
    }

    fn run_sql_on(&self, database: &str, statements: &str) {
        self.client(database, statements);
    }

    fn client(&self, database: &str, statements: &str) -> String {
        self.try_client(database, statements).unwrap_or_else(|why| panic!("{why}\n{statements}"))
    }

    fn try_client(&self, database: &str, statements: &str) -> Result<String, String> {
        let mut command = match self.kind {
            Kind::Mariadb => {
                let mut command = Command::new(find("mariadb").expect("found before"));
                command.args(["--no-defaults", "--batch", "--skip-column-names", "--user=root", "--socket"]).arg(self.socket());
                command.args(["--execute", statements]).args(Some(database).filter(|name| !name.is_empty()));
                command
            }
            Kind::Postgres => {
                let mut command = Command::new(self.program.with_file_name("psql"));
                command.args(["-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"]).arg(self.folder.path());
                command.args(["-p", &self.port.to_string(), "-d", database, "-c", statements]);
                command
            }
        };
        let output = command.stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.program.display(), self.output());
        }
        self.stop();
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn as_nobody(command: &mut Command) -> &mut Command {
    if is_root() { command.uid(NOBODY).gid(NOBODY) } else { command }
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{out}\n{err}");
}

/// Makes a certificate for 127.0.0.1 that has signed itself, in `data/tls.pem` and `tls.key`, for the owner of the folder.
pub fn certify(data: &Path) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate can be made");
    for (name, pem) in [("tls.pem", made.cert.pem()), ("tls.key", made.signing_key.serialize_pem())] {
        let path = data.join(name);
        std::fs::write(&path, pem).expect("write");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        if is_root() {
            let owner = std::fs::metadata(data).expect("data");
            chown(&path, Some(owner.uid()), Some(owner.gid())).expect("chown");
        }
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let exe = std::env::current_exe().ok()?;
    let peers = exe.ancestors().nth(3)?.join("peers/postgresql-15/usr/lib/postgresql");
    let mut folders: Vec<PathBuf> = ["/usr/sbin", "/usr/bin"].map(PathBuf::from).to_vec();
    for versions in [Path::new("/usr/lib/postgresql"), &peers] {
        folders.extend(std::fs::read_dir(versions).into_iter().flatten().flatten().map(|version| version.path().join("bin")));
    }
    // A program needs those beside it, so a wrapper in /usr/bin does not do.
    folders.into_iter().map(|folder| folder.join(program)).find(|path| path.is_file())
}
