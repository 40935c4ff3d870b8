//! Published tables of architectures and what was measured of them.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};

use adwp_models::space::TableRules;
use adwp_train::{Streams, TrainError};
use flate2::bufread::MultiGzDecoder;

use crate::{Result, SearchError};

/// The column with the texts of the architectures.
const ARCHITECTURE: &str = "arch";

/// A table: CSV with a header, plain or compressed by gzip. Cells have no quotes; the column `arch`
/// has the architectures.
#[derive(Debug)]
pub struct Table {
    path: PathBuf,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    architecture: usize,
}

/// A column of numbers by architecture.
#[derive(Debug)]
pub struct Column {
    path: PathBuf,
    name: String,
    /// For each architecture its row, from 1 for the header, and its value where the cell is not
    /// blank.
    values: HashMap<String, (usize, Option<f64>)>,
}

impl Table {
    /// Reads a file.
    ///
    /// # Errors
    /// [`TrainError::File`] when it cannot be read, [`SearchError::Input`] naming the row when it
    /// is no such table.
    pub fn read(path: &Path) -> Result<Self> {
        let text = text_of(path)?;
        let fail = |reason: String| SearchError::Input(format!("{}: {reason}", path.display()));
        let cells = |line: &str| line.split(',').map(|cell| cell.trim().to_owned()).collect();
        // A byte order mark is no part of the first name.
        let mut lines = text.trim_start_matches('\u{feff}').lines();
        let header: Vec<String> = cells(lines.next().unwrap_or_default());
        if let Some(name) = (1..header.len()).find(|&i| header[..i].contains(&header[i])) {
            return Err(fail(format!("two columns are named {:?}", header[name])));
        }
        let architecture = header.iter().position(|name| name == ARCHITECTURE);
        let architecture = architecture
            .ok_or_else(|| fail(format!("there is no column {ARCHITECTURE:?} in row 1")))?;
        let mut rows = Vec::new();
        for (i, line) in lines.enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let row: Vec<String> = cells(line);
            if row.len() != header.len() {
                let (found, expected) = (row.len(), header.len());
                return Err(fail(format!("row {} has {found} cells, expected {expected}", i + 2)));
            }
            rows.push(row);
        }
        Ok(Self { path: path.to_owned(), header, rows, architecture })
    }

    /// A column that scores can come from. A strategy that sees test accuracies has nothing left
    /// to be tested on, so columns with "test" in their name are refused, but for those that the
    /// rules of the space name.
    ///
    /// # Errors
    /// [`SearchError::Input`]: also for a column that is not there or holds something else than
    /// numbers.
    pub fn selection(&self, name: &str, rules: TableRules) -> Result<Column> {
        if name.to_lowercase().contains("test") && !rules.selects.contains(&name) {
            return Err(SearchError::Input(format!(
                "{name:?}: a strategy cannot select by a test column; report it with \
                 --report-column"
            )));
        }
        self.column(name)
    }

    /// The first column of validation accuracies: one with "val" in its name, or one that the
    /// rules of the space name.
    ///
    /// # Errors
    /// [`SearchError::Input`] when there is none, or it holds something else than numbers.
    pub fn first_selection(&self, rules: TableRules) -> Result<Column> {
        let is_one = |name: &&String| {
            let lower = name.to_lowercase();
            lower.contains("val") && !lower.contains("test")
                || rules.selects.contains(&name.as_str())
        };
        let name = self.header.iter().find(is_one).ok_or_else(|| {
            let (path, header) = (self.path.display(), self.header.join(", "));
            SearchError::Input(format!(
                "{path}: no column has \"val\" in its name; name one with --column; there are \
                 {header}"
            ))
        })?;
        self.column(name)
    }

    /// A column to report of architectures that were selected by another.
    ///
    /// # Errors
    /// [`SearchError::Input`] for test accuracies that the selection has seen, and as
    /// [`Self::column`].
    pub fn reported(&self, name: &str, selected: &Column, rules: TableRules) -> Result<Column> {
        let is_seen = name == selected.name || rules.contains_selected.contains(&name);
        if rules.selects.contains(&selected.name.as_str()) && is_seen {
            return Err(SearchError::Input(format!(
                "{name:?} holds what {:?} has selected by: report other runs",
                selected.name
            )));
        }
        self.column(name)
    }

    /// A column of numbers.
    ///
    /// # Errors
    /// [`SearchError::Input`] for a column that is not there or holds something else than numbers.
    pub fn column(&self, name: &str) -> Result<Column> {
        let fail =
            |reason: String| SearchError::Input(format!("{}: {reason}", self.path.display()));
        let column = self.header.iter().position(|other| other == name).ok_or_else(|| {
            fail(format!("there is no column {name:?}; there are {}", self.header.join(", ")))
        })?;
        let mut values = HashMap::with_capacity(self.rows.len());
        for (i, row) in self.rows.iter().enumerate() {
            let (number, cell) = (i + 2, &row[column]);
            let value = match cell.parse::<f64>() {
                _ if cell.is_empty() => None,
                Ok(value) if value.is_finite() => Some(value),
                _ => return Err(fail(format!("row {number}: {name} = {cell:?} is not a number"))),
            };
            let architecture = &row[self.architecture];
            if let Some((first, _)) = values.insert(architecture.clone(), (number, value)) {
                return Err(fail(format!("rows {first} and {number} are both {architecture}")));
            }
        }
        Ok(Column { path: self.path.clone(), name: name.to_owned(), values })
    }
}

