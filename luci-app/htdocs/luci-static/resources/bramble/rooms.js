'use strict';
'require baseclass';
'require bramble.api as api';
'require bramble.act as act';
'require bramble.actions as actions';
'require bramble.boots as boots';
'require bramble.seats as seats';
'require bramble.show as show';
'require bramble.uses as uses';

/* Clients and rooms in detail: where a boot is and how it came there, how a room fares, lists of clients. */

/* Marks in the timeline, for the eye. */
const KINDS = {
	'refused': 'stuck',
	'login_refused': 'stuck',
	'mount': 'boot',
	'agent': 'boot',
	'logged_in': 'up',
	'logged_out': 'off'
};

return baseclass.extend({
	/* The lines of a timeline, newest first. */
	timeline(lines) {
		return show.table([ _('When'), _('What happened'), '' ], lines.slice().reverse().map((line) => [
			show.stamp(line.at),
			line.says,
			[
				line.times > 1 ? show.badge(_('%s times').format(show.number(line.times)), 'off') : '',
				KINDS[line.kind] ? show.badge(this.word(line.kind), KINDS[line.kind]) : ''
			]
		]), _('Nothing has been heard from it yet.'));
	},

	word(kind) {
		return {
			'refused': _('refused'),
			'login_refused': _('not let in'),
			'mount': _('mount'),
			'agent': _('agent'),
			'logged_in': _('log-in'),
			'logged_out': _('log-out')
		}[kind] ?? kind;
	},

	facts(client) {
		return [
			[ _('State'), [ show.badge(show.state(client.state), show.stateClass(client.state).slice(8)), ' ', client.says ] ],
			[ _('Room'), [ client.room ?? _('none') ] ],
			[ _('Boots next'), [ client.image ?? _('nothing: give it or its room an image') ] ],
			[ _('Tries out'), [ client.trial ? this.version(client.trial) : '' ] ],
			[ _('Changes the draft of'), [ client.maintains ?? '' ] ],
			[ _('Booted last'), [ client.booted ? this.version(client.booted) : _('nothing yet') ] ],
			[ _('Last log-in'), [ client.last_session ? '%s, %s'.format(client.last_session.full_name || client.last_session.user, show.when(client.last_session.since)) : '' ] ],
			[ _('Agent'), [ client.agent ?? '' ] ],
			[ _('Used'), [ client.mode ? uses.mode(client.mode) : '' ] ],
			[ _('Address'), [ client.ip ?? _('none') ] ],
			[ _('Model'), [ [ client.model ?? _('unknown'), client.memory ? show.size(client.memory) : null ].filter((part) => part).join(', ') ] ],
			[ _('Serial number'), [ client.serial ?? _('unknown') ] ],
			[ _('Hardware address'), [ client.mac ] ],
			[ _('First seen'), [ show.when(client.first_seen) ] ],
			[ _('Last seen'), [ show.when(client.last_seen) ] ]
		].filter(([ , [ value ] ]) => value !== '');
	},

	version(image) {
		return '%s@%d'.format(image.name, image.version);
	},

	/* What the client can be told, as on the overview. */
	tools(client) {
		const there = client.last_session && client.last_session.ended == null ? [ client.last_session ] : [];

		return client.adopted ? actions.tools(client.name, { client: client.mac }, [ Object.assign({}, client, { people: there }) ], seats.actions) : [];
	},

	detail(client) {
		return [
			E('h3', {}, [ client.name ]),
			...boots.verdicts(client.verdicts, () => seats.remedy(client)),
			E('div', { 'class': 'bramble-tools' }, this.tools(client)),
			E('dl', { 'class': 'bramble-facts' }, this.facts(client).flatMap(([ title, value ]) => [
				E('dt', {}, [ title ]),
				E('dd', {}, value)
			])),
			...boots.boots(client.boots),
			...boots.health(client.health, client.history, client.now),
			...boots.console(client.console),
			E('h4', {}, [ _('What happened') ]),
			this.timeline(client.timeline.filter((line) => line.kind != 'file')),
			E('details', { 'data-key': 'files' }, [
				E('summary', {}, [ _('Each file that it asked for') ]),
				this.timeline(client.timeline.filter((line) => line.kind == 'file'))
			])
		];
	},

	/* Every room: how many work, and how long they took. */
	summary(rooms, done) {
		return show.table([ _('Room'), _('Boots'), _('Ready'), _('Logged in'), _('Usual boot'), _('All together'), _('Slowest'), '' ], rooms.map((room) => [
			room.room ?? _('none'),
			room.image ?? '',
			[
				_('%s of %s').format(show.number(room.up), show.number(room.clients)), ' ',
				room.stopped ? show.badge(N_(room.stopped, '%s in trouble', '%s in trouble').format(show.number(room.stopped)), 'stuck') : ''
			],
			show.number(room.people),
			room.median_ms == null ? '' : boots.took(room.median_ms),
			room.together_ms == null ? '' : boots.took(room.together_ms),
			room.slowest ? '%s, %s'.format(room.slowest, boots.took(room.slowest_ms)) : '',
			[ room.mode ? show.badge(uses.mode(room.mode), room.mode == 'login' ? 'off' : 'new') : '', ' ', ...uses.tools(room, done), room.room && api.may('plan') ? act.button(_('How long would it take?'), () => this.askPlan(room.room), 'neutral', { 'data-key': 'plan-' + room.room }) : '' ]
		]), _('There is no room yet.'));
	},

	/* How long the room takes when all are switched on together, and what holds it up. */
	askPlan(room) {
		return api.plan({ room: room }).then((plan) => this.showPlan(room, plan));
	},

	showPlan(room, plan) {
		const number = E('input', { 'type': 'number', 'min': '1', 'max': '1000', 'class': 'cbi-input-text', 'id': 'bramble-plan', 'value': '%d'.format(plan.clients) });

		act.modal(_('%s: switched on together').format(room), [
			E('div', { 'class': 'bramble-form' }, [
				E('p', { 'class': 'bramble-good' }, [ N_(plan.clients, '%s client: the log-in screen is there after %s.', '%s clients: the last log-in screen is there after %s.').format(show.number(plan.clients), boots.took(plan.total_ms)) ]),
				E('p', {}, [ _('What holds it up: %s.').format(plan.bottleneck), ' ', plan.measured ? _('One client alone takes %s.').format(boots.took(plan.alone_ms)) : '' ]),
				show.table([ _('On the way'), _('Carries'), _('Is busy for') ], plan.parts.map((part) => [
					part.name, _('%s per second').format(show.size(part.rate)), boots.took(part.ms)
				]), _('Nothing could be measured.')),
				...plan.says.map((one) => E('p', {}, [ E('small', {}, [ one ]) ])),
				E('div', { 'class': 'bramble-tools' }, [
					E('label', { 'for': 'bramble-plan' }, [ _('As if there were so many clients') ]),
					number,
					act.button(_('Work it out'), () => api.plan({ room: room, clients: +number.value }).then((other) => this.showPlan(room, other)))
				]),
				act.closing()
			])
		]);
	},

	forget(client, done) {
		act.ask(_('Forget %s?').format(client.name), _('It appears as a new Pi when it is switched on the next time.'), [
			_('Its name, room, image and fixed address are taken out of the configuration.'),
			_('Its timeline is deleted.')
		], _('Forget'), () => api.clientForget({ client: client.mac }).then((gone) => {
			done();
			act.done(_('%s is forgotten.').format(gone.name));
		}));
	},

	/* Clients from a table for a spreadsheet: what `csv` writes, or any other with a column `mac` and a column `name`. */
	read(text) {
		const rows = text.replace(/\r\n?/g, '\n').split('\n').filter((line) => line.trim())
			.map((line) => (line.match(/("([^"]|"")*"|[^,;]*)([,;]|$)/g) ?? []).slice(0, 12).map((cell) => cell.replace(/[,;]$/, '')
				.replace(/^"([^]*)"$/, '$1').replace(/""/g, '"').replace(/^'(?='*[=+\-@])/, '').trim()));
		const head = (rows.shift() ?? []).map((cell) => cell.toLowerCase());

		if (head.indexOf('mac') < 0 || head.indexOf('name') < 0)
			throw Object.assign(new Error(_('The first line must name the columns, among them mac and name.')), { field: 'csv' });

		return rows.map((row) => Object.fromEntries(head.map((column, n) => [ column, row[n] ?? '' ]).filter(([ column ]) => column)));
	},

	/* Adopts one after the other, and says of each what became of it. */
	adoptAll(rows, told) {
		return rows.reduce((chain, row) => chain.then(() => api.clientAdopt({
			client: row.mac, name: row.name, room: row.room, image: row.image, ip: row.fixed
		}).then(() => told(row, null), (error) => told(row, error))), Promise.resolve());
	},

	/* A list of clients, such as from another router: chosen, shown, then adopted. */
	import(done) {
		act.form(_('Adopt a list of clients'), _('A table saved as CSV with the columns mac and name, and if you like room, image and fixed (an address). The Pis need not be switched on.'), [
			{ name: 'csv', label: _('File'), kind: 'file', accept: '.csv,text/csv' }
		], _('Show the list'), (values) => {
			if (!values.csv)
				throw Object.assign(new Error(_('Choose a file first.')), { field: 'csv' });

			return values.csv.text().then((text) => {
				this.preview(this.read(text), done);

				return false;
			});
		});
	},

	preview(rows, done) {
		const notes = rows.map(() => E('span', {}, []));

		act.dialog(_('Adopt these clients?'), [
			show.table([ _('Hardware address'), _('Name'), _('Room'), _('Image', 'operating system'), '' ], rows.map((row, n) => [
				row.mac, row.name, row.room, row.image, [ notes[n] ]
			]))
		], _('Adopt'), 'positive', (says) => {
			let failed = 0;

			return this.adoptAll(rows, (row, error) => {
				failed += error ? 1 : 0;
				notes[rows.indexOf(row)].replaceChildren(error ? error.message : show.badge(_('done'), 'up'));
			}).then(() => {
				done();

				if (failed)
					says.replaceChildren(N_(failed, '%s client was refused; the reason is beside it.', '%s clients were refused; the reasons are beside them.').format(show.number(failed)));

				return failed == 0;
			});
		});
	},

	/* All clients as a table for a spreadsheet. A text that a spreadsheet would take for a formula is kept from it. */
	csv(clients) {
		const cell = (value) => {
			const text = String(value ?? '').replace(/^(?='*[=+\-@])/, '\'');

			return (/[",\n]/).test(text) ? '"' + text.replace(/"/g, '""') + '"' : text;
		};
		const columns = [ 'name', 'room', 'image', 'mac', 'fixed', 'ip', 'model', 'serial', 'state' ];

		return [ columns ].concat(clients.map((client) => columns.map((column) => column == 'fixed' ? client.own?.ip : column == 'image' ? client.own?.image : client[column])))
			.map((row) => row.map(cell).join(',')).join('\r\n') + '\r\n';
	}
});
