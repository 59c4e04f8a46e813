//! Whether the locks of a file system are seen by all machines that have it.
//!
//! A list of file systems, since no call tells it: a wrong yes could remove what a run of another machine is writing,
//! so what is not listed counts as no.

use std::fs;
use std::path::Path;

/// File systems of one machine, where a lock is always seen.
const LOCAL: [&str; 17] = [
    "apfs", "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "hfsplus", "jfs", "ntfs",
    "ntfs3", "overlay", "tmpfs", "vfat", "xfs", "zfs",
];
/// File systems of many machines that carry locks (flock(2)) unless they were mounted without.
const SHARED: [&str; 9] = [
    "ceph", "cifs", "gfs2", "gpfs", "lustre", "nfs", "nfs4", "ocfs2", "smb3",
];
/// Options of a mount that keep locks on one machine: nfs(5), mount.cifs(8), mount.lustre(8).
const ALONE: [&str; 6] = [
    "local_lock=all",
    "local_lock=flock",
    "localflock",
    "noflock",
    "nobrl",
    "nolock",
];

/// Whether a lock in `folder` that can be taken is held by nobody on any machine, as far as the kernel says.
pub fn locks_reach_all(folder: &Path) -> bool {
    let Ok(folder) = folder.canonicalize() else {
        return false;
    };
    // Without proc(5), as on macOS, the folder is taken for one of this machine.
    let mounts = fs::read_to_string("/proc/self/mountinfo");
    mounts.map_or(true, |mounts| reach_all(&mounts, &folder))
}

fn reach_all(mountinfo: &str, folder: &Path) -> bool {
    let mounts = mountinfo.lines().filter_map(|line| {
        // 36 35 98:0 / /mnt/point rw,noatime master:1 - type source options, proc_pid_mountinfo(5)
        let (mount, system) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?.replace("\\040", " ");
        let mut system = system.split(' ');
        let (kind, options) = (system.next()?, system.nth(1)?);
        folder
            .starts_with(&point)
            .then_some((point.len(), kind, options))
    });
    // Of two at one point, the later one is seen.
    let Some((_, kind, options)) = mounts.max_by_key(|(length, ..)| *length) else {
        return false;
    };
    let alone = options.split(',').any(|option| ALONE.contains(&option));
    LOCAL.contains(&kind) || SHARED.contains(&kind) && !alone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_decides() {
        let mounts = "22 1 253:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
            90 22 0:50 / /home rw shared:3 - nfs4 server:/home rw,vers=4.2,local_lock=none\n\
            91 22 0:51 / /old rw - nfs server:/old rw,vers=3,nolock,local_lock=all\n\
            92 22 0:52 / /scratch rw - lustre 10.0.0.1@tcp:/s rw,flock\n\
            93 22 0:53 / /fast\\040one rw - lustre 10.0.0.1@tcp:/f rw,localflock\n\
            94 22 0:54 / /fuse rw - fuse.sshfs host:/ rw\n";
        for (folder, reach) in [
            ("/", true),
            ("/tmp/a", true),
            ("/home/me", true),
            ("/homes", true),
            ("/old/a", false),
            ("/scratch/a", true),
            ("/fast one/a", false),
            ("/fuse/a", false),
        ] {
            assert_eq!(reach_all(mounts, Path::new(folder)), reach, "{folder}");
        }
        assert!(!reach_all("", Path::new("/")));
    }
}
