//! One table in many forms: what is shown to people and what is given to programs, cell by cell.

use super::figures::printable;
use super::table::{Style, arrange, empty_table, trimmed};
use std::fmt::Write;

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its head for people; an empty one for a column that is for programs alone.
    pub head: &'static str,
    /// Its key for programs, unit last; of an interval two, with a space between them as between their values.
    pub key: &'static str,
    /// Whether it holds numbers.
    pub number: bool,
}

impl Column {
    /// One value for each key.
    fn values(&self, cell: &Cell) -> Vec<String> {
        if !self.key.contains(' ') {
            return vec![cell.exact.clone()];
        }
        let mut values = cell.exact.split(' ').map(ToOwned::to_owned);
        self.key.split(' ').map(|_| values.next().unwrap_or_default()).collect()
    }
}

/// A cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// For people: as many figures as are known.
    pub shown: String,
    /// For programs: exact.
    pub exact: String,
}

impl Cell {
    /// Text, the same for both; what others named loses its control characters.
    pub fn text(text: impl AsRef<str>) -> Self {
        let text = printable(text.as_ref());
        Self { shown: text.clone(), exact: text }
    }

    /// A number.
    #[expect(clippy::needless_pass_by_value, reason = "numbers, most of them")]
    pub fn number(shown: impl Into<String>, exact: impl ToString) -> Self {
        Self { shown: shown.into(), exact: exact.to_string() }
    }

    /// Not known: never zero.
    pub fn unknown() -> Self {
        Self { shown: "unknown".into(), exact: String::new() }
    }
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grid {
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows, each as wide as the columns.
    pub rows: Vec<Vec<Cell>>,
}

impl Grid {
    /// An empty one. A column is its head, its key and whether it holds numbers.
    pub fn new(columns: &[(&'static str, &'static str, bool)]) -> Self {
        let columns =
            columns.iter().map(|(head, key, number)| Column { head, key, number: *number }).collect();
        Self { columns, rows: Vec::new() }
    }

    /// The columns that are for people.
    fn for_people(&self) -> Self {
        let shown = |column: &&Column| !column.head.is_empty();
        let cells = |row: &Vec<Cell>| {
            let pairs = row.iter().zip(&self.columns).filter(|(_, column)| shown(column));
            pairs.map(|(cell, _)| cell.clone()).collect()
        };
        Self {
            columns: self.columns.iter().filter(shown).copied().collect(),
            rows: self.rows.iter().map(cells).collect(),
        }
    }

    /// For a terminal. The first column is wrapped where it is narrow.
    pub fn table(&self, style: Style) -> String {
        let shown = self.for_people();
        let heads: Vec<&str> = shown.columns.iter().map(|column| column.head).collect();
        let mut table = empty_table(style, &heads);
        for row in &shown.rows {
            table.add_row(row.iter().map(|cell| cell.shown.as_str()));
        }
        let numbers =
            shown.columns.iter().enumerate().filter(|(_, column)| column.number).map(|(index, _)| index);
        arrange(&mut table, numbers, 0);
        trimmed(&table)
    }

    /// For programs, with the exact figures.
    ///
    /// # Errors
    /// None in practice: the text is made in memory.
    pub fn csv(&self) -> Result<String, csv::Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(self.columns.iter().flat_map(|column| column.key.split(' ')))?;
        for row in &self.rows {
            let cells = row.iter().zip(&self.columns).flat_map(|(cell, column)| column.values(cell));
            writer.write_record(cells.map(|value| defused(&value)))?;
        }
        let bytes = writer.into_inner().map_err(csv::IntoInnerError::into_error)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A table of `GitHub`'s Markdown.
    pub fn markdown(&self) -> String {
        let shown = self.for_people();
        let mut text = String::new();
        let heads: Vec<&str> = shown.columns.iter().map(|column| column.head).collect();
        line(&mut text, &format!("| {} |", heads.join(" | ")));
        let rules: Vec<&str> =
            shown.columns.iter().map(|column| if column.number { "---:" } else { "---" }).collect();
        line(&mut text, &format!("| {} |", rules.join(" | ")));
        for row in &shown.rows {
            let cells: Vec<String> = row.iter().map(|cell| markdown_escaped(&cell.shown)).collect();
            line(&mut text, &format!("| {} |", cells.join(" | ")));
        }
        text
    }

    /// The table element of a page.
    pub fn html(&self) -> String {
        let shown = self.for_people();
        let mut text = String::from("<table>\n<thead><tr>");
        for column in &shown.columns {
            let class = if column.number { " class=\"number\"" } else { "" };
            write!(text, "<th scope=\"col\"{class}>{}</th>", html_escaped(column.head)).unwrap_or_default();
        }
        text.push_str("</tr></thead>\n<tbody>\n");
        for row in &shown.rows {
            text.push_str("<tr>");
            for (cell, column) in row.iter().zip(&shown.columns) {
                let class = if column.number { " class=\"number\"" } else { "" };
                write!(text, "<td{class}>{}</td>", html_escaped(&cell.shown)).unwrap_or_default();
            }
            text.push_str("</tr>\n");
        }
        text.push_str("</tbody>\n</table>\n");
        text
    }

