'use strict';
'require view';
'require form';
'require uci';
'require bramble.accounts as accounts';
'require bramble.act as act';
'require bramble.api as api';
'require bramble.options as options';
'require bramble.show as show';

/* Settings: every option of /etc/config/bramble that is not a room, a client or a share; those have pages of their own.
   (`show` brings the style.) */

const FIXED = [ 'bramble', 'dhcp', 'catalogue', 'images', 'accounts', 'directory', 'homes', 'ldap', 'tftp', 'nfs' ];
const TABLES = [ 'schedule', 'subnet' ];

return view.extend({
	load() {
		/* Bramble need not run for this page. */
		const maybe = (promise) => promise.catch(() => null);

		return Promise.all([ uci.load('bramble'), uci.load('network'), maybe(api.imageList()), maybe(api.classList()), maybe(api.check()), api.loadRights() ]);
	},

	render([ , , images, classes, check ]) {
		const map = new form.Map('bramble', _('Settings'), _('A change takes effect at once. Nothing here takes the system from a Pi that runs.'));
		const known = options.known(images, classes);

		for (const kind of FIXED)
			options.addFixed(map, kind, known);

		for (const kind of TABLES)
			options.addTable(map, kind, known);

		return map.render().then((node) => {
			node.classList.add('bramble');

			for (const problem of check?.problems ?? [])
				node.insertBefore(E('p', { 'class': 'bramble-problem', 'role': 'alert' }, [ problem.text ]), node.firstChild);

			/* A directory is set up by trying: what is saved, step by step, with somebody's name. */
			if (api.may('account_test'))
				node.querySelector('#cbi-bramble-directory')?.appendChild(E('div', { 'class': 'bramble-tools' }, [
					act.button(_('Test a log-in…'), () => accounts.test(), 'action')
				]));

			return node;
		});
	}
});
