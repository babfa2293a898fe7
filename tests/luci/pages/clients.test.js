'use strict';

/* Clients and rooms: one in detail, how they are used, lists of them, their EEPROMs. */

const assert = require('node:assert');
const test = require('node:test');

const { ACTION, answers } = require('../given.js');
const { answer, browser } = require('../harness.js');
const { button, fields, settle, submit } = require('../press.js');

test('a client in detail: why it does not boot, its boots step by step, how it is', async () => {
	const given = answers();
	const detail = given.client_get;

	detail.health = { at: detail.now, uptime_s: 600, clock: detail.now, temperature_mc: 61500, throttled: 0, memory_kb: 4000000, available_kb: 3000000,
		load_centi: 42, link_mbit: 100, root_us: 850, home_us: 1900, kernel: '6.12.34', eeprom: null };
	detail.history = [ 50000, 61500 ].map((temperature) => ({ at: detail.now, temperature_mc: temperature, available_kb: 1, load_centi: 1, root_us: 800, home_us: temperature / 10 }));
	detail.verdicts = answer('overview').whole.seats.flatMap((seat) => seat.verdicts).slice(0, 1);
	detail.console = [ { at: detail.now, line: 'Net: IP1 0' } ];

	const page = browser(given);

	page.window.location.hash = '#' + encodeURIComponent(detail.mac);

	const node = await page.open('bramble.clients');

	await settle();
	assert.ok(detail.verdicts.length);

	for (const text of [ detail.verdicts[0].sentence, 'kernel running', 'until people can log in', '62°C', '50°C to 62°C', '100 Mbit/s', '0.9 ms', 'Answer for homes', '1.9 ms', '5 ms to 6.2 ms', '6.12.34', 'Net: IP1 0' ])
		assert.ok(node.textContent.includes(text), text + ' is not in: ' + node.textContent.slice(-3000));
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

test('the table for a spreadsheet holds no formula', () => {
	const rooms = browser({}).load('bramble.rooms');
	const csv = rooms.csv([ { name: '=cmd()', room: 'a,b', model: 'say "x"', mac: '+1', state: '@x' } ]);

	assert.strictEqual(csv.split('\r\n')[1], '\'=cmd(),"a,b",,\'+1,,,"say ""x""",,\'@x');

	/* And each is read as it was. */
	for (const text of [ '=cmd()', '+1', '-1', '@x', '\'=x', '\'\'@x', '\'quoted\'', 'a=b', 'say "x", then; y' ])
		assert.strictEqual(rooms.read(rooms.csv([ { name: 'lab-01', mac: 'dc:a6:32:01:02:03', model: text } ]))[0].model, text);
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
