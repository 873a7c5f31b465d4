//! Answers are the same as those of a single request.

use super::*;

#[test]
fn the_same_request_gets_the_same_tokens_alone_and_among_sixteen() {
    let kitchen = Kitchen::new();
    let service = kitchen.serve(|_| ());
    let prompts: Vec<_> = (0..16).map(|n| tokens(n, 3 + 40 * n as usize)).collect();
    let expected: Vec<_> = (prompts.iter().zip(0..))
        .map(|(prompt, seed)| kitchen.alone(prompt, seed, 24))
        .collect();
    let answering: Vec<_> = (prompts.iter().zip(0..))
        .map(|(prompt, seed)| service.submit(kitchen.request(prompt, seed, 24)))
        .collect();
    for ((answering, expected), prompt) in answering.into_iter().zip(&expected).zip(&prompts) {
        let heard = hear(answering.expect("it is taken"));
        assert!(&heard.ids == expected, "a prompt of {}", prompt.len());
        assert_eq!(heard.text, kitchen.engine.tokenizer().decode(expected));
        let summary = heard.done();
        assert_eq!(summary.finish, Finish::Length);
        assert_eq!(
            (summary.prompt_tokens, summary.completion_tokens),
            (prompt.len(), 24)
        );
    }
    let numbers = service.numbers();
    assert_eq!(numbers.requests[&Outcome::Answered], 16);
    assert_eq!(numbers.completion_tokens, 16 * 24);
    assert_eq!(
        (numbers.first_token.count(), numbers.token.count()),
        (16, 16 * 23)
    );
}

/// The number of unread tokens that have arrived.
fn tokens_now(answering: &mut Answering) -> usize {
    let updates = std::iter::from_fn(|| answering.now());
    updates
        .filter(|update| matches!(update, Update::Content { .. }))
        .count()
}

#[test]
fn a_long_prompt_does_not_hold_up_answers() {
    let kitchen = Kitchen::with_context(ENDLESS);
    let service = kitchen.serve(|_| ());
    let request = kitchen.request(&tokens(1, 5), 1, ENDLESS);
    let mut talking = service.submit(request).expect("it is taken");
    until_content(&mut talking);
    let long = tokens(2, 2000);
    let mut reading = (service.submit(kitchen.request(&long, 2, 1))).expect("it is taken");
    let mut parts = 0;
    loop {
        match reading.blocking_next().expect("it answers") {
            Update::Started { .. } => {
                let _before = tokens_now(&mut talking);
            }
            Update::Reading { .. } => parts += 1,
            Update::Content { .. } => break,
            _ => {}
        }
    }
    // The other answer got a token in each step that processed a part of the prompt; the first few
    // may have been counted before. The start of the answer reports the last part.
    assert!(parts + 1 >= 2000_usize.div_ceil(256), "{parts}");
    assert!(tokens_now(&mut talking) > 0);
}

#[test]
fn prompts_are_read_in_turns() {
    let kitchen = Kitchen::with_context(ENDLESS);
    let service = kitchen.serve(|_| ());
    let long = service.submit(kitchen.request(&tokens(1, 100_000), 1, 1));
    let mut long = long.expect("it is taken");
    let short = ask(&service, kitchen.request(&tokens(2, 600), 2, 1));
    assert_eq!(short.done().completion_tokens, 1);
    assert_eq!(tokens_now(&mut long), 0);
}

#[test]
fn the_last_text_is_told_and_stop_texts_are_not() {
    let kitchen = Kitchen::new();
    let service = kitchen.serve(|_| ());
    let whole = ask(&service, kitchen.request(&tokens(1, 9), 3, 40));
    let stop: String = (whole.text.char_indices())
        .filter(|(at, _)| *at > 5)
        .map(|(_, letter)| letter)
        .take(2)
        .collect();
    let at = whole.text.find(&stop).expect("it is in there");
    let mut request = kitchen.request(&tokens(1, 9), 3, 40);
    request.stop = vec![stop.into()];
    let stopped = ask(&service, request);
    assert_eq!(stopped.text, whole.text[..at]);
    assert_eq!(stopped.done().finish, Finish::Stop);
}

#[test]
fn an_answer_may_fill_the_context_and_a_prompt_may_not() {
    let kitchen = Kitchen::new();
    let service = kitchen.serve(|_| ());
    let mut request = kitchen.request(&tokens(1, CONTEXT - 3), 1, 0);
    request.max_tokens = None;
    let heard = ask(&service, request);
    let alone = kitchen.alone(&tokens(1, CONTEXT - 3), 1, usize::MAX);
    assert_eq!(heard.done().finish, Finish::Length);
    assert_eq!(heard.ids, alone);
    let refused = ask(&service, kitchen.request(&tokens(1, CONTEXT), 1, 1));
    let too_long = RequestError::TooLong {
        tokens: CONTEXT,
        context: CONTEXT,
    };
    assert_eq!(refused.error, Some(too_long));
    let empty = ask(&service, kitchen.request(&[], 1, 1));
    assert!(matches!(empty.error, Some(RequestError::Invalid { .. })));
    let unknown = ask(&service, kitchen.request(&[100_000], 1, 1));
    assert!(matches!(unknown.error, Some(RequestError::Invalid { .. })));
    let nothing = ask(&service, kitchen.request(&tokens(1, 5), 1, 0));
    assert_eq!(nothing.done().completion_tokens, 0);
    assert_eq!(service.numbers().requests[&Outcome::Refused], 3);
}

