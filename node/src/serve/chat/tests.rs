//! Conversations with a small random model, in the templates of every family.

use std::num::NonZeroUsize;

use potluck_model::TensorType;
use potluck_model::gguf::synth::{SynthSpec, TypeMix};
use potluck_model::template::ChatTemplate;
use potluck_model::tokenizer::SpecialTokens;
use serde_json::{Value, json};

use super::*;
use crate::engine::{
    Chosen, Compute, GenerateOptions, Generator, Gguf, Message, Role, SamplerSettings, StopReason,
};

const CONTEXT: usize = 2048;

/// Simplified templates of the families, with the parts that determine the format.
const TEMPLATES: [(&str, &str); 8] = [
    ("hermes", "<tool_call>{...}</tool_call>"),
    ("llama", "{{ '<|python_tag|>' }}"),
    ("lfm2", "<|tool_call_start|>"),
    ("granite", "<|tool_call|>[...]"),
    ("mistral", "[TOOL_CALLS]"),
    ("harmony", "<|channel|>final<|message|>"),
    ("gemma", "<start_of_turn>"),
    ("plain", ""),
];

/// A model whose template contains `has` and ends a prompt with `prompt_end`.
fn engine_with(has: &str, prompt_end: &str) -> Engine {
    let mut spec = SynthSpec {
        layers: 1,
        d_model: 32,
        heads: 2,
        kv_heads: 1,
        head_dim: 16,
        d_ff: 64,
        context: CONTEXT as u32,
        types: TypeMix::uniform(TensorType::F32),
        ..SynthSpec::preset("tiny").expect("a preset")
    };
    spec.vocabulary = spec.minimum_vocabulary();
    let gguf = Gguf::parse(spec.to_bytes().expect("a small model")).expect("a model");
    let compute = Compute::new(NonZeroUsize::new(1)).expect("a thread");
    let engine = Engine::from_gguf(&gguf, CONTEXT, compute).expect("it runs");
    let tools = if has.is_empty() || has == "<start_of_turn>" {
        ""
    } else {
        "{% for tool in tools or [] %}{{ tool | tojson }}\n{% endfor %}"
    };
    let source = format!(
        "{{% if false %}}{has}{{% endif %}}{tools}{{% for m in messages %}}{{{{ m.role }}}}: \
         {{{{ m.content }}}}{{% for c in m.tool_calls or [] %}}{{{{ c.function.name }}}}\
         {{% endfor %}}\n{{% endfor %}}{{% if add_generation_prompt %}}assistant: {prompt_end}{{% endif %}}"
    );
    let template = ChatTemplate::for_tokenizer(&source, engine.tokenizer());
    engine.with_template(template.expect("a template"))
}

fn tool(name: &str, parameters: Value) -> Tool {
    Tool {
        name: name.into(),
        description: Some("What it does.".to_owned().into()),
        parameters: parameters.into(),
        strict: false,
    }
}

/// A conversation with two tools.
fn chat(tool_choice: ToolChoice) -> Chat {
    let weather = json!({
        "type": "object",
        "$defs": {"town": {"enum": ["Lima", "Oslo", "St. John's"]}},
        "properties": {
            "days": {"type": "integer", "minimum": 1, "maximum": 9},
            "town": {"$ref": "#/$defs/town"},
            "exact": {"type": "boolean"},
        },
        "required": ["town"],
        "additionalProperties": false,
    });
    Chat {
        messages: vec![Message::new(Role::User, "How is the weather?")].into(),
        tools: vec![
            tool("get_weather", weather),
            tool(
                "now",
                json!({"type": "object", "properties": {}, "additionalProperties": false}),
            ),
        ],
        tool_choice,
        parallel_tool_calls: true,
        // Random weights would never end their reasoning.
        thinking: Some(false),
    }
}

/// A parsed answer.
#[derive(Debug, Default, PartialEq)]
struct Answered {
    thoughts: String,
    content: String,
    calls: Vec<(String, String)>,
}

