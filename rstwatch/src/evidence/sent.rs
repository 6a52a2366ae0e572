//! Evidence of sent resets: mostly what the kernel says.

use rstwatch_common::record::{ResetRecord, Task, flags, sk_class, tcp_flag};

use super::{Answered, Context, Ending, Firewall, Met, Reason, Sent, end};

pub(super) fn evidence(record: &ResetRecord, context: &Context) -> Sent {
    let (reason, given) = Reason::of(record, &context.reasons);
    let mut end = end::of(record, context);
    // For an active reset the memory holds the kernel's number; the derived reason counts where it has no name.
    if let Some(end) = &mut end
        && let Ending::Aborted(abort) = &mut end.ending
        && !given
        && record.flags & flags::SKB == 0
    {
        abort.reason = reason;
    }
    Sent {
        reason,
        derived: !given,
        answered: answered(record),
        met: met(record.sk_class),
        end,
        queue_full: record.tcp.ack_backlog > record.tcp.max_ack_backlog,
        actor: actor(&record.task),
    }
}

fn actor(task: &Task) -> String {
    crate::owner::process(task).map(|process| format!("{}[{}]", process.comm, process.pid)).unwrap_or_default()
}

fn answered(record: &ResetRecord) -> Option<Answered> {
    if record.flags & flags::SKB == 0 {
        return None;
    }
    let segment = &record.segment;
    Some(Answered {
        syn: segment.flags & tcp_flag::SYN != 0,
        ack: segment.flags & tcp_flag::ACK != 0,
        fin: segment.flags & tcp_flag::FIN != 0,
        payload: segment.payload,
    })
}

fn met(class: u8) -> Met {
    match class {
        sk_class::NONE => Met::Nothing,
        sk_class::LISTEN => Met::Listener,
        sk_class::TIME_WAIT => Met::TimeWait,
        _ => Met::Connection,
    }
}

pub(super) fn firewall(record: &ResetRecord) -> Firewall {
    Firewall {
        syn: record.segment.flags & (tcp_flag::SYN | tcp_flag::ACK) == tcp_flag::SYN,
        inferred: record.flags & flags::INFERRED != 0,
    }
}
