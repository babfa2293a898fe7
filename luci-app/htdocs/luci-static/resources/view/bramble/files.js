'use strict';
'require view';
'require form';
'require uci';
'require ui';
'require bramble.api as api';
'require bramble.act as act';
'require bramble.archives as archives';
'require bramble.jobs as jobs';
'require bramble.options as options';
'require bramble.show as show';

/* Shares and homes: shared folders, how much everybody keeps; for the administrator also shares as a form, and backups as
   tasks. */

const EVERY = 3;
const SHOWN = 100;

return view.extend({
	load() {
		return api.loadRights().then(() => Promise.all([ api.shareList(), api.homeUsage() ].concat(api.may('home_backup')
			? [ api.jobList(), api.classList().catch(() => null), archives.backups(), uci.load('bramble') ] : [])));
	},

	render([ shares, homes, ...more ]) {
		this.homes = E('div', {}, []);
		this.search = '';
		this.showHomes(homes);

		const people = E('div', { 'data-tab': 'homes', 'data-tab-title': _('Homes') }, [ this.tools(), this.homes ]);

		if (api.may('home_backup'))
			return this.whole(shares, people, ...more);

		/* Whoever only looks sees the shares as they are. */
		const tabs = E('div', {}, [ E('div', { 'data-tab': 'shares', 'data-tab-title': _('Shares') }, [ this.shares(shares), this.sizes(shares) ]), people ]);

		const page = show.page(_('Shares and homes'), null, [ tabs ]);

		ui.tabs.initTabGroup(tabs.childNodes);

		return page;
	},

	/* With everything that is changed here. */
	whole(shares, people, tasks, classes, found) {
		this.problems = E('div', {}, []);
		this.tasks = E('div', {}, []);
		this.kept = E('div', {}, []);

		const map = new form.Map('bramble', null, null);

		options.addTable(map, 'share', options.known(null, classes));
		this.showShares(shares);
		this.showTasks(tasks);
		this.showArchives(found);

		return map.render().then((node) => {
			const tabs = E('div', {}, [
				E('div', { 'data-tab': 'shares', 'data-tab-title': _('Shares') }, [ this.problems, node, this.sizes(shares) ]),
				people,
				E('div', { 'data-tab': 'backup', 'data-tab-title': _('Backup') }, [ this.backup() ])
			]);
			const page = show.page(_('Shares and homes'), null, [ tabs, show.section(_('Tasks'), [ this.tasks ]) ]);

			this.saving = show.saving(tabs.childNodes, 'shares');
			ui.tabs.initTabGroup(tabs.childNodes);
			show.follow(page, EVERY, () => api.jobList(), (answer) => this.showTasks(answer));

			return page;
		});
	},

	addFooter() {
		return this.saving ? this.saving(this.super('addFooter', [])) : E('div', {}, []);
	},

	shares(answer) {
		return show.table([ _('Name'), options.label('share', 'access'), options.label('share', 'class'), '' ], answer.shares.map((share) => [
			share.name,
			options.choice('share', 'access', share.access),
			share.classes.length ? share.classes.join(', ') : _('everybody'),
			share.problem ?? ''
		]), _('There is no share yet.'));
	},

	/* How much is in each. */
	sizes(answer) {
		return answer.shares.length ? show.table([ _('Name'), _('Used'), _('Of'), _('Measured') ], answer.shares.map((share) => {
			const row = this.home(share, answer.now);

			/* The bound is each pupil's own, and what was measured is that of all. */
			if (share.quota != null && share.access == 'handin')
				row[2] = _('%s for each').format(show.size(share.quota));

			return row;
		})) : '';
	},

	showShares(answer) {
		show.fill(this.problems, answer.shares.filter((share) => share.problem).map((share) => E('p', { 'class': 'bramble-problem' }, [
			'%s: %s'.format(share.name, share.problem)
		])));
	},

	tools() {
		return E('div', { 'class': 'bramble-tools' }, [
			E('input', {
				'type': 'search', 'class': 'cbi-input-text', 'placeholder': _('Search for a name'), 'aria-label': _('Search'),
				'input': (ev) => { this.search = ev.target.value.toLowerCase(); this.showHomes(this.answer); }
			}),
			api.may('home_measure') ? act.button(_('Measure again'), () => api.homeMeasure().then(() => act.done(_('All homes are being measured.')))) : ''
		]);
	},

	showHomes(answer) {
		this.answer = answer;

		const found = answer.homes.filter((home) => home.name.toLowerCase().indexOf(this.search) >= 0);

		show.fill(this.homes, [
			show.table([ _('Name'), _('Used'), _('Of'), _('Measured') ], found.slice(0, SHOWN).map((home) => this.home(home, answer.now)), _('Nobody has a home yet: it is made at the first log-in.')),
			found.length > SHOWN ? E('p', {}, [ _('%s more; search for a name.').format(show.number(found.length - SHOWN)) ]) : '',
			answer.attic.length ? show.section(_('Homes of removed accounts'), [
				E('p', {}, [ _('They are deleted after the time that the settings say.') ]),
				show.table([ _('Name'), _('Removed'), _('Deleted'), _('Folder'), '' ], answer.attic.map((old) => [
					old.name, old.day, show.day(old.until) || _('never'), old.path,
					api.may('home_return') ? act.button(_('Bring back…'), () => this.bringBack(old)) : ''
				]))
			]) : ''
		]);
	},

	home(home, now) {
		return [
			home.name,
			home.bytes == null ? _('unknown') : show.size(home.bytes),
			home.quota == null ? _('no bound') : show.bar(100 * (home.bytes ?? 0) / home.quota, show.size(home.quota)),
			show.ago(home.measured_at, now)
		];
	},

	bringBack(old) {
		const folder = old.path.slice(old.path.lastIndexOf('/') + 1);

		act.form(_('Bring the home of %s back').format(old.name), null, [
			{ name: 'to', label: _('To the account'), value: old.name, help: _('The account has to be there; add it on the page “People” if it was removed.') },
			{ name: 'beside', label: _('As a folder'), kind: 'flag', help: _('Puts it as a folder into the home that the account has already.') }
		], _('Bring back'), (values) => api.homeReturn({ home: folder, to: values.to, beside: values.beside ? '1' : null })
			.then(() => act.done(_('The home is being brought back.'))));
	},

	backup() {
		return E('div', { 'class': 'cbi-section' }, [
			E('p', {}, [ _('A backup holds accounts, homes, shares and settings, and no images: they can be imported again. Keep it on another disk than the data.') ]),
			E('div', { 'class': 'bramble-tools' }, [
				api.may('home_backup') ? act.button(_('Back up…'), () => this.startBackup(), 'add') : '',
				api.may('home_restore') ? act.button(_('Restore…'), () => this.startRestore(), 'negative') : '',
				act.button(_('Look again'), () => this.look(), 'neutral')
			]),
			this.kept,
			E('p', {}, [ _('To keep it on your own computer, without space on the router:'), ' ', E('code', {}, [ 'ssh root@router bramble backup - > bramble.tar' ]) ])
		]);
	},

	look() {
		return archives.backups().then((found) => this.showArchives(found));
	},

	showArchives(found) {
		show.fill(this.kept, [
			archives.table(found, (file) => api.may('home_restore')
				? [ act.button(_('Restore…'), () => this.startRestore(file.path), 'negative', { 'data-key': 'restore-' + file.path }) ]
				: [], _('No backup is on a mounted disk.'))
		]);
	},

	startBackup() {
		const day = new Date().toISOString().slice(0, 10);

		return archives.place('bramble-%s.tar'.format(day)).then((to) => act.form(_('Back up'), null, [
			{ name: 'to', label: _('File'), value: to, help: _('A new file on a mounted disk. It is found here again if its name begins with “bramble-” and ends with “.tar”.') },
			{ name: 'home', label: _('Only the home of'), help: _('The log-in name of one person; everything if left empty.') },
			{ name: 'since', label: _('Only what is newer than'), kind: 'date', help: _('For a small backup between two whole ones.') }
		], _('Back up'), (values) => api.homeBackup(values).then(() => act.done(_('The backup has begun.')))));
	},

	startRestore(path) {
		act.form(_('Restore a backup'), _('Files that are in the backup replace those that are there. What came later stays.'), [
			{ name: 'from', label: _('File'), value: path, placeholder: '/mnt/backup/bramble-2026-11-27.tar' },
			{ name: 'home', label: _('Only the home of'), help: _('The log-in name of one person; everything if left empty.') }
		], _('Restore'), (values) => api.homeRestore(values).then(() => act.done(_('The restoring has begun.'))), 'negative');
	},

	showTasks(answer) {
		const ended = answer.jobs.filter((job) => job.kind == 'backup' && job.state == 'done').length;

		/* One more is there now. */
		if (this.ended != null && ended > this.ended)
			this.look();

		this.ended = ended;

		const shown = answer.jobs.filter((job) => [ 'backup', 'restore', 'measure', 'return' ].indexOf(job.kind) >= 0);

		show.fill(this.tasks, jobs.list(shown.slice(0, 10), answer.now));
	}
});
