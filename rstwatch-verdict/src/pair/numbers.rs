//! The numbers in an RST's header, by which its two ends find each other where address translation lies between them.
//!
//! Translation changes addresses and ports. Sequence and acknowledgement numbers stay, unless a device ends the
//! connection itself (a proxy), or changes the payload's length (a helper for FTP or SIP).

use std::num::NonZeroU32;

use rstwatch_common::flow::Flow;
use rstwatch_common::record::{ResetRecord, flags, kind, present, tcp_flag};

use crate::evidence;

/// The numbers of one RST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// Sequence number; 0 in the answer to a segment without ACK.
    pub(crate) seq: u32,
    /// Acknowledgement number, if the RST has one.
    pub(crate) ack: Option<u32>,
}

impl Numbers {
    /// The numbers of a sent RST: those of an active reset are the socket's, those of an answer come from the answered
    /// segment (net/ipv4/tcp_ipv4.c, tcp_v4_send_reset; net/ipv4/netfilter/nf_reject_ipv4.c, nf_reject_ip_tcphdr_put).
    pub(crate) fn of_sent(record: &ResetRecord) -> Option<Self> {
        if record.flags & flags::SKB == 0 {
            let known = record.kind == kind::SENT && record.flags & flags::TCP != 0;
            return known.then_some(Self { seq: record.tcp.snd_nxt, ack: Some(record.tcp.rcv_nxt) });
        }
        let answered = &record.segment;
        if answered.present & present::SEGMENT == 0 {
            return None;
        }
        if answered.flags & tcp_flag::ACK != 0 {
            return Some(Self { seq: answered.ack, ack: None });
        }
        let has = |flag| u32::from(answered.flags & flag != 0);
        let length = answered.payload.wrapping_add(has(tcp_flag::SYN)).wrapping_add(has(tcp_flag::FIN));
        Some(Self { seq: 0, ack: Some(answered.seq.wrapping_add(length)) })
    }

    /// The numbers of a received RST, if its header was seen.
    pub(super) fn of_received(record: &ResetRecord) -> Option<Self> {
        let rst = evidence::rst_header(record)?;
        Some(Self { seq: rst.seq, ack: (rst.flags & tcp_flag::ACK != 0).then_some(rst.ack) })
    }

    /// The number that identifies the RST: 32 bits that its connection drew at random and has advanced since. In the
    /// answer to a SYN it is the acknowledgement number. `None`: all numbers are 0, as in many other RSTs.
    pub(super) fn identifying(self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.seq).or_else(|| NonZeroU32::new(self.ack?))
    }

    fn both_identify(self) -> bool {
        self.seq != 0 && self.ack.is_some_and(|ack| ack != 0)
    }
}

/// Whether address translation may have made `sent` of `seen`: both as the receiver sees an RST, the first from the
/// sender's record, the second from the receiver's. The RST has the same numbers in both.
///
/// One unchanged end is enough. If both have changed, a second number has to agree: the acknowledgement number, or both
/// ports, which translation keeps where it can. NAT64 changes both ends.
pub(super) fn is_translation(sent: &Flow, seen: &Flow, numbers: Numbers) -> bool {
    let same_local = sent.local == seen.local && sent.local_port == seen.local_port;
    let same_remote = sent.remote == seen.remote && sent.remote_port == seen.remote_port;
    let same_ports = sent.local_port == seen.local_port && sent.remote_port == seen.remote_port;
    let known = sent.family != 0 && seen.family != 0;
    let one_sided = sent.family == seen.family && (same_local || same_remote);
    known && (one_sided || same_ports || numbers.both_identify())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fixture;

    fn numbers(seq: u32, ack: Option<u32>) -> Numbers {
        Numbers { seq, ack }
    }

    #[test]
    fn a_sent_rst_has_the_numbers_that_its_receiver_sees() {
        let mut abort = fixture::sent_active();
        (abort.tcp.snd_nxt, abort.tcp.rcv_nxt) = (7, 8);
        let mut answer = fixture::sent_answer();
        (answer.segment.seq, answer.segment.ack) = (20, 30);
        let mut refusal = answer;
        (refusal.segment.flags, refusal.segment.payload) = (tcp_flag::SYN, 0);
        // Neither SYN nor ACK: RFC 9293 section 3.10.7.1 acknowledges its payload and its FIN.
        let mut scan = answer;
        (scan.segment.flags, scan.segment.payload) = (tcp_flag::FIN, 10);
        let reject = ResetRecord { kind: kind::FIREWALL, ..refusal };
        let mut unread = answer;
        unread.segment.present = 0;
        let mut unknown = abort;
        unknown.flags &= !flags::TCP;
        let cases = [
            (abort, Some(numbers(7, Some(8)))),
            (answer, Some(numbers(30, None))),
            (refusal, Some(numbers(0, Some(21)))),
            (scan, Some(numbers(0, Some(31)))),
            (reject, Some(numbers(0, Some(21)))),
            (unread, None),
            (unknown, None),
        ];
        for (index, (record, expected)) in cases.into_iter().enumerate() {
            assert_eq!(Numbers::of_sent(&record), expected, "case {index}");
        }
        assert_eq!(Numbers::of_received(&fixture::received()), Some(numbers(5000, Some(900))));
    }

    #[test]
    fn zeros_identify_nothing() {
        for (seq, ack, expected) in [(5, None, 5), (5, Some(6), 5), (0, Some(6), 6), (0, Some(0), 0), (0, None, 0)] {
            assert_eq!(numbers(seq, ack).identifying(), NonZeroU32::new(expected), "{seq} {ack:?}");
        }
    }

    #[test]
    fn what_translation_leaves_of_a_flow() {
        let seen = fixture::record().flow;
        let mut dnat = seen;
        (dnat.remote[0], dnat.remote_port) = (172, 8080);
        let mut snat = seen;
        (snat.local[0], snat.local_port) = (192, 1024);
        let both = Flow { remote: dnat.remote, local: snat.local, ..seen };
        let both_and_port = Flow { local_port: 1024, ..both };
        let nat64 = Flow { family: rstwatch_common::flow::IPV6, ..both };
        let nat64_and_port = Flow { local_port: 1024, ..nat64 };
        let other_family = Flow { family: rstwatch_common::flow::IPV6, ..dnat };
        let (bare, live, refusal) = (numbers(5, None), numbers(5, Some(6)), numbers(0, Some(6)));
        for sent in [dnat, snat, both, nat64] {
            assert!([bare, live, refusal].into_iter().all(|numbers| is_translation(&sent, &seen, numbers)), "{sent:?}");
        }
        for sent in [both_and_port, nat64_and_port, other_family] {
            assert!(is_translation(&sent, &seen, live), "{sent:?}");
            assert!(!is_translation(&sent, &seen, bare) && !is_translation(&sent, &seen, refusal), "{sent:?}");
        }
        assert!(!is_translation(&Flow::EMPTY, &seen, live));
        assert!(!is_translation(&Flow::EMPTY, &Flow::EMPTY, live));
    }
}
