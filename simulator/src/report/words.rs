//! Numbers formatted for people.

/// `98.4 MB`; decimal units, as disks and download sizes are stated.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1e3;
    let mut unit = 0;
    // What would be rounded up to 1000 belongs to the next unit.
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1e3;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Three digits that count: `0.0123`, `5.21`, `48.0`, `117`, `1234`.
pub fn figure(value: f64) -> String {
    let size = value.abs();
    let decimals = match size {
        _ if !value.is_finite() || size >= 99.95 || size == 0.0 => 0,
        _ if size >= 9.995 => 1,
        _ if size >= 0.9995 => 2,
        _ if size >= 0.0995 => 3,
        _ => 4,
    };
    format!("{value:.decimals$}")
}

/// `180 µs`, `2.50 ms`, `2.31 s`, `4.2 min`, `1.5 h`.
pub fn time_ms(ms: f64) -> String {
    match ms {
        _ if ms == 0.0 => "0 ms".to_owned(),
        _ if ms < 0.9995 => format!("{} µs", figure(ms * 1e3)),
        _ if ms < 999.5 => format!("{} ms", figure(ms)),
        _ if ms < 119_950.0 => format!("{} s", figure(ms / 1e3)),
        _ if ms < 3_599_500.0 => format!("{} min", figure(ms / 60e3)),
        _ => format!("{} h", figure(ms / 3_600e3)),
    }
}

/// As [`time_ms`], of microseconds.
pub fn time_us(us: u64) -> String {
    time_ms(us as f64 / 1e3)
}

/// `31 %`, or with a decimal below ten.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent != 0.0 && percent.abs() < 9.95 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.0} %")
    }
}

/// `1.92 J`, `480 J`, `12.1 kJ`.
pub fn joules(joules: f64) -> String {
    match joules.abs() {
        size if size >= 9_995.0 => format!("{} kJ", figure(joules / 1e3)),
        size if size > 0.0 && size < 0.0995 => format!("{} mJ", figure(joules * 1e3)),
        _ => format!("{} J", figure(joules)),
    }
}

/// `1 token`, `2 tokens`.
pub fn count(number: u64, thing: &str) -> String {
    match (number, thing.strip_suffix('y')) {
        (1, _) => format!("1 {thing}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) => format!("{number} {thing}s"),
    }
}

/// A missing value.
pub const NONE: &str = "–";

/// A value in words, or [`NONE`].
pub fn or_none<T>(value: Option<T>, words: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| NONE.to_owned(), words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_people_read_them() {
        let figures = [0.0, 0.0123, 0.52, 5.214, 9.996, 48.04, 99.96, 1234.4].map(figure);
        let expected = [
            "0", "0.0123", "0.520", "5.21", "10.0", "48.0", "100", "1234",
        ];
        assert_eq!(figures, expected);
        let times = [180, 2_500, 2_310_000, 252_000_000, 9_000_000_000].map(time_us);
        assert_eq!(times, ["180 µs", "2.50 ms", "2.31 s", "4.20 min", "2.50 h"]);
        assert_eq!([0.0, 0.004, 0.312].map(percent), ["0 %", "0.4 %", "31 %"]);
        assert_eq!(
            [0.29, 12_100.0, 0.004].map(joules),
            ["0.290 J", "12.1 kJ", "4.00 mJ"]
        );
        assert_eq!(
            [1, 2].map(|n| count(n, "battery")),
            ["1 battery", "2 batteries"]
        );
        assert_eq!([0, 253_113_024].map(bytes), ["0 B", "253.1 MB"]);
    }
}
