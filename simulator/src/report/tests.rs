use expect_test::expect;

use super::*;
use crate::record::{
    DeviceRecord, Ending, Life, NetworkRecord, PlacementRecord, Record, RecoveryRecord, Sample,
    SessionRecord, StageRecord,
};

/// Two phones, one answer of five tokens with a failure in it, one that was refused.
pub(crate) fn record() -> Record {
    let stage = |device, first_layer, end_layer| StageRecord {
        device,
        first_layer,
        end_layer,
    };
    let session = SessionRecord {
        id: "00".to_owned(),
        requester: 0,
        model: "smollm2:135m".to_owned(),
        asked_at_us: 2_000_000,
        prompt_rows: 8,
        wanted_tokens: 5,
        placements: vec![PlacementRecord {
            at_us: 2_000_000,
            ready_at_us: Some(2_010_000),
            stages: vec![stage(0, 0, 6), stage(1, 6, 30)],
            predicted_step_us: 98_000,
            predicted_step_joules: None,
        }],
        tokens_at_us: vec![500_000, 600_000, 700_000, 1_500_000, 1_600_000],
        recoveries: vec![RecoveryRecord {
            noticed_at_us: 3_000_000,
            device: 1,
            cause: "its connection broke".to_owned(),
            left: false,
            resumed_at_us: Some(3_500_000),
            stall_us: Some(800_000),
        }],
        waits: Vec::new(),
        ending: Ending::Complete,
        ended_at_us: Some(3_600_000),
        data_bytes: 40_000,
    };
    let refused = SessionRecord {
        requester: 1,
        tokens_at_us: Vec::new(),
        placements: Vec::new(),
        recoveries: Vec::new(),
        ending: Ending::Refused("too many".to_owned()),
        ..session.clone()
    };
    Record {
        name: "two <phones>".to_owned(),
        seed: 7,
        duration_us: 10_000_000,
        trace_hash: "0123456789abcdef".to_owned(),
        events: 1_234,
        violations: Vec::new(),
        sessions: vec![session, refused],
        devices: vec![device("anna", 31.0, 0.8), device("ben & co", 44.0, 0.5)],
        networks: vec![NetworkRecord {
            name: "wifi".to_owned(),
            airtime_us: 310_000,
            data_airtime_us: 155_000,
            bytes: 1_200_000,
            stalls: 2,
            series: vec![0, 300_000, 10_000],
        }],
        faults: Vec::new(),
        unasked: 0,
        trace: Vec::new(),
    }
}

fn device(name: &str, celsius: f64, battery: f64) -> DeviceRecord {
    let sample = |at_us, layers, celsius, life| Sample {
        at_us,
        life,
        chip_celsius: celsius,
        case_celsius: 25.0,
        speed: 1.0,
        battery: Some(battery - at_us as f64 / 1e9),
        layers,
        memory_bytes: 0,
        joules: at_us as f64 / 1e6,
    };
    DeviceRecord {
        name: name.to_owned(),
        profile: "galaxy-s23".to_owned(),
        circle: "home".to_owned(),
        network: 0,
        memory_bytes: 3_000_000_000,
        series: vec![
            sample(0, 0, 25.0, Life::Running),
            sample(5_000_000, 24, celsius, Life::Running),
            sample(10_000_000, 0, 30.0, Life::Dead),
        ],
        joules: 20.0,
        compute_joules: 4.0,
        radio_joules: 1.0,
        busy_us: 2_000_000,
        steps: 5,
        rows: 12,
        peak_memory_bytes: 60_000_000,
        sent_bytes: 600_000,
        received_bytes: 600_000,
        kept_bytes: 0,
        refused_pieces: 0,
    }
}

#[test]
fn a_run_as_text() {
    expect![[r#"
        two <phones>: 3.64 tokens a second; the first after 500 ms; 1 of 2 answers whole (50 % of the tokens); 2.00 J a token; 1 failure, 800 ms the longest stall; no violation.

        who asked  over                        times  predicted a token
        anna       self 0..6 → ben & co 6..30      1            98.0 ms

        who asked  asked at  tokens  tokens/s  first token  a token p50     p90     p99  recoveries  ended
        anna         2.00 s     5/5      3.64       500 ms       100 ms  800 ms  800 ms           1  whole
        ben & co     2.00 s     0/5         –            –            –       –       –           0  refused: too many

        device    profile     offers  held at most  layers at most  computed        chip        battery  energy      sent  received
        anna      galaxy-s23  3.0 GB       60.0 MB              24      20 %  25 → 31 °C  80.0 → 79.0 %  20.0 J  600.0 kB  600.0 kB
        ben & co  galaxy-s23  3.0 GB       60.0 MB              24      20 %  25 → 44 °C  50.0 → 49.0 %  20.0 J  600.0 kB  600.0 kB

        network  air occupied  by sessions' data  carried  stalls
        wifi            3.1 %              1.6 %   1.2 MB       2

        seed 7, trace 0123456789abcdef, 10.0 s of virtual time, 1234 events
    "#]].assert_eq(&text(&record(), Detail::Brief));
}

#[test]
fn many_sessions_are_summed_by_who_asked() {
    let mut many = record();
    let session = many.sessions[0].clone();
    many.sessions = vec![session; 30];
    let brief = text(&many, Detail::Brief);
    assert!(brief.contains("answers   tokens"), "{brief}");
    assert!(brief.contains("150/150"), "{brief}");
    let all = text(&many, Detail::All);
    assert_eq!(all.matches("5/5").count(), 30, "{all}");
}

#[test]
fn figures_of_a_run() {
    let summary = Summary::of(&record());
    assert_eq!(
        (summary.sessions, summary.complete, summary.unanswered),
        (2, 1, 1)
    );
    assert_eq!((summary.tokens, summary.wanted_tokens), (5, 10));
    // Four tokens in 1.1 s.
    assert!((summary.tokens_per_s.expect("tokens") - 4.0 / 1.1).abs() < 1e-9);
    assert_eq!(summary.time_to_first_token_ms.expect("one").p50, 500.0);
    assert_eq!(summary.time_per_output_token_ms.expect("four").p99, 800.0);
    assert_eq!(summary.joules_per_token, Some(2.0));
    assert_eq!((summary.failures, summary.moves), (1, 0));
    assert_eq!(summary.airtime, 0.031);
    let json = serde_json::to_string(&summary).expect("serialises");
    let read: Summary = serde_json::from_str(&json).expect("is read back");
    assert_eq!(read, summary);
}

#[test]
fn an_empty_run_has_a_report() {
    let mut empty = record();
    empty.sessions.clear();
    empty.devices.clear();
    empty.networks.clear();
    assert!(text(&empty, Detail::Brief).contains("no token of any answer"));
    page(&empty, &Page::default()).expect("a page");
}
