//! In virtual time, so that every time is exact.

use super::*;

const MS: Duration = Duration::from_millis(1);
const US: Duration = Duration::from_micros(1);

/// A frame of 1,250 bytes is on the air for 100 µs, each time.
const FRAME: usize = 1_250;

fn profile() -> Profile {
    Profile {
        queue_bytes: usize::MAX,
        ..Profile::default()
    }
}

fn air(stations: usize, profile: Profile) -> Air {
    Air::new(7, stations, profile)
}

/// A frame to a station, with a number to know it by.
fn frame(to: usize, number: u8) -> Vec<u8> {
    let mut frame = hardware_address(to).to_vec();
    frame.resize(FRAME, number);
    frame
}

fn frame_for_all() -> Vec<u8> {
    vec![0xff; FRAME]
}

/// Lets time pass until nothing is left; what arrived: when, where, and the frame's number.
fn all_arrivals(air: &mut Air) -> Vec<(Time, usize, u8)> {
    let mut arrivals = Vec::new();
    while let Some(now) = air.timeout() {
        air.advance(now);
        while let Some((station, frame)) = air.arrival(now) {
            arrivals.push((now, station, frame[FRAME - 1]));
        }
    }
    arrivals
}

#[test]
fn a_frame_is_on_the_air_up_and_down_and_then_delayed() {
    let mut air = air(2, profile());
    air.send(MS, 0, &frame(1, 1));
    assert_eq!(all_arrivals(&mut air), [(MS + 200 * US + 2_500 * US, 1, 1)]);
}

#[test]
fn all_stations_share_the_one_air() {
    let mut air = air(4, profile());
    for number in 0..50 {
        air.send(Time::ZERO, 0, &frame(1, number));
        air.send(Time::ZERO, 2, &frame(3, number));
    }
    let arrivals = all_arrivals(&mut air);
    // A hundred frames twice, 100 µs each, without a gap.
    let (last, ..) = arrivals.last().expect("they arrive");
    assert_eq!(*last, 200 * 100 * US + 2_500 * US);
    // In turn: at half of the time, neither pair is ahead by more than a frame or two.
    let half = arrivals.iter().filter(|(at, ..)| *at <= *last / 2 + MS);
    let stations: Vec<_> = half.map(|(_, station, _)| *station).collect();
    let one = stations.iter().filter(|station| **station == 1).count();
    let other = stations.len() - one;
    assert!(one.abs_diff(other) <= 2, "{arrivals:?}");
}

#[test]
fn a_late_wake_up_does_not_slow_the_air() {
    let mut air = air(2, profile());
    for number in 0..10 {
        air.send(Time::ZERO, 0, &frame(1, number));
    }
    // Nobody looked for a second; the frames went out back to back all the same.
    air.advance(1_000 * MS);
    let before = 20 * 100 * US + 2_500 * US;
    let mut arrived = 0;
    while air.arrival(before).is_some() {
        arrived += 1;
    }
    assert_eq!(arrived, 10);
}

#[test]
fn a_full_queue_drops_at_the_tail() {
    let queue_bytes = 3 * FRAME;
    let mut air = air(
        2,
        Profile {
            queue_bytes,
            ..profile()
        },
    );
    for number in 0..10 {
        air.send(Time::ZERO, 0, &frame(1, number));
    }
    let numbers: Vec<_> = all_arrivals(&mut air).iter().map(|a| a.2).collect();
    // One on the air, three behind it.
    assert_eq!(numbers, [0, 1, 2, 3]);
    assert_eq!(air.statistics.queue_full, 6);
}

#[test]
fn lost_frames_stall_those_behind_them_and_keep_the_order() {
    let lossy = Profile {
        jitter: 2 * MS,
        loss: 0.2,
        ..profile()
    };
    let mut air = air(2, lossy);
    for number in 0..100 {
        air.send(Time::ZERO, 0, &frame(1, number));
    }
    let arrivals = all_arrivals(&mut air);
    let numbers: Vec<_> = arrivals.iter().map(|a| a.2).collect();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    assert!(air.statistics.stalled > 5, "{:?}", air.statistics);
    for pair in arrivals.windows(2) {
        assert!(pair[1].0 - pair[0].0 <= lossy.stall.mul_f64(1.5) + lossy.jitter + 200 * US);
    }
}

#[test]
fn a_frame_for_all_goes_out_once_and_reaches_the_others() {
    let mut air = air(4, profile());
    air.send(Time::ZERO, 2, &frame_for_all());
    let at = 200 * US + 2_500 * US;
    assert_eq!(
        all_arrivals(&mut air),
        [(at, 0, 0xff), (at, 1, 0xff), (at, 3, 0xff)]
    );
}

#[test]
fn a_lost_frame_for_all_is_not_repeated() {
    let mut air = air(
        3,
        Profile {
            loss: 1.0,
            ..profile()
        },
    );
    air.send(Time::ZERO, 0, &frame_for_all());
    assert_eq!(all_arrivals(&mut air), []);
    assert_eq!(air.statistics.missed, 2);
}

#[test]
fn a_cut_takes_what_is_on_its_way_and_nothing_else() {
    let mut air = air(3, profile());
    air.send(Time::ZERO, 0, &frame(1, 1));
    air.send(Time::ZERO, 0, &frame(2, 2));
    air.advance(MS);
    air.cut(1, 0);
    air.send(MS, 0, &frame(1, 3));
    air.send(MS, 0, &frame_for_all());
    air.send(MS, 1, &frame(2, 4));
    let mut reached: Vec<_> = all_arrivals(&mut air).iter().map(|a| (a.1, a.2)).collect();
    reached.sort_unstable();
    assert_eq!(reached, [(2, 2), (2, 4), (2, 0xff)]);
    assert_eq!(air.statistics.cut, 3);

    air.heal(0, 1);
    air.send(10 * MS, 0, &frame(1, 5));
    assert_eq!(all_arrivals(&mut air).len(), 1);
}

#[test]
fn a_station_that_is_away_hears_nobody_and_is_not_heard() {
    let mut air = air(3, profile());
    air.cut(0, 1);
    air.leave(1);
    air.send(Time::ZERO, 0, &frame_for_all());
    air.send(Time::ZERO, 1, &frame(2, 1));
    air.send(Time::ZERO, 2, &frame(1, 2));
    let reached: Vec<_> = all_arrivals(&mut air).iter().map(|a| (a.1, a.2)).collect();
    assert_eq!(reached, [(2, 0xff)]);

    air.come_back(1);
    air.send(10 * MS, 1, &frame(2, 3));
    air.send(10 * MS, 1, &frame(0, 4));
    let reached: Vec<_> = all_arrivals(&mut air).iter().map(|a| (a.1, a.2)).collect();
    assert_eq!(reached, [(2, 3)], "the cut stays");
}

#[test]
fn frames_for_nobody_here_and_runts_vanish() {
    let mut air = air(2, profile());
    air.send(Time::ZERO, 0, &frame(2, 1));
    air.send(Time::ZERO, 0, &[0x02, 0, 0]);
    air.send(Time::ZERO, 0, &[]);
    assert_eq!(air.timeout(), None);
}

#[test]
fn a_seed_gives_the_same_arrivals() {
    let noisy = Profile {
        jitter: 2 * MS,
        loss: 0.1,
        ..profile()
    };
    let run = |seed| {
        let mut air = Air::new(seed, 2, noisy);
        for number in 0..50 {
            air.send(Time::ZERO, 0, &frame(1, number));
        }
        all_arrivals(&mut air)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
