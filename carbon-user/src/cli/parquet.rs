//! A report's rows as a Parquet file (parquet.apache.org): columns with types, null where nothing is known.

use crate::report::columns::{COLUMNS, Values};
use crate::report::ledger::{GroupRow, LedgerReport};
use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;
use std::sync::Arc;

/// The file's bytes. What the rows are of, and by which factors, stands in its key-value metadata.
///
/// # Errors
/// Where an amount is above what the format's 64-bit integers hold (9.2e18 microjoules).
pub(super) fn parquet(report: &LedgerReport) -> Result<Vec<u8>, ParquetError> {
    let scope = &report.scope;
    let facts = [
        ("schema", report.schema),
        ("version", report.version),
        ("from", &scope.from),
        ("to", &scope.to),
        ("tz", &scope.tz),
        ("by", &scope.by),
        ("factor_set", &report.factor_set),
    ];
    let facts = facts.map(|(key, value)| KeyValue::new(format!("carbon.{key}"), value.to_owned())).to_vec();
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by(format!("carbon {}", report.version))
        .set_key_value_metadata(Some(facts))
        .build();
    let schema = Arc::new(parse_message_type(&schema())?);
    let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))?;
    let mut group = file.next_row_group()?;
    for (_, values) in COLUMNS {
        let Some(mut column) = group.next_column()? else { break };
        write(&mut column, &report.rows, values)?;
        column.close()?;
    }
    group.close()?;
    file.into_inner()
}

/// In the format's own words. Every column may be null: what is not known is not 0.
fn schema() -> String {
    let fields = COLUMNS.map(|(name, values)| match values {
        Values::Text(_) => format!("optional binary {name} (UTF8);"),
        Values::Whole(_) => format!("optional int64 {name};"),
        Values::Real(_) => format!("optional double {name};"),
        Values::Truth(_) => format!("optional boolean {name};"),
    });
    format!("message carbon_report {{ {} }}", fields.join(" "))
}

fn write(
    column: &mut SerializedColumnWriter<'_>,
    rows: &[GroupRow],
    values: Values,
) -> Result<(), ParquetError> {
    match values {
        Values::Text(of) => put::<ByteArrayType>(column, rows.iter().map(|row| of(row).map(ByteArray::from))),
        Values::Real(of) => put::<DoubleType>(column, rows.iter().map(of)),
        Values::Truth(of) => put::<BoolType>(column, rows.iter().map(of)),
        Values::Whole(of) => {
            let whole = |row| of(row).map(i64::try_from).transpose();
            let values: Vec<Option<i64>> = rows
                .iter()
                .map(whole)
                .collect::<Result<_, _>>()
                .map_err(|error| ParquetError::General(error.to_string()))?;
            put::<Int64Type>(column, values.into_iter())
        }
    }
}

/// A level of 1 stands for a value that is there, 0 for null.
fn put<T: DataType>(
    column: &mut SerializedColumnWriter<'_>,
    values: impl Iterator<Item = Option<T::T>>,
) -> Result<(), ParquetError> {
    let (mut known, mut levels) = (Vec::new(), Vec::new());
    for value in values {
        levels.push(i16::from(value.is_some()));
        known.extend(value);
    }
    column.typed::<T>().write_batch(&known, Some(&levels), None).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carbon::Intensity;
    use crate::ledger::Factor;
    use crate::ledger::query::Balance;
    use crate::ledger::rows::EnergyKind;
    use crate::report::group::{Group, Hashed, Part};
    use crate::report::ledger::{Period, Scope};
    use crate::report::reconciliation::Rows;
    use crate::units::{Microjoules, Pue, Quality};
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor;
    use std::collections::BTreeMap;
    use std::fs::File;
    use std::io::Write;

    /// Of one row with all kinds of energy and one of which nothing is known.
    fn report() -> LedgerReport {
        let factor = Hashed::new(Factor::new(Intensity::of("FR").unwrap(), Pue(1.2)));
        let mut known = Group::default();
        for (kind, uj) in
            [(EnergyKind::Dynamic, 7_000_000), (EnergyKind::Static, 3), (EnergyKind::Held, 2_000_000)]
        {
            known.add(&Part {
                kind,
                factor: &factor,
                quality: Quality::Sampled,
                energy: Microjoules(uj),
                cpu_ns: 5,
                common_uj: 1.5,
                variance_uj2: 0.0,
                rerated: false,
            });
        }
        let groups = BTreeMap::from([("a \u{e9}".to_owned(), known), ("b".to_owned(), Group::default())]);
        let text = String::new;
        let scope = Scope {
            ledger: text(),
            from: "2026-01-01".into(),
            to: text(),
            tz: text(),
            by: "pod".into(),
            hardware: Vec::new(),
            methods: Vec::new(),
        };
        LedgerReport::new(
            scope,
            &[(Period { label: Some("2026-01".into()), ..Period::default() }, groups)],
            Balance::default(),
            Rows::Part,
            None,
            Vec::new(),
        )
    }

    fn read(report: &LedgerReport) -> SerializedFileReader<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&parquet(report).unwrap()).unwrap();
        SerializedFileReader::new(file).unwrap()
    }

    #[test]
    fn what_is_read_back_is_what_the_report_has() {
        let report = report();
        let reader = read(&report);
        let facts = reader.metadata().file_metadata().key_value_metadata().unwrap();
        let fact = |key: &str| facts.iter().find(|it| it.key == key).and_then(|it| it.value.clone());
        assert_eq!(fact("carbon.from").as_deref(), Some("2026-01-01"));
        assert_eq!(fact("carbon.factor_set"), Some(report.factor_set.clone()));
        let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 2);
        let (row, known) = (&rows[0], &report.rows[0]);
        let names: Vec<&str> = row.get_column_iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, COLUMNS.map(|(name, _)| name));
        assert_eq!(
            (row.get_string(0).unwrap().as_str(), row.get_string(1).unwrap().as_str()),
            ("a \u{e9}", "2026-01")
        );
        let wholes = [3, 4, 5, 6].map(|column| row.get_long(column).unwrap());
        assert_eq!(wholes, [15, 7_000_000, 3, 2_000_000]);
        assert_eq!(Some(row.get_double(8).unwrap().to_bits()), known.grams.map(f64::to_bits));
        assert_eq!(row.get_string(11).unwrap(), "sampled");
        assert_eq!([12, 13].map(|column| row.get_bool(column).unwrap()), [known.rerated, known.assumed]);
        // Unknown is null, in whatever type.
        let unknown: Vec<bool> =
            rows[1].get_column_iter().map(|(_, it)| *it == parquet::record::Field::Null).collect();
        let nulls = [2, 4, 5, 6, 7, 8, 9, 10, 11, 14];
        assert_eq!(unknown, (0..COLUMNS.len()).map(|column| nulls.contains(&column)).collect::<Vec<_>>());
    }

    #[test]
    fn no_rows_are_a_file_too() {
        let empty = LedgerReport { rows: Vec::new(), ..report() };
        let reader = read(&empty);
        assert_eq!(reader.metadata().file_metadata().num_rows(), 0);
    }
}
