'use strict';
'require baseclass';
'require bramble.api as api';
'require bramble.act as act';
'require bramble.show as show';

/* One client in detail: where its boot is, and how it came there. */

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
			'%s %s'.format(show.day(line.at), show.clock(line.at)),
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
			[ _('Booted last'), [ client.booted ?? _('nothing yet') ] ],
			[ _('Address'), [ client.ip ?? _('none') ] ],
			[ _('Model'), [ [ client.model ?? _('unknown'), client.memory ? show.size(client.memory) : null ].filter((part) => part).join(', ') ] ],
			[ _('Serial number'), [ client.serial ?? _('unknown') ] ],
			[ _('Hardware address'), [ client.mac ] ],
			[ _('First seen'), [ show.when(client.first_seen) ] ],
			[ _('Last seen'), [ show.when(client.last_seen) ] ]
		];
	},

	detail(client) {
		return [
			E('h3', {}, [ client.name ]),
			E('dl', { 'class': 'bramble-facts' }, this.facts(client).flatMap(([ title, value ]) => [
				E('dt', {}, [ title ]),
				E('dd', {}, value)
			])),
			this.timeline(client.timeline)
		];
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

	/* All clients as a table for a spreadsheet. A text that a spreadsheet would take for a formula is kept from it. */
	csv(clients) {
		const cell = (value) => {
			const text = String(value ?? '').replace(/^([=+\-@])/, '\'$1');

			return /[",\n]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text;
		};
		const columns = [ 'name', 'room', 'image', 'mac', 'ip', 'model', 'serial', 'state' ];

		return [ columns ].concat(clients.map((client) => columns.map((column) => client[column])))
			.map((row) => row.map(cell).join(',')).join('\r\n') + '\r\n';
	}
});
