//! The proposal that both owners confirm before anything changes: who joins whose circle.

use blake2::{Blake2s256, Digest as _};

use super::exchange::Introduction;
use super::standing::{Listed, Standing, Wish, write_list};
use super::{ClockSkew, Event, Output, Refusal};
use crate::PeerId;
use crate::circle::{Circle, CircleId, DeviceName};

const DOMAIN: &[u8] = b"potluck pairing choice v2\0";

/// What pairing changes, from one device's point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The other device becomes a member of this device's circle.
    TheyJoin,
    /// This device, which is alone, becomes a member of the other's circle.
    WeJoin,
    /// Both are alone: they become a circle of two.
    Begin,
    /// Both are in the same circle already, and exchange their logs of it.
    Renew,
}

/// A proposal to both owners. Nothing has changed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The other device.
    pub peer: PeerId,
    /// Its name for itself.
    pub name: DeviceName,
    /// What confirming changes.
    pub change: Change,
    /// The members of the circle to join, before the change.
    pub members: Vec<Listed>,
    /// The difference of the two clocks, if it is more than tolerated.
    pub clock: Option<ClockSkew>,
}

/// Which of the two admits the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admitter {
    /// The inviter, who then sends the log. The joiner sends its own first if the circle is the same.
    Inviter {
        /// Whether the joiner holds a log of the inviter's circle.
        same_circle: bool,
    },
    /// The joiner, while the inviter has no company.
    Joiner,
}

impl Admitter {
    /// A pure function of the two introductions, so that both sides choose alike.
    pub(super) fn choose(inviter: &Introduction, joiner: &Introduction) -> Result<Self, Refusal> {
        let same_circle = inviter.circle == joiner.circle;
        if same_circle && joiner.standing != Standing::Removed {
            return Ok(Self::Inviter { same_circle });
        }
        let by_inviter = joiner.standing != Standing::Company;
        let by_joiner = inviter.standing == Standing::Alone && joiner.standing != Standing::Removed;
        if !by_inviter && !by_joiner {
            return Err(Refusal::TwoCircles);
        }
        let wants = |wish| inviter.wish == wish;
        let wanted = |wish| joiner.wish == wish;
        let inviter_may = !wants(Wish::Joins) && !wanted(Wish::Admits);
        let joiner_may = !wants(Wish::Admits) && !wanted(Wish::Joins);
        if by_inviter && inviter_may {
            Ok(Self::Inviter { same_circle })
        } else if by_joiner && joiner_may {
            Ok(Self::Joiner)
        } else if !inviter_may && !joiner_may {
            Err(Refusal::OtherWay)
        } else if joiner_may && joiner.standing == Standing::Removed {
            Err(Refusal::NotAMember)
        } else {
            Err(Refusal::HasCompany)
        }
    }

    /// The change for one side, whose introduction is `mine`.
    pub(super) fn change(
        self,
        is_inviter: bool,
        mine: &Introduction,
        theirs: &Introduction,
        knows_them: bool,
    ) -> Change {
        let has_company = |side: &Introduction| side.standing == Standing::Company;
        let same_circle = matches!(self, Self::Inviter { same_circle: true });
        let admits = matches!(self, Self::Inviter { .. }) == is_inviter;
        // The other side only says which circle it holds: that it is in this one has to be known here.
        // One that says itself that it is out is let in anew, even if that was not heard here.
        let is_out = |side: &Introduction| side.standing == Standing::Removed;
        if same_circle && !is_out(mine) && !is_out(theirs) && knows_them {
            Change::Renew
        } else if !same_circle && !has_company(mine) && !has_company(theirs) {
            Change::Begin
        } else if admits {
            Change::TheyJoin
        } else {
            Change::WeJoin
        }
    }
}

impl Change {
    /// Checks the change against the owner's wish. [`Admitter::choose`] has done so for different
    /// circles; within one circle, only now is it known who knows whom.
    pub(super) fn check_wish(self, wish: Wish) -> Result<(), Refusal> {
        match (self, wish) {
            (Self::TheyJoin, Wish::Joins) | (Self::WeJoin, Wish::Admits) => Err(Refusal::OtherWay),
            (Self::TheyJoin | Self::WeJoin | Self::Begin | Self::Renew, _) => Ok(()),
        }
    }
}

/// Which owners have agreed, and to what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Confirming {
    pub(super) choice: [u8; 32],
    pub(super) by_me: bool,
    pub(super) by_them: bool,
}

impl Confirming {
    /// Nobody has agreed yet.
    pub(super) fn to(choice: [u8; 32]) -> Self {
        Self {
            choice,
            by_me: false,
            by_them: false,
        }
    }

    /// Whether both owners have agreed.
    pub(super) fn is_complete(&self) -> bool {
        self.by_me && self.by_them
    }
}

/// Checks that a circle still has the members that were shown.
pub(super) fn check_shown(circle: &Circle, id: CircleId, shown: &[Listed]) -> Result<(), Refusal> {
    let was_shown = |peer: PeerId| shown.iter().any(|listed| listed.peer == peer);
    if circle.id() == id && circle.members().all(|member| was_shown(member.peer)) {
        Ok(())
    } else {
        Err(Refusal::OtherMembers)
    }
}

