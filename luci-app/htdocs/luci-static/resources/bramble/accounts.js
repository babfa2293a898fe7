'use strict';
'require baseclass';
'require bramble.api as api';
'require bramble.act as act';
'require bramble.jobs as jobs';
'require bramble.show as show';

/* What is done to accounts and classes: the dialogs of the page “People”. Each tells `done` when something has changed. */

/* uhttpd takes 64 KiB in one question; a list is cut between two lines so that each part fits with what JSON adds. */
const PART = 40000;

/* For how long the daemon keeps what an import has made, in milliseconds, and how often a lost question about one is asked
   again, once a second. */
const KEPT = 3600000;
const TRIES = 30;

const ROLES = [ [ 'pupil', _('Pupil or reader') ], [ 'teacher', _('Teacher or staff') ] ];

const FATES = {
	'add': [ _('new'), 'new' ],
	'change': [ _('changes'), 'boot' ],
	'same': [ _('as it is'), 'off' ],
	'refused': [ _('refused'), 'stuck' ]
};

/* The text of a list as spreadsheets save it: UTF-8, or what Windows used before. */
function decode(buffer) {
	try {
		return new TextDecoder('utf-8', { fatal: true }).decode(buffer);
	}
	catch (e) {
		return new TextDecoder('windows-1252').decode(buffer);
	}
}

