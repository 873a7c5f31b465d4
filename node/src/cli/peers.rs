//! `potluck peers` and `potluck forget`.

use anyhow::bail;
use potluck::Cancel;
use potluck::device::Device;
use potluck::home::Home;
use potluck::local::{Client, ClientError, MemberView, Reply, Request};
use serde::Serialize;

use super::failure::{self, Code};
use super::nodes::{self, NodeArgs, Purpose};
use super::{Outcome, format, given, interrupt, output, person};

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

Whether a device is connected is known while `potluck up` or `potluck serve` runs.";

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
        // No node runs, or it belonged to another command that has ended.
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

/// End a device's membership: the circle's devices stop talking to it
#[derive(Debug, clap::Args)]
#[command(after_help = FORGET_EXAMPLES)]
pub(super) struct ForgetArgs {
    /// Its name or id, as `potluck peers` lists them; `self` is always this device. A device that has left
    /// already can only be named by its id, with --with-admitted
    device: String,
    /// Also remove all devices that it let in, and those that they let in, as for a stolen device. Lists
    /// them and asks first
    #[arg(long)]
    with_admitted: bool,
    /// Do not ask, even if this device or devices that were not named leave the circle
    #[arg(long)]
    yes: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeArgs,
}

const FORGET_EXAMPLES: &str = "\
Examples:
  potluck forget tablet
  potluck forget 12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp
  potluck forget stolen-phone --with-admitted
  potluck forget self               leaves the circle; `potluck circle new` begins another

It takes effect here at once, and on each other device as soon as that hears of it.";

#[derive(Serialize)]
struct Forgotten {
    forgotten: String,
    peer_id: String,
    members: Vec<MemberView>,
}

pub(super) fn forget(args: ForgetArgs) -> anyhow::Result<Outcome> {
    if args.node.memory.is_some() && given::has("memory") {
        let words = "--memory has no effect on forgetting a device, for which nothing is computed: leave \
                     it out";
        return Err(failure::refusal(Code::Usage, words));
    }
    let home = Home::from_environment()?;
    let cancel = interrupt::on_ctrl_c()?;
    let mut agreed: Option<Going> = None;
    let mut was_lost = false;
    let named = nodes::again_if_lost(|| {
        let error = match forget_once(&home, &args, &mut agreed, &cancel) {
            Ok(named) => return Ok(named),
            Err(error) => error,
        };
        was_lost |= nodes::is_lost(&error);
        match &agreed {
            // The node that was lost had done it already.
            Some(going) if was_lost && going.is_gone(&home)? => Ok(going.named.clone()),
            _ => Err(error),
        }
    })?;
    tell(&home, named, args.json)?;
    Ok(Outcome::Done)
}

/// Ends the membership through one node. The person is asked only once, even if the node is lost.
fn forget_once(
    home: &Home,
    args: &ForgetArgs,
    agreed: &mut Option<Going>,
    cancel: &Cancel,
) -> anyhow::Result<Named> {
    let mut connected = nodes::connect(home, &args.node, Purpose::Telling, None, cancel)?;
    let going = Going::ask(&mut connected.client, args)?;
    let known = agreed.as_ref().is_some_and(|known| known.covers(&going));
    if let Some(question) = going.question().filter(|_| !known) {
        person::confirm(&question, args.yes)?;
    }
    let device = going.named.peer_id.clone();
    *agreed = Some(going);
    let request = Request::Forget {
        device,
        with_admitted: args.with_admitted,
    };
    let Reply::Forgotten { peer_id, name } = connected.client.ask(&request)? else {
        return Err(ClientError::OtherAnswer.into());
    };
    // A node of this command tells connected devices before it ends.
    drop(connected);
    Ok(Named { peer_id, name })
}

/// The device that a person named.
#[derive(Debug, Clone)]
struct Named {
    peer_id: String,
    name: String,
}

