'use strict';
'require baseclass';
'require bramble.api as api';
'require bramble.act as act';
'require bramble.show as show';

/* Settings in the EEPROM of a Pi 4 or 5, and cards for Pis that do not start from the network yet. Nothing is written before
   it was said to whom, and what the danger is. */

/* How far an update of a client is. */
const ROLLOUT = {
	'asked': [ _('offered at its next start'), 'new' ],
	'fetched': [ _('being written'), 'boot' ],
	'applied': [ _('done'), 'up' ],
	'failed': [ _('failed'), 'stuck' ]
};

/* From the network first, then from what is plugged in. */
const USUAL = 'BOOT_ORDER=0xf21';

return baseclass.extend({
	list(answer, rooms) {
		return [
			E('p', {}, [ _('A Pi 4 or 5 keeps in its EEPROM where it looks for a system. Pis that already start from here can be told over the network; the others start once from a card.') ]),
			E('div', { 'class': 'bramble-tools' }, [
				api.may('eeprom_set') ? act.button(_('Change settings…'), () => this.ask(rooms), 'action', { 'data-key': 'eeprom' }) : '',
				api.may('enrol_medium') ? act.button(_('Make a card…'), () => this.medium(), 'action', { 'data-key': 'medium' }) : ''
			]),
			show.table([ _('Name'), _('Model'), _('Bootloader of'), _('Looks for a system'), _('Update'), '' ], answer.clients.map((one) => [
				one.name, one.model, one.built == null ? _('not told yet') : show.day(one.built),
				[ E('code', {}, [ one.boot_order ?? '' ]) ],
				this.rollout(one.rollout),
				one.rollout && api.may('eeprom_undo') ? act.button(_('Take it back…'), () => this.undo(one), 'negative', { 'data-key': 'eeprom-' + one.mac }) : ''
			]), _('No Pi 4 or 5 has told what is in its EEPROM.'))
		];
	},

	/* How far the last update is, since when, and why it failed. */
	rollout(update) {
		const [ word, kind ] = ROLLOUT[update?.state] ?? [ update?.state, 'off' ];

		return update ? [ show.badge(word, kind), ' ', E('small', {}, [ show.when(update.since) ]), update.why ? E('div', {}, [ update.why ]) : '' ] : '';
	},

	ask(rooms) {
		act.form(_('Change settings of EEPROMs'), _('Begin with one client, and see that it starts. Nothing is done before you have seen what would be done.'), [
			{ name: 'client', label: _('Clients'), help: _('Names with commas between them; or choose a room.') },
			{ name: 'room', label: _('Room'), kind: 'choice', choices: [ [ '', _('none') ] ].concat(rooms.map((name) => [ name, name ])) },
			{ name: 'settings', label: _('Settings'), value: USUAL, help: _('As rpi-eeprom-config writes them, with commas between them.') }
		], _('Show what would be done'), (values) => {
			const asked = { settings: values.settings, client: values.client, room: values.room };

			return api.eepromSet(asked).then((plan) => this.confirm(_('Offer these settings?'), plan, () => api.eepromSet(Object.assign({ confirm: '1' }, asked)))).then(() => false);
		});
	},

	undo(one) {
		return api.eepromUndo({ client: one.mac }).then((plan) => this.confirm(_('Take the update of %s back?').format(one.name), plan, () => api.eepromUndo({ client: one.mac, confirm: '1' })));
	},

	confirm(title, plan, work) {
		act.dialog(title, [
			E('p', { 'class': 'bramble-problem' }, [ plan.danger ]),
			show.table([ _('Client'), '', '' ], plan.clients.map((fate) => [ fate.name, show.badge(fate.offered ? _('is offered it') : _('left alone'), fate.offered ? 'boot' : 'off'), fate.says ]))
		], _('Do it'), 'negative', () => work().then(() => act.done(_('They take it when they are switched on the next time.'))));
	},

	medium() {
		return Promise.all([ api.may('device_list') ? api.deviceList().catch(() => ({ devices: [] })) : { devices: [] }, api.imageList() ]).then(([ disks, images ]) => act.form(_('Make a card'),
			_('A Pi that is started once with this card looks for its system on the network from then on; its screen shows when it is done. One card does a whole room, one Pi after the other.'), [
				{ name: 'to', label: _('Card or file'), kind: 'choice', choices: disks.devices.map((disk) => [ disk.path, '%s, %s, %s'.format(disk.path, disk.model, show.size(disk.bytes)) ]).concat([ [ '/mnt/sda1/bramble-card.img', _('a file, to be written to a card elsewhere') ] ]) },
				{ name: 'models', label: _('Model'), kind: 'choice', choices: [ [ 'pi4', 'Pi 4' ], [ 'pi5', 'Pi 5' ], [ 'pi3', 'Pi 3' ], [ 'pi3,pi4', 'Pi 3, Pi 4' ], [ 'pi3,pi5', 'Pi 3, Pi 5' ] ] },
				{ name: 'image', label: _('Bootloader from the image'), kind: 'choice', choices: images.images.map((image) => [ image.name, image.name ]) },
				{ name: 'erase', label: _('What is on it may go'), kind: 'flag', help: _('A used card, or a file that is there already, is refused otherwise.') }
			], _('Show what would be done'), (values) => {
				const asked = Object.assign({}, values, { erase: values.erase ? '1' : undefined });

				return api.enrolMedium(asked).then((plan) => {
					act.dialog(_('Write %s?').format(plan.to), plan.says.map((one) => E('p', {}, [ one ])), _('Write it'), 'negative',
						() => api.enrolMedium(Object.assign({ confirm: '1' }, asked)).then(() => act.done(_('It is being written; the images page shows how far it is.'))));

					return false;
				});
			}));
	}
});
