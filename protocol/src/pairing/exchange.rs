//! The messages inside the handshake and after it.

use super::Refusal;
use super::noise::MAX_PLAINTEXT;
use super::standing::{Listed, Standing, Wish, read_list, write_list};
use crate::PeerId;
use crate::circle::{Circle, CircleId, DeviceName, EntryError, Identity, MAX_LOG_BYTES};
use crate::reader::Reader;

const PART: u8 = 1;
const END: u8 = 2;
const DONE: u8 = 3;
const MEMBERS: u8 = 4;
const CONFIRM: u8 = 5;

/// This device's state, borrowed for a call.
#[derive(Debug)]
pub struct Local<'a> {
    /// Its key.
    pub identity: &'a Identity,
    /// Its circle; joining replaces it. The caller stores the log again if the circle's id or its
    /// number of entries has changed after a call.
    pub circle: &'a mut Circle,
    /// The system's clock, in seconds since 1970 (UTC); `None` if unknown.
    pub unix_s: Option<u64>,
}

/// A side's introduction, in its handshake message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduction {
    /// The device's name.
    pub name: DeviceName,
    /// Its circle.
    pub circle: CircleId,
    /// Its standing in that circle.
    pub standing: Standing,
    /// The wish that its owner gave beforehand.
    pub wish: Wish,
    /// Its clock, in seconds since 1970 (UTC); older versions do not send it.
    pub unix_s: Option<u64>,
}

impl Introduction {
    /// The longest introduction that is accepted. Newer versions may append fields.
    pub const MAX_BYTES: usize = 256;

    pub(super) fn of(local: &Local<'_>, name: &DeviceName, wish: Wish) -> Self {
        Self {
            name: name.clone(),
            circle: local.circle.id(),
            standing: Standing::of(local.circle, local.identity.peer_id()),
            wish,
            unix_s: local.unix_s,
        }
    }

    /// Checks that the introduced circle can still be replaced: nobody has joined it since.
    pub(super) fn check_replaceable(&self, local: &Local<'_>) -> Result<(), Refusal> {
        let now = Self::of(local, &self.name, self.wish);
        if now.standing == Standing::Company || now.circle != self.circle {
            return Err(Refusal::TwoCircles);
        }
        Ok(())
    }

    /// The encoded introduction.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![self.standing.code(), self.wish.code()];
        out.extend_from_slice(self.circle.as_bytes());
        self.name.write(&mut out);
        if let Some(unix_s) = self.unix_s {
            out.extend_from_slice(&unix_s.to_le_bytes());
        }
        out
    }

    /// Decodes an introduction.
    ///
    /// # Errors
    /// [`Refusal::Oversize`] or [`Refusal::Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(Refusal::Oversize);
        }
        let mut reader = Reader::new(bytes);
        let mut read = || {
            Some(Self {
                standing: Standing::from_code(reader.u8()?)?,
                wish: Wish::from_code(reader.u8()?)?,
                circle: CircleId::from_bytes(reader.array()?),
                name: DeviceName::read(&mut reader)?,
                unix_s: reader.u64(),
            })
        };
        read().ok_or(Refusal::Malformed)
    }
}

/// A message after the handshake.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// The next bytes of a log.
    Part(&'a [u8]),
    /// The log is complete, or none is needed.
    End,
    /// The log has been taken.
    Done,
    /// The members of the sender's circle; none if it is no member of it itself.
    Members(Vec<Listed>),
    /// The sender's owner agrees to this choice.
    Confirm([u8; 32]),
}

impl<'a> Message<'a> {
    pub(super) fn parse(plaintext: &'a [u8]) -> Result<Self, Refusal> {
        match plaintext {
            [PART, part @ ..] if !part.is_empty() => Ok(Message::Part(part)),
            [END] => Ok(Message::End),
            [DONE] => Ok(Message::Done),
            [MEMBERS, list @ ..] => {
                let members = read_list(list).ok_or(Refusal::Malformed)?;
                Ok(Message::Members(members))
            }
            [CONFIRM, choice @ ..] => {
                let choice = choice.try_into().map_err(|_| Refusal::Malformed)?;
                Ok(Message::Confirm(choice))
            }
            _ => Err(Refusal::Malformed),
        }
    }

    pub(super) fn to_plaintext(&self) -> Vec<u8> {
        match self {
            Message::Part(part) => [&[PART], *part].concat(),
            Message::End => vec![END],
            Message::Done => vec![DONE],
            Message::Members(members) => {
                let mut out = vec![MEMBERS];
                write_list(members, &mut out);
                out
            }
            Message::Confirm(choice) => [&[CONFIRM], &choice[..]].concat(),
        }
    }
}

/// The messages that carry a log.
pub(super) fn log_messages(log: &[u8]) -> impl Iterator<Item = Message<'_>> {
    log.chunks(MAX_PLAINTEXT - 1)
        .map(Message::Part)
        .chain([Message::End])
}

/// A log that is being received.
#[derive(Debug, Default)]
pub(super) struct Incoming(Vec<u8>);

