//! The OpenAPI document: `openapi.json`, with this build's version.

use serde_json::Value;

/// The OpenAPI document.
pub(super) fn document() -> Value {
    let mut document: Value =
        serde_json::from_str(include_str!("openapi.json")).unwrap_or_default();
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    document
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_path_is_in_the_document_and_every_path_of_it_is_there() {
        let document = document();
        let said = document["paths"].as_object().expect("paths");
        let said: BTreeSet<_> = said.keys().map(String::as_str).collect();
        let source = include_str!("routes.rs");
        let mut there = BTreeSet::new();
        for call in source.split(".route(").skip(1) {
            let path = call.split('"').nth(1).expect("a path");
            let path = path.replace("{*id}", "{id}");
            match call.trim_start().starts_with("&path(") {
                true => there.extend([path.clone(), format!("/v1{path}")]),
                false => {
                    there.insert(path);
                }
            }
        }
        let there: BTreeSet<_> = there.iter().map(String::as_str).collect();
        assert_eq!(said, there);
    }
}
