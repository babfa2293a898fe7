'use strict';
'require baseclass';
'require poll';

/* How things are shown: texts, times, sizes, bars, tables, and pages that keep themselves up to date.

   Texts always go into nodes in an array: LuCI takes a bare string child for markup, and host names, file names and
   names of people come from the network. */

const UNITS = [ 'byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte' ];

const STATES = {
	'new': [ _('new'), 'new' ],
	'off': [ _('off'), 'off' ],
	'address': [ _('asks for an address'), 'boot' ],
	'firmware': [ _('loads its files'), 'boot' ],
	'kernel': [ _('starts its kernel'), 'boot' ],
	'starting': [ _('starts'), 'boot' ],
	'up': [ _('ready'), 'up' ],
	'elsewhere': [ _('runs another system'), 'off' ],
	'stuck': [ _('trouble'), 'stuck' ]
};

/* Once, and asked for before any answer of the router is: a page is not seen without it first. */
document.head.appendChild(E('link', { 'rel': 'stylesheet', 'href': L.resource('bramble/style.css') }));

/* How long a press may last, in milliseconds; longer ones were let go where nobody heard it. */
const PRESS = 3000;

/* Since when a button or key is held down. */
let pressed = null;

for (const name of [ 'pointerdown', 'keydown' ])
	document.addEventListener(name, () => { pressed = Date.now(); }, true);

for (const name of [ 'pointerup', 'pointercancel', 'keyup' ])
	document.addEventListener(name, () => { pressed = null; }, true);

/* How far a boot is at each step, in percent. */
const STEPS = { 'address': 10, 'firmware': 35, 'kernel': 60, 'starting': 85 };

function format(options, value) {
	return new Intl.DateTimeFormat(undefined, options).format(new Date(value));
}

