'use strict';
'require view';
'require form';
'require uci';
'require ui';
'require bramble.api as api';
'require bramble.act as act';
'require bramble.eeprom as eeprom';
'require bramble.life as life';
'require bramble.options as options';
'require bramble.rooms as rooms';
'require bramble.seats as seats';
'require bramble.show as show';
'require bramble.uses as uses';

/* Clients and rooms: every Pi that is known and how its boot went; for the administrator also what it is to be, as forms
   over /etc/config/bramble. */

const EVERY = 5;

return view.extend({
	load() {
		return api.loadRights().then(() => {
			const edits = api.may('client_adopt');
			const maybe = (promise) => promise.catch(() => null);

			return Promise.all([
				api.clientList().catch((error) => error),
				maybe(api.roomList()),
				edits ? maybe(api.imageList()) : null,
				edits ? maybe(api.classList()) : null,
				edits ? uci.load('bramble') : null
			]);
		});
	},

	render([ answer, states, images, classes ]) {
		const edits = api.may('client_adopt');

		this.list = E('div', {}, []);
		this.one = E('div', { 'class': 'cbi-section', 'tabindex': '-1' }, []);
		this.chosen = decodeURIComponent(window.location.hash.slice(1)) || null;
		window.addEventListener('hashchange', () => this.choose(decodeURIComponent(window.location.hash.slice(1)) || null).then(() => this.one.focus()));

		const live = E('div', { 'data-tab': 'live', 'data-tab-title': _('Now') }, [ this.list, this.one ]);
		this.rooms = E('div', {}, []);
		this.screens = E('div', {}, []);
		this.eeproms = E('div', {}, []);
		this.names = (states?.rooms ?? []).map((room) => room.room).filter((name) => name);

		const tabs = E('div', {}, [ live, E('div', { 'data-tab': 'rooms', 'data-tab-title': _('Rooms') }, [ this.rooms ]) ]
			.concat(api.may('eeprom_list') ? [ E('div', { 'data-tab': 'eeprom', 'data-tab-title': _('EEPROM') }, [ this.eeproms ]) ] : []));

		for (const pane of tabs.childNodes)
			pane.addEventListener('cbi-tab-active', () => this.more());

		const node = show.page(_('Clients and rooms'), null, [ tabs ]);

		if (answer instanceof Error)
			show.fill(this.list, [ E('p', { 'class': 'bramble-problem' }, [ answer.message ]) ]);
		else
			this.update(answer);

		this.showRooms(states);
		show.follow(node, EVERY, () => Promise.all([ api.clientList(), api.roomList(), this.ask() ]), ([ reply, now, client ]) => {
			this.update(reply);
			this.showRooms(now);
			this.detail(client);
		});
		this.choose(this.chosen);

		if (!edits) {
			ui.tabs.initTabGroup(tabs.childNodes);

			return node;
		}

		return this.forms(options.known(images, classes)).then((map) => {
			tabs.appendChild(E('div', { 'data-tab': 'settings', 'data-tab-title': _('Settings') }, [ map ]));
			this.saving = show.saving(tabs.childNodes, 'settings');
			ui.tabs.initTabGroup(tabs.childNodes);

			return node;
		});
	},

	forms(known) {
		const map = new form.Map('bramble', null, _('What a client has of its own goes before what its room has. A Pi sees a change when it is switched on the next time.'));

		options.addTable(map, 'room', known);
		options.addTable(map, 'client', known);

		return map.render();
	},

	addFooter() {
		/* Whoever only looks has nothing to save. */
		return this.saving ? this.saving(this.super('addFooter', [])) : E('div', {}, []);
	},

	update(reply) {
		this.clients = reply.clients;
		show.fill(this.list, [
			E('div', { 'class': 'bramble-tools' }, seats.counts(reply.clients).concat([
				act.button(_('List as CSV'), () => act.save('clients.csv', 'text/csv', rooms.csv(this.clients)), 'neutral', { 'data-key': 'csv' }),
				api.may('client_adopt') ? act.button(_('Adopt a list…'), () => rooms.import(() => this.again()), 'neutral', { 'data-key': 'adopt-list' }) : ''
			])),
			show.table([ _('Name'), _('Room'), _('State'), _('Boots next'), _('Address'), _('Model'), _('Last seen'), '' ], reply.clients.map((client) => [
				E('a', { 'href': '#' + encodeURIComponent(client.mac), 'data-key': 'open-' + client.mac }, [ client.name ]),
				client.room ?? '',
				[ show.badge(show.state(client.state), seats.kind(client)), ' ', E('small', {}, [ seats.short(client) ?? client.says ]) ],
				[ client.maintains ? _('the draft of %s').format(client.maintains) : client.trial ? rooms.version(client.trial) : client.image ?? '' ],
				client.ip ?? '',
				client.model ?? '',
				show.ago(client.last_seen, reply.now),
				this.buttons(client)
			]), _('No Pi has been seen yet. Switch one on that is connected to a served network.'))
		]);
	},

	showRooms(answer) {
		if (answer)
			show.fill(this.rooms, [ rooms.summary(answer.rooms, () => api.roomList().then((now) => this.showRooms(now))), this.screens ]);
	},

	/* What a newer daemon has besides: EEPROMs, and screens that are looked at. Asked when the tab is opened, not every time. */
	more() {
		if (api.may('screen_list'))
			api.screenList().then((list) => show.fill(this.screens, uses.watched(list)), () => {});

		if (api.may('eeprom_list'))
			api.eepromList().then((list) => show.fill(this.eeproms, eeprom.list(list, this.names)), (error) => show.fill(this.eeproms, [ E('p', { 'class': 'bramble-problem' }, [ error.message ]) ]));
	},

	/* Without waiting for the next poll. */
	again() {
		return api.clientList().then((reply) => this.update(reply)).catch((error) => act.failed(error));
	},

	buttons(client) {
		const done = () => this.again();

		return [
			api.may('client_adopt') ? act.button(client.adopted ? _('Change…') : _('Adopt…'), () => seats.adopt(client), client.adopted ? 'edit' : 'positive', { 'data-key': 'adopt-' + client.mac }) : '',
			client.own && api.may('mode_set') ? act.button(_('Use…'), () => uses.choose({ client: client.mac }, client.name, client.own?.mode ?? 'room', { kiosk_page: client.own?.page }, done), 'neutral', { 'data-key': 'mode-' + client.mac }) : '',
			client.maintains && api.may('image_maintain') ? act.button(_('End the maintenance'), () => life.endMaintenance(client.maintains).then(done), 'action', { 'data-key': 'maintain-' + client.mac }) : '',
			client.trial && api.may('image_test') ? act.button(_('End the trial'), () => life.endTrial(client).then(done), 'action', { 'data-key': 'trial-' + client.mac }) : '',
			api.may('client_forget') ? act.button(_('Forget…'), () => rooms.forget(client, done), 'remove', { 'data-key': 'forget-' + client.mac }) : ''
		];
	},

	ask() {
		return this.chosen ? api.clientGet({ client: this.chosen }) : Promise.resolve(null);
	},

	choose(mac) {
		this.chosen = mac;

		return this.ask().then((client) => {
			this.detail(client);

			if (client)
				this.one.scrollIntoView?.({ block: 'nearest' });
		}).catch((error) => show.fill(this.one, [ E('p', { 'class': 'bramble-problem' }, [ error.message ]) ]));
	},

	detail(client) {
		if (client == null || client.mac == this.chosen)
			show.fill(this.one, client ? rooms.detail(client) : []);
	}
});
