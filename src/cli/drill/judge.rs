//! The drill's auth service: a server that really checks a token. And the doors of those who never answer.
//!
//! A token names a client and carries a keyed hash of that name; only this process has the key. Whoever shows none,
//! or a wrong one, gets 401.

use super::server;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What a token begins with.
const PREFIX: &str = "drill1.";
/// Connections that a silent door holds; the kernel has the others wait.
const MOST_HELD: usize = 4096;

/// Signs tokens, and checks them.
#[derive(Clone, Debug)]
pub(super) struct Mint([u8; 32]);

impl Mint {
    /// With a key that nobody else has.
    pub fn new() -> Mint {
        let mut key = [0; 32];
        fastrand::fill(&mut key);
        Mint(key)
    }

    /// The token of a client.
    pub fn token(&self, client: &str) -> String {
        format!("{PREFIX}{client}.{}", blake3::keyed_hash(&self.0, client.as_bytes()).to_hex())
    }

    /// Whose token stands in a header's value, after whatever stands before it; nobody's if it is wrong.
    fn client<'a>(&self, value: &'a str) -> Option<&'a str> {
        let (_, token) = value.split_once(PREFIX)?;
        let (client, shown) = token.split_once('.')?;
        let shown = blake3::Hash::from_hex(shown.get(..64)?).ok()?;
        // Compared in constant time.
        (blake3::keyed_hash(&self.0, client.as_bytes()) == shown).then_some(client)
    }
}

/// The service at some addresses.
pub(super) struct Judge {
    asked: Arc<AtomicU64>,
    over: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Judge {
    /// Starts it at so many addresses.
    ///
    /// # Errors
    /// When there is no port or no thread.
    pub fn start(many: usize, mint: Mint) -> anyhow::Result<(Judge, Vec<SocketAddr>)> {
        let sockets = (0..many).map(|_| server::bind()).collect::<Result<Vec<_>, _>>()?;
        let addresses = sockets.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
        let (over, asked) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
        let (ended, counted) = (over.clone(), asked.clone());
        let (_, thread) = crate::runtime::spawn("drill-judge", move || async move {
            let desk = Rc::new((mint, counted));
            for socket in sockets {
                let Ok(listener) = tokio::net::TcpListener::from_std(socket) else { continue };
                let desk = desk.clone();
                let answer = move |request| answer(desk.clone(), request);
                tokio::task::spawn_local(server::serve(listener, ended.clone(), answer));
            }
            ended.cancelled().await;
        })?;
        Ok((Judge { asked, over, thread: Some(thread) }, addresses))
    }

    /// Questions so far.
    pub fn asked(&self) -> u64 {
        self.asked.load(Relaxed)
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        self.over.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn answer(desk: Rc<(Mint, Arc<AtomicU64>)>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (mint, asked) = &*desk;
    asked.fetch_add(1, Relaxed);
    let mut values = request.headers().values().filter_map(|value| value.to_str().ok());
    let passes = values.find_map(|value| mint.client(value)).is_some();
    let mut response = Response::new(Full::default());
    if !passes {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    }
    response
}

/// Those who never answer: a server that takes connections and says nothing, and a name server that hears
/// questions and says nothing. They need no thread: the kernel accepts for them.
pub(super) struct Silence {
    server: socket2::Socket,
    names: UdpSocket,
}

impl Silence {
    /// Opens both.
    ///
    /// # Errors
    /// When there is no port.
    pub fn open() -> anyhow::Result<Silence> {
        let server = socket2::Socket::from(server::bind()?);
        // Whoever connects is connected, and nobody ever reads: exactly what a hung service does.
        server.listen(i32::try_from(MOST_HELD)?)?;
        Ok(Silence { server, names: UdpSocket::bind("127.0.0.1:0")? })
    }

    /// Where the server is.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn server(&self) -> anyhow::Result<SocketAddr> {
        let address = self.server.local_addr()?.as_socket();
        address.ok_or_else(|| anyhow::anyhow!("the silent server has no address"))
    }

    /// Where the name server is.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn names(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.names.local_addr()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::Duration;

    #[test]
    fn only_its_own_tokens_pass() {
        let mint = Mint::new();
        let ada = mint.token("ada");
        assert_eq!(mint.client(&format!("Bearer {ada}")), Some("ada"));
        assert_eq!(mint.client(&format!("session={ada}; other=1")), Some("ada"));
        assert_eq!(mint.client(&ada.replace("ada", "eve")), None);
        assert_eq!(Mint::new().client(&ada), None);
        for wrong in ["", "drill1.", "drill1.ada", "drill1.ada.00", "drill1.ada.é", "Bearer x"] {
            assert_eq!(mint.client(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_service_says_yes_no_and_nothing() {
        let mint = Mint::new();
        let (judge, addresses) = Judge::start(1, mint.clone()).expect("starts");
        let ask = |address: SocketAddr, token: &str| {
            let mut stream = TcpStream::connect(address).expect("it accepts");
            stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a bound");
            let head = format!("GET /verify HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n");
            stream.write_all(head.as_bytes()).expect("sent");
            let mut read = [0; 12];
            stream.read_exact(&mut read).ok().map(|()| String::from_utf8_lossy(&read).into_owned())
        };
        assert_eq!(ask(addresses[0], &mint.token("ada")).as_deref(), Some("HTTP/1.1 200"));
        assert_eq!(ask(addresses[0], "none").as_deref(), Some("HTTP/1.1 401"));
        assert_eq!(judge.asked(), 2);
        let silence = Silence::open().expect("opens");
        assert_eq!(ask(silence.server().expect("an address"), "any"), None);
    }
}
