//! How the C library's allocator keeps memory that was freed.

/// Has large blocks given back to the kernel as soon as they are free. The hash of a password takes 9 MiB, and glibc, once
/// such a block was freed, keeps the next ones for the thread that had them: a crowd that logs in would leave as many behind
/// as there are threads. Smaller blocks, such as answers to READ, are kept as before. musl's allocator does so by itself.
pub fn give_back_large_blocks() {
    #[cfg(target_env = "gnu")]
    {
        const LARGE: libc::c_int = 1 << 20;
        #[expect(unsafe_code, reason = "no crate offers mallopt(3)")]
        // SAFETY: it sets a number of the allocator, and every number is allowed. Refused, all stays as it was.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        }
    }
}