/// Generates a random answer.
fn answer(engine: &Engine, chat: &Chat, format: &Format, seed: u64) -> (Answered, StopReason) {
    let prepared = prepare(engine, chat, format).unwrap_or_else(|error| panic!("{error}"));
    let options = GenerateOptions {
        sampling: SamplerSettings {
            seed,
            temperature: 2.0,
            ..SamplerSettings::default()
        },
        max_tokens: 600,
        ..GenerateOptions::default()
    };
    let mut reader = prepared.reader;
    let mut generator = Generator::new(engine.tokenizer(), options, prepared.tokens.clone())
        .with_shown(prepared.shown);
    if let Some(mask) = prepared.mask {
        generator = generator.with_mask(mask);
    }
    let mut answered = Answered::default();
    let mut take = |piece: Piece| match piece {
        Piece::Reasoning(text) => answered.thoughts.push_str(&text),
        Piece::Content(text) => answered.content.push_str(&text),
        Piece::ToolCall { name, .. } => answered.calls.push((name, String::new())),
        Piece::ToolArguments(text) => {
            let call = answered.calls.last_mut().expect("a call has begun");
            call.1.push_str(&text);
        }
    };
    let mut session = engine.new_session().expect("memory");
    let mut next = prepared.tokens;
    let reason = loop {
        let choose = |logits: &[f32]| generator.choose(logits);
        let chosen = engine.prefill(&mut session, &next, &mut |_| true, choose);
        match chosen
            .expect("it reads")
            .expect("nobody cancels")
            .expect("it chooses")
        {
            Chosen::Token(token) => {
                reader.push(&token.text, &mut take);
                next = vec![token.id];
            }
            Chosen::End(reason) => break reason,
        }
    };
    reader.push(&generator.finish(), &mut take);
    reader.finish(&mut take);
    (answered, reason)
}

fn check_call(name: &str, arguments: &str) {
    let arguments: Value = serde_json::from_str(arguments).expect("arguments are JSON");
    let fields = arguments.as_object().expect("an object");
    match name {
        "now" => assert!(fields.is_empty(), "{arguments}"),
        "get_weather" => {
            let towns = ["Lima", "Oslo", "St. John's"];
            let town = fields["town"].as_str().expect("a town");
            assert!(towns.contains(&town), "{arguments}");
            for (name, value) in fields {
                match name.as_str() {
                    "town" => {}
                    "days" => assert!((1..=9).contains(&value.as_i64().expect("days"))),
                    "exact" => assert!(value.is_boolean()),
                    other => panic!("an argument {other}"),
                }
            }
        }
        other => panic!("a tool {other}"),
    }
}

#[test]
fn tools_that_must_be_called_are_called_by_any_model_in_its_own_way() {
    for (family, has) in TEMPLATES {
        let engine = engine_with(has, "");
        for seed in 0..4 {
            let required = chat(ToolChoice::Required);
            let (answered, reason) = answer(&engine, &required, &Format::Text, seed);
            assert!(!answered.calls.is_empty(), "{family}");
            if reason == StopReason::EndOfTurn {
                assert_eq!(answered.content, "", "{family}");
                for (name, arguments) in &answered.calls {
                    check_call(name, arguments);
                }
            }
            let named = chat(ToolChoice::Named("get_weather".into()));
            let (answered, reason) = answer(&engine, &named, &Format::Text, seed);
            assert_eq!(reason, StopReason::EndOfTurn, "{family}");
            assert_eq!(answered.calls.len(), 1, "{family}");
            assert_eq!(answered.calls[0].0, "get_weather", "{family}");
            check_call("get_weather", &answered.calls[0].1);
        }
    }
}

#[test]
fn an_answer_that_may_have_one_call_has_one() {
    for (family, has) in TEMPLATES {
        let engine = engine_with(has, "");
        let one = Chat {
            parallel_tool_calls: false,
            ..chat(ToolChoice::Required)
        };
        let (answered, reason) = answer(&engine, &one, &Format::Text, 1);
        assert_eq!(
            (answered.calls.len(), reason),
            (1, StopReason::EndOfTurn),
            "{family}"
        );
    }
}

#[test]
fn a_format_is_that_of_the_content_beside_calls() {
    let schema = json!({"type": "object", "properties": {"sky": {"enum": ["blue", "grey"]}},
        "required": ["sky"], "additionalProperties": false});
    let format = Format::JsonSchema(schema.into());
    for (family, has) in TEMPLATES {
        let engine = engine_with(has, "");
        for seed in 0..4 {
            let mut auto = chat(ToolChoice::Auto);
            auto.tools.iter_mut().for_each(|tool| tool.strict = true);
            let (answered, reason) = answer(&engine, &auto, &format, seed);
            if reason == StopReason::EndOfTurn && answered.calls.is_empty() {
                let content: Value = serde_json::from_str(&answered.content).expect("JSON");
                assert!(content["sky"].is_string(), "{family}");
            }
            for (name, arguments) in &answered.calls {
                if reason == StopReason::EndOfTurn {
                    check_call(name, arguments);
                }
            }
            let none = chat(ToolChoice::None);
            let (answered, reason) = answer(&engine, &none, &format, seed);
            assert_eq!(
                (reason, answered.calls.len()),
                (StopReason::EndOfTurn, 0),
                "{family}"
            );
            let content: Value = serde_json::from_str(&answered.content).expect("JSON");
            assert!(content["sky"].is_string(), "{family}");
        }
    }
}

