//! Any bytes, cuts, changes, replays and times end in refusal or in one circle.
//!
//! A step of the input is a byte that says what, a byte of detail, and sometimes more.

use std::time::Duration;

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

/// Panics on an input that violates the property.
pub(super) fn check(input: &[u8]) {
    let Some((&set_up, mut rest)) = input.split_first() else {
        return;
    };
    let mut inviter = Device::new(1, set_up & 1 == 1);
    let mut joiner = Device::new(2, set_up & 2 == 2);
    let [at_inviter, at_joiner] = [&inviter, &joiner].map(|device| device.identity.peer_id());
    let secret = Secret::from_random([set_up; 16]);
    let invitation = Invitation::new(at_inviter, secret, 60, vec![]).expect("few");
    let mut now = Duration::ZERO;
    let wishes = [Wish::Asks, Wish::Admits, Wish::Joins];
    let [at_first, at_second] = [set_up >> 2, set_up >> 4].map(|n| wishes[usize::from(n) % 3]);
    let shown = (name(), at_first);
    let mut invites = Inviter::open(now, 0, invitation.clone(), shown, &inviter.local())
        .expect("its own and in time");
    let mut joins = None;
    let (mut to_inviter, mut to_joiner) = (Wire::default(), Wire::default());
    let mut paired = false;
    let mut key = 0;

    while let [what, detail, tail @ ..] = rest {
        rest = tail;
        match what >> 5 {
            0 => {
                key += 1;
                let key = [key; 32];
                let local = joiner.local();
                let by = (&name(), at_second);
                joins = Joiner::begin(now, &invitation, at_inviter, by, key, &local).ok();
                to_inviter.bytes.clear();
                to_joiner.bytes.clear();
                invites.handle_closed();
                if let Err(why) = invites.begin(now, at_joiner, key) {
                    to_joiner.bytes = why.to_bytes();
                }
            }
            1 => {
                now += Duration::from_millis(u64::from(*detail) * 50);
                invites.handle_timeout(now);
                if let Some(joins) = &mut joins {
                    joins.handle_timeout(now);
                }
            }
            2 => {
                // Owners answer, each for itself.
                let agrees = *detail < 200;
                if what & 1 == 0 {
                    invites.answer(now, agrees);
                } else if let Some(joins) = &mut joins {
                    joins.answer(now, agrees, &mut joiner.local());
                }
            }
            3..5 => {
                let bytes = to_inviter.next(*what, *detail, &mut rest);
                invites.handle_bytes(now, &bytes, &mut inviter.local());
            }
            _ => {
                let bytes = to_joiner.next(*what, *detail, &mut rest);
                if let Some(joins) = &mut joins {
                    joins.handle_bytes(now, &bytes, &mut joiner.local());
                }
            }
        }
        paired |= to_joiner.collect(|| invites.poll_output());
        if let Some(joins) = &mut joins {
            to_inviter.collect(|| joins.poll_output());
        }
    }

    assert_eq!(paired, invites.over() == Some(Refusal::Used));
    if paired {
        assert_eq!(inviter.circle.id(), joiner.circle.id());
        assert!(inviter.circle.contains(at_joiner) && joiner.circle.contains(at_inviter));
    }
    assert!(inviter.circle.member_count() <= 3 && joiner.circle.member_count() <= 3);
    assert!(invites.poll_timeout().is_some() || invites.over().is_some());
}
