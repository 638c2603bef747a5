//! What a density is in words: how often a page is written.
//!
//! The density of a page that is written λ times a second, at random, is 1 − exp(−λ · 0.1 s): the chance that
//! it is written within a tenth of a second. That of a cell is the mean over its pages.

/// The time that a density is about, seconds.
const SPAN: f64 = 0.1;
/// So many writes a second and more are one at every look, however often is looked.
const MOST: f64 = 60.0;

/// Writes a second to a page of this density; `None` where it is written at every look.
pub fn writes_per_second(density: f32) -> Option<f64> {
    // NaN is drawn as nothing.
    let share = if density > 0.0 { f64::from(density).min(1.0) } else { 0.0 };
    let rate = -(1.0 - share).ln() / SPAN;
    (rate < MOST).then_some(rate)
}

/// The same as a whole sentence says it.
pub fn said(density: f32) -> String {
    match writes_per_second(density) {
        None => "a write at every look".into(),
        Some(_) => format!("{} writes/s", in_words(density)),
    }
}

/// The same in words, two digits of it.
pub fn in_words(density: f32) -> String {
    match writes_per_second(density) {
        None => "max".into(),
        Some(0.0) => "0".into(),
        Some(rate) if rate < 0.01 => "< 0.01".into(),
        Some(rate) if rate < 0.0995 => format!("{rate:.2}"),
        Some(rate) if rate < 0.95 => format!("{rate:.1}"),
        Some(rate) => format!("{rate:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::map::AddressLayout;
    use crate::sensing::PageActivity;

    #[test]
    fn words_say_how_often_a_page_is_written_that_the_map_shows() {
        const PAGE: u64 = 4096;
        let layout = AddressLayout::new(PAGE, std::iter::once(0..1024 * PAGE));
        let mut random = fastrand::Rng::with_seed(3);
        for look in [Duration::from_micros(16_667), Duration::from_millis(100)] {
            for rate in [0.5, 3.0, 12.0] {
                // Half a minute's half-life: what is measured is the mean.
                let mut activity = PageActivity::new(Duration::from_secs(30));
                for _ in 0..(60.0 / look.as_secs_f64()) as u32 {
                    let wrote = random.f64() > (-rate * look.as_secs_f64()).exp();
                    activity.window(&layout, wrote.then_some(0..PAGE), look);
                }
                let said = writes_per_second(activity.heat(0..1)).expect("not at every look");
                assert!((said / rate - 1.0).abs() < 0.35, "{rate} a second in looks of {look:?}: {said}");
            }
        }
    }

    #[test]
    fn two_digits_and_no_more_than_can_be_told() {
        let words = [0.0, 0.0001, 0.005, 0.05, 0.5, 0.75, 0.99, 1.0, 7.0, f32::NAN].map(in_words);
        assert_eq!(words, ["0", "< 0.01", "0.05", "0.5", "7", "14", "46", "max", "max", "0"]);
    }
}
