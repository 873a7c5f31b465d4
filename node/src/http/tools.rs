//! Tools and response formats of OpenAI's requests.

use serde_json::{Value, json};

use super::fault::Fault;
use super::fields::Fields;
use crate::Private;
use crate::serve::{Format, Tool, ToolChoice};

/// The tools of a chat completion: each function is nested in `function`.
///
/// # Errors
/// One is invalid, or not a function.
pub(super) fn tools(fields: &Fields<'_>) -> Result<Vec<Tool>, Fault> {
    let tools = fields.objects("tools")?;
    let tools = tools.iter().map(|fields| {
        check_type(fields)?;
        let function = fields.object("function")?;
        tool(&function.ok_or_else(|| fields.wrong("function", "an object"))?)
    });
    tools.collect()
}

/// The tools of a response: each function is at the top level.
///
/// # Errors
/// One is invalid, or not a function.
pub(super) fn flat_tools(fields: &Fields<'_>) -> Result<Vec<Tool>, Fault> {
    let tools = fields.objects("tools")?;
    let tools = tools.iter().map(|fields| {
        check_type(fields)?;
        tool(fields)
    });
    tools.collect()
}

fn check_type(fields: &Fields<'_>) -> Result<(), Fault> {
    match fields.text("type")? {
        None | Some("function") => Ok(()),
        Some(_) => {
            let why = "only tools of type function are there: what a model calls, its client does";
            Err(fields.not_done("type", why))
        }
    }
}

fn tool(fields: &Fields<'_>) -> Result<Tool, Fault> {
    let parameters = match fields.get("parameters") {
        None => json!({"type": "object", "properties": {}}),
        Some(schema @ Value::Object(_)) => schema.clone(),
        Some(_) => return Err(fields.wrong("parameters", "a JSON schema")),
    };
    Ok(Tool {
        name: fields.needed_text("name")?.to_owned(),
        description: fields
            .text("description")?
            .map(|text| text.to_owned().into()),
        parameters: parameters.into(),
        strict: fields.flag("strict")?.unwrap_or(false),
    })
}

/// The tool choice; a named function is nested in `function`, or named beside its type.
///
/// # Errors
/// It is invalid, or names no tool.
pub(super) fn tool_choice(fields: &Fields<'_>, tools: &[Tool]) -> Result<ToolChoice, Fault> {
    let name = "tool_choice";
    let must = "\"auto\", \"none\", \"required\" or one function";
    let choice = match fields.get(name) {
        None => return Ok(ToolChoice::Auto),
        Some(Value::String(choice)) => match choice.as_str() {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "required" | "any" => ToolChoice::Required,
            _ => return Err(fields.wrong(name, must)),
        },
        Some(Value::Object(_)) => {
            let Some(choice) = fields.object(name)? else {
                return Ok(ToolChoice::Auto);
            };
            if !matches!(choice.text("type")?, None | Some("function")) {
                return Err(choice.not_done("type", "only a function can be chosen"));
            }
            let function = choice.object("function")?;
            let named = function.as_ref().unwrap_or(&choice).needed_text("name")?;
            ToolChoice::Named(named.to_owned())
        }
        Some(_) => return Err(fields.wrong(name, must)),
    };
    let is_there = match &choice {
        ToolChoice::Auto | ToolChoice::None => true,
        ToolChoice::Required => !tools.is_empty(),
        ToolChoice::Named(name) => tools.iter().any(|tool| tool.name == *name),
    };
    match is_there {
        true => Ok(choice),
        false => Err(fields.wrong(name, "a tool that is in tools")),
    }
}

