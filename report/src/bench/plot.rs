//! The pictures of a bench, as inline SVG.

use super::{BenchLatency, BenchMachine, BenchModel, BenchPage, text::sessions};
use crate::escape::escape;
use crate::format::{millions, ms, percent, short};
use crate::plot::{Axis, Frame};

/// Colours of sessions, as far apart as may be; more than these begin again.
const COLOURS: [&str; 8] = ["o0", "o4", "o2", "o8", "o1", "o5", "o3", "o6"];

/// Width of a character of a label, on average and generously.
const CHAR: f64 = 6.0;

/// Sessions that have a colour of their own: machine and runtime.
struct Legend(Vec<String>);

impl Legend {
    fn of(page: &BenchPage) -> Self {
        let mut names: Vec<String> = Vec::new();
        for (machine, _, latency) in sessions(page) {
            let name = name(page, &machine.name, &latency.row.session());
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Self(names)
    }

    fn colour(&self, name: &str) -> &'static str {
        COLOURS[self.0.iter().position(|known| known == name).unwrap_or(0) % COLOURS.len()]
    }

    fn html(&self) -> String {
        let entry = |name: &String| {
            format!("<span><i class=\"{}\"></i>{}</span>", self.colour(name), escape(name))
        };
        format!("<div class=\"legend\">{}</div>", self.0.iter().map(entry).collect::<String>())
    }
}

fn name(page: &BenchPage, machine: &str, session: &str) -> String {
    if page.machines.len() > 1 { format!("{machine}: {session}") } else { session.to_owned() }
}

/// A point of the trade: latency, accuracy or multiply-adds, session, and the model.
struct Point<'a> {
    ms: f64,
    value: f64,
    session: String,
    model: &'a BenchModel,
}

/// What the time buys: accuracy where every model states one, else multiply-adds. Nothing
/// where neither is known of any model.
pub(super) fn trade(page: &BenchPage) -> String {
    let accuracy = sessions(page).all(|(_, model, _)| model.accuracy.is_some());
    let value = |model: &BenchModel| {
        if accuracy {
            model.accuracy.map(|share| 100.0 * share)
        } else {
            model.madds.map(|n| n as f64 / 1e6)
        }
    };
    let points: Vec<Point<'_>> = sessions(page)
        .filter_map(|(machine, model, latency)| {
            let session = name(page, &machine.name, &latency.row.session());
            Some(Point { ms: latency.row.p50_ms, value: value(model)?, session, model })
        })
        .filter(|point| point.ms.is_finite() && point.value.is_finite())
        .collect();
    if points.is_empty() {
        return String::new();
    }
    let frame = Frame { left: 52.0, right: 700.0, top: 18.0, bottom: 300.0 };
    let x = frame.x(points.iter().map(|point| point.ms).chain([0.0])).with_room(0.05);
    let from_zero = if accuracy { None } else { Some(0.0) };
    let y = frame.y(points.iter().map(|point| point.value).chain(from_zero)).with_room(0.08);
    let legend = Legend::of(page);
    let (what, unit) = if accuracy { ("accuracy", "%") } else { ("multiply-adds", "M") };
    let dot = |point: &Point<'_>| {
        let shown = if accuracy {
            percent(point.value / 100.0)
        } else {
            millions((point.value * 1e6) as u64)
        };
        let title =
            format!("{}, {}: {} ms, {shown} {unit}", point.model.name, point.session, ms(point.ms));
        format!(
            "<circle class=\"{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4.5\"><title>{}</title></circle>",
            legend.colour(&point.session),
            x.at(point.ms),
            y.at(point.value),
            escape(&title)
        )
    };
    // A model is named once, at its fastest session.
    let mut named: Vec<&Point<'_>> = Vec::new();
    for point in &points {
        match named.iter_mut().find(|known| known.model.name == point.model.name) {
            Some(known) if point.ms < known.ms => *known = point,
            Some(_) => {}
            None => named.push(point),
        }
    }
    named.sort_by(|a, b| a.ms.total_cmp(&b.ms));
    let dots: Vec<(f64, f64)> =
        points.iter().map(|point| (x.at(point.ms), y.at(point.value))).collect();
    let names: Vec<_> = named
        .iter()
        .map(|point| (x.at(point.ms), y.at(point.value), point.model.name.as_str()))
        .collect();
    let labels = labels(&names, &dots, &frame);
    let hidden = if labels.len() < names.len() {
        "; where there is no room for a name, the point tells it"
    } else {
        ""
    };
    let front = if accuracy { front(&points, &x, &y) } else { String::new() };
    let note = if accuracy {
        "; the line joins what nothing here is both faster and more accurate than"
    } else {
        ""
    };
    let title = format!("{what} against latency");
    format!(
        "<p class=\"quiet\">Median latency, and \
         {what}{note}{hidden}.</p>\n<figure><figcaption>{title} <span class=\"unit\">{unit}, \
         ms</span></figcaption>{}\
         <div class=\"scroll\"><svg viewBox=\"0 0 712 330\" role=\"img\" \
         aria-label=\"{title}\">{}{}{}{}{front}{}{}</svg></div></figure>\n",
        legend.html(),
        frame.horizontal_lines(&y),
        frame.vertical_lines(&x),
        frame.labels_left(&y),
        frame.labels_below(&x),
        points.iter().map(dot).collect::<String>(),
        labels.concat(),
    )
}

