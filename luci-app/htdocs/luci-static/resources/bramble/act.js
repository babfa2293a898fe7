'use strict';
'require baseclass';
'require ui';

/* What people do: buttons that spin and report, questions before something is lost, small forms. */

const HOLD = 8000;

function notice(text, kind) {
	const nodes = [ E('p', {}, [ text ]) ];

	if (ui.addTimeLimitedNotification)
		ui.addTimeLimitedNotification(null, nodes, HOLD, kind);
	else
		ui.addNotification(null, nodes, kind);
}

/* What was pressed last on the page, and gets the keyboard back: LuCI takes it from a button that is pressed, and leaves it
   nowhere when a dialog closes. */
let pressed = null;

const isOpen = () => document.body.classList.contains('modal-overlay-active');

function giveBack() {
	const key = pressed?.getAttribute('data-key');
	/* The page may have been drawn anew meanwhile. */
	const again = key == null ? null : [ ...document.querySelectorAll('[data-key]') ].find((one) => one.getAttribute('data-key') === key);

	(pressed?.isConnected ? pressed : again ?? document.querySelector('.bramble h2'))?.focus();
}

/* Work may throw at once or later: both are one here. */
function attempt(work) {
	return new Promise((resolve) => resolve(work()));
}

function input(field, id) {
	const common = { 'id': id, 'name': field.name, 'aria-describedby': id + '-says' };
	const value = field.value ?? '';

	switch (field.kind) {
	case 'choice':
		return E('select', Object.assign(common, { 'class': 'cbi-input-select' }), field.choices.map((choice) => E('option', {
			'value': choice[0],
			'selected': choice[0] == value ? '' : null
		}, [ choice[1] ])));

	case 'flag':
		return E('input', Object.assign(common, { 'type': 'checkbox', 'checked': value ? '' : null }));

	case 'area':
		return E('textarea', Object.assign(common, { 'class': 'cbi-input-textarea', 'rows': '8', 'spellcheck': 'false' }), [ value ]);

	case 'file':
		return E('input', Object.assign(common, { 'type': 'file', 'accept': field.accept }));

	default:
		return E('input', Object.assign(common, {
			'type': field.kind ?? 'text',
			'class': 'cbi-input-text',
			'value': value,
			'placeholder': field.placeholder,
			'list': field.suggest ? id + '-list' : null,
			'autocomplete': field.kind == 'password' ? 'new-password' : 'off'
		}));
	}
}

function read(field, node) {
	switch (field.kind) {
	case 'flag':
		return node.checked;
	case 'file':
		return node.files?.[0] ?? null;
	default:
		return node.value;
	}
}

