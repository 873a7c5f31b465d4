//! `potluck guests`.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args as ClapArgs, Subcommand};
use potluck::catalogue::{self, ModelsFolder};
use potluck::guests::{ALL_MODELS, DEFAULT_MODEL, Guest, GuestBook, Limits, Usage, shared_url};
use potluck::home::Home;
use potluck::log::time_of;
use potluck::serve::day_of;
use qrcode::render::unicode;
use qrcode::{EcLevel, QrCode};
use serde::Serialize;
use serde_json::json;
use time::{Date, Month};

use super::failure::{self, Code};
use super::{Outcome, output};

/// List, add, limit and remove the guests who use this device's API
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(ListArgs),
    Add(AddArgs),
    Set(SetArgs),
    #[command(visible_aliases = ["rm", "revoke"])]
    Remove(RemoveArgs),
}

/// List the guests, what they may use and what they used today; so does `potluck guests`
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  potluck guests list\n  potluck guests list --json")]
struct ListArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  potluck guests
  potluck guests add anna --tokens-a-day 20000 --until 2027-01-31
  potluck guests set anna --model gemma3:270m --model smollm2:135m
  potluck guests remove anna

Guests use the API of `potluck serve --share` by HTTPS, each with a token of their own. They join by the
code or the PIN on its screen, or get the token that `add` prints. They may ask models and list them, and
nothing else; the owner's requests go first. A server that runs follows each change at once: the running
answers of a guest who is removed end.

This device made the certificate of the shared API itself. Guests' programs have to trust it: the page by
which people join offers it as a file, and so does https://ADDRESS/guests/certificate.pem.";

/// Add a guest, and print its token
#[derive(Debug, ClapArgs)]
#[command(after_help = ADD_EXAMPLES)]
struct AddArgs {
    /// What the guest is called
    name: String,
    #[command(flatten)]
    limits: LimitArgs,
    /// Where the API is shared, such as https://192.168.1.5:11436, for the code that leads there [default:
    /// where `potluck serve --share` shares it now]
    #[arg(long, value_name = "URL", value_parser = share_url)]
    at: Option<String>,
    /// Print one JSON object, with the token
    #[arg(long)]
    json: bool,
}

const ADD_EXAMPLES: &str = "\
Examples:
  potluck guests add anna
  potluck guests add anna --requests 10 --at-once 1 --until never
  potluck guests add anna --at https://192.168.1.5:11436

The token is shown once and kept nowhere on this device: only its hash is. While the API is shared, a code
is shown, too: the guest's camera opens a page with the address and the token.";

/// Change what a guest may use
#[derive(Debug, ClapArgs)]
#[command(after_help = SET_EXAMPLES)]
struct SetArgs {
    /// What the guest is called
    name: String,
    #[command(flatten)]
    limits: LimitArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const SET_EXAMPLES: &str = "\
Examples:
  potluck guests set anna --tokens-a-day 500000
  potluck guests set anna --model all --until never

What is not given stays as it is.";

/// Remove a guest: its token ends at once, and so do its running answers
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:\n  potluck guests remove anna")]
struct RemoveArgs {
    /// What the guest is called
    name: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What a guest may use.
#[derive(Debug, ClapArgs)]
struct LimitArgs {
    /// Tokens of prompts and answers a day, which begins at midnight UTC [new guests: 100000]
    #[arg(long, value_name = "N")]
    tokens_a_day: Option<u64>,
    /// Requests a minute [new guests: 30]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    requests: Option<u32>,
    /// Answers at the same time [new guests: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    at_once: Option<u32>,
    /// A model that the guest may use, by name; `default` for the one of `serve --model`, `all` for every
    /// one; may be given several times [new guests: default]
    #[arg(long, value_name = "MODEL")]
    model: Vec<String>,
    /// The last day, such as 2027-01-31, or a number of days, such as 7d, or never [new guests: 30d]
    #[arg(long, value_name = "WHEN", value_parser = until)]
    until: Option<Until>,
}

/// When a guest's time is over, in seconds since 1970; never if `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Until(Option<u64>);

impl LimitArgs {
    fn is_empty(&self) -> bool {
        let Self {
            tokens_a_day,
            requests,
            at_once,
            model,
            until,
        } = self;
        let numbers = tokens_a_day.is_none() && requests.is_none() && at_once.is_none();
        numbers && model.is_empty() && until.is_none()
    }

