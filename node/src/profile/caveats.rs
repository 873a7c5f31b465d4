//! What stands behind a profile's figures.

use serde::{Deserialize, Serialize};

/// What the owner of a device should know of its figures: what its system does not tell, and what may
/// be wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Caveats {
    /// How much memory is free is not known, and so many bytes are offered in its place.
    pub memory_not_known: Option<u64>,
    /// Whether there is a battery, and its charge, is not known.
    pub battery_not_known: bool,
    /// How hot it is, is not known.
    pub heat_not_known: bool,
    /// Whether other programs slowed the measurements; `None` if that is not known.
    pub measured_while_busy: Option<bool>,
}

impl Caveats {
    /// What there is to say, a line each. `bytes` writes a size.
    pub fn in_words(&self, bytes: &dyn Fn(u64) -> String) -> Vec<String> {
        let mut lines = Vec::new();
        if self.measured_while_busy == Some(true) {
            lines.push(
                "measured while this device was busy: rates may be too low; \
                 `potluck bench --profile` measures again"
                    .to_owned(),
            );
        }
        if let Some(offered) = self.memory_not_known {
            lines.push(format!(
                "free memory: not known on this system; {} are offered unless --memory says otherwise",
                bytes(offered)
            ));
        }
        if self.battery_not_known {
            lines.push("battery: not known on this system".to_owned());
        }
        if self.heat_not_known {
            lines.push("heat: not known on this system".to_owned());
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_said_and_nothing_else() {
        let words = |caveats: Caveats| caveats.in_words(&|bytes| format!("{bytes} B")).join("\n");
        assert_eq!(words(Caveats::default()), "");
        let calm = Caveats {
            measured_while_busy: Some(false),
            ..Caveats::default()
        };
        assert_eq!(words(calm), "");
        let all = words(Caveats {
            memory_not_known: Some(512),
            battery_not_known: true,
            heat_not_known: true,
            measured_while_busy: Some(true),
        });
        for words in [
            "too low",
            "memory: not known",
            "512 B",
            "battery: not",
            "heat: not",
        ] {
            assert!(all.contains(words), "{words}: {all}");
        }
    }
}
