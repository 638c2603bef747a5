//! What is shown of a watched process: the picture, with whatever the person points at, holds on to or looks into.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::Pipeline;
use super::scenes::{self, Own};
use super::view::{Gesture, PointerAt, View, addresses, name_of, stretches};
use crate::capture::{PageRange, Window};
use crate::map::{AddressLayout, HilbertCapability as _, HilbertCurve};
use crate::render::{Caption, GlassRamVisualizationMode, Hover, Marks, Picture, Scene, Series, rate};
use crate::sensing::DensityMap;
use crate::telemetry::ThreadSample;

/// Steps of time of a pinned place that are shown, and the length of one; longer windows are one each.
const SERIES: usize = 120;
const STEP: Duration = Duration::from_millis(100);
/// Names of threads that are kept.
const NAMES: usize = 1 << 12;
/// Pins at a time.
const PINS: usize = 8;

/// A place that somebody holds on to.
#[derive(Debug)]
pub(super) struct Pinned {
    place: u64,
    /// The density of its cell at the end of each step of time, and the length of that; the newest, which may go on, last.
    series: VecDeque<(f32, Duration)>,
}

impl Pinned {
    /// After a window of this length the cell has this density.
    fn window(&mut self, density: f32, length: Duration) {
        match self.series.back_mut().filter(|(_, step)| *step + length / 2 < STEP) {
            Some((last, step)) => (*last, *step) = (density, *step + length),
            None => self.series.push_back((density, length)),
        }
        if self.series.len() > SERIES {
            self.series.pop_front();
        }
    }
}

impl Pipeline {
    /// How it is looked at.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// As [`Self::view`], to change it.
    pub fn view_mut(&mut self) -> &mut View {
        &mut self.view
    }

    /// Who wrote, as far as it was sampled.
    pub(super) fn samples(&mut self, window: &Window) -> Vec<ThreadSample> {
        let layout = self.reconstructor.layout();
        let mut samples = Vec::new();
        for thread in &window.threads {
            // What ended is seldom asked for, and of a file's word there may be any number.
            if self.names.len() >= NAMES {
                self.names.clear();
            }
            self.names.insert(thread.tid, Arc::clone(&thread.name));
            // A thread's faults fell on its pages, nobody knows how many on each.
            let writes = (thread.faults / thread.pages.len().max(1) as f64) as f32;
            samples.extend(thread.pages.iter().filter_map(|address| {
                let place = layout.page_of(*address)?;
                Some(ThreadSample { tid: thread.tid, place, writes })
            }));
        }
        samples
    }

    /// What is looked into, pinned and pointed at takes its part of a window.
    pub(super) fn look(&mut self, window: &Window, samples: &[ThreadSample]) {
        let layout = self.reconstructor.layout();
        let cells = self.reconstructor.curve().cells();
        let keep =
            (-window.length.as_secs_f64() / self.reconstructor.half_life().as_secs_f64()).exp2() as f32;
        let names = &self.names;
        let name = |tid: u32| names.get(&tid).map_or_else(|| "thread".to_owned(), |name| (**name).to_owned());
        self.trail.window(samples, &self.recorder, name, (layout.pages(), cells), keep);
        let (pages, curve) = (layout.pages(), *self.reconstructor.curve());
        self.pinned.retain(|pin| pin.place < pages);
        for pin in &mut self.pinned {
            let (x, y) = curve.d2xy(*layout.cells_of_page(pin.place, cells).start());
            pin.window(self.density[[y as usize, x as usize]], window.length);
        }
    }

    /// The curve, the line and the map that are shown: of all, or of what is looked into.
    pub(super) fn shown(&self) -> (HilbertCurve, &AddressLayout, &Arc<DensityMap>) {
        let (curve, layout, density) = match &self.zoom {
            Some(zoom) => (&zoom.curve, &zoom.layout, &zoom.density),
            None => (self.reconstructor.curve(), self.reconstructor.layout(), &self.density),
        };
        (HilbertCurve::new(curve.order()), layout, density)
    }

