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
    /// How many steps that were really computed have corrected the measured rates; 0 if none has.
    #[serde(default)]
    pub corrected_by_steps: u64,
}

impl Caveats {
    /// What there is to say, a line each. `bytes` writes a size.
    pub fn in_words(&self, bytes: &dyn Fn(u64) -> String) -> Vec<String> {
        let mut lines = Vec::new();
        let busy = self.measured_while_busy == Some(true);
        match (busy, self.corrected_by_steps) {
            (true, 0) => lines.push(
                "measured while this device was busy: rates may be too low; \
                 `potluck bench --profile` measures again"
                    .to_owned(),
            ),
            (true, steps) => lines.push(format!(
                "measured while it was busy, then corrected over {steps} steps of answers"
            )),
            (false, 0) => {}
            (false, steps) => lines.push(format!("rates measured over {steps} steps of answers")),
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
            corrected_by_steps: 0,
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

    #[test]
    fn rates_that_steps_have_corrected_say_of_how_many() {
        let words = |measured_while_busy, corrected_by_steps| {
            let caveats = Caveats {
                measured_while_busy,
                corrected_by_steps,
                ..Caveats::default()
            };
            caveats.in_words(&|bytes| bytes.to_string()).join("\n")
        };
        assert!(words(Some(false), 21).contains("measured over 21 steps"));
        let busy = words(Some(true), 21);
        assert!(busy.contains("corrected over 21 steps"), "{busy}");
        assert!(!busy.contains("too low"), "{busy}");
    }
}
