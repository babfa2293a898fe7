'use strict';
'require view';
'require ui';
'require bramble.api as api';
'require bramble.act as act';
'require bramble.jobs as jobs';
'require bramble.show as show';

/* Images: what is there, who boots it, and getting more. */

const EVERY = 3;

return view.extend({
	load() {
		return Promise.all([ api.imageList(), api.jobList(), api.loadRights() ]);
	},

	render([ images, tasks ]) {
		this.list = E('div', {}, []);
		this.tasks = E('div', {}, []);

		const node = show.page(_('Images'), _('An image is an operating system that Pis boot. Its versions never change: what runs from one goes on running.'), [
			E('div', { 'class': 'cbi-section' }, [
				E('div', { 'class': 'bramble-tools' }, [
					api.may('image_import') ? act.button(_('Import…'), () => this.import(), 'add') : ''
				]),
				this.list
			]),
			show.section(_('Tasks'), [ this.tasks ])
		]);

		this.update([ images, tasks ]);
		show.follow(node, EVERY, () => Promise.all([ api.imageList(), api.jobList() ]), (answer) => this.update(answer));

		return node;
	},

	update([ images, tasks ]) {
		const shown = tasks.jobs.filter((job) => [ 'import', 'delete', 'adopt' ].indexOf(job.kind) >= 0);

		this.images = images.images;
		show.fill(this.list, [
			show.table([ _('Name'), _('System'), _('Versions'), _('Size'), _('Booted by'), '' ], images.images.map((image) => [
				image.name,
				[ image.release, image.arch ].filter((part) => part).join(', '),
				image.versions.map((version) => version == image.current ? _('%s (current)').format(version) : '%s'.format(version)).join(', '),
				show.size(image.bytes),
				this.users(image.clients),
				[
					act.button(_('Details'), () => this.detail(image), 'neutral', { 'data-key': 'show-' + image.name }),
					api.may('image_remove') ? act.button(_('Remove…'), () => this.remove(image), 'remove', { 'data-key': 'remove-' + image.name }) : ''
				]
			]), _('There is no image yet. Import one; Raspberry Pi OS as it is offered for download will do.'))
		]);
		show.fill(this.tasks, jobs.list(shown.slice(0, 10), Date.now()));
	},

	users(clients) {
		return clients.length > 6
			? _('%s and %s more').format(clients.slice(0, 5).join(', '), show.number(clients.length - 5))
			: clients.join(', ');
	},

	detail(image) {
		return api.imageShow({ image: image.name }).then((answer) => act.modal(answer.name, [
			E('div', { 'class': 'bramble-form' }, [
				...answer.versions.slice().reverse().map((version) => E('div', {}, [
					E('h4', {}, [
						'%s@%s'.format(answer.name, version.version), ' ',
						version.version == answer.current ? show.badge(_('current'), 'up') : '',
						version.missing ? show.badge(_('its files are gone'), 'stuck') : ''
					]),
					E('dl', { 'class': 'bramble-facts' }, this.facts(version).flatMap(([ title, value ]) => [
						E('dt', {}, [ title ]),
						E('dd', {}, [ value ])
					])),
					api.may('image_remove') && answer.versions.length > 1
						? act.button(_('Remove this version…'), () => this.removeVersion(answer, version), 'remove')
						: ''
				])),
				E('div', { 'class': 'right' }, [ E('button', { 'type': 'button', 'class': 'btn cbi-button', 'click': ui.hideModal }, [ _('Close') ]) ])
			])
		]));
	},

	facts(version) {
		return [
			[ _('System'), version.facts.pretty_name ],
			[ _('Processor'), version.facts.arch ],
			[ _('Imported'), show.when(version.imported_at) ],
			[ _('From'), version.source ],
			[ _('Size'), _('%s in %s files').format(show.size(version.bytes), show.number(version.files)) ],
			[ _('Checksum'), version.sha256 ?? _('not asked for') ]
		];
	},

	import() {
		act.form(_('Import an image'), _('Unpacking takes some minutes; you can watch it here and go on with something else.'), [
			{ name: 'source', label: _('File on the router'), placeholder: '/mnt/sda1/raspios.img.xz', help: _('A disk image (.img) or an archive of a root file system (.tar), compressed or not.') },
			{ name: 'name', label: _('Name'), placeholder: 'trixie', help: _('A name that is there already gets a new version, which the Pis boot the next time.') },
			{ name: 'sha256', label: _('Checksum'), help: _('SHA-256 of the file, if you have it: nothing else is imported then.') }
		], _('Import'), (values) => api.imageImport(values).then(() => act.done(_('The import has begun.'))));
	},

	remove(image) {
		act.ask(_('Remove the image %s?').format(image.name), _('This cannot be taken back.'), [
			N_(image.versions.length, 'Its only version is deleted: %s.', 'All its versions are deleted: %s.').format(image.versions.join(', ')),
			_('%s on the disk become free.').format(show.size(image.bytes)),
			image.clients.length ? _('These boot it and will need another one: %s').format(this.users(image.clients)) : _('No client boots it.')
		], _('Remove'), () => api.imageRemove({ image: image.name }).then(() => act.done(_('%s is being deleted.').format(image.name))));
	},

	removeVersion(image, version) {
		const name = '%s@%s'.format(image.name, version.version);

		act.ask(_('Remove %s?').format(name), _('This cannot be taken back.'), [
			_('%s on the disk become free.').format(show.size(version.bytes)),
			version.version == image.current ? _('Clients of the image boot the version before it.') : _('Clients of the image go on booting its current version.')
		], _('Remove'), () => api.imageRemove({ image: name }).then(() => act.done(_('%s is being deleted.').format(name))));
	},

	handleSave: null,
	handleSaveApply: null,
	handleReset: null
});
