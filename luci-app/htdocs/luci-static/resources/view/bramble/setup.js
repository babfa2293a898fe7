'use strict';
'require view';
'require fs';
'require uci';
'require ui';
'require bramble.accounts as accounts';
'require bramble.api as api';
'require bramble.act as act';
'require bramble.jobs as jobs';
'require bramble.seats as seats';
'require bramble.show as show';
'require bramble.sources as sources';

/* Set-up: from a new package to a Pi that boots. Each step can be left and come back to; what is done already is seen
   from the router itself, nothing is remembered here. */

const EVERY = 3;

/* Where disks are mounted; anything else is a part of the router itself. */
const DISKS = /^\/(mnt|media|srv|data)\//;

/* Devices whose data does not outlive a restart, or that wear out. */
const FLASH = /^(\/dev\/(mtd|ubi|root)|overlay|tmpfs|rootfs|mtd:|ubi|ramfs)/;

/* Space that one image and its unpacking need at least, in bytes. */
const LEAST = 8e9;

/* What the first room is called, and how many offers of the catalogue are shown. */
const ROOM = 'lab';
const OFFERS = 6;

/* How long a started daemon may take to answer. */
const PATIENCE = 30;

const STEPS = [ _('Disk'), _('Network'), _('Image', 'operating system'), _('People'), _('Pis') ];

