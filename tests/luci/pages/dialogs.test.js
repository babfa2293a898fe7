'use strict';

/* Every dialog by which something is changed, pressed through: what exactly the daemon is asked, and that nothing was asked
   before the last press. */

const assert = require('node:assert');
const test = require('node:test');

const { METHODS, answers } = require('../given.js');
const { answer, browser } = require('../harness.js');
const { fields, settle } = require('../press.js');

const [ SEAT, STRANGER ] = [ answer('client_list').clients.find((one) => one.name == 'lab-02'), answer('client_list').clients.find((one) => !one.adopted) ];
const [ PERSON ] = answer('account_list').accounts;
const [ CLASS ] = answer('class_list').classes;
const [ SESSION ] = answer('session_list').sessions;
const [ EXPORT ] = answer('image_exports').exports;
const [ OFFER ] = answer('image_catalogue').offers;
const LIST = answer('job_list').jobs.find((job) => job.kind == 'people').id;
const SUM = 'a'.repeat(64);
const FILE = (name, text) => ({ name, size: text.length, lastModified: 5, slice: (from, to) => ({ arrayBuffer: async () => new TextEncoder().encode(text.slice(from, to)).buffer }),
	text: async () => text, arrayBuffer: async () => new TextEncoder().encode(text).buffer });

/* What a router has beside the recorded answers, so that each button is there; a draft, unless one is to be made. */
function router(isDraft = true) {
	const given = answers();
	const image = given.image_show;
	const job = { job: 7 };

	image.versions.push(Object.assign({}, image.versions[0], { version: 2 }), Object.assign({}, image.versions[0], { version: 3, packed: 5e8 }));
	image.draft = isDraft ? Object.assign({}, answer('image_show_draft').draft, { client: SEAT.mac }) : null;
	given.image_list.images[0].before = 1;
	given.image_list.images[0].versions = [ 1, 2 ];
	given.device_list.devices.push({ path: '/dev/sdb', model: 'Card reader', bus: 'usb', bytes: 32e9, refusal: null, partitions: [ { label: 'bootfs', kind: 'vfat' } ] });
	given.image_desktop = { people: [ { name: 'pi', settings: [ { path: 'panel' } ] } ] };
	given.files = { '/mnt/sdb1': [ { name: 'bramble-image-trixie-4.tar.zst', type: 'file', size: 5e9, mtime: 1795782000 }, { name: 'bramble-1.tar', type: 'file', size: 5e9, mtime: 1795782000 } ] };
	given.screen_list = { now: 1, screens: [ { mac: SEAT.mac, name: SEAT.name, viewer: null, control: false, since: 1 } ] };
	given.home_usage.attic = [ { name: 'zoe', day: '2026-11-01', until: 1795782000000, path: '/mnt/sda1/bramble/attic/zoe-1' } ];
	given.eeprom_list = answer('eeprom_rollout');
	given.job_list.jobs.push(Object.assign({}, given.job_list.jobs[0], { id: 31, kind: 'import', state: 'running', ended_at: null }));
	given.overview.whole.jobs = given.job_list.jobs.slice(-1);
	given.client_list.clients.find((one) => one.mac == SEAT.mac).trial = { name: 'sample', version: 2 };
	given.client_list.clients.find((one) => one.mac == SEAT.mac).maintains = 'sample';
	given.action_list.actions[0].phase = 'running';

	for (const name of [ 'image_remove', 'image_draft', 'image_discard', 'image_publish', 'image_clone', 'image_export', 'image_pack', 'image_import', 'image_catalogue_refresh', 'home_measure', 'home_backup', 'home_restore', 'home_return', 'job_cancel', 'image_run' ])
		given[name] = job;

	const effect = answer('image_test');

	return Object.assign(given, {
		image_shell: answer('image_shell'), job_output: answer('job_output'), image_test: effect, image_promote: effect, image_rollback: effect, image_maintain: answer('image_maintain'),
		image_rename: { image: 'x', says: 'x' }, image_export_remove: EXPORT, mode_set: answer('mode_set'), screen_allow: answer('screen_allow'), screen_open: answer('screen_open'), screen_close: {},
		client_adopt: given.client_get, client_forget: given.client_get, client_action: answer('client_action'), action_stop: given.action_list.actions[0],
		eeprom_set: answer('eeprom_set'), eeprom_undo: answer('eeprom_set'), enrol_medium: answer('enrol_medium'),
		upload_begin: Object.assign(answer('upload_begin'), { got: 0 }), upload_slice: Object.assign(answer('upload_slice'), { got: 9 }), upload_cancel: answer('upload_cancel'),
		session_end: {}, account_test: answer('account_test'), account_set: PERSON, account_password: answer('account_add'), account_import: ({ apply }) => (apply ? job : answer('account_import')),
		account_imported: answer('account_imported'), job_status: Object.assign(answer('job_status'), { state: 'done' }),
		class_add: CLASS, class_set: CLASS, class_remove: { accounts: [] }, class_move: { accounts: 2 }
	});
}