return baseclass.extend({
	/* Tells that something was done. */
	done(text) {
		notice(text, 'info');
	},

	/* Tells why something was not done, in the daemon's own words. */
	failed(error) {
		notice(error?.message ?? String(error), 'danger');
	},

	/* A button that spins while `work` goes on, and shows why it failed. */
	button(label, work, kind, attributes) {
		return E('button', Object.assign({
			'type': 'button',
			'class': 'btn cbi-button cbi-button-' + (kind ?? 'action'),
			'click': ui.createHandlerFn(this, (ev) => {
				if (!isOpen())
					pressed = ev.currentTarget;

				return attempt(() => work(ev)).catch((error) => this.failed(error)).then(() => {
					/* Once it can be pressed again. */
					window.setTimeout(() => {
						if (!isOpen() && document.activeElement === document.body)
							giveBack();
					}, 0);
				});
			})
		}, attributes ?? {}), [ label ]);
	},

	/* The title goes in as a text, as everything else. */
	modal(title, nodes) {
		/* What has the keyboard has opened it, unless it was a button that spins. */
		if (!isOpen() && document.activeElement && document.activeElement !== document.body)
			pressed = document.activeElement;

		const modal = ui.showModal([ title ], nodes);

		/* The keyboard goes where the eyes are. */
		modal?.querySelector('input, select, textarea, button, a')?.focus();

		return modal;
	},

	hide() {
		ui.hideModal();
		giveBack();
	},

	/* Whether somebody can still see a node of a dialog. */
	isShown(node) {
		return isOpen() && node.isConnected;
	},

	/* The row that closes a dialog which only shows something. */
	closing(more) {
		return E('div', { 'class': 'right' }, [
			E('button', { 'type': 'button', 'class': 'btn cbi-button', 'click': () => this.hide() }, [ _('Close') ])
		].concat((more ?? []).flatMap((one) => [ ' ', one ])));
	},

	/* A dialog: `body` above a row with Cancel and the button that does it. An error stays in the dialog. */
	dialog(title, body, label, kind, work) {
		const says = E('div', { 'class': 'bramble-refusal', 'role': 'alert' }, []);
		const go = E('button', {
			'type': 'submit',
			'class': 'btn cbi-button cbi-button-' + (kind ?? 'positive') + ' important'
		}, [ label ]);
		const submit = ui.createHandlerFn(this, () => attempt(() => work(says)).then((keep) => {
			if (keep !== false)
				this.hide();
		}, (error) => {
			says.replaceChildren(error?.message ?? String(error));
		}));

		const form = E('form', {
			'class': 'bramble-form',
			'submit': (ev) => {
				ev.preventDefault();
				says.replaceChildren();

				/* The button spins, not the form. */
				return submit({ currentTarget: go, target: go });
			}
		}, body.concat([
			says,
			E('div', { 'class': 'right' }, [
				E('button', { 'type': 'button', 'class': 'btn cbi-button', 'click': () => this.hide() }, [ _('Cancel') ]),
				' ',
				go
			])
		]));

		this.modal(title, [ form ]);
		(form.querySelector('input, select, textarea') ?? go).focus();

		return form;
	},

	/* Asks before something is lost; `loses` names it. */
	ask(title, says, loses, label, work) {
		return this.dialog(title, [
			E('p', {}, [ says ]),
			loses?.length ? E('ul', { 'class': 'bramble-loses' }, loses.map((one) => E('li', {}, [ one ]))) : ''
		], label, loses?.length ? 'negative' : 'positive', work);
	},

	/* A dialog of fields `{ name, label, kind, value, choices, suggest, help }`. `work` gets the values; a refusal that names a field
	   is shown beside it. `kind` is that of its button: `negative` where something is lost. */
	form(title, intro, fields, label, work, kind) {
		const nodes = {}, notes = {};
		const rows = fields.map((field) => {
			const id = 'bramble-field-' + field.name;

			nodes[field.name] = input(field, id);
			notes[field.name] = E('div', { 'class': 'bramble-refusal', 'role': 'alert' }, []);

			return E('div', { 'class': 'cbi-value' }, [
				E('label', { 'class': 'cbi-value-title', 'for': id }, [ field.label ]),
				E('div', { 'class': 'cbi-value-field' }, [
					nodes[field.name],
					field.suggest ? E('datalist', { 'id': id + '-list' }, field.suggest.map(([ value, label ]) => E('option', { 'value': value }, [ label ]))) : '',
					E('div', { 'class': 'cbi-value-description', 'id': id + '-says' }, [ field.help ?? '' ]),
					notes[field.name]
				])
			]);
		});

		return this.dialog(title, (intro ? [ E('p', {}, [ intro ]) ] : []).concat(rows), label, kind ?? 'positive', () => {
			const values = {};

			for (const field of fields) {
				values[field.name] = read(field, nodes[field.name]);
				notes[field.name].replaceChildren();
			}

			return attempt(() => work(values)).catch((error) => {
				const note = notes[error?.field];

				if (!note)
					throw error;

				note.replaceChildren(error.message);
				nodes[error.field].focus();

				return false;
			});
		});
	},

	/* A window of its own that a browser can print. */
	print(html) {
		const frame = E('iframe', { 'class': 'bramble-print', 'sandbox': 'allow-same-origin allow-modals', 'srcdoc': html });

		frame.addEventListener('load', () => frame.contentWindow.print());
		document.body.appendChild(frame);
		window.setTimeout(() => frame.remove(), 600000);
	},

	/* Gives the browser a file to keep. */
	save(name, type, text) {
		const url = URL.createObjectURL(new Blob([ text ], { type: type }));
		const link = E('a', { 'href': url, 'download': name }, []);

		document.body.appendChild(link);
		link.click();
		link.remove();
		window.setTimeout(() => URL.revokeObjectURL(url), 60000);
	}
});