impl Incoming {
    pub(super) fn push(&mut self, part: &[u8]) -> Result<(), Refusal> {
        if self.0.len() + part.len() > MAX_LOG_BYTES {
            return Err(Refusal::Oversize);
        }
        self.0.extend_from_slice(part);
        Ok(())
    }

    /// Merges the log into this device's circle, if all `members` are members afterwards: pairing must
    /// not remove a device. An empty log changes nothing. `lacking` is the refusal if one is missing.
    pub(super) fn merge_into(
        &self,
        circle: &mut Circle,
        members: &[PeerId],
        lacking: Refusal,
    ) -> Result<(), Refusal> {
        let mut merged = circle.clone();
        if !self.0.is_empty() {
            merged.merge_log(&self.0).map_err(|_| Refusal::BadLog)?;
        }
        if !members.iter().all(|&peer| merged.contains(peer)) {
            return Err(lacking);
        }
        *circle = merged;
        Ok(())
    }

    /// Whether nothing was received.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The circle of the log. It must have the announced id, contain both devices, and contain nobody
    /// whom the owner was not shown.
    pub(super) fn into_circle(
        self,
        id: CircleId,
        members: [PeerId; 2],
        shown: &[Listed],
    ) -> Result<Circle, Refusal> {
        let circle = Circle::from_peers_log(&self.0).map_err(|_| Refusal::BadLog)?;
        if circle.id() != id || !members.iter().all(|&peer| circle.contains(peer)) {
            return Err(Refusal::BadLog);
        }
        let was_shown = |peer: PeerId| {
            members.contains(&peer) || shown.iter().any(|listed| listed.peer == peer)
        };
        if circle.members().all(|member| was_shown(member.peer)) {
            Ok(circle)
        } else {
            Err(Refusal::OtherMembers)
        }
    }
}

/// Admits `peer`, unless it is a member already.
pub(super) fn admit(peer: PeerId, name: &DeviceName, local: &mut Local<'_>) -> Result<(), Refusal> {
    if local.circle.contains(peer) {
        return Ok(());
    }
    let why = match local.circle.admit(local.identity, peer, name) {
        // An entry has a limited number of parents. With more heads than that, a revocation may not
        // be in its past.
        Ok(_) if local.circle.contains(peer) => return Ok(()),
        Err(EntryError::CircleFull) => Refusal::CircleFull,
        Err(EntryError::AuthorNotMember) => Refusal::NotAMember,
        Ok(_) | Err(_) => Refusal::BadLog,
    };
    Err(why)
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use expect_test::expect;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_of_an_introduction_stay_and_newer_ones_have_more() {
        let introduction = Introduction {
            name: DeviceName::new("kitchen").expect("a name"),
            circle: CircleId::from_bytes([7; 32]),
            standing: Standing::Company,
            wish: Wish::Joins,
            unix_s: Some(1_800_000_000),
        };
        let mut bytes = introduction.to_bytes();
        expect![
            "01020707070707070707070707070707070707070707070707070707070707070707076b69746368656e00d2496b00000000"
        ]
        .assert_eq(&HEXLOWER.encode(&bytes));
        // An older version says nothing of its clock.
        let older = Introduction {
            unix_s: None,
            ..introduction.clone()
        };
        let (said, _) = bytes.split_at(bytes.len() - 8);
        assert_eq!(older.to_bytes(), said);
        assert_eq!(Introduction::from_bytes(said), Ok(older));
        bytes.extend_from_slice(b"more");
        assert_eq!(Introduction::from_bytes(&bytes), Ok(introduction));
        bytes.resize(257, 0);
        assert_eq!(Introduction::from_bytes(&bytes), Err(Refusal::Oversize));
    }

    #[test]
    fn a_log_is_cut_into_messages_that_fit() {
        let log = vec![7; 40_000];
        let mut incoming = Incoming::default();
        let mut ended = false;
        for message in log_messages(&log) {
            let plaintext = message.to_plaintext();
            assert!(plaintext.len() <= MAX_PLAINTEXT && !ended);
            match Message::parse(&plaintext).expect("a message") {
                Message::Part(part) => incoming.push(part).expect("short"),
                Message::End => ended = true,
                Message::Done | Message::Members(_) | Message::Confirm(_) => panic!("no log"),
            }
        }
        assert_eq!((ended, incoming.0), (true, log));
    }

    #[test]
    fn a_log_grows_to_its_limit_only() {
        let mut incoming = Incoming::default();
        let part = vec![0; 1 << 14];
        let taken = (0..).take_while(|_| incoming.push(&part).is_ok()).count();
        assert_eq!((taken, incoming.0.len()), (32, MAX_LOG_BYTES));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_come_back(mut bytes in vec(any::<u8>(), 0..128)) {
            if let Ok(read) = Introduction::from_bytes(&bytes) {
                prop_assert!(bytes.starts_with(&read.to_bytes()));
            }
            if let Some(first) = bytes.first_mut() {
                *first &= 7;
            }
            if let Ok(message) = Message::parse(&bytes) {
                prop_assert_eq!(message.to_plaintext(), bytes);
            }
        }
    }
}