const VERSIONS = 'show-sample';
const MORE = 'more';

/* Method, page, what is pressed in turn (a `data-key`, the words of a button, or the fields that are filled before the dialog is
   sent), and what the daemon is asked. */
const DIALOGS = [
	[ 'client_adopt', 'overview', [ 'adopt-' + STRANGER.mac, { name: 'lab-09', room: 'classroom' } ], { client: STRANGER.mac, name: 'lab-09', room: 'classroom', image: '' } ],
	[ 'client_forget', 'clients', [ 'forget-' + SEAT.mac, {} ], { client: SEAT.mac } ],
	[ 'client_action', 'overview', [ 'action-message-classroom', { message: 'Good morning' } ], { action: 'message', room: 'classroom', except: '', message: 'Good morning' } ],
	[ 'client_action', 'overview', [ 'action-shutdown-all clients', { message: '', grace: '5m', router: true } ], { action: 'shutdown', all: '1', except: '', message: '', grace: '5m', router: '1' } ],
	[ 'action_stop', 'overview', [ 'stop-1' ], { action: 1 } ],
	[ 'mode_set', 'clients', [ 'mode-classroom', { mode: 'guest' }, { minutes: '30' } ], { mode: 'guest', room: 'classroom', minutes: '30' } ],
	[ 'screen_allow', 'clients', [ 'screens-classroom', {} ], { room: 'classroom', allow: '1' } ],
	[ 'screen_open', 'overview', [ 'seat-' + SEAT.mac, 'Look at the screen…', { viewer: ' 10.0.0.9 ', control: true, time: '30m' } ], { client: SEAT.mac, viewer: '10.0.0.9', control: '1', time: '30m' } ],
	[ 'screen_close', 'overview', [ 'seat-' + SEAT.mac, 'Look at the screen…', { viewer: '', time: '10m' }, 'End it' ], { client: SEAT.mac } ],
	[ 'screen_close', 'clients', [ MORE, 'screen-' + SEAT.mac ], { client: SEAT.mac } ],
	[ 'eeprom_set', 'clients', [ MORE, 'eeprom', { client: 'lab-02', settings: 'BOOT_ORDER=0xf2' }, {} ], { settings: 'BOOT_ORDER=0xf2', client: 'lab-02', room: '' }, { settings: 'BOOT_ORDER=0xf2', client: 'lab-02', room: '', confirm: '1' } ],
	[ 'eeprom_undo', 'clients', [ MORE, 'eeprom-' + SEAT.mac, {} ], { client: SEAT.mac }, { client: SEAT.mac, confirm: '1' } ],
	[ 'enrol_medium', 'clients', [ MORE, 'medium', { to: '/dev/sdb', models: 'pi3,pi4', image: 'sample' }, {} ], { to: '/dev/sdb', models: 'pi3,pi4', image: 'sample' }, { to: '/dev/sdb', models: 'pi3,pi4', image: 'sample', confirm: '1' } ],

	[ 'image_import', 'images', [ 'From the web…', { source: 'https://library.example/x.img.xz', name: 'x', sha256: SUM } ], { source: 'https://library.example/x.img.xz', name: 'x', sha256: SUM } ],
	[ 'image_import', 'images', [ 'From a card or disk…', 'disk-/dev/sdb', { name: 'card', desktop: 'pi' } ], { source: '/dev/sdb', name: 'card', desktop: 'pi' } ],
	[ 'image_import', 'images', [ 'From a card or disk…', 'disk-/dev/sdb', { name: 'card' } ], { source: '/dev/sdb', name: 'card' } ],
	[ 'image_import', 'images', [ 'From a file on the router…', { source: '/mnt/sda1/x.img', name: 'x', sha256: '' } ], { source: '/mnt/sda1/x.img', name: 'x', sha256: '' } ],
	[ 'image_import', 'images', [ 'import-/mnt/sdb1/bramble-image-trixie-4.tar.zst', {} ], { source: '/mnt/sdb1/bramble-image-trixie-4.tar.zst', name: 'trixie', sha256: '' } ],
	[ 'image_import', 'images', [ 'From the catalogue…', 'offer-' + OFFER.id, { name: 'os' } ], { source: OFFER.id, name: 'os' } ],
	[ 'image_import', 'images', [ 'From this computer…', { file: FILE('x.img', 'of a disk'), name: 'x', sha256: SUM } ], { source: 'upload:1', name: 'x', sha256: SUM } ],
	[ 'upload_begin', 'images', [ 'From this computer…', { file: FILE('x.img', 'of a disk'), name: 'x' } ], { name: 'x.img', bytes: 9, mark: '5' } ],
	[ 'upload_slice', 'images', [ 'From this computer…', { file: FILE('x.img', 'of a disk'), name: 'x' } ], { upload: 1, offset: 0, data: 'b2YgYSBkaXNr' } ],
	[ 'upload_cancel', 'images', [ 'upload-1', {} ], { upload: 1 } ],
	[ 'image_catalogue_refresh', 'images', [ 'From the catalogue…', 'Read it anew' ], {} ],
	[ 'image_remove', 'images', [ 'remove-sample', {} ], { image: 'sample' } ],
	[ 'image_remove', 'images', [ VERSIONS, 'Remove this version…', {} ], { image: 'sample@3' } ],
	[ 'image_rename', 'images', [ VERSIONS, 'Rename…', { name: 'library' } ], { image: 'sample', name: 'library' } ],
	[ 'image_clone', 'images', [ VERSIONS, 'Clone…', { name: 'copy' } ], { image: 'sample@3', name: 'copy' } ],
	[ 'image_export', 'images', [ VERSIONS, 'Export…', { form: 'xz' } ], { image: 'sample@3', to: '/mnt/sdb1/bramble-image-sample-3.tar.zst', form: 'xz' } ],
	[ 'image_export_remove', 'images', [ 'remove-' + EXPORT.path, {} ], { path: EXPORT.path } ],
	[ 'image_pack', 'images', [ VERSIONS, 'Pack…', {} ], { image: 'sample@2' } ],
	[ 'image_pack', 'images', [ VERSIONS, 'Unpack…', {} ], { image: 'sample@3', unpack: '1' } ],
	[ 'image_promote', 'images', [ VERSIONS, 'Make current…', { room: 'library', reboot: 'ask' } ], { image: 'sample@3', room: 'library', reboot: 'ask' } ],
	[ 'image_rollback', 'images', [ 'back-sample', { reboot: 'now' } ], { image: 'sample', room: '', reboot: 'now' } ],
	[ 'image_test', 'images', [ VERSIONS, 'Try on one client…', { client: SEAT.mac } ], { client: SEAT.mac, image: 'sample@3' } ],
	[ 'image_test', 'clients', [ 'trial-' + SEAT.mac ], { client: SEAT.mac } ],
	[ 'image_run', 'images', [ VERSIONS, 'Run a command…', { command: 'apt-get update', where: SEAT.mac } ], { image: 'sample', command: 'apt-get update', client: SEAT.mac } ],
	[ 'image_run', 'images', [ VERSIONS, 'Run a command…', { command: 'apt-get update', where: '' } ], { image: 'sample', command: 'apt-get update' } ],
	[ 'job_cancel', 'images', [ VERSIONS, 'Run a command…', {}, 'Stop it' ], { job: 7 } ],
	[ 'job_cancel', 'overview', [ 'job-31', {} ], { job: 31 } ],
	[ 'image_maintain', 'images', [ VERSIONS, 'Change it on a client…', { client: SEAT.mac } ], { image: 'sample', client: SEAT.mac } ],
	[ 'image_maintain', 'clients', [ 'maintain-' + SEAT.mac ], { image: 'sample' } ],
	[ 'image_publish', 'images', [ VERSIONS, 'Publish…', { note: 'new', skip: 'fstab', desktop: 'pi' } ], { image: 'sample', note: 'new', skip: 'fstab', desktop: 'pi' } ],
	[ 'image_draft', 'images', [ VERSIONS, 'Draft…', {} ], { image: 'sample@3' } ],
	[ 'image_discard', 'images', [ VERSIONS, 'Throw away…', {} ], { image: 'sample' } ],

	[ 'home_measure', 'files', [ 'Measure again' ], {} ],
	[ 'home_return', 'files', [ 'Bring back…', { to: 'zoe', beside: true } ], { home: 'zoe-1', to: 'zoe', beside: '1' } ],
	[ 'home_backup', 'files', [ 'Back up…', { to: '/mnt/sdb1/bramble-2.tar', home: 'amira', since: '2026-11-01' } ], { to: '/mnt/sdb1/bramble-2.tar', home: 'amira', since: '2026-11-01' } ],
	[ 'home_restore', 'files', [ 'restore-/mnt/sdb1/bramble-1.tar', { home: '' } ], { from: '/mnt/sdb1/bramble-1.tar', home: '' } ],

	[ 'session_end', 'people', [ 'session-' + SESSION.session, { message: 'Class is over' } ], { session: SESSION.session, message: 'Class is over' } ],
	[ 'session_end', 'overview', [ 'seat-' + SESSION.client, 'Log out…', { message: '' } ], { session: SESSION.session, message: '' } ],
	[ 'account_test', 'people', [ 'Test a log-in…', { account: 'amira', password: 'x y' } ], { account: 'amira', password: 'x y' } ],
	[ 'account_add', 'people', [ 'Add…', { account: 'zoe', full_name: 'Zoë', role: 'teacher', classes: 'a, b', note: 'n', quota: '2G', expires: '2027-07-31', password: 'x y' } ],
		{ account: 'zoe', full_name: 'Zoë', role: 'teacher', classes: 'a, b', note: 'n', quota: '2G', expires: '2027-07-31', password: 'x y', must_change: '1', slips: 'html' } ],
	[ 'account_set', 'people', [ 'edit-' + PERSON.name, { full_name: '', note: 'n', enabled: false } ],
		{ account: PERSON.name, name: PERSON.name, full_name: 'none', note: 'n', role: PERSON.role, classes: PERSON.classes.join(', '), enabled: '0', expires: 'none', quota: 'none' } ],
	[ 'account_password', 'people', [ 'password-' + PERSON.name, { password: '' } ], { account: PERSON.name, password: '', slips: 'html' } ],
	[ 'account_password', 'people', [ 'class-passwords-' + CLASS.name, {} ], { 'class': CLASS.name, slips: 'html' } ],
	[ 'account_remove', 'people', [ 'remove-' + PERSON.name, {} ], { account: PERSON.name } ],
	[ 'account_import', 'people', [ 'Import a list…', { csv: FILE('x.csv', 'name\nanna\n'), 'class': 'chess', role: 'teacher' }, {} ],
		{ csv: 'name\nanna\n\n', 'class': 'chess', role: 'teacher' }, { csv: 'name\nanna\n\n', 'class': 'chess', role: 'teacher', apply: '1', skip: '1' } ],
	[ 'account_imported', 'people', [ 'passwords-' + LIST ], { job: LIST, slips: 'html' } ],
	[ 'class_add', 'people', [ 'class-add', { name: 'class-8', note: 'n', quota: '1G' } ], { 'class': 'class-8', note: 'n', quota: '1G' } ],
	[ 'class_set', 'people', [ 'class-edit-' + CLASS.name, { name: 'board-games', quota: '' } ], { 'class': CLASS.name, name: 'board-games', note: 'none', quota: 'none' } ],
	[ 'class_move', 'people', [ 'class-move-' + CLASS.name, { to: 'class-8' } ], { 'class': CLASS.name, to: 'class-8' } ],
	[ 'class_remove', 'people', [ 'class-remove-' + CLASS.name, { members: true } ], { 'class': CLASS.name, members: '1' } ]
];

