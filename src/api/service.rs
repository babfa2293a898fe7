//! Methods about the daemon itself and about jobs.

use std::collections::BTreeMap;
use std::path::Path;

use super::answer::{
    Check, ClientVerdict, Health, JobOutput, JobStatus, Jobs, NetworkStatus, ProblemAt, Status,
};
use super::args::Args;
use super::error::ApiError;
use super::{Api, now};
use crate::config::load;
use crate::service::jobs::JobState;
use crate::service::printed::Piece;
use crate::types::ByteSize;

impl Api {
    pub(super) fn status(&self) -> Result<Status, ApiError> {
        let config = self.config.borrow().clone();
        let networks = config.networks.iter().map(|network| NetworkStatus {
            name: network.name.clone(),
            device: network.device.clone(),
            address: network.address,
            pool: network.pool.as_ref().map(|pool| (*pool.start(), *pool.end())),
        });
        let (mut clients, mut verdicts) = (BTreeMap::new(), Vec::new());
        for client in self.client_list().clients {
            *clients.entry(client.state.as_str().to_owned()).or_default() += 1;
            let (mac, name) = (client.mac, client.name);
            let grave = client.verdicts.into_iter().filter(|verdict| verdict.stops);
            verdicts.extend(grave.map(|verdict| ClientVerdict { mac, name: name.clone(), verdict }));
        }
        let jobs = self.jobs.list().map_err(|error| self.failed(&error))?;
        let names: std::collections::BTreeSet<_> =
            self.images.all().iter().map(|tree| tree.image.name.clone()).collect();
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: self.started_at,
            now: now(),
            config: self.config_path.clone(),
            data: config.data.clone(),
            memory: resident(),
            free: free(&config.data),
            networks: networks.collect(),
            services: self
                .health
                .services()
                .into_iter()
                .map(|(name, health)| (name.to_owned(), health))
                .collect(),
            clients,
            images: names.len(),
            jobs: jobs.iter().filter(|job| matches!(job.state, JobState::Queued | JobState::Running)).count(),
            problems: self.health.problems(),
            news: self.news()?,
            verdicts,
        })
    }

    pub(super) fn health(&self) -> Health {
        let problems = self.health.problems();
        Health { healthy: problems.is_empty(), problems }
    }

    pub(super) fn check(&self) -> Check {
        let problems: Vec<ProblemAt> = match load::load(&self.config_path) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.0.iter().map(ProblemAt::from).collect(),
        };
        Check { ok: problems.is_empty(), problems }
    }

    pub fn job_list(&self) -> Result<Jobs, ApiError> {
        Ok(Jobs { now: now(), jobs: self.jobs.list().map_err(|error| self.failed(&error))? })
    }

    pub(super) fn job_output(&self, args: &Args) -> Result<JobOutput, ApiError> {
        let job = args.need_number("job")?;
        let from = args.number("from")?.unwrap_or(0);
        let (Piece { from, text, next, code }, over) = self.jobs.printed(job, from)?;
        Ok(JobOutput { job, from, text, next, code, over })
    }

    pub(super) fn job_cancel(&self, args: &Args) -> Result<JobStatus, ApiError> {
        let job = args.need_number("job")?;
        self.jobs.cancel(job)?;
        Ok(self.jobs.status(job)?)
    }
}

/// Resident memory of this process; zero where `/proc` does not say.
fn resident() -> ByteSize {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0);
    ByteSize(kib * 1024)
}

/// Room for unprivileged users at `path`; `None` if it cannot be told.
pub(super) fn free(path: &Path) -> Option<ByteSize> {
    let stat = nix::sys::statvfs::statvfs(path).ok()?;
    #[expect(clippy::useless_conversion, reason = "both are 32 bits wide on 32-bit machines")]
    let (blocks, size) = (u64::from(stat.blocks_available()), u64::from(stat.fragment_size()));
    Some(ByteSize(blocks.saturating_mul(size)))
}

/// All the room there is at `path`; `None` if it cannot be told.
pub(super) fn size(path: &Path) -> Option<ByteSize> {
    let stat = nix::sys::statvfs::statvfs(path).ok()?;
    #[expect(clippy::useless_conversion, reason = "both are 32 bits wide on 32-bit machines")]
    let (blocks, size) = (u64::from(stat.blocks()), u64::from(stat.fragment_size()));
    Some(ByteSize(blocks.saturating_mul(size)))
}
