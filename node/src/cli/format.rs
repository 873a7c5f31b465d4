//! Numbers formatted for people.

use potluck::answer::{Answer, Drafts};

const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];

/// `98.4 MB`; decimal units, as disks and download sizes are stated.
pub(super) fn bytes(bytes: u64) -> String {
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    // A value that rounds up to 1000 belongs to the next unit.
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `12 of 80 MB`: whole numbers, or tenths of small ones. The received part is rounded down, so that it
/// equals the whole only at the end.
pub(super) fn bytes_of(some: u64, all: u64) -> String {
    if all < 1000 {
        return format!("{some} of {all} B");
    }
    let (mut size, mut unit) = (1000, 0);
    while all / size >= 1000 && unit + 1 < UNITS.len() {
        size *= 1000;
        unit += 1;
    }
    let name = UNITS[unit];
    if all >= 10 * size {
        return format!("{} of {} {name}", some / size, all.div_ceil(size));
    }
    let tenth = size / 10;
    let (some, all) = (some / tenth, all.div_ceil(tenth));
    let shown = |tenths: u64| format!("{}.{}", tenths / 10, tenths % 10);
    format!("{} of {} {name}", shown(some), shown(all))
}

/// `about 16 s`, with no more digits than an estimate deserves.
pub(super) fn about(seconds: f64) -> String {
    match seconds {
        ..1.0 => "less than 1 s".to_owned(),
        ..90.0 => format!("about {seconds:.0} s"),
        ..5_400.0 => format!("about {:.0} min", seconds / 60.0),
        _ => format!("about {:.0} h", seconds / 3_600.0),
    }
}

/// A size as a person writes it: `800M`, `1.5G`, `2GB`, `500000000`; decimal units.
///
/// # Errors
/// What else is written, in words.
pub(super) fn parse_bytes(text: &str) -> Result<u64, String> {
    let upper = text.trim().to_ascii_uppercase();
    let number = upper.trim_end_matches('B').trim_end();
    let (digits, unit) = match number.char_indices().last() {
        Some((at, 'K')) => (&number[..at], 1e3),
        Some((at, 'M')) => (&number[..at], 1e6),
        Some((at, 'G')) => (&number[..at], 1e9),
        Some((at, 'T')) => (&number[..at], 1e12),
        _ => (number, 1.0),
    };
    let value: f64 = digits.trim_end().parse().map_err(|_| NOT_A_SIZE)?;
    let bytes = value * unit;
    // Exact up to here, and larger than any device.
    if bytes.is_finite() && (0.0..=9e15).contains(&bytes) {
        Ok(bytes as u64)
    } else {
        Err(NOT_A_SIZE.to_owned())
    }
}

const NOT_A_SIZE: &str = "not a size: write one like 800M or 1.5G";

/// `24.6 GB/s`.
pub(super) fn bandwidth(bytes_per_s: f64) -> String {
    format!("{}/s", bytes(bytes_per_s as u64))
}

/// `117 tokens/s`, or with a decimal where there are few.
pub(super) fn rate(tokens_per_s: f64) -> String {
    if tokens_per_s < 10.0 {
        format!("{tokens_per_s:.1} tokens/s")
    } else {
        format!("{tokens_per_s:.0} tokens/s")
    }
}

/// `1 token`, `2 tokens`.
pub(super) fn count(number: usize, thing: &str) -> String {
    if number == 1 {
        format!("1 {thing}")
    } else {
        format!("{number} {thing}s")
    }
}

/// The times of an answer in one line.
pub(super) fn answer_stats(answer: &Answer) -> String {
    let mut parts = Vec::new();
    let prompt = count(answer.prompt_token_ids.len(), "prompt token");
    let reused = match answer.reused_tokens {
        0 => String::new(),
        reused => format!(" ({reused} reused)"),
    };
    let speed = answer
        .prefill_tokens_per_s
        .map(|speed| format!(" at {}", rate(speed)));
    parts.push(format!("{prompt}{reused}{}", speed.unwrap_or_default()));
    parts.push(format!(
        "first token after {:.2} s",
        answer.time_to_first_token_s
    ));
    let speed = answer
        .decode_tokens_per_s
        .map(|speed| format!(" at {}", rate(speed)));
    parts.push(format!(
        "{}{}",
        count(answer.token_ids.len(), "token"),
        speed.unwrap_or_default()
    ));
    let Drafts { sent, right } = answer.drafts;
    if sent > 0 {
        parts.push(format!("{right} of {sent} guesses right"));
    }
    match answer.stop_reason {
        "max_tokens" => parts.push("cut at --max-tokens".to_owned()),
        "context_full" => parts.push("cut: the context is full".to_owned()),
        "cancelled" => parts.push("stopped".to_owned()),
        _ => {}
    }
    format!("[{}]", parts.join(" · "))
}

/// A note on an answer that ended before the model ended it; `None` if the model or the person ended it.
/// `remedy` says how to make room in a full context.
pub(super) fn cut(answer: &Answer, remedy: &str) -> Option<String> {
    match answer.stop_reason {
        "max_tokens" => Some(format!(
            "[stopped at {}, the most allowed: raise --max-tokens for more]",
            count(answer.token_ids.len(), "token")
        )),
        "context_full" => Some(format!("[cut: the context is full; {remedy}]")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_rates() {
        let sizes = [
            0,
            999,
            1000,
            98_362_432,
            999_949,
            999_951,
            253_113_024,
            4_700_000_000,
        ]
        .map(bytes);
        let expected = [
            "0 B", "999 B", "1.0 kB", "98.4 MB", "999.9 kB", "1.0 MB", "253.1 MB", "4.7 GB",
        ];
        assert_eq!(sizes, expected);
        assert_eq!(rate(117.4), "117 tokens/s");
        assert_eq!(rate(7.25), "7.2 tokens/s");
        assert_eq!(count(1, "token"), "1 token");
    }

    #[test]
    fn some_of_all_in_one_unit() {
        let shown = [
            (0, 1),
            (0, 80_300_000),
            (12_999_999, 80_000_000),
            (79_999_999, 80_000_000),
            (80_000_000, 80_000_000),
            (999, 1_000),
            (250_000, 3_140_000_000),
            (1_999_999_999, 3_140_000_000),
            (1, u64::MAX),
        ]
        .map(|(some, all)| bytes_of(some, all));
        let expected = [
            "0 of 1 B",
            "0 of 81 MB",
            "12 of 80 MB",
            "79 of 80 MB",
            "80 of 80 MB",
            "0.9 of 1.0 kB",
            "0.0 of 3.2 GB",
            "1.9 of 3.2 GB",
            "0 of 18446745 TB",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn estimates_have_few_digits() {
        let shown = [0.2, 16.4, 89.0, 90.0, 3_000.0, 7_200.0].map(about);
        let expected = [
            "less than 1 s",
            "about 16 s",
            "about 89 s",
            "about 2 min",
            "about 50 min",
            "about 2 h",
        ];
        assert_eq!(shown, expected);
    }
}
