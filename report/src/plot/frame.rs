use super::Axis;

/// The rectangle of a chart that its axes enclose, in the units of the picture.
///
/// Lines have the class `grid`, labels the class `axis`, and `middle` or `end` for how they are
/// aligned; the page or picture styles them.
pub(crate) struct Frame {
    pub(crate) left: f64,
    pub(crate) right: f64,
    pub(crate) top: f64,
    pub(crate) bottom: f64,
}

impl Frame {
    pub(crate) fn x(&self, values: impl Iterator<Item = f64>) -> Axis {
        Axis::new(values, self.left, self.right)
    }

    pub(crate) fn y(&self, values: impl Iterator<Item = f64>) -> Axis {
        Axis::new(values, self.bottom, self.top)
    }

    pub(crate) fn horizontal_lines(&self, y: &Axis) -> String {
        y.ticks().iter().map(|tick| line(self.left, self.right, tick.at, tick.at)).collect()
    }

    pub(crate) fn vertical_lines(&self, x: &Axis) -> String {
        x.ticks().iter().map(|tick| line(tick.at, tick.at, self.top, self.bottom)).collect()
    }

    pub(crate) fn labels_left(&self, y: &Axis) -> String {
        let label = |at: f64, label: &str| {
            format!(
                "<text class=\"axis end\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>",
                self.left - 5.0,
                at + 3.5
            )
        };
        y.ticks().iter().map(|tick| label(tick.at, &tick.label)).collect()
    }

    pub(crate) fn labels_below(&self, x: &Axis) -> String {
        let label = |at: f64, label: &str| {
            format!(
                "<text class=\"axis middle\" x=\"{at:.1}\" y=\"{:.1}\">{label}</text>",
                self.bottom + 16.0
            )
        };
        x.ticks().iter().map(|tick| label(tick.at, &tick.label)).collect()
    }
}

fn line(x1: f64, x2: f64, y1: f64, y2: f64) -> String {
    format!("<line class=\"grid\" x1=\"{x1:.1}\" x2=\"{x2:.1}\" y1=\"{y1:.1}\" y2=\"{y2:.1}\"/>")
}
