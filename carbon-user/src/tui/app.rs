//! What is shown, and what an event changes of it. Pure: no terminal, no clock, no file.

use super::history::{History, Key, Update};
use super::keys::{Action, action};
use super::names::safe;
use super::order::{Column, Order};
use super::processes::{Look, Split, between};
use super::tree::{Grouping, Line, LineId, Shown, lines};
use super::view::areas::{Areas, areas, columns};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Size};
use std::collections::HashSet;

/// Lines that a turn of the wheel moves.
const WHEEL: isize = 3;
/// Characters of a filter or search.
const TYPED_MAX: usize = 64;
/// Without a window for so long, and for three times its length, what is shown is old.
const STALE_NS: u64 = 3_000_000_000;

/// What happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// A window has ended.
    Window(Box<Update>),
    /// A look at the processes of the workload that is open, or why there is none.
    Looked(Result<Look, String>),
    /// A key.
    Key(KeyEvent),
    /// The mouse.
    Mouse(MouseEvent),
    /// The terminal has another size.
    Resized(Size),
    /// Nothing, but time goes on.
    Tick,
}

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Colours may be used.
    pub colours: bool,
    /// Characters beyond ASCII may be used.
    pub unicode: bool,
}

/// What the program is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// End.
    Quit,
    /// Stop until it is continued.
    Suspend,
}

/// What is being typed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Typing {
    /// Nothing.
    #[default]
    Nothing,
    /// The filter.
    Filter,
    /// What is searched for.
    Search,
}

/// What lies over the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Over {
    /// Nothing.
    #[default]
    Nothing,
    /// The keys.
    Help,
    /// Meters, quality and notes.
    Information,
}

/// The workload whose processes are shown.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Which.
    pub key: Key,
    /// Safe to show.
    pub name: String,
    /// Path of its cgroup.
    pub path: String,
    /// The last look.
    pub before: Option<Look>,
    /// What it used between the last two.
    pub split: Option<Split>,
    /// Why there was none.
    pub failure: Option<String>,
    /// Rows that are scrolled away.
    pub offset: usize,
}

/// What has come in.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Of the windows.
    pub history: History,
    /// When the last one came, by the monotonic clock.
    pub at_ns: u64,
}

/// The state.
#[derive(Clone, Debug)]
pub struct App {
    /// Of the terminal.
    pub abilities: Abilities,
    /// Lines of the first level.
    limit: Option<usize>,
    /// Of the terminal.
    pub size: Size,
    live: Seen,
    /// What is shown while it is paused.
    held: Option<Box<Seen>>,
    /// How workloads are grouped.
    pub grouping: Grouping,
    /// By what they are sorted.
    pub order: Order,
    folded: HashSet<LineId>,
    /// Only lines with this.
    pub filter: String,
    /// What is searched for.
    pub search: String,
    /// The search has found nothing so far: whether what it finds in a later window is opened at once.
    missed: Option<bool>,
    /// What keys go to.
    pub typing: Typing,
    /// What lies over the table.
    pub over: Over,
    /// Rows of it that are scrolled away.
    pub over_offset: usize,
    /// Whether details of the selected line are shown.
    pub details: bool,
    /// The processes of one workload in place of the table.
    pub opened: Option<Opened>,
    wants_look: bool,
    /// The table.
    pub lines: Vec<Line>,
    /// The selected line.
    pub selected: usize,
    selected_id: Option<LineId>,
    /// Lines that are scrolled away.
    pub offset: usize,
    /// Now, by the monotonic clock.
    pub now_ns: u64,
}

impl App {
    /// Before the first window.
    pub fn new(abilities: Abilities, limit: Option<usize>, size: Size) -> Self {
        Self {
            abilities,
            limit,
            size,
            live: Seen::default(),
            held: None,
            grouping: Grouping::default(),
            order: Order::default(),
            folded: HashSet::new(),
            filter: String::new(),
            search: String::new(),
            missed: None,
            typing: Typing::default(),
            over: Over::default(),
            over_offset: 0,
            details: false,
            opened: None,
            wants_look: false,
            lines: Vec::new(),
            selected: 0,
            selected_id: None,
            offset: 0,
            now_ns: 0,
        }
    }

    /// What is shown.
    pub fn seen(&self) -> &Seen {
        self.held.as_deref().unwrap_or(&self.live)
    }

    /// Whether it is held.
    pub fn is_paused(&self) -> bool {
        self.held.is_some()
    }

