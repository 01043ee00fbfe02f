//! The archive that Linux unpacks as its first root file system: cpio, format
//! `newc` (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::io::{self, Write};

/// File types of `st_mode`.
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// Writes one archive. Linux takes several, one behind the other.
#[derive(Debug)]
pub(crate) struct Archive<W: Write> {
    out: W,
    inode: u32,
}

impl<W: Write> Archive<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, inode: 0 }
    }

    /// A directory; its parents come first. Paths have no leading slash.
    pub(crate) fn directory(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, DIRECTORY | 0o755, (0, 0), &[])
    }

    /// A file, executable or not.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entry(path, FILE | (mode & 0o777), (0, 0), content)
    }

    /// A symbolic link.
    pub(crate) fn symlink(&mut self, path: &str, to: &str) -> io::Result<()> {
        self.entry(path, SYMLINK | 0o777, (0, 0), to.as_bytes())
    }

    /// A character device by major and minor number.
    pub(crate) fn device(&mut self, path: &str, number: (u32, u32)) -> io::Result<()> {
        self.entry(path, CHARACTER_DEVICE | 0o600, number, &[])
    }

    /// Ends the archive and returns what it was written to.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        Ok(self.out)
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) -> io::Result<()> {
        let length = u32::try_from(content.len()).map_err(|_| io::Error::other("a file of 4 GiB or more"))?;
        let name_length = u32::try_from(path.len() + 1).map_err(|_| io::Error::other("a path of 4 GiB or more"))?;
        self.inode += 1;
        self.out.write_all(b"070701")?;
        // Inode, mode, owner, group, links, time, size, device, special device, name, checksum.
        for field in [self.inode, mode, 0, 0, 1, 0, length, 0, 0, device.0, device.1, name_length, 0] {
            write!(self.out, "{field:08x}")?;
        }
        self.out.write_all(path.as_bytes())?;
        self.out.write_all(&[0])?;
        self.pad(110 + path.len() + 1)?;
        self.out.write_all(content)?;
        self.pad(content.len())
    }

    /// Zeroes up to a multiple of four.
    fn pad(&mut self, written: usize) -> io::Result<()> {
        let zeroes = [0; 3];
        self.out.write_all(zeroes.get(..written.wrapping_neg() % 4).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_the_trailer_is_there() {
        let mut archive = Archive::new(Vec::new());
        archive.directory("etc").unwrap();
        archive.file("etc/issue", 0o644, b"hello").unwrap();
        archive.symlink("bin", "usr/bin").unwrap();
        archive.device("console", (5, 1)).unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(text.matches("070701").count(), 5);
        for start in text.match_indices("070701").map(|(at, _)| at) {
            assert_eq!(start % 4, 0, "the entry at {start}");
        }
        assert!(text.contains("00000005") && text.contains("hello\0\0\0"));
        assert!(text.ends_with("TRAILER!!!\0\0\0\0"));
    }
}
