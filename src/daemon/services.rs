//! What listens: sockets are bound all at once, then handed to the services that serve on them.
//!
//! A service that fails, or whose sockets cannot be bound, is started again by the supervisor, with sockets bound anew; the
//! others are served. A port that another program holds is told with the program and the way out ([`ports::explain`]). A
//! network that is not there is left out until it is ([`networks`]).

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};

use portable_atomic::AtomicU64;
use tokio::sync::{Semaphore, mpsc};

use super::networks::{self, Seen};
use super::parts::Parts;
use crate::api::{self, Api, Reload};
use crate::cli::Serve;
use crate::config::Config;
use crate::proto::portmap::NFS_PORT;
use crate::serve::agent::{self, AgentError};
use crate::serve::catalogue;
use crate::serve::control::{Control, Handler};
use crate::serve::dhcp::{self, DhcpError};
use crate::serve::directory;
use crate::serve::exams;
use crate::serve::guard;
use crate::serve::history;
use crate::serve::housekeeping;
use crate::serve::ldap::{self, LdapError};
use crate::serve::netconsole;
use crate::serve::nfs;
use crate::serve::portmap;
use crate::serve::ports::{self, Transport};
use crate::serve::publish::{self, Places};
use crate::serve::records::Records;
use crate::serve::report::{self, ReportError};
use crate::serve::room;
use crate::serve::screens;
use crate::serve::supervisor::Supervisor;
use crate::serve::tftp::{self, TftpError};
use crate::service::keys::KeyPair;
use crate::types::{Moment, chain, limits};
use crate::ubus::{Notices, Ubus, Watch};

/// A service ended, and why, in full.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failed(String);

/// What the board of troubles calls networks that are not there.
const NETWORKS: &str = "networks";

/// Sockets that were bound before their service was first started.
type Bound<S> = Arc<Mutex<Option<S>>>;

/// All services of the daemon.
#[derive(Debug)]
pub struct Services {
    supervisor: Supervisor,
    /// What sockets were bound for.
    seen: Vec<Seen>,
    dhcp: Bound<dhcp::Sockets>,
    tftp: Bound<tftp::Sockets>,
    report: Bound<report::Sockets>,
    agent: Bound<agent::Sockets>,
    ldap: Bound<ldap::Sockets>,
    nfs: Bound<Vec<nfs::Port>>,
    portmap: Bound<Vec<nfs::Port>>,
}

impl Services {
    /// Binds every socket that can be bound; why one cannot be is told when its service starts.
    pub async fn bind(parts: &Parts) -> Self {
        let config = parts.config();
        let seen = networks::look(&config);
        parts.health.trouble(NETWORKS, networks::trouble(&seen));
        Self {
            supervisor: Supervisor::new(Arc::clone(&parts.health)),
            seen,
            dhcp: keep(bind_dhcp(&config)),
            tftp: keep(bind_tftp(&config).await),
            report: keep(bind_report(&config).await),
            agent: keep(bind_agent(&config).await),
            ldap: keep(bind_ldap(&config)),
            nfs: keep(bind_nfs(&config)),
            portmap: keep(bind_portmap(&config)),
        }
    }

    /// Starts what serves clients; DHCP only where that is left to us.
    pub fn start(&mut self, parts: &Parts, addresses: bool, on_router: bool) {
        let records = Records {
            clients: Arc::clone(&parts.clients),
            events: Arc::clone(&parts.events),
            eeproms: Arc::clone(&parts.eeproms),
            store: parts.store.clone(),
            health: Arc::clone(&parts.health),
        };
        self.supervisor.start("records", move |stop| records.clone().run(stop));
        let (homes, shares) = (parts.homes.clone(), parts.shares.clone());
        self.supervisor.start("homes", move |stop| housekeeping::run(homes.clone(), shares.clone(), stop));
        let (catalogues, uploads, config) =
            (parts.catalogues.clone(), parts.library.uploads().clone(), parts.watch());
        self.supervisor.start("catalogue", move |stop| {
            catalogue::run(catalogues.clone(), uploads.clone(), config.clone(), stop)
        });
        let (external, accounts) = (parts.directory.clone(), parts.accounts.clone());
        let (health, config) = (Arc::clone(&parts.health), parts.watch());
        self.supervisor.start("directory", move |stop| {
            directory::run(external.clone(), accounts.clone(), Arc::clone(&health), config.clone(), stop)
        });
        self.start_room(parts);
        if addresses {
            self.start_dhcp(parts);
        }
        self.start_bound(parts);
        if on_router {
            self.start_publishing(parts);
        }
    }

