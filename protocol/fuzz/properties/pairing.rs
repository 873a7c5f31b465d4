//! Any bytes, cuts, changes, replays and times end in refusal or in one circle.
//!
//! A step of the input is a byte that says what, a byte of detail, and sometimes more.

use std::time::Duration;

use potluck_protocol::PeerId;
use potluck_protocol::circle::{Circle, DeviceName, Identity};
use potluck_protocol::pairing::{
    Event, Invitation, Inviter, Joiner, Local, Output, Refusal, Secret, Wish,
};

struct Device {
    identity: Identity,
    circle: Circle,
}

impl Device {
    fn new(seed: u8, company: bool) -> Self {
        let identity = Identity::from_seed(&[seed; 32]);
        let mut circle = Circle::found(&identity, &name(), [seed; 16]);
        if company {
            let other = Identity::from_seed(&[seed + 100; 32]).peer_id();
            circle.admit(&identity, other, &name()).expect("room");
        }
        Self { identity, circle }
    }

    fn local(&mut self) -> Local<'_> {
        Local {
            identity: &self.identity,
            circle: &mut self.circle,
            unix_s: Some(1_800_000_000),
        }
    }
}

fn name() -> DeviceName {
    DeviceName::new("device").expect("a name")
}

/// What is on its way to one side, and all that ever was.
#[derive(Default)]
struct Wire {
    bytes: Vec<u8>,
    recorded: Vec<u8>,
}

impl Wire {
    fn collect(&mut self, mut poll: impl FnMut() -> Option<Output>) -> bool {
        let mut paired = false;
        while let Some(output) = poll() {
            match output {
                Output::Send(bytes) => {
                    self.recorded.extend_from_slice(&bytes);
                    self.bytes.extend(bytes);
                }
                Output::Close => {}
                Output::Event(event) => paired |= matches!(event, Event::Paired { .. }),
            }
        }
        paired
    }

    /// The next bytes to hand over, as the step wants them.
    fn next(&mut self, what: u8, detail: u8, rest: &mut &[u8]) -> Vec<u8> {
        let len = self.bytes.len().min(1 + usize::from(detail) * 16);
        match what & 3 {
            0 => std::mem::take(&mut self.bytes),
            1 => self.bytes.drain(..len).collect(),
            2 => {
                let mut bytes: Vec<_> = self.bytes.drain(..).collect();
                if let Some(byte) = bytes.get_mut(usize::from(detail)) {
                    *byte ^= what | 1;
                }
                bytes
            }
            _ if detail >= 128 => self.recorded.clone(),
            _ => {
                let len = usize::from(detail).min(rest.len());
                let (bytes, tail) = rest.split_at(len);
                *rest = tail;
                bytes.to_vec()
            }
        }
    }
}

/// Two devices that pair, and what is on its way between them.
struct Pair {
    now: Duration,
    inviter: Device,
    joiner: Device,
    /// The inviter's and the joiner's.
    peers: [PeerId; 2],
    invitation: Invitation,
    invites: Inviter,
    joins: Option<Joiner>,
    /// What the joiner's owner says beforehand.
    wish: Wish,
    /// Of the last try.
    key: u8,
    to_inviter: Wire,
    to_joiner: Wire,
}

impl Pair {
    fn new(set_up: u8) -> Self {
        let mut inviter = Device::new(1, set_up & 1 == 1);
        let joiner = Device::new(2, set_up & 2 == 2);
        let peers = [&inviter, &joiner].map(|device| device.identity.peer_id());
        let secret = Secret::from_random([set_up; 16]);
        let invitation = Invitation::new(peers[0], secret, 60, vec![]).expect("few");
        let now = Duration::ZERO;
        let wishes = [Wish::Asks, Wish::Admits, Wish::Joins];
        let [first, wish] = [set_up >> 2, set_up >> 4].map(|n| wishes[usize::from(n) % 3]);
        let shown = (name(), first);
        let invites = Inviter::open(now, 0, invitation.clone(), shown, &inviter.local())
            .expect("its own and in time");
        Self {
            now,
            inviter,
            joiner,
            peers,
            invitation,
            invites,
            joins: None,
            wish,
            key: 0,
            to_inviter: Wire::default(),
            to_joiner: Wire::default(),
        }
    }

    /// Does what the step says; whether the inviter has paired with it.
    fn step(&mut self, what: u8, detail: u8, rest: &mut &[u8]) -> bool {
        match what >> 5 {
            0 => self.begin(),
            1 => {
                self.now += Duration::from_millis(u64::from(detail) * 50);
                self.invites.handle_timeout(self.now);
                if let Some(joins) = &mut self.joins {
                    joins.handle_timeout(self.now);
                }
            }
            2 => {
                // Owners answer, each for itself.
                let agrees = detail < 200;
                if what & 1 == 0 {
                    self.invites.answer(self.now, agrees);
                } else if let Some(joins) = &mut self.joins {
                    joins.answer(self.now, agrees, &mut self.joiner.local());
                }
            }
            3..5 => {
                let bytes = self.to_inviter.next(what, detail, rest);
                let local = &mut self.inviter.local();
                self.invites.handle_bytes(self.now, &bytes, local);
            }
            _ => {
                let bytes = self.to_joiner.next(what, detail, rest);
                if let Some(joins) = &mut self.joins {
                    joins.handle_bytes(self.now, &bytes, &mut self.joiner.local());
                }
            }
        }
        let paired = self.to_joiner.collect(|| self.invites.poll_output());
        if let Some(joins) = &mut self.joins {
            self.to_inviter.collect(|| joins.poll_output());
        }
        paired
    }

    /// The joiner tries, anew if it did before.
    fn begin(&mut self) {
        self.key = self.key.wrapping_add(1);
        let (key, [inviter, joiner]) = ([self.key; 32], self.peers);
        let by = (&name(), self.wish);
        let local = self.joiner.local();
        self.joins = Joiner::begin(self.now, &self.invitation, inviter, by, key, &local).ok();
        self.to_inviter.bytes.clear();
        self.to_joiner.bytes.clear();
        self.invites.handle_closed();
        if let Err(why) = self.invites.begin(self.now, joiner, key) {
            self.to_joiner.bytes = why.to_bytes();
        }
    }
}

/// Panics on an input that violates the property.
pub(super) fn check(input: &[u8]) {
    let Some((&set_up, mut rest)) = input.split_first() else {
        return;
    };
    let mut pair = Pair::new(set_up);
    let mut paired = false;
    while let [what, detail, tail @ ..] = rest {
        rest = tail;
        paired |= pair.step(*what, *detail, &mut rest);
    }

    let (inviter, joiner) = (&pair.inviter.circle, &pair.joiner.circle);
    let [at_inviter, at_joiner] = pair.peers;
    assert_eq!(paired, pair.invites.over() == Some(Refusal::Used));
    if paired {
        assert_eq!(inviter.id(), joiner.id());
        assert!(inviter.contains(at_joiner) && joiner.contains(at_inviter));
    }
    assert!(inviter.member_count() <= 3 && joiner.member_count() <= 3);
    assert!(pair.invites.poll_timeout().is_some() || pair.invites.over().is_some());
}
