//! The floor: a TCP relay that understands nothing. Four system calls a request (read and write each way), one
//! backend connection for each client connection, one thread.

use super::runtime;
use anyhow::Result;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

/// Relays from one address to another until it is killed.
pub fn run(from: &str, to: &str) -> Result<()> {
    let (from, to) = (from.to_owned(), to.to_owned());
    runtime()?.block_on(async move {
        let listener = TcpListener::bind(from).await?;
        loop {
            let (mut client, _) = listener.accept().await?;
            let to = to.clone();
            tokio::task::spawn_local(async move {
                let Ok(mut backend) = TcpStream::connect(to).await else { return };
                let _ = client.set_nodelay(true).and(backend.set_nodelay(true));
                let _ = copy_bidirectional(&mut client, &mut backend).await;
            });
        }
    })
}