    fn change(&self, limits: &mut Limits) {
        if let Some(tokens) = self.tokens_a_day {
            limits.tokens_a_day = tokens;
        }
        if let Some(requests) = self.requests {
            limits.requests_a_minute = requests;
        }
        if let Some(answers) = self.at_once {
            limits.at_once = answers;
        }
        if !self.model.is_empty() {
            limits.models.clone_from(&self.model);
        }
        if let Some(Until(until)) = self.until {
            limits.until = until;
        }
    }
}

/// A guest, as it is listed.
#[derive(Serialize)]
struct Listed {
    name: String,
    since: String,
    last_seen: Option<String>,
    tokens_today: u64,
    is_over: bool,
    limits: Limits,
}

impl Listed {
    fn new(guest: &Guest, usage: &Usage) -> Self {
        let now = SystemTime::now();
        Self {
            name: guest.name.clone(),
            since: moment(guest.since),
            last_seen: usage.seen(guest.id).map(moment),
            tokens_today: usage.used(guest.id, day_of(now)),
            is_over: guest.limits.is_over(now),
            limits: guest.limits.clone(),
        }
    }

    fn words(&self) -> String {
        let Self {
            name,
            since,
            last_seen,
            tokens_today,
            is_over,
            limits,
        } = self;
        let seen = match last_seen {
            Some(seen) => format!("last seen {}", for_people(seen)),
            None => "not seen yet".to_owned(),
        };
        let over = if *is_over { "  (its time is over)" } else { "" };
        let most = limits.tokens_a_day;
        let since = for_people(since);
        format!(
            "{name}  since {since}, {seen}{over}\n  {tokens_today} of {most} tokens used today\n  {}",
            limits_in_words(limits)
        )
    }
}

pub(super) fn run(args: Args) -> anyhow::Result<Outcome> {
    let home = Home::from_environment()?;
    let book = GuestBook::of(&home);
    match args.command {
        None => list(&home, &book, args.json)?,
        Some(Command::List(args)) => list(&home, &book, args.json)?,
        Some(Command::Add(args)) => add(&home, &book, &args)?,
        Some(Command::Set(args)) => {
            if args.limits.is_empty() {
                let words =
                    "there is nothing to change: give a limit, such as --tokens-a-day 20000";
                return Err(failure::refusal(Code::Usage, words));
            }
            let guest = book.set(&args.name, |limits| args.limits.change(limits))?;
            tell(&home, &guest, args.json)?;
            warn_of_models(&home, &args.limits.model);
        }
        Some(Command::Remove(args)) => {
            let guest = book.remove(&args.name)?;
            match args.json {
                true => output::json(&json!({"removed": guest.name}))?,
                false => output::line(&format!("{} is no guest any more", guest.name))?,
            }
        }
    }
    Ok(Outcome::Done)
}

fn list(home: &Home, book: &GuestBook, json: bool) -> anyhow::Result<()> {
    let usage = Usage::of(home);
    let guests = book.read()?;
    let listed = guests.iter().map(|guest| Listed::new(guest, &usage));
    let listed: Vec<_> = listed.collect();
    if json {
        return output::json(&json!({"guests": listed}));
    }
    for guest in &listed {
        output::line(&guest.words())?;
    }
    if listed.is_empty() {
        output::note(
            "there are no guests: `potluck serve --share` shows how they join, and `potluck guests add` \
             adds one",
        );
    }
    Ok(())
}

/// Warns of names that no model on this device has.
fn warn_of_models(home: &Home, names: &[String]) {
    let folder = fs::read_dir(ModelsFolder::of(home).folder());
    let files: Vec<_> = folder.into_iter().flatten().flatten().collect();
    let is_file = |name: &str| {
        let is_called = |path: &Path| {
            let names = [path.file_name(), path.file_stem()];
            let mut names = names.into_iter().flatten();
            names.any(|called| called.eq_ignore_ascii_case(name))
        };
        files.iter().any(|file| is_called(&file.path()))
    };
    for name in names {
        let is_known = [DEFAULT_MODEL, ALL_MODELS].contains(&name.as_str());
        if !is_known && catalogue::find(name).is_none() && !is_file(name) {
            output::note(&format!(
                "no model on this device is called \"{name}\": the guest can use it only if `potluck serve` \
                 has an alias or a file of this name"
            ));
        }
    }
}

fn tell(home: &Home, guest: &Guest, json: bool) -> anyhow::Result<()> {
    let listed = Listed::new(guest, &Usage::of(home));
    match json {
        true => output::json(&json!({"guest": listed})),
        false => Ok(output::line(&listed.words())?),
    }
}

fn add(home: &Home, book: &GuestBook, args: &AddArgs) -> anyhow::Result<()> {
    let now = SystemTime::now();
    let mut limits = Limits::usual(now);
    args.limits.change(&mut limits);
    let (guest, token) = book.add(&args.name, limits, now)?;
    let (name, token) = (&guest.name, token.text());
    let url = args.at.clone().or_else(|| shared_url(home));
    let url = url.map(|url| url.trim_end_matches('/').to_owned());
    let link = url.as_ref().map(|url| {
        // Browsers do not send what is behind the `#`.
        format!("{url}/join#token={token}&name={}", encoded(name))
    });
    if args.json {
        let (since, limits) = (moment(guest.since), &guest.limits);
        let object = json!({
            "name": name, "since": since, "token": token, "join": link, "limits": limits,
        });
        return output::json(&json!({"guest": object}));
    }
    if let Some(link) = link {
        output::line(&format!("{}\n", picture(&link)?))?;
    }
    output::line(token)?;
    output::note(&format!(
        "this is {name}'s token (API key), shown only now\n{name} {}",
        limits_in_words(&guest.limits)
    ));
    if let Some(url) = url {
        output::note(&format!(
            "its programs use {url}/v1, and trust the certificate in {url}/guests/certificate.pem"
        ));
    }
    warn_of_models(home, &args.limits.model);
    Ok(())
}

/// A code for cameras.
pub(super) fn picture(text: &str) -> anyhow::Result<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L)?;
    Ok(code.render::<unicode::Dense1x2>().build())
}

