//! The best hours of a day, told: part of JSON schema `carbon.advice/1`.

use super::figures::significant;
use crate::carbon;
use crate::carbon::day::{Best, HOURS, TypicalDay, best_of, coming};
use crate::carbon::series::{Series, UnixSeconds};
use crate::units::{Microjoules, Pue};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

/// Characters of the longest bar.
const BAR: f64 = 40.0;

/// The work that is to be put into the best hours.
#[derive(Clone, Debug)]
pub struct Work {
    /// Hours in a row that it takes each day.
    pub hours: usize,
    /// Energy of the machines in a month.
    pub energy: Microjoules,
    /// Of the site; none where it is not said where the work is.
    pub pue: Option<Pue>,
    /// Where hours have their names.
    pub tz: TimeZone,
    /// Now.
    pub now_s: UnixSeconds,
}

/// One hour.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HourRow {
    /// When it begins: with date and offset in a forecast, such as `02:00` on a typical day.
    pub from: String,
    /// Its mean.
    pub g_per_kwh: f64,
    /// Whether it is one of the best.
    pub best: bool,
}

/// Hours of a day at one place, and which of them are best.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BestHours {
    /// `forecast` or `typical day`.
    pub basis: &'static str,
    /// Place, by the name of who says so.
    pub zone: String,
    /// How the intensity is counted; it may differ from that of the ranking, and is not to be added to it then.
    pub kind: String,
    /// Who says so.
    pub source: String,
    /// Time zone of the hours.
    pub tz: String,
    /// From when on values are known, with date and offset.
    pub from: String,
    /// To when.
    pub to: String,
    /// Of a typical day: days of which its least known hour is known.
    pub days: Option<usize>,
    /// In order.
    pub hours: Vec<HourRow>,
    /// When the best begin, as in `hours`.
    pub best_from: String,
    /// When they end.
    pub best_to: String,
    /// Their mean.
    pub best_g_per_kwh: f64,
    /// The mean of all hours.
    pub mean_g_per_kwh: f64,
    /// What the best hours save against all hours alike, 0 to 1.
    pub saving_ratio: f64,
    /// The same of a month whose days are all like this one; none where it is not said where the work is.
    pub saving_g_per_month: Option<f64>,
    /// Of a typical day: on what share of the whole days these hours were below the mean of their day. Of a forecast: none.
    pub better_days_ratio: Option<f64>,
}

impl BestHours {
    /// Of the day to come; none where no more hours in a row are known than the work takes.
    pub fn forecast(series: &Series, work: &Work) -> Option<Self> {
        let hours = coming(series, work.now_s);
        let best = best_of(&hours, work.hours)?;
        let (first, last) = (hours.first()?, hours.last()?);
        let rows = hours.iter().map(|hour| (instant(hour.start_s, &work.tz), hour.g_per_kwh.0));
        let extent = (first.start_s, last.start_s.saturating_add(3600));
        let starts_s = hours.get(best.first)?.start_s;
        let length_s = i64::try_from(work.hours).ok()?.saturating_mul(3600);
        let best_to = instant(starts_s.saturating_add(length_s), &work.tz);
        Some(Self::new("forecast", series, work, extent, rows.collect(), &best, best_to))
    }

    /// Of the days that were; none where an hour of the day is not known on any of them.
    pub fn typical(series: &Series, work: &Work) -> Option<Self> {
        let local = |instant_s| {
            let time = at(instant_s, &work.tz);
            let day = time.date().duration_since(jiff::civil::Date::constant(1970, 1, 1)).as_hours() / 24;
            (day, usize::try_from(time.hour()).unwrap_or(0))
        };
        let typical = TypicalDay::new(series, work.now_s, local)?;
        let best = typical.best(work.hours)?;
        let clock = |hour: usize| format!("{:02}:00", hour % HOURS);
        let rows = typical.hours.iter().enumerate().map(|(hour, g)| (clock(hour), g.0)).collect();
        let best_to = clock(best.first + best.length);
        let extent = (typical.start_s, typical.end_s);
        let mut it = Self::new("typical day", series, work, extent, rows, &best, best_to);
        it.days = Some(typical.days);
        it.better_days_ratio = typical.better_days_ratio(&best);
        Some(it)
    }

    fn new(
        basis: &'static str,
        series: &Series,
        work: &Work,
        (start_s, end_s): (UnixSeconds, UnixSeconds),
        rows: Vec<(String, f64)>,
        best: &Best,
        best_to: String,
    ) -> Self {
        let count = rows.len().max(1);
        let is_best = |hour: usize| (hour + count - best.first) % count < best.length;
        let hours: Vec<HourRow> = rows
            .into_iter()
            .enumerate()
            .map(|(hour, (from, g_per_kwh))| HourRow { from, g_per_kwh, best: is_best(hour) })
            .collect();
        let grams = |g| work.pue.map(|pue| carbon::grams(work.energy, pue, g).0);
        let (least, all) = (best.g_per_kwh, best.all_g_per_kwh);
        Self {
            basis,
            zone: series.zone().to_owned(),
            kind: series.kind().to_string(),
            source: series.source().to_owned(),
            tz: work.tz.iana_name().unwrap_or("UTC").to_owned(),
            from: instant(start_s, &work.tz),
            to: instant(end_s, &work.tz),
            days: None,
            best_from: hours.get(best.first).map_or_else(String::new, |hour| hour.from.clone()),
            best_to,
            hours,
            best_g_per_kwh: least.0,
            mean_g_per_kwh: all.0,
            saving_ratio: if all.0 > 0.0 { 1.0 - least.0 / all.0 } else { 0.0 },
            saving_g_per_month: grams(all).zip(grams(least)).map(|(all, least)| all - least),
            better_days_ratio: None,
        }
    }

