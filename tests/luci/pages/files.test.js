'use strict';

/* Shares and homes: homes, backups. */

const assert = require('node:assert');
const test = require('node:test');

const { answers } = require('../given.js');
const { browser } = require('../harness.js');
const { button, settle, submit } = require('../press.js');

test('an action that fails says so', async () => {
	const given = answers();
	const page = browser(given);
	const node = await page.open('bramble.files');

	given.home_measure = { error: { code: 'job', message: 'too many jobs are waiting', field: null } };
	await button(node, 'Measure again').click();
	await settle();
	assert.deepStrictEqual(page.seen.notices, [ { text: 'too many jobs are waiting', kind: 'danger' } ]);
});

test('a teacher sees which shares there are and for whom, and how much everybody keeps', async () => {
	const given = answers('teacher');

	given.share_list.shares[1].problem = 'the folder is gone';

	const node = await browser(given).open('bramble.files');
	const [ homework, materials ] = given.share_list.shares;

	assert.deepStrictEqual([ homework.access, materials.access ], [ 'handin', 'read' ]);

	for (const text of [ homework.name, 'hand in', homework.classes[0], materials.name, 'everybody', 'the folder is gone', given.home_usage.homes[0].name, '72 kB' ])
		assert.ok(node.textContent.includes(text), text + ' is not in ' + node.textContent);
});

test('the table of shares has the words of the form, and says whom none is for', async () => {
	const given = answers();

	Object.assign(given.uci.bramble, {
		homework: { '.name': 'homework', '.type': 'share', access: 'handin', 'class': [ 'class-7b', 'chess' ] },
		materials: { '.name': 'materials', '.type': 'share' }
	});

	const page = browser(given);

	await page.open('bramble.files');

	const [ { fields } ] = page.seen.maps[0].sections;
	const shown = (name, section) => page.E('td', {}, fields.find((field) => field.name == name).textvalue(section)).textContent;

	assert.deepStrictEqual([ shown('access', 'homework'), shown('class', 'homework'), shown('access', 'materials'), shown('class', 'materials') ], [ 'hand in', 'class-7b, chess', 'read', 'everybody' ]);
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
