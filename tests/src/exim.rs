//! An Exim of the test's own (Debian's exim4-daemon-light), on 127.0.0.1.

use crate::{Unpacked, certificate};

/// A running Exim, `exim.test`. It has the mailbox carol@far.test, accepts late@far.test only to find out that it cannot deliver there,
/// refuses others in far.test, and hands everything else to `smarthost` on 127.0.0.1, by TLS only.
#[derive(Debug)]
pub struct Exim {
    peer: Unpacked,
    port: u16,
}

const SETTINGS: &str = r#"
primary_hostname = exim.test
domainlist far_domains = far.test
spool_directory = $DIR/spool
log_file_path = $DIR/log/%slog
log_selector = +all
keep_environment =
add_environment =
local_interfaces = 127.0.0.1
daemon_smtp_ports = $PORT
host_lookup =
rfc1413_query_timeout = 0s
disable_ipv6
tls_advertise_hosts = *
tls_certificate = $DIR/cert.pem
tls_privatekey = $DIR/key.pem
smtputf8_advertise_hosts = *
dsn_advertise_hosts = *
chunking_advertise_hosts = *
accept_8bitmime
acl_smtp_rcpt = recipient
acl_smtp_data = accept
begin acl
recipient:
  accept domains = far.test
         local_parts = carol : late : zoé
  deny domains = far.test
       message = no such user
  accept
begin routers
late:
  driver = redirect
  domains = far.test
  local_parts = late
  data = :fail: it is too late
  allow_fail
boxes:
  driver = accept
  domains = far.test
  local_parts = carol : zoé
  transport = maildir
others:
  driver = manualroute
  domains = ! +far_domains
  route_list = * 127.0.0.1::$SMARTHOST byname
  self = send
  transport = smarthost
begin transports
maildir:
  driver = appendfile
  maildir_format
  directory = $DIR/mail/${if eq{$local_part_data}{carol}{carol}{zoe}}
  create_directory
  return_path_add
  user = Debian-exim
smarthost:
  driver = smtp
  hosts_require_tls = *
  hosts_try_chunking = *
  tls_verify_certificates =
begin retry
* * F,1h,5s
"#;

impl Exim {
    /// `None` where it is not there or cannot be started.
    pub fn start(test: &str, port: u16, smarthost: u16) -> Option<Exim> {
        let mut peer = Unpacked::find("exim4-daemon-light", &["Debian-exim"], test)?;
        for folder in ["spool", "log", "mail", "mail/carol", "mail/zoe"] {
            peer.folder_of(0, folder);
        }
        certificate(peer.folder(), &["exim.test"]);
        // Exim reads its key as its own user.
        crate::chown_all(&peer.folder().join("key.pem"), 5200, 5200);
        let settings = SETTINGS.replace("$DIR", &peer.folder().display().to_string());
        peer.file("etc/exim4/exim4.conf", &settings.replace("$PORT", &port.to_string()).replace("$SMARTHOST", &smarthost.to_string()));
        peer.start("exim4", &["-bdf", "-q2s"], port);
        Some(Exim { peer, port })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn peer(&self) -> &Unpacked {
        &self.peer
    }
}
