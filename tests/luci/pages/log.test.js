'use strict';

/* The log, and the report for a bug. */

const assert = require('node:assert');
const test = require('node:test');

const { answers } = require('../given.js');
const { answer, browser } = require('../harness.js');
const { button, settle } = require('../press.js');

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

/* A daemon with these events, that looks for what is wanted as the method `events` is described. */
function daemon(given, all) {
	const weights = [ 'detail', 'matter', 'trouble' ];

	given.events = ({ count, client, account, least, before }) => {
		const found = all.filter((event) => event.name.includes(client ?? '') && (!account || (event.user ?? '').includes(account)) &&
			weights.indexOf(event.weight) >= weights.indexOf(least ?? 'detail') && (before == null || event.at < +before));
		const oldest = found[Math.max(0, found.length - count)];
		const events = found.filter((event) => event.at >= oldest?.at);

		return { events: structuredClone(events), more: found.length > events.length };
	};
}

const EVENT = (n, more) => Object.assign({ at: 1795800000000 + 1000 * n, last_at: 1795800000000 + 1000 * n, client: 'b8:27:eb:10:00:00', name: 'lab-' + (n % 30), kind: 'mount', says: 'event ' + n, times: 1, weight: 'matter' }, more);

test('the log goes back as far as the daemon does, piece by piece, and nothing is asked twice', async () => {
	const given = answers();
	const all = Array.from({ length: 250 }, (one, n) => EVENT(n));

	daemon(given, all);

	const page = browser(given);
	const node = await page.open('bramble.log');
	const rows = () => node.all((one) => one.tagName == 'TR').slice(1).map((row) => row.textContent.match(/event (\d+)/)?.[1]);
	const asked = () => page.seen.calls.filter((call) => call.method == 'events').map((call) => call.params);

	assert.deepStrictEqual([ rows().length, rows()[0], rows()[99] ], [ 100, '249', '150' ]);
	await button(node, 'Older…').click();
	await button(node, 'Older…').click();
	assert.deepStrictEqual(rows(), all.map((event, n) => String(n)).reverse());
	assert.ok(!node.all((one) => one.attributes['data-key'] == 'older').length, 'there is nothing older');
	assert.deepStrictEqual(asked(), [ { count: 100, least: 'matter' }, { count: 100, least: 'matter', before: String(all[150].at) }, { count: 100, least: 'matter', before: String(all[50].at) } ]);

	/* Without news each poll is one question for one event. */
	await page.tick();
	await page.tick();
	assert.deepStrictEqual(asked().slice(3), [ { count: 1, least: 'matter' }, { count: 1, least: 'matter' } ]);

	/* News come on top, and what was shown stays. */
	all.push(EVENT(250));
	await page.tick();
	assert.deepStrictEqual(asked().slice(5), [ { count: 1, least: 'matter' }, { count: 100, least: 'matter' } ]);
	assert.deepStrictEqual([ rows().length, rows()[0], rows()[250] ], [ 251, '250', '0' ]);

	/* The newest happened again. */
	Object.assign(all[250], { times: 2, last_at: all[250].last_at + 500 });
	await page.tick();
	assert.match(node.textContent, /event 250 \(2 times\)/);

	/* So many at once that there is a gap: what is older is asked for anew. */
	all.push(...Array.from({ length: 300 }, (one, n) => EVENT(251 + n)));
	await page.tick();
	assert.deepStrictEqual([ rows().length, rows()[0], rows()[99] ], [ 100, '550', '451' ]);
	await button(node, 'Older…').click();
	assert.strictEqual(rows()[199], '351');
});

test('the daemon looks for what is wanted in the log, once somebody has typed it', async () => {
	const given = answers();
	const all = Array.from({ length: 400 }, (one, n) => EVENT(n, n == 3 ? { kind: 'login_refused', user: 'anna', weight: 'trouble' } : n % 2 ? { kind: 'file', weight: 'detail' } : {}));

	daemon(given, all);

	const page = browser(given);
	const node = await page.open('bramble.log');
	const asked = () => page.seen.calls.filter((call) => call.method == 'events').map((call) => call.params);
	const waiting = new Set();
	const [ client, account ] = node.all((one) => one.attributes.type == 'search');
	const least = node.all((one) => one.tagName == 'SELECT')[0];

	page.window.setTimeout = (work, wait) => { if (wait) waiting.add(work); return work; };
	page.window.clearTimeout = (work) => waiting.delete(work);

	/* One that 400 others have pushed out of the newest. */
	await least.fire('change', { target: { value: 'trouble' } });
	assert.deepStrictEqual(asked().pop(), { count: 100, least: 'trouble' });
	assert.ok(node.textContent.includes('event 3') && !node.textContent.includes('event 398'));

	for (const text of [ 'a', 'an', 'anna ' ])
		await account.fire('input', { target: { value: text } });

	assert.strictEqual(asked().length, 2);
	await Promise.all([ ...waiting ].map((work) => work()));
	assert.deepStrictEqual(asked().slice(2), [ { count: 100, account: 'anna', least: 'trouble' } ]);
	waiting.clear();
	await client.fire('input', { target: { value: 'lab-4' } });
	await Promise.all([ ...waiting ].map((work) => work()));
	assert.ok(node.textContent.includes('Nothing of this kind has happened.'));
	await page.tick();
	assert.deepStrictEqual(asked().pop(), { count: 1, client: 'lab-4', account: 'anna', least: 'trouble' });

	/* An answer to what nobody wants to know any more is left aside, whoever asked. */
	waiting.clear();
	await account.fire('input', { target: { value: '' } });
	await Promise.all([ ...waiting ].map((work) => work()));

	let late = null;
	const now = given.events;

	given.events = (params) => new Promise((resolve) => { late = () => resolve(now(params)); });

	const slow = least.fire('change', { target: { value: 'detail' } });

	await new Promise((resolve) => setImmediate(resolve));

	const first = late;

	given.events = now;
	await least.fire('change', { target: { value: 'trouble' } });
	first();
	await slow;
	assert.ok(node.textContent.includes('Nothing of this kind has happened.'));

	all.push(EVENT(424));
	await least.fire('change', { target: { value: 'detail' } });
	all.push(EVENT(454));
	given.events = (params) => (params.count == 1 ? now(params) : new Promise((resolve) => { late = () => resolve(now(params)); }));

	const poll = page.tick();

	for (let n = 0; n < 4; n++)
		await new Promise((resolve) => setImmediate(resolve));

	given.events = now;
	await least.fire('change', { target: { value: 'trouble' } });
	late();
	await poll;
	assert.ok(node.textContent.includes('Nothing of this kind has happened.'));
});
