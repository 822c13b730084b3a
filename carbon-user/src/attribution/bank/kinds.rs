//! The members of the bank: which shape of power and which drift of own watts each one believes in, and what it
//! believes before it has seen anything.
//!
//! Every figure here is a choice that was tried on simulated nodes, not a constant of nature: `docs/attribution.md`
//! lists them with what each is worth.

/// How power bends with use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Straight.
    Linear,
    /// Nearly straight, and may bend either way.
    Curved,
    /// As public load sweeps of servers: steep when nearly idle, flat when full.
    Concave,
    /// Straight up to half of the CPUs, and flatter beyond: the second thread of a core adds less than the first, and
    /// schedulers fill cores first.
    Threads,
}

/// How a workload's own watts may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    /// Hardly.
    Static,
    /// Hardly, but the power of the whole package moves, as with temperature.
    Level,
    /// Within some minutes.
    Slow,
    /// Within a minute.
    Fast,
    /// Hardly, but workloads may differ by far more than usual.
    Wide,
    /// Not at all: all workloads draw the same. This is CPU time.
    None,
    /// The same, and the power of the whole package moves.
    NoneLevel,
    /// The same, and the watts per CPU of all move together, as with clocks that do.
    NoneGain,
}

/// One member's beliefs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Of power over use.
    pub shape: Shape,
    /// Of own watts.
    pub drift: Drift,
}

const SHAPES: [Shape; 4] = [Shape::Linear, Shape::Curved, Shape::Concave, Shape::Threads];
const DRIFTS: [Drift; 8] = [
    Drift::Static,
    Drift::Level,
    Drift::Slow,
    Drift::Fast,
    Drift::Wide,
    Drift::None,
    Drift::NoneLevel,
    Drift::NoneGain,
];

impl Shape {
    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Curved => "curved",
            Self::Concave => "concave",
            Self::Threads => "threads",
        }
    }

    /// Mean and standard deviation of the exponent of power over use.
    pub(super) fn gamma(self) -> (f64, f64) {
        match self {
            Self::Linear | Self::Threads => (1.0, 0.0),
            Self::Curved => (1.0, 0.12),
            Self::Concave => (0.6, 0.12),
        }
    }

    /// Mean and standard deviation of the exponential fall of power per CPU: over all CPUs, for `Threads` over those
    /// beyond half of them, times two halves.
    pub(super) fn kappa(self) -> (f64, f64) {
        match self {
            Self::Linear => (0.0, 0.0),
            Self::Curved | Self::Concave => (0.0, 0.2),
            Self::Threads => (0.6, 0.3),
        }
    }

    /// Whether it comes with this drift: the rarer shape has only the drifts that matter most, to keep memory small.
    fn has(self, drift: Drift) -> bool {
        self != Self::Threads
            || !matches!(drift, Drift::Fast | Drift::Wide | Drift::NoneLevel | Drift::NoneGain)
    }
}

impl Drift {
    /// One word; the three without own watts are CPU time.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Level => "level",
            Self::Slow => "slow",
            Self::Fast => "fast",
            Self::Wide => "wide",
            Self::None => "cpu-time",
            Self::NoneLevel => "cpu-time-level",
            Self::NoneGain => "cpu-time-gain",
        }
    }

    /// Seconds in which a workload's deviation from the common watts is forgotten.
    pub(super) fn memory_s(self) -> f64 {
        match self {
            Self::Static | Self::Level | Self::None | Self::NoneLevel | Self::NoneGain => 86_400.0,
            Self::Slow => 300.0,
            Self::Fast => 60.0,
            // The same walk per second as `Static`, which has 0.4 where this has 1.5.
            Self::Wide => 14.0 * 86_400.0,
        }
    }

    /// Standard deviation of a workload's own watts, relative to the common ones.
    pub(super) fn spread_ratio(self) -> f64 {
        match self {
            Self::Wide => 1.5,
            Self::None | Self::NoneLevel | Self::NoneGain => 0.0,
            _ => 0.4,
        }
    }

    /// Whether the power of the whole package may move.
    pub(super) fn has_level(self) -> bool {
        matches!(self, Self::Level | Self::NoneLevel)
    }

    /// Whether the watts per CPU of all may move.
    pub(super) fn has_gain(self) -> bool {
        self == Self::NoneGain
    }

    /// Whether workloads differ.
    pub(super) fn has_own(self) -> bool {
        !matches!(self, Self::None | Self::NoneLevel | Self::NoneGain)
    }

    /// Whether own watts change within minutes.
    pub(super) fn is_quick(self) -> bool {
        matches!(self, Self::Slow | Self::Fast)
    }
}

impl Kind {
    /// All of them.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        SHAPES.into_iter().flat_map(|shape| {
            let drifts = DRIFTS.into_iter().filter(move |drift| shape.has(*drift));
            drifts.map(move |drift| Self { shape, drift })
        })
    }

    /// Belief in it before any window, not normalised: what is common gets more.
    pub(super) fn prior_weight(self) -> f64 {
        let shape = if matches!(self.shape, Shape::Concave | Shape::Threads) { 0.5 } else { 1.0 };
        let drift = match self.drift {
            Drift::Wide | Drift::None | Drift::NoneLevel => 0.3,
            // It follows power whatever moves it, so that it has to be better by more than chance.
            Drift::NoneGain => 0.03,
            _ => 1.0,
        };
        shape * drift
    }
}
