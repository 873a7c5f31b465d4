//! Why a pairing failed.

use super::invitation_error::InvitationError;
use crate::circle::MAX_MEMBERS;

/// Why a pairing was refused, by either side. Those with a code travel to the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody has pairing open there. Code 1.
    #[error("that device shows no invitation: run `potluck pair` on it")]
    NotOpen,
    /// The invitation's time is over. Code 2.
    #[error("the invitation has expired: ask for a new one")]
    Expired,
    /// A device has paired with it, or begun to. Code 3.
    #[error("the invitation has been used: ask for a new one")]
    Used,
    /// Too many tries failed. Code 4.
    #[error("the invitation was withdrawn after three failed tries: ask for a new one")]
    Burnt,
    /// Another device is being paired. Code 5.
    #[error("that device is being paired with another: try again in a minute")]
    Busy,
    /// The secret is not the invitation's, or someone stands between the two. Code 6.
    #[error("the invitation does not fit: copy it again, or ask for a new one")]
    WrongSecret,
    /// Bytes that are not of this protocol. Code 7.
    #[error("the other device sent what is not pairing: update Potluck on both")]
    Malformed,
    /// A frame or a log that is too long. Code 8.
    #[error("the other device sent more than pairing may take: update Potluck on both")]
    Oversize,
    /// No answer in time. Code 9.
    #[error("the other device did not answer in time: bring them near each other and try again")]
    TimedOut,
    /// Each has a circle with others. Code 10.
    #[error(
        "both devices are in circles with others: `potluck circle new` on one of them, then pair"
    )]
    TwoCircles,
    /// No room for one more. Code 11.
    #[error("the circle has {MAX_MEMBERS} members, the most there may be: forget one first")]
    CircleFull,
    /// The membership log cannot be used. Code 12.
    #[error("the circle's membership log cannot be used: pair with another of its members")]
    BadLog,
    /// This device was removed from the circle that it holds. Code 13.
    #[error(
        "the device that is to admit the other was removed from its circle: run `potluck circle new` \
         on it, then pair again"
    )]
    NotAMember,
    /// The owner closed pairing. Code 14.
    #[error("pairing was ended before both had agreed: run `potluck pair` on both devices again")]
    Cancelled,
    /// An owner was asked and said no. Code 15.
    #[error("the pairing was declined")]
    Declined,
    /// The owners do not want the same one to join. Code 16.
    #[error(
        "the two devices do not agree who joins whose circle: run `potluck pair` without --admit \
         and --join to be asked"
    )]
    OtherWay,
    /// The log has members that the owner was not shown. Code 17.
    #[error("the circle has other members than were shown: pair again to see them")]
    OtherMembers,
    /// One of the two cannot store the circle. Code 18.
    #[error("the circle cannot be stored on one of the two devices: make room on its disk")]
    NotStored,
    /// The device that is to join has a circle with others, which joining would end for it. Code 19.
    #[error(
        "the device that is to join is in a circle with others: let it admit the other device, or \
         leave that circle with `potluck circle new` on it"
    )]
    HasCompany,
    /// The invitation expired by the system's clock before so much time had passed. Not sent.
    #[error(
        "this device slept, or its clock was set, while the invitation was open: show another one"
    )]
    ClockMoved,
    /// The stream ended. Not sent.
    #[error("the connection broke off: try again with the same invitation")]
    Closed,
    /// The link proved another device than the invitation's. Not sent.
    #[error("this is not the device that the invitation is from: ask for a new one")]
    WrongPeer,
    /// The invitation is this device's own. Not sent.
    #[error(
        "the invitation is this device's own: use it on the other device; if another device shows it, \
         its home is a copy of this one, and `potluck circle new --identity` on it gives it its own id"
    )]
    OwnInvitation,
    /// A code of a newer version.
    #[error("the other device refused for a reason that is not known here: update Potluck")]
    Unknown,
}

impl Refusal {
    const SENT: [Self; 19] = [
        Self::NotOpen,
        Self::Expired,
        Self::Used,
        Self::Burnt,
        Self::Busy,
        Self::WrongSecret,
        Self::Malformed,
        Self::Oversize,
        Self::TimedOut,
        Self::TwoCircles,
        Self::CircleFull,
        Self::BadLog,
        Self::NotAMember,
        Self::Cancelled,
        Self::Declined,
        Self::OtherWay,
        Self::OtherMembers,
        Self::NotStored,
        Self::HasCompany,
    ];

    /// Its code; 0 for those that do not travel.
    pub(super) fn code(self) -> u8 {
        let place = (1..).zip(Self::SENT).find(|&(_, sent)| sent == self);
        place.map_or(0, |(code, _)| code)
    }

    pub(super) fn from_code(code: u8) -> Self {
        let sent = (1..).zip(Self::SENT).find(|&(sent, _)| sent == code);
        sent.map_or(Self::Unknown, |(_, sent)| sent)
    }
}

/// Why an invitation cannot be used at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BeginError {
    /// The invitation itself.
    #[error(transparent)]
    Invitation(#[from] InvitationError),
    /// What it meets here.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_stay_and_come_back() {
        for (code, refusal) in (1..).zip(Refusal::SENT) {
            assert_eq!((refusal.code(), Refusal::from_code(code)), (code, refusal));
        }
        assert_eq!(Refusal::WrongSecret.code(), 6);
        assert_eq!(Refusal::Cancelled.code(), 14);
        assert_eq!(Refusal::NotStored.code(), 18);
        assert_eq!(Refusal::Closed.code(), 0);
        for code in [0, 20, 255] {
            assert_eq!(Refusal::from_code(code), Refusal::Unknown);
        }
    }
}
