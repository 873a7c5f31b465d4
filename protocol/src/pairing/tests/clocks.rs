//! Devices whose clocks are wrong pair, and their owners are told so.

use super::*;

/// Pairs two devices of which the second's clock is ahead of the first's by so many seconds; what their
/// owners were shown of the clocks.
fn shown(ahead_s: i64) -> [Option<ClockSkew>; 2] {
    let (mut a, mut b) = (Device::new(1, "kitchen"), Device::new(2, "tablet"));
    b.unix_s = Some(START_UNIX_S.saturating_add_signed(ahead_s));
    let [at_a, at_b] = pair(&mut a, &mut b, 1000);
    assert_eq!(at_a, [paired(&b), over(Refusal::Used)], "{ahead_s}");
    assert_eq!(at_b, [paired(&a)], "{ahead_s}");
    assert_in_one_circle(&[&a, &b]);
    [a.asked[0].clock, b.asked[0].clock]
}

#[test]
fn a_clock_that_is_far_ahead_or_behind_is_named_to_both_owners_and_they_pair() {
    for ahead_s in [61, 4_200, 86_400 * 365, -61, -4_200, -86_400 * 365 * 50] {
        let other = |ahead_s| Some(ClockSkew { ahead_s });
        // Each is told of the other's clock, so both name the same one.
        assert_eq!(shown(ahead_s), [other(ahead_s), other(-ahead_s)]);
    }
}

#[test]
fn clocks_that_differ_little_are_not_spoken_of() {
    for ahead_s in [0, 1, 60, -1, -60] {
        assert_eq!(shown(ahead_s), [None, None], "{ahead_s}");
    }
}

#[test]
fn clocks_that_show_the_end_of_time_or_its_beginning_do_no_harm() {
    for unix_s in [0, u64::MAX] {
        let (mut a, mut b) = (Device::new(1, "kitchen"), Device::new(2, "tablet"));
        b.unix_s = Some(unix_s);
        let [_, at_b] = pair(&mut a, &mut b, 1000);
        assert_eq!(at_b, [paired(&a)]);
        assert!(a.asked[0].clock.is_some() && b.asked[0].clock.is_some());
    }
}

#[test]
fn a_device_that_says_nothing_of_its_clock_pairs() {
    for silent in [0, 1] {
        let mut devices = [Device::new(1, "kitchen"), Device::new(2, "tablet")];
        devices[silent].unix_s = None;
        let [a, b] = &mut devices;
        pair(a, b, 1000);
        assert_in_one_circle(&[a, b]);
        assert_eq!([a.asked[0].clock, b.asked[0].clock], [None, None]);
    }
}

#[test]
fn a_joiner_that_waits_for_the_inviter_takes_no_delay_for_a_wrong_clock() {
    let (mut a, mut b) = (Device::new(1, "kitchen"), Device::new(2, "tablet"));
    let mut invites = a.invite();
    let mut joins = b.join(&invites.invitation().clone(), 2);
    // The stream opens much later than the joiner began, by both clocks.
    for device in [&mut a, &mut b] {
        device.unix_s = device.unix_s.map(|unix_s| unix_s + 100);
    }
    let begun = invites.begin(Duration::ZERO, b.peer(), [1; 32]);
    begun.expect("open");
    run((&mut invites, &mut a), (&mut joins, &mut b), 1000);
    assert_eq!(b.asked[0].clock, None);
}
