'use strict';

/* What holds for every page: it is drawn and drawn again, a lost answer empties nothing, every button reports, and nothing from
   the network becomes markup. */

const assert = require('node:assert');
const test = require('node:test');

const { EVIL, METHODS, VIEWS, answers, poison } = require('../given.js');
const { answer, browser } = require('../harness.js');
const { pressAll, settle } = require('../press.js');

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

test('markup in the configuration stays text in forms', async () => {
	for (const name of [ 'clients', 'files', 'settings' ]) {
		const given = answers();

		given.uci.bramble = Object.fromEntries([ 'client', 'room', 'share', 'schedule', 'subnet' ].map((kind) => [ 'x_' + kind, new Proxy({ '.name': 'x_' + kind, '.type': kind }, {
			get: (one, option) => one[option] ?? EVIL
		}) ]));

		const page = browser(given);

		await page.open('bramble.' + name);

		const tables = page.seen.maps.flatMap((map) => map.sections).filter((section) => section.modaltitle);

		assert.ok(tables.length);

		for (const section of tables) {
			const id = 'x_' + section.name;

			/* LuCI undoes what was escaped in a title, and writes it as markup. */
			assert.doesNotMatch(section.modaltitle(id), /[<>&]/);

			/* The harness refuses a bare text. */
			for (const field of section.fields.filter((one) => one.textvalue))
				assert.ok(page.E('td', {}, field.textvalue(id)).textContent.includes('<img'), section.name + '.' + field.name);
		}

		for (const [ what, text ] of page.seen.sinks)
			assert.ok(!text.includes('<img'), what + ': ' + text);
	}
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
