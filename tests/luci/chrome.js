'use strict';

/* A browser without a window, Debian's `chromium`, driven over two pipes by its own protocol: no package, no port. For the
   pages as people meet them: pressed with a mouse and with keys, at any width, light and dark. */

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

/* How long something may take to be there, in milliseconds. */
const PATIENCE = 20000;

const PROGRAM = process.env.BRAMBLE_CHROMIUM ?? [ '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome' ].find((file) => fs.existsSync(file));

/* One browser; `page` opens a tab in it. */
class Chrome {
	static async start(language = 'en-GB') {
		const chrome = new Chrome();

		chrome.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bramble-chrome-'));
		chrome.process = spawn(PROGRAM, [
			'--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars', '--no-first-run', '--no-proxy-server',
			'--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-extensions', '--lang=' + language,
			'--remote-debugging-pipe', '--user-data-dir=' + chrome.folder, 'about:blank'
		], { stdio: [ 'ignore', 'ignore', 'ignore', 'pipe', 'pipe' ], env: Object.assign({}, process.env, { LANGUAGE: language.replace('-', '_') }) });
		chrome.waiting = new Map();
		chrome.heard = [];
		chrome.asked = 0;

		let rest = '';

		chrome.process.stdio[4].setEncoding('utf8').on('data', (piece) => {
			const parts = (rest + piece).split('\0');

			rest = parts.pop();
			parts.forEach((part) => chrome.take(JSON.parse(part)));
		});
		chrome.process.on('exit', () => {
			for (const { reject } of chrome.waiting.values())
				reject(new Error('the browser has ended'));
		});

		return chrome;
	}

	take(message) {
		const asked = this.waiting.get(message.id);

		if (!asked) {
			this.heard.forEach((hear) => hear(message));

			return;
		}

		this.waiting.delete(message.id);

		if (message.error)
			asked.reject(new Error(message.error.message));
		else
			asked.resolve(message.result);
	}

	ask(method, params = {}, session) {
		const id = ++this.asked;

		this.process.stdio[3].write(JSON.stringify({ id, method, params, sessionId: session }) + '\0');

		return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
	}

	async page({ width = 1280, height = 900, dark = false } = {}) {
		const { targetId } = await this.ask('Target.createTarget', { url: 'about:blank' });
		const { sessionId } = await this.ask('Target.attachToTarget', { targetId, flatten: true });
		const page = new Page(this, sessionId, targetId);

		await Promise.all([ 'Page.enable', 'Runtime.enable', 'Network.enable', 'Log.enable' ].map((method) => page.ask(method)));
		await page.look({ width, height, dark });

		return page;
	}

	async stop() {
		const gone = new Promise((resolve) => this.process.on('exit', resolve));

		this.ask('Browser.close').catch(() => {});
		setTimeout(() => this.process.kill('SIGKILL'), 5000).unref();
		await gone;
		fs.rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
	}
}

/* One tab. `troubles` has what went wrong in it, `asked` every address that it loaded. */
class Page {
	constructor(chrome, session, target) {
		Object.assign(this, { chrome, session, target, troubles: [], asked: [] });
		chrome.heard.push((message) => message.sessionId == session && this.hear(message));
	}

	hear({ method, params }) {
		if (method == 'Runtime.exceptionThrown')
			this.troubles.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
		else if (method == 'Runtime.consoleAPICalled' && params.type == 'error')
			this.troubles.push(params.args.map((one) => one.value ?? one.description).join(' '));
		else if (method == 'Log.entryAdded' && params.entry.level == 'error')
			this.troubles.push([ params.entry.text, params.entry.url ].filter((one) => one).join(' '));
		else if (method == 'Network.requestWillBeSent')
			this.asked.push(params.request.url);
		else if (method == 'Page.javascriptDialogOpening')
			this.troubles.push('a dialog of the browser: ' + params.message);

		/* Nothing else goes on before it is closed. */
		if (method == 'Page.javascriptDialogOpening')
			this.ask('Page.handleJavaScriptDialog', { accept: false }).catch(() => {});
	}

	ask(method, params) {
		return this.chrome.ask(method, params, this.session);
	}

	look({ width, height, dark }) {
		return Promise.all([
			this.ask('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: false }),
			this.ask('Emulation.setEmulatedMedia', { features: [ { name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }, { name: 'prefers-reduced-motion', value: 'reduce' } ] })
		]);
	}

	async open(url) {
		await this.ask('Page.navigate', { url: 'about:blank' });
		await this.ask('Page.navigate', { url });
	}

	/* Runs a function in the page, with values that JSON can hold. */
	async run(work, ...args) {
		const { result, exceptionDetails } = await this.ask('Runtime.evaluate', {
			expression: '(' + work + ')(...' + JSON.stringify(args) + ')', awaitPromise: true, returnByValue: true
		});

		if (exceptionDetails)
			throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);

		return result.value;
	}

