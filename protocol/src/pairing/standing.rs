//! A device's standing in its circle, the list of members, and the owner's wish.

use crate::PeerId;
use crate::circle::{Circle, DeviceName, MAX_MEMBERS};
use crate::reader::Reader;

/// The largest list that is accepted. Concurrent admissions can bring a circle over [`MAX_MEMBERS`].
const MAX_LISTED: usize = 2 * MAX_MEMBERS;

/// The owner's wish about who joins whose circle, given beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wish {
    /// No wish: the owner is asked once the other device is known.
    #[default]
    Asks,
    /// The other device joins this one's circle.
    Admits,
    /// This device joins the other one's circle.
    Joins,
}

impl Wish {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Asks => 0,
            Self::Admits => 1,
            Self::Joins => 2,
        }
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Asks),
            1 => Some(Self::Admits),
            2 => Some(Self::Joins),
            _ => None,
        }
    }
}

/// What a device is in the circle that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The only member.
    Alone,
    /// One of several members.
    Company,
    /// No member any more.
    Removed,
}

impl Standing {
    pub(super) fn of(circle: &Circle, me: PeerId) -> Self {
        match (circle.contains(me), circle.member_count()) {
            (false, _) => Self::Removed,
            (true, 1) => Self::Alone,
            (true, _) => Self::Company,
        }
    }

    pub(super) fn code(self) -> u8 {
        match self {
            Self::Alone => 0,
            Self::Company => 1,
            Self::Removed => 2,
        }
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Alone),
            1 => Some(Self::Company),
            2 => Some(Self::Removed),
            _ => None,
        }
    }
}

/// A member as a device tells it before there is a log to check it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The device.
    pub peer: PeerId,
    /// Its name.
    pub name: DeviceName,
}

/// The members of this device's circle, as many as are listed; none if it is no member itself.
pub(super) fn list(circle: &Circle, me: PeerId) -> Vec<Listed> {
    if !circle.contains(me) {
        return Vec::new();
    }
    let members = circle.members().take(MAX_LISTED).map(|member| Listed {
        peer: member.peer,
        name: member.name.clone(),
    });
    members.collect()
}

/// Appends `count u8 · (peer · name) …`.
pub(super) fn write_list(members: &[Listed], out: &mut Vec<u8>) {
    out.push(u8::try_from(members.len()).expect("at most 128 are listed"));
    for member in members {
        out.extend_from_slice(member.peer.public_key());
        member.name.write(out);
    }
}

/// Reads what [`write_list`] wrote, with nothing behind it.
pub(super) fn read_list(bytes: &[u8]) -> Option<Vec<Listed>> {
    let mut reader = Reader::new(bytes);
    let count = usize::from(reader.u8()?);
    if count > MAX_LISTED {
        return None;
    }
    let members: Vec<_> = (0..count)
        .map(|_| {
            Some(Listed {
                peer: PeerId::from_public_key(reader.array()?),
                name: DeviceName::read(&mut reader)?,
            })
        })
        .collect::<Option<_>>()?;
    let ascend = members.is_sorted_by(|a, b| a.peer < b.peer);
    (ascend && reader.is_empty()).then_some(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_comes_back_and_is_bounded() {
        let member = |n: usize| Listed {
            peer: PeerId::from_public_key([n as u8; 32]),
            name: DeviceName::new("x").expect("a name"),
        };
        for count in [0, 1, MAX_LISTED] {
            let members: Vec<_> = (0..count).map(member).collect();
            let mut bytes = Vec::new();
            write_list(&members, &mut bytes);
            assert_eq!(read_list(&bytes), Some(members));
            bytes.push(0);
            assert_eq!(read_list(&bytes), None);
        }
        assert_eq!(read_list(&[129]), None);
        assert_eq!(read_list(&[]), None);
    }
}
