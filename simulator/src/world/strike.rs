//! Faults, and devices that join and leave.

use potluck_protocol::machine::Input;
use potluck_protocol::wire::HandOverReason;

use super::{Event, World};
use crate::host::{Life, duration};
use crate::random::Random;
use crate::record::{Ending, FaultRecord};
use crate::scenario::FaultKind;
use crate::units::Span;

/// How long a device that its owner needs computes on.
const OWNER_WAITS: u64 = 5_000_000;

/// A fault that is to strike.
#[derive(Debug, Clone)]
pub(super) struct Strike {
    pub(super) kind: FaultKind,
    pub(super) hosts: Vec<u32>,
    /// Of these, all, or one that is drawn.
    pub(super) any: bool,
    /// The others of a cut; all, if none.
    pub(super) others: Vec<u32>,
    pub(super) times: f64,
    pub(super) lasts: Option<u64>,
}

/// Faults of a kind that strike a host at random.
#[derive(Debug)]
pub(super) struct Drawing {
    pub(super) kind: FaultKind,
    pub(super) host: u32,
    pub(super) every: Span,
    pub(super) lasts: Span,
    pub(super) until: u64,
    pub(super) random: Random,
}

impl World {
    pub(super) fn strike(&mut self, number: usize) {
        let strike = self.strikes[number].clone();
        let mut hosts = strike.hosts.clone();
        if strike.any {
            hosts = self.moving.one_of(&hosts).into_iter().collect();
        }
        for &host in &hosts {
            match strike.kind {
                FaultKind::Cut | FaultKind::Heal => {
                    let cut = strike.kind == FaultKind::Cut;
                    self.cut(host, &strike.others, cut);
                }
                kind => self.strike_one(kind, host, strike.times),
            }
        }
        if let (Some(lasts), Some(end)) = (strike.lasts, strike.kind.end()) {
            let undo = Strike {
                kind: end,
                hosts,
                any: false,
                times: 1.0,
                lasts: None,
                ..strike
            };
            self.strike_later(lasts, undo);
        }
    }

    pub(super) fn strike_later(&mut self, after: u64, strike: Strike) {
        let number = self.strikes.len() as u32;
        self.strikes.push(strike);
        self.after(after, Event::Strike(number));
    }

    /// The next random fault of a kind strikes a host, and another is drawn.
    pub(super) fn draw(&mut self, number: usize) {
        let now = self.now;
        let members = self.hosts[self.drawings[number].host as usize]
            .members
            .clone();
        let drawing = &mut self.drawings[number];
        if now > drawing.until {
            return;
        }
        let (kind, host) = (drawing.kind, drawing.host);
        let others: Vec<_> = members.iter().map(|&(_, other)| other).collect();
        let others: Vec<_> = others.into_iter().filter(|other| *other != host).collect();
        let other = drawing.random.one_of(&others);
        let times = 2.0 + 18.0 * drawing.random.unit();
        let lasts = drawing.random.exponential(drawing.lasts.0).max(1);
        let next = drawing.random.exponential(drawing.every.0).max(1);
        self.after(lasts + next, Event::Draw(number as u32));
        if kind.needs_other() && other.is_none() {
            return;
        }
        let strike = Strike {
            kind,
            hosts: vec![host],
            any: false,
            others: other.into_iter().collect(),
            times,
            lasts: Some(lasts),
        };
        self.strike_later(0, strike);
    }

    fn record_fault(&mut self, kind: FaultKind, host: u32, other: Option<u32>) {
        self.trace
            .event(self.now, 8, (kind as u64) << 32 | u64::from(host));
        self.checks.disturbed(self.now, host);
        self.faults.push(FaultRecord {
            at_us: self.now,
            kind,
            device: host as usize,
            other: other.map(|other| other as usize),
        });
    }

    fn cut(&mut self, host: u32, others: &[u32], cut: bool) {
        let members = self.host(host).members.clone();
        let all = members.iter().map(|&(_, other)| other);
        let others: Vec<_> = match others {
            [] => all.collect(),
            named => named.to_vec(),
        };
        for other in others.into_iter().filter(|other| *other != host) {
            let pair = (host.min(other), host.max(other));
            let changes = if cut {
                self.cuts.insert(pair)
            } else {
                self.cuts.remove(&pair)
            };
            if changes {
                let kind = if cut { FaultKind::Cut } else { FaultKind::Heal };
                self.record_fault(kind, host, Some(other));
                self.checks.disturbed(self.now, other);
                self.passage_between_changed(host, other);
            }
        }
    }

