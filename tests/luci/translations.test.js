'use strict';

/* The template is what the sources say, and each language is whole: every message, every plural form, every placeholder. */

const assert = require('node:assert');
const { execFileSync, spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const test = require('node:test');

const { APP, POT, messages, template } = require('./template.js');

const LANGUAGES = { de: 'nplurals=2; plural=n != 1;', es: 'nplurals=2; plural=n != 1;', fr: 'nplurals=2; plural=n > 1;' };

/* In CI a missing program is a failure. */
const THERE = spawnSync('msgfmt', [ '--version' ]).status === 0;
const SKIP = THERE || process.env.BRAMBLE_REQUIRE_PEERS ? false : 'gettext is not installed';

/* A .po file as lists of texts: context, message, and what it is in this language. */
function read(file) {
	const said = execFileSync('msgcat', [ '--no-wrap', file ], { encoding: 'utf8' });

	return said.split('\n\n').slice(1).map((entry) => {
		const value = (key) => entry.match(new RegExp('^' + key.replace(/[[\]]/g, '\\$&') + ' "(.*)"$', 'm'))?.[1];

		return { context: value('msgctxt'), one: value('msgid'), many: value('msgid_plural'),
			says: [ 'msgstr', 'msgstr[0]', 'msgstr[1]' ].map(value).filter((text) => text != null), fuzzy: /^#, .*fuzzy/m.test(entry) };
	}).filter((entry) => entry.one);
}

const placeholders = (text) => (text.match(/%\d*\$?[sdh%]/g) ?? []).sort().join(' ');

test('the template is what the sources say', { skip: SKIP }, () => {
	/* In which line each stands may be out of date until the script runs again. */
	const plain = (text) => text.replace(/^#: .*\n/gm, '');

	assert.strictEqual(plain(fs.readFileSync(POT, 'utf8')), plain(template()), '`node tests/luci/template.js` writes it anew');
	assert.ok(messages().length > 300);
});

for (const [ language, plural ] of Object.entries(LANGUAGES))
	test(language + ' is whole', { skip: SKIP }, () => {
		const file = path.join(APP, 'po', language, 'bramble.po');
		const there = new Map(read(file).map((entry) => [ [ entry.context ?? '', entry.one ].join('\u0004'), entry ]));
		const checked = spawnSync('msgfmt', [ '-c', '-o', '/dev/null', file ], { encoding: 'utf8' });

		assert.strictEqual(checked.status, 0, checked.stderr);
		assert.strictEqual(checked.stderr, '');
		assert.ok(fs.readFileSync(file, 'utf8').includes(plural));

		for (const message of messages()) {
			const key = [ message.context ?? '', message.one ].join('\u0004');
			const entry = there.get(key);

			assert.ok(entry, 'missing: ' + message.one);
			there.delete(key);
			assert.ok(!entry.fuzzy, message.one);
			assert.strictEqual(entry.says.length, message.many ? 2 : 1, message.one);

			for (const text of entry.says) {
				assert.ok(text, 'not translated: ' + message.one);
				assert.strictEqual(placeholders(text), placeholders(message.one), message.one);
				assert.ok(!/<[a-z]/.test(text), 'markup in: ' + text);
			}
		}

		assert.deepStrictEqual([ ...there.keys() ], [], 'no longer used');
	});
