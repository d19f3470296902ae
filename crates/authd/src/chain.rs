//! Several passdbs or userdbs, one after the other: Dovecot's rules for who is asked, and whose answer counts. Pure.
//!
//! A login begins as failed. Each passdb that is asked may change that, and says whether the next one is asked: by default a
//! right password ends the search, and a wrong one, an unknown user or a database that is away lets the next one try. What was proven to one
//! passdb needs no proof to the next. When nobody says yes and somebody could not be asked, nothing is decided.

use crate::directory::Found;
use crate::login::Fault;
use config::{Passdb, PassdbResult, PassdbSkip, Userdb, UserdbSkip};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Whom this passdb knows is refused.
    pub deny: bool,
    /// Its users log in as others, and not as themselves.
    pub master: bool,
    skip: PassdbSkip,
    success: PassdbResult,
    failure: PassdbResult,
    internalfail: PassdbResult,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules::of(&Passdb::default()).expect("the defaults are sound")
    }
}

impl Rules {
    pub fn of(passdb: &Passdb) -> anyhow::Result<Rules> {
        for (name, result) in [("result_failure", passdb.result_failure), ("result_internalfail", passdb.result_internalfail)] {
            let lets_in = matches!(result, PassdbResult::ReturnOk | PassdbResult::ContinueOk);
            anyhow::ensure!(!lets_in, "authd.passdb: {name} = {:?} would let in whoever gives a wrong password", result.as_str());
        }
        anyhow::ensure!(!(passdb.deny && passdb.master), "authd.passdb: deny and master exclude each other");
        Ok(Rules {
            deny: passdb.deny,
            master: passdb.master,
            skip: passdb.skip,
            success: passdb.result_success,
            failure: passdb.result_failure,
            internalfail: passdb.result_internalfail,
        })
    }
}

/// What a passdb answered.
#[derive(Debug)]
pub enum Outcome {
    /// The password is this user's, or was proven before.
    Right(String),
    Wrong(Fault),
    /// Whatever others say.
    Refused(Fault),
    Unknown(anyhow::Error),
}

#[derive(Debug, Default)]
pub struct Chain {
    authenticated: bool,
    /// Set once a password was right.
    user: Option<String>,
    fault: Option<Fault>,
    unknown: Option<anyhow::Error>,
}

impl Chain {
    /// Whether a passdb with these rules is to be asked.
    pub fn asks(&self, rules: &Rules) -> bool {
        match rules.skip {
            PassdbSkip::Never => true,
            PassdbSkip::Authenticated => !self.authenticated,
            PassdbSkip::Unauthenticated => self.authenticated,
        }
    }

    /// Whether the password was right somewhere.
    pub fn is_proven(&self) -> bool {
        self.user.is_some()
    }

    /// Takes an answer; `true`: the next one is to be asked.
    pub fn take(&mut self, rules: &Rules, outcome: Outcome) -> bool {
        let result = match outcome {
            Outcome::Right(user) => {
                self.user = Some(user);
                rules.success
            }
            Outcome::Wrong(fault) => {
                // That a user is unknown here says little about the others.
                if fault != Fault::UnknownUser || self.fault.is_none() {
                    self.fault = Some(fault);
                }
                rules.failure
            }
            Outcome::Refused(fault) => {
                *self = Chain { fault: Some(fault), ..Chain::default() };
                return false;
            }
            // Whom the list names cannot be told, and a yes of the others would let them in.
            Outcome::Unknown(error) if rules.deny => {
                *self = Chain { unknown: Some(error), ..Chain::default() };
                return false;
            }
            Outcome::Unknown(error) => {
                self.unknown = Some(error);
                rules.internalfail
            }
        };
        apply(result, &mut self.authenticated)
    }

    pub fn verdict(self) -> anyhow::Result<Result<String, Fault>> {
        match (self.user, self.unknown) {
            (Some(user), _) if self.authenticated => Ok(Ok(user)),
            (_, Some(error)) => Err(error),
            _ => Ok(Err(self.fault.unwrap_or(Fault::UnknownUser))),
        }
    }
}

/// Says what a result means for the whole; `true`: the next one is to be asked.
fn apply(result: PassdbResult, is_ok: &mut bool) -> bool {
    match result {
        PassdbResult::ReturnOk | PassdbResult::ContinueOk => *is_ok = true,
        PassdbResult::ReturnFail | PassdbResult::ContinueFail => *is_ok = false,
        PassdbResult::Return | PassdbResult::Continue => {}
    }
    matches!(result, PassdbResult::Continue | PassdbResult::ContinueOk | PassdbResult::ContinueFail)
}

/// The rules of a userdb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserRules {
    skip: UserdbSkip,
    success: PassdbResult,
    failure: PassdbResult,
    internalfail: PassdbResult,
}

impl UserRules {
    pub fn of(userdb: &Userdb) -> UserRules {
        UserRules {
            skip: userdb.skip,
            success: userdb.result_success,
            failure: userdb.result_failure,
            internalfail: userdb.result_internalfail,
        }
    }
}