return baseclass.extend({
	/* Milliseconds since 1970, as the daemon tells moments. */
	when(moment) {
		return moment == null ? _('never') : format({ dateStyle: 'medium', timeStyle: 'short' }, moment);
	},

	day(moment) {
		return moment == null ? '' : format({ dateStyle: 'medium' }, moment);
	},

	/* The last day of something, which the daemon tells as its last moment in UTC: the same day wherever one looks from. */
	lastDay(moment) {
		return format({ dateStyle: 'medium', timeZone: 'UTC' }, moment);
	},

	/* To the second, in one line. */
	stamp(moment) {
		return E('span', { 'class': 'bramble-stamp' }, [ format({ dateStyle: 'medium', timeStyle: 'medium' }, moment) ]);
	},

	clock(moment) {
		return format({ timeStyle: 'medium' }, moment);
	},

	/* How long ago, in the browser's language: rough, as people say it. */
	ago(moment, now) {
		if (moment == null)
			return _('never');

		const seconds = Math.max(0, Math.round((now - moment) / 1000));
		const relative = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto' });

		if (seconds < 60)
			return relative.format(-seconds, 'second');

		if (seconds < 5400)
			return relative.format(-Math.round(seconds / 60), 'minute');

		if (seconds < 129600)
			return relative.format(-Math.round(seconds / 3600), 'hour');

		return relative.format(-Math.round(seconds / 86400), 'day');
	},

	/* A length of time in seconds. */
	length(seconds) {
		const unit = (value, name) => new Intl.NumberFormat(undefined,
			{ style: 'unit', unit: name, unitDisplay: 'short', maximumFractionDigits: 0 }).format(value);

		if (seconds < 90)
			return unit(seconds, 'second');

		return seconds < 5400 ? unit(seconds / 60, 'minute') : unit(seconds / 3600, 'hour');
	},

	size(bytes) {
		let value = Number(bytes ?? 0), step = 0;

		/* In steps of 1024, as UCI counts: a bound of 2G reads 2 GB. */
		for (; value >= 1000 && step < UNITS.length - 1; step++)
			value /= 1024;

		return new Intl.NumberFormat(undefined, {
			style: 'unit', unit: UNITS[step], unitDisplay: 'short', maximumFractionDigits: value < 10 && step > 0 ? 1 : 0
		}).format(value);
	},

	number(value) {
		return new Intl.NumberFormat().format(value);
	},

	/* The size as UCI writes it: `2G`, and the empty text for none. */
	plainSize(bytes) {
		if (bytes == null)
			return '';

		for (const [ unit, letter ] of [ [ 1099511627776, 'T' ], [ 1073741824, 'G' ], [ 1048576, 'M' ], [ 1024, 'k' ] ])
			if (bytes >= unit && bytes % unit == 0)
				return '%d%s'.format(bytes / unit, letter);

		return '%d'.format(bytes);
	},

	state(word) {
		return STATES[word]?.[0] ?? word;
	},

	stateClass(word) {
		return 'bramble-' + (STATES[word]?.[1] ?? 'off');
	},

	step(word) {
		return STEPS[word] ?? null;
	},

	badge(text, kind) {
		return E('span', { 'class': 'bramble-badge bramble-' + (kind ?? 'off') }, [ text ]);
	},

	/* A bar that is read aloud as well; without a percentage it only says that something goes on. */
	bar(percent, title) {
		const known = percent != null;
		const width = known ? Math.max(0, Math.min(100, percent)) : 100;

		return E('div', {
			'class': 'cbi-progressbar' + (known ? '' : ' bramble-busy'),
			'role': 'progressbar',
			'aria-valuemin': '0',
			'aria-valuemax': '100',
			'aria-valuenow': known ? '%d'.format(width) : null,
			'aria-label': title,
			'title': title
		}, [ E('div', { 'style': 'width:%.1f%%'.format(width) }) ]);
	},

	/* Rows are arrays of texts and nodes; on a narrow screen each cell carries its heading. */
	table(titles, rows, placeholder) {
		const head = E('tr', { 'class': 'tr table-titles' }, titles.map((title) => E('th', { 'class': 'th' }, [ title ])));
		const body = rows.map((row) => E('tr', { 'class': 'tr' }, row.map((cell, n) => E('td', {
			'class': 'td',
			'data-title': titles[n]
		}, Array.isArray(cell) ? cell : [ cell ?? '' ]))));

		if (rows.length == 0)
			body.push(E('tr', { 'class': 'tr placeholder' }, [
				E('td', { 'class': 'td', 'colspan': '%d'.format(titles.length) }, [ E('em', {}, [ placeholder ?? _('Nothing here yet.') ]) ])
			]));

		return E('table', { 'class': 'table bramble-table' }, [ head ].concat(body));
	},

	section(title, children, id) {
		return E('div', { 'class': 'cbi-section', 'id': id }, [ E('h3', {}, [ title ]) ].concat(children));
	},

	page(title, says, children) {
		return E('div', { 'class': 'cbi-map bramble' }, [
			E('h2', { 'tabindex': '-1' }, [ title ]),
			says ? E('div', { 'class': 'cbi-map-descr' }, [ says ]) : ''
		].concat(children));
	},

	/* Replaces what is in `node`, and keeps the keyboard where it was and folded what was folded: nodes that can be reached
	   carry a `data-key`. */
	fill(node, children) {
		const at = node.contains?.(document.activeElement) ? document.activeElement.getAttribute('data-key') : null;
		const folds = new Map([ ...node.querySelectorAll('details') ].map((one) => [ one.getAttribute('data-key'), one.getAttribute('open') != null ]));

		node.replaceChildren(...children.filter((child) => child != null && child !== ''));

		for (const one of node.querySelectorAll('details')) {
			const open = folds.get(one.getAttribute('data-key'));

			if (open === true)
				one.setAttribute('open', '');
			else if (open === false)
				one.removeAttribute('open');
		}

		if (at != null)
			for (const one of node.querySelectorAll('[data-key]'))
				if (one.getAttribute('data-key') === at)
					one.focus();
	},

	/* The buttons to save belong to one of several tabs. To be called before the tabs are made; what comes back wraps the
	   footer. */
	saving(panes, tab) {
		const node = E('div', {}, []);

		for (const pane of panes)
			pane.addEventListener('cbi-tab-active', () => {
				node.style.display = pane.getAttribute('data-tab') == tab ? '' : 'none';
			});

		return (footer) => {
			node.appendChild(footer);

			return node;
		};
	},

	/* Whether somebody is about to press something in `node`, or has pressed what still works: a page that were drawn anew
	   then would take it from under their finger. */
	held(node) {
		return (pressed != null && Date.now() - pressed < PRESS) || node.querySelector('.spinning') != null;
	},

	/* Asks every few seconds and hands what comes to `apply`, unless the page is held: then what the next question brings.
	   Questions never overlap, a page that nobody looks at asks nothing, and a lost answer leaves everything as it is and
	   says so in one line. */
	follow(node, seconds, ask, apply) {
		const line = E('div', { 'class': 'bramble-lost', 'role': 'status', 'hidden': '' }, []);
		let busy = false, last = Date.now();

		node.insertBefore(line, node.firstChild);
		poll.add(() => {
			if (busy || document.hidden)
				return Promise.resolve();

			busy = true;

			return ask().then((answer) => {
				last = Date.now();
				line.setAttribute('hidden', '');
				node.removeAttribute('data-stale');

				if (!this.held(node))
					apply(answer);
			}).catch((error) => {
				line.replaceChildren(_('As of %s: %s').format(this.clock(last), error.message));
				line.removeAttribute('hidden');
				node.setAttribute('data-stale', '');
			}).then(() => { busy = false; });
		}, seconds);
	}
});
