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
