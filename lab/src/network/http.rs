//! Real servers with a keep-alive timeout of 1.3 s. The timeout starts before the client has the response, so with 1 s the client
//! might see less than the second from which a connection counts as idle.

use std::process::Command;

use anyhow::Result;
use dev_support::programs;

use crate::network::host::Host;
use crate::network::net::Net;
use crate::network::program::{Folder, Program};
use crate::network::sock::Tcp;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n";
/// The end of either server's response.
const ANSWER_END: &[u8] = b"lab\n";

/// The location that nginx answers.
pub(crate) const NGINX_ANSWERS: &str = "location / { return 200 \"lab\\n\"; }";

/// Starts nginx, which closes connections after 1.3 s of idle time.
pub(crate) fn nginx(net: &Net, port: u16) -> Result<Program> {
    nginx_with(net, port, &format!("keepalive_timeout 1300ms; {NGINX_ANSWERS}"))
}

/// Starts nginx with these directives in its server block.
pub(crate) fn nginx_with(net: &Net, port: u16, directives: &str) -> Result<Program> {
    nginx_on(net, port, "", directives)
}

/// Starts nginx with these options of its listeners, such as `ssl`.
pub(crate) fn nginx_on(net: &Net, port: u16, options: &str, directives: &str) -> Result<Program> {
    let config = format!(
        "daemon off; master_process off; user root; pid nginx.pid; error_log stderr crit;\n\
         events {{ worker_connections 64; }}\n\
         http {{ access_log off;\n\
         client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c;\n\
         uwsgi_temp_path d; scgi_temp_path e;\n\
         server {{ listen {port} {options}; listen [::]:{port} {options}; {directives} }} }}\n"
    );
    let folder = Folder::make(net)?;
    let file = folder.write("lab.conf", &config)?;
    let mut nginx = programs::start("nginx")?;
    nginx.args(["-e", "stderr", "-p"]).arg(folder.path()).arg("-c").arg(file);
    Program::serve(net, Host::Server, port, folder, nginx)
}

/// Starts haproxy with a client timeout of 1.3 s.
pub(crate) fn haproxy(net: &Net, port: u16) -> Result<Program> {
    let config = format!(
        "defaults\n mode http\n timeout client 1300ms\n timeout http-keep-alive 1300ms\n\
         frontend lab\n bind :{port}\n\
         http-request return status 200 content-type text/plain lf-string \"lab\\n\"\n"
    );
    let (folder, haproxy) = haproxy_with(net, &config)?;
    Program::serve(net, Host::Server, port, folder, haproxy)
}

/// The command that starts haproxy with this configuration, and the folder that holds it.
pub(crate) fn haproxy_with(net: &Net, config: &str) -> Result<(Folder, Command)> {
    let folder = Folder::make(net)?;
    let file = folder.write("lab.conf", config)?;
    let mut haproxy = programs::start("haproxy")?;
    haproxy.args(["-db", "-q", "-f"]).arg(file);
    Ok((folder, haproxy))
}

/// One request on a kept-alive connection.
pub(crate) fn ask(connection: &Tcp) -> Result<()> {
    connection.send(REQUEST)?;
    connection.receive_until(ANSWER_END).map(drop)
}

/// Sends only the request, on a connection that will not answer any more.
pub(crate) fn send_request(connection: &Tcp) -> Result<()> {
    connection.send(REQUEST)
}