/* Presses one of `steps`; what a dialog is given before it is sent is an object. */
async function press(page, node, step) {
	const dialog = page.seen.modals[page.seen.modals.length - 1]?.node;

	if (step == MORE)
		return node.view.more();

	if (typeof(step) == 'string') {
		const found = (dialog ?? node).all((one) => one.tagName == 'BUTTON' && [ one.attributes['data-key'], one.textContent.trim() ].includes(step))[0];

		assert.ok(found, 'no “' + step + '” in: ' + (dialog ?? node).textContent.slice(0, 500));

		return found.click();
	}

	const there = fields(page);

	for (const [ name, value ] of Object.entries(step)) {
		assert.ok(there[name], 'no field ' + name + ' among ' + Object.keys(there));

		if (typeof(value) == 'boolean')
			there[name].checked = value;
		else if (typeof(value) == 'object')
			there[name].files = [ value ];
		else
			there[name].value = value;
	}

	return dialog.all((one) => one.tagName == 'FORM')[0].fire('submit');
}

for (const [ method, view, steps, ...wanted ] of DIALOGS)
	test(method + ': ' + view + ', ' + steps.map((step) => (typeof(step) == 'string' ? step : 'send')).join(', '), async () => {
		const page = browser(router(method != 'image_draft'));
		const asked = () => page.seen.calls.filter((call) => call.method == method).map((call) => call.params);

		page.window.btoa = (text) => Buffer.from(text, 'latin1').toString('base64');

		const node = await page.open('bramble.' + view);

		for (const [ n, step ] of steps.entries()) {
			if (wanted.length == 1)
				assert.deepStrictEqual(asked(), [], 'nothing is asked before ' + JSON.stringify(step) + ', step ' + n);

			await press(page, node, step);

			for (let m = 0; m < 8; m++)
				await settle();
		}

		assert.deepStrictEqual(asked(), wanted);
		assert.deepStrictEqual(page.seen.notices.filter((notice) => notice.kind == 'danger'), []);
		assert.doesNotMatch(page.seen.modals[page.seen.modals.length - 1]?.node.all((one) => one.attributes.class == 'bramble-refusal').map((one) => one.textContent).join('') ?? '', /\S/);
	});