/// A hash of what an owner agrees to. Both sides must send the same.
fn choice(
    admitter: Admitter,
    inviter: PeerId,
    joiner: PeerId,
    circle: CircleId,
    members: &[Listed],
) -> [u8; 32] {
    let mut listed = Vec::new();
    write_list(members, &mut listed);
    let by = match admitter {
        Admitter::Inviter { same_circle } => u8::from(same_circle),
        Admitter::Joiner => 2,
    };
    Blake2s256::new()
        .chain_update(DOMAIN)
        .chain_update([by])
        .chain_update(inviter.public_key())
        .chain_update(joiner.public_key())
        .chain_update(circle.as_bytes())
        .chain_update(listed)
        .finalize()
        .into()
}

/// Asks the owner: the question, and what both owners are to confirm. `circle` is the one that is
/// joined, whose members the proposal lists.
pub(super) fn ask(
    admitter: Admitter,
    [inviter, joiner]: [PeerId; 2],
    circle: CircleId,
    proposal: Proposal,
) -> (Output, Confirming) {
    let choice = choice(admitter, inviter, joiner, circle, &proposal.members);
    let proposed = Event::Proposed(Box::new(proposal));
    (Output::Event(proposed), Confirming::to(choice))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Standing::{Alone, Company, Removed};
    use Wish::{Admits, Asks, Joins};

    fn introduction(circle: u8, standing: Standing, wish: Wish) -> Introduction {
        Introduction {
            name: DeviceName::new("kitchen").expect("a name"),
            circle: CircleId::from_bytes([circle; 32]),
            standing,
            wish,
            unix_s: None,
        }
    }

    fn choose(inviter: (Standing, Wish), joiner: (Standing, Wish)) -> Result<Admitter, Refusal> {
        let inviter = introduction(1, inviter.0, inviter.1);
        let joiner = introduction(2, joiner.0, joiner.1);
        Admitter::choose(&inviter, &joiner)
    }

    #[test]
    fn whoever_has_company_admits_and_what_was_said_beforehand_is_kept() {
        let by_inviter = Ok(Admitter::Inviter { same_circle: false });
        let by_joiner = Ok(Admitter::Joiner);
        let other_way = Err(Refusal::OtherWay);
        let has_company = Err(Refusal::HasCompany);
        for (inviter, joiner, expected) in [
            ((Alone, Asks), (Alone, Asks), by_inviter),
            ((Alone, Joins), (Alone, Asks), by_joiner),
            ((Alone, Asks), (Alone, Admits), by_joiner),
            ((Alone, Joins), (Alone, Admits), by_joiner),
            ((Alone, Admits), (Alone, Joins), by_inviter),
            ((Alone, Admits), (Alone, Admits), other_way),
            ((Alone, Joins), (Alone, Joins), other_way),
            ((Company, Asks), (Alone, Asks), by_inviter),
            ((Company, Asks), (Removed, Joins), by_inviter),
            ((Company, Joins), (Alone, Asks), has_company),
            ((Company, Asks), (Alone, Admits), has_company),
            ((Alone, Asks), (Company, Asks), by_joiner),
            ((Alone, Joins), (Company, Admits), by_joiner),
            ((Alone, Admits), (Company, Asks), has_company),
            ((Alone, Asks), (Company, Joins), has_company),
            ((Alone, Asks), (Removed, Admits), Err(Refusal::NotAMember)),
            ((Company, Joins), (Alone, Admits), has_company),
            ((Company, Asks), (Company, Asks), Err(Refusal::TwoCircles)),
        ] {
            assert_eq!(choose(inviter, joiner), expected, "{inviter:?} {joiner:?}");
        }
        let same = |joiner| {
            let inviter = introduction(1, Company, Asks);
            Admitter::choose(&inviter, &introduction(1, joiner, Asks))
        };
        let same_circle = Ok(Admitter::Inviter { same_circle: true });
        assert_eq!([same(Company), same(Removed)], [same_circle; 2]);
    }

    #[test]
    fn both_sides_are_told_the_two_sides_of_one_change() {
        let told = |inviter, joiner| {
            let (inviter, joiner) = (
                introduction(1, inviter, Asks),
                introduction(2, joiner, Asks),
            );
            let admitter = Admitter::choose(&inviter, &joiner).expect("they pair");
            [
                admitter.change(true, &inviter, &joiner, false),
                admitter.change(false, &joiner, &inviter, false),
            ]
        };
        assert_eq!(told(Alone, Alone), [Change::Begin; 2]);
        assert_eq!(told(Company, Alone), [Change::TheyJoin, Change::WeJoin]);
        assert_eq!(told(Company, Removed), [Change::TheyJoin, Change::WeJoin]);
        assert_eq!(told(Alone, Company), [Change::WeJoin, Change::TheyJoin]);
    }
}
