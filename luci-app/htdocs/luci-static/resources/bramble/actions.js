'use strict';
'require baseclass';
'require bramble.api as api';
'require bramble.act as act';
'require bramble.show as show';

/* What clients are told to do: one of them, a room, or all; and how far that is. A target is what the daemon is given:
   `{ client }`, `{ room }` or `{ all: '1' }`, with the seats that it means. */

const KINDS = {
	'message': _('Message…'),
	'logout': _('Log everybody out…'),
	'lock': _('Lock screens…'),
	'blank': _('Darken screens…'),
	'unblank': _('Screens on…'),
	'identify': _('Show where it is'),
	'reboot': _('Restart…'),
	'shutdown': _('Shut down…')
};

const TITLES = {
	'message': _('A message to %s'),
	'logout': _('Log everybody out: %s'),
	'lock': _('Lock the screens: %s'),
	'blank': _('Darken the screens: %s'),
	'unblank': _('Switch the screens on again: %s'),
	'identify': _('Show where it is: %s'),
	'reboot': _('Restart %s'),
	'shutdown': _('Shut down %s')
};

const PROGRESS = {
	'waiting': [ _('waiting'), 'off' ],
	'sent': [ _('told'), 'boot' ],
	'done': [ _('done'), 'up' ],
	'failed': [ _('failed'), 'stuck' ],
	'unreachable': [ _('cannot be reached'), 'stuck' ],
	'timed_out': [ _('no answer'), 'stuck' ],
	'stopped': [ _('called off'), 'off' ]
};

const GRACE = [ [ '', _('at once') ], [ '1m', _('in one minute') ], [ '5m', _('in five minutes') ], [ '10m', _('in ten minutes') ] ];

/* How long a page asks after it has begun something, and how long what is over is shown; in milliseconds. */
const FOLLOW = 60000;
const SHOWN = 600000;

/* Where what was not saved is lost. */
const CLOSES = [ 'logout', 'reboot', 'shutdown' ];

/* When something was last begun from this page. */
let begun = 0;

return baseclass.extend({
	/* Whether there may be something to follow: begun a short while ago, or known to go on. */
	busy(known) {
		return api.may('action_list') && (Date.now() - begun < FOLLOW || known.some((action) => this.isOpen(action)));
	},

	/* What goes on, and what ended a short while ago. */
	recent(known, now) {
		return known.filter((action) => this.isOpen(action) || now - action.ended_at < SHOWN);
	},

	/* A row of buttons for a room or a seat. */
	tools(name, target, seats, kinds) {
		if (!api.may('client_action') || seats.length == 0)
			return [];

		return kinds.map((kind) => act.button(KINDS[kind], () => this.ask(kind, name, target, seats),
			CLOSES.indexOf(kind) >= 0 ? 'negative' : 'neutral', { 'data-key': 'action-%s-%s'.format(kind, name) }));
	},

	ask(kind, name, target, seats) {
		const people = seats.flatMap((seat) => seat.people);
		const several = seats.length > 1;
		const fields = [];

		if (kind == 'message' || CLOSES.indexOf(kind) >= 0)
			fields.push({ name: 'message', label: _('Message'), help: kind == 'message' ? _('What people at the clients read.') : _('What people at the clients read. A general sentence if left empty.') });

		if (CLOSES.indexOf(kind) >= 0)
			fields.push({ name: 'grace', label: _('When'), kind: 'choice', choices: GRACE, help: _('People see the time that is left.') });

		if (several) {
			fields.push({ name: 'mine', label: _('Where I sit'), kind: 'choice', choices: [ [ '', _('at none of them') ] ].concat(seats.map((seat) => [ seat.mac, seat.name ])), help: _('That client is left alone.') });
			fields.push({ name: 'except', label: _('Not these either'), help: _('Names or addresses of clients with commas between them.') });
		}

		if (kind == 'shutdown' && target.all)
			fields.push({ name: 'router', label: _('The router too'), kind: 'flag', help: _('Behind the last client.') });

		const label = (KINDS[kind] ?? kind).replace(/…$/, '');
		const title = TITLES[kind].format(name);

		act.form(title, this.says(kind, seats, people), fields, label, (values) => {
			const wanted = Object.assign({
				action: kind,
				message: values.message,
				grace: values.grace,
				except: [ values.mine, values.except ].filter((one) => one).join(','),
				router: values.router ? '1' : null
			}, target);

			return this.tell(wanted).catch((error) => {
				if (error.code != 'people_logged_in')
					throw error;

				/* The daemon knows who is there now; whoever came while the dialog was open is among them. */
				act.ask(title, error.message, [ _('Programs are closed. What was not saved is lost; the files in the home stay.') ], _('Do it all the same'),
					() => this.tell(Object.assign({ force: '1' }, wanted)));

				return false;
			});
		}, CLOSES.indexOf(kind) >= 0 ? 'negative' : 'positive');
	},

	tell(wanted) {
		return api.clientAction(wanted).then((action) => {
			begun = Date.now();
			act.done(action.of == 0 ? _('Nobody could be told.') : N_(action.of, '%s client is told.', '%s clients are told.').format(show.number(action.of)));
		});
	},

	/* To how many it is done, and who loses what. */
	says(kind, seats, people) {
		const parts = [ N_(seats.length, 'This is for %s client.', 'This is for %s clients.').format(show.number(seats.length)) ];

		if (CLOSES.indexOf(kind) >= 0 && people.length) {
			const names = people.slice(0, 8).map((person) => person.full_name || person.user).join(', ');

			parts.push(N_(people.length, 'One person is logged in: %s.', 'People are logged in: %s.').format(people.length > 8 ? names + ' …' : names));
			parts.push(_('Programs are closed. What was not saved is lost; the files in the home stay.'));
		}

		return parts.join(' ');
	},

	isOpen(action) {
		return action.phase != 'ended';
	},

	/* One action: how far it is, which clients did not follow, and a way to call it off. */
	line(action) {
		const title = (KINDS[action.kind] ?? action.kind).replace(/…$/, '');
		const left = action.targets.filter((target) => [ 'failed', 'unreachable', 'timed_out' ].indexOf(target.state) >= 0);
		const says = action.phase == 'countdown'
			? _('begins at %s').format(show.clock(action.begins_at))
			: _('%s of %s clients').format(show.number(action.done), show.number(action.of));

		return E('div', { 'class': 'bramble-job' }, [
			E('div', {}, [ title, ' ', show.badge(this.isOpen(action) ? _('running') : _('done'), this.isOpen(action) ? 'boot' : left.length ? 'stuck' : 'up') ]),
			E('div', {}, [
				this.isOpen(action) ? show.bar(action.of ? 100 * action.done / action.of : null, says) : '',
				E('small', {}, [ [ says, action.message, action.router ].filter((part) => part).join(' · ') ]),
				...left.slice(0, 8).map((target) => E('div', {}, [ E('small', {}, [
					'%s: '.format(target.name), show.badge(PROGRESS[target.state]?.[0] ?? target.state, 'stuck'), ' ', target.says
				]) ]))
			]),
			E('div', {}, [ this.isOpen(action) && api.may('action_stop')
				? act.button(_('Call off'), () => api.actionStop({ action: action.action }).then(() => act.done(_('Clients that were not told yet are left alone.'))), 'negative', { 'data-key': 'stop-%d'.format(action.action) })
				: '' ])
		]);
	}
});
