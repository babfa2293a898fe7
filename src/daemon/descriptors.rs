//! The number of files and sockets that may be open at once.

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

use crate::types::{chain, limits};

/// Asks for as many descriptors as a full room may take. The daemon runs with fewer too, so a refusal is only told.
pub fn ask() {
    let wanted = rlim_t::try_from(limits::DESCRIPTORS).expect("a few thousand");
    match raise(wanted) {
        Ok(granted) if granted >= wanted => {}
        Ok(granted) => tracing::warn!(
            granted,
            wanted,
            "fewer files and sockets may be open than a full room needs; raise the limit of the process \
             (`ulimit -Hn`, in an init script `procd_set_param limits nofile=…`) and start again"
        ),
        Err(error) => tracing::warn!(
            error = chain(&error),
            "how many files and sockets may be open could not be found out"
        ),
    }
}

/// Raises the limit to `wanted`, or as far as it goes; what it is then.
fn raise(wanted: rlim_t) -> nix::Result<rlim_t> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= wanted {
        return Ok(soft);
    }
    // With the right privilege the upper bound moves too.
    let moved = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted))
        .or_else(|_| setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard));
    Ok(if moved.is_ok() { getrlimit(Resource::RLIMIT_NOFILE)?.0 } else { soft })
}
