//! Every number a stranger on the network could otherwise make grow, and why it has its value.
//!
//! Nothing else in the crate may allocate from a length it read off the wire without naming one of these.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Longest host name, in bytes: one DNS label (RFC 1035 §2.3.4).
pub const HOST_NAME: usize = 63;

/// Longest pattern of folders on another NFS server, in bytes: with the longest name of an image it is below the 1024 that
/// MOUNT takes.
pub const NFS_URL: usize = 512;

/// Screens that are looked at at once: a teacher looks at one or two, and each may fill a link.
pub const SCREENS: usize = 8;

/// Ports of the router for those who look at screens: where programs for it look first.
pub const SCREEN_PORTS: RangeInclusive<u16> = 5901..=5916;

/// Wrong passwords after which an address is not let in to a screen any more: the password is copied, not remembered.
pub const SCREEN_TRIES: usize = 3;

/// Wrong passwords of all addresses after which a screen is not shown any more: nobody guesses one of 2^40 with so many.
pub const SCREEN_TRIES_OF_ALL: usize = 64;

/// Connections that are greeted at once for one screen, and of them from one address: whoever connects and says nothing
/// keeps nobody else out.
pub const SCREEN_CALLERS: usize = 64;
pub const SCREEN_CALLERS_EACH: usize = 2;

/// Bytes of a screen on their way in each direction: a picture is as large, and waits in the client instead.
pub const SCREEN_BYTES: usize = 64 * 1024;

/// Longest address of a page that a kiosk shows, in bytes: longer ones are not typed by people, and it stands in a script.
pub const PAGE_URL: usize = 500;

/// Longest name of an image, in bytes: the kernel copies `nfsroot=` into 256 bytes, and the path must fit beside
/// its options.
pub const IMAGE_NAME: usize = 32;

/// Longest name of a room, in bytes: a UCI section name that still fits a table of 80 columns.
pub const ROOM_NAME: usize = 32;

/// Longest name of an account or a class, in bytes: what useradd, utmp and the rule of Debian's adduser allow.
pub const USER_NAME: usize = 32;

/// Longest name of a share, in bytes: a UCI section name that still fits a file manager's side bar.
pub const SHARE_NAME: usize = 32;

/// Longest full name, in bytes: a line of `/etc/passwd` must stay short enough for every program that reads it.
pub const FULL_NAME: usize = 128;

/// Longest password, in bytes: what PAM passes on is at most 512, and what people type is a tenth of it.
pub const PASSWORD: usize = 256;

/// Longest hash of a password that is imported, in bytes: argon2id with a long salt has 140.
pub const PASSWORD_HASH: usize = 200;

/// Passwords that are checked at once: each takes 9 MiB (an imported one up to 32 until its first log-in), and two fill the
/// cores of a router. One on a router with one core.
pub const HASHES_AT_ONCE: usize = 2;

/// Passwords that wait to be checked: two rooms of a hundred that log in in the same second.
pub const HASHES_WAITING: usize = 200;

/// Log-ins that may hold a thread of the daemon at once; the rest waits without one.
pub const LOGINS_AT_ONCE: usize = 4;

/// Accounts, and places, of which wrong passwords are remembered: a school that mistypes, at a hundred bytes each.
pub const TRIES_REMEMBERED: usize = 1000;

/// People in one list that is imported: ten schools.
pub const SHEET_LINES: usize = 10_000;

/// Longest cell of such a list, in bytes: a hash of a password is the longest thing in one.
pub const SHEET_CELL: usize = 300;

/// People of the same name in one list, who are told apart by a number.
pub const SAME_NAMES: usize = 99;

/// Longest note about an account or a class, in bytes: a student number, a library card, a few words.
pub const NOTE: usize = 200;

/// Accounts in one answer, at most: what still fits a message of ubus.
pub const ACCOUNTS_LISTED: u64 = 1000;

/// How much of a bad name a message repeats, in characters: enough to recognise it, too little to flood a log.
pub const NAME_SHOWN: usize = 80;

