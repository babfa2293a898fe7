//! The table of methods: one row each, with its arguments, who may call it and what it is for.
//!
//! The ubus object and its access list are made from these rows; the command line and the web pages are tested against
//! them.
//! Arguments that a row does not name are ignored: LuCI adds `ubus_rpc_session` to every call.

/// One method.
#[derive(Debug, PartialEq, Eq)]
pub struct Method {
    pub name: &'static str,
    pub access: Access,
    pub params: &'static [Param],
    pub help: &'static str,
}

/// What a caller must be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

/// One argument.
#[derive(Debug, PartialEq, Eq)]
pub struct Param {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
    pub help: &'static str,
}

/// The type of an argument on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Number,
}

const fn must(name: &'static str, kind: Kind, help: &'static str) -> Param {
    Param { name, kind, required: true, help }
}

const fn may(name: &'static str, kind: Kind, help: &'static str) -> Param {
    Param { name, kind, required: false, help }
}

const CLIENT: Param = must("client", Kind::Text, "give its hardware address, name or IP address");
const ACTION: Param = must("action", Kind::Number, "give the number that `action_list` shows");
const JOB: Param = must("job", Kind::Number, "give the number that `job_list` shows");

const IMAGE: Param = must("image", Kind::Text, "give a name, or a name and a version, such as `trixie@3`");
const IMAGE_NAME: Param = must("image", Kind::Text, "give the name of an image, such as `trixie`");
const RELEASE: Param =
    may("release", Kind::Text, "which bootloaders of the image: `default` (unless told) or `latest`");
const UPLOAD: Param = must("upload", Kind::Number, "give the number that `upload_begin` answered");
const DESKTOP: Param = may(
    "desktop",
    Kind::Text,
    "a person of the image whose menu, panel and desktop become everybody's; `image_desktop` shows which settings",
);
const ROOM: Param = may("room", Kind::Text, "only this room; without it, all clients that pin no version");

const REBOOT: Param = may(
    "reboot",
    Kind::Text,
    "`now`: those that still run another version start again, but where somebody is logged in; `ask`: people there are asked to",
);

const ACCOUNT: Param = must("account", Kind::Text, "give the name somebody logs in with, such as `anna`");
const CLASS: Param = must("class", Kind::Text, "give the name of a class, such as `class-7b`");
const FULL_NAME: Param = may("full_name", Kind::Text, "what the person is called");
const NOTE: Param = may("note", Kind::Text, "a student number, a library card or a few words");
const ROLE: Param = may("role", Kind::Text, "`pupil` or `teacher`");
const CLASSES: Param = may("classes", Kind::Text, "names of classes with commas between them, or `none`");
const EXPIRES: Param =
    may("expires", Kind::Text, "the last day of the account, such as `2027-07-31`, or `none`");
const QUOTA: Param = may("quota", Kind::Text, "how much a home may hold, such as `2G`, or `none`");
const MUST_CHANGE: Param =
    may("must_change", Kind::Text, "`1` if the password has to be changed at the next log-in");
const SLIPS: Param = may("slips", Kind::Text, "`html` or `text` for a page of log-in slips to print");
const PASSWORD: Param = may("password", Kind::Text, "the password; one is made up if it is left out");

