//! What the two sides say inside the handshake and after it.

use super::Refusal;
use super::noise::MAX_PLAINTEXT;
use crate::PeerId;
use crate::circle::{Circle, CircleId, DeviceName, Identity, MAX_LOG_BYTES};
use crate::reader::Reader;

const ALONE: u8 = 0;
const IN_COMPANY: u8 = 1;

const PART: u8 = 1;
const END: u8 = 2;
const DONE: u8 = 3;

/// This device, for as long as a call lasts.
#[derive(Debug)]
pub struct Local<'a> {
    /// Its key.
    pub identity: &'a Identity,
    /// Its circle; another one after joining. Whoever stores the log writes it again when the
    /// circle's id or its number of entries has changed after a call.
    pub circle: &'a mut Circle,
}

/// What a side says of itself in its message of the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduction {
    /// What it is called.
    pub name: DeviceName,
    /// Its circle.
    pub circle: CircleId,
    /// Whether other devices are in that circle.
    pub company: bool,
}

impl Introduction {
    /// The longest introduction that is read. Those of newer versions may have more at the end.
    pub const MAX_BYTES: usize = 256;

    pub(super) fn of(local: &Local<'_>, name: &DeviceName) -> Self {
        let is_member = local.circle.contains(local.identity.peer_id());
        Self {
            name: name.clone(),
            circle: local.circle.id(),
            company: is_member && local.circle.member_count() > 1,
        }
    }

    /// Whether the circle that was introduced may still be left for another: nobody has come to it
    /// since.
    pub(super) fn check_replaceable(&self, local: &Local<'_>) -> Result<(), Refusal> {
        let now = Self::of(local, &self.name);
        if now.company || now.circle != self.circle {
            return Err(Refusal::TwoCircles);
        }
        Ok(())
    }

    /// The bytes that travel.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![if self.company { IN_COMPANY } else { ALONE }];
        out.extend_from_slice(self.circle.as_bytes());
        self.name.write(&mut out);
        out
    }

    /// Reads an introduction.
    ///
    /// # Errors
    /// [`Refusal::Oversize`] or [`Refusal::Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(Refusal::Oversize);
        }
        let mut reader = Reader::new(bytes);
        let mut read = || {
            let company = match reader.u8()? {
                ALONE => false,
                IN_COMPANY => true,
                _ => return None,
            };
            Some(Self {
                company,
                circle: CircleId::from_bytes(reader.array()?),
                name: DeviceName::read(&mut reader)?,
            })
        };
        read().ok_or(Refusal::Malformed)
    }
}

/// Which of the two makes the other a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admitter {
    /// The inviter, who then sends the log. The joiner sends its own first if the circle is the same.
    Inviter {
        /// Whether the joiner holds a log of the inviter's circle.
        same_circle: bool,
    },
    /// The joiner, who has company while the inviter has none.
    Joiner,
}

impl Admitter {
    pub(super) fn choose(inviter: &Introduction, joiner: &Introduction) -> Result<Self, Refusal> {
        let same_circle = inviter.circle == joiner.circle;
        match (inviter.company, joiner.company) {
            _ if same_circle => Ok(Self::Inviter { same_circle }),
            (_, false) => Ok(Self::Inviter { same_circle }),
            (false, true) => Ok(Self::Joiner),
            (true, true) => Err(Refusal::TwoCircles),
        }
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
}

impl<'a> Message<'a> {
    pub(super) fn parse(plaintext: &'a [u8]) -> Result<Self, Refusal> {
        match plaintext {
            [PART, part @ ..] if !part.is_empty() => Ok(Message::Part(part)),
            [END] => Ok(Message::End),
            [DONE] => Ok(Message::Done),
            _ => Err(Refusal::Malformed),
        }
    }

    pub(super) fn to_plaintext(&self) -> Vec<u8> {
        match self {
            Message::Part(part) => [&[PART], *part].concat(),
            Message::End => vec![END],
            Message::Done => vec![DONE],
        }
    }
}

/// The messages that carry a log.
pub(super) fn log_messages(log: &[u8]) -> impl Iterator<Item = Message<'_>> {
    log.chunks(MAX_PLAINTEXT - 1)
        .map(Message::Part)
        .chain([Message::End])
}

/// A log that is coming in.
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

    /// Merges a log of the circle that this device has; an empty one changes nothing.
    pub(super) fn merge_into(&self, circle: &mut Circle) -> Result<(), Refusal> {
        if !self.0.is_empty() {
            circle.merge_log(&self.0).map_err(|_| Refusal::BadLog)?;
        }
        Ok(())
    }

    /// Whether nothing came.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The circle of the log: the one announced, with both devices in it.
    pub(super) fn into_circle(self, id: CircleId, members: [PeerId; 2]) -> Result<Circle, Refusal> {
        let circle = Circle::from_log(&self.0).map_err(|_| Refusal::BadLog)?;
        if circle.id() == id && members.iter().all(|&peer| circle.contains(peer)) {
            Ok(circle)
        } else {
            Err(Refusal::BadLog)
        }
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use expect_test::expect;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn introduction(circle: u8, company: bool) -> Introduction {
        Introduction {
            name: DeviceName::new("kitchen").expect("a name"),
            circle: CircleId::from_bytes([circle; 32]),
            company,
        }
    }

    #[test]
    fn whoever_has_company_admits() {
        let choose = |inviter, joiner| Admitter::choose(&inviter, &joiner);
        let [alone, company] = [false, true].map(|company| introduction(1, company));
        let [other_alone, other] = [false, true].map(|company| introduction(2, company));
        let inviter = |same_circle| Ok(Admitter::Inviter { same_circle });
        assert_eq!(choose(alone.clone(), other_alone.clone()), inviter(false));
        assert_eq!(choose(company.clone(), other_alone), inviter(false));
        assert_eq!(choose(alone.clone(), other.clone()), Ok(Admitter::Joiner));
        assert_eq!(choose(company.clone(), other), Err(Refusal::TwoCircles));
        assert_eq!(choose(company.clone(), company.clone()), inviter(true));
        assert_eq!(choose(alone, company), inviter(true));
    }

    #[test]
    fn the_bytes_of_an_introduction_stay_and_newer_ones_have_more() {
        let introduction = introduction(7, true);
        let mut bytes = introduction.to_bytes();
        expect![
            "010707070707070707070707070707070707070707070707070707070707070707076b69746368656e"
        ]
        .assert_eq(&HEXLOWER.encode(&bytes));
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
                Message::Done => panic!("not yet"),
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
                *first &= 3;
            }
            if let Ok(message) = Message::parse(&bytes) {
                prop_assert_eq!(message.to_plaintext(), bytes);
            }
        }
    }
}
