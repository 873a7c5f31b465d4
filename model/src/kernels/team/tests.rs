use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU32;

use super::plan::{PART_BYTES, UNIT_BYTES};
use super::share::MOST_UNITS;
use super::*;

/// Bytes of an item of which each is a unit.
const LARGE: usize = UNIT_BYTES;

/// For how many microseconds helpers sleep after they computed a part apart, before they put it, now and
/// then.
pub(in crate::kernels) static BEHIND: AtomicU32 = AtomicU32::new(0);

pub(in crate::kernels) fn fall_behind() {
    static PARTS: AtomicU32 = AtomicU32::new(0);
    let behind = BEHIND.load(Ordering::Relaxed);
    if behind > 0 && PARTS.fetch_add(1, Ordering::Relaxed).is_multiple_of(5) {
        thread::sleep(Duration::from_micros(behind.into()));
    }
}

fn team(threads: usize) -> Team {
    Team::equal(NonZeroUsize::new(threads).expect("not zero"))
}

/// A small deterministic generator (SplitMix64, Steele et al. 2014).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Runs a loop and checks that each item was visited once, with what the loop before it wrote.
fn check(team: &Team, state: &mut [u32], item_bytes: usize, pause: &(dyn Fn(usize) + Sync)) {
    let items = state.len();
    let before = state.first().copied().unwrap_or(0);
    let visits: Vec<_> = (0..items).map(|_| AtomicU32::new(0)).collect();
    let shared = SharedSlice::new(state);
    team.run(items, item_bytes, &|range| {
        pause(range.start);
        for i in range {
            visits[i].fetch_add(1, Ordering::Relaxed);
            // SAFETY: the loop gives each item to one thread.
            let own = unsafe { shared.part(i..i + 1) };
            assert_eq!(own[0], before, "what another thread wrote before");
            own[0] += 1;
        }
    });
    assert!(visits.iter().all(|v| v.load(Ordering::Relaxed) == 1));
    assert!(state.iter().all(|&s| s == before + 1));
}

#[test]
fn every_item_is_visited_once() {
    for threads in 1..6 {
        let team = team(threads);
        for items in [0, 1, 2, 7, 100, 1001] {
            for item_bytes in [0, 1, 100, LARGE, PART_BYTES, 10 * PART_BYTES] {
                check(&team, &mut vec![0; items], item_bytes, &|_| ());
            }
        }
    }
}

#[test]
fn more_items_than_a_word_counts_are_units_of_several() {
    let team = team(2);
    let items = 3 * MOST_UNITS + 1;
    let sum = AtomicUsize::new(0);
    team.run(items, LARGE, &|range| {
        sum.fetch_add(range.len(), Ordering::Relaxed);
    });
    assert_eq!(sum.load(Ordering::Relaxed), items);
}

#[test]
fn parts_are_bounded_by_what_they_read() {
    let team = team(2);
    for (item_bytes, most) in [(PART_BYTES / 8, 8), (PART_BYTES, 1), (3 * PART_BYTES, 1)] {
        team.run(1000, item_bytes, &|range| assert!(range.len() <= most));
    }
    // Short loops are not divided.
    team.run(1000, 1, &|range| assert_eq!(range, 0..1000));
}

#[test]
fn many_short_loops_with_pauses_lose_nothing() {
    let team = team(3);
    let mut state = vec![0; 8];
    for round in 0..5000 {
        check(&team, &mut state, LARGE, &|_| ());
        if round % 1000 == 0 {
            thread::sleep(Duration::from_millis(2));
        }
    }
    assert_eq!(state, [5000; 8]);
}

/// Threads that sleep in the middle of parts, and a caller that sleeps between loops, are what lost
/// cores and parked helpers look like.
#[test]
fn threads_that_fall_behind_lose_nothing() {
    let team = team(4);
    let mut seed = 17;
    for items in [3, 40] {
        let mut state = vec![0; items];
        for round in 0..400 {
            let (slow, micros) = (random(&mut seed) as usize % items, random(&mut seed) % 700);
            check(&team, &mut state, LARGE, &|first| {
                if first == slow && round % 3 == 0 {
                    thread::sleep(Duration::from_micros(micros));
                }
            });
            if round % 7 == 0 {
                thread::sleep(Duration::from_micros(random(&mut seed) % 400));
            }
        }
    }
}

#[test]
fn a_panic_in_the_body_reaches_the_caller_and_the_team_survives() {
    let team = team(3);
    let mut seed = 5;
    for round in 0..300 {
        let bad = random(&mut seed) as usize % 64;
        let result = catch_unwind(AssertUnwindSafe(|| {
            team.run(64, LARGE, &|range| {
                // In every third round all threads that find a part panic.
                let on_purpose = range.contains(&bad) || round % 3 == 0;
                assert!(!on_purpose, "on purpose");
            });
        }));
        assert!(result.is_err());
        check(&team, &mut [0; 10], LARGE, &|_| ());
    }
}

#[test]
fn callers_take_turns() {
    let team = team(2);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut state = vec![0; 30];
                for _ in 0..300 {
                    check(&team, &mut state, LARGE, &|_| ());
                }
            });
        }
    });
}

#[test]
fn a_team_ends_whether_its_threads_sleep_or_look_for_work() {
    for pause in [Duration::ZERO, 20 * AWAKE] {
        for _ in 0..20 {
            let team = team(3);
            check(&team, &mut [0; 9], LARGE, &|_| ());
            thread::sleep(pause);
        }
    }
}

#[test]
fn helpers_are_told_where_their_own_parts_begin() {
    let team = team(4);
    let asked = Mutex::new(Vec::new());
    let weights = [0; 64];
    let expect = |items| {
        team.expect(items, LARGE, |item| {
            let mut asked = asked.lock().expect("no panic");
            asked.push(item);
            &weights
        });
        std::mem::take(&mut *asked.lock().expect("no panic"))
    };
    assert_eq!(expect(100), [25, 50, 75]);
    assert_eq!(expect(1), [0; 0]);
}