/// Whether a mask allows a text, and whether the answer may end after it.
fn takes(engine: &Engine, mask: &mut dyn Mask, text: &str) -> (bool, bool) {
    let tokenizer = engine.tokenizer();
    let allowed = |mask: &mut dyn Mask| {
        let mut logits = vec![0.0; engine.config().vocabulary];
        mask.apply(&mut logits).expect("it goes on");
        logits
    };
    for id in tokenizer.encode(text, SpecialTokens::Parse) {
        if mask.is_finished() || allowed(mask)[id as usize] != 0.0 {
            return (false, false);
        }
        mask.accept(id).expect("it is allowed");
    }
    let may_end = allowed(mask)[tokenizer.ends()[0] as usize] == 0.0;
    (true, may_end)
}

#[test]
fn thoughts_come_before_what_is_asked_for() {
    let mask_after = |prompt_end: &str, thinking, text: &str| {
        let engine = engine_with("<think></think><tool_call>", prompt_end);
        let chat = Chat {
            thinking,
            ..chat(ToolChoice::Named("now".into()))
        };
        let prepared = prepare(&engine, &chat, &Format::Text).unwrap_or_else(|e| panic!("{e}"));
        let mut mask = prepared.mask.expect("a mask");
        (
            takes(&engine, &mut *mask, text),
            prepared.reader.is_reasoning(),
        )
    };
    let call = "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
    let thought = format!("<think>\nHm. </thin\n</think>\n\n{call}");
    assert_eq!(mask_after("", None, call), ((true, true), false));
    assert_eq!(mask_after("", None, &thought), ((true, true), false));
    let rest = format!("Hm.</think>{call}");
    assert_eq!(mask_after("<think>\n", None, &rest), ((true, true), true));
    assert_eq!(mask_after("<think>\n", None, "Hm."), ((true, false), true));
    assert_eq!(
        mask_after("<think>\n\n</think>\n\n", None, call),
        ((true, true), false)
    );
}

#[test]
fn arguments_of_strict_tools_are_kept_to_in_free_text() {
    for (family, has) in TEMPLATES {
        let engine = engine_with(has, "");
        let mut strict = chat(ToolChoice::Auto);
        strict.tools.iter_mut().for_each(|tool| tool.strict = true);
        let taken = |text: &str| {
            let prepared = prepare(&engine, &strict, &Format::Text);
            let mut mask = prepared
                .unwrap_or_else(|e| panic!("{e}"))
                .mask
                .expect("a mask");
            takes(&engine, &mut *mask, text)
        };
        let prose = "Well, <b>\n\n <tool_ {3}";
        let call = |name: &str, town: &str| match family {
            "hermes" => format!(
                "<tool_call>\n{{\"name\": \"{name}\", \"arguments\": {{\"town\": \"{town}\"}}}}\n</tool_call>"
            ),
            "llama" => {
                format!("{{\"name\": \"{name}\", \"parameters\": {{\"town\": \"{town}\"}}}}")
            }
            "lfm2" => format!("<|tool_call_start|>[{name}(town=\"{town}\")]<|tool_call_end|>"),
            "granite" | "mistral" => {
                let mark = if family == "granite" {
                    "<|tool_call|>"
                } else {
                    "[TOOL_CALLS]"
                };
                format!("{mark}[{{\"name\": \"{name}\", \"arguments\": {{\"town\": \"{town}\"}}}}]")
            }
            "harmony" => format!(
                "<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>{{\"town\": \"{town}\"}}"
            ),
            _ => format!("{{\"name\": \"{name}\", \"arguments\": {{\"town\": \"{town}\"}}}}"),
        };
        let said = match family {
            "harmony" => format!("<|channel|>final<|message|>{prose}"),
            _ => prose.to_owned(),
        };
        assert_eq!(taken(&said), (true, true), "{family}");
        assert_eq!(
            taken(&call("get_weather", "Oslo")),
            (true, true),
            "{family}"
        );
        assert!(!taken(&call("get_weather", "Rome")).0, "{family}");
        assert!(!taken(&call("get_whether", "Oslo")).0, "{family}");
        // In this vocabulary the mark is not a single token.
        if matches!(family, "hermes" | "lfm2" | "granite" | "mistral") {
            let later = |town: &str| format!("{prose} {}", call("get_weather", town));
            assert_eq!(taken(&later("Oslo")), (true, true), "{family}");
            assert!(!taken(&later("Rome")).0, "{family}");
        }
        // Other marks that the reader would recognise as a call.
        let other = match family {
            "granite" | "plain" => "So: <tool_call>",
            "gemma" => "So: ```tool_code",
            _ => continue,
        };
        assert!(!taken(other).0, "{family}");
    }
}