/// Clients remembered without having been adopted: four rooms of a hundred Pis; the oldest go first.
pub const CLIENTS_SEEN: usize = 400;

/// Events kept per client in memory: one boot (about 60 TFTP requests, folded) and the one before it.
pub const TIMELINE: usize = 96;

/// Clients with a timeline in memory that nobody has adopted: two rooms being set up. The oldest go first.
pub const TIMELINES_OF_STRANGERS: usize = 64;

/// Longest text of a milestone, in bytes: a plain sentence; the agent's datagram would allow ten times that.
pub const EVENT_TEXT: usize = 200;

/// Milestones of one client that wait to be stored: a boot leaves about ten. The oldest are dropped, which costs a line of
/// its timeline after a restart and nothing else.
pub const EVENTS_PENDING: usize = 96;

/// Milestones of one client kept in the store: as many as its timeline has.
pub const EVENTS_KEPT: u32 = 96;

/// Longest request over ubus, in bytes: what uhttpd lets through from a browser.
pub const CONTROL_REQUEST: usize = 64 * 1024;

/// Most of a hosts file of the router that is looked at for names, in bytes, every two seconds. Lists of names that are to
/// be blocked are longer; they have no names of this network.
pub const HOSTS_FILE: u64 = 64 * 1024;

/// Most hosts files that are looked at for names: one for each instance of dnsmasq, and those of some other programs.
pub const HOSTS_FILES: usize = 16;

/// Longest request on the control socket alone, in bytes: a list of ten thousand people. Only root can send one.
pub const CONTROL_LINE: usize = 2 << 20;

/// Callers on the control socket at once: a few shells, each watching a job.
pub const CONTROL_CALLERS: usize = 16;

/// Largest message that ubusd carries, in bytes, without its header of eight (`UBUS_MAX_MSGLEN`).
pub const UBUS_MESSAGE: usize = 1024 * 1024;

/// Calls of the API, over the socket and ubus, that are carried out at once, each on a thread that blocks. Fewer than half of
/// those there are: a change of the configuration waits for the daemon, and the daemon for another of them.
pub const API_CALLS: usize = 6;

/// Calls beside these that wait for a client or another server, each up to some twenty seconds.
pub const API_WAITS: usize = 2;

/// Calls over ubus that are carried out at once, each on a thread that blocks, until ubusd has taken the answer: with the
/// largest answers 4 MiB. A page of LuCI asks for three things at a time.
pub const UBUS_CALLS: usize = 4;

/// Calls over ubus that wait for one of those places: some teachers with open pages. With the largest requests 4 MiB.
pub const UBUS_WAITING: usize = 64;

/// Messages for ubusd that wait for the one before to be taken, besides answers: each is a refusal of some 300 bytes.
pub const UBUS_REFUSALS: usize = 64;

/// Notifications that wait while ubusd is slow; the oldest are lost. Two rooms that boot at once change state this often
/// in a second.
pub const UBUS_NOTICES: usize = 256;

/// Lists and tables within each other in a call over ubus: our methods need two.
pub const UBUS_DEPTH: usize = 16;

/// Longest name of a time zone, in bytes: the longest of the database has 32 (`America/Argentina/ComodRivadavia`).
pub const TIME_ZONE: usize = 64;

/// Longest name of a systemd unit, in bytes (systemd.unit(5)).
pub const UNIT_NAME: usize = 255;

/// Longest domain name, in bytes (RFC 1035 §2.3.4, without the final dot).
pub const DOMAIN: usize = 253;

/// Longest personality the agent reads, in bytes: room for some sixty masked units with the longest names.
pub const PERSONALITY: usize = 16 * 1024;

/// Longest datagram that can be an agent's report, in bytes: fits every network without fragments.
pub const REPORT: usize = 1200;

/// Longest message in a report, in bytes: each may be escaped with a second one, and the rest of a report takes 110.
pub const REPORT_MESSAGE: usize = 540;

/// Longest message of an agent on its channel, in bytes: two passwords with every byte escaped, or the sessions of a client
/// many times over.
pub const CHANNEL_TO_SERVER: usize = 16 * 1024;

