//! What programs read: one JSON object a line, with its schema, failures too.

use potluck_tests::Device;
use serde_json::Value;

fn objects(stdout: &str) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).expect("a JSON line");
    let objects: Vec<Value> = stdout.lines().map(parse).collect();
    assert!(objects.iter().all(|object| object["schema"] == 1));
    objects
}

#[test]
fn a_failure_is_an_object_with_the_same_exit_code() {
    let device = Device::with_tiny_model();
    std::fs::write(device.folder().join("text.gguf"), "not a model").expect("written");
    let long = "word ".repeat(20_000);
    let cases: [(&[&str], &[u8], i32, &str); 16] = [
        (&["run", "--json", "--top-p", "0", "Hi"], b"", 2, "usage"),
        (&["run", "Hi", "--colour", "--json"], b"", 2, "usage"),
        (&["dance", "--json"], b"", 2, "usage"),
        (&["pull", "nothing", "--json"], b"", 2, "usage"),
        (&["run", "--offline", "--json", "Hi"], b"", 1, "fetch"),
        (&["pull", "--offline", "--json"], b"", 1, "fetch"),
        (&["run", "-m", "text.gguf", "--json", "Hi"], b"", 1, "model"),
        (&["inspect", "none.gguf", "--json"], b"", 1, "model"),
        (&["run", "-m", "tiny.gguf", "--json"], b" \n", 1, "input"),
        (&["run", "-m", "tiny.gguf", "--json"], b"\xff", 1, "input"),
        (&["forget", "self", "--json", "--no-mdns"], b"", 1, "input"),
        (&["circle", "new", "--json"], b"", 2, "usage"),
        (&["pair", "--json"], b"", 2, "usage"),
        (&["synth", "tiny.gguf", "--json"], b"", 1, "input"),
        (
            &["run", "-m", "tiny.gguf", "--json"],
            long.as_bytes(),
            1,
            "input",
        ),
        (
            &["forget", "nobody", "--json", "--no-mdns"],
            b"",
            1,
            "input",
        ),
    ];
    for (arguments, stdin, exit, code) in cases {
        let output = device.potluck_reading(stdin, arguments).failure(exit, &[]);
        let objects = objects(&output.stdout);
        assert_eq!(objects.len(), 1, "{output:?}");
        let error = &objects[0]["error"];
        assert_eq!(error["code"], code, "{output:?}");
        let message = error["message"].as_str().expect("text");
        assert!(
            !message.is_empty() && !message.contains('\n'),
            "{message:?}"
        );
        assert!(output.stderr.contains(message), "{output:?}");
    }
    // Where JSON is no option but a text, errors are for people only.
    let output = device.potluck(["run", "-m", "none.gguf", "--", "--json"]);
    assert_eq!(output.failure(1, &["none.gguf"]).stdout, "");
}

#[test]
fn every_command_numbers_what_it_prints() {
    let device = Device::with_tiny_model();
    for arguments in [
        &[
            "run",
            "-m",
            "tiny.gguf",
            "-n",
            "3",
            "--alone",
            "--json",
            "Hi",
        ][..],
        &["models", "--json"],
        &["id", "--json"],
        &["peers", "--json"],
        &["inspect", "tiny.gguf", "--json"],
        &["score", "-m", "tiny.gguf", "--json", "Some words"],
        &["synth", "other.gguf", "--json"],
    ] {
        let output = device.potluck(arguments).success();
        assert_eq!(objects(&output.stdout).len(), 1, "{arguments:?}");
    }
}

#[test]
fn pull_prints_where_the_file_is() {
    let device = Device::with_model("smollm2:135m");
    let json = device.potluck(["pull", "--json"]).success().json();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["name"], "smollm2:135m");
    let path = json["path"].as_str().expect("text");
    let bytes = std::fs::metadata(path).expect("it is there").len();
    assert_eq!(json["bytes"].as_u64(), Some(bytes));
}

