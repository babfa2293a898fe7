'use strict';
'require baseclass';
'require bramble.api as api';
'require bramble.act as act';
'require bramble.show as show';

/* Archives that Bramble made on mounted disks: backups and exported images. They are told by their names, which are proposed
   when one is made; rpcd lets these names be fetched and no others. Exports that were made on this router are also on its
   record, whatever they are called. */

const DISK = /^\/(mnt|media|srv|data)\/./;
const BACKUP = /^bramble-(?!image-).*\.tar$/;
const IMAGE = /^bramble-image-.*\.tar\.(zst|xz)$/;

return baseclass.extend({
	backups() {
		return this.find(BACKUP);
	},

	/* `made` are those on record, which can be deleted. */
	images() {
		return Promise.all([ this.find(IMAGE), api.imageExports().catch(() => ({ exports: [] })) ]).then(([ found, answer ]) => {
			const made = answer.exports.map((one) => ({ path: one.path, name: one.path.slice(one.path.lastIndexOf('/') + 1), size: one.bytes, mtime: one.made_at / 1000, made: true }));

			return made.concat(found.filter((file) => !made.some((one) => one.path == file.path))).sort((one, other) => other.mtime - one.mtime);
		});
	},

	isFetched(file) {
		return DISK.test(file.path) && (BACKUP.test(file.name) || IMAGE.test(file.name));
	},

	/* Newest first. Disks that do not answer have none. */
	find(name) {
		return api.mounts().catch(() => []).then((mounts) => Promise.all(mounts.filter((mount) => DISK.test(mount.mount)).map((mount) => api.files(mount.mount)
			.then((files) => files.filter((file) => file.type == 'file' && name.test(file.name)).map((file) => Object.assign({ path: '%s/%s'.format(mount.mount, file.name) }, file)), () => []))))
			.then((lists) => lists.flat().sort((one, other) => other.mtime - one.mtime));
	},

	/* The first disk beside that of the data, to propose a place. */
	place(name) {
		return api.mounts().catch(() => []).then((mounts) => {
			const disks = mounts.map((mount) => mount.mount).filter((mount) => DISK.test(mount));

			return '%s/%s'.format(disks.slice(-1)[0] ?? '/mnt/backup', name);
		});
	},

	/* `more` makes further buttons of an archive. */
	table(found, more, none) {
		return show.table([ _('File'), _('Size'), _('Made'), '' ], found.map((file) => [
			file.path, show.size(file.size), show.when(1000 * file.mtime),
			[ this.isFetched(file) ? act.button(_('Download'), () => api.download(file.path), 'action', { 'data-key': 'load-' + file.path }) : '' ].concat(more(file))
		]), none);
	}
});