#[test]
fn texts_become_the_vectors_that_the_engine_makes_while_others_are_answered() {
    let kitchen = Kitchen::new();
    let service = kitchen.serve(|_| ());
    let mut talking = (service.submit(kitchen.request(&tokens(1, 5), 1, 900))).expect("taken");
    until_content(&mut talking);
    let texts: Vec<_> = (0..40).map(|n| tokens(n, 1 + 9 * n as usize)).collect();
    let inputs = texts.iter().map(|text| Input::Tokens(text.clone().into()));
    let embedding = service
        .embed("", inputs.collect(), Caller::Owner)
        .expect("it is taken");
    let embedded = embedding.blocking().expect("it computes");
    assert_eq!(embedded.tokens, texts.iter().map(Vec::len).sum::<usize>());
    for (vector, text) in embedded.vectors.iter().zip(&texts) {
        assert!(vector == &kitchen.engine.embed(text).expect("it computes"));
    }
    assert!(hear(talking).ids[..] == kitchen.alone(&tokens(1, 5), 1, 900)[1..]);
    let refused = |inputs| {
        service
            .embed("", inputs, Caller::Owner)
            .map(Embedding::blocking)
    };
    assert!(refused(Vec::new()).is_err());
    let empty = refused(vec![Input::Tokens(Vec::new().into())]).expect("it is taken");
    assert!(matches!(empty, Err(RequestError::Invalid { .. })));
    let long = refused(vec![Input::Tokens(tokens(1, CONTEXT + 1).into())]);
    let long = long.expect("it is taken");
    assert!(matches!(long, Err(RequestError::TooLong { .. })));
}

#[test]
fn guesses_are_made_for_every_stream_and_change_no_answer() {
    let kitchen = Kitchen::new();
    // Two tokens only: what follows was often there before.
    let narrow = |seed: u64| {
        let ends = kitchen.engine.tokenizer().ends();
        let ends = ends.iter().map(|&end| (end, -100.0));
        let both = [(10, 90.0), (11, 90.0 + (seed % 3) as f32)];
        SamplerSettings {
            logit_bias: LogitBias::new(ends.chain(both)).expect("in range"),
            presence_penalty: (seed % 2) as f32,
            ..kitchen.sampling(seed)
        }
    };
    let prompts: Vec<_> = (0..6).map(|n| tokens(n, 3 + 9 * n as usize)).collect();
    let requests = |n: usize, seed: u64| Request {
        sampling: narrow(seed),
        logprobs: Some(2),
        ..kitchen.request(&prompts[n], seed, 40 + n)
    };
    let expected: Vec<_> = (0..6)
        .map(|n| {
            let sampling = narrow(n as u64);
            let options = GenerateOptions {
                sampling,
                max_tokens: 40 + n,
                ..GenerateOptions::default()
            };
            let session = kitchen.engine.new_session().expect("memory");
            let mut sequence = LocalSequence::new(&kitchen.engine, session);
            let on_event = &mut |_: crate::engine::Event<'_>| ControlFlow::Continue(());
            let tokenizer = kitchen.engine.tokenizer();
            let answer = generate(&mut sequence, tokenizer, &prompts[n], &options, on_event);
            answer.expect("it answers").token_ids
        })
        .collect();
    for drafts in [true, false] {
        let service = kitchen.serve(|settings| settings.drafts = drafts);
        let answering: Vec<_> = (0..6)
            .map(|n| service.submit(requests(n, n as u64)).expect("it is taken"))
            .collect();
        for (answering, expected) in answering.into_iter().zip(&expected) {
            assert_eq!(&hear(answering).ids, expected);
        }
        // The next turn of one goes on where its session was cut after wrong guesses.
        let longer = [&prompts[2][..], &expected[2], &tokens(9, 4)].concat();
        let next = Request {
            sampling: narrow(2),
            ..kitchen.request(&longer, 2, 5)
        };
        let heard = ask(&service, next);
        assert!(heard.cached >= prompts[2].len() + expected[2].len() - 1);
        let fresh = kitchen.serve(|settings| settings.drafts = false);
        let again = Request {
            sampling: narrow(2),
            ..kitchen.request(&longer, 2, 5)
        };
        assert_eq!(heard.ids, ask(&fresh, again).ids);
        let numbers = service.numbers();
        assert_eq!(numbers.drafts_sent > 0, drafts);
        assert_eq!(numbers.drafts_right > 0, drafts);
        assert!(numbers.drafts_right <= numbers.drafts_sent);
    }
}
