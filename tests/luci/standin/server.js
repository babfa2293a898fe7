'use strict';

/* Serves the pages, unmodified, with the stand-in for LuCI around them and the recorded answers of the daemon behind. Between
   them stands the access list, as uhttpd and rpcd keep it: who asks is the role in the address, `?role=helper`. */

const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');

const { guard } = require('../access.js');
const { ROOT } = require('../harness.js');

const HTDOCS = path.join(ROOT, 'luci-app/htdocs');
const TYPES = { '.js': 'text/javascript', '.css': 'text/css' };

/* `reply` answers a call that was let through: a value, or nothing where there is no such object. `refused`, in what comes back,
   has the calls that were not. */
async function serve(reply) {
	const refused = [];
	const server = http.createServer((request, response) => {
		const url = new URL(request.url, 'http://router');
		const send = (type, body, code) => {
			response.writeHead(code ?? 200, { 'Content-Type': type, 'Cache-Control': 'no-store' });
			response.end(body);
		};

		if (url.pathname == '/ubus/') {
			let body = '';

			request.on('data', (piece) => { body += piece; });
			request.on('end', () => {
				const { object, method, params } = JSON.parse(body);
				const refusal = guard(url.searchParams.get('role') ?? 'administrator').refuses(object, method, params);
				const result = refusal ? undefined : reply(object, method, params);

				if (refusal)
					refused.push([ object, method ].join('.'));

				send('application/json', JSON.stringify(refusal ?? (result === undefined ? { code: -32000, message: 'Object not found' } : { result })));
			});

			return;
		}

		if (url.pathname.startsWith('/cgi-bin/luci/admin/bramble/'))
			return send('text/html', '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">' +
				'<link rel="icon" href="data:,"><link rel="stylesheet" href="/standin/theme.css"><script src="/standin/luci.js"></script></head>' +
				'<body data-view="bramble.' + url.pathname.split('/').pop().replace(/[^a-z]/g, '') + '"><div id="maincontent"><div id="view"></div></div></body></html>');

		const file = url.pathname.startsWith('/standin/') ? path.join(__dirname, path.basename(url.pathname)) : path.join(HTDOCS, path.normalize(url.pathname));

		if (fs.existsSync(file) && fs.statSync(file).isFile())
			return send(TYPES[path.extname(file)] ?? 'text/plain', fs.readFileSync(file));

		send('text/plain', 'not found', 404);
	});

	await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));

	return { refused, url: 'http://127.0.0.1:' + server.address().port, stop: () => new Promise((resolve) => { server.close(resolve); server.closeAllConnections(); }) };
}

module.exports = { serve };
