//! From samples to a density for every cell of the curve: one small trait, several solvers.
//!
//! The literal problem is: among the maps that agree with the samples, the one with the least L1 norm of its differences
//! along the curve. With exact samples any monotone fill between neighbouring samples attains it, so [`Tv`] is an exact
//! minimiser in one pass; [`FusedLasso`] is its form for cells of several, partly seen pages; [`Markov`] answers with
//! the posterior mean and variance of a two-state chain; [`HaarFista`] is compressed sensing's classic, to compare with.

mod cells;
mod chain;
mod changes;
mod fused_lasso;
mod haar;
mod markov;
mod refill;
mod tv;

pub use cells::Cells;
pub use changes::SampleChanges;
pub use fused_lasso::FusedLasso;
pub use haar::HaarFista;
pub use markov::Markov;
pub use tv::Tv;

use super::PageSet;

/// What is known of the pages of a line in one window.
#[derive(Debug, Clone, Copy)]
pub struct Samples<'a> {
    /// The pages that were looked at.
    pub seen: &'a PageSet,
    /// Those of them that were written.
    pub written: &'a PageSet,
    /// What is believed of the others, 0..1, NaN where nothing is ([`super::MeasurementPlan::prior`]).
    pub prior: Option<&'a [f32]>,
    /// Whether the map will be averaged over windows. Then a page of which one does not know counts by its probability;
    /// in a map of one window it is the likelier of silent and written.
    pub averaged: bool,
}

impl<'a> Samples<'a> {
    /// Samples without any belief about the rest.
    pub fn alone(seen: &'a PageSet, written: &'a PageSet) -> Self {
        Self { seen, written, prior: None, averaged: false }
    }

    /// What the belief says of a page that was not seen.
    fn believed(&self, place: usize) -> Option<f32> {
        self.prior.map(|prior| prior[place]).filter(|probability| !probability.is_nan())
    }

    /// How much of a page of that probability counts as written. Probabilities near 0 and 1 are rounded in averaged maps
    /// too: small ones on many silent pages would add up to activity that is nowhere.
    fn counted(&self, probability: f32) -> f32 {
        if self.averaged && (0.2..=0.8).contains(&probability) {
            probability
        } else {
            f32::from(u8::from(probability > 0.5))
        }
    }
}

/// A density and its variance for every cell, in the curve's order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Field {
    /// Share of the cell's pages that were written, 0..1.
    pub density: Vec<f32>,
    /// Variance of that share, 0..¼; 0 where every page was seen. 1 − 2√variance is the cell's confidence.
    pub variance: Vec<f32>,
    /// Iterations that were needed; 0 for direct solvers.
    pub iterations: u32,
}

impl Field {
    /// How sure each cell is, 0 (nothing known) to 1 (seen).
    pub fn confidence(&self) -> impl Iterator<Item = f32> + '_ {
        self.variance.iter().map(|variance| 1.0 - 2.0 * variance.clamp(0.0, 0.25).sqrt())
    }
}

/// Reconstructs a line of pages from samples. Whatever the method: the density is in 0..1, and a cell never has less
/// than its pages that were seen written, nor more than those that were not seen silent.
pub trait Solver: std::fmt::Debug + Send {
    /// Which one it is.
    fn kind(&self) -> SolverKind;

    /// Fills `field` for the cells of the samples' line.
    fn solve(&mut self, samples: &Samples<'_>, cells: &Cells, field: &mut Field);

    /// What the last [`Self::solve`] says of one page, 0..1; `None` where the method knows only cells.
    fn page(&self, _place: usize) -> Option<f32> {
        None
    }
}

/// The solvers by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum SolverKind {
    /// [`Tv`].
    #[default]
    Tv,
    /// [`FusedLasso`].
    FusedLasso,
    /// [`Markov`].
    Markov,
    /// [`HaarFista`].
    HaarFista,
}

impl SolverKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tv, Self::FusedLasso, Self::Markov, Self::HaarFista];

    /// A solver of this kind with its usual settings.
    pub fn solver(self) -> Box<dyn Solver> {
        match self {
            Self::Tv => Box::new(Tv::new()),
            Self::FusedLasso => Box::new(FusedLasso::default()),
            Self::Markov => Box::new(Markov::new()),
            Self::HaarFista => Box::new(HaarFista::default()),
        }
    }
}

impl std::fmt::Display for SolverKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tv => "tv",
            Self::FusedLasso => "fused-lasso",
            Self::Markov => "markov",
            Self::HaarFista => "haar-fista",
        })
    }
}

/// A cell's pages as the solvers of cells take them.
#[derive(Debug, Clone, Copy)]
struct CellSamples {
    /// Share of the pages that is known, seen ones fully, believed ones by how sure the belief is.
    weight: f32,
    /// Their mean.
    mean: f32,
    /// What the density cannot be below, and above.
    bounds: (f32, f32),
}