#[test]
fn a_program_holds_a_conversation_line_by_line() {
    let device = Device::with_tiny_model();
    let lines = concat!(
        "{\"user\": \"Hello\\nthere\"}\n",
        "\n",
        "\"retry\"\n",
        "{\"system\": \"Be brief.\"}\n",
        "Hello\n",
        "{\"user\": \" \"}\n",
        "\"clear\"\n",
        "\"retry\"\n",
        "{\"user\": \"Hello\"}\n",
    );
    let arguments = [
        "chat",
        "-m",
        "tiny.gguf",
        "-n",
        "6",
        "--seed",
        "1",
        "--json",
    ];
    let chat = |input: &[u8]| device.potluck_reading(input, arguments).success();
    let output = chat(&[&b"\xef\xbb\xbf"[..], lines.as_bytes(), b"\xff\n"].concat());
    assert_eq!(output.stderr, "");
    let told: Vec<_> = objects(&output.stdout)
        .iter()
        .map(|object| match (&object["error"]["code"], &object["done"]) {
            (Value::String(code), _) => format!("error {code}"),
            (_, Value::String(done)) => format!("done {done}"),
            _ => format!("answer {}", object["seed"]),
        })
        .collect();
    let expected = [
        "answer 1",
        "answer 2",
        "done system",
        "error input",
        "error input",
        "done clear",
        "error input",
        "answer 2",
        "error input",
    ];
    assert_eq!(told, expected);
    let first = &objects(&output.stdout)[0];
    for field in ["text", "token_ids", "stop_reason", "left_out"] {
        assert!(!first[field].is_null(), "{field} in {first}");
    }
}

#[test]
fn seeds_are_exact_in_every_language() {
    let device = Device::with_tiny_model();
    for _ in 0..3 {
        let arguments = ["run", "-m", "tiny.gguf", "-n", "1", "--json", "Hi"];
        let json = device.potluck(arguments).success().json();
        assert!(json["seed"].as_u64() <= Some(1 << 53), "{json}");
    }
    let seeded = |seed: &str| {
        device.potluck([
            "run",
            "-m",
            "tiny.gguf",
            "-n",
            "1",
            "--json",
            "--seed",
            seed,
            "Hi",
        ])
    };
    let largest = seeded("9007199254740992").success().json();
    assert_eq!(largest["seed"].as_u64(), Some(1 << 53));
    let _ = seeded("9007199254740993").failure(2, &["9007199254740992"]);
}

#[test]
fn an_answer_that_was_cut_says_so() {
    let device = Device::with_tiny_model();
    let run = [
        "run",
        "-m",
        "tiny.gguf",
        "-n",
        "2",
        "--seed",
        "1",
        "--raw",
        "Hi",
    ];
    let output = device.potluck(run).success();
    assert!(output.stderr.contains("--max-tokens"), "{output:?}");
    let quiet = device.potluck(run.into_iter().chain(["--quiet"])).success();
    assert_eq!(quiet.stderr, "");
    let chat = ["chat", "-m", "tiny.gguf", "-n", "2", "--seed", "1"];
    let output = device.potluck_reading(b"Hi\n", chat).success();
    assert!(output.stderr.contains("--max-tokens"), "{output:?}");
    let full = [
        "run",
        "-m",
        "tiny.gguf",
        "-c",
        "24",
        "-n",
        "500",
        "--seed",
        "1",
        "--raw",
        "Hi",
    ];
    let output = device.potluck(full).success();
    assert!(output.stderr.contains("--context"), "{output:?}");
}

#[test]
fn text_of_other_systems_is_understood() {
    let device = Device::with_tiny_model();
    let ids = |stdin: &[u8], more: &[&str]| {
        let arguments = ["run", "-m", "tiny.gguf", "-n", "1", "--json"];
        let output = device.potluck_reading(stdin, arguments.iter().chain(more));
        output.success().json()["prompt_token_ids"].clone()
    };
    let plain = ids(b"One\nTwo", &[]);
    assert_eq!(ids(b"\xef\xbb\xbfOne\r\nTwo\r\n", &[]), plain);
    assert_eq!(ids(b"One\rTwo", &[]), plain);
    assert_eq!(ids(b"", &["One\r\nTwo"]), plain);
    // As it stands is as it stands.
    assert_ne!(ids(b"One\r\nTwo", &["--raw"]), ids(b"One\nTwo", &["--raw"]));

    let chat = ["chat", "-m", "tiny.gguf", "-n", "2"];
    let lines = b"\xef\xbb\xbf/system Be brief.\r\ncaf\xe9\nHello\r\n/save chat.json\r\n";
    let output = device.potluck_reading(lines, chat).success();
    for words in ["system message set", "not valid UTF-8 at byte 3"] {
        assert!(output.stderr.contains(words), "{output:?}");
    }
    let saved = std::fs::read_to_string(device.folder().join("chat.json")).expect("saved");
    let saved: Value = serde_json::from_str(&saved).expect("valid JSON");
    assert_eq!(saved[0]["content"], "Be brief.");
    assert_eq!(saved[1]["content"], "Hello");
    assert!(saved[3].is_null(), "{saved}");
}