    /// How old what is shown is, where it should be newer and nobody has paused it.
    pub fn stale_ns(&self) -> Option<u64> {
        let window_ns = self.live.history.last.as_ref()?.top.duration_ns;
        let age_ns = self.now_ns.saturating_sub(self.live.at_ns);
        (!self.is_paused() && age_ns > STALE_NS.max(window_ns.saturating_mul(3))).then_some(age_ns)
    }

    /// The line that is selected.
    pub fn line(&self) -> Option<&Line> {
        self.lines.get(self.selected)
    }

    /// Whether nothing of what is shown holds what is searched for.
    pub fn has_missed(&self) -> bool {
        self.missed.is_some()
    }

    /// The cgroup whose processes are to be looked at now, and whether its kernel threads are meant. Asked for once.
    pub fn take_wanted_look(&mut self) -> Option<(String, bool)> {
        let opened = self.opened.as_ref()?;
        std::mem::take(&mut self.wants_look)
            .then(|| (opened.path.clone(), matches!(opened.key, Key::Kernel(_))))
    }

    /// Takes in an event that came at `now_ns` of the monotonic clock.
    pub fn update(&mut self, event: Event, now_ns: u64) -> Option<Request> {
        self.now_ns = now_ns;
        let request = match event {
            Event::Window(update) => {
                self.live.history.keep = self.wanted_keys();
                self.live.history.add(*update);
                self.live.at_ns = now_ns;
                self.wants_look = self.opened.is_some();
                self.arrange();
                self.find_missed();
                None
            }
            Event::Looked(look) => {
                self.looked(look);
                None
            }
            Event::Key(key) if key.kind == KeyEventKind::Release => None,
            Event::Key(key) => self.key(key),
            Event::Mouse(mouse) => {
                self.mouse(mouse);
                None
            }
            Event::Resized(size) => {
                self.size = size;
                None
            }
            Event::Tick => return None,
        };
        self.arrange();
        request
    }

    /// Workloads that are not to be forgotten, however long they use nothing: the selected and the open one.
    fn wanted_keys(&self) -> Vec<Key> {
        let selected = match &self.selected_id {
            Some(LineId::Workload(key)) => Some(*key),
            _ => None,
        };
        selected.into_iter().chain(self.opened.as_ref().map(|opened| opened.key)).collect()
    }

    fn looked(&mut self, look: Result<Look, String>) {
        let seen = self.held.as_deref().unwrap_or(&self.live);
        let Some(opened) = &mut self.opened else { return };
        let look = match look {
            Ok(look) => look,
            Err(failure) => {
                (opened.failure, opened.split) = (Some(failure), None);
                return;
            }
        };
        let window_ns = seen.history.last.as_ref().map_or(0, |update| update.top.duration_ns);
        if let (Some(before), Some(series)) = (&opened.before, seen.history.series.get(&opened.key)) {
            opened.split = Some(between(series, before, &look, window_ns));
        }
        (opened.before, opened.failure) = (Some(look), None);
    }

    /// Makes the lines anew, and keeps the selected one in sight.
    fn arrange(&mut self) {
        let shown = Shown {
            grouping: self.grouping,
            order: self.order,
            folded: &self.folded,
            filter: &self.filter,
            limit: self.limit,
        };
        self.lines = lines(&self.seen().history, &shown);
        let at = self.selected_id.as_ref().and_then(|id| self.lines.iter().position(|line| line.id == *id));
        // Who has selected nothing looks at the top, whoever is there.
        self.selected = match (&self.selected_id, at) {
            (None, _) => 0,
            (Some(_), Some(place)) => place,
            (Some(_), None) => self.selected.min(self.lines.len().saturating_sub(1)),
        };
        let rows = usize::from(self.areas().rows.height).max(1);
        let last = self.lines.len().saturating_sub(rows);
        self.offset = self.offset.min(last).clamp((self.selected + 1).saturating_sub(rows), self.selected);
    }

    /// Where everything is on the terminal.
    pub fn areas(&self) -> Areas {
        areas(self.size, self.details)
    }

    fn key(&mut self, key: KeyEvent) -> Option<Request> {
        let plain = !key.modifiers.contains(KeyModifiers::CONTROL);
        if self.typing != Typing::Nothing && plain {
            self.typed(key.code);
            return None;
        }
        let action = action(key)?;
        match action {
            Action::Quit => return Some(Request::Quit),
            Action::Suspend => return Some(Request::Suspend),
            Action::Help => self.turn_over(Over::Help),
            Action::Information => self.turn_over(Over::Information),
            Action::Pause => {
                self.held = if self.is_paused() { None } else { Some(Box::new(self.live.clone())) };
            }
            _ if self.over != Over::Nothing => self.over_action(action),
            _ if self.opened.is_some() => self.opened_action(action),
            _ => self.table_action(action),
        }
        None
    }

