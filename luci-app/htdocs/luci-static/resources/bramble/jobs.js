'use strict';
'require baseclass';
'require bramble.api as api';
'require bramble.act as act';
'require bramble.show as show';

/* Long tasks: how far they are, how long they still take, and a way to stop them. */

const KINDS = {
	'import': _('Import'),
	'delete': _('Removal'),
	'adopt': _('Images found on the disk'),
	'measure': _('Measuring'),
	'backup': _('Backup'),
	'restore': _('Restore'),
	'return': _('Bringing a home back'),
	'people': _('List of people'),
	'draft': _('Draft'),
	'publish': _('Publication'),
	'clone': _('Clone'),
	'export': _('Export'),
	'catalogue': _('The catalogue'),
	'card': _('Card'),
	'run': _('Command'),
	'pack': _('Pack'),
	'unpack': _('Unpack')
};

const ENDS = {
	'queued': [ _('waiting'), 'off' ],
	'running': [ _('running'), 'boot' ],
	'done': [ _('done'), 'up' ],
	'failed': [ _('failed'), 'stuck' ],
	'cancelled': [ _('cancelled'), 'off' ],
	'interrupted': [ _('interrupted'), 'stuck' ]
};

return baseclass.extend({
	isOpen(job) {
		return job.state == 'queued' || job.state == 'running';
	},

	title(job) {
		return '%s: %s'.format(KINDS[job.kind] ?? job.kind, job.subject);
	},

	/* How far it is, in words. */
	says(job) {
		const parts = [ job.phase ];
		const amount = (number) => job.unit == 'people' ? show.number(number) : show.size(number);

		if (job.of > 0)
			parts.push(_('%s of %s').format(amount(job.done), amount(job.of)));
		else if (job.done > 0)
			parts.push(amount(job.done));

		if (job.rate > 0)
			parts.push(_('%s per second').format(amount(job.rate)));

		if (job.time_left != null)
			parts.push(_('%s left').format(show.length(job.time_left)));

		return parts.filter((part) => part).join(' · ');
	},

	/* One task; `more` is a button for what it has made. */
	line(job, now, more) {
		const [ word, kind ] = ENDS[job.state] ?? [ job.state, 'off' ];
		const open = this.isOpen(job);
		const right = open && api.may('job_cancel')
			? act.button(_('Cancel'), () => this.cancel(job), 'negative', { 'data-key': 'job-%d'.format(job.id) })
			: E('small', {}, [ job.ended_at ? show.ago(job.ended_at, now) : '' ]);

		return E('div', { 'class': 'bramble-job' }, [
			E('div', {}, [ this.title(job), ' ', show.badge(word, kind) ]),
			E('div', {}, job.state == 'running'
				? [ show.bar(job.of > 0 ? 100 * job.done / job.of : null, this.says(job)), E('small', {}, [ this.says(job) ]) ]
				: [ E('small', {}, [ job.message ]) ]),
			E('div', {}, [ more ?? '', ' ', right ])
		]);
	},

	list(jobs, now) {
		return jobs.length
			? jobs.map((job) => this.line(job, now))
			: [ E('p', {}, [ E('em', {}, [ _('No task is running.') ]) ]) ];
	},

	cancel(job) {
		act.ask(_('Cancel this task?'), this.title(job), [ _('What it has done so far is thrown away.') ], _('Cancel the task'),
			() => api.jobCancel({ job: job.id }));
	}
});
