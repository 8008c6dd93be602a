//! Keys while a dialog is open: what is typed into which line, and what becomes of it.

use super::dialog::{Dialog, Field, Incidents, NewIncident, RampForm, SEVERITIES, Sure};
use super::{Desk, Typed, Wish};
use crate::cli::top::act::Act;
use crate::cli::top::picture::Picture;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

impl Desk {
    /// Keys in a dialog. It was taken out: whoever goes on puts it back.
    pub(super) fn answer(&mut self, dialog: Dialog, key: KeyEvent, picture: &Picture) -> Option<Wish> {
        if key.code == KeyCode::Esc {
            return None;
        }
        match dialog {
            Dialog::Help => None,
            Dialog::Ramp(form) => self.ramp_key(form, key),
            Dialog::Sure(sure) => self.sure_key(sure, key),
            Dialog::Incidents(chosen) => self.incidents_key(chosen, key, picture),
            Dialog::NewIncident(form) => self.new_incident_key(form, key),
        }
    }

    fn ramp_key(&mut self, mut form: RampForm, key: KeyEvent) -> Option<Wish> {
        let mut wish = None;
        match (key.code, form.field) {
            (KeyCode::Enter, Field::First) | (KeyCode::Tab | KeyCode::Down, Field::First) => {
                match form.value() {
                    Ok(_) => form.field = Field::Reason,
                    Err(why) => form.wrong = Some(why),
                }
            }
            (KeyCode::Tab | KeyCode::BackTab | KeyCode::Up, _) => form.field = Field::First,
            (KeyCode::Enter, _) => match form.value() {
                Ok(percent) => {
                    let act = Act::Ramp { target: form.target.clone(), percent };
                    return Some(self.begin(act, form.reason.text()));
                }
                Err(why) => form.wrong = Some(why),
            },
            (_, Field::First) => {
                edit(&mut form.percent, key);
                wish = form.changed();
            }
            _ => edit(&mut form.reason, key),
        }
        self.dialog = Some(Dialog::Ramp(form));
        wish
    }

    fn sure_key(&mut self, mut sure: Sure, key: KeyEvent) -> Option<Wish> {
        match (key.code, sure.field) {
            (KeyCode::Enter, _) => return Some(self.begin(sure.act, sure.reason.text())),
            (KeyCode::Char('y'), Field::Keys) if sure.by_letter => {
                return Some(self.begin(sure.act, sure.reason.text()));
            }
            (KeyCode::Char('n' | 'q'), Field::Keys) => return None,
            (KeyCode::Tab | KeyCode::BackTab, Field::Keys) => sure.field = Field::Reason,
            (KeyCode::Tab | KeyCode::BackTab, _) if sure.by_letter => sure.field = Field::Keys,
            (_, Field::Reason) => edit(&mut sure.reason, key),
            _ => {}
        }
        self.dialog = Some(Dialog::Sure(sure));
        None
    }

    fn incidents_key(&mut self, mut chosen: Incidents, key: KeyEvent, picture: &Picture) -> Option<Wish> {
        let all: Vec<_> = picture.incidents().collect();
        let here = all.iter().position(|incident| Some(incident.id) == chosen.chosen);
        let at = |place: usize| all.get(place.min(all.len().saturating_sub(1))).map(|incident| incident.id);
        match key.code {
            KeyCode::Up | KeyCode::Char('k') => chosen.chosen = at(here.unwrap_or(0).saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => chosen.chosen = at(here.map_or(0, |here| here + 1)),
            KeyCode::Char('n') => {
                self.dialog = Some(Dialog::NewIncident(NewIncident::new(self.upstream(picture))));
                return None;
            }
            KeyCode::Enter | KeyCode::Char('c' | 'o') => {
                let incident = all[here?];
                let (id, title) = (incident.id, &incident.title);
                let publish = incident.state == "draft" && key.code != KeyCode::Char('c');
                let sure = match publish {
                    true => Sure::new(
                        Act::PublishIncident { id },
                        format!("Open the draft #{id} {title}"),
                        &[
                            "the reason is its first update; the status page shows it where the incident is public",
                        ],
                    ),
                    false => Sure::new(
                        Act::CloseIncident { id },
                        format!("Close incident #{id} {title}"),
                        &[
                            "the reason is its last update; the status page shows it where the incident is public",
                        ],
                    ),
                };
                self.ask(sure);
                return None;
            }
            KeyCode::Char('q') => return None,
            _ => {}
        }
        self.dialog = Some(Dialog::Incidents(chosen));
        None
    }

    fn new_incident_key(&mut self, mut form: NewIncident, key: KeyEvent) -> Option<Wish> {
        match (key.code, form.field) {
            (KeyCode::Enter, Field::First) | (KeyCode::Tab | KeyCode::Down, Field::First) => {
                form.field = Field::Reason
            }
            (KeyCode::Enter, Field::Reason) | (KeyCode::Tab | KeyCode::Down, Field::Reason) => {
                form.field = Field::Keys
            }
            (KeyCode::Tab | KeyCode::Down, Field::Keys) => form.field = Field::First,
            (KeyCode::BackTab | KeyCode::Up, Field::Keys) => form.field = Field::Reason,
            (KeyCode::BackTab | KeyCode::Up, _) => form.field = Field::First,
            (KeyCode::Enter, Field::Keys) => match form.act() {
                Ok(act) => return Some(self.begin(act, form.text.text())),
                Err(why) => (form.wrong, form.field) = (Some(why), Field::First),
            },
            (KeyCode::Char('s'), Field::Keys) => form.severity = (form.severity + 1) % SEVERITIES.len(),
            (KeyCode::Char('p'), Field::Keys) => form.public = !form.public,
            (KeyCode::Char('f'), Field::Keys) => form.freeze = !form.freeze,
            (_, Field::First) => edit(&mut form.title, key),
            (_, Field::Reason) => edit(&mut form.text, key),
            _ => {}
        }
        self.dialog = Some(Dialog::NewIncident(form));
        None
    }

    fn begin(&mut self, act: Act, reason: &str) -> Wish {
        self.busy = Some("asked; waiting for the answer".to_owned());
        self.said = None;
        Wish::Act(act, reason.trim().to_owned())
    }
}

/// Types into a line, or takes away from it.
pub(super) fn edit(typed: &mut Typed, key: KeyEvent) {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char(_) if control => typed.clear(),
        KeyCode::Char(char) => typed.add(char),
        KeyCode::Backspace => typed.erase(),
        _ => {}
    }
}
