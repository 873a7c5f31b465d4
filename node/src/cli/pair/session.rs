//! One device's side of a pairing, as its command runs it.

use std::time::{Duration, Instant};

use anyhow::bail;
use potluck::Cancel;
use potluck::device::Device;
use potluck::home::Home;
use potluck::local::{ChangeView, Client, ClientError, PairingWish, ProposalView, Reply, Request};
use potluck_protocol::circle::Circle;
use potluck_protocol::pairing::{CONFIRM_TIMEOUT, ClockSkew, Invitation};
use qrcode::render::unicode;
use qrcode::{EcLevel, QrCode};
use serde_json::json;

use crate::cli::nodes::{self, NodeArgs, OwnNode, Purpose};
use crate::cli::output;
use crate::cli::person::{Person, agrees};

/// How often waiting checks for Ctrl-C and typed lines.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long joining may take in all, without the time that owners take to answer.
const JOINING: Duration = Duration::from_secs(40);

/// The other device.
#[derive(Debug, Clone)]
pub(super) struct Pairing {
    pub(super) peer_id: String,
    pub(super) name: String,
}

/// A command that pairs.
pub(super) struct Session<'a> {
    pub(super) home: &'a Home,
    /// Options of a node that this command starts.
    pub(super) args: &'a NodeArgs,
    pub(super) client: Client,
    /// The node, if this process runs it.
    pub(super) own: Option<OwnNode>,
    /// The person to ask; `None` if `wish` decides.
    pub(super) person: Option<Person>,
    pub(super) json: bool,
    pub(super) wish: PairingWish,
    pub(super) name: Option<String>,
    /// The other device's invitation; `None` to show one.
    pub(super) invitation: Option<String>,
    /// The circle on disk when the command started, if it could be read.
    pub(super) before: Option<Circle>,
    /// The device that the person agreed to pair with.
    pub(super) agreed: Option<Pairing>,
    pub(super) cancel: Cancel,
}

/// What a typed line means.
enum Typed {
    Nothing,
    /// The other device's invitation, to be used.
    Invitation(String),
    /// The person declines.
    Declined,
}

