'use strict';
'require baseclass';
'require bramble.api as api';
'require bramble.show as show';
'require bramble.seats as seats';

/* The box on LuCI's status page: whether all is well, in a line or two. Without Bramble, or without the right to watch it,
   there is no box. */

return baseclass.extend({
	title: _('Bramble'),

	load() {
		this.mark = this.mark ?? null;

		return api.overview({ mark: this.mark }).then((answer) => {
			this.mark = answer.mark;
			this.whole = answer.whole ?? this.whole;

			return this.whole;
		}).catch(() => null);
	},

	render(whole) {
		if (!whole)
			return null;

		const people = whole.seats.reduce((sum, seat) => sum + seat.people.length, 0);

		return E('div', { 'class': 'bramble-box' }, [
			E('div', { 'class': 'bramble-head' }, seats.counts(whole.seats).concat([
				E('span', {}, [ N_(people, '%s person is logged in', '%s people are logged in').format(show.number(people)) ]),
				E('a', { 'href': L.url('admin/bramble/overview') }, [ _('Look at the rooms') ])
			])),
			...whole.problems.map((problem) => E('p', { 'class': 'bramble-problem' }, [ problem ]))
		]);
	}
});
