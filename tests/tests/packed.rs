//! Packed weights with real processes: answers stay the same, whatever happens to the files.
#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use potluck_tests::circle::{Answer, Circle, Node, Program, wait_for};
use potluck_tests::{Device, Served, potluck_binary, run};
use serde_json::{Value, json};

const MODEL: &str = "smollm2:135m";
/// The parts of it that are packed: its layers and the head.
const PARTS: u64 = 31;
/// Always the most likely token; chosen by chance, always the same.
const HOW: [&[&str]; 2] = [&["--greedy"], &["--seed", "7"]];
/// Waits until all is packed, and hardly measures anything.
const PACK: [&str; 8] = [
    "bench",
    "--json",
    "--repetitions",
    "1",
    "--prefill",
    "1",
    "--decode",
    "1",
];

fn packed_folder(home: &Path) -> PathBuf {
    home.join("packed")
}

fn home(device: &Device) -> PathBuf {
    let models = device.models();
    models.parent().expect("a home").to_owned()
}

/// Names of the files of all packed models of a home.
fn packed_files(home: &Path) -> Vec<String> {
    let folders = fs::read_dir(packed_folder(home)).into_iter().flatten();
    let folders = folders.flatten().map(|folder| folder.path());
    let files = folders.flat_map(|folder| fs::read_dir(folder).into_iter().flatten());
    let names = files.flatten().map(|file| file.file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

fn unfinished(home: &Path) -> bool {
    let names = packed_files(home);
    names
        .iter()
        .any(|name| name.starts_with(".layer") || name.starts_with(".head"))
}

/// Tokens of an answer that is long enough for packing to end within.
fn tokens(device: &Device, how: &[&str], more: &[&str]) -> Value {
    let question = ["run", "--json", "-n", "40", "Tell me a story."];
    let answer = device.potluck(question.iter().chain(how).chain(more));
    answer.success().json()["token_ids"].clone()
}

/// Packs all, and says how that went.
fn pack(device: &Device, more: &[&str]) -> Value {
    let report = device.potluck(PACK.iter().chain(more)).success();
    report.json()["packed"].clone()
}

#[test]
fn answers_are_the_same_before_while_and_after_the_model_is_packed() {
    let device = Device::with_model(MODEL);
    let expected = HOW.map(|how| tokens(&device, how, &["--no-pack"]));
    assert!(
        !packed_folder(&home(&device)).exists(),
        "--no-pack writes nothing"
    );
    for _ in 0..3 {
        assert_eq!(HOW.map(|how| tokens(&device, how, &[])), expected);
    }
    let packed = pack(&device, &[]);
    assert_eq!(
        (&packed["parts"], &packed["ready"]),
        (&json!(PARTS), &json!(PARTS))
    );
    assert_eq!(HOW.map(|how| tokens(&device, how, &[])), expected);
    assert_eq!(pack(&device, &[])["made"], 0);
    assert_eq!(pack(&device, &["--no-pack"]), Value::Null);

    let inspected = device.potluck(["inspect", MODEL, "--json"]).success();
    let of_inspect = &inspected.json()["packed"];
    assert_eq!(of_inspect["layers"], 30);
    assert_eq!(of_inspect["head"], true);
    assert_eq!(of_inspect["bytes"], packed["bytes"]);
    let listed = device.potluck(["models", "--json"]).success().json();
    let mut rows = listed["models"].as_array().expect("rows").iter();
    let row = rows.find(|row| row["name"] == MODEL).expect("listed");
    assert_eq!(&row["packed"], of_inspect);
    let text = device.potluck(["inspect", MODEL]).success().stdout;
    assert!(text.contains("30 of 30 layers, and the head"), "{text}");
}

#[test]
fn a_damaged_file_is_made_again() {
    let device = Device::with_model(MODEL);
    let expected = tokens(&device, HOW[0], &["--no-pack"]);
    let _ = pack(&device, &[]);
    let folders = fs::read_dir(packed_folder(&home(&device))).expect("there");
    let folder = folders.flatten().next().expect("a model").path();
    let files = fs::read_dir(folder).expect("there").flatten();
    let mut layers = files.map(|file| file.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("layer-")
    });
    let layer = layers.next().expect("a layer");
    let whole = fs::read(&layer).expect("readable");
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 16;
    fs::write(&layer, damaged).expect("written");
    assert_eq!(tokens(&device, HOW[0], &[]), expected);
    let packed = pack(&device, &[]);
    assert_eq!(packed["ready"], PARTS);
    assert!(fs::read(&layer).expect("readable") == whole);
}

#[test]
fn no_room_does_no_harm_and_is_said() {
    let device = Device::with_model(MODEL);
    let expected = tokens(&device, HOW[1], &["--no-pack"]);
    let question = ["run", "-n", "40", "--seed", "7", "Tell me a story."];
    let text = device.potluck(question.iter().chain(&["--no-pack"]));
    let text = text.success().stdout;
    let little = device.potluck(question.iter().chain(&["--packed", "1K"]));
    let little = little.success();
    assert_eq!(little.stdout, text);
    let said = little.stderr.matches("no room for packed weights").count();
    assert_eq!(said, 1, "{}", little.stderr);
    for command in [&["models"][..], &["inspect", MODEL]] {
        let shown = device.potluck(command).success().stdout;
        assert!(shown.contains("no room for packed weights"), "{shown}");
    }
    assert_eq!(tokens(&device, HOW[1], &["--packed", "1K"]), expected);

    // A disk on which no file can be as long as a layer.
    let mut full = Command::new("sh");
    let limit = "trap '' XFSZ; ulimit -f 200; exec \"$0\" \"$@\"";
    full.args(["-c", limit]).arg(potluck_binary());
    for (name, value) in device.command(["run"]).get_envs() {
        match value {
            Some(value) => full.env(name, value),
            None => full.env_remove(name),
        };
    }
    full.args(question)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let full = run(full, b"").success();
    assert_eq!(full.stdout, text);
    assert!(
        full.stderr
            .contains("no room on the disk for packed weights"),
        "{}",
        full.stderr
    );
    assert!(!unfinished(&home(&device)));
    assert_eq!(pack(&device, &[])["ready"], PARTS);
    let shown = device.potluck(["inspect", MODEL]).success().stdout;
    assert!(!shown.contains("no room"), "{shown}");
}

#[test]
fn a_program_that_is_killed_while_it_packs_leaves_nothing_wrong() {
    let device = Device::with_model(MODEL);
    let expected = tokens(&device, HOW[1], &["--no-pack"]);
    let folder = home(&device);
    let mut killed = 0;
    for round in 1..=6 {
        // Until so many more files are there.
        let wanted = packed_files(&folder).len() + round;
        let mut program = Program::start("bench", device.command(PACK));
        wait_for("it packs", || {
            let files = packed_files(&folder).len();
            (files >= wanted || !program.runs()).then_some(())
        });
        killed += usize::from(program.runs());
        program.kill();
    }
    assert!(killed > 0);
    assert_eq!(tokens(&device, HOW[1], &[]), expected);
    assert_eq!(pack(&device, &[])["ready"], PARTS);
    assert!(!unfinished(&folder));
    assert_eq!(tokens(&device, HOW[1], &[]), expected);
}

#[test]
fn packed_weights_are_removed_with_their_model() {
    let device = Device::new();
    for (name, seed) in [("one.gguf", "1"), ("two.gguf", "2")] {
        let _ = device.potluck(["synth", name, "--seed", seed]).success();
        assert!(pack(&device, &["--model", name])["ready"].as_u64() > Some(0));
    }
    let models = || {
        fs::read_dir(packed_folder(&home(&device)))
            .expect("there")
            .count()
    };
    assert_eq!(models(), 2);
    fs::remove_file(device.folder().join("one.gguf")).expect("removed");
    let _ = pack(&device, &["--model", "two.gguf"]);
    assert_eq!(models(), 1);
}

#[test]
fn a_server_answers_the_same_and_counts_what_is_packed() {
    let device = Device::with_model(MODEL);
    let ask = |served: &Served| {
        let request = json!({"prompt": "Once", "max_tokens": 40, "seed": 7});
        let answer = served.post("/v1/completions", &request).json();
        answer["choices"][0]["text"].clone()
    };
    let unpacked = Served::start(device, &["--no-pack"]);
    let expected = ask(&unpacked);
    unpacked.await_number("potluck_packed_bytes", |bytes| bytes == 0);
    unpacked.signal("TERM");
    let (_, device) = unpacked.end_and_keep();
    assert!(!packed_folder(&home(&device)).exists());
    let served = Served::start(device, &[]);
    assert_eq!(ask(&served), expected);
    served.await_number("potluck_packed_bytes", |bytes| bytes > 90_000_000);
    assert_eq!(ask(&served), expected);
}

#[test]
fn helpers_pack_the_layers_they_compute() {
    let device = Device::with_model(MODEL);
    let path = device.model(MODEL);
    let model = path.to_str().expect("text");
    let expected = HOW.map(|how| tokens(&device, how, &["--no-pack"]));
    let phone = Node::new("phone").with_model(&path).with(&["--no-pack"]);
    let others = ["laptop", "kitchen"].map(|name| Node::new(name).with_model(&path));
    let circle = Circle::start(others.into_iter().chain([phone]).collect());
    let ask = |how: &[&str]| -> Answer {
        let placement = "kitchen:0..15,phone:15..30";
        let question = ["--placement", placement, "--model", model, "-n", "40"];
        let all = [&question[..], &["Tell me a story."], how].concat();
        circle.node("laptop").answer(&all)
    };
    let ask = |how| Value::from(ask(how).tokens);
    assert_eq!(HOW.map(ask), expected);
    // Stages of a finished session are freed, and packed further in the next one.
    let layers = |name: &str| {
        let files = packed_files(&circle.node(name).home());
        files
            .iter()
            .filter(|name| name.starts_with("layer-"))
            .count()
    };
    wait_for("the helper packs its layers", || {
        assert_eq!(ask(HOW[0]), expected[0]);
        (layers("kitchen") == 15).then_some(())
    });
    assert_eq!(HOW.map(ask), expected);
    let of_laptop = packed_files(&circle.node("laptop").home());
    assert!(of_laptop.iter().any(|name| name.starts_with("head.")));
    assert_eq!(layers("laptop"), 0);
    assert!(!packed_folder(&circle.node("phone").home()).exists());
}

#[test]
fn a_text_is_scored_from_packed_weights_with_the_same_numbers() {
    let device = Device::with_model(MODEL);
    let text = "The capital of France is Paris. ".repeat(40);
    let score = |more: &[&str]| {
        let arguments = ["score", "--json", &text];
        device
            .potluck(arguments.iter().chain(more))
            .success()
            .json()
    };
    let plain = score(&["--no-pack"]);
    assert!(packed_files(&home(&device)).is_empty());
    assert_eq!(score(&[]), plain);
    assert!(!packed_files(&home(&device)).is_empty());
    let _ = pack(&device, &[]);
    assert_eq!(score(&[]), plain);
}