/// Whose membership ends.
#[derive(Debug)]
struct Going {
    named: Named,
    members: Vec<MemberView>,
}

impl Going {
    fn ask(client: &mut Client, args: &ForgetArgs) -> anyhow::Result<Self> {
        let request = Request::WouldForget {
            device: args.device.clone(),
            with_admitted: args.with_admitted,
        };
        match client.ask(&request)? {
            Reply::WouldForget {
                peer_id,
                name,
                members,
            } => Ok(Self {
                named: Named { peer_id, name },
                members,
            }),
            _ => Err(ClientError::OtherAnswer.into()),
        }
    }

    /// Whether all that the other lists are listed here, too.
    fn covers(&self, other: &Self) -> bool {
        let known = |peer_id| self.members.iter().any(|known| known.peer_id == peer_id);
        other.members.iter().all(|member| known(&*member.peer_id))
    }

    /// Whether the circle on the disk has none of them.
    fn is_gone(&self, home: &Home) -> anyhow::Result<bool> {
        let circle = Device::open(home)?.circle;
        for member in &self.members {
            if circle.contains(member.peer_id.parse()?) {
                return Ok(false);
            }
        }
        Ok(!self.members.is_empty())
    }

    /// The question to ask if this device or one that was not named would leave.
    fn question(&self) -> Option<String> {
        let is_named = |member: &&MemberView| member.peer_id == self.named.peer_id;
        let others: Vec<_> = self.members.iter().filter(|m| !is_named(m)).collect();
        let lost = others.iter().map(|member| match member.this_device {
            true => format!("{} (this device)", member.name),
            false => format!("{} ({})", member.name, member.peer_id),
        });
        let mut words = Vec::new();
        if !others.is_empty() {
            words.push(format!(
                "With {} these leave the circle: {}.",
                self.named.name,
                lost.collect::<Vec<_>>().join(", ")
            ));
        }
        if self.members.iter().any(|member| member.this_device) {
            words.push(
                "This device leaves its circle: no other device computes for it any more.".into(),
            );
        }
        (!words.is_empty()).then(|| words.join(" "))
    }
}

/// Prints the circle as it is on disk now.
fn tell(home: &Home, named: Named, json: bool) -> anyhow::Result<()> {
    let Named { peer_id, name } = named;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, this_device: bool) -> MemberView {
        MemberView {
            peer_id: format!("id of {name}"),
            name: name.to_owned(),
            this_device,
            connected: None,
            software: None,
            admitted_by: "id of kitchen".to_owned(),
            link: None,
            profile: None,
        }
    }

    fn going(members: Vec<MemberView>) -> Going {
        let (peer_id, name) = ("id of tablet".to_owned(), "tablet".to_owned());
        let named = Named { peer_id, name };
        Going { named, members }
    }

    #[test]
    fn nobody_goes_unasked_but_the_one_that_was_named() {
        let tablet = || member("tablet", false);
        assert_eq!(going(vec![tablet()]).question(), None);
        let asked = going(vec![tablet(), member("phone", false)]).question();
        assert_eq!(
            asked.as_deref(),
            Some("With tablet these leave the circle: phone (id of phone).")
        );
        let asked = going(vec![tablet(), member("laptop", true)]).question();
        let asked = asked.unwrap_or_default();
        assert!(asked.contains("laptop (this device)."), "{asked}");
        assert!(asked.contains("This device leaves its circle"), "{asked}");
        // As `forget self` does.
        let asked = going(vec![member("tablet", true)]).question();
        let asked = asked.unwrap_or_default();
        assert!(asked.starts_with("This device leaves"), "{asked}");
    }

    #[test]
    fn a_person_is_asked_again_only_if_more_would_go() {
        let few = going(vec![member("tablet", false)]);
        let more = going(vec![member("tablet", false), member("phone", false)]);
        assert!(more.covers(&few) && few.covers(&few));
        assert!(!few.covers(&more));
    }
}
