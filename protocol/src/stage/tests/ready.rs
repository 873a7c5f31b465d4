//! A stage that is being made ready.

use std::time::Duration;

use super::{REQUESTER, drain, limits, messages, open, peer, stage};
use crate::stage::{StageOutput, Stages};
use crate::wire::Control;
use crate::{PeerId, PlanEpoch};

#[test]
fn a_stage_that_is_made_ready_is_heard_and_stays_however_long_that_takes() {
    let mut stages = Stages::new(peer(super::OWNER), limits());
    stages.open(Duration::ZERO, peer(REQUESTER), open(7, 1));
    drain(&mut stages);
    let mut heard = 0;
    while stages.poll_timeout() <= Some(Duration::from_secs(100)) {
        let now = stages.poll_timeout().expect("it is due");
        stages.handle_timeout(now);
        let sent = messages(drain(&mut stages));
        let alive = |(to, message): &(PeerId, Control)| {
            *to == peer(REQUESTER) && matches!(message, Control::KeepAlive(_))
        };
        heard += sent.iter().filter(|said| alive(said)).count();
    }
    assert_eq!(heard, 1_000);
    // What it lacked has come.
    let open = stages.opening(stage(7)).map(|open| open.epoch);
    assert_eq!(open, Some(PlanEpoch(1)));
    stages.load_again(stage(7), PlanEpoch(2));
    assert_eq!(drain(&mut stages), []);
    stages.load_again(stage(7), PlanEpoch(1));
    assert!(matches!(&drain(&mut stages)[..], [StageOutput::Load(_)]));
    stages.loaded(Duration::from_secs(100), stage(7), PlanEpoch(1), Ok(()));
    assert_eq!(stages.poll_timeout(), Some(Duration::from_secs(160)));
    assert_eq!(stages.opening(stage(7)), None);
}
