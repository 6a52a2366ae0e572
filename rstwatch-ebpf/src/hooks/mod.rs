//! One file per hook.

mod finish_connect;
mod ingress;
mod kfree_skb;
mod nf_send_reset;
mod receive_reset;
mod seed;
mod send_reset;
mod set_state;
mod tcp_reset;
