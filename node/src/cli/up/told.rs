//! What `up` tells while it runs: people on stderr, programs on stdout.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use potluck::net::NodeEvent;
use potluck_protocol::PeerId;
use potluck_protocol::machine::Event;
use potluck_protocol::pairing;
use serde_json::{Value, json};

use crate::cli::nodes::OwnNode;
use crate::cli::{format, output};

/// Objects that wait for a program to read them. If it does not, further events are dropped.
const WAITING: usize = 256;

/// Tells the owner what happens at this device.
pub(super) struct Teller<'a> {
    own: &'a OwnNode,
    /// Whether it was told that weights are fetched.
    fetching: bool,
    programs: Option<SyncSender<Value>>,
}

impl<'a> Teller<'a> {
    /// Tells programs, too, if `json` is set.
    ///
    /// # Errors
    /// The system has no more threads.
    pub(super) fn new(own: &'a OwnNode, json: bool) -> anyhow::Result<Self> {
        let programs = json.then(tell_programs).transpose()?;
        Ok(Self {
            own,
            fetching: false,
            programs,
        })
    }

    pub(super) fn tell(&mut self, event: NodeEvent) {
        match &event {
            NodeEvent::Machine(Event::Fetching(_))
                if std::mem::replace(&mut self.fetching, true) =>
            {
                return;
            }
            NodeEvent::Machine(Event::Fetched(_) | Event::NotFetched(..)) => self.fetching = false,
            _ => {}
        }
        let name = |peer| name_of(self.own, peer);
        let Some(Told { words, object }) = told(&event, &name) else {
            return;
        };
        output::note(&words);
        if let Some(programs) = &self.programs {
            let _ = programs.try_send(object);
        }
    }
}

/// Starts a thread that writes objects, so that a program that does not read blocks nothing else.
fn tell_programs() -> anyhow::Result<SyncSender<Value>> {
    let (tell, told) = sync_channel::<Value>(WAITING);
    let write = move || {
        for object in told {
            // The program may have read the first line and closed the pipe.
            if output::json(&object).is_err() {
                return;
            }
        }
    };
    let thread = thread::Builder::new().name("potluck-told".to_owned());
    thread.spawn(write).context("cannot tell programs")?;
    Ok(tell)
}

/// What a member is called, or its id.
fn name_of(own: &OwnNode, peer: PeerId) -> String {
    // A node that has stopped has no members.
    let members = own.local.node.members().unwrap_or_default();
    let mut named = members.into_iter().map(|(member, _)| member);
    let found = named.find(|member| member.peer == peer);
    found.map_or_else(
        || peer.to_string(),
        |member| member.name.as_str().to_owned(),
    )
}

/// An event, for people and for programs.
struct Told {
    words: String,
    object: Value,
}

impl Told {
    fn new(words: impl Into<String>, object: Value) -> Option<Self> {
        let words = words.into();
        Some(Self { words, object })
    }
}

/// What is told of an event, if anything; `name` is what a device is called.
fn told(event: &NodeEvent, name: &dyn Fn(PeerId) -> String) -> Option<Told> {
    match event {
        NodeEvent::Machine(event) => of_machine(event, name),
        NodeEvent::Unreached { peer, why } => {
            let who = name(*peer);
            let object = json!({"event": "unreached", "name": who, "peer_id": peer.to_string(), "reason": why});
            Told::new(format!("cannot reach {who}: {why}"), object)
        }
        NodeEvent::Refused {
            peer,
            request,
            why,
            others,
        } => {
            let asked = request.words();
            let who = peer.map_or_else(|| "somebody".to_owned(), name);
            let before = match others {
                0 => String::new(),
                _ => format!(" ({} before it)", format::count(*others as usize, "other")),
            };
            let object = json!({
                "event": "refused", "name": peer.map(name), "peer_id": peer.map(|peer| peer.to_string()),
                "request": asked, "reason": why, "others": others,
            });
            Told::new(format!("refused {who} {asked}: {why}{before}"), object)
        }
        NodeEvent::Helping { peer, layers, .. } => {
            let who = name(*peer);
            let object = json!({
                "event": "computing", "name": who, "peer_id": peer.to_string(),
                "first_layer": layers.first(), "end_layer": layers.end(),
            });
            Told::new(format!("computing layers {layers} for {who}"), object)
        }
        NodeEvent::Helped {
            peer,
            layers,
            rows,
            time,
            ..
        } => {
            let who = name(*peer);
            let object = json!({
                "event": "computed", "name": who, "peer_id": peer.to_string(),
                "first_layer": layers.first(), "end_layer": layers.end(),
                "tokens": rows, "seconds": time.as_secs_f64(),
            });
            Told::new(computed(&who, *rows, *time), object)
        }
        NodeEvent::Pairing { event, .. } => of_pairing(event, name),
        NodeEvent::NotReached { .. } => None,
        NodeEvent::Problem(words) => {
            Told::new(words, json!({"event": "problem", "message": words}))
        }
    }
}

