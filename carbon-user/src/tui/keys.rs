//! Which key does what: one table, from which the help is made.

use super::tree::Grouping;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What a key or the mouse asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ends the program.
    Quit,
    /// Stops it, as Ctrl-Z does.
    Suspend,
    /// Moves the selection by lines.
    Move(isize),
    /// Moves the selection by pages.
    Page(isize),
    /// To the first line.
    First,
    /// To the last line.
    Last,
    /// Sorts by the next column.
    Sort(isize),
    /// Turns the order round.
    Reverse,
    /// The next grouping.
    Group,
    /// Hides or shows what is below the group.
    Toggle,
    /// Hides it; where nothing is to be hidden, to the group around.
    Fold,
    /// Shows it.
    Unfold,
    /// Hides or shows all groups.
    FoldAll,
    /// Begins a filter.
    Filter,
    /// Begins a search.
    Search,
    /// To the next that is searched for.
    Found(isize),
    /// Shows the processes of a workload.
    Open,
    /// Shows all that is known of the selected line.
    Details,
    /// Shows meters, quality and notes in full.
    Information,
    /// Holds what is shown, or goes on.
    Pause,
    /// Shows the keys.
    Help,
    /// Back from wherever one is.
    Back,
}

/// Keys and what they do, for the help and for docs/top.md.
pub const HELP: [(&str, &str); 17] = [
    ("Up Down j k", "select; PgUp PgDn Home End too"),
    ("s  S", "sort by the next, the previous column; a click on its head too"),
    ("r", "turn the order round"),
    ("t", "group by owner (pod, job, user, unit), by cgroup, not at all"),
    ("Space", "fold or unfold the group; Left and Right too"),
    ("z", "fold or unfold all groups"),
    ("f", "filter: only what has this in its name or path"),
    ("/", "search; n and N go to the next and the previous"),
    ("Enter", "processes of the workload; a click on a selected line too"),
    ("d", "details of the selected line"),
    ("i", "meters, quality, intensity and notes in full"),
    ("p", "pause what is shown; measuring goes on"),
    ("Esc", "back; ends a filter or search"),
    ("? h F1", "this help"),
    ("q Ctrl-C", "quit"),
    ("Ctrl-Z", "stop, as other programs; fg goes on"),
    ("mouse", "wheel scrolls, a click selects, the marker folds"),
];

/// What a key asks for while nothing is typed.
pub fn action(key: KeyEvent) -> Option<Action> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c' | '\\' | '4') => Some(Action::Quit),
            KeyCode::Char('z') => Some(Action::Suspend),
            _ => None,
        };
    }
    Some(match key.code {
        KeyCode::Char('q') => Action::Quit,
        KeyCode::Up | KeyCode::Char('k') => Action::Move(-1),
        KeyCode::Down | KeyCode::Char('j') => Action::Move(1),
        KeyCode::PageUp => Action::Page(-1),
        KeyCode::PageDown => Action::Page(1),
        KeyCode::Home | KeyCode::Char('g') => Action::First,
        KeyCode::End | KeyCode::Char('G') => Action::Last,
        KeyCode::Char('s' | '>') => Action::Sort(1),
        KeyCode::Char('S' | '<') => Action::Sort(-1),
        KeyCode::Char('r') => Action::Reverse,
        KeyCode::Char('t') => Action::Group,
        KeyCode::Char(' ') => Action::Toggle,
        KeyCode::Left => Action::Fold,
        KeyCode::Right => Action::Unfold,
        KeyCode::Char('z') => Action::FoldAll,
        KeyCode::Char('f') => Action::Filter,
        KeyCode::Char('/') => Action::Search,
        KeyCode::Char('n') => Action::Found(1),
        KeyCode::Char('N') => Action::Found(-1),
        KeyCode::Enter => Action::Open,
        KeyCode::Char('d') => Action::Details,
        KeyCode::Char('i') => Action::Information,
        KeyCode::Char('p') => Action::Pause,
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => Action::Help,
        KeyCode::Esc | KeyCode::Backspace => Action::Back,
        _ => return None,
    })
}

/// The line of keys at the bottom, the most useful first.
pub fn line(grouping: Grouping, sorted_by: &str, paused: bool) -> Vec<(&'static str, String)> {
    vec![
        ("q", "quit".to_owned()),
        ("?", "help".to_owned()),
        ("s", format!("sort: {sorted_by}")),
        ("t", format!("group: {}", grouping.as_str())),
        ("f", "filter".to_owned()),
        ("/", "search".to_owned()),
        ("Enter", "processes".to_owned()),
        ("p", if paused { "go on" } else { "pause" }.to_owned()),
        ("Space", "fold".to_owned()),
        ("d", "details".to_owned()),
        ("i", "notes".to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_help_does_something() {
        let named = |word: &str| {
            Some(match word {
                "Up" => KeyCode::Up,
                "Down" => KeyCode::Down,
                "Space" => KeyCode::Char(' '),
                "Enter" => KeyCode::Enter,
                "Esc" => KeyCode::Esc,
                "F1" => KeyCode::F(1),
                "mouse" => return None,
                _ => return Some((KeyCode::Char(word.chars().last()?.to_ascii_lowercase()), word.len() > 1)),
            })
            .map(|code| (code, false))
        };
        for (keys, _) in HELP {
            for (code, control) in keys.split_whitespace().filter_map(named) {
                let modifiers = if control { KeyModifiers::CONTROL } else { KeyModifiers::NONE };
                assert!(action(KeyEvent::new(code, modifiers)).is_some(), "{keys}: {code:?}");
            }
        }
    }
}
