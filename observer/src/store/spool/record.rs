//! Records of a segment as bytes: pure.
//!
//! A record is its payload's length and the CRC-32 of length and payload (each
//! four bytes, little endian), then the payload: when it was spooled (eight bytes,
//! nanoseconds since 1970), the message's kind (one byte), the length of its label
//! (one byte) and of its id (two bytes), the label, the id and the body.

use jiff::Timestamp;
use observer_core::label::Label;
use observer_core::record::message::{Message, MessageKind};

/// What a segment begins with: the format's name and version.
pub const MAGIC: [u8; 8] = *b"OBSPOOL2";
/// Bytes before a record's payload.
const HEAD: usize = 8;
/// Bytes of a payload before the label.
const FIXED: usize = 12;
/// Longest payload. Nothing that observer writes comes near it, so that a longer
/// one is damage.
const PAYLOAD_MAX: usize = 4 << 20;

/// What the bytes at some place of a segment are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A record.
    Record {
        /// What was spooled.
        message: Message,
        /// When.
        time: Timestamp,
        /// Bytes of the record.
        len: usize,
    },
    /// The beginning of a record that has so many bytes at least.
    Incomplete(usize),
    /// A record that is damaged, of so many bytes.
    Damaged(usize),
    /// Damage behind which no record can be found.
    Lost,
}

/// Appends the record of a message.
///
/// # Errors
/// False if it is too long: nothing was appended then.
#[must_use]
pub fn append(message: &Message, now: Timestamp, out: &mut Vec<u8>) -> bool {
    let label = message.label.map_or("", Label::as_str);
    let payload = FIXED + label.len() + message.id.len() + message.body.len();
    let (Ok(id), true) = (u16::try_from(message.id.len()), payload <= PAYLOAD_MAX) else { return false };
    // Within i64 until the year 2262.
    let time = i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX);
    let start = out.len();
    out.extend_from_slice(&(payload as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&time.to_le_bytes());
    // Neither comes near 256.
    out.extend_from_slice(&[message.kind as u8, label.len() as u8]);
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(label.as_bytes());
    out.extend_from_slice(message.id.as_bytes());
    out.extend_from_slice(&message.body);
    let crc = checksum(&out[start..]);
    out[start + 4..start + HEAD].copy_from_slice(&crc.to_le_bytes());
    true
}

/// The record that begins here.
pub fn parse(bytes: &[u8]) -> Parsed {
    let Some((len, crc)) = head(bytes) else { return Parsed::Incomplete(HEAD) };
    if !(FIXED..=PAYLOAD_MAX).contains(&len) {
        return Parsed::Lost;
    }
    let len = HEAD + len;
    let Some(record) = bytes.get(..len) else { return Parsed::Incomplete(len) };
    if checksum(record) != crc {
        return Parsed::Damaged(len);
    }
    match payload(&record[HEAD..]) {
        Some((message, time)) => Parsed::Record { message, time, len },
        None => Parsed::Damaged(len),
    }
}

fn head(bytes: &[u8]) -> Option<(usize, u32)> {
    let (len, rest) = bytes.split_first_chunk()?;
    let crc = rest.first_chunk()?;
    Some((usize::try_from(u32::from_le_bytes(*len)).ok()?, u32::from_le_bytes(*crc)))
}

fn payload(bytes: &[u8]) -> Option<(Message, Timestamp)> {
    let (time, rest) = bytes.split_first_chunk()?;
    let ([kind, label_len], rest) = rest.split_first_chunk()?;
    let (id_len, rest) = rest.split_first_chunk()?;
    let (label, rest) = rest.split_at_checked((*label_len).into())?;
    let (id, body) = rest.split_at_checked(u16::from_le_bytes(*id_len).into())?;
    let time = Timestamp::from_nanosecond(i64::from_le_bytes(*time).into()).ok()?;
    let label = match str::from_utf8(label).ok()? {
        "" => None,
        name => Some(Label::ALL.into_iter().find(|label| label.as_str() == name)?),
    };
    let kind = *MessageKind::ALL.get(usize::from(*kind))?;
    Some((Message { id: String::from_utf8(id.to_vec()).ok()?, kind, label, body: body.to_vec() }, time))
}

/// Of all but the checksum itself.
fn checksum(record: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&record[..4]);
    crc.update(&record[HEAD..]);
    crc.finalize()
}

/// What a segment holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Records that can be read.
    pub records: u64,
    /// When the first of them was spooled.
    pub first: Option<Timestamp>,
    /// Damaged places.
    pub damaged: u64,
    /// Bytes up to the end of the last record.
    pub end: usize,
}

/// Counts what a segment's bytes hold, from `offset` on, where a record begins.
pub fn census(segment: &[u8], offset: usize) -> Census {
    let mut census = Census { end: offset.min(segment.len()), ..Census::default() };
    let mut at = census.end;
    while at < segment.len() {
        match parse(&segment[at..]) {
            Parsed::Record { time, len, .. } => {
                census.records += 1;
                census.first.get_or_insert(time);
                at += len;
                census.end = at;
            }
            Parsed::Damaged(len) => {
                census.damaged += 1;
                at += len;
            }
            Parsed::Incomplete(_) | Parsed::Lost => {
                census.damaged += 1;
                break;
            }
        }
    }
    census
}
