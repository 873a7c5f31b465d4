//! Every session ends, or is kept for a stated reason.

use super::Finding;
use crate::record::Ending;

const NAME: &str = "endings";

/// A session at the end of the run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended<'a> {
    pub(crate) session: usize,
    pub(crate) ending: &'a Ending,
    pub(crate) tokens: u32,
    pub(crate) wanted: u32,
}

pub(super) fn check(ended: &Ended<'_>, all_complete: bool) -> Option<Finding> {
    let (tokens, wanted) = (ended.tokens, ended.wanted);
    let words = match ended.ending {
        Ending::Complete if tokens != wanted => {
            format!("it is complete with {tokens} of {wanted} tokens")
        }
        Ending::Kept(why) | Ending::RequesterGone(why) | Ending::Refused(why) if why.is_empty() => {
            "it did not end, and nobody says why".to_owned()
        }
        Ending::Running | Ending::Kept(_) if all_complete => {
            format!("it has {tokens} of {wanted} tokens: {:?}", ended.ending)
        }
        _ => return None,
    };
    Some(Finding::of_session(NAME, ended.session, words))
}
