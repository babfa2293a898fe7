'use strict';
'require baseclass';

/* What the pages say of each verdict: a heading and what to do, in the reader's language and in the words of these pages. The
   daemon's own sentence, with names and numbers, stands below; of a verdict that is newer than these pages it stands alone. */

const CABLE = _('Change the cable and the port first, then the power supply.');
const SCREEN = _('Look at its screen: it shows the last step.');
const EEPROM = _('“Clients and rooms → EEPROM”: change the setting BOOT_ORDER to 0xf21.');
const OTHER = _('Switch the other server off, and take an SD card out.');
const GIVE = _('Give it, or its room, another image.');

const TEXTS = {
	'two_with_one_address': [ _('Two machines with one address'), _('Find the other machine by its hardware address, and let it take its address from the router.') ],
	'no_address': [ _('It gets no address'), _('Make room for more addresses: “Settings → Addresses”.') ],
	'no_image': [ _('It has no image'), _('Give it, or its room, an image.') ],
	'image_missing': [ _('Its image is not there'), GIVE ],
	'image_not_for_model': [ _('Its image is not for this model'), GIVE ],
	'file_unreadable': [ _('Its image cannot be read'), _('Look for errors of the disk: “Status → System Log”. If it is in order, import the image again.') ],
	'not_adopted': [ _('Nobody has adopted it'), _('Adopt it: it gets a name and a room.') ],
	'agent_failed': [ _('Its start was broken off'), SCREEN ],
	'agent_silent': [ _('It fell silent while it started'), SCREEN ],
	'kernel_never_mounted': [ _('It did not get its system'), _('Is there a firewall between it and the router? Its screen says more.') ],
	'file_broken_off': [ _('It stopped in the middle of a file'), CABLE ],
	'large_packets_lost': [ _('Large packets do not reach it'), _('Connect it to the router itself. If it starts there, something on the way lets no packets of 1500 bytes pass.') ],
	'link_too_slow': [ _('Its files come too slowly'), _('Start it alone. If it gets through, start the room in groups; if not, change its cable and port.') ],
	'slow_files': [ _('Its files come slowly'), CABLE ],
	'files_missing': [ _('It asks for files that its image does not have'), GIVE ],
	'kernel_never_started': [ _('Its kernel did not start'), _('Take lines for config.txt away again, of the client and of its room.') ],
	'booted_by_another': [ _('Another server has started it'), OTHER ],
	'no_file_asked': [ _('It asked for no file'), _('Set the ports of the switch to “edge” or “portfast”, and look for another server that gives addresses. Then switch it off and on.') ],
	'never_offered': [ _('It was offered no address'), _('Switch it off and on.') ],
	'boots_elsewhere': [ _('It runs a system of its own'), _('Take its SD card or USB disk out.') ],
	'agent_not_connected': [ _('Nobody can log in there'), _('Start it again.') ],
	'agent_trouble': [ _('Something did not work there'), _('Its boot in detail says what.') ],
	'undervoltage': [ _('Its power supply is too weak'), _('Use the supply that is made for the model, with its own cable.') ],
	'throttled': [ _('It is slow because it is too hot or has too little power'), _('Give it air, or a fan.') ],
	'slow_link': [ _('Its cable is slow'), CABLE ],
	'clock_wrong': [ _('Its clock is wrong'), _('Let the router give the time: “System → System → Time Synchronization”.') ],
	'old_eeprom': [ _('Its bootloader is old'), _('“Clients and rooms → EEPROM” updates it.') ],
	'eeprom_update_failed': [ _('The update of its EEPROM failed'), _('“Clients and rooms → EEPROM” takes the update back.') ],
	'network_never': [ _('By itself it does not start from the network'), EEPROM ],
	'usb_first': [ _('It looks for a USB disk before each start'), EEPROM ]
};

/* What another image, or any at all, would help. */
const ADOPT = [ 'no_image', 'image_missing', 'image_not_for_model', 'not_adopted', 'files_missing' ];

return baseclass.extend({
	codes: Object.keys(TEXTS),

	heading(verdict) {
		return TEXTS[verdict.code]?.[0] ?? null;
	},

	remedy(verdict) {
		return TEXTS[verdict.code]?.[1] ?? verdict.remedy;
	},

	/* Whether the dialog that gives a Pi its name, room and image does what is to be done. */
	isForAdoption: (verdict) => ADOPT.indexOf(verdict.code) >= 0
});
