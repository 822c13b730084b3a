//! What the dashboard says of a time of which only runs are known: no agent wrote of the machine then.

use super::error::CliError;
use super::report::made;
use super::report_args::ReportArgs;
use super::report_time::{interval, zone};
use crate::ledger::Ledger;
use crate::ledger::query::{Balance, NamedDomain};
use crate::ledger::rows::BalanceRow;
use crate::ledger::runs::RunFilter;
use crate::report::dashboard::{DataQuality, EnergiesByQuality, MeterRow};
use crate::report::ledger::LedgerReport;
use crate::units::Quality;
use std::collections::BTreeMap;

/// The sums of runs by project, as `args` ask for them, where a report of the machine has no energy and there are runs.
/// Their total says of how many runs it is.
pub(super) fn instead(
    args: &ReportArgs,
    of_machine: &LedgerReport,
    ledger: &mut Ledger,
) -> Result<Option<LedgerReport>, CliError> {
    if of_machine.total.quality.is_some() {
        return Ok(None);
    }
    Ok(Some(made(args, None, ledger)?).filter(|runs| runs.total.runs.is_some()))
}

/// How good the energies of these runs are, and the meters that were read while they lasted.
pub(super) fn quality(
    args: &ReportArgs,
    report: LedgerReport,
    rows_max: usize,
    ledger: &mut Ledger,
) -> Result<DataQuality, CliError> {
    let (from, to) = interval(args, &zone(&args.tz)?, ledger, true)?;
    let filter = RunFilter {
        from_us: Some(from.timestamp().as_microsecond()),
        to_us: Some(to.timestamp().as_microsecond()),
        ..RunFilter::default()
    };
    let mut energies = EnergiesByQuality::new();
    let mut balances: BTreeMap<Metered, Balance> = BTreeMap::new();
    for run in ledger.runs(&filter)? {
        let Some(end) = run.end else { continue };
        for row in &end.energies {
            let sum = energies.entry((row.quality, row.kind)).or_default();
            *sum = sum.saturating_add(row.energy.0);
        }
        for BalanceRow { domain, metered, attributed, static_energy, lost, .. } in end.domains {
            let key = (run.start.node.clone(), domain.domain, domain.device, domain.source, domain.quality);
            let balance = balances.entry(key).or_default();
            *balance = balance.plus(Balance {
                metered_uj: metered.0,
                attributed_uj: attributed.0,
                static_uj: static_energy.0,
                lost_uj: lost.0,
                gaps: 0,
                // Meters are read when a run begins and when it ends.
                covered_ns: end.duration_ns,
            });
        }
    }
    let meters =
        balances.into_iter().take(rows_max).map(|((node, domain, device, source, quality), balance)| {
            let domain = NamedDomain { node, domain, device, source, quality };
            // The ledger does not keep how many windows of a run had gaps.
            MeterRow { gaps: None, ..MeterRow::new(&domain, balance) }
        });
    Ok(DataQuality::new(report, meters.collect(), &energies))
}

/// Node, domain, device, meter and its quality.
type Metered = (String, String, String, String, Quality);
