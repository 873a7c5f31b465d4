//! Text from an argument or from stdin.

use std::io::{self, IsTerminal as _, Read};

use anyhow::{Context as _, bail};

/// More text than any model's context; a pipe that never ends must not fill the memory.
const MAX_BYTES: u64 = 64 << 20;

/// The text of an argument, or of stdin when there is none or it is `-`. `what` names it in
/// errors: "prompt", "text".
pub(super) fn text(argument: Option<String>, what: &str) -> anyhow::Result<String> {
    match argument {
        Some(text) if text != "-" => Ok(text),
        None if io::stdin().is_terminal() => {
            bail!("no {what}: write it in quotes after the command, or pipe it in")
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
        bail!(
            "the {what} on stdin is longer than {} MiB: shorten it",
            MAX_BYTES >> 20
        );
    }
    utf8(bytes, &format!("the {what} on stdin"))
}

/// The bytes as text, or an error that says where they are not.
pub(super) fn utf8(bytes: Vec<u8>, what: &str) -> anyhow::Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        let position = error.utf8_error().valid_up_to();
        anyhow::anyhow!("{what} is not valid UTF-8 at byte {position}: convert it to UTF-8 first")
    })
}

/// Without the line end that `echo` and editors add.
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
    fn one_line_end_is_dropped() {
        let drop = |text: &str| without_final_newline(text.to_owned());
        assert_eq!(drop("a\n"), "a");
        assert_eq!(drop("a\r\n"), "a");
        assert_eq!(drop("a\n\n"), "a\n");
        assert_eq!(drop("a"), "a");
    }
}
