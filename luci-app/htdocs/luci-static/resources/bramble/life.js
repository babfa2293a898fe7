'use strict';
'require baseclass';
'require bramble.api as api';
'require bramble.act as act';
'require bramble.archives as archives';
'require bramble.show as show';
'require bramble.sources as sources';

/* The life of an image: what can be done with it, with one of its versions, and with its draft. Each dialog says to whom it
   matters before it does anything, and the daemon's own sentence says afterwards what clients boot from now on. */

/* What becomes of clients that run another version. */
const REBOOT = { name: 'reboot', label: _('Those that run'), kind: 'choice', choices: [
	[ '', _('go on until they are switched off') ], [ 'ask', _('people there are asked to start again') ], [ 'now', _('start again at once where nobody is logged in') ]
] };

function few(names) {
	return names.length > 6 ? _('%s and %s more').format(names.slice(0, 5).join(', '), show.number(names.length - 5)) : names.join(', ');
}

return baseclass.extend({
	few: few,

	/* Image and versions in a dialog. */
	open(name) {
		return Promise.all([ api.imageShow({ image: name }), api.overview() ]).then(([ image, overview ]) => act.modal(image.name, [
			E('div', { 'class': 'bramble-form' }, [
				E('p', {}, [ image.clients.length ? _('Booted by %s').format(few(image.clients)) : _('No client boots it.') ]),
				image.draft ? this.draft(image, overview.whole) : '',
				...image.versions.slice().reverse().map((version) => this.version(image, version, overview.whole)),
				act.closing(api.may('image_rename') ? [ act.button(_('Rename…'), () => this.rename(image), 'neutral') ] : [])
			])
		]));
	},

	rename(image) {
		act.form(_('Rename %s').format(image.name), _('Rooms and clients that name it are changed along with it. Clients that run notice nothing.'), [
			{ name: 'name', label: _('Name'), value: image.name, help: _('Small letters, digits and hyphens, such as library.') }
		], _('Rename'), (values) => api.imageRename({ image: image.name, name: values.name }).then((renamed) => act.done(renamed.says)));
	},

	facts(rows) {
		return E('dl', { 'class': 'bramble-facts' }, rows.filter(([ , value ]) => value).flatMap(([ title, value ]) => [
			E('dt', {}, [ title ]),
			E('dd', {}, [ value ])
		]));
	},

	version(image, version, whole) {
		const name = '%s@%s'.format(image.name, version.version);
		const current = version.version == image.current;

		return E('div', {}, [
			E('h4', {}, [
				name, ' ',
				current ? show.badge(_('current'), 'up') : '',
				version.before ? show.badge(_('before'), 'off') : '',
				version.missing ? show.badge(_('its files are gone'), 'stuck') : ''
			]),
			this.facts([
				[ _('Note'), version.note ],
				[ _('System'), [ version.facts.pretty_name, version.facts.arch ].filter((part) => part).join(', ') ],
				[ _('Imported'), show.when(version.imported_at) ],
				[ _('From'), version.source ],
				[ _('Size'), _('%s in %s files').format(show.size(version.bytes), show.number(version.files)) ],
				[ _('Its own part'), version.own == null || version.own >= version.bytes ? null : _('%s, the rest is shared with other versions').format(show.size(version.own)) ],
				[ _('Packed'), version.packed ? show.size(version.packed) : null ],
				[ _('Checksum'), version.sha256 ]
			]),
			E('div', { 'class': 'bramble-tools' }, [
				!current && api.may('image_promote') ? act.button(_('Make current…'), () => this.promote(image, name, whole), 'positive') : '',
				!current && api.may('image_test') ? act.button(_('Try on one client…'), () => this.test(name, whole)) : '',
				!image.draft && api.may('image_draft') ? act.button(_('Draft…'), () => this.makeDraft(name), 'neutral') : '',
				api.may('image_export') ? act.button(_('Download…'), () => this.fetch(name), 'neutral') : '',
				api.may('image_export') ? act.button(_('Export…'), () => this.export(image, version), 'neutral') : '',
				api.may('image_pack') ? act.button(version.packed ? _('Unpack…') : _('Pack…'), () => this.pack(name, version), 'neutral') : '',
				api.may('image_clone') ? act.button(_('Clone…'), () => this.clone(name), 'neutral') : '',
				api.may('image_remove') && image.versions.length > 1 ? act.button(_('Remove this version…'), () => this.removeVersion(image, version, name), 'remove') : ''
			])
		]);
	},

	draft(image, whole) {
		const changer = whole.seats.find((seat) => seat.mac == image.draft.client);

		return E('div', {}, [
			E('h4', {}, [ _('Draft'), ' ', show.badge(_('can be changed'), 'new') ]),
			this.facts([
				[ _('Copied from'), '%s@%d'.format(image.draft.base.name, image.draft.base.version) ],
				[ _('Made'), show.when(image.draft.made_at) ],
				[ _('Changed on'), image.draft.client ? changer?.name ?? image.draft.client : _('no client yet') ],
				[ _('Folder'), image.draft.path ]
			]),
			E('div', { 'class': 'bramble-tools' }, [
				api.may('image_maintain') ? act.button(_('Change it on a client…'), () => this.maintain(image, whole)) : '',
				api.may('image_run') && api.may('job_output') ? act.button(_('Run a command…'), () => this.run(image, changer), 'neutral') : '',
				api.may('image_shell') ? act.button(_('Shell…'), () => this.shell(image.name), 'neutral') : '',
				image.draft.client && api.may('image_maintain') ? act.button(_('Take it from %s').format(changer?.name ?? image.draft.client), () => this.endMaintenance(image.name), 'neutral') : '',
				api.may('image_publish') ? act.button(_('Publish…'), () => this.publish(image), 'positive') : '',
				api.may('image_discard') ? act.button(_('Throw away…'), () => this.discard(image), 'remove') : ''
			])
		]);
	},

	/* A job has begun. */
	begun(text) {
		return () => act.done(text);
	},

	makeDraft(name) {
		act.ask(_('Make a draft of %s?').format(name), _('A draft is a copy that can be changed. No client boots it; what runs goes on running. Making it takes some minutes.'), [],
			_('Make the draft'), () => api.imageDraft({ image: name }).then(this.begun(_('The draft is being made.'))));
	},

	/* One Pi boots the draft itself: what is done there at its screen is done to the draft. */
	maintain(image, whole) {
		const seats = whole.seats.filter((seat) => seat.adopted).map((seat) => [ seat.mac, seat.people.length ? _('%s (in use)').format(seat.name) : seat.name ]);

		if (!seats.length)
			throw new Error(_('Adopt a Pi first: the draft is changed on its screen.'));

		act.form(_('Change the draft of %s on a client').format(image.name),
			_('That Pi boots the draft when it is switched on the next time, with root logged in. Install and arrange what you like on its screen: everything that is changed there is kept. Shut it down afterwards, and publish the draft. No other client notices.'), [
				{ name: 'client', label: _('Client'), kind: 'choice', choices: seats, value: image.draft.client }
			], _('Boot the draft there'), (values) => api.imageMaintain({ image: image.name, client: values.client }).then((answer) => act.done(answer.says)));
	},

	/* A root shell in the draft, in a page of LuCI if there is one. */
	shell(name) {
		return api.imageShell({ image: name }).then((shell) => act.modal(_('A shell in the draft of %s').format(name), [ E('div', { 'class': 'bramble-form' }, [
			E('p', {}, [ shell.says ]),
			E('p', {}, [ E('code', {}, [ shell.command ]) ]),
			act.closing(shell.page ? [ E('a', { 'class': 'btn cbi-button cbi-button-action', 'target': '_blank', 'rel': 'noopener', 'href': L.url(shell.page) }, [ _('Open the terminal') ]) ] : [])
		]) ]));
	},

	/* One command in the draft, with what it prints. */
	run(image, changer) {
		act.form(_('Run a command in the draft of %s').format(image.name), _('With root’s rights, in the draft alone. What it prints is shown; it goes on if you close the window.'), [
			{ name: 'command', label: _('Command'), value: 'apt-get update && apt-get -y full-upgrade' },
			{ name: 'where', label: _('On'), kind: 'choice', choices: (changer ? [ [ changer.mac, changer.name ] ] : []).concat([ [ '', _('the router') ] ]), help: _('The router can do it only where it runs programs of a Pi; a client that changes the draft always can.') }
		], _('Run'), (values) => api.imageRun({ image: image.name, command: values.command, client: values.where || undefined }).then((started) => {
			this.output(started.job, values.command);

			return false;
		}));
	},

	output(job, title) {
		const text = E('pre', { 'class': 'bramble-output', 'tabindex': '0', 'role': 'log' }, []), says = E('p', { 'role': 'status' }, [ _('running') ]);
		const more = (from) => {
			if (!act.isShown(text))
				return;

			return api.jobOutput({ job: job, from: from }).then((answer) => {
				text.appendChild(document.createTextNode(answer.text));
				text.scrollTop = text.scrollHeight;

				if (answer.over)
					says.replaceChildren(answer.code == null ? _('It was ended.') : answer.code == 0 ? _('Done.') : _('It failed, with code %d.').format(answer.code));
				else
					window.setTimeout(() => more(answer.next), 1000);
			}, (error) => says.replaceChildren(error.message));
		};

		act.modal(title, [ E('div', { 'class': 'bramble-form' }, [ text, says, act.closing([ act.button(_('Stop it'), () => api.jobCancel({ job: job }), 'negative') ]) ]) ]);

		return more(0);
	},

	/* One file in the place of thousands. */
	pack(name, version) {
		act.ask(version.packed ? _('Unpack %s?').format(name) : _('Pack %s?').format(name), version.packed
			? _('Clients read its files one by one again from their next start on.')
			: _('All its files become one small file, which clients mount from their next start on: less to read from the disk and over the network. It takes some minutes and space beside the files.'), [],
		version.packed ? _('Unpack') : _('Pack'), () => api.imagePack({ image: name, unpack: version.packed ? '1' : undefined }).then(this.begun(_('The task has begun.'))));
	},

	endMaintenance(name) {
		return api.imageMaintain({ image: name }).then((answer) => act.done(answer.says));
	},

	publish(image) {
		return sources.desktops({ draft: image.name }).then((desktop) => act.form(_('Publish the draft of %s').format(image.name), _('The draft is checked, cleaned and becomes a new version, and is then gone. Nobody boots the new version before you make it current.'), [
			{ name: 'note', label: _('What is new'), help: _('One line, for yourself and others.') },
			{ name: 'skip', label: _('Pass over'), help: _('Names of checks that you know better than; empty as a rule. The task says which one is in the way.') },
			...desktop
		], _('Publish'), (values) => api.imagePublish({ image: image.name, note: values.note, skip: values.skip, desktop: values.desktop || undefined })
			.then(this.begun(_('The draft is being published.')))));
	},

	discard(image) {
		act.ask(_('Throw the draft of %s away?').format(image.name), _('Its versions stay, and clients notice nothing.'), [
			_('Everything that was changed in the draft since %s is lost.').format(show.when(image.draft.made_at))
		], _('Throw away'), () => api.imageDiscard({ image: image.name }).then(this.begun(_('The draft is being deleted.'))));
	},

	rooms(whole) {
		return [ [ '', _('every client of the image') ] ].concat(whole.rooms.map((room) => [ room.name, room.name ]));
	},

	promote(image, name, whole) {
		act.form(_('Make %s current?').format(name),
			_('Clients boot it when they are switched on the next time; what runs goes on running. It can be rolled back.') + ' ' +
				(image.clients.length ? _('The image is booted by %s.').format(few(image.clients)) : _('No client boots it.')), [
				{ name: 'room', label: _('For'), kind: 'choice', choices: this.rooms(whole) },
				REBOOT
			], _('Make current'), (values) => api.imagePromote({ image: name, room: values.room, reboot: values.reboot || undefined }).then((effect) => act.done(effect.says)));
	},

	rollBack(image) {
		return api.overview().then((overview) => act.form(_('Roll %s back?').format(image.name),
			_('Clients boot the version before, %s, when they are switched on the next time.').format('%s@%s'.format(image.name, image.before)), [
				{ name: 'room', label: _('For'), kind: 'choice', choices: this.rooms(overview.whole) },
				REBOOT
			], _('Roll back'), (values) => api.imageRollback({ image: image.name, room: values.room, reboot: values.reboot || undefined }).then((effect) => act.done(effect.says))));
	},

	/* One client boots a version to see whether it is good. */
	test(name, whole) {
		const seats = whole.seats.filter((seat) => seat.adopted).map((seat) => [ seat.mac, seat.name ]);

		act.form(_('Try %s on one client').format(name), _('That client boots it when it is switched on the next time, until you end the trial.'), [
			{ name: 'client', label: _('Client'), kind: 'choice', choices: seats }
		], _('Try'), (values) => api.imageTest({ client: values.client, image: name }).then((effect) => act.done(effect.says)));
	},

	endTrial(client) {
		return api.imageTest({ client: client.mac }).then((effect) => act.done(effect.says));
	},

	/* The same archive as that of an export, to the computer that one sits at. */
	fetch(name) {
		act.ask(_('Download %s?').format(name), _('One file with everything that another Bramble needs to import it, bit for bit. It is packed while it is sent, which takes minutes; the router keeps none of it. Whether all of it came is seen under Tasks.'),
			[], _('Download'), () => Promise.resolve(api.stream(name)));
	},

	/* An archive of one version that can be imported elsewhere. */
	export(image, version) {
		return archives.place('bramble-image-%s-%d.tar.zst'.format(image.name, version.version)).then((to) => act.form(_('Export %s').format('%s@%d'.format(image.name, version.version)),
			_('One file with everything that another Bramble needs to import it, bit for bit. Clients notice nothing. It is offered for download on this page if its name begins with “bramble-image-”.'), [
				{ name: 'to', label: _('File'), value: to, help: _('A new file on a disk that is not that of the data.') },
				{ name: 'form', label: _('Packed'), kind: 'choice', choices: [ [ 'zst', _('quickly') ], [ 'xz', _('small; takes much longer') ] ] }
			], _('Export'), (values) => api.imageExport({ image: '%s@%d'.format(image.name, version.version), to: values.to, form: values.form }).then(this.begun(_('The export has begun.')))));
	},

	clone(name) {
		act.form(_('Clone %s').format(name), _('Another image with the same files, for a room that shall go its own way. The files are shared, so it takes little space.'), [
			{ name: 'name', label: _('Name'), help: _('Small letters, digits and hyphens, such as library.') }
		], _('Clone'), (values) => api.imageClone({ image: name, name: values.name }).then(this.begun(_('The clone is being made.'))));
	},

	remove(image) {
		if (image.draft)
			throw new Error(_('%s has a draft. Publish it or throw it away first.').format(image.name));

		act.ask(_('Remove the image %s?').format(image.name), _('This cannot be taken back.'), [
			N_(image.versions.length, 'Its only version is deleted: %s.', 'All its versions are deleted: %s.').format(image.versions.join(', ')),
			_('%s on the disk become free.').format(show.size(image.bytes)),
			image.clients.length ? _('These boot it and will need another one: %s').format(few(image.clients)) : _('No client boots it.')
		].filter((line) => line), _('Remove'), () => api.imageRemove({ image: image.name }).then(this.begun(_('%s is being deleted.').format(image.name))));
	},

	removeVersion(image, version, name) {
		act.ask(_('Remove %s?').format(name), _('This cannot be taken back.'), [
			_('%s on the disk become free.').format(show.size(version.own ?? version.bytes)),
			version.version == image.current ? _('Clients of the image boot the version before it.') : _('Clients of the image go on booting its current version.')
		], _('Remove'), () => api.imageRemove({ image: name }).then(this.begun(_('%s is being deleted.').format(name))));
	}
});
