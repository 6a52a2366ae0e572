//! What would narrow a verdict that leaves several causes: one observation, and where to make it, as a sentence.

use jiff::Timestamp;

use crate::cause::{Cause, Direction, Sender};
use crate::event::{Event, Role};
use crate::text::{length, seconds};
use crate::timing::Timer;

/// The observation that would narrow the verdict; `None` where the cause and the sender are settled.
pub fn observation(event: &Event, timer: Option<Timer>) -> Option<String> {
    let settled = event.candidates.len() == 1 && event.sender != Sender::Unknown;
    match event.direction {
        _ if settled => None,
        // The late segment of a connection that an RST from elsewhere had ended: nothing here would tell.
        Direction::Sent if event.ended_by() == event.sender => on_this_host(event),
        Direction::Sent if event.ended_by() == Sender::LocalFirewall => None,
        Direction::Sent | Direction::Received => Some(at_the_other_end(event, timer)),
    }
}

fn on_this_host(event: &Event) -> Option<String> {
    // The RST that had ended the connection was not seen, so nothing here would tell.
    if matches!(event.cause, Cause::PeerAbort | Cause::MiddleboxInjected | Cause::Unknown) {
        return None;
    }
    let process = event.process.as_ref()?;
    Some(format!("the log of {}[{}] at {} would tell", process.comm, process.pid, clock(event.time)))
}

fn at_the_other_end(event: &Event, timer: Option<Timer>) -> String {
    let peer = event.remote.ip();
    match (event.ended_by(), event.cause) {
        (Sender::Middlebox, _) => {
            format!("the logs of the devices on the path to {peer} at {} would tell", clock(event.time))
        }
        (Sender::Unknown, _) => format!("rstwatch or a capture on {peer} would tell whether its stack sent the RST"),
        (_, Cause::Refused) => {
            format!("ss -Hltn on {peer} would tell whether a server listens on port {}", event.remote.port())
        }
        _ => match (event.candidates.first(), bound(event, timer)) {
            (Some(Cause::IdleReaped), Some(bound)) => {
                format!("rstwatch on {peer} would tell; if idle times below {bound} end the resets, it was a timer")
            }
            _ => format!("rstwatch on {peer}, or the log of {} at {}, would tell", program(event), clock(event.time)),
        },
    }
}

/// The shortest idle time that is known to be fatal: the timer's if it was seen to fire, else that before the reset.
fn bound(event: &Event, timer: Option<Timer>) -> Option<String> {
    let fired = timer.filter(|timer| timer.exact).map(|timer| length(timer.after));
    fired.or_else(|| event.idle_ms.map(seconds))
}

/// The program at the other end.
fn program(event: &Event) -> String {
    match event.role {
        Role::Client => format!("the server on its port {}", event.remote.port()),
        Role::Server => "the client there".to_owned(),
        Role::Unknown => "its program".to_owned(),
    }
}

/// Time of day in UTC, to the second.
fn clock(time: Timestamp) -> String {
    time.strftime("%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cause::Confidence;
    use crate::event::{Follows, Process};
    use crate::testing::sample;

    fn event(cause: Cause, sender: Sender, candidates: &[Cause]) -> Event {
        let event = sample::event(Direction::Received, cause, sender, Confidence::Likely);
        Event { candidates: candidates.iter().copied().collect(), ..event }
    }

    #[test]
    fn a_settled_verdict_needs_nothing() {
        assert_eq!(observation(&event(Cause::IdleReaped, Sender::Peer, &[Cause::IdleReaped]), None), None);
    }

    #[test]
    fn the_observation_depends_on_who_sent_it() {
        let several = [Cause::UnreadData, Cause::LingerAbort];
        let of = |sender| observation(&event(Cause::PeerAbort, sender, &several), None).expect("several remain");
        assert!(
            of(Sender::Peer).starts_with("rstwatch on 10.0.7.12, or the log of its program at "),
            "{}",
            of(Sender::Peer)
        );
        assert!(of(Sender::Middlebox).contains("devices on the path to 10.0.7.12"), "{}", of(Sender::Middlebox));
        assert!(of(Sender::Unknown).contains("whether its stack sent"), "{}", of(Sender::Unknown));
        let settled_but_for_the_sender =
            observation(&event(Cause::IdleReaped, Sender::Unknown, &[Cause::IdleReaped]), None);
        assert!(settled_but_for_the_sender.is_some());
    }

    #[test]
    fn the_other_program_is_named_by_its_role() {
        for (role, program) in [(Role::Client, "the server on its port 5432"), (Role::Server, "the client there")] {
            let several = [Cause::UnreadData, Cause::LingerAbort];
            let event = Event { role, ..event(Cause::PeerAbort, Sender::Peer, &several) };
            let text = observation(&event, None).expect("several remain");
            assert!(text.contains(&format!("or the log of {program} at ")), "{text}");
        }
    }

    #[test]
    fn a_timer_can_be_tried_out() {
        let mut idle = event(Cause::NoSuchConnection, Sender::Peer, &[Cause::IdleReaped, Cause::ProcessDied]);
        idle.idle_ms = Some(61_200);
        let text = observation(&idle, None).expect("several remain");
        assert!(text.contains("idle times below 61.2 s"), "{text}");
        let fired = Timer { after: Duration::from_secs(60), exact: true };
        let text = observation(&idle, Some(fired)).expect("several remain");
        assert!(text.contains("idle times below 60.0 s"), "{text}");
    }

    #[test]
    fn a_late_segment_is_decided_where_the_connection_was_ended() {
        let mut late = event(Cause::PeerAbort, Sender::LocalKernel, &[Cause::UnreadData, Cause::LingerAbort]);
        late.direction = Direction::Sent;
        assert_eq!(observation(&late, None), None, "the first RST was not seen");
        let mut by = |sender| {
            late.follows = Some(Follows::Rst { sender });
            observation(&late, None)
        };
        assert!(by(Sender::Peer).is_some_and(|text| text.starts_with("rstwatch on 10.0.7.12")));
        assert!(by(Sender::Middlebox).is_some_and(|text| text.contains("devices on the path")));
        assert_eq!(by(Sender::LocalFirewall), None);
    }

    #[test]
    fn this_hosts_own_log_decides_for_a_sent_reset() {
        let mut sent = event(Cause::NoSuchConnection, Sender::LocalKernel, &[Cause::IdleReaped, Cause::DataAfterClose]);
        sent.direction = Direction::Sent;
        sent.process = Some(Process { pid: 12, comm: "nginx".into() });
        let text = observation(&sent, None).expect("several remain");
        assert!(text.starts_with("the log of nginx[12] at "), "{text}");
        sent.process = None;
        assert_eq!(observation(&sent, None), None);
    }
}
