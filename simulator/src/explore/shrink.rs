//! Shrinks a scenario while it still violates the same check.

use crate::run;
use crate::scenario::{ChoiceSpec, NetworkSpec, Scenario, Weights};
use crate::units::Span;

/// Runs that making one scenario smaller may take.
const MOST_RUNS: usize = 400;

/// A shrunk scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Shrunk {
    /// It.
    pub scenario: Scenario,
    /// The checker that it violates.
    pub checker: String,
    /// What that says.
    pub words: String,
}

/// Makes a scenario smaller as long as the same checker finds something; `None` if none does.
pub fn shrink(scenario: &Scenario) -> Option<Shrunk> {
    let (checker, words) = violated(scenario, None)?;
    let mut shrunk = Shrunk {
        scenario: scenario.clone(),
        checker,
        words,
    };
    let mut runs = 0;
    while let Some((scenario, words)) = smaller(&shrunk, &mut runs) {
        shrunk.scenario = scenario;
        shrunk.words = words;
    }
    Some(shrunk)
}

/// The first smaller one that violates the same.
fn smaller(shrunk: &Shrunk, runs: &mut usize) -> Option<(Scenario, String)> {
    let left = MOST_RUNS.saturating_sub(*runs);
    for candidate in candidates(&shrunk.scenario).into_iter().take(left) {
        *runs += 1;
        if let Some((_, words)) = violated(&candidate, Some(&shrunk.checker)) {
            return Some((candidate, words));
        }
    }
    None
}

/// The checker that a scenario violates, and its words: this one, or the first.
fn violated(scenario: &Scenario, checker: Option<&str>) -> Option<(String, String)> {
    let record = run(scenario, &super::options()).ok()?;
    let mut violations = record.violations.into_iter();
    let same = |name: &str| checker.is_none_or(|checker| checker == name);
    let violation = violations.find(|violation| same(&violation.checker))?;
    Some((violation.checker, violation.words))
}

/// Scenarios that are a little smaller.
fn candidates(scenario: &Scenario) -> Vec<Scenario> {
    let mut candidates = Vec::new();
    let mut with = |change: &dyn Fn(&mut Scenario)| {
        let mut smaller = scenario.clone();
        change(&mut smaller);
        if smaller != *scenario && smaller.check().is_ok() && !smaller.requests.is_empty() {
            candidates.push(smaller);
        }
    };
    for at in 0..scenario.faults.len() {
        with(&|smaller| drop(smaller.faults.remove(at)));
    }
    for at in 0..scenario.requests.len() {
        with(&|smaller| drop(smaller.requests.remove(at)));
        with(&|smaller| smaller.requests[at].tokens = (smaller.requests[at].tokens / 2).max(1));
        with(&|smaller| smaller.requests[at].prompt = (smaller.requests[at].prompt / 2).max(1));
        with(&|smaller| smaller.requests[at].choice = ChoiceSpec::Best);
        with(&|smaller| smaller.requests[at].guesses = 0);
    }
    for at in 0..scenario.devices.len() {
        with(&|smaller| {
            let gone = smaller.devices.remove(at);
            let name = gone.base_name();
            let other = |other: &Option<String>| other.as_deref() == Some(name);
            smaller
                .faults
                .retain(|fault| fault.who != name && !other(&fault.other));
            smaller.requests.retain(|request| request.who != name);
        });
        with(&|smaller| smaller.devices[at].joins_at = Span(0));
        with(&|smaller| smaller.devices[at].weights = Weights::All);
    }
    with(&|smaller| smaller.networks = vec![NetworkSpec::default()]);
    for network in 0..scenario.networks.len() {
        with(&|smaller| smaller.networks[network].stall_rate = 0.0);
        with(&|smaller| smaller.networks[network].jitter = Span(0));
    }
    candidates
}
