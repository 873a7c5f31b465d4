use super::*;

#[test]
fn every_profile_of_the_library_is_one_and_says_where_it_is_from() {
    for (name, _) in library() {
        let hardware = load(name).expect("readable");
        assert!(hardware.source.len() > 20, "{name}");
        assert_eq!(hardware.decode.len(), Format::all().count(), "{name}");
        assert!(hardware.battery_watt_hours.is_some() == (name != "laptop"));
    }
}

#[test]
fn a_format_without_a_rate_has_that_of_the_closest_bits() {
    let hardware = load("galaxy-s23").expect("in the library");
    assert_eq!(hardware.decode[&Format::Q4_K], Speed::new(20_000_000_000));
    assert_eq!(hardware.decode[&Format::Q5_0], Speed::new(20_000_000_000));
    assert_eq!(hardware.decode[&Format::Q8_0], Speed::new(23_500_000_000));
    assert_eq!(hardware.decode[&Format::F16], Speed::new(23_500_000_000));
}

#[test]
fn what_a_device_measured_of_itself_is_a_profile() {
    let json = r#"{"measured_at_unix_ms":1,"with":{"processor":"P","threads":2,"isa":"avx2",
        "version":"0.1.0"},"decode_bytes_per_s":{"Q4_1":9000000000},"kv_read_bytes_per_s":5,
        "prefill_multiply_adds_per_s":7,"stage_overhead_ns":20500,"memory_budget_bytes":1000,
        "power":"mains","battery_percent":null,"charging":null,"thermal":"nominal"}"#;
    let hardware = measured::parse("mine.json", json).expect("a profile");
    assert_eq!(hardware.decode[&Format::Q4_1], Speed::new(9_000_000_000));
    assert_eq!(hardware.stage_overhead, Span(21));
    assert!(hardware.heat.is_none());
    let error = measured::parse("mine.json", "{}").expect_err("nothing in it");
    assert!(error.to_string().contains("potluck bench --profile"));
    assert!(
        load("pixel-99")
            .expect_err("none")
            .to_string()
            .contains("pixel-9,")
    );
    assert!(
        load("no/such.toml")
            .expect_err("none")
            .to_string()
            .contains("no/such.toml")
    );
}
