//! What all sessions share: spool, partners, limits, and the settings in force.

use crate::outside::Sockets;
use crate::rates::Rates;
use crate::screen::Passed;
use crate::service::{Parts, Service};
use anyhow::Context as _;
use config::Config;
use daemon::{Context, Limits, ServerTls, Sessions, Shutdown};
use dns::lists::Lists;
use dns::{Dns, Resolver};
use ipc::auth::AuthClient;
use ipc::lookup::LookupClient;
use ipc::queue::{Hint, JournalSide, Position, QueueClient};
use parking_lot::{Mutex, RwLock};
use policy::greylist::{Seen, Terms};
use routing::Router;
use spool::{Place, Receipt, SpoolWriter, WriterSettings};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;
use tables::{NetworkList, Remote};

/// The settings of all services, replaced as a whole by a reload.
pub(crate) struct World {
    pub(crate) router: Router,
    pub(crate) services: BTreeMap<String, Arc<Service>>,
    pub(crate) hopcount_limit: usize,
    pub(crate) hostname: String,
    pub(crate) notices: Option<crate::notice::Terms>,
}

pub(crate) struct Server {
    pub(crate) spool: SpoolWriter,
    pub(crate) queue: QueueClient,
    pub(crate) tls: Arc<ServerTls>,
    pub(crate) shutdown: Shutdown,
    pub(crate) logins: Sessions,
    pub(crate) grace: RwLock<Duration>,
    pub(crate) resolver: Arc<dyn Resolver>,
    pub(crate) dns_lists: Arc<Lists>,
    pub(crate) rates: Rates,
    pub(crate) passed: Passed,
    pub(crate) notice_rate: daemon::Hourly,
    greylist: Arc<Seen>,
    greylist_file: PathBuf,
    limits: Arc<Limits>,
    remote: Arc<dyn Remote>,
    lookup: LookupClient,
    auth: Mutex<HashMap<PathBuf, AuthClient>>,
    world: RwLock<Arc<World>>,
    sessions: AtomicU64,
    started: u64,
}

impl Server {
    /// Opens the spool and all tables; begins to connect to the partners, which need not be there.
    pub(crate) async fn start(ctx: &Context) -> anyhow::Result<Arc<Server>> {
        let config = ctx.config.get();
        let writer_settings = writer_settings(&config);
        let spool = tokio::task::spawn_blocking(move || SpoolWriter::open(writer_settings))
            .await
            .context("opening the spool")?
            .with_context(|| format!("spool {}", config.main.spool_directory.display()))?;
        let queue = QueueClient::start(config.socket("queue"), Arc::new(Journal(spool.clone())));
        let resolver: Arc<dyn Resolver> = Arc::new(Dns::new(&config.dns)?);
        let lookup = LookupClient::new(config.socket("lookup"));
        let asking = lookup.clone();
        let remote = tables::remote(move |table, key| {
            let asking = asking.clone();
            async move { asking.get(&table, &key).await.map_err(|error| error.to_string()) }
        });
        let smtpd = &config.smtpd;
        let limits = ctx.limits(smtpd.smtpd_client_limit as usize, smtpd.smtpd_client_connection_count_limit as usize);
        limits.set_per_user(smtpd.smtpd_local_connection_count_limit as usize);
        let auth = Mutex::default();
        let dns_lists = Arc::new(Lists::new(resolver.clone(), smtpd.dnsbl_self_test));
        let greylist = crate::greylist::start(ctx);
        let outside = Outside { remote: &remote, resolver: &resolver, dns_lists: &dns_lists, tls: &ctx.tls, auth: &auth, seen: &greylist };
        let world = build(&config, &outside).map_err(anyhow::Error::msg)?;
        exempt(&limits, &world);
        let server = Arc::new(Server {
            spool: spool.clone(),
            queue: queue.clone(),
            tls: ctx.tls.clone(),
            shutdown: ctx.shutdown.clone(),
            logins: ctx.sessions.clone(),
            grace: RwLock::new(config.main.shutdown_grace),
            resolver,
            dns_lists,
            rates: Rates::default(),
            passed: Passed::default(),
            notice_rate: daemon::Hourly::default(),
            greylist,
            greylist_file: crate::greylist::file(&config),
            limits,
            remote,
            lookup,
            auth,
            world: RwLock::new(Arc::new(world)),
            sessions: AtomicU64::new(0),
            started: seconds_since_1970(),
        });
        ctx.control.fact("journal", move || {
            let position = spool.position();
            format!("segment {} synced to {}", position.generation, position.synced_to)
        });
        ctx.control.fact("qmgr", move || if queue.connected() { "connected".into() } else { "away: mail waits in the spool".into() });
        Ok(server)
    }

    /// Tells qmgr of a message that is durable now.
    pub(crate) fn hint(&self, receipt: Receipt) {
        self.queue.hint(match receipt.place {
            Place::Journal { generation, offset, length, synced_to } => {
                Hint::Journal { generation, offset, length, synced_to, record: receipt.record }
            }
            Place::File => Hint::File { id: receipt.id.to_string() },
        });
    }

    pub(crate) fn world(&self) -> Arc<World> {
        self.world.read().clone()
    }

    pub(crate) fn limits(&self) -> Arc<Limits> {
        self.limits.clone()
    }

    /// A name for a session, new since the machine was started.
    pub(crate) fn session_id(&self) -> String {
        format!("{:x}.{:x}", self.started, self.sessions.fetch_add(1, Ordering::Relaxed))
    }

