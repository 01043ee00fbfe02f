//! Reads member offsets, enum values and parameter counts from BTF.
//!
//! Layout of the data: Documentation/bpf/btf.rst in the kernel. Written here
//! because the programs need a dozen numbers out of 5 MB: one pass that copies
//! nothing takes milliseconds, and hostile input can only make it say no.

use std::collections::{HashMap, HashSet};
use std::fmt;

const MAGIC: u16 = 0xeb9f;
const KIND_INT: u32 = 1;
const KIND_PTR: u32 = 2;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;
const HEADER_LEN: usize = 12;
/// More qualifiers than any kernel has; ends a loop of types.
const MAX_DEPTH: usize = 16;
/// Longest name, with its end (`KSYM_NAME_LEN`). A longer one is none of ours, and
/// looking for its end a million times would take for ever.
const NAME_MAX: usize = 512;

/// Why BTF could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BtfError {
    /// It does not begin with the magic number in this machine's byte order.
    BadMagic,
    /// It ends before its header says.
    Truncated,
    /// A type of a kind that this reader does not know: its size is unknown,
    /// and so is everything behind it.
    UnknownKind(u32),
}

impl fmt::Display for BtfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadMagic => f.write_str("not BTF of this machine's byte order"),
            Self::Truncated => f.write_str("BTF ends before its header says"),
            Self::UnknownKind(kind) => write!(f, "BTF holds a type of the unknown kind {kind}"),
        }
    }
}

impl std::error::Error for BtfError {}

/// Parsed BTF: where each type lies, and the named ones by kind and name.
#[derive(Debug)]
pub struct Btf {
    data: Vec<u8>,
    strings: usize,
    types: Vec<u32>,
    names: HashMap<(u32, String), u32>,
}

/// A member of a struct or union.
struct Member<'a> {
    name: &'a str,
    type_id: u32,
    /// Where it begins, from the beginning of the struct.
    bits: u32,
    /// How many bits a bit field has; of other members 0.
    width: u32,
}

#[derive(Clone, Copy)]
struct Header {
    at: usize,
    name: u32,
    info: u32,
    size_or_type: u32,
}

impl Header {
    fn kind(self) -> u32 {
        (self.info >> 24) & 0x1f
    }

    fn vlen(self) -> usize {
        (self.info & 0xffff) as usize
    }

    fn kind_flag(self) -> bool {
        self.info >> 31 != 0
    }

    fn body(self) -> usize {
        self.at + HEADER_LEN
    }

    /// Bytes that follow the header.
    fn body_len(self) -> Result<usize, BtfError> {
        Ok(match self.kind() {
            KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
            KIND_ARRAY => 12,
            KIND_STRUCT | KIND_UNION | KIND_ENUM64 | KIND_DATASEC => 12 * self.vlen(),
            KIND_ENUM | KIND_FUNC_PROTO => 8 * self.vlen(),
            // Pointers, forward declarations, typedefs, qualifiers, functions,
            // floats, type tags.
            KIND_PTR | 7..=KIND_FUNC | 16 | KIND_TYPE_TAG => 0,
            kind => return Err(BtfError::UnknownKind(kind)),
        })
    }
}

impl Btf {
    /// Parses BTF. `wanted` says which named types will be asked for; others
    /// are not indexed.
    ///
    /// # Errors
    /// See [`BtfError`].
    pub fn parse(data: Vec<u8>, wanted: impl Fn(&str) -> bool) -> Result<Self, BtfError> {
        if data.get(..2) != Some(MAGIC.to_ne_bytes().as_slice()) {
            return Err(BtfError::BadMagic);
        }
        let word = |at| u32_at(&data, at).map(|value| value as usize).ok_or(BtfError::Truncated);
        let header_len = word(4)?;
        let first = header_len.checked_add(word(8)?).ok_or(BtfError::Truncated)?;
        let end = first.checked_add(word(12)?).ok_or(BtfError::Truncated)?;
        let strings = header_len.checked_add(word(16)?).ok_or(BtfError::Truncated)?;
        let strings_end = strings.checked_add(word(20)?).ok_or(BtfError::Truncated)?;
        if end > data.len() || strings_end > data.len() {
            return Err(BtfError::Truncated);
        }
        // Type 0 is void and is not stored.
        let mut btf = Self { data, strings, types: vec![u32::MAX], names: HashMap::new() };
        let mut at = first;
        while at < end {
            let header = btf.header_at(at).ok_or(BtfError::Truncated)?;
            let id = btf.types.len() as u32;
            btf.types.push(at as u32);
            if let Some(name) = btf.string(header.name).filter(|name| !name.is_empty() && wanted(name)) {
                let key = (header.kind(), name.to_owned());
                btf.names.entry(key).or_insert(id);
            }
            at = header.body() + header.body_len()?;
        }
        Ok(btf)
    }

