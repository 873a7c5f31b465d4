//! `potluck peers` and `potluck forget`.

use potluck::device::Device;
use potluck::home::Home;
use potluck::local::{MemberView, Request};
use serde::Serialize;

use super::nodes::{self, NodeArgs, Purpose};
use super::{Outcome, format, interrupt, output};

/// List the paired devices
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  potluck peers
  potluck peers --json

Whether a device is connected is known while `potluck up` runs.";

#[derive(Serialize)]
struct Report {
    members: Vec<MemberView>,
}

pub(super) fn run(args: Args) -> anyhow::Result<Outcome> {
    let home = Home::from_environment()?;
    let told = nodes::running(&home)?.map(|mut client| client.members());
    let members = match told {
        Some(Ok(members)) => members,
        Some(Err(error)) if !error.is_lost() => return Err(error.into()),
        // None runs, or it was another command's, which has ended.
        Some(Err(_)) | None => {
            let device = Device::open(&home)?;
            let me = device.peer_id();
            let members = device.circle.members();
            members
                .map(|member| MemberView::offline(member, me))
                .collect()
        }
    };
    if args.json {
        output::json(&Report { members })?;
        return Ok(Outcome::Done);
    }
    for member in &members {
        output::line(&describe(member))?;
    }
    if members.len() < 2 {
        output::note("no other device is paired: `potluck pair` shows how");
    }
    Ok(Outcome::Done)
}

fn describe(member: &MemberView) -> String {
    let state = match (member.this_device, member.connected) {
        (true, _) => "this device".to_owned(),
        (false, Some(true)) => match &member.link {
            Some(link) => format!("connected, {:.1} ms", link.round_trip_ms),
            None => "connected".to_owned(),
        },
        (false, Some(false)) => "not connected".to_owned(),
        (false, None) => "paired".to_owned(),
    };
    let mut line = format!("{}  {}  {state}", member.peer_id, member.name);
    if let Some(profile) = &member.profile {
        let memory = format::bytes(profile.memory_budget_bytes);
        line.push_str(&format!("  {memory} offered, power {}", profile.power));
        if let Some(why) = &profile.unwilling {
            line.push_str(&format!("  does not help now: {why}"));
        }
    }
    line
}

/// End a device's membership: no device of the circle talks to it any more
#[derive(Debug, clap::Args)]
#[command(after_help = FORGET_EXAMPLES)]
pub(super) struct ForgetArgs {
    /// Its name or id, as `potluck peers` lists them
    device: String,
    #[command(flatten)]
    node: NodeArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const FORGET_EXAMPLES: &str = "\
Examples:
  potluck forget tablet
  potluck forget 12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp

It holds here at once, and on each other device as soon as that hears of it.";

#[derive(Serialize)]
struct Forgotten {
    forgotten: String,
}

pub(super) fn forget(args: ForgetArgs) -> anyhow::Result<Outcome> {
    let home = Home::from_environment()?;
    let cancel = interrupt::on_ctrl_c()?;
    let mut connected = nodes::connect(&home, &args.node, Purpose::Telling, None, &cancel)?;
    let request = Request::Forget {
        device: args.device.clone(),
    };
    connected.client.ask(&request)?;
    if args.json {
        output::json(&Forgotten {
            forgotten: args.device,
        })?;
    } else {
        output::line(&format!("{} is not paired any more", args.device))?;
    }
    Ok(Outcome::Done)
}
