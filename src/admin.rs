//! The HTTP server for operators: health, metrics, and what the gateway is doing.
//!
//! It runs on the admin thread's own runtime, reads plain values and moves levers, so it answers while every
//! core is saturated. Its own callers are bounded too: connections, scrapes, bodies and every wait. It never touches
//! a request on the data plane, and it holds no lock that a core takes.

pub mod access;
pub mod api;
pub mod caller;
pub mod catalogue;
pub mod connections;
pub mod dashboard;
pub mod events;
mod gauges;
pub mod live;
mod pages;
pub mod problem;
mod process;
pub mod reach;
mod scrape;
pub mod series;
pub mod settings;
pub mod socket;
pub mod status_page;
pub mod witness;

use crate::control::audit::Audit;
use crate::control::condition::About;
use crate::control::steering::Steering;
use crate::control::view::GatewayView;
use crate::telemetry::metrics::Metrics;
use access::{Access, BadTokenHash};
use arc_swap::ArcSwap;
pub use connections::AdminListener;
use events::{Events, Reign};
use http::StatusCode;
use live::Live;
use problem::Problem;
use reach::Reach;
use scrape::Scrape;
use series::Series;
use settings::Settings;
use status_page::Standing;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// How the gateway is seen; must not block.
pub type ViewSource = Arc<dyn Fn() -> GatewayView + Send + Sync>;

/// What the numbers come from.
#[derive(Clone)]
struct Sources {
    metrics: Arc<Metrics>,
    view: ViewSource,
    events: Arc<Events>,
    live: Arc<Live>,
    /// Not there before the process is up.
    audit: Arc<OnceLock<Audit>>,
    /// How the page for everyone does.
    page: Arc<Standing>,
}

impl Sources {
    /// How the page for everyone does.
    fn page_into(&self, view: &mut GatewayView) {
        view.status_page = self.page.view().or_else(|| view.status_page.take());
        let trouble = view.status_page.as_ref().and_then(|page| page.trouble.clone());
        trouble.into_iter().for_each(|why| view.say(About::StatusPage.says(why)));
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

/// What the admin side knows; shared by its listeners.
pub struct AdminState {
    sources: Sources,
    access: ArcSwap<Access>,
    scrape: Scrape,
    /// The last hour.
    series: Series,
    /// Not there before the process is up.
    reach: OnceLock<Reach>,
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState").field("access", &self.access).finish_non_exhaustive()
    }
}

/// The admin side cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// A token's hash is none.
    #[error(transparent)]
    Token(#[from] BadTokenHash),
    /// The registry refused the collector.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

impl AdminState {
    /// Counters, the view of the gateway, and who may ask.
    ///
    /// # Errors
    /// If a token's hash is none.
    pub fn new(
        metrics: Arc<Metrics>,
        view: ViewSource,
        settings: &Settings,
    ) -> Result<Arc<Self>, AdminError> {
        let (events, live, audit, page) = Default::default();
        let sources = Sources { metrics, view, events, live, audit, page };
        let access = ArcSwap::from_pointee(Access::new(settings)?);
        let scrape = Scrape::new(sources.clone())?;
        let (series, reach) = (Series::default(), OnceLock::new());
        Ok(Arc::new(AdminState { sources, access, scrape, series, reach }))
    }

    /// Takes over the tokens of a new configuration, for requests from now on. If they are others, streams
    /// end: who still may comes again.
    ///
    /// # Errors
    /// If a token's hash is none; then the old ones stay.
    pub fn set_access(&self, settings: &Settings) -> Result<(), BadTokenHash> {
        let access = Arc::new(Access::new(settings)?);
        if self.access.swap(access.clone()) != access {
            self.sources.events.end_streams();
            self.sources.live.look_up();
        }
        Ok(())
    }

    /// From here on operators reach more than numbers: the cores, and what changes the gateway. Only the first
    /// call counts.
    pub fn connect(&self, reach: Reach) {
        let _ = self.reach.set(reach);
    }

    /// From here on whatever operators change, and whatever they are refused, is audited. Only the first call counts.
    pub fn audit_in(&self, audit: Audit) {
        let _ = self.sources.audit.set(audit);
    }

    /// The tokens are still those under which somebody was let in.
    fn is_still(&self, reign: Reign) -> bool {
        self.sources.events.reign() == reign
    }

    /// Where the page for everyone says how it does.
    pub fn page(&self) -> Arc<Standing> {
        self.sources.page.clone()
    }

    /// What operators reach beyond numbers.
    fn reach(&self) -> Result<&Reach, Problem> {
        let starting = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "The gateway is starting.");
        self.reach.get().ok_or_else(starting)
    }

    /// The levers.
    fn steering(&self) -> Result<&Arc<Steering>, Problem> {
        Ok(self.reach()?.control.steering())
    }

    fn view(&self) -> GatewayView {
        let mut view = (self.sources.view)();
        let unrecorded = self.sources.audit.get().and_then(|audit| audit.view().complaint());
        unrecorded.into_iter().for_each(|why| view.say(About::Unrecorded.says(why)));
        self.sources.page_into(&mut view);
        view
    }

    /// The same with what the last seconds brought.
    fn view_with_rates(&self) -> GatewayView {
        let mut view = self.view();
        if let Ok(reach) = self.reach() {
            self.series.rates(&reach.observatory.pulse(), Instant::now()).tell(&mut view);
        }
        view
    }
}

/// Serves operators on one listener until `shutdown`; then ends its connections and returns.
pub async fn serve(
    listener: impl Into<AdminListener>,
    state: Arc<AdminState>,
    shutdown: impl Future<Output = ()>,
) {
    connections::serve(listener.into(), api::router(state), shutdown).await;
}

#[cfg(test)]
mod tests {
    use super::settings::{Role, Token};
    use super::*;
    use crate::control::view::UpstreamView;
    use serde_json::Value;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    fn view() -> GatewayView {
        GatewayView {
            ready: true,
            degraded: true,
            reasons: vec!["the file is invalid".into()],
            upstreams: vec![UpstreamView { name: "orders".into(), limit: 7, ..Default::default() }],
            ..Default::default()
        }
    }