    /// Byte offset of a member, found through nested and anonymous structs.
    /// `None` if it does not exist or is a bit field.
    pub fn offset(&self, name: &str, path: &[&str]) -> Option<u32> {
        let mut id = *self.names.get(&(KIND_STRUCT, name.to_owned()))?;
        let mut bits = 0_u32;
        for member in path {
            let (member_bits, member_id) = self.member(id, member)?;
            bits = bits.checked_add(member_bits)?;
            id = member_id;
        }
        (bits.is_multiple_of(8)).then_some(bits / 8)
    }

    /// Size in bytes and number of members of a struct.
    #[cfg(test)]
    pub(super) fn extent(&self, name: &str) -> Option<(usize, usize)> {
        let header = self.header(*self.names.get(&(KIND_STRUCT, name.to_owned()))?)?;
        Some((header.size_or_type as usize, header.vlen()))
    }

    /// Value of an enumerator.
    pub fn enumerator(&self, name: &str, enumerator: &str) -> Option<u32> {
        let header = self.header(*self.names.get(&(KIND_ENUM, name.to_owned()))?)?;
        (0..header.vlen())
            .map(|index| header.body() + 8 * index)
            .find(|&at| self.string_at(at) == Some(enumerator))
            .and_then(|at| u32_at(&self.data, at + 4))
    }

    /// Number of arguments that a tracepoint gives to a raw program.
    pub fn tracepoint_args(&self, tracepoint: &str) -> Option<usize> {
        let id = *self.names.get(&(KIND_TYPEDEF, format!("btf_trace_{tracepoint}")))?;
        // The first parameter is the tracepoint's private data.
        self.params(id)?.checked_sub(1)
    }

    /// Number of parameters of a function.
    pub fn function_params(&self, function: &str) -> Option<usize> {
        self.params(*self.names.get(&(KIND_FUNC, function.to_owned()))?)
    }

    fn params(&self, mut id: u32) -> Option<usize> {
        for _ in 0..MAX_DEPTH {
            let header = self.header(id)?;
            match header.kind() {
                KIND_FUNC_PROTO => return Some(header.vlen()),
                KIND_TYPEDEF | KIND_PTR | KIND_FUNC | KIND_CONST => id = header.size_or_type,
                _ => return None,
            }
        }
        None
    }

    /// Bit offset and type of a member of struct or union `id`, or of those without a
    /// name within it.
    fn member(&self, id: u32, name: &str) -> Option<(u32, u32)> {
        // Each is looked into once: structs of hostile BTF contain one another.
        let (mut waiting, mut seen) = (vec![(id, 0_u32)], HashSet::new());
        while let Some((id, begin)) = waiting.pop() {
            let Some(id) = self.unqualified(id).filter(|id| seen.insert(*id)) else { continue };
            for member in self.members(id) {
                let bits = begin.checked_add(member.bits)?;
                if member.name == name {
                    return (member.width == 0).then_some((bits, member.type_id));
                }
                if member.name.is_empty() {
                    waiting.push((member.type_id, bits));
                }
            }
        }
        None
    }

