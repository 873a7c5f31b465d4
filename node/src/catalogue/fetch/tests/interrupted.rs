//! Connections that break, and answers that are not the file.

use std::fs;
use std::time::Duration;

use super::*;

#[test]
fn goes_on_where_an_earlier_fetch_broke_off() {
    let (hub, device) = (
        Hub::start(CONTENT, Fault::BreakAndVanish(10)),
        Device::new(),
    );
    device
        .fetch(&hub.options())
        .expect_err("the hub is gone after the connection broke");
    assert_eq!(device.state(), CacheState::Partial { bytes: 10 });
    let hub = Hub::start(CONTENT, Fault::None);
    device.fetch(&hub.options()).expect("fetched");
    assert_eq!(hub.requests(), ["HEAD", "GET 10-"]);
}

#[test]
fn a_cut_connection_is_tried_again_from_where_it_was_cut() {
    let (hub, device) = (Hub::start(CONTENT, Fault::BreakOnce(10)), Device::new());
    let mut again = Vec::new();
    let path = device
        .fetch_telling(&hub.options(), &mut |event| {
            if let FetchEvent::TryingAgain { error, .. } = event {
                again.push(error.to_string());
            }
        })
        .expect("fetched");
    assert_eq!(fs::read(path).expect("readable"), CONTENT);
    assert_eq!(hub.requests(), ["HEAD", "GET", "HEAD", "GET 10-"]);
    assert_eq!(again.len(), 1);
    assert!(again[0].contains("broke after 10 bytes"), "{again:?}");

    // However often, as long as something comes each time.
    let (hub, device) = (Hub::start(CONTENT, Fault::Break(7)), Device::new());
    device.fetch(&hub.options()).expect("fetched");
    assert_eq!(hub.requests().len(), 2 * CONTENT.len().div_ceil(7));
}

#[test]
fn a_source_that_brings_nothing_any_more_is_given_up() {
    let (hub, device) = (Hub::start(CONTENT, Fault::Break(0)), Device::new());
    let error = device.fetch(&hub.options()).expect_err("nothing comes");
    assert!(error.to_string().contains("broke after 0 bytes"), "{error}");
    assert_eq!(hub.requests().len(), 2 * 6);
}

#[test]
fn waiting_to_try_again_can_be_stopped() {
    let (hub, device) = (Hub::start(CONTENT, Fault::Break(10)), Device::new());
    let cancel = Cancel::new();
    let options = FetchOptions {
        first_pause: Duration::from_secs(600),
        ..hub.options()
    };
    let outcome = fetch(&entry(), &device.store, &options, &cancel, &mut |event| {
        if let FetchEvent::TryingAgain { .. } = event {
            cancel.cancel();
        }
    });
    assert!(matches!(outcome, Err(FetchError::Cancelled { .. })));
    assert_eq!(device.state(), CacheState::Partial { bytes: 10 });
}

/// What is not the file, whatever its status, changes nothing of what was fetched before.
#[test]
fn a_page_or_another_file_never_replaces_what_is_here() {
    for (fault, words) in [
        (Fault::Portal, "a web page instead of the file"),
        (Fault::PortalForBytes, "a web page instead of the file"),
        (Fault::OtherLength, "it offers 5 bytes"),
        (Fault::OtherWithoutLength, "not the one the catalogue names"),
        (Fault::NotFound, "not found"),
    ] {
        let hub = Hub::start(CONTENT, fault);
        let device = Device::with(".partial-test.gguf", &CONTENT[..20]);
        let error = device.fetch(&hub.options()).expect_err("not the file");
        assert!(error.to_string().contains(words), "{fault:?}: {error}");
        let kept = fs::read(device.store.folder().join(".partial-test.gguf"));
        assert_eq!(kept.expect("readable"), &CONTENT[..20], "{fault:?}");
        // Nor is it taken where nothing was.
        let nothing = Device::new();
        nothing.fetch(&hub.options()).expect_err("not the file");
        let bytes = match nothing.state() {
            CacheState::Partial { bytes } => bytes,
            _ => 0,
        };
        assert!(bytes <= 5, "{fault:?}");
    }
}

#[test]
fn a_hub_without_ranges_sends_all_and_what_is_here_stays() {
    for fault in [Fault::NoRanges, Fault::RefusesRanges] {
        let hub = Hub::start(CONTENT, fault);
        let device = Device::with(".partial-test.gguf", &CONTENT[..20]);
        let mut least = u64::MAX;
        let path = device
            .fetch_telling(&hub.options(), &mut |event| {
                if let FetchEvent::Fetched(bytes) = event {
                    least = least.min(bytes);
                }
            })
            .expect("fetched");
        assert_eq!(fs::read(path).expect("readable"), CONTENT);
        assert_eq!(least, 20);
    }
}

#[test]
fn a_hub_without_ranges_mends_a_wrong_beginning() {
    let hub = Hub::start(CONTENT, Fault::NoRanges);
    let device = Device::with(".partial-test.gguf", &[0; 20]);
    let path = device.fetch(&hub.options()).expect("fetched");
    assert_eq!(fs::read(path).expect("readable"), CONTENT);
}
