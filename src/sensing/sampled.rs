//! One window's samples to a map with a stated accuracy: what replays of recordings and live capture have in common.

use super::accuracy::HeldOutAccuracy;
use super::solve::{Cells, Field, Samples, Solver, SolverKind};
use super::{AccuracyEstimate, PageSet};

/// The samples of a window that were drawn at random, and their chances to be.
#[derive(Debug, Clone, Copy)]
pub struct HeldOut<'a, Chance: Fn(usize) -> f64> {
    /// The samples.
    pub places: &'a PageSet,
    /// Which kind each page of the line is of ([`super::MeasurementPlan::strata`]).
    pub strata: &'a [u8],
    /// How likely a page that is not in the regular part of the sample was to be one of them, 0..1.
    pub chance: Chance,
}

/// A solver for the map, another that has to do without the held-out samples, and what the two say of the accuracy.
#[derive(Debug)]
pub struct SampledMap {
    solver: Box<dyn Solver>,
    tester: Box<dyn Solver>,
    accuracy: HeldOutAccuracy,
    field: Field,
    tested: Field,
}

impl SampledMap {
    /// Nothing seen yet.
    pub fn new(kind: SolverKind) -> Self {
        Self {
            solver: kind.solver(),
            tester: kind.solver(),
            accuracy: HeldOutAccuracy::new(),
            field: Field::default(),
            tested: Field::default(),
        }
    }

    /// Reconstructs the map of a window.
    pub fn solve(&mut self, samples: &Samples<'_>, cells: &Cells) -> &Field {
        self.solver.solve(samples, cells, &mut self.field);
        &self.field
    }

    /// Takes the held-out samples of the window that was solved last into the estimate of the accuracy.
    pub fn test(
        &mut self,
        samples: &Samples<'_>,
        cells: &Cells,
        held_out: &HeldOut<'_, impl Fn(usize) -> f64>,
    ) {
        if held_out.places.count() == 0 {
            // Nothing tests the map.
            let (seen, written) = (samples.seen, samples.written);
            self.accuracy.window(seen, written, held_out.places, |_| 1.0, |_| 0, |_| (0.0, 0.0));
            return;
        }
        // What the samples that are not held out foretell of those that are.
        let regular = samples.seen.difference(held_out.places);
        let written = samples.written.intersection(&regular);
        let few = Samples { seen: &regular, written: &written, averaged: false, ..*samples };
        let Self { solver, tester, accuracy, field, tested } = self;
        tester.solve(&few, cells, tested);
        let said = |place| {
            (page(&**tester, tested, place, &few, cells), page(&**solver, field, place, samples, cells))
        };
        let (chance, stratum) = (&held_out.chance, |place: usize| held_out.strata[place]);
        accuracy.window(samples.seen, samples.written, held_out.places, chance, stratum, said);
    }

    /// Takes a window in which every page was seen, and so many were written.
    pub fn exact(&mut self, written: u64) {
        self.accuracy.exact(written as f64);
    }

    /// The map of the window that was solved last.
    pub fn field(&self) -> &Field {
        &self.field
    }

    /// What that map says of a page, 0..1.
    pub fn page(&self, place: usize, samples: &Samples<'_>, cells: &Cells) -> f32 {
        page(&*self.solver, &self.field, place, samples, cells)
    }

    /// The accuracy over the last windows, page by page; `None` while there is too little evidence.
    pub fn estimate(&self) -> Option<AccuracyEstimate> {
        self.accuracy.estimate()
    }
}

/// What a solver's last map says of a page, 0..1.
fn page(solver: &dyn Solver, field: &Field, place: usize, samples: &Samples<'_>, cells: &Cells) -> f32 {
    solver.page(place).unwrap_or_else(|| {
        if samples.seen.contains(place) {
            f32::from(u8::from(samples.written.contains(place)))
        } else {
            field.density[cells.cells_of(place).start]
        }
    })
}
