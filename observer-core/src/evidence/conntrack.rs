//! How full the table of connection tracking is: once it is full, the kernel drops new
//! connections, and no rule says so.

use serde::Serialize;

/// What the kernel counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Conntrack {
    /// Connections in the table.
    pub count: u64,
    /// Connections that have room.
    pub max: u64,
}

impl Conntrack {
    /// Reads `net.netfilter.nf_conntrack_count` and `nf_conntrack_max`; none: they are no
    /// numbers.
    pub fn read(count: &str, max: &str) -> Option<Self> {
        let (count, max) = (count.trim().parse().ok()?, max.trim().parse().ok()?);
        Some(Self { count, max })
    }

    /// Whether new connections find no room, or hardly any. No limit is 0.
    pub const fn is_full(self) -> bool {
        self.max > 0 && self.count.saturating_mul(100) >= self.max.saturating_mul(95)
    }
}

#[cfg(test)]
mod tests {
    use super::Conntrack;

    #[test]
    fn full_is_where_hardly_any_room_is_left() {
        let is_full = |count, max| Conntrack::read(count, max).map(Conntrack::is_full);
        assert_eq!(is_full("262144\n", "262144\n"), Some(true));
        assert_eq!(is_full("95", "100"), Some(true));
        assert_eq!(is_full("94", "100"), Some(false));
        assert_eq!(is_full("5", "0"), Some(false));
        assert_eq!(is_full("x", "100"), None);
        assert_eq!(is_full("18446744073709551615", "18446744073709551615"), Some(true));
    }
}
