'use strict';

/* Images: where they come from, and what is done with them, their versions and drafts. */

const assert = require('node:assert');
const test = require('node:test');

const { guard } = require('../access.js');
const { answers } = require('../given.js');
const { answer, browser } = require('../harness.js');
const { button, fields, settle, submit } = require('../press.js');

/* A router that takes uploads, as the daemon's methods are described; what it has kept is looked at afterwards. */
function receiver(given, lose = () => false) {
	const kept = { bytes: [], begun: 0, slices: 0 };
	const answer = () => ({ upload: 7, name: 'x.img', bytes: 0, got: kept.bytes.length, started_at: 1, slice: 48000 });

	given.upload_begin = () => { kept.begun++; return answer(); };
	given.upload_slice = ({ offset, data }) => {
		if (++kept.slices && lose(kept.slices, 'before'))
			throw new Error('the connection is gone');

		if (offset != kept.bytes.length)
			return { error: { code: 'bad_value', message: 'that slice does not follow', field: 'offset' } };

		kept.bytes.push(...Buffer.from(data, 'base64'));

		if (lose(kept.slices, 'after'))
			throw new Error('the answer is lost');

		return answer();
	};

	return kept;
}

const FILE = (bytes) => ({ name: 'x.img', size: bytes.length, lastModified: 5, slice: (from, to) => ({ arrayBuffer: async () => new Uint8Array(bytes.subarray(from, to)).buffer }) });

test('a file goes to the router in slices, and nothing of it is lost or sent twice when the connection breaks', async () => {
	const bytes = Buffer.from(Array.from({ length: 250000 }, (one, n) => (n * 7919) % 256));
	const given = answers();
	const page = browser(given);
	const sources = page.load('bramble.sources');

	page.window.btoa = (text) => Buffer.from(text, 'latin1').toString('base64');
	page.window.setTimeout = (work) => setImmediate(work);

	for (const lose of [ () => false, (n, when) => n == 3 && when == 'before', (n, when) => n % 3 == 2 && when == 'after' ]) {
		const kept = receiver(given, lose);
		const told = [];
		const upload = await sources.send(FILE(bytes), (got) => { told.push(got); return true; });

		assert.strictEqual(upload.upload, 7);
		assert.ok(Buffer.from(kept.bytes).equals(bytes), 'every byte once');
		assert.ok(told.every((got, n) => n == 0 || got >= told[n - 1]));
		assert.ok(page.seen.calls.filter((call) => call.method == 'upload_slice').every((call) => JSON.stringify(call).length < 65000));
	}

	/* One that was begun goes on where it stopped. */
	const kept = receiver(given);

	kept.bytes.push(...bytes.subarray(0, 100000));

	const told = [];

	await sources.send(FILE(bytes), (got) => { told.push(got); return true; });
	assert.strictEqual(told[0], 100000);
	assert.ok(Buffer.from(kept.bytes).equals(bytes));

	/* It can be stopped, and a connection that stays away ends it. */
	receiver(given);
	await assert.rejects(sources.send(FILE(bytes), () => false), /Stopped/);
	receiver(given, (n, when) => when == 'before');
	await assert.rejects(sources.send(FILE(bytes), () => true), /connection is gone/);
});

test('a draft is changed on a client that is told so, and taken from it', async () => {
	const given = answers();
	const draft = { base: { name: 'sample', version: 1 }, made_at: 1, client: null, path: '/mnt/sda1/bramble/images/sample/draft' };
	const seat = answer('overview').whole.seats.find((one) => one.adopted);

	given.image_show.draft = draft;
	given.image_maintain = { image: 'sample', client: null, says: 'it boots the draft' };

	const page = browser(given);
	const node = await page.open('bramble.images');

	await button(node, 'Versions…').click();
	await settle();
	await button(page.seen.modals[0].node, 'Change it on a client…').click();
	await submit(page);
	draft.client = seat.mac;
	await button(node, 'Versions…').click();
	await settle();
	await button(page.seen.modals[page.seen.modals.length - 1].node, 'Take it from ' + seat.name).click();
	await settle();
	assert.deepStrictEqual(page.seen.calls.filter((call) => call.method == 'image_maintain').map((call) => call.params), [ { image: 'sample', client: seat.mac }, { image: 'sample' } ]);
	assert.strictEqual(page.seen.notices[0].text, 'it boots the draft');
});