    /// Starts or stops the DHCP service.
    pub async fn give_addresses(&mut self, parts: &Parts, yes: bool) {
        match (yes, self.supervisor.is_running("dhcp")) {
            (true, false) => self.start_dhcp(parts),
            (false, true) => self.supervisor.stop("dhcp").await,
            _ => {}
        }
    }

    /// Shows the leases to the router's other programs.
    fn start_publishing(&mut self, parts: &Parts) {
        let (leases, clock, config) = (Arc::clone(&parts.leases), parts.clock, parts.watch());
        self.supervisor.start("publish", move |stop| {
            publish::run(Places::router(), Arc::clone(&leases), clock, config.clone(), stop)
        });
    }

    /// Answers the command line and ubus; the last step of a start.
    pub fn answer(&mut self, control: Control, parts: &Parts, reload: mpsc::Sender<Reload>, options: &Serve) {
        let api = Arc::new(api(parts, reload, options));
        let chores = Arc::clone(&api);
        let prune: Arc<dyn Fn(Moment) + Send + Sync> = Arc::new(move |now| chores.prune_images(now));
        self.supervisor.start("images", move |stop| housekeeping::daily(Arc::clone(&prune), stop));
        let notices = Notices::default();
        let watch = Watch { api: Arc::clone(&api), notices: notices.clone() };
        self.supervisor.start("notices", move |stop| watch.clone().run(stop));
        let [desks, waits] =
            [limits::API_CALLS, limits::API_WAITS].map(|most| Arc::new(Semaphore::new(most)));
        let handler: Handler = Arc::new(move |method, params| {
            let desks = Arc::clone(if api::waits_for_others(&method) { &waits } else { &desks });
            let api = Arc::clone(&api);
            Box::pin(async move {
                let desk = desks.acquire_owned().await;
                let answer = tokio::task::spawn_blocking(move || {
                    // Held until it is done, also if whoever asked has gone.
                    let _desk = desk;
                    api.answer(&method, params)
                })
                .await;
                answer.unwrap_or_else(|panic| {
                    tracing::error!(error = chain(&panic), "a request broke off");
                    serde_json::json!({ "error": api::ApiError::Internal { request: 0 }.refusal() })
                })
            })
        });
        let (socket, health) = (options.ubus.clone(), Arc::clone(&parts.health));
        let ubus = Ubus { socket, handler: Arc::clone(&handler), notices, health };
        self.supervisor.start("ubus", move |stop| ubus.clone().run(stop));
        self.supervisor.start("control", move |stop| control.clone().run(Arc::clone(&handler), stop));
    }

    /// The services that listen on addresses listen on those of now. DHCP sees to a change of the configuration itself.
    async fn restart_bound(&mut self, parts: &Parts) {
        for name in ["tftp", "report", "agent", "ldap", "nfs", "portmap"] {
            self.supervisor.stop(name).await;
        }
        self.start_bound(parts);
    }

    /// Listens on networks that came, and on interfaces that were made anew; on all of them after a change of the
    /// configuration that says so.
    pub async fn follow_networks(&mut self, parts: &Parts, changed: bool) {
        let now = networks::look(&parts.config());
        let anew = networks::compare(&mut self.seen, &now);
        if anew.addresses && !changed {
            tracing::info!("a network has come; what listens on addresses is started again");
        }
        if anew.addresses || changed {
            self.restart_bound(parts).await;
        }
        if anew.devices {
            tracing::info!(
                "an interface has come or was made anew; what listens on interfaces is started again"
            );
            self.supervisor.stop("netconsole").await;
            self.start_netconsole(parts);
            drop(take(&self.dhcp));
            if self.supervisor.is_running("dhcp") {
                self.supervisor.stop("dhcp").await;
                self.start_dhcp(parts);
            }
        }
        let trouble = networks::trouble(&now);
        if parts.health.trouble(NETWORKS, trouble.clone())
            && let Some(trouble) = trouble
        {
            tracing::warn!("{trouble}");
        }
    }

