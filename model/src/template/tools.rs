//! Detects a template's support for tools by test renderings.

use super::message::{Json, Message, ToolCall};
use super::role::Role;
use super::{ChatTemplate, RenderOptions};

/// Words that no template contains or changes.
const TOOL: &str = "3a9ftool5e";
const CALLED: &str = "7b1dcalled2c";
const RESULT: &str = "6d4eresult8a";
/// Nine letters and digits, as some templates require.
const ID: &str = "a1B2c3D4e";

/// A template's support for tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ToolHabits {
    takes_tools: bool,
    takes_results: bool,
}

impl ToolHabits {
    fn of(template: &ChatTemplate) -> Self {
        let tool = format!(
            r#"{{"type": "function", "function": {{"name": "{TOOL}", "description": "{TOOL}",
            "parameters": {{"type": "object", "properties": {{"a": {{"type": "string", "description": "a"}}}},
            "required": ["a"]}}}}}}"#
        );
        let tool = Json::parse(&tool);
        let arguments = Json::parse(r#"{"a": "b"}"#);
        let (Ok(tool), Ok(arguments)) = (tool, arguments) else {
            return Self {
                takes_tools: false,
                takes_results: false,
            };
        };
        let user = Message::new(Role::User, "Hello");
        let tools = [tool];
        let takes_tools = template.writes(std::slice::from_ref(&user), &tools, &[TOOL]);
        let call = Message {
            tool_calls: vec![ToolCall {
                id: Some(ID.into()),
                name: CALLED.into(),
                arguments,
            }],
            ..Message::new(Role::Assistant, "")
        };
        let result = Message {
            name: Some(CALLED.into()),
            tool_call_id: Some(ID.into()),
            ..Message::new(Role::Tool, RESULT)
        };
        let tools = if takes_tools { &tools[..] } else { &[] };
        Self {
            takes_tools,
            takes_results: template.writes(&[user, call, result], tools, &[CALLED, RESULT]),
        }
    }
}

impl ChatTemplate {
    /// Whether the template passes the tools on to the model.
    pub fn takes_tools(&self) -> bool {
        self.tool_habits().takes_tools
    }

    /// Whether the template shows the model its earlier calls and the tools' answers.
    pub fn takes_tool_results(&self) -> bool {
        self.tool_habits().takes_results
    }

    fn tool_habits(&self) -> ToolHabits {
        *self.tools.get_or_init(|| ToolHabits::of(self))
    }

    /// Whether the rendered conversation contains all these words.
    fn writes(&self, messages: &[Message], tools: &[Json], words: &[&str]) -> bool {
        let options = RenderOptions {
            tools,
            ..RenderOptions::default()
        };
        let rendered = self.rendered(messages, &options);
        rendered.is_ok_and(|text| words.iter().all(|word| text.contains(word)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_show_whether_they_know_tools() {
        let habits = |source: &str| {
            let template = ChatTemplate::new(source, "", "").expect("a template");
            (template.takes_tools(), template.takes_tool_results())
        };
        assert_eq!(habits(super::super::CHATML), (false, false));
        let results = "{% for m in messages %}{{ m.role }}: {{ m.content }}\
            {% for call in m.tool_calls %}{{ call.function.name }}({{ call.function.arguments | tojson }})\
            {% endfor %}{% endfor %}";
        assert_eq!(habits(results), (false, true));
        let tools =
            "{% if tools %}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{% endif %}";
        assert_eq!(habits(&format!("{tools}{results}")), (true, true));
        // Set again, as in Llama 3 templates.
        let set = "{% if not tools is defined %}{% set tools = none %}{% endif %}";
        assert_eq!(habits(&format!("{set}{tools}{results}")), (true, true));
        assert_eq!(
            habits(&format!("{tools}{{{{ messages[0].content }}}}")),
            (true, false)
        );
    }

    #[test]
    fn arguments_that_are_texts_are_spelled_out_if_they_are_objects() {
        let spelled = |text: &str| Json::text(text).spelled_out().written();
        assert_eq!(spelled("{\"b\": 1, \"a\": []}"), "{\"b\": 1, \"a\": []}");
        assert_eq!(spelled(" "), "{}");
        assert_eq!(spelled("[1]"), "\"[1]\"");
        assert_eq!(spelled("{oops"), "\"{oops\"");
    }
}
