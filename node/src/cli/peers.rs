//! `potluck peers` and `potluck forget`.

use anyhow::bail;
use potluck::device::Device;
use potluck::home::Home;
use potluck::local::{MemberView, Reply, Request};
use serde::Serialize;

use super::nodes::{self, NodeArgs, Purpose};
use super::{Outcome, format, interrupt, output, person};

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
        output::line(&describe(member, &members))?;
    }
    if members.iter().all(|member| !member.this_device) {
        output::note("this device is in no circle: `potluck circle new` begins one");
    } else if members.len() < 2 {
        output::note("no other device is paired: `potluck pair` shows how");
    }
    Ok(Outcome::Done)
}

fn describe(member: &MemberView, all: &[MemberView]) -> String {
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
    line.push_str(&admitted(member, all));
    if let Some(profile) = &member.profile {
        let memory = format::bytes(profile.memory_budget_bytes);
        line.push_str(&format!("  {memory} offered, power {}", profile.power));
        if let Some(why) = &profile.unwilling {
            line.push_str(&format!("  does not help now: {why}"));
        }
    }
    line
}

/// Who made a device a member.
fn admitted(member: &MemberView, all: &[MemberView]) -> String {
    if member.admitted_by == member.peer_id {
        return "  began the circle".to_owned();
    }
    let by = all.iter().find(|other| other.peer_id == member.admitted_by);
    let by = by.map_or(&member.admitted_by, |by| &by.name);
    format!("  admitted by {by}")
}

/// End a device's membership: no device of the circle talks to it any more
#[derive(Debug, clap::Args)]
#[command(after_help = FORGET_EXAMPLES)]
pub(super) struct ForgetArgs {
    /// Its name or id, as `potluck peers` lists them; `self` is always this device
    device: String,
    /// Also remove all devices that it let in, and those that they did: for one that was stolen
    #[arg(long)]
    with_admitted: bool,
    /// Do not ask before this device leaves its circle
    #[arg(long)]
    yes: bool,
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
  potluck forget stolen-phone --with-admitted
  potluck forget self               leaves the circle; `potluck circle new` begins another

It holds here at once, and on each other device as soon as that hears of it.";

#[derive(Serialize)]
struct Forgotten {
    forgotten: String,
    peer_id: String,
    members: Vec<MemberView>,
}

pub(super) fn forget(args: ForgetArgs) -> anyhow::Result<Outcome> {
    let home = Home::from_environment()?;
    let cancel = interrupt::on_ctrl_c()?;
    let mut connected = nodes::connect(&home, &args.node, Purpose::Telling, None, &cancel)?;
    let mut members = connected.client.members()?.into_iter();
    let me = members.find(|member| member.this_device);
    let is_me = |me: MemberView| [me.name, me.peer_id].contains(&args.device);
    if args.device == "self" || me.is_some_and(is_me) {
        let leaves = "This device leaves its circle: no other computes for it any more.";
        person::confirm(leaves, args.yes)?;
    }
    let request = Request::Forget {
        device: args.device,
        with_admitted: args.with_admitted,
    };
    let Reply::Forgotten { peer_id, name } = connected.client.ask(&request)? else {
        bail!("the node answers as another version: end it and start it again");
    };
    // Of a node of this command, those who are connected hear it before it is gone.
    drop(connected);
    tell(&home, name, peer_id, args.json)?;
    Ok(Outcome::Done)
}

/// Says what the circle on the disk is now.
fn tell(home: &Home, name: String, peer_id: String, json: bool) -> anyhow::Result<()> {
    let device = Device::open(home)?;
    if device.circle.contains(peer_id.parse()?) {
        bail!("{name} is still in the circle on the disk: try again");
    }
    let me = device.peer_id();
    let members = device.circle.members();
    let members: Vec<_> = members.map(|m| MemberView::offline(m, me)).collect();
    if json {
        return output::json(&Forgotten {
            forgotten: name,
            peer_id,
            members,
        });
    }
    output::line(&format!("{name} ({peer_id}) is not paired any more"))?;
    if !device.circle.contains(me) {
        output::note("this device is in no circle now: `potluck circle new` begins one");
        return Ok(());
    }
    let names = members.iter().map(|member| match member.this_device {
        true => format!("{} (this device)", member.name),
        false => member.name.clone(),
    });
    let names: Vec<_> = names.collect();
    output::line(&format!("in the circle: {}", names.join(", ")))?;
    Ok(())
}
