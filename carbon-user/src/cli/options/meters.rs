//! Options that say where joules come from: `--meter` and `--hwmon`.

use crate::cli::error::CliError;
use crate::meters::{MeterChoice, NamedSensor, NotNamed};
use clap::ValueEnum;

/// `--meter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MeterArg {
    /// The best that works here.
    Auto,
    /// Counters of the powercap class in sysfs (RAPL).
    Powercap,
    /// The same counters by perf events.
    Perf,
    /// Sensors of the board and of processors without RAPL.
    Hwmon,
    /// Watts by CPU model and use, for machines without a meter.
    Model,
}

/// What `--meter` says.
pub(super) fn meter(meter: MeterArg) -> MeterChoice {
    match meter {
        MeterArg::Auto => MeterChoice::Auto,
        MeterArg::Powercap => MeterChoice::Powercap,
        MeterArg::Perf => MeterChoice::Perf,
        MeterArg::Hwmon => MeterChoice::Hwmon,
        MeterArg::Model => MeterChoice::Model,
    }
}

/// Sensors that are named for a part are read in place of another meter, so that no other can be asked for.
pub(in crate::cli) fn check_sensors(
    texts: &[String],
    meter: MeterChoice,
) -> Result<Vec<NamedSensor>, CliError> {
    let objection = |value: &str, reason: String, advice: &str| CliError::Argument {
        option: "--hwmon",
        value: value.to_owned(),
        reason,
        advice: advice.to_owned(),
    };
    let mut sensors = Vec::new();
    for text in texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
        let sensor: NamedSensor = text.parse().map_err(|error: NotNamed| {
            objection(
                text,
                error.to_string(),
                "say DRIVER:SENSOR=WHAT, such as ina226:power1=package, here or in CARBON_HWMON",
            )
        })?;
        if sensor.is_a_part() && ![MeterChoice::Auto, MeterChoice::Hwmon].contains(&meter) {
            let reason = format!("it is read in place of the meter that --meter {} asks for", meter.as_str());
            return Err(objection(text, reason, "leave one of them out"));
        }
        sensors.push(sensor);
    }
    Ok(sensors)
}