/// Texts next to their points `(x, y, text)`: those that cover no other text and no other point
/// of `dots`.
fn labels(points: &[(f64, f64, &str)], dots: &[(f64, f64)], frame: &Frame) -> Vec<String> {
    const HEIGHT: f64 = 11.0;
    const RADIUS: f64 = 4.5;
    // Of each the ends, left and right, top and bottom.
    let mut taken: Vec<[f64; 4]> = Vec::new();
    let mut texts = Vec::new();
    for &(x, y, text) in points {
        let width = CHAR * text.chars().count() as f64;
        let places = [
            ("axis", -4.0, -9.0),
            ("axis end", 4.0, -9.0),
            ("axis", -4.0, 17.0),
            ("axis end", 4.0, 17.0),
        ];
        let free = places.into_iter().find_map(|(class, right, down)| {
            let (anchor, bottom) = (x + right, y + down);
            let left = if class == "axis" { anchor } else { anchor - width };
            let place = [left, left + width, bottom - HEIGHT, bottom + 2.0];
            let [left, right, top, bottom] = place;
            let covers = |other: &[f64; 4]| {
                left < other[1] && other[0] < right && top < other[3] && other[2] < bottom
            };
            let dot = |&(x, y): &(f64, f64)| [x - RADIUS, x + RADIUS, y - RADIUS, y + RADIUS];
            let inside =
                left >= frame.left && right <= frame.right && top >= 0.0 && bottom <= frame.bottom;
            let is_free = inside
                && !taken.iter().any(covers)
                && !dots.iter().map(dot).any(|dot| covers(&dot));
            is_free.then_some((class, anchor, y + down, place))
        });
        if let Some((class, x, y, place)) = free {
            taken.push(place);
            texts.push(format!(
                "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
                escape(text)
            ));
        }
    }
    texts
}

