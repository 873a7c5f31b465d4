use super::*;
use crate::units::ByteCount;

#[test]
fn three_lines_are_a_scenario() {
    let scenario = Scenario::from_toml(
        "model = { name = \"smollm2:135m\" }\ndevice = [{ profile = \"galaxy-s23\", count = 3 }]\n",
    )
    .expect("a scenario");
    assert_eq!(scenario.device_count(), 3);
    assert_eq!(scenario.networks()[0].delay, Span(2_500));
    assert_eq!(scenario.requests()[0].tokens, 64);
}

#[test]
fn what_is_written_is_read_back() {
    let text = r#"
        seed = 7
        duration = "10 min"
        [model]
        name = "llama-3.2-3b"
        quantisation = "Q4_0"
        [[circle]]
        name = "train"
        copies = 4
        [[device]]
        profile = "pixel-9"
        circle = "train"
        memory = "2 GB"
        battery = 80.0
        [[network]]
        kind = "hotspot"
        hotspot = "pixel-9"
        rate = "54 Mbit/s"
        [[request]]
        every = "6 s"
        choice = "self:0..14,pixel-9:14..28"
        [[fault]]
        at = "30 s"
        kind = "power-off"
        who = "2/pixel-9"
        lasts = "5 s"
        [faults]
        freeze = "1 min"
        [mobility]
        stays_least = "2 min"
    "#;
    let scenario = Scenario::from_toml(text).expect("a scenario");
    assert_eq!(scenario.devices[0].memory, Some(ByteCount(2_000_000_000)));
    assert_eq!(scenario.device_count(), 4);
    let written = scenario.to_toml().expect("can be written");
    assert_eq!(Scenario::from_toml(&written), Ok(scenario));
}

#[test]
fn errors_name_line_and_field() {
    let words = |text: &str| Scenario::from_toml(text).expect_err("wrong").to_string();
    let unknown = words("[[device]]\nprofile = \"pixel-9\"\ncolour = \"red\"\n");
    assert!(
        unknown.contains("line 3") && unknown.contains("colour"),
        "{unknown}"
    );
    let unit = words("duration = \"10 parsecs\"\n");
    assert!(
        unit.contains("line 1") && unit.contains("parsecs"),
        "{unit}"
    );
    let device = "[[device]]\nprofile = \"pixel-9\"\n";
    let who = words(&format!(
        "{device}[[request]]\n[[request]]\ntokens = 3\nwho = \"bob\"\n"
    ));
    assert!(
        who.contains("line 6") && who.contains("request 2, who"),
        "{who}"
    );
    assert!(who.contains("\"bob\"") && who.contains("pixel-9"), "{who}");
    let network = words(&format!("{device}network = \"lan\"\n"));
    assert!(
        network.starts_with("line 3: device 1, network"),
        "{network}"
    );
    let model = words(&format!("{device}[model]\nname = \"gpt\"\n"));
    assert!(model.starts_with("line 4: model.name"), "{model}");
    assert!(words("seed = 1\n").contains("at least one device"));
}

#[test]
fn the_shape_of_a_known_model_is_that_of_its_files() {
    let shape = ModelSpec::default().shape().expect("known");
    // What the default model's file has: 96 MB are read a token.
    let layers: u64 = shape.layers.iter().map(|layer| layer.memory_bytes(0)).sum();
    assert_eq!(shape.layers.len(), 30);
    assert!((66_000_000..67_500_000).contains(&layers), "{layers}");
    assert_eq!(shape.embedding_bytes, 49_152 * 576 / 32 * 34);
    assert_eq!(shape.layers[0].kv_bytes_per_position, 2 * 2 * 3 * 64);
    let gemma = ModelSpec {
        name: "gemma3-270m".to_owned(),
        ..ModelSpec::default()
    };
    let windows = gemma.shape().expect("known");
    let whole: Vec<_> = windows
        .layers
        .iter()
        .filter(|l| l.window.is_none())
        .collect();
    assert_eq!(whole.len(), 3);
    assert_eq!(windows.layers[0].most_kv_positions, Some(1_088));
    assert_eq!(whole[0].most_kv_positions, None);
}
