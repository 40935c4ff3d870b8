//! The lines of `metrics.jsonl`, by phase.

use std::ops::Range;

use serde_json::{Map, Value};

/// One line: what was measured in one epoch of a phase.
pub(super) type Line = Map<String, Value>;

/// The lines of a phase, in their order.
pub(super) struct Phase<'a> {
    pub(super) name: String,
    pub(super) lines: Vec<&'a Line>,
    /// The epoch of each line.
    pub(super) epochs: Vec<f64>,
    pub(super) stages: Vec<Stage>,
    /// The epoch whose result the phase chose, where the metrics have it.
    pub(super) chosen: Option<f64>,
}

/// Successive lines of one stage of a phase.
#[derive(Clone)]
pub(super) struct Stage {
    pub(super) name: String,
    pub(super) lines: Range<usize>,
    /// Counts different names: a stage that comes back looks as it did before.
    pub(super) look: usize,
}

/// The phases in the order in which they begin.
pub(super) fn phases(metrics: &[Line]) -> Vec<Phase<'_>> {
    let mut phases: Vec<(String, Vec<&Line>)> = Vec::new();
    for line in metrics {
        let name = line.get("phase").map_or_else(|| "unnamed phase".to_owned(), text);
        match phases.iter_mut().find(|(phase, _)| *phase == name) {
            Some((_, lines)) => lines.push(line),
            None => phases.push((name, vec![line])),
        }
    }
    phases.into_iter().map(|(name, lines)| Phase::new(name, lines)).collect()
}

impl<'a> Phase<'a> {
    fn new(name: String, lines: Vec<&'a Line>) -> Self {
        // A line without an epoch stands at its place.
        let epoch = |(i, line): (usize, &&Line)| {
            line.get("epoch").and_then(Value::as_f64).unwrap_or(i as f64)
        };
        let epochs = lines.iter().enumerate().map(epoch).collect();
        let stages = stages(&lines);
        let chosen = lines.iter().rev().find_map(|line| line.get("best_epoch")?.as_f64());
        Self { name, lines, epochs, stages, chosen }
    }

    /// The lines that have a key, as a phase of their own.
    pub(super) fn having(&self, key: &str) -> Self {
        let has = |i: &usize| self.lines[*i].contains_key(key);
        let kept = || (0..self.lines.len()).filter(has);
        let place = |line: usize| (0..line).filter(has).count();
        let stage = |stage: &Stage| Stage {
            lines: place(stage.lines.start)..place(stage.lines.end),
            ..stage.clone()
        };
        Self {
            name: self.name.clone(),
            lines: kept().map(|i| self.lines[i]).collect(),
            epochs: kept().map(|i| self.epochs[i]).collect(),
            stages: self.stages.iter().map(stage).filter(|stage| !stage.lines.is_empty()).collect(),
            chosen: self.chosen,
        }
    }

    /// What the phase ended with, where its last line says that its result collapsed.
    pub(super) fn collapse(&self) -> Option<String> {
        let last = self.lines.last()?;
        let collapsed = last.get("collapsed")?.as_bool()?;
        let reason = self.ended_with("collapse");
        collapsed.then(|| {
            reason.unwrap_or_else(|| "It consists mostly of identities and pools.".to_owned())
        })
    }

    /// The text that its last line has under a key.
    pub(super) fn ended_with(&self, key: &str) -> Option<String> {
        Some(self.lines.last()?.get(key)?.as_str()?.to_owned())
    }
}

/// The stages in their order. One that is named again after another is a stage of its own.
fn stages(lines: &[&Line]) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let Some(name) = line.get("stage").map(text) else { continue };
        match stages.last_mut() {
            Some(stage) if stage.name == name => stage.lines.end = i + 1,
            _ => {
                let look = names.iter().position(|other| *other == name).unwrap_or(names.len());
                if look == names.len() {
                    names.push(name.clone());
                }
                stages.push(Stage { name, lines: i..i + 1, look });
            }
        }
    }
    stages
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