/// Weighs what is known of each cell.
fn cell_samples<'a>(samples: &'a Samples<'_>, cells: &'a Cells) -> impl Iterator<Item = CellSamples> + 'a {
    (0..cells.count()).map(|d| {
        let pages = cells.pages_of(d);
        let total = pages.len() as f32;
        let seen = samples.seen.count_in(pages.clone()) as f32;
        let written = samples.written.count_in(pages.clone()) as f32;
        let (mut weight, mut sum) = (seen, written);
        if samples.prior.is_some() && seen < total {
            for place in pages.filter(|place| !samples.seen.contains(*place)) {
                if let Some(probability) = samples.believed(place) {
                    let sure = (2.0 * probability - 1.0).powi(2);
                    weight += sure;
                    sum += sure * samples.counted(probability);
                }
            }
        }
        CellSamples {
            weight: weight / total,
            mean: if weight > 0.0 { sum / weight } else { 0.0 },
            bounds: (written / total, 1.0 - (seen - written) / total),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_a_solver_has_solved_before_makes_no_difference(
            pages in 1usize..600, order in 1u32..5, averaged in any::<bool>(), fourfold in any::<bool>(),
            start in prop::collection::vec((0u8..3, -0.5f32..1.0), 1024),
            windows in prop::collection::vec(prop::collection::vec((0usize..1024, 0u8..3, -0.5f32..1.0), 0..9), 1..5),
        ) {
            // Few changes a window, so that a solver may go on from what it has.
            let pages = if fourfold { 4usize << (2 * order) } else { pages };
            let cells = Cells::new(pages, 1 << (2 * order));
            let mut states = start;
            let mut warm = SolverKind::ALL.map(SolverKind::solver);
            for changes in windows {
                for (place, state, prior) in changes {
                    states[place] = (state, prior);
                }
                let seen = PageSet::of(pages, (0..pages).filter(|place| states[*place].0 > 0));
                let written = PageSet::of(pages, (0..pages).filter(|place| states[*place].0 > 1));
                let prior: Vec<f32> = (states.iter().take(pages))
                    .map(|(_, prior)| if *prior < 0.0 { f32::NAN } else { *prior })
                    .collect();
                for prior in [None, Some(prior.as_slice())] {
                    let samples = Samples { seen: &seen, written: &written, prior, averaged };
                    for solver in &mut warm {
                        let (mut field, mut expected) = (Field::default(), Field::default());
                        solver.solve(&samples, &cells, &mut field);
                        solver.kind().solver().solve(&samples, &cells, &mut expected);
                        prop_assert_eq!(field, expected, "{}", solver.kind());
                    }
                }
            }
        }

        #[test]
        fn no_solver_leaves_the_range_or_changes_what_was_seen(
            pages in 1usize..600, order in 1u32..4, truth in prop::collection::vec(any::<bool>(), 600),
            seen in prop::collection::vec(0u8..4, 600), prior in prop::option::of(prop::collection::vec(-0.2f32..1.0, 600)),
            averaged in any::<bool>(),
        ) {
            let seen = PageSet::of(pages, (0..pages).filter(|place| seen[*place] == 0 || *place / 40 % 3 == 1));
            let written = PageSet::of(pages, seen.iter().filter(|place| truth[*place]));
            let prior: Option<Vec<f32>> = prior.map(|prior| {
                prior[..pages].iter().map(|p| if *p < 0.0 { f32::NAN } else { *p }).collect()
            });
            let samples = Samples { seen: &seen, written: &written, prior: prior.as_deref(), averaged };
            let cells = Cells::new(pages, 1 << (2 * order));
            for kind in SolverKind::ALL {
                let mut field = Field::default();
                let mut solver = kind.solver();
                solver.solve(&samples, &cells, &mut field);
                prop_assert_eq!(field.density.len(), cells.count());
                prop_assert_eq!(field.variance.len(), cells.count());
                for d in 0..cells.count() {
                    let of_cell = cells.pages_of(d);
                    let total = of_cell.len() as f32;
                    let looked = seen.count_in(of_cell.clone());
                    let hits = written.count_in(of_cell.clone()) as f32;
                    let density = field.density[d];
                    prop_assert!((0.0..=1.0).contains(&density), "{kind}: {density}");
                    prop_assert!((0.0..=0.25).contains(&field.variance[d]), "{kind}: {}", field.variance[d]);
                    prop_assert!(density >= hits / total - 1e-5, "{kind}: {density} of {hits}/{total}");
                    prop_assert!(density <= 1.0 - (looked as f32 - hits) / total + 1e-5, "{kind}: {density}");
                    if looked == of_cell.len() {
                        prop_assert!((density - hits / total).abs() < 1e-6, "{kind} changed a seen cell");
                        prop_assert_eq!(field.variance[d], 0.0);
                    }
                }
                for place in seen.iter() {
                    if let Some(value) = solver.page(place) {
                        prop_assert_eq!(value, f32::from(u8::from(written.contains(place))), "{} changed page {}", kind, place);
                    }
                }
            }
        }
    }
}
