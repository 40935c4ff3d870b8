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
            let name = name(page, &machine.name, &latency.session());
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
        let entry = |name: &String| format!("<span><i class=\"{}\"></i>{}</span>", self.colour(name), escape(name));
        format!("<div class=\"legend\">{}</div>", self.0.iter().map(entry).collect::<String>())
    }
}

fn name(page: &BenchPage, machine: &str, session: &str) -> String {
    if page.machines.len() > 1 { format!("{machine}: {session}") } else { session.to_owned() }
}

/// A point of the trade: latency, what is had for it, session, and the model.
struct Point<'a> {
    ms: f64,
    value: f64,
    session: String,
    model: &'a BenchModel,
}

/// What is had for the time: accuracy where every model states one, else multiply-adds. Nothing where neither is known of any model.
pub(super) fn trade(page: &BenchPage) -> String {
    let accuracy = sessions(page).all(|(_, model, _)| model.accuracy.is_some());
    let value = |model: &BenchModel| if accuracy { model.accuracy.map(|share| 100.0 * share) } else { model.madds.map(|n| n as f64 / 1e6) };
    let points: Vec<Point<'_>> = sessions(page)
        .filter_map(|(machine, model, latency)| {
            let session = name(page, &machine.name, &latency.session());
            Some(Point { ms: latency.p50_ms, value: value(model)?, session, model })
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
        let shown = if accuracy { percent(point.value / 100.0) } else { millions((point.value * 1e6) as u64) };
        let title = format!("{}, {}: {} ms, {shown} {unit}", point.model.name, point.session, ms(point.ms));
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
    let label = |point: &&Point<'_>| {
        let width = CHAR * point.model.name.chars().count() as f64;
        // Above its point, where no other session of the model is: those differ in latency alone.
        let (class, at) = if x.at(point.ms) + width > frame.right { ("axis end", 4.0) } else { ("axis", -4.0) };
        format!(
            "<text class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x.at(point.ms) + at,
            y.at(point.value) - 9.0,
            escape(&point.model.name)
        )
    };
    let front = if accuracy { front(&points, &x, &y) } else { String::new() };
    let note = if accuracy { "; the line joins what nothing here is both faster and more accurate than" } else { "" };
    let title = format!("{what} against latency");
    format!(
        "<p class=\"quiet\">Median latency, and {what}{note}.</p>\n<figure><figcaption>{title} <span class=\"unit\">{unit}, ms</span></figcaption>{}\
         <div class=\"scroll\"><svg viewBox=\"0 0 712 330\" role=\"img\" aria-label=\"{title}\">{}{}{}{}{front}{}{}</svg></div></figure>\n",
        legend.html(),
        frame.horizontal_lines(&y),
        frame.vertical_lines(&x),
        frame.labels_left(&y),
        frame.labels_below(&x),
        points.iter().map(dot).collect::<String>(),
        named.iter().map(label).collect::<String>(),
    )
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
    let line: Vec<String> = kept.map(|point| format!("{:.1},{:.1}", x.at(point.ms), y.at(point.value))).collect();
    format!("<polyline class=\"front\" points=\"{}\"/>", line.join(" "))
}

const ROW: f64 = 30.0;

/// The distribution of each session's runs of one model: a line from the 5th to the 95th percentile, a box around the middle half, a mark at
/// the median.
pub(super) fn distributions(page: &BenchPage, model: &str) -> String {
    let rows: Vec<_> = sessions(page).filter(|(_, of, latency)| of.name == model && latency.percentiles_ms.len() > 1).collect();
    if rows.is_empty() {
        return String::new();
    }
    // The share of a percentile: percentiles are at equal distances.
    let at = |percentiles: &[f64], share: f64| percentiles[((percentiles.len() - 1) as f64 * share).round() as usize];
    let frame = Frame { left: 10.0, right: 700.0, top: 6.0, bottom: 6.0 + ROW * rows.len() as f64 };
    let ends = rows.iter().flat_map(|(_, _, latency)| [at(&latency.percentiles_ms, 0.0), at(&latency.percentiles_ms, 0.95)]);
    let x = frame.x(ends.filter(|value| value.is_finite()).chain([0.0])).with_room(0.02);
    let legend = Legend::of(page);
    let row = |(index, &(machine, _, latency)): (usize, &(&BenchMachine, &BenchModel, &BenchLatency))| {
        let session = name(page, &machine.name, &latency.session());
        let middle = frame.top + ROW * (index as f64 + 0.62);
        let place = |share: f64| x.at(at(&latency.percentiles_ms, share));
        let (low, left, median, right, high) = (place(0.05), place(0.25), place(0.5), place(0.75), place(0.95));
        let title = format!(
            "{session}: p50 {} ms, p5 to p95 {} to {} ms",
            ms(latency.p50_ms),
            short(at(&latency.percentiles_ms, 0.05)),
            short(at(&latency.percentiles_ms, 0.95))
        );
        format!(
            "<g class=\"{}\"><title>{}</title><line class=\"whisker\" x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>\
             <rect class=\"middle-half\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"10\"/>\
             <line class=\"median\" x1=\"{median:.1}\" x2=\"{median:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/></g>\
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
        "<figure><figcaption>{} <span class=\"unit\">ms</span></figcaption><div class=\"scroll\"><svg viewBox=\"0 0 712 {:.0}\" role=\"img\" aria-label=\"distribution of latencies\">\
         {}{}{}</svg></div></figure>\n",
        escape(model),
        frame.bottom + 24.0,
        frame.vertical_lines(&x),
        frame.labels_below(&x),
        rows.iter().enumerate().map(row).collect::<String>(),
    )
}
