//! `carbon advise`: the same work in each region of a cloud, and in the best hours of a day.

use super::args::ListFormat;
use super::error::CliError;
use super::live_values::{Known, LiveArgs, LiveOptions};
use super::options::not_negative;
use super::picture::Picture;
use super::report_time::zone;
use super::run_entry::parse_energy;
use super::runs::write;
use super::series_file;
use crate::carbon::place::{CloudRegion, providers};
use crate::carbon::series::Series;
use crate::clock;
use crate::report::advice::{Advice, Candidate};
use crate::report::advice_plot;
use crate::report::hours::{BestHours, Work};
use crate::units::Microjoules;
use clap::Args;
use std::path::PathBuf;

/// `carbon advise`.
#[derive(Args, Clone, Debug)]
pub struct AdviseArgs {
    /// The cloud: aws, azure, gcp, hetzner, oci, ovh or scaleway.
    #[arg(long, value_name = "NAME")]
    pub provider: String,
    /// The region where the work is now, such as eu-west-1.
    #[arg(long, value_name = "REGION")]
    pub near: Option<String>,
    /// Only regions within this distance of --near, in kilometres.
    #[arg(long, value_name = "KM", requires = "near", value_parser = not_negative, allow_negative_numbers = true)]
    pub within: Option<f64>,
    /// Energy that the work takes in a month, such as 100kWh.
    #[arg(long, value_name = "ENERGY", default_value = "100kWh")]
    pub energy: String,
    /// Rows of the table.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Hours in a row that the work takes each day: the best ones are told, where a service or a file knows hours.
    #[arg(long, value_name = "HOURS", default_value_t = 4, value_parser = part_of_a_day)]
    pub hours: u8,
    /// Intensities by time of the place where the work is, as for `carbon run --intensity-file`: of the hours to come, else of
    /// days that were.
    #[arg(long, value_name = "FILE", conflicts_with = "live")]
    pub intensity_file: Option<PathBuf>,
    /// A service's forecast.
    #[command(flatten)]
    pub live: LiveArgs,
    /// Time zone of the hours, such as Europe/Paris.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub tz: String,
    /// Draw regions and hours into this file, whole or not at all: as PNG where its name ends in .png, else as SVG.
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub format: ListFormat,
}

/// Writes the ranking and gives the status.
pub(super) fn advise(args: &AdviseArgs) -> Result<u8, CliError> {
    let plot = args.plot.as_deref().map(|path| Picture::open("--plot", Some(path))).transpose()?;
    let advice = rank(args)?;
    plot.map_or(Ok(()), |plot| plot.write(&advice_plot::svg(&advice)))?;
    write(&advice.grid(), &advice, args.format, &advice.lines())?;
    Ok(0)
}

/// The ranking.
pub(super) fn rank(args: &AdviseArgs) -> Result<Advice, CliError> {
    let regions = CloudRegion::all(&args.provider);
    if regions.is_empty() {
        return Err(CliError::Argument {
            option: "--provider",
            value: args.provider.clone(),
            reason: "not a provider of the table".into(),
            advice: format!("give one of {}", providers().join(", ")),
        });
    }
    let near = args.near.as_deref().map(|name| find(&args.provider, name, &regions)).transpose()?;
    let energy: Microjoules = parse_energy("--energy", &args.energy)?;
    let mut candidates = Vec::new();
    for region in &regions {
        let intensity = region.intensity().map_err(|error| CliError::Zone { source: error })?;
        let km = near.as_ref().map(|near| near.coordinates().distance_km(region.coordinates()));
        if args.within.is_some_and(|within| km.is_some_and(|km| km > within)) {
            continue;
        }
        candidates.push(Candidate { region: region.clone(), intensity, pue: region.pue(), km });
    }
    let (hours, why) = hours(args, near.as_ref(), energy)?;
    Ok(Advice::new(&candidates, near.as_ref().map(CloudRegion::name), energy, args.limit)
        .with_hours(hours, why))
}

/// The best hours of where the work is, and what must be said of them.
fn hours(
    args: &AdviseArgs,
    near: Option<&CloudRegion>,
    energy: Microjoules,
) -> Result<(Option<BestHours>, Vec<String>), CliError> {
    let work = Work {
        hours: usize::from(args.hours),
        energy,
        pue: near.map(|near| near.pue().value),
        tz: zone(&args.tz)?,
        now_s: clock::wall().as_second(),
    };
    if let Some(file) = &args.intensity_file {
        let series = series_file::read(file, near.map(CloudRegion::name).as_deref())?;
        let hours = BestHours::forecast(&series, &work).or_else(|| BestHours::typical(&series, &work));
        let why = hours.is_none().then(|| {
            format!(
                "{} knows neither more than {} hours in a row from now on ({}), nor each hour of a day that was",
                file.display(),
                work.hours,
                known_until(&series, work.now_s)
            )
        });
        return Ok((hours, why.into_iter().collect()));
    }
    let Some(live) = LiveOptions::check(args.live.clone())? else { return Ok((None, Vec::new())) };
    let Known { series, mut notes } = live.forecast(near);
    let forecast = series.as_ref().and_then(|series| BestHours::forecast(series, &work));
    if let Some(series) = series.filter(|_| forecast.is_none()) {
        notes.push(format!(
            "the forecast has no more than {} hours in a row from now on: {}",
            work.hours,
            known_until(&series, work.now_s)
        ));
    }
    let hours = forecast.or_else(|| BestHours::typical(&live.past(near)?, &work));
    Ok((hours, notes))
}

/// Until when a series is known without a hole, and whether it goes on later.
fn known_until(series: &Series, now_s: i64) -> String {
    let time =
        |at_s| jiff::Timestamp::from_second(at_s).map_or_else(|_| at_s.to_string(), |at| at.to_string());
    let mut end_s = now_s;
    for point in series.points().iter().filter(|point| point.end_s > now_s) {
        if point.start_s > end_s {
            return format!("no value holds from {} to {}", time(end_s), time(point.start_s));
        }
        end_s = point.end_s;
    }
    if end_s > now_s {
        format!("it ends at {}", time(end_s))
    } else {
        format!("it has no value after {}", time(now_s))
    }
}

fn find(provider: &str, name: &str, regions: &[CloudRegion]) -> Result<CloudRegion, CliError> {
    let name = name.rsplit(':').next().unwrap_or(name);
    CloudRegion::find(provider, name).ok_or_else(|| CliError::Argument {
        option: "--near",
        value: name.into(),
        reason: format!("not a region of {provider}"),
        advice: format!(
            "give one such as {}",
            regions.iter().take(3).map(|it| it.row().region.clone()).collect::<Vec<_>>().join(", ")
        ),
    })
}

/// Hours of a day that are fewer than all.
fn part_of_a_day(text: &str) -> Result<u8, String> {
    let hours = text.parse().ok().filter(|hours| (1..=23).contains(hours));
    hours.ok_or_else(|| "give 1 to 23 hours: of a whole day there are no best ones".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_out_of_range_are_refused_with_the_range() {
        assert_eq!((part_of_a_day("1"), part_of_a_day("23")), (Ok(1), Ok(23)));
        for text in ["0", "24", "-1", "x"] {
            assert!(part_of_a_day(text).unwrap_err().contains("1 to 23"), "{text}");
        }
    }
}
