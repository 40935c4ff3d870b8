use super::super::chart::stage_name;
use super::super::metrics::{Phase, Stage};
use super::{Probabilities, STEPS, Scale};
use crate::escape::escape;
use crate::format::short;
use crate::plot::Axis;

/// Candidates over the epochs of a phase, as a rectangle of colours in a picture.
pub(super) struct Block<'a> {
    pub(super) phase: &'a Phase<'a>,
    pub(super) scale: &'a Scale,
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    /// Height of a row.
    pub(super) row: f64,
}

pub(super) struct Candidate<'a> {
    /// HTML.
    pub(super) name: String,
    pub(super) kept: bool,
    pub(super) probabilities: &'a Probabilities,
}

impl Block<'_> {
    /// Colours, the mark of the chosen epoch, and the dots of those that were kept; each row has a
    /// title with its first and last number.
    pub(super) fn svg(&self, candidates: &[Candidate<'_>]) -> String {
        let column = self.width / self.phase.lines.len() as f64;
        let mut paths = vec![String::new(); STEPS];
        for (row, candidate) in candidates.iter().enumerate() {
            let steps: Vec<_> =
                candidate.probabilities.iter().map(|p| p.map(|p| self.scale.step(p))).collect();
            let mut from = 0;
            for run in steps.chunk_by(|a, b| a == b) {
                if let Some(step) = run[0] {
                    paths[step] += &format!("M{from} {row}h{}", run.len());
                }
                from += run.len();
            }
        }
        let path = |(step, path): (usize, &String)| match path.as_str() {
            "" => String::new(),
            path => format!("<path class=\"h{step}\" d=\"{path}\"/>"),
        };
        format!(
            // A stroke is 1 wide, which the scale makes the height of a row, and lies on both sides
            // of its line.
            "<g class=\"heat\" transform=\"translate({} {:.1})scale({column:.4} {})\">{}</g>{}{}",
            self.x,
            self.y + self.row / 2.0,
            self.row,
            paths.iter().enumerate().map(path).collect::<String>(),
            self.mark(candidates.len()),
            candidates
                .iter()
                .enumerate()
                .map(|(row, candidate)| self.row(row, candidate))
                .collect::<String>(),
        )
    }

    fn row(&self, row: usize, candidate: &Candidate<'_>) -> String {
        let top = self.y + self.row * row as f64;
        let numbers = || {
            candidate
                .probabilities
                .iter()
                .zip(&self.phase.epochs)
                .filter_map(|(p, epoch)| Some(((*p)?, epoch)))
        };
        let told = match (numbers().next(), numbers().next_back()) {
            (Some((first, from)), Some((last, to))) => {
                format!("{} at epoch {from}, {} at epoch {to}", short(first), short(last))
            }
            _ => "n/a".to_owned(),
        };
        let dot = if candidate.kept {
            format!(
                "<circle class=\"kept\" cx=\"{}\" cy=\"{:.1}\" r=\"2\"/>",
                self.x + self.width + 5.0,
                top + self.row / 2.0
            )
        } else {
            String::new()
        };
        format!(
            "<rect class=\"row\" x=\"{}\" y=\"{top:.1}\" width=\"{}\" height=\"{}\"><title>{}: \
             {told}</title></rect>{dot}",
            self.x, self.width, self.row, candidate.name
        )
    }

    /// Names of the rows to their left, each with whether it stands out. They are HTML.
    pub(super) fn names<'a>(&self, names: impl Iterator<Item = (&'a str, bool)>) -> String {
        let name = |(row, (name, bold)): (usize, (&str, bool))| {
            let class = if bold { "name end kept" } else { "name end" };
            let y = self.y + self.row * (row as f64 + 0.5) + 3.2;
            format!("<text class=\"{class}\" x=\"{}\" y=\"{y:.1}\">{name}</text>", self.x - 5.0)
        };
        names.enumerate().map(name).collect()
    }

    fn mark(&self, rows: usize) -> String {
        let column = self.phase.chosen.and_then(|epoch| self.column(epoch));
        column.map_or_else(String::new, |column| {
            let at = self.middle(column);
            let bottom = self.y + self.row * rows as f64;
            format!(
                "<line class=\"mark\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{}\" y2=\"{bottom}\"/>",
                self.y - 1.5
            )
        })
    }

    /// Round epochs, below `rows` rows.
    pub(super) fn epochs(&self, rows: usize) -> String {
        let ticks = Axis::new(self.phase.epochs.iter().copied(), 0.0, 1.0).whole().ticks();
        let y = self.y + self.row * rows as f64 + 10.0;
        let tick = |(column, label): (usize, &str)| {
            format!(
                "<text class=\"name quiet middle\" x=\"{:.1}\" y=\"{y:.1}\">{label}</text>",
                self.middle(column)
            )
        };
        ticks
            .iter()
            .filter_map(|epoch| Some((self.column(epoch.value)?, epoch.label.as_str())))
            .map(tick)
            .collect()
    }

    /// The stages, in a strip above the colours.
    pub(super) fn stages(&self) -> String {
        const HEIGHT: f64 = 12.0;
        let column = self.width / self.phase.lines.len() as f64;
        let stage = |stage: &Stage| {
            let (x, width) =
                (self.x + column * stage.lines.start as f64, column * stage.lines.len() as f64);
            format!(
                "<g><title>{}</title><rect class=\"stage s{}\" x=\"{x:.1}\" y=\"{}\" \
                 width=\"{width:.1}\" height=\"{HEIGHT}\"/>{}</g>",
                escape(&stage.name),
                stage.look % 3,
                self.y - HEIGHT - 2.0,
                stage_name(&stage.name, x, width, self.y - 5.0),
            )
        };
        self.phase.stages.iter().map(stage).collect()
    }

    fn column(&self, epoch: f64) -> Option<usize> {
        self.phase.epochs.iter().position(|&other| other == epoch)
    }

    fn middle(&self, column: usize) -> f64 {
        self.x + self.width * (column as f64 + 0.5) / self.phase.lines.len() as f64
    }
}