impl Column {
    /// The file of the table.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name in the table.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The architectures, in the order of their texts.
    pub fn architectures(&self) -> impl Iterator<Item = &str> {
        let mut texts: Vec<&str> = self.values.keys().map(String::as_str).collect();
        texts.sort_unstable();
        texts.into_iter()
    }

    /// A number that is the same for columns of the same values.
    pub fn digest(&self) -> u64 {
        let sorted: BTreeMap<_, _> =
            self.values.iter().map(|(text, (_, value))| (text, value)).collect();
        Streams::new(0).seed_for(&format!("{sorted:?}"))
    }

    /// The value of an architecture, by its text.
    ///
    /// # Errors
    /// [`SearchError::Input`] for an architecture that the table does not have, and naming the row
    /// of one whose cell is blank.
    pub fn value(&self, architecture: &str) -> Result<f64> {
        let (row, value) = self.cell(architecture)?;
        let blank = || format!("row {row}, {architecture}, has no {}", self.name);
        value.ok_or_else(|| self.fail(&blank()))
    }

    /// The value of an architecture; `None` where its cell is blank.
    ///
    /// # Errors
    /// [`SearchError::Input`] for an architecture that the table does not have.
    pub fn value_if_any(&self, architecture: &str) -> Result<Option<f64>> {
        Ok(self.cell(architecture)?.1)
    }

    /// The row of an architecture and its value.
    fn cell(&self, architecture: &str) -> Result<(usize, Option<f64>)> {
        let cell = self.values.get(architecture).copied();
        cell.ok_or_else(|| self.fail(&format!("there is no row for {architecture}")))
    }

    fn fail(&self, reason: &str) -> SearchError {
        SearchError::Input(format!("{}: {reason}", self.path.display()))
    }
}

