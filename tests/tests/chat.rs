//! `chat` through a pipe.

use potluck_tests::Device;

#[test]
fn turns_and_commands_come_line_by_line() {
    let device = Device::with_tiny_model();
    let lines = "Hello\n/stats\n/retry\n\n/system Be brief.\nAgain\n/save chat.json\n/save chat.json\n\
                 /dance\n/clear\n/retry\n/help\n/exit\nnever said\n";
    let output = device
        .potluck_reading(
            lines.as_bytes(),
            ["chat", "-m", "tiny.gguf", "-n", "8", "--seed", "1"],
        )
        .success();
    // Three answers, each ending its line; more may be within them.
    assert!(output.stdout.lines().count() >= 3, "{output:?}");
    for words in [
        "positions of the context used",
        "system message set",
        "saved to chat.json",
        "chat.json exists already",
        "there is no /dance",
        "forgotten",
        "no answer to retry",
        "/help         this list",
    ] {
        assert!(
            output.stderr.contains(words),
            "\"{words}\" is missing: {}",
            output.stderr
        );
    }
    let saved = std::fs::read_to_string(device.folder().join("chat.json")).expect("saved");
    let saved: Vec<serde_json::Value> = serde_json::from_str(&saved).expect("valid JSON");
    let roles: Vec<_> = saved
        .iter()
        .filter_map(|message| message["role"].as_str())
        .collect();
    assert_eq!(roles, ["system", "user", "assistant", "user", "assistant"]);
    assert_eq!(saved[1]["content"], "Hello");
}

#[test]
fn a_full_context_leaves_out_the_oldest_turns_and_goes_on() {
    let device = Device::with_tiny_model();
    let line = "Some words that take a good number of positions in this small context\n";
    let arguments = [
        "chat",
        "-m",
        "tiny.gguf",
        "-n",
        "16",
        "--context",
        "512",
        "--system",
        "Be brief.",
    ];
    let output = device
        .potluck_reading(line.repeat(12).as_bytes(), arguments)
        .success();
    assert!(
        output.stderr.contains("no longer sees"),
        "{}",
        output.stderr
    );

    // A message that does not fit alone is refused, and the chat goes on.
    let lines = format!("{}\nHello\n/stats\n", "word ".repeat(2000));
    let output = device
        .potluck_reading(lines.as_bytes(), arguments)
        .success();
    assert!(output.stderr.contains("tokens long"), "{}", output.stderr);
    assert!(
        output.stderr.contains("first token after"),
        "{}",
        output.stderr
    );
}

#[test]
fn models_without_a_template_are_refused() {
    let device = Device::with_model("gemma3:270m");
    device
        .potluck_reading(b"Hello\n", ["chat", "-m", "gemma3:270m"])
        .failure(1, &["no chat template", "potluck run"]);
}

#[test]
#[cfg(unix)]
fn ctrl_c_stops_the_answer_and_keeps_the_chat() {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::process::{Command, Stdio};

    let device = Device::with_tiny_model();
    let mut child = device
        .command(["chat", "-m", "tiny.gguf", "--context", "2048", "--stats"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut stdin = child.stdin.take().expect("piped");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let interrupt = || {
        let pid = child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &pid])
                .status()
                .expect("kill runs")
                .success()
        );
    };
    // However short the answers happen to be, the chat outlives the signal.
    writeln!(stdin, "Hello").expect("it listens");
    stdout.read_exact(&mut [0]).expect("an answer has begun");
    interrupt();
    stdout
        .read_until(b'\n', &mut Vec::new())
        .expect("the answer's end");
    writeln!(stdin, "Hello again\n/exit").expect("it listens");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.matches("first token after").count() >= 2, "{stderr}");
}
