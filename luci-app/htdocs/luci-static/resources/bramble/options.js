'use strict';
'require baseclass';
'require form';
'require uci';
'require bramble.schema as schema';

/* Makes the fields of forms from the schema: what an option is called, which of them are for experts, and what a value
   must look like. What an option means is said by the schema itself. */

const LABELS = {
	'bramble.enabled': _('Serve'),
	'bramble.data': _('Folder for data'),
	'bramble.network': _('Networks'),
	'bramble.log_level': _('Log'),
	'dhcp.mode': _('Addresses'),
	'dhcp.inherit': _('As set up for dnsmasq'),
	'dhcp.start': _('First address'),
	'dhcp.limit': _('How many addresses'),
	'dhcp.lease_time': _('Lease time'),
	'dhcp.unknown_pi': _('New Pis'),
	'subnet.network': _('Network'),
	'subnet.subnet': _('Relayed network'),
	'subnet.router': _('Router'),
	'subnet.start': _('First address'),
	'subnet.limit': _('How many addresses'),
	'subnet.lease_time': _('Lease time'),
	'tftp.enabled': _('Boot files'),
	'nfs.backend': _('Served by'),
	'nfs.url': _('Other server'),
	'nfs.port': _('Own port'),
	'images.keep': _('Versions kept'),
	'images.keep_for': _('Kept for'),
	'accounts.source': _('Kept by'),
	'accounts.twice': _('A second log-in'),
	'accounts.password_length': _('Shortest password'),
	'accounts.history_days': _('Remember log-ins for days'),
	'accounts.attic_time': _('Keep removed homes for'),
	'directory.server': _('Servers'),
	'directory.kind': _('Kind'),
	'directory.tls': _('Encryption'),
	'directory.ca_file': _('Authorities'),
	'directory.base': _('People below'),
	'directory.group_base': _('Groups below'),
	'directory.bind_dn': _('Asked as'),
	'directory.secret_file': _('File with its password'),
	'directory.filter': _('Who is a person'),
	'directory.group_filter': _('What is a group'),
	'directory.name_attribute': _('Log-in name is'),
	'directory.numbers': _('Numbers'),
	'directory.group': _('Groups that may log in'),
	'directory.teacher_group': _('Groups of teachers'),
	'directory.timeout': _('Patience in seconds'),
	'directory.refresh': _('Asked again every'),
	'directory.offline': _('Without the directory'),
	'directory.offline_time': _('For at most'),
	'catalogue.source': _('Lists of operating systems'),
	'catalogue.refresh': _('Look for newer ones every'),
	'catalogue.proxy': _('Proxy'),
	'catalogue.ca_file': _('Certificates'),
	'homes.quota': _('Space for each person'),
	'homes.local_caches': _('Caches on the client'),
	'homes.encrypt': _('Encrypted'),
	'share.access': _('Pupils may'),
	'share.class': _('Classes'),
	'share.path': _('Another folder'),
	'share.quota': _('Space for files'),
	'ldap.enabled': _('Answer other programs'),
	'ldap.base': _('Base name'),
	'ldap.anonymous': _('Without log-in'),
	'ldap.clear': _('Without TLS'),
	'room.image': _('Image', 'operating system'),
	'room.config_txt': _('Lines for config.txt'),
	'room.cmdline': _('Kernel parameters'),
	'room.timezone': _('Time zone'),
	'room.mask': _('Units not started'),
	'room.class': _('Classes'),
	'room.sudo': _('Become root'),
	'room.groups': _('Devices'),
	'room.mode': _('Used by'),
	'room.guest_time': _('Minutes of a guest'),
	'room.kiosk_url': _('Page of a kiosk'),
	'room.kiosk_idle': _('A kiosk begins anew after minutes'),
	'room.exam_class': _('Classes in an exam'),
	'room.exam_account': _('Accounts in an exam'),
	'room.exam_share': _('Shares in an exam'),
	'room.exam_hook': _('Program that stops the internet'),
	'room.screens': _('Screens can be seen'),
	'schedule.enabled': _('Switched on'),
	'schedule.day': _('Days'),
	'schedule.time': _('Time'),
	'schedule.grace': _('Minutes before'),
	'schedule.action': _('What happens'),
	'schedule.room': _('Room'),
	'schedule.router': _('The router too'),
	'client.mac': _('Hardware address'),
	'client.name': _('Name'),
	'client.room': _('Room'),
	'client.image': _('Image', 'operating system'),
	'client.ip': _('Fixed address'),
	'client.config_txt': _('Lines for config.txt'),
	'client.cmdline': _('Kernel parameters'),
	'client.mode': _('Used by'),
	'client.kiosk_url': _('Page of a kiosk')
};