    /// Members of a struct or union; of another type none.
    fn members(&self, id: u32) -> impl Iterator<Item = Member<'_>> {
        let header = self.header(id).filter(|header| matches!(header.kind(), KIND_STRUCT | KIND_UNION));
        header.into_iter().flat_map(move |header| {
            (0..header.vlen()).map_while(move |index| {
                let at = header.body() + 12 * index;
                let raw = u32_at(&self.data, at + 8)?;
                let (bits, width) = if header.kind_flag() { (raw & 0xff_ffff, raw >> 24) } else { (raw, 0) };
                Some(Member { name: self.string_at(at)?, type_id: u32_at(&self.data, at + 4)?, bits, width })
            })
        })
    }

    fn unqualified(&self, mut id: u32) -> Option<u32> {
        for _ in 0..MAX_DEPTH {
            let header = self.header(id)?;
            match header.kind() {
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => id = header.size_or_type,
                _ => return Some(id),
            }
        }
        None
    }

    fn header(&self, id: u32) -> Option<Header> {
        self.header_at(*self.types.get(id as usize)? as usize)
    }

    fn header_at(&self, at: usize) -> Option<Header> {
        Some(Header {
            at,
            name: u32_at(&self.data, at)?,
            info: u32_at(&self.data, at.checked_add(4)?)?,
            size_or_type: u32_at(&self.data, at.checked_add(8)?)?,
        })
    }

    fn string_at(&self, at: usize) -> Option<&str> {
        self.string(u32_at(&self.data, at)?)
    }

    fn string(&self, offset: u32) -> Option<&str> {
        let rest = self.data.get(self.strings.checked_add(offset as usize)?..)?;
        let len = rest.iter().take(NAME_MAX).position(|&byte| byte == 0)?;
        std::str::from_utf8(&rest[..len]).ok()
    }
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `struct outer { int first; struct { int second; }; }` and
    /// `enum color { RED = 7 }`.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0outer\0first\0second\0color\0RED\0";
        let name = |wanted: &str| strings.windows(wanted.len()).position(|w| w == wanted.as_bytes()).unwrap() as u32;
        let mut types: Vec<u32> = vec![name("int"), KIND_INT << 24, 4, 32];
        types.extend([0, KIND_STRUCT << 24 | 1, 4, name("second"), 1, 0]);
        types.extend([name("outer"), KIND_STRUCT << 24 | 2, 8, name("first"), 1, 0, 0, 2, 32]);
        types.extend([name("color"), KIND_ENUM << 24 | 1, 4, name("RED"), 7]);
        btf(&types, strings)
    }

    fn btf(types: &[u32], strings: &[u8]) -> Vec<u8> {
        let types_len = 4 * types.len() as u32;
        let mut data = MAGIC.to_ne_bytes().to_vec();
        data.extend([1, 0]);
        for word in [24, 0, types_len, types_len, strings.len() as u32] {
            data.extend(u32::to_ne_bytes(word));
        }
        data.extend(types.iter().flat_map(|word| word.to_ne_bytes()));
        data.extend(strings);
        data
    }

    #[test]
    fn finds_members_and_enumerators() {
        let btf = Btf::parse(sample(), |_| true).unwrap();
        assert_eq!(btf.offset("outer", &["first"]), Some(0));
        assert_eq!(btf.offset("outer", &["second"]), Some(4));
        assert_eq!(btf.offset("outer", &["third"]), None);
        assert_eq!(btf.enumerator("color", "RED"), Some(7));
        assert_eq!(btf.enumerator("color", "BLUE"), None);
    }

    #[test]
    fn refuses_what_is_no_btf() {
        assert_eq!(Btf::parse(b"ELF".to_vec(), |_| true).err(), Some(BtfError::BadMagic));
        let mut short = sample();
        short.truncate(60);
        assert_eq!(Btf::parse(short, |_| true).err(), Some(BtfError::Truncated));
    }

    #[test]
    fn structs_that_contain_each_other_are_looked_into_once() {
        let mut types = Vec::new();
        for name in [1, 0] {
            types.extend([name, KIND_STRUCT << 24 | 100, 8]);
            (0..50).for_each(|_| types.extend([0, 1, 0, 0, 2, 0]));
        }
        let btf = Btf::parse(btf(&types, b"\0outer\0"), |_| true).unwrap();
        assert_eq!(btf.offset("outer", &["absent"]), None);
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(at in 2_usize..150, byte: u8, cut in 0_usize..160) {
            let mut data = sample();
            if let Some(target) = data.get_mut(at) {
                *target = byte;
            }
            data.truncate(cut.max(2));
            if let Ok(btf) = Btf::parse(data, |_| true) {
                let _ = btf.offset("outer", &["second"]);
                let _ = btf.enumerator("color", "RED");
                let _ = btf.function_params("outer");
            }
        }
    }
}
