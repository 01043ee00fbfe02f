//! Who announces an address, from a local file in the MaxMind DB format.
//!
//! Two layouts are read: that of GeoLite2 ASN and DB-IP's ASN Lite
//! (`autonomous_system_number`, `autonomous_system_organization`), and that of
//! IPinfo's databases (`asn` such as `AS64496`, `as_name` or `name`).

use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::Path;

use maxminddb::{MaxMindDbError, Reader};
use serde::Deserialize;

pub use observer_core::evidence::dns::AutonomousSystem;

use observer_core::sanitize::sanitize;

/// The largest file that is read, in bytes. IPinfo's largest free one has 50 MB.
const MAX_FILE: u64 = 256 << 20;
/// What is kept of an organisation's name, in characters.
const MAX_ORGANISATION: usize = 128;

/// A database of autonomous systems, in memory.
#[derive(Debug)]
pub struct AsnDatabase {
    reader: Reader<Vec<u8>>,
}

/// The fields of both layouts.
#[derive(Deserialize)]
struct AsnFields<'a> {
    autonomous_system_number: Option<u32>,
    #[serde(borrow)]
    autonomous_system_organization: Option<&'a str>,
    asn: Option<&'a str>,
    as_name: Option<&'a str>,
    name: Option<&'a str>,
}

impl AsnDatabase {
    /// Reads a database.
    ///
    /// # Errors
    /// If the file cannot be read, is no regular file, has more than 256 MiB, or
    /// is no such database. The file is named.
    pub fn open(path: &Path) -> Result<Self, String> {
        let bytes = read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Self::from_bytes(bytes).map_err(|error| format!("{} is no usable ASN database: {error}", path.display()))
    }

    fn from_bytes(bytes: Vec<u8>) -> Result<Self, MaxMindDbError> {
        Ok(Self { reader: Reader::from_source(bytes)? })
    }

    /// Who announces an address; none if the database does not know.
    ///
    /// # Errors
    /// If the database is damaged where the address is, or has no field for the
    /// number that is known here.
    pub fn lookup(&self, address: IpAddr) -> Result<Option<AutonomousSystem>, String> {
        let address = address.to_canonical();
        // A database of IPv4 addresses knows nothing of others.
        if address.is_ipv6() && self.reader.metadata().ip_version == 4 {
            return Ok(None);
        }
        let failed = |error| format!("the ASN database is damaged: {}", sanitize(&format!("{error}")));
        let found = self.reader.lookup(address).map_err(failed)?;
        let Some(record) = found.decode::<AsnFields<'_>>().map_err(failed)? else { return Ok(None) };
        record.autonomous_system().map(Some)
    }
}

impl AsnFields<'_> {
    fn autonomous_system(&self) -> Result<AutonomousSystem, String> {
        let of_text = |text: &str| text.strip_prefix("AS").unwrap_or(text).parse().ok();
        let number = self.autonomous_system_number.or_else(|| self.asn.and_then(of_text));
        let number = number.ok_or("the ASN database has no number of an autonomous system in a known place")?;
        let name = self.autonomous_system_organization.or(self.as_name).or(self.name);
        let organisation = name.map(|name| sanitize(name).chars().take(MAX_ORGANISATION).collect());
        Ok(AutonomousSystem { number, organisation })
    }
}

/// The bytes of a regular file that is not too large.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    // A FIFO would wait for a writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "more than 256 MiB"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