    /// In words, with a bar for each hour.
    pub fn lines(&self) -> Vec<String> {
        let saving = self.saving_g_per_month.map_or_else(String::new, |grams| {
            let kg = significant(grams / 1e3, 2);
            format!(", {kg} kg in a month whose days are all like this one")
        });
        let mut lines = vec![
            format!(
                "best hours: {} to {} ({}), {} g/kWh against {} over all hours below: {:.0} % less{saving}",
                self.best_from,
                self.best_to,
                self.tz,
                significant(self.best_g_per_kwh, 3),
                significant(self.mean_g_per_kwh, 3),
                100.0 * self.saving_ratio
            ),
            match (self.days, self.better_days_ratio) {
                (Some(days), Some(ratio)) => format!(
                    "by a typical day of {days} days, {} to {}; these hours were below the mean of their day on {:.0} % of the whole days",
                    self.from,
                    self.to,
                    100.0 * ratio
                ),
                (Some(days), None) => {
                    format!(
                        "by a typical day of {days} days, {} to {}; no day is known as a whole",
                        self.from, self.to
                    )
                }
                (None, _) => format!(
                    "by the forecast for {} to {}; how sure it is, its publisher does not say",
                    self.from, self.to
                ),
            },
            format!("hours of {}, {}; {}", self.zone, self.kind, self.source),
        ];
        let most = self.hours.iter().map(|hour| hour.g_per_kwh).fold(f64::MIN_POSITIVE, f64::max);
        lines.extend(self.hours.iter().map(|hour| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to BAR")]
            let length = (BAR * hour.g_per_kwh / most).round() as usize;
            format!(
                "  {} {} {:<40} {}",
                hour.clock(),
                if hour.best { '*' } else { ' ' },
                "\u{2588}".repeat(length),
                significant(hour.g_per_kwh, 3)
            )
        }));
        lines
    }
}

impl HourRow {
    /// The time of day alone.
    pub fn clock(&self) -> &str {
        let time = self.from.split_once('T').map_or(self.from.as_str(), |(_, time)| time);
        time.get(..5).unwrap_or(time)
    }
}

fn at(instant_s: UnixSeconds, tz: &TimeZone) -> jiff::ZonedDateTime {
    Timestamp::from_second(instant_s).unwrap_or_default().to_zoned_datetime(tz.clone())
}

/// With date and offset, without seconds.
fn instant(instant_s: UnixSeconds, tz: &TimeZone) -> String {
    at(instant_s, tz).strftime("%Y-%m-%dT%H:%M%:z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carbon::Kind;
    use crate::carbon::series::Point;
    use crate::units::GramsPerKwh;

    /// 2026-05-05T22:00Z.
    const NOW: i64 = 1_778_018_400;

    fn series(start_s: i64, values: impl Iterator<Item = f64>) -> Series {
        let points = (0_i64..).zip(values).map(|(n, g)| Point {
            start_s: start_s + n * 3600,
            end_s: start_s + (n + 1) * 3600,
            g_per_kwh: GramsPerKwh(g),
            estimated: true,
        });
        Series::new("DE", Kind::YEARLY, "a test", points.collect()).unwrap()
    }

    fn work(hours: usize) -> Work {
        let tz = TimeZone::get("Europe/Berlin").unwrap();
        Work { hours, energy: Microjoules(360_000_000_000_000), pue: Some(Pue(1.5)), tz, now_s: NOW }
    }

    #[test]
    fn a_forecast_names_its_hours_and_what_they_save() {
        let values = (0..30).map(|hour| if (3..5).contains(&hour) { 100.0 } else { 320.0 });
        let found = BestHours::forecast(&series(NOW, values), &work(2)).unwrap();
        assert_eq!(
            (found.best_from.as_str(), found.best_to.as_str()),
            ("2026-05-06T03:00+02:00", "2026-05-06T05:00+02:00")
        );
        assert_eq!((found.hours.len(), found.hours.iter().filter(|hour| hour.best).count()), (24, 2));
        let mean = (2.0 * 100.0 + 22.0 * 320.0) / 24.0;
        assert!((found.mean_g_per_kwh - mean).abs() < 1e-9);
        // 100 kWh x PUE 1.5 x the difference.
        assert!((found.saving_g_per_month.unwrap() - 150.0 * (mean - 100.0)).abs() < 1e-6);
        let said = found.lines().join("\n");
        assert!(
            said.contains("best hours: 2026-05-06T03:00+02:00 to") && said.contains("  03:00 * "),
            "{said}"
        );
        assert!(said.contains("its publisher does not say"), "{said}");
        assert_eq!(BestHours::forecast(&series(NOW, [1.0, 2.0].into_iter()), &work(2)), None);
    }

    #[test]
    fn a_typical_day_says_how_often_it_was_so() {
        // From 10 in the evening to 2 in the morning in Berlin, over the summer's beginning of its time.
        let values = (0..60 * 24).map(|hour| if (20..24).contains(&(hour % 24)) { 10.0 } else { 200.0 });
        let found = BestHours::typical(&series(NOW - 60 * 86_400 - 22 * 3600, values), &work(4)).unwrap();
        assert_eq!((found.best_from.as_str(), found.best_to.as_str()), ("22:00", "02:00"));
        assert_eq!((found.days, found.hours.len()), (Some(59), 24));
        assert!(found.better_days_ratio.unwrap() > 0.99);
        assert!(found.lines()[1].contains("by a typical day of 59 days"), "{:?}", found.lines());
        assert_eq!(BestHours::typical(&series(NOW, std::iter::repeat_n(1.0, 99)), &work(4)), None, "no past");
    }
}
