'use strict';

/* The files of the app as a whole: each method exists and may be called, each option has a field, menu and access list fit
   together, nothing is loaded from elsewhere, and everything stays small. */

const assert = require('node:assert');
const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const test = require('node:test');
const vm = require('node:vm');

const { ACL, MENU, pages } = require('./access.js');
const { ROOT, RESOURCES, answer, browser } = require('./harness.js');

const APP = path.join(ROOT, 'luci-app');

/* Methods that no page has a use for. */
const UNUSED = {
	action_get: 'action_list has the same of each action',
	account_get: 'account_list has the same of each account',
	takeover: 'set-up asks the program, which can answer before the daemon runs'
};

function sources(folder) {
	return fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
		const file = path.join(folder, entry.name);

		return entry.isDirectory() ? sources(file) : [ file ];
	});
}

const FILES = sources(RESOURCES);
const SCRIPTS = FILES.filter((file) => file.endsWith('.js'));
const text = (file) => fs.readFileSync(file, 'utf8');

/* What a package has of a file: comments and the white space before each line are left out, by LuCI's own build and by
   `cross/package`, which is asked here. */
const small = new Map();
const shipped = (file) => {
	if (!small.has(file))
		small.set(file, file.endsWith('.js') ? execFileSync('python3', [ path.join(ROOT, 'cross/minify.py'), file ], { encoding: 'utf8' }) : text(file));

	return small.get(file);
};

const PAGES = SCRIPTS.map(text).join('\n');

