//! The services' state: opened once a run, shared by everything that serves.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use super::power;
use crate::cli::Serve;
use crate::config::{Config, edit};
use crate::serve::agent;
use crate::serve::dhcp::Clock;
use crate::serve::directory::Servers;
use crate::serve::nfs;
use crate::service::accounts::Accounts;
use crate::service::backup::Backups;
use crate::service::boot_tree::BootTree;
use crate::service::clients::Clients;
use crate::service::directory::External;
use crate::service::eeprom::{EepromError, Eeproms};
use crate::service::events::Events;
use crate::service::exports::Exports;
use crate::service::exports::tree::Handles;
use crate::service::exports::virtuals::{Personality, Sources};
use crate::service::health::Health;
use crate::service::homes::{HomeError, Homes};
use crate::service::images::Images;
use crate::service::images::catalogue::Catalogues;
use crate::service::images::library::{Library, LibraryError};
use crate::service::jobs::Jobs;
use crate::service::keys::{KeyError, KeyPair};
use crate::service::leases::Leases;
use crate::service::personality::personality;
use crate::service::reports::Reports;
use crate::service::room::actions::Actions;
use crate::service::room::console::Consoles;
use crate::service::room::guard::Guard;
use crate::service::sessions::Sessions;
use crate::service::sessions::trees::Trees;
use crate::service::shares::{ShareError, Shares};
use crate::service::tunnels::Tunnels;
use crate::store::place::{self, BadPlace, Policy};
use crate::store::{Store, StoreError};
use crate::sys::random::random;
use crate::types::{MacAddr, Moment, chain};

/// The file below `data`.
const DATABASE: &str = "bramble.db";

/// The folder below `data` with the builds of the agent that clients were given.
const AGENTS: &str = "agents";

