'use strict';
'require view';
'require bramble.api as api';
'require bramble.act as act';
'require bramble.report as report';
'require bramble.show as show';

/* Log: what clients did and what was done to them. The daemon looks for what is wanted and tells it in pieces; the newest
   piece is asked for again only when something new has happened. And a report for whoever helps. */

const EVERY = 5;
const PAGE = 100;
const PAUSE = 300;

const KINDS = {
	'discover': _('Address'), 'offer': _('Address'), 'lease': _('Address'), 'refused': _('Address'),
	'file': _('File'), 'nothing_to_boot': _('File'), 'unreadable': _('File'), 'mount': _('Root'), 'agent': _('Agent'),
	'logged_in': _('Log-in'), 'logged_out': _('Log-in'), 'login_refused': _('Log-in'),
	'home_full': _('Home'), 'screen_seen': _('Screen'), 'screen_left': _('Screen')
};

/* Whether two are the same event, as far as it has gone. */
function same(one, other) {
	return one?.at === other?.at && one?.last_at === other?.last_at && one?.client === other?.client && one?.says === other?.says;
}

return view.extend({
	load() {
		this.query = { least: 'matter' };

		return Promise.all([ this.ask(PAGE), api.loadRights() ]);
	},

	render([ answer ]) {
		let wait = null;

		this.list = E('div', {}, []);

		const field = (name, label) => E('input', {
			'type': 'search', 'class': 'cbi-input-text', 'placeholder': label, 'aria-label': label,
			'input': (ev) => {
				window.clearTimeout(wait);
				wait = window.setTimeout(() => this.look(name, ev.target.value.trim()), PAUSE);
			}
		});
		const page = show.page(_('Log'), null, [
			E('div', { 'class': 'bramble-tools' }, [
				field('client', _('Client')),
				field('account', _('Account')),
				E('select', { 'class': 'cbi-input-select', 'aria-label': _('How much'), 'change': (ev) => this.look('least', ev.target.value) }, [
					E('option', { 'value': 'trouble' }, [ _('Only trouble') ]),
					E('option', { 'value': 'matter', 'selected': '' }, [ _('What matters') ]),
					E('option', { 'value': 'detail' }, [ _('Everything') ])
				]),
				api.may('check') ? act.button(_('Report for a bug…'), () => this.report()) : ''
			]),
			this.list
		]);

		this.begin(answer);
		show.follow(page, EVERY, () => this.news(), (draw) => draw?.());

		return page;
	},

	/* The newest events that are wanted, or those before a moment. */
	ask(count, before) {
		return api.events(Object.assign({ count: count, before: before == null ? undefined : String(before) }, this.query));
	},

	/* Asks with something changed; an answer that comes too late is left aside. */
	look(name, value) {
		const asked = this.query = Object.assign({}, this.query, { [name]: value || undefined });

		return this.ask(PAGE).then((answer) => {
			if (asked === this.query)
				this.begin(answer);
		}).catch((error) => act.failed(error));
	},

	/* The newest one; and if that is another one than before, the piece that it is in. */
	news() {
		const asked = this.query;

		return this.ask(1).then(({ events }) => same(events[events.length - 1], this.events[this.events.length - 1]) ? null
			: this.ask(PAGE).then((answer) => () => asked === this.query ? this.add(answer) : null));
	},

	begin(answer) {
		this.events = answer.events;
		this.isMore = answer.more;
		this.draw();
	},

	/* What was shown before it stays, if nothing is missing in between. */
	add(answer) {
		const [ first ] = answer.events;
		const known = first && this.events.length && first.at <= this.events[this.events.length - 1].at;
		const before = known ? this.events.filter((event) => event.at < first.at) : [];

		this.begin({ events: before.concat(answer.events), more: before.length ? this.isMore : answer.more });
	},

	older() {
		const asked = this.query;

		return this.ask(PAGE, this.events[0]?.at).then((answer) => {
			if (asked === this.query)
				this.begin({ events: answer.events.concat(this.events), more: answer.more });
		});
	},

	draw() {
		show.fill(this.list, [
			show.table([ _('When'), _('Client'), '', _('What happened') ], this.events.slice().reverse().map((event) => [
				show.stamp(event.at),
				event.name,
				show.badge(KINDS[event.kind] ?? event.kind, event.weight == 'trouble' ? 'stuck' : 'off'),
				event.times > 1 ? _('%s (%s times)').format(event.says, show.number(event.times)) : event.says
			]), _('Nothing of this kind has happened.')),
			this.isMore ? E('div', { 'class': 'bramble-tools' }, [ act.button(_('Older…'), () => this.older(), 'neutral', { 'data-key': 'older' }) ]) : ''
		]);
	},

	report() {
		return report.make().then((text) => act.save('bramble-report.json', 'application/json', text));
	},

	handleSave: null,
	handleSaveApply: null,
	handleReset: null
});
