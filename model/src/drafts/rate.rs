//! How often guesses of a kind are right.

/// Of more guesses than this, the older half counts half.
const REMEMBERED: f32 = 64.0;

/// The share of guesses that were right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    right: f32,
    made: f32,
}

impl Rate {
    /// The share assumed at first, which counts as `made` guesses.
    pub(super) fn assumed(share: f32, made: f32) -> Self {
        Self {
            right: share * made,
            made,
        }
    }

    /// Counts a guess.
    pub(super) fn heard(&mut self, right: bool) {
        if self.made >= REMEMBERED {
            self.right /= 2.0;
            self.made /= 2.0;
        }
        self.made += 1.0;
        self.right += f32::from(u8::from(right));
    }

    /// The chance that a guess is right.
    pub(super) fn of_one(self) -> f32 {
        self.right / self.made
    }
}
