//! What a process that still runs says of itself.

use std::fs;

/// The user and group that its sockets belong to (those for files, of the process with
/// this number), if it still runs with this real user and name.
pub(crate) fn socket_owner(pid: u32, uid: u32, comm: &str) -> Option<(u32, u32)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    owner(&status, uid, comm)
}

fn owner(status: &str, uid: u32, comm: &str) -> Option<(u32, u32)> {
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    // Real, effective, saved, for files.
    let ids = |name: &str| -> Option<Vec<u32>> { line(name)?.split_whitespace().map(|id| id.parse().ok()).collect() };
    let (uids, gids) = (ids("Uid:")?, ids("Gid:")?);
    let is_it = line("Name:")?.trim() == comm && uids.first() == Some(&uid);
    is_it.then_some((*uids.get(3)?, *gids.get(3)?))
}

#[cfg(test)]
mod tests {
    use super::{owner, socket_owner};

    #[test]
    fn ids_for_files_are_those_of_its_sockets() {
        let status =
            "Name:\tsmtp\nUmask:\t0077\nPid:\t4711\nUid:\t108\t108\t108\t109\nGid:\t113\t113\t113\t8\nGroups:\t113 \n";
        assert_eq!(owner(status, 108, "smtp"), Some((109, 8)));
        assert_eq!(owner(status, 33, "smtp"), None);
        assert_eq!(owner(status, 108, "php"), None);
        assert_eq!(owner("Name:\tx\nUid:\t1\n", 1, "x"), None);
    }

    #[test]
    fn a_process_that_is_gone_says_nothing() {
        assert_eq!(socket_owner(u32::MAX, 0, "gone"), None);
    }
}
