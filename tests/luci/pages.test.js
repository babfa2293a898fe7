'use strict';

/* The pages, unmodified, with recorded answers of the daemon: what they show, what they ask, what they do when something
   fails, and that nothing from the network becomes markup. */

const assert = require('node:assert');
const test = require('node:test');

const { EVIL, METHODS, VIEWS, answers, may: rights, poison } = require('./given.js');
const { answer, browser } = require('./harness.js');

function button(node, label) {
	const found = node.all((one) => one.tagName == 'BUTTON' && one.textContent.trim() == label)[0];

	assert.ok(found, 'no button “' + label + '” in: ' + node.textContent.slice(0, 300));

	return found;
}

const settle = () => new Promise((resolve) => setImmediate(resolve));

for (const name of VIEWS)
	test('bramble/' + name + ' is drawn, and drawn again', async () => {
		const page = browser(answers());
		const node = await page.open('bramble.' + name);
		const before = node.textContent;

		await settle();
		await page.tick();
		assert.ok(before.length > 40 || page.seen.maps[0].sections.length > 5, before);
		assert.doesNotMatch(node.textContent, /undefined|NaN|\[object/);
		assert.deepStrictEqual(page.seen.notices, []);
	});

test('the overview shows every seat, who sits there, and what is wrong', async () => {
	const page = browser(answers());
	const node = await page.open('bramble.overview');
	const whole = answer('overview').whole;

	assert.ok(whole.seats.length >= 6);

	for (const seat of whole.seats) {
		assert.ok(node.textContent.includes(seat.adopted ? seat.name : seat.mac), seat.name);

		for (const person of seat.people)
			assert.ok(node.textContent.includes(person.full_name), person.full_name);
	}

	const stuck = whole.seats.find((seat) => seat.state == 'stuck');

	assert.ok(stuck.verdicts.length, 'the daemon has a reason');

	const verdicts = page.load('bramble.verdicts');

	for (const verdict of stuck.verdicts)
		for (const text of [ verdict.sentence, verdicts.heading(verdict), verdicts.remedy(verdict) ].concat(verdict.causes))
			assert.ok(node.textContent.includes(text), text);

	/* And the button does what is to be done. */
	await node.all((one) => one.attributes['data-key'] == 'remedy-' + stuck.mac)[0].click();
	await settle();
	assert.ok(page.seen.modals[0].node.textContent.includes('Room'));
});

test('a client in detail: why it does not boot, its boots step by step, how it is', async () => {
	const given = answers();
	const detail = given.client_get;

	detail.health = { at: detail.now, uptime_s: 600, clock: detail.now, temperature_mc: 61500, throttled: 0, memory_kb: 4000000, available_kb: 3000000,
		load_centi: 42, link_mbit: 100, root_us: 850, home_us: null, kernel: '6.12.34', eeprom: null };
	detail.history = [ 50000, 61500 ].map((temperature) => ({ at: detail.now, temperature_mc: temperature, available_kb: 1, load_centi: 1, root_us: 800 }));
	detail.verdicts = answer('overview').whole.seats.flatMap((seat) => seat.verdicts).slice(0, 1);
	detail.console = [ { at: detail.now, line: 'Net: IP1 0' } ];

	const page = browser(given);

	page.window.location.hash = '#' + encodeURIComponent(detail.mac);

	const node = await page.open('bramble.clients');

	await settle();
	assert.ok(detail.verdicts.length);

	for (const text of [ detail.verdicts[0].sentence, 'kernel running', 'until people can log in', '62°C', '50°C to 62°C', '100 Mbit/s', '6.12.34', 'Net: IP1 0' ])
		assert.ok(node.textContent.includes(text), text + ' is not in: ' + node.textContent.slice(-3000));
});

/* A router that takes uploads, as the daemon's methods are described; what it has kept is looked at afterwards. */
function receiver(given, lose = () => false) {
	const kept = { bytes: [], begun: 0, slices: 0 };
	const answer = () => ({ upload: 7, name: 'x.img', bytes: 0, got: kept.bytes.length, started_at: 1, slice: 48000 });

	given.upload_begin = () => { kept.begun++; return answer(); };
	given.upload_slice = ({ offset, data }) => {
		if (++kept.slices && lose(kept.slices, 'before'))
			throw new Error('the connection is gone');

		if (offset != kept.bytes.length)
			return { error: { code: 'bad_value', message: 'that slice does not follow', field: 'offset' } };

		kept.bytes.push(...Buffer.from(data, 'base64'));

		if (lose(kept.slices, 'after'))
			throw new Error('the answer is lost');

		return answer();
	};

	return kept;
}

const FILE = (bytes) => ({ name: 'x.img', size: bytes.length, lastModified: 5, slice: (from, to) => ({ arrayBuffer: async () => new Uint8Array(bytes.subarray(from, to)).buffer }) });

test('a file goes to the router in slices, and nothing of it is lost or sent twice when the connection breaks', async () => {
	const bytes = Buffer.from(Array.from({ length: 250000 }, (one, n) => (n * 7919) % 256));
	const given = answers();
	const page = browser(given);
	const sources = page.load('bramble.sources');

	page.window.btoa = (text) => Buffer.from(text, 'latin1').toString('base64');
	page.window.setTimeout = (work) => setImmediate(work);

	for (const lose of [ () => false, (n, when) => n == 3 && when == 'before', (n, when) => n % 3 == 2 && when == 'after' ]) {
		const kept = receiver(given, lose);
		const told = [];
		const upload = await sources.send(FILE(bytes), (got) => { told.push(got); return true; });

		assert.strictEqual(upload.upload, 7);
		assert.ok(Buffer.from(kept.bytes).equals(bytes), 'every byte once');
		assert.ok(told.every((got, n) => n == 0 || got >= told[n - 1]));
		assert.ok(page.seen.calls.filter((call) => call.method == 'upload_slice').every((call) => JSON.stringify(call).length < 65000));
	}

	/* One that was begun goes on where it stopped. */
	const kept = receiver(given);

	kept.bytes.push(...bytes.subarray(0, 100000));

	const told = [];

	await sources.send(FILE(bytes), (got) => { told.push(got); return true; });
	assert.strictEqual(told[0], 100000);
	assert.ok(Buffer.from(kept.bytes).equals(bytes));

	/* It can be stopped, and a connection that stays away ends it. */
	receiver(given);
	await assert.rejects(sources.send(FILE(bytes), () => false), /Stopped/);
	receiver(given, (n, when) => when == 'before');
	await assert.rejects(sources.send(FILE(bytes), () => true), /connection is gone/);
});

test('a verdict that these pages do not know is told in the daemon’s words', async () => {
	const given = answers();
	const [ stuck ] = given.overview.whole.seats.filter((seat) => seat.verdicts.length);

	stuck.verdicts = [ { code: 'quite_new', stops: true, sentence: 'It sings.', causes: [], remedy: 'Listen.' } ];

	const node = await browser(given).open('bramble.overview');

	assert.match(node.textContent, /It sings\.[^]*Listen\./);
});

test('rooms: how many work, and how long it would take them', async () => {
	const page = browser(answers());
	const node = await page.open('bramble.clients');
	const room = answer('room_list').rooms[0];

	assert.ok(node.textContent.includes('%s of %s'.format(room.up, room.clients)));
	await node.all((one) => one.attributes['data-key'] == 'plan-' + room.room)[0].click();
	await settle();

	const dialog = page.seen.modals[0].node;

	for (const text of [ answer('plan').bottleneck ].concat(answer('plan').says))
		assert.ok(dialog.textContent.includes(text), text);

	await button(dialog, 'Work it out').click();
	assert.deepStrictEqual(page.seen.calls.filter((call) => call.method == 'plan').pop().params, { room: room.room, clients: answer('plan').clients });
});

test('what was unfolded stays so when the page is drawn again', async () => {
	const page = browser(answers());
	const node = await page.open('bramble.overview');
	const fold = () => node.all((one) => one.attributes['data-key'] == 'trouble')[0];

	assert.ok('open' in fold().attributes, 'few troubles are shown at once');
	fold().removeAttribute('open');

	const before = fold();

	await page.tick();
	assert.ok(fold() !== before && !('open' in fold().attributes));
});

test('a draft is changed on a client that is told so, and taken from it', async () => {
	const given = answers();
	const draft = { base: { name: 'sample', version: 1 }, made_at: 1, client: null, path: '/mnt/sda1/bramble/images/sample/draft' };
	const seat = answer('overview').whole.seats.find((one) => one.adopted);

	given.image_show.draft = draft;
	given.image_maintain = { image: 'sample', client: null, says: 'it boots the draft' };

	const page = browser(given);
	const node = await page.open('bramble.images');

	await button(node, 'Versions…').click();
	await settle();
	await button(page.seen.modals[0].node, 'Change it on a client…').click();
	await submit(page);
	draft.client = seat.mac;
	await button(node, 'Versions…').click();
	await settle();
	await button(page.seen.modals[page.seen.modals.length - 1].node, 'Take it from ' + seat.name).click();
	await settle();
	assert.deepStrictEqual(page.seen.calls.filter((call) => call.method == 'image_maintain').map((call) => call.params), [ { image: 'sample', client: seat.mac }, { image: 'sample' } ]);
	assert.strictEqual(page.seen.notices[0].text, 'it boots the draft');
});

test('a poll asks one question with the mark, and an answer without news keeps the page', async () => {
	const given = answers();
	const page = browser(given);
	const node = await page.open('bramble.overview');
	const before = node.textContent;
	const asked = page.seen.calls.length;
	const { now, mark } = answer('overview');

	given.overview = (params) => { assert.strictEqual(params.mark, mark); return { now, mark }; };
	await page.tick();
	assert.strictEqual(page.seen.calls.length, asked + 1);
	assert.strictEqual(node.textContent, before);
});

test('a page that nobody looks at asks nothing, and questions do not overlap', async () => {
	const given = answers();
	const page = browser(given);

	await page.open('bramble.overview');

	const asked = page.seen.calls.length;

	page.document.hidden = true;
	await page.tick();
	assert.strictEqual(page.seen.calls.length, asked);
	page.document.hidden = false;

	let answerLate = null;

	given.overview = () => new Promise((resolve) => { answerLate = resolve; });

	const first = page.tick();

	await page.tick();
	assert.strictEqual(page.seen.calls.length, asked + 1);
	await settle();
	answerLate(answer('overview'));
	await first;
});

for (const name of VIEWS.filter((view) => view != 'settings'))
	test('a lost answer empties nothing: ' + name, async () => {
		const given = answers();
		const page = browser(given);
		const node = await page.open('bramble.' + name);

		await settle();

		const before = node.textContent.trim();

		for (const key of Object.keys(given))
			if (key != 'uci')
				delete given[key];

		await page.tick();
		await page.tick();
		assert.ok(node.textContent.includes(before.slice(-200)), 'the page has lost something');
		assert.ok(node.textContent.includes('Bramble is not running.'), node.textContent.slice(0, 200));
		assert.deepStrictEqual(page.seen.notices, [], 'one line, and no heap of notices');

		Object.assign(given, answers());
		await page.tick();
		assert.ok(!node.all((one) => one.attributes.class == 'bramble-lost' && !('hidden' in one.attributes)).length, 'the line goes again');
	});

test('without the daemon the overview leads to the set-up', async () => {
	const given = answers();

	delete given.overview;

	const node = await browser(given).open('bramble.overview');

	assert.ok(node.textContent.includes('Bramble is not running.'));
	assert.ok(node.all((one) => one.attributes.href == '/cgi-bin/luci/admin/bramble/setup').length);
});

/* A dialog that is open: presses its button, and waits. */
async function submit(page) {
	const dialog = page.seen.modals[page.seen.modals.length - 1];

	await dialog.node.all((one) => one.tagName == 'FORM')[0].fire('submit');
	await settle();
	await settle();

	return dialog.node;
}

test('a refusal shows the words of the daemon beside the field, and keeps the dialog', async () => {
	const given = answers();
	const page = browser(given);
	const node = await page.open('bramble.people');

	given.account_add = answer('account_add_refused');
	await button(node, 'Add…').click();

	const open = page.seen.modals.length;
	const dialog = await submit(page);
	const { message, field } = answer('account_add_refused').error;

	assert.strictEqual(field, 'account');
	assert.ok(dialog.textContent.includes(message), dialog.textContent);
	assert.strictEqual(page.seen.modals.length, open, 'the dialog stays');
});

test('a made-up password is shown, with slips to print', async () => {
	const page = browser(answers());
	const node = await page.open('bramble.people');

	await button(node, 'Add…').click();
	await submit(page);

	const dialog = page.seen.modals.filter((one) => one?.title == 'New passwords')[0];

	assert.ok(dialog.node.textContent.includes(answer('account_add').accounts[0].password));
	button(dialog.node, 'Print slips');
});

test('what is destroyed is named, and nothing is done before somebody agrees', async () => {
	const page = browser(answers());
	const node = await page.open('bramble.images');
	const image = answer('image_list').images[0];

	await button(node, 'Remove…').click();

	const dialog = page.seen.modals[0];

	assert.ok(dialog.node.textContent.includes(image.clients[0]), 'who boots it');
	assert.ok(!page.seen.calls.some((call) => call.method == 'image_remove'));
	await submit(page);
	assert.deepStrictEqual(page.seen.calls.filter((call) => call.method == 'image_remove').map((call) => call.params), [ { image: image.name } ]);
});

test('an image with a draft is not removed before the draft is', async () => {
	const given = answers();

	given.image_list.images[0].draft = answer('image_show_draft').draft;

	const page = browser(given);
	const node = await page.open('bramble.images');

	await button(node, 'Remove…').click();
	assert.match(page.seen.notices[0].text, /has a draft/);
	assert.deepStrictEqual(page.seen.modals, []);
});

test('a draft is published with the desktop of one person', async () => {
	const given = answers();

	given.image_show = answer('image_show_draft');
	given.image_publish = { job: 7 };
	given.image_desktop = ({ draft }) => ({ people: draft == 'sample' ? [ { name: 'anna', settings: [ { path: 'panel' } ] } ] : [] });

	const page = browser(given);
	const node = await page.open('bramble.images');

	await button(node, 'Versions…').click();
	await settle();
	await button(page.seen.modals[0].node, 'Publish…').click();
	await settle();
	fields(page).desktop.value = 'anna';
	fields(page).note.value = 'a new panel';
	await submit(page);
	assert.deepStrictEqual(page.seen.calls.find((call) => call.method == 'image_publish').params, { image: 'sample', note: 'a new panel', skip: '', desktop: 'anna' });

	/* What cannot be read is said, and keeps nobody from publishing. */
	given.image_desktop = { error: { code: 'image', message: 'the draft cannot be read', field: null } };
	await button(page.seen.modals[0].node, 'Publish…').click();
	await settle();
	assert.ok(page.seen.notices.some((notice) => notice.text == 'the draft cannot be read'));
	assert.ok(!('desktop' in fields(page)) && 'note' in fields(page));
});

test('the catalogue shows what no Pi here can start only to whoever asks for it', async () => {
	const given = answers();

	given.image_catalogue.offers[0].headings = [ 'Raspberry Pi OS (other)' ];

	const whole = given.image_catalogue;

	given.image_catalogue = ({ all }) => Object.assign({}, whole, { offers: whole.offers.filter((offer) => all || !offer.misfit) });

	const page = browser(given);
	const node = await page.open('bramble.images');
	const misfit = whole.offers.find((offer) => offer.misfit).misfit;
	const shown = () => page.seen.modals[page.seen.modals.length - 1].node;

	await button(node, 'From the catalogue…').click();
	await settle();
	assert.ok(shown().textContent.includes('Raspberry Pi OS (other)') && !shown().textContent.includes(misfit));
	shown().all((one) => one.attributes.type == 'checkbox')[0].checked = true;
	await submit(page);
	assert.ok(shown().textContent.includes(misfit));
});

test('until there is an image, a room and a Pi, the overview leads to the set-up', async () => {
	const leads = async (role, change) => {
		const given = answers(role);

		change(given.overview.whole);

		return (await browser(given).open('bramble.overview')).all((one) => one.attributes['data-key'] == 'setup').length > 0;
	};

	assert.strictEqual(await leads('administrator', () => {}), false);

	for (const change of [ (whole) => { whole.images = 0; }, (whole) => { whole.rooms = []; }, (whole) => { whole.seats = whole.seats.filter((seat) => !seat.adopted); } ]) {
		assert.strictEqual(await leads('administrator', change), true);
		assert.strictEqual(await leads('helper', change), false);
	}
});

test('an action that fails says so', async () => {
	const given = answers();
	const page = browser(given);
	const node = await page.open('bramble.files');

	given.home_measure = { error: { code: 'job', message: 'too many jobs are waiting', field: null } };
	await button(node, 'Measure again').click();
	await settle();
	assert.deepStrictEqual(page.seen.notices, [ { text: 'too many jobs are waiting', kind: 'danger' } ]);
});

/* Something that goes on at a client. */
const ACTION = () => ({
	action: 3, kind: 'message', phase: 'running', by: 'an administrator', message: 'Good morning', started_at: 1, begins_at: 1, ended_at: null,
	done: 0, of: 1, targets: [], router: null
});

/* Whoever looks may call these besides. */
function may(given, ...names) {
	given['session.access'].ubus.bramble.push(...names);
}

test('a room is switched off only after it was said who is logged in', async () => {
	const given = answers();

	given.client_action = ACTION();
	may(given, 'client_action');

	const page = browser(given);
	const node = await page.open('bramble.overview');
	const seats = answer('overview').whole.seats.filter((seat) => seat.room == 'classroom');
	const person = seats.flatMap((seat) => seat.people)[0];

	await node.all((one) => one.attributes['data-key'] == 'action-shutdown-classroom')[0].click();

	const dialog = page.seen.modals[0];

	assert.ok(dialog.node.textContent.includes(person.full_name), dialog.node.textContent);
	assert.ok(!page.seen.calls.some((call) => call.method == 'client_action'));
	await submit(page);

	const { params } = page.seen.calls.find((call) => call.method == 'client_action');

	assert.deepStrictEqual([ params.action, params.room, params.all, params.client, params.force ], [ 'shutdown', 'classroom', undefined, undefined, undefined ]);
	assert.strictEqual(page.seen.notices.length, 1);
});

test('who logged in while the dialog was open is named before anybody is switched off', async () => {
	const given = answers();
	const refusal = 'nothing was done, because people are logged in: Zoë Adams at lab-01';

	given.client_action = ({ force }) => (force ? ACTION() : { error: { code: 'people_logged_in', message: refusal, field: 'force' } });

	const page = browser(given);
	const node = await page.open('bramble.overview');
	const asked = () => page.seen.calls.filter((call) => call.method == 'client_action').map((call) => call.params);

	await node.all((one) => one.attributes['data-key'] == 'action-reboot-classroom')[0].click();

	/* And the seat of whoever presses it is left alone. */
	const mine = answer('overview').whole.seats.find((seat) => seat.room == 'classroom');
	const fields = page.seen.modals[0].node.all((one) => [ 'mine', 'except' ].includes(one.attributes.name));

	assert.deepStrictEqual(fields.map((one) => one.tagName), [ 'SELECT', 'INPUT' ]);
	fields[0].value = mine.mac;
	fields[1].value = 'lab-02';
	await submit(page);
	assert.deepStrictEqual(asked().map((one) => [ one.force, one.except ]), [ [ undefined, mine.mac + ',lab-02' ] ]);

	const dialog = page.seen.modals[page.seen.modals.length - 1];

	assert.ok(dialog.node.textContent.includes(refusal));
	button(dialog.node, 'Do it all the same');
	assert.deepStrictEqual(page.seen.notices, [], 'nothing was done yet');
	await submit(page);
	assert.deepStrictEqual(asked().map((one) => one.force), [ undefined, '1' ]);
	assert.strictEqual(asked()[1].except, mine.mac + ',lab-02');
	assert.strictEqual(page.seen.notices.length, 1);
});

/* The fields of the dialog that is open, by their names. */
function fields(page) {
	const dialog = page.seen.modals[page.seen.modals.length - 1]?.node;

	return Object.fromEntries((dialog?.all((one) => [ 'INPUT', 'SELECT', 'TEXTAREA' ].includes(one.tagName)) ?? []).map((one) => [ one.attributes.name, one ]));
}

test('a client is changed where it is: its room and image stay unless they are changed, and can be taken away', async () => {
	const given = answers();

	given.overview.whole.rooms = [ { name: 'attic', image: null }, { name: 'classroom', image: 'sample' } ];
	given.client_get.own = { image: 'sample@1', ip: null, mode: null, page: null };
	given.client_adopt = () => given.client_get;

	const page = browser(given);
	const node = await page.open('bramble.clients');
	const { mac, name } = given.client_get;
	const asked = () => page.seen.calls.filter((call) => call.method == 'client_adopt').map((call) => call.params);
	const open = async () => {
		await node.all((one) => one.attributes['data-key'] == 'adopt-' + mac)[0].click();
		await settle();

		return fields(page);
	};
	const before = await open();

	assert.deepStrictEqual([ before.name.value, before.room.value, before.image.value ], [ name, 'classroom', 'sample@1' ]);
	assert.strictEqual(page.seen.modals[0].title, 'Change ' + name);
	before.name.value = 'front';
	await submit(page);
	assert.deepStrictEqual(asked(), [ { client: mac, name: 'front' } ]);

	const then = await open();

	then.room.value = '';
	then.image.value = '';
	await submit(page);
	assert.deepStrictEqual(asked()[1], { client: mac, name, room: 'none', image: 'none' });

	/* One that is new goes into the first room. */
	const stranger = answer('client_list').clients.find((one) => !one.adopted);

	await node.all((one) => one.attributes['data-key'] == 'adopt-' + stranger.mac)[0].click();
	await settle();
	assert.strictEqual(fields(page).room.value, 'attic');
	await submit(page);
	assert.deepStrictEqual([ asked()[2].room, asked()[2].image ], [ 'attic', '' ]);
});

/* Opens “Use…” of a room or client, chooses a way, and gives the fields that belong to it. */
async function use(page, node, key, mode) {
	await node.all((one) => one.attributes['data-key'] == key)[0].click();
	fields(page).mode.value = mode;
	await submit(page);

	return fields(page);
}

test('how a room is used begins with what is set, and only what was changed is sent', async () => {
	const given = answers();
	const [ room ] = given.room_list.rooms;

	Object.assign(room, { mode: 'exam', modes: { guest_minutes: 45, kiosk_page: 'https://library.example/', kiosk_minutes: 5, exam_classes: [ 'class-7a', 'class-7c' ], exam_accounts: [ 'zoe' ], exam_shares: [ 'papers' ] } });
	given.mode_set = { mode: 'exam', says: 'as it is', restart: [] };

	const page = browser(given);
	const node = await page.open('bramble.clients');
	const asked = () => page.seen.calls.filter((call) => call.method == 'mode_set').map((call) => call.params).pop();
	const key = 'mode-' + room.room;

	await node.all((one) => one.attributes['data-key'] == key)[0].click();
	assert.strictEqual(fields(page).mode.value, 'exam', 'it is in an exam');

	const exam = await use(page, node, key, 'exam');

	assert.deepStrictEqual([ exam.classes.value, exam.accounts.value, exam.shares.value ], [ 'class-7a, class-7c', 'zoe', 'papers' ]);
	await submit(page);
	assert.deepStrictEqual(asked(), { mode: 'exam', room: room.room }, 'the exam keeps those who take part');

	const other = await use(page, node, key, 'exam');

	other.classes.value = 'class-7b; class-7c';
	other.shares.value = ' ';
	await submit(page);
	assert.deepStrictEqual(asked(), { mode: 'exam', room: room.room, classes: 'class-7b,class-7c', shares: 'none' });

	assert.strictEqual((await use(page, node, key, 'guest')).minutes.value, '45');
	await submit(page);
	assert.deepStrictEqual(asked(), { mode: 'guest', room: room.room });

	const kiosk = await use(page, node, key, 'kiosk');

	assert.deepStrictEqual([ kiosk.page.value, kiosk.minutes.value ], [ 'https://library.example/', '5' ]);
	kiosk.minutes.value = '';
	await submit(page);
	assert.deepStrictEqual(asked(), { mode: 'kiosk', room: room.room, minutes: '0' });
	assert.strictEqual(page.seen.notices.pop().text, 'as it is');
});

test('how one client is used: nothing that is a setting of its room', async () => {
	const given = answers();
	const client = given.client_list.clients.find((one) => one.adopted);

	given.mode_set = { mode: 'login', says: 'as it is', restart: [] };

	const page = browser(given);
	const node = await page.open('bramble.clients');
	const asked = () => page.seen.calls.filter((call) => call.method == 'mode_set').map((call) => call.params).pop();
	const key = 'mode-' + client.mac;

	await node.all((one) => one.attributes['data-key'] == key)[0].click();
	assert.strictEqual(fields(page).mode.value, 'room', 'it has no way of its own');

	for (const mode of [ 'room', 'login', 'guest', 'exam' ]) {
		await use(page, node, key, mode);
		assert.deepStrictEqual(asked(), { mode, client: client.mac });
	}

	const kiosk = await use(page, node, key, 'kiosk');

	assert.deepStrictEqual(Object.keys(kiosk), [ 'page' ]);
	kiosk.page.value = 'https://catalogue.example/';
	await submit(page);
	assert.deepStrictEqual(asked(), { mode: 'kiosk', client: client.mac, page: 'https://catalogue.example/' });
});

test('a screen is opened for the one address that was given', async () => {
	const given = answers();
	const [ seat ] = given.overview.whole.seats.filter((one) => one.adopted);

	given.screen_open = { mac: seat.mac, name: seat.name, host: '10.0.0.1', port: 5901, password: 'bako', connect_within_seconds: 120 };

	const page = browser(given);
	const node = await page.open('bramble.overview');

	await node.all((one) => one.attributes['data-key'] == 'seat-' + seat.mac)[0].click();
	await button(page.seen.modals[0].node, 'Look at the screen…').click();
	await settle();

	/* Other seats are proposed, that one is not. */
	const proposed = page.seen.modals[1].node.all((one) => one.tagName == 'OPTION').map((one) => one.attributes.value);
	const others = given.overview.whole.seats.filter((one) => one.ip && one.mac != seat.mac);

	assert.ok(others.length > 2 && others.every((one) => proposed.includes(one.ip)) && !proposed.includes(seat.ip));
	fields(page).viewer.value = others[0].ip;
	await submit(page);
	assert.strictEqual(page.seen.calls.find((call) => call.method == 'screen_open').params.viewer, others[0].ip);

	const told = page.seen.modals[page.seen.modals.length - 1].node.textContent;

	assert.ok(told.includes('10.0.0.1:5901') && told.includes('bako'));
});

test('what goes on at clients is on the overview, with those that did not follow', async () => {
	const given = answers();
	const action = Object.assign(ACTION(), { targets: [ { mac: 'x', name: 'lab-99', room: null, state: 'timed_out', says: 'no agent' } ] });

	may(given, 'action_list', 'action_stop');
	given.action_list = { actions: [ action ] };

	const page = browser(given);
	const node = await page.open('bramble.overview');

	assert.match(node.textContent, /lab-99/);
	given.action_stop = action;
	await button(node, 'Call off').click();
	assert.deepStrictEqual(page.seen.calls.filter((call) => call.method == 'action_stop').map((call) => call.params.action), [ action.action ]);
});

test('a version is made current after it was said who boots the image, and the answer says what follows', async () => {
	const given = answers();

	may(given, 'image_promote');

	const page = browser(given);
	const node = await page.open('bramble.images');
	const image = given.image_show;

	image.versions.push(Object.assign({}, image.versions[0], { version: 2 }));
	given.image_promote = { says: 'from now on seven boot it' };
	await button(node, 'Versions…').click();
	await settle();
	await button(page.seen.modals[0].node, 'Make current…').click();
	assert.ok(page.seen.modals[1].node.textContent.includes(image.clients[0]));
	await submit(page);
	assert.deepStrictEqual(page.seen.calls.filter((call) => call.method == 'image_promote').map((call) => call.params.image), [ image.name + '@2' ]);
	assert.strictEqual(page.seen.notices[0].text, 'from now on seven boot it');
});

test('a log-in is tested step by step, with what to do', async () => {
	const given = answers();
	const page = browser(given);
	const node = await page.open('bramble.people');

	given.account_test = answer('account_test');
	await button(node, 'Test a log-in…').click();
	await submit(page);

	const dialog = page.seen.modals[page.seen.modals.length - 1];

	for (const step of answer('account_test').steps)
		assert.ok(dialog.node.textContent.includes(step.what) && dialog.node.textContent.includes(step.remedy ?? ''), step.what);
});

test('people of a directory are shown, and changed there', async () => {
	const given = answers();

	assert.strictEqual(given.account_list.elsewhere, false);
	given.account_list.elsewhere = true;

	const node = await browser(given).open('bramble.people');

	assert.match(node.textContent, /in the directory/);
	assert.ok(!node.all((one) => one.tagName == 'BUTTON' && one.textContent == 'Password…').length);
});

test('a list of people is cut so that each part fits, and its lines keep their numbers', async () => {
	const given = answers();
	const page = browser(given);
	const accounts = page.load('bramble.accounts');
	const rows = Array.from({ length: 3000 }, (one, n) => 'First' + n + ';Last name;"class\n' + n + '"');
	const csv = [ 'first name;last name;class' ].concat(rows).join('\r\n');
	const parts = accounts.parts(csv);

	assert.ok(parts.length > 2);
	assert.ok(parts.every((part) => JSON.stringify(part).length < 60000 && part.startsWith('first name;last name;class\n')));
	assert.strictEqual(parts.map((part) => part.trimEnd().split('\n').slice(1).join('\n')).join('\n'), rows.join('\n'));

	let line = 0;

	given.account_import = ({ csv: part }) => Object.assign(answer('account_import'), {
		add: 1, lines: [ { line: part.split('\n').length - 1, fate: 'add', name: 'x', full_name: 'X', classes: [], says: '' } ]
	});

	const plan = await accounts.importAll(csv, {});

	assert.strictEqual(plan.add, parts.length);

	for (const one of plan.lines) {
		assert.ok(one.line > line);
		line = one.line;
	}

	assert.strictEqual(line, 6001, 'the last line of the whole list');
});

test('a list is taken over by jobs, and their passwords are asked for when they are done', async () => {
	const given = answers();
	const page = browser(given);
	const accounts = page.load('bramble.accounts');
	const asked = [];

	given.account_import = ({ apply }) => apply ? { job: 7 } : answer('account_import');
	given.job_status = ({ job }) => ({ id: job, state: 'done', message: '1 added' });
	given.account_imported = (wanted) => { asked.push(wanted); return Object.assign(answer('account_import'), { add: 1, passwords: { accounts: [ { name: 'x', full_name: 'X', password: 'bako' } ], page: '<html>' } }); };

	const done = await accounts.importAll('name\nx\n', { apply: '1' });

	assert.deepStrictEqual([ done.add, done.accounts.length, done.pages ], [ 1, 1, [ '<html>' ] ]);
	assert.deepStrictEqual([ asked[0].job, asked[0].slips ], [ 7, 'html' ]);

	given.job_status = ({ job }) => ({ id: job, state: 'failed', message: 'nothing was imported' });
	await assert.rejects(accounts.importAll('name\nx\n', { apply: '1' }), /nothing was imported/);
});

test('passwords of a list survive a lost question, a part that fails, and the page itself', async () => {
	const given = answers();
	const page = browser(given);
	const accounts = page.load('bramble.accounts');
	const made = (name) => Object.assign(answer('account_import'), { add: 1, passwords: { accounts: [ { name, full_name: 'X', password: 'pw-' + name } ], page: '<html>' } });
	let asked = 0;

	page.window.setTimeout = (work) => setImmediate(work);
	given.account_import = { job: 7 };
	given.account_imported = made('x');

	/* The connection breaks, the job goes on. */
	given.job_status = () => {
		if (++asked % 3)
			throw new Error('XHR request aborted by browser');

		return { id: 7, kind: 'people', state: asked < 9 ? 'running' : 'done', message: '', phase: 'hashing', done: asked, of: 9, unit: 'people' };
	};

	const told = [];
	const whole = await accounts.importAll('name\nx\n', { apply: '1' }, (job) => told.push(job.done));

	assert.deepStrictEqual([ whole.accounts[0].password, told ], [ 'pw-x', [ 3, 6, 9 ] ]);
	given.job_status = () => { throw new Error('XHR request aborted by browser'); };
	await assert.rejects(accounts.importAll('name\nx\n', { apply: '1' }), /aborted/, 'not for ever');

	/* The second part fails: what the first has made is shown all the same. */
	given.job_status = { id: 7, kind: 'people', state: 'done', message: '' };
	given.account_import = ({ apply, csv }) => (!apply ? answer('account_import') : csv.includes('part-two') ? { error: { code: 'job', message: 'too many jobs are waiting', field: null } } : { job: 7 });

	const csv = 'name\n' + 'x'.repeat(39990) + '\n' + 'part-two,' + 'y'.repeat(100) + '\n';

	assert.strictEqual(accounts.parts(csv).length, 2);
	accounts.preview(csv, {}, await accounts.importAll(csv, {}), () => {});
	await submit(page);

	const dialog = page.seen.modals[page.seen.modals.length - 1];

	assert.ok(dialog.node.textContent.includes('pw-x') && dialog.node.textContent.includes('too many jobs are waiting'), dialog.node.textContent);

	/* And whoever opens the page anew finds the job, with its passwords. */
	const now = given.job_list.now;
	const job = (id, state, ended) => Object.assign({}, given.job_list.jobs[0], { id, kind: 'people', subject: 'list ' + id, state, ended_at: ended });

	given.job_list.jobs = [ job(21, 'running', null), job(22, 'done', now - 60000), job(23, 'done', now - 3700000), Object.assign(job(24, 'done', now), { kind: 'measure' }) ];

	const later = browser(given);
	const node = await later.open('bramble.people');

	assert.deepStrictEqual([ 21, 22, 23, 24 ].map((id) => node.textContent.includes('list ' + id)), [ true, true, false, false ]);
	assert.strictEqual(node.all((one) => one.tagName == 'BUTTON' && one.textContent == 'Show passwords…').length, 1);
	await button(node, 'Show passwords…').click();
	assert.deepStrictEqual(later.seen.calls.filter((call) => call.method == 'account_imported').map((call) => call.params.job), [ 22 ]);
	assert.ok(later.seen.modals[0].node.textContent.includes('pw-x'));
});

test('the last day of an account is the same day wherever one looks from', () => {
	const show = browser({}).load('bramble.show');
	const last = Date.UTC(2027, 6, 31, 23, 59, 59, 999);
	const zone = process.env.TZ;

	try {
		for (const there of [ 'Europe/Berlin', 'Pacific/Kiritimati', 'America/Los_Angeles' ]) {
			process.env.TZ = there;
			assert.match(show.lastDay(last), /31/, there);
		}
	}
	finally {
		if (zone == null)
			delete process.env.TZ;
		else
			process.env.TZ = zone;
	}
});

test('uploads that were left are seen, and cancelled', async () => {
	const given = answers();
	const [ upload ] = given.upload_list.uploads;

	given.upload_cancel = upload;

	const page = browser(given);
	const node = await page.open('bramble.images');

	assert.ok(node.textContent.includes(upload.name));
	await button(node, 'Cancel…').click();
	assert.ok(!page.seen.calls.some((call) => call.method == 'upload_cancel'));
	await submit(page);
	assert.deepStrictEqual(page.seen.calls.filter((call) => call.method == 'upload_cancel').map((call) => call.params), [ { upload: upload.upload } ]);
});

test('the page of one client has what is to be done about it', async () => {
	const given = answers();

	given.client_action = ACTION();
	given.client_get.verdicts = answer('overview').whole.seats.flatMap((seat) => seat.verdicts).slice(0, 1);

	const page = browser(given);

	page.window.location.hash = '#' + encodeURIComponent(given.client_get.mac);

	const node = await page.open('bramble.clients');

	await settle();

	for (const kind of [ 'message', 'lock', 'logout', 'identify', 'reboot', 'shutdown' ])
		assert.ok(node.all((one) => one.attributes['data-key'] == 'action-%s-%s'.format(kind, given.client_get.name)).length, kind);

	await node.all((one) => one.attributes['data-key'] == 'action-identify-' + given.client_get.name)[0].click();
	await submit(page);
	assert.strictEqual(page.seen.calls.find((call) => call.method == 'client_action').params.client, given.client_get.mac);
	await node.all((one) => one.attributes['data-key'] == 'remedy-' + given.client_get.mac)[0].click();
	await settle();
	assert.strictEqual(page.seen.modals[page.seen.modals.length - 1].title, 'Change ' + given.client_get.name);
});

test('an answer without news draws nothing, a press keeps the page, and problems are read aloud once', async () => {
	const given = answers();

	given.overview.whole.problems = [ 'the disk is full' ];

	const page = browser(given);
	const node = await page.open('bramble.overview');
	const tiles = () => node.all((one) => (one.attributes['data-key'] ?? '').startsWith('seat-'));
	const alarm = () => node.all((one) => one.attributes.role == 'alert')[0];
	const [ tile ] = tiles(), before = alarm();
	const whole = given.overview;

	given.overview = { now: whole.now + 2000, mark: whole.mark };
	await page.tick();
	assert.strictEqual(tiles()[0], tile, 'it is the same tile');

	/* Somebody presses it while the news come. */
	given.overview = Object.assign({}, whole, { mark: 'other' });
	page.document.listeners.pointerdown[0]();
	await page.tick();
	assert.strictEqual(tiles()[0], tile);
	assert.strictEqual(page.seen.calls.pop().params.mark, whole.mark);
	page.document.listeners.pointerup[0]();
	await page.tick();
	assert.notStrictEqual(tiles()[0], tile, 'the news are not lost');
	assert.strictEqual(alarm(), before, 'what was said is not said again');

	/* What still works is not drawn anew either. */
	const [ now ] = tiles();

	now.classList.add('spinning');
	await page.tick();
	assert.strictEqual(tiles()[0], now);
});

test('an answer that comes late does not draw over another step of the set-up', async () => {
	const given = answers();
	const page = browser(given);
	const node = await page.open('bramble.setup');

	await settle();
	assert.match(node.textContent, /What do the Pis start/);

	let late = null;

	given.job_list = () => new Promise((resolve) => { late = () => resolve(answer('job_list')); });

	const poll = page.tick();

	await settle();
	await node.all((one) => one.attributes['data-key'] == 'step-1')[0].click();
	assert.match(node.textContent, /Which networks have Pis/);
	late();
	await poll;
	assert.match(node.textContent, /Which networks have Pis/);
	assert.doesNotMatch(node.textContent, /What do the Pis start/);
});

test('where Bramble is switched on already, set-up asks before it changes what is in force', async () => {
	const given = answers();

	Object.assign(given.uci.bramble.main, { enabled: '1' });
	given.uci.bramble.dhcp = { '.name': 'dhcp', '.type': 'dhcp', mode: 'proxy' };
	given['/usr/bin/bramble'] = { code: 0, stdout: JSON.stringify(answer('takeover')) };

	const page = browser(given);
	const node = await page.open('bramble.setup');

	await settle();
	await node.all((one) => one.attributes['data-key'] == 'step-1')[0].click();
	await node.all((one) => one.attributes.value == 'authoritative')[0].fire('change');
	await button(node, 'Show what changes').click();
	assert.strictEqual(page.seen.applied, 0, 'nothing is saved yet');
	assert.strictEqual(given.uci.bramble.dhcp.mode, 'proxy');
	assert.match(page.seen.modals[0].node.textContent, /Who gives addresses: Another server of the network → Bramble/);

	/* What other pages have prepared is not applied along with it. */
	given.uci.changes = { network: [ [ 'set', 'lan', 'ipaddr', '10.0.0.1' ] ] };
	assert.match((await submit(page)).textContent, /Changes of other pages are not applied yet \(network\)/);
	assert.strictEqual(page.seen.applied, 0);
	delete given.uci.changes;
	await submit(page);

	for (let n = 0; n < 10; n++)
		await settle();

	assert.strictEqual(page.seen.applied, 1);
	assert.strictEqual(given.uci.bramble.dhcp.mode, 'authoritative');
	assert.strictEqual(page.seen.modals[page.seen.modals.length - 1].title, 'What changes on this router');
});

test('roles have the buttons they may use and no others', async () => {
	const labels = async (role, name) => {
		const node = await browser(answers(role)).open('bramble.' + name);

		return new Set(node.all((one) => one.tagName == 'BUTTON').map((one) => one.textContent.trim()));
	};

	for (const [ role, name, label, there ] of [
		[ 'helper', 'overview', 'Adopt…', false ],
		[ 'helper', 'clients', 'Forget…', false ],
		[ 'helper', 'log', 'Report for a bug…', false ],
		[ 'teacher', 'people', 'Add…', true ],
		[ 'teacher', 'clients', 'Forget…', false ],
		[ 'administrator', 'overview', 'Adopt…', true ],
		[ 'administrator', 'clients', 'Forget…', true ],
		[ 'administrator', 'log', 'Report for a bug…', true ]
	])
		assert.strictEqual((await labels(role, name)).has(label), there, role + ', ' + name + ', ' + label);
});

/* Presses everything on a page, and everything in each dialog that comes of it. */
async function pressAll(page, node, pressed = () => {}) {
	const dialog = () => page.seen.modals[page.seen.modals.length - 1]?.node;
	const labels = (one) => one.all((each) => each.tagName == 'BUTTON' && !('disabled' in each.attributes)).map((each) => each.attributes['data-key'] ?? each.textContent);
	const press = async (where, label) => {
		const before = { calls: page.seen.calls.length, notices: page.seen.notices.length, modals: page.seen.modals.length };
		const one = where.all((each) => each.tagName == 'BUTTON' && (each.attributes['data-key'] ?? each.textContent) == label)[0];

		if (!one)
			return;

		await (one.attributes.type == 'submit' ? where.all((each) => each.tagName == 'FORM')[0].fire('submit') : one.click());

		for (let n = 0; n < 4; n++)
			await settle();

		pressed(label, before);
	};

	/* What leads elsewhere on the page comes last. */
	const leads = (label) => label.startsWith('step-') || label == 'next';

	for (const label of labels(node).sort((one, other) => leads(one) - leads(other))) {
		const count = page.seen.modals.length;

		await press(node, label);

		if (page.seen.modals.length > count && dialog())
			for (const inner of labels(dialog())) {
				const opened = page.seen.modals[count].node;

				await press(opened, inner);
			}
	}
}

for (const [ role, pages ] of [ [ 'helper', [ 'overview', 'clients', 'log' ] ], [ 'teacher', [ 'overview', 'clients', 'people', 'log' ] ], [ 'administrator', VIEWS ] ])
	for (const name of pages)
		test('rpcd lets through whatever the page asks: ' + name + ' for the ' + role, async () => {
			const given = answers(role);
			const page = browser(given, rights(role));
			const node = await page.open('bramble.' + name);

			node.view.more?.();
			await settle();
			await page.tick();
			await pressAll(page, node);
			assert.deepStrictEqual(page.seen.refused, []);
			assert.ok(page.seen.calls.length > 1);
		});

test('rpcd refuses what a role is not for, whatever a page shows', async () => {
	for (const role of [ 'helper', 'teacher', 'administrator' ]) {
		const page = browser({}, rights(role));
		const api = page.load('bramble.api');
		const roles = { helper: [ 'helper' ], teacher: [ 'helper', 'teacher' ], administrator: [ 'helper', 'teacher', 'administrator' ] }[role];

		for (const method of METHODS) {
			const name = method.name.replace(/_(\w)/g, (whole, letter) => letter.toUpperCase());

			if (!api[name])
				continue;

			const { code } = await api[name]({}).then(() => ({}), (error) => error);

			assert.strictEqual(code, roles.includes(method.role) ? 'not_running' : 'not_allowed', role + ', ' + method.name);
		}

		assert.strictEqual(page.seen.refused.length > 0, role != 'administrator');
	}
});

for (const [ how, gone ] of [ [ 'the daemon is gone', undefined ], [ 'it refuses', { error: { code: 'x', message: 'Not like this.', field: 'nothing' } } ] ])
	for (const name of VIEWS)
		test('every button says why nothing was done when ' + how + ': ' + name, async () => {
			const given = answers();
			const page = browser(given);
			const node = await page.open('bramble.' + name);
			const says = gone ? gone.error.message : 'Bramble is not running.';
			const failing = new Set(METHODS.filter((method) => method.write).map((method) => method.name));
			let asked = 0;

			await settle();

			const work = () => pressAll(page, node, (label, before) => {
				const calls = page.seen.calls.slice(before.calls).filter((call) => failing.has(call.method));

				if (!calls.length)
					return;

				asked++;

				const shown = page.seen.notices.slice(before.notices).map((notice) => notice.text)
					.concat(page.seen.modals.filter((one) => one).map((one) => one.node.textContent)).concat([ node.textContent ]);

				assert.ok(shown.some((one) => one.includes(says)), label + ' asked for ' + calls[0].method + ' and said nothing');
			});

			/* Dialogs are opened by what the daemon tells; what it is to do fails. */
			for (const method of failing)
				if (gone)
					given[method] = gone;
				else
					delete given[method];

			await work();
			assert.ok(asked > 0 || [ 'settings', 'log' ].includes(name), 'something was asked');
		});

test('EEPROMs: nothing is done before it was shown to whom, and what the danger is', async () => {
	const given = answers();

	given.eeprom_set = answer('eeprom_set');

	const page = browser(given);
	const node = await page.open('bramble.clients');
	const eeprom = page.load('bramble.eeprom');

	/* The tab asks when it is opened. */
	node.view.more();
	await settle();
	assert.ok(node.textContent.includes(answer('eeprom_list').clients[0].model));
	await button(node, 'Change settings…').click();
	await submit(page);

	const plan = page.seen.modals[page.seen.modals.length - 1].node;

	for (const text of [ answer('eeprom_set').danger, answer('eeprom_set').clients[0].says ])
		assert.ok(plan.textContent.includes(text), text);

	assert.deepStrictEqual(page.seen.calls.filter((call) => call.method == 'eeprom_set').map((call) => call.params.confirm), [ undefined ]);
	await submit(page);
	assert.deepStrictEqual(page.seen.calls.filter((call) => call.method == 'eeprom_set').map((call) => call.params.confirm), [ undefined, '1' ]);
	assert.ok(eeprom.list({ clients: [] }, []).length);
});

test('EEPROMs: how far an update is, and why it failed', async () => {
	const given = answers();

	given.eeprom_list = answer('eeprom_rollout');

	const [ one ] = given.eeprom_list.clients.filter((client) => client.rollout);
	const page = browser(given);
	const node = await page.open('bramble.clients');

	for (const [ state, word ] of [ [ 'asked', 'offered at its next start' ], [ 'fetched', 'being written' ], [ 'applied', 'done' ], [ 'failed', 'failed' ] ]) {
		one.rollout = Object.assign({}, one.rollout, { state, why: state == 'failed' ? 'it did not ask for the file' : '' });
		node.view.more();
		await settle();
		assert.ok(node.textContent.includes(word), word);
		assert.strictEqual(node.textContent.includes('it did not ask for the file'), state == 'failed');
	}
});

test('a card with something on it is erased only if that was said, and nothing else is', async () => {
	const given = answers();

	given.enrol_medium = ({ to, erase, confirm }) => (erase ? { job: confirm ? 7 : null, to, says: [ 'starts from the network' ] }
		: { error: { code: 'medium', message: 'there is something on it', field: 'to' } });

	const page = browser(given);
	const node = await page.open('bramble.clients');
	const asked = () => page.seen.calls.filter((call) => call.method == 'enrol_medium').map((call) => [ call.params.erase, call.params.confirm ]);

	node.view.more();
	await settle();
	await button(node, 'Make a card…').click();
	await settle();
	assert.ok((await submit(page)).textContent.includes('there is something on it'));
	fields(page).erase.checked = true;
	await submit(page);
	assert.ok(page.seen.modals[page.seen.modals.length - 1].node.textContent.includes('starts from the network'));
	await submit(page);
	assert.deepStrictEqual(asked(), [ [ undefined, undefined ], [ '1', undefined ], [ '1', '1' ] ]);

	/* What was empty when it was shown is not erased later. */
	given.enrol_medium = ({ to, confirm }) => ({ job: confirm ? 7 : null, to, says: [ 'x' ] });
	await button(node, 'Make a card…').click();
	await settle();
	await submit(page);
	await submit(page);
	assert.deepStrictEqual(asked().slice(3), [ [ undefined, undefined ], [ undefined, '1' ] ]);
});

test('whoever may not change the configuration has nothing to save', async () => {
	for (const [ role, there ] of [ [ 'helper', false ], [ 'teacher', false ], [ 'administrator', true ] ]) {
		const page = browser(answers(role));
		let asked = 0;
		const { view } = await page.open('bramble.clients');

		view.super = () => { asked++; return page.E('div', {}, []); };
		view.addFooter();
		assert.strictEqual(asked > 0, there, role);
	}
});

test('a disk that is flash, memory or too small is refused with a reason', async () => {
	const given = answers();

	delete given.overview;

	const page = browser(given);
	const node = await page.open('bramble.setup');

	await settle();

	const choices = node.all((one) => one.attributes.name == 'disk').map((one) => one.attributes.value);

	assert.deepStrictEqual(choices, [ '/mnt/sda1/bramble' ]);
	assert.match(node.textContent, /Not \/mnt\/sdb1: too little space/);
	assert.match(node.textContent, /Not \/tmp: the router's own memory/);
});

test('set-up: disk, network, what changes, start; then the image', async () => {
	const given = answers();
	const overview = given.overview;

	delete given.overview;
	given['/usr/bin/bramble'] = { code: 0, stdout: JSON.stringify(answer('takeover')) };
	given.uci.system = { ntp: { '.type': 'timeserver', '.name': 'ntp', enabled: '1', enable_server: '0' } };
	given['rc.init'] = ({ action }) => { if (action == 'start') given.overview = overview; return {}; };

	const page = browser(given);
	const node = await page.open('bramble.setup');

	await settle();
	await button(node, 'Next').click();
	await settle();
	await button(node, 'Show what changes').click();
	await settle();
	assert.strictEqual(given.uci.bramble.main.data, '/mnt/sda1/bramble');
	assert.deepStrictEqual(given.uci.bramble.main.network, [ 'lan' ]);

	const dialog = await submit(page);

	for (const change of answer('takeover').changes)
		assert.ok(dialog.textContent.includes(change.why), change.why);

	for (let n = 0; n < 20; n++)
		await settle();

	assert.deepStrictEqual(page.seen.calls.filter((call) => call.method == 'rc.init').map((call) => call.params.action), [ 'enable', 'start' ]);
	assert.strictEqual(given.uci.bramble.main.enabled, '1');
	assert.strictEqual(given.uci.system.ntp.enable_server, '1');
	assert.match(node.textContent, /What do the Pis start/);
});

/* What is nobody's business, as it could stand in any text. */
const SECRETS = [
	'dc:a6:32:0a:0b:0c', 'DC-A6-32-0A-0B-0C', '10.20.30.40', 'fe80::dea6:32ff:fe0a:b0c', '2001:db8:0:1:2:3:4:5', '100000003d1d1c36',
	'https://anna:hunter2@example.org/x.img?token=abc', 'password=hunter2', 'token: s3cr3t', '$argon2id$v=19$m=9216,t=2,p=1$c2FsdA$aGFzaA',
	'-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----', 'head@school.example', 'Amira Haddad', 'amira', 'lab-01'
];

test('a report for a bug has no secret in it, wherever it may have stood', async () => {
	const place = (value, name) => {
		if (typeof(value) == 'string')
			return [ value ].concat(SECRETS, name == 'pin' ? [ 'hunter2' ] : []).join(' ');

		if (Array.isArray(value))
			return value.map((one) => place(one));

		return value && typeof(value) == 'object' ? Object.fromEntries(Object.entries(value).map(([ key, one ]) => [ key, place(one, key) ])) : value;
	};
	/* Names are known from these, as they are; everything else is full of them. */
	const known = [ 'account_list', 'session_list', 'client_list' ];
	const given = answers('administrator', (name, value) => (known.includes(name) ? value : place(value)));
	const page = browser(given);
	const node = await page.open('bramble.log');

	await button(node, 'Report for a bug…').click();
	await settle();

	const report = page.seen.saved[0].text;
	const whole = JSON.parse(report);

	assert.deepStrictEqual(Object.keys(whole), [ 'status', 'health', 'check', 'clients', 'rooms', 'actions', 'events', 'jobs', 'images', 'shares', 'homes' ]);

	for (const secret of SECRETS.concat([ 'hunter2', 's3cr3t', 'MIIEvQ', 'aGFzaA', 'example.org' ]))
		assert.ok(!report.toLowerCase().includes(secret.toLowerCase()), secret + ' is in: ' + report.slice(Math.max(0, report.toLowerCase().indexOf(secret.toLowerCase()) - 200)).slice(0, 300));

	for (const person of answer('account_list').accounts)
		for (const secret of [ person.name, person.full_name ].filter((one) => one))
			assert.ok(!new RegExp('(?<![\\p{L}\\p{N}])' + secret + '(?![\\p{L}\\p{N}])', 'u').test(report), secret);

	for (const client of answer('client_list').clients)
		for (const secret of [ client.name, client.mac, client.serial, client.ip ].filter((one) => one))
			assert.ok(!new RegExp('\\b' + secret + '\\b').test(report), secret);

	/* What helps stays. */
	assert.ok(report.includes('asks for an address') && report.includes(answer('status').version));
});

test('in a report the same is called the same, and what could not be asked is said', async () => {
	const given = answers();

	delete given.home_usage;

	const page = browser(given);
	const report = page.load('bramble.report');
	const { homes, events } = JSON.parse(await report.make());
	const clients = new Set(events.events.map((event) => event.client));

	assert.match(homes.not_told, /not running/);

	/* All accounts are asked for; without their names there is no report. */
	const all = Array.from({ length: 2300 }, (one, n) => ({ name: 'p' + n, full_name: 'Person ' + n, note: '' }));

	given.account_list = ({ offset, limit }) => ({ total: all.length, offset, accounts: all.slice(offset, offset + Math.min(limit, 1000)) });
	assert.deepStrictEqual((await report.people(0)).map((one) => one.name), all.map((one) => one.name));
	delete given.account_list;
	await assert.rejects(report.make(), /There is no report, because the names/);
	assert.deepStrictEqual([ ...clients ].map((name) => name.replace(/-\d+/, '')).filter((name) => name != 'mac'), []);
	assert.strictEqual(clients.size, new Set(answer('events').events.map((event) => event.client)).size);
	assert.deepStrictEqual(JSON.parse(report.hide({ password: 'hunter2', config: { bind_token: 'x1' }, version: '6.12.34' }, [], [])),
		{ password: 'secret', config: { bind_token: 'secret' }, version: '6.12.34' });
});

test('backups on disks are found, fetched as they are, and restored after a question', async () => {
	const given = answers();

	given.files = { '/mnt/sda1': [ { name: 'bramble-2026-11-27.tar', type: 'file', size: 5e9, mtime: 1795782000 }, { name: 'bramble', type: 'directory', size: 0, mtime: 1 }, { name: 'x.tar', type: 'file', size: 1, mtime: 1 } ] };

	const page = browser(given);
	const node = await page.open('bramble.files');

	assert.ok(node.textContent.includes('/mnt/sda1/bramble-2026-11-27.tar') && !node.textContent.includes('x.tar'));
	await button(node, 'Download').click();

	const [ form ] = page.document.sent;
	const sent = Object.fromEntries(form.children.map((one) => [ one.attributes.name, one.attributes.value ]));

	assert.strictEqual(form.attributes.action, '/cgi-bin/cgi-download');
	assert.deepStrictEqual([ sent.path, sent.filename ], [ '/mnt/sda1/bramble-2026-11-27.tar', 'bramble-2026-11-27.tar' ]);
	given.home_restore = { job: 9 };
	await node.all((one) => one.attributes['data-key'] == 'restore-/mnt/sda1/bramble-2026-11-27.tar')[0].click();
	await submit(page);
	assert.strictEqual(page.seen.calls.find((call) => call.method == 'home_restore').params.from, '/mnt/sda1/bramble-2026-11-27.tar');
});

test('the table for a spreadsheet holds no formula', () => {
	const rooms = browser({}).load('bramble.rooms');
	const csv = rooms.csv([ { name: '=cmd()', room: 'a,b', model: 'say "x"', mac: '+1', state: '@x' } ]);

	assert.strictEqual(csv.split('\r\n')[1], '\'=cmd(),"a,b",,\'+1,,,"say ""x""",,\'@x');
});

test('a list of clients is read as it was written, and adopted one by one', async () => {
	const given = answers();
	const page = browser(given);
	const rooms = page.load('bramble.rooms');
	const clients = answer('client_list').clients;
	const rows = rooms.read(rooms.csv(clients));

	assert.deepStrictEqual(rows.map((row) => [ row.mac, row.name, row.room ]), clients.map((client) => [ client.mac, client.name, client.room ?? '' ]));

	/* What is its own goes along, and what it has from its room does not become its own. */
	const own = { image: 'sample@2', ip: '10.0.0.7', mode: null, page: null };
	const [ carried ] = rooms.read(rooms.csv([ Object.assign({}, clients[0], { own }) ]));

	assert.deepStrictEqual([ carried.image, carried.fixed ], [ 'sample@2', '10.0.0.7' ]);
	assert.deepStrictEqual([ rows[0].image, rows[0].fixed ], [ '', '' ]);
	assert.deepStrictEqual(rooms.read('Name;MAC\r\n"a;b""c";dc:a6:32:01:02:03\r\n'), [ { name: 'a;b"c', mac: 'dc:a6:32:01:02:03' } ]);
	assert.throws(() => rooms.read('a,b\n1,2\n'), /mac and name/);

	const told = [];

	given.client_adopt = ({ name }) => (name == 'desk' ? { error: { code: 'name_taken', message: 'taken', field: 'name' } } : {});
	await rooms.adoptAll(rows, (row, error) => told.push([ row.name, error?.message ?? null ]));
	assert.deepStrictEqual(told, clients.map((client) => [ client.name, client.name == 'desk' ? 'taken' : null ]));
});

test('a new Pi is offered the next name of its room', () => {
	const seats = browser({}).load('bramble.seats');
	const seat = (name, room) => ({ name, room, adopted: true });
	const whole = { seats: [ seat('lab-01', 'room_one'), seat('lab-02', 'room_one'), seat('x', 'other') ] };

	assert.strictEqual(seats.nextName(whole, 'room_one'), 'lab-03');
	assert.strictEqual(seats.nextName(whole, 'room_two'), 'room-two-01');
	assert.strictEqual(seats.nextName(whole, undefined), 'pi-01');
});

for (const name of VIEWS)
	test('markup in every field of every answer stays text: ' + name, async () => {
		const given = answers('administrator', (file, value) => poison(value));
		const page = browser(given);
		const node = await page.open('bramble.' + name);

		await settle();
		await page.tick();

		/* Everything that opens a dialog or shows something is pressed, and then every button of the dialog too. */
		for (const one of node.all((each) => each.tagName == 'BUTTON')) {
			await one.click();
			await settle();

			const dialog = page.seen.modals[page.seen.modals.length - 1];

			if (dialog && !dialog.pressed) {
				dialog.pressed = true;

				for (const form of dialog.node.all((each) => each.tagName == 'FORM')) {
					await form.fire('submit');
					await settle();
				}
			}
		}

		for (const [ what, text ] of page.seen.sinks)
			assert.ok(!text.includes('<img'), what + ': ' + text);

		for (const one of node.all(() => true))
			for (const [ attribute, value ] of Object.entries(one.attributes))
				assert.ok(![ 'href', 'src', 'style', 'srcdoc' ].includes(attribute) || !value.includes('<img'), attribute + ': ' + value);

		if (![ 'settings', 'setup' ].includes(name))
			assert.ok(node.textContent.includes(EVIL), 'the answers reach the page');
	});

test('the box on the status page', async () => {
	const page = browser(answers('administrator', (file, value) => poison(value)));
	const box = page.load('view.status.include.35_bramble');
	const node = box.render(await box.load());

	assert.match(node.textContent, /ready/);
	assert.strictEqual(browser({}).load('view.status.include.35_bramble').render(null), null);

	const gone = browser({}).load('view.status.include.35_bramble');

	assert.strictEqual(gone.render(await gone.load()), null, 'no box where Bramble does not run');
});

test('the harness refuses what LuCI would take for markup', () => {
	const { E } = browser({});

	assert.throws(() => E('p', {}, '<b>'), /bare text/);
	assert.throws(() => { E('p', {}, []).innerHTML = 'x'; }, /innerHTML/);
	assert.throws(() => E('a', { 'href': 'javascript:1' }, []), /script/);
});
