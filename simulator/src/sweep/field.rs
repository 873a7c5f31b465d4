//! Fields of a scenario by their path.

use std::fmt;
use std::str::FromStr;

use toml::{Table, Value};

use super::SweepError;

/// Sections that a scenario may have several times.
const MANY: [&str; 5] = ["device", "circle", "network", "request", "fault"];
/// Those that a scenario has once if it names none.
const ASSUMED: [&str; 2] = ["network", "request"];

/// A field of a scenario by its path: `duration`, `model.name`; `network.delay` of all networks,
/// `network.0.delay` of the first, `device.tablet.memory` of the one of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    path: Vec<String>,
}

impl FromStr for Field {
    type Err = SweepError;

    fn from_str(text: &str) -> Result<Self, SweepError> {
        let path: Vec<_> = text.split('.').map(str::to_owned).collect();
        let of_many = path
            .first()
            .is_some_and(|first| MANY.contains(&first.as_str()));
        let depth = if of_many { 2..=3 } else { 1..=2 };
        if path.iter().any(String::is_empty) || !depth.contains(&path.len()) {
            return Err(SweepError::NotAField(text.to_owned()));
        }
        Ok(Self { path })
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path.join("."))
    }
}

impl Field {
    /// Sets it in a scenario that was taken apart.
    ///
    /// # Errors
    /// [`SweepError::NoSection`] if there is nothing to set it in. Whether the field exists and the
    /// value makes sense is seen when the scenario is put together again.
    pub fn set(&self, scenario: &mut Table, value: &Value) -> Result<(), SweepError> {
        match &self.path[..] {
            [field] => drop(scenario.insert(field.clone(), value.clone())),
            [section, field] if MANY.contains(&section.as_str()) => {
                for table in self.sections(scenario, section)? {
                    table.insert(field.clone(), value.clone());
                }
            }
            [section, which, field] => {
                let table = self.one(scenario, section, which)?;
                table.insert(field.clone(), value.clone());
            }
            [section, field] => {
                let table = scenario.entry(section.clone());
                let table = table.or_insert_with(|| Value::Table(Table::new()));
                let table = table.as_table_mut();
                let words = || format!("{section} has no fields of its own");
                let table = table.ok_or_else(|| self.no_section(words()))?;
                table.insert(field.clone(), value.clone());
            }
            _ => return Err(SweepError::NotAField(self.to_string())),
        }
        Ok(())
    }

    /// All sections of a kind, at least one.
    fn sections<'a>(
        &self,
        scenario: &'a mut Table,
        section: &str,
    ) -> Result<Vec<&'a mut Table>, SweepError> {
        if ASSUMED.contains(&section) && !scenario.contains_key(section) {
            let one = Value::Array(vec![Value::Table(Table::new())]);
            scenario.insert(section.to_owned(), one);
        }
        let sections = scenario.get_mut(section).and_then(Value::as_array_mut);
        let tables = sections
            .into_iter()
            .flatten()
            .filter_map(Value::as_table_mut);
        let tables: Vec<_> = tables.collect();
        if tables.is_empty() {
            return Err(self.no_section(format!("the scenario has no {section}")));
        }
        Ok(tables)
    }

    /// The section of this number or name.
    fn one<'a>(
        &self,
        scenario: &'a mut Table,
        section: &str,
        which: &str,
    ) -> Result<&'a mut Table, SweepError> {
        let tables = self.sections(scenario, section)?;
        let called = |table: &Table| {
            let name = ["name", "profile", "who"]
                .into_iter()
                .find_map(|key| table.get(key));
            name.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let names: Vec<_> = tables.iter().map(|table| called(table)).collect();
        let by_number = which.parse().ok().filter(|number| *number < names.len());
        let by_name = || names.iter().position(|name| name == which);
        let words = || {
            let last = names.len() - 1;
            format!(
                "no {section} {which}: there are 0 to {last} ({})",
                names.join(", ")
            )
        };
        let found = by_number.or_else(by_name);
        let at = found.ok_or_else(|| self.no_section(words()))?;
        let table = tables.into_iter().nth(at);
        table.ok_or_else(|| SweepError::NotAField(self.to_string()))
    }

    fn no_section(&self, words: String) -> SweepError {
        SweepError::NoSection {
            field: self.to_string(),
            words,
        }
    }
}
