//! OpenLDAP's slapd of the machine, with a directory of its own in a temporary folder, on a port of the loopback interface and a socket. It ends
//! with the value. One that is unpacked in `target/peers` (tests/peers.txt) is found as well.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What all entries are below of.
pub const SUFFIX: &str = "dc=x,dc=org";
/// Who may see passwords, and its password.
pub const READER: &str = "cn=mail,dc=x,dc=org";
pub const READER_PASSWORD: &str = "mot de passe";

/// A long time for a start on a busy machine.
const START: Duration = Duration::from_secs(60);

/// A server with the entries of its LDIF.
pub struct Slapd {
    folder: tempfile::TempDir,
    program: PathBuf,
    port: u16,
    tls_port: u16,
    child: Option<Child>,
}

impl Slapd {
    /// With entries (LDIF) beside the reader and the suffix. `None` when the server is not installed.
    pub fn start(entries: &str) -> Option<Slapd> {
        let (program, files) = find()?;
        let folder = crate::temp_dir();
        let path = folder.path();
        std::fs::create_dir(path.join("data")).expect("data");
        crate::databases::certify(path);
        let shown = path.display();
        let schemas = ["core", "cosine", "nis", "inetorgperson"].map(|name| format!("include {}\n", files.schema(name).display())).concat();
        let settings = format!(
            "{schemas}modulepath {}\nmoduleload back_mdb\npidfile {shown}/pid\nTLSCertificateFile {shown}/tls.pem\nTLSCertificateKeyFile {shown}/tls.key\n\
             database mdb\nmaxsize 16777216\nsuffix {SUFFIX}\nrootdn cn=root,{SUFFIX}\nrootpw root\ndirectory {shown}/data\ndbnosync\n\
             access to attrs=userPassword by dn.exact=\"{READER}\" read by anonymous auth by * none\n\
             access to * by dn.exact=\"{READER}\" read by anonymous auth by self read by * none\n",
            files.modules.display()
        );
        std::fs::write(path.join("slapd.conf"), settings).expect("slapd.conf");
        let base = format!(
            "dn: {SUFFIX}\nobjectClass: dcObject\nobjectClass: organization\ndc: x\no: x\n\n\
             dn: {READER}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: mail\nuserPassword: {READER_PASSWORD}\n\n"
        );
        std::fs::write(path.join("entries.ldif"), base + entries).expect("entries");
        let mut add = Command::new(&program);
        add.args(["-T", "add", "-f"]).arg(path.join("slapd.conf")).arg("-l").arg(path.join("entries.ldif"));
        let output = add.stdin(Stdio::null()).output().expect("slapadd runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut server = Slapd { folder, program, port: crate::free_port(), tls_port: crate::free_port(), child: None };
        server.resume();
        Some(server)
    }

    pub fn uri(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    pub fn tls_uri(&self) -> String {
        format!("ldaps://127.0.0.1:{}", self.tls_port)
    }

    pub fn socket_uri(&self) -> String {
        format!("ldapi://{}", self.folder.path().join("ldapi").display().to_string().replace('/', "%2F"))
    }

    /// The file of the server's certificate, which has signed itself and is for 127.0.0.1 only.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("tls.pem")
    }

    /// Ends the server; connections break.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = Command::new("kill").arg(child.id().to_string()).status();
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

    /// Starts it again, with what it had, and waits until it takes connections.
    pub fn resume(&mut self) {
        let output = std::fs::File::create(self.folder.path().join("output")).expect("output");
        let places = format!("{} {} {}", self.uri(), self.tls_uri(), self.socket_uri());
        let mut command = Command::new(&self.program);
        // With -d it stays in the foreground.
        command.args(["-d", "0", "-h", &places, "-f"]).arg(self.folder.path().join("slapd.conf")).stdin(Stdio::null());
        let mut child = command.stdout(output.try_clone().expect("output")).stderr(output).spawn().expect("slapd starts");
        let deadline = Instant::now() + START;
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = child.try_wait().ok().flatten();
            assert!(ended.is_none() && Instant::now() < deadline, "slapd does not start: {}", self.output());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child = Some(child);
    }

    fn output(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("output")).unwrap_or_default()
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- slapd\n{}", self.output());
        }
        self.stop();
    }
}

/// What belongs to a slapd beside the program.
struct Files {
    modules: PathBuf,
    etc: PathBuf,
}

impl Files {
    fn schema(&self, name: &str) -> PathBuf {
        self.etc.join(format!("schema/{name}.schema"))
    }
}

fn find() -> Option<(PathBuf, Files)> {
    let exe = std::env::current_exe().ok()?;
    let unpacked = exe.ancestors().nth(3)?.join("peers/slapd");
    let at = |root: &Path| {
        let program = root.join("usr/sbin/slapd");
        program.is_file().then(|| (program, Files { modules: root.join("usr/lib/ldap"), etc: root.join("etc/ldap") }))
    };
    at(&unpacked).or_else(|| at(Path::new("/")))
}
