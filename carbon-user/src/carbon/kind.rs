//! What an intensity counts, and how: figures of two kinds are not compared or added without a word.

use std::fmt;

/// Which power station answers for one more kilowatt-hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// The mean of all that generate.
    Average,
    /// The one that would be turned up.
    Marginal,
}

/// How much of a power station's life is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Boundary {
    /// Building, fuel and operation (IPCC factors).
    Lifecycle,
    /// What leaves the chimney.
    Direct,
}

/// Whose electricity it is said to be (GHG Protocol, Scope 2 Guidance).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// What the grid at that place delivers.
    Location,
    /// What contracts and certificates say.
    Market,
}

/// Whether imports and exports are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flow {
    /// What is generated there.
    Production,
    /// What is used there, imports with it.
    Consumption,
    /// The source does not say.
    Unstated,
}

/// Which gases are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gas {
    /// All greenhouse gases, as carbon dioxide.
    Co2e,
    /// Carbon dioxide alone.
    Co2,
}

/// Over how long it is the mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Span {
    /// A year.
    Year,
    /// An hour or less.
    Hour,
}

/// All of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// Average or marginal.
    pub signal: Signal,
    /// Lifecycle or direct.
    pub boundary: Boundary,
    /// Location- or market-based.
    pub method: Method,
    /// Production or consumption.
    pub flow: Flow,
    /// All gases or one.
    pub gas: Gas,
    /// Year or hour.
    pub span: Span,
}

/// Two figures that may not be added or compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{one} and {other} are different things: give factors of one kind")]
pub struct MixedKinds {
    /// The first.
    pub one: Kind,
    /// The other.
    pub other: Kind,
}

impl Kind {
    /// What most yearly tables hold.
    pub const YEARLY: Self = Self {
        signal: Signal::Average,
        boundary: Boundary::Lifecycle,
        method: Method::Location,
        flow: Flow::Production,
        gas: Gas::Co2e,
        span: Span::Year,
    };

    /// Whether figures of both may be added: all but imports and the span must agree.
    ///
    /// Production and consumption differ by imports only and are both averages of what the sockets of a place get;
    /// the report says which it used. Marginal, direct or market-based figures answer other questions.
    pub fn addable(self, other: Self) -> Result<(), MixedKinds> {
        let what = |kind: Self| (kind.signal, kind.boundary, kind.method, kind.gas);
        if what(self) == what(other) { Ok(()) } else { Err(MixedKinds { one: self, other }) }
    }

    /// The boundary in words; `CO2 only` where that is so.
    pub fn boundary_text(self) -> &'static str {
        match (self.boundary, self.gas) {
            (Boundary::Lifecycle, Gas::Co2e) => "lifecycle",
            (Boundary::Lifecycle, Gas::Co2) => "lifecycle, CO2 only",
            (Boundary::Direct, Gas::Co2e) => "direct",
            (Boundary::Direct, Gas::Co2) => "direct, CO2 only",
        }
    }

    /// Everything else in words, such as `location-based, yearly average, production`.
    pub fn basis_text(self) -> String {
        let method = match self.method {
            Method::Location => "location-based",
            Method::Market => "market-based",
        };
        let span = match self.span {
            Span::Year => "yearly",
            Span::Hour => "hourly",
        };
        let signal = match self.signal {
            Signal::Average => "average",
            Signal::Marginal => "marginal",
        };
        match self.flow {
            Flow::Production => format!("{method}, {span} {signal}, production"),
            Flow::Consumption => format!("{method}, {span} {signal}, consumption"),
            Flow::Unstated => format!("{method}, {span} {signal}"),
        }
    }

    /// The kind that [`boundary_text`](Self::boundary_text) and [`basis_text`](Self::basis_text) describe.
    pub fn parse(boundary: &str, basis: &str) -> Option<Self> {
        let mut words = basis.split(", ");
        let method = match words.next()? {
            "location-based" => Method::Location,
            "market-based" => Method::Market,
            _ => return None,
        };
        let (span, signal) = match words.next()? {
            "yearly average" => (Span::Year, Signal::Average),
            "yearly marginal" => (Span::Year, Signal::Marginal),
            "hourly average" => (Span::Hour, Signal::Average),
            "hourly marginal" => (Span::Hour, Signal::Marginal),
            _ => return None,
        };
        let flow = match words.next() {
            Some("production") => Flow::Production,
            Some("consumption") => Flow::Consumption,
            None => Flow::Unstated,
            Some(_) => return None,
        };
        let (boundary, gas) = match boundary {
            "lifecycle" => (Boundary::Lifecycle, Gas::Co2e),
            "lifecycle, CO2 only" => (Boundary::Lifecycle, Gas::Co2),
            "direct" => (Boundary::Direct, Gas::Co2e),
            "direct, CO2 only" => (Boundary::Direct, Gas::Co2),
            _ => return None,
        };
        Some(Self { signal, boundary, method, flow, gas, span })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.boundary_text(), self.basis_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kinds() -> impl Strategy<Value = Kind> {
        (
            prop_oneof![Just(Signal::Average), Just(Signal::Marginal)],
            prop_oneof![Just(Boundary::Lifecycle), Just(Boundary::Direct)],
            prop_oneof![Just(Method::Location), Just(Method::Market)],
            prop_oneof![Just(Flow::Production), Just(Flow::Consumption), Just(Flow::Unstated)],
            prop_oneof![Just(Gas::Co2e), Just(Gas::Co2)],
            prop_oneof![Just(Span::Year), Just(Span::Hour)],
        )
            .prop_map(|(signal, boundary, method, flow, gas, span)| Kind {
                signal,
                boundary,
                method,
                flow,
                gas,
                span,
            })
    }

    #[test]
    fn other_questions_are_not_added() {
        let yearly = Kind::YEARLY;
        assert_eq!(yearly.addable(Kind { flow: Flow::Consumption, span: Span::Hour, ..yearly }), Ok(()));
        for other in [
            Kind { signal: Signal::Marginal, ..yearly },
            Kind { boundary: Boundary::Direct, ..yearly },
            Kind { method: Method::Market, ..yearly },
            Kind { gas: Gas::Co2, ..yearly },
        ] {
            let message = yearly.addable(other).unwrap_err().to_string();
            assert!(message.contains("different things"), "{message}");
        }
    }

    proptest! {
        #[test]
        fn words_tell_the_kind(kind in kinds()) {
            prop_assert_eq!(Kind::parse(kind.boundary_text(), &kind.basis_text()), Some(kind));
        }

        #[test]
        fn any_words_are_a_kind_or_none(one: String, other: String) {
            let _none = Kind::parse(&one, &other);
        }
    }
}