fn limits_in_words(limits: &Limits) -> String {
    let Limits {
        tokens_a_day,
        requests_a_minute,
        at_once,
        models,
        until,
    } = limits;
    let model = |name: &String| match name.as_str() {
        DEFAULT_MODEL => "the default model".to_owned(),
        ALL_MODELS => "all models".to_owned(),
        name => name.to_owned(),
    };
    let models: Vec<_> = models.iter().map(model).collect();
    let until = until.map_or_else(
        || "no end".to_owned(),
        |until| format!("until {}", for_people(&moment(until))),
    );
    format!(
        "may use {}: {tokens_a_day} tokens a day, {requests_a_minute} {} a minute, {at_once} at once, {until}",
        models.join(", "),
        if *requests_a_minute == 1 {
            "request"
        } else {
            "requests"
        },
    )
}

fn moment(seconds: u64) -> String {
    // Further than any clock that a file is read with.
    let seconds = Duration::from_secs(seconds.min(u64::from(u32::MAX)));
    time_of(UNIX_EPOCH + seconds)
}

/// A moment to the minute: `2027-01-31 08:15 UTC`.
fn for_people(moment: &str) -> String {
    match (moment.get(..10), moment.get(11..16)) {
        (Some(day), Some(minute)) => format!("{day} {minute} UTC"),
        _ => moment.to_owned(),
    }
}

/// As much of a name as an address needs to have in another way.
fn encoded(name: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    name.bytes().map(byte).collect()
}

fn share_url(text: &str) -> Result<String, String> {
    match text
        .strip_prefix("https://")
        .is_some_and(|rest| !rest.is_empty())
    {
        true => Ok(text.to_owned()),
        false => Err(
            "write the address that `potluck serve --share` shows, like https://192.168.1.5:11436"
                .to_owned(),
        ),
    }
}

fn until(text: &str) -> Result<Until, String> {
    const WRONG: &str = "write a day like 2027-01-31, a number of days like 7d, or never";
    if text == "never" {
        return Ok(Until(None));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_secs();
    let day = 24 * 60 * 60;
    if let Some(days) = text.strip_suffix('d') {
        let days: u32 = days.parse().map_err(|_| WRONG)?;
        let days = u64::from(days.min(36_500));
        return Ok(Until(Some(now + days * day)));
    }
    let mut parts = text.splitn(3, '-');
    let (Some(year), Some(month), Some(of_month)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err(WRONG.to_owned());
    };
    let last = (|| {
        let year = year
            .parse()
            .ok()
            .filter(|year| (1970..=2099).contains(year))?;
        let month = Month::try_from(month.parse::<u8>().ok()?).ok()?;
        Date::from_calendar_date(year, month, of_month.parse().ok()?).ok()
    })();
    // To the end of that day.
    let end = last.and_then(Date::next_day).ok_or(WRONG)?;
    let seconds = end.midnight().assume_utc().unix_timestamp();
    Ok(Until(u64::try_from(seconds).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_the_last_one_and_never_is_no_end() {
        assert_eq!(until("never"), Ok(Until(None)));
        assert_eq!(until("1970-01-01"), Ok(Until(Some(86_400))));
        // 2028-03-01T00:00:00Z
        assert_eq!(until("2028-02-29"), Ok(Until(Some(1_835_481_600))));
        assert!(matches!(until("7d"), Ok(Until(Some(_)))));
        for wrong in [
            "2027-02-29",
            "2027-13-01",
            "2027-1",
            "tomorrow",
            "d",
            "2027-01-32",
            "",
        ] {
            assert!(until(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_in_addresses_are_written_as_addresses_have_them() {
        assert_eq!(encoded("Ann a&=ä"), "Ann%20a%26%3D%C3%A4");
        assert_eq!(for_people(&moment(86_460)), "1970-01-02 00:01 UTC");
        assert!(share_url("https://192.168.1.5:11436").is_ok());
        assert!(share_url("http://192.168.1.5").is_err() && share_url("https://").is_err());
    }
}
