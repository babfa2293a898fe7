'use strict';
'require view';
'require ui';
'require bramble.accounts as accounts';
'require bramble.api as api';
'require bramble.act as act';
'require bramble.show as show';

/* People: accounts with search and pages, classes, and who is logged in. The daemon searches and cuts, so a thousand
   accounts cost no more than one page of them. */

const PAGE = 50;
const PAUSE = 300;
const HISTORY = 100;
const EVERY = 10;

return view.extend({
	load() {
		return Promise.all([ api.accountList({ limit: PAGE }), api.classList(), api.sessionList(), api.jobList(), api.loadRights() ]);
	},

	render([ page, classes, sessions, tasks ]) {
		this.query = { search: '', 'class': '', role: '', offset: 0 };
		this.people = E('div', {}, []);
		this.imports = E('div', {}, []);
		this.groups = E('div', {}, []);
		this.seats = E('div', {}, []);
		this.past = E('div', {}, []);
		this.filter = E('select', { 'class': 'cbi-input-select', 'aria-label': _('Class'), 'change': (ev) => this.look({ 'class': ev.target.value }) }, []);

		const tabs = E('div', {}, [
			E('div', { 'data-tab': 'accounts', 'data-tab-title': _('Accounts') }, [ this.tools(), this.imports, this.people ]),
			E('div', { 'data-tab': 'classes', 'data-tab-title': _('Classes') }, [ this.groups ]),
			E('div', { 'data-tab': 'sessions', 'data-tab-title': _('Logged in') }, [ this.seats, this.past ])
		]);
		const node = show.page(_('People'), null, [ tabs ]);

		this.showClasses(classes);
		this.showPeople(page);
		this.showSessions(sessions);
		this.showImports(tasks);
		ui.tabs.initTabGroup(tabs.childNodes);
		show.follow(node, EVERY, () => Promise.all([ api.sessionList(), api.jobList() ]), ([ answer, now ]) => {
			this.showSessions(answer);
			this.showImports(now);
		});

		return node;
	},

	tools() {
		let wait = null;

		return E('div', { 'class': 'bramble-tools' }, [
			E('input', {
				'type': 'search', 'class': 'cbi-input-text', 'placeholder': _('Search for a name or a note'), 'aria-label': _('Search'),
				'input': (ev) => {
					window.clearTimeout(wait);
					wait = window.setTimeout(() => this.look({ search: ev.target.value }), PAUSE);
				}
			}),
			this.filter,
			E('select', { 'class': 'cbi-input-select', 'aria-label': _('Role'), 'change': (ev) => this.look({ role: ev.target.value }) }, [
				E('option', { 'value': '' }, [ _('Everybody') ]),
				E('option', { 'value': 'pupil' }, [ accounts.role('pupil') ]),
				E('option', { 'value': 'teacher' }, [ accounts.role('teacher') ])
			]),
			api.may('account_add') ? act.button(_('Add…'), () => accounts.add(this.classes, () => this.reload()), 'add') : '',
			api.may('account_import') ? act.button(_('Import a list…'), () => accounts.import(this.classes, () => this.reload())) : '',
			api.may('account_test') ? act.button(_('Test a log-in…'), () => accounts.test(), 'neutral') : '',
			api.may('account_export') ? act.button(_('Export'), () => this.export()) : ''
		]);
	},

	/* Asks again with something changed; an answer that comes too late is left aside. */
	look(change) {
		this.query = Object.assign({}, this.query, { offset: 0 }, change);

		const asked = this.query;

		return api.accountList(Object.assign({ limit: PAGE }, asked)).then((page) => {
			if (asked === this.query)
				this.showPeople(page);
		}).catch((error) => act.failed(error));
	},

	/* Lists of people that are being taken over, or were lately. */
	showImports(tasks) {
		const lines = accounts.imports(tasks);

		show.fill(this.imports, lines.length ? [ show.section(_('Lists of people'), lines) ] : []);
	},

	/* After a change of accounts or classes. */
	reload() {
		return Promise.all([ api.jobList().then((tasks) => this.showImports(tasks)), this.look({ offset: this.query.offset }), api.classList().then((answer) => this.showClasses(answer)) ])
			.catch((error) => act.failed(error));
	},

	export() {
		return api.accountExport({ 'class': this.query['class'] }).then((answer) => act.save('accounts.csv', 'text/csv', answer.csv));
	},

	showPeople(page) {
		this.elsewhere = page.elsewhere;

		const last = Math.min(page.offset + page.accounts.length, page.total);
		const go = (label, offset, possible) => act.button(label, () => this.look({ offset: offset }), 'neutral', {
			'disabled': possible ? null : '', 'data-key': label
		});

		show.fill(this.people, [
			show.table([ _('Log-in name'), _('Name'), _('Classes'), _('Last log-in'), '', '' ], page.accounts.map((account) => [
				account.name,
				account.full_name,
				account.classes.join(', '),
				show.ago(account.last_login_at, page.now),
				this.marks(account, page.now),
				this.buttons(account)
			]), _('Nobody is found.')),
			E('div', { 'class': 'bramble-tools' }, [
				go(_('Back'), Math.max(0, page.offset - PAGE), page.offset > 0),
				E('span', {}, [ page.total ? _('%s to %s of %s').format(show.number(page.offset + 1), show.number(last), show.number(page.total)) : '' ]),
				go(_('Next'), page.offset + PAGE, last < page.total)
			])
		]);
	},

	marks(account, now) {
		return [
			this.elsewhere ? show.badge(_('in the directory'), 'off') : null,
			account.role == 'teacher' ? show.badge(_('teacher'), 'new') : null,
			account.enabled ? null : show.badge(_('switched off'), 'stuck'),
			account.has_password ? null : show.badge(_('no password'), 'stuck'),
			account.must_change ? show.badge(_('must change the password'), 'boot') : null,
			account.expires_at == null ? null : account.expires_at < now
				? show.badge(_('expired'), 'stuck')
				: show.badge(_('until %s').format(show.lastDay(account.expires_at)), 'off')
		].filter((mark) => mark);
	},

	buttons(account) {
		/* Whom a directory keeps, the directory changes. */
		if (this.elsewhere)
			return [];

		const done = () => this.reload();

		return [
			api.may('account_set') ? act.button(_('Edit…'), () => accounts.edit(account, this.classes, done), 'edit', { 'data-key': 'edit-' + account.name }) : '',
			api.may('account_password') ? act.button(_('Password…'), () => accounts.reset(account, done), 'action', { 'data-key': 'password-' + account.name }) : '',
			api.may('account_remove') ? act.button(_('Remove…'), () => accounts.remove(account, done), 'remove', { 'data-key': 'remove-' + account.name }) : ''
		];
	},

	showClasses(answer) {
		const done = () => this.reload();

		this.classes = answer.classes;
		this.filter.replaceChildren(...[ [ '', _('All classes') ] ].concat(this.classes.map((one) => [ one.name, one.name ])).map(([ value, label ]) => E('option', {
			'value': value,
			'selected': value == this.query['class'] ? '' : null
		}, [ label ])));
		show.fill(this.groups, [
			api.may('class_add') ? E('div', { 'class': 'bramble-tools' }, [ act.button(_('Add…'), () => accounts.addClass(done), 'add', { 'data-key': 'class-add' }) ]) : '',
			show.table([ _('Class'), _('Members'), _('Space for files'), _('Note'), '' ], this.classes.map((one) => [
				one.name,
				show.number(one.members),
				one.quota == null ? '' : show.size(one.quota),
				one.note,
				[
					api.may('class_set') ? act.button(_('Edit…'), () => accounts.editClass(one, done), 'edit', { 'data-key': 'class-edit-' + one.name }) : '',
					api.may('class_move') ? act.button(_('Move everybody…'), () => accounts.moveClass(one, this.classes, done), 'action', { 'data-key': 'class-move-' + one.name }) : '',
					api.may('account_password') ? act.button(_('New passwords…'), () => accounts.resetClass(one, done), 'action', { 'data-key': 'class-passwords-' + one.name }) : '',
					api.may('class_remove') ? act.button(_('Remove…'), () => accounts.removeClass(one, done), 'remove', { 'data-key': 'class-remove-' + one.name }) : ''
				]
			]), _('There is no class yet.'))
		]);
	},

	showSessions(answer) {
		show.fill(this.seats, [
			show.table([ _('Name'), _('Client'), _('Since'), '' ], answer.sessions.map((one) => [
				'%s (%s)'.format(one.full_name || one.user, one.user),
				one.name,
				show.when(one.since),
				api.may('session_end') ? act.button(_('Log out…'), () => this.end(one), 'negative', { 'data-key': 'session-%d'.format(one.session) }) : ''
			]), _('Nobody is logged in.')),
			E('div', { 'class': 'bramble-tools' }, [ act.button(_('Show earlier ones'), () => this.showPast(), 'neutral', { 'data-key': 'past' }) ])
		]);
	},

	end(one) {
		act.form(_('Log %s out at %s?').format(one.full_name || one.user, one.name),
			_('Programs are closed. What was not saved is lost; the files in the home stay.'), [
				{ name: 'message', label: _('Message'), help: _('What the person is shown. A general sentence if left empty.') }
			], _('Log out'), (values) => api.sessionEnd({ session: one.session, message: values.message })
				.then(() => api.sessionList()).then((answer) => this.showSessions(answer)), 'negative');
	},

	showPast() {
		return api.sessionList({ count: HISTORY }).then((answer) => show.fill(this.past, [
			E('h3', {}, [ _('Earlier') ]),
			show.table([ _('Name'), _('Client'), _('From'), _('To'), _('Why it ended') ], answer.sessions.filter((one) => one.ended != null).map((one) => [
				one.full_name || one.user, one.name, show.when(one.since), show.when(one.ended), one.why ?? ''
			]))
		]));
	},

	handleSave: null,
	handleSaveApply: null,
	handleReset: null
});