test('every method that changes something has a dialog here', () => {
	assert.deepStrictEqual(METHODS.filter((method) => method.write && !DIALOGS.some(([ name ]) => name == method.name)).map((method) => method.name), []);
});

test('what a command prints is shown until it ends, and how it ended', async () => {
	for (const [ last, says ] of [ [ { over: true, code: 0 }, 'Done.' ], [ { over: true, code: 100 }, 'It failed, with code 100.' ], [ { over: true, code: null }, 'It was ended.' ] ]) {
		const given = router();
		const page = browser(given);
		const node = await page.open('bramble.images');
		const parts = [ { text: 'Reading…\n', next: 10, over: false, code: null }, Object.assign({ text: 'Ready\n', next: 16 }, last) ];
		const later = [];

		page.window.setTimeout = (work, wait) => wait && later.push(work);
		given.job_output = ({ from }) => (from == 0 ? parts[0] : parts[1]);

		for (const step of [ VERSIONS, 'Run a command…', { command: '<b>x</b>' } ])
			await press(page, node, step).then(settle).then(settle);

		const shown = page.seen.modals[page.seen.modals.length - 1];

		assert.strictEqual(shown.title, '<b>x</b>');
		assert.match(shown.node.textContent, /Reading…\n.*running/s);
		await later.shift()();
		assert.match(shown.node.textContent, /Reading…\n Ready\n/);
		assert.ok(shown.node.textContent.includes(says));
		assert.deepStrictEqual(page.seen.calls.filter((call) => call.method == 'job_output').map((call) => call.params), [ { job: 7, from: 0 }, { job: 7, from: 10 } ]);
		assert.deepStrictEqual(later, []);
	}

	/* Nobody asks for what nobody sees. */
	const page = browser(Object.assign(router(), { job_output: { text: '', next: 0, over: false, code: null } }));
	const node = await page.open('bramble.images');
	const later = [];

	page.window.setTimeout = (work, wait) => wait && later.push(work);

	for (const step of [ VERSIONS, 'Run a command…', {} ])
		await press(page, node, step).then(settle).then(settle);

	const asked = page.seen.calls.length;

	page.load('bramble.act').hide();
	await later.shift()();
	assert.strictEqual(page.seen.calls.length, asked);
});

