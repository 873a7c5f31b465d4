use super::*;
use serde_json::json;

fn prepared(schema: Value) -> Value {
    let mut prepared = prepare(&schema).unwrap_or_else(|error| panic!("{schema}: {error}"));
    let fields = prepared.as_object_mut().expect("a schema");
    fields.shift_remove("x-guidance").expect("our options");
    prepared
}

fn refusal(schema: &Value) -> String {
    match prepare(schema) {
        Ok(taken) => panic!("{schema} is taken: {taken}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn remarks_are_taken_out_where_they_are_keywords_only() {
    let schema = json!({
        "type": "object",
        "title": "Day",
        "x-guidance": {"lenient": true},
        "properties": {
            "format": {"type": "string", "format": "color", "description": "d", "nullable": true},
            "title": {"format": "int32", "example": 3},
            "list": {"type": "array", "uniqueItems": false, "items": {"deprecated": true}},
            "never": {"not": {}},
        },
        "const": {"format": "kept", "title": "kept"},
    });
    let right = json!({
        "type": "object",
        "properties": {
            "format": {"type": "string"},
            "title": {},
            "list": {"type": "array", "items": {}},
            "never": false,
        },
        "const": {"format": "kept", "title": "kept"},
    });
    assert_eq!(prepared(schema.clone()), right);
    let options = &prepare(&schema).expect("a schema")["x-guidance"];
    assert_eq!(options.get("lenient"), None);
}

#[test]
fn schemas_beyond_the_bounds_are_refused() {
    let mut deep = json!({"type": "string"});
    for _ in 0..60 {
        deep = json!({"properties": {"a": deep}});
    }
    let wide = json!({"enum": vec!["x".repeat(100); 3000]});
    for (schema, says) in [
        (deep, "the JSON schema is nested deeper than 100"),
        (wide, "the JSON schema has 309"),
        (
            json!(false),
            "an answer cannot be kept to the JSON schema: it allows nothing",
        ),
        (
            json!({"not": {}}),
            "an answer cannot be kept to the JSON schema: no value is of it",
        ),
        (
            json!("object"),
            "an answer cannot be kept to the JSON schema: it is not an object",
        ),
    ] {
        let error = refusal(&schema);
        assert!(error.starts_with(says), "{error}");
    }
}

#[test]
fn references_are_found_however_they_are_written() {
    let schema = json!({
        "$id": "https://example.org/order",
        "properties": {
            "a": {"$ref": "#/definitions/Partial%3CTown%3E"},
            "b": {"$ref": "https://example.org/order#/definitions/a~1b"},
            "c": {"$ref": "#town"},
            "d": {"$ref": "Node"},
            "e": {"$ref": "#/properties/a"},
            "f": {"$ref": "#"},
        },
        "definitions": {
            "Partial<Town>": {"type": "string"},
            "a/b": {"type": "integer"},
            "t": {"$anchor": "town", "type": "null"},
            "n": {"$id": "Node", "type": "array", "items": {"$ref": "Node"}},
            "unused": {"not": {"type": "null"}},
        },
    });
    let right = json!({
        "additionalProperties": false,
        "properties": {
            "a": {"$ref": "#/$defs/Partial3CTown3E"},
            "b": {"$ref": "#/$defs/a1b"},
            "c": {"$ref": "#/$defs/town"},
            "d": {"$ref": "#/$defs/Node"},
            "e": {"$ref": "#/$defs/a"},
            "f": {"$ref": "#"},
        },
        "$defs": {
            "a": {"$ref": "#/$defs/Partial3CTown3E"},
            "Node": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
            "town": {"type": "null"},
            "a1b": {"type": "integer"},
            "Partial3CTown3E": {"type": "string"},
        },
    });
    assert_eq!(prepared(schema), right);
    let apart = json!({"items": {"$id": "other", "items": {"$ref": "#/items"}}});
    assert!(refusal(&apart).contains("$ref \"#/items\" counts from an $id"));
    for nowhere in ["#/$defs/none", "other.json", "#none", "#/%zz"] {
        assert!(refusal(&json!({"$ref": nowhere})).contains("is not in the schema"));
    }
}

#[test]
fn bounds_that_would_be_rounded_are_moved_inward() {
    let cases = [
        (
            json!({"type": "integer", "exclusiveMinimum": 2, "maximum": 9_007_199_254_740_993_i64}),
            json!({"type": "integer", "minimum": 3, "maximum": 9_007_199_254_740_992_i64}),
        ),
        (
            json!({"type": "integer", "minimum": 9_007_199_254_740_993_i64, "maximum": u64::MAX}),
            json!({"type": "integer", "minimum": 9_007_199_254_740_994_i64, "maximum": 9_223_372_036_854_774_784_i64}),
        ),
        (
            json!({"type": ["integer", "null"], "minimum": i64::MIN, "exclusiveMaximum": 2.5}),
            json!({"type": ["integer", "null"], "minimum": -9_223_372_036_854_774_784_i64, "maximum": 2}),
        ),
        (
            json!({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5}),
            json!({"type": "number", "minimum": 1e-9, "maximum": 0.499_999_999_999_999_94}),
        ),
        (
            json!({"minimum": 1, "exclusiveMinimum": true, "maximum": 3.4e38}),
            json!({"minimum": 1.000_000_000_000_000_2, "maximum": 1e18}),
        ),
        (
            json!({"type": "string", "minimum": 1e300}),
            json!({"type": "string", "minimum": 1e300}),
        ),
    ];
    for (schema, right) in cases {
        assert_eq!(prepared(schema.clone()), right, "{schema}");
    }
    for (schema, says) in [
        (json!({"type": "integer", "minimum": 1e19}), "beyond 1e18"),
        (json!({"type": "number", "maximum": -1e30}), "beyond 1e18"),
        (
            json!({"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 4}),
            "no whole number",
        ),
        (json!({"exclusiveMinimum": 3, "maximum": 3}), "no number"),
        (
            json!({"const": 9_007_199_254_740_993_i64}),
            "9007199254740993 in const or enum",
        ),
        (
            json!({"enum": [1, {"a": [u64::MAX]}]}),
            "18446744073709551615 in const or enum",
        ),
        (json!({"const": 1e300}), "1e+300 in const or enum"),
        (json!({"const": "\u{1}"}), "control character"),
        (json!({"multipleOf": 0.07}), "multipleOf 0.07"),
        (json!({"multipleOf": 0}), "multipleOf 0 "),
        (
            json!({"allOf": [{"multipleOf": 65_537}, {"multipleOf": 65_539}]}),
            "multipleOf is supported up to",
        ),
        (
            json!({"multipleOf": 1_000_003}),
            "multipleOf is supported up to",
        ),
        (
            json!({"allOf": [{"multipleOf": 997}, {"multipleOf": 0.991}]}),
            "multipleOf is supported up to",
        ),
    ] {
        let error = refusal(&schema);
        assert!(error.contains(says), "{schema}: {error}");
    }
    let exact = json!({"enum": [1_i64 << 60, 0.1, -3, 2.0, "\n"], "multipleOf": 0.01});
    assert_eq!(prepared(exact.clone()), exact);
}

#[test]
fn multiples_with_a_small_common_multiple_are_kept() {
    let usual = json!({"allOf": [{"multipleOf": 0.01}, {"multipleOf": 25}, {"multipleOf": 1000}]});
    assert_eq!(prepared(usual.clone()), usual);
}

#[test]
fn what_a_pattern_looks_ahead_for_is_a_pattern_of_its_own() {
    let schema =
        json!({"type": "string", "pattern": "^(?=.*[a-z])(?=.*\\d)(?!\\.)(?!.*--).{8,20}$"});
    let right = json!({
        "type": "string",
        "pattern": "^.{8,20}$",
        "allOf": [
            {"pattern": "^(?:.*[a-z])", "type": "string"},
            {"pattern": "^(?:.*\\d)", "type": "string"},
            {"pattern": "^(?:[^\\.]|$)", "type": "string"},
            {"pattern": "^(?:[^\\-]|\\-[^\\-])*\\-?$", "type": "string"},
        ],
    });
    assert_eq!(prepared(schema), right);
    // zod's pattern for e-mail addresses.
    let email = r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$";
    let schema = prepared(json!({"type": "string", "format": "email", "pattern": email}));
    assert!(!schema.to_string().contains("(?!"));
    // pydantic's pattern for decimals.
    let decimal = prepared(json!({"pattern": "^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$"}));
    let right = json!({"pattern": "^[+-]?0*\\d*\\.?\\d*$", "allOf": [{"pattern": "[^-+.]"}]});
    assert_eq!(decimal, right);
    for pattern in [
        "^a(?=b)",
        "(?<!x)y",
        "^(?!abc)x",
        "^(?=a)b|c",
        "^(?=(?=a))a",
    ] {
        let error = refusal(&json!({ "pattern": pattern }));
        assert!(error.contains("it looks ahead or behind"), "{error}");
    }
}

#[test]
fn a_class_of_a_pattern_has_characters_only() {
    for (pattern, same) in [
        ("^[[:alpha:]]{2}$", "^[\\[:alpha:]]{2}$"),
        ("^[a-z&&[^b]]$", "^[a-z\\&\\&\\[^b]]$"),
        ("[+--]|[--a]|[a-z--9]", "[+-\\-]|[\\--a]|[a-z\\--9]"),
        ("[~~]\\[[^-]", "[\\~\\~]\\[[^-]"),
        ("[^-+.]*[a-]\\[&&", "[^-+.]*[a-]\\[&&"),
        ("[\\]\\-a-z]", "[\\]\\-a-z]"),
    ] {
        let schema = prepared(json!({"pattern": pattern}));
        assert_eq!(schema, json!({"pattern": same}));
        let schema = prepared(json!({"patternProperties": {pattern: {"type": "null"}}}));
        assert!(schema["patternProperties"].get(same).is_some(), "{schema}");
    }
    for empty in ["a[]", "[^]"] {
        assert!(refusal(&json!({"pattern": empty})).contains("empty class"));
    }
    let twice = json!({"patternProperties": {"[~]": {}, "[\\~]": {}}});
    assert!(refusal(&twice).contains("twice"));
}

#[test]
fn names_that_are_asked_for_are_properties_or_a_pattern() {
    let names = |names: Value| {
        json!({"type": "object", "propertyNames": names, "additionalProperties": {"type": "integer"},
            "$defs": {"Key": {"enum": ["a", "b"]}}})
    };
    let listed = json!({
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "additionalProperties": false,
    });
    let mut found = prepared(names(json!({"$ref": "#/$defs/Key"})));
    let by_order = |schema: &mut Value| schema.as_object_mut().map(Map::sort_keys);
    let mut right = listed;
    by_order(&mut found);
    by_order(&mut right);
    assert_eq!(found, right);
    let found = prepared(names(json!({"type": "string", "pattern": "^[a-z]+$"})));
    assert_eq!(
        found["patternProperties"],
        json!({"^[a-z]+$": {"type": "integer"}})
    );
    assert_eq!(found["additionalProperties"], false);
    let found = prepared(names(json!({"maxLength": 3})));
    assert_eq!(
        found["patternProperties"],
        json!({"^[\\s\\S]{0,3}$": {"type": "integer"}})
    );
    let found = prepared(names(json!({"type": "string"})));
    assert_eq!(
        found,
        json!({"type": "object", "additionalProperties": {"type": "integer"}})
    );
    for more_than_one in [
        json!({"not": {"const": "a"}}),
        json!({"enum": ["ab", "xy"], "pattern": "^a"}),
        json!({"const": "abc", "maxLength": 2}),
        json!({"$ref": "#/$defs/Key", "maxLength": 1}),
        json!({"if": {"const": "a"}, "then": false}),
        json!({"type": "integer"}),
        json!(false),
    ] {
        assert!(
            refusal(&names(more_than_one.clone())).contains("propertyNames"),
            "{more_than_one}"
        );
    }
    // A name could be repeated.
    let twice = json!({"type": "object", "minProperties": 2, "required": []});
    assert!(refusal(&twice).contains("minProperties"));
    let closed = json!({"type": "object", "unevaluatedProperties": false});
    assert_eq!(
        prepared(closed),
        json!({"type": "object", "additionalProperties": false})
    );
}

#[test]
fn one_of_is_any_of_where_no_value_is_of_two() {
    let kind =
        |kind: Value| json!({"type": "object", "properties": {"kind": kind}, "required": ["kind"]});
    let tagged = |tag: &str| {
        let mut properties = Map::new();
        properties.insert(tag.to_owned(), json!({}));
        json!({"type": "object", "properties": properties, "required": [tag], "additionalProperties": false})
    };
    let with = |list: Value| {
        json!({"oneOf": list, "$defs": {
            "Cat": kind(json!({"const": "cat"})), "Dog": kind(json!({"enum": ["dog", "wolf"]})),
            "Pet": {"anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]},
        }})
    };
    for list in [
        json!([{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]),
        json!([{"$ref": "#/$defs/Pet"}, {"type": "null"}, {"type": "string"}]),
        json!([tagged("Circle"), tagged("Square"), {"type": "string", "enum": ["Point"]}]),
        json!([{"const": "a", "type": "string"}, {"const": "b", "type": "string"}]),
    ] {
        let schema = prepared(with(list.clone()));
        assert!(
            schema.get("oneOf").is_none() && schema.get("anyOf").is_some(),
            "{list}"
        );
    }
    for list in [
        json!([{"$ref": "#/$defs/Pet"}, {"$ref": "#/$defs/Dog"}]),
        json!([{"type": "integer"}, {"type": "number"}]),
        json!([{"const": 1}, {"const": 1.0}]),
        json!([
            kind(json!({"type": "string"})),
            kind(json!({"type": "string"}))
        ]),
    ] {
        assert!(
            prepared(with(list.clone())).get("oneOf").is_some(),
            "{list}"
        );
    }
}

#[test]
fn recursion_without_an_end_is_left_out_or_refused() {
    let endless = json!({"type": "object", "properties": {"next": {"$ref": "#/$defs/N"}}, "required": ["next"]});
    for schema in [
        json!({"$ref": "#/$defs/N", "$defs": {"N": endless}}),
        json!({"$ref": "#"}),
        json!({"type": "array", "items": {"$ref": "#"}, "minItems": 1}),
        json!({"type": "object", "minProperties": 1, "additionalProperties": {"$ref": "#"}}),
    ] {
        assert!(refusal(&schema).contains("without an end"), "{schema}");
    }
    let optional = json!({"type": "object", "properties": {"n": {"$ref": "#/$defs/N"}}, "$defs": {"N": endless}});
    assert_eq!(
        prepared(optional),
        json!({"type": "object", "properties": {"n": false}, "additionalProperties": false})
    );
    let tree = json!({"type": "object", "additionalProperties": false, "properties": {"left": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["left"]});
    assert_eq!(prepared(tree.clone()), tree);
}

#[test]
fn objects_that_list_their_properties_get_no_others_unless_they_may() {
    let object = |more: Value| {
        let mut schema = json!({"type": "object", "properties": {"a": {}}});
        for (keyword, held) in more.as_object().expect("keywords") {
            schema[keyword] = held.clone();
        }
        schema
    };
    let is_closed = |schema: &Value| schema["additionalProperties"] == false;
    assert!(is_closed(&prepared(object(json!({"required": ["a"]})))));
    for open in [
        json!({"additionalProperties": true}),
        json!({"patternProperties": {"^x": {}}}),
        json!({"required": ["b"]}),
        json!({"minProperties": 2, "required": ["a"]}),
        json!({"allOf": [{"properties": {"b": {}}}]}),
    ] {
        assert!(!is_closed(&prepared(object(open.clone()))), "{open}");
    }
    let whole = prepared(json!({
        "allOf": [{"$ref": "#/$defs/A"}, {"anyOf": [{"$ref": "#/$defs/B"}]}],
        "$defs": {"A": object(json!({})), "B": object(json!({})), "C": object(json!({}))},
    }));
    assert!(!is_closed(&whole["$defs"]["A"]) && !is_closed(&whole["$defs"]["B"]));
    let apart = prepared(json!({
        "anyOf": [{"$ref": "#/$defs/A"}, {"type": "array", "items": {"$ref": "#/$defs/B"}}],
        "$defs": {"A": object(json!({})), "B": object(json!({"properties": {"more": object(json!({}))}}))},
    }));
    assert!(is_closed(&apart["$defs"]["A"]) && is_closed(&apart["$defs"]["B"]));
    assert!(is_closed(&apart["$defs"]["B"]["properties"]["more"]));
}
