'use strict';

/* What the tests of the pages are given: the answers that were recorded of the daemon, the router's own, and both with
   markup in every text. */

const { guard } = require('./access.js');
const { answer } = require('./harness.js');

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
	'status', 'health', 'check', 'overview', 'takeover', 'events', 'client_list', 'client_get', 'room_list', 'plan', 'action_list', 'eeprom_list', 'image_catalogue', 'device_list', 'image_list', 'image_show', 'image_exports', 'upload_list', 'session_list', 'account_list',
	'account_add', 'account_remove', 'account_export', 'account_import', 'class_list', 'share_list', 'home_usage', 'job_list'
];

/* What the daemon says, and what the router says. `role` is of whom rpcd says what they may. */
function answers(role = 'administrator', change = (name, value) => value) {
	const all = Object.fromEntries(RECORDED.map((name) => [ name, change(name, answer(name)) ]));

	return Object.assign(all, {
		'session.access': guard(role).whole(),
		'luci.getMountPoints': change('mounts', structuredClone(MOUNTS)),
		uci: CONFIG()
	});
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

module.exports = { ACTION, EVIL, METHODS, VIEWS, answers, poison };
