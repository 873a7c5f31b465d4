//! Real clients against a real node: the scripts in `tests/clients/`, each with the packages of one
//! client, unchanged.
//!
//! What they need is installed into the target folder, once, from the registries that pip and npm are
//! set up for. Without those, or without Python or Node, they are skipped, and say so; with
//! `POTLUCK_TEST_CLIENTS=required` they fail instead.
#![cfg(unix)]

use std::env;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use potluck_tests::circle::Program;
use potluck_tests::{Device, Served, ServedCircle, workspace};
use serde_json::json;

/// Longer than any client takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

fn scripts() -> PathBuf {
    workspace().join("tests/clients")
}

/// The folder for one language's packages.
fn folder(language: &str) -> PathBuf {
    let test = env::current_exe().expect("a test knows its own path");
    let profile = test.parent().and_then(Path::parent);
    let profile = profile.expect("cargo puts tests two folders deep");
    profile.join("test-clients").join(language)
}

/// Runs a command that installs something; why it failed.
fn install(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let words = String::from_utf8_lossy(&output.stderr);
            Err(words.lines().last().unwrap_or("it failed").to_owned())
        }
    }
}

/// Does what installs packages unless the list of them is the one that was installed last.
fn once(
    language: &str,
    list: &str,
    fill: impl Fn(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let folder = folder(language);
    let wanted = fs::read(scripts().join(list)).expect("a list of packages");
    let mark = folder.join("installed");
    if fs::read(&mark).ok().as_ref() != Some(&wanted) {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        fill(&folder)?;
        fs::write(mark, wanted).map_err(|error| error.to_string())?;
    }
    Ok(folder)
}

/// Python with the clients' packages.
fn python() -> Result<PathBuf, String> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder = PYTHON.get_or_init(|| {
        once("python", "requirements.txt", |folder| {
            let mut venv = Command::new("python3");
            install(venv.args(["-m", "venv"]).arg(folder.join("venv")))?;
            let mut pip = Command::new(folder.join("venv/bin/pip"));
            let list = scripts().join("requirements.txt");
            install(pip.args(["install", "--quiet", "--requirement"]).arg(list))
        })
    });
    let folder = folder.clone()?;
    Ok(folder.join("venv/bin/python"))
}

/// A folder with the packages of clients for Node.
fn node() -> Result<PathBuf, String> {
    static NODE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder = NODE.get_or_init(|| {
        once("node", "package.json", |folder| {
            let list = scripts().join("package.json");
            fs::copy(list, folder.join("package.json")).map_err(|error| error.to_string())?;
            let mut npm = Command::new("npm");
            let quietly = ["install", "--no-audit", "--no-fund", "--silent"];
            install(npm.args(quietly).current_dir(folder))
        })
    });
    folder.clone()
}

/// Says why a client is not driven, or fails if it has to be.
fn skip(client: &str, why: &str) {
    let required = env::var("POTLUCK_TEST_CLIENTS").is_ok_and(|value| value == "required");
    assert!(!required, "{client} cannot be installed: {why}");
    eprintln!("skipped: {client} cannot be installed: {why}");
}

/// The command that runs a script, once its packages are there.
fn command_of(script: &str) -> Result<Command, String> {
    match script.strip_suffix(".mjs") {
        None => python().map(|python| {
            let mut command = Command::new(python);
            command.arg(scripts().join(script));
            command
        }),
        // Packages are looked for beside the script.
        Some(_) => node().map(|folder| {
            for name in ["node_state.mjs", script] {
                fs::copy(scripts().join(name), folder.join(name)).expect("copied");
            }
            let mut command = Command::new("node");
            command.arg(folder.join(script));
            command
        }),
    }
}

/// Drives a client by its script.
fn drive(script: &str) {
    match command_of(script) {
        Ok(command) => {
            let served = serve(&[]);
            let (said, failed) = run(script, command, &served);
            assert!(
                said.trim_end().ends_with("ok"),
                "{script}: {said}\n{failed}"
            );
        }
        Err(why) => skip(script, &why),
    }
}