impl Session<'_> {
    /// Uses the other device's invitation, or shows one for this many minutes. Starts again with another
    /// node if the node that it uses ends.
    pub(super) fn pair(&mut self, minutes: u64) -> anyhow::Result<Option<Pairing>> {
        let mut is_lost = false;
        nodes::again_if_lost(|| {
            if std::mem::replace(&mut is_lost, true) {
                if let Some(paired) = self.paired_before_loss()? {
                    return Ok(Some(paired));
                }
                self.use_another_node()?;
            }
            match self.invitation.clone() {
                Some(text) => self.join(&text),
                None => self.invite(minutes),
            }
        })
    }

    /// The device that was paired by a node that ended before it reported so: it is in the circle on disk
    /// now and was not before.
    fn paired_before_loss(&self) -> anyhow::Result<Option<Pairing>> {
        let (Some(agreed), Some(before)) = (&self.agreed, &self.before) else {
            return Ok(None);
        };
        let (peer, circle) = (agreed.peer_id.parse()?, Device::open(self.home)?.circle);
        let was_in = before.id() == circle.id() && before.contains(peer);
        if was_in || !circle.contains(peer) {
            return Ok(None);
        }
        let name = &agreed.name;
        output::note(&format!(
            "the node that this command used has ended when {name} was in the circle: if {name} does \
             not say so too, pair again"
        ));
        Ok(Some(agreed.clone()))
    }

    fn use_another_node(&mut self) -> anyhow::Result<()> {
        output::note(match self.invitation {
            Some(_) => "the node that this command used has ended: trying again with another",
            None => {
                "the node that this command used has ended, and its invitation cannot be used any \
                 more: here is another"
            }
        });
        self.own = None;
        let (args, cancel) = (self.args, &self.cancel);
        let connected = nodes::connect_again(self.home, args, Purpose::Pairing, None, cancel)?;
        self.client = connected.client;
        self.own = connected.own;
        Ok(())
    }

    /// Shows an invitation until it is used, or uses the other device's if the person types it.
    fn invite(&mut self, minutes: u64) -> anyhow::Result<Option<Pairing>> {
        let name = self.name.clone();
        let text = self.client.invite(minutes * 60, name, self.wish)?;
        self.show(&text, minutes)?;
        let mut asked: Option<ProposalView> = None;
        loop {
            match self.client.next(PATIENCE)? {
                Some((Reply::Paired { peer_id, name }, _)) => {
                    return Ok(Some(Pairing { peer_id, name }));
                }
                Some((Reply::Proposed { proposal }, _)) => {
                    self.propose(&proposal)?;
                    asked = Some(proposal);
                }
                Some((Reply::AnswerTooLate { .. }, _)) => tell_too_late(),
                Some((Reply::PairingFailed { peer_id, words }, _)) => {
                    let known = asked.take_if(|proposal| proposal.peer_id == peer_id);
                    let who = known.map_or(peer_id, |proposal| proposal.name);
                    output::note(&format!("{who} tried and failed: {words}"));
                }
                Some((Reply::PairingOver { words }, _)) => {
                    bail!("the invitation cannot be used any more: {words}");
                }
                Some(_) => {}
                None if self.cancel.is_cancelled() => return Ok(None),
                None => match self.typed(&mut asked)? {
                    Typed::Nothing => {}
                    Typed::Declined => bail!("not paired, and the invitation is withdrawn"),
                    Typed::Invitation(text) => {
                        self.invitation = Some(text.clone());
                        self.end_inviting()?;
                        return self.join(&text);
                    }
                },
            }
        }
    }

    /// Uses the other device's invitation.
    fn join(&mut self, text: &str) -> anyhow::Result<Option<Pairing>> {
        let request = Request::Join {
            invitation: text.to_owned(),
            name: self.name.clone(),
            wish: self.wish,
        };
        self.client.send(&request, &[])?;
        let mut until = Instant::now() + JOINING;
        let mut asked: Option<ProposalView> = None;
        let mut other: Option<String> = None;
        loop {
            match self.client.next(PATIENCE) {
                Ok(Some((Reply::Paired { peer_id, name }, _))) => {
                    return Ok(Some(Pairing { peer_id, name }));
                }
                Ok(Some((Reply::Proposed { proposal }, _))) => {
                    until = Instant::now() + CONFIRM_TIMEOUT + JOINING;
                    other = Some(proposal.name.clone());
                    self.propose(&proposal)?;
                    asked = Some(proposal);
                }
                Ok(Some((Reply::AnswerTooLate { .. }, _))) => tell_too_late(),
                Ok(Some(_)) => {}
                Ok(None) if self.cancel.is_cancelled() => return Ok(None),
                Ok(None) if Instant::now() > until => {
                    bail!("the device that invites does not answer: are both in the same network?");
                }
                Ok(None) => {
                    if matches!(self.typed(&mut asked)?, Typed::Declined) {
                        bail!("not paired");
                    }
                }
                Err(ClientError::Failed(words)) => match other {
                    Some(name) => bail!("not paired with {name}: {words}"),
                    None => bail!(words),
                },
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn show(&self, text: &str, minutes: u64) -> anyhow::Result<()> {
        if self.json {
            return output::json(&json!({"invitation": text}));
        }
        let code = QrCode::with_error_correction_level(text, EcLevel::L)?;
        let picture = code.render::<unicode::Dense1x2>().build();
        output::line(&format!("{picture}\n\n{text}\n"))?;
        output::note(&format!(
            "On the other device: potluck pair, with this text or what the code says; within {minutes} \
             minutes."
        ));
        if self.person.is_some() {
            output::note("Or paste the other device's invitation here. Ctrl-C withdraws this one.");
        }
        Ok(())
    }

    /// Asks the person, or answers as they said beforehand.
    fn propose(&mut self, proposal: &ProposalView) -> anyhow::Result<()> {
        if self.json {
            output::json(&json!({"proposed": proposal}))?;
        } else {
            describe(proposal)
                .iter()
                .for_each(|line| output::note(line));
        }
        if let Some(person) = &self.person {
            // Lines typed before the question do not answer it.
            person.forget_lines();
            output::note("Pair? [y/N]");
            return Ok(());
        }
        let agrees = is_wished(self.wish, proposal.change);
        self.answer(proposal, agrees)?;
        if !agrees {
            self.await_told();
            bail!(
                "not paired with {}: this is not what --admit or --join agreed to",
                proposal.name
            );
        }
        Ok(())
    }

    /// Lets the other side hear the answer before this process ends.
    fn await_told(&mut self) {
        let _ = self.client.next(PATIENCE);
    }

    fn answer(&mut self, proposal: &ProposalView, agrees: bool) -> anyhow::Result<()> {
        let request = Request::AnswerPairing {
            peer_id: proposal.peer_id.clone(),
            agrees,
        };
        if agrees {
            self.agreed = Some(Pairing {
                peer_id: proposal.peer_id.clone(),
                name: proposal.name.clone(),
            });
        }
        Ok(self.client.send(&request, &[])?)
    }

    /// Reads a typed line, which may answer the question.
    fn typed(&mut self, asked: &mut Option<ProposalView>) -> anyhow::Result<Typed> {
        let Some(line) = self.person.as_ref().and_then(Person::line) else {
            return Ok(Typed::Nothing);
        };
        let Some(proposal) = asked.take() else {
            if line.is_empty() {
                return Ok(Typed::Nothing);
            }
            return Ok(match line.parse::<Invitation>() {
                Ok(_) => Typed::Invitation(line),
                Err(why) => {
                    output::note(&why.to_string());
                    Typed::Nothing
                }
            });
        };
        let Some(agrees) = agrees(&line) else {
            output::note("y or n?");
            *asked = Some(proposal);
            return Ok(Typed::Nothing);
        };
        self.answer(&proposal, agrees)?;
        if !agrees {
            self.await_told();
            return Ok(Typed::Declined);
        }
        output::note(&format!("Waiting for the owner of {}…", proposal.name));
        Ok(Typed::Nothing)
    }

    /// Withdraws the invitation by closing the connection to the node, and opens another connection.
    fn end_inviting(&mut self) -> anyhow::Result<()> {
        self.client = match &self.own {
            Some(own) => Client::within(own.local.clone())?,
            None => nodes::running(self.home)?.ok_or(ClientError::Stopped)?,
        };
        Ok(())
    }
}

fn tell_too_late() {
    output::note("the answer came too late: that pairing is over");
}

/// Whether what the owner said beforehand agrees to a change. Checked here although the node checks it
/// too, because nobody else confirms it.
fn is_wished(wish: PairingWish, change: ChangeView) -> bool {
    match (wish, change) {
        (PairingWish::Asks, _)
        | (PairingWish::Admits, ChangeView::WeJoin)
        | (PairingWish::Joins, ChangeView::TheyJoin) => false,
        (PairingWish::Admits, ChangeView::TheyJoin)
        | (PairingWish::Joins, ChangeView::WeJoin)
        | (_, ChangeView::Begin | ChangeView::Renew) => true,
    }
}

/// Describes what pairing would change.
fn describe(proposal: &ProposalView) -> Vec<String> {
    let who = format!("{} ({})", proposal.name, proposal.peer_id);
    let first = match proposal.change {
        ChangeView::TheyJoin => format!("{who} wants to join this device's circle:"),
        ChangeView::WeJoin => format!("this device would join the circle of {who}:"),
        ChangeView::Begin => format!("{who} and this device would be a circle of two."),
        ChangeView::Renew => format!("{who} and this device are in one circle already:"),
    };
    let shown = match proposal.change {
        // The list would have only the admitting device.
        ChangeView::Begin => &[][..],
        ChangeView::TheyJoin | ChangeView::WeJoin | ChangeView::Renew => &proposal.members,
    };
    let members = shown.iter();
    let members = members.map(|member| format!("  {}  {}", member.peer_id, member.name));
    let means =
        "Devices of one circle compute for each other, and can read along in what they compute.";
    let clock = proposal.clock_ahead_s.map(|ahead_s| {
        let skew = ClockSkew { ahead_s };
        format!(
            "note: the clock of {} is {skew}. Set the one that is wrong; the devices pair all the same.",
            proposal.name
        )
    });
    let lines = std::iter::once(first).chain(members);
    lines.chain([means.to_owned()]).chain(clock).collect()
}

#[cfg(test)]
mod tests {
    use potluck::local::ListedView;

    use super::*;

    #[test]
    fn without_a_person_only_what_was_said_beforehand_is_agreed_to() {
        let agrees = |wish| {
            let changes = [
                ChangeView::TheyJoin,
                ChangeView::WeJoin,
                ChangeView::Begin,
                ChangeView::Renew,
            ];
            changes.map(|change| is_wished(wish, change))
        };
        assert_eq!(agrees(PairingWish::Admits), [true, false, true, true]);
        assert_eq!(agrees(PairingWish::Joins), [false, true, true, true]);
        assert_eq!(agrees(PairingWish::Asks), [false; 4]);
    }

    #[test]
    fn a_person_sees_who_joins_whom_and_who_is_there() {
        let listed = |name: &str| ListedView {
            peer_id: format!("id of {name}"),
            name: name.to_owned(),
        };
        let proposal = |change| ProposalView {
            peer_id: "id of tablet".to_owned(),
            name: "tablet".to_owned(),
            change,
            members: vec![listed("kitchen"), listed("laptop")],
            clock_ahead_s: None,
        };
        let said = describe(&proposal(ChangeView::TheyJoin));
        assert_eq!(
            said[0],
            "tablet (id of tablet) wants to join this device's circle:"
        );
        assert_eq!(
            said[1..3],
            ["  id of kitchen  kitchen", "  id of laptop  laptop"]
        );
        let said = describe(&proposal(ChangeView::WeJoin));
        assert_eq!(
            said[0],
            "this device would join the circle of tablet (id of tablet):"
        );
    }

    #[test]
    fn a_person_is_told_whose_clock_differs_by_how_much() {
        let described = |clock_ahead_s| {
            let proposal = ProposalView {
                peer_id: "id of tablet".to_owned(),
                name: "tablet".to_owned(),
                change: ChangeView::Begin,
                members: Vec::new(),
                clock_ahead_s,
            };
            describe(&proposal).join("\n")
        };
        assert!(!described(None).contains("clock"));
        let behind = described(Some(-4_200));
        let words = "the clock of tablet is 70 minutes behind this device's";
        assert!(behind.contains(words), "{behind}");
        assert!(described(Some(90_000)).contains("25 hours ahead of"));
    }
}
