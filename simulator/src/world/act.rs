//! Carries out what machines want done.

use potluck_protocol::PeerId;
use potluck_protocol::machine::{Event as Told, Output};
use potluck_protocol::stage::Load;

use super::World;
use crate::checks::Seen;
use crate::host::Work;
use crate::network::Stream;

impl World {
    /// Does what a host's machine wants done.
    pub(super) fn act(&mut self, host: u32, output: Output) {
        match output {
            Output::SendControl(to, bytes) => self.send(host, to, Stream::Control, bytes),
            Output::SendData(to, bytes) => self.send(host, to, Stream::Data, bytes),
            Output::SendTransfer(to, bytes) => self.send(host, to, Stream::Transfer, bytes),
            Output::Disconnect(peer) => self.disconnect(host, peer),
            Output::Load(load) => self.load(host, load),
            Output::Compute(step) => {
                let needed = self.host(host).body.setting.in_call;
                self.work(host, Work::Step(step, needed));
            }
            Output::Free(stage) => {
                self.host(host).taken.remove(&stage);
                self.work(host, Work::Free(stage));
            }
            Output::Store(order) => self.store(host, order),
            Output::Event(Told::Session(id, event)) => self.told(host, id, event),
            Output::Event(event) => self.told_of_node(host, &event),
            // Circles are made before the run, and nobody listens at an address.
            Output::SendPairing(..)
            | Output::ClosePairing(_)
            | Output::CircleChanged
            | Output::PeerAddresses(..) => {}
        }
    }

    fn load(&mut self, host: u32, load: Load) {
        let index = self.indices.get(&load.stage.session);
        let of_other = index.is_some_and(|of| self.sessions[*of].requester != host as usize);
        let of = self.host(host);
        // If it was taken before, its weights have come.
        let before = of.taken.insert(load.stage, load.epoch);
        if of_other && of.in_background && before != Some(load.epoch) {
            self.see(Seen::StageWhileLeaving { host });
        }
        self.work(host, Work::Load(load));
    }

    fn send(&mut self, host: u32, to: PeerId, stream: Stream, bytes: Vec<u8>) {
        let from = self.host(host);
        let Some(other) = from.member(to) else {
            return self.see(Seen::SentToStranger { host });
        };
        // Nothing is sent to a host that is gone; the machine is told.
        let Some(id) = from.wire_to(other) else {
            return;
        };
        if stream == Stream::Data {
            self.count_data(&bytes);
        }
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let side = connection.side_of(host);
        let way = &mut connection.ways[side];
        way.push(stream, bytes);
        let queued = way.queued_bytes();
        self.see(Seen::Queued {
            host,
            bytes: queued,
        });
        self.pump(id, side);
    }
}
