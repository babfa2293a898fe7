'use strict';

/* Set-up: from a new package to a Pi that boots. */

const assert = require('node:assert');
const test = require('node:test');

const { answers } = require('../given.js');
const { answer, browser } = require('../harness.js');
const { button, settle, submit } = require('../press.js');

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

test('set-up: who was adopted is no longer offered, without waiting for the next poll', async () => {
	const given = answers();
	const seat = given.overview.whole.seats.find((one) => !one.adopted);

	given.client_adopt = () => { seat.adopted = true; return answer('client_get'); };

	const page = browser(given);
	const node = await page.open('bramble.setup');
	const offered = () => node.all((one) => one.attributes['data-key'] == 'adopt-' + seat.mac);

	await button(node, '5. Pis').click();
	await settle();
	await offered()[0].click();
	await settle();
	await submit(page);
	await settle();
	assert.deepStrictEqual(offered(), []);
});

test('set-up: where no offer fits the Pis here, the whole catalogue is offered', async () => {
	const given = answers();

	given.image_list = { images: [] };
	given.job_list = Object.assign({}, given.job_list, { jobs: [] });
	given.image_catalogue = Object.assign({}, answer('image_catalogue'), { offers: [] });

	const page = browser(given);
	const node = await page.open('bramble.setup');

	await settle();
	button(node, 'The whole catalogue…');
});

test('set-up: a new router reads its lists by itself, and shows what they offer when it has', async () => {
	const given = answers();
	const read = answer('image_catalogue');
	const unread = Object.assign({}, read, { lists: read.lists.map((list) => Object.assign({}, list, { read_at: null, error: null })), offers: [] });
	let now = unread;

	given.image_list = { images: [] };
	given.job_list = Object.assign({}, given.job_list, { jobs: [] });
	given.image_catalogue = () => now;
	given.image_catalogue_refresh = answer('image_list');

	const page = browser(given);
	const node = await page.open('bramble.setup');
	const asked = (method) => page.seen.calls.filter((call) => call.method == method).length;
	const [ offer ] = read.offers.filter((one) => !one.misfit);

	await settle();
	assert.match(node.textContent, /lists have not been read yet/);
	await page.tick();
	assert.deepStrictEqual([ asked('image_catalogue_refresh'), node.textContent.includes(offer.name) ], [ 1, false ]);
	now = read;
	await page.tick();
	assert.ok(node.textContent.includes(offer.name));
	button(node, 'The whole catalogue…');

	const before = asked('image_catalogue');

	await page.tick();
	assert.strictEqual(asked('image_catalogue'), before, 'what was read is not asked for again');
});
