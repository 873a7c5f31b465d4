//! What a requester feeds a pipeline, over a way on which rows and events cross each other.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use proptest::prelude::*;

use super::super::{Cause, Feed, RollBack, SessionEvent};
use super::half::peer;
use crate::made_up::mix;
use crate::wire::Answer;

const PROMPT: usize = 23;
const WANTED: usize = 30;

/// From a requester to its pipeline.
#[derive(Debug)]
enum Order {
    Submit(usize, Vec<u64>, Answer),
    RollBack(usize),
}

/// A pipeline behind a way, as a [`Session`](super::super::Session) behind a socket.
#[derive(Debug, Default)]
struct Pipeline {
    orders: VecDeque<Order>,
    events: VecDeque<SessionEvent>,
    /// What it was given.
    rows: Vec<u64>,
    running: bool,
    due: VecDeque<(usize, usize, Answer)>,
    /// Rows before this were answered.
    answered: usize,
}

impl Pipeline {
    fn break_off(&mut self) {
        self.running = false;
        self.due.clear();
        self.rows.truncate(self.answered);
        self.events.push_back(SessionEvent::Broken {
            peer: peer(1),
            cause: Cause::Disconnected,
        });
    }

    /// Works again, and holds one part in four less, or all that was answered.
    fn place(&mut self, quarters: usize, prefill_rows: u32) {
        let from = self.answered * quarters / 4;
        self.running = true;
        self.rows.truncate(from);
        self.due.clear();
        self.answered = from;
        self.events.push_back(SessionEvent::Ready {
            from: from as u32,
            prefill_rows: NonZeroU32::new(prefill_rows).expect("some rows"),
        });
    }

    /// Takes what the requester sent next; rows that are not the next are passed over.
    fn take(&mut self) {
        match self.orders.pop_front() {
            Some(Order::Submit(start, tokens, answer))
                if self.running && start == self.rows.len() =>
            {
                self.rows.extend(tokens);
                self.due.push_back((start, self.rows.len(), answer));
            }
            Some(Order::Submit(..)) | None => {}
            Some(Order::RollBack(to)) => {
                if to < self.rows.len() {
                    self.rows.truncate(to);
                    self.due.retain(|(_, end, _)| *end <= to);
                    self.answered = self.answered.min(to);
                }
                self.events.push_back(SessionEvent::RolledBack);
            }
        }
    }

    fn compute(&mut self) {
        if let Some((start, end, answer)) = self.due.pop_front() {
            let (start, hidden) = match answer {
                Answer::LastRow => (end - 1, hidden(&self.rows[..end])),
                _ => (start, Vec::new()),
            };
            self.answered = end;
            self.events.push_back(SessionEvent::Answered {
                start_position: start as u32,
                hidden,
            });
        }
    }
}

/// What all layers make of the rows so far.
fn hidden(rows: &[u64]) -> Vec<u8> {
    let all = rows.iter().fold(1, |all, row| mix(all, *row));
    all.to_le_bytes().to_vec()
}

fn sample(hidden: &[u8]) -> u64 {
    u64::from(hidden[0] % 5)
}

fn prompt() -> Vec<u64> {
    (0..PROMPT as u64).collect()
}

fn expected() -> Vec<u64> {
    let mut tokens = prompt();
    while tokens.len() < PROMPT + WANTED {
        tokens.push(sample(&hidden(&tokens)));
    }
    tokens
}

struct Requester {
    feed: Feed<u64>,
    expected: Vec<u64>,
    drafts: usize,
    guesses: u64,
}

impl Requester {
    fn new(drafts: usize) -> Self {
        let mut feed = Feed::new(PROMPT + WANTED);
        assert_eq!(feed.read_on(&prompt()), None);
        Self {
            feed,
            expected: expected(),
            drafts,
            guesses: 0,
        }
    }

    fn is_done(&self) -> bool {
        self.feed.tokens().len() == self.expected.len()
    }