    /// Reads what `config` names. Blocks on the disk.
    pub(crate) fn build(&self, config: &Config) -> Result<World, String> {
        let outside = Outside {
            remote: &self.remote,
            resolver: &self.resolver,
            dns_lists: &self.dns_lists,
            tls: &self.tls,
            auth: &self.auth,
            seen: &self.greylist,
        };
        build(config, &outside)
    }

    /// Takes new settings; sessions that run keep theirs.
    pub(crate) async fn reload(self: &Arc<Self>, config: Arc<Config>) {
        let smtpd = &config.smtpd;
        self.limits.set(smtpd.smtpd_client_limit as usize, smtpd.smtpd_client_connection_count_limit as usize);
        self.limits.set_per_user(smtpd.smtpd_local_connection_count_limit as usize);
        *self.grace.write() = config.main.shutdown_grace;
        let (server, wanted) = (Arc::clone(self), Arc::clone(&config));
        match tokio::task::spawn_blocking(move || server.build(&wanted)).await {
            Ok(Ok(world)) => {
                self.lookup.forget();
                self.greylist.set_entries(config.greylist.entries as usize);
                exempt(&self.limits, &world);
                *self.world.write() = Arc::new(world);
            }
            Ok(Err(reason)) => tracing::error!(reason, "the new settings cannot be used; the old ones stay"),
            Err(error) => tracing::error!(%error, "the new settings cannot be used; the old ones stay"),
        }
    }

    /// Ends the spool in order, after the last session.
    pub(crate) async fn close(&self) {
        let (spool, seen, path) = (self.spool.clone(), self.greylist.clone(), self.greylist_file.clone());
        // What it may fail at is logged, and costs no mail.
        let _ = tokio::task::spawn_blocking(move || crate::greylist::write(&path, &seen)).await;
        if tokio::task::spawn_blocking(move || spool.close()).await.is_err() {
            tracing::error!("the spool could not be closed in order; the next start will read it");
        }
    }
}

/// What services need beside their settings.
struct Outside<'a> {
    remote: &'a Arc<dyn Remote>,
    resolver: &'a Arc<dyn Resolver>,
    dns_lists: &'a Arc<Lists>,
    tls: &'a Arc<ServerTls>,
    auth: &'a Mutex<HashMap<PathBuf, AuthClient>>,
    seen: &'a Arc<Seen>,
}

fn build(config: &Config, outside: &Outside<'_>) -> Result<World, String> {
    let router = Router::new(config, outside.remote.clone()).map_err(|error| error.to_string())?;
    let context = tables::Context::new(config.directory(), outside.remote.clone());
    let terms = Arc::new(Terms::new(&config.greylist, &context)?);
    let mut services: BTreeMap<String, Arc<Service>> = BTreeMap::new();
    for (name, listener) in &config.services {
        let path = match listener.smtpd.smtpd_sasl_path.as_os_str().is_empty() {
            true => config.socket("auth"),
            false => listener.smtpd.smtpd_sasl_path.clone(),
        };
        let auth = outside.auth.lock().entry(path.clone()).or_insert_with(|| AuthClient::new(path)).clone();
        let sockets = Arc::new(Sockets { base: config.directory().to_owned() });
        let parts = Parts {
            config,
            context: &context,
            resolver: outside.resolver,
            dns_lists: outside.dns_lists,
            outside: sockets,
            auth,
            tls_available: outside.tls.is_available(),
            greylist: (terms.clone(), outside.seen.clone()),
        };
        let service = Service::new(name, listener, parts).map_err(|error| format!("smtpd.service.{name}: {error}"))?;
        services.insert(name.clone(), Arc::new(service));
    }
    let greylisting = services.values().filter(|service| service.policy.greylists());
    if greylisting.clone().count() > 0 && greylisting.clone().all(|service| service.smtpd.smtpd_sasl_auth_enable) {
        tracing::warn!("check_greylist does nothing: all services that have it offer AUTH (smtpd_sasl_auth_enable)");
    }
    let (hopcount_limit, hostname) = (config.smtpd.hopcount_limit as usize, config.main.hostname.clone());
    Ok(World { router, services, hopcount_limit, hostname, notices: crate::notice::Terms::new(config) })
}

/// `mynetworks` has no limit of connections per address.
fn exempt(limits: &Limits, world: &World) {
    let lists: Vec<NetworkList> = world.services.values().map(|service| service.mynetworks.clone()).collect();
    limits.exempt(move |ip| lists.iter().any(|list| contains_now(list, ip)));
}

/// Whether the list has the address, as far as that can be told without waiting (plain networks always can).
fn contains_now(list: &NetworkList, ip: IpAddr) -> bool {
    let mut asked = pin!(list.contains(ip));
    matches!(asked.as_mut().poll(&mut std::task::Context::from_waker(Waker::noop())), Poll::Ready(Ok(true)))
}

fn writer_settings(config: &Config) -> WriterSettings {
    // Postfix smtpd(8): 1.5 times message_size_limit has to be free.
    let floor = config.smtpd.queue_minfree.0.max(config.smtpd.message_size_limit.0.saturating_mul(3) / 2);
    WriterSettings { free_space_floor_bytes: floor, ..WriterSettings::new(&config.main.spool_directory) }
}

struct Journal(SpoolWriter);

impl JournalSide for Journal {
    fn position(&self) -> Position {
        let position = self.0.position();
        Position { generation: position.generation, synced_to: position.synced_to }
    }

    fn recycle(&self, generation: u64) -> bool {
        match self.0.recycle(generation) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(generation, %error, "a finished segment cannot be taken out of use");
                false
            }
        }
    }
}

pub(crate) fn seconds_since_1970() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
