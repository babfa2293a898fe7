'use strict';

/* Who may call what, as rpcd decides it: by the access list as it is shipped, with what LuCI gives everybody, for the log-ins
   that the README proposes. A stand-in for rpcd in the tests; the real one reads the same file. */

const fs = require('node:fs');
const path = require('node:path');

const { ROOT } = require('./harness.js');

const read = (file) => JSON.parse(fs.readFileSync(path.join(ROOT, 'luci-app/root/usr/share', file), 'utf8'));
const ACL = read('rpcd/acl.d/luci-app-bramble.json');
const MENU = read('luci/menu.d/luci-app-bramble.json');

/* The groups of LuCI's own that a log-in gets, as far as these pages come near them. */
const LUCI = {
	'unauthenticated': { read: { ubus: { luci: [ 'getFeatures' ] } } },
	'luci-base': {
		read: { file: { '/': [ 'list' ], '/*': [ 'list' ] }, ubus: { file: [ 'list' ], uci: [ 'changes', 'get' ] }, uci: [ 'system', 'luci' ] },
		write: { ubus: { file: [ 'remove' ], uci: [ 'add', 'apply', 'confirm', 'delete', 'order', 'rename', 'set' ] } }
	}
};

/* The log-ins of the README: name → { read, write }, each the groups. Whoever may write may read, too. */
function logins() {
	const text = fs.readFileSync(path.join(ROOT, 'README.md'), 'utf8');

	return Object.fromEntries(text.split('config login').slice(1).map((login) => {
		const [ block ] = login.split('\n\n');
		const of = (kind) => [ ...block.matchAll(new RegExp('list ' + kind + ' \'([\\w-]+)\'', 'g')) ].map(([ , group ]) => group);
		const write = of('write');

		return [ block.match(/option username '(\w+)'/)[1], { read: [ ...new Set(of('read').concat(write)) ], write } ];
	}));
}

const LOGINS = logins();
const ROLES = { helper: LOGINS.helper, teacher: LOGINS.teacher, administrator: LOGINS.keeper };

/* A name of the access list matches as in a shell; `*` reaches over slashes. */
function fits(pattern, name) {
	return new RegExp('^' + pattern.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replace(/\*/g, '.*') + '$', 's').test(name);
}

/* Everything that a log-in may: [ scope, object, function ], with patterns. */
function rights({ read, write }) {
	const of = (groups, kind) => groups.flatMap((group) => Object.entries((ACL[group] ?? LUCI[group])?.[kind] ?? {}).flatMap(([ scope, list ]) => (Array.isArray(list)
		? list.map((object) => [ scope, object, kind ])
		: Object.entries(list).flatMap(([ object, names ]) => names.map((name) => [ scope, object, name ])))));

	return of(read, 'read').concat(of(write, 'write'));
}

/* The guard of one role. `refuses` answers a call of ubus as uhttpd and rpcd do: null if it is let through, or code and
   message. `whole` is what `session access` tells. */
function guard(role) {
	const all = rights(ROLES[role]);
	const may = (scope, object, name) => all.some((right) => right[0] == scope && fits(right[1], object) && fits(right[2], name));
	const DENIED = { code: 6, message: 'Permission denied' };

	return {
		may,

		refuses(object, method, params) {
			if (!may('ubus', object, method))
				return { code: -32002, message: 'Access denied' };

			/* These two look at what they are asked for themselves. */
			if (object == 'file') {
				const command = [ params.command ].concat(params.params ?? []).join(' ');
				const fine = method == 'exec' ? may('file', params.command, 'exec') || may('file', command, 'exec') : may('file', params.path, method);

				return fine ? null : DENIED;
			}

			if (object == 'uci' && params?.config)
				return may('uci', params.config, method == 'get' ? 'read' : 'write') ? null : DENIED;

			return null;
		},

		whole() {
			const found = {};

			for (const [ scope, object, name ] of all)
				((found[scope] ??= {})[object] ??= []).push(name);

			return found;
		},

		/* What /cgi-bin/cgi-download looks at. */
		fetches: (file) => may('cgi-io', 'download', 'read') && may('file', file, 'read'),

		/* And /cgi-bin/cgi-exec: the whole line, or the program alone. */
		runs: (command) => may('cgi-io', 'exec', 'read') && (may('file', command, 'exec') || may('file', command.split(' ')[0], 'exec'))
	};
}

/* The views that LuCI shows a role: those of which it has every group that the entry or one above it names. */
function pages(role) {
	const groups = new Set(ROLES[role].read);

	return Object.entries(MENU).filter(([ name, node ]) => node.action.type == 'view' && name.split('/')
		.map((one, n, all) => MENU[all.slice(0, n + 1).join('/')]).filter((step) => step)
		.every((step) => step.depends.acl.every((group) => groups.has(group)))).map(([ , node ]) => node.action.path.replace('bramble/', ''));
}

module.exports = { ACL, MENU, ROLES: Object.keys(ROLES), guard, pages };
