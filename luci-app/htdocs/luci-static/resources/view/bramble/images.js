'use strict';
'require view';
'require bramble.api as api';
'require bramble.act as act';
'require bramble.archives as archives';
'require bramble.jobs as jobs';
'require bramble.life as life';
'require bramble.show as show';
'require bramble.sources as sources';

/* Images: what is there, who boots it, and getting more. */

const EVERY = 3;

/* Tasks that have nothing to do with images. */
const OTHERS = [ 'backup', 'restore', 'measure', 'return', 'people' ];

return view.extend({
	load() {
		return Promise.all([ api.imageList(), api.jobList(), this.uploads(), archives.images(), api.loadRights() ]);
	},

	/* Files that browsers have sent, or began to send. They are no reason to show nothing else. */
	uploads() {
		return api.uploadList().catch(() => ({ uploads: [] }));
	},

	render([ images, tasks, sent, found ]) {
		this.sent = E('div', {}, []);
		this.exported = E('div', {}, []);
		this.list = E('div', {}, []);
		this.tasks = E('div', {}, []);

		const node = show.page(_('Images'), _('An image is an operating system that Pis boot. Its versions never change: what runs from one goes on running.'), [
			E('div', { 'class': 'cbi-section' }, [
				E('div', { 'class': 'bramble-tools' }, [
					...sources.buttons(() => {})
				]),
				this.list
			]),
			this.sent,
			this.exported,
			show.section(_('Tasks'), [ this.tasks ])
		]);

		this.showExported(found);
		this.update([ images, tasks, sent ]);
		show.follow(node, EVERY, () => Promise.all([ api.imageList(), api.jobList(), this.uploads() ]), (answer) => this.update(answer));

		return node;
	},

	update([ images, tasks, sent ]) {
		const shown = tasks.jobs.filter((job) => OTHERS.indexOf(job.kind) < 0);

		this.images = images.images;
		show.fill(this.list, [
			show.table([ _('Name'), _('System'), _('Versions'), _('Size'), _('Booted by'), '' ], images.images.map((image) => [
				image.name,
				[ image.release, image.arch ].filter((part) => part).join(', '),
				[
					image.versions.map((version) => version == image.current ? _('%s (current)').format(version) : '%s'.format(version)).join(', '), ' ',
					image.draft ? show.badge(_('draft'), 'new') : ''
				],
				show.size(image.bytes),
				life.few(image.clients),
				[
					act.button(_('Versions…'), () => life.open(image.name), 'edit', { 'data-key': 'show-' + image.name }),
					image.before && api.may('image_rollback') ? act.button(_('Roll back…'), () => life.rollBack(image), 'action', { 'data-key': 'back-' + image.name }) : '',
					api.may('image_remove') ? act.button(_('Remove…'), () => life.remove(image), 'remove', { 'data-key': 'remove-' + image.name }) : ''
				]
			]), _('There is no image yet. Import one; Raspberry Pi OS as it is offered for download will do.'))
		]);
		this.showUploads(sent, tasks.now);
		show.fill(this.tasks, jobs.list(shown.slice(0, 10), tasks.now));

		const exports = shown.filter((job) => job.kind == 'export' && job.state == 'done').length;

		/* One more is there now. */
		if (this.exports != null && exports > this.exports)
			archives.images().then((found) => this.showExported(found));

		this.exports = exports;
	},

	/* The router keeps a few; one that is in the way can be cancelled. */
	showUploads(sent, now) {
		show.fill(this.sent, sent.uploads.length ? [ show.section(_('Files from a computer'), [
			E('p', {}, [ _('One that is not complete goes on if the same file is chosen again.') ]),
			show.table([ _('File'), _('There'), _('Begun'), '' ], sent.uploads.map((upload) => [
				upload.name, _('%s of %s').format(show.size(upload.got), show.size(upload.bytes)), show.ago(upload.started_at, now),
				api.may('upload_cancel') ? act.button(_('Cancel…'), () => this.cancel(upload), 'negative', { 'data-key': 'upload-%d'.format(upload.upload) }) : ''
			]))
		]) ] : []);
	},

	cancel(upload) {
		act.ask(_('Cancel the upload of %s?').format(upload.name), _('An import that reads it fails.'), [ _('%s that were sent are deleted.').format(show.size(upload.got)) ],
			_('Cancel the upload'), () => api.uploadCancel({ upload: upload.upload }));
	},

	/* Archives of images, as they were made here or brought on a disk. */
	showExported(found) {
		show.fill(this.exported, found.length ? [ show.section(_('Exported images'), [
			archives.table(found, (file) => [
				api.may('image_import') ? act.button(_('Import…'), () => sources.path(file, () => {}), 'action', { 'data-key': 'import-' + file.path }) : '',
				file.made && api.may('image_export_remove') ? act.button(_('Remove…'), () => this.removeExport(file), 'remove', { 'data-key': 'remove-' + file.path }) : ''
			])
		]) ] : []);
	},

	removeExport(file) {
		act.ask(_('Remove %s?').format(file.path), _('The image that it was made of stays.'), [ _('The archive is deleted: %s.').format(show.size(file.size)) ],
			_('Remove'), () => api.imageExportRemove({ path: file.path }).then(() => archives.images()).then((found) => this.showExported(found)));
	},

	handleSave: null,
	handleSaveApply: null,
	handleReset: null
});