    /// The next event, and what follows of it.
    fn hear(&mut self, pipeline: &mut Pipeline) {
        let order = |RollBack(to)| Order::RollBack(to as usize);
        match pipeline.events.pop_front() {
            Some(SessionEvent::Broken { .. }) => self.feed.interrupted(),
            Some(SessionEvent::Ready { from, prefill_rows }) => {
                let back = self.feed.ready(from, prefill_rows.get());
                pipeline.orders.extend(back.map(order));
            }
            Some(SessionEvent::Answered {
                start_position,
                hidden,
            }) => {
                self.feed.answered(start_position, hidden);
            }
            Some(SessionEvent::RolledBack) => self.feed.rolled_back(),
            _ => {}
        }
        while !self.is_done()
            && let Some(hidden) = self.feed.take_hidden()
        {
            assert_eq!(self.feed.read(), self.feed.tokens().len());
            let back = self.feed.read_on(&[sample(&hidden)]);
            pipeline.orders.extend(back.map(order));
        }
        let (expected, guesses) = (&self.expected, &mut self.guesses);
        // Right two times in three.
        let mut guess = |tokens: &[u64], _| {
            *guesses += 1;
            let right = expected.get(tokens.len()).copied();
            right.map(|right| right + u64::from(mix(*guesses, 3).is_multiple_of(3)))
        };
        while let Some(step) = self.feed.next_step(self.drafts, &mut guess) {
            pipeline.orders.push_back(Order::Submit(
                step.start_position as usize,
                step.tokens.to_vec(),
                step.answer,
            ));
        }
    }
}

proptest! {
    #[test]
    fn whatever_crosses_on_the_way_the_tokens_are_those_of_one_device(
        drafts in 0usize..6,
        what in prop::collection::vec((0u32..40, 0usize..5, 1u32..12), 0..400),
    ) {
        let mut requester = Requester::new(drafts);
        let mut pipeline = Pipeline::default();
        pipeline.place(0, 7);
        for (what, quarters, rows) in what {
            match what {
                0 => pipeline.break_off(),
                1 => {
                    pipeline.break_off();
                    pipeline.place(quarters, rows);
                }
                2..=13 => pipeline.take(),
                14..=26 => pipeline.compute(),
                _ => requester.hear(&mut pipeline),
            }
        }
        if !pipeline.running {
            pipeline.place(4, 5);
        }
        for _ in 0..2_000 {
            requester.hear(&mut pipeline);
            pipeline.take();
            pipeline.compute();
        }
        prop_assert_eq!(requester.feed.tokens(), &requester.expected[..]);
    }
}

/// All steps that may be submitted now: their first positions and rows.
fn steps(feed: &mut Feed<u64>, drafts: &[u64]) -> Vec<(u32, usize)> {
    let mut steps = Vec::new();
    let mut guess = |tokens: &[u64], wanted| drafts.get(tokens.len() - wanted).copied();
    while let Some(step) = feed.next_step(drafts.len(), &mut guess) {
        steps.push((step.start_position, step.tokens.len()));
    }
    steps
}

#[test]
fn a_prompt_goes_in_steps_of_which_a_few_are_on_their_way() {
    let mut feed = Feed::new(100);
    assert_eq!(feed.read_on(&[7; 80]), None);
    assert_eq!(steps(&mut feed, &[]), []);
    assert_eq!(feed.ready(0, 12), None);
    let first = [(0, 12), (12, 12), (24, 12), (36, 12), (48, 12), (60, 12)];
    assert_eq!(steps(&mut feed, &[]), first);
    assert!(feed.answered(0, Vec::new()));
    assert_eq!((feed.read(), feed.take_hidden()), (12, None));
    assert_eq!(steps(&mut feed, &[]), [(72, 8)]);
}

