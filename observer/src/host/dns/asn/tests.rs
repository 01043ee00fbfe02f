use std::fs;
use std::net::IpAddr;

use proptest::prelude::*;

use super::{AsnDatabase, AutonomousSystem, read};

/// A value of the data section (MaxMind DB format specification 2.0).
enum Value<'a> {
    Text(&'a str),
    Short(u16),
    Number(u32),
    Long(u64),
    Map(&'a [(&'a str, Value<'a>)]),
}

impl Value<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => {
                control(2, text.len(), out);
                out.extend_from_slice(text.as_bytes());
            }
            Self::Short(number) => {
                control(5, 2, out);
                out.extend_from_slice(&number.to_be_bytes());
            }
            // An extended type: nine less seven.
            Self::Long(number) => {
                out.extend([8, 2]);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Self::Number(number) => {
                control(6, 4, out);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Self::Map(entries) => {
                control(7, entries.len(), out);
                for (key, value) in *entries {
                    Self::Text(key).write(out);
                    value.write(out);
                }
            }
        }
    }
}

fn control(kind: u8, size: usize, out: &mut Vec<u8>) {
    match size {
        0..29 => out.push(kind << 5 | size as u8),
        29..285 => out.extend([kind << 5 | 29, (size - 29) as u8]),
        _ => {
            let size = (size - 285) as u16;
            out.push(kind << 5 | 30);
            out.extend(size.to_be_bytes());
        }
    }
}

/// A database of one node: the lower half of all IPv4 addresses has the record.
fn database(record: &Value<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (data, nothing) = (1 + 16_u32, 1_u32);
    bytes.extend(&data.to_be_bytes()[1..]);
    bytes.extend(&nothing.to_be_bytes()[1..]);
    bytes.extend([0; 16]);
    record.write(&mut bytes);
    bytes.extend(b"\xab\xcd\xefMaxMind.com");
    let metadata = [
        ("binary_format_major_version", Value::Short(2)),
        ("binary_format_minor_version", Value::Short(0)),
        ("build_epoch", Value::Long(1_700_000_000)),
        ("database_type", Value::Text("Test-ASN")),
        ("description", Value::Map(&[])),
        ("ip_version", Value::Short(4)),
        ("node_count", Value::Number(1)),
        ("record_size", Value::Short(24)),
    ];
    // Languages, an empty array: an extended type.
    let mut written = Vec::new();
    Value::Map(&metadata).write(&mut written);
    written[0] += 1;
    Value::Text("languages").write(&mut written);
    written.extend([0, 4]);
    bytes.extend(written);
    bytes
}

fn geolite() -> Vec<u8> {
    database(&Value::Map(&[
        ("autonomous_system_number", Value::Number(64_496)),
        ("autonomous_system_organization", Value::Text("Example Networks")),
    ]))
}

fn lookup(bytes: Vec<u8>, address: &str) -> Result<Option<AutonomousSystem>, String> {
    AsnDatabase::from_bytes(bytes).map_err(|error| error.to_string())?.lookup(address.parse().unwrap())
}

fn found(number: u32, organisation: Option<&str>) -> Result<Option<AutonomousSystem>, String> {
    Ok(Some(AutonomousSystem { number, organisation: organisation.map(str::to_owned) }))
}

#[test]
fn both_layouts_are_read() {
    assert_eq!(lookup(geolite(), "10.0.0.1"), found(64_496, Some("Example Networks")));
    let ipinfo = [("asn", Value::Text("AS64497")), ("as_name", Value::Text("Example")), ("country", Value::Text("DE"))];
    assert_eq!(lookup(database(&Value::Map(&ipinfo)), "10.0.0.1"), found(64_497, Some("Example")));
    let nameless = [("asn", Value::Text("AS64498"))];
    assert_eq!(lookup(database(&Value::Map(&nameless)), "::ffff:10.0.0.1"), found(64_498, None));
}

#[test]
fn what_it_does_not_know_is_none() {
    assert_eq!(lookup(geolite(), "203.0.113.1"), Ok(None));
    assert_eq!(lookup(geolite(), "2001:db8::1"), Ok(None));
}

#[test]
fn hostile_records_are_errors_or_harmless() {
    let name = format!("\x1b[2J{}", "x".repeat(1000));
    let record = [("asn", Value::Text("AS1")), ("name", Value::Text(&name))];
    let organisation = lookup(database(&Value::Map(&record)), "10.0.0.1").unwrap().unwrap().organisation.unwrap();
    assert_eq!((organisation.chars().count(), &organisation[..8]), (128, "\\x1b[2Jx"));
    for record in [
        Value::Map(&[]),
        Value::Map(&[("asn", Value::Text("ASxyz"))]),
        Value::Map(&[("asn", Value::Number(1))]),
        Value::Map(&[("autonomous_system_number", Value::Text("1"))]),
        Value::Text("AS1"),
    ] {
        let error = lookup(database(&record), "10.0.0.1").unwrap_err();
        assert!(error.starts_with("the ASN database"), "{error}");
    }
}

#[test]
fn files_that_are_no_database_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("asn.mmdb");
    assert!(AsnDatabase::open(&path).unwrap_err().starts_with(&format!("cannot read {}: ", path.display())));
    assert!(read(dir.path()).unwrap_err().to_string().ends_with("not a regular file"));
    fs::write(&path, "no database").unwrap();
    let error = AsnDatabase::open(&path).unwrap_err();
    assert!(error.starts_with(&format!("{} is no usable ASN database: ", path.display())), "{error}");
    fs::write(&path, geolite()).unwrap();
    assert_eq!(
        AsnDatabase::open(&path).unwrap().lookup("10.0.0.1".parse().unwrap()),
        found(64_496, Some("Example Networks"))
    );
    fs::File::create(&path).unwrap().set_len(super::MAX_FILE + 1).unwrap();
    assert!(AsnDatabase::open(&path).unwrap_err().ends_with("more than 256 MiB"));
}

proptest! {
    #[test]
    fn damage_is_no_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12), cut in any::<prop::sample::Index>(), address in any::<IpAddr>()) {
        let mut bytes = geolite();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = lookup(bytes.clone(), &address.to_string());
        let _ = lookup(bytes.clone(), "10.0.0.1");
        bytes.truncate(cut.index(bytes.len()));
        let _ = lookup(bytes, "10.0.0.1");
    }
}
