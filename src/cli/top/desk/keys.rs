//! What each key does. Letters act only where nothing is typed; pasted text is never taken for keys.

use super::dialog::{Dialog, Field, Incidents, NewIncident, RampForm, Sure};
use super::questions::edit;
use super::{Desk, Pane, Typed, Wish};
use crate::cli::ramp::Target;
use crate::cli::top::act::Act;
use crate::cli::top::picture::{Picture, Who};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// Letters that lead to an act.
const LEVERS: &str = "rpPcdmaRi";

/// Lines of a page.
const PAGE: isize = 10;

impl Desk {
    /// A key was pressed.
    pub fn press(&mut self, key: KeyEvent, picture: &Picture) -> Option<Wish> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && matches!(key.code, KeyCode::Char('c' | 'C')) {
            return Some(Wish::Leave);
        }
        // What else a control key means is nobody's guess.
        if control && !matches!(key.code, KeyCode::Char('u' | 'w')) {
            return None;
        }
        match self.dialog.take() {
            Some(dialog) => self.answer(dialog, key, picture),
            None if self.filtering => self.filter_key(key),
            None => self.command(key, picture),
        }
    }

    /// Text was pasted: into what is being typed, and nowhere else.
    pub fn paste(&mut self, text: &str) -> Option<Wish> {
        match &mut self.dialog {
            Some(Dialog::Ramp(form)) => {
                let first = form.field == Field::First;
                if first { &mut form.percent } else { &mut form.reason }.paste(text);
                if first { form.changed() } else { None }
            }
            Some(Dialog::Sure(sure)) if sure.field == Field::Reason => {
                sure.reason.paste(text);
                None
            }
            Some(Dialog::NewIncident(form)) => {
                match form.field {
                    Field::First => form.title.paste(text),
                    Field::Reason => form.text.paste(text),
                    Field::Keys => {}
                }
                None
            }
            _ => None,
        }
    }

    fn filter_key(&mut self, key: KeyEvent) -> Option<Wish> {
        match key.code {
            KeyCode::Enter => self.filtering = false,
            KeyCode::Esc => (self.filtering, self.filter) = (false, String::new()),
            _ => {
                let mut typed = Typed::default();
                typed.paste(&self.filter);
                edit(&mut typed, key);
                self.filter = typed.text().to_owned();
            }
        }
        None
    }

    /// Keys where nothing is open.
    fn command(&mut self, key: KeyEvent, picture: &Picture) -> Option<Wish> {
        // A message stays until somebody does something else.
        self.said = None;
        match key.code {
            KeyCode::Char('q') => return Some(Wish::Leave),
            KeyCode::Char('?' | 'h') => self.dialog = Some(Dialog::Help),
            KeyCode::Char('/') => self.filtering = true,
            KeyCode::Char(digit @ '1'..='5') => {
                let (pane, _) = Pane::TABS[digit as usize - '1' as usize];
                self.open(pane);
            }
            KeyCode::Tab | KeyCode::BackTab => self.next_pane(key.code == KeyCode::Tab),
            KeyCode::Up | KeyCode::Char('k') => self.go(-1, picture),
            KeyCode::Down | KeyCode::Char('j') => self.go(1, picture),
            KeyCode::PageUp => self.go(-PAGE, picture),
            KeyCode::PageDown => self.go(PAGE, picture),
            KeyCode::Home => self.go(isize::MIN, picture),
            KeyCode::End => self.go(isize::MAX, picture),
            KeyCode::Enter | KeyCode::Right => self.enter(picture),
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left => self.back(),
            KeyCode::Char(letter) => return self.lever(letter, picture),
            _ => {}
        }
        None
    }

    fn open(&mut self, pane: Pane) {
        (self.pane, self.scrolled) = (pane, 0);
    }

    fn next_pane(&mut self, forth: bool) {
        let all = Pane::TABS.len();
        let here = Pane::TABS.iter().position(|(pane, _)| *pane == self.pane).unwrap_or(0);
        let (pane, _) = Pane::TABS[(here + if forth { 1 } else { all - 1 }) % all];
        self.open(pane);
    }

    fn enter(&mut self, picture: &Picture) {
        if self.pane == Pane::Upstreams
            && let Some(name) = self.upstream(picture)
        {
            (self.upstream, self.backend) = (Some(name), None);
            self.open(Pane::Upstream);
        }
    }

    fn back(&mut self) {
        if self.pane != Pane::Upstreams {
            self.open(Pane::Upstreams);
        } else {
            self.filter.clear();
        }
    }

    /// Moves by so many lines.
    fn go(&mut self, by: isize, picture: &Picture) {
        let to = |from: usize, all: usize| {
            let last = all.saturating_sub(1);
            from.saturating_add_signed(by).min(last)
        };
        match self.pane {
            Pane::Upstreams => {
                let rows = self.rows(picture);
                let name = rows.get(to(self.place(&rows), rows.len())).map(|row| row.name.clone());
                self.upstream = name;
            }
            Pane::Upstream => {
                // The first line is the upstream itself.
                let backends = self.backends(picture);
                let here = self.backend(picture).and_then(|name| backends.iter().position(|it| it == name));
                let next = to(here.map_or(0, |at| at + 1), backends.len() + 1);
                self.backend = next.checked_sub(1).and_then(|at| backends.get(at).cloned());
            }
            Pane::Events => self.scrolled = to(self.scrolled, picture.events.len()),
            Pane::Permits => self.scrolled = to(self.scrolled, picture.snapshot.permits.summary.len()),
            Pane::Cores => self.scrolled = to(self.scrolled, picture.snapshot.status.workers.len()),
            // As long as its sentences are; the pane stops where they end.
            Pane::Rollout => self.scrolled = to(self.scrolled, 40),
        }
    }

    /// Letters that lead to an act; each opens a question first.
    fn lever(&mut self, letter: char, picture: &Picture) -> Option<Wish> {
        if !LEVERS.contains(letter) {
            return None;
        }
        if let Some(who) = picture.who.as_ref().filter(|who| !who.may_act) {
            let Who { name, role, .. } = who;
            self.refuse(format!(
                "you are {name}, a {role}: a viewer's token reads; this needs an operator's"
            ));
            return None;
        }
        if self.busy.is_some() {
            self.refuse("wait: the last thing that was asked for is not answered yet");
            return None;
        }
        match letter {
            'r' => {
                if let Some(target) = self.aim(picture) {
                    self.dialog = Some(Dialog::Ramp(RampForm::new(target)));
                }
            }
            'p' | 'P' => self.ask_clock(letter == 'p', picture),
            'c' => {
                if let Some(target) = self.aim(picture) {
                    let title = format!("Take the ramp of {target} away: everything is carried again");
                    self.ask(Sure::new(Act::Clear { target }, title, &[]));
                }
            }
            'd' => self.ask_drain(picture),
            'm' | 'a' => self.ask_rollout(letter == 'm', picture),
            'R' => {
                self.ask(Sure::rollback());
                return Some(Wish::WayBack);
            }
            'i' => match picture.incidents().next() {
                None => self.dialog = Some(Dialog::NewIncident(NewIncident::new(self.upstream(picture)))),
                Some(first) => self.dialog = Some(Dialog::Incidents(Incidents { chosen: Some(first.id) })),
            },
            _ => {}
        }
        None
    }

    pub(super) fn ask(&mut self, sure: Sure) {
        self.dialog = Some(Dialog::Sure(sure));
    }

    /// What a lever would act on; only where it can be seen.
    fn aim(&mut self, picture: &Picture) -> Option<Target> {
        let target = match self.pane {
            Pane::Upstreams | Pane::Upstream => self.target(picture),
            _ => None,
        };
        if target.is_none() {
            self.refuse(
                "levers act on an upstream or a backend: choose one first (1, then Enter for its backends)",
            );
        }
        target
    }

    fn ask_clock(&mut self, stop: bool, picture: &Picture) {
        let Some(target) = self.aim(picture) else { return };
        let title = match stop {
            true => format!("Stop the clock of the next step of {target}'s ramp"),
            false => format!("Let the clock of {target}'s ramp go on"),
        };
        self.ask(Sure::new(Act::Clock { target, stop }, title, &[]));
    }

    fn ask_drain(&mut self, picture: &Picture) {
        let looked_at = self.looked_at().and_then(|name| picture.snapshot.upstream(name));
        let backend = self.backend(picture).map(str::to_owned);
        let (Some(upstream), Some(backend)) = (looked_at, backend) else {
            self.refuse("one backend is drained at a time: open the upstream with Enter and choose it");
            return;
        };
        let Some(view) = upstream.backends.iter().find(|view| view.name == backend) else { return };
        let (target, drain) = (Target::of(&upstream.name, Some(&backend)), view.drain.is_none());
        let others = upstream.backends.iter().filter(|other| other.name != backend && other.up).count();
        let left = match others {
            0 => "no other backend of it takes requests: everything will be refused".to_owned(),
            1 => "1 other backend takes requests".to_owned(),
            others => format!("{others} other backends take requests"),
        };
        let in_flight = format!("{} in flight there may end", view.in_flight);
        let sure = match drain {
            true => Sure::new(
                Act::Drain { target: target.clone(), drain },
                format!("Drain {target}: it gets no new requests"),
                &[&in_flight, &left],
            ),
            false => {
                Sure::new(Act::Drain { target: target.clone(), drain }, format!("Bring {target} back"), &[])
            }
        };
        self.ask(sure);
    }

    fn ask_rollout(&mut self, promote: bool, picture: &Picture) {
        let rollout = picture.snapshot.rollout();
        let Some(version) = rollout.version.as_ref().map(|version| version.number) else {
            self.refuse("no rollout is under way");
            return;
        };
        let waiting = rollout.waiting.as_deref().unwrap_or("it waits for nothing");
        let sure = match promote {
            true => Sure::new(
                Act::Promote { version },
                format!("Promote version {version} to its next stage"),
                &[waiting, "promoting skips waiting for traffic, never a failing guard"],
            ),
            false => Sure::new(
                Act::Abort { version },
                format!("Abort the rollout of version {version}: the stable version stays"),
                &[waiting],
            ),
        };
        self.ask(sure);
    }
}
