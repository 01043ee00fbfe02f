//! The structs that cross the border lie in the kernel programs as they do here.

use std::mem::offset_of;

use object::{Object as _, ObjectSection as _};
use observer_common::record::{AttemptRecord, DestinationCounters, DestinationKey, EndCode, OutcomeKey};

use super::btf::Btf;
use super::load::OBJECT;

macro_rules! layout {
    ($struct:ident: $($member:ident)*) => {
        (stringify!($struct), size_of::<$struct>(), vec![$((stringify!($member), offset_of!($struct, $member))),*])
    };
}

#[test]
fn kernel_programs_agree_on_every_shared_struct() {
    let object = object::File::parse(OBJECT).unwrap();
    let data = object.section_by_name(".BTF").unwrap().data().unwrap().to_vec();
    let btf = Btf::parse(data, |_| true).unwrap();
    let layouts = [
        layout!(AttemptRecord: started_ns established_ns ended_ns cgroup bytes_received saddr daddr icmp_from comm
            netns pid uid iif oif cpu code dport sport syn_retransmits syn_drops rst_ttl icmp_ttl answer_drops unacked_bytes reserved counters),
        layout!(EndCode: facts sk_err phase end icmp_type icmp_code soft_err family),
        layout!(DestinationKey: daddr dport reserved),
        layout!(OutcomeKey: saddr destination code),
        layout!(DestinationCounters: since_ns attempts established fastest_handshake_ns),
    ];
    for (name, size, members) in layouts {
        assert_eq!(btf.extent(name), Some((size, members.len())), "size and members of {name}");
        for (member, offset) in members {
            assert_eq!(btf.offset(name, &[member]), Some(offset as u32), "{name}.{member}");
        }
    }
}