test('a shell in the draft: its command, and the terminal if there is one', async () => {
	for (const there of [ true, false ]) {
		const given = router();
		const page = browser(given);
		const node = await page.open('bramble.images');

		given.image_shell.page = there ? 'admin/services/ttyd' : null;

		for (const step of [ VERSIONS, 'Shell…' ])
			await press(page, node, step).then(settle).then(settle);

		const shown = page.seen.modals[page.seen.modals.length - 1].node;

		assert.ok(shown.textContent.includes(given.image_shell.command) && shown.textContent.includes(given.image_shell.says));
		assert.deepStrictEqual(shown.all((one) => one.tagName == 'A').map((one) => one.attributes.href), there ? [ '/cgi-bin/luci/admin/services/ttyd' ] : []);
		assert.deepStrictEqual(page.seen.calls.filter((call) => call.method == 'image_shell').map((call) => call.params), [ { image: 'sample' } ]);
	}
});

test('a disk that Bramble leaves alone says why, and cannot be taken', async () => {
	const given = router();
	const page = browser(given);
	const node = await page.open('bramble.images');

	await press(page, node, 'From a card or disk…').then(settle).then(settle);

	const shown = page.seen.modals[0].node;

	assert.ok(shown.textContent.includes(given.device_list.devices[0].refusal));
	assert.deepStrictEqual(shown.all((one) => (one.attributes['data-key'] ?? '').startsWith('disk-')).map((one) => one.attributes['data-key']), [ 'disk-/dev/sdb' ]);
});
