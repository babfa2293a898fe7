'use strict';

/* Who sees which button, and what rpcd lets through and refuses by the access list that is shipped. */

const assert = require('node:assert');
const test = require('node:test');

const { METHODS, VIEWS, answers, may: rights } = require('../given.js');
const { browser } = require('../harness.js');
const { pressAll, settle } = require('../press.js');

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
