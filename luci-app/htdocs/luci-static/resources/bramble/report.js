'use strict';
'require baseclass';
'require bramble.api as api';

/* What whoever helps has to see of a router, without what is nobody's business: people, clients, addresses, serial numbers
   and whatever opens something are replaced by words such as `person-3`, the same word wherever it was the same.

   Two nets, one behind the other: names that the daemon knows are looked for in every text; and what looks like an address,
   a number of a machine, a log-in in an address of the web, a key or a word after “password” goes whoever's it is. */

const EVENTS = 500;
const PEOPLE = 1000;

/* Keys under which a daemon could keep what opens something; none does today. */
const OPENS = /pass(word|phrase)?$|secret|token|cookie|hash$|private|^pin$/i;

/* What is replaced by its look, and what it is called then. */
const LOOKS = [
	[ /\b[a-z][a-z0-9+.-]*:\/\/[^\s`'"<>]+/gi, 'url' ],
	[ /\b[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}\b/gi, 'mac' ],
	[ /(?<![0-9a-z.])(?:\d{1,3}\.){3}\d{1,3}(?![0-9a-z]|\.\d)/gi, 'ip' ],
	[ /(?<![0-9a-z:])(?=[0-9a-f:]*::|(?:[0-9a-f]+:){7})[0-9a-f:]{3,39}(?![0-9a-z:])/gi, 'ip' ],
	[ /\b[0-9a-f]{16}\b/gi, 'serial' ],
	[ /\b(?:password|passphrase|passwort|secret|token)\b["'`]?\s*[:=]\s*\S+/gi, 'secret' ],
	[ /\$(?:argon2id?|[156y])\$\S+/g, 'secret' ],
	[ /-----BEGIN [^-]*-----[^]*?(?:-----END [^-]*-----|$)/g, 'secret' ],
	[ /(?<![\w.+-])[\w.+-]+@[\w-]+\.[a-z]{2,}/gi, 'mail' ]
];

return baseclass.extend({
	/* Everything that helps to find a fault, as a text to be saved. What cannot be had is left out, with the reason. */
	make() {
		const asked = {
			status: api.status(), health: api.health(), check: api.check(), clients: api.clientList(), rooms: api.roomList(), actions: api.actionList(),
			events: api.events({ count: EVENTS }), jobs: api.jobList(), images: api.imageList(), shares: api.shareList(), homes: api.homeUsage()
		};
		const people = Promise.all([
			this.people(0), api.sessionList({ count: EVENTS })
		]);
		const names = Object.keys(asked);

		/* Without the names of everybody nobody could be left out: then there is no report. */
		return Promise.all([ people, ...names.map((name) => asked[name].catch((error) => ({ not_told: error.message }))) ])
			.then(([ [ accounts, list ], ...answers ]) => this.hide(Object.fromEntries(names.map((name, n) => [ name, answers[n] ])), accounts, list.sessions),
				(error) => { throw new Error(_('There is no report, because the names to be replaced cannot be had: %s').format(error.message)); });
	},

	/* All accounts, however many there are. */
	people(offset) {
		return api.accountList({ limit: PEOPLE, offset: offset }).then(({ accounts, total }) => {
			const there = offset + accounts.length;

			return accounts.length && there < total ? this.people(there).then((rest) => accounts.concat(rest)) : accounts;
		});
	},

	/* Everybody and everything that has a name of its own, by what it is. */
	names(report, accounts, sessions) {
		const found = new Map();
		const add = (kind, value) => {
			if (typeof(value) == 'string' && value.length > 1 && !found.has(value))
				found.set(value, kind);
		};
		const each = (list, work) => (Array.isArray(list) ? list : []).forEach(work);

		each(accounts, (one) => { add('person', one.name); add('person', one.full_name); add('note', one.note); });
		each(sessions, (one) => { add('person', one.user); add('person', one.full_name); add('client', one.name); });
		each(report.homes?.homes, (one) => add('person', one.name));
		each(report.homes?.attic, (one) => add('person', one.name));
		each(report.clients?.clients, (one) => { add('client', one.name); add('serial', one.serial); });
		each(report.events?.events, (one) => { add('person', one.user); add('client', one.name); });
		each(report.actions?.actions, (one) => each(one.targets, (target) => add('client', target.name)));

		return found;
	},

	hide(report, accounts, sessions) {
		const known = this.names(report, accounts, sessions);
		const said = new Map();
		const call = (kind, value) => {
			const key = kind + '\n' + value.toLowerCase();

			if (!said.has(key))
				said.set(key, '%s-%d'.format(kind, said.size + 1));

			return said.get(key);
		};

		/* Longest first, or the rest of a name would stay; whole words only, so that nothing else is torn. */
		const words = [ ...known.keys() ].sort((a, b) => b.length - a.length);
		const escape = (word) => word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
		const names = words.length ? new RegExp('(?<![\\p{L}\\p{N}])(?:' + words.map(escape).join('|') + ')(?![\\p{L}\\p{N}])', 'gu') : null;
		const clean = (text) => {
			const looked = LOOKS.reduce((rest, [ look, kind ]) => rest.replace(look, (whole) => call(kind, whole)), text);

			return names ? looked.replace(names, (word) => call(known.get(word), word)) : looked;
		};
		const walk = (value) => {
			if (typeof(value) == 'string')
				return clean(value);

			if (Array.isArray(value))
				return value.map(walk);

			if (value && typeof(value) == 'object')
				return Object.fromEntries(Object.entries(value).map(([ key, one ]) => [ clean(key), OPENS.test(key) && typeof(one) == 'string' ? 'secret' : walk(one) ]));

			return value;
		};

		return JSON.stringify(walk(report), null, '\t') + '\n';
	}
});