/// The points that no other beats in both.
fn front(points: &[Point<'_>], x: &Axis, y: &Axis) -> String {
    let mut order: Vec<&Point<'_>> = points.iter().collect();
    order.sort_by(|a, b| a.ms.total_cmp(&b.ms).then(b.value.total_cmp(&a.value)));
    let mut best = f64::NEG_INFINITY;
    let kept = order.into_iter().filter(|point| {
        let better = point.value > best;
        best = best.max(point.value);
        better
    });
    let line: Vec<String> =
        kept.map(|point| format!("{:.1},{:.1}", x.at(point.ms), y.at(point.value))).collect();
    format!("<polyline class=\"front\" points=\"{}\"/>", line.join(" "))
}

const ROW: f64 = 30.0;

/// The distribution of each session's runs of one model: a line from the 5th to the 95th
/// percentile, a box around the middle half, a mark at the median.
pub(super) fn distributions(page: &BenchPage, model: &str) -> String {
    let rows: Vec<_> = sessions(page)
        .filter(|(_, of, latency)| of.name == model && latency.percentiles_ms.len() > 1)
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    // The share of a percentile: percentiles are at equal distances.
    let at = |percentiles: &[f64], share: f64| {
        percentiles[((percentiles.len() - 1) as f64 * share).round() as usize]
    };
    let frame = Frame { left: 10.0, right: 700.0, top: 6.0, bottom: 6.0 + ROW * rows.len() as f64 };
    let ends = rows.iter().flat_map(|(_, _, latency)| {
        [at(&latency.percentiles_ms, 0.0), at(&latency.percentiles_ms, 0.95)]
    });
    let x = frame.x(ends.filter(|value| value.is_finite()).chain([0.0])).with_room(0.02);
    let legend = Legend::of(page);
    let row =
        |(index, &(machine, _, latency)): (usize, &(&BenchMachine, &BenchModel, &BenchLatency))| {
            let session = name(page, &machine.name, &latency.row.session());
            let middle = frame.top + ROW * (index as f64 + 0.62);
            let place = |share: f64| x.at(at(&latency.percentiles_ms, share));
            let (low, left, median, right, high) =
                (place(0.05), place(0.25), place(0.5), place(0.75), place(0.95));
            let title = format!(
                "{session}: p50 {} ms, p5 to p95 {} to {} ms",
                ms(latency.row.p50_ms),
                short(at(&latency.percentiles_ms, 0.05)),
                short(at(&latency.percentiles_ms, 0.95))
            );
            format!(
                "<g class=\"{}\"><title>{}</title><line class=\"whisker\" x1=\"{low:.1}\" \
                 x2=\"{high:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>\
                 <rect class=\"middle-half\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" \
                 height=\"10\"/>\
                 <line class=\"median\" x1=\"{median:.1}\" x2=\"{median:.1}\" y1=\"{:.1}\" \
                 y2=\"{:.1}\"/></g>\
                 <text class=\"name\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                legend.colour(&session),
                escape(&title),
                middle - 5.0,
                (right - left).max(1.0),
                middle - 7.0,
                middle + 7.0,
                frame.left,
                middle - 9.0,
                escape(&session),
            )
        };
    format!(
        "<figure><figcaption>{} <span class=\"unit\">ms</span></figcaption><div \
         class=\"scroll\"><svg viewBox=\"0 0 712 {:.0}\" role=\"img\" aria-label=\"distribution \
         of latencies\">\
         {}{}{}</svg></div></figure>\n",
        escape(model),
        frame.bottom + 24.0,
        frame.vertical_lines(&x),
        frame.labels_below(&x),
        rows.iter().enumerate().map(row).collect::<String>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cover_nothing() {
        let frame = Frame { left: 0.0, right: 200.0, top: 0.0, bottom: 100.0 };
        let place = |points: &[(f64, f64, &str)], more: &[(f64, f64)]| {
            let dots: Vec<_> =
                points.iter().map(|&(x, y, _)| (x, y)).chain(more.iter().copied()).collect();
            labels(points, &dots, &frame)
        };
        let above = "<text class=\"axis\" x=\"46.0\" y=\"41.0\">a</text>";
        assert_eq!(place(&[(50.0, 50.0, "a")], &[]), [above]);
        // Beside the right end of the frame, and at its upper one.
        assert_eq!(
            place(&[(190.0, 50.0, "long")], &[]),
            ["<text class=\"axis end\" x=\"194.0\" y=\"41.0\">long</text>"]
        );
        assert_eq!(
            place(&[(50.0, 15.0, "a")], &[]),
            ["<text class=\"axis\" x=\"46.0\" y=\"32.0\">a</text>"]
        );
        // A point where the text would be, then points wherever it could be.
        assert_eq!(
            place(&[(50.0, 50.0, "ab")], &[(62.0, 38.0)]),
            ["<text class=\"axis end\" x=\"54.0\" y=\"41.0\">ab</text>"]
        );
        assert!(place(&[(50.0, 50.0, "ab")], &[(48.0, 38.0), (48.0, 62.0)]).is_empty());
        // Two points close to each other: the second is named below.
        assert_eq!(
            place(&[(50.0, 50.0, "a"), (50.0, 51.0, "b")], &[])[1],
            "<text class=\"axis\" x=\"46.0\" y=\"68.0\">b</text>"
        );
    }
}
