//! `potluck up`.

mod told;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use potluck::home::Home;
use potluck::local::{Client, Reply, Request, ServeError};
use potluck::net::Multiaddr;
use potluck::{Cancel, OwnerLimits, offered_models};
use serde_json::json;

use super::failure::{self, Code};
use super::nodes::{self, NodeArgs, OwnNode, OwnerWishes, Purpose};
use super::options::{PackArgs, threads};
use super::{Outcome, format, interrupt, output};
pub(super) use told::Teller;

/// Compute layers for paired devices until Ctrl-C
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Processor threads to compute with [default: the cores that help]
    #[arg(long, short, value_name = "N", value_parser = threads)]
    threads: Option<NonZeroUsize>,
    /// A model file to offer layers of, beside those in the models folder; may be given several times
    #[arg(long, value_name = "FILE")]
    model: Vec<PathBuf>,
    /// Print one JSON line when ready, {"listening": […], "peer_id": …, "caveats": {…}}, and one for each
    /// event, {"event": "connected", "name": …}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    helping: HelpingArgs,
    #[command(flatten)]
    pack: PackArgs,
}

/// Options: when a device helps others, and what it stores for them.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct HelpingArgs {
    /// Disk space for weights received from paired devices, such as 5G; 0 for none [default: half of
    /// the free space, at most 20G]
    #[arg(long, value_name = "SIZE", value_parser = format::parse_bytes)]
    store: Option<u64>,
    /// Help only while plugged in
    #[arg(long)]
    only_when_charging: bool,
    /// Do not help below this battery level, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    min_battery: u8,
}

impl HelpingArgs {
    fn wishes(&self) -> OwnerWishes {
        OwnerWishes {
            limits: OwnerLimits {
                only_when_charging: self.only_when_charging,
                min_battery_percent: self.min_battery,
            },
            store: self.store,
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  potluck up
  potluck up --memory 800M --only-when-charging
  potluck up --json --no-mdns --listen /ip4/127.0.0.1/tcp/0

Only paired devices can connect. This device fetches layers that it lacks from devices that have
them, and keeps them; it gives layers of its own models to devices that lack them. They cannot see
any other file. While this command runs, other commands of the same home use its node.
It prints who connects, for whom it computes and whom it refuses; `potluck log` shows more.";

/// How often a wait checks for Ctrl-C.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);
/// How long a stopping node waits for other devices to take over its layers.
const HAND_OVER: Duration = Duration::from_secs(3);

pub(super) fn run(mut args: Args) -> anyhow::Result<Outcome> {
    let home = Home::from_environment()?;
    args.node.packed = args.pack.store(&home, false);
    let cancel = interrupt::on_ctrl_c()?;
    let Some(own) = start(&home, &args.node, args.threads, &args.helping, &cancel)? else {
        return Ok(Outcome::Interrupted);
    };
    let mut events = own.local.node.events()?;
    add_models(&home, &args.model, &own, &cancel)?;
    let addresses = listening(&own, &cancel)?;
    let peer_id = own.local.node.peer_id().to_string();
    let caveats = own.local.node.look_at_device()?;
    if args.json {
        output::json(&json!({"listening": addresses, "peer_id": peer_id, "caveats": caveats}))?;
    } else {
        output::line(&format!("{peer_id} is up"))?;
        for address in &addresses {
            output::line(&format!("listening on {address}"))?;
        }
        for line in caveats.in_words(&format::bytes) {
            output::note(&line);
        }
        output::note("Ctrl-C ends it");
    }
    let mut teller = Teller::new(&own, args.json)?;
    while !cancel.is_cancelled() {
        std::thread::sleep(PATIENCE);
        while let Ok(event) = events.try_recv() {
            teller.tell(event);
        }
        // Fails only if one of the node's threads has.
        own.local.node.is_idle()?;
    }
    leave(&own)?;
    Ok(Outcome::Interrupted)
}

/// Starts this home's node once no other command runs one; `None` after Ctrl-C.
pub(super) fn start(
    home: &Home,
    args: &NodeArgs,
    threads: Option<NonZeroUsize>,
    helping: &HelpingArgs,
    cancel: &Cancel,
) -> anyhow::Result<Option<OwnNode>> {
    let mut waiting = false;
    while !cancel.is_cancelled() {
        let purpose = Purpose::Helping;
        match nodes::start(home, args, purpose, threads, helping.wishes(), cancel) {
            Ok(own) => return Ok(Some(own)),
            Err(error) if matches!(error.downcast_ref(), Some(ServeError::Running)) => {
                nodes::ask_to_give_way(home);
                if !std::mem::replace(&mut waiting, true) {
                    output::note(
                        "waiting: another potluck runs this home's node, and this one goes on when it \
                         ends. Ctrl-C ends the wait; POTLUCK_HOME=FOLDER is another home",
                    );
                }
            }
            Err(error) => return Err(error),
        }
        std::thread::sleep(PATIENCE);
    }
    Ok(None)
}

/// Offers the models of this device, and prints which files cannot be offered.
pub(super) fn add_models(
    home: &Home,
    named: &[PathBuf],
    own: &OwnNode,
    cancel: &Cancel,
) -> anyhow::Result<()> {
    let problems = offered_models::add_all(home, named, &own.local, cancel)
        .map_err(|error| failure::of_kind(Code::Model, error.into()))?;
    for problem in problems {
        output::note(&problem);
    }
    Ok(())
}

/// The addresses that the node listens on, once there are some.
pub(super) fn listening(own: &OwnNode, cancel: &Cancel) -> anyhow::Result<Vec<String>> {
    let mut client = Client::within(own.local.clone())?;
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        if let Reply::Node { listening, .. } = client.ask(&Request::Node)?
            && (!listening.is_empty() || Instant::now() > until || cancel.is_cancelled())
        {
            let peer = own.local.node.peer_id();
            let whole = |address: &String| format!("{address}/p2p/{peer}");
            let parses = |address: &String| address.parse::<Multiaddr>().is_ok();
            return Ok(listening.iter().filter(|a| parses(a)).map(whole).collect());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Hands over this device's layers, then stops the node.
pub(super) fn leave(own: &OwnNode) -> anyhow::Result<()> {
    let node = &own.local.node;
    if !node.is_idle()? {
        output::note("handing over this device's layers…");
        node.hand_over(potluck::net::HandOverReason::Stopping, HAND_OVER)?;
        let until = Instant::now() + HAND_OVER;
        while Instant::now() < until && !node.is_idle()? {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    node.stop();
    Ok(())
}
