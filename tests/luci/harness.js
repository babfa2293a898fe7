'use strict';

/* Just enough of LuCI and of a browser to run the pages as they are: files are loaded unmodified, the daemon's answers are
   recorded ones, and whatever LuCI would take for markup is refused here. */

const fs = require('node:fs');
const path = require('node:path');
const vm = require('node:vm');

const ROOT = path.join(__dirname, '../..');
const RESOURCES = path.join(ROOT, 'luci-app/htdocs/luci-static/resources');

function answer(name) {
	return JSON.parse(fs.readFileSync(path.join(__dirname, 'answers', name + '.json'), 'utf8'));
}

class Text {
	constructor(text) { this.data = text; }
	get textContent() { return this.data; }
}

/* An element of a page. Text gets in as text nodes only. */
class Element {
	constructor(tag) {
		this.tagName = tag.toUpperCase();
		this.attributes = {};
		this.childNodes = [];
		this.listeners = {};
		this.parentNode = null;
		this.style = {};
	}

	set innerHTML(text) { throw new Error('innerHTML of <' + this.tagName + '>: ' + text); }
	get firstChild() { return this.childNodes[0] ?? null; }
	get lastChild() { return this.childNodes[this.childNodes.length - 1] ?? null; }
	get children() { return this.childNodes.filter((node) => node instanceof Element); }
	get firstElementChild() { return this.children[0] ?? null; }
	get nextSibling() { const all = this.parentNode?.childNodes ?? []; return all[all.indexOf(this) + 1] ?? null; }
	get isConnected() { return this.parentNode ? this.parentNode.isConnected : !this.replaced; }
	get textContent() { return this.childNodes.map((node) => node.textContent).join(' '); }
	get value() { return this.typed ?? this.attributes.value ?? (this.tagName == 'TEXTAREA' ? this.textContent : this.tagName == 'SELECT' ? this.chosen() : ''); }
	set value(text) { this.typed = text; }
	get checked() { return this.ticked ?? 'checked' in this.attributes; }
	set checked(is) { this.ticked = is; }
	get classList() {
		const words = () => (this.attributes.class ?? '').split(' ').filter((word) => word);

		return {
			contains: (word) => words().includes(word),
			add: (...more) => { this.attributes.class = words().concat(more).join(' '); },
			remove: (word) => { this.attributes.class = words().filter((one) => one != word).join(' '); }
		};
	}

	chosen() {
		const options = this.all((node) => node.tagName == 'OPTION');

		return (options.find((node) => 'selected' in node.attributes) ?? options[0])?.attributes.value ?? '';
	}

	setAttribute(name, value) { this.attributes[name] = String(value); }
	getAttribute(name) { return this.attributes[name] ?? null; }
	removeAttribute(name) { delete this.attributes[name]; }
	addEventListener(name, work) { (this.listeners[name] ??= []).push(work); }
	focus() { this.ownerDocument.activeElement = this; }
	scrollIntoView() {}
	submit() { this.ownerDocument.sent.push(this); }
	remove() { const all = this.parentNode?.childNodes; all?.splice(all.indexOf(this), 1); }
	click() { return this.fire('click'); }
	contains(node) { return node === this || this.children.some((child) => child.contains(node)); }

	appendChild(node) {
		if (!(node instanceof Element || node instanceof Text))
			throw new Error('not a node: ' + node);

		node.parentNode = this;
		this.childNodes.push(node);

		return node;
	}

	insertBefore(node, before) {
		const at = this.childNodes.indexOf(before);

		node.parentNode = this;
		this.childNodes.splice(at < 0 ? this.childNodes.length : at, 0, node);
	}

	replaceChildren(...nodes) {
		this.childNodes = [];

		for (const node of nodes)
			this.appendChild(node instanceof Element || node instanceof Text ? node : new Text(String(node)));
	}

	/* Every element below this one, and this one, that is wanted. */
	all(wanted) {
		return (wanted(this) ? [ this ] : []).concat(this.children.flatMap((child) => child.all(wanted)));
	}

