//! Curves over one axis, as a figure of a page.

use crate::escape::escape;
use crate::format::short;
use crate::plot::{Axis, Frame};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 330.0;
const FRAME: Frame = Frame { left: 52.0, right: 748.0, top: 12.0, bottom: 286.0 };

/// Colours of curves, as far apart as may be; more than these begin again.
const COLOURS: [&str; 8] = ["o0", "o4", "o2", "o8", "o1", "o5", "o3", "o6"];

/// Curves over one axis.
pub(crate) fn figure(x_label: &str, y_label: &str, curves: &[(String, Vec<(f64, f64)>)]) -> String {
    let finite = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
        points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
    };
    let curves: Vec<(&str, Vec<(f64, f64)>)> =
        curves.iter().map(|(name, points)| (name.as_str(), finite(points))).collect();
    let all = || curves.iter().flat_map(|(_, points)| points);
    let x = FRAME.x(all().map(|point| point.0));
    let y = FRAME.y(all().map(|point| point.1)).with_room(0.03);
    let colour = |i: usize| COLOURS[i % COLOURS.len()];
    let legend: String = curves
        .iter()
        .enumerate()
        .map(|(i, (name, points))| {
            let last = points.last().map_or_else(|| "n/a".to_owned(), |point| short(point.1));
            format!("<span><i class=\"{}\"></i>{} {last}</span>", colour(i), escape(name))
        })
        .collect();
    let lines: String =
        curves.iter().enumerate().map(|(i, (_, points))| line(colour(i), points, &x, &y)).collect();
    format!(
        "<figure><figcaption>{} <span class=\"unit\">over {}</span></figcaption>\
         <div class=\"legend\">{legend}</div><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"{}\">{}{}{}{}{lines}</svg></figure>\n",
        escape(y_label),
        escape(x_label),
        escape(y_label),
        FRAME.horizontal_lines(&y),
        FRAME.vertical_lines(&x),
        FRAME.labels_left(&y),
        FRAME.labels_below(&x),
    )
}

fn line(colour: &str, points: &[(f64, f64)], x: &Axis, y: &Axis) -> String {
    let at = |&(across, up): &(f64, f64)| format!("{:.1},{:.1}", x.at(across), y.at(up));
    let points: Vec<String> = points.iter().map(at).collect();
    format!("<polyline class=\"line {colour}\" points=\"{}\"/>", points.join(" "))
}
