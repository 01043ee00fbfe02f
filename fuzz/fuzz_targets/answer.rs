//! Any text as a receiver's answer in a mail server's log, or in the place of a greeting: it
//! is found or not, what is kept of it is bounded, and what refuses has a meaning.
#![no_main]

use libfuzzer_sys::fuzz_target;
use observer_core::answer::{Reply, meaning};

/// At most, as the module has it.
const TEXT: usize = 4_096;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    for reply in [Reply::in_words(&text), Reply::of_greeting(&text)].into_iter().flatten() {
        assert!((200..600).contains(&reply.code) && reply.text.len() <= TEXT);
        let found = meaning(&reply);
        assert_eq!(found.is_some(), reply.code >= 400);
        if let Some(found) = found {
            assert!(!found.meaning.is_empty() && !found.next_step.is_empty());
        }
    }
});
