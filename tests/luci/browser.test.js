'use strict';

/* The pages, unmodified, in a real browser: no error, no sideways scrolling on a telephone, the keyboard alone is enough,
   nothing from the network becomes markup, nothing is loaded from elsewhere, and set-up takes eight clicks. */

const assert = require('node:assert');
const { after, before, test } = require('node:test');

const { ROLES, pages } = require('./access.js');
const { answer } = require('./harness.js');
const { EVIL, VIEWS, answers, poison } = require('./given.js');
const { Chrome, PROGRAM } = require('./chrome.js');
const { serve } = require('./standin/server.js');

/* In CI a missing browser is a failure. */
const SKIP = PROGRAM || process.env.BRAMBLE_REQUIRE_PEERS ? false : 'chromium is not installed';

let chrome = null, site = null, given = null;

/* What the router answers: what was recorded, or what a test puts in its place. */
function reply(object, method, params) {
	if (object == 'uci')
		return method == 'get' ? given.uci[params.config] ?? {} : method == 'set' ? (given.uci[params.config] = params.values) : {};

	const found = given[object == 'bramble' ? method : object + '.' + method];

	return typeof(found) == 'function' ? found(params) : found;
}

before(async () => {
	if (SKIP)
		return;

	site = await serve(reply);
	chrome = await Chrome.start();
});

after(async () => {
	await chrome?.stop();
	await site?.stop();
});

async function open(view, look, role = 'administrator') {
	const page = await chrome.page(look);

	site.refused.length = 0;
	await page.open(site.url + '/cgi-bin/luci/admin/bramble/' + view + '?role=' + role);
	await page.wait(() => document.body.dataset.ready && [ ...document.querySelectorAll('link[rel="stylesheet"]') ].every((link) => link.sheet));

	return page;
}

