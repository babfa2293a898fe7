//! Who besides the administrator may call what: the access groups of the web pages.
//!
//! rpcd checks each call against these groups, so a hidden button is a courtesy and not the lock. A method that is on no
//! list is the administrator's.

/// What somebody may call who only watches the room: nothing here changes anything, and nothing here lists people beyond
/// those who are logged in, were so lately (`session_list`, `events`), or take part in an exam (`room_list`).
pub const HELPER: &[&str] = &[
    "overview",
    "status",
    "health",
    "events",
    "client_list",
    "client_get",
    "eeprom_list",
    "action_list",
    "action_get",
    "room_list",
    "screen_list",
    "plan",
    "image_list",
    "session_list",
    "job_list",
    "job_status",
];

/// What a teacher may call besides: people, sessions, and what is done to seats.
pub const TEACHER: &[&str] = &[
    "account_list",
    "account_get",
    "account_add",
    "account_set",
    "account_password",
    "account_remove",
    "account_import",
    "account_imported",
    "account_export",
    "class_list",
    "class_add",
    "class_set",
    "class_remove",
    "class_move",
    "session_end",
    "client_action",
    "action_stop",
    "mode_set",
    "screen_open",
    "screen_close",
    "share_list",
    "home_usage",
];
