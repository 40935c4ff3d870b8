use adwp_report::{Panel, Scatter, scatter};

use crate::markup::assert_closed;

fn panel(title: &str, points: Vec<(f64, f64)>, marked: Vec<(f64, f64)>) -> Panel {
    Panel { title: title.to_owned(), x_label: "score".to_owned(), points, marked }
}

fn plot(panels: Vec<Panel>) -> Scatter {
    Scatter {
        title: "Early signs".to_owned(),
        x_label: "what was said before".to_owned(),
        y_label: "accuracy, %".to_owned(),
        panels,
    }
}

fn drawn(plot: &Scatter) -> String {
    let svg = scatter(plot);
    assert_closed(&svg, &["svg"]);
    svg
}

/// Vertical places of the points of a class, in order.
fn heights(svg: &str, class: &str) -> Vec<f64> {
    let circle = format!("<circle class=\"{class}\"");
    svg.split(&circle)
        .skip(1)
        .map(|circle| {
            circle.split("cy=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
        })
        .collect()
}

#[test]
fn the_picture_stands_alone() {
    let svg = drawn(&plot(vec![panel("one", vec![(1.0, 90.0), (2.0, 91.0)], vec![])]));
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 "));
    assert!(svg.contains("<rect class=\"paper\"") && svg.contains("prefers-color-scheme: dark"));
    for foreign in ["<script", "url(", "@import", "href", "var(", "<image"] {
        assert!(!svg.contains(foreign), "{foreign}");
    }
    for text in ["Early signs", "what was said before", "accuracy, %", "one", "score", "2 points"] {
        assert!(svg.contains(&format!(">{text}</text>")), "{text}");
    }
}

#[test]
fn panels_share_the_vertical_axis_and_have_a_horizontal_one_each() {
    let high = vec![(0.1, 92.0), (0.4, 94.0)];
    let low = vec![(1000.0, 90.0), (5000.0, 92.0)];
    let svg =
        drawn(&plot(vec![panel("high", high, vec![]), panel("low", low, vec![(2000.0, 94.0)])]));
    let points = heights(&svg, "point");
    // 92 and 94 stand as high on the left as on the right.
    assert_eq!([points[0], points[1]], [points[3], heights(&svg, "marked")[0]]);
    assert!(points[0] > points[1] && points[2] > points[0]);
    assert_eq!(svg.matches("class=\"axis end\"").count(), 5, "one vertical axis: 90 to 94");
    assert!(svg.contains(">0.2</text>") && svg.contains(">4000</text>"));
}

#[test]
fn the_fourth_panel_begins_another_row() {
    let panels = |count: usize| {
        (0..count).map(|_| panel("some", vec![(1.0, 90.0), (2.0, 92.0)], vec![])).collect()
    };
    let heights = [1, 3, 4, 6, 7].map(|count| {
        let svg = drawn(&plot(panels(count)));
        svg.split("height=\"").nth(1).unwrap().split('"').next().unwrap().parse::<f64>().unwrap()
    });
    assert!(
        heights[0] == heights[1]
            && heights[1] < heights[2]
            && heights[2] == heights[3]
            && heights[3] < heights[4],
        "{heights:?}"
    );
}

#[test]
fn points_that_are_not_finite_are_left_out_and_counted() {
    let points = vec![(1.0, 90.0), (f64::NAN, 91.0), (2.0, f64::INFINITY), (3.0, 92.0)];
    let svg = drawn(&plot(vec![
        panel("some", points, vec![(f64::NEG_INFINITY, 1.0), (2.5, 91.0)]),
        panel("none", vec![(f64::NAN, 1e9)], vec![]),
    ]));
    assert_eq!([heights(&svg, "point").len(), heights(&svg, "marked").len()], [2, 1]);
    assert!(
        svg.contains(">3 of 6 points, 3 not finite</text>")
            && svg.contains(">0 of 1 point, 1 not finite</text>")
    );
    // What is left out stretches no axis.
    assert!(svg.contains(">90.5</text>"));
    assert!(!svg.contains("NaN") && !svg.contains("\"inf"));
}

#[test]
fn extremes_have_a_picture() {
    for points in [
        vec![],
        vec![(0.0, 0.0)],
        vec![(f64::MIN, f64::MAX), (f64::MAX, f64::MIN)],
        vec![(5e-324, 1.0), (0.0, 1.0)],
    ] {
        let svg = drawn(&plot(vec![panel("some", points.clone(), vec![])]));
        assert_eq!(svg.matches("<circle").count(), points.len());
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{points:?}");
    }
    assert!(!drawn(&plot(vec![])).contains("<circle"));
}

#[test]
fn text_is_escaped_and_broken_into_lines() {
    let mut plot = plot(vec![panel("a < b & c", vec![], vec![])]);
    plot.title = "<script>\u{0}\u{ffff}".to_owned();
    plot.x_label = "\"x\"".to_owned();
    plot.panels[0].x_label = "tau ".repeat(30);
    plot.panels.push(panel(&"ÿ".repeat(100), vec![], vec![]));
    let svg = drawn(&plot);
    assert!(
        svg.contains("&lt;script&gt;\u{fffd}\u{fffd}")
            && svg.contains("a &lt; b &amp; c")
            && svg.contains("&quot;x&quot;")
    );
    assert!(!svg.contains("<script>"));
    let longest = svg
        .split("<text ")
        .skip(1)
        .map(|text| text.split(['>', '<']).nth(1).unwrap().chars().count())
        .max();
    assert!(longest.is_some_and(|chars| chars <= 60), "{longest:?}");
    assert_eq!(svg.matches('ÿ').count(), 100, "no letter is lost");
}