    fn strike_one(&mut self, kind: FaultKind, host: u32, times: f64) {
        let now = self.now;
        self.record_fault(kind, host, None);
        let slow = times.max(0.01) * self.host(host).origin.slow;
        self.host(host).body.pass(now);
        let setting = &mut self.host(host).body.setting;
        match kind {
            FaultKind::Kill => self.kill(host),
            FaultKind::PowerOff => self.power_off(host),
            FaultKind::Restart => self.restart(host),
            FaultKind::Freeze => self.freeze(host),
            FaultKind::Thaw => self.thaw(host),
            FaultKind::Leave => self.leave(host, true),
            FaultKind::Join => self.leave(host, false),
            FaultKind::Slow => setting.slow = slow,
            FaultKind::Throttle | FaultKind::Cool => {
                setting.heated = kind == FaultKind::Throttle;
                self.tell_profile(host, false);
            }
            FaultKind::Background => self.background(host),
            FaultKind::Foreground => {
                self.host(host).in_background = false;
                self.thaw(host);
                self.willing_again(host);
            }
            FaultKind::Call => {
                setting.in_call = true;
                self.tell(host, Input::OwnerBusy(true));
                self.hand_over(host, HandOverReason::Owner, OWNER_WAITS);
            }
            FaultKind::CallEnds => {
                setting.in_call = false;
                self.tell(host, Input::OwnerBusy(false));
                self.willing_again(host);
            }
            FaultKind::Spoil => self.host(host).store.spoilt = true,
            FaultKind::Mend => self.host(host).store.spoilt = false,
            FaultKind::Cut | FaultKind::Heal => {}
        }
    }

    /// One of the reasons for which a device was to stop helping may be over.
    fn willing_again(&mut self, host: u32) {
        let of = self.host(host);
        let other = of.in_background || of.body.setting.in_call;
        self.tell_profile(host, !other);
    }

    fn hand_over(&mut self, host: u32, reason: HandOverReason, within: u64) {
        let within = duration(within);
        self.tell(host, Input::HandOver { reason, within });
    }

    /// An app goes to the background; its node has its layers placed elsewhere until it is suspended.
    fn background(&mut self, host: u32) {
        let of = self.host(host);
        if !of.runs() || of.in_background {
            return;
        }
        of.in_background = true;
        let (within, incarnation) = (of.suspended_after, of.incarnation);
        self.hand_over(host, HandOverReason::Stopping, within);
        self.after(within, Event::Suspend(host, incarnation));
    }

    pub(super) fn suspend(&mut self, host: u32, incarnation: u32) {
        let of = self.host(host);
        if of.in_background && of.incarnation == incarnation {
            self.checks.disturbed(self.now, host);
            self.freeze(host);
        }
    }

    fn freeze(&mut self, host: u32) {
        if self.host(host).runs() {
            self.pause_work(host);
            let of = self.host(host);
            of.life = Life::Frozen;
            of.body.setting.awake = false;
        }
    }

    fn thaw(&mut self, host: u32) {
        let of = self.host(host);
        if of.life != Life::Frozen {
            return;
        }
        of.life = Life::Running;
        of.body.setting.awake = true;
        of.wakes_at = None;
        let ended = std::mem::take(&mut of.ended);
        let busy = of.body.setting.in_call;
        // What happened while it stood still.
        self.tell(host, Input::OwnerBusy(busy));
        self.willing_again(host);
        for id in ended {
            let connection = self.connections.get(id);
            if let Some(side) = connection.map(|connection| connection.side_of(host)) {
                self.closed(id, side);
            }
        }
        self.resume_work(host);
        self.keep_on(host);
        self.give_on(host);
        self.passage_changed(host);
    }

    fn kill(&mut self, host: u32) {
        if self.host(host).life != Life::Dead {
            self.close_all(host);
            self.end_program(host, "its program was ended");
        }
    }

    pub(super) fn power_off(&mut self, host: u32) {
        if !self.host(host).body.setting.powered {
            return;
        }
        self.forget_all(host);
        self.end_program(host, "its device lost its power");
        self.host(host).body.setting.powered = false;
        self.passage_changed(host);
        // Connections that its peers still take for open lead nowhere.
        let members = self.host(host).members.clone();
        for &(_, other) in members.iter() {
            self.passage_between_changed(host, other);
        }
    }

    fn end_program(&mut self, host: u32, why: &str) {
        let of = self.host(host);
        of.life = Life::Dead;
        of.body.setting.awake = false;
        let talks: Vec<_> = of.talks.keys().copied().collect();
        of.machine = None;
        of.wakes_at = None;
        of.bench.end();
        of.keeper.end();
        for id in talks {
            self.end_talk(host, id, Ending::RequesterGone(why.to_owned()));
        }
    }

    fn restart(&mut self, host: u32) {
        self.kill(host);
        let of = self.host(host);
        if of.body.is_empty() {
            return;
        }
        of.body.setting.powered = true;
        of.body.setting.awake = true;
        of.begin();
        let busy = of.body.setting.in_call;
        self.tell_profile(host, true);
        if busy {
            self.tell(host, Input::OwnerBusy(true));
        }
        self.passage_changed(host);
    }

    fn leave(&mut self, host: u32, away: bool) {
        if self.host(host).away != away {
            self.host(host).away = away;
            self.passage_changed(host);
        }
    }

    /// A host that joins and leaves by itself does so.
    pub(super) fn moves(&mut self, host: u32) {
        let Some(mobility) = &self.scenario.mobility else {
            return;
        };
        let away = !self.hosts[host as usize].away;
        let (least, most) = if away {
            (mobility.away_least, mobility.away_most)
        } else {
            (mobility.stays_least, mobility.stays_most)
        };
        let stays = self.moving.heavy_tailed(least.0, most.0);
        let kind = if away {
            FaultKind::Leave
        } else {
            FaultKind::Join
        };
        self.record_fault(kind, host, None);
        self.leave(host, away);
        self.after(stays, Event::Move(host));
    }
}
