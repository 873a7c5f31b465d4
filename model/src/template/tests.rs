#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails with the error"
)]

use proptest::prelude::*;

use super::*;

fn say(role: Role, content: &str) -> Message {
    Message::new(role, content)
}

fn render(source: &str, messages: &[Message]) -> Result<String, TemplateError> {
    ChatTemplate::new(source, "<s>", "</s>")?.render(messages, &RenderOptions::default())
}

fn render_alone(source: &str) -> Result<String, TemplateError> {
    render(source, &[say(Role::User, "hello")])
}

#[test]
fn templates_see_the_conversation_and_the_tokens() {
    let source = "{{ bos_token }}{% for m in messages %}{{ m.role }}:{{ m['content'] }}{{ eos_token }}{% endfor %}{{ add_generation_prompt }}";
    let messages = [
        say(Role::System, "s"),
        say(Role::User, "<u>"),
        say(Role::Assistant, ""),
    ];
    let rendered = render(source, &messages).unwrap();
    assert_eq!(rendered, "<s>system:s</s>user:<u></s>assistant:</s>True");
    assert_eq!(render(source, &[]).unwrap(), "<s>True");
}

#[test]
fn the_date_is_the_one_given_or_none() {
    let source =
        "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% else %}never{% endif %}";
    let template = ChatTemplate::new(source, "", "").unwrap();
    assert_eq!(
        template.render(&[], &RenderOptions::default()).unwrap(),
        "never"
    );
    let template = template.with_date(Date::new(2024, 7, 6).unwrap());
    assert_eq!(
        template.render(&[], &RenderOptions::default()).unwrap(),
        "06 Jul 2024"
    );
}

#[test]
fn the_date_is_given_in_words_too() {
    let source = "{{ date_string if date_string is defined else 'never' }}";
    assert_eq!(render_alone(source).unwrap(), "never");
    let template = ChatTemplate::new(source, "", "").unwrap();
    let template = template.with_date(Date::new(2024, 7, 6).unwrap());
    let rendered = template.render(&[], &RenderOptions::default()).unwrap();
    assert_eq!(rendered, "06 Jul 2024");
}

#[test]
fn thinking_is_chosen_where_the_template_has_a_switch() {
    let choose = |source, thinking| {
        let options = RenderOptions {
            thinking,
            ..RenderOptions::default()
        };
        ChatTemplate::new(source, "", "")
            .unwrap()
            .render(&[], &options)
    };
    for source in [
        "{% if enable_thinking is defined and not enable_thinking %}off{% else %}on{% endif %}",
        "{% set enable_thinking = enable_thinking | default(true) %}{{ 'on' if enable_thinking else 'off' }}",
        "{% if thinking is defined and not thinking %}off{% else %}on{% endif %}",
    ] {
        assert_eq!(choose(source, None).unwrap(), "on", "{source}");
        assert_eq!(choose(source, Some(true)).unwrap(), "on", "{source}");
        assert_eq!(choose(source, Some(false)).unwrap(), "off", "{source}");
        assert!(
            ChatTemplate::new(source, "", "")
                .unwrap()
                .has_thinking_switch()
        );
    }
    let without = "{{ messages[0].thinking if messages else '' }}";
    let outcome = choose(without, Some(true));
    assert!(matches!(outcome, Err(TemplateError::NoThinkingSwitch)));
    assert!(choose(without, None).is_ok());
}

#[test]
fn tools_that_are_not_json_are_refused() {
    let deep = "[".repeat(200) + &"]".repeat(200);
    for text in ["", "{", "{'a': 1}", "1 2", &*deep] {
        assert!(
            matches!(Json::parse(text), Err(TemplateError::Json { .. })),
            "{text}"
        );
    }
}

