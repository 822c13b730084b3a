//! How many instructions the verifier walks through for each program on each kernel: kept in a table, and not to
//! grow unseen, since a program that passes the limit of an old kernel does not load there at all.

use crate::workspace;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

/// The kept table, below the workspace.
const TABLE: &str = "tests/verifier-insns.csv";
const HEADER: &str = "kernel,program,instructions";
/// The page that shows it, and between what.
const PAGE: &str = "docs/kernels.md";
const BEGIN: &str = "<!-- written by `cargo xtask test vm --update` -->";
const END: &str = "<!-- end -->";
/// Growth in percent that passes.
const GROWTH_MOST: u64 = 10;

/// Count by program.
pub(super) type Counts = BTreeMap<String, u64>;

/// Counts by kernel.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Table(BTreeMap<String, Counts>);

/// From lines `PROGRAM COUNT`: the largest of each, as a program is loaded with other constants by each way of
/// accounting. What is not ours (libraries probe what the kernel has) is passed over.
pub(super) fn read_counts(text: &str) -> Counts {
    let mut counts = Counts::new();
    for line in text.lines() {
        if let Some((program, count)) = line.split_once(' ')
            && program.starts_with("carbon_")
            && let Ok(count) = count.trim().parse::<u64>()
        {
            let most = counts.entry(program.to_owned()).or_insert(0);
            *most = count.max(*most);
        }
    }
    counts
}

impl Table {
    /// The kept one.
    pub(super) fn read() -> Result<Self> {
        let text = fs::read_to_string(workspace::root().join(TABLE))
            .with_context(|| format!("cannot read {TABLE}"))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut table = Self::default();
        for line in text.lines().filter(|line| *line != HEADER) {
            let mut fields = line.split(',');
            let (kernel, program, count) = (fields.next(), fields.next(), fields.next());
            let row = kernel.zip(program).zip(count.and_then(|count| count.parse().ok()));
            let ((kernel, program), count) = row.with_context(|| format!("{TABLE}: not a row: {line}"))?;
            table.0.entry(kernel.to_owned()).or_default().insert(program.to_owned(), count);
        }
        Ok(table)
    }

    /// Replaces the counts of a kernel.
    pub(super) fn set(&mut self, kernel: &str, counts: Counts) {
        self.0.insert(kernel.to_owned(), counts);
    }

    /// What is wrong with the counts of a kernel, as compared with the kept ones.
    pub(super) fn objections(&self, kernel: &str, counts: &Counts) -> Vec<String> {
        let none = Counts::new();
        let kept = self.0.get(kernel).unwrap_or(&none);
        let mut objections = Vec::new();
        for (program, count) in counts {
            match kept.get(program) {
                None => objections.push(format!("{program}: {count} instructions, and none kept in {TABLE}")),
                Some(kept) if count * 100 > kept * (100 + GROWTH_MOST) => {
                    objections.push(format!(
                        "{program}: {count} instructions, more than {GROWTH_MOST} % over {kept}"
                    ));
                }
                Some(_) => {}
            }
        }
        let gone = kept.keys().filter(|program| !counts.contains_key(*program));
        objections.extend(gone.map(|program| format!("{program}: in {TABLE}, and not loaded")));
        objections
    }

    /// Writes the table and the page.
    pub(super) fn write(&self) -> Result<()> {
        let mut text = format!("{HEADER}\n");
        for (kernel, program, count) in self.rows() {
            writeln!(text, "{kernel},{program},{count}")?;
        }
        fs::write(workspace::root().join(TABLE), text).with_context(|| format!("cannot write {TABLE}"))?;
        let page = workspace::root().join(PAGE);
        let old = fs::read_to_string(&page).with_context(|| format!("cannot read {PAGE}"))?;
        let new =
            self.shown_in(&old).with_context(|| format!("{PAGE} has no place for the table: {BEGIN}"))?;
        fs::write(&page, new).with_context(|| format!("cannot write {PAGE}"))
    }

    /// In the order of kernels, 6.12 after 6.1 and 5.10.
    fn rows(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.kernels().into_iter().flat_map(|(kernel, counts)| {
            counts.iter().map(move |(program, count)| (kernel, program.as_str(), *count))
        })
    }

    fn kernels(&self) -> Vec<(&str, &Counts)> {
        let number =
            |kernel: &str| -> Vec<u32> { kernel.split('.').filter_map(|part| part.parse().ok()).collect() };
        let mut kernels: Vec<_> = self.0.iter().map(|(kernel, counts)| (kernel.as_str(), counts)).collect();
        kernels.sort_by_key(|(kernel, _)| number(kernel));
        kernels
    }

    fn markdown(&self) -> String {
        let kernels = self.kernels();
        let mut programs: Vec<&String> = kernels.iter().flat_map(|(_, counts)| counts.keys()).collect();
        programs.sort();
        programs.dedup();
        let row = |first: &str, cells: Vec<String>| format!("| {first} | {} |\n", cells.join(" | "));
        let mut text = row("program", kernels.iter().map(|(kernel, _)| (*kernel).to_owned()).collect());
        text += &row("---", vec!["---:".to_owned(); kernels.len()]);
        for program in programs {
            let cell = |counts: &Counts| counts.get(program).map_or("-".to_owned(), u64::to_string);
            text += &row(&format!("`{program}`"), kernels.iter().map(|(_, counts)| cell(counts)).collect());
        }
        text
    }

    /// The page with the table in its place.
    fn shown_in(&self, page: &str) -> Option<String> {
        let (before, rest) = page.split_once(BEGIN)?;
        let (_, after) = rest.split_once(END)?;
        Some(format!("{before}{BEGIN}\n\n{}\n{END}{after}", self.markdown()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: &str =
        "kernel,program,instructions\n5.10,carbon_a,100\n6.1,carbon_a,200\n6.12,carbon_a,300\n";

    #[test]
    fn growth_beyond_a_tenth_and_missing_rows_are_objected_to() {
        let table = Table::parse(KEPT).unwrap();
        let check = |text: &str| table.objections("6.1", &read_counts(text)).len();
        assert_eq!(check("carbon_a 220\ncarbon_a 10\nprobe 5\n"), 0);
        assert_eq!(check("carbon_a 150"), 0);
        assert_eq!(check("carbon_a 221"), 1);
        assert_eq!(check("carbon_a 10\ncarbon_a 221"), 1);
        assert_eq!(check("carbon_a 200\ncarbon_new 1"), 1);
        assert_eq!(check(""), 1);
        assert!(Table::parse("5.10,carbon_a\n").is_err());
    }

    #[test]
    fn the_page_shows_the_kept_table() {
        let page = fs::read_to_string(workspace::root().join(PAGE)).unwrap();
        let table = Table::read().unwrap();
        assert_eq!(table.shown_in(&page), Some(page), "run `cargo xtask test vm --update`");
    }

    #[test]
    fn kernels_stand_in_the_order_of_their_numbers() {
        let table = Table::parse(KEPT).unwrap();
        let kernels: Vec<_> = table.rows().map(|(kernel, ..)| kernel).collect();
        assert_eq!(kernels, ["5.10", "6.1", "6.12"]);
        assert!(table.markdown().starts_with("| program | 5.10 | 6.1 | 6.12 |\n"));
    }
}
