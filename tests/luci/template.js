#!/usr/bin/env node
'use strict';

/* Writes luci-app/po/templates/bramble.pot, by the rules of LuCI's own scanner: `_('text')`, `_('text', 'context')` and
   `N_(n, 'one', 'many')` in scripts, titles of the menu and descriptions of the access list; runs of white space become
   one space. Needs gettext. `node tests/luci/template.js` writes it, `--print` prints it instead. */

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const APP = path.join(__dirname, '../../luci-app');
const POT = path.join(APP, 'po/templates/bramble.pot');
const KEYWORDS = [ '_:1', '_:1,2c', 'N_:2,3', 'N_:2,3,4c' ];

function files(folder) {
	return fs.readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1)).flatMap((entry) => {
		const file = path.join(folder, entry.name);

		return entry.isDirectory() ? files(file) : /\.js$|\/(menu|acl)\.d\/.*\.json$/.test(file) ? [ file ] : [];
	});
}

/* The messages of one file, as xgettext finds them. */
function scan(file) {
	let source = fs.readFileSync(file, 'utf8');

	if (file.endsWith('.json'))
		source = source.replace(/("(?:title|description)")\s*:\s*("(?:[^"\\]|\\.)*")/g, '$1: _($2)');

	const args = [ '--from-code=UTF-8', '--no-wrap', '--language=JavaScript', '-o', '-' ].concat(KEYWORDS.map((word) => '--keyword=' + word), [ '-' ]);
	const said = execFileSync('xgettext', args, { input: source, encoding: 'utf8', stdio: [ 'pipe', 'pipe', 'pipe' ] });
	const name = path.relative(APP, file);

	return said.split('\n\n').slice(1).map((entry) => {
		const value = (key) => {
			const found = entry.match(new RegExp('^' + key + ' ((?:".*"\\n?)+)', 'm'));

			return found && found[1].match(/"(.*)"/g).map((line) => line.slice(1, -1)).join('')
				.replace(/\\[nt]/g, ' ').replace(/ {2,}/g, ' ').trim();
		};

		return {
			at: [ ...entry.matchAll(/^#: (.*)$/gm) ].flatMap(([ , places ]) => places.split(' ').map((place) => name + ':' + place.split(':').pop())),
			context: value('msgctxt'), one: value('msgid'), many: value('msgid_plural')
		};
	}).filter((entry) => entry.one);
}

/* Every message once, in the order of its text, with all its places. */
function messages() {
	const found = new Map();

	for (const entry of files(APP).flatMap(scan)) {
		const key = [ entry.context ?? '', entry.one ].join('\u0004');
		const known = found.get(key);

		if (known) {
			known.at.push(...entry.at);
			known.many ??= entry.many;
		}
		else {
			found.set(key, entry);
		}
	}

	return [ ...found.entries() ].sort(([ a ], [ b ]) => (a < b ? -1 : 1)).map(([ , entry ]) => entry);
}

function template() {
	const entries = messages().map((entry) => entry.at.map((place) => '#: ' + place + '\n').join('') +
		(entry.context ? 'msgctxt "' + entry.context + '"\n' : '') +
		'msgid "' + entry.one + '"\n' +
		(entry.many ? 'msgid_plural "' + entry.many + '"\nmsgstr[0] ""\nmsgstr[1] ""\n' : 'msgstr ""\n'));

	return 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8"\n\n' + entries.join('\n');
}

module.exports = { APP, POT, messages, template };

if (require.main === module) {
	if (process.argv[2] == '--print') {
		process.stdout.write(template());
	}
	else {
		fs.mkdirSync(path.dirname(POT), { recursive: true });
		fs.writeFileSync(POT, template());
	}
}
