'use strict';

/* Who sees which button, and what rpcd lets through and refuses by the access list that is shipped. */

const assert = require('node:assert');
const test = require('node:test');

const { ROLES, guard, pages } = require('../access.js');
const { METHODS, answers } = require('../given.js');
const { answer, browser } = require('../harness.js');
const { pressAll, settle } = require('../press.js');
const { serve } = require('../standin/server.js');

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
		[ 'teacher', 'files', 'Measure again', false ],
		[ 'teacher', 'files', 'Back up…', false ],
		[ 'administrator', 'files', 'Back up…', true ],
		[ 'teacher', 'clients', 'Forget…', false ],
		[ 'administrator', 'overview', 'Adopt…', true ],
		[ 'administrator', 'clients', 'Forget…', true ],
		[ 'administrator', 'log', 'Report for a bug…', true ]
	])
		assert.strictEqual((await labels(role, name)).has(label), there, role + ', ' + name + ', ' + label);
});

for (const role of ROLES)
	for (const name of pages(role))
		test('rpcd lets through whatever the page asks: ' + name + ' for the ' + role, async () => {
			const { refuses, fetches } = guard(role);
			const given = answers(role);

			given['/usr/bin/bramble'] = { code: 0, stdout: JSON.stringify(answer('takeover')) };
			given.files = { '/mnt/sda1': [ { name: 'bramble-2026-11-27.tar', type: 'file', size: 5e9, mtime: 1795782000 }, { name: 'bramble-image-trixie-1.tar.zst', type: 'file', size: 5e9, mtime: 1795782000 } ] };

			const page = browser(given, refuses);
			const node = await page.open('bramble.' + name);

			node.view.more?.();
			await settle();
			await page.tick();
			await pressAll(page, node);
			assert.deepStrictEqual(page.seen.refused, []);
			assert.ok(page.seen.calls.length > 1);

			/* Nor does it lead where LuCI would show a refusal, or offer a file that cannot be fetched. */
			const links = node.all((one) => one.attributes.href?.includes('/admin/')).map((one) => one.attributes.href.match(/bramble\/(\w+)/)?.[1]);
			const files = page.document.sent.map((form) => form.children.find((one) => one.attributes.name == 'path').attributes.value);

			assert.deepStrictEqual(links.filter((link) => !pages(role).includes(link)), []);
			assert.deepStrictEqual(files.filter((file) => !fetches(file)), []);
			assert.strictEqual(files.length > 0, role == 'administrator' && [ 'images', 'files' ].includes(name));
		});

for (const role of ROLES)
	test('every method that is not for the ' + role + ' is refused when it is called, and every other one is not', async () => {
		const site = await serve(() => ({}));
		const ask = (object, method, params) => fetch(site.url + '/ubus/?role=' + role, { method: 'POST', body: JSON.stringify({ object, method, params }) }).then((reply) => reply.json());
		const roles = ROLES.slice(0, ROLES.indexOf(role) + 1);
		const ours = role == 'administrator';

		try {
			for (const method of METHODS)
				assert.strictEqual((await ask('bramble', method.name, {})).code ?? 0, roles.includes(method.role) ? 0 : -32002, method.name);

			assert.deepStrictEqual(site.refused.length, METHODS.filter((method) => !roles.includes(method.role)).length);

			/* What the pages ask of the router itself. */
			for (const [ object, method, params, code ] of [
				[ 'uci', 'get', { config: 'bramble' }, 6 ],
				[ 'uci', 'set', { config: 'bramble' }, -32002 ],
				[ 'uci', 'apply', {}, -32002 ],
				[ 'luci', 'getMountPoints', {}, -32002 ],
				[ 'rc', 'init', { name: 'bramble', action: 'stop' }, -32002 ],
				[ 'file', 'exec', { command: '/usr/bin/bramble', params: [ 'takeover', '--dry-run', '--json' ] }, -32002 ]
			])
				assert.strictEqual((await ask(object, method, params)).code ?? 0, ours ? 0 : code, object + '.' + method);

			/* And what nobody but root may. */
			for (const [ object, method, params, code ] of [
				[ 'file', 'exec', { command: '/usr/bin/bramble', params: [ 'account', 'list' ] }, ours ? 6 : -32002 ],
				[ 'file', 'read', { path: '/etc/shadow' }, -32002 ],
				[ 'uci', 'set', { config: 'network' }, ours ? 6 : -32002 ],
				[ 'uci', 'get', { config: 'rpcd' }, 6 ],
				[ 'system', 'reboot', {}, -32002 ]
			])
				assert.strictEqual((await ask(object, method, params)).code, code, object + '.' + method);
		}
		finally {
			await site.stop();
		}
	});

test('a refusal of rpcd is told in plain words', async () => {
	const api = browser({}, guard('helper').refuses).load('bramble.api');

	await assert.rejects(api.clientForget({ client: 'lab-01' }), { code: 'not_allowed', message: 'You are not allowed to do this.' });
	await assert.rejects(api.overview(), { code: 'not_running' });
});

test('whoever may not change the configuration has nothing to save', async () => {
	for (const [ role, name, there ] of [ [ 'helper', 'clients', false ], [ 'teacher', 'clients', false ], [ 'teacher', 'files', false ], [ 'administrator', 'clients', true ], [ 'administrator', 'files', true ] ]) {
		const page = browser(answers(role));
		let asked = 0;
		const { view } = await page.open('bramble.' + name);

		view.super = () => { asked++; return page.E('div', {}, []); };
		view.addFooter();
		assert.strictEqual(asked > 0, there, role + ', ' + name);
	}
});
