//! `top`: the gateway on a terminal, live, with its levers: what is happening, to whom, since when, and what may be
//! done about it.
//!
//! What is known (`picture`), where the person is (`desk`) and what that looks like (`screen`) are pure; `feed` asks
//! the gateway, `terminal` borrows the terminal and gives it back. Nothing is done on a single key, nothing from the
//! network reaches the terminal as a command, and a gateway that is gone is said to be gone, over what was last seen.

mod act;
mod desk;
mod feed;
mod grid;
mod ink;
mod picture;
mod screen;
mod terminal;

use super::client::Client;
use super::{Failure, print};
use desk::{Desk, Wish};
use feed::{Feed, Heard};
use ink::Ink;
use picture::{News, Picture};
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event};
use ratatui::layout::Rect;
use screen::View;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;
use std::time::{Duration, Instant};
use terminal::Screen;

/// Keys are waited for at most this long before news are looked at.
const TICK: Duration = Duration::from_millis(100);
/// The screen is drawn at least this often: ages grow by themselves.
const REDRAW: Duration = Duration::from_secs(1);

/// How it is shown.
#[derive(Debug, clap::Args)]
pub(super) struct TopArgs {
    /// Print one picture and end; without a terminal, in 100 columns. With --json,
    /// which implies it, one snapshot.
    #[arg(long)]
    once: bool,
}

/// Shows the gateway until the person leaves.
pub(super) fn top(client: Client, admin: &str, wanted: &TopArgs, json: bool) -> Result<ExitCode, Failure> {
    if wanted.once || json {
        return once(&client, admin, json);
    }
    if let Some(missing) = terminal::missing() {
        return Err(Failure {
            hint: Some("`tidegate top --once` prints one picture, `--json` one snapshot".to_owned()),
            ..Failure::usage(missing)
        });
    }
    // Who has no token, or no gateway, is told so on a terminal that is still theirs.
    client.get::<serde_json::Value>("/v1/status")?;
    let ended = show(&Arc::new(client), admin);
    match ended {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(Failure::refused(format!("the terminal cannot be drawn on: {error}"))),
    }
}

/// One picture as text, or one snapshot as it came.
fn once(client: &Client, admin: &str, json: bool) -> Result<ExitCode, Failure> {
    let (value, snapshot, older) = feed::single(client)?;
    if json {
        print(&format!("{value:#}\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let (mut picture, now) = (Picture::default(), Instant::now());
    if let Ok(past) = client.get("/v1/series") {
        picture.hear(News::Past(past), now);
    }
    picture.hear(News::Snapshot { snapshot: Box::new(snapshot), older }, now);
    let ink = Ink { colours: false, ..Ink::of_environment() };
    let rows = picture.snapshot.rows.len().min(1_000) as u16 + 16;
    let mut buffer = Buffer::empty(Rect::new(0, 0, 100, rows));
    View { picture: &picture, desk: &Desk::default(), ink, admin, now }.draw(&mut buffer);
    print(&ink::text(&buffer));
    Ok(ExitCode::SUCCESS)
}

fn show(client: &Arc<Client>, admin: &str) -> io::Result<()> {
    let told_to_end = terminal::told_to_end()?;
    let mut feed = Feed::start(client)?;
    let mut screen = Screen::enter()?;
    let (mut picture, mut desk, ink) = (Picture::default(), Desk::default(), Ink::of_environment());
    let (mut drawn, mut is_new) = (Instant::now(), true);
    while !told_to_end.load(Acquire) && Screen::is_whole() {
        while let Some(heard) = feed.heard() {
            is_new = true;
            let wish = match heard {
                Heard::News(news) => {
                    picture.hear(news, Instant::now());
                    None
                }
                Heard::Answer(answer) => desk.hear(answer),
            };
            wish.into_iter().for_each(|wish| send(&feed, &mut desk, wish));
        }
        feed.look(desk.looked_at());
        let now = Instant::now();
        if is_new || now.duration_since(drawn) >= REDRAW {
            let view = View { picture: &picture, desk: &desk, ink, admin, now };
            screen.draw(|buffer| view.draw(buffer))?;
            (drawn, is_new) = (now, false);
        }
        if !event::poll(TICK)? {
            continue;
        }
        is_new = true;
        let wish = match event::read()? {
            Event::Key(key) => desk.press(key, &picture),
            Event::Paste(text) => desk.paste(&text),
            _ => None,
        };
        match wish {
            Some(Wish::Leave) => return Ok(()),
            Some(wish) => send(&feed, &mut desk, wish),
            None => {}
        }
    }
    match Screen::is_whole() {
        true => Ok(()),
        false => Err(io::Error::other("it was given back because a part of this program failed")),
    }
}

fn send(feed: &Feed, desk: &mut Desk, wish: Wish) {
    if let Err(why) = feed.wish(wish) {
        desk.hear(desk::Answer::Done(Err(why)));
    }
}
