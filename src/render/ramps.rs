//! The ramps of colours that the cells of a scene go by, 256 steps each.

use super::scene::HUES;
use super::{BACKGROUND, ColorPalette, INK, Scene};

/// Ramps that the shader has room for.
pub const RAMPS: usize = 10;

/// The hues of threads: those of Okabe and Ito (2008), which colour-blind eyes tell apart, in the order of how far each is
/// from those before it; `0xRRGGBB`.
pub const THREAD_HUES: [u32; HUES] =
    [0xe69f00, 0x56b4e9, 0x009e73, 0xf0e442, 0xcc79a7, 0xd55e00, 0x3d7bff, 0xb8f2a0];
/// All other threads.
pub const OTHER_THREADS: u32 = 0xa8a8a8;
/// What has become more, and what less, between two regimes.
const MORE: u32 = 0xffb03b;
const LESS: u32 = 0x4aa8ff;

/// Which ramp a thread goes by.
pub(super) fn ramp_of_thread(thread: usize) -> usize {
    thread.min(HUES)
}

/// The hue of a thread, for its name.
pub(super) fn hue_of_thread(thread: usize) -> u32 {
    THREAD_HUES.get(thread).copied().unwrap_or(OTHER_THREADS)
}

/// All ramps of a scene as `0xffRRGGBB`; what it does not use is black.
pub fn ramps(scene: &Scene, palette: ColorPalette) -> [[u32; 256]; RAMPS] {
    let mut ramps = [[0xff00_0000; 256]; RAMPS];
    let plain = palette.colors().map(|color| 0xff00_0000 | color);
    match scene {
        Scene::Heatmap | Scene::Volume(_) => ramps[0] = plain,
        Scene::Kinetic(_) => {
            for (thread, ramp) in ramps.iter_mut().enumerate().take(HUES + 1) {
                *ramp = towards(hue_of_thread(thread));
            }
        }
        Scene::Phases(_) => {
            ramps[0] = towards(MORE);
            ramps[1] = towards(LESS);
        }
        Scene::Avalanche(_) => {
            ramps[0] = plain;
            // Never brighter than a quarter: the whole range of greys lies there.
            let grey = towards(0x9aa0b4);
            ramps[1] = std::array::from_fn(|step| grey[(4 * step).min(255)]);
        }
        Scene::Waterfall(_) => {
            ramps[0] = plain;
            ramps[1] = towards(INK & 0xff_ffff);
        }
    }
    ramps
}

/// From the background to a hue in equal steps as the eye sees them (OKLab; Björn Ottosson, 2020).
fn towards(hue: u32) -> [u32; 256] {
    let (from, to) = (to_oklab(BACKGROUND), to_oklab(hue));
    std::array::from_fn(|step| {
        let share = step as f64 / 255.0;
        from_oklab(std::array::from_fn(|axis| from[axis] + (to[axis] - from[axis]) * share))
    })
}

fn to_oklab(color: u32) -> [f64; 3] {
    let [r, g, b] = [16, 8, 0].map(|shift| {
        let v = f64::from((color >> shift) & 0xff) / 255.0;
        if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
    });
    let l = (0.412_221_470_8 * r + 0.536_332_536_3 * g + 0.051_445_992_9 * b).cbrt();
    let m = (0.211_903_498_2 * r + 0.680_699_545_1 * g + 0.107_396_956_6 * b).cbrt();
    let s = (0.088_302_461_9 * r + 0.281_718_837_6 * g + 0.629_978_700_5 * b).cbrt();
    [
        0.210_454_255_3 * l + 0.793_617_785_0 * m - 0.004_072_046_8 * s,
        1.977_998_495_1 * l - 2.428_592_205_0 * m + 0.450_593_709_9 * s,
        0.025_904_037_1 * l + 0.782_771_766_2 * m - 0.808_675_766_0 * s,
    ]
}

fn from_oklab([lightness, a, b]: [f64; 3]) -> u32 {
    let l = (lightness + 0.396_337_777_4 * a + 0.215_803_757_3 * b).powi(3);
    let m = (lightness - 0.105_561_345_8 * a - 0.063_854_172_8 * b).powi(3);
    let s = (lightness - 0.089_484_177_5 * a - 1.291_485_548_0 * b).powi(3);
    let rgb = [
        4.076_741_662_1 * l - 3.307_711_591_3 * m + 0.230_969_929_2 * s,
        -1.268_438_004_6 * l + 2.609_757_401_1 * m - 0.341_319_396_5 * s,
        -0.004_196_086_3 * l - 0.703_418_614_7 * m + 1.707_614_701_0 * s,
    ];
    rgb.into_iter().fold(0xff, |color, linear| {
        let v = if linear <= 0.003_130_8 { 12.92 * linear } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 };
        color << 8 | (v.clamp(0.0, 1.0) * 255.0).round() as u32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_leads_from_the_background_to_its_hue() {
        for hue in THREAD_HUES.into_iter().chain([OTHER_THREADS, MORE, LESS]) {
            let ramp = towards(hue);
            assert_eq!((ramp[0], ramp[255]), (BACKGROUND, 0xff00_0000 | hue));
            let lightness = ramp.map(|color| to_oklab(color)[0]);
            assert!(lightness.windows(2).all(|pair| pair[1] > pair[0] - 0.004), "{hue:06x}");
        }
    }

    #[test]
    fn hues_are_apart_for_eyes_of_every_kind() {
        // Viénot, Brettel and Mollon (1999): what is left of a colour without the red or the green cones. Two hues may come
        // close to each other for one kind of eyes; every pair differs clearly in lightness or colour.
        let kinds: [[[f64; 3]; 3]; 3] = [
            [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            [[0.112_38, 0.887_62, 0.0], [0.112_38, 0.887_62, 0.0], [0.004_01, -0.004_01, 1.0]],
            [[0.292_75, 0.707_25, 0.0], [0.292_75, 0.707_25, 0.0], [-0.022_34, 0.022_34, 1.0]],
        ];
        let linear = |v: u32| {
            let v = f64::from(v) / 255.0;
            if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
        };
        let seen = |hue: u32, kind: &[[f64; 3]; 3]| {
            let rgb = [hue >> 16 & 0xff, hue >> 8 & 0xff, hue & 0xff].map(linear);
            let color = kind.iter().fold(0, |color, row| {
                let v: f64 = row.iter().zip(rgb).map(|(a, b)| a * b).sum::<f64>().clamp(0.0, 1.0);
                let v = if v <= 0.003_130_8 { 12.92 * v } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 };
                color << 8 | (v * 255.0).round() as u32
            });
            to_oklab(color)
        };
        for kind in &kinds {
            for (i, a) in THREAD_HUES.iter().enumerate() {
                for b in &THREAD_HUES[..i] {
                    let (a, b) = (seen(*a, kind), seen(*b, kind));
                    let distance: f64 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
                    assert!(distance > 0.05, "{distance:.3}");
                }
            }
        }
    }
}