/// Longest message of the server on an agent's channel, in bytes: some four thousand people who may use one client.
pub const CHANNEL_TO_AGENT: usize = 1 << 20;

/// Longest word that an agent says for people to read (a PAM service, a terminal), in bytes: a boot's id has 36.
pub const CHANNEL_LABEL: usize = 64;

/// Connections of agents at once: four rooms of a hundred clients, a tunnel of each for who sits at it, and those not yet noticed
/// as dead.
pub const CHANNEL_CONNECTIONS: usize = 1024;

/// Connections of one client's agent at once: one, a screen, tunnels of some people (each with one more while something is
/// mounted), and those before them that were cut.
pub const CHANNEL_CLIENT_CONNECTIONS: usize = 24;

/// Connections that one client may begin in a minute: an agent that comes back waits a second or more in between, and each tree
/// that is mounted through a tunnel takes one.
pub const CHANNEL_CONNECTIONS_PER_MINUTE: usize = 120;

/// Bytes of a tunnel on their way in each direction: what fits into one record of TLS (RFC 8446, section 5.1).
pub const TUNNEL_BUFFER: usize = 16 * 1024;

/// Asks of one agent that are answered at once: as many people as log in at one client in the same moment.
pub const CHANNEL_ASKS: usize = 8;

/// Asks that an agent may make in a row: a log-in is three, and an agent that came back has some to repeat.
pub const CHANNEL_ASKS_IN_A_ROW: u32 = 60;

/// How often an agent may ask, in the long run.
pub const CHANNEL_ASK_EVERY: Duration = Duration::from_millis(250);

/// Orders that wait for an agent to take them.
pub const CHANNEL_ORDERS: usize = 32;

/// Passwords that are checked at once for agents: each holds a thread, also while a directory is asked.
pub const CHANNEL_CHECKS: usize = 4;

/// Passwords that are checked for one client at once, or wait among those of all: two people sit down at it. Others of its own
/// wait behind them.
pub const CHANNEL_CLIENT_CHECKS: usize = 2;

/// Passwords that agents wait for: two rooms of a hundred that log in in the same second.
pub const CHANNEL_WAITING: usize = 200;

/// Lists of people that are made and sent at once, of [`CHANNEL_TO_AGENT`] bytes each.
pub const CHANNEL_LISTS: usize = 4;

/// Sessions open at one client: a person has a few (desktop, console, `su`), and few are logged in together.
pub const CLIENT_SESSIONS: usize = 16;

/// People whose password was verified at one client and who may open a session there.
pub const CLIENT_TICKETS: usize = 16;

/// Sessions kept in the store: a year of a room of thirty that is used six times a day.
pub const SESSIONS_KEPT: u32 = 30_000;

/// Jobs waiting behind the one that runs: more than a person starts by hand, few enough to read.
pub const JOBS_QUEUED: usize = 8;

/// Light jobs at work beside the one of the queue, each with a thread: an import of people, and another of a colleague.
pub const JOBS_BESIDE: usize = 2;

/// Imports of people whose made-up passwords can still be asked for, and for how long: until the slips are printed.
pub const IMPORTS_KEPT: usize = 4;
pub const IMPORTS_KEPT_FOR: Duration = Duration::from_hours(1);

/// Jobs of this run kept in memory with their progress.
pub const JOBS_REMEMBERED: usize = 32;

/// What is remembered of what the program of a job prints, in characters: a thousand lines.
pub const JOB_PRINTED: usize = 64 * 1024;

/// The most of it in one answer, in characters.
pub const JOB_PIECE: usize = 16 * 1024;

/// Longest command that is run in a draft, in bytes, and how many words it may have.
pub const COMMAND: usize = 8 * 1024;
pub const COMMAND_WORDS: usize = 256;

/// Rows of ended jobs kept in the store: some months of imports.
pub const JOBS_KEPT: u32 = 200;

