//! Connections that end with one RST, sent by one end and received by the other.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use socket2::SockRef;

/// The client aborts. The server closes only after it has seen the RST; otherwise the RST might find no socket.
pub(crate) fn abort(client: TcpStream, mut server: TcpStream) -> Result<()> {
    SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
    drop(client);
    is_reset(&mut server)
}

/// The server closes without having read.
pub(crate) fn unread(mut client: TcpStream, server: TcpStream) -> Result<()> {
    client.write_all(b"request")?;
    drop(server);
    is_reset(&mut client)
}

/// The server closes, then the client sends a request.
pub(crate) fn after_close(mut client: TcpStream, server: TcpStream) -> Result<()> {
    drop(server);
    rejected(&mut client)
}

/// The server stops to receive and keeps its socket, then the client sends a request. The kernel resets that socket itself, so
/// a phantom receive precedes the RST (docs/design/phantom-receives.md).
pub(crate) fn after_shutdown(mut client: TcpStream, server: &TcpStream) -> Result<()> {
    server.shutdown(Shutdown::Both)?;
    rejected(&mut client)
}

/// The client sends a request after the server's FIN.
fn rejected(client: &mut TcpStream) -> Result<()> {
    ensure!(client.read(&mut [0])? == 0, "unexpected data");
    client.write_all(b"request")?;
    // On loopback the RST arrives before write() returns, so only the next write fails, with EPIPE.
    match client.write_all(b"more") {
        Err(_) => Ok(()),
        Ok(()) => bail!("a closed connection was not reset"),
    }
}

/// The next read says that the connection was reset.
pub(crate) fn is_reset(client: &mut TcpStream) -> Result<()> {
    match client.read(&mut [0]) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(error.into()),
        Ok(read) => bail!("expected a reset, got {read} bytes"),
    }
}