    /// Serves a view on a port of its own for as long as the test's runtime lives.
    async fn serving(tokens: Vec<Token>, view: GatewayView) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("has an address");
        let source: ViewSource = Arc::new(move || view.clone());
        let state =
            AdminState::new(Arc::new(Metrics::new(1)), source, &Settings::of(tokens)).expect("builds");
        tokio::spawn(serve(listener, state, std::future::pending()));
        address
    }

    /// Status, head and body of the answer to a request as it is on the wire.
    async fn ask(address: SocketAddr, request: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(request.as_bytes()).await.expect("writes");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("reads");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, head.to_ascii_lowercase(), body.to_owned())
    }

    async fn get(address: SocketAddr, path: &str) -> (u16, String, Value) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let (status, head, body) = ask(address, &request).await;
        (status, head, serde_json::from_str(&body).expect("JSON"))
    }

    #[tokio::test]
    async fn a_degraded_gateway_is_ready_and_says_why() {
        let address = serving(vec![], view()).await;
        let (status, _, body) = get(address, "/readyz").await;
        assert_eq!((status, &body["reasons"][0]), (200, &Value::from("the file is invalid")));
        assert_eq!(get(address, "/livez").await.0, 200);
    }

    #[tokio::test]
    async fn a_draining_gateway_is_alive_and_not_ready() {
        let address = serving(vec![], GatewayView { draining: true, ..view() }).await;
        assert_eq!(get(address, "/readyz").await.0, 503);
        assert_eq!(get(address, "/livez").await.0, 200);
    }

    #[tokio::test]
    async fn lists_are_items_and_an_unknown_upstream_is_a_problem_object() {
        let address = serving(vec![], view()).await;
        assert_eq!(get(address, "/v1/upstreams").await.2["items"][0]["limit"], 7);
        assert_eq!(get(address, "/v1/upstreams/orders").await.2["name"], "orders");
        assert_eq!(get(address, "/v1/status").await.2["degraded"], true);
        for path in ["/v1/upstreams/none", "/v2", "/assets/none.js"] {
            let (status, head, body) = get(address, path).await;
            assert_eq!((status, &body["status"]), (404, &Value::from(404)), "{path}");
            assert!(head.contains("content-type: application/problem+json"), "{head}");
            assert!(head.contains("x-content-type-options: nosniff"), "{head}");
        }
    }

    #[tokio::test]
    async fn what_only_reads_refuses_mutations() {
        let address = serving(vec![], view()).await;
        for path in ["/v1/status", "/metrics", "/livez"] {
            let request = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
            let (status, head, body) = ask(address, &request).await;
            assert_eq!(status, 405, "{path}");
            assert!(head.contains("allow: get,head"), "{head}");
            assert_eq!(serde_json::from_str::<Value>(&body).expect("JSON")["title"], "Method Not Allowed");
        }
    }

    #[tokio::test]
    async fn a_foreign_name_for_loopback_is_refused_and_health_is_not() {
        let address = serving(vec![], view()).await;
        let request =
            |path| format!("GET {path} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n");
        assert_eq!(ask(address, &request("/v1/status")).await.0, 403);
        assert_eq!(ask(address, &request("/readyz")).await.0, 200);
    }

    #[tokio::test]
    async fn with_tokens_nothing_is_read_without_one() {
        let hash = blake3::hash(b"secret").to_hex().to_string();
        let token = Token { name: "ops".into(), role: Role::Viewer, hash };
        let address = serving(vec![token], view()).await;
        let (status, head, _) = get(address, "/v1/status").await;
        assert!(status == 401 && head.contains("www-authenticate: bearer"), "{head}");
        let request =
            "GET /v1/status HTTP/1.1\r\nhost: x\r\nauthorization: Bearer secret\r\nconnection: close\r\n\r\n";
        assert_eq!(ask(address, request).await.0, 200);
    }

    #[tokio::test]
    async fn connections_that_hang_do_not_lock_operators_out() {
        let address = serving(vec![], view()).await;
        let mut hung = Vec::new();
        for _ in 0..connections::MAX_CONNECTIONS * 2 {
            let mut stream = TcpStream::connect(address).await.expect("connects");
            stream.write_all(b"GET /metrics HTTP/1.1\r\n").await.expect("writes");
            hung.push(stream);
        }
        assert_eq!(get(address, "/v1/status").await.0, 200);
        let mut rest = Vec::new();
        // The oldest was ended to make room: its end is seen, whatever it takes the form of.
        let _ = hung[0].read_to_end(&mut rest).await;
        assert!(rest.is_empty());
    }
}