fn computed(who: &str, rows: u64, time: Duration) -> String {
    let tokens = format::count(usize::try_from(rows).unwrap_or(usize::MAX), "token");
    let seconds = time.as_secs_f64();
    format!("computed for {who}: {tokens} in {seconds:.1} s")
}

/// Only failures: the command that pairs tells the rest.
fn of_pairing(event: &pairing::Event, name: &dyn Fn(PeerId) -> String) -> Option<Told> {
    match event {
        pairing::Event::Failed { peer, why } => {
            let (who, why) = (name(*peer), why.to_string());
            let object = json!({"event": "pairing_failed", "name": who, "peer_id": peer.to_string(), "reason": why});
            Told::new(
                format!("{who} did not pair with this device: {why}"),
                object,
            )
        }
        pairing::Event::Proposed(_)
        | pairing::Event::Paired { .. }
        | pairing::Event::Over { .. } => None,
    }
}

fn of_machine(event: &Event, name: &dyn Fn(PeerId) -> String) -> Option<Told> {
    // An event that is about a device.
    let about = |event: &str, peer: PeerId, words: String| {
        let object = json!({"event": event, "name": name(peer), "peer_id": peer.to_string()});
        Told::new(words, object)
    };
    match event {
        Event::PeerConnected { peer, software } => {
            let who = name(*peer);
            let object = json!({"event": "connected", "name": who, "peer_id": peer.to_string(), "software": software});
            Told::new(format!("{who} is connected ({software})"), object)
        }
        Event::PeerGone { peer, why } => {
            let who = name(*peer);
            let object =
                json!({"event": "gone", "name": who, "peer_id": peer.to_string(), "reason": why});
            let why = why.as_deref().unwrap_or("it closed the connection");
            Told::new(format!("{who} is gone: {why}"), object)
        }
        Event::MemberJoined(member) => {
            let by = name(member.admitted_by);
            let (name, peer) = (&member.name, member.peer);
            let object = json!({
                "event": "joined", "name": name.as_str(), "peer_id": peer.to_string(),
                "admitted_by": member.admitted_by.to_string(),
            });
            let words = format!("{name} ({peer}) joined the circle, admitted by {by}");
            Told::new(words, object)
        }
        Event::MemberLeft(peer) => about("left", *peer, format!("{peer} left the circle")),
        Event::Copied(peer) => about("copied", *peer, copied(*peer, &name(*peer))),
        Event::ThisIsCopied { told_by } => {
            about("this_is_copied", *told_by, this_is_copied(&name(*told_by)))
        }
        Event::Revoked => Told::new(
            "this device was removed from its circle: pair it again, or begin a new circle with \
             `potluck circle new`",
            json!({"event": "removed"}),
        ),
        Event::Outdated { told_by } => about("outdated", *told_by, outdated(&name(*told_by))),
        Event::Fetching(progress) => {
            let bytes = format::bytes(progress.of_bytes);
            let words = format!("fetching {bytes} of weights from paired devices…");
            Told::new(
                words,
                json!({"event": "fetching", "bytes": progress.of_bytes}),
            )
        }
        Event::Fetched(_) => Told::new("the weights are here", json!({"event": "fetched"})),
        Event::NotFetched(_, why) => {
            let words = format!("could not fetch weights: {why}");
            Told::new(words, json!({"event": "not_fetched", "reason": why}))
        }
        // These are told by other events, at intervals.
        Event::Refused { .. } | Event::Pairing(_) | Event::Session(..) => None,
    }
}

fn copied(peer: PeerId, name: &str) -> String {
    format!(
        "two devices run as {name} ({peer}), as when a home was copied: `potluck circle new --identity` \
         on the copy gives it an id of its own"
    )
}

fn this_is_copied(told_by: &str) -> String {
    format!(
        "another device runs with this one's id, as when a home was copied ({told_by} sees both): \
         `potluck circle new --identity` on the copy gives it an id of its own"
    )
}

fn outdated(told_by: &str) -> String {
    format!(
        "this Potluck is too old to read the circle log of {told_by}, which may say that a device was \
         removed: update Potluck on this device and start it again. Until then it computes alone"
    )
}

#[cfg(test)]
mod tests {
    use potluck::net::AskedFor;

    use super::*;

    #[test]
    fn who_is_refused_or_gone_is_told_with_the_reason() {
        let peer = PeerId::from_public_key([1; 32]);
        let name = |_| "tablet".to_owned();
        let words = |event| {
            told(&event, &name)
                .map(|told| told.words)
                .unwrap_or_default()
        };
        let refused = |peer, others| NodeEvent::Refused {
            peer,
            request: AskedFor::Connection,
            why: "it is not paired".to_owned(),
            others,
        };
        assert_eq!(
            words(refused(Some(peer), 0)),
            "refused tablet to connect: it is not paired"
        );
        assert_eq!(
            words(refused(None, 2)),
            "refused somebody to connect: it is not paired (2 others before it)"
        );
        let why = Some("nothing was heard of it".to_owned());
        let gone = |why| words(NodeEvent::Machine(Event::PeerGone { peer, why }));
        assert_eq!(gone(why), "tablet is gone: nothing was heard of it");
        assert_eq!(gone(None), "tablet is gone: it closed the connection");
    }
}
