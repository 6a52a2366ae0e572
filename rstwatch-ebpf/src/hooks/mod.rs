//! One file per hook: what it reads, and where that goes.

mod challenge_ack;
mod conn_request;
mod early_drop;
mod finish_connect;
mod held_listeners;
mod ingress;
mod kfree_skb;
mod listeners;
mod nf_send_reset;
mod receive_reset;
mod sample;
mod seed;
mod send_reset;
mod set_state;
mod syn_recv_sock;
mod tasks;
mod tcp_reset;
mod v4_send_reset;