/// Drives a client by its script at a node with two helpers, of which one is killed in the middle of an
/// answer.
fn drive_split(script: &str) {
    let mut command = match command_of(script) {
        Ok(command) => command,
        Err(why) => return skip(script, &why),
    };
    let request = json!({
        "model": "smollm2:135m", "seed": 3, "max_tokens": 60,
        "messages": [{"role": "user", "content": "Tell me of a journey to the sea."}],
    });
    let expected = serve(&["--alone"]).post("/v1/chat/completions", &request);
    let expected = expected.json()["choices"][0]["message"]["content"].clone();
    let placement = ["--placement", "kitchen:0..15,tablet:15..30,*"];
    let mut circle = ServedCircle::start(&["kitchen", "tablet"], "400M", &placement);
    command
        .env("POTLUCK_REQUEST", request.to_string())
        .env("POTLUCK_EXPECTED", expected.as_str().expect("text"));
    let (mut client, mut stdin) = Program::talking(script, known_to(command, &circle));
    assert_eq!(client.line(), "in the middle");
    circle.helper_mut("tablet").kill();
    writeln!(stdin, "gone").expect("it listens");
    assert_eq!(client.line(), "ok");
    circle.await_number("potluck_recoveries_total ", |recoveries| recoveries > 0);
}

fn serve(options: &[&str]) -> Served {
    let device = Device::with_model("smollm2:135m");
    let options: Vec<_> = ["--threads", "1"].iter().chain(options).copied().collect();
    Served::start(device, &options)
}

/// Runs a client to its end, which has to be a good one: what it wrote.
fn run(what: &str, command: Command, served: &Served) -> (String, String) {
    let mut child = known_to(command, served).spawn().expect("it runs");
    let begun = Instant::now();
    while child.try_wait().expect("it is ours").is_none() {
        if begun.elapsed() > PATIENCE {
            let _ = child.kill();
        }
        thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().expect("it has ended");
    let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, failed) = (words(&output.stdout), words(&output.stderr));
    assert!(output.status.success(), "{what}: {said}\n{failed}");
    (said, failed)
}

/// A client's command, which is told where the node is.
fn known_to(mut command: Command, served: &Served) -> Command {
    command
        .env("POTLUCK_BASE", format!("http://{}", served.address()))
        .env("POTLUCK_KEY", served.token().expect("a token"))
        .env("POTLUCK_MODEL", "smollm2:135m")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // It asks the network for prices when it is imported.
        .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        // Some send even what is for this machine through a proxy.
        .env("NO_PROXY", "127.0.0.1")
        .env("no_proxy", "127.0.0.1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
fn openai_for_python() {
    drive("openai_client.py");
}

#[test]
fn openai_for_python_while_a_helper_is_killed() {
    drive_split("openai_split.py");
}

#[test]
fn openai_for_node_while_a_helper_is_killed() {
    drive_split("openai_split.mjs");
}

#[test]
fn ollama_for_python() {
    drive("ollama_client.py");
}

#[test]
fn langchain_openai() {
    drive("langchain_client.py");
}

#[test]
fn litellm() {
    drive("litellm_client.py");
}

#[test]
fn llm() {
    drive("llm_client.py");
}

#[test]
fn pydantic_ai() {
    drive("pydantic_ai_client.py");
}

#[test]
fn openai_for_node() {
    drive("openai_client.mjs");
}

#[test]
fn ollama_for_node() {
    drive("ollama_client.mjs");
}

#[test]
fn ai_with_openai_compatible() {
    drive("ai_client.mjs");
}

/// The document is true, and nothing that follows it breaks the server.
#[test]
fn schemathesis_finds_no_error_of_the_server() {
    let python = match python() {
        Ok(python) => python,
        Err(why) => return skip("schemathesis", &why),
    };
    // Answers are short: a request that says nothing of its length gets all the room there is.
    let served = serve(&["--context", "64"]);
    let address = format!("http://{}", served.address());
    let mut command = Command::new(python.with_file_name("schemathesis"));
    let key = format!("authorization: Bearer {}", served.token().expect("a token"));
    command
        .args(["run", &format!("{address}/openapi.json"), "--url", &address])
        .args(["--header", &key, "--seed", "1", "--max-examples", "10"])
        // Bounds and kinds of every field are looked at by a test of the HTTP module, in a second.
        .args(["--phases", "fuzzing", "--workers", "1"])
        .args(["--checks", CHECKS])
        .current_dir(served.device().folder());
    run("schemathesis", command, &served);
    assert_eq!(served.get("/health").status, 200);
}

/// What is looked at in each answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_schema_conformance";