pub const METHODS: &[Method] = &[
    Method {
        name: "status",
        access: Access::Read,
        params: &[],
        help: "What runs, what it serves, and what needs attention",
    },
    Method {
        name: "health",
        access: Access::Read,
        params: &[],
        help: "Whether everything works, and what does not",
    },
    Method {
        name: "check",
        access: Access::Read,
        params: &[],
        help: "Every problem of the configuration on the disk",
    },
    Method {
        name: "overview",
        access: Access::Read,
        params: &[may(
            "mark",
            Kind::Text,
            "the mark of the last answer, to hear only whether anything changed",
        )],
        help: "Rooms, seats, who sits there, jobs and what needs attention, in one answer",
    },
    Method {
        name: "takeover",
        access: Access::Read,
        params: &[],
        help: "What taking DHCP over would change on this router, and what of it is not followed",
    },
    Method {
        name: "events",
        access: Access::Read,
        params: &[
            may("count", Kind::Number, "how many, newest last; 50 unless told, and at most 1000"),
            may("client", Kind::Text, "only of clients with this in their name or hardware address"),
            may("account", Kind::Text, "only what is about accounts with this in their name"),
            may("least", Kind::Text, "only what weighs as much: `detail`, `matter` or `trouble`"),
            may("before", Kind::Number, "only what is older: a time as `at` of an event has it"),
        ],
        help: "What the clients did last",
    },
    Method {
        name: "client_list",
        access: Access::Read,
        params: &[],
        help: "Every known Pi and what it is doing",
    },
    Method {
        name: "client_get",
        access: Access::Read,
        params: &[CLIENT],
        help: "One Pi with the timeline of its boot",
    },
    Method {
        name: "client_adopt",
        access: Access::Write,
        params: &[
            CLIENT,
            must("name", Kind::Text, "give the host name it shall have, such as `lab-01`"),
            may("room", Kind::Text, "the room it belongs to; `none` for no room, as it is if left out"),
            may(
                "image",
                Kind::Text,
                "what it boots instead of its room's image, such as `trixie` or `trixie@3`; `none` for the room's",
            ),
            may("ip", Kind::Text, "a fixed address; `none` for one from the pool"),
        ],
        help: "Make a Pi one of ours: its name, room, image and address",
    },
    Method {
        name: "client_forget",
        access: Access::Write,
        params: &[CLIENT],
        help: "Take a Pi out of the configuration and forget what was seen of it",
    },
    Method {
        name: "room_list",
        access: Access::Read,
        params: &[],
        help: "Every room: how many are up, how long they took to boot, who was slowest",
    },
    Method {
        name: "plan",
        access: Access::Read,
        params: &[
            may("room", Kind::Text, "only the clients of this room"),
            may("clients", Kind::Number, "as if there were so many"),
        ],
        help: "How long a room takes to the log-in screen, and what holds it up",
    },
    Method {
        name: "client_action",
        access: Access::Write,
        params: &[
            must(
                "action",
                Kind::Text,
                "give `shutdown`, `reboot`, `logout`, `lock`, `message`, `identify`, `blank` or `unblank`",
            ),
            may("client", Kind::Text, "whom, by hardware address, name or IP address; several with commas"),
            may("room", Kind::Text, "or the clients of a room"),
            may("all", Kind::Text, "or `1` for every client"),
            may("except", Kind::Text, "whom not, as in `client`: the seat of the teacher"),
            may("message", Kind::Text, "what people at the clients read"),
            may("force", Kind::Text, "`1` to switch off or restart although people are logged in"),
            may("pace", Kind::Text, "time between one client and the next, such as `2s`"),
            may("grace", Kind::Text, "a countdown that people see before it begins, such as `10m`"),
            may("router", Kind::Text, "`1` to switch the router off behind the last client"),
        ],
        help: "Have clients do something; answers at once, and `action_get` follows it",
    },
    Method {
        name: "action_list",
        access: Access::Read,
        params: &[],
        help: "What clients were told to do, newest first",
    },
    Method { name: "action_get", access: Access::Read, params: &[ACTION], help: "How far an action is" },
    Method {
        name: "action_stop",
        access: Access::Write,
        params: &[ACTION],
        help: "Call an action off for the clients that were not told yet",
    },
    Method {
        name: "eeprom_list",
        access: Access::Read,
        params: &[],
        help: "What is in the EEPROM of each Pi 4 and 5, and what becomes of updates",
    },
    Method {
        name: "eeprom_set",
        access: Access::Write,
        params: &[
            must("settings", Kind::Text, "give such as `BOOT_ORDER=0xf21,NET_INSTALL_ENABLED=0`"),
            may("client", Kind::Text, "whom, by hardware address, name or IP address; several with commas"),
            may("room", Kind::Text, "or the clients of a room"),
            may("all", Kind::Text, "or `1` for every client"),
            may("except", Kind::Text, "whom not, as in `client`"),
            RELEASE,
            may(
                "confirm",
                Kind::Text,
                "`1` to do it; without it the answer says what would be done, and what the danger is",
            ),
        ],
        help: "Offer clients settings for their EEPROM at their next start",
    },
    Method {
        name: "eeprom_undo",
        access: Access::Write,
        params: &[CLIENT, may("confirm", Kind::Text, "`1` to do it, as in `eeprom_set`")],
        help: "Take an update back: what was not fetched is not offered, what was written is written back",
    },
    Method {
        name: "enrol_medium",
        access: Access::Write,
        params: &[
            must(
                "to",
                Kind::Text,
                "give the path of a card or stick, such as `/dev/sdb`, or of a file that is to be made",
            ),
            must("models", Kind::Text, "give `pi3`, `pi4` or `pi5`, or `pi3,pi4` or `pi3,pi5`"),
            IMAGE,
            may("settings", Kind::Text, "of the EEPROM, as in `eeprom_set`"),
            RELEASE,
            may("erase", Kind::Text, "`1` if what is there may go"),
            may("confirm", Kind::Text, "`1` to do it; without it the answer says what would be done"),
        ],
        help: "Start writing a card that makes Pis boot from the network which cannot yet; answers with a job",
    },
    Method {
        name: "mode_set",
        access: Access::Write,
        params: &[
            must(
                "mode",
                Kind::Text,
                "give `login`, `guest`, `kiosk`, `exam` or `image`; for a client also `room`, as its room",
            ),
            may("room", Kind::Text, "how the clients of this room are used"),
            may("client", Kind::Text, "or how this client is used, whatever its room says"),
            may(
                "minutes",
                Kind::Number,
                "how long a guest may stay, or after how long without a key a kiosk begins anew; 0 for no limit",
            ),
            may(
                "page",
                Kind::Text,
                "what a kiosk shows, such as `https://library.example/`; `none` for a client: that of its room",
            ),
            may(
                "classes",
                Kind::Text,
                "who takes part in an exam: classes with commas between them, or `none`",
            ),
            may("accounts", Kind::Text, "and accounts, likewise"),
            may("shares", Kind::Text, "the only shares in an exam, likewise"),
        ],
        help: "Set how a room or a client is used; what belongs to a mode and is left out stays",
    },
    Method {
        name: "screen_allow",
        access: Access::Write,
        params: &[
            must("room", Kind::Text, "give the name of a room"),
            must("allow", Kind::Text, "give `1` to let teachers look at the screens of the room, `0` not to"),
        ],
        help: "Allow or forbid looking at the screens of a room",
    },
    Method {
        name: "screen_open",
        access: Access::Write,
        params: &[
            CLIENT,
            may("viewer", Kind::Text, "the address that you look from, so that nobody else is let in"),
            may("control", Kind::Text, "`1` to use keyboard and mouse there too"),
            may("time", Kind::Text, "how long it may last, such as `10m`; half an hour unless told"),
        ],
        help: "Have a client show its screen to one VNC program; answers with address, port and a password for once",
    },
    Method {
        name: "screen_list",
        access: Access::Read,
        params: &[],
        help: "Which screens are looked at, and from where",
    },
    Method {
        name: "screen_close",
        access: Access::Write,
        params: &[CLIENT],
        help: "End looking at a client's screen",
    },
    Method { name: "image_list", access: Access::Read, params: &[], help: "Every image and who boots it" },
    Method {
        name: "image_show",
        access: Access::Read,
        params: &[IMAGE],
        help: "One image: its versions and what inspection found in them",
    },
    Method {
        name: "image_import",
        access: Access::Write,
        params: &[
            must(
                "source",
                Kind::Text,
                "give an address of the web, the path of a file or folder on the router, a disk such as `/dev/sdb`, `upload:` and \
                 the number of an upload, or a name or number of `image_catalogue`",
            ),
            may(
                "name",
                Kind::Text,
                "the name the image shall have, such as `trixie`; made from that of the source unless told",
            ),
            may("sha256", Kind::Text, "the checksum the file must have"),
            may("content_sha256", Kind::Text, "the checksum of what is in a compressed file"),
            DESKTOP,
        ],
        help: "Start importing an operating system as a new version of an image; answers with a job",
    },
    Method {
        name: "image_catalogue",
        access: Access::Read,
        params: &[
            may("search", Kind::Text, "part of a name, a description or a heading"),
            may("all", Kind::Text, "`1` to see also what no Pi of this house can boot"),
            may("offset", Kind::Number, "how many to leave out at the beginning"),
            may("limit", Kind::Number, "how many at most; 500 unless told, which is the most"),
        ],
        help: "Operating systems that can be imported, as the configured lists had them when they were read last",
    },
    Method {
        name: "image_catalogue_refresh",
        access: Access::Write,
        params: &[],
        help: "Start reading the configured lists of operating systems anew; answers with a job",
    },
    Method {
        name: "device_list",
        access: Access::Read,
        params: &[],
        help: "Memory cards and disks in the router, and whether an image can be taken from them",
    },
    Method {
        name: "image_desktop",
        access: Access::Read,
        params: &[
            may("image", Kind::Text, "a version of an image, such as `trixie@3`"),
            may("draft", Kind::Text, "or the image whose draft is meant"),
            may("device", Kind::Text, "or a disk, such as `/dev/sdb`"),
        ],
        help: "Whose desktop could be made everybody's, and which settings that would be",
    },
    Method {
        name: "upload_begin",
        access: Access::Write,
        params: &[
            must("name", Kind::Text, "give the name of the file"),
            must("bytes", Kind::Number, "give the length of the file in bytes"),
            may(
                "mark",
                Kind::Text,
                "what tells it from another file of that name, such as the time of its last change",
            ),
        ],
        help: "Begin to send a file, or go on with one that was begun before: answers how much is there",
    },
    Method {
        name: "upload_slice",
        access: Access::Write,
        params: &[
            UPLOAD,
            must("offset", Kind::Number, "give the number of bytes that have been sent before this slice"),
            must("data", Kind::Text, "give the slice in base64, of at most 48000 bytes"),
        ],
        help: "Send the next slice of a file",
    },
    Method {
        name: "upload_list",
        access: Access::Read,
        params: &[],
        help: "Files that are being sent, or wait to be imported, and how much of them is there",
    },
    Method {
        name: "upload_cancel",
        access: Access::Write,
        params: &[UPLOAD],
        help: "Delete a file that was sent",
    },
    Method {
        name: "image_remove",
        access: Access::Write,
        params: &[IMAGE],
        help: "Start deleting a version of an image, or all of them; answers with a job",
    },
    Method {
        name: "image_draft",
        access: Access::Write,
        params: &[IMAGE],
        help: "Start making a writable copy of an image; answers with a job",
    },
    Method {
        name: "image_discard",
        access: Access::Write,
        params: &[IMAGE_NAME],
        help: "Throw the draft of an image away; answers with a job",
    },
    Method {
        name: "image_publish",
        access: Access::Write,
        params: &[
            IMAGE_NAME,
            may("note", Kind::Text, "what is new in it, in one line"),
            may("skip", Kind::Text, "names of checks and cleanings to pass over, with commas between them"),
            DESKTOP,
        ],
        help: "Start making a version of the draft of an image, which nobody boots yet; answers with a job",
    },
    Method {
        name: "image_maintain",
        access: Access::Write,
        params: &[
            IMAGE_NAME,
            may("client", Kind::Text, "the client that boots the draft; without it none does any more"),
        ],
        help: "Have one client boot the draft of an image from its next start on, to change it there as root",
    },
    Method {
        name: "image_shell",
        access: Access::Read,
        params: &[IMAGE_NAME],
        help: "How to open a root shell in the draft of an image on the router, or why that cannot be done",
    },
    Method {
        name: "image_run",
        access: Access::Write,
        params: &[
            IMAGE_NAME,
            must("command", Kind::Text, "give a command for `sh -c`, such as `apt-get -y full-upgrade`"),
            may(
                "client",
                Kind::Text,
                "the client that maintains the draft and runs it there; without it, the router does",
            ),
        ],
        help: "Run a command in the draft of an image; `job_output` has what it prints",
    },
    Method {
        name: "image_test",
        access: Access::Write,
        params: &[
            CLIENT,
            may("image", Kind::Text, "the version to try, such as `trixie@4`; without it the trial ends"),
        ],
        help: "Have one client boot a version from its next start on, whatever the configuration says",
    },
    Method {
        name: "image_promote",
        access: Access::Write,
        params: &[IMAGE, ROOM, REBOOT],
        help: "Have a room, or every client of the image, boot a version from its next start on",
    },
    Method {
        name: "image_rollback",
        access: Access::Write,
        params: &[IMAGE_NAME, ROOM, REBOOT],
        help: "Have a room, or every client of the image, boot the version that it had before",
    },
    Method {
        name: "image_clone",
        access: Access::Write,
        params: &[
            IMAGE,
            must("name", Kind::Text, "give the name that the other image shall have, such as `library`"),
        ],
        help: "Start making another image of a version, which shares its files; answers with a job",
    },
    Method {
        name: "image_export",
        access: Access::Write,
        params: &[
            IMAGE,
            must("to", Kind::Text, "give the path of the archive that is to be made, on another disk"),
            may(
                "form",
                Kind::Text,
                "`zst`, or `xz`, which is smaller and takes longer; as `to` ends unless told",
            ),
        ],
        help: "Start writing a version to an archive that another Bramble imports; answers with a job",
    },
    Method {
        name: "image_exports",
        access: Access::Read,
        params: &[],
        help: "Archives that were made here and are there: of which version, where, when, and how long they are",
    },
    Method {
        name: "image_export_remove",
        access: Access::Write,
        params: &[must("path", Kind::Text, "give the path of an export, as `image_exports` has it")],
        help: "Delete an archive that was made here; answers with what it was",
    },
    Method {
        name: "image_rename",
        access: Access::Write,
        params: &[
            IMAGE_NAME,
            must(
                "name",
                Kind::Text,
                "give the name that the image shall have from now on, such as `library`",
            ),
        ],
        help: "Give an image another name, also where rooms and clients name it; running clients notice nothing",
    },
    Method {
        name: "image_pack",
        access: Access::Write,
        params: &[IMAGE, may("unpack", Kind::Text, "`1` to delete the packed file again")],
        help: "Start packing a version into one file, which clients mount from their next start on; answers with a job",
    },
    Method {
        name: "home_usage",
        access: Access::Read,
        params: &[],
        help: "How much is in each home, as last measured, and what is in the attic",
    },
    Method {
        name: "home_measure",
        access: Access::Write,
        params: &[],
        help: "Start measuring every home and share; answers with a job",
    },
    Method {
        name: "home_return",
        access: Access::Write,
        params: &[
            must("home", Kind::Text, "give the name of a home in the attic, or of its folder there"),
            may("to", Kind::Text, "the account that gets it; the one it was of unless told"),
            may("beside", Kind::Text, "`1` to put it as a folder into the home that the account has"),
        ],
        help: "Start bringing a home back from the attic; answers with a job",
    },
    Method {
        name: "home_backup",
        access: Access::Write,
        params: &[
            must("to", Kind::Text, "give the path of the archive that is to be made, on another disk"),
            may("home", Kind::Text, "only the home of this account"),
            may("since", Kind::Text, "only what was changed on this day or later, such as `2026-11-27`"),
        ],
        help: "Start backing up accounts, homes, shares and settings; answers with a job",
    },
    Method {
        name: "home_restore",
        access: Access::Write,
        params: &[
            must("from", Kind::Text, "give the path of an archive that `home_backup` made"),
            may("home", Kind::Text, "only the home of this account"),
        ],
        help: "Start restoring a backup; what came later stays; answers with a job",
    },
    Method {
        name: "share_list",
        access: Access::Read,
        params: &[],
        help: "Every shared folder, who sees it, what may be done in it, and how much is in it",
    },
    Method {
        name: "session_list",
        access: Access::Read,
        params: &[may("count", Kind::Number, "also ended ones: how many at most, newest first")],
        help: "Who is logged in at which client",
    },
    Method {
        name: "session_end",
        access: Access::Write,
        params: &[
            must("session", Kind::Number, "give the number that `session_list` shows"),
            may("message", Kind::Text, "what the person is shown"),
        ],
        help: "Log somebody out and close their files",
    },
    Method {
        name: "account_list",
        access: Access::Read,
        params: &[
            may("search", Kind::Text, "part of a name or a note"),
            may("class", Kind::Text, "only members of this class"),
            ROLE,
            may("offset", Kind::Number, "how many to leave out at the beginning"),
            may("limit", Kind::Number, "how many at most; 100 unless told, 1000 at most"),
        ],
        help: "Accounts by name, a page at a time",
    },
    Method { name: "account_get", access: Access::Read, params: &[ACCOUNT], help: "One account" },
    Method {
        name: "account_test",
        access: Access::Write,
        params: &[
            ACCOUNT,
            may("password", Kind::Text, "what they type; without it everything else is tried"),
        ],
        help: "Try a log-in step by step, up to the step that fails and what to do there",
    },
    Method {
        name: "account_add",
        access: Access::Write,
        params: &[ACCOUNT, FULL_NAME, NOTE, ROLE, CLASSES, PASSWORD, MUST_CHANGE, EXPIRES, QUOTA, SLIPS],
        help: "Make an account; answers with its password if that was made up",
    },
    Method {
        name: "account_set",
        access: Access::Write,
        params: &[
            ACCOUNT,
            may("name", Kind::Text, "another name to log in with"),
            FULL_NAME,
            NOTE,
            ROLE,
            CLASSES,
            may("enabled", Kind::Text, "`0` to switch the account off, `1` to switch it on"),
            MUST_CHANGE,
            EXPIRES,
            QUOTA,
        ],
        help: "Change an account; what is left out stays",
    },
    Method {
        name: "account_password",
        access: Access::Write,
        params: &[
            may("account", Kind::Text, "whose password to reset"),
            may("class", Kind::Text, "or the class of which everybody gets a new one"),
            PASSWORD,
            SLIPS,
        ],
        help: "Reset a password, or those of a class; answers with those that were made up",
    },
    Method { name: "account_remove", access: Access::Write, params: &[ACCOUNT], help: "Remove an account" },
    Method {
        name: "account_import",
        access: Access::Write,
        params: &[
            must("csv", Kind::Text, "give the text of a list whose first line names its columns"),
            may("class", Kind::Text, "the class of those whose line names none"),
            ROLE,
            may("apply", Kind::Text, "`1` to take the list over; without it the answer is a preview"),
            may("skip", Kind::Text, "`1` to leave out lines that are refused"),
        ],
        help: "What a list of people would do, line by line; or start doing it, all at once, and answer with a job",
    },
    Method {
        name: "account_imported",
        access: Access::Write,
        params: &[JOB, SLIPS],
        help: "What an import has done, with the passwords that were made up; for an hour after it",
    },
    Method {
        name: "account_export",
        access: Access::Read,
        params: &[may("class", Kind::Text, "only members of this class")],
        help: "Accounts as a list that can be imported; without passwords",
    },
    Method { name: "class_list", access: Access::Read, params: &[], help: "Every class and its size" },
    Method { name: "class_add", access: Access::Write, params: &[CLASS, NOTE, QUOTA], help: "Make a class" },
    Method {
        name: "class_set",
        access: Access::Write,
        params: &[CLASS, may("name", Kind::Text, "another name"), NOTE, QUOTA],
        help: "Change a class; what is left out stays",
    },
    Method {
        name: "class_remove",
        access: Access::Write,
        params: &[
            CLASS,
            may("members", Kind::Text, "`1` to remove the pupils too who are in no other class"),
        ],
        help: "Remove a class, alone or with its pupils",
    },
    Method {
        name: "class_move",
        access: Access::Write,
        params: &[CLASS, must("to", Kind::Text, "give the class they go to; it is made if need be")],
        help: "Move everybody of a class to another, as at the end of a school year",
    },
    Method { name: "job_list", access: Access::Read, params: &[], help: "Long tasks, newest first" },
    Method { name: "job_status", access: Access::Read, params: &[JOB], help: "How far a long task is" },
    Method {
        name: "job_output",
        access: Access::Read,
        params: &[JOB, may("from", Kind::Number, "the position to go on from, `next` of the answer before")],
        help: "What the command of a job prints",
    },
    Method { name: "job_cancel", access: Access::Write, params: &[JOB], help: "Stop a long task" },
];

/// The row of `name`.
pub fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}