    /// The map that is shown: of all, or of what is looked into.
    pub fn shown_density(&self) -> Arc<DensityMap> {
        Arc::clone(self.shown().2)
    }

    /// What is to be shown of it now.
    pub fn picture(&self) -> Picture {
        self.picture_as(self.view.mode)
    }

    /// What is to be shown of it now, in this mode.
    pub fn picture_as(&self, mode: GlassRamVisualizationMode) -> Picture {
        let (curve, layout, density) = self.shown();
        let total_bytes = layout.pages() * layout.page_size();
        let (mut order, mut density) = (curve.order(), Arc::clone(density));
        let mut own = |own: Own| {
            (order, density) = (own.order, own.density);
            own.scene
        };
        let scene = match mode {
            GlassRamVisualizationMode::Heatmap => Scene::Heatmap,
            GlassRamVisualizationMode::PhaseTransition => own(scenes::phases(&self.recorder)),
            GlassRamVisualizationMode::MemoryAvalanche => scenes::avalanche(&self.recorder, layout, &curve),
            GlassRamVisualizationMode::TimeSeries => own(scenes::waterfall(&self.recorder, self.view.cursor)),
            GlassRamVisualizationMode::Volumetric => scenes::volume(&self.recorder, self.view.orbit),
            // The trail lies on the whole line.
            GlassRamVisualizationMode::ThreadKineticEnergy if self.zoom.is_none() => self.trail.scene(&curve),
            GlassRamVisualizationMode::ThreadKineticEnergy => Scene::Heatmap,
        };
        let caption = Caption {
            target: format!("{} {}", self.target.comm, self.target.pid),
            numbers: self.numbers(),
            status: self.status(),
            order,
            bytes_per_cell: total_bytes as f64 / (1u64 << (2 * order)) as f64,
            total_bytes,
            half_life: self.reconstructor.half_life(),
        };
        let mut picture = Picture::new(density, caption, self.palette);
        picture.tiles = self.tiles.clone();
        picture.scene = scene;
        picture.scale = self.view.scale;
        picture.glow = self.view.glow;
        picture.marks = Arc::new(self.marks(&picture));
        picture
    }

    /// Outlines and pins of the map, and what is known of the cell under the pointer.
    fn marks(&self, picture: &Picture) -> Marks {
        let (curve, layout, _) = self.shown();
        let on_curve = picture.caption.order == curve.order()
            && !matches!(picture.scene, Scene::Waterfall(_) | Scene::Volume(_) | Scene::Phases(_));
        if !on_curve || layout.pages() == 0 {
            return Marks::default();
        }
        let cells = curve.cells() as u32;
        let place_of = |place: u64| -> Option<u64> {
            let address = self.reconstructor.layout().address_of(place)?;
            layout.page_of(address)
        };
        let pins = self
            .pinned
            .iter()
            .filter_map(|pin| place_of(pin.place))
            .map(|place| curve.d2xy(*layout.cells_of_page(place, cells).start()))
            .collect();
        let series = self.pinned.last().map(|pin| Series {
            title: self
                .reconstructor
                .layout()
                .address_of(pin.place)
                .map_or_else(|| "the pinned place is gone".into(), |address| format!("{address:#x}")),
            values: pin.series.iter().map(|(density, _)| *density).collect(),
            span: pin.series.iter().map(|(_, step)| *step).sum(),
        });
        let hover = self.view.cell(curve.order()).map(|cell| Hover { cell, words: self.words(cell) });
        let stretches = if self.view.plain { Arc::default() } else { stretches(layout, &self.mapped, cells) };
        Marks { stretches, pins, hover, lasso: self.view.lasso.clone(), series }
    }

