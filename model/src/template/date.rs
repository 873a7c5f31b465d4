//! Dates for templates that tell the model the current date.

/// A date of the Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

impl Date {
    /// Creates a date; months and days start at 1. Returns `None` for a date that does not exist or
    /// a year without four digits.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let valid = (1000..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=days_of(year, month)).contains(&day);
        valid.then_some(Self { year, month, day })
    }

    /// The date this many days after 1 January 1970.
    pub fn from_unix_days(days: u32) -> Option<Self> {
        let mut rest = days;
        for year in 1970..=9999 {
            for month in 1..=12 {
                let length = days_of(year, month).into();
                if rest < length {
                    return Self::new(year, month, rest as u8 + 1);
                }
                rest -= length;
            }
        }
        None
    }

    /// Formats the date in English by a format of C's `strftime`. Returns `None` for a directive
    /// that is not about the date (supported: `%d %e %j %a %A %b %B %m %y %Y %F %D %%`, with `-`
    /// for no leading zero).
    pub(super) fn format(self, format: &str) -> Option<String> {
        let mut formatted = String::new();
        let mut chars = format.chars();
        while let Some(char) = chars.next() {
            if char != '%' {
                formatted.push(char);
                continue;
            }
            let mut directive = chars.next()?;
            let unpadded = directive == '-';
            if unpadded {
                directive = chars.next()?;
            }
            let text = self.field(directive)?;
            formatted.push_str(if unpadded {
                text.trim_start_matches(['0', ' '])
            } else {
                &text
            });
        }
        Some(formatted)
    }

    fn field(self, directive: char) -> Option<String> {
        let Self { year, month, day } = self;
        let month_name = MONTHS[usize::from(month) - 1];
        let weekday = WEEKDAYS[self.weekday()];
        Some(match directive {
            'd' => format!("{day:02}"),
            'e' => format!("{day:2}"),
            'j' => format!("{:03}", self.day_of_year()),
            'a' => weekday[..3].into(),
            'A' => weekday.into(),
            'b' | 'h' => month_name[..3].into(),
            'B' => month_name.into(),
            'm' => format!("{month:02}"),
            'y' => format!("{:02}", year % 100),
            'Y' => year.to_string(),
            'F' => format!("{year}-{month:02}-{day:02}"),
            'D' => format!("{month:02}/{day:02}/{:02}", year % 100),
            '%' => "%".into(),
            _ => return None,
        })
    }

    fn day_of_year(self) -> u16 {
        let before = (1..self.month).map(|month| u16::from(days_of(self.year, month)));
        before.sum::<u16>() + u16::from(self.day)
    }

    /// Days since Sunday.
    fn weekday(self) -> usize {
        // 1 January of year 1 was a Monday, and a common year has 52 weeks and a day.
        let years = usize::from(self.year) - 1;
        (years + years / 4 - years / 100 + years / 400 + usize::from(self.day_of_year())) % 7
    }
}

fn days_of(year: u16, month: u8) -> u8 {
    let is_leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "a test that unwraps fails with the error"
    )]

    use super::*;

    #[test]
    fn the_calendar_has_its_leap_years() {
        assert!(Date::new(2024, 2, 29).is_some());
        assert!(Date::new(2100, 2, 29).is_none());
        assert!(Date::new(2000, 2, 29).is_some());
        assert!(Date::new(2024, 13, 1).is_none());
        assert!(Date::new(2024, 4, 31).is_none());
        assert!(Date::new(2024, 4, 0).is_none());
        assert_eq!(Date::from_unix_days(0), Date::new(1970, 1, 1));
        assert_eq!(Date::from_unix_days(19_782), Date::new(2024, 2, 29));
        assert_eq!(Date::from_unix_days(u32::MAX), None);
    }

    #[test]
    fn formats_are_those_of_c() {
        let format = |format| Date::new(2024, 7, 6).unwrap().format(format);
        assert_eq!(format("%d %b %Y").unwrap(), "06 Jul 2024");
        assert_eq!(format("%A, %B %-d, %y").unwrap(), "Saturday, July 6, 24");
        assert_eq!(format("%F %j 100%%").unwrap(), "2024-07-06 188 100%");
        assert_eq!(format("%H:%M"), None);
        assert_eq!(format("%"), None);
        let weekday = |y, m, d| Date::new(y, m, d).unwrap().format("%a").unwrap();
        assert_eq!(weekday(1970, 1, 1), "Thu");
        assert_eq!(weekday(2000, 2, 29), "Tue");
        assert_eq!(weekday(2026, 12, 31), "Thu");
    }
}
