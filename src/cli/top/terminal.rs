//! The terminal, borrowed: raw mode and the alternate screen are given back whatever ends the program: a key, a
//! signal, a panic on any thread, or a terminal that takes no more.

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use rustix::process::{Signal, getpid, kill_process};
use std::io::{self, IsTerminal, Stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};
use std::thread;
use tokio::signal::unix::{SignalKind, signal};

/// The terminal is ours, and has to be given back. There is one a process.
static BORROWED: AtomicBool = AtomicBool::new(false);
/// The place of its signal among those that are waited for.
const HANGUP: usize = 0;

/// The terminal while it is ours.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

/// Why there is no screen to be had; a sentence.
pub(super) fn missing() -> Option<&'static str> {
    let dumb = std::env::var("TERM").is_ok_and(|name| name == "dumb");
    match (io::stdin().is_terminal() && io::stdout().is_terminal(), dumb) {
        (false, _) => Some("`top` draws on a terminal, and this is none"),
        (true, true) => {
            Some("`top` draws on a terminal, and TERM=dumb says that this one cannot be drawn on")
        }
        (true, false) => None,
    }
}

impl Screen {
    /// Borrows it.
    ///
    /// # Errors
    /// If it cannot be drawn on.
    pub fn enter() -> io::Result<Screen> {
        give_back_on_panic();
        BORROWED.store(true, Release);
        let enter = || {
            enable_raw_mode()?;
            execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste)?;
            let mut terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
            terminal.clear()?;
            Ok(Screen { terminal })
        };
        enter().inspect_err(|_| give_back())
    }

    /// It is still ours: no thread has panicked.
    pub fn is_whole() -> bool {
        BORROWED.load(Acquire)
    }

    /// Draws what changed.
    ///
    /// # Errors
    /// If the terminal takes no more.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        self.terminal.draw(|frame| draw(frame.buffer_mut())).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Once, however many ask.
fn give_back() {
    if BORROWED.swap(false, AcqRel) {
        // Whoever takes no more needs nothing back.
        let _ = execute!(io::stdout(), DisableBracketedPaste, LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

/// The message of a panic is to be read, so the screen goes first.
fn give_back_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        give_back();
        before(panic);
    }));
}

/// Becomes true when somebody asks the process to end. When the terminal hangs up the process ends here and now: a read
/// of keys that is under way then never returns.
///
/// # Errors
/// If the system gives no thread or no signals.
pub(super) fn told_to_end() -> io::Result<Arc<AtomicBool>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (told, here) = (Arc::new(AtomicBool::new(false)), runtime.enter());
    let kinds = [SignalKind::hangup(), SignalKind::terminate(), SignalKind::interrupt(), SignalKind::quit()];
    let mut signals = kinds.map(signal).into_iter().collect::<io::Result<Vec<_>>>()?;
    drop(here);
    let tell = told.clone();
    let wait = move || {
        let first = runtime.block_on(futures_util::future::select_all(
            signals.iter_mut().map(|signal| Box::pin(signal.recv())),
        ));
        if first.1 == HANGUP {
            give_back();
            let _ = kill_process(getpid(), Signal::KILL);
        }
        drop(first);
        tell.store(true, Release);
    };
    thread::Builder::new().name("top-signals".to_owned()).spawn(wait)?;
    Ok(told)
}