const CHOICES = {
	'error': _('errors only'), 'warn': _('warnings too'), 'info': _('what happens'), 'debug': _('with reasons'), 'trace': _('every packet'),
	'authoritative': _('given by Bramble'), 'proxy': _('given by another server'), 'off': _('not looked after'),
	'offer': _('get an address'), 'ignore': _('get no answer'),
	'embedded': _('Bramble'), 'external': _('another NFS server'),
	'local': _('Bramble'), 'ldap': _('a directory that is there already'),
	'allow': _('is allowed'), 'refuse': _('is refused'), 'takeover': _('ends the first'),
	'read': _('read'), 'write': _('read and change'), 'handin': _('hand in'),
	'posix': _('LDAP'), 'ad': _('Active Directory'), 'ldaps': _('from the start'), 'starttls': _('after a word in the clear'), 'directory.tls.off': _('none'),
	'directory.numbers.posix': _('from the directory'), 'sid': _('made from the objectSid'),
	'no': _('nobody logs in'), 'names': _('names are kept'), 'passwords': _('log-ins go on'),
	'mon': _('Monday'), 'tue': _('Tuesday'), 'wed': _('Wednesday'), 'thu': _('Thursday'), 'fri': _('Friday'), 'sat': _('Saturday'), 'sun': _('Sunday'),
	'shutdown': _('shut down'), 'reboot': _('restart'), 'logout': _('log everybody out'),
	'login': _('people who log in'), 'guest': _('guests without a name'), 'kiosk': _('whoever comes by: one page'), 'exam': _('those in an exam'), 'image': _('whom the image logs in by itself, and people who log in'),
	'nobody': _('nobody'), 'teachers': _('teachers'), 'everybody': _('everybody')
};

/* What a section is for, where its title does not say it. */
const HELPS = {
	'accounts': _('Who may log in at the Pis, and how. The people themselves are on the page “People”.'),
	'directory': _('The LDAP directory or Active Directory that is asked, if accounts are kept by a directory that is there already. A log-in can be tested on the page “People”.'),
	'dhcp': _('Who gives addresses to what is connected to the served networks.'),
	'homes': _('The folders of people.'),
	'ldap': _('A library catalogue, for example, can check log-ins with Bramble, over LDAP.')
};

const TITLES = {
	'bramble': _('Service'),
	'dhcp': _('Addresses'),
	'subnet': _('Networks behind a relay'),
	'tftp': _('Boot files'),
	'nfs': _('Root file systems'),
	'catalogue': _('Operating systems'),
	'accounts': _('Accounts'),
	'directory': _('Directory'),
	'images': _('Old versions'),
	'homes': _('Homes'),
	'share': _('Shares'),
	'ldap': _('For other programs'),
	'schedule': _('End of the day'),
	'room': _('Rooms'),
	'client': _('Clients')
};

/* Folded away at first: what a room works without. */
const EXPERT = [
	'bramble.log_level', 'dhcp.start', 'dhcp.limit', 'dhcp.lease_time', 'tftp.enabled', 'nfs.backend', 'nfs.url', 'nfs.port',
	'catalogue.ca_file', 'directory.ca_file', 'directory.group_base', 'directory.filter', 'directory.group_filter', 'directory.name_attribute', 'directory.numbers',
	'directory.timeout', 'directory.refresh', 'directory.offline', 'directory.offline_time', 'ldap.base', 'ldap.anonymous', 'ldap.clear', 'room.config_txt', 'room.cmdline', 'room.mask', 'room.groups', 'room.exam_hook',
	'client.config_txt', 'client.cmdline', 'share.path'
];

/* Shown in the table of a kind of section; everything else is in the dialog behind “Edit”. */
const COLUMNS = [ 'room.image', 'client.mac', 'client.name', 'client.room', 'client.image', 'client.ip', 'share.access', 'share.class', 'schedule.day', 'schedule.time', 'schedule.action', 'schedule.room', 'subnet.network', 'subnet.subnet', 'subnet.router' ];