/// Why the parts cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Place(#[from] BadPlace),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the images cannot be opened")]
    Images(#[source] LibraryError),
    #[error("homes cannot be kept")]
    Homes(#[source] HomeError),
    #[error("shares cannot be kept")]
    Shares(#[source] ShareError),
    #[error("updates of EEPROMs cannot be kept")]
    Eeproms(#[source] EepromError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the key of the agents' channel cannot be used; move `<data>/keys` away, and a new one is made")]
    Tls(#[source] rustls::Error),
    #[error("a random number could not be drawn from `/dev/urandom`")]
    Random(#[source] io::Error),
}

/// Everything with a state.
#[derive(Debug)]
pub struct Parts {
    config: watch::Sender<Arc<Config>>,
    pub clock: Clock,
    pub started_at: Moment,
    pub store: Store,
    pub health: Arc<Health>,
    pub accounts: Accounts,
    /// Accounts that are kept elsewhere.
    pub directory: External,
    pub clients: Arc<Clients>,
    pub events: Arc<Events>,
    /// Which of the agents' reports are believed.
    pub reports: Arc<Reports>,
    pub eeproms: Arc<Eeproms>,
    pub images: Arc<Images>,
    pub library: Library,
    pub catalogues: Catalogues,
    pub jobs: Jobs,
    pub homes: Homes,
    pub shares: Shares,
    pub backups: Backups,
    pub leases: Arc<Leases>,
    pub boot_tree: Arc<BootTree>,
    /// Everything that NFS connections share; it outlives restarts of the service.
    pub nfs: Arc<nfs::Shared>,
    pub sessions: Arc<Sessions>,
    pub actions: Arc<Actions>,
    pub consoles: Arc<Consoles>,
    pub guard: Arc<Guard>,
    /// What connections of agents share, and what they are answered with.
    pub agent: Arc<agent::Shared>,
    pub agent_tls: Arc<rustls::ServerConfig>,
}

/// Where data may be kept.
pub fn policy(options: &Serve) -> Policy {
    if options.any_storage { Policy::Anything } else { Policy::Attached }
}

impl Parts {
    pub fn open(config: Arc<Config>, options: &Serve) -> Result<Self, StartError> {
        let data = config.data.clone();
        place::prepare(&data, policy(options))?;
        let clock = Clock::start();
        let now = clock.now();
        let store = Store::open(&config.data.join(DATABASE))?;
        let clients = Arc::new(Clients::load(Arc::clone(&config), &store)?);
        let events = Arc::new(Events::load(&store, adopted(&config))?);
        let leases =
            Leases::open(store.clone(), Arc::clone(&clients), Arc::clone(&events), Arc::clone(&config), now)?;
        let images = Arc::new(Images::default());
        let (jobs, _) = Jobs::open(store.clone())?;
        let library =
            Library::open(&config.data, store.clone(), jobs.clone(), Arc::clone(&images), now.civil)
                .map_err(StartError::Images)?;
        library.web().configure(&config.catalogue);
        let key = store.secret("nfs handles", random().map_err(StartError::Random)?)?;
        let (agents, kept) = (options.agents.clone(), config.data.join(AGENTS));
        let channel_key = KeyPair::open(&config.data, "agent", vec!["bramble".to_owned()])?;
        let config = watch::Sender::new(config);
        let key_of_reports = store.secret("reports", random().map_err(StartError::Random)?)?;
        let reports = Arc::new(Reports::new(&key_of_reports, Arc::clone(&events)));
        let personality = personalities(config.subscribe(), Arc::clone(&reports));
        let sources = Sources { agents, kept, personality };
        let catalogues = Catalogues::new(&library, &data, Arc::clone(&clients), config.subscribe());
        let exports = Exports::new(Arc::clone(&clients), Arc::clone(&images), &key, sources, Handles::Best);
        let exports = Arc::new(exports);
        let accounts = Accounts::new(store.clone(), config.subscribe(), Box::new(move || clock.now()));
        let servers = Servers::new(tokio::runtime::Handle::current());
        let directory = External::new(
            Box::new(servers),
            store.clone(),
            config.subscribe(),
            Box::new(move || clock.now()),
        );
        accounts.attach(Arc::new(directory.clone()));
        let homes = Homes::open(&data, store.clone(), config.subscribe()).map_err(StartError::Homes)?;
        let shares = Shares::open(&data, store.clone(), config.subscribe()).map_err(StartError::Shares)?;
        homes.settle(&shares, now.civil);
        let trees = Trees::new(Arc::clone(&exports), homes.clone(), shares.clone(), accounts.clone());
        let sessions = Arc::new(Sessions::open(
            store.clone(),
            Box::new(trees),
            Arc::clone(&clients),
            Arc::clone(&events),
            config.subscribe(),
            now,
        )?);
        let eeproms = Arc::new(Eeproms::open(&data, &store).map_err(StartError::Eeproms)?);
        let nfs = nfs::Shared::new(exports, Arc::clone(&events));
        let behind = agent::Behind {
            clients: Arc::clone(&clients),
            events: Arc::clone(&events),
            sessions: Arc::clone(&sessions),
            nfs: Arc::clone(&nfs),
        };
        let mut agent = agent::Shared::new(
            behind,
            Arc::new(accounts.clone()),
            accounts.changed(),
            config.subscribe(),
            Tunnels::new(&store.secret("tunnels", random().map_err(StartError::Random)?)?),
            clock,
        );
        agent.eeproms = Arc::clone(&eeproms);
        let health = Arc::new(Health::default());
        let actions = Actions::open(
            Arc::clone(&agent.agents),
            Arc::clone(&events),
            Arc::clone(&sessions),
            store.clone(),
            Box::new(power::off),
        )?;
        let backups = Backups {
            accounts: accounts.clone(),
            data: data.as_path().into(),
            settings: options.config.as_path().into(),
            policy: policy(options),
            store: store.clone(),
            homes: homes.clone(),
            shares: shares.clone(),
            jobs: jobs.clone(),
        };
        let agent_tls = agent::tls::config(&channel_key).map_err(StartError::Tls)?;
        // The last step: nothing runs of a start that failed.
        library.resume_imports();
        Ok(Self {
            config,
            sessions,
            actions: Arc::new(actions),
            consoles: Arc::default(),
            guard: Arc::new(Guard::new(Arc::clone(&health))),
            agent: Arc::new(agent),
            agent_tls,
            accounts,
            directory,
            backups,
            homes,
            shares,
            nfs,
            clock,
            started_at: now.civil,
            boot_tree: Arc::new(
                BootTree::new(Arc::clone(&clients), Arc::clone(&images), channel_key.pin())
                    .with_eeproms(Arc::clone(&eeproms)),
            ),
            eeproms,
            leases: Arc::new(leases),
            health,
            store,
            clients,
            events,
            reports,
            images,
            library,
            catalogues,
            jobs,
        })
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.borrow())
    }

    pub fn watch(&self) -> watch::Receiver<Arc<Config>> {
        self.config.subscribe()
    }

    /// Completes what an interruption left of a change of an image's name: the configuration. Folder and database have it.
    pub fn complete_rename(&self, path: &Path) -> Result<(), String> {
        let Some((old, new)) = self.library.unfinished_rename().map_err(|error| chain(&error))? else {
            return Ok(());
        };
        let turn = edit::turn();
        let text = fs_err::read(path).map_err(|error| chain(&error))?;
        let edits = edit::rename_image(&text, &old, &new);
        if !edits.is_empty() {
            let config = edit::apply(&turn, path, &edits).map_err(|error| chain(&error))?;
            self.take(Arc::new(config));
        }
        self.library.renamed().map_err(|error| chain(&error))
    }

    /// Makes `config` the one in force.
    pub fn take(&self, config: Arc<Config>) {
        self.clients.set_config(Arc::clone(&config));
        self.library.web().configure(&config.catalogue);
        self.events.set_adopted(adopted(&config));
        self.config.send_replace(config);
        self.accounts.reconfigured();
    }
}

/// Tells each client who it is, by the configuration in force when it asks.
fn personalities(config: watch::Receiver<Arc<Config>>, reports: Arc<Reports>) -> Personality {
    Box::new(move |seat, tree| {
        let config = Arc::clone(&config.borrow());
        let proof = reports.proof(seat.mac);
        personality(&config, seat, tree, proof).map(|who| who.encode()).unwrap_or_default()
    })
}

fn adopted(config: &Config) -> HashSet<MacAddr> {
    config.clients.iter().map(|client| client.mac).collect()
}