return view.extend({
	load() {
		const maybe = (promise) => promise.catch(() => null);

		return Promise.all([
			uci.load('bramble'), uci.load('network'), api.mounts().catch(() => []), maybe(api.overview()), api.loadRights()
		]);
	},

	render([ , , mounts, overview ]) {
		this.mounts = mounts;
		this.runs = overview != null;
		this.steps = E('ol', { 'class': 'bramble-steps' }, []);
		this.content = E('div', { 'class': 'cbi-section' }, []);

		const page = show.page(_('Set-up'), _('Five steps to a room whose Pis start from this router.'), [ this.steps, this.content ]);

		this.before = this.settings();
		show.follow(page, EVERY, () => this.refresh(), (draw) => draw?.());
		this.go(this.runs ? 2 : 0);

		return page;
	},

	/* Only the last steps change by themselves. */
	refresh() {
		return this.live && !document.body.classList.contains('modal-overlay-active') ? this.live.ask() : Promise.resolve(null);
	},

	/* Draws the step anew, if it is one that changes. */
	again() {
		return this.live?.ask().then((draw) => draw());
	},

	/* What the first two steps decide. */
	settings() {
		return {
			data: uci.get('bramble', 'main', 'data') ?? '',
			networks: L.toArray(uci.get('bramble', 'main', 'network') ?? 'lan').join(', '),
			mode: uci.get('bramble', 'dhcp', 'mode') ?? 'authoritative'
		};
	},

	go(step) {
		this.live = null;
		this.step = step;
		show.fill(this.steps, STEPS.map((title, n) => E('li', { 'aria-current': n == step ? 'step' : null }, [
			E('button', {
				'type': 'button',
				'class': 'btn cbi-button' + (n == step ? ' cbi-button-action important' : ''),
				'disabled': n > 1 && !this.runs ? '' : null,
				'data-key': 'step-%d'.format(n),
				'click': () => this.go(n)
			}, [ '%d. %s'.format(n + 1, title) ])
		])));

		return [ this.disk, this.network, this.image, this.people, this.pis ][step].call(this);
	},

	next(label, work) {
		return E('div', { 'class': 'right' }, [ act.button(label, work, 'positive', { 'data-key': 'next' }) ]);
	},

	/* Why data should not be kept on a mount; null if it is fit. */
	unfit(mount) {
		if (!DISKS.test(mount.mount) || FLASH.test(mount.device ?? ''))
			return _('the router\'s own memory, or flash that wears out');

		return (mount.avail ?? 0) < LEAST ? _('too little space: an image takes some gigabytes') : null;
	},

	disk() {
		const now = uci.get('bramble', 'main', 'data') ?? '';
		const rows = this.mounts.map((mount) => ({ mount: mount, why: this.unfit(mount), folder: mount.mount.replace(/\/$/, '') + '/bramble' }));
		const fit = rows.filter((row) => !row.why);
		const refused = rows.filter((row) => row.why && (DISKS.test(row.mount.mount) || [ '/', '/overlay', '/tmp' ].indexOf(row.mount.mount) >= 0));
		let chosen = [ this.folder, now, fit[0]?.folder ].find((folder) => fit.some((row) => row.folder == folder)) ?? null;

		show.fill(this.content, [
			E('h3', {}, [ _('Where are images and files kept?') ]),
			...fit.map((row) => E('label', { 'class': 'bramble-choice' }, [
				E('input', { 'type': 'radio', 'name': 'disk', 'value': row.folder, 'checked': row.folder == chosen ? '' : null, 'change': () => { chosen = row.folder; } }),
				E('span', {}, [
					E('strong', {}, [ row.folder ]),
					E('small', {}, [ _('%s of %s free on %s').format(show.size(row.mount.avail), show.size(row.mount.size), row.mount.device) ])
				])
			])),
			...refused.map((row) => E('p', {}, [ E('small', {}, [ _('Not %s: %s.').format(row.mount.mount, row.why) ]) ])),
			fit.length ? '' : E('div', { 'class': 'bramble-problem' }, [
				E('p', {}, [ _('No disk is there yet. Connect a USB disk or SSD to the router, with one partition that is formatted with ext4.') ]),
				E('p', {}, [ _('Then open “System → Mount Points”, press “Generate Config”, tick “Enabled” for the disk with a mount point such as /mnt/sda1, and save. If that page is missing, install the package block-mount.') ])
			]),
			E('div', { 'class': 'bramble-tools' }, [
				act.button(_('Look for disks again'), () => api.mounts().then((mounts) => { this.mounts = mounts; this.go(0); }), 'neutral', { 'data-key': 'again' })
			]),
			fit.length ? this.next(_('Next'), () => {
				this.folder = chosen;
				this.go(1);
			}) : ''
		]);
	},

	network() {
		const names = uci.sections('network', 'interface').filter((one) => one.proto == 'static' && one['.name'] != 'loopback');
		const now = L.toArray(uci.get('bramble', 'main', 'network') ?? 'lan');
		const chosen = new Set(now.filter((name) => names.some((one) => one['.name'] == name)));
		let mode = uci.get('bramble', 'dhcp', 'mode') ?? 'authoritative';
		const choice = (value, title, says) => E('label', { 'class': 'bramble-choice' }, [
			E('input', { 'type': 'radio', 'name': 'mode', 'value': value, 'checked': mode == value ? '' : null, 'change': () => { mode = value; } }),
			E('span', {}, [ E('strong', {}, [ title ]), E('small', {}, [ says ]) ])
		]);

		show.fill(this.content, [
			E('h3', {}, [ _('Which networks have Pis in them?') ]),
			...names.map((one) => E('label', { 'class': 'bramble-choice' }, [
				E('input', {
					'type': 'checkbox', 'name': one['.name'], 'checked': chosen.has(one['.name']) ? '' : null,
					'change': (ev) => (ev.target.checked ? chosen.add(one['.name']) : chosen.delete(one['.name']))
				}),
				E('span', {}, [ E('strong', {}, [ one['.name'] ]), E('small', {}, [ L.toArray(one.ipaddr).join(', ') ]) ])
			])),
			names.length ? '' : E('p', { 'class': 'bramble-problem' }, [ _('No network has a static address. Bramble needs one, see “Network → Interfaces”.') ]),
			E('h3', {}, [ _('Who gives addresses there?') ]),
			choice('authoritative', _('Bramble'), _('The usual choice. What is set up on this router stays as it is: the same addresses, reservations and options. It is handed back when Bramble is switched off.')),
			choice('proxy', _('Another server of the network'), _('It goes on giving addresses; Bramble only tells Pis where to start from.')),
			this.next(_('Show what changes'), () => {
				if (chosen.size == 0)
					throw new Error(_('Choose at least one network.'));

				const wanted = { data: this.folder ?? this.before.data, networks: [ ...chosen ].join(', '), mode: mode };

				return uci.get('bramble', 'main', 'enabled') == '1' ? this.change(wanted) : this.keepSettings(wanted).then(() => this.takeover());
			})
		]);
	},

	/* Bramble is switched on already: what is saved is in force at once, so it is asked before. */
	change(wanted) {
		const names = { data: _('Data'), networks: _('Networks'), mode: _('Who gives addresses') };
		const modes = { 'authoritative': _('Bramble'), 'proxy': _('Another server of the network'), 'off': _('nobody here') };
		const says = (name, value) => (name == 'mode' ? modes[value] ?? value : value || _('not set'));
		const changed = Object.keys(names).filter((name) => wanted[name] != this.before[name]);

		if (!changed.length)
			return this.takeover();

		act.ask(_('Change what is in force?'), _('Bramble is switched on: this counts as soon as it is saved.'),
			changed.map((name) => '%s: %s → %s'.format(names[name], says(name, this.before[name]), says(name, wanted[name]))),
			_('Change it'), () => this.keepSettings(wanted).then(() => this.takeover()).then(() => false));
	},

	keepSettings(wanted) {
		uci.set('bramble', 'main', 'data', wanted.data);
		uci.set('bramble', 'main', 'network', wanted.networks.split(', '));

		if (!uci.get('bramble', 'dhcp'))
			uci.add('bramble', 'dhcp', 'dhcp');

		uci.set('bramble', 'dhcp', 'mode', wanted.mode);

		return this.save().then(() => { this.before = this.settings(); });
	},

	/* To the router, without the question whether the browser still reaches it: nothing of the network changes here. What
	   other pages have prepared would be applied along with it, so that is for a person to decide first. */
	save() {
		return uci.changes().then((changes) => {
			const others = Object.keys(changes ?? {}).filter((file) => [ 'bramble', 'system' ].indexOf(file) < 0 && changes[file].length);

			if (others.length)
				throw new Error(_('Changes of other pages are not applied yet (%s). Apply or revert them first, under “Unsaved Changes” at the top of the page.').format(others.join(', ')));
		}).then(() => uci.save()).then(() => uci.apply(false)).catch((error) => {
			/* Nothing had changed. */
			if (!/No data/i.test(error?.message ?? String(error)) && error != 5)
				throw error instanceof Error ? error : new Error(String(error));
		}).then(() => { uci.unload('bramble'); return uci.load('bramble'); });
	},

	/* Asked of the program, because the daemon does not run yet. */
	plan() {
		return fs.exec('/usr/bin/bramble', [ 'takeover', '--dry-run', '--json' ]).then((result) => {
			let answer = null;

			try {
				answer = JSON.parse(result.stdout);
			}
			catch (e) {
				throw new Error((result.stderr || result.stdout || _('Bramble does not answer. Its log says why: %s').format('logread -e bramble')).trim());
			}

			if (answer.error)
				throw new Error(answer.error.message);

			return answer;
		});
	},

	takeover() {
		return this.plan().then((plan) => {
			act.dialog(_('What changes on this router'), [
				plan.changes.length ? '' : E('p', {}, [ _('Nothing in the settings of the router changes.') ]),
				...plan.changes.map((change) => E('div', { 'class': 'bramble-good' }, [
					E('code', {}, [ '%s: %s → %s'.format(change.path, change.from ?? _('not set'), change.to ?? _('not set')) ]),
					E('div', {}, [ change.why ])
				])),
				...plan.notices.map((notice) => E('p', { 'class': 'bramble-problem' }, [ notice ])),
				E('p', {}, [ _('Everything is put back when Bramble is switched off or removed.') ]),
				E('p', {}, [ _('The router also becomes a time server, because Pis have no clock, and stays one.') ])
			], _('Start Bramble'), 'positive', (says) => this.start(says));
		});
	},

	start(says) {
		return this.serveTime()
			.then(() => { uci.set('bramble', 'main', 'enabled', '1'); return this.save(); })
			.then(() => api.service('enable'))
			.then(() => api.service('start'))
			.then(() => this.wait(says, PATIENCE))
			.then(() => { this.runs = true; this.go(2); });
	},

	/* Pis have no clock. Bramble announces the router as time server where it is one. */
	serveTime() {
		return uci.load('system').then(() => {
			if (uci.get('system', 'ntp') && uci.get('system', 'ntp', 'enabled') != '0')
				uci.set('system', 'ntp', 'enable_server', '1');
		}).catch(() => { /* Without it the overview says what a Pi without a time server shows. */ });
	},

	/* Until the daemon answers. */
	wait(says, tries) {
		return api.overview().catch((error) => {
			if (tries == 0)
				throw new Error(_('Bramble does not answer. Its log says why: %s').format('logread -e bramble'));

			if (error.code != 'not_running')
				throw error;

			says.replaceChildren(_('Bramble is starting…'));

			return new Promise((resolve) => window.setTimeout(resolve, 1000)).then(() => this.wait(says, tries - 1));
		});
	},

	/* Draws again whenever an answer comes; tells the poll so. An answer that comes when another step is shown is left aside. */
	keep(ask, draw) {
		const live = { ask: () => ask().then((answer) => () => fill(draw, answer)) };
		const fill = (work, answer) => {
			if (this.live === live)
				show.fill(this.content, work(answer));
		};

		this.live = live;

		return this.again().catch((error) => fill(() => [ E('p', { 'class': 'bramble-problem' }, [ error.message ]) ]));
	},

	image() {
		const ask = () => Promise.all([ api.imageList(), api.jobList() ])
			.then(([ images, tasks ]) => Promise.resolve(images.images.length ? null : this.offered()).then(() => [ images, tasks ]));

		return this.keep(ask, ([ images, tasks ]) => {
			const open = tasks.jobs.filter((job) => job.kind == 'import').slice(0, 3);

			return [
				E('h3', {}, [ _('What do the Pis start?') ]),
				images.images.length
					? E('p', { 'class': 'bramble-good' }, [ _('These images are there: %s').format(images.images.map((image) => image.name).join(', ')) ])
					: E('p', {}, [ _('Raspberry Pi OS as it is offered for download. It is not changed; Bramble adds what a Pi needs while it starts.') ]),
				...(images.images.length + open.length ? [] : this.offers()),
				E('div', { 'class': 'bramble-tools' }, [ act.button(_('Import a file…'), () => this.importImage(), images.images.length ? 'neutral' : 'add', { 'data-key': 'import' }) ]),
				...(open.length ? jobs.list(open, tasks.now) : []),
				E('h3', {}, [ _('A room for them') ]),
				...this.rooms(images.images),
				this.next(_('Next'), () => this.go(3))
			];
		});
	},

	rooms(images) {
		const rooms = uci.sections('bramble', 'room');

		return [
			rooms.length
				? E('p', { 'class': 'bramble-good' }, [ _('These rooms are there: %s').format(rooms.map((room) => room.image ? '%s (%s)'.format(room['.name'], room.image) : room['.name']).join(', ')) ])
				: E('p', {}, [ _('Pis of one room start the same image.') ]),
			E('div', { 'class': 'bramble-tools' }, [ act.button(_('Add a room…'), () => this.addRoom(images), 'neutral', { 'data-key': 'room' }) ])
		];
	},

	/* Asks for the first offers of the catalogue, again until its lists are read. A new router has read none: it does so now. */
	offered() {
		const isUnread = (list) => list.read_at == null;

		if (!api.may('image_catalogue') || this.catalogue && !this.catalogue.lists.some(isUnread))
			return null;

		return api.imageCatalogue({ limit: OFFERS }).then((answer) => {
			const reads = !this.catalogue && api.may('image_catalogue_refresh') && answer.lists.some((list) => isUnread(list) && !list.error);

			this.catalogue = answer;

			return reads ? api.imageCatalogueRefresh() : null;
		}).catch((error) => {
			this.catalogue ??= { lists: [], offers: [] };
			act.failed(error);
		});
	},

	/* The first offers of the catalogue with their sizes, each one click away. */
	offers() {
		if (!this.catalogue)
			return [];

		const unread = this.catalogue.lists.some((list) => list.read_at == null);

		return [
			...this.catalogue.lists.filter((list) => list.error).map((list) => E('p', { 'class': 'bramble-problem' }, [ '%s: %s'.format(list.source, list.error) ])),
			unread ? E('p', {}, [ _('The lists have not been read yet. The router needs the internet for it.') ]) : '',
			this.catalogue.offers.length ? show.table([ _('Name'), _('Size'), '' ], this.catalogue.offers.filter((offer) => !offer.misfit).slice(0, OFFERS).map((offer) => [
				[ E('strong', {}, [ offer.name ]), ' ', E('small', {}, [ [ offer.released, offer.description ].filter((part) => part).join(', ') ]) ],
				sources.size(offer),
				act.button(_('Import'), () => this.take(offer), 'positive', { 'data-key': 'offer-' + offer.id })
			])) : '',
			E('div', { 'class': 'bramble-tools' }, [
				api.may('image_catalogue_refresh') && unread ? act.button(_('Read it anew'), () => api.imageCatalogueRefresh(), 'neutral', { 'data-key': 'refresh' }) : '',
				this.catalogue.lists.some((list) => list.read_at != null) ? act.button(_('The whole catalogue…'), () => sources.catalogue('', () => this.again()), 'neutral', { 'data-key': 'catalogue' }) : ''
			])
		];
	},

	/* Most have one room: it is made along with the first image, and its Pis start it. */
	take(offer) {
		return api.imageImport({ source: offer.id, name: offer.suggested }).then(() => uci.sections('bramble', 'room').length ? null : this.makeRoom(ROOM, offer.suggested))
			.then(() => this.again());
	},

	importImage() {
		const data = uci.get('bramble', 'main', 'data') ?? '/mnt/sda1/bramble';
		const folder = data.slice(0, data.lastIndexOf('/'));

		/* Most have one room: it is made along with the first image. */
		const first = uci.sections('bramble', 'room').length ? [] : [
			{ name: 'room', label: _('Room'), value: ROOM, help: _('It is made along with the image, and its Pis start it. Letters, digits and underscores.') }
		];

		act.form(_('Import an image'), _('Unpacking takes some minutes; go on with the next steps meanwhile.'), [
			{ name: 'source', label: _('File on the router'), placeholder: folder + '/raspios.img.xz', help: _('A disk image (.img) or an archive of a root file system (.tar), compressed or not.') },
			{ name: 'name', label: _('Name'), value: 'trixie' },
			...first
		], _('Import'), (values) => {
			if (values.room)
				this.checkRoom(values.room, 'room');

			return api.imageImport(values).then(() => values.room ? this.makeRoom(values.room, values.name) : null).then(() => this.again());
		});
	},

	addRoom(images) {
		act.form(_('Add a room'), null, [
			{ name: 'name', label: _('Name'), value: 'lab', help: _('Letters, digits and underscores.') },
			{ name: 'image', label: _('Image', 'operating system'), kind: 'choice', choices: [ [ '', _('none yet') ] ].concat(images.map((image) => [ image.name, image.name ])), value: images[0]?.name }
		], _('Add'), (values) => {
			this.checkRoom(values.name, 'name');

			return this.makeRoom(values.name, values.image).then(() => this.again());
		});
	},

	checkRoom(name, field) {
		if (!/^[A-Za-z0-9_]+$/.test(name))
			throw Object.assign(new Error(_('Expecting: %s').format(_('Letters, digits and underscores.'))), { field: field });
	},

	makeRoom(name, image) {
		uci.add('bramble', 'room', name);

		if (image)
			uci.set('bramble', name, 'image', image);

		return this.save();
	},

	people() {
		return this.keep(() => Promise.all([ api.accountList({ limit: 10 }), api.classList() ]), ([ page, classes ]) => [
			E('h3', {}, [ _('Who may log in?') ]),
			page.total
				? E('p', { 'class': 'bramble-good' }, [ N_(page.total, '%s account is there: %s', '%s accounts are there: %s').format(show.number(page.total), page.accounts.map((one) => one.name).join(', ') + (page.total > 10 ? ' …' : '')) ])
				: E('p', {}, [ _('Add a few people by hand, or a whole school from a spreadsheet. Log-in slips to print are made as well.') ]),
			E('div', { 'class': 'bramble-tools' }, [
				act.button(_('Add…'), () => accounts.add(classes.classes, () => this.again()), 'add', { 'data-key': 'add' }),
				act.button(_('Import a list…'), () => accounts.import(classes.classes, () => this.again()), 'action', { 'data-key': 'list' })
			]),
			this.next(_('Next'), () => this.go(4))
		]);
	},

	pis() {
		return this.keep(() => api.overview(), (answer) => {
			const all = answer.whole.seats;
			const strangers = all.filter((seat) => !seat.adopted);

			return [
				E('h3', {}, [ _('Switch the Pis on') ]),
				E('p', {}, [ _('Connect them by cable to a served network, without an SD card, and switch them on. Each appears here after some seconds. A Pi 3 or 4 that never did this may have to be told once to start from the network: “Raspberry Pi Imager → Misc utility images → Bootloader → Network boot” on an SD card does it.') ]),
				show.table([ _('Model'), _('Hardware address'), _('State'), '' ], strangers.map((seat) => [
					seat.model ?? _('unknown'), seat.mac, show.badge(show.state(seat.state), 'new'),
					act.button(_('Adopt…'), () => seats.adopt(seat, () => this.again()), 'positive', { 'data-key': 'adopt-' + seat.mac })
				]), _('No new Pi has been seen.')),
				all.length > strangers.length ? E('h3', {}, [ _('Adopted') ]) : '',
				all.length > strangers.length ? E('p', {}, [ _('Switch each off and on once more: it starts the image of its room then.') ]) : '',
				seats.map(all.filter((seat) => seat.adopted), answer.now),
				E('div', { 'class': 'right' }, [ E('a', { 'class': 'btn cbi-button cbi-button-positive important', 'href': L.url('admin/bramble/overview') }, [ _('To the overview') ]) ])
			];
		});
	},

	handleSave: null,
	handleSaveApply: null,
	handleReset: null
});