for (const view of VIEWS)
	test('in a browser: ' + view, { skip: SKIP }, async () => {
		for (const [ width, dark ] of [ [ 1280, false ], [ 400, true ] ]) {
			given = answers();

			const page = await open(view, { width, height: 900, dark });
			const wide = await page.run(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

			assert.ok(wide <= 0, 'at ' + width + ' px it is ' + wide + ' px too wide');
			assert.deepStrictEqual(page.troubles, []);
			assert.deepStrictEqual(site.refused, []);
			assert.deepStrictEqual(page.asked.filter((url) => !url.startsWith(site.url) && !/^(data|blob|about):/.test(url)), []);

			/* Whoever cannot see it hears what each control is. */
			const dumb = await page.run(() => [ ...document.querySelectorAll('#view button, #view a, #view input, #view select, #view textarea') ]
				.filter((node) => !(node.textContent.trim() || node.getAttribute('aria-label') || node.labels?.length || node.title))
				.map((node) => node.outerHTML));

			assert.deepStrictEqual(dumb, []);
			await page.close();
		}
	});

for (const role of ROLES.filter((one) => one != 'administrator'))
	for (const view of pages(role))
		test('in a browser, for the ' + role + ': ' + view, { skip: SKIP }, async () => {
			given = answers(role);

			const page = await open(view, { width: 1280, height: 900 }, role);

			/* What a tab asks when it is opened, too. */
			await page.run(() => document.querySelectorAll('.cbi-tabmenu a').forEach((tab) => tab.click()));
			await new Promise((resolve) => setTimeout(resolve, 200));
			assert.deepStrictEqual([ page.troubles, site.refused ], [ [], [] ]);
			assert.doesNotMatch(await page.says(), /not allowed|not running/);
			await page.close();
		});

for (const view of VIEWS)
	test('in a browser, markup in every field of every answer stays text: ' + view, { skip: SKIP }, async () => {
		given = answers('administrator', (name, value) => poison(value));

		const page = await open(view, { width: 1280, height: 900 });
		const pressed = await page.run(async () => {
			let count = 0;

			for (const node of document.querySelectorAll('#view button')) {
				node.click();
				await new Promise((resolve) => setTimeout(resolve, 15));
				count += document.querySelectorAll('.modal').length;
			}

			return count;
		});

		/* An image that was made by mistake asks for its source and then runs what it says. */
		await new Promise((resolve) => setTimeout(resolve, 100));
		assert.strictEqual(await page.run(() => document.querySelectorAll('img, script[src*="x"]').length), 0);
		assert.deepStrictEqual(page.troubles.filter((trouble) => /dialog of the browser|alert/.test(trouble)), []);
		assert.ok(!page.asked.some((url) => /\/x$/.test(url)), page.asked.join(' '));

		if (view == 'overview')
			assert.ok((await page.says()).includes(EVIL) && pressed > 0);

		await page.close();
	});

/* The keyboard, as somebody has it who sees no mouse: goes with Tab to what has this `data-key`, these words or this name, where
   it can be seen that one is there, and types or presses. */
function keyboard(page) {
	const at = () => page.run(() => {
		const node = document.activeElement;

		return node && node !== document.body ? [ node.getAttribute('data-key'), node.textContent.trim(), node.getAttribute('name'), node.getAttribute('aria-label') ] : [];
	});
	const keys = {
		at,
		async reach(wanted) {
			for (let n = 0; n < 120; n++) {
				if ((await at()).includes(wanted)) {
					const { outlineStyle, outlineWidth } = await page.run(() => (({ outlineStyle, outlineWidth }) => ({ outlineStyle, outlineWidth }))(getComputedStyle(document.activeElement)));

					assert.ok(outlineStyle != 'none' && outlineWidth != '0px', wanted + ' has the keyboard, and it cannot be seen');

					return;
				}

				await page.key('Tab');
			}

			assert.fail('the keyboard does not get to ' + wanted + '; it is at ' + await at());
		},
		async press(wanted, key = 'Enter') {
			await keys.reach(wanted);
			await page.key(key);
		},
		async type(name, text) {
			await keys.reach(name);
			await page.ask('Input.insertText', { text });
		},
		dialog: (open) => page.wait((wanted) => (document.querySelector('#modal_overlay:not([hidden]) .modal') != null) == wanted, open),
		/* Back where it was before a dialog. */
		async back(wanted) {
			await keys.dialog(false);
			await page.wait((key) => document.activeElement?.getAttribute('data-key') == key || document.activeElement?.textContent.trim() == key, wanted);
		}
	};

	return keys;
}

test('with the keyboard alone: a seat, its dialog, and back', { skip: SKIP }, async () => {
	given = answers();

	const page = await open('overview', { width: 1280, height: 900 });
	const keys = keyboard(page);
	const seat = 'seat-' + answer('overview').whole.seats.find((one) => one.adopted).mac;

	await keys.reach(seat);

	/* One stays there while the page draws itself anew. */
	await page.run(() => { document.querySelectorAll('[data-key^="seat-"]').forEach((one) => { one.dataset.old = '1'; }); });
	given.overview = Object.assign({}, given.overview, { mark: 'other' });
	await page.wait(() => !document.querySelector('[data-old]'));
	assert.ok((await keys.at()).includes(seat));
	await page.key('Enter');
	await keys.dialog(true);
	assert.ok(await page.run(() => document.querySelector('.modal').contains(document.activeElement)), 'a dialog takes the keyboard');

	/* A dialog in the place of a dialog, closed with Escape. */
	await keys.press('Message…', ' ');
	await page.wait(() => document.querySelector('.modal [name="message"]') === document.activeElement);
	await page.key('Escape');
	await keys.back(seat);
	await page.key(' ');
	await keys.dialog(true);
	await keys.press('Close');
	await keys.back(seat);
	assert.deepStrictEqual(page.troubles, []);
	await page.close();
});

test('with the keyboard alone: a tab, a form, a box to tick, and back', { skip: SKIP }, async () => {
	given = answers();

	const asked = [];

	given.account_add = (params) => { asked.push(params); return answer('account_add'); };
	given.class_remove = (params) => { asked.push(params); return { accounts: [] }; };

	const page = await open('people', { width: 1280, height: 900 });
	const keys = keyboard(page);

	/* The field of a dialog has the keyboard at once; Enter sends it, and what comes of it has the keyboard then. */
	await keys.press('Add…');
	await keys.dialog(true);
	assert.ok((await keys.at()).includes('account'));
	await page.ask('Input.insertText', { text: 'zoe' });
	await keys.type('full_name', 'Zoë Adams');
	await page.key('Enter');
	await page.text('New passwords');
	await keys.press('Close');
	await keys.back('Add…');
	assert.deepStrictEqual(asked.map((one) => [ one.account, one.full_name ]), [ [ 'zoe', 'Zoë Adams' ] ]);

	/* A refusal has the keyboard at its field. */
	given.account_add = answer('account_add_refused');
	await page.key('Enter');
	await keys.dialog(true);
	await keys.press('Add');
	await page.text(answer('account_add_refused').error.message);
	assert.ok((await keys.at()).includes('account'));
	await page.key('Escape');
	await keys.back('Add…');

	const [ { name } ] = answer('class_list').classes;

	await keys.press('Classes');
	await keys.press('class-remove-' + name);
	await keys.dialog(true);
	await keys.press('members', ' ');
	await keys.press('Remove the class', ' ');
	await keys.back('class-remove-' + name);
	assert.deepStrictEqual(asked[1], { 'class': name, members: '1' });
	assert.deepStrictEqual(page.troubles, []);
	await page.close();
});

/* A router on which Bramble was just installed. */
function fresh() {
	const all = answers();
	const { overview, takeover, image_list: images, job_list: jobs } = all;
	const seat = Object.assign({}, overview.whole.seats.find((one) => !one.adopted));
	const now = { running: false, imported: false, adopted: false };
	const running = (value) => (now.running ? value : undefined);

	return Object.assign(all, {
		now,
		uci: { bramble: { main: { '.name': 'main', '.type': 'bramble', enabled: '0', data: '/mnt/sda1/bramble', network: [ 'lan' ] } }, network: all.uci.network, system: { ntp: { '.name': 'ntp', '.type': 'timeserver', enable_server: '0' } } },
		'file.exec': { code: 0, stdout: JSON.stringify(takeover) },
		'rc.init': ({ action }) => { now.running ||= action == 'start'; return {}; },
		overview: () => running(Object.assign({}, overview, { whole: Object.assign({}, overview.whole, {
			rooms: all.uci.bramble.lab ? [ { name: 'lab', image: all.uci.bramble.lab.image ?? null } ] : [],
			seats: [ Object.assign(seat, { adopted: now.adopted, room: now.adopted ? 'lab' : null }) ]
		}) })),
		image_list: () => running(now.imported ? images : { images: [] }),
		image_import: () => { now.imported = true; return { job: 1 }; },
		job_list: () => running(now.imported ? jobs : { jobs: [] }),
		client_adopt: (asked) => { now.adopted = asked; return all.client_get; }
	});
}

test('from a new package to a Pi that boots are eight clicks at most', { skip: SKIP }, async () => {
	given = fresh();

	const page = await open('setup', { width: 1280, height: 900 });
	let clicks = 0;
	const press = async (label) => { clicks++; await page.press(label); };

	await press('Next');
	await press('Show what changes');
	await press('Start Bramble');
	await page.text('What do the Pis start?');

	/* The first offer of the catalogue, whose size is beside it. */
	const [ offer ] = answer('image_catalogue').offers.filter((one) => !one.misfit);

	await page.text(offer.name);
	assert.match(await page.says(), /1\.2 GB to fetch, 5\.7 GB on the disk/);
	await press('offer-' + offer.id);
	await page.text('These images are there');
	await page.wait(() => !document.body.classList.contains('modal-overlay-active'));
	await press('5. Pis');
	await press('Adopt…');
	await press('Adopt');
	await page.wait(() => !document.body.classList.contains('modal-overlay-active'));
	assert.ok(clicks <= 8, clicks + ' clicks');
	assert.strictEqual(given.uci.bramble.main.enabled, '1');
	assert.strictEqual(given.uci.system.ntp.enable_server, '1');
	assert.strictEqual(given.now.adopted.room, 'lab', 'the Pi is in the room that the image was made for');
	assert.strictEqual(given.uci.bramble.lab.image, offer.suggested);
	assert.deepStrictEqual(page.troubles, []);
	await page.close();
});

test('with the keyboard alone: from a new package to a Pi that boots', { skip: SKIP }, async () => {
	given = fresh();
	given.uci.bramble.dhcp = { '.name': 'dhcp', '.type': 'dhcp', mode: 'authoritative' };

	const page = await open('setup', { width: 1280, height: 900 });
	const keys = keyboard(page);
	const offer = 'offer-' + answer('image_catalogue').offers.find((one) => !one.misfit).id;

	/* The button of the next step is where that of the step before it was. */
	await keys.press('next');
	await page.text('Who gives addresses there?');
	await page.wait(() => document.activeElement?.getAttribute('data-key') == 'next');

	/* The keys of a group of choices are arrows. */
	await page.run(() => document.activeElement.blur());
	await keys.reach('mode');
	await page.key('ArrowDown');
	await keys.press('next');
	await keys.dialog(true);
	await keys.press('Start Bramble');
	await page.text('What do the Pis start?');
	assert.strictEqual(given.uci.bramble.dhcp.mode, 'proxy');
	await keys.press(offer);
	await page.text('These images are there');
	await keys.press('step-4');
	await keys.press('Adopt…');
	await page.wait(() => document.activeElement?.getAttribute('name') == 'name');
	await page.key('Enter');
	await page.wait(() => !document.body.classList.contains('modal-overlay-active'));
	assert.strictEqual(given.now.adopted.room, 'lab');
	assert.deepStrictEqual(page.troubles, []);
	await page.close();
});