#[test]
fn errors_say_whose_they_are() {
    let refused = render_alone("{{ raise_exception('roles must alternate') }}");
    assert!(
        matches!(refused, Err(TemplateError::Refused { message }) if message == "roles must alternate")
    );
    let refused =
        render_alone("{% macro m() %}{{ raise_exception('inside') }}{% endmacro %}{{ m() }}");
    assert!(matches!(refused, Err(TemplateError::Refused { message }) if message == "inside"));
    assert!(matches!(
        render_alone("{% if %}"),
        Err(TemplateError::Syntax { .. })
    ));
    assert!(matches!(
        render_alone("{% include 'x' %}"),
        Err(TemplateError::Syntax { .. })
    ));
    assert!(matches!(
        render_alone("{{ missing.field }}"),
        Err(TemplateError::Render { .. })
    ));
    assert!(matches!(
        render_alone("{{ 1 / 0 }}"),
        Err(TemplateError::Render { .. })
    ));
    let long = " ".repeat(SOURCE_LIMIT + 1);
    assert!(matches!(
        render_alone(&long),
        Err(TemplateError::TooLong { .. })
    ));
}

#[test]
fn endless_work_is_cut_short() {
    for source in [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}",
        "{{ 'x' * 99999999 }}",
        "{% set ns = namespace(a='x') %}{% for i in range(60) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}",
        "{% set long = 'x' * 2000000 %}{{ long.replace('x', long) }}",
        "{% set long = 'x' * 2000000 %}{{ long.join(range(99999)) }}",
        "{{ 'x'.ljust(999999999) }}",
    ] {
        let result = render_alone(source);
        assert!(
            matches!(result, Err(TemplateError::TooMuch)),
            "{source}: {result:?}"
        );
    }
    let recursion = "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}";
    assert!(render_alone(recursion).is_err());
    let nested = "[".repeat(5000) + &"]".repeat(5000);
    assert!(matches!(
        render_alone(&format!("{{{{ {nested} }}}}")),
        Err(TemplateError::Syntax { .. })
    ));
}

/// Nested lists, as deep as the fuel allows.
const DEEP: &str = "{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(50) %}{% for j in range(999) %}{% set ns.a = [[[[[[[[ns.a]]]]]]]] %}{% endfor %}{% endfor %}";

#[test]
fn deep_nesting_does_not_overflow_the_stack() {
    for (rounds, end) in [
        (50, ""),
        (6, "{{ ns.a }}"),
        (6, "{{ ns.a | tojson }}"),
        (6, "{{ ns.a | string | length }}"),
        (6, "{{ ns.a == ns.b }}"),
    ] {
        let deep = DEEP.replace("range(50)", &format!("range({rounds})"));
        let deep = deep.replace(
            "{% endfor %}{% endfor %}",
            "{% endfor %}{% set ns.b = [ns.a] %}{% endfor %}",
        );
        let _: Result<String, _> = render_alone(&(deep + end));
    }
}

#[test]
fn values_that_explode_when_written_are_refused() {
    let exploding = "{% set ns = namespace(a=[1]) %}{% for i in range(50) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}";
    for end in ["{{ ns.a }}", "{{ ns.a | tojson }}", "{{ {'k': ns.a} }}"] {
        let result = render_alone(&format!("{exploding}{end}"));
        assert!(
            matches!(result, Err(TemplateError::TooMuch)),
            "{end}: {result:?}"
        );
    }
}

#[test]
fn long_conversations_are_within_the_fuel() {
    let source = "{% set ns = namespace(last=0) %}{% for m in messages[::-1] %}{% if m.role == 'user' and not m.content.startswith('<tool>') %}{% set ns.last = loop.index %}{% endif %}{% endfor %}{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content.split('</think>')[-1] | trim + '<|im_end|>\n' }}{% endfor %}";
    let messages: Vec<Message> = (0..2000)
        .map(|i| say([Role::User, Role::Assistant][i % 2], "what was said "))
        .collect();
    let rendered = render(source, &messages).unwrap();
    assert_eq!(rendered.matches("<|im_end|>").count(), 2000);
    let long = [say(Role::User, &"word ".repeat(1_000_000))];
    assert!(render(source, &long).unwrap().len() > 4_900_000);
}

proptest! {
    #[test]
    fn any_source_renders_or_is_refused(
        source in r"(\{\{|\}\}|\{%|%\}| for | in |messages|if|endif|endfor|\[|\]|\(|\)|'|\.|\||set|=|x|[ -~\n])*"
    ) {
        let _: Result<String, _> = render_alone(&source);
    }
}
