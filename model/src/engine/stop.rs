//! Stop texts.

/// Finds stop texts in streamed text. Holds back text that may be the start of one.
#[derive(Debug, Clone, Default)]
pub(super) struct StopTexts {
    // No text is empty.
    texts: Vec<String>,
    held: String,
}

impl StopTexts {
    /// Ignores empty texts.
    pub(super) fn new(texts: &[String]) -> Self {
        let texts = texts.iter().filter(|text| !text.is_empty());
        Self {
            texts: texts.cloned().collect(),
            held: String::new(),
        }
    }

    /// Takes the next part. Returns the text that cannot belong to a stop text, and whether a stop
    /// text is complete: the one that ends first, and the longest of those that end at the same
    /// place. How the text is cut into parts does not matter.
    pub(super) fn push(&mut self, part: &str) -> (String, bool) {
        if self.texts.is_empty() {
            return (part.to_owned(), false);
        }
        self.held.push_str(part);
        let found = self.texts.iter().filter_map(|text| {
            let start = self.held.find(&**text)?;
            Some((start + text.len(), start))
        });
        if let Some((_, start)) = found.min() {
            self.held.truncate(start);
            return (std::mem::take(&mut self.held), true);
        }
        let kept = self
            .texts
            .iter()
            .map(|text| beginning_at_end(&self.held, text));
        let kept = kept.max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - kept);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// Returns the text that is still held back at the end.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Length in bytes of the longest prefix of `wanted` that `text` ends with.
fn beginning_at_end(text: &str, wanted: &str) -> usize {
    let beginnings = wanted.char_indices().map(|(at, _)| at).rev();
    let mut beginnings = beginnings.filter(|&length| length <= text.len());
    beginnings
        .find(|&length| text.ends_with(&wanted[..length]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Output for a text in these parts, including the rest if no stop text was found.
    fn cut(texts: &[&str], parts: &[&str]) -> (String, bool) {
        let texts: Vec<_> = texts.iter().map(ToString::to_string).collect();
        let mut stop = StopTexts::new(&texts);
        let mut out = String::new();
        for part in parts {
            let (text, found) = stop.push(part);
            out.push_str(&text);
            if found {
                return (out, true);
            }
        }
        out.push_str(&stop.finish());
        (out, false)
    }

    #[test]
    fn a_text_ends_before_the_first_complete_one_however_it_is_cut() {
        let text = "one two.\n\nthree ü four\nfive";
        for (texts, before) in [
            (&["\n\n"][..], "one two."),
            (&["\nf", "\n\nt"], "one two."),
            (&["ü f"], "one two.\n\nthree "),
            (&["wo.", "o"], ""),
            (&["e two", "ne tw", "two"], "o"),
            (&["three", "hree", "ree"], "one two.\n\n"),
        ] {
            for first in 0..=text.len() {
                for second in first..=text.len() {
                    let at = |byte| text.is_char_boundary(byte);
                    if !at(first) || !at(second) {
                        continue;
                    }
                    let parts = [&text[..first], &text[first..second], &text[second..]];
                    assert_eq!(cut(texts, &parts), (before.to_owned(), true), "{parts:?}");
                }
            }
        }
    }

    #[test]
    fn only_what_may_begin_one_is_held_back() {
        let mut stop = StopTexts::new(&["END".to_owned(), String::new()]);
        assert_eq!(stop.push("a E"), ("a ".to_owned(), false));
        assert_eq!(stop.push("N"), (String::new(), false));
        assert_eq!(stop.push("E"), ("EN".to_owned(), false));
        assert_eq!(stop.push(" EN"), ("E ".to_owned(), false));
        assert_eq!(stop.finish(), "EN");
        assert_eq!(cut(&[], &["a", "b"]), ("ab".to_owned(), false));
    }
}
