//! A process that keeps many connections open, each with both ends. Several are needed, because the number of descriptors of a
//! process is limited. [`super::Attackers`] starts it and sends it commands, one per line.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, process};

use anyhow::{Context as _, Result, bail};
use dev_support::command;
use rustix::thread::set_thread_uid;

use crate::{descriptors, resets};

/// Makes this process such a holder; the value is the number of sockets to open.
const REQUEST: &str = "XTASK_BENCH_HOLDER";
/// Descriptors for everything but the connections.
const RESERVE: u64 = 64;
/// The UID of the sockets: that of the user `nobody`.
const USER: u32 = 65534;

/// What a holder is told, each with one number; it answers with one number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// Replace as many connections, each of which ends with a reset.
    Reset,
    /// For as many milliseconds: close the oldest connection and open another. The answer is how many.
    Churn,
}

/// A running holder. It ends with its standard input.
pub(super) struct Holder {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Holder {
    /// Starts to open this many sockets.
    pub(super) fn start(sockets: u64) -> Result<Self> {
        let mut command = Command::new(env::current_exe().context("this program")?);
        command.env(REQUEST, sockets.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        command::die_with_parent(&mut command);
        let mut child = command.spawn().context("cannot start a holder of connections")?;
        let orders = child.stdin.take().context("no stdin")?;
        let answers = BufReader::new(child.stdout.take().context("no stdout")?);
        Ok(Self { child, orders, answers })
    }

    /// Gives an order; [`Self::answer`] waits for it.
    pub(super) fn order(&mut self, order: Order, number: u64) -> Result<()> {
        let word = match order {
            Order::Reset => "reset",
            Order::Churn => "churn",
        };
        Ok(writeln!(self.orders, "{word} {number}")?)
    }

    /// The answer to an order, or the number of sockets that were opened at the start.
    pub(super) fn answer(&mut self) -> Result<u64> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        line.trim().parse().context("a holder of connections failed: see its error above")
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The number of sockets that one holder can have.
pub(super) fn most_sockets() -> u64 {
    descriptors::most().saturating_sub(RESERVE) / 2 * 2
}

/// To be called first in `main`: holds connections until standard input ends if the environment requests it, else returns.
pub(crate) fn hold_if_requested() {
    let Some(request) = env::var_os(REQUEST) else { return };
    let held = request.to_str().and_then(|sockets| sockets.parse().ok()).context(REQUEST).and_then(hold);
    if let Err(error) = held {
        eprintln!("error: {error:#}");
        process::exit(1);
    }
    process::exit(0);
}

fn hold(sockets: u64) -> Result<()> {
    descriptors::raise()?;
    set_thread_uid(rustix::process::Uid::from_raw(USER)).context("another user")?;
    let mut connections = Connections::open(sockets / 2)?;
    println!("{}", 2 * connections.open.len());
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let (order, number) = line.split_once(' ').context("an order without a number")?;
        let number = number.parse()?;
        let done = match order {
            "reset" => connections.reset(number)?,
            "churn" => connections.churn(Duration::from_millis(number))?,
            _ => bail!("unknown order {order}"),
        };
        println!("{done}");
    }
    Ok(())
}

/// The connections of one listener, the oldest first: client and server.
struct Connections {
    listener: TcpListener,
    open: VecDeque<(TcpStream, TcpStream)>,
    /// Number of connections that were opened so far.
    opened: u64,
}

impl Connections {
    fn open(count: u64) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let mut connections = Self { listener, open: VecDeque::new(), opened: 0 };
        (0..count).try_for_each(|_| connections.add())?;
        Ok(connections)
    }

    /// Opens one, to one of loopback's 16 million addresses, so that ports suffice.
    fn add(&mut self) -> Result<()> {
        let low = u32::try_from(self.opened % 0x00ff_fff0)?;
        self.opened += 1;
        let to = (Ipv4Addr::from(0x7f00_0001 + low), self.listener.local_addr()?.port());
        let client = TcpStream::connect(to).with_context(|| format!("connection {}", self.opened))?;
        self.open.push_back((client, self.listener.accept()?.0));
        Ok(())
    }

    fn reset(&mut self, count: u64) -> Result<u64> {
        for number in 0..count {
            let Some((client, server)) = self.open.pop_front() else { bail!("no connection is left to reset") };
            match number % 4 {
                0 => resets::abort(client, server),
                1 => resets::unread(client, server),
                2 => resets::after_close(client, server),
                _ => resets::after_shutdown(client, &server),
            }
            .with_context(|| format!("reset of kind {}", number % 4))?;
            self.add()?;
        }
        Ok(count)
    }

    fn churn(&mut self, time: Duration) -> Result<u64> {
        let (began, before) = (Instant::now(), self.opened);
        while began.elapsed() < time {
            // The client closes first.
            drop(self.open.pop_front());
            self.add()?;
        }
        Ok(self.opened - before)
    }
}