/// Largest DHCP packet we look at, in bytes of UDP payload: one Ethernet frame (1500 − 20 IP − 8 UDP). Clients send
/// 300 to 600; jumbo frames and fragments are not how anybody asks for an address.
pub const DHCP_PACKET: usize = 1472;

/// Options of one DHCP packet that are named in the log as unusable: enough to see what a client does wrong.
pub const DHCP_IGNORED: usize = 8;

/// Largest TFTP block, in bytes: a jumbo frame of 9000 less IP, UDP and TFTP headers. What the way to the client carries
/// bounds it further; RFC 2348 would allow 65464 in fragments.
pub const TFTP_BLOCK: u16 = 8968;

/// Longest DHCP client identifier, in bytes: an RFC 4361 identifier with the longest DUID (130) and room. It is the key of
/// a row in the store.
pub const DHCP_CLIENT_ID: usize = 255;

/// Addresses in the lease table: some forty full /24 networks. A pool larger than this reuses addresses earlier than it
/// would have to, and nothing grows.
pub const LEASES: usize = 10_000;

/// Offers to strangers that wait for their REQUEST: a flood of invented hardware addresses holds no more of a pool than
/// this, and only for a minute.
pub const DHCP_OFFERS: usize = 256;

/// Probes for addresses in use that run at once: each holds a socket for half a second.
pub const DHCP_PROBES: usize = 128;

/// Replies held back for Pi 3 ROMs at once: four rooms switched on together. Beyond this they go out at once.
pub const DHCP_DELAYED: usize = 256;

/// DHCP packets decided before the first of their answers is sent: what fits the receive buffer of a socket twice, and one
/// commit of the store is worth.
pub const DHCP_BATCH: usize = 512;

/// Largest ONC RPC record we assemble, in bytes, record marks included: a 64 KiB WRITE with its header and padding. The
/// record mark alone would let a client ask for 2 GiB (RFC 5531 §11).
pub const RPC_RECORD: usize = 64 * 1024 + 1024;

/// Fragments of one ONC RPC record: every client we know sends one; the rest is for odd libraries.
pub const RPC_FRAGMENTS: usize = 64;

/// Credential or verifier of an RPC call, in bytes (RFC 5531 §8.2).
pub const RPC_AUTH: usize = 400;

/// Groups in an AUTH_SYS credential (RFC 5531 appendix A).
pub const RPC_GROUPS: usize = 16;

/// NFSv3 file handle, in bytes (RFC 1813 §2.4).
pub const NFS_HANDLE: usize = 64;

/// Name of one file, in bytes: what Linux file systems allow. Longer names are read, so that the answer can be
/// "too long", up to [`NFS_PATH`].
pub const NFS_NAME: usize = 255;

/// Longest name or symbolic link read from a call, in bytes: `PATH_MAX`.
pub const NFS_PATH: usize = 4096;

/// Path in a MOUNT call, in bytes (RFC 1813 §5.1.1).
pub const MOUNT_PATH: usize = 1024;

/// Data in one answer to READ, in bytes. Larger ones fall out of a router's second-level cache and cost memory per client
/// for no speed.
pub const NFS_READ: u32 = 128 * 1024;

/// Data in one WRITE, in bytes: what fits [`RPC_RECORD`].
pub const NFS_WRITE: u32 = 64 * 1024;

/// Largest answer to READDIR and READDIRPLUS, in bytes; a client that offers more room asks more often.
pub const NFS_DIRECTORY: u32 = 64 * 1024;

/// Blocks sent before an ACK: 16 of 1468 bytes are 23 KiB, which the smallest switch of a classroom holds for one port.
/// RFC 7440 would allow 65535.
pub const TFTP_WINDOW: u16 = 16;

/// How long a TFTP client may take over an ACK before the block is repeated, unless it asked for another time. A round
/// trip in a room is under a millisecond, and a lost block stalls a lock-step client for this long.
pub const TFTP_PATIENCE: Duration = Duration::from_millis(500);

