//! One machine, and a peer that says whatever a test wants.

use std::time::Duration;

use super::device::{circle, identity, machine};
use crate::PeerId;
use crate::machine::{Event, Input, Machine, Output};
use crate::wire::{Control, ControlReader, Hello, MINOR, Received, RefuseCode};

/// A machine that is device 0 of a circle of three, connected to whoever a test plays.
pub(super) struct Solo {
    pub(super) now: Duration,
    pub(super) machine: Machine,
    pub(super) peer: PeerId,
    reader: ControlReader,
    pub(super) events: Vec<Event>,
    pub(super) disconnected: bool,
}

pub(super) fn hello() -> Hello {
    Hello {
        minor: MINOR,
        software: "another/1".to_owned(),
        run: 0,
    }
}

impl Solo {
    /// Connected to device 1, which has not greeted.
    pub(super) fn new() -> Self {
        Self::with(1)
    }

    pub(super) fn with(node: usize) -> Self {
        let mut solo = Self {
            now: Duration::from_secs(5),
            machine: machine(0, circle(3)),
            peer: identity(node).peer_id(),
            reader: ControlReader::new(),
            events: Vec::new(),
            disconnected: false,
        };
        let connected = Input::Connected(solo.peer);
        solo.machine.handle_input(solo.now, connected);
        solo
    }

    /// Connected to device 1, which has greeted.
    pub(super) fn greeted() -> Self {
        let mut solo = Self::new();
        solo.say(hello());
        solo.heard();
        solo.events.clear();
        solo
    }

    pub(super) fn say(&mut self, message: impl Into<Control>) {
        let mut bytes = Vec::new();
        message.into().encode(&mut bytes).expect("within limits");
        self.bytes(bytes);
    }

    pub(super) fn bytes(&mut self, bytes: Vec<u8>) {
        let input = Input::ControlBytes(self.peer, bytes);
        self.machine.handle_input(self.now, input);
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.machine.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.machine.handle_timeout(self.now);
        }
        self.now = end;
    }

    /// The messages that the peer gets.
    pub(super) fn heard(&mut self) -> Vec<Control> {
        let mut heard = Vec::new();
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::SendControl(to, bytes) if to == self.peer => {
                    let mut bytes = bytes.as_slice();
                    let received = self.reader.read(&mut bytes).expect("well formed");
                    let Some(Received::Message(message)) = received else {
                        panic!("not a message");
                    };
                    heard.push(message);
                }
                Output::Disconnect(peer) if peer == self.peer => self.disconnected = true,
                Output::Event(event) => self.events.push(event),
                _ => {}
            }
        }
        heard
    }

    /// The code and words with which the peer was refused and let go.
    pub(super) fn refusal(&mut self) -> (RefuseCode, String) {
        let last = self.heard().pop();
        assert!(self.disconnected, "it is still connected");
        match last {
            Some(Control::Refuse(refuse)) => (refuse.code, refuse.words),
            other => panic!("refused by {other:?}"),
        }
    }
}
