//! The page of a study: tables, curves and scatter plots, in the order given.

use crate::escape::escape;
use crate::figure::figure;
use crate::html::document;

/// A page for a browser. All texts are plain.
#[derive(Clone, Debug, PartialEq)]
pub struct StudyPage {
    /// What was studied.
    pub title: String,
    /// A line below it: on what, how often.
    pub about: String,
    /// What it gave.
    pub sections: Vec<StudySection>,
}

/// A part of the page.
#[derive(Clone, Debug, PartialEq)]
pub struct StudySection {
    /// Its heading.
    pub title: String,
    /// How it is to be read.
    pub note: String,
    /// What it shows.
    pub content: StudyContent,
}

/// What a part of the page shows.
#[derive(Clone, Debug, PartialEq)]
pub enum StudyContent {
    /// A table: the first column has names, the others have numbers.
    Table {
        /// Headings.
        columns: Vec<String>,
        /// A cell for each heading.
        rows: Vec<Vec<String>>,
    },
    /// Curves over one axis.
    Curves {
        /// The horizontal axis with its unit.
        x_label: String,
        /// The vertical axis with its unit.
        y_label: String,
        /// Name and points of each.
        curves: Vec<(String, Vec<(f64, f64)>)>,
    },
    /// A picture as the text of an SVG file, such as that of [`scatter`](crate::scatter()).
    Picture(String),
}

/// The study as one HTML page, light and dark, that needs nothing else.
pub fn study_html(page: &StudyPage) -> String {
    let title = escape(&page.title);
    let sections: String = page.sections.iter().map(StudySection::html).collect();
    let body = format!(
        "<header>\n<h1>{title}</h1>\n<p class=\"quiet\">{}</p>\n</header>\n{sections}",
        escape(&page.about)
    );
    let style = concat!(
        include_str!("html/style.css"),
        "section > figure { max-width: 860px; }\nsection > figure svg { min-width: 560px; }\n"
    );
    document(&title, style, &body)
}

impl StudySection {
    fn html(&self) -> String {
        let content = match &self.content {
            StudyContent::Table { columns, rows } => table(columns, rows),
            StudyContent::Curves { x_label, y_label, curves } => figure(x_label, y_label, curves),
            StudyContent::Picture(svg) => format!("<figure class=\"scroll\">{svg}</figure>\n"),
        };
        let note = match self.note.is_empty() {
            true => String::new(),
            false => format!("<p class=\"quiet\">{}</p>\n", escape(&self.note)),
        };
        format!("<section>\n<h2>{}</h2>\n{note}{content}</section>\n", escape(&self.title))
    }
}

fn table(columns: &[String], rows: &[Vec<String>]) -> String {
    let class = |place: usize| if place == 0 { "" } else { " class=\"n\"" };
    let line = |tag: &str, cells: &[String]| {
        let cell = |(place, text): (usize, &String)| {
            format!("<{tag}{}>{}</{tag}>", class(place), escape(text))
        };
        format!("<tr>{}</tr>\n", cells.iter().enumerate().map(cell).collect::<String>())
    };
    format!(
        "<div class=\"scroll\"><table>\n<thead>{}</thead>\n<tbody>\n{}</tbody>\n</table></div>\n",
        line("th", columns),
        rows.iter().map(|row| line("td", row)).collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(content: StudyContent) -> String {
        let section = StudySection { title: "A <b>".into(), note: "n & m".into(), content };
        study_html(&StudyPage { title: "T".into(), about: "on x".into(), sections: vec![section] })
    }

    #[test]
    fn tables_are_escaped_and_complete() {
        let html = page(StudyContent::Table {
            columns: vec!["strategy".into(), "found".into()],
            rows: vec![vec!["<i>".into(), "93.5".into()]],
        });
        assert!(html.contains("<h2>A &lt;b&gt;</h2>") && html.contains("n &amp; m"));
        assert!(html.contains("<td>&lt;i&gt;</td><td class=\"n\">93.5</td>"), "{html}");
    }

    #[test]
    fn curves_have_a_line_each_and_what_is_no_number_is_left_out() {
        let html = page(StudyContent::Curves {
            x_label: "evaluations".into(),
            y_label: "accuracy, %".into(),
            curves: vec![
                ("random".into(), vec![(1.0, 80.0), (2.0, f64::NAN), (3.0, 90.0)]),
                ("none".into(), Vec::new()),
            ],
        });
        assert_eq!(html.matches("<polyline").count(), 2);
        assert!(html.contains("random 90") && html.contains("none n/a"), "{html}");
        assert!(!html.contains("NaN"));
    }
}
