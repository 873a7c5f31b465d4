//! `potluck circle`.

use anyhow::bail;
use clap::Subcommand;
use potluck::device::{Device, Key};
use potluck::home::Home;
use potluck::local::{Request, Socket};
use serde_json::json;

use super::failure::{self, Code};
use super::{Outcome, nodes, output, person};

/// Leave the circle, and begin a new one
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(NewArgs),
}

/// Leave the circle, and begin a new one of this device alone
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct NewArgs {
    /// Also give this device a new id, for a home that was copied from another device
    #[arg(long)]
    identity: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  potluck circle new                after the others forgot this device, or its log is full
  potluck circle new --identity     on the copy of a home that another device uses

Models, name and settings stay. The devices of the old circle that are not connected still list this
one: `potluck forget` on one of them. With --identity they list the device whose home was copied,
which keeps its id and its place among them.";

pub(super) fn run(args: Args) -> anyhow::Result<Outcome> {
    let Command::New(args) = args.command;
    let home = Home::from_environment()?;
    let others = others(&home);
    let leaves = match others.len() {
        0 => "This device begins a new circle of itself alone.".to_owned(),
        _ => format!("This device leaves its circle with {}.", others.join(", ")),
    };
    let also = if args.identity {
        " It gets a new id."
    } else {
        ""
    };
    person::confirm(&format!("{leaves}{also} This cannot be undone."), args.yes)?;
    // If the circle cannot be read, nothing is known of it.
    let id = || Device::open(&home).ok().map(|device| device.circle.id());
    let before = id();
    nodes::again_if_lost(|| match begin(&home, args.identity) {
        // The node that was lost may have done it already.
        Err(error) if nodes::is_lost(&error) && id() != before => Ok(()),
        begun => begun,
    })?;
    // As it is on the disk now.
    let device = Device::open(&home)?;
    let (peer_id, members) = (device.peer_id().to_string(), device.circle.member_count());
    if members != 1 || !device.circle.contains(device.peer_id()) {
        bail!("the circle on the disk is not a new one: try again");
    }
    if args.json {
        output::json(&json!({"circle": {"peer_id": peer_id, "members": members}}))?;
    } else {
        output::line(&format!(
            "{peer_id} has begun a new circle: `potluck pair` adds devices"
        ))?;
        if !others.is_empty() && !args.identity {
            output::note(&format!(
                "{} may still list this device: `potluck forget` on one of them",
                others.join(", ")
            ));
        }
    }
    Ok(Outcome::Done)
}

/// Begins a new circle through the running node, or directly.
fn begin(home: &Home, identity: bool) -> anyhow::Result<()> {
    match nodes::running(home)? {
        Some(_) if identity => {
            let words = "`potluck up` uses this device's id: end it first, then try again";
            return Err(failure::refusal(Code::Node, words));
        }
        Some(mut client) => drop(client.ask(&Request::NewCircle)?),
        None => {
            // Claimed so that no node starts while the files are replaced.
            let _claimed = Socket::claim(home)?;
            let key = if identity { Key::New } else { Key::Kept };
            let _ = Device::begin_anew(home, key)?;
        }
    }
    Ok(())
}

/// The names of the circle's other devices; none if the circle cannot be read or was left.
fn others(home: &Home) -> Vec<String> {
    let Ok(device) = Device::open(home) else {
        return Vec::new();
    };
    let me = device.peer_id();
    if !device.circle.contains(me) {
        return Vec::new();
    }
    let members = device.circle.members().filter(|member| member.peer != me);
    members
        .map(|member| member.name.as_str().to_owned())
        .collect()
}
