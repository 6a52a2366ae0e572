//! What would narrow a verdict that leaves several causes: one observation, and where to make it, as a sentence.

use jiff::Timestamp;

use crate::cause::{Cause, Direction, Sender};
use crate::event::Event;
use crate::text::seconds;

/// The observation that would narrow the verdict; `None` where the cause and the sender are settled.
pub fn observation(event: &Event) -> Option<String> {
    let settled = event.candidates.len() == 1 && event.sender != Sender::Unknown;
    match event.direction {
        _ if settled => None,
        // The late segment of a connection that an RST from elsewhere had ended: nothing here would tell.
        Direction::Sent if event.ended_by() == event.sender => on_this_host(event),
        Direction::Sent if event.ended_by() == Sender::LocalFirewall => None,
        Direction::Sent => Some(at_the_other_end(event)),
        Direction::Received => Some(at_the_other_end(event)),
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

fn at_the_other_end(event: &Event) -> String {
    let peer = event.remote.ip();
    match (event.ended_by(), event.cause) {
        (Sender::Middlebox, _) => {
            format!("the logs at {} of the devices on the path to {peer} would tell", clock(event.time))
        }
        (Sender::Unknown, _) => format!("rstwatch or a capture on {peer} would tell whether its stack sent the RST"),
        (_, Cause::Refused) => {
            format!("ss -Hltn on {peer} would tell whether a server listens on port {}", event.remote.port())
        }
        _ => match (event.candidates.first(), event.idle_ms) {
            (Some(Cause::IdleReaped), Some(idle_ms)) => {
                format!(
                    "rstwatch on {peer} would tell; if resets end with idle times below {}, it was a timer",
                    seconds(idle_ms)
                )
            }
            _ => format!("rstwatch on {peer}, or its program's log at {}, would tell", clock(event.time)),
        },
    }
}

/// Time of day in UTC, to the second.
fn clock(time: Timestamp) -> String {
    time.strftime("%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::Confidence;
    use crate::event::{Follows, Process};
    use crate::testing::sample;

    fn event(cause: Cause, sender: Sender, candidates: &[Cause]) -> Event {
        let event = sample::event(Direction::Received, cause, sender, Confidence::Likely);
        Event { candidates: candidates.to_vec(), ..event }
    }

    #[test]
    fn a_settled_verdict_needs_nothing() {
        assert_eq!(observation(&event(Cause::IdleReaped, Sender::Peer, &[Cause::IdleReaped])), None);
    }

    #[test]
    fn the_observation_depends_on_who_sent_it() {
        let several = [Cause::UnreadData, Cause::LingerAbort];
        let of = |sender| observation(&event(Cause::PeerAbort, sender, &several)).expect("several remain");
        assert!(of(Sender::Peer).starts_with("rstwatch on 10.0.7.12, or its program"), "{}", of(Sender::Peer));
        assert!(of(Sender::Middlebox).contains("devices on the path to 10.0.7.12"), "{}", of(Sender::Middlebox));
        assert!(of(Sender::Unknown).contains("whether its stack sent"), "{}", of(Sender::Unknown));
        let settled_but_for_the_sender = observation(&event(Cause::IdleReaped, Sender::Unknown, &[Cause::IdleReaped]));
        assert!(settled_but_for_the_sender.is_some());
    }

    #[test]
    fn a_timer_can_be_tried_out() {
        let mut idle = event(Cause::NoSuchConnection, Sender::Peer, &[Cause::IdleReaped, Cause::ProcessDied]);
        idle.idle_ms = Some(61_200);
        let text = observation(&idle).expect("several remain");
        assert!(text.contains("idle times below 61.2 s"), "{text}");
    }

    #[test]
    fn a_late_segment_is_decided_where_the_connection_was_ended() {
        let mut late = event(Cause::PeerAbort, Sender::LocalKernel, &[Cause::UnreadData, Cause::LingerAbort]);
        late.direction = Direction::Sent;
        assert_eq!(observation(&late), None, "the first RST was not seen");
        let mut by = |sender| {
            late.follows = Some(Follows::Rst { sender });
            observation(&late)
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
        let text = observation(&sent).expect("several remain");
        assert!(text.starts_with("the log of nginx[12] at "), "{text}");
        sent.process = None;
        assert_eq!(observation(&sent), None);
    }
}