test('what is destroyed is named, and nothing is done before somebody agrees', async () => {
	const page = browser(answers());
	const node = await page.open('bramble.images');
	const image = answer('image_list').images[0];

	await button(node, 'Remove…').click();

	const dialog = page.seen.modals[0];

	assert.ok(dialog.node.textContent.includes(image.clients[0]), 'who boots it');
	assert.ok(!page.seen.calls.some((call) => call.method == 'image_remove'));
	await submit(page);
	assert.deepStrictEqual(page.seen.calls.filter((call) => call.method == 'image_remove').map((call) => call.params), [ { image: image.name } ]);
});

test('what a version shares with others is told where it shares something', async () => {
	const given = answers();
	const shown = async () => {
		const page = browser(given);
		const node = await page.open('bramble.images');

		await button(node, 'Versions…').click();

		return page.seen.modals[0].node.textContent;
	};
	const [ version ] = given.image_show.versions;

	version.own = 1e6;
	assert.match(await shown(), /kB, the rest is shared with other versions/);

	/* Blocks of the disk: with the only version they are more than the bytes in its files. */
	version.own = version.bytes + 4096;
	assert.doesNotMatch(await shown(), /the rest is shared/);
});

test('an image with a draft is not removed before the draft is', async () => {
	const given = answers();

	given.image_list.images[0].draft = answer('image_show_draft').draft;

	const page = browser(given);
	const node = await page.open('bramble.images');

	await button(node, 'Remove…').click();
	assert.match(page.seen.notices[0].text, /has a draft/);
	assert.deepStrictEqual(page.seen.modals, []);
});

test('a draft is published with the desktop of one person', async () => {
	const given = answers();

	given.image_show = answer('image_show_draft');
	given.image_publish = { job: 7 };
	given.image_desktop = ({ draft }) => ({ people: draft == 'sample' ? [ { name: 'anna', settings: [ { path: 'panel' } ] } ] : [] });

	const page = browser(given);
	const node = await page.open('bramble.images');

	await button(node, 'Versions…').click();
	await settle();
	await button(page.seen.modals[0].node, 'Publish…').click();
	await settle();
	fields(page).desktop.value = 'anna';
	fields(page).note.value = 'a new panel';
	await submit(page);
	assert.deepStrictEqual(page.seen.calls.find((call) => call.method == 'image_publish').params, { image: 'sample', note: 'a new panel', skip: '', desktop: 'anna' });

	/* What cannot be read is said, and keeps nobody from publishing. */
	given.image_desktop = { error: { code: 'image', message: 'the draft cannot be read', field: null } };
	await button(page.seen.modals[0].node, 'Publish…').click();
	await settle();
	assert.ok(page.seen.notices.some((notice) => notice.text == 'the draft cannot be read'));
	assert.ok(!('desktop' in fields(page)) && 'note' in fields(page));
});

test('the catalogue shows what no Pi here can start only to whoever asks for it', async () => {
	const given = answers();

	given.image_catalogue.offers[0].headings = [ 'Raspberry Pi OS (other)' ];

	const whole = given.image_catalogue;

	given.image_catalogue = ({ all }) => Object.assign({}, whole, { offers: whole.offers.filter((offer) => all || !offer.misfit) });

	const page = browser(given);
	const node = await page.open('bramble.images');
	const misfit = whole.offers.find((offer) => offer.misfit).misfit;
	const shown = () => page.seen.modals[page.seen.modals.length - 1].node;

	await button(node, 'From the catalogue…').click();
	await settle();
	assert.ok(shown().textContent.includes('Raspberry Pi OS (other)') && !shown().textContent.includes(misfit));
	shown().all((one) => one.attributes.type == 'checkbox')[0].checked = true;
	await submit(page);
	assert.ok(shown().textContent.includes(misfit));
});

test('a version is made current after it was said who boots the image, and the answer says what follows', async () => {
	const given = answers();

	const page = browser(given);
	const node = await page.open('bramble.images');
	const image = given.image_show;

	image.versions.push(Object.assign({}, image.versions[0], { version: 2 }));
	given.image_promote = { says: 'from now on seven boot it' };
	await button(node, 'Versions…').click();
	await settle();
	await button(page.seen.modals[0].node, 'Make current…').click();
	assert.ok(page.seen.modals[1].node.textContent.includes(image.clients[0]));
	await submit(page);
	assert.deepStrictEqual(page.seen.calls.filter((call) => call.method == 'image_promote').map((call) => call.params.image), [ image.name + '@2' ]);
	assert.strictEqual(page.seen.notices[0].text, 'from now on seven boot it');
});

