use super::*;

const LIMITS: Limits =
    Limits { initial_window: 2, partner_window: 3, total: 5, dead_ms: 300_000, partner_retry_ms: 1000, partner_patience_ms: 10_000 };

const PACE: Pace = Pace { window: 4, delay_ms: 0, lane: 1, lane_window: u32::MAX, lane_delay_ms: 0 };
const WIDE: Kind = Kind::Remote(Pace { window: 8, ..PACE });
const SMTP: Kind = Kind::Remote(PACE);
const SLOW: Kind = Kind::Remote(Pace { delay_ms: 2000, lane: 2, ..PACE });

impl Weight for u32 {
    fn bytes(&self) -> usize {
        100
    }
}

fn schedule() -> Schedule<&'static str, u32> {
    Schedule::new(LIMITS)
}

fn start_all(s: &mut Schedule<&'static str, u32>, now: u64) -> Vec<(&'static str, u32)> {
    std::iter::from_fn(|| s.next(now)).collect()
}

#[test]
fn destinations_take_turns_and_a_long_queue_delays_nobody() {
    let mut s = schedule();
    for n in 0..1000 {
        s.add(0, &"busy", SMTP, n).expect("alive");
    }
    s.add(0, &"a", SMTP, 7).expect("alive");
    s.add(0, &"b", SMTP, 8).expect("alive");
    assert_eq!(start_all(&mut s, 0), [("busy", 0), ("a", 7), ("b", 8), ("busy", 1)]);
    assert!(start_all(&mut s, 0).is_empty(), "the window is full");
    assert_eq!(s.len(), 1002);
}

#[test]
fn success_widens_the_window_up_to_the_limit() {
    let mut s = schedule();
    for n in 0..100 {
        s.add(0, &"a", SMTP, n).expect("alive");
    }
    assert_eq!(start_all(&mut s, 0).len(), 2);
    let mut busy = 2;
    for _ in 0..30 {
        s.done(0, &"a", &0, Reached::Yes);
        busy = busy - 1 + start_all(&mut s, 0).len();
    }
    assert_eq!(busy, 4);
}

#[test]
fn a_dead_destination_hands_back_its_work_until_the_back_off_is_over() {
    let mut s = schedule();
    for n in 0..10 {
        s.add(0, &"a", SMTP, n).expect("alive");
    }
    assert_eq!(start_all(&mut s, 0).len(), 2);
    assert!(s.done(5, &"a", &0, Reached::No).0.is_empty());
    let (back, until) = s.done(5, &"a", &0, Reached::No);
    assert_eq!((back.len(), until), (8, 300_005));
    assert_eq!(s.add(6, &"a", SMTP, 50), Err((50, 300_005)));
    s.add(300_005, &"a", SMTP, 51).expect("tried again");
    s.add(300_005, &"a", SMTP, 52).expect("tried again");
    assert_eq!(start_all(&mut s, 300_005), [("a", 51)], "alone at first");
    assert_eq!(s.done(300_006, &"a", &0, Reached::No).0, [52]);
}

#[test]
fn a_success_in_between_keeps_a_destination_alive() {
    let mut s = schedule();
    for n in 0..40 {
        s.add(0, &"a", SMTP, n).expect("alive");
    }
    start_all(&mut s, 0);
    for _ in 0..10 {
        assert!(s.done(0, &"a", &0, Reached::No).0.is_empty(), "half of it gets through");
        s.done(0, &"a", &0, Reached::Yes);
        assert!(!start_all(&mut s, 0).is_empty());
    }
}

#[test]
fn a_window_that_is_not_used_stays_as_it_is() {
    let mut s = schedule();
    for n in 0..20 {
        s.add(0, &"a", SMTP, n).expect("alive");
        assert_eq!(start_all(&mut s, 0).len(), 1);
        s.done(0, &"a", &n, Reached::Yes);
    }
    for n in 0..9 {
        s.add(0, &"a", SMTP, n).expect("alive");
    }
    assert_eq!(start_all(&mut s, 0).len(), 3, "one more than the first two");
}

/// Whoever asks for the mail of one destination does not have all others tried.
#[test]
fn only_the_destination_that_was_asked_for_is_revived_and_only_once() {
    let mut s = schedule();
    let die = |s: &mut Schedule<&'static str, u32>, now: u64, to: &'static str| {
        while s.add(now, &to, SMTP, 1).is_ok() {
            start_all(s, now);
            s.done(now, &to, &1, Reached::No);
        }
    };
    die(&mut s, 0, "asked");
    die(&mut s, 0, "other");
    s.revive(100, &"asked", 100);
    assert!(s.add(100, &"other", SMTP, 3).is_err());
    die(&mut s, 200, "asked");
    s.revive(300, &"asked", 100);
    assert!(s.add(300, &"asked", SMTP, 3).is_err(), "it was found dead after it was asked for");
}