	/* Until a function in the page answers something that is true. */
	async wait(work, ...args) {
		const until = Date.now() + PATIENCE;

		for (;;) {
			/* While a page is being loaded there may be nothing to ask. */
			const found = await this.run(work, ...args).catch(() => null);

			if (found)
				return found;

			if (Date.now() > until)
				throw new Error('waited in vain for ' + work + ' of ' + JSON.stringify(args) + '; the page says: ' + (await this.says()).slice(0, 1500) + this.troubles.join('\n'));

			await new Promise((resolve) => setTimeout(resolve, 50));
		}
	}

	says() {
		return this.run(() => document.body.innerText);
	}

	/* Until a text is to be seen. */
	text(text) {
		return this.wait((wanted) => document.body.innerText.includes(wanted), text);
	}

	/* Presses what is found, with the mouse, where it is. `within` narrows the search; a button is found by its words. */
	async press(label, within = 'body') {
		const at = await this.wait((words, where) => {
			const dialog = document.querySelector('#modal_overlay .modal, .modal[role="dialog"]');
			const open = document.body.classList.contains('modal-overlay-active') && dialog;
			const all = [ ...(open ? dialog : document.querySelector(where) ?? document.createElement('p')).querySelectorAll('button, a, input[type="submit"], [role="button"], label, summary, li[data-tab] a, select, input') ];
			/* A button goes before the label of a field that is called the same. */
			all.sort((one, other) => (one.tagName == 'LABEL') - (other.tagName == 'LABEL'));

			const node = all.find((one) => (one.textContent.trim() || one.value) == words && one.getClientRects().length && !one.disabled)
				?? all.find((one) => (one.getAttribute('data-key') == words || one.getAttribute('aria-label') == words) && one.getClientRects().length && !one.disabled);

			if (!node)
				return null;

			node.scrollIntoView({ block: 'center', inline: 'center' });

			const box = node.getBoundingClientRect();
			const x = box.x + box.width / 2, y = box.y + box.height / 2;
			const top = document.elementFromPoint(x, y);

			/* Something may lie above it for a moment, as a notice that fades. */
			return top && (node.contains(top) || top.contains(node)) ? { x, y } : null;
		}, label, within);

		for (const type of [ 'mouseMoved', 'mousePressed', 'mouseReleased' ])
			await this.ask('Input.dispatchMouseEvent', { type, x: at.x, y: at.y, button: type == 'mouseMoved' ? 'none' : 'left', clickCount: 1 });
	}

	/* Types into the field with this name or id, which is emptied first. */
	async fill(name, text) {
		await this.wait((wanted) => {
			const node = document.getElementById(wanted) ?? document.querySelector('[name="' + wanted + '"]');

			if (!node)
				return false;

			node.focus();

			if (node.tagName == 'SELECT' || node.type == 'checkbox')
				return true;

			node.select?.();

			return document.activeElement === node;
		}, name);
		await this.ask('Input.insertText', { text });
	}

	/* One key, such as `Tab` or `Enter`. */
	async key(name) {
		const codes = { Tab: 9, Enter: 13, Escape: 27, ' ': 32, ArrowDown: 40 };
		const event = { key: name, code: name == ' ' ? 'Space' : name, windowsVirtualKeyCode: codes[name] };

		await this.ask('Input.dispatchKeyEvent', Object.assign({ type: name == 'Enter' || name == ' ' ? 'keyDown' : 'rawKeyDown', text: name == 'Enter' ? '\r' : name == ' ' ? ' ' : undefined }, event));
		await this.ask('Input.dispatchKeyEvent', Object.assign({ type: 'keyUp' }, event));
	}

	async picture(file, whole = false) {
		const size = whole ? await this.run(() => ({ width: document.documentElement.clientWidth, height: Math.max(document.body.scrollHeight, window.innerHeight) })) : null;
		const { data } = await this.ask('Page.captureScreenshot', Object.assign({ format: 'png' }, size ? { captureBeyondViewport: true, clip: Object.assign({ x: 0, y: 0, scale: 1 }, size) } : {}));

		fs.writeFileSync(file, Buffer.from(data, 'base64'));
	}

	close() {
		return this.chrome.ask('Target.closeTarget', { targetId: this.target });
	}
}

module.exports = { Chrome, PROGRAM };