return baseclass.extend({
	role(word) {
		return ROLES.find((role) => role[0] == word)?.[1] ?? word;
	},

	/* Cuts a list into parts that each begin with its first line; never inside a quoted field. */
	parts(csv) {
		const lines = csv.replace(/\r\n?/g, '\n').split('\n');
		const head = lines.shift() ?? '';
		const parts = [];
		let part = head, open = false;

		for (const line of lines) {
			if (!open && part.length + line.length > PART && part != head) {
				parts.push(part + '\n');
				part = head;
			}

			part += '\n' + line;

			if ((line.split('"').length - 1) % 2 == 1)
				open = !open;
		}

		return parts.concat([ part + '\n' ]);
	},

	/* One part after the other; the answers become one, with lines counted over the whole list. `told` hears how far it is.
	   An error brings along what the parts before it have made. */
	importAll(csv, options, told) {
		const whole = { add: 0, change: 0, same: 0, refused: 0, new_classes: [], ignored_columns: [], lines: [], pages: [], accounts: [] };
		let before = 0;

		return this.parts(csv).reduce((chain, part) => chain.then(() => api.accountImport(Object.assign({ csv: part }, options)))
			.then((answer) => answer.job ? this.imported(answer.job, told, TRIES) : answer).then((answer) => {
			for (const count of [ 'add', 'change', 'same', 'refused' ])
				whole[count] += answer[count];

			whole.new_classes = [ ...new Set(whole.new_classes.concat(answer.new_classes)) ];
			whole.ignored_columns = answer.ignored_columns;
			whole.lines = whole.lines.concat(answer.lines.map((line) => Object.assign({}, line, { line: line.line + before })));
			whole.accounts = whole.accounts.concat(answer.passwords.accounts);

			if (answer.passwords.page)
				whole.pages.push(answer.passwords.page);

			before += part.split('\n').length - 2;
		}), Promise.resolve()).then(() => whole, (error) => { throw Object.assign(error, { made: whole }); });
	},

	/* Waits for the job that takes a part over; its passwords can be asked for afterwards. A question that is lost on the way
	   is asked again for a while: the job goes on whatever becomes of this page. */
	imported(job, told, tries) {
		const later = (left) => new Promise((resolve) => window.setTimeout(resolve, 1000)).then(() => this.imported(job, told, left));

		return api.jobStatus({ job: job }).then((status) => {
			told?.(status);

			if (jobs.isOpen(status))
				return later(TRIES);

			if (status.state != 'done')
				throw Object.assign(new Error(status.message), { code: status.state });

			return api.accountImported({ job: job, slips: 'html' });
		}).catch((error) => {
			/* What the daemon says is so; anything else may be better the next time. */
			if (tries == 0 || (error.code && error.code != 'not_running'))
				throw error;

			return later(tries - 1);
		});
	},

	/* Lists that are being taken over, or were a short while ago, with the passwords that nobody may have seen: the page that
	   began it may be gone. */
	imports(list) {
		const shown = list.jobs.filter((job) => job.kind == 'people' && (jobs.isOpen(job) || list.now - job.ended_at < KEPT));

		return shown.map((job) => jobs.line(job, list.now, job.state == 'done' && api.may('account_imported')
			? act.button(_('Show passwords…'), () => api.accountImported({ job: job.id, slips: 'html' }).then(({ passwords }) => {
				if (!passwords.accounts.length)
					return act.done(_('No password was made up for this list.'));

				this.passwords(passwords.accounts, passwords.page ? [ passwords.page ] : []);
			}), 'action', { 'data-key': 'passwords-%d'.format(job.id) })
			: null));
	},

	fields(account, classes) {
		return [
			{ name: 'full_name', label: _('Full name'), value: account?.full_name },
			{ name: 'role', label: _('Role'), kind: 'choice', value: account?.role ?? 'pupil', choices: ROLES },
			{ name: 'classes', label: _('Classes'), value: (account?.classes ?? []).join(', '),
				help: classes.length ? _('With commas between them. There are: %s').format(classes.map((one) => one.name).join(', ')) : _('With commas between them.') },
			{ name: 'note', label: _('Note'), value: account?.note, help: _('A student number, a library card or a few words.') },
			{ name: 'quota', label: _('Space for files'), value: show.plainSize(account?.quota), placeholder: '2G', help: _('Such as 500M or 2G; as in the settings if left empty.') },
			{ name: 'expires', label: _('Last day'), kind: 'date', value: account?.expires_at ? new Date(account.expires_at).toISOString().slice(0, 10) : '', help: _('Nobody logs in with this account later.') }
		];
	},

	add(classes, done) {
		act.form(_('Add an account'), null, [
			{ name: 'account', label: _('Log-in name'), help: _('Small letters, digits and hyphens, such as anna.') },
			...this.fields(null, classes),
			{ name: 'password', label: _('Password'), kind: 'password', help: _('One that is easy to type is made up if this is left empty. It is shown once.') }
		], _('Add'), (values) => api.accountAdd(Object.assign(values, {
			must_change: values.password ? '1' : null,
			slips: 'html'
		})).then((made) => {
			done();

			/* Whoever typed the password knows it. */
			if (values.password)
				return act.done(_('%s can log in now, and is asked for a password of their own then.').format(values.account));

			this.passwords(made.accounts, made.page ? [ made.page ] : []);

			return false;
		}));
	},

	edit(account, classes, done) {
		const fields = [ { name: 'name', label: _('Log-in name'), value: account.name } ].concat(this.fields(account, classes), [
			{ name: 'enabled', label: _('May log in'), kind: 'flag', value: account.enabled }
		]);

		act.form(_('Change %s').format(account.name), null, fields, _('Save'), (values) => {
			/* What is emptied is taken away; what is left out would stay. */
			for (const name of [ 'full_name', 'classes', 'note', 'quota', 'expires' ])
				values[name] = values[name] || 'none';

			return api.accountSet(Object.assign(values, { account: account.name, enabled: values.enabled ? '1' : '0' }))
				.then(() => { done(); act.done(_('%s is changed.').format(values.name)); });
		});
	},

	reset(account, done) {
		act.form(_('A new password for %s').format(account.full_name || account.name), _('The old password no longer works. The new one has to be changed at the next log-in.'), [
			{ name: 'password', label: _('Password'), kind: 'password', help: _('One that is easy to type is made up if this is left empty. It is shown once.') }
		], _('Set the password'), (values) => api.accountPassword({ account: account.name, password: values.password, slips: 'html' })
			.then((made) => {
				done();
				this.passwords(made.accounts, made.page ? [ made.page ] : []);

				return false;
			}));
	},

	remove(account, done) {
		act.ask(_('Remove %s?').format(account.full_name || account.name), _('The account and its password are removed at once.'), [
			_('The home is kept for some time, see “Shares and homes”, and deleted then.'),
			_('Whoever is logged in with this account is logged out.')
		], _('Remove the account'), () => api.accountRemove({ account: account.name })
			.then(() => { done(); act.done(_('%s is removed.').format(account.name)); }));
	},

	/* New passwords, which nobody can look up later; `trouble` is what kept the rest from being made. */
	passwords(accounts, pages, trouble) {
		if (accounts.length == 0) {
			act.hide();

			return;
		}

		act.modal(_('New passwords'), [
			trouble ? E('p', { 'class': 'bramble-problem', 'role': 'alert' }, [ _('Only a part of the list was taken over: %s').format(trouble) ]) : '',
			E('p', {}, [ _('These are shown once. Print the slips or write the passwords down before you close this.') ]),
			show.table([ _('Log-in name'), _('Name'), _('Password') ], accounts.map((one) => [
				one.name, one.full_name, E('code', {}, [ one.password ])
			])),
			act.closing(pages.map((page, n) => act.button(pages.length > 1 ? _('Print slips, part %d').format(n + 1) : _('Print slips'), () => act.print(page), 'action')))
		]);
	},

	/* A list of people: chosen, shown line by line, then taken over. */
	import(classes, done) {
		act.form(_('Take over a list of people'),
			_('A table saved as CSV. Its first line names the columns: first name, last name, class; or login, full name, role, password, note, expires. Nothing is changed before you have seen what would happen.'), [
				{ name: 'csv', label: _('File'), kind: 'file', accept: '.csv,.txt,text/csv' },
				{ name: 'class', label: _('Class'), kind: 'choice', choices: [ [ '', _('as in the list') ] ].concat(classes.map((one) => [ one.name, one.name ])), help: _('Of those whose line names none.') },
				{ name: 'role', label: _('Role'), kind: 'choice', choices: ROLES, help: _('Of those whose line names none.') }
			], _('Show what would happen'), (values) => {
				if (!values.csv)
					throw Object.assign(new Error(_('Choose a file first.')), { field: 'csv' });

				return values.csv.arrayBuffer().then((buffer) => {
					const csv = decode(buffer);
					const options = { 'class': values['class'], 'role': values.role };

					return this.importAll(csv, options).then((plan) => this.preview(csv, options, plan, done)).then(() => false);
				});
			});
	},

	preview(csv, options, plan, done) {
		const shown = plan.lines.filter((line) => line.fate != 'same');

		act.dialog(_('What this list would do'), [
			E('p', {}, [
				show.badge(_('%s new').format(show.number(plan.add)), 'new'), ' ',
				show.badge(_('%s changed').format(show.number(plan.change)), 'boot'), ' ',
				show.badge(_('%s as they are').format(show.number(plan.same)), 'off'), ' ',
				show.badge(_('%s refused').format(show.number(plan.refused)), 'stuck')
			]),
			plan.new_classes.length ? E('p', {}, [ _('New classes: %s').format(plan.new_classes.join(', ')) ]) : '',
			plan.ignored_columns.length ? E('p', {}, [ _('These columns mean nothing here and are left out: %s').format(plan.ignored_columns.join(', ')) ]) : '',
			plan.refused ? E('p', { 'class': 'bramble-problem' }, [ _('Lines that are refused are left out.') ]) : '',
			show.table([ _('Line'), '', _('Log-in name'), _('Name'), _('Classes'), _('What happens') ], shown.map((line) => [
				show.number(line.line),
				show.badge(FATES[line.fate]?.[0] ?? line.fate, FATES[line.fate]?.[1]),
				line.name, line.full_name, line.classes.join(', '), line.says
			]), _('Nobody changes.'))
		], _('Take the list over'), 'positive', (says) => this.importAll(csv, Object.assign({ apply: '1', skip: '1' }, options), (job) => says.replaceChildren(jobs.says(job))).then((result) => {
			done();
			act.done(_('%s accounts added, %s changed.').format(show.number(result.add), show.number(result.change)));
			this.passwords(result.accounts, result.pages);

			return result.accounts.length == 0;
		}, (error) => {
			if (!error.made?.accounts.length)
				throw error;

			done();
			this.passwords(error.made.accounts, error.made.pages, error.message);

			return false;
		}));
	},

	/* Why somebody can, or cannot, log in: step by step. */
	test() {
		act.form(_('Test a log-in'), _('Each step of a log-in is tried, as far as it goes; nobody is logged in by it.'), [
			{ name: 'account', label: _('Log-in name') },
			{ name: 'password', label: _('Password'), kind: 'password', help: _('Without it everything else is tried.') }
		], _('Test'), (values) => api.accountTest(values).then((result) => {
			act.modal(result.works ? _('%s can log in').format(result.account) : _('%s cannot log in').format(result.account), [
				show.table([ '', _('Step'), _('What to do') ], result.steps.map((step) => [
					show.badge({ 'ok': _('good'), 'note': _('note') }[step.outcome] ?? _('failed'), { 'ok': 'up', 'note': 'boot' }[step.outcome] ?? 'stuck'),
					step.what, step.remedy ?? ''
				])),
				act.closing()
			]);

			return false;
		}));
	},

	addClass(done) {
		act.form(_('Add a class'), null, this.classFields(null), _('Add'), (values) => api.classAdd({
			'class': values.name, note: values.note, quota: values.quota
		}).then(() => done()));
	},

	classFields(one) {
		return [
			{ name: 'name', label: _('Name'), value: one?.name, help: _('Small letters, digits and hyphens, such as class-7b.') },
			{ name: 'note', label: _('Note'), value: one?.note },
			{ name: 'quota', label: _('Space for files'), value: show.plainSize(one?.quota), placeholder: '2G', help: _('Of each member; as in the settings if left empty.') }
		];
	},

	editClass(one, done) {
		act.form(_('Change %s').format(one.name), null, this.classFields(one), _('Save'), (values) => api.classSet({
			'class': one.name, name: values.name, note: values.note || 'none', quota: values.quota || 'none'
		}).then(() => done()));
	},

	/* The end of a school year: everybody of a class goes to another. */
	moveClass(one, classes, done) {
		act.form(_('Move everybody of %s').format(one.name),
			N_(one.members, '%s person goes to the other class. Accounts, passwords and files stay.', '%s people go to the other class. Accounts, passwords and files stay.').format(show.number(one.members)), [
				{ name: 'to', label: _('To the class'), help: _('It is made if there is none of this name. There are: %s').format(classes.map((other) => other.name).join(', ')) }
			], _('Move'), (values) => api.classMove({ 'class': one.name, to: values.to }).then((moved) => {
				done();
				act.done(N_(moved.accounts, '%s account moved.', '%s accounts moved.').format(show.number(moved.accounts)));
			}));
	},

	resetClass(one, done) {
		act.ask(_('New passwords for everybody of %s?').format(one.name), _('You can print slips with the new passwords afterwards.'), [
			N_(one.members, 'The password of %s person stops working.', 'The passwords of %s people stop working.').format(show.number(one.members))
		], _('Make new passwords'), () => api.accountPassword({ 'class': one.name, slips: 'html' }).then((made) => {
			done();
			this.passwords(made.accounts, made.page ? [ made.page ] : []);

			return made.accounts.length == 0;
		}));
	},

	removeClass(one, done) {
		act.form(_('Remove the class %s?').format(one.name), _('Rooms and shares that are for this class only are no longer open to its members.'), [
			{ name: 'members', label: _('Its pupils too'), kind: 'flag', help: _('Removes the accounts of pupils who are in no other class. Their homes are kept for some time.') }
		], _('Remove the class'), (values) => api.classRemove({ 'class': one.name, members: values.members ? '1' : null }).then((gone) => {
			done();
			act.done(N_(gone.accounts.length, 'Class removed, with %s account.', 'Class removed, with %s accounts.').format(show.number(gone.accounts.length)));
		}), 'negative');
	}
});
