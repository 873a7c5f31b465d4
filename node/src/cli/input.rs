//! Text from an argument or from stdin.

use std::io::{self, IsTerminal as _, Read};

use anyhow::Context as _;

/// More text than any context holds. Limited so that an endless pipe does not fill the memory.
const MAX_BYTES: u64 = 64 << 20;

/// Why the input cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unusable(pub(super) String);

/// The text of an argument, or of stdin if there is none or it is `-`. `what` names it in errors:
/// "prompt", "text".
pub(super) fn text(argument: Option<String>, what: &str) -> anyhow::Result<String> {
    match argument {
        Some(text) if text != "-" => Ok(text),
        None if io::stdin().is_terminal() => {
            let words = format!("no {what}: write it in quotes after the command, or pipe it in");
            Err(Unusable(words).into())
        }
        _ => read(io::stdin().lock(), what),
    }
}

fn read(source: impl Read, what: &str) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    source
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read the {what} from stdin"))?;
    if bytes.len() as u64 > MAX_BYTES {
        let limit = MAX_BYTES >> 20;
        let words = format!("the {what} on stdin is longer than {limit} MiB: shorten it");
        return Err(Unusable(words).into());
    }
    utf8(bytes, &format!("the {what} on stdin"))
}

/// The bytes as UTF-8, or an error with the position of the first wrong byte.
pub(super) fn utf8(bytes: Vec<u8>, what: &str) -> anyhow::Result<String> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let position = error.utf8_error().valid_up_to();
        Unusable(format!(
            "{what} is not valid UTF-8 at byte {position}: convert it to UTF-8 first"
        ))
    })?;
    Ok(text)
}

/// Text for a model: without a byte-order mark, and with LF as line end.
pub(super) fn plain(text: &str) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// Removes the line end that `echo` and editors add.
pub(super) fn without_final_newline(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_text_is_located() {
        assert_eq!(read(&b"caf\xc3\xa9"[..], "prompt").expect("valid"), "café");
        let error = read(&b"caf\xe9 noir"[..], "prompt").expect_err("Latin-1");
        assert_eq!(
            error.to_string(),
            "the prompt on stdin is not valid UTF-8 at byte 3: convert it to UTF-8 first"
        );
    }

    #[test]
    fn text_of_other_systems_is_made_plain() {
        assert_eq!(plain("\u{feff}one\r\ntwo\rthree\n"), "one\ntwo\nthree\n");
        assert_eq!(plain("a\u{feff}b"), "a\u{feff}b");
    }

    #[test]
    fn one_line_end_is_dropped() {
        let drop = |text: &str| without_final_newline(text.to_owned());
        assert_eq!(drop("a\n"), "a");
        assert_eq!(drop("a\r\n"), "a");
        assert_eq!(drop("a\n\n"), "a\n");
        assert_eq!(drop("a"), "a");
    }
}