/* What it means in a table that there is none. */
const NONE = { 'share.class': _('everybody'), 'schedule.day': _('every day'), 'schedule.room': _('all clients') };

const NAME = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;
const HOST = /^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/;
const IPV4 = /^(25[0-5]|2[0-4]\d|1?\d?\d)(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}$/;

/* Whether a text can be a value of this kind. The daemon is stricter and has the last word; this is for typing. */
const FITS = {
	'duration': (text) => (/^(\d+[smhdw])+$/).test(text) || text == 'infinite',
	'ip': (text) => IPV4.test(text),
	'subnet': (text) => IPV4.test(text.split('/')[0]) && /^\/([89]|[12]\d|30)$/.test(text.slice(text.indexOf('/'))),
	'mac': (text) => (/^([0-9a-f]{2}[:-]){5}[0-9a-f]{2}$/i).test(text),
	'host_name': (text) => HOST.test(text),
	'room_name': (text) => (/^[A-Za-z0-9_-]+$/).test(text),
	'class_name': (text) => NAME.test(text),
	'user_name': (text) => NAME.test(text),
	'share_name': (text) => (/^[A-Za-z0-9_]+$/).test(text),
	'page': (text) => (/^(https?:\/\/|file:\/\/\/)[^\s'"\\]+$/).test(text),
	'ldap_base': (text) => (/^[a-z]+=[^,=]+(,[a-z]+=[^,=]+)*$/i).test(text),
	'ldap_server': (text) => (/^[A-Za-z0-9.-]+(:\d+)?$/).test(text),
	'ldap_entry': (text) => (/^[A-Za-z]+=/).test(text),
	'ldap_filter': (text) => text.charAt(0) == '(' && text.charAt(text.length - 1) == ')',
	'ldap_attribute': (text) => (/^[A-Za-z][A-Za-z0-9-]*$/).test(text),
	'image': (text) => (/^[a-z0-9][a-z0-9._-]*(@\d+)?$/).test(text),
	'path': (text) => text.charAt(0) == '/' && text.split('/').indexOf('..') < 0,
	'folder': (text) => text.charAt(0) == '/' && text.split('/').indexOf('..') < 0,
	'config_txt': (text) => text.length <= 98,
	'cmdline': (text) => text.trim().length > 0 && text.length <= 512,
	'time_zone': (text) => (/^[A-Za-z0-9_+-]+(\/[A-Za-z0-9_+-]+)*$/).test(text),
	'unit': (text) => (/\.(service|socket|timer|mount|target|path)$/).test(text),
	'catalogue': (text) => (/^(https?:\/\/[^/@]+|\/)/).test(text),
	'proxy': (text) => (/^https?:\/\/[^/]+\/?$/).test(text),
	'nfs_url': (text) => (/^nfs:\/\/[^/]+\/.*\{image\}.*\{version\}/).test(text),
	'time': (text) => (/^([01]?\d|2[0-3]):[0-5]\d$/).test(text),
	'size': (text) => (/^[1-9]\d*[kMGT]?$/).test(text) || text == 'none'
};

return baseclass.extend({
	sections: schema.sections,

	section(kind) {
		return schema.sections.find((section) => section.kind == kind);
	},

	title(kind) {
		return TITLES[kind];
	},

	label(kind, option) {
		return LABELS['%s.%s'.format(kind, option)];
	},

	isExpert(kind, option) {
		return EXPERT.indexOf('%s.%s'.format(kind, option)) >= 0;
	},

	choice(kind, option, word) {
		return CHOICES['%s.%s.%s'.format(kind, option, word)] ?? CHOICES[word] ?? word;
	},

	/* True, or what is wrong with a value. */
	check(option, text) {
		if (text == null || text === '')
			return true;

		if (option.kind == 'number')
			return (/^\d+$/).test(text) && +text >= option.min && +text <= option.max
				? true : _('Expecting a number from %d to %d').format(option.min, option.max);

		return !FITS[option.kind] || FITS[option.kind](text)
			? true : _('Expecting: %s').format('%s (%s)'.format(option.says, option.example));
	},

	/* The classes of LuCI's forms that show an option, and what is set on them. `known` has names to choose from. */
	widget(option, known) {
		const names = known?.[option.kind];

		if (option.kind == 'bool')
			return form.Flag;

		if (option.kind == 'choice')
			return option.list ? form.MultiValue : form.ListValue;

		if (option.kind == 'network' && names?.length)
			return option.list ? form.MultiValue : form.ListValue;

		return option.list ? form.DynamicList : form.Value;
	},

	/* Adds one option of the schema to a section of a form. */
	add(section, kind, option, known, tab) {
		const type = this.widget(option, known);
		const label = this.label(kind, option.name);
		const field = tab
			? section.taboption(tab, type, option.name, label, option.help)
			: section.option(type, option.name, label, option.help);

		if (option.kind == 'bool') {
			field.default = option['default'] ?? '0';
			field.rmempty = false;
		}
		else {
			field.placeholder = option['default'] ?? option.example;
			field.rmempty = !option.required;
			field.optional = !option.required;
			field.validate = (section_id, value) => this.check(option, value);
		}

		/* One that may be left out can be taken back. */
		if (option.kind == 'choice' && !option.list && option['default'] == null)
			field.value('', _('as usual'));

		for (const word of option.choices ?? [])
			field.value(word, this.choice(kind, option.name, word));

		if (option.kind == 'choice' && !option.list)
			field.default = option['default'];

		for (const name of known?.[option.kind] ?? [])
			field.value(name, name);

		/* A table has the words that the form has, and not those of the file. */
		if (option.kind != 'bool')
			field.textvalue = (section_id) => {
				const value = uci.get('bramble', section_id, option.name) ?? option['default'];
				const values = option.list ? L.toArray(value) : [ value ].filter((one) => one);

				return [ values.length ? values.map((word) => option.choices ? this.choice(kind, option.name, word) : word).join(', ')
					: E('em', {}, [ NONE['%s.%s'.format(kind, option.name)] ?? _('none') ]) ];
			};

		if (COLUMNS.indexOf('%s.%s'.format(kind, option.name)) < 0 && section.modaltitle !== undefined)
			field.modalonly = true;

		return field;
	},

	/* Every option of a section that there is once, the expert part behind a tab of its own. */
	addFixed(map, kind, known) {
		const spec = this.section(kind);

		/* One that the file leaves out has its defaults; it is written when something is saved. */
		if (!uci.get('bramble', spec.name))
			uci.add('bramble', kind, spec.name);

		const section = map.section(form.NamedSection, spec.name, kind, TITLES[kind], HELPS[kind]);
		const expert = spec.options.some((option) => this.isExpert(kind, option.name));
		const plain = spec.options.some((option) => !this.isExpert(kind, option.name));

		section.addremove = false;

		if (expert && plain) {
			section.tab('plain', _('Usual'));
			section.tab('expert', _('For experts'));
		}

		for (const option of spec.options)
			this.add(section, kind, option, known, expert && plain ? (this.isExpert(kind, option.name) ? 'expert' : 'plain') : null);

		return section;
	},

	/* A table of sections of which there can be many, with everything else behind “Edit”. */
	addTable(map, kind, known) {
		const spec = this.section(kind);
		const section = map.section(form.GridSection, kind, TITLES[kind], spec.help);

		section.addremove = true;
		section.anonymous = !spec.named;
		section.nodescriptions = true;
		/* LuCI takes the title for markup, even what was escaped: only what is a name gets in. */
		section.modaltitle = (section_id) => {
			const name = section.anonymous ? uci.get('bramble', section_id, 'name') : section_id;

			return (/^[\w-]+$/).test(name ?? '') ? name : TITLES[kind];
		};

		if (spec.options.some((option) => this.isExpert(kind, option.name))) {
			section.tab('plain', _('Usual'));
			section.tab('expert', _('For experts'));

			for (const option of spec.options)
				this.add(section, kind, option, known, this.isExpert(kind, option.name) ? 'expert' : 'plain');
		}
		else {
			for (const option of spec.options)
				this.add(section, kind, option, known, null);
		}

		return section;
	},

	/* Names that can be chosen, from the answers of the daemon and from UCI; what could not be asked is left out. */
	known(images, classes) {
		return {
			'image': (images?.images ?? []).map((image) => image.name),
			'class_name': (classes?.classes ?? []).map((one) => one.name),
			'room_name': uci.sections('bramble', 'room').map((room) => room['.name']),
			'network': uci.sections('network', 'interface').map((one) => one['.name']).filter((name) => name != 'loopback')
		};
	}
});