/// How long after a transfer began the same request is taken for a late copy of that which began it: requests and ACKs come
/// to two ports, and can overtake each other on their way. A client that begins a file anew within it asks once more.
pub const TFTP_COPY: Duration = Duration::from_millis(500);

/// Longest time-out a client may ask for (RFC 2349 allows 255 s): it bounds how long a dead client's transfer is kept.
pub const TFTP_PATIENCE_ASKED: Duration = Duration::from_secs(10);

/// Longest wait between two repetitions of a block: the waits double up to here, or to the time the client asked for.
pub const TFTP_PATIENCE_MOST: Duration = Duration::from_secs(8);

/// TFTP transfers in flight at once, over all clients: four rooms of a hundred Pis with a file each. With its piece of the
/// file in memory a transfer takes up to 33 KiB.
pub const TFTP_TRANSFERS: usize = 400;

/// TFTP transfers of one client at once. A Pi asks for one file after another; more are left over from a boot that was
/// cut off, and the oldest makes room.
pub const TFTP_TRANSFERS_EACH: usize = 8;

/// Requests that wait because all transfers are taken; each is at most one packet of 516 bytes.
pub const TFTP_WAITING: usize = 400;

/// How long such a request waits. After that its client has asked again, or has given up.
pub const TFTP_WAIT: Duration = Duration::from_secs(10);

/// Bytes of a file read at once for a transfer: 22 blocks of a Pi to one system call, and small enough that the pieces of
/// a hundred transfers are 3 MB.
pub const TFTP_PIECE: usize = 32 * 1024;

/// Lookups and reads that wait for the disk at once. A disk is not faster with more; each is a thread.
pub const TFTP_DISK_JOBS: usize = 6;

/// Longest name of a boot file, in bytes: what FAT allows for one name, and twice what any loader asks for.
pub const BOOT_PATH: usize = 255;

/// Largest `config.txt` or `cmdline.txt` that is read to be composed, in bytes: a hundred times what images have.
pub const BOOT_TEXT: u64 = 256 * 1024;

/// Times a block is repeated before the client is given up: with the waits above, 24 to 60 seconds, which outlasts the
/// 30 seconds a Pi tries for one file.
pub const TFTP_REPEATS: u8 = 5;

/// Reports of one agent that are taken per minute: a boot sends five, and one more for each thing that went wrong.
pub const REPORTS_PER_MINUTE: u32 = 60;

/// Longest file in an image, in bytes. One that is longer is made of holes, and whoever reads it all, to back it up or to
/// compare it, reads for days.
pub const IMAGE_FILE: u64 = 256 << 30;

/// All names and extended headers in front of one entry of an archive, in bytes: Linux paths end at 4 KiB, one extended
/// attribute at 64 KiB.
pub const TAR_EXTENSION: u64 = 1 << 20;

/// Longest list of accounts or settings in a backup, in bytes: some twenty thousand accounts.
pub const BACKUP_NOTE: u64 = 16 << 20;

/// Pieces of one sparse file in an archive: a piece every 64 KiB of a 4 GiB file.
pub const TAR_SPARSE: usize = 65_536;

/// Folders within folders that an image may have and a copy follows: deeper than any package, shallow enough for a stack and
/// open files.
pub const TREE_DEPTH: usize = 128;

/// Memory for names and attributes of the folders of one image, in bytes: they are set when everything else is written. A full
/// desktop has some 30,000 folders, which take a sixth of this.
pub const IMAGE_FOLDERS: usize = 32 << 20;

/// As much of an image's list of users or groups as is read, in bytes.
pub const ACCOUNT_LIST: u64 = 1 << 20;

/// As much of dpkg's list of packages as is read, in bytes: five times that of a full desktop.
pub const DPKG_STATUS: u64 = 16 << 20;

/// Longest remark about a version, in bytes.
pub const IMAGE_NOTE: usize = 500;

/// Longest note in an exported image, in bytes: real ones have 500.
pub const IMAGE_MANIFEST: u64 = 16 * 1024;

/// Pieces that a decoder hands on, in bytes; up to six are in memory.
pub const UNPACKED_PIECE: usize = 256 * 1024;

