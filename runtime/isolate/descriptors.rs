//! How many databases the process may have open.

/// A database, its WAL and the index of that; and the commit log reads the WAL through a handle of its own.
const FILES_PER_DATABASE: u64 = 4;
/// For everything else: connections, listeners, what is open for a moment.
const RESERVED: u64 = 128;
/// If the kernel does not say: the usual soft limit.
const FILES_USUAL: u64 = 1024;

/// As many as the process's limit of descriptors allows just now, less what others need.
pub(crate) fn databases_max() -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: FILES_USUAL,
        rlim_max: FILES_USUAL,
    };
    // SAFETY: writes one rlimit, which is ours. If it fails, the usual limit stands there.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    let files = limit.rlim_cur.saturating_sub(RESERVED);
    usize::try_from(files / FILES_PER_DATABASE)
        .unwrap_or(usize::MAX)
        .max(8)
}
