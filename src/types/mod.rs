//! The domain's words as values that cannot be wrong.
//!
//! Everything here is parsed once, at the edge, and trusted inside. Nothing here reads a clock, a file or a
//! socket, and nothing here depends on another layer.

pub mod arch;
pub mod chain;
mod hex;
pub mod image;
pub mod limits;
pub mod mac;
pub mod mode;
pub mod name;
pub mod nfs_url;
pub mod page_url;
pub mod person;
pub mod revision;
pub mod serial;
pub mod session;
pub mod size;
pub mod span;
pub mod stage;
pub mod subnet;
pub mod system;
pub mod time;

pub use arch::Arch;
pub use chain::chain;
pub use hex::hex;
pub use image::{BadImageRef, ImageRef, ImageVersion, Version};
pub use mac::MacAddr;
pub use mode::{Mode, SeatUse};
pub use name::{ClassName, HostName, ImageName, RoomName, ShareName, UserName};
pub use nfs_url::NfsUrl;
pub use page_url::PageUrl;
pub use person::{FullName, Gid, PasswordHash, Person, Role, Secret, Uid};
pub use revision::Revision;
pub use serial::Serial;
pub use session::{SessionId, SessionKind};
pub use size::ByteSize;
pub use span::Spanned;
pub use stage::Stage;
pub use subnet::Subnet;
pub use system::{Domain, MachineId, TimeZone, UnitName};
pub use time::Moment;
