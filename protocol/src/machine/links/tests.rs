//! Pings over ways of all kinds.

use super::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn pong(ping: &Ping, at: Duration, answering_us: u64) -> Pong {
    let received_at_us = 7_000_000_000 + microseconds(at);
    Pong {
        id: ping.id,
        ping_sent_at_us: ping.sent_at_us,
        received_at_us,
        sent_at_us: received_at_us + answering_us,
    }
}

/// Bytes a second of a way that was measured.
fn rate(pings: &Pings) -> u64 {
    let link = pings.link().expect("measured");
    link.bandwidth.value.units_per_second()
}

/// Sends all that is due until `end`, each answered after 4 ms, and a padded one at 2 MB/s.
fn run(pings: &mut Pings, end: Duration, may_pad: bool) -> Vec<usize> {
    let mut padded = Vec::new();
    while pings.poll_timeout() <= end {
        let now = pings.poll_timeout();
        if let Due::Send(ping) = pings.handle_timeout(now, may_pad) {
            let on_wire = Duration::from_nanos(500 * ping.padding_bytes as u64);
            // The answerer took 1 ms, which is no part of the way.
            let back = now + ms(4) + on_wire + ms(1);
            pings.heard(back);
            pings.answered(back, &pong(&ping, now, 1_000));
            padded.push(ping.padding_bytes);
        }
    }
    padded
}

#[test]
fn a_way_is_known_in_half_a_second() {
    let mut pings = Pings::new(ms(50), 8);
    assert_eq!(run(&mut pings, ms(349), true), [0, 0, 0]);
    assert_eq!(pings.link(), None, "no bandwidth yet");
    assert_eq!(run(&mut pings, ms(350), true), [TRIAL_BYTES]);
    assert_eq!(pings.link(), None, "too few bytes for a fast way");
    assert_eq!(run(&mut pings, ms(550), true), [MAX_OPAQUE_BYTES; 2]);
    let link = pings.link().expect("measured");
    assert_eq!(link.round_trip.value, ms(4));
    assert_eq!(link.bandwidth.value.units_per_second(), 2_000_000);
    assert_eq!(link.overhead.value, OVERHEAD);
    // Then every five seconds, and padded after two seconds and every other minute.
    let later = run(&mut pings, ms(124_000), true);
    assert_eq!(
        (later.len(), later.iter().filter(|p| **p > 0).count()),
        (28, 4)
    );
    assert!(!run(&mut pings, ms(200_000), false).iter().any(|p| *p > 0));
}

#[test]
fn a_slow_way_is_not_kept_busy_by_being_measured() {
    // As one of eight devices has it of 1 Mbit/s by way of an access point.
    const BYTES_PER_S: u64 = 10_000;
    let mut pings = Pings::new(ms(0), 0);
    let mut under_way: VecDeque<(Ping, Duration, Duration)> = VecDeque::new();
    let mut padded = 0;
    for now in (0..120_000).map(ms) {
        while let Some((ping, sent_at, _)) = under_way.pop_front_if(|(.., back)| *back <= now) {
            pings.answered(now, &pong(&ping, sent_at, 0));
        }
        if pings.poll_timeout() > now {
            continue;
        }
        if let Due::Send(ping) = pings.handle_timeout(now, true) {
            let bytes = ping.padding_bytes as u64;
            let mut before = under_way.iter();
            assert!(bytes == 0 || !before.any(|(other, ..)| other.padding_bytes > 0));
            padded += bytes;
            // Behind what was sent before.
            let begins = under_way.back().map_or(now, |(.., back)| *back);
            let back = begins + ms(4 + 1_000 * bytes / BYTES_PER_S);
            under_way.push_back((ping, now, back));
        }
    }
    let rate = rate(&pings);
    assert!(rate.abs_diff(BYTES_PER_S) < 100, "{rate}");
    assert!(padded <= 6 * TRIAL_BYTES as u64, "{padded}");
}

/// Sends until so many padded ones went; each takes so long there and back, by its padding and how
/// many padded ones went.
fn padded(pings: &mut Pings, most: usize, takes: impl Fn(usize, usize) -> Duration) -> Vec<usize> {
    let mut padded = Vec::new();
    while padded.len() < most {
        let now = pings.poll_timeout();
        if let Due::Send(ping) = pings.handle_timeout(now, true) {
            padded.extend((ping.padding_bytes > 0).then_some(ping.padding_bytes));
            let back = now + takes(ping.padding_bytes, padded.len());
            pings.answered(back, &pong(&ping, now, 0));
        }
    }
    padded
}

#[test]
fn a_way_that_others_keep_busy_is_not_taken_for_a_fast_one() {
    let mut pings = Pings::new(ms(0), 0);
    // All of them wait longer than they are on the air.
    let padded = padded(&mut pings, 8, |_, _| ms(1_500));
    assert_eq!(padded, [TRIAL_BYTES; 8]);
    assert_eq!(rate(&pings), BANDWIDTH_BOUNDS.0);
}

