'use strict';
'require baseclass';
'require bramble.api as api';
'require bramble.act as act';
'require bramble.show as show';

/* Where an image comes from: the catalogue, an address of the web, a file of this browser, a card or disk in the router, a
   file on the router. Each ends in the same import. */

const HELP = {
	name: () => _('A name that is there already gets a new version, which the Pis boot the next time.'),
	sum: () => _('SHA-256 of the file, if you have it: nothing else is imported then.')
};

function begun() {
	act.done(_('The import has begun.'));
}

/* In base64 these are 64,000 characters; uhttpd takes 64 KiB in one question, with what JSON adds. */
const SLICE = 48000;

/* How often a slice is tried again: for about half a minute in all. */
const TRIES = 5;

function base64(buffer) {
	const bytes = new Uint8Array(buffer);
	let text = '';

	for (let at = 0; at < bytes.length; at += 8192)
		text += String.fromCharCode(...bytes.subarray(at, at + 8192));

	return window.btoa(text);
}

return baseclass.extend({
	/* The ways that this daemon has and this person may go. */
	buttons(done) {
		const way = (may, label, work, kind) => (may ? act.button(label, work, kind ?? 'neutral', { 'data-key': label }) : '');

		return [
			way(api.may('image_catalogue'), _('From the catalogue…'), () => this.catalogue('', done), 'add'),
			way(api.may('image_catalogue'), _('From the web…'), () => this.web(done)),
			way(api.may('upload_begin') && api.may('upload_slice'), _('From this computer…'), () => this.file(done)),
			way(api.may('device_list'), _('From a card or disk…'), () => this.disks(done)),
			way(api.may('image_import'), _('From a file on the router…'), () => this.path(null, done))
		];
	},

	fields(source, name) {
		return [
			{ name: 'name', label: _('Name'), value: name, placeholder: 'trixie', help: HELP.name() },
			...(source ? [ { name: 'sha256', label: _('Checksum'), help: HELP.sum() } ] : [])
		];
	},

	/* How much is to be fetched, and how much it becomes. */
	size(offer) {
		return [
			offer.file_bytes == null ? null : _('%s to fetch').format(show.size(offer.file_bytes)),
			offer.content_bytes == null ? null : _('%s on the disk').format(show.size(offer.content_bytes))
		].filter((part) => part).join(', ');
	},

	/* Every offer with its size; those that no Pi here can boot say why, once they are asked for. */
	catalogue(search, done, all) {
		return api.imageCatalogue({ search: search || undefined, all: all ? '1' : undefined }).then((answer) => {
			const every = E('input', { 'type': 'checkbox', 'id': 'bramble-every', 'checked': all ? '' : null });
			const field = E('input', { 'type': 'search', 'class': 'cbi-input-text', 'aria-label': _('Search'), 'placeholder': _('Search'), 'value': search });

			act.modal(_('The catalogue'), [ E('div', { 'class': 'bramble-form' }, [
				E('form', { 'class': 'bramble-tools', 'submit': (ev) => { ev.preventDefault(); this.catalogue(field.value, done, every.checked).catch((error) => act.failed(error)); } }, [
					field,
					E('label', { 'for': 'bramble-every' }, [ every, ' ', _('what no Pi here can start, too') ]),
					E('button', { 'type': 'submit', 'class': 'btn cbi-button' }, [ _('Search') ]),
					api.may('image_catalogue_refresh') ? act.button(_('Read it anew'), () => api.imageCatalogueRefresh().then(() => act.done(_('The lists are being read. Open the catalogue again in a moment.'))), 'neutral') : ''
				]),
				...answer.lists.filter((list) => list.error).map((list) => E('p', { 'class': 'bramble-problem' }, [ '%s: %s'.format(list.source, list.error) ])),
				show.table([ _('Name'), _('Released'), _('Size'), '' ], answer.offers.map((offer) => [
					[ offer.headings.length ? E('div', {}, [ E('small', {}, [ offer.headings.join(' › ') ]) ]) : '', E('strong', {}, [ offer.name ]), ' ', E('small', {}, [ offer.description ]), offer.misfit ? E('p', { 'class': 'bramble-hint' }, [ offer.misfit ]) : '' ],
					offer.released,
					this.size(offer),
					[
						...offer.images.map((one) => show.badge(one.outdated ? _('%s is older').format(one.image) : one.image, one.outdated ? 'boot' : 'up')), ' ',
						act.button(_('Import'), () => this.take(offer, done), 'positive', { 'data-key': 'offer-' + offer.id })
					]
				]), answer.lists.every((list) => list.read_at == null) ? _('The lists have not been read yet. The router needs the internet for it.') : _('Nothing is found.')),
				answer.total > answer.offers.length ? E('p', {}, [ _('%s more; search for a name.').format(show.number(answer.total - answer.offers.length)) ]) : '',
				act.closing()
			]) ]);
		});
	},

	take(offer, done) {
		return act.form(_('Import %s').format(offer.name), [ this.size(offer), offer.checked ? _('It is checked against the checksum of the list.') : _('The list has no checksum for it.') ].join('. '),
			this.fields(false, offer.suggested), _('Import'), (values) => api.imageImport({ source: offer.id, name: values.name }).then(begun).then(done));
	},

	web(done) {
		act.form(_('Import from the web'), _('The router fetches and unpacks it at once; a broken connection is taken up again.'), [
			{ name: 'source', label: _('Address'), placeholder: 'https://…/raspios.img.xz', help: _('Of a disk image (.img) or an archive of a root file system (.tar), compressed or not.') },
			...this.fields(true)
		], _('Import'), (values) => api.imageImport(values).then(begun).then(done));
	},

	path(file, done) {
		act.form(_('Import an image'), _('Unpacking takes some minutes; you can watch it here and go on with something else.'), [
			{ name: 'source', label: _('File on the router'), value: file?.path, placeholder: '/mnt/sda1/raspios.img.xz', help: _('A disk image (.img) or an archive of a root file system (.tar), compressed or not.') },
			...this.fields(true, file?.name.match(/^bramble-image-(.*)-\d+\.tar/)?.[1])
		], _('Import'), (values) => api.imageImport(values).then(begun).then(done));
	},

	disks(done) {
		return api.deviceList().then((answer) => act.modal(_('Cards and disks in the router'), [ E('div', { 'class': 'bramble-form' }, [
			E('p', {}, [ _('A Raspberry Pi OS that was set up on a card can be taken as it is. Nothing on the card is changed.') ]),
			show.table([ _('Disk'), _('Size'), '', '' ], answer.devices.map((device) => [
				[ device.path, ' ', E('small', {}, [ [ device.model, device.bus ].filter((part) => part).join(', ') ]) ],
				show.size(device.bytes),
				device.refusal ?? device.partitions.map((one) => [ one.label, one.kind ].filter((part) => part).join(' ')).filter((text) => text).join(', '),
				device.refusal ? '' : act.button(_('Import…'), () => this.disk(device, done), 'positive', { 'data-key': 'disk-' + device.path })
			]), _('No card or disk is there that an image could be taken from. Put a card reader with the card into the router.')),
			act.closing()
		]) ]));
	},

	/* Somebody may have arranged a desktop on it: a field to choose whose, and none if there is nobody. */
	desktops(where) {
		/* It is no reason to stop, but one to know. */
		const asked = api.may('image_desktop') ? api.imageDesktop(where).catch((error) => { act.failed(error); return { people: [] }; }) : Promise.resolve({ people: [] });

		return asked.then(({ people }) => (people.length ? [ {
			name: 'desktop', label: _('Desktop for everybody'), kind: 'choice', help: _('Menu, panel and desktop as this person arranged them.'),
			choices: [ [ '', _('as it comes with the system') ] ].concat(people.map((one) => [ one.name, '%s (%s)'.format(one.name, N_(one.settings.length, '%s setting', '%s settings').format(show.number(one.settings.length))) ]))
		} ] : []));
	},

	disk(device, done) {
		return this.desktops({ device: device.path }).then((desktop) => act.form(_('Import from %s').format(device.path), device.model, this.fields(false).concat(desktop),
			_('Import'), (values) => api.imageImport({ source: device.path, name: values.name, desktop: values.desktop || undefined }).then(begun).then(done)));
	},

	/* A file of this browser goes to the router slice by slice; one that was begun goes on where it stopped. */
	file(done) {
		act.form(_('Import from this computer'), _('The file goes to the router in small pieces. Leave this page open; if the connection breaks, choose the same file again, and it goes on where it stopped.'), [
			{ name: 'file', label: _('File'), kind: 'file', accept: '.img,.xz,.gz,.zst,.zip,.tar,.tgz' },
			...this.fields(true)
		], _('Send'), (values) => {
			if (!values.file)
				throw Object.assign(new Error(_('Choose a file first.')), { field: 'file' });

			this.sending(values, done);

			return false;
		});
	},

	sending(values, done) {
		const bar = E('div', {}, [ show.bar(0, _('Sending')) ]), says = E('p', { 'role': 'status' }, []);
		let stop = false;

		act.modal(_('%s is being sent').format(values.file.name), [ bar, says, E('div', { 'class': 'right' }, [
			act.button(_('Stop'), () => { stop = true; }, 'negative')
		]) ]);

		return this.send(values.file, (got, rate) => {
			const left = (values.file.size - got) / Math.max(1, rate);

			bar.replaceChildren(show.bar(100 * got / Math.max(1, values.file.size), values.file.name));
			says.replaceChildren([ _('%s of %s').format(show.size(got), show.size(values.file.size)), _('%s per second').format(show.size(rate)), _('%s left').format(show.length(left)) ].join(' · '));

			return !stop;
		}).then((upload) => api.imageImport({ source: 'upload:%d'.format(upload.upload), name: values.name, sha256: values.sha256 })).then(() => {
			act.hide();
			begun();
			done();
		}).catch((error) => {
			act.hide();
			act.failed(error);
		});
	},

	/* Sends what is missing of `file`; `told` hears how far it is and says whether to go on. A slice that does not get through
	   is tried again for a while. */
	async send(file, told) {
		const begin = () => api.uploadBegin({ name: file.name, bytes: file.size, mark: '%s'.format(file.lastModified) });
		const began = Date.now();
		let upload = await begin(), tries = 0;
		const first = upload.got;

		while (upload.got < file.size) {
			if (!told(upload.got, 1000 * (upload.got - first) / Math.max(1, Date.now() - began)))
				throw new Error(_('Stopped. Choose the same file again to go on.'));

			try {
				/* How much is there is asked anew after a failure: a slice may have come although its answer was lost. */
				if (tries)
					upload = await begin();

				const data = await file.slice(upload.got, upload.got + Math.min(SLICE, upload.slice)).arrayBuffer();

				if (data.byteLength)
					upload = await api.uploadSlice({ upload: upload.upload, offset: upload.got, data: base64(data) });

				tries = 0;
			}
			catch (error) {
				if (tries >= TRIES || error.code == 'not_allowed')
					throw error;

				await new Promise((resolve) => window.setTimeout(resolve, 1000 << tries++));
			}
		}

		return upload;
	}
});