    pub async fn stop(&mut self) {
        self.supervisor.stop_all().await;
    }

    fn start_dhcp(&mut self, parts: &Parts) {
        let (leases, clock, config, bound) =
            (Arc::clone(&parts.leases), parts.clock, parts.watch(), Arc::clone(&self.dhcp));
        self.supervisor.start("dhcp", move |stop| {
            let (leases, config, bound) = (Arc::clone(&leases), config.clone(), Arc::clone(&bound));
            async move {
                let sockets = match take(&bound) {
                    Some(sockets) => sockets,
                    None => bind_dhcp(&current(&config)).map_err(Failed)?,
                };
                dhcp::run(leases, clock, config, sockets, stop)
                    .await
                    .map_err(|error| Failed(explain_dhcp(&error)))
            }
        });
    }

    fn start_agent(&mut self, parts: &Parts) {
        let (shared, tls) = (Arc::clone(&parts.agent), Arc::clone(&parts.agent_tls));
        let (config, bound) = (parts.watch(), Arc::clone(&self.agent));
        self.supervisor.start("agent", move |stop| {
            let (shared, tls) = (Arc::clone(&shared), Arc::clone(&tls));
            let (config, bound) = (config.clone(), Arc::clone(&bound));
            async move {
                let sockets = match take(&bound) {
                    Some(sockets) => sockets,
                    None => bind_agent(&current(&config)).await.map_err(Failed)?,
                };
                agent::run(shared, tls, sockets, stop).await.map_err(|error| Failed(chain(&error)))
            }
        });
    }

    /// What looks after the room as a whole.
    fn start_room(&mut self, parts: &Parts) {
        let (actions, clock) = (Arc::clone(&parts.actions), parts.clock);
        let (known, config) = (Arc::clone(&parts.clients), parts.watch());
        self.supervisor.start("room", move |stop| {
            room::run(Arc::clone(&actions), Arc::clone(&known), config.clone(), clock, stop)
        });
        let (known, health, config) = (Arc::clone(&parts.clients), Arc::clone(&parts.health), parts.watch());
        let store = parts.store.clone();
        self.supervisor.start("exams", move |stop| {
            exams::run(Arc::clone(&known), Arc::clone(&health), store.clone(), config.clone(), stop)
        });
        let views = screens::Shared {
            screens: Arc::clone(&parts.agent.screens),
            agents: Arc::clone(&parts.agent.agents),
            events: Arc::clone(&parts.events),
            config: parts.watch(),
            clock,
        };
        self.supervisor.start("screens", move |stop| screens::run(views.clone(), stop));
        let (store, events, config) = (parts.store.clone(), Arc::clone(&parts.events), parts.watch());
        self.supervisor.start("history", move |stop| {
            history::run(store.clone(), Arc::clone(&events), config.clone(), clock, stop)
        });
        let (guard, config) = (Arc::clone(&parts.guard), parts.watch());
        self.supervisor
            .start("guard", move |stop| guard::run(Arc::clone(&guard), clock, config.clone(), stop));
        self.start_netconsole(parts);
    }

    fn start_netconsole(&mut self, parts: &Parts) {
        let (clients, consoles, config) =
            (Arc::clone(&parts.clients), Arc::clone(&parts.consoles), parts.watch());
        let clock = parts.clock;
        self.supervisor.start("netconsole", move |stop| {
            netconsole::run(Arc::clone(&clients), Arc::clone(&consoles), clock, config.clone(), stop)
        });
    }