/// The text of a file, which may be compressed.
fn text_of(path: &Path) -> Result<String> {
    let fail = |source| TrainError::File { action: "read", path: path.to_owned(), source };
    let bytes = adwp_base::read_bytes(path, adwp_base::MOST_TEXT).map_err(TrainError::from)?;
    let mut text = String::new();
    // What gzip files begin with.
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut unpacked = MultiGzDecoder::new(&bytes[..]).take(adwp_base::MOST_TEXT + 1);
        let count = unpacked.read_to_string(&mut text).map_err(fail)?;
        if count as u64 > adwp_base::MOST_TEXT {
            let reason = format!("more than {} bytes are packed in it", adwp_base::MOST_TEXT);
            return Err(SearchError::Input(format!("{}: {reason}", path.display())));
        }
    } else {
        (&bytes[..]).read_to_string(&mut text).map_err(fail)?;
    }
    Ok(text)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    const TEXT: &str = "index,arch,val,c10_test\r\n0,a,1.5,9\n1,b,,8\n2,c,-2e1,7\n";

    fn table(bytes: &[u8]) -> Result<Table> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.csv");
        std::fs::write(&path, bytes).unwrap();
        Table::read(&path)
    }

    fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn columns_are_found_by_name_in_plain_and_compressed_files() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(TEXT.as_bytes()).unwrap();
        for bytes in [TEXT.as_bytes(), &gzip.finish().unwrap()] {
            let table = table(bytes).unwrap();
            let column = table.selection("val", TableRules::STRICT).unwrap();
            assert_eq!((column.value("a").unwrap(), column.value("c").unwrap()), (1.5, -20.0));
            assert!(message(column.value("b")).contains("row 3, b, has no val"));
            assert!(message(column.value("d")).contains("no row for d"));
        }
    }

    #[test]
    fn a_compressed_file_may_have_several_members() {
        let compressed = |text: &str| {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
            gzip.write_all(text.as_bytes()).unwrap();
            gzip.finish().unwrap()
        };
        let (first, second) = TEXT.split_at(TEXT.find("2,c").unwrap());
        let table = table(&[compressed(first), compressed(second)].concat()).unwrap();
        let column = table.first_selection(TableRules::STRICT).unwrap();
        assert_eq!((column.name(), column.value("c").unwrap()), ("val", -20.0));
        assert_eq!(
            (column.value_if_any("b").unwrap(), column.value_if_any("a").unwrap()),
            (None, Some(1.5))
        );
        let other = self::table(TEXT.replace("1.5", "1.6").as_bytes()).unwrap();
        assert_ne!(other.selection("val", TableRules::STRICT).unwrap().digest(), column.digest());
        let same = self::table((TEXT.to_owned() + "\n").as_bytes()).unwrap();
        assert_eq!(same.selection("val", TableRules::STRICT).unwrap().digest(), column.digest());
    }

    #[test]
    fn a_test_column_is_reported_and_never_selects() {
        let table = table(TEXT.as_bytes()).unwrap();
        let refused = message(table.selection("c10_test", TableRules::STRICT));
        assert!(refused.contains("cannot select by a test column"), "{refused}");
        assert!(refused.contains("--report-column"), "{refused}");
        assert_eq!(table.column("c10_test").unwrap().value("b").unwrap(), 8.0);
        assert!(message(table.column("value")).contains("index, arch, val, c10_test"));
    }

    #[test]
    fn a_space_without_validation_accuracies_selects_by_one_run_and_reports_others() {
        let rules = TableRules { selects: &["test_1"], contains_selected: &["test_mean"] };
        let table = table(b"arch,params,test_1,test_2,test_mean\na,7,1,2,1.5\n").unwrap();
        let first = table.first_selection(rules).unwrap();
        assert_eq!((first.name(), first.value("a").unwrap()), ("test_1", 1.0));
        assert!(table.selection("test_2", rules).is_err());
        assert_eq!(table.reported("test_2", &first, rules).unwrap().value("a").unwrap(), 2.0);
        for seen in ["test_1", "test_mean"] {
            let error = message(table.reported(seen, &first, rules));
            assert!(error.contains("report other runs"), "{error}");
        }
        let params = table.selection("params", rules).unwrap();
        assert!(table.reported("test_mean", &params, rules).is_ok());
    }

    #[test]
    fn what_is_no_table_is_refused_with_its_row() {
        for (text, reason) in [
            ("", "no column \"arch\""),
            ("arch,val,val\n", "two columns are named \"val\""),
            ("arch,val\na,1\nb\n", "row 3 has 1 cells, expected 2"),
        ] {
            let error = message(table(text.as_bytes()));
            assert!(error.contains(reason), "{text:?}: {error}");
        }
        for (text, reason) in [
            ("arch,val\na,1\nb,x\n", "row 3: val = \"x\" is not a number"),
            ("arch,val\na,NaN\n", "row 2: val = \"NaN\" is not a number"),
            ("arch,val\na,1\na,2\n", "rows 2 and 3 are both a"),
        ] {
            let error = message(table(text.as_bytes()).unwrap().column("val"));
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }
}
