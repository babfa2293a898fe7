'use strict';
'require baseclass';
'require bramble.api as api';
'require bramble.act as act';
'require bramble.show as show';

/* How a room is used (with names, as guests, one page, an exam), and screens that a teacher looks at. */

const MODES = {
	'login': _('with name and password'),
	'guest': _('guests, without a name'),
	'kiosk': _('one page of the web'),
	'exam': _('exam'),
	'room': _('as its room')
};

const split = (text) => (text.trim() ? text.split(/[\s,;]+/).filter((word) => word).join(',') : 'none');

return baseclass.extend({
	mode(word) {
		return MODES[word] ?? word;
	},

	/* Buttons of a room in the table of rooms. */
	tools(room, done) {
		return [
			room.mode && api.may('mode_set') ? act.button(_('Use…'), () => this.choose({ room: room.room }, room.room, room.mode, done), 'action', { 'data-key': 'mode-' + room.room }) : '',
			room.mode && api.may('screen_allow') ? act.button(room.screens ? _('Forbid looking at screens') : _('Allow looking at screens…'), () => this.allow(room, done), 'neutral', { 'data-key': 'screens-' + room.room }) : ''
		];
	},

	/* What belongs to each way is asked when it was chosen. */
	choose(target, name, now, done) {
		act.form(_('How is %s used?').format(name), _('It counts for each client from its next start on.'), [
			{ name: 'mode', label: _('Log-in'), kind: 'choice', value: now, choices: Object.entries(MODES).filter(([ word ]) => word != 'room' || target.client) }
		], _('Next'), ({ mode }) => {
			const fields = {
				'guest': [ { name: 'minutes', label: _('Minutes'), value: '0', help: _('How long a guest may stay; 0 for as long as they like. What they saved is gone afterwards.') } ],
				'kiosk': [
					{ name: 'page', label: _('Page'), placeholder: 'https://library.example/', help: _('It fills the screen, and is opened again if somebody closes it.') },
					{ name: 'minutes', label: _('Minutes'), value: '0', help: _('After so long without a key it begins anew; 0 for never.') }
				],
				'exam': [
					{ name: 'classes', label: _('Classes'), help: _('Who takes part; with commas between them.') },
					{ name: 'accounts', label: _('Accounts'), help: _('And who else, by log-in names.') },
					{ name: 'shares', label: _('Shares'), help: _('The only shares that are there; none if left empty.') }
				]
			}[mode] ?? [];
			const set = (values) => api.modeSet(Object.assign({ mode: mode }, target, values)).then((answer) => {
				done();
				act.done(answer.says);
			});

			if (!fields.length)
				return set({});

			act.form('%s: %s'.format(name, this.mode(mode)), null, fields, _('Save'), (values) => set(mode == 'exam'
				? { classes: split(values.classes), accounts: split(values.accounts), shares: split(values.shares) }
				: { minutes: values.minutes === '' ? undefined : +values.minutes, page: values.page }));

			return false;
		});
	},

	allow(room, done) {
		const set = (allow) => api.screenAllow({ room: room.room, allow: allow }).then(() => {
			done();
			act.done(allow == '1' ? _('Teachers may look at the screens of %s.').format(room.room) : _('Nobody looks at the screens of %s any more.').format(room.room));
		});

		if (room.screens)
			return set('0');

		act.ask(_('Allow looking at the screens of %s?').format(room.room), _('A teacher then sees the screen of one client at a time, through the router only. A sign on that screen says so for as long as it lasts. Ask what the law and your school say.'), [],
			_('Allow it'), () => set('1'));
	},

	/* The screen of one seat, in a VNC program of the teacher's own. */
	look(seat) {
		act.form(_('Look at the screen of %s').format(seat.name), _('A sign on the screen says that somebody looks. A VNC program, such as Remmina or TigerVNC, shows it.'), [
			{ name: 'control', label: _('Keyboard and mouse too'), kind: 'flag' },
			{ name: 'time', label: _('For at most'), kind: 'choice', choices: [ [ '10m', show.length(600) ], [ '30m', show.length(1800) ], [ '1h', show.length(3600) ] ] }
		], _('Look'), (values) => api.screenOpen({ client: seat.mac, control: values.control ? '1' : undefined, time: values.time }).then((opened) => {
			act.modal(_('The screen of %s').format(opened.name), [ E('div', { 'class': 'bramble-form' }, [
				E('p', {}, [ _('Connect the VNC program within %s. The password is good for one connection.').format(show.length(opened.connect_within_seconds)) ]),
				E('dl', { 'class': 'bramble-facts' }, [
					E('dt', {}, [ _('Address') ]), E('dd', {}, [ E('code', {}, [ '%s:%d'.format(opened.host, opened.port) ]) ]),
					E('dt', {}, [ _('Password') ]), E('dd', {}, [ E('code', {}, [ opened.password ]) ])
				]),
				act.closing(api.may('screen_close') ? [ act.button(_('End it'), () => api.screenClose({ client: seat.mac }).then(() => act.hide()), 'negative') ] : [])
			]) ]);

			return false;
		}));
	},

	/* Who looks at what now. */
	watched(list) {
		return list.screens.length ? [ show.section(_('Screens that are looked at'), [ show.table([ _('Client'), _('From'), _('Since'), '' ], list.screens.map((view) => [
			view.name,
			[ view.viewer ?? '', ' ', view.control ? show.badge(_('keyboard and mouse too'), 'boot') : '' ],
			show.clock(view.since),
			api.may('screen_close') ? act.button(_('End it'), () => api.screenClose({ client: view.mac }), 'negative', { 'data-key': 'screen-' + view.mac }) : ''
		])) ]) ] : [];
	}
});
