//! What may be relied on, by the kind of file system. Of one not known here, nothing.

use std::os::fd::AsFd;

const EXT4: u32 = 0xEF53;
const XFS: u32 = 0x5846_5342;

/// File systems that change by this kernel only.
const LOCAL: [u32; 10] = [
    EXT4,
    XFS,
    0x9123_683E, // btrfs
    0x2FC1_2FC1, // zfs
    0xF2F5_2010, // f2fs
    0xCA45_1A4E, // bcachefs
    0x3153_464A, // jfs
    0x794C_7630, // overlayfs
    0x0102_1994, // tmpfs
    0x8584_58F6, // ramfs
];

fn kind(of: impl AsFd) -> Option<u32> {
    // the kernel's numbers have 32 bits, the C library's type differs
    nix::sys::statfs::fstatfs(of).ok().map(|found| found.filesystem_type().0 as u32)
}

/// True where another host may change what is there, of which inotify does not tell (NFS, CIFS, clusters, FUSE).
pub(crate) fn is_shared(dir: impl AsFd) -> bool {
    kind(dir).is_none_or(|kind| !LOCAL.contains(&kind))
}

/// True where bytes that were written out (`sync_file_range`) are in the file after a crash that its later name is there after: the file
/// system writes in place, and its journal keeps sizes and names in order. For the same reason bytes that were appended are there only when all
/// names are that were changed before. (Of ext4 without a journal nothing is certain; nor can it be told apart.)
pub(crate) fn keeps_order(file: impl AsFd) -> bool {
    matches!(kind(file), Some(EXT4 | XFS))
}
