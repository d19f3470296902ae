//! An OpenSMTPD of the test's own, on 127.0.0.1.

use crate::{Unpacked, certificate};

/// A running OpenSMTPD, `opensmtpd.test`. It has the mailbox carol@far.test, accepts late@far.test only to find out that it cannot deliver
/// there, refuses others in far.test, and hands everything else to `smarthost` on 127.0.0.1, by TLS only.
#[derive(Debug)]
pub struct OpenSmtpd {
    peer: Unpacked,
    port: u16,
}

const SETTINGS: &str = r#"
pki opensmtpd.test cert "$DIR/cert.pem"
pki opensmtpd.test key "$DIR/key.pem"
table boxes { "carol@far.test" = "carol", "late@far.test" = "late" }
table users { "carol" = "5202:5202:$DIR/mail/carol", "late" = "5202:5202:/nonexistent" }
listen on 127.0.0.1 port $PORT tls pki opensmtpd.test hostname opensmtpd.test
action "boxes" mda "/bin/sh $DIR/file.sh %{user.username}" virtual <boxes> userbase <users>
action "others" relay host smtp+tls://127.0.0.1:$SMARTHOST tls no-verify helo opensmtpd.test
match from any for domain "far.test" action "boxes"
match from any for any action "others"
"#;

/// A delivery agent: one file per message; a permanent failure (sysexits' EX_NOUSER) for `late`.
const FILE: &str = "test \"$1\" = carol || exit 67\numask 022\nname=$$.$(date +%s%N)\ncat >$DIR/mail/carol/tmp/$name\nmv $DIR/mail/carol/tmp/$name $DIR/mail/carol/new/\n";

impl OpenSmtpd {
    /// `None` where it is not there or cannot be started.
    pub fn start(test: &str, port: u16, smarthost: u16) -> Option<OpenSmtpd> {
        let mut peer = Unpacked::find("opensmtpd", &["opensmtpd", "opensmtpq", "boxes"], test)?;
        let dir = peer.folder().display().to_string();
        for folder in ["var/lib/opensmtpd/empty", "var/spool"] {
            std::fs::create_dir_all(peer.folder().join(folder)).expect("folder");
        }
        for folder in ["mail/carol", "mail/carol/new", "mail/carol/tmp"] {
            peer.folder_of(2, folder);
        }
        certificate(peer.folder(), &["opensmtpd.test"]);
        peer.file("file.sh", &FILE.replace("$DIR", &dir));
        let settings = SETTINGS.replace("$DIR", &dir).replace("$PORT", &port.to_string()).replace("$SMARTHOST", &smarthost.to_string());
        peer.file("etc/smtpd.conf", &settings);
        peer.start("smtpd", &["-d", "-v"], port);
        Some(OpenSmtpd { peer, port })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn peer(&self) -> &Unpacked {
        &self.peer
    }
}