    /// A tabular environment.
    pub fn latex(&self) -> String {
        let shown = self.for_people();
        let shape: String =
            shown.columns.iter().map(|column| if column.number { 'r' } else { 'l' }).collect();
        let mut text = format!("\\begin{{tabular}}{{{shape}}}\n\\hline\n");
        let heads: Vec<String> = shown.columns.iter().map(|column| latex_escaped(column.head)).collect();
        line(&mut text, &format!("{} \\\\", heads.join(" & ")));
        line(&mut text, "\\hline");
        for row in &shown.rows {
            let cells: Vec<String> = row.iter().map(|cell| latex_escaped(&cell.shown)).collect();
            line(&mut text, &format!("{} \\\\", cells.join(" & ")));
        }
        text.push_str("\\hline\n\\end{tabular}\n");
        text
    }
}

/// A name that a spreadsheet would take for a formula gets an apostrophe (OWASP, CSV injection).
fn defused(text: &str) -> String {
    let formula =
        text.starts_with(['=', '@', '\t']) || (text.starts_with(['+', '-']) && text.parse::<f64>().is_err());
    if formula { format!("'{text}") } else { text.to_owned() }
}

/// Text for HTML.
pub fn html_escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Text for `GitHub`'s Markdown, which is neither markup nor the end of a cell.
pub fn markdown_escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '<' => escaped.push_str("&lt;"),
            '\\' | '|' | '`' | '[' | ']' => escaped.extend(['\\', char]),
            _ => escaped.push(char),
        }
    }
    escaped
}

/// Text for LaTeX.
pub fn latex_escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '<' => escaped.push_str("\\textless{}"),
            '>' => escaped.push_str("\\textgreater{}"),
            '|' => escaped.push_str("\\textbar{}"),
            '"' => escaped.push_str("''"),
            // Not in the fonts that a document has without being asked for more.
            '\u{fffd}' => escaped.push('?'),
            // After the end of a row these are its options.
            '[' | ']' | '*' => escaped.extend(['{', char, '}']),
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                escaped.push('\\');
                escaped.push(char);
            }
            _ => escaped.push(char),
        }
    }
    escaped
}

fn line(text: &mut String, content: &str) {
    // Writing to a String cannot fail.
    writeln!(text, "{content}").unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        let mut grid = Grid::new(&[("NAME", "name", false), ("J", "energy_uj", true)]);
        grid.rows.push(vec![Cell::text("=a|b<c>&\x1b[31m"), Cell::number("1.2", 1_234_567)]);
        grid.rows.push(vec![Cell::text("50%_$"), Cell::unknown()]);
        grid
    }

    #[test]
    fn a_name_harms_no_form() {
        let grid = grid();
        assert_eq!(grid.csv().unwrap(), "name,energy_uj\n'=a|b<c>&\u{fffd}[31m,1234567\n50%_$,\n");
        assert!(grid.markdown().contains("| =a\\|b&lt;c>&\u{fffd}\\[31m | 1.2 |"), "{}", grid.markdown());
        assert!(grid.html().contains("<th scope=\"col\">NAME</th><th scope=\"col\" class=\"number\">J</th>"));
        assert!(grid.html().contains("<td>=a|b&lt;c&gt;&amp;\u{fffd}[31m</td><td class=\"number\">1.2</td>"));
        assert!(grid.latex().contains("50\\%\\_\\$ & unknown \\\\"), "{}", grid.latex());
        assert!(grid.table(Style::default()).contains("unknown"));
    }

    #[test]
    fn an_interval_is_two_columns_for_programs() {
        let mut grid = Grid::new(&[("NAME", "name", false), ("g, 90 %", "grams_low grams_high", true)]);
        grid.rows.push(vec![Cell::text("a b"), Cell::number("1 to 2", "1.25 2.5")]);
        grid.rows.push(vec![Cell::text("c"), Cell::unknown()]);
        assert_eq!(grid.csv().unwrap(), "name,grams_low,grams_high\na b,1.25,2.5\nc,,\n");
        assert!(grid.markdown().contains("| a b | 1 to 2 |"));
    }

    #[test]
    fn no_name_is_an_option_of_latex() {
        assert_eq!(latex_escaped("[k]*<|>\""), "{[}k{]}{*}\\textless{}\\textbar{}\\textgreater{}''");
    }

    #[test]
    fn a_negative_number_is_no_formula() {
        assert_eq!((defused("-1.5").as_str(), defused("-x").as_str()), ("-1.5", "'-x"));
    }
}
