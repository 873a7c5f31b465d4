use super::super::tests::record;
use super::super::{Page, page};
use super::*;

/// Elements in their order: each that begins ends, inside the one that began before it. Names of
/// elements that never end in HTML are written as `<br/>`.
fn assert_well_formed(html: &str) {
    let mut open: Vec<String> = Vec::new();
    let body = html.strip_prefix("<!DOCTYPE html>").unwrap_or(html);
    let mut rest = body;
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, after) = after.split_once('>').expect("a tag ends");
        assert!(!tag.contains('<'), "<{tag}>");
        assert_eq!(tag.matches('"').count() % 2, 0, "<{tag}>");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "</{name}>");
        } else if !tag.ends_with('/') {
            let name = tag.split([' ', '\n']).next().unwrap_or_default();
            open.push(name.to_owned());
        }
        rest = after;
    }
    assert!(open.is_empty(), "{open:?} never ends");
}

#[test]
fn a_page_is_well_formed_and_whole_in_itself() {
    let told = Page {
        about: "Two phones.\n\nAnd <more>.".to_owned(),
        beside: Vec::new(),
        command: "potluck-sim run x.toml --html x.html".to_owned(),
    };
    let html = page(&record(), &told).expect("drawn");
    assert_well_formed(&html);
    for elsewhere in [
        "http:", "https:", "<script", "<link", "url(", "@import", "src=",
    ] {
        assert!(!html.contains(elsewhere), "{elsewhere}");
    }
    assert!(html.contains("prefers-color-scheme: dark"));
    assert!(html.contains("two &lt;phones&gt;") && html.contains("And &lt;more&gt;."));
    assert!(
        html.matches("<svg").count() >= 7,
        "{}",
        html.matches("<svg").count()
    );
    // What names have in them is text in plots, too.
    assert!(html.contains("ben &amp; co"));
    assert!(!html.contains("ben & co"));
}

#[test]
fn plots_have_no_colours_of_their_own() {
    for plot in [speed(&record()), layers(&record())] {
        let svg = plot.expect("drawn").svg;
        assert!(!svg.contains("\"#"), "{svg}");
        assert!(svg.contains("var(--ink)"), "{svg}");
    }
}

#[test]
fn a_plot_of_many_devices_stays_small() {
    let mut many = record();
    let device = many.devices[0].clone();
    many.devices = vec![device; 500];
    let sample = many.devices[0].series[0];
    for device in &mut many.devices {
        device.series = (0..4_000)
            .map(|at| crate::record::Sample {
                at_us: at * 2_500,
                layers: (at % 7) as u32,
                ..sample
            })
            .collect();
    }
    let html = page(&many, &Page::default()).expect("drawn");
    assert!(html.len() < 300_000, "{} bytes", html.len());
    assert!(html.contains("the 490 others"));
}

#[test]
fn thinning_keeps_the_last() {
    let all: Vec<_> = (0..1_000).collect();
    let thin: Vec<_> = thinned(&all, 240).copied().collect();
    assert!(thin.len() <= 241 && thin.last() == Some(&999), "{thin:?}");
    assert_eq!(thinned(&[1, 2, 3], 240).count(), 3);
    assert_eq!(thinned::<u8>(&[], 240).count(), 0);
}
