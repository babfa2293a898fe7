'use strict';
'require baseclass';

/* What may stand in /etc/config/bramble. Written by `BRAMBLE_WRITE=1 cargo test --test contract` from
   src/config/schema.rs; labels and order are in options.js. */

return baseclass.extend({
	sections: [
		{ kind: 'bramble', name: 'main', help: _('The service as a whole.'), options: [
			{ name: 'enabled', kind: 'bool', default: '0', help: _('Whether Bramble serves; the init script starts it only then.') },
			{ name: 'data', kind: 'path', says: _('absolute path'), required: true, example: '/mnt/sda1/bramble', help: _('Folder for images and the database, on attached storage: never on the router\'s flash or in its memory.') },
			{ name: 'network', kind: 'network', says: _('name in /etc/config/network'), list: true, default: 'lan', example: 'lan', help: _('Networks that are served, by their names in /etc/config/network; each needs a static address.') },
			{ name: 'log_level', kind: 'choice', choices: [ 'error', 'warn', 'info', 'debug', 'trace' ], default: 'info', help: _('How much the log says.') }
		] },
		{ kind: 'dhcp', name: 'dhcp', help: _('Addresses.'), options: [
			{ name: 'mode', kind: 'choice', choices: [ 'authoritative', 'proxy', 'off' ], default: 'authoritative', help: _('Give addresses (authoritative), add to what another server gives (proxy), or do neither (off).') },
			{ name: 'inherit', kind: 'bool', default: '1', help: _('Take pool, lease time, reservations and options from /etc/config/dhcp, as dnsmasq would have.') },
			{ name: 'start', kind: 'number', min: 1, max: 65534, default: '100', example: '100', help: _('First address of the pool, counted from the network\'s own; used where nothing is inherited.') },
			{ name: 'limit', kind: 'number', min: 1, max: 65534, default: '150', example: '100', help: _('How many addresses the pool has; used where nothing is inherited.') },
			{ name: 'lease_time', kind: 'duration', says: _('time: 15m, 12h, 2d, 1w or infinite'), default: '12h', example: '12h', help: _('How long an address is given for; used where nothing is inherited.') },
			{ name: 'unknown_pi', kind: 'choice', choices: [ 'offer', 'ignore' ], default: 'offer', help: _('What a Pi that nobody has adopted gets: an address, or no answer.') }
		] },
		{ kind: 'subnet', named: false, help: _('A network behind a DHCP relay.'), options: [
			{ name: 'network', kind: 'network', says: _('name in /etc/config/network'), required: true, example: 'lan', help: _('The served network through which the relay\'s questions come in.') },
			{ name: 'subnet', kind: 'subnet', says: _('IPv4 network, such as 10.1.20.0/24'), required: true, example: '10.1.20.0/24', help: _('The relayed network; the relay\'s own address (giaddr) lies in it.') },
			{ name: 'router', kind: 'ip', says: _('IPv4 address'), example: '192.168.1.20', help: _('Its default router; the relay itself if left out.') },
			{ name: 'start', kind: 'number', min: 1, max: 65534, example: '100', help: _('First address of its pool, counted from the network\'s own; without it only reservations are served.') },
			{ name: 'limit', kind: 'number', min: 1, max: 65534, default: '150', example: '100', help: _('How many addresses its pool has.') },
			{ name: 'lease_time', kind: 'duration', says: _('time: 15m, 12h, 2d, 1w or infinite'), example: '12h', help: _('How long an address is given for; as on the served network if left out.') }
		] },
		{ kind: 'tftp', name: 'tftp', help: _('Boot files.'), options: [
			{ name: 'enabled', kind: 'bool', default: '1', help: _('Whether boot files are served.') }
		] },
		{ kind: 'nfs', name: 'nfs', help: _('Root file systems.'), options: [
			{ name: 'backend', kind: 'choice', choices: [ 'embedded', 'external' ], default: 'embedded', help: _('Who serves images: Bramble (embedded), or another NFS server (external); homes and shares are always Bramble\'s.') },
			{ name: 'url', kind: 'nfs_url', says: _('nfs://ADDRESS/PATH with {image} and {version}'), example: 'nfs://192.168.1.20/export/{image}/{version}', help: _('Where the other server has each version of each image, if `backend` is `external`.') },
			{ name: 'port', kind: 'number', min: 1, max: 65535, default: '2049', example: '100', help: _('Port of Bramble\'s own NFS server: another than 2049 where the router\'s kernel has that; running clients must start again.') }
		] },
		{ kind: 'catalogue', name: 'catalogue', help: _('Where operating systems come from.'), options: [
			{ name: 'source', kind: 'catalogue', says: _('https://… or absolute path'), list: true, default: 'https://downloads.raspberrypi.com/os_list_imagingutility_v4.json', example: 'https://downloads.raspberrypi.com/os_list_imagingutility_v4.json', help: _('Lists of operating systems: Raspberry Pi\'s own, a school\'s, one on a USB stick; of Raspberry Pi Imager or of PiServer.') },
			{ name: 'refresh', kind: 'duration', says: _('time: 15m, 12h, 2d, 1w or infinite'), default: '1d', example: '12h', help: _('How often they are looked at for a newer release of an image that came from one; never with `infinite`.') },
			{ name: 'proxy', kind: 'proxy', says: _('http://HOST:PORT'), example: 'http://proxy.school.lan:3128', help: _('The proxy through which this router reaches the web; straight if left out.') },
			{ name: 'ca_file', kind: 'path', says: _('absolute path'), default: '/etc/ssl/certs/ca-certificates.crt', example: '/mnt/sda1/bramble', help: _('Certificates (PEM) of the authorities that may vouch for servers of the web; the default is that of the package `ca-bundle`.') }
		] },
		{ kind: 'accounts', name: 'accounts', help: _('People who log in.'), options: [
			{ name: 'source', kind: 'choice', choices: [ 'local', 'ldap' ], default: 'local', help: _('Who keeps the accounts: Bramble itself (local), or a directory that is there already (ldap).') },
			{ name: 'twice', kind: 'choice', choices: [ 'allow', 'refuse', 'takeover' ], default: 'allow', help: _('What happens when somebody logs in at a second client: both stay, the second is refused, or the first is ended.') },
			{ name: 'password_length', kind: 'number', min: 4, max: 128, default: '8', example: '100', help: _('How many characters a new password has at least.') },
			{ name: 'history_days', kind: 'number', min: 0, max: 3650, default: '30', example: '100', help: _('For how many days it is remembered who was logged in where; with 0 nothing is kept of a session that is over.') },
			{ name: 'attic_time', kind: 'duration', says: _('time: 15m, 12h, 2d, 1w or infinite'), default: '90d', example: '12h', help: _('How long the home of a removed account is kept.') }
		] },
		{ kind: 'directory', name: 'directory', help: _('The directory that is asked where `source` is `ldap`.'), options: [
			{ name: 'server', kind: 'ldap_server', says: _('host name or IPv4 address, with or without :port'), list: true, example: 'dc1.school.lan', help: _('Its servers; they are tried in this order.') },
			{ name: 'kind', kind: 'choice', choices: [ 'posix', 'ad' ], default: 'posix', help: _('LDAP with the attributes of RFC 2307 (posix), or Active Directory (ad).') },
			{ name: 'tls', kind: 'choice', choices: [ 'ldaps', 'starttls', 'off' ], default: 'ldaps', help: _('TLS from the start (ldaps, port 636), after a word in the clear (starttls, port 389), or passwords that anybody on the way can read (off).') },
			{ name: 'ca_file', kind: 'path', says: _('absolute path'), default: '/etc/ssl/certs/ca-certificates.crt', example: '/mnt/sda1/bramble', help: _('Certificates (PEM) of the authorities that may vouch for its servers; the default is that of the package `ca-bundle`.') },
			{ name: 'base', kind: 'ldap_entry', says: _('distinguished name'), example: 'ou=people,dc=school,dc=lan', help: _('Name below which people are found.') },
			{ name: 'group_base', kind: 'ldap_entry', says: _('distinguished name'), example: 'ou=people,dc=school,dc=lan', help: _('Name below which groups are found; as `base` if left out.') },
			{ name: 'bind_dn', kind: 'line', says: _('text'), example: 'pupils', help: _('Who asks: the name of an entry, or `bramble@school.lan` for Active Directory; nobody in particular if left out.') },
			{ name: 'secret_file', kind: 'path', says: _('absolute path'), default: '/etc/bramble/directory.secret', example: '/mnt/sda1/bramble', help: _('File with the password of `bind_dn` in its first line; nobody but its owner may read it.') },
			{ name: 'filter', kind: 'ldap_filter', says: _('LDAP filter'), example: '(objectClass=posixAccount)', help: _('Which entries are people; `(objectClass=posixAccount)`, or users of Active Directory, if left out.') },
			{ name: 'group_filter', kind: 'ldap_filter', says: _('LDAP filter'), example: '(objectClass=posixAccount)', help: _('Which entries are groups; `(objectClass=posixGroup)`, or groups of Active Directory, if left out.') },
			{ name: 'name_attribute', kind: 'ldap_attribute', says: _('name of an attribute'), example: 'uid', help: _('What somebody logs in with; `uid`, or `sAMAccountName` for Active Directory, if left out.') },
			{ name: 'numbers', kind: 'choice', choices: [ 'posix', 'sid' ], help: _('Where uids come from: `uidNumber` (posix), or 200000 and the last number of `objectSid` (sid); as `kind` has it if left out.') },
			{ name: 'group', kind: 'line', says: _('text'), list: true, example: 'pupils', help: _('Groups whose members may log in, by name; everybody if left out.') },
			{ name: 'teacher_group', kind: 'line', says: _('text'), list: true, example: 'pupils', help: _('Groups whose members are teachers, by name; nobody is one if left out.') },
			{ name: 'timeout', kind: 'number', min: 1, max: 15, default: '5', example: '10', help: _('Seconds that a server may take over an answer.') },
			{ name: 'refresh', kind: 'duration', says: _('time: 15m, 12h, 2d, 1w or infinite'), default: '10m', example: '12h', help: _('How often it is asked who there is; new people can log in after this time.') },
			{ name: 'offline', kind: 'choice', choices: [ 'no', 'names', 'passwords' ], default: 'no', help: _('What is kept for times without the directory: nothing, who there is (names), or also hashes of passwords that were right (passwords).') },
			{ name: 'offline_time', kind: 'duration', says: _('time: 15m, 12h, 2d, 1w or infinite'), default: '7d', example: '12h', help: _('How long after their last log-in with the directory somebody may log in without it.') }
		] },
		{ kind: 'images', name: 'images', help: _('Old versions of operating systems.'), options: [
			{ name: 'keep', kind: 'number', min: 0, max: 1000, default: '0', example: '100', help: _('How many versions of each image are kept that nobody boots, besides the one that a roll-back gives back; all of them with `0`.') },
			{ name: 'keep_for', kind: 'duration', says: _('time: 15m, 12h, 2d, 1w or infinite'), default: 'infinite', example: '12h', help: _('How old a version may get that nobody boots; what is older is removed, once a day.') }
		] },
		{ kind: 'homes', name: 'homes', help: _('The folders of people.'), options: [
			{ name: 'quota', kind: 'size', says: _('size: 500M, 2G, or none'), default: '2G', example: '2G', help: _('How much each person may keep, unless the account or a class of theirs says otherwise.') },
			{ name: 'local_caches', kind: 'bool', default: '1', help: _('Whether caches of programs (~/.cache) live in the client\'s memory instead of the home.') },
			{ name: 'encrypt', kind: 'bool', default: '1', help: _('Whether homes and shares are encrypted on the network, from the next log-in on; costs a slow router speed.') }
		] },
		{ kind: 'share', named: true, help: _('A folder that several people see below ~/Shared.'), options: [
			{ name: 'access', kind: 'choice', choices: [ 'read', 'write', 'handin' ], default: 'read', help: _('What pupils may do: read it, change everything in it, or only put files into it; teachers may do everything.') },
			{ name: 'class', kind: 'class_name', says: _('name of a class'), list: true, example: 'class-7b', help: _('Classes that see it; without one everybody does.') },
			{ name: 'path', kind: 'folder', says: _('absolute path'), example: '/mnt/sda1/files', help: _('A folder that exists already, if it is not to be below `data`.') },
			{ name: 'quota', kind: 'size', says: _('size: 500M, 2G, or none'), default: 'none', example: '2G', help: _('How much may be in it; where pupils hand in, how much of each.') }
		] },
		{ kind: 'ldap', name: 'ldap', help: _('Accounts for other programs, over LDAP.'), options: [
			{ name: 'enabled', kind: 'bool', default: '0', help: _('Whether programs such as a library catalogue can ask for accounts over LDAP, on ports 389 and 636.') },
			{ name: 'base', kind: 'ldap_base', says: _('distinguished name'), default: 'dc=raspberrypi,dc=local', example: 'dc=school,dc=lan', help: _('Name below which everything is found; images made by PiServer expect the one given here.') },
			{ name: 'anonymous', kind: 'bool', default: '0', help: _('Whether those who have not logged in may list people and classes.') },
			{ name: 'clear', kind: 'bool', default: '0', help: _('Whether passwords are taken without TLS, where anybody on the network can read them.') }
		] },
		{ kind: 'room', named: true, help: _('Clients that share settings.'), options: [
			{ name: 'image', kind: 'image', says: _('image, or image@version'), example: 'trixie', help: _('What its clients boot: `trixie` for the current version, `trixie@3` to stay with one.') },
			{ name: 'config_txt', kind: 'config_txt', says: _('line of config.txt'), list: true, example: 'hdmi_force_hotplug=1', help: _('Lines added to config.txt of its clients.') },
			{ name: 'cmdline', kind: 'cmdline', says: _('kernel parameters'), list: true, example: 'video=HDMI-A-1:1280x720', help: _('Kernel parameters added for its clients.') },
			{ name: 'timezone', kind: 'time_zone', says: _('time zone, such as Europe/Berlin'), example: 'Europe/Berlin', help: _('Time zone of its clients; the router\'s own if left out.') },
			{ name: 'mask', kind: 'unit', says: _('systemd unit'), list: true, example: 'bluetooth.service', help: _('systemd units that its clients do not start.') },
			{ name: 'class', kind: 'class_name', says: _('name of a class'), list: true, example: 'class-7b', help: _('Classes whose members may log in here, besides teachers; everybody if left out.') },
			{ name: 'sudo', kind: 'choice', choices: [ 'nobody', 'teachers', 'everybody' ], default: 'nobody', help: _('Who becomes root with their own password.') },
			{ name: 'groups', kind: 'choice', choices: [ 'audio', 'video', 'render', 'input', 'plugdev', 'netdev', 'dialout', 'gpio', 'i2c', 'spi', 'none' ], list: true, help: _('Devices that people may use, by their groups; all of them but `input` if left out, none with `none`. Whoever is in `input` reads all keys typed at the client, also the passwords of others; a desktop does not need it.') },
			{ name: 'mode', kind: 'choice', choices: [ 'login', 'guest', 'kiosk', 'exam', 'image' ], default: 'login', help: _('How its clients are used: people log in (login), anybody without a name (guest), one page fills the screen (kiosk), only some log in (exam), as the image has it, also where it logs somebody in by itself (image); clients take it over at their next start, who may log in changes at once.') },
			{ name: 'guest_time', kind: 'number', min: 0, max: 1440, default: '0', example: '100', help: _('Minutes after which a guest is logged out and everything of theirs is gone; 0 for no limit.') },
			{ name: 'kiosk_url', kind: 'page', says: _('address of a page'), example: 'https://library.example/', help: _('The page that a kiosk shows.') },
			{ name: 'kiosk_idle', kind: 'number', min: 0, max: 1440, default: '10', example: '100', help: _('Minutes without a key or the mouse after which a kiosk forgets everything and begins anew; 0 for never.') },
			{ name: 'exam_class', kind: 'class_name', says: _('name of a class'), list: true, example: 'class-7b', help: _('Classes that take part in an exam; teachers may always log in.') },
			{ name: 'exam_account', kind: 'user_name', says: _('name of an account'), list: true, example: 'anna', help: _('Accounts that take part in an exam, beside those of the classes.') },
			{ name: 'exam_share', kind: 'share_name', says: _('name of a share'), list: true, example: 'materials', help: _('The only shares that those see who take part in an exam; none if left out.') },
			{ name: 'exam_hook', kind: 'path', says: _('absolute path'), example: '/mnt/sda1/bramble', help: _('Program of root\'s that is run as `PROGRAM on ROOM ADDRESS…` when an exam begins and with `off` when it ends, to take the internet away.') },
			{ name: 'screens', kind: 'bool', default: '0', help: _('Whether a teacher may look at the screens of its clients; whoever sits there is shown that.') }
		] },
		{ kind: 'client', named: false, help: _('One Raspberry Pi.'), options: [
			{ name: 'mac', kind: 'mac', says: _('hardware address'), required: true, example: 'dc:a6:32:01:02:03', help: _('Its hardware address.') },
			{ name: 'name', kind: 'host_name', says: _('host name'), required: true, example: 'lab-01', help: _('Its host name.') },
			{ name: 'room', kind: 'room_name', says: _('name of a room'), example: 'lab', help: _('The room it is in.') },
			{ name: 'image', kind: 'image', says: _('image, or image@version'), example: 'trixie', help: _('What it boots, if not what its room boots.') },
			{ name: 'ip', kind: 'ip', says: _('IPv4 address'), example: '192.168.1.20', help: _('A fixed address; one from the pool if left out.') },
			{ name: 'config_txt', kind: 'config_txt', says: _('line of config.txt'), list: true, example: 'hdmi_force_hotplug=1', help: _('Lines added to its config.txt, behind those of its room.') },
			{ name: 'cmdline', kind: 'cmdline', says: _('kernel parameters'), list: true, example: 'video=HDMI-A-1:1280x720', help: _('Kernel parameters added behind those of its room.') },
			{ name: 'mode', kind: 'choice', choices: [ 'login', 'guest', 'kiosk', 'exam', 'image' ], help: _('How it is used, if not as its room is.') },
			{ name: 'kiosk_url', kind: 'page', says: _('address of a page'), example: 'https://library.example/', help: _('The page that it shows as a kiosk, if not that of its room.') }
		] },
		{ kind: 'schedule', named: false, help: _('The end of the day: clients that are switched off by themselves.'), options: [
			{ name: 'enabled', kind: 'bool', default: '1', help: _('Whether it happens.') },
			{ name: 'day', kind: 'choice', choices: [ 'mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun' ], list: true, help: _('Days of the week on which it happens; every day if left out.') },
			{ name: 'time', kind: 'time', says: _('time of day, such as 16:30'), required: true, example: '16:30', help: _('When, in the router\'s time.') },
			{ name: 'grace', kind: 'number', min: 0, max: 120, default: '10', example: '100', help: _('Minutes before it in which people see how much time is left, and `bramble action stop` calls it off.') },
			{ name: 'action', kind: 'choice', choices: [ 'shutdown', 'reboot', 'logout' ], default: 'shutdown', help: _('What happens to the clients.') },
			{ name: 'room', kind: 'room_name', says: _('name of a room'), example: 'lab', help: _('Only to those of this room; to all if left out.') },
			{ name: 'router', kind: 'bool', default: '0', help: _('Whether the router is switched off behind the last client, if it is for all.') }
		] }
	]
});
