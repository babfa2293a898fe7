'use strict';

/* Stands in for LuCI in a real browser, where LuCI itself cannot be had: loads views as they are, asks the server beside it,
   and shows dialogs, tabs, notices and forms much as LuCI does. Where LuCI takes a text for markup, so does this: a page
   that hands it a name from the network runs what that name says, and the test sees it. */

(function() {
	const BASE = '/luci-static/resources/';

	function append(node, children) {
		if (Array.isArray(children))
			children.forEach((child) => {
				if (child instanceof Node)
					node.appendChild(child);
				else if (child !== null && child !== undefined)
					node.appendChild(document.createTextNode(String(child)));
			});
		else if (children instanceof Node)
			node.appendChild(children);
		else if (children !== null && children !== undefined)
			node.innerHTML = String(children);
	}

	window.E = function(tag, attributes, children) {
		const node = document.createElement(tag);

		if (Array.isArray(attributes) || attributes instanceof Node || typeof(attributes) == 'string')
			[ attributes, children ] = [ {}, attributes ];

		for (const [ name, value ] of Object.entries(attributes ?? {})) {
			if (typeof(value) == 'function')
				node.addEventListener(name, value);
			else if (value !== null && value !== undefined)
				node.setAttribute(name, value);
		}

		append(node, children);

		return node;
	};

	String.prototype.format = function(...args) {
		let n = 0;

		return this.replace(/%(%|0?\d*(?:\.\d+)?[sdhfu])/g, (whole, what) => {
			if (what == '%')
				return '%';

			const value = args[n++];

			switch (what.slice(-1)) {
			case 'h': return String(value).replace(/[&<>"]/g, (one) => '&#%d;'.replace('%d', one.charCodeAt(0)));
			case 'd': return String(Math.trunc(+value)).padStart(+(what.match(/^0(\d+)/)?.[1] ?? 0), '0');
			case 'f': return (+value).toFixed(+(what.match(/\.(\d+)/)?.[1] ?? 6));
			default: return String(value ?? '');
			}
		});
	};

	window._ = (text) => text;
	window.N_ = (n, one, many) => (n == 1 ? one : many);
	window.L = {
		env: { cgi_base: '/cgi-bin' },
		resource: (name) => BASE + name,
		url: (name) => '/cgi-bin/luci/' + name,
		hasViewPermission: () => true,
		toArray: (value) => (value == null ? [] : Array.isArray(value) ? value : String(value).split(/\s+/))
	};

	const ask = (object, method, params) => fetch('/ubus/' + location.search, { method: 'POST', body: JSON.stringify({ object, method, params }) })
		.then((reply) => reply.json()).then((reply) => {
			if (reply.code)
				throw new Error('RPC call to %s/%s failed with %s %d: %s'.format(object, method, reply.code < 0 ? 'error' : 'ubus code', reply.code, reply.message));

			return reply.result;
		});

	const extend = (members) => class { constructor() { Object.assign(this, members); } super() { return footer(); } };

	const footer = () => E('div', { 'class': 'cbi-page-actions' }, [ E('button', { 'class': 'btn' }, [ 'Save & Apply' ]) ]);

	const rpc = {
		getSessionID: () => '0'.repeat(32),
		declare: ({ object, method, params, expect }) => (...args) => ask(object, method,
			Object.fromEntries((params ?? []).map((name, n) => [ name, args[n] ]).filter(([ , value ]) => value !== undefined)))
			.then((reply) => (expect ? Object.entries(expect).map(([ name, none ]) => reply?.[name] ?? none)[0] : reply))
	};

	const overlay = E('div', { 'id': 'modal_overlay', 'tabindex': '0', 'hidden': '', 'keydown': (ev) => {
		if (ev.key == 'Escape')
			overlay.querySelector('.right > button, .right > .btn, .button-row > .btn')?.click();
	} }, []);

	const ui = {
		createHandlerFn: (context, work, ...args) => function(...more) {
			const node = more[0].currentTarget;

			node.classList.add('spinning');
			node.disabled = true;
			node.blur();
			Promise.resolve((typeof(work) == 'string' ? context[work] : work).apply(context, args.concat(more))).finally(() => {
				node.classList.remove('spinning');
				node.disabled = false;
			});
		},
		showModal(title, children) {
			const modal = E('div', { 'class': 'modal', 'role': 'dialog', 'aria-modal': 'true' }, [ E('h4', {}, title) ]);

			append(modal, children);
			overlay.replaceChildren(modal);
			overlay.removeAttribute('hidden');
			document.body.classList.add('modal-overlay-active');
			overlay.focus();

			return modal;
		},
		hideModal() {
			/* What was in it stays there, unseen. */
			overlay.setAttribute('hidden', '');
			document.body.classList.remove('modal-overlay-active');
		},
		addNotification(title, children, ...classes) {
			const note = E('div', { 'class': [ 'alert-message' ].concat(classes).join(' ') }, title == null ? [] : [ E('h4', {}, title) ]);

			append(note, children);
			document.getElementById('maincontent').prepend(note);

			return note;
		},
		addTimeLimitedNotification: (title, children, time, ...classes) => ui.addNotification(title, children, ...classes),
		tabs: {
			initTabGroup(panes) {
				const list = [ ...panes ].filter((pane) => pane.getAttribute?.('data-tab'));
				const menu = E('ul', { 'class': 'cbi-tabmenu' }, []);
				const show = (chosen) => list.forEach((pane, n) => {
					pane.style.display = pane === chosen ? '' : 'none';
					menu.children[n]?.classList.toggle('cbi-tab', pane === chosen);

					if (pane === chosen)
						pane.dispatchEvent(new CustomEvent('cbi-tab-active'));
				});

				/* As in LuCI, the title of a tab is markup. */
				list.forEach((pane) => menu.appendChild(E('li', {}, [ E('a', { 'href': '#', 'click': (ev) => { ev.preventDefault(); show(pane); } }, pane.getAttribute('data-tab-title')) ])));
				/* Before what holds the panes: that has to be in the page already. */
				list[0].parentNode.parentNode.insertBefore(menu, list[0].parentNode);
				show(list[0]);
			}
		},
		changes: { apply() {} }
	};

	const config = {}, staged = new Set();

	const uci = {
		load: (file) => ask('uci', 'get', { config: file }).then((values) => { config[file] = values; }),
		unload() {},
		changes: () => ask('uci', 'changes', {}),
		save: () => Promise.all([ ...staged ].map((file) => ask('uci', 'set', { config: file, values: config[file] }))).then(() => staged.clear()),
		apply: () => ask('uci', 'apply', {}),
		get: (file, section, option) => (option ? config[file]?.[section]?.[option] : config[file]?.[section] && '1'),
		set(file, section, option, value) { staged.add(file); ((config[file] ??= {})[section] ??= { '.name': section })[option] = value; },
		add(file, kind, name) { staged.add(file); (config[file] ??= {})[name] = { '.name': name, '.type': kind }; return name; },
		sections: (file, kind) => Object.values(config[file] ?? {}).filter((one) => !kind || one['.type'] == kind)
	};

	/* Titles and helps are markup for LuCI's forms; values are not. */
	class Section {
		constructor(type, kind, name, title, help) { Object.assign(this, { type, kind, name, title, help, fields: [] }); }
		tab() {}
		option(type, name, label, help) {
			const field = { type, name, label, help, choices: [], value(key, text) { this.choices.push([ key, text ]); } };

			this.fields.push(field);

			return field;
		}
		taboption(tab, ...rest) { return this.option(...rest); }
		input(field, value, id) {
			if (field.choices.length && field.type != 'DynamicList')
				return E('select', { 'id': id, 'class': 'cbi-input-select' }, field.choices.map(([ key, text ]) => E('option', { 'value': key }, text)));

			return E('input', { 'id': id, 'class': 'cbi-input-text', 'type': field.type == 'Flag' ? 'checkbox' : 'text', 'value': value ?? '', 'placeholder': field.placeholder });
		}
		render(file) {
			const node = E('div', { 'class': 'cbi-section', 'id': 'cbi-%s-%s'.format(file, this.name ?? this.kind) }, [ E('h3', {}, this.title ?? ''), E('div', {}, this.help ?? '') ]);

			if (this.type == 'NamedSection') {
				for (const field of this.fields) {
					const id = 'field-%s-%s'.format(this.name, field.name);

					node.appendChild(E('div', { 'class': 'cbi-value' }, [
						E('label', { 'for': id, 'class': 'cbi-value-title' }, field.label),
						E('div', { 'class': 'cbi-value-field' }, [ this.input(field, uci.get(file, this.name, field.name), id), E('div', { 'class': 'cbi-value-description' }, field.help ?? '') ])
					]));
				}

				return node;
			}

			const shown = this.fields.filter((field) => !field.modalonly);

			node.appendChild(E('table', { 'class': 'table' }, [ E('tr', { 'class': 'tr table-titles' }, shown.map((field) => E('th', { 'class': 'th' }, field.label))) ]
				.concat(uci.sections(file, this.kind).map((one) => E('tr', { 'class': 'tr', 'title': this.modaltitle?.(one['.name']) }, shown.map((field) => E('td', { 'class': 'td' }, field.textvalue?.(one['.name']) ?? '%h'.format(one[field.name] ?? ''))))))));

			return node;
		}
	}

	const form = Object.fromEntries([ 'Value', 'Flag', 'ListValue', 'MultiValue', 'DynamicList', 'NamedSection', 'GridSection', 'TypedSection' ].map((kind) => [ kind, kind ]));

	form.Map = class {
		constructor(file, title, help) { Object.assign(this, { file, title, help, parts: [] }); }
		section(type, ...rest) {
			const part = type == 'NamedSection' ? new Section(type, rest[1], rest[0], rest[2], rest[3]) : new Section(type, rest[0], null, rest[1], rest[2]);

			this.parts.push(part);

			return part;
		}
		render() {
			return Promise.resolve(E('div', { 'class': 'cbi-map' }, [ E('h2', {}, this.title ?? ''), E('div', {}, this.help ?? '') ].concat(this.parts.map((part) => part.render(this.file)))));
		}
		save() { return Promise.resolve(); }
		reset() { return Promise.resolve(); }
	};

	const modules = {
		baseclass: { extend }, view: { extend }, rpc, ui, uci, form,
		poll: { add(work, seconds) { work(); setInterval(work, 1000 * seconds); } },
		fs: {
			exec: (program, args) => ask('file', 'exec', { command: program, params: args }),
			list: (folder) => ask('file', 'list', { path: folder }).then((reply) => reply.entries)
		}
	};
	const loaded = {};

	function load(name) {
		if (modules[name])
			return Promise.resolve(modules[name]);

		loaded[name] ??= fetch(BASE + name.replace(/\./g, '/') + '.js').then((reply) => reply.text()).then(async (source) => {
			const head = source.match(/^'use strict';\s*(?:'require [^']+';\s*)*/)[0];
			const needs = [ ...head.matchAll(/'require ([a-z.-]+)(?: as ([a-z]+))?';/g) ].map(([ , wanted, as ]) => [ as ?? wanted.replace(/[^a-z]/g, '_'), wanted ]);
			const given = await Promise.all(needs.map(([ , wanted ]) => load(wanted)));

			return new (new Function(...needs.map(([ as ]) => as), source + '\n//# sourceURL=' + BASE + name.replace(/\./g, '/') + '.js')(...given))();
		});

		return loaded[name];
	}

	window.addEventListener('DOMContentLoaded', async () => {
		document.body.appendChild(overlay);

		const view = await load('view.' + document.body.dataset.view);
		const node = await view.render(await view.load());

		document.getElementById('view').replaceChildren(node);

		if (view.addFooter)
			document.getElementById('view').appendChild(view.addFooter());

		document.body.dataset.ready = '1';
	});
})();