    fn turn_over(&mut self, over: Over) {
        self.over = if self.over == over { Over::Nothing } else { over };
        self.over_offset = 0;
    }

    fn typed(&mut self, code: KeyCode) {
        let text = if self.typing == Typing::Filter { &mut self.filter } else { &mut self.search };
        match code {
            KeyCode::Char(char) if text.chars().count() < TYPED_MAX => text.push(char),
            KeyCode::Backspace => {
                text.pop();
            }
            KeyCode::Esc => {
                text.clear();
                (self.typing, self.missed) = (Typing::Nothing, None);
            }
            KeyCode::Enter => self.typing = Typing::Nothing,
            _ => return,
        }
        if code != KeyCode::Enter && self.typing == Typing::Search {
            self.missed = None;
            self.find(0);
        }
    }

    fn over_action(&mut self, action: Action) {
        let page = usize::from(self.size.height / 2).max(1);
        match action {
            Action::Move(lines) => self.over_offset = self.over_offset.saturating_add_signed(lines),
            Action::Page(pages) => {
                self.over_offset = self.over_offset.saturating_add_signed(pages * page.cast_signed());
            }
            Action::First => self.over_offset = 0,
            Action::Back | Action::Open => self.over = Over::Nothing,
            _ => {}
        }
    }

    fn opened_action(&mut self, action: Action) {
        let page = usize::from(self.areas().rows.height).max(1);
        let Some(opened) = &mut self.opened else { return };
        let last = opened.split.as_ref().map_or(0, |split| split.rows.len().saturating_sub(1));
        let moved = |by: isize| opened.offset.saturating_add_signed(by).min(last);
        match action {
            Action::Move(lines) => opened.offset = moved(lines),
            Action::Page(pages) => opened.offset = moved(pages * page.cast_signed()),
            Action::First => opened.offset = 0,
            Action::Last => opened.offset = last,
            Action::Back | Action::Open => self.opened = None,
            _ => {}
        }
    }

    fn table_action(&mut self, action: Action) {
        // What is selected is not what was searched for.
        if action == Action::Open && self.missed.is_some() {
            self.missed = Some(true);
            return;
        }
        if matches!(action, Action::Move(_) | Action::Page(_) | Action::First | Action::Last | Action::Back) {
            self.missed = None;
        }
        let page = isize::from(self.areas().rows.height.max(2).cast_signed()) - 1;
        match action {
            Action::Move(by) => self.select(self.selected.saturating_add_signed(by)),
            Action::Page(by) => self.select(self.selected.saturating_add_signed(by * page)),
            Action::First => self.select(0),
            Action::Last => self.select(usize::MAX),
            Action::Sort(steps) => {
                self.order = Order { column: self.order.column.step(steps), reverse: false };
            }
            Action::Reverse => self.order.reverse = !self.order.reverse,
            Action::Group => self.grouping = self.grouping.next(),
            Action::Toggle => self.fold(None),
            Action::Fold => self.fold(Some(true)),
            Action::Unfold => self.fold(Some(false)),
            Action::FoldAll => self.fold_all(),
            Action::Filter => self.typing = Typing::Filter,
            Action::Search => {
                self.search.clear();
                self.typing = Typing::Search;
            }
            Action::Found(step) => self.find(step),
            Action::Open => self.open(),
            Action::Details => self.details = !self.details,
            Action::Back if !self.filter.is_empty() => self.filter.clear(),
            Action::Back if self.details => self.details = false,
            Action::Back => self.search.clear(),
            Action::Quit | Action::Suspend | Action::Information | Action::Pause | Action::Help => {}
        }
    }

    fn select(&mut self, place: usize) {
        self.selected = place.min(self.lines.len().saturating_sub(1));
        self.selected_id = self.line().map(|line| line.id.clone());
    }

    /// Folds or unfolds the selected group; from within one, folding goes to the group around first.
    fn fold(&mut self, fold: Option<bool>) {
        let Some(line) = self.line() else { return };
        match (line.folded, fold) {
            (Some(folded), _) if fold != Some(folded) => {
                let id = line.id.clone();
                if !self.folded.remove(&id) {
                    self.folded.insert(id);
                }
                self.selected_id = self.line().map(|line| line.id.clone());
            }
            (_, Some(true)) => {
                let above = self.lines.get(..self.selected).unwrap_or_default();
                if let Some(around) = above.iter().rposition(|above| above.depth < line.depth) {
                    self.select(around);
                }
            }
            _ => {}
        }
    }