/// The response format in the field of this name, in each nesting that clients use.
///
/// # Errors
/// It is invalid, or of an unsupported kind.
pub(super) fn format(fields: &Fields<'_>, name: &str) -> Result<Format, Fault> {
    let Some(format) = fields.object(name)? else {
        return Ok(Format::Text);
    };
    let inside = format.object("json_schema")?;
    let inside = inside.as_ref();
    // OpenAI: `json_schema.schema`, or `schema` in a response; others: `schema` or `value`.
    let schema = inside
        .and_then(|inside| inside.get("schema"))
        .or_else(|| format.get("schema"))
        .or_else(|| format.get("value"));
    let schema = match schema {
        None => None,
        Some(schema @ Value::Object(_)) => Some(Format::JsonSchema(schema.clone().into())),
        Some(_) => return Err(format.wrong("schema", "a JSON schema, an object")),
    };
    let text = |names: &[&'static str]| {
        let found = names.iter().find(|name| format.get(name).is_some());
        let text = format.needed_text(found.unwrap_or(&names[0]))?;
        Ok::<_, Fault>(Private::from(text.to_owned()))
    };
    match format.needed_text("type")? {
        "text" => Ok(Format::Text),
        "json_object" | "json" => Ok(schema.unwrap_or(Format::JsonObject)),
        "json_schema" => schema.ok_or_else(|| {
            let field = match inside {
                Some(_) => "json_schema.schema",
                None => "json_schema",
            };
            format.wrong(field, "given, with a JSON schema")
        }),
        "regex" => text(&["pattern", "regex", "value"]).map(Format::Regex),
        "lark" | "lark_grammar" | "grammar" => {
            text(&["grammar", "lark", "definition", "value"]).map(Format::Lark)
        }
        _ => {
            let must = "text, json_object, json_schema, regex or lark";
            Err(format.wrong("type", must))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(body: &Value, read: impl FnOnce(&Fields<'_>) -> T) -> T {
        read(&Fields::of(body).expect("an object"))
    }

    #[test]
    fn tools_come_in_every_shape_that_clients_send() {
        let body = json!({"tools": [
            {"type": "function", "function": {"name": "a", "description": null, "parameters": {
                "$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {},
            }}},
            {"type": "function", "function": {"name": "b", "strict": true}},
        ]});
        let found = with(&body, tools).expect("tools");
        assert_eq!(found[0].name, "a");
        assert!(found[0].description.is_none() && !found[0].strict && found[1].strict);
        assert_eq!(found[1].parameters["type"], "object");
        let flat = json!({"tools": [{"type": "function", "name": "c", "parameters": null}]});
        assert_eq!(with(&flat, flat_tools).expect("tools")[0].name, "c");
        for none in [json!({}), json!({"tools": null}), json!({"tools": []})] {
            assert!(with(&none, tools).expect("none").is_empty());
        }
        let other = json!({"tools": [{"type": "web_search"}]});
        let fault = with(&other, flat_tools).err().expect("not done");
        assert_eq!(fault.param.as_deref(), Some("tools[0].type"));
    }

    #[test]
    fn a_tool_is_chosen_in_every_shape_that_clients_send() {
        let tools = json!({"tools": [{"type": "function", "function": {"name": "W"}}]});
        let tools = with(&tools, tools_of);
        let chosen = |choice: Value| {
            with(&json!({"tool_choice": choice}), |fields| {
                tool_choice(fields, &tools)
            })
        };
        assert_eq!(chosen(json!(null)), Ok(ToolChoice::Auto));
        assert_eq!(chosen(json!("none")), Ok(ToolChoice::None));
        assert_eq!(chosen(json!("required")), Ok(ToolChoice::Required));
        let named = Ok(ToolChoice::Named("W".to_owned()));
        let function = json!({"type": "function", "function": {"name": "W"}});
        assert_eq!(chosen(function), named);
        assert_eq!(chosen(json!({"type": "function", "name": "W"})), named);
        for wrong in [
            json!("all"),
            json!(1),
            json!({"type": "function", "name": "V"}),
        ] {
            assert!(chosen(wrong).is_err());
        }
        let required = json!({"tool_choice": "required"});
        assert!(with(&required, |fields| tool_choice(fields, &[])).is_err());
    }

    fn tools_of(fields: &Fields<'_>) -> Vec<Tool> {
        tools(fields).expect("tools")
    }

    #[test]
    fn a_schema_is_found_in_every_nesting() {
        let schema = json!({"type": "object"});
        for format_value in [
            json!({"type": "json_schema", "json_schema": {"name": "W", "schema": schema, "strict": true}}),
            json!({"type": "json_schema", "name": "W", "schema": schema}),
            json!({"type": "json_object", "schema": schema}),
            json!({"type": "json_object", "value": schema}),
        ] {
            let body = json!({"f": format_value});
            match with(&body, |fields| format(fields, "f")) {
                Ok(Format::JsonSchema(found)) => assert_eq!(*found, schema),
                _ => panic!("no schema in {body}"),
            }
        }
        let of = |value: Value| with(&json!({"f": value}), |fields| format(fields, "f"));
        assert!(matches!(of(json!(null)), Ok(Format::Text)));
        assert!(matches!(of(json!({"type": "text"})), Ok(Format::Text)));
        assert!(matches!(
            of(json!({"type": "json_object"})),
            Ok(Format::JsonObject)
        ));
        let regex = json!({"type": "regex", "pattern": "[0-9]+"});
        assert!(matches!(of(regex), Ok(Format::Regex(_))));
        for wrong in [
            json!({"type": "json_schema"}),
            json!({"type": "json_schema", "json_schema": {"name": "W"}}),
            json!({"type": "yaml"}),
            json!({"type": "json_schema", "schema": "x"}),
            json!("json"),
        ] {
            assert!(of(wrong).is_err());
        }
    }
}
