use crate::escape::escape;
use crate::format::{count, short};
use crate::plot::{Axis, Frame};

const COLUMNS: usize = 3;
const PANEL_WIDTH: f64 = 236.0;
const PANEL_HEIGHT: f64 = 190.0;
/// Left of the first panel: its ticks, and left of them the lines of the vertical label.
const TICKS_LEFT: f64 = 50.0;
const GAP: f64 = 26.0;
const RIGHT: f64 = 16.0;
/// Line heights of the title and of other text.
const TITLE_LINE: f64 = 20.0;
const LINE: f64 = 15.0;
/// Below a panel: its ticks.
const TICKS_BELOW: f64 = 20.0;
/// Widths of a character, on average and generously: text is broken into lines here, since a
/// picture cannot.
const TITLE_CHAR: f64 = 9.6;
const PANEL_CHAR: f64 = 7.8;
const CHAR: f64 = 6.6;

/// Small multiples of points: a panel for each way to tell the vertical from the horizontal.
#[derive(Clone, Debug, PartialEq)]
pub struct Scatter {
    /// The title of the picture.
    pub title: String,
    /// What all panels have on their horizontal axis, written once below them; empty where it
    /// differs.
    pub x_label: String,
    /// What all panels have on their vertical axis, with its unit.
    pub y_label: String,
    /// The panels, in reading order.
    pub panels: Vec<Panel>,
}

/// One panel: it shares the vertical axis with the others, and has a horizontal axis of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// The title, with what the points come to: `predicted weights, τ = 0.43 [0.20, 0.60]`.
    pub title: String,
    /// The horizontal axis with its unit; empty where [`Scatter::x_label`] says it.
    pub x_label: String,
    /// Horizontal and vertical value of each point.
    pub points: Vec<(f64, f64)>,
    /// Points drawn larger and in another colour, over the others.
    pub marked: Vec<(f64, f64)>,
}

/// The picture as the text of an SVG file that needs nothing else, light and dark.
///
/// A point with a value that is not finite is left out, and its panel says how many were.
pub fn scatter(plot: &Scatter) -> String {
    let columns = plot.panels.len().clamp(1, COLUMNS);
    let beside = wrap(&plot.y_label, PANEL_HEIGHT / CHAR);
    let left = TICKS_LEFT + LINE * beside.len() as f64;
    let right = left + columns as f64 * (PANEL_WIDTH + GAP) - GAP;
    let width = right + RIGHT;
    let finite = plot
        .panels
        .iter()
        .flat_map(|panel| panel.points.iter().chain(&panel.marked))
        .filter(|point| is_finite(point));
    let heights: Vec<f64> = finite.map(|point| point.1).collect();

    let title = wrap(&plot.title, (width - 32.0) / TITLE_CHAR);
    let mut body = lines(&title, "title", 16.0, 27.0, TITLE_LINE);
    let mut top = 12.0 + TITLE_LINE * title.len() as f64;
    for panels in plot.panels.chunks(columns) {
        let most =
            |count: fn(&Panel) -> usize| LINE * panels.iter().map(count).max().unwrap_or(0) as f64;
        // Below its title a panel says how many points it has.
        top += 14.0 + most(|panel| panel.title_lines().len()) + LINE;
        let row = Frame { left, right, top, bottom: top + PANEL_HEIGHT };
        let y = row.y(heights.iter().copied()).with_room(0.06);
        body += &row.labels_left(&y);
        let middle = f64::midpoint(row.top, row.bottom);
        body += &format!(
            "<g transform=\"translate(0 {middle}) rotate(-90)\">\n{}</g>\n",
            lines(&beside, "quiet middle", 0.0, 18.0, LINE)
        );
        for (column, panel) in panels.iter().enumerate() {
            let left = left + column as f64 * (PANEL_WIDTH + GAP);
            body += &panel.svg(&Frame { left, right: left + PANEL_WIDTH, ..row }, &y);
        }
        top = row.bottom + TICKS_BELOW + most(|panel| panel.label_lines().len());
    }
    let below = wrap(&plot.x_label, (right - left) / CHAR);
    body += &lines(&below, "quiet middle", f64::midpoint(left, right), top + LINE - 3.0, LINE);
    let height = top + LINE * below.len() as f64 + 12.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" role=\"img\">\n\
         <title>{}</title>\n<style>\n{}</style>\n<rect class=\"paper\" width=\"{width}\" \
         height=\"{height}\"/>\n{body}</svg>\n",
        escape(&plot.title),
        include_str!("scatter.css"),
    )
}