#[test]
fn a_rate_delay_lets_one_go_at_a_time_and_holds_up_nobody_else() {
    let mut s = schedule();
    for n in 0..3 {
        s.add(0, &"slow", SLOW, n).expect("alive");
    }
    s.add(0, &"a", SMTP, 9).expect("alive");
    assert_eq!(start_all(&mut s, 0), [("slow", 0), ("a", 9)]);
    s.done(500, &"slow", &0, Reached::Yes);
    assert_eq!((s.next(2499), s.wake_at(2499)), (None, Some(2500)));
    assert_eq!(start_all(&mut s, 2500), [("slow", 1)]);
    s.done(2600, &"slow", &0, Reached::Yes);
    s.add(2601, &"slow", SLOW, 7).expect("alive");
    s.tidy(2601);
    assert_eq!(s.next(4599), None);
    assert_eq!(start_all(&mut s, 4600), [("slow", 2)]);
}

#[test]
fn the_work_of_a_lane_is_known_as_a_whole_where_the_lane_is_what_holds_it_up() {
    let mut s = schedule();
    let narrow = Kind::Remote(Pace { lane: 3, lane_window: 1, ..PACE });
    for to in ["a", "b", "c"] {
        s.add(0, &to, narrow, 1).expect("alive");
        s.add(0, &to, narrow, 2).expect("alive");
    }
    assert_eq!((narrow.narrow_lane(), SMTP.narrow_lane(), Kind::Partner.narrow_lane()), (Some(3), None, None));
    assert_eq!((s.lane_share(3), s.share(&"a").jobs), (Share { jobs: 6, bytes: 600 }, 2));
    assert_eq!(start_all(&mut s, 0), [("a", 1)]);
    s.done(0, &"a", &1, Reached::Yes);
    assert_eq!(s.take_waiting(|job| *job == 1), [1, 1]);
    assert_eq!(s.lane_share(3).jobs, 3);
    assert_eq!(start_all(&mut s, 0), [("b", 2)]);
    s.done(0, &"b", &2, Reached::Untried);
    s.tidy(0);
    assert_eq!(s.lane_share(3).jobs, 2);
    while let Some((to, job)) = s.next(0) {
        s.done(0, &to, &job, Reached::Yes);
    }
    assert_eq!(s.lane_share(3), Share::default());
}

#[test]
fn slow_destinations_do_not_take_all_places() {
    let mut s = Schedule::new(Limits { initial_window: 8, total: 16, ..LIMITS });
    for to in ["slow", "slower"] {
        for n in 0..100 {
            s.add(0, &to, WIDE, n).expect("alive");
        }
    }
    assert_eq!(start_all(&mut s, 0).len(), 14);
    s.add(1, &"quick", WIDE, 1).expect("alive");
    s.add(1, &"quick", WIDE, 2).expect("alive");
    assert_eq!(start_all(&mut s, 1), [("quick", 1)]);
    s.done(2, &"quick", &1, Reached::Yes);
    assert_eq!(start_all(&mut s, 2), [("quick", 2)]);
}

#[test]
fn a_partner_is_asked_again_soon_and_loses_no_work() {
    let mut s = schedule();
    for n in 0..5 {
        s.add(0, &"deliver", Kind::Partner, n).expect("always");
    }
    let started = start_all(&mut s, 0);
    assert_eq!(started.len(), 3);
    for (to, job) in started.into_iter().rev() {
        assert!(s.again(10, &to, job, true).0.is_empty());
    }
    assert_eq!(s.next(500), None);
    assert_eq!(s.wake_at(500), Some(1010));
    assert_eq!(start_all(&mut s, 1010), [("deliver", 0)], "one probe");
    s.done(1011, &"deliver", &0, Reached::Yes);
    assert_eq!(start_all(&mut s, 1011), [("deliver", 1), ("deliver", 2), ("deliver", 3)]);
}

