//! `potluck pair`.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use anyhow::bail;
use potluck::Cancel;
use potluck::device::Device;
use potluck::home::Home;
use potluck::local::{Client, Reply, Request};
use qrcode::render::unicode;
use qrcode::{EcLevel, QrCode};
use serde_json::json;

use super::nodes::{self, NodeArgs, Purpose};
use super::{Outcome, interrupt, output};

/// Pair with another device: show an invitation, or use one
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The other device's invitation; without it, show one
    invitation: Option<String>,
    /// What this device is called from now on
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How long the invitation can be used, in minutes
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    #[command(flatten)]
    node: NodeArgs,
    /// Print JSON lines: {"invitation": …} at once where one is shown, then {"paired": …}
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  potluck pair                      on one device: shows a code
  potluck pair POTLUCK:…            on the other: its text, or what the code says
  potluck pair --name kitchen --json

Whoever has the invitation can join, once, and within its time: show it to nobody else. A device
that pairs with one device of a circle is paired with all of them.";

/// How often waiting looks for Ctrl-C.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long joining may take, beyond the machine's own limits.
const JOINING: Duration = Duration::from_secs(40);

pub(super) fn run(args: Args) -> anyhow::Result<Outcome> {
    let home = Home::from_environment()?;
    let name = match &args.name {
        Some(name) => Some(name.clone()),
        None if args.json => None,
        None => ask_name(&home)?,
    };
    let cancel = interrupt::on_ctrl_c()?;
    let mut connected = nodes::connect(&home, &args.node, Purpose::Pairing, None, &cancel)?;
    let client = &mut connected.client;
    let paired = match &args.invitation {
        Some(text) => join(client, text, name, &cancel)?,
        None => invite(client, &args, name, &cancel)?,
    };
    let Some((peer_id, name)) = paired else {
        return Ok(Outcome::Interrupted);
    };
    if args.json {
        output::json(&json!({"paired": {"peer_id": peer_id, "name": name}}))?;
    } else {
        output::line(&format!("paired with {name} ({peer_id})"))?;
    }
    // The other device is to hear that all was taken before this one is gone.
    std::thread::sleep(Duration::from_millis(300));
    Ok(Outcome::Done)
}

/// What the person calls this device, if it has no name of its own yet and somebody is there to say.
fn ask_name(home: &Home) -> anyhow::Result<Option<String>> {
    if !io::stdin().is_terminal() || !output::stderr_is_terminal() {
        return Ok(None);
    }
    let device = Device::open(home)?;
    if device.is_named() {
        return Ok(None);
    }
    let proposed = device.name.as_str();
    output::note(&format!("What is this device called? [{proposed}]"));
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    let name = line.trim();
    let name = if name.is_empty() { proposed } else { name };
    Ok(Some(name.to_owned()))
}

fn invite(
    client: &mut Client,
    args: &Args,
    name: Option<String>,
    cancel: &Cancel,
) -> anyhow::Result<Option<(String, String)>> {
    let text = client.invite(args.minutes * 60, name)?;
    if args.json {
        output::json(&json!({"invitation": text}))?;
    } else {
        let code = QrCode::with_error_correction_level(&text, EcLevel::L)?;
        let picture = code.render::<unicode::Dense1x2>().build();
        output::line(&format!("{picture}\n\n{text}\n"))?;
        output::note(&format!(
            "On the other device: potluck pair, with this text or what the code says; within {} \
             minutes. Ctrl-C withdraws it.",
            args.minutes
        ));
    }
    loop {
        match client.next(PATIENCE)? {
            Some((Reply::Paired { peer_id, name }, _)) => return Ok(Some((peer_id, name))),
            Some((Reply::PairingFailed { peer_id, words }, _)) => {
                output::note(&format!("{peer_id} tried and failed: {words}"));
            }
            Some((Reply::PairingOver { words }, _)) => {
                bail!("the invitation cannot be used any more: {words}");
            }
            Some(_) => {}
            None if cancel.is_cancelled() => return Ok(None),
            None => {}
        }
    }
}

fn join(
    client: &mut Client,
    text: &str,
    name: Option<String>,
    cancel: &Cancel,
) -> anyhow::Result<Option<(String, String)>> {
    let request = Request::Join {
        invitation: text.to_owned(),
        name,
    };
    client.send(&request, &[])?;
    let started = std::time::Instant::now();
    loop {
        match client.next(PATIENCE)? {
            Some((Reply::Paired { peer_id, name }, _)) => return Ok(Some((peer_id, name))),
            Some(_) => {}
            None if cancel.is_cancelled() => return Ok(None),
            None if started.elapsed() > JOINING => {
                bail!("the device that invites does not answer: are both in the same network?");
            }
            None => {}
        }
    }
}