/// Memory that unpacking an .xz file on several processors may take, in bytes; where a block takes more, one processor unpacks
/// it as it comes, and keeps its dictionary only. The whole program is to stay below 64 MiB, and an allocator may keep some of
/// what was given back.
pub const XZ_THREADS_MEMORY: u64 = 32 << 20;

/// Longest index of an .xz file that is read for its size, in bytes: 60,000 blocks.
pub const XZ_INDEX: u64 = 1 << 20;

/// Footers and words of padding of an .xz file that are read for its size: a file has one stream, or as many as programs packed
/// parts of it. It is unpacked without its size too.
pub const XZ_ENDS: usize = 16 * 1024;

/// Longest `os-release` that is read, in bytes: real ones have 500.
pub const OS_RELEASE: u64 = 16 * 1024;

/// Longest kernel configuration that is read, in bytes: Debian's have 280 kB.
pub const KERNEL_CONFIG: u64 = 2 << 20;

/// Longest list of modules that is read, in bytes: Debian's `modules.dep` has 600 kB.
pub const MODULES_LIST: u64 = 8 << 20;

/// Descriptors of a daemon whose limits above and below are all reached at once: for NFS two a file, and a connection each;
/// a transfer each for TFTP; probes of DHCP; callers; for agents three, as a tunnel has; and what a daemon has anyway (sockets of some networks, the database,
/// an import at work). A process has 1024 unless it asks for more, and with the last one gone nobody is served any more.
pub const DESCRIPTORS: usize = 2 * NFS_OPEN_FILES
    + NFS_CONNECTIONS
    + NFS_DISK
    + TFTP_TRANSFERS
    + TFTP_DISK_JOBS
    + DHCP_PROBES
    + CONTROL_CALLERS
    + 3 * CHANNEL_CONNECTIONS
    + TREE_DEPTH
    + 200;

/// Files that NFS holds open for the next call about them. Each takes up to two descriptors.
pub const NFS_OPEN_FILES: usize = 384;

/// Files in a tree that we number ourselves: ten times a Raspberry Pi OS with desktop and recommended software.
pub const INDEX_FILES: usize = 4_000_000;

/// NFS connections at once: four rooms of a hundred Pis with one each, and those of the boot before not yet noticed as dead.
pub const NFS_CONNECTIONS: usize = 512;

/// NFS connections of one address: what Linux opens with `nconnect=16`, and the same again three times that a client which
/// was unplugged has not closed.
pub const NFS_CLIENT_CONNECTIONS: usize = 64;

/// NFS and portmapper connections of addresses that are no client's: enough for somebody to look, too few to be in the way.
pub const NFS_STRANGERS: usize = 32;

/// Threads that wait for the disk on behalf of NFS: more do not make one disk faster.
pub const NFS_DISK: usize = 8;

/// Calls of one connection that may wait for the disk at once; the rest of its calls waits behind them.
pub const NFS_CONNECTION_CALLS: usize = 4;

/// Answers from the disk in memory at once, waiting to be sent or still being read: 16 MiB of the largest.
pub const NFS_ANSWERS: usize = 128;

/// Replies kept of NFS calls that must not be carried out twice, over all clients: with their bookkeeping some 2 MB.
pub const NFS_REPLIES: usize = 4096;

/// Such replies of one address: more calls than Linux has under way when it loses a connection.
pub const NFS_REPLIES_EACH: usize = 256;

/// Largest MOUNT or portmapper call over UDP, in bytes: header, credential and path.
pub const RPC_DATAGRAM: usize = 2048;

/// Calls over UDP being answered at once; further ones are dropped and come again.
pub const RPC_DATAGRAMS: usize = 8;

/// Files and folders in a boot partition: a Raspberry Pi OS has 400, most of them overlays.
pub const FAT_ENTRIES: usize = 20_000;

/// Folders within folders in a boot partition: real ones have one.
pub const FAT_DEPTH: usize = 16;

/// Longest `fstab` that is read, in bytes.
pub const FSTAB: u64 = 64 * 1024;