    /// Started anew with each change of its settings; listens nowhere while it is off.
    fn start_ldap(&mut self, parts: &Parts) {
        let (accounts, config, bound) = (parts.accounts.clone(), parts.watch(), Arc::clone(&self.ldap));
        self.supervisor.start("ldap", move |stop| {
            let (accounts, config, bound) = (accounts.clone(), current(&config), Arc::clone(&bound));
            async move {
                let sockets = take(&bound).map_or_else(|| bind_ldap(&config), Ok).map_err(Failed)?;
                let shared = if config.ldap.enabled {
                    let names = config.networks.iter().map(|network| network.address.to_string());
                    let names = ["bramble".to_owned()].into_iter().chain(names).collect();
                    let key = KeyPair::open(&config.data, "ldap", names).map_err(|e| Failed(chain(&e)))?;
                    Some(ldap::Shared::new(&config, accounts, &key).map_err(|error| Failed(chain(&error)))?)
                } else {
                    None
                };
                ldap::run(shared, sockets, stop).await.map_err(|error| Failed(chain(&error)))
            }
        });
    }

    fn start_bound(&mut self, parts: &Parts) {
        let (tree, events, config, bound) =
            (Arc::clone(&parts.boot_tree), Arc::clone(&parts.events), parts.watch(), Arc::clone(&self.tftp));
        self.supervisor.start("tftp", move |stop| {
            let (tree, events) = (Arc::clone(&tree), Arc::clone(&events));
            let (config, bound) = (config.clone(), Arc::clone(&bound));
            async move {
                let sockets = match take(&bound) {
                    Some(sockets) => sockets,
                    None => bind_tftp(&current(&config)).await.map_err(Failed)?,
                };
                tftp::run(tree, events, config, sockets, stop).await.map_err(|error| Failed(chain(&error)))
            }
        });
        let (clients, events, config, bound) =
            (Arc::clone(&parts.clients), Arc::clone(&parts.events), parts.watch(), Arc::clone(&self.report));
        let reports = Arc::clone(&parts.reports);
        self.supervisor.start("report", move |stop| {
            let (clients, events, reports) =
                (Arc::clone(&clients), Arc::clone(&events), Arc::clone(&reports));
            let (config, bound) = (config.clone(), Arc::clone(&bound));
            async move {
                let sockets = match take(&bound) {
                    Some(sockets) => sockets,
                    None => bind_report(&current(&config)).await.map_err(Failed)?,
                };
                report::run(clients, events, reports, sockets, stop)
                    .await
                    .map_err(|error| Failed(chain(&error)))
            }
        });
        self.start_agent(parts);
        self.start_ldap(parts);
        let (shared, config, bound) = (Arc::clone(&parts.nfs), parts.watch(), Arc::clone(&self.nfs));
        self.supervisor.start("nfs", move |stop| {
            let (shared, config, bound) = (Arc::clone(&shared), config.clone(), Arc::clone(&bound));
            async move {
                let ports = take(&bound).map_or_else(|| bind_nfs(&current(&config)), Ok).map_err(Failed)?;
                nfs::run(shared, ports, stop).await.map_err(|error| Failed(chain(&error)))
            }
        });
        let (shared, config, bound) = (Arc::clone(&parts.nfs), parts.watch(), Arc::clone(&self.portmap));
        self.supervisor.start("portmap", move |stop| {
            let (shared, config, bound) = (Arc::clone(&shared), config.clone(), Arc::clone(&bound));
            async move {
                let ports =
                    take(&bound).map_or_else(|| bind_portmap(&current(&config)), Ok).map_err(Failed)?;
                portmap::run(shared, ports, stop).await.map_err(|error| Failed(chain(&error)))
            }
        });
    }
}

/// What every front door asks.
pub(super) fn api(parts: &Parts, reload: mpsc::Sender<Reload>, options: &Serve) -> Api {
    let clock = parts.clock;
    Api {
        store: parts.store.clone(),
        accounts: parts.accounts.clone(),
        clients: Arc::clone(&parts.clients),
        events: Arc::clone(&parts.events),
        images: Arc::clone(&parts.images),
        library: parts.library.clone(),
        catalogues: parts.catalogues.clone(),
        jobs: parts.jobs.clone(),
        homes: parts.homes.clone(),
        shares: parts.shares.clone(),
        backups: parts.backups.clone(),
        health: Arc::clone(&parts.health),
        sessions: Arc::clone(&parts.sessions),
        actions: Arc::clone(&parts.actions),
        agents: Arc::clone(&parts.agent.agents),
        vitals: Arc::clone(&parts.agent.vitals),
        consoles: Arc::clone(&parts.consoles),
        eeproms: Arc::clone(&parts.eeproms),
        screens: Arc::clone(&parts.agent.screens),
        clock: api::Clock(Box::new(move || clock.now())),
        config: parts.watch(),
        config_path: options.config.clone(),
        reload,
        started_at: parts.started_at,
        faults: AtomicU64::new(0),
    }
}

