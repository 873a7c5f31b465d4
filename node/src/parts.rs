//! Which part of a model a tensor belongs to, by its name.

/// What is placed and passed on as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// What every device needs that computes any layer: all tensors that are of no other part, such
    /// as `rope_freqs.weight`.
    Common,
    /// What stays with the requester: `token_embd.…`, `output_norm.…` and `output.…`.
    Ends,
    /// A transformer block: `blk.N.…`.
    Layer(usize),
}

impl Part {
    /// The part of the tensor of this name in a model of so many layers.
    pub(crate) fn of_tensor(name: &str, layers: usize) -> Self {
        let Some((stem, rest)) = name.split_once('.') else {
            return Self::Common;
        };
        match stem {
            "token_embd" | "output_norm" | "output" => Self::Ends,
            "blk" => {
                let number = rest.split_once('.').map(|(number, _)| number);
                let layer = number.and_then(canonical_number);
                layer
                    .filter(|&layer| layer < layers)
                    .map_or(Self::Common, Self::Layer)
            }
            _ => Self::Common,
        }
    }
}

/// A decimal number without sign or leading zeros, as files write it.
fn canonical_number(text: &str) -> Option<usize> {
    let number: usize = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_part() {
        for (name, part) in [
            ("token_embd.weight", Part::Ends),
            ("output_norm.weight", Part::Ends),
            ("output.weight", Part::Ends),
            ("rope_freqs.weight", Part::Common),
            ("blk.0.attn_q.weight", Part::Layer(0)),
            ("blk.29.attn_q.weight", Part::Layer(29)),
            ("blk.30.attn_q.weight", Part::Common),
            ("blk.03.attn_q.weight", Part::Common),
            ("blk.+3.attn_q.weight", Part::Common),
            ("blk.3", Part::Common),
            ("blk..weight", Part::Common),
            ("outputs.weight", Part::Common),
            ("", Part::Common),
        ] {
            assert_eq!(Part::of_tensor(name, 30), part, "{name}");
        }
    }
}