/// Longest distinguished name that is read, in bytes: ten times what names of ours have.
pub const LDAP_DN: usize = 512;

/// Largest LDAP message that is read, in bytes: a search with a long filter has 1 kB.
pub const LDAP_MESSAGE: usize = 16 * 1024;

/// Messages within messages that are followed, in levels: a filter of a program has five.
pub const LDAP_DEPTH: usize = 24;

/// Comparisons that a filter may ask for with each person: a list of two hundred names fits.
pub const LDAP_TERMS: usize = 256;

/// Searches that are carried out at once, each on a thread that blocks.
pub const LDAP_SEARCHES: usize = 2;

/// Entries in one answer to a search, 600 bytes each; a client that wants more asks for pages.
pub const LDAP_RESULTS: usize = 5_000;

/// LDAP connections at once: name services of some clients that bring their own, and a catalogue with a pool.
pub const LDAP_CONNECTIONS: usize = 128;

/// LDAP connections of one address.
pub const LDAP_CONNECTIONS_EACH: usize = 16;

/// How long an LDAP connection may say nothing: name services keep theirs open between two questions.
pub const LDAP_IDLE: Duration = Duration::from_mins(15);

/// How long an LDAP client may take over the TLS handshake, or over reading its answer.
pub const LDAP_PATIENCE: Duration = Duration::from_secs(15);

/// People that are taken from a directory elsewhere: a client can be told of some four thousand.
pub const DIRECTORY_PEOPLE: usize = 5_000;

/// Groups that are taken from a directory elsewhere: a large school has a few hundred.
pub const DIRECTORY_GROUPS: usize = 3_000;

/// Bytes of names and values that one answer of a directory may hold: five thousand people with 2 kB each.
pub const DIRECTORY_ANSWER: usize = 16 << 20;

/// Largest message of a directory, in bytes: a group with ten thousand members has 800 kB.
pub const DIRECTORY_MESSAGE: usize = 1 << 20;

/// Parts of one message of a directory, each of which takes some fifty bytes of memory besides its own.
pub const DIRECTORY_ELEMENTS: usize = 20_000;

/// Parts within parts of a message of a directory, in levels: an entry with its values has four.
pub const DIRECTORY_DEPTH: usize = 12;

/// Entries in one page of an answer of a directory: half of what Active Directory gives at most.
pub const DIRECTORY_PAGE: i32 = 500;

/// Connections to a directory that are kept open between two questions: as many passwords as are checked at once.
pub const DIRECTORY_IDLE: usize = 4;

/// Longest file with the password that Bramble logs in to a directory with, in bytes.
pub const DIRECTORY_SECRET: u64 = 4096;

/// Words for the people at a client, in bytes: what a console shows in five lines.
pub const WORDS: usize = 400;

/// Orders of an administrator that wait for one agent; an agent takes each within milliseconds.
pub const AGENT_ACTS: usize = 8;

/// Largest agent that is unpacked, in bytes: six of today's. The file is root's own, but it may be damaged.
pub const AGENT: u64 = 8 << 20;

/// Memory for unpacking it, in bytes: the package's has a dictionary of 2 MiB.
pub const AGENT_DECODER: u64 = 16 << 20;

/// Boots of a client that are remembered, condensed: a week of one a day.
pub const BOOTS_KEPT: usize = 8;

/// Measurements of a client that are remembered, one in five minutes: three hours.
pub const HEALTH_KEPT: usize = 36;

/// Other DHCP servers that are told of; one is bad enough.
pub const OTHER_SERVERS: usize = 8;

/// Longest line of a bootloader or kernel that is kept, in bytes.
pub const CONSOLE_LINE: usize = 160;

/// Such lines kept of each client: what a bootloader says from power-on to the kernel.
pub const CONSOLE_LINES: usize = 80;

/// Largest datagram of theirs, in bytes: one Ethernet frame.
pub const CONSOLE_DATAGRAM: usize = 1500;

