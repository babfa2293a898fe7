'use strict';

/* The overview: seats, verdicts, actions, what goes on, and how it keeps itself up to date. */

const assert = require('node:assert');
const test = require('node:test');

const { ACTION, answers } = require('../given.js');
const { answer, browser } = require('../harness.js');
const { button, fields, settle, submit } = require('../press.js');

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

test('a verdict that these pages do not know is told in the daemon’s words', async () => {
	const given = answers();
	const [ stuck ] = given.overview.whole.seats.filter((seat) => seat.verdicts.length);

	stuck.verdicts = [ { code: 'quite_new', stops: true, sentence: 'It sings.', causes: [], remedy: 'Listen.' } ];

	const node = await browser(given).open('bramble.overview');

	assert.match(node.textContent, /It sings\.[^]*Listen\./);
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

test('without the daemon the overview leads to the set-up', async () => {
	const given = answers();

	delete given.overview;

	const node = await browser(given).open('bramble.overview');

	assert.ok(node.textContent.includes('Bramble is not running.'));
	assert.ok(node.all((one) => one.attributes.href == '/cgi-bin/luci/admin/bramble/setup').length);
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

test('a room is switched off only after it was said who is logged in', async () => {
	const given = answers();

	given.client_action = ACTION();
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

	given.client_action = ({ force }) => (force ? ACTION() : { error: { code: 'people_logged_in', message: refusal + '; wait, or do it all the same (`--force`)', field: 'force' } });

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
	assert.ok(!dialog.node.textContent.includes('--force'), 'an option of the command line');
	button(dialog.node, 'Do it all the same');
	assert.deepStrictEqual(page.seen.notices, [], 'nothing was done yet');
	await submit(page);
	assert.deepStrictEqual(asked().map((one) => one.force), [ undefined, '1' ]);
	assert.strictEqual(asked()[1].except, mine.mac + ',lab-02');
	assert.strictEqual(page.seen.notices.length, 1);
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

	given.action_list = { actions: [ action ] };

	const page = browser(given);
	const node = await page.open('bramble.overview');

	assert.match(node.textContent, /lab-99/);
	given.action_stop = action;
	await button(node, 'Call off').click();
	assert.deepStrictEqual(page.seen.calls.filter((call) => call.method == 'action_stop').map((call) => call.params.action), [ action.action ]);
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
