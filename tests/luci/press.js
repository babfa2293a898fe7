'use strict';

/* What the tests of the pages do with the harness as a person does: buttons are found and pressed, dialogs filled and sent. */

const assert = require('node:assert');

function button(node, label) {
	const found = node.all((one) => one.tagName == 'BUTTON' && one.textContent.trim() == label)[0];

	assert.ok(found, 'no button “' + label + '” in: ' + node.textContent.slice(0, 300));

	return found;
}

const settle = () => new Promise((resolve) => setImmediate(resolve));

/* A dialog that is open: presses its button, and waits. */
async function submit(page) {
	const dialog = page.seen.modals[page.seen.modals.length - 1];

	await dialog.node.all((one) => one.tagName == 'FORM')[0].fire('submit');
	await settle();
	await settle();

	return dialog.node;
}

/* The fields of the dialog that is open, by their names. */
function fields(page) {
	const dialog = page.seen.modals[page.seen.modals.length - 1]?.node;

	return Object.fromEntries((dialog?.all((one) => [ 'INPUT', 'SELECT', 'TEXTAREA' ].includes(one.tagName)) ?? []).map((one) => [ one.attributes.name, one ]));
}

/* Presses everything on a page, and everything in each dialog that comes of it. */
async function pressAll(page, node, pressed = () => {}) {
	const dialog = () => page.seen.modals[page.seen.modals.length - 1]?.node;
	const labels = (one) => one.all((each) => each.tagName == 'BUTTON' && !('disabled' in each.attributes)).map((each) => each.attributes['data-key'] ?? each.textContent);
	const press = async (where, label) => {
		const before = { calls: page.seen.calls.length, notices: page.seen.notices.length, modals: page.seen.modals.length };
		const one = where.all((each) => each.tagName == 'BUTTON' && (each.attributes['data-key'] ?? each.textContent) == label)[0];

		if (!one)
			return;

		await (one.attributes.type == 'submit' ? where.all((each) => each.tagName == 'FORM')[0].fire('submit') : one.click());

		for (let n = 0; n < 4; n++)
			await settle();

		pressed(label, before);
	};

	/* What leads elsewhere on the page comes last. */
	const leads = (label) => label.startsWith('step-') || label == 'next';

	for (const label of labels(node).sort((one, other) => leads(one) - leads(other))) {
		const count = page.seen.modals.length;

		await press(node, label);

		if (page.seen.modals.length > count && dialog())
			for (const inner of labels(dialog())) {
				const opened = page.seen.modals[count].node;

				await press(opened, inner);
			}
	}
}

module.exports = { button, fields, pressAll, settle, submit };
