//! `tidegate demo`: the gateway on embedded defaults, in front of three small servers of its own, so that a
//! newcomer can watch one of them hang and see the other route unharmed.
#![expect(clippy::disallowed_methods, reason = "at start and end, when nobody is served")]

use crate::app::leave::Ears;
use crate::app::{RunOptions, start};
use crate::config::{Environment, ProcessEnvironment};
use crate::runtime;
use crate::telemetry::logs;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

const QUICKSTART: &str = include_str!("../../config/quickstart.toml");

/// Names of the placeholders in the quickstart that take the backends' ports.
const BACKENDS: [&str; 3] = ["DEMO_BACKEND_A", "DEMO_BACKEND_B", "DEMO_BACKEND_C"];

/// Runs the demonstration on embedded defaults until it is told to stop.
///
/// # Errors
/// If it cannot start: most likely one of its two addresses is taken.
pub fn demo() -> anyhow::Result<ExitCode> {
    let logs = logs::start();
    let home = std::env::temp_dir().join(format!("tidegate-demo-{}", std::process::id()));
    std::fs::create_dir_all(&home)?;
    let config = home.join("quickstart.toml");
    std::fs::write(&config, QUICKSTART)?;
    let mut ports = Vec::with_capacity(BACKENDS.len());
    for name in BACKENDS {
        ports.push((name, backend(name)?.port()));
    }
    let reports = ports[2].1;
    let environment = Arc::new(Demo { ports, state_dir: home.join("state") });
    let ears = Ears::open()?;
    let running = start(&RunOptions { config, state_dir: None }, environment, &logs)?;
    print!("{}", welcome(reports));
    let code = running.until_told(ears);
    // It is ours and temporary; what stays behind is the system's to clean.
    let _ = std::fs::remove_dir_all(&home);
    Ok(code)
}

fn welcome(reports: u16) -> String {
    let program = std::env::current_exe().map_or("tidegate".to_owned(), |path| path.display().to_string());
    format!(
        "\
Tidegate is up: edge on http://127.0.0.1:8080, admin on http://127.0.0.1:9900.
In another terminal:

A request through the gateway, and what operators and Prometheus see:
  curl -i http://127.0.0.1:8080/shop
  {program} status
  curl -s http://127.0.0.1:9900/metrics | grep tidegate_upstream

Hang the backend of /reports. It is refused at once, with a reason; /shop is
unharmed:
  curl -X POST http://127.0.0.1:{reports}/hang
  for i in $(seq 60); do curl -so /dev/null http://127.0.0.1:8080/reports & done
  curl -i http://127.0.0.1:8080/reports; curl -i http://127.0.0.1:8080/shop
  curl -X POST http://127.0.0.1:{reports}/heal

Give /shop a quarter for ten seconds, and watch it come back by guarded steps:
  {program} ramp set shop 25 --then 100 --after 10s
  {program} events --follow

Ctrl-C ends it.
"
    )
}

/// The process's environment, with the demonstration's own ports.
struct Demo {
    ports: Vec<(&'static str, u16)>,
    state_dir: PathBuf,
}

impl Environment for Demo {
    fn variable(&self, name: &str) -> Option<String> {
        if name == "DEMO_STATE_DIR" {
            return Some(self.state_dir.display().to_string());
        }
        let own = self.ports.iter().find(|(known, _)| *known == name).map(|(_, port)| port.to_string());
        own.or_else(|| ProcessEnvironment.variable(name))
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        ProcessEnvironment.read(path)
    }

    fn exists(&self, path: &Path) -> bool {
        ProcessEnvironment.exists(path)
    }
}

/// Starts a small server on a thread of its own; it ends with the process.
fn backend(name: &'static str) -> anyhow::Result<SocketAddr> {
    let socket = TcpListener::bind(("127.0.0.1", 0))?;
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    runtime::spawn("demo-backend", move || serve(name, socket))?;
    Ok(address)
}

async fn serve(name: &'static str, socket: TcpListener) {
    let Ok(listener) = tokio::net::TcpListener::from_std(socket) else { return };
    let hung = Rc::new(Cell::new(false));
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let hung = hung.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| answer(name, hung.clone(), request));
            // A client that breaks off is its own affair.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    name: &'static str,
    hung: Rc<Cell<bool>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let text = match request.uri().path() {
        "/hang" => {
            hung.set(true);
            format!("{name} accepts and never answers from now on\n")
        }
        "/heal" => {
            hung.set(false);
            format!("{name} answers again\n")
        }
        path => {
            if hung.get() {
                std::future::pending::<()>().await;
            }
            format!("hello from {name}, {path}\n")
        }
    };
    Ok(Response::new(Full::from(text)))
}
