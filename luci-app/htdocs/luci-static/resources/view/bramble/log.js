'use strict';
'require view';
'require bramble.api as api';
'require bramble.act as act';
'require bramble.report as report';
'require bramble.show as show';

/* Log: what clients did and what was done to them, with filters; and a report for whoever helps. */

const EVERY = 5;
const COUNT = 500;
const SHOWN = 200;

/* How serious each kind of event is, and what it is called. */
const KINDS = {
	'discover': [ _('Address'), 0 ],
	'offer': [ _('Address'), 0 ],
	'lease': [ _('Address'), 1 ],
	'refused': [ _('Address'), 2 ],
	'file': [ _('File'), 0 ],
	'mount': [ _('Root'), 1 ],
	'agent': [ _('Agent'), 1 ],
	'logged_in': [ _('Log-in'), 1 ],
	'logged_out': [ _('Log-in'), 1 ],
	'login_refused': [ _('Log-in'), 2 ]
};

function weight(event) {
	/* Of the agent's steps the last one matters, and what went wrong. */
	if (event.kind == 'agent')
		return { 'trouble': 2, 'failed': 2, 'handover': 1, 'off': 1 }[event.phase] ?? 0;

	return KINDS[event.kind]?.[1] ?? 1;
}

return view.extend({
	load() {
		return Promise.all([ api.events({ count: COUNT }), api.loadRights() ]);
	},

	render([ answer ]) {
		this.filter = { text: '', user: '', least: 1 };
		this.table = E('div', {}, []);

		const field = (name, label) => E('input', {
			'type': 'search', 'class': 'cbi-input-text', 'placeholder': label, 'aria-label': label,
			'input': (ev) => this.change(name, ev.target.value.toLowerCase())
		});
		const page = show.page(_('Log'), null, [
			E('div', { 'class': 'bramble-tools' }, [
				field('text', _('Client')),
				field('user', _('Account')),
				E('select', { 'class': 'cbi-input-select', 'aria-label': _('How much'), 'change': (ev) => this.change('least', +ev.target.value) }, [
					E('option', { 'value': '2' }, [ _('Only trouble') ]),
					E('option', { 'value': '1', 'selected': '' }, [ _('What matters') ]),
					E('option', { 'value': '0' }, [ _('Everything') ])
				]),
				api.may('check') ? act.button(_('Report for a bug…'), () => this.report()) : ''
			]),
			this.table
		]);

		this.update(answer);
		show.follow(page, EVERY, () => api.events({ count: COUNT }), (reply) => this.update(reply));

		return page;
	},

	change(name, value) {
		this.filter[name] = value;
		this.update(this.answer);
	},

	update(answer) {
		const { text, user, least } = this.filter;

		this.answer = answer;

		const found = answer.events.filter((event) => weight(event) >= least &&
			(event.name.toLowerCase().indexOf(text) >= 0 || event.client.indexOf(text) >= 0) &&
			(user == '' || (event.user ?? '').toLowerCase().indexOf(user) >= 0)).reverse();

		show.fill(this.table, [
			show.table([ _('When'), _('Client'), '', _('What happened') ], found.slice(0, SHOWN).map((event) => [
				show.stamp(event.at),
				event.name,
				show.badge(KINDS[event.kind]?.[0] ?? event.kind, weight(event) == 2 ? 'stuck' : 'off'),
				event.times > 1 ? _('%s (%s times)').format(event.says, show.number(event.times)) : event.says
			]), _('Nothing of this kind has happened.')),
			found.length > SHOWN ? E('p', {}, [ _('%s more are not shown; filter them.').format(show.number(found.length - SHOWN)) ]) : ''
		]);
	},

	report() {
		return report.make().then((text) => act.save('bramble-report.json', 'application/json', text));
	},

	handleSave: null,
	handleSaveApply: null,
	handleReset: null
});
