//! What several tests of whole runs need.

use potluck_sim::record::Record;
use potluck_sim::{Options, Scenario};

/// The run of a scenario until all is answered, in which no checker found anything.
pub(crate) fn run(text: &str) -> Record {
    let scenario = Scenario::from_toml(text).expect("a scenario");
    let record = potluck_sim::run(&scenario, &Options::until_answered()).expect("it begins");
    assert!(record.violations.is_empty(), "{:#?}", record.violations);
    record
}