#[test]
fn an_absent_partner_gets_its_work_back_and_one_try_each_moment() {
    let mut s = schedule();
    for n in 0..5 {
        s.add(0, &"deliver", Kind::Partner, n).expect("patience");
    }
    let mut now = 0;
    let back = loop {
        let (to, job) = s.next(now).expect("a try each moment");
        let (back, until) = s.again(now, &to, job, true);
        if !back.is_empty() {
            break back;
        }
        assert_eq!(s.share(&"deliver"), Share { jobs: 5, bytes: 500 });
        now = until;
    };
    assert_eq!((now, back.len(), s.share(&"deliver")), (10_000, 5, Share::default()));
    assert_eq!(s.add(10_500, &"deliver", Kind::Partner, 7), Err((7, 11_000)));
    s.add(11_000, &"deliver", Kind::Partner, 8).expect("one try");
    let (to, job) = s.next(11_000).expect("one try");
    assert_eq!(s.again(11_001, &to, job, true).0, [8]);
    s.reopen(&"deliver");
    s.add(11_002, &"deliver", Kind::Partner, 9).expect("it greets");
    s.next(11_002).expect("it greets");
    s.done(11_003, &"deliver", &9, Reached::Yes);
    for n in 0..5 {
        s.add(11_004, &"deliver", Kind::Partner, n).expect("it is there");
    }
    assert_eq!(start_all(&mut s, 11_004).len(), 3);
    s.again(11_005, &"deliver", 0, true);
    assert!(s.add(11_006, &"deliver", Kind::Partner, 10).is_ok(), "patience begins anew");
}

#[test]
fn work_that_brings_its_partner_down_lets_the_others_go_first() {
    let mut s = schedule();
    for n in 0..2 {
        s.add(0, &"deliver", Kind::Partner, n).expect("always");
    }
    s.next(0).expect("the first");
    s.again(0, &"deliver", 0, false);
    assert_eq!(s.next(1000), Some(("deliver", 1)));
}

#[test]
fn waiting_work_can_be_taken_out() {
    let mut s = schedule();
    for n in 0..6 {
        s.add(0, &"a", SMTP, n).expect("alive");
    }
    assert_eq!(start_all(&mut s, 0).len(), 2);
    assert_eq!(s.take_waiting(|n| n % 2 == 0), [2, 4]);
    assert_eq!((s.len(), s.share(&"a").jobs), (4, 4));
    s.done(0, &"a", &0, Reached::Untried);
    assert_eq!(start_all(&mut s, 0), [("a", 3)], "the window is as it was");
}

#[test]
fn all_hosts_together_have_a_ceiling_that_the_partner_is_not_under() {
    let mut s = schedule();
    for to in ["a", "b", "c", "d"] {
        s.add(0, &to, SMTP, 1).expect("alive");
        s.add(0, &to, SMTP, 2).expect("alive");
    }
    s.add(0, &"deliver", Kind::Partner, 9).expect("always");
    let started = start_all(&mut s, 0);
    assert_eq!(started.len(), 6);
    assert!(started.contains(&("deliver", 9)));
    s.done(0, &"a", &0, Reached::Yes);
    assert_eq!(start_all(&mut s, 0).len(), 1);
}

#[test]
fn what_may_not_start_keeps_its_place_and_holds_up_nobody() {
    let mut s = schedule();
    s.add(0, &"a", SMTP, 1).expect("alive");
    s.add(0, &"deliver", Kind::Partner, 9).expect("always");
    s.add(0, &"dovecot", Kind::Partner, 7).expect("always");
    s.set_recognises(&"dovecot", false);
    s.set_careful(true);
    assert_eq!(start_all(&mut s, 0), [("deliver", 9)]);
    s.set_careful(false);
    assert_eq!(start_all(&mut s, 0), [("dovecot", 7), ("a", 1)]);
}

#[test]
fn what_is_idle_is_forgotten() {
    let mut s = schedule();
    s.add(0, &"a", SMTP, 1).expect("alive");
    s.next(0);
    s.done(0, &"a", &0, Reached::Yes);
    s.tidy(1);
    assert!(s.is_empty() && s.destinations.is_empty());
}

#[test]
fn a_transport_has_a_pace_over_all_of_its_destinations() {
    let paced = Kind::Remote(Pace { lane: 3, lane_delay_ms: 1000, ..PACE });
    let two = Kind::Remote(Pace { lane: 4, lane_window: 2, ..PACE });
    let mut s = schedule();
    for to in ["a", "b"] {
        s.add(0, &to, paced, 1).expect("alive");
    }
    for to in ["c", "d", "e"] {
        s.add(0, &to, two, 2).expect("alive");
    }
    assert_eq!(start_all(&mut s, 0), [("a", 1), ("c", 2), ("d", 2)], "one at a time, and two at a time");
    s.done(100, &"a", &1, Reached::Yes);
    assert_eq!(start_all(&mut s, 100), []);
    assert_eq!(s.wake_at(100), Some(1100));
    assert_eq!(start_all(&mut s, 1100), [("b", 1)]);
    s.done(1200, &"c", &2, Reached::No);
    assert_eq!(start_all(&mut s, 1200), [("e", 2)]);
}