#[test]
fn beside_strict_tools_a_block_of_json_is_no_call() {
    let engine = engine_with("", "");
    let block = "Like this:\n```json\n{\"name\": \"get_weather\", \"arguments\": {\"town\": \"Rome\"}}\n```";
    for strict in [false, true] {
        let mut chat = chat(ToolChoice::Auto);
        chat.tools.iter_mut().for_each(|tool| tool.strict = strict);
        let prepared = prepare(&engine, &chat, &Format::Text);
        let mut reader = prepared.unwrap_or_else(|error| panic!("{error}")).reader;
        let mut content = String::new();
        let mut take = |piece: Piece| {
            if let Piece::Content(text) = piece {
                content.push_str(&text);
            }
        };
        reader.push(block, &mut take);
        reader.finish(&mut take);
        assert_eq!(reader.has_called(), !strict);
        assert_eq!(content == block, strict, "{content}");
    }
}

#[test]
fn what_cannot_be_is_refused_in_words() {
    let engine = engine_with("<tool_call>", "");
    let refused = |chat: &Chat, format: &Format| match prepare(&engine, chat, format) {
        Ok(_) => panic!("it is taken"),
        Err(RequestError::Invalid { field, message }) => (field.unwrap_or_default(), message),
        Err(error) => ("", error.to_string()),
    };
    let (field, message) = refused(&chat(ToolChoice::Named("none".into())), &Format::Text);
    assert_eq!(field, "tool_choice");
    assert!(message.contains("not among the tools"), "{message}");
    let empty = Chat {
        tools: Vec::new(),
        ..chat(ToolChoice::Required)
    };
    assert!(refused(&empty, &Format::Text).1.contains("there is none"));
    let schema = |schema: Value| Format::JsonSchema(schema.into());
    let (field, message) = refused(
        &chat(ToolChoice::None),
        &schema(json!({"not": {"const": 1}})),
    );
    assert!(
        field == "response_format" && message.contains("\"not\""),
        "{message}"
    );
    let odd = Chat {
        tools: vec![tool("odd", json!({"type": "object", "not": {"const": 1}}))],
        ..chat(ToolChoice::Required)
    };
    let (field, message) = refused(&odd, &Format::Text);
    assert!(field == "tools" && message.contains("\"not\""), "{message}");
    let long = Chat {
        messages: vec![Message::new(Role::User, "long ".repeat(200_000))].into(),
        ..chat(ToolChoice::Auto)
    };
    assert!(
        refused(&long, &Format::Text)
            .1
            .contains("the context holds 2048")
    );
    let thinking = Chat {
        thinking: Some(true),
        ..chat(ToolChoice::Auto)
    };
    assert_eq!(refused(&thinking, &Format::Text).0, "messages");
}

#[test]
fn a_model_that_does_not_think_need_not_be_told_not_to() {
    let engine = engine_with("", "");
    let chat = Chat {
        thinking: Some(false),
        ..chat(ToolChoice::Auto)
    };
    assert!(prepare(&engine, &chat, &Format::Text).is_ok());
}

#[test]
fn tools_are_in_the_prompt_but_where_none_is_to_be_called() {
    for (family, has) in TEMPLATES {
        let engine = engine_with(has, "");
        let prompt = |choice| {
            let prepared = prepare(&engine, &chat(choice), &Format::Text);
            let tokens = prepared.unwrap_or_else(|error| panic!("{error}")).tokens;
            engine.tokenizer().decode(&tokens)
        };
        assert!(prompt(ToolChoice::Auto).contains("get_weather"), "{family}");
        assert!(
            !prompt(ToolChoice::None).contains("get_weather"),
            "{family}"
        );
    }
}

#[test]
fn tools_and_conversations_that_would_take_too_long_to_prepare_are_refused_at_once() {
    let engine = engine_with("<|tool_call_start|>", "");
    let prepare = |chat: &Chat| prepare(&engine, chat, &Format::Text).map(|_| ());
    let properties = |count: usize| -> Value {
        let all = (0..count).map(|n| (format!("p{n}"), json!({})));
        all.collect::<serde_json::Map<_, _>>().into()
    };
    let with = |parameters: Value| Chat {
        tools: vec![tool("t", parameters)],
        ..chat(ToolChoice::Required)
    };
    // Each parameter's schema has its own copy of all definitions.
    let copied = with(json!({
        "type": "object",
        "$defs": {"a": {"const": "x".repeat(6_500)}},
        "properties": properties(700),
    }));
    let Err(RequestError::Invalid { message, .. }) = prepare(&copied) else {
        panic!("4.5 MB of definitions");
    };
    assert!(
        message.contains("its definitions for each parameter"),
        "{message}"
    );
    let message = |role| Message::new(role, "");
    let mut many = chat(ToolChoice::None);
    many.messages = (0..=CONTEXT)
        .map(|_| message(Role::Tool))
        .collect::<Vec<_>>()
        .into();
    let refused = prepare(&many);
    assert!(
        matches!(refused, Err(RequestError::TooLong { tokens, .. }) if tokens == CONTEXT + 1),
        "{refused:?}"
    );
}
