//! Prepares a template's source for the template engine.

/// Normalises line ends as Jinja 2 does, and replaces generation blocks by `with` blocks. (The
/// Transformers library adds `{% generation %}` to Jinja for training, around the model's output.
/// Here, as there, the block only limits the scope of variables.)
pub(super) fn prepare(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut prepared = String::with_capacity(source.len());
    let mut rest = &*source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        prepared.push_str(before);
        let Some((replacement, length)) = generation_tag(tag) else {
            prepared.push_str("{%");
            rest = &tag[2..];
            continue;
        };
        prepared.push_str(&replacement);
        rest = &tag[length..];
    }
    prepared.push_str(rest);
    prepared
}

/// If `tag` starts with a tag of a generation block, returns its replacement, with the same white
/// space control, and the tag's length.
fn generation_tag(tag: &str) -> Option<(String, usize)> {
    let inside = &tag[2..];
    let inside = &inside[..inside.find("%}")?];
    let length = inside.len() + 4;
    let word = inside.trim_start_matches(['-', '+']);
    let left = &inside[..inside.len() - word.len()];
    let name = word.trim_end_matches(['-', '+']);
    let right = &word[name.len()..];
    let block = match name.trim() {
        "generation" => "with",
        "endgeneration" => "endwith",
        _ => return None,
    };
    Some((format!("{{%{left} {block} {right}%}}"), length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_blocks_keep_their_control_of_white_space() {
        let prepare = |source| prepare(source);
        assert_eq!(
            prepare("a {%- generation -%} b {% endgeneration %}\r\nc\rd"),
            "a {%- with -%} b {% endwith %}\nc\nd"
        );
        assert_eq!(
            prepare("{%generation%}x{%+endgeneration-%}"),
            "{% with %}x{%+ endwith -%}"
        );
        for untouched in [
            "{% set generation = 1 %}{{ generation }}",
            "{% if",
            "{%",
            "{%}",
            "x",
        ] {
            assert_eq!(prepare(untouched), untouched);
        }
    }
}