#[test]
fn a_fast_way_that_stalled_once_is_measured_again() {
    for stalled in 1..5 {
        let mut pings = Pings::new(ms(0), 0);
        padded(&mut pings, 8, |bytes, count| {
            let stalls = bytes > 0 && count == stalled;
            let on_wire = Duration::from_nanos(500 * bytes as u64);
            ms(if stalls { 804 } else { 4 }) + on_wire
        });
        assert_eq!(rate(&pings), 2_000_000, "{stalled}");
    }
}

#[test]
fn a_padded_ping_waits_for_the_one_before() {
    let mut pings = Pings::new(ms(0), 0);
    let mut padded = Vec::new();
    while pings.poll_timeout() <= ms(2_000) {
        let now = pings.poll_timeout();
        if let Due::Send(ping) = pings.handle_timeout(now, true)
            && ping.padding_bytes > 0
        {
            padded.push((now, ping));
        }
    }
    let (at, ping) = padded.pop().expect("the first comes");
    assert_eq!((at, padded.len()), (ms(300), 0));
    pings.answered(ms(2_000), &pong(&ping, at, 0));
    let next = pings.handle_timeout(ms(2_100), true);
    assert!(
        matches!(next, Due::Send(ping) if ping.padding_bytes > 0),
        "{next:?}"
    );
}

#[test]
fn who_says_nothing_is_silent_and_who_did_not_run_blames_nobody() {
    let silent_at = |pings: &mut Pings, mut now| {
        while pings.handle_timeout(now, true) != Due::Silent {
            now = pings.poll_timeout();
        }
        now
    };
    let mut pings = Pings::new(ms(0), 0);
    assert_eq!(silent_at(&mut pings, ms(0)), SILENT_AFTER);
    let mut pings = Pings::new(ms(0), 0);
    pings.handle_timeout(ms(0), true);
    // A small one and a padded one are due.
    for _ in 0..2 {
        let woken = pings.handle_timeout(ms(60_000), true);
        assert!(matches!(woken, Due::Send(_)), "{woken:?}");
    }
    // Data of the peer do as well as its answers.
    pings.heard(ms(60_010));
    let silent_at = silent_at(&mut pings, ms(60_020));
    assert_eq!(silent_at, ms(60_010) + SILENT_AFTER);
}

#[test]
fn what_answers_no_ping_measures_nothing() {
    let mut pings = Pings::new(ms(0), 0);
    let Due::Send(ping) = pings.handle_timeout(ms(0), true) else {
        panic!("the first is due at once");
    };
    let right = pong(&ping, ms(0), 1_000);
    for wrong in [
        Pong { id: 9, ..right },
        Pong {
            ping_sent_at_us: 1,
            ..right
        },
    ] {
        pings.answered(ms(4), &wrong);
    }
    assert!(pings.round_trips.is_empty() && pings.outstanding.len() == 1);
    // Nor does one whose sender claims to have taken longer than it did.
    pings.answered(ms(0), &right);
    assert!(pings.round_trips.is_empty() && pings.outstanding.is_empty());
}

#[test]
fn bandwidth_stays_within_what_can_be() {
    assert_eq!(bandwidth(65_536, Duration::ZERO), BANDWIDTH_BOUNDS.1);
    assert_eq!(bandwidth(65_536, ms(60_000)), BANDWIDTH_BOUNDS.0);
    assert_eq!(bandwidth(65_536, Duration::from_micros(65_536)), 1_000_000);
}

#[test]
fn a_way_that_was_quiet_is_measured_with_an_open_window() {
    let mut pings = Pings::new(ms(0), 0);
    let mut last_sent = None;
    while pings.poll_timeout() <= ms(300_000) {
        let now = pings.poll_timeout();
        if let Due::Send(ping) = pings.handle_timeout(now, true) {
            let on_wire = Duration::from_nanos(100 * ping.padding_bytes as u64);
            // Two rounds more than one until something large was sent.
            let open = last_sent.is_some_and(|at| now - at < ms(50));
            let rounds = if ping.padding_bytes <= IN_ONE_ROUND || open {
                1
            } else {
                3
            };
            let back = now + rounds * ms(10) + on_wire;
            if ping.padding_bytes > 0 {
                last_sent = Some(back);
            }
            pings.answered(back, &pong(&ping, now, 0));
        }
        let opened = pings.padded >= 3 && !pings.opens_window();
        let bandwidth = pings.link().map(|l| l.bandwidth.value.units_per_second());
        assert!(
            !opened || bandwidth.is_some_and(|b| b > 9_990_000),
            "{bandwidth:?}"
        );
    }
}

#[test]
fn two_nodes_do_not_measure_each_others_padded_pings() {
    let [a, b] = [1, 2].map(|byte| PeerId::from_public_key([byte; 32]));
    let first_padded = |from, to| {
        let mut pings = Pings::new(ms(0), way_number(from, to));
        loop {
            let now = pings.poll_timeout();
            match pings.handle_timeout(now, true) {
                Due::Send(ping) if ping.padding_bytes > 0 => return now,
                Due::Send(ping) => pings.answered(now + ms(1), &pong(&ping, now, 0)),
                due => panic!("{due:?}"),
            }
        }
    };
    assert_eq!(
        first_padded(a, b).abs_diff(first_padded(b, a)),
        OPENING_STEP / 2
    );
}