    /// What is known of a cell.
    fn words(&self, (x, y): (u32, u32)) -> Vec<String> {
        let (curve, layout, density) = self.shown();
        let d = curve.xy2d(x, y);
        let Some(places) = layout.pages_of_cell(d, curve.cells() as u32) else { return Vec::new() };
        let Some(start) = layout.address_of(*places.start()) else { return vec!["nothing any more".into()] };
        let pages = places.end() - places.start() + 1;
        let end = start + pages * layout.page_size();
        let mut words = vec![format!("{start:#x} – {end:#x}")];
        if let Some(region) = self.mapped.iter().find(|region| (region.start..region.end).contains(&start)) {
            words.push(name_of(region));
        }
        let share = density[[y as usize, x as usize]];
        words.push(match pages {
            1 => rate::said(share),
            _ => format!("{} to each of its {pages} pages", rate::said(share)),
        });
        // What is known of whole cells only is known of the cell of the whole map that it is a part of.
        let (line, whole) = (self.reconstructor.layout(), self.reconstructor.curve());
        let Some(place) = line.page_of(start) else { return words };
        let within = *line.cells_of_page(place, whole.cells()).start();
        if let Some(thread) = self.trail.writer(within) {
            words.push(format!("written last by {} {}", thread.name, thread.tid));
        }
        // Under a budget some pages are believed rather than seen.
        words.push(match &self.confidence {
            None => "exact".into(),
            Some(confidence) => {
                let cell = if self.zoom.is_some() { whole.d2xy(within) } else { (x, y) };
                format!("{:.0} % sure", 100.0 * confidence.at(cell))
            }
        });
        words
    }

    /// The pointer has moved on the picture, or left it.
    pub fn pointer_moved(&mut self, pointer: Option<PointerAt>) -> crate::Result<Gesture> {
        let picture = self.picture();
        let gesture = self.view.moved(&picture, pointer);
        let dragged = self.grabbed.map_or(Ok(false), |grabbed| self.drag(grabbed))?;
        Ok(if dragged { Gesture::Changed } else { gesture })
    }

    /// The button has gone down or come up; `moving`: to move the map by what is under the pointer.
    pub fn pointer_pressed(&mut self, down: bool, moving: bool) -> Gesture {
        if down && moving && self.view.is_on_curve() {
            self.grab();
            return Gesture::Nothing;
        }
        if down {
            return self.view.pressed();
        }
        self.grabbed = None;
        let order = self.shown().0.order();
        let gesture = self.view.released(order);
        if let Gesture::Clicked(cell) = gesture {
            self.pin(cell);
        }
        gesture
    }

    /// Holds on to the cell's first page, or lets it go.
    fn pin(&mut self, (x, y): (u32, u32)) {
        let (curve, layout, _) = self.shown();
        let cells = curve.cells() as u32;
        let d = curve.xy2d(x, y);
        let first = layout.pages_of_cell(d, cells).and_then(|places| layout.address_of(*places.start()));
        let Some(place) = first.and_then(|address| self.reconstructor.layout().page_of(address)) else {
            return;
        };
        match self.pinned.iter().position(|pin| pin.place == place) {
            Some(at) => drop(self.pinned.remove(at)),
            None => {
                if self.pinned.len() == PINS {
                    self.pinned.remove(0);
                }
                self.pinned.push(Pinned { place, series: VecDeque::new() });
            }
        }
    }

    /// The addresses that the last lasso surrounded.
    pub fn chosen(&self) -> Vec<PageRange> {
        let (curve, layout, _) = self.shown();
        let cells = curve.cells() as u32;
        let places: Vec<Range<u64>> = self
            .view
            .chosen()
            .iter()
            .filter(|range| range.end <= curve.cells())
            .filter_map(|range| {
                let first = layout.pages_of_cell(range.start as u32, cells)?;
                let last = layout.pages_of_cell((range.end - 1) as u32, cells)?;
                Some(*first.start()..last.end() + 1)
            })
            .collect();
        addresses(layout, &places)
    }
}
