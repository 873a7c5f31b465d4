//! Models are found by name and loaded on demand.

use super::*;
use crate::stages::MemoryBudget;

fn named(kitchen: &Kitchen, model: &str) -> Request {
    Request {
        model: model.to_owned(),
        ..kitchen.request(&tokens(1, 5), 1, 3)
    }
}

#[test]
fn a_model_is_called_by_its_file_its_alias_or_not_at_all() {
    let kitchen = Kitchen::new();
    kitchen.add("other.gguf", 2);
    std::fs::write(kitchen.path("notes.txt"), "no model").expect("written");
    let service = kitchen.serve(|settings| {
        settings
            .aliases
            .insert("gpt-4o".to_owned(), "other".to_owned());
    });
    for name in ["", "small", "small.gguf", "Small:latest"] {
        assert_eq!(
            ask(&service, named(&kitchen, name))
                .done()
                .completion_tokens,
            3
        );
        assert_eq!(service.card(name).expect("known").name, "small");
    }
    assert_eq!(service.loaded().len(), 1);
    let other = ask(&service, named(&kitchen, "other"));
    assert_eq!(ask(&service, named(&kitchen, "gpt-4o")).text, other.text);
    let mut loaded: Vec<_> = service
        .loaded()
        .into_iter()
        .map(|model| model.name)
        .collect();
    loaded.sort();
    assert_eq!(loaded, ["other", "small"]);
    let names: Vec<_> = service.models().into_iter().map(|card| card.name).collect();
    assert_eq!(names, ["small", "other", "gpt-4o"]);
    let card = service.card("gpt-4o").expect("known");
    assert_eq!(card.name, "gpt-4o");
    assert_eq!((card.context, card.is_default), (Some(CONTEXT), false));
    assert_eq!(card.quantisation.as_deref(), Some("Q8_0"));
    assert!(card.has_template() && card.bytes > 0 && card.modified.is_some());
}

#[test]
fn no_request_opens_a_file_elsewhere_or_fetches_a_model() {
    let kitchen = Kitchen::new();
    let service = kitchen.serve(|_| ());
    let path = kitchen.path("small.gguf").display().to_string();
    for name in [
        path.as_str(),
        "../models/small",
        "./small.gguf",
        "notes.txt",
        "gpt-4o",
    ] {
        let refused = service.submit(named(&kitchen, name)).map(drop);
        let unknown = RequestError::UnknownModel {
            model: name.to_owned(),
        };
        assert_eq!(refused, Err(unknown));
    }
    let refused = service.submit(named(&kitchen, "gemma3:270m")).map(drop);
    let error = refused.expect_err("it is not here");
    assert!(
        error.to_string().contains("potluck pull gemma3:270m"),
        "{error}"
    );
    let alias = |settings: &mut Settings| {
        settings
            .aliases
            .insert("x".to_owned(), "nothing".to_owned());
    };
    let mut settings = kitchen.settings();
    alias(&mut settings);
    assert!(matches!(
        Service::start(settings),
        Err(StartError::Alias { .. })
    ));
}

#[test]
fn a_model_that_nobody_asks_is_unloaded_and_comes_back_when_asked() {
    let kitchen = Kitchen::new();
    let memory = MemoryBudget::new(None);
    let service = kitchen.serve(|settings| {
        settings.memory = memory.clone();
        settings.idle = Duration::from_millis(100);
    });
    for _ in 0..2 {
        assert_eq!(
            ask(&service, named(&kitchen, "")).done().completion_tokens,
            3
        );
        until(|| service.loaded().is_empty() && memory.reserved() == 0);
    }
    let kept = kitchen.serve(|_| ());
    ask(&kept, named(&kitchen, ""));
    assert_eq!(kept.loaded().len(), 1);
    kept.unload("small").expect("known");
    until(|| kept.loaded().is_empty());
}

#[test]
fn a_model_makes_room_for_another_but_never_in_the_middle_of_an_answer() {
    let kitchen = Kitchen::new();
    kitchen.add("other.gguf", 2);
    let memory = MemoryBudget::new(Some(kitchen.weights() + kitchen.kv(CONTEXT)));
    let service = kitchen.serve(|settings| settings.memory = memory);
    let mut talking = (service.submit(kitchen.request(&tokens(1, 5), 1, 900))).expect("taken");
    until_content(&mut talking);
    let other = service.submit(named(&kitchen, "other")).expect("taken");
    let heard = hear(talking);
    assert_eq!(heard.done().completion_tokens, 900);
    assert_eq!(hear(other).done().completion_tokens, 3);
    let names: Vec<_> = service
        .loaded()
        .into_iter()
        .map(|model| model.name)
        .collect();
    assert_eq!(names, ["other"]);
}

#[test]
fn a_file_that_is_no_model_fails_its_requests_and_no_other() {
    let kitchen = Kitchen::new();
    std::fs::write(kitchen.path("broken.gguf"), "GGUF, but not really").expect("written");
    let service = kitchen.serve(|_| ());
    for _ in 0..2 {
        let heard = ask(&service, named(&kitchen, "broken"));
        assert!(matches!(heard.error, Some(RequestError::Failed { .. })));
    }
    assert_eq!(
        ask(&service, named(&kitchen, "")).done().completion_tokens,
        3
    );
}

#[test]
fn a_default_model_that_cannot_be_run_is_refused_at_the_start() {
    let kitchen = Kitchen::new();
    std::fs::write(kitchen.path("broken.gguf"), "GGUF, but not really").expect("written");
    let start = |change: &dyn Fn(&mut Settings)| {
        let mut settings = kitchen.settings();
        change(&mut settings);
        Service::start(settings).map(drop)
    };
    let file = |name| ModelRef::File(kitchen.path(name));
    assert!(start(&|settings| settings.model = file("broken.gguf")).is_err());
    assert!(start(&|settings| settings.model = file("absent.gguf")).is_err());
    assert!(start(&|settings| settings.open.context = NonZeroUsize::new(ENDLESS + 1)).is_err());
    assert!(start(&|settings| settings.streams = 0).is_err());
    assert!(start(&|_| ()).is_ok());
}
