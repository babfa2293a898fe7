//! Notices when the disk that `data` is on goes. What then happens, and how it is waited for, is [`super::waiting`]'s.

use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;

use crate::store::place::{self, BadPlace, Disk};

/// How often the mount table is looked at: as fast as a person who pulls a disk.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Ends when the disk that `data` is on is not there any more, with why.
pub async fn gone(data: &Path, disk: &Disk) -> BadPlace {
    loop {
        sleep(LOOK_EVERY).await;
        if let Err(bad) = place::still(data, disk) {
            return bad;
        }
    }
}
