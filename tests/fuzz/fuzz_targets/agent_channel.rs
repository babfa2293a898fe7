//! Any bytes on the agents' channel, in pieces of any size: refused, or messages that say the same when they are sent on.
#![no_main]

use bramble::proto::agent::channel::{Inbox, Message, Pin, ToAgent, ToServer, encode};
use bramble::types::limits;

/// Hears `bytes` in pieces of `piece`, and says what was heard again.
fn hear<M: Message>(bytes: &[u8], piece: usize) {
    let mut inbox = Inbox::<M>::default();
    for piece in bytes.chunks(piece) {
        let Ok(messages) = inbox.take(piece) else { return };
        for message in messages {
            let said = serde_json::to_string(&message).expect("what was read can be written");
            // Written anew it may be longer than it came (`"\/"` is not, `é` for `\u00e9` is not, but numbers may be).
            let Ok(frame) = encode(&message) else { continue };
            let again = Inbox::<M>::default().take(&frame).expect("our own");
            let [again] = again.as_slice() else { panic!("one message became {}", again.len()) };
            assert_eq!(serde_json::to_string(again).expect("JSON"), said);
        }
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&piece, stream)) = bytes.split_first() else { return };
    let piece = usize::from(piece) + 1;
    hear::<ToServer>(stream, piece);
    hear::<ToAgent>(stream, piece);
    // The same as one well-framed message, so that most inputs get past the length.
    if let Ok(length) = u32::try_from(stream.len())
        && stream.len() <= limits::CHANNEL_TO_SERVER
    {
        let framed = [&length.to_be_bytes(), stream].concat();
        hear::<ToServer>(&framed, piece);
        hear::<ToAgent>(&framed, piece);
    }
    if let Ok(text) = std::str::from_utf8(stream)
        && let Ok(pin) = text.parse::<Pin>()
    {
        assert_eq!(pin.to_string(), text.to_ascii_lowercase());
    }
});
