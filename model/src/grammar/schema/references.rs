//! Resolves `$ref`s, and gives their targets the plain names that the library needs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::refused;
use crate::grammar::GrammarError;

/// The document and its referenced schemas.
pub(super) struct References<'a> {
    root: &'a Value,
    /// Schemas with an `$id` or an `$anchor`, by the text that refers to them.
    named: BTreeMap<String, &'a Value>,
    /// The `$id` of the document.
    base: &'a str,
    /// The new name of each `$ref` seen so far.
    names: BTreeMap<String, String>,
    taken: BTreeSet<String>,
    /// Referenced schemas that [`Self::next`] has not returned yet.
    unread: Vec<(String, &'a Value)>,
}

impl<'a> References<'a> {
    pub(super) fn new(root: &'a Value) -> Self {
        let mut named = BTreeMap::new();
        name_schemas(root, &mut named);
        let base = ["$id", "id"].iter().find_map(|id| root.get(id)?.as_str());
        Self {
            root,
            named,
            base: base.unwrap_or_default().trim_end_matches('#'),
            names: BTreeMap::new(),
            taken: BTreeSet::new(),
            unread: Vec::new(),
        }
    }

    /// The next referenced schema, with its name.
    pub(super) fn next(&mut self) -> Option<(String, &'a Value)> {
        self.unread.pop()
    }

    /// The new `$ref` to the target of this one.
    ///
    /// # Errors
    /// The target is not in the document.
    pub(super) fn rename(&mut self, reference: &str) -> Result<String, GrammarError> {
        if let Some(name) = self.names.get(reference) {
            return Ok(name.clone());
        }
        let found = self.find(reference)?;
        if std::ptr::eq(found, self.root) {
            self.names.insert(reference.to_owned(), "#".to_owned());
            return Ok("#".to_owned());
        }
        let last = reference.rsplit(['/', '#']).next().unwrap_or_default();
        let is_plain = |char: char| char.is_ascii_alphanumeric() || "_-.".contains(char);
        let mut name: String = last.chars().filter(|char| is_plain(*char)).collect();
        while name.is_empty() || !self.taken.insert(name.clone()) {
            name.push('_');
        }
        let renamed = format!("#/$defs/{name}");
        self.names.insert(reference.to_owned(), renamed.clone());
        self.unread.push((name, found));
        Ok(renamed)
    }

    /// The target of a `$ref`.
    ///
    /// # Errors
    /// The target is not in the document.
    pub(super) fn find(&self, reference: &str) -> Result<&'a Value, GrammarError> {
        let nowhere = || {
            refused(format!(
                "$ref {reference:?} is not in the schema: what it refers to has to be in the same document"
            ))
        };
        let within = match reference.strip_prefix(self.base) {
            Some(within) if within.is_empty() || within.starts_with('#') => within,
            _ => reference,
        };
        if within.is_empty() || within == "#" {
            return Ok(self.root);
        }
        if let Some(named) = self.named.get(within) {
            return Ok(named);
        }
        let pointer = within.strip_prefix('#').ok_or_else(nowhere)?;
        let pointer = without_percent(pointer).ok_or_else(nowhere)?;
        self.root.pointer(&pointer).ok_or_else(nowhere)
    }
}

/// Collects all schemas with a name of their own.
fn name_schemas<'a>(value: &'a Value, named: &mut BTreeMap<String, &'a Value>) {
    match value {
        Value::Object(fields) => {
            for (keyword, before) in [("$id", ""), ("$anchor", "#")] {
                if let Some(Value::String(name)) = fields.get(keyword) {
                    named.entry(format!("{before}{name}")).or_insert(value);
                }
            }
            fields.values().for_each(|held| name_schemas(held, named));
        }
        Value::Array(items) => items.iter().for_each(|item| name_schemas(item, named)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Decodes `%XX`; `None` if the result is not UTF-8 or an escape is invalid.
fn without_percent(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        if *first == b'%' {
            let digits = std::str::from_utf8(behind.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &behind[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}