/* What api.js declares: method and arguments. */
function declared() {
	const methods = {};

	for (const [ , name, params ] of text(path.join(RESOURCES, 'bramble/api.js')).matchAll(/method\('(\w+)'(?:, \[ ([^\]]*) \])?\)/g))
		methods[name] = (params ?? '').split(',').map((one) => one.trim().replace(/'/g, '')).filter((one) => one);

	return methods;
}

test('every method that is used exists, with these arguments, and every other one has a reason', () => {
	const table = Object.fromEntries(answer('methods').map((method) => [ method.name, method.params ]));
	const used = declared();

	assert.ok(Object.keys(used).length > 20);

	for (const [ name, params ] of Object.entries(used)) {
		/* The pages are a package of their own and may be newer than the daemon: what that has not yet is asked for only by
		   those whom rpcd says they may. */
		if (!table[name]) {
			assert.ok(PAGES.includes("api.may('" + name + "')"), 'the daemon has no method ' + name);
			continue;
		}

		for (const param of params)
			assert.ok(table[name].includes(param), name + ' has no argument ' + param);
	}

	for (const name of Object.keys(table))
		assert.ok(used[name] || UNUSED[name], 'no page uses ' + name);
});

test('every function of api.js is called by a page', () => {
	const api = text(path.join(RESOURCES, 'bramble/api.js'));
	const rest = SCRIPTS.filter((file) => !file.endsWith('/api.js')).map(text).join('\n');

	for (const [ , name, method ] of api.matchAll(/^\t(\w+): method\('(\w+)'/gm))
		assert.ok(rest.includes('api.' + name + '(') || UNUSED[method], 'api.' + name + ' is called nowhere');
});

test('only api.js names methods of the daemon, and it rejects', () => {
	for (const file of SCRIPTS)
		if (!file.endsWith('/api.js'))
			assert.doesNotMatch(text(file), /rpc\.declare|'require rpc'/, file);

	for (const [ whole ] of text(path.join(RESOURCES, 'bramble/api.js')).matchAll(/rpc\.declare\(.*\)/g))
		assert.match(whole, /reject: true/);
});

test('the access list has each method once, where the table says; roles get what they are for', () => {
	const groups = { administrator: ACL['luci-app-bramble'], teacher: ACL['luci-app-bramble-teacher'], helper: ACL['luci-app-bramble-helper'] };
	const of = (group, kind) => group[kind]?.ubus?.bramble ?? [];

	for (const method of answer('methods')) {
		const [ yes, no ] = method.write ? [ 'write', 'read' ] : [ 'read', 'write' ];

		assert.strictEqual(of(groups.administrator, yes).filter((name) => name == method.name).length, 1, method.name);
		assert.ok(!of(groups.administrator, no).includes(method.name), method.name);

		for (const role of [ 'teacher', 'helper' ])
			assert.strictEqual(of(groups[role], yes).includes(method.name), method.role == role, method.name + ', ' + role);
	}

	/* Each page asks rpcd what this log-in may call; and where that is refused LuCI takes the log-in for expired. */
	for (const group of Object.values(groups))
		assert.deepStrictEqual(group.read.ubus.session, [ 'access' ]);

	assert.strictEqual(groups.helper.write, undefined);
	assert.strictEqual(groups.teacher.write.uci, undefined, 'a teacher does not write the configuration');
});

test('every page of the menu is there, and only for those who may call what it loads', () => {
	const views = Object.values(MENU).filter((node) => node.action.type == 'view');

	assert.deepStrictEqual(views.map((node) => node.action.path.replace('bramble/', '')).sort(),
		fs.readdirSync(path.join(RESOURCES, 'view/bramble')).map((name) => name.replace('.js', '')).sort());

	for (const node of Object.values(MENU))
		for (const group of node.depends.acl)
			assert.ok(ACL[group], group);
});

test('the groups that the README gives show each role its pages', () => {
	assert.deepStrictEqual([ 'administrator', 'teacher', 'helper' ].map(pages), [
		[ 'overview', 'clients', 'images', 'people', 'files', 'settings', 'setup', 'log' ],
		[ 'overview', 'clients', 'people', 'files', 'log' ],
		[ 'overview', 'clients', 'log' ]
	]);
});

test('every option of the schema has a label, every choice its words, every section a page', async () => {
	const page = browser({});
	const options = page.load('bramble.options');
	const words = text(path.join(RESOURCES, 'bramble/options.js'));

	assert.ok(options.sections.length > 8);

	for (const section of options.sections) {
		assert.ok(options.title(section.kind), section.kind + ' has no title');

		for (const option of section.options) {
			assert.ok(options.label(section.kind, option.name), section.kind + '.' + option.name + ' has no label');

			for (const word of option.choices ?? [])
				assert.ok(words.includes('\'' + word + '\': _(') || option.name == 'groups', word + ' has no words');

			for (const value of [ option.default, option.kind == 'number' ? null : option.example ].filter((one) => one != null))
				assert.strictEqual(options.check(option, value), true, section.kind + '.' + option.name + ': ' + value);
		}
	}

	const config = { bramble: {}, network: {} };
	const given = { 'session.access': { ubus: { bramble: [ 'client_adopt', 'home_backup' ] } }, uci: config };

	for (const name of [ 'client_list', 'share_list', 'home_usage', 'job_list' ])
		given[name] = answer(name);

	const found = {};

	for (const view of [ 'settings', 'clients', 'files' ]) {
		const shown = browser(given);

		await shown.open('bramble.' + view);

		for (const section of shown.seen.maps.flatMap((map) => map.sections))
			found[section.name] = (found[section.name] ?? []).concat(section.fields);
	}

	for (const section of options.sections)
		for (const option of section.options) {
			const fields = (found[section.kind] ?? []).filter((field) => field.name == option.name);

			assert.strictEqual(fields.length, 1, section.kind + '.' + option.name + ' has ' + fields.length + ' fields');

			const many = [ 'DynamicList', 'MultiValue' ].includes(fields[0].type);

			assert.strictEqual(many, option.list ?? false, section.kind + '.' + option.name);
		}
});

test('a value that cannot be right is refused while it is typed', () => {
	const options = browser({}).load('bramble.options');
	const of = (path) => options.section(path.split('.')[0]).options.find((option) => option.name == path.split('.')[1]);

	for (const [ path, good, bad ] of [
		[ 'dhcp.lease_time', '12h', '12x' ], [ 'dhcp.start', '100', '0' ], [ 'client.mac', 'dc:a6:32:01:02:03', 'dc:a6:32' ],
		[ 'client.name', 'lab-01', 'lab 01' ], [ 'client.ip', '192.168.1.20', '192.168.1.256' ], [ 'client.image', 'trixie@3', 'Trixie 3' ],
		[ 'bramble.data', '/mnt/sda1/bramble', 'mnt/sda1' ], [ 'share.path', '/mnt/x', '/mnt/../etc' ], [ 'homes.quota', 'none', '0' ],
		[ 'room.mask', 'bluetooth.service', 'bluetooth' ], [ 'subnet.subnet', '10.1.20.0/24', '10.1.20.0' ], [ 'room.timezone', 'Europe/Berlin', '../etc' ]
	]) {
		assert.strictEqual(options.check(of(path), good), true, path);
		assert.strictEqual(typeof(options.check(of(path), bad)), 'string', path);
	}
});

test('what a package has of a script says the same', () => {
	for (const file of SCRIPTS) {
		const small = shipped(file);

		/* Nothing but comments and white space is gone. */
		const bare = (source) => source.replace(/^\s*\/\*[^]*?\*\/$/gm, '').replace(/\s+/g, '');

		assert.strictEqual(bare(small), bare(text(file)), file);

		/* And none of it from within a text or a pattern. */
		const said = (source) => source.match(/'(?:\\.|[^'\\\n])*'|(?<=[(,=:[!&|?{};] ?)\/(?![/*])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\[\n])+\/[a-z]*/g);

		assert.deepStrictEqual(said(small), said(text(file).replace(/^\s*\/\*[^]*?\*\/$/gm, '')), file);
		assert.doesNotMatch(small, /^\s|\n\n|^\/\*/m, file);
		vm.compileFunction(small, [], { filename: file });
	}
});

/* LuCI's build takes white space and comments out with a small program that knows a pattern by what stands before it. */
test('patterns stand where the minifier knows them', () => {
	for (const file of SCRIPTS)
		assert.doesNotMatch(text(file), /(\breturn|=>|\w\)) \/[^/*\s]/, file + ': write (/pattern/)');
});

test('nothing comes from elsewhere, nothing is written as markup, and all of it is small', () => {
	let bytes = 0;

	for (const file of FILES) {
		const content = text(file);

		bytes += Buffer.byteLength(shipped(file));
		/* An address in the schema is what an option may be. */
		if (!file.endsWith('/schema.js'))
			assert.doesNotMatch(content, file.endsWith('.css') ? /https?:\/\/|@import|url\(/ : /https?:\/\/(?!…|library\.example)/, file);
		assert.doesNotMatch(content, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function/, file);
		assert.doesNotMatch(content.replace(/\/\*[^]*?\*\//g, ''), /^\t* /m, file + ' is indented with tabs');
	}

	assert.ok(bytes < 200000, bytes + ' bytes');
});

test('the log has a word for every kind of event', () => {
	const kinds = [ ...text(path.join(ROOT, 'src/service/events/happening.rs')).matchAll(/^ +Self::\w+ \{ \.\. \} => "(\w+)",$/gm) ].map(([ , kind ]) => kind);
	const table = text(path.join(RESOURCES, 'view/bramble/log.js')).match(/^const KINDS = \{[^]*?^\};/m)[0];

	assert.ok(kinds.length > 12);
	assert.deepStrictEqual([ ...table.matchAll(/'(\w+)': _\(/g) ].map(([ , kind ]) => kind).sort(), kinds.sort());
});

test('the guide has every verdict, and every picture that it shows', () => {
	const guide = text(path.join(APP, 'GUIDE.md'));
	const codes = [ ...text(path.join(ROOT, 'src/service/verdicts/rules.rs')).matchAll(/code: "(\w+)"/g) ].map(([ , code ]) => code);

	assert.ok(codes.length > 20);

	/* The pages know each, and no other. */
	assert.deepStrictEqual([ ...browser({}).load('bramble.verdicts').codes ].sort(), [ ...new Set(codes) ].sort());

	for (const code of codes)
		assert.ok(guide.includes('`' + code + '`'), 'the guide does not say what to do about ' + code);

	for (const [ , file ] of guide.matchAll(/\]\(([^)#]+)/g))
		assert.ok(fs.existsSync(path.join(APP, file)), file);
});