/// Their datagrams that are read of one client in a second: a kernel says its first 300 lines within two.
pub const CONSOLE_DATAGRAMS: u32 = 200;

/// Clients of which such lines are kept: four rooms of a hundred Pis.
pub const CONSOLES: usize = 400;

/// Actions on clients that are remembered, with a line for each client: a day's.
pub const ACTIONS: usize = 20;

/// Actions under way at once: a person starts a few, a schedule one a room.
pub const ACTIONS_RUNNING: usize = 8;

/// Longest text of settings in an EEPROM, in bytes: one block of the flash without the header.
pub const EEPROM_CONFIG: usize = 4076;

/// Sections of an EEPROM image that are looked at: those of 2026 have some thirty.
pub const EEPROM_SECTIONS: usize = 256;

/// Files of bootloaders that are read from an image, in bytes: the EEPROM of a Pi 5.
pub const EEPROM_FILE: u64 = 2 << 20;

/// Longest file of the firmware that is put on a card, in bytes: `start.elf` of a Pi 3 has 3 MiB.
pub const FIRMWARE_FILE: u64 = 8 << 20;

/// Clients whose EEPROM is remembered that the configuration does not have: those that were just taken out.
pub const EEPROMS: usize = 400;

/// Longest list of a catalogue, in bytes: the official one has a quarter of a megabyte in all its lists.
pub const CATALOGUE: usize = 2 << 20;

/// Values in one such list, of any kind: what 3,000 entries have. Each takes up to 150 bytes of memory once it is read.
pub const CATALOGUE_VALUES: usize = 60_000;

/// Operating systems that are taken from one catalogue: the official one has some 200.
pub const CATALOGUE_ENTRIES: usize = 2_000;

/// Lists that one catalogue may be spread over: the official one has a dozen.
pub const CATALOGUE_LISTS: usize = 48;

/// Lists within lists that are followed: the official one has three levels.
pub const CATALOGUE_DEPTH: usize = 6;

/// Catalogues that may be configured.
pub const CATALOGUES: usize = 16;

/// Longest name of an operating system or a group of them, in characters.
pub const CATALOGUE_NAME: usize = 120;

/// Longest description of one, in characters: what a page shows in three lines.
pub const CATALOGUE_TEXT: usize = 400;

/// Devices that one entry may be said to be for; the official list knows a dozen.
pub const CATALOGUE_DEVICES: usize = 24;

/// Operating systems in one answer, at most, and bytes of their texts: a message of ubus takes a megabyte.
pub const CATALOGUE_LISTED: usize = 500;
pub const CATALOGUE_ANSWER: usize = 700_000;

/// Longest address of the web that is asked for, in bytes.
pub const URL: usize = 2048;

/// Addresses that a server may send us on to, one after the other.
pub const REDIRECTS: u32 = 8;

/// Longest head of an answer of a web server, in bytes.
pub const HTTP_HEAD: usize = 64 * 1024;

/// Bytes of an upload in one call: coded in 64,000 letters they fit what uhttpd lets through from a browser.
pub const UPLOAD_SLICE: usize = 48_000;

/// Exported images that are remembered, the last ones: as many as anybody keeps on disks.
pub const EXPORTS_KNOWN: u32 = 200;

/// Uploads that may be under way, or waiting to be imported.
pub const UPLOADS: usize = 4;

/// Longest name of a file that is uploaded, in bytes.
pub const UPLOAD_NAME: usize = 200;

/// How long an upload is kept that nobody goes on with.
pub const UPLOAD_KEPT: Duration = Duration::from_hours(48);

/// Disks that are listed, and partitions of each.
pub const DISKS: usize = 32;
pub const DISK_PARTITIONS: usize = 32;

/// Times that an import is begun again by itself after Bramble was stopped in the middle: one that stops Bramble itself must
/// not do so for ever.
pub const IMPORT_BEGINS: u32 = 3;

/// Files of somebody's desktop that are made everybody's, and bytes in all: settings are small.
pub const DESKTOP_FILES: usize = 2_000;
pub const DESKTOP_BYTES: u64 = 32 << 20;
