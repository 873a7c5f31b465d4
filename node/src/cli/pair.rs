//! `potluck pair`.

mod session;

use std::io::{self, Read as _};

use anyhow::{Context as _, bail};
use potluck::device::Device;
use potluck::home::Home;
use potluck::local::PairingWish;
use potluck_protocol::pairing::Invitation;
use serde_json::json;

use super::failure::{self, Code};
use super::nodes::{self, NodeArgs, Purpose};
use super::person::{self, Person};
use super::{Outcome, interrupt, output};
use session::{Pairing, Session};

/// Pair with another device: show an invitation, or use one
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// `-` uses the other device's invitation, read from standard input or asked for; without it, show
    /// one. The invitation itself is taken here, too, but other users of this device can see it then
    invitation: Option<String>,
    /// Only let the other device join this one's circle; without a terminal, agree to that
    #[arg(long, conflicts_with = "join")]
    admit: bool,
    /// Only join the other device's circle; without a terminal, agree to that
    #[arg(long)]
    join: bool,
    /// What this device is called from now on
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How long the invitation can be used, in minutes
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1440), conflicts_with = "invitation")]
    minutes: u64,
    /// Ask nothing and print JSON lines: `invitation`, if this device shows one, and again with another
    /// text if the node that it was of ends (the earlier one is void); `proposed` (its `change` is
    /// `they_join`, `we_join`, `begin` or `renew`, and `clock_ahead_s` a number where the two clocks do
    /// not agree); and `paired`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeArgs,
}

const EXAMPLES: &str = "\
Examples:
  potluck pair                      on both devices: give one the text that the other shows
  potluck pair -                    asks for the other's invitation at once
  potluck pair --admit --name kitchen --json
  echo POTLUCK:… | potluck pair - --join

Both owners see who the other device is, who joins whose circle and who is in it, and agree before
anything changes. A device that joins a circle is paired with all of its devices. Whoever has the
invitation can ask to pair, once, and within its time: show it to nobody else.";

pub(super) fn run(args: Args) -> anyhow::Result<Outcome> {
    let home = Home::from_environment()?;
    let wish = match (args.admit, args.join) {
        (true, _) => PairingWish::Admits,
        (_, true) => PairingWish::Joins,
        _ => PairingWish::Asks,
    };
    let person = if args.json { None } else { Person::there() };
    if person.is_none() && wish == PairingWish::Asks {
        let words = "nobody is asked here: say --admit to let the other device join this one's circle, \
                     or --join to join the other's";
        return Err(failure::refusal(Code::Usage, words));
    }
    let invitation = match args.invitation.as_deref() {
        None => None,
        Some("-") => Some(read_invitation(person.as_ref())?),
        Some(text) => {
            output::note(
                "note: other users of this device can see an invitation among the arguments; `potluck \
                 pair -` reads it from standard input",
            );
            Some(text.to_owned())
        }
    };
    if let Some(text) = &invitation {
        // Checked before a node is started.
        text.parse::<Invitation>()?;
    }
    let name = match (&args.name, &person) {
        (Some(name), _) => Some(name.clone()),
        (None, Some(person)) => ask_name(&home, person)?,
        (None, None) => None,
    };
    let cancel = interrupt::on_ctrl_c()?;
    let connected = nodes::connect(&home, &args.node, Purpose::Pairing, None, &cancel)?;
    let mut session = Session {
        home: &home,
        args: &args.node,
        own: connected.own,
        client: connected.client,
        person,
        json: args.json,
        wish,
        name,
        invitation,
        before: Device::open(&home).ok().map(|device| device.circle),
        agreed: None,
        cancel,
    };
    let paired = session.pair(args.minutes).and_then(|paired| {
        let Some(paired) = paired else {
            return Ok(Outcome::Interrupted);
        };
        check_stored(&home, &paired)?;
        tell(&paired, args.json)?;
        Ok(Outcome::Done)
    });
    // A node of this command ends only when the other device has received the last message.
    drop(session);
    paired.map_err(|error| failure::of_kind(Code::Node, error))
}

/// Reads the other device's invitation from the person or standard input.
fn read_invitation(person: Option<&Person>) -> anyhow::Result<String> {
    if let Some(person) = person {
        output::note("Paste the other device's invitation, or type it, and press Enter:");
        return person.wait().context("no invitation was given");
    }
    let mut text = String::new();
    let most = Invitation::MAX_TEXT_BYTES as u64;
    let read = io::stdin().take(most + 1).read_to_string(&mut text);
    read.context("cannot read the invitation from standard input")?;
    if text.trim().is_empty() {
        let words = "no invitation on standard input: pipe the text that the other device shows";
        return Err(failure::refusal(Code::Input, words));
    }
    Ok(text)
}

/// Asks for this device's name, if it has none yet.
fn ask_name(home: &Home, person: &Person) -> anyhow::Result<Option<String>> {
    let device = Device::open(home)?;
    if device.is_named() || !person::is_there() {
        return Ok(None);
    }
    let proposed = device.name.as_str();
    output::note(&format!("What is this device called? [{proposed}]"));
    let line = person.wait().unwrap_or_default();
    let name = if line.is_empty() { proposed } else { &line };
    Ok(Some(name.to_owned()))
}

/// Checks that the circle on disk has the other device before success is reported.
fn check_stored(home: &Home, paired: &Pairing) -> anyhow::Result<()> {
    let device = Device::open(home)?;
    if device.circle.contains(paired.peer_id.parse()?) {
        Ok(())
    } else {
        bail!(
            "the circle on the disk does not have {} in it: pair again",
            paired.name
        )
    }
}

fn tell(paired: &Pairing, json: bool) -> anyhow::Result<()> {
    let Pairing { peer_id, name } = paired;
    if json {
        output::json(&json!({"paired": {"peer_id": peer_id, "name": name}}))
    } else {
        Ok(output::line(&format!("paired with {name} ({peer_id})"))?)
    }
}
