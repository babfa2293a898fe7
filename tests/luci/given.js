'use strict';

/* What the tests of the pages are given: the answers that were recorded of the daemon, the router's own, and both with
   markup in every text. */

const fs = require('node:fs');
const path = require('node:path');

const { ROOT, answer } = require('./harness.js');

const METHODS = answer('methods');
const EVIL = '<img src=x onerror=alert(1)>';

const CONFIG = () => ({
	bramble: {
		main: { '.name': 'main', '.type': 'bramble', data: '/mnt/sda1/bramble', network: 'lan' },
		classroom: { '.name': 'classroom', '.type': 'room', image: 'sample' }
	},
	network: { lan: { '.name': 'lan', '.type': 'interface', proto: 'static', ipaddr: '192.168.77.1' } }
});

const MOUNTS = { result: [
	{ device: '/dev/sda1', mount: '/mnt/sda1', size: 64e9, avail: 50e9 },
	{ device: '/dev/sdb1', mount: '/mnt/sdb1', size: 4e9, avail: 3e9 },
	{ device: 'overlayfs:/overlay', mount: '/', size: 90e6, avail: 60e6 },
	{ device: 'tmpfs', mount: '/tmp', size: 200e6, avail: 190e6 }
] };

const RECORDED = [
	'status', 'health', 'check', 'overview', 'takeover', 'events', 'client_list', 'client_get', 'room_list', 'plan', 'action_list', 'eeprom_list', 'image_catalogue', 'device_list', 'image_list', 'image_show', 'upload_list', 'session_list', 'account_list',
	'account_add', 'account_remove', 'account_export', 'account_import', 'class_list', 'share_list', 'home_usage', 'job_list'
];

/* What the daemon says, and what the router says. `role` decides which buttons there are. */
function answers(role = 'administrator', change = (name, value) => value) {
	const roles = { helper: [ 'helper' ], teacher: [ 'helper', 'teacher' ], administrator: [ 'helper', 'teacher', 'administrator' ] }[role];
	const all = Object.fromEntries(RECORDED.map((name) => [ name, change(name, answer(name)) ]));

	return Object.assign(all, {
		'session.access': { ubus: { bramble: METHODS.filter((method) => roles.includes(method.role)).map((method) => method.name) } },
		'luci.getMountPoints': change('mounts', structuredClone(MOUNTS)),
		uci: CONFIG()
	});
}

/* What rpcd lets through for a log-in that has these groups, by the access list as it is shipped: objects of ubus with their
   methods, and under `uci` files. */
const ACL = JSON.parse(fs.readFileSync(path.join(ROOT, 'luci-app/root/usr/share/rpcd/acl.d/luci-app-bramble.json'), 'utf8'));
const GROUPS = { helper: [ '-helper' ], teacher: [ '-helper', '-teacher' ], administrator: [ '-helper', '-teacher', '' ] };

function may(role) {
	const rights = GROUPS[role].flatMap((group) => [ 'read', 'write' ].map((kind) => ACL['luci-app-bramble' + group][kind] ?? {}));

	return (object, method) => rights.some((right) => (object == 'uci' ? right.uci : right.ubus?.[object])?.includes(method));
}

/* Something that goes on at a client. */
const ACTION = () => ({
	action: 3, kind: 'message', phase: 'running', by: 'an administrator', message: 'Good morning', started_at: 1, begins_at: 1, ended_at: null,
	done: 0, of: 1, targets: [], router: null
});

const VIEWS = [ 'overview', 'clients', 'images', 'people', 'files', 'settings', 'setup', 'log' ];

/* Every text of every answer, word for word a piece of markup. Keys and words that programs read stay. */
function poison(value, key) {
	if (typeof(value) == 'string')
		return [ 'state', 'kind', 'fate', 'role', 'phase', 'outcome', 'access' ].includes(key) ? value : EVIL + value;

	if (Array.isArray(value))
		return value.map((one) => poison(one, key));

	if (value && typeof(value) == 'object')
		return Object.fromEntries(Object.entries(value).map(([ name, one ]) => [ name, poison(one, name) ]));

	return value;
}

module.exports = { ACL, ACTION, EVIL, METHODS, VIEWS, answers, may, poison };
