//! Signals that end commands.

use std::fs;

/// Those of these signals, each with the exit code of a command that it ends, that commands of this
/// process hear. What a process ignores, whatever it starts ignores, too: SIGHUP under `nohup`, SIGINT
/// in the background of a shell. Systems other than Linux do not tell.
pub fn heard<const N: usize>(
    signals: [(&'static str, i32); N],
) -> impl Iterator<Item = (&'static str, i32)> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok())
        .unwrap_or_default();
    let is_heard = move |(name, code): &(&str, i32)| {
        // A command that a signal ends has the signal's number and 128.
        let is_heard = ignored >> (code - 129) & 1 == 0;
        if !is_heard {
            println!("SIG{name} is ignored here, so it is not sent");
        }
        is_heard
    };
    signals.into_iter().filter(is_heard)
}
