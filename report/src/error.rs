/// What can be wrong with the text of a report. The caller knows the file's name and adds it.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The text is no JSON of the expected form; the parser's message names the key, line and
    /// column.
    #[error("report: {0}")]
    Parse(#[from] serde_json::Error),
    /// The report has a schema this version does not know.
    #[error("report: unknown schema {found:?}, expected {expected:?}")]
    Schema {
        /// The schema in the text.
        found: String,
        /// The schema this version reads.
        expected: &'static str,
    },
}