/// What userdbs know of a user together.
#[derive(Debug, Default)]
pub struct Gathered {
    is_ok: bool,
    found: Option<Found>,
    unknown: Option<anyhow::Error>,
}

impl Gathered {
    /// Whether a userdb with these rules is to be asked.
    pub fn asks(&self, rules: &UserRules) -> bool {
        match rules.skip {
            UserdbSkip::Never => true,
            UserdbSkip::Found => !self.is_ok,
            UserdbSkip::Notfound => self.is_ok,
        }
    }

    /// Takes an answer; `true`: the next one is to be asked.
    pub fn take(&mut self, rules: &UserRules, answer: anyhow::Result<Option<Found>>) -> bool {
        let result = match answer {
            Ok(Some(found)) => {
                self.add(found);
                rules.success
            }
            Ok(None) => rules.failure,
            Err(error) => {
                self.unknown = Some(error);
                // what others said may be what this one would have replaced
                if matches!(rules.internalfail, PassdbResult::Return | PassdbResult::ReturnFail) {
                    self.is_ok = false;
                }
                rules.internalfail
            }
        };
        apply(result, &mut self.is_ok)
    }

    fn add(&mut self, new: Found) {
        let Some(found) = &mut self.found else {
            self.found = Some(new);
            return;
        };
        found.name = new.name;
        found.fields.retain(|(name, _)| !new.fields.iter().any(|(other, _)| other == name));
        found.fields.extend(new.fields);
    }

