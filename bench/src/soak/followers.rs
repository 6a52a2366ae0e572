//! Followers of the agent's event stream: two that read, and one that never does.

use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::thread::{self, JoinHandle};

use anyhow::Result;

use crate::subject::web;

const STREAM: &str = "/api/v1/events?follow=1";

/// The followers' connections, closed when dropped.
pub(super) struct Followers {
    readers: Vec<(TcpStream, JoinHandle<()>)>,
    _stalled: TcpStream,
}

impl Followers {
    pub(super) fn start() -> Result<Self> {
        let reader = || {
            let stream = web::request(STREAM)?;
            stream.set_read_timeout(None)?;
            let mut theirs = stream.try_clone()?;
            let reading = thread::spawn(move || {
                let mut buffer = vec![0; 64 << 10];
                // Ends when the agent ends, or with the shutdown below.
                while theirs.read(&mut buffer).is_ok_and(|read| read > 0) {}
            });
            Ok((stream, reading))
        };
        let readers = (0..2).map(|_| reader()).collect::<Result<Vec<_>>>()?;
        Ok(Self { readers, _stalled: web::request(STREAM)? })
    }
}

impl Drop for Followers {
    fn drop(&mut self) {
        for (stream, reading) in self.readers.drain(..) {
            // Fails only if the agent has closed it.
            let _ = stream.shutdown(Shutdown::Both);
            if reading.join().is_err() {
                eprintln!("warning: a follower panicked");
            }
        }
    }
}
