//! Opening an address. The socket listens when this returns, so that a conflict shows before anything else
//! of a new configuration takes effect.

use crate::upstream::transport::keep_little_unsent;
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};

/// Connections that the system completes before we accept them; it clamps this to `net.core.somaxconn`.
pub const BACKLOG: i32 = 4096;

/// Listens on `address`, non-blocking. `[::]` takes IPv4 too unless `only_v6`.
///
/// # Errors
/// What the system says, most often that the address is in use or needs a privilege.
pub fn listen(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    // A restarted gateway must not wait for the TIME_WAIT of its predecessor's connections.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    keep_little_unsent(&socket);
    // What is accepted from it inherits this, and a system call per connection less.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What the system lets through to a socket that closes: everything but the first packet of a new connection.
/// Classic BPF over the TCP header: load its flags, drop where SYN is set, else take the whole packet.
/// Connections that come out of the socket inherit it, and never see such a packet.
const NO_NEWCOMERS: [SockFilter; 4] = [
    SockFilter::new(0x30, 0, 0, 13),
    SockFilter::new(0x45, 0, 1, 0x02),
    SockFilter::new(0x06, 0, 0, 0),
    SockFilter::new(0x06, 0, 0, u32::MAX),
];

/// From now on nobody new arrives at `socket`: who tries is not answered, tries again, and is refused once the
/// socket is closed. Handshakes that have begun go on.
///
/// # Errors
/// Where the system has no such filters.
pub fn refuse_newcomers(socket: &TcpListener) -> io::Result<()> {
    SockRef::from(socket).attach_filter(&NO_NEWCOMERS)
}