#[test]
fn a_right_draft_is_not_submitted_again_and_a_wrong_one_is_rolled_back() {
    let mut feed = Feed::new(100);
    assert_eq!(feed.read_on(&[1]), None);
    assert_eq!(feed.ready(0, 12), None);
    assert_eq!(steps(&mut feed, &[2, 3]), [(0, 1), (1, 1), (2, 1)]);
    assert_eq!(feed.drafts(), [2, 3]);
    assert!(feed.answered(0, vec![10]) && feed.answered(1, vec![11]));
    assert_eq!(feed.take_hidden(), Some(vec![10]));
    // Its answer is here already.
    assert_eq!(feed.read_on(&[2]), None);
    assert_eq!(feed.take_hidden(), Some(vec![11]));
    assert_eq!(steps(&mut feed, &[]), []);
    assert_eq!(feed.read_on(&[9]), Some(RollBack(2)));
    assert_eq!(feed.tokens(), [1, 2, 9]);
    assert_eq!(steps(&mut feed, &[]), [(2, 1)]);
    // Of the draft: it was on its way when it was rolled back.
    assert!(!feed.answered(2, vec![12]));
    feed.rolled_back();
    assert!(feed.answered(2, vec![13]));
    assert_eq!(feed.take_hidden(), Some(vec![13]));
}

#[test]
fn what_is_given_up_or_cut_off_is_read_again() {
    let mut feed = Feed::new(100);
    assert_eq!(feed.read_on(&[7; 80]), None);
    assert_eq!(feed.ready(0, 20), None);
    assert_eq!(steps(&mut feed, &[]).len(), 4);
    assert!(feed.answered(0, Vec::new()));
    assert_eq!(feed.give_up(), Some(RollBack(20)));
    assert_eq!((feed.tokens().len(), feed.give_up()), (20, None));
    assert_eq!(
        (feed.truncate(20), feed.truncate(5)),
        (None, Some(RollBack(5)))
    );
    assert_eq!(feed.read_on(&[8; 2]), None);
    assert_eq!(steps(&mut feed, &[]), [(5, 2)]);
}

#[test]
fn steps_before_a_cut_whose_answers_were_passed_over_are_rolled_back() {
    let mut feed = Feed::new(100);
    assert_eq!(feed.read_on(&[7; 10]), None);
    assert_eq!(feed.ready(0, 5), None);
    assert_eq!(steps(&mut feed, &[]).len(), 2);
    assert_eq!(feed.truncate(7), Some(RollBack(7)));
    assert!(!feed.answered(0, Vec::new()));
    feed.rolled_back();
    feed.interrupted();
    // The pipeline knows that they were answered.
    assert_eq!(feed.ready(5, 5), Some(RollBack(0)));
    feed.rolled_back();
    assert_eq!(steps(&mut feed, &[]), [(0, 5), (5, 2)]);
}

#[test]
fn drafts_leave_room_and_end_with_the_context() {
    let mut feed = Feed::new(3);
    assert_eq!(feed.read_on(&[1]), None);
    assert_eq!(feed.ready(0, 12), None);
    assert_eq!(steps(&mut feed, &[2, 3, 4, 5]), [(0, 1), (1, 1), (2, 1)]);
}

#[test]
fn a_pipeline_that_is_gone_is_replaced_by_one_that_reads_all_again() {
    let mut feed = Feed::new(100);
    assert_eq!(feed.read_on(&[7; 30]), None);
    assert_eq!(feed.ready(0, 12), None);
    assert_eq!(steps(&mut feed, &[8]).len(), 4);
    assert!(feed.answered(0, Vec::new()) && feed.answered(12, Vec::new()));
    assert!(feed.answered(29, vec![10]));
    // The mark of this never comes, nor the answer to the draft.
    assert_eq!(feed.take_hidden(), Some(vec![10]));
    assert_eq!(feed.read_on(&[9]), Some(RollBack(30)));
    feed.lost();
    assert_eq!(steps(&mut feed, &[]), []);
    assert_eq!(feed.tokens().len(), 31, "nothing is forgotten");
    assert_eq!(feed.ready(0, 12), None, "it holds nothing to be dropped");
    assert_eq!(steps(&mut feed, &[]), [(0, 12), (12, 12), (24, 7)]);
    for start in [0, 12] {
        assert!(feed.answered(start, Vec::new()));
    }
    assert!(feed.answered(30, vec![11]));
    assert_eq!(feed.take_hidden(), Some(vec![11]));
}
