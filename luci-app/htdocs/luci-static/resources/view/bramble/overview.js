'use strict';
'require view';
'require bramble.api as api';
'require bramble.act as act';
'require bramble.actions as actions';
'require bramble.boots as boots';
'require bramble.jobs as jobs';
'require bramble.seats as seats';
'require bramble.show as show';

/* Overview: the room at a glance. One question every two seconds, whose answer is a mark if nothing has changed. */

const EVERY = 2;

/* How often times such as “2 minutes ago” move on though nothing else does, in milliseconds. */
const AGAIN = 30000;

/* Up to so many troubles are open at first, and so many are shown at all. */
const OPEN = 2;
const SHOWN = 20;

/* What a whole room can be told. */
const ROOM = [ 'message', 'lock', 'logout', 'reboot', 'shutdown' ];
const DARK = [ 'blank', 'unblank' ];

return view.extend({
	load() {
		return Promise.all([ api.overview().catch((error) => error), api.loadRights() ])
			.then(([ answer ]) => api.may('action_list') ? api.actionList().then((list) => [ answer, list.actions ], () => [ answer, [] ]) : [ answer, [] ]);
	},

	render([ answer, known ]) {
		this.known = known;
		this.alarms = E('div', {}, []);
		this.content = E('div', {}, []);
		this.mark = null;
		this.whole = null;
		this.drawn = 0;

		const page = show.page(_('Bramble'), null, [ this.alarms, this.content ]);

		if (answer instanceof Error)
			this.gone(answer);
		else
			this.update(answer);

		show.follow(page, EVERY, () => this.ask(), (reply) => this.update(reply));

		return page;
	},

	/* One question; a second one only while clients do what they were told. */
	ask() {
		return api.overview({ mark: this.mark }).then((reply) => actions.busy(this.known)
			? api.actionList().then((list) => { this.known = list.actions; this.drawn = 0; return reply; })
			: reply).catch((error) => {
			/* There is nothing yet that could be out of date. */
			if (!this.whole)
				this.gone(error);
			else
				throw error;
		});
	},

	/* What is said already is not said again: it would be read aloud each time. */
	gone(error) {
		if (this.says != error.message)
			show.fill(this.content, this.absent(error));

		this.says = error.message;
	},

	/* Nothing to show yet: Bramble does not run. */
	absent(error) {
		return [
			E('p', { 'class': 'bramble-problem' }, [ error.message ]),
			error.code == 'not_running' && api.may('image_import') ? E('p', {}, [ _('If it is new here: five steps lead to a room whose Pis start from this router.') ]) : '',
			error.code == 'not_running' && api.may('image_import')
				? E('p', {}, [ E('a', { 'class': 'btn cbi-button cbi-button-positive important', 'href': L.url('admin/bramble/setup'), 'data-key': 'setup' }, [ _('Set Bramble up') ]) ])
				: ''
		];
	},

	update(reply) {
		if (!reply)
			return;

		const isNews = reply.whole != null;

		this.mark = reply.mark;
		this.whole = reply.whole ?? this.whole;
		this.now = reply.now;

		if (!this.whole || !isNews && Date.now() - this.drawn < AGAIN)
			return;

		this.drawn = Date.now();
		this.alarm(this.whole.problems);
		show.fill(this.content, this.draw(this.whole, reply.now));
	},

	/* Read aloud when there is another one, and not each time that the page is drawn. */
	alarm(problems) {
		const says = problems.join('\n');

		if (says != this.alarmed)
			show.fill(this.alarms, problems.map((problem) => E('p', { 'class': 'bramble-problem', 'role': 'alert' }, [ problem ])));

		this.alarmed = says;
	},

	draw(whole, now) {
		const told = actions.recent(this.known, now);
		const strangers = whole.seats.filter((seat) => !seat.adopted);
		const ours = whole.seats.filter((seat) => seat.adopted);
		const rooms = whole.rooms.map((room) => [ room, ours.filter((seat) => seat.room == room.name) ]);
		const homeless = ours.filter((seat) => !whole.rooms.some((room) => room.name == seat.room));

		return [
			this.unfinished(whole, ours),
			this.health(whole),
			this.trouble(ours),
			...rooms.map(([ room, here ]) => this.room(room.name, room.image, here, now, { room: room.name })),
			homeless.length ? this.room(_('No room'), null, homeless, now) : '',
			strangers.length ? this.strangers(strangers, now) : '',
			ours.length + strangers.length == 0 ? this.first() : '',
			told.length ? show.section(_('What clients were told'), told.map((action) => actions.line(action))) : '',
			show.section(_('Tasks'), jobs.list(whole.jobs, now), 'bramble-jobs')
		];
	},

	/* Set-up is not done before there is something to boot, a room and a Pi in it. */
	unfinished(whole, ours) {
		return api.may('image_import') && !(whole.images && whole.rooms.length && ours.length) ? E('p', { 'class': 'bramble-hint' }, [
			_('The set-up is not finished: it takes an image, a room and a Pi.'), ' ',
			E('a', { 'class': 'btn cbi-button cbi-button-positive', 'href': L.url('admin/bramble/setup'), 'data-key': 'setup' }, [ _('Go on with the set-up') ])
		]) : '';
	},

	health(whole) {
		const down = Object.keys(whole.services).filter((name) => !whole.services[name]);
		const used = whole.size ? whole.size - (whole.free ?? 0) : 0;
		const people = whole.seats.reduce((sum, seat) => sum + seat.people.length, 0);
		const storage = whole.size
			? [ show.bar(100 * used / whole.size, _('%s of %s free').format(show.size(whole.free), show.size(whole.size))) ]
			: [ _('unknown') ];

		const ours = whole.seats.filter((seat) => seat.adopted);

		return E('div', { 'class': 'cbi-section' }, [
			E('div', { 'class': 'bramble-head' }, seats.counts(whole.seats).concat([
				E('span', {}, [ N_(people, '%s person is logged in', '%s people are logged in').format(show.number(people)) ])
			])),
			...(whole.news ?? []).map((one) => E('p', { 'class': 'bramble-hint' }, [ one ])),
			whole.problems.length + down.length == 0 ? E('p', { 'class': 'bramble-good' }, [ _('All services run.') ]) : '',
			E('div', { 'class': 'bramble-tools' }, actions.tools(_('all clients'), { all: '1' }, ours, [ 'message', 'shutdown' ])),
			E('dl', { 'class': 'bramble-facts' }, [
				E('dt', {}, [ _('Storage') ]),
				E('dd', {}, storage),
				E('dt', {}, [ _('Images') ]),
				E('dd', {}, [ api.may('image_import') ? E('a', { 'href': L.url('admin/bramble/images') }, [ show.number(whole.images) ]) : show.number(whole.images) ]),
				E('dt', {}, [ _('Running since') ]),
				E('dd', {}, [ _('%s, version %s').format(show.when(whole.since), whole.version) ])
			])
		]);
	},

	/* Clients with something wrong, each with its reason and what to do; those that do not work come first. */
	trouble(ours) {
		const found = ours.flatMap((seat) => seat.verdicts.map((verdict) => [ seat, verdict ]))
			.sort(([ , one ], [ , other ]) => other.stops - one.stops);

		return found.length ? E('div', { 'class': 'cbi-section' }, [
			E('details', { 'data-key': 'trouble', 'open': found.length <= OPEN ? '' : null }, [
				E('summary', {}, [ N_(found.length, '%s client needs a look', '%s clients need a look').format(show.number(found.length)) ]),
				...found.slice(0, SHOWN).map(([ seat, verdict ]) => E('div', {}, [
					E('button', { 'type': 'button', 'class': 'btn cbi-button', 'data-key': 'trouble-%s-%s'.format(seat.mac, verdict.code), 'click': () => seats.open(seat, this.now) }, [ seat.name ]),
					boots.verdict(verdict, () => seats.remedy(seat))
				]))
			])
		]) : '';
	},

	/* `room` is whom an action is for; none where the clients are no room. */
	room(name, image, here, now, room) {
		return E('div', { 'class': 'cbi-section' }, [
			E('div', { 'class': 'bramble-head' }, [
				E('h3', {}, [ name ]),
				E('span', {}, [ image ? _('boots %s').format(image) : '' ]),
				...seats.counts(here)
			]),
			room != null ? E('div', { 'class': 'bramble-tools' }, actions.tools(name, room, here, api.may('screen_list') ? ROOM.concat(DARK) : ROOM)) : '',
			here.length ? seats.map(here, now) : E('p', {}, [ E('em', {}, [ _('No Pi belongs to this room yet.') ]) ])
		]);
	},

	strangers(strangers, now) {
		return E('div', { 'class': 'cbi-section' }, [
			E('h3', {}, [ _('New Pis') ]),
			E('p', {}, [ _('These have been switched on, and nobody has adopted them. They boot nothing before that.') ]),
			show.table([ _('Model'), _('Hardware address'), _('Address'), _('Seen'), '' ], strangers.map((seat) => [
				seat.model ?? _('unknown'),
				seat.mac,
				seat.ip ?? '',
				show.ago(seat.since, now),
				api.may('client_adopt')
					? act.button(_('Adopt…'), () => seats.adopt(seat), 'positive', { 'data-key': 'adopt-' + seat.mac })
					: ''
			]))
		]);
	},

	first() {
		return E('div', { 'class': 'cbi-section' }, [
			E('p', {}, [ _('No Pi has been seen yet. Switch one on that is connected to a served network: it appears here by itself.') ])
		]);
	},

	handleSave: null,
	handleSaveApply: null,
	handleReset: null
});
