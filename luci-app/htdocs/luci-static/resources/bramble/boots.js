'use strict';
'require baseclass';
'require bramble.show as show';
'require bramble.verdicts as verdicts';

/* How a client fares: what is wrong with it and what to do, its last boots step by step, what its agent measured, what its
   screen would have said. Shows only; what is done about it is elsewhere. */

const STEPS = {
	'asked': _('asked for an address'),
	'address': _('was given an address'),
	'files': _('asked for the first file'),
	'kernel': _('kernel running'),
	'root': _('root mounted'),
	'agent': _('agent started'),
	'system': _('system starting'),
	'ready': _('log-in ready'),
	'log_in': _('first log-in'),
	'off': _('switched off')
};

/* Lines of the console that are shown. */
const LINES = 200;

const degrees = (milli) => new Intl.NumberFormat(undefined, { style: 'unit', unit: 'celsius', maximumFractionDigits: 0 }).format(milli / 1000);
const milliseconds = (micro) => new Intl.NumberFormat(undefined, { style: 'unit', unit: 'millisecond', maximumFractionDigits: 1 }).format(micro / 1000);

function range(samples, of, format) {
	const values = samples.map(of).filter((value) => value != null);

	return values.length > 1 ? _('%s to %s').format(format(Math.min(...values)), format(Math.max(...values))) : null;
}

return baseclass.extend({
	/* One verdict: what is the case, why that may be, and what to do first; `button` makes the button that does it, if one can. */
	verdict(verdict, button) {
		const heading = verdicts.heading(verdict);

		return E('div', { 'class': verdict.stops ? 'bramble-problem' : 'bramble-hint', 'role': 'note' }, [
			E('strong', {}, [ heading ?? verdict.sentence ]),
			heading ? E('p', {}, [ verdict.sentence ]) : '',
			verdict.causes.length ? E('ul', { 'class': 'bramble-loses' }, verdict.causes.map((cause) => E('li', {}, [ cause ]))) : '',
			E('p', {}, [ E('em', {}, [ _('What to do:') ]), ' ', verdicts.remedy(verdict), ' ', (verdicts.isForAdoption(verdict) ? button?.() : null) ?? '' ])
		]);
	},

	verdicts(list, button) {
		return list.map((verdict) => this.verdict(verdict, button));
	},

	/* A length of time in milliseconds, as people read a boot. */
	took(ms) {
		return ms < 10000
			? new Intl.NumberFormat(undefined, { style: 'unit', unit: 'second', unitDisplay: 'short', maximumFractionDigits: 1 }).format(ms / 1000)
			: show.length(ms / 1000);
	},

	/* One boot: each step, when, and how long it took beside the others. */
	boot(boot) {
		const longest = Math.max(1, ...boot.steps.map((step) => step.step == 'log_in' ? 0 : step.took_ms));
		const says = [
			boot.total_ms == null ? null : _('%s until people can log in').format(this.took(boot.total_ms)),
			boot.files ? _('%s files, %s').format(show.number(boot.files), show.size(boot.bytes)) : null,
			boot.broken ? _('%s broken off').format(show.number(boot.broken)) : null,
			boot.trouble
		].filter((part) => part).join(' · ');

		return E('div', {}, [
			E('p', {}, [ show.when(boot.began_at), says ? ': ' + says : '' ]),
			E('dl', { 'class': 'bramble-facts bramble-boot-steps' }, boot.steps.flatMap((step) => [
				E('dt', {}, [ STEPS[step.step] ?? step.step ]),
				E('dd', {}, [
					/* How long people took to log in says nothing about the boot. */
					step.step == 'log_in' || step.step == 'off' ? '' : E('span', { 'class': 'bramble-span', 'aria-hidden': 'true', 'style': 'width:%.1f%%'.format(40 * step.took_ms / longest) }, []),
					' ', show.clock(step.at), ' ', E('small', {}, [ '+' + this.took(step.took_ms) ])
				])
			]))
		]);
	},

	boots(list) {
		const [ last, ...earlier ] = list.slice().reverse();

		if (!last)
			return [];

		return [
			E('h4', {}, [ _('Its last boot') ]),
			this.boot(last),
			earlier.length ? E('details', { 'data-key': 'earlier' }, [
				E('summary', {}, [ N_(earlier.length, '%s boot before it', '%s boots before it').format(show.number(earlier.length)) ]),
				...earlier.map((boot) => this.boot(boot))
			]) : ''
		];
	},

	/* What the agent measured, with how that went over the last hours. */
	health(now, samples, asked) {
		if (!now)
			return [];

		const hot = range(samples, (one) => one.temperature_mc, degrees);
		const trip = (of) => {
			const slow = range(samples, (one) => one[of], milliseconds);

			return now[of] == null ? null : [ milliseconds(now[of]), slow ? _('(%s lately)').format(slow) : '' ].join(' ');
		};
		const facts = [
			[ _('Measured'), show.ago(now.at, asked) ],
			[ _('Running for'), show.length(now.uptime_s) ],
			[ _('Temperature'), now.temperature_mc == null ? null : [ degrees(now.temperature_mc), hot ? _('(%s lately)').format(hot) : '' ].join(' ') ],
			[ _('Memory'), _('%s of %s free').format(show.size(now.available_kb * 1024), show.size(now.memory_kb * 1024)) ],
			[ _('Load'), new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 }).format(now.load_centi / 100) ],
			[ _('Cable'), now.link_mbit == null ? null : _('%s Mbit/s').format(show.number(now.link_mbit)) ],
			[ _('Answer of the server'), trip('root_us') ],
			[ _('Answer for homes'), trip('home_us') ],
			[ _('Kernel'), now.kernel ],
			[ _('Bootloader of'), now.eeprom == null ? null : show.day(now.eeprom) ]
		].filter(([ , value ]) => value);

		return [
			E('h4', {}, [ _('How it is') ]),
			E('dl', { 'class': 'bramble-facts' }, facts.flatMap(([ title, value ]) => [ E('dt', {}, [ title ]), E('dd', {}, [ value ]) ]))
		];
	},

	/* What its bootloader and kernel said over the network. */
	console(lines) {
		return lines.length ? [
			E('details', { 'data-key': 'console' }, [
				E('summary', {}, [ _('What its bootloader and kernel said') ]),
				E('pre', {}, [ lines.slice(-LINES).map((line) => '%s  %s'.format(show.clock(line.at), line.line)).join('\n') ])
			])
		] : [];
	}
});