    /// `None`: there is no such user. Nobody is certain of that while somebody could not be asked.
    pub fn verdict(self) -> anyhow::Result<Option<Found>> {
        match (self.found, self.unknown) {
            (Some(found), _) if self.is_ok => Ok(Some(found)),
            (_, Some(error)) => Err(error),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PassdbResult::{Continue, ContinueFail, ContinueOk, Return, ReturnFail, ReturnOk};

    fn rules(success: PassdbResult, failure: PassdbResult, internalfail: PassdbResult) -> Rules {
        Rules { success, failure, internalfail, ..Rules::default() }
    }

    fn right() -> Outcome {
        Outcome::Right("ann".into())
    }

    fn away() -> Outcome {
        Outcome::Unknown(anyhow::anyhow!("away"))
    }

    /// What becomes of a login: `ok`, `no`, or `?` where nothing is decided; and how many were asked.
    fn run(steps: Vec<(Rules, Outcome)>) -> (&'static str, usize) {
        let mut chain = Chain::default();
        let mut asked = 0;
        for (rules, outcome) in steps {
            if !chain.asks(&rules) {
                continue;
            }
            asked += 1;
            if !chain.take(&rules, outcome) {
                break;
            }
        }
        let word = match chain.verdict() {
            Ok(Ok(_)) => "ok",
            Ok(Err(_)) => "no",
            Err(_) => "?",
        };
        (word, asked)
    }

    #[test]
    fn the_first_right_password_ends_the_search_by_default() {
        let usual = Rules::default;
        assert_eq!(run(vec![(usual(), right()), (usual(), Outcome::Wrong(Fault::Mismatch))]), ("ok", 1));
        assert_eq!(run(vec![(usual(), Outcome::Wrong(Fault::Mismatch)), (usual(), right())]), ("ok", 2));
        assert_eq!(run(vec![(usual(), Outcome::Wrong(Fault::UnknownUser)), (usual(), Outcome::Wrong(Fault::Mismatch))]), ("no", 2));
        // A database that is away decides nothing, unless another one says yes.
        assert_eq!(run(vec![(usual(), away()), (usual(), right())]), ("ok", 2));
        assert_eq!(run(vec![(usual(), away()), (usual(), Outcome::Wrong(Fault::UnknownUser))]), ("?", 2));
        assert_eq!(run(vec![]), ("no", 0));
    }

    #[test]
    fn nobody_gets_past_a_deny_list_that_cannot_be_asked() {
        let deny = || Rules { deny: true, ..Rules::default() };
        assert_eq!(run(vec![(deny(), away()), (Rules::default(), right())]), ("?", 1));
        assert_eq!(run(vec![(rules(ContinueOk, Continue, Continue), right()), (deny(), away())]), ("?", 2));
        assert_eq!(run(vec![(deny(), Outcome::Wrong(Fault::UnknownUser)), (Rules::default(), right())]), ("ok", 2));
    }

    #[test]
    fn results_say_who_else_is_asked_and_what_counts() {
        for (steps, want) in [
            (vec![(rules(Return, Continue, Continue), right())], ("no", 1)),
            (
                vec![
                    (rules(ContinueOk, Continue, Continue), right()),
                    (rules(ReturnOk, Return, Continue), Outcome::Wrong(Fault::Mismatch)),
                ],
                ("ok", 2),
            ),
            (
                vec![
                    (rules(ContinueOk, Continue, Continue), right()),
                    (rules(ReturnOk, ReturnFail, Continue), Outcome::Wrong(Fault::Mismatch)),
                ],
                ("no", 2),
            ),
            (vec![(rules(Continue, Continue, Continue), right()), (rules(ReturnOk, ReturnFail, Continue), right())], ("ok", 2)),
            (vec![(rules(ContinueFail, Continue, Continue), right())], ("no", 1)),
            (vec![(rules(ReturnOk, ReturnFail, Continue), Outcome::Wrong(Fault::Mismatch)), (Rules::default(), right())], ("no", 1)),
            (vec![(rules(ReturnOk, Continue, ReturnFail), away()), (Rules::default(), right())], ("?", 1)),
            (vec![(Rules::default(), Outcome::Refused(Fault::Mismatch)), (Rules::default(), right())], ("no", 1)),
            (vec![(rules(ContinueOk, Continue, Continue), right()), (Rules::default(), Outcome::Refused(Fault::Mismatch))], ("no", 2)),
        ] {
            let shown = format!("{steps:?}");
            assert_eq!(run(steps), want, "{shown}");
        }
    }

    #[test]
    fn what_userdbs_know_is_added_up_as_their_rules_say() {
        let found = |fields: &[(&str, &str)]| {
            let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Ok(Some(Found { name: "ann".into(), fields }))
        };
        let home = || found(&[("home", "/a"), ("quota_rule", "1")]);
        let other = || found(&[("home", "/b")]);
        let rules = |success, internalfail| UserRules {
            success,
            internalfail,
            ..UserRules::of(&Userdb { driver: config::UserdbDriver::Accounts, ..Userdb::default() })
        };
        let away = || Err(anyhow::anyhow!("away"));
        let usual = || UserRules::of(&Userdb::default());
        let skip = |skip| UserRules { skip, ..usual() };
        for (steps, want) in [
            (vec![(usual(), home()), (usual(), other())], "quota_rule=1 home=/a"),
            (vec![(usual(), Ok(None)), (usual(), other())], "home=/b"),
            (vec![(rules(ContinueOk, Return), home()), (usual(), other())], "quota_rule=1 home=/b"),
            (vec![(rules(ContinueOk, Return), home()), (usual(), Ok(None))], "quota_rule=1 home=/a"),
            (vec![(rules(Continue, Return), home()), (usual(), Ok(None))], "nobody"),
            (vec![(rules(ReturnFail, Return), home()), (usual(), other())], "nobody"),
            (vec![(usual(), Ok(None))], "nobody"),
            // Who is away might have known the user, and another place.
            (vec![(usual(), Err(anyhow::anyhow!("away"))), (usual(), other())], "?"),
            (vec![(rules(ReturnOk, Continue), Err(anyhow::anyhow!("away"))), (usual(), other())], "home=/b"),
            (vec![(rules(ReturnOk, Continue), Err(anyhow::anyhow!("away"))), (usual(), Ok(None))], "?"),
            (vec![(rules(ContinueOk, Return), home()), (skip(UserdbSkip::Found), other())], "quota_rule=1 home=/a"),
            // Nor is what one says the whole while another one, which would add to it, cannot be asked.
            (vec![(rules(ContinueOk, Return), home()), (rules(ReturnOk, Return), away())], "?"),
            (vec![(rules(ContinueOk, Return), home()), (rules(ReturnOk, ReturnFail), away())], "?"),
            (vec![(rules(ContinueOk, Return), home()), (rules(ReturnOk, Continue), away())], "quota_rule=1 home=/a"),
            (vec![(skip(UserdbSkip::Notfound), home()), (usual(), other())], "home=/b"),
            (vec![], "nobody"),
        ] {
            let shown = format!("{steps:?}");
            let mut gathered = Gathered::default();
            for (rules, answer) in steps {
                if gathered.asks(&rules) && !gathered.take(&rules, answer) {
                    break;
                }
            }
            let got = match gathered.verdict() {
                Ok(Some(found)) => {
                    let mut fields: Vec<_> = found.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
                    fields.sort_unstable_by(|a, b| b.cmp(a));
                    fields.join(" ")
                }
                Ok(None) => "nobody".into(),
                Err(_) => "?".into(),
            };
            assert_eq!(got, want, "{shown}");
        }
    }

    #[test]
    fn who_is_skipped_is_not_asked() {
        let skip = |skip| Rules { skip, ..Rules::default() };
        let first = || (rules(ContinueOk, Continue, Continue), right());
        assert_eq!(run(vec![first(), (skip(PassdbSkip::Authenticated), Outcome::Wrong(Fault::Mismatch))]), ("ok", 1));
        assert_eq!(run(vec![(skip(PassdbSkip::Unauthenticated), right())]), ("no", 0));
        assert_eq!(run(vec![first(), (skip(PassdbSkip::Unauthenticated), right())]), ("ok", 2));
    }

    #[test]
    fn rules_that_let_everybody_in_are_refused() {
        for result in [ReturnOk, ContinueOk] {
            assert!(Rules::of(&Passdb { result_failure: result, ..Passdb::default() }).is_err());
            assert!(Rules::of(&Passdb { result_internalfail: result, ..Passdb::default() }).is_err());
        }
        assert!(Rules::of(&Passdb { deny: true, master: true, ..Passdb::default() }).is_err());
    }
}
