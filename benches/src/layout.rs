//! The layout of a run: what each core does, and where the documents are at home.
//!
//! The roles are those that a plan gives. What a core's sessions publish and read lives on that core, so
//! whatever has its owner elsewhere crosses twice: to be judged, and to be sent.
//!
//! ```text
//!  fused   [sessions + documents] ⇄ [sessions + documents]     half of the batches cross
//!  split   [sessions] ⇄ [documents]                            all cross
//!  local   [sessions + documents]   [sessions + documents]     none: what two cores can do at most
//! ```

use std::sync::Arc;

use deltaworks_pipeline::reception::worker_of_name;
use deltaworks_pipeline::stages::CoreRole;

use crate::plant::Plant;

/// What cores do.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, clap::ValueEnum, serde::Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Each has sessions and documents; every second document that its sessions use is the next core's.
    #[default]
    Fused,
    /// The first has all sessions (reception, propagation), the second all documents (validation).
    Split,
    /// Each has sessions, and the documents that they use.
    Local,
}

impl Layout {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Fused, Self::Split, Self::Local];

    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fused => "fused",
            Self::Split => "split",
            Self::Local => "local",
        }
    }

    /// Whether so many cores can be laid out so.
    pub fn fits(self, cores: usize) -> bool {
        self != Self::Split || cores == 2
    }

    /// Cores that serve sessions, which are the first.
    pub fn serving(self, cores: usize) -> usize {
        if self == Self::Split { 1 } else { cores }
    }

    /// Documents that the sessions of a core use, of `all`.
    pub fn used_at(self, core: usize, cores: usize, all: u32) -> u32 {
        let serving = self.serving(cores) as u32;
        let core = core as u32;
        if core < serving { all / serving + u32::from(core < all % serving) } else { 0 }
    }

    /// The core that is to own document `number` of those that the sessions of `core` use.
    fn owner(self, core: usize, cores: usize, number: u32) -> usize {
        match self {
            Self::Fused => (core + number as usize % 2) % cores,
            Self::Split => 1,
            Self::Local => core,
        }
    }

    /// Documents that a core is to own, of `all`.
    pub fn owned_at(self, core: usize, cores: usize, all: u32) -> u64 {
        let of = |user: usize| {
            let numbers = 0..self.used_at(user, cores, all);
            numbers.filter(|number| self.owner(user, cores, *number) == core).count() as u64
        };
        (0..cores).map(of).sum()
    }

    /// What each core does.
    pub fn roles(self, cores: usize, plant: Option<Plant>) -> Vec<CoreRole> {
        let role = |core| CoreRole {
            serves_sessions: core < self.serving(cores),
            owns_documents: self != Self::Split || core == 1 || plant == Some(Plant::DocumentsStay),
            is_elastic: false,
        };
        (0..cores).map(role).collect()
    }

    /// Names of the documents that the sessions of `core` use, so that each is at home where it is to be; a
    /// split with the planted fault takes them as they come.
    pub fn names(self, core: usize, cores: usize, all: u32, plant: Option<Plant>) -> Vec<Arc<str>> {
        let homes = homes(&self.roles(cores, plant));
        let mut salt = 0_u64;
        let mut name_of = |number: u32| loop {
            salt += 1;
            let name = format!("{core}-{salt}");
            let home = homes[worker_of_name(&name, homes.len())];
            let stays = self == Self::Split && plant == Some(Plant::DocumentsStay);
            if home == self.owner(core, cores, number) || stays {
                return Arc::from(name);
            }
        };
        (0..self.used_at(core, cores, all)).map(&mut name_of).collect()
    }
}

/// The cores at which documents are at home, by worker.
pub fn homes(roles: &[CoreRole]) -> Vec<usize> {
    let with_core = roles.iter().enumerate().filter(|(_, role)| role.is_home());
    with_core.map(|(core, _)| core).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_is_used_and_owned_once() {
        for layout in Layout::ALL {
            for cores in (1..5).filter(|cores| layout.fits(*cores)) {
                for all in [4, 7, 100] {
                    let used: u32 = (0..cores).map(|it| layout.used_at(it, cores, all)).sum();
                    let owned: u64 = (0..cores).map(|it| layout.owned_at(it, cores, all)).sum();
                    assert_eq!((used, owned), (all, u64::from(all)), "{layout:?} {cores}");
                }
            }
        }
        assert!(!Layout::Split.fits(1) && !Layout::Split.fits(3));
    }

    #[test]
    fn names_are_at_home_where_the_layout_says() {
        for layout in Layout::ALL {
            let homes = homes(&layout.roles(2, None));
            for core in 0..2 {
                let names = layout.names(core, 2, 100, None);
                assert_eq!(names.len() as u32, layout.used_at(core, 2, 100));
                for (number, name) in (0..).zip(names) {
                    let home = homes[worker_of_name(&name, homes.len())];
                    assert_eq!(home, layout.owner(core, 2, number), "{layout:?} {core} {number}");
                }
            }
        }
    }

    #[test]
    fn a_split_owns_nothing_where_it_serves() {
        let owned = |layout: Layout, core| layout.owned_at(core, 2, 101);
        assert_eq!((owned(Layout::Split, 0), owned(Layout::Split, 1)), (0, 101));
        assert_eq!((owned(Layout::Local, 0), owned(Layout::Local, 1)), (51, 50));
        let roles = Layout::Split.roles(2, None);
        assert!(roles[0].serves_sessions && !roles[0].owns_documents);
        assert!(!roles[1].serves_sessions && roles[1].owns_documents);
    }
}
