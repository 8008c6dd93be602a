//! One request over a connection that is kept for the next one.
//!
//! A kept connection that the other side had closed meanwhile is no failure of the request: it goes over a new
//! one, as any client would do.

use super::answer;
use super::stream::Stream;
use bytes::BytesMut;
use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::rc::Rc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// What came of a request that nobody cut short.
#[derive(Debug)]
pub enum Got {
    Answer {
        status: u16,
        reason: Option<String>,
    },
    Failure(&'static str),
    /// There was no connection left for it.
    NoRoom,
}

/// The connections of all clients.
pub struct Connections {
    /// Those that wait for their next request, by stream.
    kept: Vec<RefCell<Vec<Connection>>>,
    open: Rc<Cell<usize>>,
    max: usize,
    turn: Cell<u8>,
}

struct Connection {
    socket: TcpStream,
    read: BytesMut,
    _open: Open,
}

/// One of the open connections.
struct Open(Rc<Cell<usize>>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// What became of one try over one connection.
enum Tried {
    Got(Got),
    /// The connection was over before anything of an answer came.
    Stale,
}

impl Connections {
    /// None yet, for so many streams; never more than `max`.
    pub fn new(streams: usize, max: usize) -> Connections {
        let kept = (0..streams).map(|_| RefCell::default()).collect();
        Connections { kept, open: Rc::default(), max, turn: Cell::new(0) }
    }

    /// Asks once. Dropping the future is leaving.
    pub async fn ask(&self, number: usize, stream: &Stream, bytes: &[u8]) -> Got {
        loop {
            let kept = self.kept[number].borrow_mut().pop();
            let reused = kept.is_some();
            let connection = match kept {
                Some(connection) => connection,
                None if self.open.get() >= self.max => return Got::NoRoom,
                None => match self.connect(stream).await {
                    Ok(connection) => connection,
                    Err(failure) => return Got::Failure(failure),
                },
            };
            match self.exchange(number, connection, bytes).await {
                Tried::Got(got) => return got,
                Tried::Stale if reused => {}
                Tried::Stale => return Got::Failure("closed before the answer"),
            }
        }
    }

    async fn connect(&self, stream: &Stream) -> Result<Connection, &'static str> {
        self.open.set(self.open.get() + 1);
        let open = Open(self.open.clone());
        let socket = TcpSocket::new_v4().map_err(|_| "no socket")?;
        if stream.sources > 0 {
            self.turn.set(self.turn.get().wrapping_add(1));
            let source = Ipv4Addr::new(127, 0, 1, 1 + self.turn.get() % stream.sources);
            socket.bind(SocketAddr::V4(SocketAddrV4::new(source, 0))).map_err(|_| "no address")?;
        }
        let socket = socket.connect(stream.address).await.map_err(|_| "not connected")?;
        let _ = socket.set_nodelay(true);
        Ok(Connection { socket, read: BytesMut::with_capacity(4 << 10), _open: open })
    }

    async fn exchange(&self, number: usize, mut connection: Connection, bytes: &[u8]) -> Tried {
        let Connection { socket, read, .. } = &mut connection;
        if socket.write_all(bytes).await.is_err() {
            return Tried::Stale;
        }
        let (mut head, mut any) = (None, false);
        loop {
            match socket.read_buf(read).await {
                Ok(1..) => any = true,
                _ if !any => return Tried::Stale,
                ended => return Tried::Got(cut_short(head, ended.is_ok())),
            }
            let got = match &mut head {
                None => answer::head(read).map(|got| head = got),
                Some(_) => Ok(()),
            };
            let whole = got.and_then(|()| head.as_mut().map_or(Ok(false), |head| head.body(read)));
            match whole {
                Ok(false) => {}
                Ok(true) => break,
                Err(answer::Nonsense) => return Tried::Got(Got::Failure("nonsense")),
            }
        }
        let head = head.expect("a whole answer has a head");
        if !head.closes {
            self.kept[number].borrow_mut().push(connection);
        }
        Tried::Got(Got::Answer { status: head.status, reason: head.reason })
    }
}

/// The connection ended after the answer had begun.
fn cut_short(head: Option<answer::Head>, cleanly: bool) -> Got {
    match head {
        Some(head) if cleanly && head.ends_with_connection() => {
            Got::Answer { status: head.status, reason: head.reason }
        }
        _ => Got::Failure("broken off"),
    }
}