    fn fold_all(&mut self) {
        if self.folded.is_empty() {
            let groups = self.lines.iter().filter(|line| line.folded.is_some() && line.depth == 0);
            self.folded = groups.map(|line| line.id.clone()).collect();
        } else {
            self.folded.clear();
        }
    }

    /// Goes to the next line that holds what is searched for, `step` lines from here on or back; round and round. Where only
    /// folded groups hold it, they are unfolded. What no line holds may come in a later window.
    fn find(&mut self, step: isize) {
        if self.search.is_empty() {
            return;
        }
        if !self.has_found(step) {
            let folded = std::mem::take(&mut self.folded);
            self.arrange();
            if !self.has_found(step) {
                self.folded = folded;
                self.arrange();
                self.missed = self.missed.or(Some(false));
                return;
            }
            let around = self.around(self.selected);
            self.folded = folded.into_iter().filter(|group| !around.contains(group)).collect();
            self.arrange();
        }
        self.missed = None;
    }

    fn has_found(&mut self, step: isize) -> bool {
        let wanted = self.search.to_lowercase();
        let count = self.lines.len().cast_signed();
        if count == 0 {
            return false;
        }
        let direction = if step < 0 { -1 } else { 1 };
        let begin = self.selected.cast_signed() + step;
        let places = (0..count).map(|by| (begin + direction * by).rem_euclid(count).cast_unsigned());
        let found = places.into_iter().find(|place| {
            self.lines.get(*place).is_some_and(|line| line.label.to_lowercase().contains(&wanted))
        });
        found.inspect(|place| self.select(*place)).is_some()
    }

    /// The groups that a line is in.
    fn around(&self, place: usize) -> HashSet<LineId> {
        let mut depth = self.lines.get(place).map_or(0, |line| line.depth);
        let mut around = HashSet::new();
        for line in self.lines.get(..place).unwrap_or_default().iter().rev() {
            if line.depth < depth {
                depth = line.depth;
                around.insert(line.id.clone());
            }
        }
        around
    }

    /// After a window: what was searched for before there was any such line.
    fn find_missed(&mut self) {
        let Some(opens) = self.missed else { return };
        self.find(0);
        if self.missed.is_none() && opens {
            self.open();
        }
    }

    /// The processes of the selected workload, whether it runs now or not; a group is folded or unfolded.
    fn open(&mut self) {
        let Some(line) = self.line() else { return };
        if line.folded.is_some() {
            return self.fold(None);
        }
        let Some(key) = line.keys.first() else { return };
        let Some(series) = self.seen().history.series.get(key) else { return };
        let Some(path) = series.row.cgroup.clone().filter(|_| line.id != LineId::Rest) else { return };
        let name = safe(&series.row.name);
        self.opened =
            Some(Opened { key: *key, name, path, before: None, split: None, failure: None, offset: 0 });
        self.wants_look = true;
    }

    fn mouse(&mut self, mouse: MouseEvent) {
        let wheel = match mouse.kind {
            MouseEventKind::ScrollUp => Some(-WHEEL),
            MouseEventKind::ScrollDown => Some(WHEEL),
            _ => None,
        };
        if let Some(by) = wheel {
            return match () {
                () if self.over != Over::Nothing => self.over_action(Action::Move(by)),
                () if self.opened.is_some() => self.opened_action(Action::Move(by)),
                () => self.select(self.selected.saturating_add_signed(by)),
            };
        }
        if mouse.kind != MouseEventKind::Down(MouseButton::Left) {
            return;
        }
        if self.over != Over::Nothing {
            self.over = Over::Nothing;
            return;
        }
        let at = Position { x: mouse.column, y: mouse.row };
        let areas = self.areas();
        if self.opened.is_some() {
            return;
        }
        if areas.header.contains(at) {
            let hit = columns(areas.header.width).into_iter().rev().find(|column| column.x <= at.x);
            if let Some(column) = hit.and_then(|column| column.kind.sorts()) {
                self.sort_by(column);
            }
        } else if areas.rows.contains(at) {
            let place = self.offset + usize::from(at.y - areas.rows.y);
            let Some(line) = self.lines.get(place) else { return };
            let marker = line.folded.is_some() && usize::from(at.x - areas.rows.x) < 2 * line.depth + 2;
            let again = self.selected_id.as_ref() == Some(&line.id);
            self.select(place);
            match () {
                () if marker => self.fold(None),
                () if again => self.open(),
                () => {}
            }
        }
    }

    fn sort_by(&mut self, column: Column) {
        let reverse = self.order.column == column && !self.order.reverse;
        self.order = Order { column, reverse };
    }
}

#[cfg(test)]
pub(crate) mod tests;
