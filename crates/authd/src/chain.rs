//! Several passdbs, one after the other: Dovecot's rules for who is asked, and whose answer counts. Pure.
//!
//! A login begins as failed. Each passdb that is asked may change that, and says whether the next one is asked: by default a
//! right password ends the search, and a wrong one, an unknown user or a database that is away lets the next one try. What was proven to one
//! passdb needs no proof to the next. When nobody says yes and somebody could not be asked, nothing is decided.

use crate::login::Fault;
use config::{Passdb, PassdbResult, PassdbSkip};

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
            Outcome::Unknown(error) => {
                self.unknown = Some(error);
                rules.internalfail
            }
        };
        match result {
            PassdbResult::ReturnOk | PassdbResult::ContinueOk => self.authenticated = true,
            PassdbResult::ReturnFail | PassdbResult::ContinueFail => self.authenticated = false,
            PassdbResult::Return | PassdbResult::Continue => {}
        }
        matches!(result, PassdbResult::Continue | PassdbResult::ContinueOk | PassdbResult::ContinueFail)
    }

    pub fn verdict(self) -> anyhow::Result<Result<String, Fault>> {
        match (self.user, self.unknown) {
            (Some(user), _) if self.authenticated => Ok(Ok(user)),
            (_, Some(error)) => Err(error),
            _ => Ok(Err(self.fault.unwrap_or(Fault::UnknownUser))),
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