test('uploads that were left are seen, and cancelled', async () => {
	const given = answers();
	const [ upload ] = given.upload_list.uploads;

	given.upload_cancel = upload;

	const page = browser(given);
	const node = await page.open('bramble.images');

	assert.ok(node.textContent.includes(upload.name));
	await button(node, 'Cancel…').click();
	assert.ok(!page.seen.calls.some((call) => call.method == 'upload_cancel'));
	await submit(page);
	assert.deepStrictEqual(page.seen.calls.filter((call) => call.method == 'upload_cancel').map((call) => call.params), [ { upload: upload.upload } ]);
});

test('exports are found, fetched as they are, and deleted if they were made here', async () => {
	const given = answers();
	const [ made, other ] = given.image_exports.exports;
	const file = (path) => ({ name: path.slice(path.lastIndexOf('/') + 1), type: 'file', size: 5e9, mtime: 1795600000 });
	const brought = '/mnt/sdb1/bramble-image-kiosk-4.tar.xz';

	given.files = { '/mnt/sdb1': [ file(made.path), file(other.path), file(brought), file('/mnt/sdb1/film.tar.xz') ] };
	given.image_export_remove = made;

	const page = browser(given);
	const node = await page.open('bramble.images');
	const has = (kind, path) => node.all((one) => one.attributes['data-key'] == kind + '-' + path).length;

	assert.deepStrictEqual([ made.path, other.path, brought, '/mnt/sdb1/film.tar.xz' ].map((path) => [ has('load', path), has('import', path), has('remove', path) ]),
		[ [ 1, 1, 1 ], [ 0, 1, 1 ], [ 1, 1, 0 ], [ 0, 0, 0 ] ]);
	await node.all((one) => one.attributes['data-key'] == 'load-' + made.path)[0].click();

	const sent = Object.fromEntries(page.document.sent[0].children.map((one) => [ one.attributes.name, one.attributes.value ]));

	assert.deepStrictEqual([ sent.path, sent.filename ], [ made.path, 'bramble-image-sample-1.tar.zst' ]);

	/* What is deleted is named first, and gone then. */
	const calls = () => page.seen.calls.filter((call) => call.method == 'image_export_remove').map((call) => call.params);

	await node.all((one) => one.attributes['data-key'] == 'remove-' + made.path)[0].click();
	assert.ok(page.seen.modals[0].title.includes(made.path));
	assert.deepStrictEqual(calls(), []);
	given.files['/mnt/sdb1'].shift();
	given.image_exports.exports = [ other ];
	await submit(page);
	assert.deepStrictEqual(calls(), [ { path: made.path } ]);
	assert.deepStrictEqual([ has('remove', made.path), has('remove', other.path), has('load', brought) ], [ 0, 1, 1 ]);
});

test('a version is sent to the browser as it is packed, and rpcd lets nothing else through', async () => {
	const page = browser(answers());
	const node = await page.open('bramble.images');

	await button(node, 'Versions…').click();
	await settle();
	await button(page.seen.modals[0].node, 'Download…').click();
	assert.strictEqual(page.document.sent.length, 0);
	await submit(page);

	const [ form ] = page.document.sent;
	const sent = Object.fromEntries(form.children.map((one) => [ one.attributes.name, one.attributes.value ]));

	assert.strictEqual(form.attributes.action, '/cgi-bin/cgi-exec');
	assert.match(sent.command, /^\/usr\/bin\/bramble image export -- sample@\d+ -$/);

	/* Only what cgi-io takes for a name. */
	assert.match(sent.filename, /^bramble-image-sample-\d+\.tar\.zst$/);
	page.load('bramble.api').stream('my_image@3');
	assert.ok(page.document.sent[1].children.some((one) => one.attributes.value == 'bramble-image-my-image-3.tar.zst'));

	const { runs } = guard('administrator');

	assert.ok(runs(sent.command) && !guard('teacher').runs(sent.command));
	for (const command of [ '/usr/bin/bramble', '/usr/bin/bramble image export sample /mnt/x', '/usr/bin/bramble image export sample /mnt/x-', '/usr/bin/bramble image export -- sample /mnt/x', '/usr/bin/bramble --socket /tmp/x image export -- sample -', '/bin/sh -c id -' ])
		assert.ok(!runs(command), command);
});
