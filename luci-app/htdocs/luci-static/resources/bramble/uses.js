'use strict';
'require baseclass';
'require bramble.api as api';
'require bramble.act as act';
'require bramble.show as show';

/* How a room is used (with names, as guests, one page, an exam, as the image has it), and screens that a teacher looks at. */

const MODES = {
	'login': _('with name and password'),
	'guest': _('guests, without a name'),
	'kiosk': _('one page of the web'),
	'exam': _('exam'),
	'image': _('as the image has it'),
	'room': _('as its room')
};

/* As the daemon takes it: `none` takes away, and minutes are always a number. */
function wanted(name, text) {
	if (name == 'minutes')
		return text.trim() || '0';

	return (name == 'page' ? text.trim() : text.split(/[\s,;]+/).filter((word) => word).join(',')) || 'none';
}

/* What belongs to each way of a room: field, what the daemon has told it is, and how it is asked for. */
const DETAILS = {
	'guest': (set) => [
		{ name: 'minutes', label: _('Minutes'), value: '%d'.format(set.guest_minutes ?? 0), help: _('How long a guest may stay; 0 for as long as they like. What they saved is gone afterwards.') }
	],
	'kiosk': (set) => [
		{ name: 'page', label: _('Page'), value: set.kiosk_page ?? '', placeholder: 'https://library.example/', help: _('It fills the screen, and is opened again if somebody closes it.') },
		{ name: 'minutes', label: _('Minutes'), value: '%d'.format(set.kiosk_minutes ?? 0), help: _('After so long without a key it begins anew; 0 for never.') }
	],
	'exam': (set) => [
		{ name: 'classes', label: _('Classes'), value: (set.exam_classes ?? []).join(', '), help: _('Who takes part; with commas between them.') },
		{ name: 'accounts', label: _('Accounts'), value: (set.exam_accounts ?? []).join(', '), help: _('And who else, by log-in names.') },
		{ name: 'shares', label: _('Shares'), value: (set.exam_shares ?? []).join(', '), help: _('The only shares that are there; none if left empty.') }
	]
};

/* What one client can have of its own. */
const OWN = {
	'kiosk': (set) => [ { name: 'page', label: _('Page'), value: set.kiosk_page ?? '', placeholder: 'https://library.example/', help: _('That of its room if left empty.') } ]
};

/* Where somebody may sit: addresses, with what is there. */
function places(seats) {
	return seats.filter((seat) => seat.ip).map((seat) => [ seat.ip, seat.name ]);
}

return baseclass.extend({
	mode(word) {
		return MODES[word] ?? word;
	},

	/* Buttons of a room in the table of rooms. */
	tools(room, done) {
		return [
			room.mode && api.may('mode_set') ? act.button(_('Use…'), () => this.choose({ room: room.room }, room.room, room.mode, room.modes, done), 'action', { 'data-key': 'mode-' + room.room }) : '',
			room.mode && api.may('screen_allow') ? act.button(room.screens ? _('Forbid looking at screens') : _('Allow looking at screens…'), () => this.allow(room, done), 'neutral', { 'data-key': 'screens-' + room.room }) : ''
		];
	},

	/* What belongs to each way is asked when it was chosen, with what is set; what is left as it is is not sent. */
	choose(target, name, now, set, done) {
		const details = target.client ? OWN : DETAILS;

		act.form(_('How is %s used?').format(name), _('Who may log in counts at once. Guests and a page of the web begin, and end, with the next start of each client.'), [
			{ name: 'mode', label: _('Log-in'), kind: 'choice', value: now, choices: Object.entries(MODES).filter(([ word ]) => word != 'room' || target.client) }
		], _('Next'), ({ mode }) => {
			const fields = details[mode]?.(set ?? {}) ?? [];
			const save = (values) => {
				const changed = fields.filter((field) => values[field.name].trim() != field.value)
					.map((field) => [ field.name, wanted(field.name, values[field.name]) ]);

				return api.modeSet(Object.assign({ mode: mode }, target, Object.fromEntries(changed))).then((answer) => {
					done();
					act.done(answer.says);
				});
			};

			if (!fields.length)
				return save({});

			act.form('%s: %s'.format(name, this.mode(mode)), null, fields, _('Save'), save);

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

	/* The screen of one seat, in a VNC program of the teacher's own; `others` are seats that they may sit at. */
	look(seat, others) {
		act.form(_('Look at the screen of %s').format(seat.name), _('A sign on the screen says that somebody looks. A VNC program, such as Remmina or TigerVNC, shows it.'), [
			{ name: 'viewer', label: _('From the address'), suggest: places(others.filter((one) => one.mac != seat.mac)), help: _('The address of the computer that you sit at: nobody else can connect then. Whoever knows the password can if left empty.') },
			{ name: 'control', label: _('Keyboard and mouse too'), kind: 'flag' },
			{ name: 'time', label: _('For at most'), kind: 'choice', choices: [ [ '10m', show.length(600) ], [ '30m', show.length(1800) ], [ '1h', show.length(3600) ] ] }
		], _('Look'), (values) => api.screenOpen({ client: seat.mac, viewer: values.viewer.trim() || undefined, control: values.control ? '1' : undefined, time: values.time }).then((opened) => {
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
