//! What the tests ask of a page or picture as text.

use adwp_report::RunReport;
use serde_json::{Map, Value};

/// The page of a run, every tag of which is closed.
#[track_caller]
pub(crate) fn html(
    report: &RunReport,
    metrics: &[Map<String, Value>],
    space: Option<&Value>,
) -> String {
    let page = adwp_report::html(report, metrics, space);
    assert_balanced(&page);
    page
}

/// What stands under a heading.
pub(crate) fn section<'a>(page: &'a str, title: &str) -> &'a str {
    let from =
        page.find(&format!("<h2>{title}</h2>")).unwrap_or_else(|| panic!("no section {title}"));
    let rest = &page[from..];
    &rest[..rest.find("</section>").unwrap()]
}

/// Every tag after the style is closed, in order; before the style `open` were opened.
pub(crate) fn assert_closed(text: &str, open: &[&str]) {
    let mut open = open.to_vec();
    let mut rest = &text[text.find("</style>").unwrap() + "</style>".len()..];
    while let Some(from) = rest.find('<') {
        let to = from + rest[from..].find('>').expect("a tag that does not end");
        let tag = &rest[from + 1..to];
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed));
        } else if !tag.ends_with('/') && name != "br" {
            open.push(name);
        }
        rest = &rest[to + 1..];
    }
    assert!(open.is_empty(), "{open:?}");
}

/// The same of a page.
pub(crate) fn assert_balanced(page: &str) {
    assert_closed(page, &["html", "head"]);
}
