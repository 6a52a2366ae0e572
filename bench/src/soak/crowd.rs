//! Followers of the agent's events: two that read, one that never does.

use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::thread::{self, JoinHandle};

use anyhow::Result;

use crate::web;

const STREAM: &str = "/api/v1/events?follow=1";

/// They go when this goes.
pub(super) struct Crowd {
    readers: Vec<(TcpStream, JoinHandle<()>)>,
    _deaf: TcpStream,
}

impl Crowd {
    pub(super) fn gather() -> Result<Self> {
        let reader = || {
            let stream = web::ask(STREAM)?;
            stream.set_read_timeout(None)?;
            let mut theirs = stream.try_clone()?;
            let reading = thread::spawn(move || {
                let mut buffer = vec![0; 64 << 10];
                // It ends when the agent ends, or with the shutdown below.
                while theirs.read(&mut buffer).is_ok_and(|read| read > 0) {}
            });
            Ok((stream, reading))
        };
        let readers = (0..2).map(|_| reader()).collect::<Result<Vec<_>>>()?;
        Ok(Self { readers, _deaf: web::ask(STREAM)? })
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for (stream, reading) in self.readers.drain(..) {
            // It may have been closed by the agent.
            let _ = stream.shutdown(Shutdown::Both);
            if reading.join().is_err() {
                eprintln!("warning: a follower panicked");
            }
        }
    }
}
