//! JSON objects, written straight into a buffer: members that are null, or objects and
//! lists with nothing in them, are left out.

use serde::Serialize;

use super::json::write;

/// An object that is being written.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
}

/// Where a member begins, and where its value.
struct Member {
    start: usize,
    value: usize,
}

impl Object<'_> {
    /// Appends an object as one line.
    ///
    /// # Errors
    /// Those of serialisation, after which nothing is appended.
    pub(super) fn line(
        out: &mut Vec<u8>,
        members: impl FnOnce(&mut Object<'_>) -> serde_json::Result<()>,
    ) -> serde_json::Result<()> {
        let start = out.len();
        out.push(b'{');
        if let Err(error) = members(&mut Object { out }) {
            out.truncate(start);
            return Err(error);
        }
        out.extend_from_slice(b"}\n");
        Ok(())
    }

    /// A member, unless it is nothing.
    pub(super) fn put(&mut self, name: &str, value: impl Serialize) -> serde_json::Result<()> {
        let member = self.begin(name);
        write(&value, self.out)?;
        self.end(&member);
        Ok(())
    }

    /// A member that is an object, unless nothing is in it.
    pub(super) fn nest(
        &mut self,
        name: &str,
        members: impl FnOnce(&mut Object<'_>) -> serde_json::Result<()>,
    ) -> serde_json::Result<()> {
        let member = self.begin(name);
        self.out.push(b'{');
        members(&mut Object { out: self.out })?;
        self.out.push(b'}');
        self.end(&member);
        Ok(())
    }

    /// A member that is a list of one object.
    pub(super) fn list_of_one(
        &mut self,
        name: &str,
        members: impl FnOnce(&mut Object<'_>) -> serde_json::Result<()>,
    ) -> serde_json::Result<()> {
        self.list(name, |out| {
            out.push(b'{');
            members(&mut Object { out })?;
            out.push(b'}');
            Ok(())
        })
    }

    /// A member that is a list whose values write themselves.
    pub(super) fn list(
        &mut self,
        name: &str,
        values: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>,
    ) -> serde_json::Result<()> {
        let member = self.begin(name);
        self.out.push(b'[');
        values(self.out)?;
        self.out.push(b']');
        self.end(&member);
        Ok(())
    }

    /// All members of what is written as an object.
    pub(super) fn extend(&mut self, value: &impl Serialize) -> serde_json::Result<()> {
        let (start, is_first) = (self.out.len(), self.is_empty());
        write(value, self.out)?;
        match &self.out[start..] {
            [b'{', b'}'] => self.out.truncate(start),
            [b'{', .., b'}'] => {
                self.out.pop();
                if is_first {
                    self.out.remove(start);
                } else {
                    self.out[start] = b',';
                }
            }
            _ => self.out.truncate(start),
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.out.last() == Some(&b'{')
    }

    /// Names are the formats' own and need no escapes.
    fn begin(&mut self, name: &str) -> Member {
        let start = self.out.len();
        if !self.is_empty() {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        Member { start, value: self.out.len() }
    }

    fn end(&mut self, member: &Member) {
        if matches!(&self.out[member.value..], b"null" | b"{}" | b"[]") {
            self.out.truncate(member.start);
        }
    }
}