async fn bind_agent(config: &Config) -> Result<agent::Sockets, String> {
    agent::Sockets::bind(&present(config)).await.map_err(|error| match &error {
        AgentError::Bind { address, source } => {
            format!("agents' channel: {}", ports::explain(Transport::Tcp, *address, source))
        }
        other @ AgentError::Broken(_) => chain(other),
    })
}

fn keep<S>(bound: Result<S, String>) -> Bound<S> {
    Arc::new(Mutex::new(bound.ok()))
}

fn take<S>(bound: &Bound<S>) -> Option<S> {
    bound.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn current(config: &tokio::sync::watch::Receiver<Arc<Config>>) -> Arc<Config> {
    Arc::clone(&config.borrow())
}

fn bind_dhcp(config: &Config) -> Result<dhcp::Sockets, String> {
    dhcp::Sockets::bind(config).map_err(|error| explain_dhcp(&DhcpError::Bind(error)))
}

fn explain_dhcp(error: &DhcpError) -> String {
    match error {
        DhcpError::Bind(dhcp::BindError::Port { port, device, source }) => {
            let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, *port);
            format!("DHCP on {device}: {}", ports::explain(Transport::Udp, any, source))
        }
        other => format!("DHCP: {}", chain(other)),
    }
}

async fn bind_tftp(config: &Config) -> Result<tftp::Sockets, String> {
    tftp::Sockets::bind(&present(config)).await.map_err(|error| match &error {
        TftpError::Bind { address, source } => {
            format!("TFTP: {}", ports::explain(Transport::Udp, *address, source))
        }
        other @ TftpError::Receive(_) => chain(other),
    })
}

async fn bind_report(config: &Config) -> Result<report::Sockets, String> {
    report::Sockets::bind(&present(config)).await.map_err(|error| match &error {
        ReportError::Bind { address, source } => {
            format!("reports of agents: {}", ports::explain(Transport::Udp, *address, source))
        }
        other @ ReportError::Receive(_) => chain(other),
    })
}

fn addresses(config: &Config) -> Vec<Ipv4Addr> {
    present(config).networks.iter().map(|network| network.address).collect()
}

/// `config` with the networks whose address this machine has.
fn present(config: &Config) -> Config {
    let mut config = config.clone();
    config.networks.retain(networks::has_address);
    config
}

fn bind_nfs(config: &Config) -> Result<Vec<nfs::Port>, String> {
    nfs::bind(&addresses(config), config.nfs.port).map_err(|error| explain_nfs("NFS", &error))
}

fn bind_ldap(config: &Config) -> Result<ldap::Sockets, String> {
    ldap::Sockets::bind(&present(config)).map_err(|error| match &error {
        LdapError::Bind { address, source } => {
            format!("LDAP: {}", ports::explain(Transport::Tcp, *address, source))
        }
        other => chain(other),
    })
}

fn bind_portmap(config: &Config) -> Result<Vec<nfs::Port>, String> {
    // On another port than NFS's own another server may have 2049, and its portmapper 111; clients are told the port.
    let asked = if config.nfs.port == NFS_PORT { addresses(config) } else { Vec::new() };
    portmap::bind(&asked).map_err(|error| explain_nfs("portmapper", &error))
}

fn explain_nfs(service: &str, error: &nfs::BindError) -> String {
    let transport = if error.protocol == "TCP" { Transport::Tcp } else { Transport::Udp };
    format!("{service}: {}", ports::explain(transport, error.address, &error.source))
}
