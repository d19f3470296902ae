//! Who is logged in at this program: `facteur who` lists them, `facteur kick` ends them. The control commands are `session.list` and
//! `session.kick`; `ipc::session` has the words.

use crate::control::Control;
use crate::shutdown::Shutdown;
use crate::stream::Peer;
use ipc::session::{LoggedIn, parse_ids, write_list};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// All sessions that somebody is logged in at. Cheap to clone.
#[derive(Clone, Default)]
pub struct Sessions(Arc<Mutex<BTreeMap<String, Known>>>);

struct Known {
    facts: LoggedIn,
    end: Shutdown,
}

/// One of them; it is forgotten when this is dropped.
#[derive(Debug)]
pub struct Login {
    sessions: Sessions,
    id: String,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} logged in", self.0.lock().len())
    }
}

impl Sessions {
    pub(crate) fn answer_on(&self, control: &Control) {
        let sessions = self.clone();
        control.on("session.list", move |_| {
            let list = write_list(sessions.0.lock().values().map(|known| &known.facts));
            async move { Ok(list) }
        });
        let sessions = self.clone();
        control.on("session.kick", move |ids| {
            let kicked = parse_ids(&ids).filter(|id| sessions.kick(id)).count();
            async move { Ok(kicked.to_string()) }
        });
    }

    /// Somebody logged in. `end` is what the session listens to: it is set when an administrator wants the session to end.
    pub fn enter(&self, id: &str, user: &str, service: &str, peer: &Peer, tls: bool, end: &Shutdown) -> Login {
        let facts = LoggedIn {
            id: id.to_owned(),
            user: user.to_owned(),
            service: service.to_owned(),
            remote: peer.ip().map(|ip| ip.to_canonical()),
            tls,
            since: crate::reload::now(),
        };
        self.0.lock().insert(id.to_owned(), Known { facts, end: end.clone() });
        Login { sessions: self.clone(), id: id.to_owned() }
    }

    fn kick(&self, id: &str) -> bool {
        let sessions = self.0.lock();
        let Some(known) = sessions.get(id) else { return false };
        tracing::info!(session = id, user = %mail_types::printable(&known.facts.user), "session ended by the administrator");
        known.end.cut();
        true
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        self.sessions.0.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_session_is_known_while_it_lasts_and_can_be_ended_alone() {
        let (sessions, program) = (Sessions::default(), Shutdown::new());
        let (one, two) = (program.of_session(), program.of_session());
        let peer = Peer::default();
        let first = sessions.enter("a", "ann@x", "imap", &peer, true, &one);
        let _second = sessions.enter("b", "bob@x", "imap", &peer, true, &two);
        assert_eq!(sessions.0.lock().len(), 2);
        assert!(sessions.kick("a") && !sessions.kick("c"));
        one.wait().await;
        assert!(!two.is_set() && !program.is_set());
        drop(first);
        assert!(!sessions.kick("a"));
        program.set();
        two.wait().await;
    }
}
