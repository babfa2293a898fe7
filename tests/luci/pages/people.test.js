'use strict';

/* People: accounts, classes, lists, passwords. */

const assert = require('node:assert');
const test = require('node:test');

const { answers } = require('../given.js');
const { answer, browser } = require('../harness.js');
const { button, submit } = require('../press.js');

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

test('a thousand accounts cost one question and fifty rows, whatever is looked for', async () => {
	const given = answers();
	const [ one ] = given.account_list.accounts;
	const all = Array.from({ length: 1000 }, (none, n) => Object.assign({}, one, { name: 'pupil-' + n, full_name: 'Person ' + n }));

	given.account_list = ({ search, offset, limit }) => {
		const found = all.filter((account) => account.name.includes(search ?? ''));

		return { now: 1, elsewhere: false, total: found.length, offset: offset ?? 0, accounts: found.slice(offset ?? 0, (offset ?? 0) + limit) };
	};

	const page = browser(given);
	const waiting = new Set();
	const node = await page.open('bramble.people');
	const asked = () => page.seen.calls.filter((call) => call.method == 'account_list').map((call) => call.params);
	const rows = () => node.all((each) => (each.attributes['data-key'] ?? '').startsWith('edit-')).length;

	page.window.setTimeout = (work, wait) => { if (wait) waiting.add(work); return work; };
	page.window.clearTimeout = (work) => waiting.delete(work);
	assert.deepStrictEqual([ asked(), rows() ], [ [ { limit: 50 } ], 50 ]);
	assert.ok(node.textContent.includes('1 to 50 of 1,000'));
	await page.tick();
	await page.tick();
	assert.strictEqual(asked().length, 1, 'a poll does not ask for them');
	await button(node, 'Next').click();
	assert.deepStrictEqual([ asked().slice(1), rows() ], [ [ { search: '', 'class': '', role: '', limit: 50, offset: 50 } ], 50 ]);

	/* Whoever types asks once, when they have done. */
	const field = node.all((each) => each.attributes.type == 'search')[0];

	for (const text of [ '7', '77', '777' ])
		await field.fire('input', { target: { value: text } });

	assert.deepStrictEqual([ asked().length, waiting.size ], [ 2, 1 ]);
	await Promise.all([ ...waiting ].map((work) => work()));
	assert.deepStrictEqual([ asked().slice(2), rows() ], [ [ { search: '777', 'class': '', role: '', limit: 50, offset: 0 } ], 1 ]);
});
