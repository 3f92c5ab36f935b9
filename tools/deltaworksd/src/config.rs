//! The configuration of the daemon: keys, layers, provenance, and how it is printed.
//!
//! Belongs to the thread that starts the daemon, and to whoever reloads. It opens no socket and
//! starts nothing; what is wrong with it is told with place and key, all of it at once.
//!
//! ```text
//! default ◀─ file ◀─ environment ◀─ flags      the later one wins, key by key
//!                       │
//!                    Effective: Config, and the Origin of each key
//! ```

pub mod collection;
pub mod file;
pub mod key;
pub mod keys;
pub mod layers;
pub mod print;
pub mod source;
pub mod value;

use deltaworks_pipeline::placement::PlacementTuning;
use deltaworks_pipeline::quota::{Quota, Quotas};
use std::net::SocketAddr;
use std::path::PathBuf;

pub use collection::{CollectionConfig, CollectionTable, PolicyName};
pub use keys::{Config, KEYS};
pub use layers::{FileLayer, Flags, Layers};
pub use source::{Mistake, Mistakes, Origin};

/// Where TCP connections are accepted if nobody says otherwise.
pub const TCP_DEFAULT: SocketAddr =
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 7710));

/// The configuration in effect, and where each part of it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The values.
    pub config: Config,
    /// Where each came from, in the order of [`KEYS`].
    pub origins: Vec<Origin>,
    /// Where the keys of each collection came from.
    pub collection_origins: collection::CollectionOrigins,
    /// What a person should know: keys without an effect, variables that are no keys.
    pub notes: Vec<String>,
}

impl Effective {
    /// Where the value of `key` came from.
    pub fn origin(&self, key: &str) -> &Origin {
        let place = KEYS.iter().position(|known| known.name == key);
        place.map_or(&Origin::Default, |place| &self.origins[place])
    }

    /// What is wrong between keys that are right each alone.
    fn contradictions(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let config = &self.config;
        let mut tell = |key: &str, message: String| {
            mistakes.push(Mistake::at(self.origin(key), key, message));
        };
        let tcp = config.tcp.iter().flatten().map(|address| ("tcp", address));
        for (key, address) in tcp.chain(config.http.0.iter().map(|address| ("http", address))) {
            if !address.ip().is_loopback() && !config.insecure {
                tell(
                    key,
                    format!(
                        "{address} is no loopback address, and nobody would be asked who they are; \
                         give --insecure (`insecure = true`) if that is meant"
                    ),
                );
            }
        }
        if config.ping_timeout_seconds <= config.ping_interval_seconds {
            let (timeout, interval) = (config.ping_timeout_seconds, config.ping_interval_seconds);
            tell(
                "ping_timeout_seconds",
                format!("expected more than ping_interval_seconds, {interval}, found {timeout}"),
            );
        }
        if config.promotion_threshold > 0 && config.demotion_threshold > config.promotion_threshold
        {
            let (demotion, promotion) = (config.demotion_threshold, config.promotion_threshold);
            tell(
                "demotion_threshold",
                format!("expected promotion_threshold, {promotion}, at most, found {demotion}"),
            );
        }
        for (name, collection) in &config.collections {
            if let Some(fault) = collection::fault(name, collection) {
                let origins = self.collection_origins.get(name);
                let kind = origins.and_then(|origins| origins.first()).unwrap_or(&Origin::Default);
                mistakes.push(Mistake::at(kind, "", fault));
            }
        }
        mistakes
    }
}

/// A quota; rates of 0 are no bound.
pub fn quota(bytes_per_second: u64, deltas_per_second: u64, burst_ms: u64) -> Quota {
    let bound = |rate: u64| Some(rate).filter(|rate| *rate > 0);
    Quota::new(bound(bytes_per_second), bound(deltas_per_second), burst_ms * 1_000_000)
}

impl Config {
    /// What sessions, producers and addresses may send.
    pub fn quotas(&self) -> Quotas {
        let burst_ms = self.quota_burst_ms;
        let of = |bytes, deltas| quota(bytes, deltas, burst_ms);
        Quotas {
            session: of(self.session_bytes_per_second, self.session_deltas_per_second),
            producer: of(self.producer_bytes_per_second, self.producer_deltas_per_second),
            address: of(self.address_bytes_per_second, self.address_deltas_per_second),
        }
    }

    /// When documents are placed elsewhere.
    pub fn placement(&self) -> PlacementTuning {
        PlacementTuning {
            promotion: self.promotion_threshold,
            demotion: self.demotion_threshold,
            quiet_ns: self.idle_timeout * 1_000_000_000,
            balance_percent: self.balance_percent,
            moves_per_second: self.moves_per_second,
        }
    }

    /// Where TCP connections are accepted: what is given, else the default unless a Unix socket is.
    pub fn tcp_addresses(&self) -> Vec<SocketAddr> {
        match (&self.tcp, &self.unix) {
            (Some(given), _) => given.clone(),
            (None, Some(sockets)) if !sockets.is_empty() => Vec::new(),
            (None, _) => vec![TCP_DEFAULT],
        }
    }

    /// Where Unix connections are accepted: what is given, else a name in the folder that the
    /// service manager gave, if it gave one.
    pub fn unix_paths(&self, runtime_folder: Option<PathBuf>) -> Vec<PathBuf> {
        let chosen = || runtime_folder.map(|folder| folder.join("deltaworks.sock"));
        self.unix.clone().unwrap_or_else(|| chosen().into_iter().collect())
    }
}
