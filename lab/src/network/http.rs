//! Real servers with a keep-alive timeout of 1.3 s. The timeout starts before the client has the response, so with 1 s the client
//! might see less than the second from which a connection counts as idle.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::network::net::Net;
use crate::network::peer::Process;
use crate::network::procnet::{State, states};
use crate::wait::{SOON, until_true};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n";
/// The end of either server's response.
const ANSWER_END: &[u8] = b"lab\n";

/// A server program with its configuration, both removed when dropped.
pub(crate) struct Server {
    _process: Process,
    _folder: TempDir,
}

/// Starts nginx, which closes connections after 1.3 s of idle time.
pub(crate) fn nginx(net: &Net, port: u16) -> Result<Server> {
    let config = format!(
        "daemon off; master_process off; user root; pid nginx.pid; error_log stderr crit;\n\
         events {{ worker_connections 64; }}\n\
         http {{ access_log off; keepalive_timeout 1300ms;\n\
         client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c;\n\
         uwsgi_temp_path d; scgi_temp_path e;\n\
         server {{ listen {port}; listen [::]:{port}; location / {{ return 200 \"lab\\n\"; }} }} }}\n"
    );
    start(net, port, &config, |folder, config| {
        let mut nginx = Command::new("nginx");
        nginx.args(["-e", "stderr", "-p"]).arg(folder).arg("-c").arg(config);
        nginx
    })
}

/// Starts haproxy with a client timeout of 1.3 s.
pub(crate) fn haproxy(net: &Net, port: u16) -> Result<Server> {
    let config = format!(
        "defaults\n mode http\n timeout client 1300ms\n timeout http-keep-alive 1300ms\n\
         frontend lab\n bind :{port}\n\
         http-request return status 200 content-type text/plain lf-string \"lab\\n\"\n"
    );
    start(net, port, &config, |_, config| {
        let mut haproxy = Command::new("haproxy");
        haproxy.args(["-db", "-q", "-f"]).arg(config);
        haproxy
    })
}

fn start(net: &Net, port: u16, config: &str, command: impl FnOnce(&Path, &Path) -> Command) -> Result<Server> {
    let folder = tempfile::tempdir()?;
    net.cleanup.directory(folder.path())?;
    let file = folder.path().join("lab.conf");
    std::fs::write(&file, config)?;
    let mut command = command(folder.path(), &file);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let name = command.get_program().to_string_lossy().into_owned();
    let mut process = Process::start(&net.server, &net.cleanup, &mut command)?;
    until_true("the server's listener", SOON, || {
        if process.ended()? {
            bail!("{name} ended at once");
        }
        Ok(states(&net.server, port)?.contains(&State::LISTEN))
    })
    .context(name)?;
    Ok(Server { _process: process, _folder: folder })
}

/// One request on a kept-alive connection.
pub(crate) fn ask(connection: &crate::network::sock::Tcp) -> Result<()> {
    connection.send(REQUEST)?;
    connection.receive_until(ANSWER_END)
}

/// Sends only the request, on a connection that will not answer any more.
pub(crate) fn send_request(connection: &crate::network::sock::Tcp) -> Result<()> {
    connection.send(REQUEST)
}
