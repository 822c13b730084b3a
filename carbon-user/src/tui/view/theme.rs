//! How things look; without colours all is told by words, signs and brightness.

use crate::tui::app::Abilities;
use ratatui::style::{Color, Modifier, Style};

/// Styles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    colours: bool,
    /// Characters beyond ASCII may be used.
    pub(super) unicode: bool,
}

/// Watts per CPU against the machine's mean, from which a workload stands out, and more so.
const WARM: f64 = 1.15;
const HOT: f64 = 1.5;
/// Below this it is thrifty.
const COOL: f64 = 0.85;

impl Theme {
    pub(super) fn new(abilities: Abilities) -> Self {
        Self { colours: abilities.colours, unicode: abilities.unicode }
    }

    fn coloured(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    /// Heads of columns and the names of things.
    pub(super) fn strong(self) -> Style {
        self.coloured(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// What stands back: idle, old, explanations.
    #[expect(clippy::unused_self, reason = "a style as the others")]
    pub(super) fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// The selected line.
    #[expect(clippy::unused_self, reason = "a style as the others")]
    pub(super) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// What must not be overlooked.
    pub(super) fn alarm(self) -> Style {
        self.coloured(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// A state that the user has chosen: paused, filtered.
    pub(super) fn state(self) -> Style {
        self.coloured(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    /// What a model gave.
    pub(super) fn modelled(self) -> Style {
        self.coloured(Color::Magenta)
    }

    /// Watts per CPU, as a multiple of the machine's mean.
    pub(super) fn heat(self, ratio: f64) -> Style {
        match ratio {
            ratio if ratio >= HOT => self.coloured(Color::Red),
            ratio if ratio >= WARM => self.coloured(Color::Yellow),
            ratio if ratio <= COOL => self.coloured(Color::Green),
            _ => Style::new(),
        }
    }

    /// Curves.
    pub(super) fn curve(self) -> Style {
        self.coloured(Color::Blue)
    }

    /// Between things on one line.
    pub(super) fn separator(self) -> &'static str {
        if self.unicode { " \u{b7} " } else { " | " }
    }

    /// Text of the reports, in what the terminal can show.
    pub(super) fn text(self, text: String) -> String {
        if self.unicode { text } else { text.replace('\u{b1}', "+-").replace('\u{2026}', "~") }
    }
}
