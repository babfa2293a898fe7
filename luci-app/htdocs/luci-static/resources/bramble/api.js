'use strict';
'require baseclass';
'require fs';
'require rpc';

/* The only file that names a method of the daemon. Views call these functions with an object of arguments and get data
   or an Error; none of them sees a status code. */

const callAccess = rpc.declare({ object: 'session', method: 'access', reject: true });
const callInit = rpc.declare({ object: 'rc', method: 'init', params: [ 'name', 'action' ], reject: true });
const callMounts = rpc.declare({ object: 'luci', method: 'getMountPoints', expect: { result: [] }, reject: true });

/* Options of the command line, which messages of the daemon name as `(`--force`)`, mean nothing on a page. */
const OPTION = / \(`--[a-z-]+`\)/g;

/* What a failed call means to a person. The numbers are those of ubus and of uhttpd's JSON-RPC. */
function understand(error) {
	const text = error?.message ?? String(error);

	if (text.indexOf('-32000') >= 0 || /object not found|\bnot found\b/i.test(text))
		return Object.assign(new Error(_('Bramble is not running.')), { code: 'not_running' });

	if (text.indexOf('-32002') >= 0 || /access denied|permission denied/i.test(text))
		return Object.assign(new Error(_('You are not allowed to do this.')), { code: 'not_allowed' });

	return error instanceof Error ? error : new Error(text);
}

function method(name, params) {
	const call = rpc.declare({ object: 'bramble', method: name, params: params ?? [], reject: true });

	return (args) => call(...(params ?? []).map((param) => args?.[param] ?? undefined)).then((reply) => {
		if (reply?.error)
			throw Object.assign(new Error(), reply.error, { message: reply.error.message.replace(OPTION, '') });

		return reply;
	}, (error) => {
		throw understand(error);
	});
}

let rights = null;