	querySelectorAll(selector) {
		const wanted = selector.split(',').map((one) => one.trim()).map((one) => {
			const attribute = one.match(/^\[([a-z-]+)\]$/)?.[1];

			return (node) => (attribute ? attribute in node.attributes : one[0] == '.' ? node.classList.contains(one.slice(1)) : node.tagName == one.toUpperCase());
		});

		return this.children.flatMap((child) => child.all((node) => wanted.some((fits) => fits(node))));
	}

	querySelector(selector) { return this.querySelectorAll(selector)[0] ?? null; }

	/* Has an event happen; the promises of what listens to it. */
	fire(name, event) {
		return Promise.all((this.listeners[name] ?? []).map((work) => work(Object.assign({ target: this, currentTarget: this, preventDefault() {} }, event))));
	}
}

/* A page, and everything that it asks and shows. `answers` are functions or values by the name of the method. `refuses` is asked
   about each call, as `access.js` has it; what it does not let through is refused. */
function browser(answers = {}, refuses = () => null) {
	const seen = { refused: [], calls: [], notices: [], modals: [], polls: [], sinks: [], saved: [], applied: 0 };
	const body = new Element('body');
	const document = { body, sent: [], hidden: false, createTextNode: (text) => new Text(text), querySelectorAll: (selector) => seen.page?.querySelectorAll(selector) ?? [], querySelector: (selector) => document.querySelectorAll(selector)[0] ?? null, listeners: {}, addEventListener(name, work) { (this.listeners[name] ??= []).push(work); }, activeElement: null, documentElement: new Element('html'), head: new Element('head') };

	Element.prototype.ownerDocument = document;

	function sink(what, text) {
		if (typeof(text) == 'string')
			seen.sinks.push([ what, text ]);

		return text;
	}

	/* What a call comes to that is not let through; null for one that is. */
	function denied(object, method, params) {
		const refusal = refuses(object, method, params);

		if (!refusal)
			return null;

		seen.refused.push([ object, method, params.config ?? params.path ?? params.command ].filter((part) => part).join(' '));

		return Promise.reject(new Error('RPC call to %s/%s failed with %s %d: %s'.format(object, method, refusal.code < 0 ? 'error' : 'ubus code', refusal.code, refusal.message)));
	}

	function E(tag, attributes, children) {
		const node = new Element(tag);

		if (Array.isArray(attributes) || attributes instanceof Element || typeof(attributes) == 'string')
			[ attributes, children ] = [ {}, attributes ];

		for (const [ name, value ] of Object.entries(attributes ?? {})) {
			if (value == null)
				continue;

			if (typeof(value) == 'function') {
				node.addEventListener(name, value);
				continue;
			}

			if ((name == 'href' || name == 'src') && /^\s*javascript:/i.test(value))
				throw new Error('a script in ' + name);

			node.setAttribute(name, value);
		}

		if (Array.isArray(children)) {
			for (const child of children)
				if (child instanceof Element || child instanceof Text)
					node.appendChild(child);
				else if (child !== null && child !== undefined)
					node.appendChild(new Text(String(child)));
		}
		else if (children instanceof Element) {
			node.appendChild(children);
		}
		else if (children !== null && children !== undefined) {
			throw new Error('<' + tag + '> gets a bare text, which LuCI takes for markup: ' + children);
		}

		return node;
	}

	/* LuCI's String.format, as far as it is used. */
	const format = function(...args) {
		let n = 0;

		return String(this).replace(/%(%|0?\d*(?:\.\d+)?[sdhfu])/g, (whole, what) => {
			if (what == '%')
				return '%';

			const value = args[n++];

			switch (what.slice(-1)) {
			case 'h': return String(value).replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&#34;');
			case 'd': return String(Math.trunc(+value)).padStart(+(what.match(/^0(\d+)/)?.[1] ?? 0), '0');
			case 'f': return (+value).toFixed(+(what.match(/\.(\d+)/)?.[1] ?? 6));
			default: return String(value ?? '');
			}
		});
	};

	function extend(members) {
		return class Page { constructor() { Object.assign(this, members); } super() { return E('div', {}, []); } };
	}

	const handler = (context, work, ...args) => function(...more) {
		const run = typeof(work) == 'string' ? context[work] : work;

		return Promise.resolve(run.apply(context, args.concat(more)));
	};

	const ui = {
		createHandlerFn: handler,
		showModal(title, nodes) {
			sink('title of a dialog', title);
			const before = seen.modals.filter((one) => one).pop();

			/* It is in the place of the one before it, which stays there unseen until then. */
			if (before)
				before.node.replaced = true;

			seen.modals.push({ title: E('h4', {}, title).textContent, node: E('div', {}, nodes) });
			body.classList.add('modal-overlay-active');
		},
		hideModal() { seen.modals.push(null); body.classList.remove('modal-overlay-active'); },
		addNotification(title, nodes, kind) {
			sink('title of a notice', title);
			seen.notices.push({ text: E('div', {}, nodes).textContent, kind });
		},
		addTimeLimitedNotification(title, nodes, hold, kind) { ui.addNotification(title, nodes, kind); },
		tabs: {
			initTabGroup(panes) {
				if (!panes[0].parentNode.parentNode)
					throw new Error('tabs are begun before what holds them is in the page');

				for (const pane of panes)
					sink('tab', pane.getAttribute('data-tab-title'));
			}
		},
		changes: { apply() { seen.applied++; } }
	};

	const rpc = {
		getSessionID: () => '0123456789abcdef0123456789abcdef',
		declare(what) {
			if (what.reject !== true)
				throw new Error(what.object + '.' + what.method + ' is declared without reject');

			return (...args) => {
				const params = Object.fromEntries((what.params ?? []).map((name, n) => [ name, args[n] ]).filter(([ , value ]) => value !== undefined));
				const key = what.object == 'bramble' ? what.method : what.object + '.' + what.method;

				seen.calls.push({ method: key, params });

				const refusal = denied(what.object, what.method, params);

				if (refusal)
					return refusal;

				if (!(key in answers))
					return Promise.reject(new Error('RPC call to ' + key + ' failed with error -32000: Object not found'));

				return new Promise((resolve) => resolve(typeof(answers[key]) == 'function' ? answers[key](params) : answers[key]))
					.then((reply) => (what.expect ? Object.entries(what.expect).map(([ name, none ]) => reply?.[name] ?? none)[0] : reply));
			};
		}
	};

	const config = answers.uci ?? {}, staged = new Set();
	const uci = {
		load: (file) => denied('uci', 'get', { config: file }) ?? Promise.resolve(),
		unload() {},
		changes: () => denied('uci', 'changes', {}) ?? Promise.resolve(config.changes ?? {}),
		save: () => Promise.all([ ...staged ].map((file) => denied('uci', 'set', { config: file }))).then(() => staged.clear()),
		apply: () => denied('uci', 'apply', {}) ?? Promise.resolve(seen.applied++),
		get: (file, section, option) => (option ? config[file]?.[section]?.[option] : config[file]?.[section] && '1'),
		set(file, section, option, value) { staged.add(file); ((config[file] ??= {})[section] ??= { '.name': section })[option] = value; },
		add(file, kind, name) { staged.add(file); (config[file] ??= {})[name] = { '.name': name, '.type': kind }; },
		sections: (file, kind) => Object.values(config[file] ?? {}).filter((one) => !kind || one['.type'] == kind)
	};

	/* Forms only note what they are made of. */
	const kinds = [ 'Value', 'Flag', 'ListValue', 'MultiValue', 'DynamicList', 'NamedSection', 'GridSection', 'TypedSection' ];
	const form = Object.fromEntries(kinds.map((kind) => [ kind, kind ]));

	class Section {
		constructor(type, name) { Object.assign(this, { type, name, fields: [] }); }
		tab(name, title) { sink('tab', title); }
		option(type, name, label, help) {
			const field = { type, name, label, help, choices: [], value(key, text) { this.choices.push([ key, text ]); } };

			sink('label', label);
			sink('help', help);
			this.fields.push(field);

			return field;
		}
		taboption(tab, ...rest) { return Object.assign(this.option(...rest), { tab }); }
	}

	seen.maps = [];
	form.Map = class {
		constructor(file, title, help) {
			sink('title of a form', title);
			sink('help of a form', help);
			Object.assign(this, { file, sections: [] });
			seen.maps.push(this);
		}
		section(type, ...rest) {
			const kind = type == 'NamedSection' ? rest[1] : rest[0];
			const section = new Section(type, kind);

			rest.slice(type == 'NamedSection' ? 2 : 1).forEach((text) => sink('title of a section', text));
			this.sections.push(section);

			return section;
		}
		render() { return Promise.resolve(E('div', { 'class': 'cbi-map' }, [ E('h2', {}, []) ])); }
		save() { return Promise.resolve(); }
		reset() { return Promise.resolve(); }
	};

	const modules = {
		baseclass: { extend }, view: { extend }, rpc, ui, uci, form,
		poll: { add(work, seconds) { seen.polls.push({ work, seconds }); } },
		fs: {
			list(folder) {
				seen.calls.push({ method: 'fs.list', params: { folder } });

				return denied('file', 'list', { path: folder }) ?? (answers.files?.[folder] ? Promise.resolve(answers.files[folder]) : Promise.reject(new Error('Resource not found')));
			},
			exec(program, args) {
				seen.calls.push({ method: program, params: args });

				return denied('file', 'exec', { command: program, params: args }) ?? Promise.resolve(answers[program] ?? { code: 1, stderr: 'no such program' });
			}
		}
	};
	const window = {
		location: { hash: '' }, addEventListener() {}, setTimeout: () => 0, clearTimeout() {}
	};
	const L = {
		env: { cgi_base: '/cgi-bin' },
		resource: (name) => '/luci-static/resources/' + name,
		url: (name) => '/cgi-bin/luci/' + name,
		hasViewPermission: () => true,
		toArray: (value) => (value == null ? [] : Array.isArray(value) ? value : String(value).split(/\s+/))
	};
	const loaded = {};

	String.prototype.format = format;

	function load(name) {
		if (modules[name])
			return modules[name];

		if (!loaded[name]) {
			const file = path.join(RESOURCES, name.replace(/\./g, '/') + '.js');
			const source = fs.readFileSync(file, 'utf8');
			const head = source.match(/^'use strict';\s*(?:'require [^']+';\s*)*/)[0];
			const needs = [ ...head.matchAll(/'require ([a-z.-]+)(?: as ([a-z]+))?';/g) ]
				.map(([ , wanted, as ]) => [ as ?? wanted.replace(/[^a-z]/g, '_'), load(wanted) ]);
			const outside = {
				E, L, document, window, _: (text) => text, N_: (n, one, many) => (n == 1 ? one : many),
				Blob: class { constructor(parts, options) { seen.saved.push({ text: parts.join(''), type: options.type }); } },
				URL: { createObjectURL: () => 'blob:1', revokeObjectURL() {} }
			};
			const given = Object.entries(outside).concat(needs);
			const Page = vm.compileFunction(source, given.map(([ as ]) => as), { filename: file })(...given.map(([ , value ]) => value));

			loaded[name] = new Page();
		}

		return loaded[name];
	}

	/* Loads a view and draws it, as LuCI does. */
	async function open(name) {
		const view = load('view.' + name);
		const node = seen.page = await view.render(await view.load());

		return Object.assign(node, { view });
	}

	return { seen, load, open, document, window, E, tick: () => Promise.all(seen.polls.map((poll) => poll.work())) };
}

module.exports = { ROOT, RESOURCES, answer, browser, Element };
