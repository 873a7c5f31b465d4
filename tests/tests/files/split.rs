//! Models that are split into several files.

use std::fs;

use potluck_tests::Device;

const PARTS: [&str; 3] = [
    "tiny-00001-of-00003.gguf",
    "tiny-00002-of-00003.gguf",
    "tiny-00003-of-00003.gguf",
];

/// A device with a model in one file, and the same in three.
fn device() -> Device {
    let device = Device::new();
    let _ = device.potluck(["synth", "tiny.gguf"]).success();
    let _ = device
        .potluck(["synth", "tiny.gguf", "--split", "3"])
        .success();
    device
}

#[test]
fn any_part_answers_as_the_single_file() {
    let device = device();
    let ask = |model: &str| {
        let command = [
            "run", "--json", "-n", "12", "--seed", "3", "Hello", "-m", model,
        ];
        device.potluck(command).success().json()["token_ids"].clone()
    };
    let score = |model: &str| {
        let command = ["score", "--json", "Some words to score", "-m", model];
        device.potluck(command).success().stdout
    };
    let (answer, scored) = (ask("tiny.gguf"), score("tiny.gguf"));
    for part in PARTS {
        assert_eq!(ask(part), answer, "{part}");
        assert_eq!(score(part).replace(part, "tiny.gguf"), scored, "{part}");
    }
}

#[test]
fn inspect_and_plan_show_the_whole() {
    let device = device();
    let inspect = |model: &str| {
        let command = ["inspect", "--json", "--tensors", model];
        device.potluck(command).success().json()
    };
    let (whole, split) = (inspect("tiny.gguf"), inspect(PARTS[1]));
    for key in ["shape", "memory", "parameters", "tensors", "types", "runs"] {
        assert_eq!(split[key], whole[key], "{key}");
    }
    let files = split["files"].as_array().expect("a list");
    assert_eq!(files.len(), 3);
    assert!(
        files[2]["file"]
            .as_str()
            .expect("a path")
            .ends_with(PARTS[2])
    );
    assert_eq!(whole.get("files"), None);
    let plan = |model: &str| {
        let command = [
            "plan",
            "--json",
            "--no-mdns",
            "--listen",
            "/ip4/127.0.0.1/tcp/0",
            model,
        ];
        let mut plan = device.potluck(command).success().json();
        let stages = plan["best"]["stages"].as_array_mut().expect("a list");
        let first = stages[0]["first_layer"].take();
        (first, stages[0]["end_layer"].take())
    };
    assert_eq!(plan(PARTS[2]), plan("tiny.gguf"));
    let _ = device
        .potluck([
            "bench",
            "-m",
            PARTS[0],
            "--decode",
            "2",
            "--prefill",
            "4",
            "--repetitions",
            "1",
        ])
        .success();
}

#[test]
fn a_missing_or_foreign_part_is_named() {
    let device = device();
    let second = device.folder().join(PARTS[1]);
    let bytes = fs::read(&second).expect("written");
    fs::remove_file(&second).expect("removed");
    for command in [
        &["inspect", PARTS[0]][..],
        &["run", "-m", PARTS[2], "Hi"],
        &["bench", "-m", PARTS[0]],
    ] {
        device.potluck(command).failure(
            1,
            &[
                "split into 3 files",
                PARTS[1],
                "fetch all of them into one folder",
            ],
        );
    }
    fs::copy(device.folder().join(PARTS[2]), &second).expect("copied");
    device
        .potluck(["inspect", PARTS[0]])
        .failure(1, &[PARTS[1], "should be part 2 of 3", "part 3 of 3"]);
    fs::write(&second, &bytes[..bytes.len() / 2]).expect("written");
    device
        .potluck(["run", "-m", PARTS[0], "Hi"])
        .failure(1, &[PARTS[1], "cut short"]);
}

/// The files of a hub's cache are links to blobs that are named otherwise.
#[test]
#[cfg(unix)]
fn parts_are_found_by_the_names_of_links() {
    let device = device();
    let blobs = device.folder().join("blobs");
    fs::create_dir_all(&blobs).expect("created");
    for (number, part) in PARTS.iter().enumerate() {
        let (path, blob) = (device.folder().join(part), blobs.join(number.to_string()));
        fs::rename(&path, &blob).expect("moved");
        std::os::unix::fs::symlink(&blob, &path).expect("linked");
    }
    let plan = [
        "plan",
        "--no-mdns",
        "--listen",
        "/ip4/127.0.0.1/tcp/0",
        PARTS[1],
    ];
    let _ = device.potluck(plan).success();
    let _ = device
        .potluck(["run", "-m", PARTS[2], "-n", "2", "Hi"])
        .success();
}

#[cfg(unix)]
mod together {
    use std::path::{Path, PathBuf};

    use potluck::home::Home;
    use potluck::shard_store::ShardStore;
    use potluck_tests::Device;
    use potluck_tests::circle::{Circle, Node};

    fn kept(node: &Node<'_>) -> u64 {
        ShardStore::open(&Home::at(node.home()), None).bytes()
    }

    /// The single file and the second part of three.
    fn model(name: &str) -> [PathBuf; 2] {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let file = folder.join(format!("{name}.gguf"));
        let path = file.to_str().expect("a path of text");
        for split in ["1", "3"] {
            let args = ["synth", path, "--force", "--quiet", "--split", split];
            let _ = Device::new().potluck(args).success();
        }
        [file, folder.join(format!("{name}-00002-of-00003.gguf"))]
    }

    fn ask(node: &Node<'_>, model: &Path, who: &[&str]) -> Vec<u64> {
        let model = model.to_str().expect("a path of text");
        let question = ["-n", "16", "Tell me.", "--seed", "7", "--model", model];
        node.answer(&[&question[..], who].concat()).tokens
    }

    /// One device has the parts, one the single file: they know it as one model.
    #[test]
    fn who_has_the_parts_helps_who_has_the_single_file() {
        let [single, part] = model("split-helps");
        let nodes = [Node::new("laptop"), Node::new("kitchen").with_model(&part)];
        let circle = Circle::start(nodes.into());
        let laptop = circle.node("laptop");
        let alone = ask(laptop, &single, &["--alone"]);
        let who = ["--placement", "self:0..1,kitchen:1..3"];
        assert_eq!(ask(laptop, &single, &who), alone);
        assert_eq!(kept(circle.node("kitchen")), 0, "it has all layers");
    }

    /// Layers are given out of the parts.
    #[test]
    fn a_helper_fetches_its_layers_out_of_the_parts() {
        let [single, part] = model("split-gives");
        let circle = Circle::start([Node::new("laptop"), Node::new("kitchen")].into());
        let laptop = circle.node("laptop");
        let alone = ask(laptop, &single, &["--alone"]);
        let who = ["--placement", "self:0..1,kitchen:1..3"];
        assert_eq!(ask(laptop, &part, &who), alone);
        assert!(kept(circle.node("kitchen")) > 0);
    }
}