impl Panel {
    fn title_lines(&self) -> Vec<String> {
        wrap(&self.title, PANEL_WIDTH / PANEL_CHAR)
    }

    fn label_lines(&self) -> Vec<String> {
        wrap(&self.x_label, PANEL_WIDTH / CHAR)
    }

    fn svg(&self, frame: &Frame, y: &Axis) -> String {
        let points: Vec<_> = self.points.iter().filter(|point| is_finite(point)).collect();
        let marked: Vec<_> = self.marked.iter().filter(|point| is_finite(point)).collect();
        let x = frame.x(points.iter().chain(&marked).map(|point| point.0)).with_room(0.05);
        let dot = |class: &str, radius: f64, point: &(f64, f64)| {
            let (across, up) = *point;
            format!(
                "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\"><title>{}, \
                 {}</title></circle>\n",
                x.at(across),
                y.at(up),
                short(across),
                short(up)
            )
        };
        let title = self.title_lines();
        let first = frame.top - 10.0 - LINE * title.len() as f64;
        let axes = if points.len() + marked.len() > 0 {
            frame.vertical_lines(&x) + &frame.labels_below(&x)
        } else {
            String::new()
        };
        [
            lines(&title, "panel", frame.left, first, LINE),
            lines(
                &[self.counted(points.len() + marked.len())],
                "quiet",
                frame.left,
                frame.top - 8.0,
                LINE,
            ),
            frame.horizontal_lines(y),
            axes,
            points.into_iter().map(|point| dot("point", 3.0, point)).collect(),
            marked.into_iter().map(|point| dot("marked", 4.5, point)).collect(),
            lines(
                &self.label_lines(),
                "quiet middle",
                f64::midpoint(frame.left, frame.right),
                frame.bottom + TICKS_BELOW + LINE - 4.0,
                LINE,
            ),
        ]
        .concat()
    }

    /// How many points are drawn, and how many are not.
    fn counted(&self, drawn: usize) -> String {
        let all = self.points.len() + self.marked.len();
        let plural = if all == 1 { "point" } else { "points" };
        match all - drawn {
            0 => format!("{} {plural}", count(all)),
            missing => format!(
                "{} of {} {plural}, {} not finite",
                count(drawn),
                count(all),
                count(missing)
            ),
        }
    }
}

fn is_finite(point: &(f64, f64)) -> bool {
    point.0.is_finite() && point.1.is_finite()
}

fn lines(lines: &[String], class: &str, x: f64, y: f64, pitch: f64) -> String {
    let line = |(i, text): (usize, &String)| {
        format!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>\n",
            y + pitch * i as f64,
            escape(text)
        )
    };
    lines.iter().enumerate().map(line).collect()
}

/// Text in lines of at most `width` characters, broken between words where that can be.
fn wrap(text: &str, width: f64) -> Vec<String> {
    let width = width as usize;
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let chars: Vec<char> = word.chars().collect();
        for part in chars.chunks(width) {
            let part: String = part.iter().collect();
            match lines.last_mut() {
                Some(line) if line.chars().count() + 1 + part.chars().count() <= width => {
                    *line += &format!(" {part}")
                }
                _ => lines.push(part),
            }
        }
    }
    lines
}
