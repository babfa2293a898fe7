'use strict';
'require baseclass';
'require bramble.api as api';
'require bramble.act as act';
'require bramble.actions as actions';
'require bramble.boots as boots';
'require bramble.show as show';
'require bramble.uses as uses';
'require bramble.verdicts as verdicts';

/* The seat map: a tile for each client, and what can be done about one. */

function who(seat) {
	return seat.people.map((person) => person.full_name || person.user).join(', ');
}

return baseclass.extend({
	/* What one client can be told. */
	actions: [ 'message', 'lock', 'logout', 'identify', 'reboot', 'shutdown' ],

	/* In which kind of state a seat is: what keeps it from working goes before how far its boot is. */
	kind(seat) {
		return seat.adopted && seat.verdicts?.some((one) => one.stops) ? 'stuck' : show.stateClass(seat.state).slice(8);
	},

	/* What is wrong with one, in a few words. */
	short(seat) {
		const [ verdict ] = seat.verdicts ?? [];

		return verdict ? verdicts.heading(verdict) ?? verdict.sentence : null;
	},

	/* The button that gives it what it lacks. */
	remedy(seat) {
		return api.may('client_adopt') ? act.button(seat.adopted ? _('Change…') : _('Adopt…'), () => this.adopt(seat), 'positive', { 'data-key': 'remedy-' + seat.mac }) : null;
	},

	/* Of many seats: how many are in which kind of state, worst first. */
	counts(seats) {
		const kinds = [ [ 'stuck', _('trouble') ], [ 'new', _('new') ], [ 'boot', _('starting') ], [ 'up', _('ready') ], [ 'off', _('off') ] ];

		return kinds.map(([ kind, word ]) => {
			const count = seats.filter((seat) => this.kind(seat) == kind).length;

			return count ? show.badge('%s %s'.format(show.number(count), word), kind) : null;
		}).filter((badge) => badge);
	},

	tile(seat, now) {
		const people = who(seat);
		const step = show.step(seat.state);
		const word = people || show.state(seat.state);
		/* What is wrong, or not as good as it could be; a Pi that nobody adopted has its own place on the page. */
		const trouble = seat.adopted ? this.short(seat) ?? (seat.state == 'stuck' ? seat.says : null) : null;

		return E('button', {
			'type': 'button',
			'class': 'bramble-seat bramble-%s%s'.format(this.kind(seat), people ? ' bramble-busy-seat' : ''),
			'data-key': 'seat-' + seat.mac,
			'title': trouble ?? seat.says,
			'aria-label': '%s: %s'.format(seat.name, people ? _('%s is logged in').format(people) : show.state(seat.state)),
			'click': () => this.open(seat, now)
		}, [
			E('strong', {}, [ seat.name ]),
			E('span', {}, [ word ]),
			step != null ? show.bar(step, show.state(seat.state)) : '',
			trouble ? E('small', {}, [ trouble ]) : '',
			!trouble && !people && seat.since ? E('small', {}, [ show.ago(seat.since, now) ]) : ''
		]);
	},

	map(seats, now) {
		return E('div', { 'class': 'bramble-map' }, seats.map((seat) => this.tile(seat, now)));
	},

	/* One seat in a dialog: what it does, who sits there, what can be done. */
	open(seat, now) {
		const facts = [
			[ _('State'), '%s, %s'.format(show.state(seat.state), show.ago(seat.since, now)) ],
			[ _('What is known'), seat.says ],
			[ _('Room'), seat.room ?? _('none') ],
			[ _('Image', 'operating system'), seat.image ?? _('none') ],
			[ _('Model'), seat.model ?? _('unknown') ],
			[ _('Address'), seat.ip ?? _('none') ],
			[ _('Hardware address'), seat.mac ]
		];
		const people = seat.people.map((person) => E('div', { 'class': 'bramble-tools' }, [
			E('span', {}, [ _('%s is logged in since %s').format(person.full_name || person.user, show.clock(person.since)) ]),
			api.may('session_end') ? act.button(_('Log out…'), () => this.logOut(seat, person), 'negative') : ''
		]));
		const tools = [];

		if (seat.adopted)
			tools.push(...actions.tools(seat.name, { client: seat.mac }, [ seat ], this.actions));

		if (seat.adopted && api.may('screen_open'))
			tools.push(act.button(_('Look at the screen…'), () => api.overview().then(({ whole }) => uses.look(seat, whole.seats)), 'neutral'));

		if (!seat.adopted && api.may('client_adopt'))
			tools.push(act.button(_('Adopt…'), () => this.adopt(seat), 'positive'));

		tools.push(E('a', { 'class': 'btn cbi-button', 'href': L.url('admin/bramble/clients') + '#' + encodeURIComponent(seat.mac) }, [ _('Boot in detail') ]));

		act.modal(seat.name, [
			E('div', { 'class': 'bramble-form' }, [
				E('dl', { 'class': 'bramble-facts' }, facts.flatMap(([ title, value ]) => [
					E('dt', {}, [ title ]),
					E('dd', {}, [ value ])
				])),
				...boots.verdicts(seat.verdicts, () => this.remedy(seat)),
				E('div', {}, people),
				E('div', { 'class': 'bramble-tools' }, tools),
				act.closing()
			])
		]);
	},

	logOut(seat, person) {
		act.form(_('Log %s out at %s?').format(person.full_name || person.user, seat.name),
			_('Programs are closed. What was not saved is lost; the files in the home stay.'), [
				{ name: 'message', label: _('Message'), help: _('What the person is shown. A general sentence if left empty.') }
			], _('Log out'), (values) => api.sessionEnd({ session: person.session, message: values.message })
				.then(() => act.done(_('%s is being logged out.').format(person.full_name || person.user))), 'negative');
	},

	/* Makes a Pi one of ours, or changes one that is; `rooms` and `images` are asked for, so that the dialog is never out of
	   date. Of one that is ours only what was changed is sent. */
	adopt(seat, after) {
		return Promise.all([ api.overview(), api.imageList(), seat.adopted ? api.clientGet({ client: seat.mac }) : null ]).then(([ overview, images, ours ]) => {
			const whole = overview.whole;
			const rooms = whole.rooms.map((room) => room.name);
			const names = images.images.map((image) => image.name);
			const before = ours
				? { name: ours.name, room: ours.room ?? '', image: ours.own?.image ?? '' }
				: { name: this.nextName(whole, rooms[0]), room: rooms[0] ?? '', image: '' };
			/* One that is pinned to a version stays what it is. */
			const choices = (none, known, now) => [ [ '', none ] ].concat([ ...new Set(known.concat(now ? [ now ] : [])) ].map((name) => [ name, name ]));

			act.form(ours ? _('Change %s').format(ours.name) : _('Adopt %s').format(seat.model ?? seat.mac),
				ours ? _('What is changed counts when it is switched on the next time.') : _('It gets a name and a room, and starts the image of that room when it is switched on the next time.'), [
					{ name: 'name', label: _('Name'), value: before.name, help: _('Letters, digits and hyphens, such as lab-01.') },
					{ name: 'room', label: _('Room'), kind: 'choice', value: before.room, choices: choices(_('none'), rooms, before.room) },
					{ name: 'image', label: _('Image', 'operating system'), kind: 'choice', value: before.image, choices: choices(_('that of the room'), names, before.image) }
				], ours ? _('Save') : _('Adopt'), (values) => {
					const said = (name) => (ours ? values[name] == before[name] ? undefined : values[name] || 'none' : values[name]);

					return api.clientAdopt({ client: seat.mac, name: values.name, room: said('room'), image: said('image') })
						.then((client) => {
							act.done((ours ? _('%s is changed.') : _('%s belongs to the room now.')).format(client.name));

							return after?.();
						});
				});
		});
	},

	/* The first free number behind what the others of the room are called, or behind its own name. */
	nextName(whole, room) {
		const taken = whole.seats.map((seat) => seat.name);
		const others = whole.seats.filter((seat) => seat.adopted && seat.room == room).map((seat) => seat.name.match(/^(.+)-\d+$/));
		const stem = others.filter((match) => match).pop()?.[1] ?? (room ?? 'pi').replace(/_/g, '-');

		for (let n = 1; ; n++) {
			const name = '%s-%02d'.format(stem, n);

			if (taken.indexOf(name) < 0)
				return name;
		}
	}
});
