//! Any bytes in place of the kernel's BTF become an error or answers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use observer::kernel::btf::Btf;

fuzz_target!(|bytes: &[u8]| {
    let Ok(btf) = Btf::parse(bytes.to_vec(), |_| true) else { return };
    let _ = btf.offset("sock", &["__sk_common", "skc_dport"]);
    let _ = btf.enumerator("skb_drop_reason", "SKB_DROP_REASON_NETFILTER_DROP");
    let _ = btf.function_params("tcp_reset");
    let _ = btf.tracepoint_args("kfree_skb");
});
