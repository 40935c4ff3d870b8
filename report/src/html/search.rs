//! The search that scored one architecture after another: what chance scored, and what followed
//! from the scores.

use super::tables::{Column, table};
use crate::escape::escape;
use crate::figure::figure;
use crate::format::{percent, short};
use crate::run_report::{FinalistRow, PartRow, SearchRecord};

pub(super) fn search(record: &SearchRecord) -> String {
    let SearchRecord { strategy, scorer, space, scores, found, .. } = record;
    let (count, number) = (scores.len(), found + 1);
    let about = format!(
        "<p>{} scored {count} architectures of the space {} by {}; number {number} is \
         delivered.{}</p>\n",
        escape(strategy),
        escape(space),
        escape(scorer),
        gain(record)
    );
    let finalists = match record.finalists.is_empty() {
        true => String::new(),
        false => finalists(record),
    };
    [about, parts(record), curves(record), finalists].concat()
}

/// In words, whether scores led to better architectures than chance.
fn gain(record: &SearchRecord) -> String {
    let Some([gain, error]) = record.gain else { return String::new() };
    let (more, error) = (short(gain.abs()), short(error));
    let more = if gain < 0.0 { format!("{more} less") } else { format!("{more} more") };
    format!(
        " Those that followed from earlier scores scored {more} on average than those drawn at \
         random, with a standard error of {error}."
    )
}

fn parts(record: &SearchRecord) -> String {
    use Column::{Number, Text};
    let columns = [
        Text("architectures"),
        Number("number", ""),
        Number("mean", ""),
        Number("standard deviation", ""),
        Number("best", ""),
    ];
    let row = |part: &PartRow| {
        vec![
            escape(&part.origin),
            part.count.to_string(),
            short(part.mean),
            part.sd.map_or_else(|| "–".to_owned(), short),
            short(part.best),
        ]
    };
    table(&columns, &record.parts.iter().map(row).collect::<Vec<_>>())
}

fn curves(record: &SearchRecord) -> String {
    let scores: Vec<f64> = record.scores.iter().map(|score| record.factor * score).collect();
    let numbered = |scores: &[f64]| -> Vec<(f64, f64)> {
        scores.iter().enumerate().map(|(number, score)| ((number + 1) as f64, *score)).collect()
    };
    let best = scores.iter().scan(f64::NEG_INFINITY, |best, &score| {
        *best = best.max(score);
        Some(*best)
    });
    let best: Vec<f64> = best.collect();
    let curves =
        [("each".to_owned(), numbered(&scores)), ("best so far".to_owned(), numbered(&best))];
    figure("architectures scored", &record.axis, &curves)
}

fn finalists(record: &SearchRecord) -> String {
    use Column::{Number, Text};
    let columns = [
        Text("finalist"),
        Number("score", ""),
        Number("epochs", ""),
        Number("validation accuracy", "%"),
    ];
    let row = |row: &FinalistRow| {
        let score = record.scores.get(row.trial).map(|score| short(record.factor * score));
        vec![
            format!("architecture {}", row.trial + 1),
            score.unwrap_or_else(|| "n/a".to_owned()),
            row.epochs.to_string(),
            percent(row.accuracy),
        ]
    };
    table(&columns, &record.finalists.iter().map(row).collect::<Vec<_>>())
}