return baseclass.extend({
	status: method('status'),
	health: method('health'),
	check: method('check'),
	overview: method('overview', [ 'mark' ]),
	takeover: method('takeover'),
	events: method('events', [ 'count', 'client', 'account', 'least', 'before' ]),

	clientList: method('client_list'),
	clientGet: method('client_get', [ 'client' ]),
	clientAdopt: method('client_adopt', [ 'client', 'name', 'room', 'image', 'ip' ]),
	clientForget: method('client_forget', [ 'client' ]),
	clientAction: method('client_action', [ 'action', 'client', 'room', 'all', 'except', 'message', 'force', 'grace', 'router' ]),
	roomList: method('room_list'),
	plan: method('plan', [ 'room', 'clients' ]),
	actionList: method('action_list'),
	actionStop: method('action_stop', [ 'action' ]),

	imageList: method('image_list'),
	imageShow: method('image_show', [ 'image' ]),
	imageImport: method('image_import', [ 'source', 'name', 'sha256', 'content_sha256', 'desktop' ]),
	imageCatalogue: method('image_catalogue', [ 'search', 'all', 'offset', 'limit' ]),
	imageCatalogueRefresh: method('image_catalogue_refresh'),
	imageDesktop: method('image_desktop', [ 'image', 'draft', 'device' ]),
	deviceList: method('device_list'),
	uploadBegin: method('upload_begin', [ 'name', 'bytes', 'mark' ]),
	uploadSlice: method('upload_slice', [ 'upload', 'offset', 'data' ]),
	uploadList: method('upload_list'),
	uploadCancel: method('upload_cancel', [ 'upload' ]),
	imageRemove: method('image_remove', [ 'image' ]),
	imageDraft: method('image_draft', [ 'image' ]),
	imageDiscard: method('image_discard', [ 'image' ]),
	imagePublish: method('image_publish', [ 'image', 'note', 'skip', 'desktop' ]),
	imageMaintain: method('image_maintain', [ 'image', 'client' ]),
	imageTest: method('image_test', [ 'client', 'image' ]),
	imagePromote: method('image_promote', [ 'image', 'room', 'reboot' ]),
	imageRollback: method('image_rollback', [ 'image', 'room', 'reboot' ]),
	imageExport: method('image_export', [ 'image', 'to', 'form' ]),
	imageExports: method('image_exports'),
	imageExportRemove: method('image_export_remove', [ 'path' ]),
	imageClone: method('image_clone', [ 'image', 'name' ]),

	imageRename: method('image_rename', [ 'image', 'name' ]),
	imagePack: method('image_pack', [ 'image', 'unpack' ]),
	imageShell: method('image_shell', [ 'image' ]),
	imageRun: method('image_run', [ 'image', 'command', 'client' ]),
	jobOutput: method('job_output', [ 'job', 'from' ]),

	modeSet: method('mode_set', [ 'mode', 'room', 'client', 'minutes', 'page', 'classes', 'accounts', 'shares' ]),
	screenAllow: method('screen_allow', [ 'room', 'allow' ]),
	screenOpen: method('screen_open', [ 'client', 'viewer', 'control', 'time' ]),
	screenList: method('screen_list'),
	screenClose: method('screen_close', [ 'client' ]),

	eepromList: method('eeprom_list'),
	eepromSet: method('eeprom_set', [ 'settings', 'client', 'room', 'all', 'except', 'release', 'confirm' ]),
	eepromUndo: method('eeprom_undo', [ 'client', 'confirm' ]),
	enrolMedium: method('enrol_medium', [ 'to', 'models', 'image', 'settings', 'release', 'erase', 'confirm' ]),

	homeUsage: method('home_usage'),
	homeMeasure: method('home_measure'),
	homeReturn: method('home_return', [ 'home', 'to', 'beside' ]),
	homeBackup: method('home_backup', [ 'to', 'home', 'since' ]),
	homeRestore: method('home_restore', [ 'from', 'home' ]),
	shareList: method('share_list'),

	sessionList: method('session_list', [ 'count' ]),
	sessionEnd: method('session_end', [ 'session', 'message' ]),

	accountList: method('account_list', [ 'search', 'class', 'role', 'offset', 'limit' ]),
	accountTest: method('account_test', [ 'account', 'password' ]),
	accountAdd: method('account_add', [ 'account', 'full_name', 'note', 'role', 'classes', 'password', 'must_change', 'expires', 'quota', 'slips' ]),
	accountSet: method('account_set', [ 'account', 'name', 'full_name', 'note', 'role', 'classes', 'enabled', 'must_change', 'expires', 'quota' ]),
	accountPassword: method('account_password', [ 'account', 'class', 'password', 'slips' ]),
	accountRemove: method('account_remove', [ 'account' ]),
	accountImport: method('account_import', [ 'csv', 'class', 'role', 'apply', 'skip' ]),
	accountImported: method('account_imported', [ 'job', 'slips' ]),
	accountExport: method('account_export', [ 'class' ]),
	classList: method('class_list'),
	classAdd: method('class_add', [ 'class', 'note', 'quota' ]),
	classSet: method('class_set', [ 'class', 'name', 'note', 'quota' ]),
	classRemove: method('class_remove', [ 'class', 'members' ]),
	classMove: method('class_move', [ 'class', 'to' ]),

	jobList: method('job_list'),
	jobStatus: method('job_status', [ 'job' ]),
	jobCancel: method('job_cancel', [ 'job' ]),

	/* Asks rpcd, once for each page, what this log-in may call; `may` then answers for a method of Bramble. The lock is
	   in rpcd: this only keeps buttons away that would be refused. */
	loadRights() {
		return callAccess().then((reply) => {
			rights = reply?.ubus?.bramble ?? [];
		}, () => {
			rights = [];
		});
	},

	may(name) {
		return rights != null && (rights.indexOf(name) >= 0 || rights.indexOf('*') >= 0);
	},

	/* What the router itself is asked. */
	files: (folder) => fs.list(folder),

	/* Has the browser fetch a file of the router and keep it; it comes in pieces, and no memory holds it. */
	download(path) {
		this.fetch('cgi-download', { path: path, filename: path.slice(path.lastIndexOf('/') + 1) });
	},

	/* The same with an archive of `image`, such as trixie@3, as it is made: the router writes nothing to its disk. */
	stream(image) {
		/* cgi-io takes no other characters. */
		this.fetch('cgi-exec', { command: '/usr/bin/bramble image export -- %s -'.format(image), filename: 'bramble-image-%s.tar.zst'.format(image.replace(/[^A-Za-z0-9.]/g, '-')) });
	},

	fetch(program, what) {
		const fields = Object.assign({ sessionid: rpc.getSessionID(), mimetype: 'application/octet-stream' }, what);
		const form = E('form', { 'method': 'post', 'action': '%s/%s'.format(L.env.cgi_base, program), 'enctype': 'application/x-www-form-urlencoded' },
			Object.entries(fields).map(([ name, value ]) => E('input', { 'type': 'hidden', 'name': name, 'value': value })));

		document.body.appendChild(form);
		form.submit();
		form.remove();
	},

	mounts: () => callMounts().catch((error) => { throw understand(error); }),
	service: (action) => callInit('bramble', action).catch((error) => { throw understand(error); })
});
