//! Streams, requests at once, and the end of the server.

use std::io::BufRead;

use super::*;

/// Reads a response up to the first event.
fn read_event(response: &mut BufReader<TcpStream>) {
    let mut line = String::new();
    while line != "event\n" {
        line.clear();
        assert_ne!(response.read_line(&mut line).expect("a line in time"), 0, "ended");
    }
}

#[test]
fn streams_take_no_slots_of_requests() {
    let server = TestServer::with(None, |server| server.max_requests(1));
    let mut streams: Vec<_> = (0..MAX_STREAMS).map(|_| server.open("/events", "")).collect();
    streams.iter_mut().for_each(read_event);
    assert_eq!(server.get("/metrics").0, 200);
    assert_eq!(server.get("/events").0, 503, "the route limits them");
}

#[test]
fn an_unread_response_gives_its_slot_to_a_request() {
    let server = TestServer::with(None, |server| server.max_requests(1));
    let _unread = server.open("/large", "");
    assert_eq!(server.get("/metrics").0, 200);
}

#[test]
fn the_server_stops_in_time_with_open_connections() {
    let server = TestServer::start(None);
    let mut stream = server.open("/events", "");
    read_event(&mut stream);
    let _unread = server.open("/large", "");
    let mut half = TcpStream::connect(server.address).expect("connected");
    half.write_all(b"GET / HT").expect("sent");
    let _silent = TcpStream::connect(server.address).expect("connected");
    let took = server.stop();
    assert!(took < Duration::from_secs(1), "{took:?}");
}
