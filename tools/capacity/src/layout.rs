//! A machine as the simulation sees it: cores with roles, and what crossing from one to another costs.
//!
//! Made from a plan. Elastic cores are workers to which only hot documents go.

use deltaworks_runtime::plan::{Plan, Reach};
use serde::Serialize;

/// What is assumed of caches and memory that are further away than those that were measured.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Penalty {
    /// Crossing costs that much times as much from one L3 group to another of the same node.
    pub other_l3: f64,
    /// The same from one memory node to another.
    pub other_node: f64,
}

impl Default for Penalty {
    fn default() -> Self {
        Self { other_l3: 1.5, other_node: 2.5 }
    }
}

/// One core.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Seat {
    /// Sessions live here.
    pub serves_sessions: bool,
    /// Documents are at home here.
    pub owns_documents: bool,
    /// Only hot documents are owned here.
    pub is_elastic: bool,
    /// The CPU, by the kernel's number.
    pub cpu: u32,
    /// Its memory node.
    pub node: u32,
}

impl Seat {
    /// What it does, in words.
    pub fn role(&self) -> &'static str {
        match (self.serves_sessions, self.owns_documents, self.is_elastic) {
            (true, true, _) => "sessions and documents",
            (true, false, _) => "sessions",
            (false, _, true) => "a hot document",
            (false, _, false) => "documents",
        }
    }
}

/// The cores, and how far they are from each other.
#[derive(Clone, PartialEq, Debug)]
pub struct Layout {
    /// The cores, by the plan's index.
    pub seats: Vec<Seat>,
    /// How far each is from each, row by row: what crossing costs, in times of what was measured.
    factors: Vec<f64>,
    /// What was assumed.
    pub penalty: Penalty,
    /// Messages that rings have room for.
    pub ring_messages: u64,
}

impl Layout {
    /// That of a plan.
    pub fn of(plan: &Plan, penalty: Penalty) -> Self {
        let seats: Vec<Seat> = plan
            .cores
            .iter()
            .map(|core| Seat {
                serves_sessions: core.serves_sessions(),
                owns_documents: core.owns_documents() && !core.is_elastic,
                is_elastic: core.is_elastic,
                cpu: core.cpu.os_index,
                node: core.cpu.node,
            })
            .collect();
        let factor = |from: usize, to: usize| match Reach::between(
            &plan.cores[from].cpu,
            &plan.cores[to].cpu,
        ) {
            Reach::SameCpu | Reach::SameCore | Reach::SameL3 => 1.0,
            Reach::SameNode => penalty.other_l3,
            Reach::SamePackage | Reach::Machine => penalty.other_node,
        };
        let count = seats.len();
        let factors = (0..count * count).map(|at| factor(at / count, at % count)).collect();
        let ring_messages = plan.rings.iter().map(|ring| u64::from(ring.messages)).sum();
        Self { seats, factors, penalty, ring_messages }
    }

    /// Cores that do everything and stand near each other, as the harness makes them.
    pub fn fused(cores: usize) -> Self {
        let seat = |cpu| Seat {
            serves_sessions: true,
            owns_documents: true,
            is_elastic: false,
            cpu,
            node: 0,
        };
        Self {
            seats: (0..cores as u32).map(seat).collect(),
            factors: vec![1.0; cores * cores],
            penalty: Penalty::default(),
            ring_messages: 0,
        }
    }

    /// A core for sessions and one for documents.
    pub fn split() -> Self {
        let mut layout = Self::fused(2);
        layout.seats[0].owns_documents = false;
        layout.seats[1].serves_sessions = false;
        layout
    }

    /// What crossing costs, in times of what was measured.
    #[inline]
    pub fn factor(&self, from: u16, to: u16) -> f64 {
        self.factors[usize::from(from) * self.seats.len() + usize::from(to)]
    }

    /// Cores of one kind, by index.
    pub fn cores(&self, is_one: impl Fn(&Seat) -> bool) -> Vec<u16> {
        (0..).zip(&self.seats).filter(|(_, seat)| is_one(seat)).map(|(core, _)| core).collect()
    }
}
