//! Quantities with their units, and typed ids.
//!
//! Sums that must be exact are integers ([`Microjoules`], [`CpuNanos`]); what is derived from them by a factor
//! is a float ([`Grams`], [`Watts`]). Arithmetic exists only where the dimensions allow it. Nothing here knows
//! where a number came from: that is its [`Quality`], carried beside it.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Sub};
use std::time::Duration;

/// Energy as a whole number of microjoules: exact, so that shares sum to what the meter said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Microjoules(pub u64);

impl Microjoules {
    /// No energy.
    pub const ZERO: Self = Self(0);

    /// In joules, for display and for models; not for sums.
    #[expect(clippy::cast_precision_loss, reason = "a display value: 2^53 uJ are 9 GJ")]
    pub fn joules(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// `joules` rounded to the microjoule; negative and not-a-number give zero.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float casts saturate")]
    pub fn from_joules(joules: f64) -> Self {
        Self((joules * 1e6).round() as u64)
    }

    /// Difference, or zero where `other` is larger.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// In kilowatt-hours: 1 kWh = 3.6e12 uJ.
    pub fn kilowatt_hours(self) -> f64 {
        self.joules() / 3.6e6
    }

    /// Mean power over `duration`; zero over no time at all.
    pub fn over(self, duration: Duration) -> Watts {
        let seconds = duration.as_secs_f64();
        Watts(if seconds > 0.0 { self.joules() / seconds } else { 0.0 })
    }
}

impl Add for Microjoules {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Microjoules {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Microjoules {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Microjoules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6} J", self.joules())
    }
}

/// CPU time as the scheduler books it, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuNanos(pub u64);

impl CpuNanos {
    /// No time.
    pub const ZERO: Self = Self(0);

    /// In seconds, for display and for models.
    #[expect(clippy::cast_precision_loss, reason = "a display value: 2^53 ns are 104 CPU days")]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// Difference, or zero where `other` is larger.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for CpuNanos {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for CpuNanos {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for CpuNanos {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

/// Power in watts.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Watts(pub f64);

impl Mul<Duration> for Watts {
    type Output = Microjoules;
    fn mul(self, duration: Duration) -> Microjoules {
        Microjoules::from_joules(self.0 * duration.as_secs_f64())
    }
}

impl Add for Watts {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Watts {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

/// Mass of CO2 equivalent in grams.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Grams(pub f64);

/// Carbon intensity of electricity, grams of CO2 equivalent per kilowatt-hour.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct GramsPerKwh(pub f64);

/// Power usage effectiveness (ISO/IEC 30134-2): energy of the whole site over energy of its machines, at least 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Pue(pub f64);

/// Where a number comes from, best last, so that the minimum of two is the quality of their sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quality {
    /// Computed from a stated model: no meter.
    Modelled,
    /// Read from a meter or a counter, but between two looks something may have been missed.
    Sampled,
    /// Read from a meter, split by exact scheduler time.
    Measured,
}

impl Quality {
    /// The word on every output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Modelled => "modelled",
            Self::Sampled => "sampled",
            Self::Measured => "measured",
        }
    }
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The kernel's id of a cgroup: the inode number of its directory, unique until the next boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CgroupId(pub u64);

impl CgroupId {
    /// The root of the cgroup2 hierarchy.
    pub const ROOT: Self = Self(1);
}

/// One measured execution: the id that a process tree inherits from fork to fork. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

/// A processor package (socket), numbered from 0 in the order of the kernel's `physical_package_id`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageId(pub u16);
