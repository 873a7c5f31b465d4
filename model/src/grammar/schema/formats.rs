//! Patterns for the formats of strings.

/// Formats that the library enforces correctly.
const ENFORCED: [&str; 3] = ["ipv4", "ipv6", "uuid"];

const YEAR: &str = "(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})";
const DAY: &str = "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)\
                   |02-(?:0[1-9]|1[0-9]|2[0-8]))";
/// 29 February, in leap years only.
const LEAP_DAY: &str =
    "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)-02-29";
/// Without leap seconds, which most programs refuse.
const TIME: &str = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?\
                    (?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])";
/// A host name of at most four labels, the last of which is not a number.
const HOST: &str = "(?:[A-Za-z0-9](?:-?[A-Za-z0-9]){0,30}\\.){0,3}[A-Za-z](?:-?[A-Za-z0-9]){0,30}";
const MAILBOX: &str =
    "(?:[A-Za-z0-9_+-]{1,64}|[A-Za-z0-9_+-]{1,20}(?:\\.[A-Za-z0-9_+-]{1,20}){1,2})";
const MAIL_HOST: &str = "(?:[A-Za-z0-9](?:-?[A-Za-z0-9]){0,30}\\.){1,3}[A-Za-z]{2,24}";
const URI_CHAR: &str = "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})";
/// A part of a relative path, without `:`, which would end a scheme.
const SEGMENT: &str = "(?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2}){1,60}";
/// Digits of a number in a duration. A small model may write digits endlessly.
const COUNT: &str = "[0-9]{1,4}";
const POINTER: &str = "(?:/(?:[A-Za-z0-9_ .-]|~[01]){0,60}){0,8}";
/// A regular expression of which all dialects have the same understanding.
const REGEX: &str = "\\^?(?:(?:[A-Za-z0-9 _-]|\\\\[dDwWsS.]|\\[(?:a-z|A-Z|0-9|[A-Za-z0-9_]){1,20}\\])[+*?]?){0,60}\\$?";
const TEMPLATE: &str = "(?:[A-Za-z0-9._~:/?=&-]|\\{[A-Za-z_][A-Za-z0-9_]{0,30}\\}){1,120}";
/// Maximum characters per part of a URI, so that no program has to wait for a longer one.
const URI_PART: usize = 200;

/// Whether the library enforces this format correctly. By the standard, formats that it does not
/// define do not constrain a string.
pub(super) fn is_enforced(format: &str) -> bool {
    ENFORCED.contains(&format)
}

/// The pattern of a format of the standard that the library does not enforce, or too loosely:
/// impossible dates or unlimited length. It matches the same texts or fewer.
pub(super) fn pattern_of(format: &str) -> Option<String> {
    let date = || format!("(?:{YEAR}-{DAY}|{LEAP_DAY})");
    Some(match format {
        "date" => date(),
        "time" => TIME.to_owned(),
        "date-time" => format!("{}T{TIME}", date()),
        "duration" => duration(),
        "email" | "idn-email" => format!("{MAILBOX}@{MAIL_HOST}"),
        "hostname" | "idn-hostname" => HOST.to_owned(),
        "uri" | "iri" => uri(),
        "uri-reference" | "iri-reference" => format!("(?:{}|{})", uri(), relative()),
        "uri-template" => TEMPLATE.to_owned(),
        "json-pointer" => POINTER.to_owned(),
        // A validator in wide use refuses a number with a zero within.
        "relative-json-pointer" => format!("(?:0|[1-9]{{1,2}})(?:#|{POINTER})"),
        "regex" => REGEX.to_owned(),
        _ => return None,
    })
}

/// As in ISO 8601: a larger unit is followed by the next smaller one only.
fn duration() -> String {
    let units = |first: char, second: char, third: char| {
        format!(
            "(?:{COUNT}{first}(?:{COUNT}{second}(?:{COUNT}{third})?)?\
             |{COUNT}{second}(?:{COUNT}{third})?|{COUNT}{third})"
        )
    };
    let (date, time) = (units('Y', 'M', 'D'), units('H', 'M', 'S'));
    format!("P(?:{date}(?:T{time})?|T{time}|{COUNT}W)")
}

fn uri() -> String {
    let part = |chars: &str| format!("(?:{URI_CHAR}{chars}){{0,{URI_PART}}}");
    let (path, more) = (part("|/"), part("|[/?]"));
    format!(
        "(?:[A-Za-z][A-Za-z0-9+.-]{{0,15}}://{HOST}(?::[1-9][0-9]{{0,3}})?(?:/{path})?\
         |(?:mailto|urn|tel|data|news):{URI_CHAR}{path})(?:\\?{more})?(?:#{more})?"
    )
}

/// A URI without a scheme, such as `images/a.png?size=2`.
fn relative() -> String {
    let more = format!("(?:{URI_CHAR}){{0,60}}");
    format!("/?{SEGMENT}(?:/{SEGMENT}){{0,8}}/?(?:\\?{more})?(?:#{more})?")
}
